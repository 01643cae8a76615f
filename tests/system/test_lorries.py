"""`borderlane lorries` as a process against a real broker and the real customs service."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import aiohttp
import msgspec
import pytest
from paho.mqtt.client import Client, MQTTMessage

from agent.domain.instruction import Instruction, Receipt
from agent.domain.times import rfc3339
from agent.ingest.wire import Inbound, Topics, decode_message
from agent.instruction.signing import sign_instruction
from agent.keys import jwk_of, make_key, read_private_key
from agent.mqtt_link import BrokerAddress, Callbacks, MqttLink
from simulator.broker import Broker, free_port
from simulator.lorry_config import BrokerTable, LorriesConfig, RunTable, ServicesTable, to_toml
from simulator.scenario import unit_id
from zones.fix import Fix

pytestmark = pytest.mark.system

PATIENCE_S = 20.0
TOPICS = Topics()
LORRIES = 8


async def borderlane(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator.cli", *arguments, stdout=asyncio.subprocess.DEVNULL
    )


async def until(found, what: str) -> None:
    """Wait for a fact, at most PATIENCE_S."""
    end_s = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < end_s, f"not seen in {PATIENCE_S} s: {what}"
        await asyncio.sleep(0.05)


class Listener:
    """What the agent would hear."""

    def __init__(self, address: BrokerAddress, client_id: str) -> None:
        self.client: Client | None = None
        self.messages: list[tuple[str, bytes]] = []
        self.link = MqttLink(
            address, client_id, Callbacks(connected=self._connected, lost=lambda _: None, message=self._message)
        )

    def _connected(self, client: Client, _connection: int) -> None:
        client.subscribe(list(Inbound().filters()))
        self.client = client

    def _message(self, _connection: int, message: MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload)))

    def heard(self, kind: type) -> list:
        items = [item for topic, data in self.messages for item in decode_message(Inbound(), topic, data, time.time())]
        return [item for item in items if isinstance(item, kind)]

    def receipts(self, unit: str) -> list[Receipt]:
        topic = TOPICS.receipt(unit)
        return [msgspec.json.decode(data, type=Receipt) for at, data in self.messages if at == topic]


def instruction(unit: str, jrn: str, action: str) -> Instruction:
    now_s = time.time()
    return Instruction(
        instruction_id="i-1", jrn=jrn, version=1, unit=unit, vehicle=None, action=action, customs_office=None,
        lane=None, report_to_locations=(), deadline=None, reason_code="RELEASED", issued_at=rfc3339(now_s),
        expires_at=rfc3339(now_s + 600.0), supersedes=None, activations=(), checkpoint=None,
    )  # fmt: skip


def lorry_log(folder: Path) -> list[dict]:
    file = folder / "lorry-log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def configured(folder: Path, broker: Broker, customs_url: str) -> Path:
    config = LorriesConfig(
        run=RunTable(run_id="sys", lorries=LORRIES, seconds=40.0),
        broker=BrokerTable(host=broker.host, port=broker.port, protocol=broker.protocol),
        services=ServicesTable(customs_url=customs_url, agent_keys={"box-1": "agent.pub.pem"}),
    )
    file = folder / "lorries.toml"
    file.write_text(to_toml(config), encoding="utf-8")
    return file


async def test_lorries_declare_drive_read_instructions_and_stop_cleanly(
    broker: Broker, address: BrokerAddress, client_id: str, tmp_path: Path
) -> None:
    make_key(tmp_path / "agent.key.pem", tmp_path / "agent.pub.pem")
    key = jwk_of(read_private_key(tmp_path / "agent.key.pem"))
    port = free_port()
    customs_url = f"http://127.0.0.1:{port}"
    customs = await borderlane("customs", "--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "customs"))
    listener = Listener(address, client_id)
    listener.link.start()
    lorries = await borderlane("lorries", "--config", str(configured(tmp_path, broker, customs_url)))
    try:
        wanted = {unit_id("sys", number) for number in range(LORRIES)} - {unit_id("sys", 3)}  # 3 is on the serial line
        await until(lambda: {fix.unit for fix in listener.heard(Fix)} >= wanted - LATE, "positions of the units")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{customs_url}/v1/transport-declarations", params={"marker": 0}) as answer,
        ):
            rows = (await answer.json())["rows"]
        assert {row["jrn"] for row in rows if row["state"] == "READY"}, "journeys are at customs before they arrive"

        unit = unit_id("sys", 0)
        token = sign_instruction(instruction(unit, "Jsys-00000", "HOLD"), key, "box-1")
        assert listener.client is not None
        listener.client.publish(TOPICS.instruction(unit), token, qos=1, retain=True)
        listener.client.publish(TOPICS.instruction(unit_id("sys", 1)), token, qos=1)  # not for this one
        await until(lambda: listener.receipts(unit), "a receipt")
        assert listener.receipts(unit)[0].displayed is not None
        await until(lambda: any(line["event"] == "halted" for line in lorry_log(tmp_path)), "the driver obeys")
        await until(lambda: any(line["event"] == "refused" for line in lorry_log(tmp_path)), "a refusal")
        assert not listener.receipts(unit_id("sys", 1))
    finally:
        lorries.send_signal(signal.SIGTERM)
        status = await lorries.wait()
        customs.send_signal(signal.SIGTERM)
        await customs.wait()
        await listener.link.close()
    assert status == 0
    lines = lorry_log(tmp_path)
    assert lines[0]["event"] == "started" and lines[-1]["event"] == "summary"
    assert lines[-1]["published"] > 10
    assert not any("latitude" in line or "longitude" in line for line in lines), "no positions in the log"


LATE = {unit_id("sys", 5), unit_id("sys", 6), unit_id("sys", 7)}
"""Set out later in the run, or report seldom."""


async def test_wrong_configuration_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "lorries.toml"
    file.write_text("[run]\nlorrys = 3\n")
    lorries = await borderlane("lorries", "--config", str(file))
    assert await lorries.wait() == 2
