from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.activation import events
from agent.activation.passage import (
    EITHER,
    Passage,
    PassageStage,
    advance,
    confirm_touch,
    find,
    lose,
    new_passage,
    passage_key,
    row_of,
    zone_direction,
)
from tests.agent.border import ZONES, detection, notice
from zones.border_zone import ZoneKind, ZoneSet

S = PassageStage
ALL = frozenset(ZoneKind)
T, A, C = (f"thayngen/in/{kind}" for kind in ("tracking", "activation", "confirmation"))


def run(*steps: tuple, row: frozenset[ZoneKind] = ALL, close_pair: bool = False) -> tuple[Passage, list, list]:
    """Steps (zone id, ENTERED or EXITED, direction, kind) from a unit never seen."""
    passage = new_passage("u1", ZONES.by_id[T])
    happened, ignored = [], []
    for number, (place, what, *rest) in enumerate(steps):
        way, kind = (*rest, *("IN", "FIX")[len(rest) :])
        event = detection(place, what, "u1", 100.0 + number, kind, way)
        step = advance(passage, event, ZONES.by_id[place], row, close_pair)
        passage = step.passage
        happened += [type(one).__name__ for one in step.events]
        ignored += [step.ignored] if step.ignored else []
    return passage, happened, ignored


NO_CONFIRMATION = ALL - {ZoneKind.CONFIRMATION}
NO_TRACKING = ALL - {ZoneKind.TRACKING}


@pytest.mark.parametrize(
    ("steps", "stage", "happened", "row"),
    [
        ([(T, "ENTERED")], S.TRACKING, ["ApproachSeen"], ALL),  # C1
        ([(T, "ENTERED"), (A, "ENTERED")], S.ACTIVATION, ["ApproachSeen", "ActivationZoneEntered"], ALL),  # C2
        ([(A, "ENTERED", "IN", "SEGMENT")], S.ACTIVATION, ["ActivationZoneEntered"], ALL),
        ([(A, "ENTERED", "UNKNOWN", "FOUND_INSIDE")], S.ACTIVATION, ["ActivationZoneEntered"], ALL),
        ([(A, "ENTERED", "IN", "TOUCH")], S.OUTSIDE, ["TouchSeen"], ALL),  # C3
        (
            [(T, "ENTERED"), (C, "ENTERED")],  # C4
            S.CONFIRMATION,
            ["ApproachSeen", "ActivationZoneEntered", "ConfirmationEntered"],
            ALL,
        ),
        (
            [(A, "ENTERED"), (C, "ENTERED"), (C, "EXITED")],  # C5, C6
            S.PASSED,
            ["ActivationZoneEntered", "ConfirmationEntered", "ConfirmationLeft"],
            ALL,
        ),
        ([(T, "ENTERED"), (T, "EXITED", "OUT")], S.ABORTED, ["ApproachSeen", "TurnedBack"], ALL),  # C7
        ([(T, "ENTERED"), (T, "EXITED", "IN")], S.ABORTED, ["ApproachSeen", "Bypassed"], ALL),
        ([(A, "ENTERED"), (A, "EXITED")], S.ACTIVATION, ["ActivationZoneEntered"], ALL),  # C8
        ([(A, "ENTERED"), (T, "EXITED", "OUT")], S.ABORTED, ["ActivationZoneEntered", "TurnedBack"], ALL),  # C9
        (
            [(A, "ENTERED"), (T, "EXITED", "IN")],
            S.PASSED,
            ["ActivationZoneEntered", "ConfirmationEntered", "ConfirmationLeft"],
            ALL,
        ),
        (
            [(A, "ENTERED"), (A, "EXITED")],
            S.PASSED,
            ["ActivationZoneEntered", "ConfirmationEntered", "ConfirmationLeft"],
            NO_CONFIRMATION,
        ),
        ([(A, "ENTERED"), (A, "EXITED", "OUT")], S.ABORTED, ["ActivationZoneEntered", "TurnedBack"], NO_TRACKING),
    ],
)
def test_rows_of_the_table(steps, stage, happened, row):
    passage, seen, _ = run(*steps, row=row)
    assert (passage.stage, seen) == (stage, happened)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([(T, "ENTERED", "OUT")], "CONTRARY"),
        ([(A, "ENTERED", "OUT")], "CONTRARY"),
        ([(T, "ENTERED"), (T, "ENTERED")], "REPEATED"),
        ([(A, "ENTERED"), (A, "ENTERED")], "REPEATED"),
        ([(C, "ENTERED"), (A, "ENTERED")], "OUT_OF_SEQUENCE"),
        ([(A, "ENTERED"), (C, "ENTERED"), (C, "EXITED"), (C, "ENTERED")], "OUT_OF_SEQUENCE"),
    ],
)
def test_entries_that_change_nothing(steps, reason):
    assert run(*steps)[2] == [reason]


def test_segment_without_direction_at_a_close_pair_does_not_activate():
    assert run((A, "ENTERED", "UNKNOWN", "SEGMENT"), close_pair=True)[1:] == ([], ["CLOSE_PAIR"])
    assert run((A, "ENTERED", "UNKNOWN", "SEGMENT"))[1] == ["ActivationZoneEntered"]


def test_passages_are_counted_and_forget_their_journey():
    passage, _, _ = run((T, "ENTERED"), (A, "ENTERED"))
    assert passage.passage == 1
    again, _, _ = run((T, "ENTERED"), (A, "ENTERED"), (C, "ENTERED"), (C, "EXITED"), (T, "EXITED"), (T, "ENTERED"))
    assert (again.passage, again.activated, again.jrn) == (2, False, None)


def test_confirmed_touch_is_an_entry_once():
    touched, _, _ = run((T, "ENTERED"), (A, "ENTERED", "IN", "TOUCH"))
    said = notice("PASS_CONFIRMED", "u1", 200.0, A).what
    step = confirm_touch(touched, said, ZONES.by_id[A])
    assert [type(one) for one in step.events] == [events.ActivationZoneEntered]
    assert confirm_touch(step.passage, said, ZONES.by_id[A]).ignored == "OUT_OF_SEQUENCE"


def test_lost_and_found_again_keep_the_stage():
    passage, _, _ = run((T, "ENTERED"))
    lost = lose(passage, 300.0)
    assert [type(one) for one in lost.events] == [events.UnitLost]
    assert lose(lost.passage, 301.0).events == ()
    assert [type(one) for one in find(lost.passage, 310.0).events] == [events.UnitFound]
    step = advance(lost.passage, detection(A, "ENTERED", "u1", 320.0), ZONES.by_id[A], ALL, False)
    assert [type(one) for one in step.events] == [events.UnitFound, events.ActivationZoneEntered]
    assert lose(new_passage("u1", ZONES.by_id[T]), 1.0).events == ()


def test_zones_without_direction_serve_both():
    both = replace(ZONES.by_id[A], direction=None)
    assert zone_direction(both) == EITHER
    passage = new_passage("u1", both)
    assert passage.key == passage_key("u1", "thayngen", EITHER)
    step = advance(passage, detection(A, "ENTERED", "u1", 1.0, "FIX", "OUT"), both, ALL, False)
    assert [type(one) for one in step.events] == [events.ActivationZoneEntered]


def test_row_of_a_zone():
    assert row_of(ZONES, ZONES.by_id[A]) == ALL
    only = ZoneSet("v", (ZONES.by_id[A], ZONES.by_id["bargen/in/tracking"]))
    assert row_of(only, ZONES.by_id[A]) == {ZoneKind.ACTIVATION}


STEPS = st.lists(
    st.tuples(
        st.sampled_from([T, A, C]),
        st.sampled_from(["ENTERED", "EXITED"]),
        st.sampled_from(["IN", "OUT", "UNKNOWN"]),
        st.sampled_from(["FIX", "SEGMENT", "FOUND_INSIDE", "TOUCH"]),
    ),
    max_size=25,
)


@settings(max_examples=200)
@given(STEPS, st.sampled_from([ALL, NO_CONFIRMATION, NO_TRACKING]), st.booleans())
def test_one_activation_and_one_confirmation_in_a_passage(steps, row, close_pair):
    passage = new_passage("u1", ZONES.by_id[T])
    in_passage: dict[int, list[str]] = {}
    for number, (place, what, way, kind) in enumerate(steps):
        event = detection(place, what, "u1", float(number), kind, way)
        step = advance(passage, event, ZONES.by_id[place], row, close_pair)
        assert step.passage.passage in (passage.passage, passage.passage + 1)
        passage = step.passage
        in_passage.setdefault(passage.passage, []).extend(type(one).__name__ for one in step.events)
    for seen in in_passage.values():
        for once in ("ActivationZoneEntered", "ConfirmationEntered", "ConfirmationLeft", "TurnedBack"):
            assert seen.count(once) <= 1
        if "ConfirmationLeft" in seen:
            assert seen.index("ActivationZoneEntered") < seen.index("ConfirmationEntered")
