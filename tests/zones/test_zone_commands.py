from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zones.catalogue import encode_zone_set, shipped_bytes, shipped_zone_set, zone_set_digest
from zones.commands import app

CORPUS = Path(__file__).parents[1] / "corpus" / "geo"
ROADS = CORPUS / "roads_liechtenstein_osm.geojson"
EXTRACT = CORPUS / "liechtenstein_roads.osm"

BAD = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"id": "yard"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[8.0, 47.0], [8.01, 47.01], [8.01, 47.0], [8.0, 47.01], [8.0, 47.0]]],
            },
        },
        {"type": "Feature", "properties": {"id": "gate", "direction": "INN"}, "geometry": None},
    ],
}


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def bad_file(tmp_path):
    path = tmp_path / "bad.geojson"
    path.write_text(json.dumps(BAD))
    return path


def test_check_answers_first():
    result = run("check")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "valid: 64 crossings, 384 zones"


def test_check_as_json_says_what_it_read():
    answer = json.loads(run("check", "--json").stdout)
    assert answer["valid"] is True
    assert (answer["crossings"], answer["zones"], answer["version"]) == (64, 384, "2026-11-22.1")
    assert answer["sha256"] == zone_set_digest(shipped_bytes("border_zones.geojson"))


def test_check_lists_every_fault(bad_file):
    result = run("check", bad_file)
    assert result.exit_code == 1
    assert result.stdout.startswith("not valid: 3 faults in")
    assert "gate: direction 'INN': expected IN, OUT or null; did you mean 'IN'? (properties.direction)" in result.stderr
    assert "gate: geometry is null or missing: expected a Polygon" in result.stderr
    assert "yard: ring crosses itself (at longitude 8.005, latitude 47.005)" in result.stderr


def test_check_lists_faults_as_json(bad_file):
    result = run("check", bad_file, "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["valid"], len(answer["faults"])) == (False, 3)
    assert answer["faults"][0] == {
        "feature": "gate",
        "what": "direction 'INN': expected IN, OUT or null; did you mean 'IN'?",
        "where": "properties.direction",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "none.geojson"), "does not exist"),
        (("show", "--crossing", "thaingen"), "did you mean thayngen"),
        (("show", "--out", "map.gif"), "only .svg and .png"),
        (("show", "--out", "nowhere/map.svg"), "cannot be written"),
        (("build", "--out", "nowhere/zones.geojson"), "cannot be written"),
        (("check", "--crossing", "x"), "No such option"),
        (("build", "--buffer-m", "20"), "go with --from FILE"),
        (("build", "--tag", "landuse"), "go with --from FILE"),
        (("build", "--from", "none.geojson"), "does not exist"),
        (("build", "--from", CORPUS / "SOURCES.md"), "expected .geojson, .json or one of .osm"),
        (("build", "--from", EXTRACT, "--tag", "=x"), "expected key=value"),
        (("build", "--from", ROADS, "--tag", "landuse"), "goes with an OpenStreetMap extract"),
        (("build", "--from", ROADS, "--direction", "UNKNOWN"), "is not one of"),
    ],
)
def test_wrong_usage_is_status_2_with_the_reason(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_show_lists_one_crossing():
    answer = json.loads(run("show", "--crossing", "gondo", "--json").stdout)
    assert [row["zone"] for row in answer["list"]] == ["TRACKING", "ACTIVATION", "CONFIRMATION"] * 2
    assert {row["customsOffice"] for row in answer["list"]} == {"CH005081"}
    assert "gondo/in/activation" in run("show", "--crossing", "gondo").stdout


@pytest.mark.parametrize("more", [(), ("--crossing", "au")])
def test_show_draws(more, tmp_path):
    path = tmp_path / "zones.svg"
    result = run("show", "--out", path, *more)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("drawn: ")
    assert ET.parse(path).getroot().tag.endswith("svg")


def test_show_refuses_a_bad_file_with_status_1(bad_file):
    assert run("show", bad_file).exit_code == 1


def test_build_makes_the_shipped_file(tmp_path):
    path = tmp_path / "zones.geojson"
    result = run("build", "--out", path, "--version", "2026-11-22.1")
    assert result.stdout.startswith("built: 64 crossings, 384 zones")
    assert path.read_bytes() == shipped_bytes("border_zones.geojson")


def test_diff_of_the_same_and_of_other_zones(tmp_path):
    path = tmp_path / "old.geojson"
    zones = shipped_zone_set()
    path.write_bytes(encode_zone_set(zones))
    same = run("diff", path)
    assert (same.exit_code, same.stdout.strip()) == (0, "same zones")

    document = json.loads(encode_zone_set(zones))
    features = document["features"]
    removed = features.pop(0)["properties"]["id"]
    features[0]["properties"]["bearing"] = 1.5
    features[1]["properties"]["id"] = "new"
    path.write_text(json.dumps(document))
    result = run("diff", path, "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["added"] == [removed, zones.zones[2].id]
    assert answer["removed"] == ["new"]
    assert answer["changed"] == {zones.zones[1].id: ["bearing"]}


def test_zones_abroad_are_drawn_without_the_swiss_line(tmp_path):
    ring = [[23.5, 52.0], [23.51, 52.0], [23.51, 52.01], [23.5, 52.01], [23.5, 52.0]]
    zone = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {"id": "terespol"}, "geometry": zone}
    source, drawing = tmp_path / "zones.geojson", tmp_path / "zones.svg"
    source.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert run("show", source, "--out", drawing).exit_code == 0
    assert drawing.stat().st_size < 10_000


def test_a_drawing_may_be_a_png(tmp_path):
    path = tmp_path / "zones.png"
    assert run("show", "--crossing", "au", "--out", path).exit_code == 0
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))
    assert (width > 2_000, height > 1_000) == (True, True)


def test_build_from_roads_makes_ribbons(tmp_path):
    path = tmp_path / "zones.geojson"
    result = run("build", "--from", ROADS, "--buffer-m", 20, "--zone", "TRACKING", "--out", path)
    assert result.stdout.strip() == f"built: 204 crossings, 204 zones in {path}"
    assert run("check", path).stdout.startswith("valid: 204 crossings, 204 zones")
    table = run("show", path).stdout
    assert "feldkircher-strasse-8" in table


def test_build_from_roads_without_a_buffer_lists_every_line():
    result = run("build", "--from", ROADS, "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["valid"], len(answer["faults"])) == (False, 204)
    assert answer["faults"][0]["feature"] == "#0 (Dorfstrasse)"


def test_build_from_an_extract(tmp_path):
    path = tmp_path / "zones.geojson"
    arguments = ("--buffer-m", 60, "--crossing", "schaanwald", "--customs-office", "CH002311")
    result = run("build", "--from", EXTRACT, *arguments, "--direction", "IN", "--out", path, "--json")
    assert json.loads(result.stdout)["zones"] == 1
    (feature,) = json.loads(path.read_bytes())["features"]
    assert feature["properties"] == {
        "id": "schaanwald",
        "crossing": "schaanwald",
        "customsOffice": "CH002311",
        "direction": "IN",
        "zone": "ACTIVATION",
        "bearing": None,
        "lane": None,
        "unmanned": False,
        "openingHours": "Mo-Fr 05:00-22:00; PH off",
        "competences": [],
        "source": "OpenStreetMap node 93, ODbL-1.0",
        "confidence": "high",
    }


def test_what_is_left_out_of_an_extract_is_said():
    result = run("build", "--from", EXTRACT, "--tag", "landuse", "--tag", "barrier=border_control")
    assert result.exit_code == 0
    assert result.stderr.strip() == "note: left out: 1 node(s) and line(s), since no --buffer-m is given"
    assert json.loads(result.stdout)["features"][0]["properties"]["id"] == "adlerkreisel"


def test_an_extract_without_the_tags_is_not_built():
    result = run("build", "--from", EXTRACT, "--tag", "foo=bar")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("not built: ")


def test_a_wrong_office_number_is_refused_for_each_zone():
    result = run("build", "--from", ROADS, "--buffer-m", 20, "--zone", "TRACKING", "--customs-office", "CH1")
    assert result.exit_code == 1
    assert result.stderr.count("expected two letters and six letters or digits") == 204
