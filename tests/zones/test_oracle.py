"""The index against GEOS: random and boundary points, segments, on the shipped zones and on stars of 3 to 5,000
corners. Some ten thousand in every run, millions in the nightly one."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import shapely

from zones.border_zone import BorderZone, ZoneSet
from zones.catalogue import shipped_zone_set
from zones.frame import SWISS
from zones.grid import NEAR_M
from zones.index import ZoneIndex, compile_index
from zones.membership import EDGE_M
from zones.segment import Leg, spans

EAST, NORTH = 2_688_000.0, 1_283_000.0
SIZES = [
    pytest.param(1, id="some"),
    pytest.param(100, marks=[pytest.mark.nightly, pytest.mark.timeout(3_000)], id="all"),
]


def star(count, seed):
    """A spiky ring that is always valid."""
    rng = random.Random(seed)
    points = []
    for k in range(count):
        radius, angle = 900.0 * rng.uniform(0.3, 1.0), 2 * math.pi * k / count
        points.append(SWISS.to_degrees(EAST + radius * math.cos(angle), NORTH + radius * math.sin(angle)))
    return tuple((lon, lat) for lat, lon in [*points, points[0]])


def areas(index: ZoneIndex):
    """Each zone as GEOS sees it: polygonised from the very edges the index uses."""
    found = {}
    for zone in index.zones.values():
        faces = shapely.polygonize([shapely.LineString([(e[0], e[1]), (e[2], e[3])]) for e in zone.edges])
        assert len(faces.geoms) == 1
        found[zone.id] = faces.geoms[0]
    return found


def near_edges(index, rng, count):
    """Points at 0, 1 mm, 1 m, 30 m, 300 m from edges, on corners, and on the lines between cells."""
    edges = [edge for zone in index.zones.values() for edge in zone.edges]
    for _ in range(count):
        x1, y1, x2, y2 = rng.choice(edges)
        share, off = rng.choice([0.0, 1.0, rng.random()]), rng.choice([0.0, 1e-3, 1.0, 30.0, 300.0])
        angle = rng.uniform(0.0, 2 * math.pi)
        x, y = x1 + share * (x2 - x1) + off * math.cos(angle), y1 + share * (y2 - y1) + off * math.sin(angle)
        yield rng.choice([(x, y), (round(x / 200.0) * 200.0, y), (x, round(y / 200.0) * 200.0)])


def assert_agrees(index, points):
    """Membership of every point in every zone nearby, against GEOS; within 2 EDGE_M of an edge either may hold."""
    shapes = areas(index)
    tree, names = shapely.STRtree(list(shapes.values())), list(shapes)
    xy = np.array(points)
    geoms = shapely.points(xy)
    which, zones = tree.query(geoms, predicate="dwithin", distance=2 * EDGE_M)
    close: dict[int, set[int]] = {}
    for k, z in zip(which.tolist(), zones.tolist(), strict=True):
        close.setdefault(k, set()).add(z)
    part = index.parts[0]
    for k, (x, y) in enumerate(points):
        place = part.place(0, *SWISS.to_degrees(x, y))
        got = place.full | {n.zone.id for n in place.partial if n.contains(place.x, place.y)}
        for z in close.get(k, ()):
            shape = shapes[names[z]]
            if shapely.distance(shape.boundary, geoms[k]) > 2 * EDGE_M:
                assert names[z] in got, (x, y, names[z])
        assert got <= {names[z] for z in close.get(k, ())}, (x, y, got)


@pytest.mark.parametrize("times", SIZES)
def test_points_of_the_shipped_zones(times):
    index = compile_index(shipped_zone_set())
    for run in range(times):
        assert_agrees(index, list(near_edges(index, random.Random(run), 20_000)))


@pytest.mark.parametrize("times", SIZES)
@pytest.mark.parametrize("corners", [3, 9, 64, 65, 700, 5_000])
def test_points_of_stars(corners, times):
    index = compile_index(ZoneSet("s", (BorderZone(id="z", polygons=((star(corners, corners),),)),)))
    for run in range(times):
        rng = random.Random(run)
        points = [(EAST + rng.uniform(-1_500, 1_500), NORTH + rng.uniform(-1_500, 1_500)) for _ in range(1_000)]
        assert_agrees(index, points + list(near_edges(index, rng, 2_000)))


@pytest.mark.parametrize("times", SIZES)
def test_segments(times):
    """The length inside each zone, and no way called clear that GEOS sees meet an edge."""
    index = compile_index(shipped_zone_set())
    shapes = areas(index)
    zones = list(index.zones.values())
    for run in range(times):
        rng = random.Random(run)
        clear = 0
        for x, y in near_edges(index, rng, 3_000):
            length, angle = rng.choice([20.0, 110.0, 600.0]), rng.uniform(0.0, 2 * math.pi)
            ends = (x, y), (x + length * math.cos(angle), y + length * math.sin(angle))
            line = shapely.LineString(ends)
            degrees = [SWISS.to_degrees(*end) for end in ends]
            first = index.place(*degrees[0])
            if index.way_is_clear(*degrees[0], *degrees[1]):
                clear += 1
                assert not any(shapely.intersects(shapes[n.zone.id].boundary, line) for n in first.partial)
            zone = rng.choice(first.partial).zone if first.partial else rng.choice(zones)
            leg = Leg(0.0, *ends[0], 47.0, 8.0, 1.0, *ends[1], 47.0, 8.0)
            shape = shapes[zone.id]
            clear_end = shapely.distance(shape.boundary, shapely.Point(ends[1])) > 2.0 * EDGE_M
            found = spans(index, zone, leg, index.contains(zone, *ends[1]), clear_end=clear_end)
            inside = sum(b - a for a, b in found) * length
            least, most = (shapely.intersection(shape.buffer(off), line).length for off in (-0.02, 0.02))
            assert least - 1e-6 <= inside <= most + 1e-6
        assert clear > 300


@pytest.mark.parametrize("corners", [9, 700])
def test_clearance(corners):
    index = compile_index(ZoneSet("s", (BorderZone(id="z", polygons=((star(corners, corners),),)),)))
    boundary = areas(index)["z"].boundary
    for x, y in near_edges(index, random.Random(corners), 1_500):
        place = index.place(*SWISS.to_degrees(x, y))
        true_m = shapely.distance(boundary, shapely.Point(x, y))
        got_m = place.partial[0].clearance_m(x, y) if place.partial else NEAR_M
        assert got_m == pytest.approx(min(true_m, NEAR_M), abs=1e-6)
