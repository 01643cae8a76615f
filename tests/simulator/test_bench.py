"""simulator/bench.py and bench_load.py: the mixes are what they say, every figure is measured."""

from __future__ import annotations

import importlib.util
import shutil
from itertools import groupby

import msgspec
import pytest
from typer.testing import CliRunner

from simulator.bench import detection
from simulator.bench_bridge import bridge
from simulator.bench_figure import Figure
from simulator.bench_journal import journal, start
from simulator.bench_load import INSIDE_SHARE, make_load, small_zones
from simulator.bench_risk import risk
from simulator.cli import tree
from zones.catalogue import shipped_zone_set
from zones.index import compile_index

ENGINE = [
    "engine.border", "engine.inland", "engine.decode", "engine.zones1k", "engine.zones10k", "engine.zones100k",
    "engine.feedP99Us", "engine.swapMs", "engine.bytesPerVehicle",
]  # fmt: skip


def test_the_border_mix_has_the_share_inside_that_it_says():
    index = compile_index(shipped_zone_set())
    load = make_load("border", shipped_zone_set(), vehicles=2_000, each=10, border_share=1.0, seed=1)
    inside = sum(bool(index.containing(*position)) for position in load.positions(len(load))) / len(load)
    assert inside == pytest.approx(INSIDE_SHARE, abs=0.012)


def test_a_load_is_the_same_for_a_seed_and_in_order_of_time():
    one, other = (
        make_load("m", shipped_zone_set(), vehicles=30, each=5, border_share=0.5, seed=7, step_s=1.0) for _ in range(2)
    )
    assert one == other
    assert len(one) == 150
    assert [fix.seq for batch in one.batches(7) for fix in batch] == [k for k in range(1, 6) for _ in range(30)]
    fixes = sorted((fix for batch in one.batches() for fix in batch), key=lambda fix: (fix.unit, fix.seq))
    for _, own in groupby(fixes, key=lambda fix: fix.unit):
        times = [fix.time_s for fix in own]
        assert len(times) == 5
        assert times == sorted(times)


def test_small_zones_are_valid_and_apart_enough_to_count():
    zones = small_zones(50, 3)
    assert len({zone.id for zone in zones.zones}) == 50
    index = compile_index(zones)
    for zone in zones.zones:
        ring = zone.polygons[0][0][:-1]
        middle = sum(lat for _, lat in ring) / len(ring), sum(lon for lon, _ in ring) / len(ring)
        assert zone.id in index.containing(*middle)


def test_every_figure_of_the_contract_is_measured_beside_its_peers():
    told = []
    figures = list(detection(told.append, scale=0.002, repeats=1))
    assert [figure.id for figure in figures] == ENGINE
    assert all(figure.value > 0.0 for figure in figures)
    assert {"shapely-prepared", "shapely-array", "strtree"} == set(figures[0].peers) == set(figures[1].peers)
    # Not a measurement, but an order of magnitude: the engine is no slower than a loop over polygons.
    assert figures[1].value > 20 * figures[1].peers["shapely-prepared"]
    assert told


def test_the_bridge_is_measured_beside_its_peers():
    told = []
    figure, frames = bridge(told.append, scale=0.01, repeats=1)
    assert (figure.id, frames.id) == ("bridge.nmea", "bridge.frames")
    assert figure.value > 0.0 and frames.value > 0.0 and told
    assert "pynmeagps" in figure.peers
    assert ("pynmea2" in figure.peers) == (importlib.util.find_spec("pynmea2") is not None)
    assert ("gpsd" in figure.peers) == (shutil.which("gpsdecode") is not None)


def test_the_command_prints_a_table_or_one_json_document():
    app, run = tree(["bench", "zones"]), CliRunner()
    result = run.invoke(app, ["bench", "detection", "--scale", "0.002", "--json"])
    assert result.exit_code == 0, result.output
    assert [f.id for f in msgspec.json.decode(result.stdout, type=list[Figure])] == ENGINE
    assert run.invoke(app, ["bench", "nonsense"]).exit_code == 2


def test_journal_and_start_are_measured() -> None:
    figures = [*journal(lambda _words: None, scale=0.02), *start(lambda _words: None, scale=0.002)]
    assert [figure.id for figure in figures] == [
        "journal.single", "journal.commitP99Ms", "journal.grouped", "start.coldS", "start.recoverS",
    ]  # fmt: skip
    assert all(figure.value > 0.0 for figure in figures)


def test_risk_is_measured_beside_engines_that_scan() -> None:
    figures = {one.id: one for one in risk(lambda _words: None, scale=0.001)}
    assert list(figures) == [
        "risk.buildS", "risk.bookMb", "risk.readyMs", "risk.warmS", "risk.cardP50Ms", "risk.cardP99Ms",
        "risk.cardsPerS", "risk.activationP50Ms", "risk.activationP99Ms", "risk.rssMb",
    ]  # fmt: skip
    assert all(one.value > 0.0 for one in figures.values())
    assert "cel@2000" in figures["risk.cardP99Ms"].peers
    assert figures["risk.activationP50Ms"].value < figures["risk.cardP50Ms"].value
