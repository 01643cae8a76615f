"""zones/late.py: fixes that come after newer ones, within the window and long after."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from zones.border_zone import BorderZone, ZoneKind, ZoneSet
from zones.detector import Detector, Verdict
from zones.events import DetectionEvent, Direction, EventName, Kind, Notice, NoticeName
from zones.fix import Fix
from zones.frame import SWISS
from zones.index import compile_index

EAST, NORTH, T0 = 2_688_000.0, 1_283_000.0, 1_790_000_000.0


def box(name, x0, x1, half, kind):
    corners = [(x0, -half), (x1, -half), (x1, half), (x0, half), (x0, -half)]
    degrees = [SWISS.to_degrees(EAST + x, NORTH + y) for x, y in corners]
    ring = tuple((lon, lat) for lat, lon in degrees)
    return BorderZone(id=name, polygons=((ring,),), kind=kind, crossing="x", direction=Direction.IN, bearing=90.0)


INDEX = compile_index(
    ZoneSet(
        "1",
        (
            box("t", -3_000, 2_000, 500, ZoneKind.TRACKING),
            box("a", -400, 0, 60, ZoneKind.ACTIVATION),
            box("c", 0, 250, 60, ZoneKind.CONFIRMATION),
        ),
    )
)


def fix(x, t, *, y=0.0, seq=None, received=None):
    latitude, longitude = SWISS.to_degrees(EAST + x, NORTH + y)
    arrived = t if received is None else received
    return Fix("u", T0 + t, latitude, longitude, T0 + arrived, seq=seq, accuracy_m=4.0, speed_mps=20.0)


def drive(x0=-3_500.0, x1=2_600.0):
    return [fix(x0 + 20.0 * k, float(k), seq=k + 1) for k in range(int((x1 - x0) / 20.0) + 1)]


def play(arrivals, detector=None):
    """Feed fixes in order of arrival, letting time pass between them and for a while after."""
    detector = detector or Detector(INDEX)
    found = []
    for one in sorted(arrivals, key=lambda f: f.received_s):
        while (due := detector.due_s()) is not None and due <= one.received_s:
            found += detector.tick(due)
        found += detector.feed(one)
    end = max(one.received_s for one in arrivals) + 30.0
    while (due := detector.due_s()) is not None and due <= end:
        found += detector.tick(due)
    return found


def passes(found):
    return Counter((e.event, e.zone_id) for e in found if isinstance(e, DetectionEvent))


def notices(found):
    return [(n.notice, n.zone_id) for n in found if isinstance(n, Notice)]


def once(*zones):
    return {(event, zone): 1 for event in EventName for zone in zones}


def test_a_backlog_that_held_the_whole_activation_zone_still_activates():
    """Side trip while silent: the straight line missed the zone, the late fixes prove it."""
    before = [fix(-700 + 20 * k, float(k), seq=k + 1, y=200.0) for k in range(5)]
    hidden = [fix(-300 + 5 * k, 20.0 + k, seq=20 + k, received=200.0 + 0.1 * k) for k in range(10)]
    after = [fix(300 + 20 * k, 60.0 + k, seq=60 + k, y=200.0) for k in range(150)]
    found = play(before + hidden + after)
    assert passes(found)[EventName.ENTERED, "a"] == passes(found)[EventName.EXITED, "a"] == 1
    assert (NoticeName.LATE_EVIDENCE, "a") in notices(found)


def test_late_fixes_of_a_passage_already_known_add_nothing():
    fixes = drive()
    late = dict.fromkeys(range(150, 175), 40.0)  # the activation zone and some more, 40 s behind
    arrivals = [replace(one, received_s=one.received_s + late.get(k, 0.0)) for k, one in enumerate(fixes)]
    found = play(arrivals)
    assert passes(found) == once("t", "a", "c")
    assert (NoticeName.LATE_EVIDENCE, "a") not in notices(found)


def test_late_evidence_raises_a_touch_and_never_repeats_the_entry():
    """Straight from edge to edge it was a touch across the lane; the late fixes show a drive along it."""
    before = [fix(-360, float(k), seq=k + 1, y=150.0 - 20 * k) for k in range(4)]  # to y = 90
    hidden = [fix(-350 + 20 * k, 6.0 + k, seq=6 + k, received=120.0 + 0.1 * k) for k in range(15)]
    after = [fix(-340, 30.0 + k, seq=30 + k, y=-90.0 - 20 * k) for k in range(4)]
    found = play(before + hidden + after)
    touches = [e.kind for e in found if isinstance(e, DetectionEvent) and e.zone_id == "a"]
    assert touches == [Kind.TOUCH, Kind.TOUCH]
    assert (NoticeName.PASS_CONFIRMED, "a") in notices(found)


@pytest.mark.parametrize(("delay", "verdict"), [(899.0, "late"), (960.0, "late_dropped")])
def test_late_counts_up_to_the_horizon(delay, verdict):
    detector = Detector(INDEX)
    fixes = [fix(-1_500 + 20 * k, float(k), seq=k + 1) for k in range(40) if not 10 <= k < 15]
    play(fixes, detector)
    detector.feed(fix(-1_280, 11.0, seq=12, received=11.0 + delay))
    assert detector.last_verdict is Verdict.LATE
    assert detector.counters.get(verdict, 0) == 1


def test_a_late_fix_in_no_gap_is_counted_and_dropped():
    detector = Detector(INDEX)
    play([fix(-1_500 + 20 * k, float(k), seq=k + 1) for k in range(10)], detector)
    detector.feed(fix(-1_450, 2.5))
    assert detector.counters["late_dropped"] == 1


def test_a_full_gap_is_judged_at_once_and_another_waits_five_seconds():
    fixes = [fix(-1_500 + 20 * k, float(k), seq=k + 1) for k in range(10)]
    for lost, waits in (({4}, False), ({4, 5}, True)):
        detector = Detector(INDEX)
        for k, one in enumerate(fixes):
            if k not in lost:
                detector.feed(one)
        detector.tick(T0 + 20)
        detector.feed(replace(fixes[4], received_s=T0 + 21))
        due = detector.due_s()
        assert (due == T0 + 26) is waits


@settings(max_examples=60, deadline=None)
@given(
    st.integers(40, 280),
    st.integers(1, 60),
    st.floats(4.0, 600.0),
    st.booleans(),
)
def test_a_block_delayed_up_to_the_horizon_changes_no_pass(start, length, delay, newest_first):
    fixes = drive()
    block = range(start, min(start + length, len(fixes) - 1))
    arrivals = []
    for k, one in enumerate(fixes):
        if k in block:
            place = (block[-1] - k) if newest_first else (k - block[0])
            one = replace(one, received_s=fixes[block[-1]].received_s + delay + 0.01 * place)
        arrivals.append(one)
    found = play(arrivals)
    assert passes(found) == once("t", "a", "c")
