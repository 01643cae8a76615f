"""Agent and broker killed again and again under load: nothing lost, nothing twice (design/reliability.md, F9, F10)."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from agent.domain.times import rfc3339
from simulator.broker import Broker
from tests.system.box import APPROACH, APPROACH_EVERY_S, TOPICS, Box, open_box, papers_for, until
from tests.system.conftest import usable

pytestmark = [pytest.mark.system]

TICK_S = 0.1
AGAIN_S = 2.0
"""A message that no watermark covers is sent again after so long, as a unit does after a reconnect."""
AGAIN_AT_ONCE = 40
PATIENCE_S = 90.0
BOX_CALM_S = (0.1, 0.6)
"""How long the agent serves before it is killed again, drawn."""


@dataclass
class Sender:
    """One unit: what it has said, and how far the agent says it has come."""

    name: str
    payloads: list[bytes] = field(default_factory=list)
    sent_s: list[float] = field(default_factory=list)
    up_to: int = -1

    def next(self) -> bytes:
        """Another fix: the approach into the zone, then standing in it."""
        seq, now_s = len(self.payloads), time.time()
        latitude, longitude = APPROACH[min(seq, len(APPROACH) - 1)]
        before_s = max(0, len(APPROACH) - 1 - seq) * APPROACH_EVERY_S
        report = {
            "bootId": "b1",
            "seq": seq,
            "fixTime": rfc3339(now_s - before_s),
            "latitude": latitude,
            "longitude": longitude,
            "accuracy": 5,
            "speed": 17 if seq < len(APPROACH) else 0,
        }
        self.payloads.append(msgspec.json.encode(report))
        self.sent_s.append(now_s)
        return self.payloads[-1]

    def again(self) -> list[bytes]:
        """What is above the watermark and has waited."""
        now_s = time.time()
        waiting = range(self.up_to + 1, len(self.payloads))
        due = [seq for seq in waiting if now_s - self.sent_s[seq] >= AGAIN_S][:AGAIN_AT_ONCE]
        for seq in due:
            self.sent_s[seq] = now_s
        return [self.payloads[seq] for seq in due]


class Convoy:
    """Units on one connection, which comes back by itself; none of our client code is in it."""

    def __init__(self, broker: Broker, names: list[str], messages: int) -> None:
        self.units = {name: Sender(name) for name in names}
        self.tokens: Counter[str] = Counter()
        self._each = messages // len(names)
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"convoy-{time.time_ns()}")
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._subscribe
        self._client.on_message = self._take
        self._client.connect(broker.host, broker.port, keepalive=30)
        self._client.loop_start()

    @property
    def sent(self) -> int:
        return sum(len(unit.payloads) for unit in self.units.values())

    @property
    def unheard(self) -> list[str]:
        """Units whose last message is under no watermark."""
        return [unit.name for unit in self.units.values() if unit.up_to < self._each - 1]

    async def drive(self, seconds: float) -> None:
        """Send everything, spread over so long, then again until all of it is confirmed."""
        began_s = time.monotonic()
        starts = {name: place * seconds / len(self.units) for place, name in enumerate(self.units)}
        pace_s = max(seconds / 4, 1.0)
        while self.sent < self._each * len(self.units) or self.unheard:
            run_s = time.monotonic() - began_s
            for name, unit in self.units.items():
                wanted = min(self._each, int((run_s - starts[name]) / pace_s * self._each) + 1)
                while run_s >= starts[name] and len(unit.payloads) < wanted:
                    self._say(unit, unit.next())
                for payload in unit.again():
                    self._say(unit, payload)
            await asyncio.sleep(TICK_S)

    def _say(self, unit: Sender, payload: bytes) -> None:
        if self._client.is_connected():
            self._client.publish(TOPICS.position(unit.name), payload, qos=1)

    def _subscribe(self, client: Client, *_: object) -> None:
        client.subscribe([(TOPICS.watermark("+"), 0), (TOPICS.instruction("+"), 1)])

    def _take(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        unit, leaf = message.topic.rsplit("/", 2)[-2:]
        if unit not in self.units or not message.payload:
            return
        if leaf == "watermark":
            up_to = msgspec.json.decode(message.payload)["upTo"]
            self.units[unit].up_to = max(self.units[unit].up_to, up_to)
        else:
            self.tokens[unit] += 1

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


async def kill_all_the_time(box: Box, agent_kills: int, broker_kills: int, dice: random.Random) -> None:
    """So many kills in random order, each as soon as the agent has served for a moment."""
    kills = ["agent"] * agent_kills + ["broker"] * broker_kills
    dice.shuffle(kills)
    for victim in kills:
        await asyncio.sleep(dice.uniform(*BOX_CALM_S))
        if victim == "agent":
            await box.kill_agent()
            await box.start_agent()
        else:
            await box.broker.lose_store()


async def killed_over(box: Box, units: int, messages: int, agent_kills: int, broker_kills: int) -> dict[str, Any]:
    """Let units send through all the kills; returns what was sent."""
    names = [f"lorry-{number}" for number in range(units)]
    papers = [papers_for(name, declarations=1, number=number) for number, name in enumerate(names)]
    for one in papers:
        assert one.journey is not None
        await box.declare(one.goods, one.journey)
    await box.start_agent()
    for one in papers:
        assert one.journey is not None
        await box.knows(one.journey.jrn)
    convoy = Convoy(box.broker, names, messages)
    try:
        killing = asyncio.create_task(kill_all_the_time(box, agent_kills, broker_kills, random.Random(1)))
        driving = asyncio.create_task(convoy.drive(2.0 * (agent_kills + broker_kills)))
        await killing
        async with asyncio.timeout(PATIENCE_S + 3.0 * (agent_kills + broker_kills)):
            await driving
    finally:
        for task in (killing, driving):
            task.cancel()
        await asyncio.gather(killing, driving, return_exceptions=True)
        convoy.close()
    assert convoy.unheard == [], "lost"

    async def at_customs() -> bool:
        return len(await box.customs_activations()) >= units

    await until(at_customs, f"{units} activations at customs")
    rows = Counter(row["activationId"] for row in await box.customs_activations())
    in_journal = Counter(box.journal_activations())
    assert rows == in_journal and set(rows.values()) == {1} and len(rows) == units
    assert await box.agent.stop()
    assert (await box.verify_journal())["verified"] is True
    return {"sent": convoy.sent, "told": len(convoy.tokens)}


@pytest.mark.parametrize(
    ("kind", "messages", "agent_kills", "broker_kills"),
    [
        pytest.param("nats", 10_000, 20, 5, marks=pytest.mark.timeout(600)),
        pytest.param("mosquitto", 5_000, 6, 5, marks=pytest.mark.timeout(600)),
        pytest.param("nats", 100_000, 200, 50, marks=[pytest.mark.nightly, pytest.mark.timeout(3_600)]),
        pytest.param("mosquitto", 100_000, 200, 50, marks=[pytest.mark.nightly, pytest.mark.timeout(3_600)]),
    ],
)
async def test_nothing_is_lost_or_twice(
    kind: str,
    messages: int,
    agent_kills: int,
    broker_kills: int,
    tmp_path: Path,
    absent: Callable[[str], str],
    count: Callable[[str], None],
) -> None:
    broker = Broker(usable(kind, absent), tmp_path / "broker")
    await broker.start()
    try:
        async with open_box(tmp_path, broker) as box:
            seen = await killed_over(box, 50, messages, agent_kills, broker_kills)
    finally:
        await broker.stop()
    assert seen["sent"] == messages and seen["told"] == 50
    kills = f"{agent_kills} agent kills and {broker_kills} broker kills"
    count(f"{kind}: {kills} over {messages} messages: 0 lost, 0 twice")
