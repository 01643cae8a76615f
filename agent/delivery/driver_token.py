"""The secret in a driver page's address: made from the journey's key, and the key from it; nothing is stored.

The token is the jrn under AES-SIV (RFC 5297): opaque, and with a tag of 128 bits, so that guessing one is as hard as
guessing a random one. Whether the journey still lives is asked of the register, so a token dies with its journey.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc.jwk import OKPKey

PURPOSE = b"borderlane/driver-page/1"
MAX_TOKEN_LENGTH = 128
"""Of 35 characters of a jrn and the tag it takes 68."""


class DriverTokens:
    """Makes and reads tokens.

    Args:
        secret: The agent's private Ed25519 key; the key for tokens is derived from it (HKDF-SHA256), so that there
            is no further secret to keep, and a new signing key ends all links.
    """

    def __init__(self, secret: OKPKey | Ed25519PrivateKey) -> None:
        private = secret.private_key if isinstance(secret, OKPKey) else secret
        if not isinstance(private, Ed25519PrivateKey):
            raise TypeError("driver tokens need a private Ed25519 key")
        derivation = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=PURPOSE)
        self._cipher = AESSIV(derivation.derive(private.private_bytes_raw()))

    def token(self, jrn: str) -> str:
        """The token of a journey; always the same one."""
        return base64.urlsafe_b64encode(self._cipher.encrypt(jrn.encode(), [PURPOSE])).decode().rstrip("=")

    def jrn(self, token: str) -> str | None:
        """The journey a token is for; None if we did not make it."""
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            return None
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            jrn = self._cipher.decrypt(sealed, [PURPOSE]).decode()
        except (binascii.Error, InvalidTag, ValueError):
            return None
        return jrn if self.token(jrn) == token else None  # base64 has spare bits: one spelling only
