"""zones/index.py and zones/grid.py: every answer against shapely on the same projected edges."""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from zones.border_zone import BorderZone, ZoneKind, ZoneSet
from zones.frame import SWISS
from zones.grid import BYTE_M, NEAR_M, REACH_M
from zones.index import ZoneIndex, compile_index
from zones.membership import EDGE_M

BORDER = Path(__file__).parents[2] / "zones/data/geo/border.geojson"
EAST, NORTH = 2_688_000.0, 1_283_000.0


def ring(points):
    degrees = [SWISS.to_degrees(x, y) for x, y in [*points, points[0]]]
    return tuple((lon, lat) for lat, lon in degrees)


def star(count, radius_m, seed, east=EAST, north=NORTH):
    """A star-shaped ring: always valid, spiky and with as many vertices as wanted."""
    rng = random.Random(seed)
    radii = [radius_m * rng.uniform(0.4, 1.0) for _ in range(count)]
    angles = [2 * math.pi * k / count for k in range(count)]
    return [(east + r * math.cos(a), north + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def zone(name, *rings, **properties):
    return BorderZone(id=name, polygons=(tuple(rings),), **properties)


def polygon_of(index: ZoneIndex, name: str):
    """The zone as shapely sees it: polygonised from the very edges the index uses."""
    lines = shapely.linestrings([((e[0], e[1]), (e[2], e[3])) for e in index.zones[name].edges])
    faces = shapely.polygonize(list(lines))
    holes_out = [
        face for face in faces.geoms if index.contains(index.zones[name], *face.representative_point().coords[0])
    ]
    return shapely.union_all(holes_out), shapely.union_all(lines)


def probes(index, name, count, seed):
    rng = random.Random(seed)
    edges = index.zones[name].edges
    for _ in range(count):
        x1, y1, x2, y2 = rng.choice(edges)
        share = rng.choice([0.0, 1.0, rng.random()])
        off = rng.choice([0.0, 1e-3, 1.0, 30.0, 300.0, 6_000.0])
        angle = rng.uniform(0, 2 * math.pi)
        x, y = x1 + share * (x2 - x1) + off * math.cos(angle), y1 + share * (y2 - y1) + off * math.sin(angle)
        yield x, y
        yield round(x / 200.0) * 200.0, y  # on the lines between cells


@pytest.mark.parametrize("vertices", [3, 9, 64, 65, 700, 5_000])
def test_every_answer_agrees_with_shapely(vertices):
    hole = [(EAST + 20 * math.cos(a), NORTH + 20 * math.sin(a)) for a in (0, 2, 4)]
    index = compile_index(ZoneSet("t", (zone("z", ring(star(vertices, 900.0, vertices)), ring(hole)),)))
    compiled, part = index.zones["z"], index.parts[0]
    lines = shapely.linestrings([((e[0], e[1]), (e[2], e[3])) for e in compiled.edges])
    boundary = shapely.union_all(lines)
    outer = max(shapely.polygonize(list(lines)).geoms, key=lambda g: shapely.Polygon(g.exterior).area)
    area = shapely.difference(shapely.Polygon(outer.exterior), shapely.Polygon(hole))
    for x, y in probes(index, "z", 300, vertices):
        point = shapely.Point(x, y)
        distance = shapely.distance(boundary, point)
        expected = shapely.covers(area, point) or distance <= EDGE_M
        if abs(distance - EDGE_M) > 1e-6:
            assert index.contains(compiled, x, y) is bool(expected), (x, y, distance)
        place = part.place(0, *SWISS.to_degrees(x, y))
        assert place.lower_bound_m <= shapely.distance(area, point) + 1e-3
        near = [n for n in place.partial if n.zone is compiled]
        got = near[0].clearance_m(x, y) if near else NEAR_M
        assert got == pytest.approx(min(distance, NEAR_M), abs=1e-6)


def test_overlapping_zones_multipolygons_and_holes_are_kept_apart():
    big = zone("big", ring(star(12, 2_000.0, 1)))
    two = BorderZone(id="two", polygons=((ring(star(5, 300.0, 2)),), (ring(star(5, 300.0, 3, EAST + 1_000.0)),)))
    index = compile_index(ZoneSet("t", (big, two)))
    areas = {name: polygon_of(index, name) for name in ("big", "two")}
    for x, y in probes(index, "two", 300, 5):
        got = index.containing(*SWISS.to_degrees(x, y))
        for name, (area, boundary) in areas.items():
            if shapely.distance(boundary, shapely.Point(x, y)) > 2 * EDGE_M:
                assert (name in got) is bool(shapely.contains_xy(area, x, y))


def test_the_customs_territory_compiles_fast_and_knows_both_sides_of_the_line():
    feature = next(
        f for f in json.loads(BORDER.read_text())["features"] if f["properties"].get("role") == "customs_territory"
    )
    geometry = feature["geometry"]
    parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    polygons = tuple(tuple(tuple((lon, lat) for lon, lat, *_ in r) for r in rings) for rings in parts)
    started = time.process_time()
    index = compile_index(ZoneSet("t", (BorderZone(id="ch", polygons=polygons),)))
    assert time.process_time() - started < 5.0  # 0.6 s measured; room for a busy machine
    for inside, place in [
        (True, (46.95, 7.44)),  # Bern
        (True, (47.14, 9.52)),  # Vaduz
        (True, (47.694, 8.688)),  # Büsingen
        (False, (45.969, 8.972)),  # Campione
        (False, (47.77, 8.84)),  # Singen
        (False, (46.20, 5.9)),
    ]:
        assert (index.containing(*place) == {"ch"}) is inside
    assert index.place(46.95, 7.44).partial == ()
    assert index.place(50.0, 8.0).lower_bound_m == REACH_M


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.floats(-8_000, 8_000), st.floats(-8_000, 8_000)),
    st.tuples(st.floats(-8_000, 8_000), st.floats(-8_000, 8_000)),
)
def test_no_rejected_segment_meets_a_zone(one, other):
    index = STAR
    (lat1, lon1), (lat2, lon2) = (SWISS.to_degrees(EAST + x, NORTH + y) for x, y in (one, other))
    length = math.hypot((lat2 - lat1) * index.metres_per_latitude, (lon2 - lon1) * index.metres_per_longitude)
    assert length >= math.dist(one, other) - 1e-3  # degrees are found to 1e-9
    bound = index.place(lat1, lon1).lower_bound_m + index.place(lat2, lon2).lower_bound_m
    if bound > length:
        line = shapely.LineString([(EAST + one[0], NORTH + one[1]), (EAST + other[0], NORTH + other[1])])
        assert not shapely.intersects(STAR_AREA, line)


STAR = compile_index(ZoneSet("t", (zone("z", ring(star(9, 900.0, 4))),)))
STAR_AREA = polygon_of(STAR, "z")[0]


def test_the_bound_is_useful_and_steps_by_twenty_metres():
    place = STAR.place(*SWISS.to_degrees(EAST + 3_000.0, NORTH))
    true_m = shapely.distance(STAR_AREA, shapely.Point(EAST + 3_000.0, NORTH))
    assert true_m - 500.0 <= place.lower_bound_m <= true_m
    assert place.lower_bound_m % BYTE_M == 0.0


@pytest.mark.parametrize(("latitude", "longitude"), [(-17.0, 179.999), (40.7, -74.0), (-33.9, 18.4), (78.2, 15.6)])
def test_zones_anywhere_have_a_frame_of_their_own(latitude, longitude):
    def box(lat, lon, half):
        corners = [(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)]
        return tuple(((lon + dx + 180.0) % 360.0 - 180.0, lat + dy) for dx, dy in corners)

    home = zone("home", ring(star(9, 900.0, 4)))
    index = compile_index(ZoneSet("t", (home, zone("far", box(latitude, longitude, 0.005)))))
    assert len(index.parts) == 2
    assert index.containing(latitude, longitude) == {"far"}
    east = (longitude + 0.004 + 180.0) % 360.0 - 180.0
    assert index.containing(latitude, east) == {"far"}
    assert index.containing(latitude, (longitude + 0.006 + 180.0) % 360.0 - 180.0) == frozenset()
    assert index.containing(*SWISS.to_degrees(EAST, NORTH)) == {"home"}
    assert index.place(0.5, 0.5).part == -1


def test_way_to_the_exit():
    box = [(EAST - 50, NORTH), (EAST + 50, NORTH), (EAST + 50, NORTH + 600), (EAST - 50, NORTH + 600)]
    north = zone("north", ring(box), bearing=0.0)
    plain = zone("plain", ring(box))
    index = compile_index(ZoneSet("t", (north, plain)))
    at = SWISS.to_degrees(EAST, NORTH + 200)
    assert index.distance_to_exit_m("north", *at) == pytest.approx(400.0, abs=5.0)
    assert index.distance_to_exit_m("plain", *at, 180.0) == pytest.approx(200.0, abs=5.0)
    assert index.distance_to_exit_m("plain", *at) == pytest.approx(math.hypot(50, 400), abs=1.0)
    beyond = SWISS.to_degrees(EAST, NORTH + 900)
    assert index.distance_to_exit_m("north", *beyond) == 0.0
    assert index.distance_to_exit_m("plain", *beyond, 0.0) == 0.0
    with pytest.raises(KeyError):
        index.distance_to_exit_m("none", *at)


def test_kinds_are_ordered_for_output():
    kinds = [ZoneKind.TRACKING, ZoneKind.ACTIVATION, ZoneKind.CONFIRMATION]
    zones = tuple(zone(kind.value, ring(star(5, 100.0, 7)), kind=kind) for kind in reversed(kinds))
    index = compile_index(ZoneSet("t", zones))
    assert [index.zones[kind.value].order for kind in kinds] == [0, 1, 2]


def test_an_empty_set_is_nowhere():
    index = compile_index(ZoneSet("t", ()))
    assert index.containing(47.0, 8.0) == frozenset()
