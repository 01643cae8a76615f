"""The agent as a process: entry to instruction, killed in between, customs away, stopped, reloaded."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.domain.instruction import Instruction
from agent.domain.times import epoch_s
from simulator.broker import Broker
from tests.system.box import TOPICS, Box, Unit, Watcher, command, open_box, until
from zones.catalogue import shipped_bytes

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

SERVING_S = 3.0
"""Invariant 8: the agent serves again within this."""
LOAD_S = 4.0
"""What a machine that does other work besides may add to a process start."""
HOLD_S = 8.0
"""Invariant 4: an instruction is out at most so long after entry."""
SLOW_RISK = "[risk]\nrandom_share = 0.0\n\n[faults]\nrisk_delay_s = 2.0\n"
STATUS_TOPIC = TOPICS.status("box-1")


async def stage_of(box: Box, jrn: str) -> dict[str, Any]:
    return dict((await box.get(f"/v1/journeys/{jrn}"))["row"])


async def activated_once(box: Box, count: int) -> None:
    """Customs' register and the agent's journal hold the same activations, each once."""

    async def all_there() -> bool:
        return len(await box.customs_activations()) >= count

    await until(all_there, f"{count} activations at customs")
    at_customs = Counter(row["activationId"] for row in await box.customs_activations())
    in_journal = Counter(box.journal_activations())
    assert at_customs == in_journal
    assert len(at_customs) == count and set(at_customs.values()) == {1}


async def test_entry_to_instruction_to_receipt(broker: Broker, tmp_path: Path) -> None:
    async with open_box(tmp_path, broker) as box, box.unit("lorry-1") as lorry:
        await box.start_agent()
        papers = await box.expected("lorry-1", declarations=3)
        assert papers.journey is not None
        entered_s = lorry.drive_in()
        told = await lorry.told()
        assert (told.action, told.reason_code) == ("GO", "RELEASED")
        assert (told.jrn, told.unit, told.version) == (papers.journey.jrn, "lorry-1", 1)
        assert told.vehicle is not None
        assert told.vehicle.identification_number == papers.vehicle.identification_number
        assert epoch_s(told.issued_at) - entered_s < HOLD_S
        assert len(told.activations) == 3
        assert set(told.activations) == set(box.journal_activations())
        await activated_once(box, 3)

        await until(lambda: lorry.watermarks, "the watermark")
        assert lorry.watermarks[-1]["bootId"] == "b1"
        lorry.acknowledge(told)

        async def receipted() -> bool:
            detail = await box.get(f"/v1/journeys/{told.jrn}")
            return {one["stage"] for one in detail["deliveries"]} == {"ACKNOWLEDGED"}

        await until(receipted, "the receipt is counted")
        assert box.journal("RECEIPT")[0]["unit"] == "lorry-1"
        assert (await box.get("/v1/status"))["instructions"] == {"GO": 1}
        assert (await box.verify_journal())["verified"] is True


async def test_a_unit_nobody_knows_is_held(box: Box) -> None:
    await box.start_agent()
    async with box.unit("nobody") as unit:
        unit.stand()
        told = await unit.told()
        assert (told.action, told.reason_code, told.jrn) == ("HOLD", "UNKNOWN_VEHICLE", None)
        assert told.activations == () and told.vehicle is None
        assert await box.customs_activations() == []
        unit.acknowledge(told)

        async def receipted() -> bool:
            deliveries = (await box.get("/v1/journeys/unit:nobody"))["deliveries"]
            return {one["stage"] for one in deliveries} == {"ACKNOWLEDGED"}

        await until(receipted, "the receipt is counted")


async def test_killed_between_entry_and_answer(broker: Broker, tmp_path: Path) -> None:
    async with open_box(tmp_path, broker, customs_toml=SLOW_RISK) as box, box.unit("lorry-1") as lorry:
        watcher = Watcher(broker, STATUS_TOPIC)
        try:
            await box.start_agent()
            papers = await box.expected("lorry-1")
            assert papers.journey is not None
            jrn = papers.journey.jrn
            entered_s = lorry.stand()

            async def waiting() -> bool:
                return bool((await stage_of(box, jrn))["waiting"])

            await until(waiting, "the entry is decided, the answer is awaited", every_s=0.01)
            await box.kill_agent()
            assert lorry.instructions == []
            await until(lambda: watcher.payloads[-1]["online"] is False, "the last will says it is gone")
            took_s = await box.start_agent()
            assert took_s < SERVING_S + LOAD_S
            told = await lorry.told()
            assert (told.action, told.jrn, told.version) == ("GO", jrn, 1)
            assert epoch_s(told.issued_at) - entered_s < HOLD_S
            assert len(told.activations) == 2
            await activated_once(box, 2)
            await until(lambda: watcher.payloads[-1]["online"] is True, "the status says it is back")
            sinces = [payload["since"] for payload in watcher.payloads if payload["online"]]
            assert sinces[-1] > sinces[0], "units resend when `since` has changed"
        finally:
            watcher.close()
        assert {one.instruction_id for one in lorry.instructions} == {told.instruction_id}
        await box.agent.stop()
        assert (await box.verify_journal())["verified"] is True


KILL_AFTER_S = (0.0, 0.015, 0.04, 0.08, 0.2)
"""From the broker's acknowledgement of the position to the kill: before, during and after the first commit."""


async def test_killed_at_any_moment_nothing_is_lost_or_twice(box: Box) -> None:
    await box.start_agent()
    units: list[Unit] = []
    try:
        for number, after_s in enumerate(KILL_AFTER_S, start=1):
            name = f"lorry-{number}"
            await box.expected(name, number=number)
            unit = await Unit(box.broker, name, box.agent_key).ready()
            units.append(unit)
            unit.stand()
            await asyncio.sleep(after_s)
            await box.kill_agent()
            away_s = await box.start_agent()
            told = await unit.told()
            in_time = ("GO",) if away_s < SERVING_S else ("GO", "HOLD")  # a starved machine may outlast the budget
            assert told.action in in_time, f"killed after {after_s} s: {told.reason_code}"
        await activated_once(box, 2 * len(KILL_AFTER_S))
        for unit in units:
            assert {one.version for one in unit.instructions} == {1}
    finally:
        for unit in units:
            unit.close()
    assert await box.agent.stop()
    assert (await box.verify_journal())["verified"] is True


async def held_while_customs_is_silent(box: Box, lorry: Unit) -> Instruction:
    entered_s = lorry.stand()
    told = await lorry.told()
    assert time.time() - entered_s < HOLD_S + 0.5, "HOLD is out in time"
    assert (told.action, told.reason_code, told.version) == ("HOLD", "NO_ANSWER", 1)
    assert epoch_s(told.issued_at) - entered_s < HOLD_S
    assert box.journal_activations(), "activated before anybody was asked"
    return told


async def test_customs_silent_means_hold_and_a_late_go_is_only_recorded(box: Box) -> None:
    await box.start_agent()
    papers = await box.expected("lorry-1")
    assert papers.journey is not None
    async with box.unit("lorry-1") as lorry:
        with box.customs_frozen():
            told = await held_while_customs_is_silent(box, lorry)
        await activated_once(box, 2)
        await until(lambda: box.journal("LATE_ANSWER"), "the late answer is recorded")
        assert (await stage_of(box, papers.journey.jrn))["action"] == "HOLD"
        await asyncio.sleep(1.0)
        assert [one.instruction_id for one in lorry.instructions] == [told.instruction_id], "a late GO is never sent"
        assert (await box.get("/v1/status"))["outboxPending"] == 0


async def test_customs_down_and_back_activates_once(box: Box) -> None:
    await box.start_agent()
    await box.expected("lorry-1")
    async with box.unit("lorry-1") as lorry:
        await box.customs.stop()
        told = await held_while_customs_is_silent(box, lorry)

        async def degraded() -> bool:
            return "UPLINK_LOST" in (await box.get("/v1/status"))["degraded"]

        await until(degraded, "the mode says that customs is away")
        await box.kill_agent()
        await box.start_agent()
        await box.start_customs()
        await activated_once(box, 2)
        await until(lambda: box.journal("LATE_ANSWER"), "the late answer is recorded")
        assert {one.instruction_id for one in lorry.instructions} == {told.instruction_id}
        assert {one.action for one in lorry.instructions} == {"HOLD"}

        async def normal() -> bool:
            return bool((await box.get("/v1/status"))["mode"] == "NORMAL")

        await until(normal, "the mode is normal again")


async def test_sigterm_stops_cleanly_and_says_so(broker: Broker, tmp_path: Path) -> None:
    async with open_box(tmp_path, broker) as box:
        watcher = Watcher(broker, STATUS_TOPIC)
        try:
            await box.start_agent()
            await until(lambda: watcher.payloads and watcher.payloads[-1]["mode"] == "NORMAL", "the mode is normal")
            assert watcher.payloads[-1]["online"] is True
            began_s = time.monotonic()
            assert await box.agent.stop(), f"exit status {box.agent.exit_status}: {box.agent.tail()}"
            assert time.monotonic() - began_s < 5.0
            await until(lambda: watcher.payloads[-1]["online"] is False, "the status says it is offline")
        finally:
            watcher.close()
        late = Watcher(broker, STATUS_TOPIC)
        try:
            await until(lambda: late.payloads, "the retained status")
            assert late.payloads[0]["online"] is False, "who comes later is told too"
        finally:
            late.close()
        assert not (box.data / "journal.db-wal").exists() or (box.data / "journal.db-wal").stat().st_size == 0


async def test_sighup_takes_a_good_zone_file_and_refuses_a_bad_one(box: Box) -> None:
    zones = json.loads(shipped_bytes("border_zones.geojson"))
    zones["borderlane"]["version"] = "2030-01-01.1"
    shipped = json.loads(shipped_bytes("border_zones.geojson"))["borderlane"]["version"]
    (box.folder / "good.geojson").write_text(json.dumps(zones))
    zones["features"][0]["geometry"]["coordinates"][0] = [
        [8.0, 47.0],
        [8.1, 47.1],
        [8.1, 47.0],
        [8.0, 47.1],
        [8.0, 47.0],
    ]
    (box.folder / "bad.geojson").write_text(json.dumps(zones))
    await box.start_agent()
    assert (await box.get("/v1/status"))["zoneSet"] == shipped

    box.configure({"zones.file": "bad.geojson"})
    box.signal_agent(signal.SIGHUP)
    refused = await until(lambda: box.log("reload_refused"), "the refusal")
    assert refused[0]["zone_set"] == shipped
    assert "bad.geojson" in refused[0]["reason"] and zones["features"][0]["properties"]["id"] in refused[0]["reason"]
    assert (await box.get("/v1/status"))["zoneSet"] == shipped

    box.configure({"zones.file": "good.geojson"})
    box.signal_agent(signal.SIGHUP)
    await until(lambda: box.log("reloaded"), "the swap")

    async def swapped() -> bool:
        return bool((await box.get("/v1/status"))["zoneSet"] == "2030-01-01.1")

    await until(swapped, "the new set is in force")
    async with box.unit("nobody") as unit:
        unit.stand()
        assert (await unit.told()).action == "HOLD", "it works on with the new set"
    assert {facts["zoneSetVersion"] for facts in box.journal("DETECTED")} == {"2030-01-01.1"}


async def test_a_second_agent_on_the_same_data_ends_with_2(box: Box) -> None:
    await box.start_agent()
    status, _, err = await command("agent", "--config", str(box.config_file))
    assert status == 2
    assert str(box.data) in err
    assert box.agent.running and (await box.get("/readyz"))["ok"]
