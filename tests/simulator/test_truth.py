"""True passages against brute force, and against what the file says."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator.truth import EXCURSION_M, Ground, Pass, TimedPath, activation_ground, outline, passes
from zones.border_zone import ZoneKind
from zones.catalogue import shipped_centre_lines, shipped_zone_set
from zones.events import Direction

POINT = st.tuples(st.integers(-400, 400), st.integers(-400, 400)).map(lambda at: (float(at[0]), float(at[1])))
STEP_M = 0.5
DOUBT_M = 0.05
"""Nearer to the boundary than this, rounding decides."""


def looked_at(path, polygon):
    """(chainage, clearly inside, clearly outside) every half metre: no intersections, no order of pieces."""
    shapely.prepare(polygon)
    base_m = 0.0
    for start, end in pairwise(path):
        size_m = math.dist(start, end)
        steps = math.ceil(size_m / STEP_M)
        for step in range(steps):
            share = (step + 0.5) / steps
            point = shapely.Point(*(a + share * (b - a) for a, b in zip(start, end, strict=True)))
            clear = shapely.distance(point, polygon.boundary) > DOUBT_M
            inside = bool(shapely.contains(polygon, point))
            yield base_m + share * size_m, inside and clear, clear and not inside
        base_m += size_m


@given(st.lists(POINT, min_size=2, max_size=6), st.lists(POINT, min_size=3, max_size=7))
@settings(max_examples=100, deadline=None)
def test_passes_agree_with_looking_everywhere(path, corners):
    polygon = shapely.MultiPoint(corners).convex_hull
    assume(polygon.geom_type == "Polygon" and polygon.area > 400.0)
    found = passes(path, polygon)
    for before, after in pairwise(found):
        assert after.from_m - before.to_m >= EXCURSION_M
    seen = list(looked_at(path, polygon))
    inside_m = [at_m for at_m, inside, _ in seen if inside]
    for at_m in inside_m:
        assert any(run.from_m <= at_m <= run.to_m for run in found), f"inside at {at_m} but in no pass"
    for at_m, _, outside in seen:
        if outside and any(run.from_m < at_m < run.to_m for run in found):
            assert any(at_m - EXCURSION_M <= other < at_m for other in (*inside_m, *(r.from_m for r in found)))
            assert any(at_m < other <= at_m + EXCURSION_M for other in (*inside_m, *(r.to_m for r in found)))


SQUARE = shapely.box(0.0, 0.0, 100.0, 100.0)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param([(-50.0, 50.0), (150.0, 50.0)], [(50.0, 150.0)], id="through"),
        pytest.param([(-50.0, 200.0), (150.0, 200.0)], [], id="beside"),
        pytest.param([(50.0, 50.0), (150.0, 50.0)], [(0.0, 50.0)], id="begins inside"),
        pytest.param([(-50.0, 50.0), (50.0, 50.0), (50.0, 104.0), (60.0, 104.0), (60.0, 50.0)], [(50.0, 218.0)],
                     id="18 m outside: one pass"),
        pytest.param([(-50.0, 50.0), (150.0, 50.0), (150.0, 60.0), (-50.0, 60.0)], [(50.0, 150.0), (260.0, 360.0)],
                     id="back after 110 m: two passes"),
        pytest.param([(-50.0, -50.0), (0.0, 0.0), (-50.0, 50.0)], [], id="touches a corner"),
        pytest.param([(10.0, 50.0), (10.0, 50.0), (90.0, 50.0)], [(0.0, 80.0)], id="standing fix"),
    ],
)  # fmt: skip
def test_known_passes(path, expected):
    found = passes(path, SQUARE)
    assert [(run.from_m, run.to_m) for run in found] == [pytest.approx(run) for run in expected]


def test_every_centre_line_passes_each_of_its_zones_once():
    ground = Ground(zone for zone in shipped_zone_set().zones)
    for crossing, line in shipped_centre_lines().items():
        for direction in (Direction.IN, Direction.OUT):
            found = ground.passes(line.in_direction(direction).points_m)
            prefix = f"{crossing}/{direction.value.lower()}/"
            own = Counter(item.zone.kind for item in found if item.zone.id.startswith(prefix))
            assert own == Counter(ZoneKind), f"{crossing} {direction}"


def test_outline_is_the_zone_in_metres():
    zone = next(zone for zone in shipped_zone_set().zones if zone.id == "thayngen/in/activation")
    ground = outline(zone)
    assert ground.is_valid
    assert 200.0 * 60.0 < ground.area < 800.0 * 400.0
    east, north = ground.centroid.coords[0]
    assert 2_680_000 < east < 2_700_000 and 1_285_000 < north < 1_300_000


def test_near_finds_zones_beside_a_path():
    ground = activation_ground(shipped_zone_set())
    line = shipped_centre_lines()["thayngen"]
    assert "thayngen/in/activation" in ground.near(line.points_m, 1.0)
    aside = tuple((east + 5_000.0, north) for east, north in line.points_m)
    assert "thayngen/in/activation" not in ground.near(aside, 1_000.0)


def test_timed_path_interpolates_and_stands():
    path = TimedPath(((0.0, 0.0), (100.0, 0.0), (100.0, 0.0), (200.0, 0.0)), (0.0, 10.0, 40.0, 45.0))
    assert path.time_at(50.0) == pytest.approx(5.0)
    assert path.time_at(150.0) == pytest.approx(42.5)
    assert path.place_at(150.0) == pytest.approx((150.0, 0.0))
    assert path.time_at(10_000.0) == 45.0


def test_length_of_a_pass():
    assert Pass(10.0, 35.0).length_m == 25.0
