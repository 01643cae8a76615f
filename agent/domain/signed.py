"""JWS compact with Ed25519, out and in: instructions, risk answers, reference data.

Header holds `alg`, `kid`, `typ` and nothing else. `Ed25519` (RFC 9864) is written; `EdDSA` with an Ed25519
key is read too, no other algorithm ever.
"""

from __future__ import annotations

from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

__all__ = ["ALGORITHMS", "BadSignature", "OKPKey", "key_id", "public_key", "sign", "verify"]

ALGORITHMS = ["Ed25519", "EdDSA"]


class BadSignature(ValueError):  # noqa: N818 - reads as the fact it states
    """The signature, the key or the form of a signed text is not good."""


def sign(payload: bytes, key: OKPKey, kid: str, typ: str) -> str:
    """Sign the exact bytes; JWS compact."""
    header: dict[str, Any] = {"alg": "Ed25519", "kid": kid, "typ": typ}
    return jws.serialize_compact(header, payload, key, algorithms=ALGORITHMS)


def verify(token: str | bytes, keys: dict[str, OKPKey], typ: str) -> bytes:
    """The signed bytes, if a key in `keys` (by kid) signed them under this `typ`.

    Raises:
        BadSignature: anything else.
    """
    text = token.decode("ascii", "replace") if isinstance(token, bytes) else token
    try:
        parts = jws.extract_compact(text.encode())
        header = parts.headers()
        key = keys.get(str(header.get("kid")))
        if key is None:
            raise BadSignature(f"signed by {header.get('kid')!r}, which is not a key we trust")
        if header.get("typ") != typ:
            raise BadSignature(f"typ {header.get('typ')!r}: expected {typ!r}")
        return bytes(jws.deserialize_compact(text, key, algorithms=ALGORITHMS).payload)
    except BadSignature:
        raise
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise BadSignature(f"{type(error).__name__}: {error}") from error


def key_id(token: str | bytes) -> str:
    """Id of the key that a signed text names; says nothing of whether it is true.

    Raises:
        BadSignature: it is no JWS.
    """
    try:
        text = token.encode("utf-8", "replace") if isinstance(token, str) else token
        return str(jws.extract_compact(text).headers().get("kid"))
    except (JoseError, ValueError, TypeError) as error:
        raise BadSignature(f"{type(error).__name__}: {error}") from error


def public_key(text: str) -> OKPKey:
    """Ed25519 public key from PEM.

    Raises:
        ValueError: it is no Ed25519 key.
    """
    try:
        key = OKPKey.import_key(text)
    except JoseError as error:
        raise ValueError(str(error)) from error
    if key.curve_name != "Ed25519":
        raise ValueError(f"key of curve {key.curve_name}: expected Ed25519")
    return key
