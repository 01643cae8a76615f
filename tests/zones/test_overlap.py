"""Common ground of two zones: the same answer as GEOS, for shapes on which GEOS would use up the machine."""

from __future__ import annotations

import math

import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from zones.overlap import EXACT_VERTICES, SLIVER_M2, OverlapSearch, TooIntricateError, area_m2

WEST, SOUTH, SIZE = 8.0, 47.0, 0.1


def comb(teeth: int, turn: str = "", phase: float = 0.0, width: float = 0.5) -> shapely.Polygon:
    """Teeth to the north on a bar in the south; `turn` lays it on its side or on its head."""
    corners = [(0.0, 0.0)]
    for tooth in range(teeth):
        west = (tooth + phase) / teeth
        east = west + width / teeth
        corners += [(west, 0.01), (west, 0.99), (east, 0.99), (east, 0.01)]
    corners += [(1.0, 0.01), (1.0, 0.0)]
    if turn == "side":
        corners = [(y, x) for x, y in corners]
    if turn == "head":
        corners = [(x, 1.0 - y) for x, y in corners]
    return shapely.Polygon([(WEST + SIZE * x, SOUTH + SIZE * y) for x, y in corners])


def circle(vertices: int, east: float = 0.0, radius: float = 0.01) -> shapely.Polygon:
    turns = [2.0 * math.pi * step / vertices for step in range(vertices)]
    return shapely.Polygon([(WEST + east + radius * math.cos(a), SOUTH + radius * math.sin(a)) for a in turns])


def neighbours(vertices: int) -> tuple[shapely.Polygon, shapely.Polygon]:
    """Two lands with one winding border between them."""
    border = [(WEST + SIZE * at / vertices, SOUTH + 0.0005 * math.sin(0.7 * at)) for at in range(vertices + 1)]
    south = [(WEST + SIZE, SOUTH - SIZE), (WEST, SOUTH - SIZE)]
    north = [(WEST + SIZE, SOUTH + SIZE), (WEST, SOUTH + SIZE)]
    return shapely.Polygon([*border, *south]), shapely.Polygon([*border, *north])


@pytest.mark.parametrize("teeth", [20, 200, 1_000])
def test_combs_across_each_other(teeth):
    upright, lying = comb(teeth), comb(teeth, "side")
    found = OverlapSearch().find(upright, lying)
    assert found is not None
    place = shapely.Point(found.longitude, found.latitude)
    assert upright.covers(place)
    assert lying.covers(place)
    assert found.whole is (upright.exterior.coords.__len__() * 2 <= EXACT_VERTICES)


@pytest.mark.parametrize("teeth", [20, 200, 1_000])
def test_combs_into_each_other_without_touching(teeth):
    assert OverlapSearch().find(comb(teeth, width=0.3), comb(teeth, "head", 0.45, 0.3)) is None


def test_what_is_too_finely_wound_is_given_up():
    with pytest.raises(TooIntricateError):
        OverlapSearch(100_000).find(comb(1_000, width=0.3), comb(1_000, "head", 0.45, 0.3))


def test_neighbours_with_a_long_border_do_not_overlap():
    left, right = neighbours(20_000)
    assert OverlapSearch().find(left, right) is None


def test_large_circles():
    assert OverlapSearch().find(circle(50_000), circle(50_000, 0.01999)) is not None
    assert OverlapSearch().find(circle(50_000), circle(50_000, 0.02001)) is None


def test_area_is_in_square_metres():
    square = shapely.box(8.0, 47.0, 8.001, 47.001)
    assert area_m2(square) == pytest.approx(8_450, rel=0.01)
    assert area_m2(shapely.Polygon()) == 0.0


wheels = st.lists(st.floats(0.2, 1.0), min_size=150, max_size=400)


def star(radii, east: float) -> shapely.Polygon:
    """A ring that never crosses itself, as wild as its radii."""
    count = len(radii)
    return shapely.Polygon(
        [
            (
                WEST + east + 0.01 * radius * math.cos(2.0 * math.pi * at / count),
                SOUTH + 0.01 * radius * math.sin(2.0 * math.pi * at / count),
            )
            for at, radius in enumerate(radii)
        ]
    )


@settings(max_examples=100, deadline=None)
@given(wheels, wheels, st.floats(0.0, 0.022))
def test_cells_find_what_geos_finds(left, right, east):
    first, second = star(left, 0.0), star(right, east)
    true_m2 = area_m2(shapely.intersection(first, second))
    assume(abs(true_m2 - SLIVER_M2) > 0.1)
    found = OverlapSearch().find(first, second)
    assert (found is not None) is (true_m2 > SLIVER_M2)
    if found is not None:
        assert found.area_m2 <= true_m2 * 1.001 + 0.01
