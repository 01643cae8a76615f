"""An operator's own shapes become zones: polygons as they are, lines and points with a buffer."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from zones.border_zone import ZoneKind
from zones.errors import BuildError, ZoneFileError
from zones.events import Direction
from zones.frame import frame_for
from zones.imports import Import, ImportOptions, buffered, import_zones, read_shapes, unique_ids
from zones.rings import MAX_VERTICES

ROADS = Path(__file__).parents[1] / "corpus" / "geo" / "roads_liechtenstein_osm.geojson"
SQUARE = [[8.0, 47.0], [8.01, 47.0], [8.01, 47.01], [8.0, 47.01], [8.0, 47.0]]
LINE = [[9.50, 47.10], [9.51, 47.10], [9.51, 47.11]]
TRACKING = ImportOptions(kind=ZoneKind.TRACKING, buffer_m=20.0)


def feature(coordinates, kind="Polygon", **properties):
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": kind, "coordinates": coordinates},
    }


def collection(*features) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": list(features)}).encode()


def zones_of(data: bytes, options=TRACKING):
    zone_set, imported = import_zones(read_shapes(data, "own.geojson"), options, "own.geojson", "1")
    return zone_set.zones, imported.notes


def metric(zone):
    """The zone's polygons in metres, by the frame for its place."""
    frame = frame_for([(lat, lon) for rings in zone.polygons for lon, lat in rings[0]])
    parts = [shapely.Polygon(*_metres(frame, rings[:1]), holes=_metres(frame, rings[1:])) for rings in zone.polygons]
    return shapely.union_all(parts), frame


def _metres(frame, rings):
    return [[frame.to_metres(lat, lon) for lon, lat in ring] for ring in rings]


def test_a_polygon_stays_as_it_is():
    (zone,), notes = zones_of(collection(feature([SQUARE], name="Zollhof Süd")), ImportOptions())
    assert zone.polygons == ((tuple(map(tuple, SQUARE)),),)
    assert (zone.id, zone.kind, zone.crossing_key, zone.source) == (
        "zollhof-sud",
        ZoneKind.ACTIVATION,
        "zollhof-sud",
        "own.geojson",
    )
    assert notes == ()


def test_options_reach_every_zone():
    options = ImportOptions(ZoneKind.CONFIRMATION, "kreuz", "CH002311", Direction.OUT, None)
    moved = [[lon + 1.0, lat] for lon, lat in SQUARE]
    zones, _ = zones_of(collection(feature([SQUARE], name="a"), feature([moved], name="a")), options)
    assert [zone.id for zone in zones] == ["a", "a-2"]
    for zone in zones:
        assert (zone.kind, zone.crossing, zone.customs_office, zone.direction) == (
            ZoneKind.CONFIRMATION,
            "kreuz",
            "CH002311",
            Direction.OUT,
        )


def test_a_feature_or_a_bare_shape_will_do():
    bare = json.dumps({"type": "Polygon", "coordinates": [SQUARE]}).encode()
    one = json.dumps(feature([SQUARE], id=7)).encode()
    assert zones_of(bare)[0][0].id == "0"
    assert zones_of(one)[0][0].id == "7"


def test_hours_are_taken_and_wrong_ones_noted():
    good = feature([SQUARE], name="a", opening_hours="Mo-Fr 05:00-22:00; PH off")
    bad = feature([[[lon + 1, lat] for lon, lat in SQUARE]], name="b", openingHours="weekdays", direction="x")
    zones, notes = zones_of(collection(good, bad))
    assert [zone.opening_hours for zone in zones] == ["Mo-Fr 05:00-22:00; PH off", None]
    assert notes[0] == "not taken from the file, use the options: direction"
    assert notes[1].startswith("#1 (b): opening hours 'weekdays' left out: cannot be read")


def test_the_roads_of_liechtenstein_become_ribbons():
    data = ROADS.read_bytes()
    zones, notes = zones_of(data)
    lines = [shape["geometry"]["coordinates"] for shape in json.loads(data)["features"]]
    assert len(zones) == len(lines) == 204
    assert len({zone.id for zone in zones}) == 204
    assert {"landstrasse", "landstrasse-23", "zollstrasse-13"} <= {zone.id for zone in zones}
    assert notes == ()
    assert all(zone.source == "own.geojson, ODbL-1.0" for zone in zones)
    for zone, line in zip(zones, lines, strict=True):
        shape, frame = metric(zone)
        road = shapely.LineString([frame.to_metres(lat, lon) for lon, lat in line])
        assert shape.buffer(0.1).covers(road)
        assert shape.within(road.buffer(20.1, quad_segs=64))
        assert not shape.within(road.buffer(19.0, quad_segs=64))


def test_the_roads_as_activation_zones_need_one_crossing():
    data = ROADS.read_bytes()
    with pytest.raises(ZoneFileError) as refused:
        zones_of(data, ImportOptions(buffer_m=20.0))
    assert "of another crossing" in refused.value.faults[0].what
    assert len(zones_of(data, ImportOptions(buffer_m=20.0, crossing="liechtenstein"))[0]) == 204


def test_lines_and_points_without_a_buffer_are_refused_by_name():
    data = collection(
        feature([SQUARE], name="a"),
        feature(LINE, "LineString", name="Zollstrasse"),
        feature([9.5, 47.1], "Point"),
    )
    with pytest.raises(ZoneFileError) as refused:
        zones_of(data, ImportOptions())
    assert [fault.feature for fault in refused.value.faults] == ["#1 (Zollstrasse)", "#2"]
    assert "--buffer-m" in refused.value.faults[0].what


@pytest.mark.parametrize(
    ("geometry", "area_m2"),
    [
        (feature([9.5, 47.1], "Point"), math.pi * 400.0),
        (feature([[9.5, 47.1], [9.6, 47.1]], "MultiPoint"), 2 * math.pi * 400.0),
        (feature([[9.5, 47.1]] * 3, "LineString"), math.pi * 400.0),
        (feature([[LINE[0], LINE[1]], [[9.6, 47.1], [9.61, 47.1]]], "MultiLineString"), 2 * 40.0 * 758.0),
        (feature([[23.5, 52.0], [23.51, 52.0]], "LineString"), 40.0 * 686.6),
    ],
    ids=["point", "points", "line of no length", "lines", "abroad"],
)
def test_buffers(geometry, area_m2):
    (zone,), _ = zones_of(collection(geometry))
    assert metric(zone)[0].area == pytest.approx(area_m2, rel=0.02)


def test_a_road_that_returns_leaves_its_middle_free():
    ring = [[9.5 + 0.002 * math.cos(a / 4), 47.1 + 0.002 * math.sin(a / 4)] for a in range(25)]
    (zone,), _ = zones_of(collection(feature([*ring, ring[0]], "LineString")))
    ((_, hole),) = zone.polygons
    assert len(hole) > 4


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "expected a GeoJSON"),
        (b'{"type": "GeometryCollection", "geometries": []}', "expected a GeoJSON"),
        (b'{"type": "FeatureCollection"}', "expected a GeoJSON"),
        (collection(), "no features"),
    ],
)
def test_what_is_no_geojson_is_refused(data, what):
    with pytest.raises(BuildError, match=what):
        read_shapes(data, "own.geojson")


BOWTIE = [[8.0, 47.0], [8.01, 47.01], [8.01, 47.0], [8.0, 47.01], [8.0, 47.0]]


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        (feature([BOWTIE]), "crosses itself"),
        (feature([SQUARE[:-1]]), "not closed"),
        (feature([[[lat, lon] for lon, lat in SQUARE]]), "axis order"),
        (feature([[*SQUARE[:1], [8.0, math.nan], *SQUARE[2:]]]), "nan"),
        (feature(None), "list of rings"),
        ({"type": "Feature", "geometry": None}, "null or missing"),
        ("text", "null or missing"),
        (feature([], "GeometryCollection"), "expected Polygon or MultiPolygon"),
        (feature([], "LineString"), "not empty"),
        (feature(5, "LineString"), "not empty"),
        (feature(None, "MultiLineString"), "not empty"),
        (feature([[]], "MultiLineString"), "not empty"),
        (feature([[9.5, math.nan], [9.6, 47.0]], "LineString"), "position [9.5, nan]"),
        (feature([[9.5, 91.0], [9.6, 47.0]], "LineString"), "latitude -85 to 85"),
        (feature([["9", 47.0], [9.6, 47.0]], "LineString"), "position ['9', 47.0]"),
        (feature([[True, 47.0], [9.6, 47.0]], "LineString"), "position [True"),
        (feature([10**400, 47.0], "Point"), "position"),
        (feature([], "Point"), "position []"),
        (feature([[47.1, 9.5], [47.1, 9.6]], "LineString"), "axis order"),
        (feature([[179.999, 1.0], [-179.999, 1.0]], "LineString"), "antimeridian"),
        (feature([[9.5, 47.0]] * (MAX_VERTICES + 1), "LineString"), f"at most {MAX_VERTICES}"),
    ],
)
def test_a_wrong_shape_is_refused_with_all_that_is_right(shape, what):
    good = feature([SQUARE], name="good")
    with pytest.raises(ZoneFileError) as refused:
        zones_of(collection(good, shape))
    assert len(refused.value.faults) == 1
    assert what in refused.value.faults[0].what


@pytest.mark.parametrize("buffer_m", [0.0, -1.0, 5_001.0, math.inf, math.nan])
def test_a_buffer_has_bounds(buffer_m):
    with pytest.raises(BuildError, match="expected over 0 to 5000 m"):
        zones_of(collection(feature(LINE, "LineString")), ImportOptions(buffer_m=buffer_m))


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["Zürich, Güterbahnhof", "zurich guterbahnhof"], ["zurich-guterbahnhof", "zurich-guterbahnhof-2"]),
        (["Straße", "Ж", "ж", "  "], ["strasse", "zone", "zone-2", "zone-3"]),
        (["a", "a-2", "a", "a"], ["a", "a-2", "a-3", "a-4"]),
        (["au/in/activation", "/au//in/"], ["au/in/activation", "au/in"]),
    ],
)
def test_ids(names, ids):
    assert list(unique_ids(names)) == ids


@settings(max_examples=100)
@given(st.lists(st.text(max_size=100) | st.sampled_from(["a", "a-2", "a-3", "Ä", "x" * 90]), max_size=20))
def test_ids_are_unique_and_plain(names):
    ids = list(unique_ids(names))
    assert len(ids) == len(names) == len(set(ids))
    assert all(zone_id.isascii() and zone_id == zone_id.lower() and zone_id.isprintable() for zone_id in ids)
    assert ids == list(unique_ids(names))


steps = st.tuples(st.integers(-400, 400), st.integers(-400, 400))


@settings(max_examples=100)
@given(st.lists(steps, min_size=1, max_size=8), st.floats(1.0, 200.0), st.booleans(), st.booleans())
def test_any_line_gives_a_zone_around_it(walk, buffer_m, line, at_home):
    position = [9.5, 47.1] if at_home else [23.5, -33.2]
    path = [(position[0], position[1])]
    for east, north in walk:
        path.append((path[-1][0] + east * 1e-5, path[-1][1] + north * 1e-5))
    data = collection({"type": "Feature", "geometry": buffered([path], line, buffer_m)})
    (zone,), notes = zones_of(data)
    shape, frame = metric(zone)
    metres = [frame.to_metres(lat, lon) for lon, lat in path]
    road = shapely.LineString(metres) if line else shapely.MultiPoint(metres)
    assert notes == ()
    assert shape.buffer(0.1).covers(road)
    assert shape.within(road.buffer(buffer_m * 1.01 + 0.1))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200)
@given(
    st.sampled_from(["Polygon", "LineString", "MultiLineString", "Point", "MultiPoint", "Feature"]),
    json_values,
    json_values,
)
def test_whatever_stands_in_a_file_it_is_read_or_refused(kind, coordinates, name):
    shape = {"type": "Feature", "properties": {"name": name, "opening_hours": name, "id": name}}
    shape["geometry"] = {"type": kind, "coordinates": coordinates}
    try:
        zones, _ = zones_of(collection(shape))
    except (BuildError, ZoneFileError) as refused:
        assert str(refused)
    else:
        assert len(zones) == 1


def test_nothing_to_import_is_refused():
    with pytest.raises(ZoneFileError, match="no zones"):
        import_zones(Import(()), TRACKING, "own.geojson", "1")
