"""Faults that users of other geofence engines reported, each as a case of ours (design/detection.md section 8)."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from msgspec.structs import replace

from zones.border_zone import BorderZone, ZoneKind, ZoneSet
from zones.detector import Detector, Verdict
from zones.events import DetectionEvent, Direction, EventName, Kind, Notice, NoticeName
from zones.fix import Fix
from zones.frame import SWISS
from zones.index import compile_index

EAST, NORTH, T0 = 2_688_000.0, 1_283_000.0, 1_790_000_000.0


def ring(points):
    degrees = [SWISS.to_degrees(EAST + x, NORTH + y) for x, y in [*points, points[0]]]
    return tuple((lon, lat) for lat, lon in degrees)


def box(name, x0, x1, half, kind=ZoneKind.ACTIVATION):
    corners = [(x0, -half), (x1, -half), (x1, half), (x0, half)]
    return BorderZone(
        id=name, polygons=((ring(corners),),), kind=kind, crossing="x", direction=Direction.IN, bearing=90.0
    )


ZONE = box("a", -400, 0, 60)
ONE = compile_index(ZoneSet("1", (ZONE,)))
TRACKED = compile_index(ZoneSet("1", (box("t", -2_000, 750, 500, ZoneKind.TRACKING), ZONE)))


def fix(x, t, *, y=0.0, **values):
    latitude, longitude = SWISS.to_degrees(EAST + x, NORTH + y)
    values.setdefault("received_s", T0 + t)
    values.setdefault("unit", "u")
    return Fix(time_s=T0 + t, latitude=latitude, longitude=longitude, **values)


def feed_all(detector, fixes):
    return [item for one in fixes for item in detector.feed(one)]


def events(found, zone="a"):
    return [item for item in found if isinstance(item, DetectionEvent) and item.zone_id == zone]


def names(found, zone="a"):
    return [event.event.value for event in events(found, zone)]


@pytest.mark.parametrize("seed", range(6))
def test_no_flicker_at_the_edge(seed):
    """tile38 #816; traccar #2189, #3609, #6019; owntracks/android #670: parked on a fence, event after event."""
    rng = random.Random(seed)
    detector, east, north = Detector(ONE), 0.0, 0.0
    found = feed_all(detector, [fix(-600 + 20 * k, float(k), accuracy_m=5.0) for k in range(10)])
    for k in range(1_800):  # half an hour, p95 about 5 m as of parked vans
        east, north = 0.95 * east + rng.gauss(0.0, 0.8), 0.95 * north + rng.gauss(0.0, 0.8)
        found += detector.feed(fix(-400 + east, 10.0 + k, y=north, accuracy_m=5.0))
    assert names(found) in (["ENTERED"], ["ENTERED", "EXITED"], [])


@pytest.mark.parametrize("interval_s", [20.0, 30.0, 60.0, 120.0])
def test_a_passage_between_two_fixes_is_seen(interval_s):
    """traccar #3779, #4316: a zone crossed between two fixes made no event."""
    step_m = 22.0 * interval_s
    fixes = [fix(-500 - step_m * 3 + step_m * k, interval_s * k) for k in range(7)]
    found = feed_all(Detector(ONE), fixes)
    assert names(found) == ["ENTERED", "EXITED"]
    assert events(found)[0].time < events(found)[1].time


def test_a_backlog_sent_newest_first_counts():
    """traccar #4417: a fix older than the newest one makes no event; Tile38 takes order of arrival for time."""
    drive = [fix(-1_900 + 20 * k, float(k), seq=k + 1, accuracy_m=5.0) for k in range(130)]
    hidden = range(60, 110)  # all of the activation zone
    detector = Detector(TRACKED)
    found = feed_all(detector, [one for k, one in enumerate(drive) if k not in hidden])
    found += detector.tick(T0 + 140.0)
    for number, k in enumerate(reversed(hidden)):
        found += detector.feed(replace(drive[k], received_s=T0 + 141.0 + 0.01 * number))
    found += detector.tick(T0 + 160.0)
    assert names(found) == ["ENTERED", "EXITED"]
    assert names(found, "t") == ["ENTERED"]


def test_a_restart_makes_no_storm():
    """traccar-web #1090: after a restart every unit in a zone entered it again."""
    before = Detector(TRACKED)
    crowd = [fix(-300 + 10 * k, float(k), unit=f"u{n}", accuracy_m=5.0) for k in range(3) for n in range(50)]
    assert len(events(feed_all(before, crowd))) == 50
    after = Detector(TRACKED)
    for n in range(50):
        assert after.restore(f"u{n}", before.dump(f"u{n}")) == []
    assert feed_all(after, [replace(one, time_s=one.time_s + 9, received_s=one.received_s + 9) for one in crowd]) == []
    assert all(after.inside(f"u{n}") == {"t", "a"} for n in range(50))


def test_the_first_fix_inside_is_an_entry_and_says_so():
    """traccar #3897, ThingsBoard PR 14647: a device first seen inside a zone never entered it."""
    found = Detector(ONE).feed(fix(-200, 0.0, accuracy_m=5.0))
    assert [(e.event, e.kind) for e in events(found)] == [(EventName.ENTERED, Kind.FOUND_INSIDE)]


def test_one_batch_makes_one_entry():
    """geopulse #436: five points of one batch inside a zone made five alerts."""
    detector = Detector(ONE)
    detector.feed(fix(-500, 0.0, seq=1))
    batch = [fix(-300 + 10 * k, 5.0 + k, seq=2 + k, received_s=T0 + 30.0) for k in range(5)]
    assert names(feed_all(detector, batch)) == ["ENTERED"]


def test_accuracy_0_is_neither_perfect_nor_thrown_away():
    """home-assistant #2830, #14273: 0 was taken for exact, then for useless."""
    detector = Detector(ONE)
    detector.feed(fix(-500, 0.0))
    assert names(detector.feed(fix(-392, 5.0))) == []  # 8 m deep: not enough for an unknown accuracy
    assert names(detector.feed(fix(-384, 6.0))) == ["ENTERED"]
    assert detector.last_verdict is Verdict.ACCEPTED


def test_17_km_of_accuracy_is_no_exit():
    """react-native-background-geolocation #892: a network position 17 km wide fired EXIT."""
    detector = Detector(TRACKED)
    found = feed_all(detector, [fix(-500 + 20 * k, float(k), accuracy_m=5.0) for k in range(10)])
    away = feed_all(detector, [fix(9_000, 10.0, accuracy_m=17_000.0), fix(9_500, 11.0, accuracy_m=17_000.0)])
    assert away == []
    assert detector.inside("u") == {"t", "a"}
    assert names(found + feed_all(detector, [fix(-290, 12.0, accuracy_m=5.0)])) == ["ENTERED"]


@pytest.mark.parametrize("accuracy_m", [30.0, 80.0])
def test_accuracy_is_not_used_leniently(accuracy_m):
    """Home Assistant is in a zone if distance minus accuracy is under the radius; AWS leaves accuracy out."""
    detector = Detector(ONE)
    feed_all(detector, [fix(-500 + 2 * k, 5.0 * k, accuracy_m=accuracy_m) for k in range(48)])
    assert detector.inside("u") == frozenset()  # up to 6 m before the zone, for four minutes


def test_events_wait_for_no_receiver():
    """Tile38 drops queued events after 30 s; here they are values the caller gets back from `feed`."""
    detector = Detector(ONE)
    detector.feed(fix(-500, 0.0, received_s=T0 + 3_600.0))
    assert names(detector.feed(fix(-300, 10.0, received_s=T0 + 3_610.0, accuracy_m=5.0))) == ["ENTERED"]


@pytest.mark.parametrize("y", [0.0, 60.0, -60.0])
def test_the_boundary_is_inside(y):
    """Only Cumulocity states a rule, and calls the boundary outside."""
    assert ONE.containing(*SWISS.to_degrees(EAST - 200.0, NORTH + y)) == {"a"}
    assert ONE.containing(*SWISS.to_degrees(EAST - 200.0, NORTH + math.copysign(60.02, y))) == frozenset()


def test_a_hole_is_outside():
    """Traccar refuses polygons with holes."""
    outer, hole = (
        ring([(-900, -900), (900, -900), (900, 900), (-900, 900)]),
        ring([(-300, -300), (0, 300), (300, -300)]),
    )
    detector = Detector(compile_index(ZoneSet("h", (BorderZone(id="a", polygons=((outer, hole),)),))))
    found = feed_all(detector, [fix(-1_200 + 20 * k, float(k), accuracy_m=5.0) for k in range(121)])
    assert names(found) == ["ENTERED", "EXITED", "ENTERED", "EXITED"]


def test_the_date_line_is_no_wall():
    """Cumulocity supports no zone across the antimeridian; planar code fails two of Traccar's three cases."""
    halves = tuple(
        ((((a, -17.1), (b, -17.1), (b, -16.9), (a, -16.9), (a, -17.1)),)) for a, b in ((179.9, 180.0), (-180.0, -179.9))
    )
    detector = Detector(compile_index(ZoneSet("d", (BorderZone(id="a", polygons=halves),))))
    longitudes = [(179.8 + 0.002 * k + 180.0) % 360.0 - 180.0 for k in range(200)]
    found = [
        item
        for k, longitude in enumerate(longitudes)
        for item in detector.feed(Fix("u", T0 + 10.0 * k, -17.0, longitude, T0 + 10.0 * k, accuracy_m=5.0))
    ]
    inside = Counter(names(found))
    assert inside["ENTERED"] == inside["EXITED"] == 1
    assert events(found)[0].longitude == pytest.approx(179.9, abs=1e-4)
    assert events(found)[-1].longitude == pytest.approx(-179.9, abs=1e-4)


def test_direction_is_told():
    """None of those looked at tells the direction of travel."""
    there = feed_all(Detector(ONE), [fix(-600 + 20 * k, float(k)) for k in range(40)])
    back = feed_all(Detector(ONE), [fix(180 - 20 * k, float(k)) for k in range(40)])
    assert {e.direction for e in events(there)} == {Direction.IN}
    assert {e.direction for e in events(back)} == {Direction.OUT}


def test_an_outlier_is_kept_out_without_losing_data():
    """Filters that drop implausible fixes drop the true ones after a real gap, too."""
    drive = [fix(-900 + 20 * k, float(k), accuracy_m=5.0, speed_mps=20.0) for k in range(60)]
    spoiled = [*drive[:10], fix(-200, 10.5, y=5.0, accuracy_m=5.0, speed_mps=20.0), *drive[11:]]
    detector = Detector(ONE)
    found = feed_all(detector, spoiled)
    assert names(found) == ["ENTERED", "EXITED"]
    assert [e.time for e in events(found)] == pytest.approx([T0 + 25.0, T0 + 45.0], abs=0.01)
    assert detector.counters["refused"] == 0


def test_a_second_leaving_has_its_own_time():
    """Our own: a unit that left, came back and left again was told to have left when it had entered."""
    xs = [-430, -405, -380, -340, -300, -360, -395, -405, -395, -380, -385, -405, -425, -445, -470, -500]
    found = feed_all(Detector(ONE), [fix(x, 10.0 * k, accuracy_m=5.0) for k, x in enumerate(xs)])
    assert names(found) == ["ENTERED", "EXITED"]
    assert T0 + 100.0 < events(found)[1].time < T0 + 110.0


def test_a_touch_that_late_fixes_prove_a_stay_activates():
    """Our own: the fix after the gap was in the edge band only, and the unit then fell silent."""
    detector = Detector(TRACKED)
    found = feed_all(detector, [fix(-700 + 20 * k, float(k), seq=k + 1, accuracy_m=5.0) for k in range(10)])
    found += detector.feed(fix(-200, 60.0, y=55.0, seq=40, accuracy_m=20.0, received_s=T0 + 60.0))
    found += detector.tick(T0 + 64.0)
    assert names(found) == []
    late = [fix(-300 + 5 * k, 30.0 + k, seq=20 + k, accuracy_m=5.0, received_s=T0 + 70.0 + k) for k in range(8)]
    found += feed_all(detector, late) + detector.tick(T0 + 90.0)
    assert names(found) == ["ENTERED"]
    assert NoticeName.LATE_EVIDENCE in [item.notice for item in found if isinstance(item, Notice)]
    assert detector.inside("u") == {"t", "a"}
