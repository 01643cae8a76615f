"""agent/delivery/driver_token.py: what we made opens; nothing else does."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.driver_token import MAX_TOKEN_LENGTH, DriverTokens
from agent.domain.identifiers import JRN_FORM
from agent.keys import jwk_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TOKENS = DriverTokens(KEY)
FOREIGN = DriverTokens(Ed25519PrivateKey.from_private_bytes(bytes(32)))
jrns = st.from_regex(JRN_FORM, fullmatch=True)


@given(jrns)
def test_a_token_gives_its_journey_back_and_no_other_agent_reads_it(jrn: str) -> None:
    token = TOKENS.token(jrn)
    assert TOKENS.jrn(token) == jrn and DriverTokens(jwk_of(KEY)).jrn(token) == jrn
    assert len(token) <= MAX_TOKEN_LENGTH and (len(jrn) < 6 or jrn not in token)
    assert FOREIGN.jrn(token) is None


@given(jrns, st.data())
def test_a_changed_token_opens_nothing(jrn: str, data: st.DataObject) -> None:
    token = TOKENS.token(jrn)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCXYZabcxyz019-_").filter(lambda one: one != token[place]))
    assert TOKENS.jrn(token[:place] + letter + token[place + 1 :]) is None


@given(st.text(max_size=200))
def test_any_text_is_looked_at(text: str) -> None:
    assert TOKENS.jrn(text) is None


def test_a_public_key_makes_no_tokens() -> None:
    with pytest.raises(TypeError):
        DriverTokens(KEY.public_key())  # type: ignore[arg-type]
