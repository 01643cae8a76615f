"""`borderlane explain` on a data folder."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import msgspec
import pytest
from typer.testing import CliRunner

from agent.explain import Explanation
from simulator.cli import tree
from tests.agent.roadside import EAST, drive, expected

RUN = CliRunner()


def explain(*arguments):
    return RUN.invoke(tree(["explain"]), ["explain", *map(str, arguments)])


@pytest.fixture
async def data(roadside):
    await roadside.take(events=(expected(),))
    await roadside.drive(drive(start=EAST))
    return roadside.folder


async def test_words_for_people(data):
    found = explain("JRN-1", "--data", data)
    assert found.exit_code == 0, found.output
    for words in ("Journey JRN-1", "thayngen (IN)", "entered the activation zone between", "Fixes: ", " kept"):
        assert words in found.stdout


async def test_one_json_document(data):
    found = explain("u1", "--data", data, "--json")
    explanation = msgspec.json.decode(found.stdout, type=Explanation)
    assert (found.exit_code, explanation.known_as, explanation.activated) == (0, "unit", True)
    assert msgspec.json.decode(found.stdout)["passages"][0]["fixes"][0]["places"][0]["zoneId"]


async def test_the_drawing_has_track_circles_zones_and_the_crossing_of_the_edge(data, tmp_path):
    svg = tmp_path / "why.svg"
    assert explain("JRN-1", "--data", data, "--svg", svg).exit_code == 0
    root = ET.fromstring(svg.read_text())
    words = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "thayngen" in words
    assert any(text and text.startswith("activation in ") for text in words)
    assert "track, 95 % circle" in words
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) > 50


async def test_exit_1_for_a_name_nobody_knows(data):
    found = explain("JRN-99", "--data", data)
    assert (found.exit_code, found.stdout) == (1, "")
    assert "JRN-99: neither a journey nor a unit nor a plate" in found.stderr


async def test_nothing_to_draw_is_said(roadside, tmp_path):
    await roadside.take(events=(expected(),))
    found = explain("JRN-1", "--data", roadside.folder, "--svg", tmp_path / "why.svg")
    assert (found.exit_code, (tmp_path / "why.svg").exists()) == (0, False)
    assert "nothing to draw" in found.stderr


async def test_wrong_usage_names_what_is_wrong(data, tmp_path):
    (tmp_path / "zones.geojson").write_text("{}")
    for arguments, words in (
        (("JRN-1", "--data", tmp_path / "none"), "no journal: expected the data folder of an agent"),
        (("JRN-1", "--data", data, "--zones", tmp_path / "zones.geojson"), "zones.geojson"),
        (("JRN-1", "--data", data, "--svg", tmp_path / "no" / "why.svg"), "cannot be written"),
        (("JRN-1",), "--data"),
    ):
        found = explain(*arguments)
        assert found.exit_code == 2, arguments
        assert words in found.stderr
