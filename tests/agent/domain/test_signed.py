from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from agent.domain.signed import BadSignature, public_key, sign, verify

KEY = OKPKey.generate_key("Ed25519")
OTHER = OKPKey.generate_key("Ed25519")
KEYS = {"a-1": KEY}


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_what_was_signed_comes_back(payload):
    token = sign(payload, KEY, "a-1", "x+jws")
    assert verify(token, KEYS, "x+jws") == payload
    assert verify(token.encode(), KEYS, "x+jws") == payload


def _header(token: str) -> dict:
    head = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))


def test_header_says_algorithm_key_and_type_only():
    token = sign(b"{}", KEY, "a-1", "x+jws")
    assert _header(token) == {"alg": "Ed25519", "kid": "a-1", "typ": "x+jws"}


def _forged(alg: str) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": alg, "kid": "a-1", "typ": "x+jws"}).encode()).rstrip(b"=")
    return f"{head.decode()}.e30."


@pytest.mark.parametrize(
    "token",
    [
        sign(b"{}", OTHER, "a-1", "x+jws"),
        sign(b"{}", KEY, "a-2", "x+jws"),
        sign(b"{}", KEY, "a-1", "other+jws"),
        _forged("none"),
        _forged("HS256"),
        "",
        "a.b",
        "a.b.c",
        "ö.ö.ö",
    ],
)
def test_anything_else_is_a_bad_signature(token):
    with pytest.raises(BadSignature):
        verify(token, KEYS, "x+jws")


@given(st.integers(0, 300), st.integers(1, 255))
@settings(max_examples=100)
def test_no_changed_byte_passes(where, change):
    token = bytearray(sign(b'{"action":"STOP"}', KEY, "a-1", "x+jws").encode())
    where %= len(token)
    token[where] ^= change
    try:
        payload = verify(bytes(token), KEYS, "x+jws")
    except BadSignature:
        return
    # base64url leaves unused bits at the end of the signature: another spelling of the same bytes
    assert payload == b'{"action":"STOP"}'
    assert where == len(token) - 1


def test_public_key_takes_ed25519_only():
    assert public_key(KEY.as_pem(private=False).decode()).curve_name == "Ed25519"
    with pytest.raises(ValueError):
        public_key(OKPKey.generate_key("X25519").as_pem(private=False).decode())
