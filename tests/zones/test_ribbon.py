from __future__ import annotations

import math

import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from zones.ribbon import chainage_of, cut, length_m, passes, point_at, ribbon, simplified

BEND = ((0.0, 0.0), (100.0, 0.0), (100.0, 100.0))


@st.composite
def roads(draw):
    """Lines of 3 to 8 legs of 300 to 1,500 m that turn by at most 60 degrees at a vertex."""
    heading, place, points = draw(st.floats(0, 2 * math.pi)), (2_600_000.0, 1_200_000.0), []
    for _ in range(draw(st.integers(3, 8))):
        points.append(place)
        reach_m = draw(st.floats(300, 1_500))
        place = (place[0] + reach_m * math.sin(heading), place[1] + reach_m * math.cos(heading))
        heading += draw(st.floats(-math.pi / 3, math.pi / 3))
    return (*points, place)


def test_chainage_runs_along_the_line():
    assert length_m(BEND) == 200.0
    assert [point_at(BEND, at_m) for at_m in (-5, 0, 50, 150, 999)] == [
        (0, 0),
        (0, 0),
        (50, 0),
        (100, 50),
        (100, 100),
    ]
    assert chainage_of(BEND, (90.0, 40.0)) == 140.0
    assert cut(BEND, 50.0, 150.0) == ((50.0, 0.0), (100.0, 0.0), (100.0, 50.0))
    assert cut(BEND, 100.0, 150.0) == ((100.0, 0.0), (100.0, 50.0))


def test_gates_at_a_bend_lie_on_the_bisector():
    ring = ribbon(BEND, 50.0, 100.0, 10.0)
    assert [tuple(map(round, point)) for point in ring] == [
        (50, -10),
        (110, -10),
        (90, 10),
        (50, 10),
        (50, -10),
    ]
    onwards = ribbon(BEND, 100.0, 150.0, 10.0)
    assert {tuple(map(round, point)) for point in ring} & {tuple(map(round, point)) for point in onwards} == {
        (110, -10),
        (90, 10),
    }


def test_a_hairpin_is_held_by_the_mitre_limit():
    sharp = ((0.0, 0.0), (100.0, 0.0), (0.0, 10.0))
    reach_m = max(math.dist(point, (100.0, 0.0)) for point in ribbon(sharp, 90.0, 100.0, 10.0)[1:3])
    assert reach_m == pytest.approx(25.0)


def test_a_line_that_turns_back_exactly_gives_finite_corners():
    assert all(math.isfinite(value) for point in ribbon(((0, 0), (100, 0), (0, 0)), 50, 150, 10) for value in point)


@settings(max_examples=100)
@given(roads(), st.floats(0.1, 0.45), st.floats(0.02, 0.2), st.sampled_from([20.0, 60.0]))
def test_ribbons_are_valid_meet_in_one_gate_and_are_passed_once(road, middle, share, half_width_m):
    whole_m = length_m(road)
    from_m, gate_m, to_m = (whole_m * part for part in (middle, middle + share, middle + 2 * share))
    before = shapely.Polygon(ribbon(road, from_m, gate_m, half_width_m))
    after = shapely.Polygon(ribbon(road, gate_m, to_m, half_width_m))
    assume(before.is_valid and after.is_valid)  # not with a gate just short of a bend: `build` refuses such
    shared = set(before.exterior.coords) & set(after.exterior.coords)
    assert len(shared) >= 2  # the corners of the common gate
    runs = [run for run in passes(road, before) if run[0] < gate_m and run[1] > from_m]
    assert runs[0] == pytest.approx((from_m, gate_m), abs=half_width_m)


@settings(max_examples=100)
@given(roads(), st.floats(50, 400))
def test_passes_lie_inside_and_what_is_between_them_outside(road, size_m):
    middle = point_at(road, length_m(road) / 2.0)
    outline = shapely.box(middle[0] - size_m, middle[1] - size_m, middle[0] + size_m, middle[1] + size_m)
    runs = passes(road, outline)
    assert any(start_m <= length_m(road) / 2.0 <= end_m for start_m, end_m in runs)
    for start_m, end_m in runs:
        assert outline.buffer(1e-6).covers(shapely.Point(point_at(road, start_m)))
        assert outline.buffer(1e-6).covers(shapely.Point(point_at(road, end_m)))
    inside_m = sum(end_m - start_m for start_m, end_m in runs)
    assert shapely.LineString(road).intersection(outline).length <= inside_m + 1e-3


def test_a_touch_of_the_gate_is_no_second_pass():
    road = ((-50.0, 0.0), (150.0, 0.0))
    assert passes(road, shapely.box(0, -10, 100, 10)) == ((50.0, 150.0),)
    notched = shapely.box(0, -10, 100, 10) - shapely.box(40, -10, 50, 10)
    assert passes(road, notched) == ((50.0, 150.0),)
    parted = shapely.box(0, -10, 100, 10) - shapely.box(40, -10, 65, 10)
    assert passes(road, parted) == ((50.0, 90.0), (115.0, 150.0))


def test_small_loops_are_simplified_away():
    road = ((0.0, 0.0), (100.0, 0.0), (110.0, 8.0), (100.0, 9.0), (95.0, 5.0), (300.0, 0.0))
    assert simplified(road, 20.0) == ((0.0, 0.0), (300.0, 0.0))
