"""What the test suites of other projects ask of a geofence, asked of ours, with shapes and numbers of our own.

- Turf (MIT), packages/turf-boolean-point-in-polygon: concave rings, holes, several parts, every kind of boundary
  point, points level with a vertex, long thin rings.
- Traccar (Apache-2.0), geofence/GeofencePolygonTest: rings across the antimeridian and the meridian of Greenwich,
  rings that cross themselves.
- JTS (EPL-2.0/EDL-1.0), testxml/general/TestRelatePA: parts that touch in one point, boundary points of several parts.

Turf leaves the boundary to an option; for us it is inside. Traccar takes rings that cross themselves; we refuse them.
"""

from __future__ import annotations

import json

import pytest

from zones.border_zone import BorderZone, ZoneSet
from zones.catalogue import parse_zone_set
from zones.errors import ZoneFileError
from zones.frame import SWISS
from zones.index import ZoneIndex, compile_index

EAST, NORTH, UNIT_M = 2_620_000.0, 1_255_000.0, 13.0
"""Where the shapes lie and how large they are; they are drawn in units."""
IN, OUT = True, False


def degrees(x: float, y: float) -> tuple[float, float]:
    """A drawn point as (latitude, longitude)."""
    return SWISS.to_degrees(EAST + x * UNIT_M, NORTH + y * UNIT_M)


def ring(*corners: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    closed = [degrees(x, y) for x, y in (*corners, corners[0])]
    return tuple((longitude, latitude) for latitude, longitude in closed)


KITE = (((0, 6), (-6, 0), (0, -8), (6, 0)),)
DART = (((-9, 0), (0, 12), (9, 0), (0, 5)),)
COMB = (((0, 0), (0, -10), (4, -10), (4, -4), (8, -4), (12, -10), (12, -4), (16, -10), (20, -10), (20, 0)),)
ARROWHEAD = (((0, 0), (7, 7), (0, 14), (21, 14), (21, 0)),)
FRAME = (((-20, 0), (0, 20), (20, 0), (0, -20)), ((-8, 0), (0, 8), (8, 0), (0, -8)))
LATH = (((0, 0), (900, 1_300), (903, 1_298), (3, -2)),)

ONE_PART = {
    "kite": (KITE, {
        (0, 6): IN, (6, 0): IN, (0, -8): IN, (0, 0): IN, (3, 3): IN, (-3, -4): IN,
        (-7, 0): OUT, (7, 0): OUT, (0, 7): OUT, (0, -9): OUT, (50, 0): OUT, (-50, 0): OUT, (4, 4): OUT,
    }),
    "dart": (DART, {(0, 5): IN, (0, 4): OUT, (0, 0): OUT, (-10, 0): OUT, (10, 0): OUT, (0, 12): IN, (0, 8): IN}),
    "comb": (COMB, {
        (0, 0): IN, (10, 0): IN, (20, -5): IN, (0, -5): IN, (2, -5): IN, (14, -5): IN, (13, -8): OUT, (18, -5): IN,
        (9, -5): IN, (8.5, -5): OUT,
        (6, -4): IN, (4, -4): IN, (8, -4): IN, (12, -4): IN, (10, -4): IN, (6, -5): OUT, (2, -10): IN, (8, -10): OUT,
        (12, -10): IN, (16, -10): IN, (14, -10): OUT, (25, -4): OUT, (-5, -4): OUT, (11, -9): OUT, (12, -8): IN,
    }),
    "arrowhead": (ARROWHEAD, {(14, 10): IN, (3, 7): OUT, (7, 7): IN, (7.5, 7): IN, (6.5, 7): OUT, (0, 7): OUT}),
    "frame": (FRAME, {
        (0, 0): OUT, (0, 8): IN, (8, 0): IN, (-8, 0): IN, (0, -8): IN, (4, 4): IN, (-4, -4): IN, (3.9, 3.9): OUT,
        (4.1, 4.1): IN, (20, 0): IN, (10, 10): IN, (10.1, 10.1): OUT, (14, 0): IN, (-14, 0): IN, (7.9, 0): OUT,
    }),
    "lath": (LATH, {(451.5, 649): IN, (0, 0): IN, (903, 1_298): IN, (450, 652): OUT, (453, 645): OUT, (900, 0): OUT}),
}  # fmt: skip
SEVERAL_PARTS = {
    "frame and island": ((FRAME, KITE), {(0, 0): IN, (0, 7): OUT, (0, 6): IN, (0, 9): IN, (7, 0): OUT, (21, 0): OUT}),
    "corner to corner": (
        ((((-9, -9), (0, -9), (0, 0), (-9, 0)),),),
        {(0, 0): IN, (-4, -4): IN, (4, 4): OUT, (0, -9): IN, (-9, 0): IN},
    ),
    "corner to corner, both": (
        ((((-9, -9), (0, -9), (0, 0), (-9, 0)),), (((0, 0), (9, 0), (9, 9), (0, 9)),)),
        {(0, 0): IN, (-4, -4): IN, (4, 4): IN, (-4, 4): OUT, (4, -4): OUT, (0, 9): IN, (-9, 0): IN, (0, -9): IN},
    ),
}


def index_of(kind: str, *parts: tuple[tuple[tuple[float, float], ...], ...]) -> ZoneIndex:
    zone = BorderZone(id="z", polygons=tuple(tuple(ring(*corners) for corners in part) for part in parts))
    return compile_index(ZoneSet("cases", (zone,)), grid_zones=2_000 if kind == "grid" else 0)


@pytest.mark.parametrize("kind", ["grid", "tree"])
@pytest.mark.parametrize("turned", [False, True], ids=["", "upside down"])
@pytest.mark.parametrize("name", [*ONE_PART, *SEVERAL_PARTS])
def test_points(name: str, turned: bool, kind: str) -> None:
    """Also upside down: a ray to one side has its special cases on one side."""
    parts, cases = ((ONE_PART[name][0],), ONE_PART[name][1]) if name in ONE_PART else SEVERAL_PARTS[name]
    sign = -1 if turned else 1
    index = index_of(
        kind, *(tuple(tuple((sign * x, sign * y) for x, y in corners) for corners in part) for part in parts)
    )
    for (x, y), expected in cases.items():
        assert bool(index.containing(*degrees(sign * x, sign * y))) is expected, (x, y)


ACROSS = ((179.94, -16.92), (-179.93, -16.95), (-179.97, -16.81), (179.96, -16.8), (179.94, -16.92))
AT_GREENWICH = ((-0.04, 50.78), (0.05, 50.77), (0.03, 50.84), (-0.05, 50.83), (-0.04, 50.78))


@pytest.mark.parametrize("kind", ["grid", "tree"])
@pytest.mark.parametrize(
    ("corners", "cases"),
    [
        (ACROSS, {
            (-16.87, 179.99): IN, (-16.87, -179.99): IN, (-16.87, 180.0): IN, (-16.87, -180.0): IN,
            (-16.87, 179.9): OUT, (-16.87, -179.9): OUT, (-16.97, 180.0): OUT, (-16.87, 0.0): OUT,
        }),
        (AT_GREENWICH, {
            (50.8, -0.01): IN, (50.8, 0.01): IN, (50.8, 0.0): IN, (50.8, 0.09): OUT, (50.8, -0.09): OUT,
            (50.8, 180.0): OUT,
        }),
    ],
    ids=["antimeridian", "Greenwich"],
)  # fmt: skip
def test_meridians(corners, cases, kind: str) -> None:
    zones = ZoneSet("meridians", (BorderZone(id="z", polygons=((corners,),)),))
    index = compile_index(zones, grid_zones=2_000 if kind == "grid" else 0)
    for position, expected in cases.items():
        assert bool(index.containing(*position)) is expected, position


@pytest.mark.parametrize(
    "corners",
    [((5, 5), (-5, 5), (0, 10), (0, 0)), ((6, 6), (0, 12), (-6, 6), (0, 6), (6, 12), (6, 0))],
    ids=["bow tie", "twice over"],
)
def test_rings_that_are_no_area_are_refused(corners) -> None:
    coordinates = [[list(position) for position in ring(*corners)]]
    feature = {
        "type": "Feature",
        "id": "z",
        "properties": {"zone": "ACTIVATION", "direction": "IN", "crossing": "here", "customsOffice": "CH000001"},
        "geometry": {"type": "Polygon", "coordinates": coordinates},
    }
    with pytest.raises(ZoneFileError):
        parse_zone_set(json.dumps({"type": "FeatureCollection", "features": [feature]}).encode(), "case")
