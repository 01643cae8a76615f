from __future__ import annotations

import msgspec

from agent.domain.instruction import Action, ReasonCode, Receipt


def test_actions_are_ordered_by_severity():
    assert Action.GO < Action.GO_WITH_OBLIGATION < Action.HOLD < Action.STOP
    assert max(Action.GO, Action.STOP, Action.HOLD) is Action.STOP


def test_reason_codes_say_their_own_name():
    assert all(code.name == code.value for code in ReasonCode)


def test_receipt_takes_either_form_of_time():
    both = b'{"instructionId":"i","version":1,"delivered":1795341600000,"displayed":"2026-11-22T10:00:00.000Z"}'
    receipt = msgspec.json.decode(both, type=Receipt)
    assert (receipt.delivered, receipt.acknowledged) == (1_795_341_600_000, None)
