"""zones/quiet_map.py: no box holds an edge, every box holds its position, no free way meets an edge."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from zones.border_zone import BorderZone, ZoneSet
from zones.catalogue import shipped_zone_set
from zones.frame import SWISS
from zones.index import FAR_DEG, compile_index
from zones.quiet_map import MAX_RINGS, NO_BOX, QUIET_CELL_M, _mark, _rings, build_quiet_map

EAST, NORTH = 2_688_000.0, 1_283_000.0


def ring_about(east, north, radius_m, corners):
    points = [
        SWISS.to_degrees(
            east + radius_m * math.cos(2 * math.pi * k / corners),
            north + radius_m * math.sin(2 * math.pi * k / corners),
        )
        for k in range(corners)
    ]
    return tuple((lon, lat) for lat, lon in [*points, points[0]])


def world(seed, count):
    rng = random.Random(seed)
    return [
        BorderZone(
            id=f"z{k}",
            polygons=(
                (
                    ring_about(
                        EAST + rng.uniform(-15_000, 15_000),
                        NORTH + rng.uniform(-15_000, 15_000),
                        rng.uniform(20.0, 1_500.0),
                        rng.randint(3, 12),
                    ),
                ),
            ),
        )
        for k in range(count)
    ]


def boundary(zones):
    """Every edge, cut as the index cuts it, in the frame."""
    index = compile_index(ZoneSet("t", tuple(zones)))
    return index, shapely.multilinestrings(
        [[(e[0], e[1]), (e[2], e[3])] for zone in index.zones.values() for e in zone.edges]
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_no_box_holds_an_edge_and_every_box_holds_its_position(seed, count):
    index, edges = boundary(world(seed, count))
    shapely.prepare(edges)
    rng = random.Random(seed)
    for _ in range(60):
        latitude, longitude = SWISS.to_degrees(
            EAST + rng.uniform(-30_000, 30_000), NORTH + rng.uniform(-30_000, 30_000)
        )
        south, west, north, east = box = index.quiet_box(latitude, longitude)
        if box == NO_BOX:
            assert shapely.distance(edges, shapely.Point(*SWISS.to_metres(latitude, longitude))) < 2 * QUIET_CELL_M
            continue
        assert south < latitude < north
        assert west < longitude < east
        sides = 40  # the sides of the box are bent in the frame
        rim = [(south, west + (east - west) * k / sides) for k in range(sides)]
        rim += [(south + (north - south) * k / sides, east) for k in range(sides)]
        rim += [(north, east - (east - west) * k / sides) for k in range(sides)]
        rim += [(north - (north - south) * k / sides, west) for k in range(sides)]
        assert not shapely.intersects(edges, shapely.Polygon([SWISS.to_metres(*corner) for corner in rim]))
        # A way straight in the frame from corner to corner bends out of the box, and still meets nothing.
        shift = 1e-9
        corners = [SWISS.to_metres(a, b) for a, b in ((south + shift, west + shift), (north - shift, east - shift))]
        assert not shapely.intersects(edges, shapely.LineString(corners))


def test_the_clearance_is_never_more_than_the_distance():
    index, edges = boundary(world(3, 8))
    rng = random.Random(3)
    useful = 0
    for _ in range(500):
        latitude, longitude = SWISS.to_degrees(
            EAST + rng.uniform(-20_000, 20_000), NORTH + rng.uniform(-20_000, 20_000)
        )
        bound_m = index.parts[0].quiet.clearance_m(latitude, longitude)
        true_m = shapely.distance(edges, shapely.Point(*SWISS.to_metres(latitude, longitude)))
        assert bound_m <= true_m
        useful += bound_m > 0.25 * true_m
    assert useful > 250


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=6))
def test_rings_are_the_chebyshev_distance_to_the_nearest_crossed_cell(height, width, cells):
    crossed = np.zeros((height, width), np.bool_)
    marked = [(row, column) for row, column in cells if row < height and column < width]
    for row, column in marked:
        crossed[row, column] = True
    found = _rings(crossed)
    for row in range(height):
        for column in range(width):
            nearest = min((max(abs(row - r), abs(column - c)) for r, c in marked), default=MAX_RINGS)
            assert found[row, column] == min(nearest, MAX_RINGS)


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.floats(0.0, 29.99)] * 4))
def test_every_cell_an_edge_meets_is_marked(line):
    crossed = np.zeros((31, 31), np.bool_)
    _mark(crossed, np.array([line]))
    for share in np.linspace(0.0, 1.0, 500):
        x, y = line[0] + share * (line[2] - line[0]), line[1] + share * (line[3] - line[1])
        assert crossed[math.floor(y), math.floor(x)]
    assert crossed.sum() <= 4 * (abs(line[2] - line[0]) + abs(line[3] - line[1]) + 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_no_free_way_meets_an_edge(seed, count):
    index, edges = boundary(world(seed, count))
    shapely.prepare(edges)
    rng = random.Random(seed)
    for _ in range(60):
        x, y = EAST + rng.uniform(-18_000, 18_000), NORTH + rng.uniform(-18_000, 18_000)
        to = x + rng.choice([40.0, 1_500.0]) * rng.uniform(-1, 1), y + rng.choice([40.0, 1_500.0]) * rng.uniform(-1, 1)
        way = (*SWISS.to_degrees(x, y), *SWISS.to_degrees(*to))
        if index.way_is_free(*way):
            assert index.way_is_free(*way[2:], *way[:2])
            assert not shapely.intersects(edges, shapely.LineString([(x, y), to]))


def test_ways_are_free_inside_zones_and_outside_them_and_nowhere_else():
    index = compile_index(ZoneSet("one", (BorderZone(id="z", polygons=((ring_about(EAST, NORTH, 1_000.0, 4),),)),)))

    def free(x, to_x):
        return index.way_is_free(*SWISS.to_degrees(EAST + x, NORTH), *SWISS.to_degrees(EAST + to_x, NORTH))

    assert free(-600.0, 600.0)
    assert free(1_300.0, 2_500.0)
    assert not free(0.0, 1_300.0)
    assert not free(3_000.0, 7_000.0), "too long"
    assert not free(9_000.0, 9_100.0), "off the map"
    assert not index.way_is_free(math.nan, 7.5, 47.0, 7.5)
    assert not index.way_is_free(47.0, 7.5, 47.0, math.inf)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 91.0, -90.5])
def test_no_box_where_no_position_can_be(bad):
    index = compile_index(shipped_zone_set())
    assert index.quiet_box(bad, 8.0) == NO_BOX
    assert index.quiet_box(47.0, bad * 2.1) == NO_BOX


@pytest.mark.parametrize("longitude", [179.9, -179.9, 180.0, -180.0])
def test_boxes_end_at_the_antimeridian(longitude):
    square = ((179.99, -17.0), (-179.99, -17.0), (-179.99, -16.9), (179.99, -16.9), (179.99, -17.0))
    index = compile_index(ZoneSet("fiji", (BorderZone(id="z", polygons=((square,),)),)))
    _, west, _, east = index.quiet_box(-16.0, longitude)
    assert -180.0 <= west <= longitude <= east <= 180.0


def test_far_from_every_part_a_box_is_a_cell_of_the_map_and_no_position():
    near = BorderZone(id="home", polygons=((ring_about(EAST, NORTH, 100.0, 6),),))
    other = BorderZone(id="cape", polygons=((((18.4, -33.9), (18.41, -33.9), (18.41, -33.89), (18.4, -33.9)),),))
    index = compile_index(ZoneSet("two", (near, other)))
    box = index.quiet_box(10.003, 20.017)
    assert box == index.quiet_box(10.019, 20.001)
    assert box == pytest.approx((10.0 - FAR_DEG, 20.0 - FAR_DEG, 10.0 + 2 * FAR_DEG, 20.0 + 2 * FAR_DEG))


def test_a_wide_group_gets_coarser_cells():
    line = np.array([[0.0, 0.0, 60.0, 40.0]])
    wide = build_quiet_map(line, 0.0, (0.0, 40.0, 0.0, 60.0))
    assert wide.width * wide.height <= 16_000_000
    assert wide.box(20.0, 30.0) == NO_BOX
    assert wide.box(30.0, 5.0) != NO_BOX
