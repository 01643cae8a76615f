from __future__ import annotations

import msgspec
import pytest
from joserfc.jwk import OKPKey

from agent.domain.instruction import INSTRUCTION_TYPE, Instruction
from agent.domain.signed import BadSignature, sign
from agent.domain.times import rfc3339
from agent.instruction.signing import sign_instruction, verify_instruction, why_not_shown

KEY = OKPKey.generate_key("Ed25519")
INSTRUCTION = Instruction(
    instruction_id="i-1",
    jrn="JRN-1",
    version=2,
    unit="u1",
    vehicle=None,
    action="GO",
    customs_office=None,
    lane=None,
    report_to_locations=(),
    deadline=None,
    reason_code="RELEASED",
    issued_at=rfc3339(1_000.0),
    expires_at=rfc3339(2_000.0),
    supersedes=None,
    activations=("a",),
    checkpoint=None,
)


def test_there_and_back():
    assert verify_instruction(sign_instruction(INSTRUCTION, KEY, "box-1"), {"box-1": KEY}) == INSTRUCTION


@pytest.mark.parametrize(("payload", "typ"), [(b"{}", INSTRUCTION_TYPE), (b"\xff", INSTRUCTION_TYPE)])
def test_signed_text_that_is_no_instruction(payload, typ):
    with pytest.raises(BadSignature):
        verify_instruction(sign(payload, KEY, "box-1", typ), {"box-1": KEY})


def test_an_assessment_is_no_instruction():
    token = sign(msgspec.json.encode(INSTRUCTION), KEY, "box-1", "borderlane-assessment+jws")
    with pytest.raises(BadSignature):
        verify_instruction(token, {"box-1": KEY})


@pytest.mark.parametrize(
    ("changes", "shown", "words"),
    [
        ({}, None, None),
        ({}, {"version": 1}, None),
        ({}, {"version": 2}, None),
        ({}, {"version": 3}, "version 2 after 3"),
        ({}, {"version": 3, "jrn": "JRN-0"}, None),
        ({"unit": "u2"}, None, "for unit"),
        ({"expires_at": rfc3339(1_500.0)}, None, "expired"),
        ({"expires_at": "?"}, None, "cannot be read"),
        ({"action": "WAVE"}, None, "unknown action"),
    ],
)
def test_what_a_unit_shows(changes, shown, words):
    old = msgspec.structs.replace(INSTRUCTION, **shown) if shown else None
    why = why_not_shown(msgspec.structs.replace(INSTRUCTION, **changes), "u1", 1_500.0, old)
    assert (why is None) if words is None else (words in (why or ""))
