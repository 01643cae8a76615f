from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.activation.goods import (
    TABLE,
    ActivationFacts,
    GoodsEvent,
    GoodsState,
    advance,
    judge_activation,
    routed,
)
from agent.domain.routing import ControlLocation, Routing

S, E = GoodsState, GoodsEvent
FINAL = (S.ASSESSED, S.WITHDRAWN, S.CANCELLED, S.EXPIRED)


@pytest.mark.parametrize(("before", "after"), list(TABLE.items()))
def test_every_row_of_the_table(before, after):
    state, event = before
    assert advance(state, event).state is after


@pytest.mark.parametrize(("state", "event"), list(itertools.product([None, *S], E)))
def test_total_and_what_fits_no_row_changes_nothing(state, event):
    step = advance(state, event)
    if (state, event) not in TABLE:
        assert step.state is state
        assert step.refusal == "OUT_OF_SEQUENCE"


@pytest.mark.parametrize(("state", "event"), list(itertools.product(FINAL, E)))
def test_final_states_stay(state, event):
    assert advance(state, event).state is state


@pytest.mark.parametrize("event", [E.DEREFERENCED, E.AMENDED, E.CANCELLED])
def test_frozen_once_locked(event):
    assert advance(S.REFERENCED, event, locked=True).refusal == "LOCKED"


def test_refused_withdrawal_returns_to_the_former_state():
    assert advance(S.WITHDRAWAL_REQUESTED, E.WITHDRAWAL_REFUSED, former=S.TO_CONTROL).state is S.TO_CONTROL


def test_periodic_permit_can_be_used_again():
    assert advance(S.TO_ENTRY, E.JOURNEY_COMPLETED, periodic=True).state is S.ACCEPTED
    assert advance(S.TO_ENTRY, E.JOURNEY_COMPLETED).refusal == "OUT_OF_SEQUENCE"


ROUTED = [S.TO_ENTRY, S.ENTRY_PENDING, S.TO_CONTROL, S.ENTRY_DENIED]
PLACES = st.sampled_from([ControlLocation.ON_ENTRY, ControlLocation.AFTER_ENTRY, None])


@given(st.sampled_from(ROUTED), st.sampled_from(list(Routing)), PLACES, PLACES, st.booleans())
def test_routing_is_lowered_by_an_officer_only(state, routing, place, held, confirmed):
    step = routed(state, routing, place, held=held, confirmed=confirmed)
    if step.state is not state:
        assert ROUTED.index(step.state) > ROUTED.index(state)
        assert not confirmed or place is ControlLocation.AFTER_ENTRY
    assert routed(state, routing, place, held=held, by_officer=True).state is S(routing.value)


@pytest.mark.parametrize(
    ("facts", "result", "reason"),
    [
        (ActivationFacts(None), "REFUSED", "UNKNOWN_MRN"),
        (ActivationFacts(S.REFERENCED, referenced_by="JRN-1"), "ACCEPTED", None),
        (ActivationFacts(S.REFERENCED, referenced_by="JRN-2"), "REFUSED", "NOT_REFERENCED"),
        (ActivationFacts(S.REFERENCED, version=2, referenced_by="JRN-1"), "REFUSED", "OLD_VERSION"),
        (ActivationFacts(S.ACCEPTED), "REFUSED", "NOT_REFERENCED"),
        (ActivationFacts(S.CANCELLED), "REFUSED", "CANCELLED"),
        (ActivationFacts(S.EXPIRED), "REFUSED", "EXPIRED"),
        (ActivationFacts(S.TO_ENTRY, first_activation_id="mine"), "ALREADY_ACTIVATED", None),
        (
            ActivationFacts(S.TO_ENTRY, first_activation_id="first", activated_by="JRN-2"),
            "REFUSED",
            "ACTIVATED_ELSEWHERE",
        ),
        (
            ActivationFacts(S.TO_ENTRY, first_activation_id="first", activated_by="JRN-2", parts=2),
            "ALREADY_ACTIVATED",
            None,
        ),
        (ActivationFacts(S.ACCEPTED, first_activation_id="first", periodic=True), "ACCEPTED", None),
    ],
)
def test_outcomes_of_an_activation(facts, result, reason):
    verdict = judge_activation(facts, "JRN-1", 1, "mine", by_officer=False)
    assert (verdict.result, verdict.reason) == (result, reason)


def test_an_officer_activates_what_nobody_references():
    assert judge_activation(ActivationFacts(S.ACCEPTED), "JRN-1", 1, "mine", by_officer=True).result == "ACCEPTED"
