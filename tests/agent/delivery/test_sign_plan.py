from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.sign_plan import (
    ABREAST_M,
    PAST_M,
    TEXT_LENGTH,
    Place,
    Showing,
    Waiting,
    permissive_lease_ms,
    showing,
)
from agent.domain.instruction import Action
from agent.status.modes import Mode
from firmware_bridge.outputs import ALLOWED, PERMISSIVE, PERMISSIVE_LEASE_MS, OutputKind, OutputState

NOW_S = 1_800_000_000.0
SIGN = Place("sign-1", OutputKind.SIGN, "thayngen", "IN")
GO, HOLD, STOP, DEFAULT = OutputState.GO, OutputState.HOLD, OutputState.STOP, OutputState.DEFAULT


def lorry(unit: str, along_m: float | None, action: Action | None = Action.GO, **more: object) -> Waiting:
    facts = {"jrn": f"JRN-{unit}", "instruction_id": f"I-{unit}", "version": 1, "expires_s": NOW_S + 600}
    return replace(Waiting(unit, along_m, action=action), **(facts | more))  # type: ignore[arg-type]


def shown(*waiting: Waiting, place: Place = SIGN, may_permit: bool = True) -> Showing:
    return showing(place, waiting, NOW_S, may_permit)


@pytest.mark.parametrize(
    ("kind", "action", "state"),
    [
        (OutputKind.SIGN, Action.GO, GO),
        (OutputKind.SIGN, Action.GO_WITH_OBLIGATION, OutputState.GO_WITH_OBLIGATION),
        (OutputKind.SIGN, Action.HOLD, HOLD),
        (OutputKind.SIGN, Action.STOP, STOP),
        (OutputKind.SIGNAL_HEAD, Action.GO_WITH_OBLIGATION, GO),
        (OutputKind.SIGNAL_HEAD, Action.HOLD, STOP),
        (OutputKind.BARRIER, Action.GO, OutputState.OPEN),
        (OutputKind.BARRIER, Action.HOLD, OutputState.CLOSED),
        (OutputKind.BARRIER, Action.STOP, OutputState.CLOSED),
    ],
)
def test_the_decision_of_the_only_lorry_is_shown(kind: OutputKind, action: Action, state: OutputState) -> None:
    found = shown(lorry("a", -40.0, action), place=replace(SIGN, kind=kind))
    assert found.state is state and found.waiting is not None and found.waiting.unit == "a" and found.ref > 0


def test_nothing_is_shown_without_a_lorry_or_a_decision() -> None:
    assert shown() == shown(lorry("a", -10.0, None)) == Showing()
    assert shown(lorry("a", PAST_M + 1, Action.STOP)) == Showing(), "it has passed"


def test_the_sign_follows_the_lorry_that_is_next() -> None:
    queue = [lorry("b", -60.0, Action.STOP), lorry("a", -5.0), lorry("c", -120.0, Action.HOLD)]
    assert shown(*queue).state is GO
    moved = [lorry("b", -10.0, Action.STOP), lorry("a", PAST_M + 40), lorry("c", -70.0, Action.HOLD)]
    assert shown(*moved).state is STOP


@pytest.mark.parametrize("gap_m", [0.0, ABREAST_M - 1.0])
@pytest.mark.parametrize(
    ("other", "state"), [(Action.STOP, STOP), (Action.HOLD, HOLD), (Action.GO_WITH_OBLIGATION, HOLD), (None, HOLD)]
)
def test_two_that_cannot_be_told_apart_and_differ_are_stopped(
    gap_m: float, other: Action | None, state: OutputState
) -> None:
    found = shown(lorry("a", -5.0), lorry("b", -5.0 - gap_m, other))
    assert found.state is state and found.ref == 0, "nobody's decision alone"


def test_two_that_agree_are_shown_what_both_may_do() -> None:
    assert shown(lorry("a", -5.0), lorry("b", -6.0)).state is GO


def test_a_lorry_of_which_nobody_knows_where_it_stands_may_be_the_next() -> None:
    assert shown(lorry("a", -5.0), lorry("b", None, Action.STOP)).state is STOP
    assert shown(lorry("b", None)).state is GO, "there is no other"


def test_an_expired_go_is_hold_and_a_stop_stays_stop() -> None:
    assert shown(lorry("a", -5.0, expires_s=NOW_S)).state is HOLD
    assert shown(lorry("a", -5.0, Action.STOP, expires_s=NOW_S)).state is STOP


def test_an_agent_that_is_not_fit_shows_no_go_but_still_stop() -> None:
    assert shown(lorry("a", -5.0), may_permit=False) == Showing()
    assert shown(lorry("a", -5.0, Action.STOP), may_permit=False).state is STOP


def test_a_lane_output_speaks_to_its_lane_and_to_who_has_none() -> None:
    place = replace(SIGN, lane="2")
    assert shown(lorry("a", -5.0, lane="1"), lorry("b", -60.0, Action.STOP, lane="2"), place=place).state is STOP
    assert shown(lorry("a", -5.0), lorry("b", -60.0, Action.STOP, lane="2"), place=place).state is GO


def test_the_lane_is_written_where_a_lorry_is_sent_to_one() -> None:
    assert shown(lorry("a", -5.0, Action.STOP, lane="Bay 3 ä" + "x" * 30)).text == ("Bay 3 ?" + "x" * 30)[:TEXT_LENGTH]
    assert shown(lorry("a", -5.0, lane="3")).text == ""


def test_a_reference_is_the_same_for_the_same_decision_only() -> None:
    one, again, later, other = (
        shown(lorry("a", -5.0)),
        shown(lorry("a", -9.0)),
        shown(lorry("a", -5.0, version=2)),
        shown(lorry("b", -5.0)),
    )
    assert one.ref == again.ref and len({one.ref, later.ref, other.ref}) == 3
    assert 0 < one.ref < 2**32


@pytest.mark.parametrize(
    ("modes", "age_s", "lease_ms"),
    [
        ((), 0.0, PERMISSIVE_LEASE_MS),
        ((), 1.0, PERMISSIVE_LEASE_MS - 1_000),
        ((), 2.6, 0),
        ((), math.inf, 0),
        (("RISK_DEGRADED", "UPLINK_LOST"), 0.5, PERMISSIVE_LEASE_MS - 500),
        (("BROKER_LOST",), 0.0, 0),
        (("CLOCK_UNTRUSTED",), 0.0, 0),
        (("UPLINK_LOST", "JOURNAL_READONLY"), 0.0, 0),
        (("A_MODE_OF_LATER",), 0.0, 0),
    ],
)
def test_how_long_go_may_be_shown(modes: tuple[str, ...], age_s: float, lease_ms: int) -> None:
    assert permissive_lease_ms(modes, age_s) == lease_ms


def test_only_known_modes_permit() -> None:
    permitted = {mode.name for mode in Mode if permissive_lease_ms((mode.name,), 0.0)}
    assert permitted == {"RISK_DEGRADED", "UPLINK_LOST", "ZONES_STALE"}


LORRIES = st.lists(
    st.builds(
        lambda number, along, action, left, lane: lorry(
            f"u{number}", along, action, expires_s=NOW_S + left, lane=lane, instruction_id=f"I-{number}"
        ),
        st.integers(0, 5),
        st.none() | st.floats(-300, 200),
        st.none() | st.sampled_from(Action),
        st.sampled_from((-1.0, 0.0, 60.0)),
        st.sampled_from((None, "1", "2")),
    ),
    max_size=6,
    unique_by=lambda one: one.unit,
)
PLACES = st.builds(
    Place,
    st.just("o"),
    st.sampled_from((OutputKind.SIGN, OutputKind.SIGNAL_HEAD, OutputKind.BARRIER)),
    st.just("x"),
    st.just("IN"),
    st.sampled_from(("", "1")),
)


@given(PLACES, LORRIES, st.booleans())
def test_go_only_where_nobody_who_may_stand_there_has_anything_else(
    place: Place, waiting: list[Waiting], may_permit: bool
) -> None:
    found = showing(place, waiting, NOW_S, may_permit)
    assert found.state in ALLOWED[place.kind]
    if found.state not in PERMISSIVE:
        return
    assert may_permit and found.waiting is not None
    here = [one for one in waiting if not place.lane or one.lane in (None, place.lane)]
    nowhere = [one for one in here if one.along_m is None]
    ahead = [one for one in here if one.along_m is not None and abs(one.along_m) <= PAST_M]
    nearest = min(ahead, key=lambda one: (abs(one.along_m or 0.0), one.unit), default=None)
    near = [one for one in ahead if nearest and abs((one.along_m or 0.0) - (nearest.along_m or 0.0)) < ABREAST_M]
    for one in [*nowhere, *near]:
        assert one.action in (Action.GO, Action.GO_WITH_OBLIGATION) and one.expires_s > NOW_S
