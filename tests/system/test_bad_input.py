"""Bad input to real processes: said clearly, counted, and nothing stops or is lost."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.domain.identifiers import check_digit
from agent.journal.reader import Reader
from simulator.broker import Broker, Choice, free_port
from simulator.papers import Papers
from tests.system.box import Box, command, open_box, papers_for, until
from zones.catalogue import shipped_bytes

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

GOOD = {"fixTime": "2026-01-01T00:00:00.000Z", "latitude": 47.7416, "longitude": 8.7240}


def changed(**values: Any) -> bytes:
    return json.dumps({**GOOD, **values}).encode()


UNREADABLE = {
    b"\x00\xff\x17 no position": ("unreadable", "JSON or MessagePack"),
    b'{"fixTime": "2026-01-01T00:00:00.000Z", "latitude": 47.7': ("unreadable", "truncated"),
    b'{"fixTime": "2026-01-01T00:00:00.000Z", "latitude": 47.7}': ("unreadable", "longitude"),
    changed(fixTime="yesterday"): ("unreadable", "fixTime"),
    changed(latitude="north"): ("unreadable", "latitude"),
    changed(latitude=95.0): ("unreadable", "<= 90.0 - at `$.latitude`"),
    changed(longitude=181.0): ("unreadable", "<= 180.0 - at `$.longitude`"),
    changed(unit="somebody-else"): ("unit_mismatch", "lorry-1"),
    changed(fixType="4D"): ("unreadable", "fixType"),
    b"": ("unreadable", "expected"),
}
"""Payload to reason and a word that must be in what is said about it."""


def refusals(box: Box) -> dict[tuple[str, str], int]:
    """(topic, reason) to how often, as stored."""
    with Reader.open(box.data) as reader:
        return {(one.topic, one.reason): one.count for one in reader.refusals()}


async def test_positions_that_cannot_be_read_are_counted_and_the_next_one_counts(box: Box) -> None:
    await box.start_agent()
    await box.expected("lorry-1")

    async def refused() -> int:
        return int((await box.get("/v1/status"))["fixes"].get("refused", 0))

    async with box.unit("lorry-1") as lorry:
        for payload in UNREADABLE:
            lorry.say(payload)
        lorry.stand()
        assert (await lorry.told()).action == "GO"
    assert await refused() == len(UNREADABLE)
    stored = refusals(box)
    for payload, (reason, word) in UNREADABLE.items():
        fitting = [said for _, said in stored if said.startswith(f"{reason}: ") and word in said]
        assert fitting, f"{payload!r}: expected {reason} with {word!r} in {list(stored)}"
    assert {topic for topic, _ in stored} == {"borderlane/v1/units/lorry-1/position"}
    assert not any("47.7" in said for _, said in stored), "no position in what is said"

    await box.kill_agent()
    await box.start_agent()
    async with box.unit("nobody") as other:
        other.stand()
        assert (await other.told()).action == "HOLD"
    assert refusals(box) == stored, "what was refused does not come back"


async def test_one_bad_report_in_a_list_takes_nothing_from_the_others(box: Box) -> None:
    await box.start_agent()
    async with box.unit("nobody") as unit:
        unit.say(b"[" + changed(latitude=95.0) + b"]")
        unit.say(b'[{"fixTime": 17}, ' + changed(longitude=8.0) + b", 3]")

        async def counted() -> bool:
            fixes = (await box.get("/v1/status"))["fixes"]
            return (fixes.get("refused"), fixes.get("accepted")) == (3, 1)

        await until(counted, "three refused, one accepted")


async def refused_entry(box: Box, papers: Papers, unit: str) -> dict[str, Any]:
    """Declares, waits until the agent knows, drives in; what customs answered to the journey."""
    assert papers.journey is not None
    answers = await box.declare(papers.goods, papers.journey)
    await box.knows(papers.journey.jrn)
    async with box.unit(unit) as lorry:
        lorry.drive_in()
        told = await lorry.told()
        assert (told.action, told.reason_code, told.jrn) == ("HOLD", "NOT_READY", papers.journey.jrn)
    answer = answers[-1]
    assert answer["state"] == "NOT_READY"
    return dict(answer)


async def test_unknown_mrn_is_named_and_the_lorry_held(box: Box) -> None:
    await box.start_agent()
    papers = papers_for("lorry-1", declarations=2)
    unknown = papers.goods[1].mrn
    answer = await refused_entry(box, replace(papers, goods=papers.goods[:1]), "lorry-1")
    failure = answer["ruleFailures"][0]
    assert failure["value"] == unknown and failure["field"].startswith("$.references[1]")


async def test_wrong_check_digit_is_named_and_the_lorry_held(box: Box) -> None:
    await box.start_agent()
    papers = papers_for("lorry-1", faulty_of=2)
    bad = str(papers.goods[-1].mrn)
    answer = await refused_entry(box, papers, "lorry-1")
    failure = answer["ruleFailures"][0]
    assert failure["value"] == bad and failure["field"].startswith("$.references[1]")
    assert check_digit(bad[:17]) != int(bad[17])

    async def activated() -> list[str]:
        return [row["mrn"] for row in await box.customs_activations()]

    await until(activated, "the good one is activated")
    assert await activated() == [papers.goods[0].mrn] and len(box.journal_activations()) == 1


def self_crossing(folder: Path) -> tuple[Path, str]:
    """A zone file whose third zone crosses itself, and the id of that zone."""
    zones = json.loads(shipped_bytes("border_zones.geojson"))
    feature = zones["features"][2]
    feature["geometry"]["coordinates"][0] = [[8.0, 47.0], [8.1, 47.1], [8.1, 47.0], [8.0, 47.1], [8.0, 47.0]]
    file = folder / "crossed.geojson"
    file.write_text(json.dumps(zones))
    return file, feature["properties"]["id"]


async def test_a_self_crossing_zone_is_refused_with_its_id_and_place(box: Box, tmp_path: Path) -> None:
    file, zone_id = self_crossing(tmp_path)
    status, out, err = await command("zones", "check", str(file))
    assert status == 1
    assert zone_id in out + err and "8.05" in out + err, "which zone, and where"
    status, out, _ = await command("zones", "check", str(file), "--json")
    assert status == 1
    document = json.loads(out)
    assert document["valid"] is False and document["faults"]

    box.configure({"zones.file": str(file)})
    status, _, err = await command("agent", "--config", str(box.config_file))
    assert status == 2 and zone_id in err and str(file) in err


async def test_an_unknown_key_is_named_with_the_nearest(box: Box) -> None:
    box.config_file.write_text(box.config_file.read_text().replace("feed_interval_s", "feed_intervall_s"))
    for words in (["agent", "--config"], ["config", "check"]):
        status, out, err = await command(*words, str(box.config_file))
        assert status == 2 and out == ""
        assert "borderlane.toml" in err and "customs.feed_intervall_s" in err and '"feed_interval_s"' in err


async def test_every_fault_of_a_configuration_is_said_at_once(box: Box) -> None:
    text = box.config_file.read_text().replace("budget_max_s = 8.0", "budget_max_s = 80.0")
    box.config_file.write_text(text.replace('format = "json"', 'format = "xml"') + "\n[zonez]\n")
    status, _, err = await command("config", "check", str(box.config_file))
    assert status == 2
    for word in ("policy.budget_max_s", "log.format", "zonez"):
        assert word in err


async def test_a_serial_port_that_does_not_exist_stops_nothing(box: Box, tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB7"
    box.configure({}, f'\n[[serial]]\nunit = "receiver"\npath = "{port}"\n')
    await box.start_agent()
    said = await until(lambda: box.log("serial_port"), "the port is named in the log")
    assert said[0]["path"] == str(port) and said[0]["state"] == "absent" and "no such port" in said[0]["reason"]
    assert (await box.get("/v1/status"))["serial"] == {"receiver": "absent"}
    async with box.unit("nobody") as unit:
        unit.stand()
        assert (await unit.told()).reason_code == "UNKNOWN_VEHICLE"
    assert len(box.log("serial_port")) == 1, "said once, not at every try"


async def test_an_http_port_in_use_ends_with_3(box: Box) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        box.configure({"http.port": taken.getsockname()[1]})
        status, _, err = await command("agent", "--config", str(box.config_file))
        assert status == 3 and f":{taken.getsockname()[1]}" in err


@asynccontextmanager
async def mosquitto(program: str, folder: Path, port: int, anonymous: bool) -> AsyncIterator[None]:
    """Mosquitto that lets nobody in without a password, or everybody."""
    folder.mkdir(exist_ok=True)
    conf = folder / "mosquitto.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous {str(anonymous).lower()}\n")
    with (folder / "mosquitto.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(program, "-c", str(conf), stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def test_a_broker_that_refuses_is_named_and_asked_again(tmp_path: Path, require: Callable[[str], str]) -> None:
    program = require("mosquitto")
    port = free_port()
    url = Broker(Choice("url", host="127.0.0.1", port=port), tmp_path)
    async with open_box(tmp_path, url) as box:
        async with mosquitto(program, tmp_path / "mosquitto", port, anonymous=False):
            await box.start_agent("/healthz")
            said = await until(lambda: box.log("broker_unreachable"), "the refusal is in the log")
            assert (said[0]["host"], said[0]["port"]) == ("127.0.0.1", port)
            assert "Not authorized" in said[0]["problem"]

            async def lost() -> bool:
                page = await box.get("/v1/status")
                return page["mode"] == "BROKER_LOST" and not page["brokerConnected"]

            await until(lost, "the mode says so")
            assert (await box.get("/readyz"))["parts"] == {"journal": True, "broker": False, "zones": True}
            await box.expected("lorry-1")
        async with mosquitto(program, tmp_path / "mosquitto", port, anonymous=True):

            async def ready() -> bool:
                return bool((await box.get("/readyz"))["ok"])

            await until(ready, "it comes back by itself", 10.0)
            async with box.unit("lorry-1") as lorry:
                lorry.stand()
                assert (await lorry.told()).action == "GO"


async def test_the_demo_says_which_broker_does_not_let_it_in(tmp_path: Path, require: Callable[[str], str]) -> None:
    program = require("mosquitto")
    port = free_port()
    async with mosquitto(program, tmp_path / "mosquitto", port, anonymous=False):
        status, _, err = await command("demo", "--check", "--broker", f"mqtt://127.0.0.1:{port}")
    assert status == 3 and f"127.0.0.1:{port}" in err
