"""Extracts of OpenStreetMap, read by osmium: real roads of Liechtenstein in all the forms that are read."""

from __future__ import annotations

from pathlib import Path

import osmium
import pytest

from zones.border_zone import ZoneKind
from zones.errors import BuildError
from zones.imports import ImportOptions, import_zones
from zones.osm_extract import CUSTOMS_TAGS, parse_tag, read_extract

EXTRACT = Path(__file__).parents[1] / "corpus" / "geo" / "liechtenstein_roads.osm"
LANDUSE = (("landuse", None),)
HIGHWAY = (("highway", None),)

HEAD = '<osm version="0.6">' + "".join(
    f'<node id="{number}" lat="47.{latitude}" lon="9.{longitude}"/>'
    for number, latitude, longitude in ((1, 10, 50), (2, 10, 51), (3, 11, 51), (4, 11, 50))
)


def document(path: Path, *objects: str) -> Path:
    path.write_text(HEAD + "".join(objects) + "</osm>")
    return path


def way(number: int, refs: str, key="landuse", value="yard", more="") -> str:
    nodes = "".join(f'<nd ref="{ref}"/>' for ref in refs.split())
    return f'<way id="{number}">{nodes}<tag k="{key}" v="{value}"/>{more}</way>'


@pytest.fixture(params=[".osm", ".osm.pbf", ".osm.gz", ".osm.bz2"])
def extract(request, tmp_path) -> Path:
    path = tmp_path / f"extract{request.param}"
    with osmium.SimpleWriter(str(path)) as writer:
        for entity in osmium.FileProcessor(str(EXTRACT)):
            writer.add(entity)
    return path


def test_closed_ways_and_multipolygons_become_zones(extract):
    imported = read_extract(extract, LANDUSE, with_buffer=False)
    assert [(shape.label, shape.name) for shape in imported.shapes] == [
        ("way 15", "Adlerkreisel"),
        ("relation 1", "Aukreisel"),
    ]
    zone_set, _ = import_zones(imported, ImportOptions(), "extract", "1")
    assert [zone.id for zone in zone_set.zones] == ["adlerkreisel", "aukreisel"]
    assert [zone.source for zone in zone_set.zones] == [
        "OpenStreetMap way 15, ODbL-1.0",
        "OpenStreetMap relation 1, ODbL-1.0",
    ]
    ((ring,),) = zone_set.zones[0].polygons
    assert (9.5 < ring[0][0] < 9.6, 47.1 < ring[0][1] < 47.3) == (True, True)


def test_roads_become_ribbons_and_a_roundabout_stays_a_road(extract):
    imported = read_extract(extract, HIGHWAY, with_buffer=True)
    options = ImportOptions(kind=ZoneKind.TRACKING, buffer_m=5.0)
    zone_set, imported = import_zones(imported, options, "extract", "1")
    assert imported.notes == ()
    assert len(zone_set.zones) == 14
    assert zone_set.by_id["adlerkreisel"].polygons[0][1:], "a hole in the middle"
    assert {zone.id for zone in zone_set.zones} >= {"zollstrasse", "zollstrasse-13"}


def test_the_customs_post_is_found_without_tags(extract):
    tags = [parse_tag(text) for text in CUSTOMS_TAGS]
    zone_set, _ = import_zones(read_extract(extract, tags, with_buffer=True), ImportOptions(buffer_m=60.0), "e", "1")
    (zone,) = zone_set.zones
    assert (zone.id, zone.opening_hours) == ("schaanwald", "Mo-Fr 05:00-22:00; PH off")
    with pytest.raises(BuildError, match=r"nothing usable with .*border_control.*1 node\(s\).* no --buffer-m"):
        read_extract(extract, tags, with_buffer=False)


def test_values_are_told_apart(tmp_path):
    path = document(
        tmp_path / "x.osm", way(1, "1 2 3 4 1"), way(2, "1 2 3 1", value="grass"), way(3, "1 2 3", "name", "yard")
    )
    labels = [shape.label for shape in read_extract(path, [("landuse", "yard")], False).shapes]
    assert labels == ["way 1"]
    both = read_extract(path, [("landuse", "grass"), ("landuse", "yard")], False)
    assert {shape.label for shape in both.shapes} == {"way 1", "way 2"}


def test_a_closed_road_with_area_yes_is_an_area(tmp_path):
    yes = '<tag k="area" v="yes"/>'
    path = document(tmp_path / "x.osm", way(1, "1 2 3 4 1", "highway", "service", yes))
    (shape,) = read_extract(path, HIGHWAY, False).shapes
    assert shape.geometry["type"] == "MultiPolygon"


def test_what_cannot_be_put_together_is_named(tmp_path):
    path = document(
        tmp_path / "x.osm",
        way(1, "1 2 3 4 1"),
        way(2, "1 3 2 4 1"),
        way(3, "1 2 99"),
        way(4, "1 2 99 1"),
        '<relation id="5"><member type="way" ref="77" role="outer"/>'
        '<tag k="type" v="multipolygon"/><tag k="landuse" v="yard"/></relation>',
        '<relation id="6"><tag k="type" v="site"/><tag k="landuse" v="yard"/></relation>',
    )
    imported = read_extract(path, LANDUSE, with_buffer=True)
    assert [shape.label for shape in imported.shapes] == ["way 1"]
    for name in ("way 2", "way 3", "way 4", "relation 5"):
        assert any(note.startswith(f"left out: {name}: ") for note in imported.notes), imported.notes


def test_many_broken_objects_are_counted(tmp_path):
    path = document(tmp_path / "x.osm", way(1, "1 2 3 4 1"), *(way(number, "1 2 99 1") for number in range(2, 40)))
    notes = read_extract(path, LANDUSE, with_buffer=True).notes
    assert len(notes) == 21
    assert notes[-1] == "left out: 18 more that cannot be put together"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.osm", b""),
        ("x.osm", b'<osm version="0.6"><node id="1"'),
        ("x.osm", b"<gpx/>"),
        ("x.osm", b'<osm version="0.6"><node id="1" lat="95" lon="x"/></osm>'),
        ("x.osm", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><osm version="0.6">&a;</osm>'),
        ("x.osm.pbf", b"\x00\x00\x00\x0d\x0a\x09OSMHeader"),
        ("x.osm.pbf", b"not a pbf at all, but text of some length"),
        ("x.osm.gz", b"\x1f\x8b\x08\x00"),
        ("missing.osm", None),
    ],
)
def test_a_broken_extract_is_refused_with_its_name(name, content, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BuildError, match=name):
        read_extract(path, LANDUSE, with_buffer=True)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("barrier=border_control", ("barrier", "border_control")),
        ("landuse", ("landuse", None)),
        ("landuse=*", ("landuse", None)),
        ("name=a=b", ("name", "a=b")),
    ],
)
def test_tags(text, tag):
    assert parse_tag(text) == tag


@pytest.mark.parametrize("text", ["", "=x", "landuse=", " = "])
def test_a_wrong_tag_is_refused(text):
    with pytest.raises(ValueError, match="expected key=value"):
        parse_tag(text)
