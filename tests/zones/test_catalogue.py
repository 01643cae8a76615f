"""Zone files in and out: every kind of bad file is refused with what, where and what was expected."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zones.border_zone import BorderZone, Confidence, ZoneKind, ZoneSet
from zones.catalogue import (
    encode_zone_set,
    parse_zone_set,
    read_zone_file,
    shipped_bytes,
    shipped_zone_set,
    write_zone_file,
    zone_set_digest,
)
from zones.errors import Fault, ZoneFileError
from zones.events import Direction
from zones.rings import MAX_OVERLAPS, MAX_VERTICES

SQUARE = [[8.0, 47.0], [8.01, 47.0], [8.01, 47.01], [8.0, 47.01], [8.0, 47.0]]
HOLE = [[8.004, 47.004], [8.004, 47.006], [8.006, 47.006], [8.006, 47.004], [8.004, 47.004]]

POND = [[8.0045, 47.0045], [8.0045, 47.005], [8.005, 47.005], [8.005, 47.0045], [8.0045, 47.0045]]


def moved(ring, east=0.0, north=0.0):
    return [[longitude + east, latitude + north] for longitude, latitude in ring]


def feature(zone_id="a", rings=(SQUARE,), **properties):
    geometry = {"type": "Polygon", "coordinates": list(rings)}
    return {"type": "Feature", "properties": {"id": zone_id, **properties}, "geometry": geometry}


def collection(*features, **header) -> bytes:
    document = {"type": "FeatureCollection", "features": list(features)}
    return json.dumps(document | ({"borderlane": header} if header else {})).encode()


def faults(data: bytes) -> tuple[Fault, ...]:
    with pytest.raises(ZoneFileError) as refused:
        parse_zone_set(data, "test.geojson")
    return refused.value.faults


def multi(*polygons):
    return {
        "type": "Feature",
        "properties": {"id": "m"},
        "geometry": {"type": "MultiPolygon", "coordinates": list(polygons)},
    }


def circle(vertices: int):
    steps = [2.0 * math.pi * step / vertices for step in range(vertices)]
    ring = [[8.0 + 0.01 * math.cos(step), 47.0 + 0.01 * math.sin(step)] for step in steps]
    return [*ring, ring[0]]


def comb(teeth: int):
    """A ring of teeth to the north on a bar in the south, from 8/47 to 8.1/47.1."""
    corners = [(0.0, 0.0)]
    for tooth in range(teeth):
        west, east = tooth / teeth, (tooth + 0.5) / teeth
        corners += [(west, 0.01), (west, 0.99), (east, 0.99), (east, 0.01)]
    ring = [[8.0 + 0.1 * x, 47.0 + 0.1 * y] for x, y in [*corners, (1.0, 0.01), (1.0, 0.0)]]
    return [*ring, ring[0]]


BOWTIE = [[8.0, 47.0], [8.01, 47.01], [8.01, 47.0], [8.0, 47.01], [8.0, 47.0]]
WIDE = [[-179.0, 1.0], [179.0, 1.0], [179.0, 2.0], [-179.0, 2.0], [-179.0, 1.0]]
SWAPPED = [[latitude, longitude] for longitude, latitude in SQUARE]

BAD_FILES = [
    ("empty file", b"", "file", "not JSON", ""),
    ("cut short", collection(feature())[:-9], "file", "not JSON", "line 1"),
    ("not UTF-8", b'{"type": "\xff\xfe"}', "file", "not JSON", ""),
    ("too deep", b"[" * 100_000, "file", "not JSON", ""),
    ("huge number", b'{"type": ' + b"9" * 5_000 + b"}", "file", "not JSON", ""),
    ("a list", b"[]", "file", "expected FeatureCollection", "type"),
    ("one feature", json.dumps(feature()).encode(), "file", "type 'Feature'", "type"),
    ("no features", b'{"type":"FeatureCollection"}', "file", "no list of features", "features"),
    ("empty", collection(), "file", "no zones", "features"),
    ("feature is text", collection("zone"), "#0", "type Feature", "features[0]"),
    (
        "properties a list",
        collection(feature() | {"properties": []}),
        "#0",
        "expected an object",
        "properties",
    ),
    ("no id", collection(feature(None)), "#0", "id None", "properties.id"),
    ("number as id", collection(feature(7)), "#0", "id 7", "properties.id"),
    ("duplicate id", collection(feature(), feature()), "a", "more than once", "properties.id"),
    ("no geometry", collection(feature() | {"geometry": None}), "a", "expected a Polygon", "geometry"),
    (
        "a point",
        collection(feature() | {"geometry": {"type": "Point", "coordinates": [8, 47]}}),
        "a",
        "'Point'",
        "geometry.type",
    ),
    ("no rings", collection(feature(rings=())), "a", "list of rings", "geometry.coordinates"),
    ("ring is a number", collection(feature(rings=(5,))), "a", "list of positions", "coordinates[0]"),
    ("polygon of a multipolygon", collection(multi([SQUARE], 5)), "m", "list of rings", "coordinates[1]"),
    (
        "multipolygon one level short",
        collection(multi(SQUARE)),
        "m",
        "[longitude, latitude]",
        "coordinates[0][0][0]",
    ),
    ("position too short", collection(feature(rings=([[8.0]] * 4,))), "a", "[longitude, latitude]", "[0][0]"),
    ("not closed", collection(feature(rings=(SQUARE[:-1],))), "a", "not closed", "coordinates[0]"),
    (
        "two corners",
        collection(feature(rings=(SQUARE[:2] + SQUARE[:1],))),
        "a",
        "at least 4",
        "coordinates[0]",
    ),
    ("NaN", collection(feature(rings=([*SQUARE[:1], [8.0, math.nan], *SQUARE[2:]],))), "a", "nan", "[0][1]"),
    (
        "infinite",
        collection(feature(rings=([*SQUARE[:1], [math.inf, 47], *SQUARE[2:]],))),
        "a",
        "inf",
        "[0][1]",
    ),
    ("text", collection(feature(rings=([*SQUARE[:1], ["8", 47], *SQUARE[2:]],))), "a", "'8'", "[0][1]"),
    (
        "truth value",
        collection(feature(rings=([*SQUARE[:1], [True, 47], *SQUARE[2:]],))),
        "a",
        "True",
        "[0][1]",
    ),
    (
        "400 digits",
        collection(feature(rings=([*SQUARE[:1], [10**400, 47], *SQUARE[2:]],))),
        "a",
        "-180",
        "[0][1]",
    ),
    ("longitude 200", collection(feature(rings=(moved(SQUARE, 192),))), "a", "-180 to 180", "[0][0]"),
    ("near the pole", collection(feature(rings=(moved(SQUARE, 0, 40),))), "a", "-85 to 85", "[0][0]"),
    ("axis order at home", collection(feature(rings=(SWAPPED,))), "a", "axis order", "coordinates"),
    (
        "axis order elsewhere",
        collection(feature(rings=([[60, 120], [61, 120], [61, 121], [60, 120]],))),
        "a",
        "axis order",
        "[0][0]",
    ),
    ("crosses itself", collection(feature(rings=(BOWTIE,))), "a", "crosses itself", "longitude 8.005"),
    (
        "hole outside",
        collection(feature(rings=(SQUARE, moved(HOLE, 1)))),
        "a",
        "outside its outer",
        "at longitude",
    ),
    (
        "hole in a hole",
        collection(feature(rings=(SQUARE, HOLE, POND))),
        "a",
        "inside another hole",
        "longitude 8.0045",
    ),
    (
        "part in a part",
        collection(multi([SQUARE], [POND[::-1]])),
        "m",
        "inside another of the same",
        "at longitude",
    ),
    ("no area", collection(feature(rings=([SQUARE[0]] * 4,))), "a", "3 different positions", "at longitude"),
    ("wider than half the earth", collection(feature(rings=(WIDE,))), "a", "antimeridian", "coordinates[0]"),
    (
        "a million vertices",
        collection(feature(rings=(circle(1_000_000),))),
        "a",
        str(MAX_VERTICES),
        "coordinates",
    ),
    (
        "overlap of two crossings",
        collection(feature("a/in"), feature("b/in", (moved(SQUARE, 0.005),))),
        "a/in",
        "overlaps activation zone b/in",
        "at longitude 8.00",
    ),
    (
        "unknown zone",
        collection(feature(zone="ACTIVATON")),
        "a",
        "did you mean 'ACTIVATION'",
        "properties.zone",
    ),
    (
        "unknown direction",
        collection(feature(direction="INN")),
        "a",
        "did you mean 'IN'",
        "properties.direction",
    ),
    ("case of confidence", collection(feature(confidence="High")), "a", "'high'", "properties.confidence"),
    ("list as confidence", collection(feature(confidence=["high"])), "a", "expected high", "confidence"),
    ("unknown competence", collection(feature(competences=["TRANSITT"])), "a", "'TRANSIT'", "competences"),
    ("competence a word", collection(feature(competences="TRANSIT")), "a", "expected a list", "competences"),
    ("competence a list", collection(feature(competences=[["X"]])), "a", "competence ['X']", "competences"),
    ("misspelt property", collection(feature(direcion="IN")), "a", "did you mean 'direction'", "direcion"),
    (
        "other spelling",
        collection(feature(customs_office="CH002311")),
        "a",
        "'customsOffice'",
        "customs_office",
    ),
    ("bearing", collection(feature(bearing=400)), "a", "0 to 360", "properties.bearing"),
    ("bearing NaN", collection(feature(bearing=math.nan)), "a", "0 to 360", "properties.bearing"),
    ("office number", collection(feature(customsOffice="CH1251")), "a", "CH002311", "customsOffice"),
    ("unmanned as text", collection(feature(unmanned="no")), "a", "true or false", "properties.unmanned"),
    (
        "opening hours",
        collection(feature(openingHours="Mo-Fr 25:00-26:00")),
        "a",
        "openingHours 'Mo-Fr 25:00-26:00': cannot be read from '25:00-26:00' on (character 7)",
        "properties.openingHours",
    ),
    ("no such day", collection(feature(openingHours="Feb 30 off")), "a", "no such day", "openingHours"),
    ("hours as a list", collection(feature(openingHours=["24/7"])), "a", "expected text", "openingHours"),
    ("hours without end", collection(feature(openingHours="Mo-Fr," * 200)), "a", "text of 1 to", "openingHours"),
    (
        "twelve zones of 90,000 vertices each",
        collection(*(feature(str(at), (circle(90_000),)) for at in range(12))),
        "0",
        "overlaps activation zone",
        "at longitude",
    ),
    (
        "combs that cross a million times",
        collection(
            feature("a", (comb(1_000),)), feature("b", ([[north - 39, east + 39] for east, north in comb(1_000)],))
        ),
        "a",
        "overlaps activation zone b of another crossing by at least",
        "at longitude",
    ),
    (
        "two hundred zones in one place",
        collection(*(feature(str(at)) for at in range(200))),
        "file",
        f"over {MAX_OVERLAPS} overlaps",
        "",
    ),
    ("lane as number", collection(feature(lane=2)), "a", "text", "properties.lane"),
    ("version a number", collection(feature(), version=3), "file", "2026-11-22.1", "borderlane.version"),
    ("validFrom", collection(feature(), validFrom="tomorrow"), "file", "RFC 3339", "borderlane.validFrom"),
    ("no time zone", collection(feature(), validTo="2026-01-01T00:00:00"), "file", "RFC 3339", "validTo"),
    (
        "ends before it starts",
        collection(feature(), validFrom="2026-01-02T00:00:00Z", validTo="2026-01-01T00:00:00Z"),
        "file",
        "not after",
        "borderlane.validTo",
    ),
]


@pytest.mark.parametrize(
    ("data", "who", "what", "where"), [row[1:] for row in BAD_FILES], ids=[r[0] for r in BAD_FILES]
)
def test_a_bad_file_is_refused_with_what_and_where(data, who, what, where):
    found = faults(data)
    assert any(fault.feature == who and what in fault.what and where in fault.where for fault in found), found


def test_a_million_vertices_are_refused_within_seconds_and_bounded_memory(tmp_path):
    """In a process of its own, since the most memory a process had never falls."""
    path = tmp_path / "large.geojson"
    path.write_bytes(collection(feature(rings=(circle(1_000_000),))))
    program = (
        "import pathlib, resource, sys, time\n"
        "from zones.catalogue import read_zone_file\n"
        "from zones.errors import ZoneFileError\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before, start = peak(), time.process_time()\n"
        "try:\n"
        "    read_zone_file(pathlib.Path(sys.argv[1]))\n"
        "except ZoneFileError as error:\n"
        "    print(len(error.faults), time.process_time() - start, peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    faults_found, cpu_s, more_bytes = done.stdout.split()
    assert faults_found == "1"
    assert float(cpu_s) < 10.0
    assert int(more_bytes) < 12 * path.stat().st_size


def test_every_fault_is_listed():
    data = collection(
        feature("a", rings=(BOWTIE,)),
        feature("b", rings=(SQUARE[:-1],), direction="INN", bearing=-1),
        feature("c", zone="X"),
        feature("d", rings=(moved(SQUARE, 1),)),
        feature("d", rings=(moved(SQUARE, 2),)),
    )
    assert [fault.feature for fault in faults(data)] == ["b", "b", "b", "c", "d", "a"]


def test_a_long_value_is_cut_in_the_message():
    (fault,) = faults(collection(feature(zone="X" * 1_000_000)))
    assert len(str(fault)) < 300


def test_only_the_id_is_required():
    zone_set = parse_zone_set(collection(feature()), "test")
    assert zone_set.zones == (BorderZone(id="a", polygons=((tuple(map(tuple, SQUARE)),),)),)
    assert zone_set.version.startswith("sha256-")
    assert zone_set.warnings == ()


def test_other_peoples_properties_and_heights_are_accepted():
    ring = [[*position, 400.0] for position in SQUARE]
    data = collection(feature(rings=(ring,), name="yard", lanes=None) | {"id": 7, "bbox": [0, 0, 1, 1]})
    assert parse_zone_set(data, "test").zones[0].polygons[0][0] == tuple(map(tuple, SQUARE))


def test_the_id_of_the_feature_serves_where_the_property_is_missing():
    plain = feature() | {"properties": None, "id": "customs-territory"}
    assert parse_zone_set(collection(plain), "test").zones[0].id == "customs-territory"


def test_wrong_winding_is_repaired_with_a_warning():
    data = collection(feature(rings=(SQUARE[::-1], HOLE[::-1])))
    zone_set = parse_zone_set(data, "test")
    assert zone_set.zones == parse_zone_set(collection(feature(rings=(SQUARE, HOLE))), "test").zones
    assert [warning.split(":")[0] for warning in zone_set.warnings] == ["a", "a"]


def test_a_zone_split_at_the_antimeridian_is_accepted():
    west = [[179.0, 1.0], [180.0, 1.0], [180.0, 2.0], [179.0, 2.0], [179.0, 1.0]]
    east = moved(west, -359.0)
    assert len(parse_zone_set(collection(multi([west], [east])), "test").zones[0].polygons) == 2


def test_the_author_may_vouch_for_the_axis_order():
    data = collection(feature(rings=(SWAPPED,)), axisOrder="longitude-latitude")
    assert parse_zone_set(data, "test").zones[0].polygons[0][0][0] == (47.0, 8.0)


@pytest.mark.parametrize(
    "second",
    [
        feature("b/in", (moved(SQUARE, 0.01),)),
        feature("a/out", (moved(SQUARE, 0.005),)),
        feature("b/in", zone="TRACKING"),
        feature("b/in", crossing="a"),
    ],
    ids=["shared edge", "same crossing", "tracking zone", "same crossing by property"],
)
def test_overlap_that_is_allowed(second):
    assert len(parse_zone_set(collection(feature("a/in"), second), "test").zones) == 2


def test_shipped_set_is_the_contracts():
    zones = shipped_zone_set()
    assert (len(zones.crossings), len(zones.zones)) == (64, 384)
    assert zones.warnings == ()
    for crossing in zones.crossings:
        for direction in (Direction.IN, Direction.OUT):
            assert list(zones.of(crossing, direction)) == list(ZoneKind)
            assert all(zone.id.startswith(f"{crossing}/") for zone in zones.of(crossing, direction).values())


def test_shipped_file_is_written_as_we_write():
    assert encode_zone_set(shipped_zone_set()) == shipped_bytes("border_zones.geojson")


def test_written_file_is_read_back(tmp_path):
    path = tmp_path / "zones.geojson"
    write_zone_file(shipped_zone_set(), path)
    assert read_zone_file(path) == shipped_zone_set()
    assert [file.name for file in tmp_path.iterdir()] == ["zones.geojson"]


def test_a_missing_file_is_a_fault_with_its_name(tmp_path):
    with pytest.raises(ZoneFileError, match=r"none\.geojson.*No such file"):
        read_zone_file(tmp_path / "none.geojson")


def test_digest_is_sha256():
    assert zone_set_digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


words = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=12)


@st.composite
def zones(draw, at: int) -> BorderZone:
    """A rectangle in a place of its own, with a hole or a second part now and then."""
    west, south = 6.0 + 0.2 * at, draw(st.integers(460_000_000, 470_000_000)) / 1e7
    size = draw(st.integers(2_000, 400_000)) / 1e7
    outer = rectangle(west, south, size)
    inner = rectangle(west + size / 4, south + size / 4, size / 2)[::-1]
    parts = [(outer, inner) if draw(st.booleans()) else (outer,)]
    if draw(st.booleans()):
        parts.append((rectangle(west + 0.06, south, size),))
    return BorderZone(
        id=f"{at}/{draw(words)}",
        polygons=tuple(parts),
        kind=draw(st.sampled_from(ZoneKind)),
        crossing=draw(st.none() | words),
        customs_office=draw(st.sampled_from([None, "CH002311", "DE004000"])),
        direction=draw(st.sampled_from([None, Direction.IN, Direction.OUT])),
        bearing=draw(st.none() | st.integers(0, 3599).map(lambda tenths: tenths / 10.0)),
        lane=draw(st.none() | words),
        unmanned=draw(st.booleans()),
        opening_hours=draw(st.sampled_from([None, "24/7", "Mo-Fr 05:00-22:00; PH off"])),
        competences=draw(st.frozensets(st.sampled_from(["EXPORT", "IMPORT", "TRANSIT"]))),
        source=draw(st.just("") | words),
        confidence=draw(st.sampled_from(Confidence)),
    )


def rectangle(west: float, south: float, size: float):
    corners = ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))
    return tuple((round(west + size * x, 7), round(south + size * y, 7)) for x, y in corners)


@st.composite
def zone_sets(draw) -> ZoneSet:
    count = draw(st.integers(1, 4))
    moment = st.none() | st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1_000.0)
    start, end = draw(moment), draw(moment)
    if start is not None and end is not None and end <= start:
        end = None
    return ZoneSet(draw(words), tuple(draw(zones(at)) for at in range(count)), start, end)


@settings(max_examples=100)
@given(zone_sets())
def test_what_is_written_is_read_back(zone_set):
    data = encode_zone_set(zone_set)
    again = parse_zone_set(data, "test")
    assert again == zone_set
    assert encode_zone_set(again) == data
    assert json.loads(data)["type"] == "FeatureCollection"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PATHS = [
    ("type",),
    ("features",),
    ("borderlane",),
    ("borderlane", "validFrom"),
    ("features", 0),
    ("features", 0, "properties"),
    *(("features", 0, "properties", name) for name in ("id", "zone", "bearing", "competences", "customsOffice")),
    ("features", 0, "geometry"),
    ("features", 0, "geometry", "type"),
    ("features", 0, "geometry", "coordinates"),
    ("features", 0, "geometry", "coordinates", 0),
    ("features", 0, "geometry", "coordinates", 0, 2),
    ("features", 0, "geometry", "coordinates", 0, 2, 1),
]


@settings(max_examples=200)
@given(st.sampled_from(PATHS), json_values)
def test_whatever_stands_in_a_file_it_is_read_or_refused(path, value):
    document = json.loads(collection(feature(bearing=10, competences=[]), version="1"))
    target = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    try:
        zone_set = parse_zone_set(json.dumps(document).encode(), "test")
    except ZoneFileError as refused:
        assert refused.faults
        assert all(fault.what for fault in refused.faults)
    else:
        assert parse_zone_set(encode_zone_set(zone_set), "test") == zone_set
