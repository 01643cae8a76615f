from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.activation.effects import AskedDeclaration, SendInstruction
from agent.domain.instruction import Action, DeliveryStage, ReasonCode
from agent.domain.routing import Assessment
from agent.domain.times import rfc3339
from agent.instruction.budget import Budget
from agent.instruction.combination import Cause
from agent.instruction.deadlines import deadline, out
from agent.instruction.lifecycle import (
    InstructionState,
    Issuer,
    Place,
    add_causes,
    answer,
    begin,
    confirm,
    control_taken,
    instruction_key,
    officer_decides,
    shorten,
)

ISSUER = Issuer("box-1")
NOW = 1_800_000_000.0
ASKED = (AskedDeclaration("m1", 1, "a1"), AskedDeclaration("m2", 1, "a2"))


def pending() -> InstructionState:
    state = InstructionState(key="JRN-1", jrn="JRN-1", unit="u1", crossing="thayngen", direction="IN")
    return begin(state, ASKED, (), NOW - 1, NOW, NOW, Budget(NOW + 7, NOW + 6))


def said(activation: str, routing: str = "TO_ENTRY", now_s: float = NOW, **changes: object) -> Assessment:
    fields: dict[str, object] = {
        "activation_id": activation,
        "mrn": activation.replace("a", "m"),
        "version": 1,
        "jrn": "JRN-1",
        "crossing": "thayngen",
        "direction": "IN",
        "routing": routing,
        "issued_at": rfc3339(now_s),
        "valid_until": rfc3339(now_s + 600),
        "routing_control_location": "AFTER_ENTRY",
        **changes,
    }
    return Assessment(**fields)


def cause(action: Action) -> Cause:
    return Cause(action=action, reason=ReasonCode.PLATE_MISMATCH)


def at(action: Action) -> InstructionState:
    """A state in which `action` was issued, as it comes about."""
    if action is Action.GO:
        return answer(pending(), (said("a1"), said("a2")), ISSUER, NOW).state
    if action is Action.GO_WITH_OBLIGATION:
        return answer(pending(), (said("a1"), said("a2", "TO_CONTROL")), ISSUER, NOW).state
    if action is Action.HOLD:
        return deadline(pending(), ISSUER, NOW + 6).state
    return answer(pending(), (said("a1", "ENTRY_DENIED"),), ISSUER, NOW).state


@pytest.mark.parametrize("action", list(Action))
def test_each_action_comes_about(action):
    assert at(action).action is action


@pytest.mark.parametrize("current", list(Action))
@pytest.mark.parametrize("new", [Action.HOLD, Action.STOP])
def test_causes_only_tighten(current, new):
    turn = add_causes(at(current), (cause(new),), ISSUER, NOW + 7)
    assert turn.state.action is max(current, new)
    assert bool(turn.effects) == (new > current)


@pytest.mark.parametrize("current", list(Action))
@pytest.mark.parametrize("decided", list(Action))
def test_the_officer_always_wins(current, decided):
    turn = officer_decides(at(current), decided, "A. Muster", "seen", Place(lane="3"), ISSUER, NOW + 7)
    assert (turn.state.action, turn.state.reason) == (decided, ReasonCode.OFFICER)
    assert turn.entries[0].facts["officer"] == "A. Muster"
    assert any(isinstance(effect, SendInstruction) for effect in turn.effects)


@pytest.mark.parametrize("current", list(Action))
def test_a_late_positive_answer_changes_nothing_once_decided(current):
    before = at(current)
    turn = answer(before, (said("a1", now_s=NOW + 7), said("a2", now_s=NOW + 7)), ISSUER, NOW + 7)
    assert turn.state.version == before.version
    assert turn.effects == ()


@pytest.mark.parametrize("current", [Action.GO, Action.GO_WITH_OBLIGATION])
def test_after_the_line_only_an_obligation_is_added(current):
    confirmed = confirm(at(current), ISSUER, NOW + 7).state
    turn = add_causes(confirmed, (cause(Action.STOP),), ISSUER, NOW + 8)
    assert turn.state.action is Action.GO_WITH_OBLIGATION
    raised = answer(confirmed, (said("a1", "ENTRY_DENIED", NOW + 8),), ISSUER, NOW + 8, raised=True)
    assert raised.state.action is Action.GO_WITH_OBLIGATION


def test_more_places_are_a_new_version():
    first = at(Action.GO_WITH_OBLIGATION)
    turn = answer(first, (said("a1", "TO_CONTROL", customs_office="CH001661"),), ISSUER, NOW + 1)
    assert turn.state.version == first.version + 1
    places = turn.state.instruction.report_to_locations
    assert [place.location_ids for place in places] == [("CH001661",)]


def test_hedged_answers_that_differ_the_worse_one_holds():
    state = answer(pending(), (said("a1", "TO_CONTROL"),), ISSUER, NOW).state
    state = answer(state, (said("a1"), said("a2")), ISSUER, NOW).state
    assert state.action is Action.GO_WITH_OBLIGATION


def test_expiry_is_the_earliest_answer():
    early = said("a2", valid_until=rfc3339(NOW + 100))
    state = answer(pending(), (said("a1"), early), ISSUER, NOW).state
    assert state.expires_s == pytest.approx(NOW + 100, abs=0.001)
    assert state.renew_s == pytest.approx(NOW + 50, abs=0.001)


def test_versions_chain_and_old_deliveries_are_superseded():
    first = at(Action.GO)
    second = add_causes(first, (cause(Action.STOP),), ISSUER, NOW + 1).state
    assert second.instruction.supersedes == first.instruction.instruction_id
    assert [one.stage for one in second.deliveries] == [DeliveryStage.SUPERSEDED, DeliveryStage.SENT]


def test_out_counts_once_for_the_unit_of_the_entry():
    policy = ISSUER.policy
    state = out(at(Action.GO), 1, "u2", NOW + 0.1, policy)
    assert state.out_s is None
    state = out(state, 1, "u1", NOW + 0.2, policy)
    assert out(state, 1, "u1", NOW + 9.0, policy).out_s == NOW + 0.2
    assert out(state, 5, "u1", NOW + 9.0, policy) == state


def test_shorten_never_lengthens():
    state = pending()
    assert shorten(state, Budget(NOW + 9, NOW + 8)) == state
    shorter = shorten(state, Budget(NOW + 4, NOW + 3))
    assert (shorter.due_s, shorter.limit_s) == (NOW + 3, NOW + 4)
    decided = at(Action.STOP)
    assert shorten(decided, Budget(NOW, NOW)) == decided


def test_keys_of_journeys_and_units_never_meet():
    assert instruction_key("u1", "u1") != instruction_key(None, "u1")


ROUTINGS = st.sampled_from(["TO_ENTRY", "TO_CONTROL", "ENTRY_PENDING", "ENTRY_DENIED"])
STEPS = st.one_of(
    st.tuples(st.just("answer"), st.sampled_from(["a1", "a2"]), ROUTINGS, st.sampled_from(["ON_ENTRY", "AFTER_ENTRY"])),
    st.tuples(st.just("cause"), st.sampled_from([Action.HOLD, Action.STOP])),
    st.tuples(st.just("officer"), st.sampled_from(list(Action))),
    st.tuples(st.just("control"), st.sampled_from(["a1", "a2", None]), st.sampled_from(["CONFORM", "NOT_RELEASED"])),
    st.tuples(st.just("deadline"), st.sampled_from([0.0, 7.0, 700.0, 90_000.0])),
    st.tuples(st.just("confirm")),
)


def step_of(state: InstructionState, step: tuple, now_s: float):
    match step:
        case ("answer", activation, routing, place):
            given_ = said(activation, routing, now_s, routing_control_location=place)
            return answer(state, (given_,), ISSUER, now_s)
        case ("cause", action):
            return add_causes(state, (cause(action),), ISSUER, now_s)
        case ("officer", action):
            return officer_decides(state, action, "A. Muster", "seen", Place(), ISSUER, now_s)
        case ("control", activation, code):
            return control_taken(state, activation, code, "A. Muster", ISSUER, now_s)
        case ("deadline", _):
            return deadline(state, ISSUER, now_s)
    return confirm(state, ISSUER, now_s)


@settings(max_examples=200)
@given(st.lists(STEPS, max_size=20))
def test_only_an_officer_makes_a_stop_or_hold_milder(steps):
    state, now_s = pending(), NOW
    for step in steps:
        now_s += 1.0 + (step[1] if step[0] == "deadline" else 0.0)
        before = state.action
        turn = step_of(state, step, now_s)
        sent = [effect for effect in turn.effects if isinstance(effect, SendInstruction)]
        assert turn.state.version == state.version + len(sent)
        state = turn.state
        if before is not None:
            assert state.action is not None
        if before in (Action.HOLD, Action.STOP) and state.action < before:
            assert step[0] in ("officer", "control")
        if sent and state.action is Action.GO and step[0] != "officer":
            fresh = {
                one.assessment.activation_id
                for one in state.standings
                if one.assessment.routing == "TO_ENTRY" and one.valid_until_s > now_s
            }
            assert {"a1", "a2"} <= fresh | state.released
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=InstructionState) == state
