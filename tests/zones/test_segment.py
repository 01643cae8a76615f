"""zones/segment.py: chords, crossings and directions against shapely."""

from __future__ import annotations

import math

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from zones.border_zone import BorderZone, ZoneSet
from zones.events import Direction
from zones.frame import SWISS
from zones.index import compile_index
from zones.plausibility import DetectionConfig
from zones.segment import Leg, direction_of, entry_on, exit_on, inward_normal, proper_chord, spans

EAST, NORTH = 2_688_000.0, 1_283_000.0
# A U, open to the north: a leg can run in, out and in again.
U = [(0, 0), (300, 0), (300, 300), (200, 300), (200, 100), (100, 100), (100, 300), (0, 300)]
CONFIG = DetectionConfig()


def ring(points):
    degrees = [SWISS.to_degrees(EAST + x, NORTH + y) for x, y in [*points, points[0]]]
    return tuple((lon, lat) for lat, lon in degrees)


INDEX = compile_index(ZoneSet("t", (BorderZone(id="u", polygons=((ring(U),),), bearing=0.0, direction=Direction.IN),)))
ZONE = INDEX.zones["u"]
LINES = shapely.linestrings([((e[0], e[1]), (e[2], e[3])) for e in ZONE.edges])
AREA = shapely.polygonize(list(LINES)).geoms[0]


def leg(x0, y0, x1, y1, t0=0.0, t1=10.0):
    lat0, lon0 = SWISS.to_degrees(EAST + x0, NORTH + y0)
    lat1, lon1 = SWISS.to_degrees(EAST + x1, NORTH + y1)
    return Leg(t0, EAST + x0, NORTH + y0, lat0, lon0, t1, EAST + x1, NORTH + y1, lat1, lon1)


def parts(way):
    return spans(INDEX, ZONE, way, INDEX.contains(ZONE, way.x1, way.y1))


def test_both_arms_of_a_u_are_two_spans():
    found = parts(leg(-100, 200, 400, 200))
    assert [pytest.approx(share, abs=1e-6) for pair in found for share in pair] == [0.2, 0.4, 0.6, 0.8]


@settings(max_examples=200, deadline=None)
@given(*[st.floats(-400, 700) for _ in range(4)])
def test_the_way_inside_is_as_long_as_shapely_says(x0, y0, x1, y1):
    way = leg(x0, y0, x1, y1)
    inside_m = sum(end - start for start, end in parts(way)) * way.length_m
    line = shapely.LineString([(way.x0, way.y0), (way.x1, way.y1)])
    least, most = (shapely.intersection(AREA.buffer(off), line).length for off in (-0.02, 0.02))
    assert least - 1e-6 <= inside_m <= most + 1e-6  # the boundary is 0.01 m wide


def test_entry_is_the_last_way_in_and_exit_the_last_way_out():
    inwards = leg(-100, 200, 250, 200)
    assert entry_on(parts(inwards), inwards).x == pytest.approx(EAST + 200, abs=1e-6)
    outwards = leg(50, 200, 400, 200)
    at = exit_on(parts(outwards), outwards)
    assert at.x == pytest.approx(EAST + 300, abs=1e-6)
    assert at.time_s == pytest.approx(10 * 250 / 350, abs=1e-6)
    assert SWISS.to_metres(at.latitude, at.longitude)[0] == pytest.approx(EAST + 300, abs=1e-3)


def test_a_position_inside_only_by_tolerance_crosses_at_itself():
    way = leg(-100, 200, -0.005, 200)
    assert entry_on([], way).time_s == 10.0
    assert exit_on([], way).time_s == 0.0


@pytest.mark.parametrize(
    ("bearing", "expected"),
    [
        (0, Direction.IN),
        (59, Direction.IN),
        (61, Direction.UNKNOWN),
        (90, Direction.UNKNOWN),
        (121, Direction.OUT),
        (180, Direction.OUT),
        (301, Direction.IN),
    ],
)
def test_direction_is_told_within_sixty_degrees(bearing, expected):
    convergence = math.degrees(math.atan2(ZONE.along[0], ZONE.along[1]))
    angle = math.radians(bearing + convergence)
    assert direction_of(ZONE, math.sin(angle), math.cos(angle), CONFIG) is expected
    assert direction_of(ZONE, 0.0, 0.0, CONFIG) is Direction.UNKNOWN


def test_a_short_or_crosswise_chord_is_only_a_touch():
    long_way, across, short = leg(50, -10, 50, 90), leg(-10, 50, 310, 50), leg(50, -5, 50, 15)
    for way, expected in ((long_way, True), (across, False), (short, False)):
        assert proper_chord(ZONE, way.at(0.0), way.at(1.0), 5.0, CONFIG) is expected
    assert not proper_chord(ZONE, long_way.at(0.0), long_way.at(1.0), 120.0, CONFIG)


def test_the_normal_points_inwards():
    at = leg(150, 0, 150, 1).at(0.0)
    east, north = inward_normal(ZONE, ZONE.edges, INDEX, at)
    assert (east, north) == (pytest.approx(0.0, abs=1e-3), pytest.approx(1.0, abs=1e-3))


def test_points_of_a_leg_cross_the_date_line():
    way = Leg(0.0, 0.0, 0.0, 10.0, 179.999, 1.0, 1.0, 0.0, 10.0, -179.999)
    assert abs(way.at(0.5).longitude) == pytest.approx(180.0)
