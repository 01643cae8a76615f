"""agent/mqtt_stream.py and its connection in mqtt_link: against a small broker of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent.delivery.unit_channel import Publisher
from agent.mqtt_link import BrokerAddress, Callbacks, MqttLink
from agent.mqtt_stream import Code
from tests.agent.far_side import Broker, mqtt_broker

WAIT_S = 10.0


@dataclass
class Owner:
    """Who owns a link: remembers what it is told."""

    client: Any = None
    connections: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _waking: list[asyncio.Future[None]] = field(default_factory=list)

    def callbacks(self) -> Callbacks:
        return Callbacks(self._connected, self._lost, None, self._published)

    def _connected(self, client: Any, number: int) -> None:
        self.client = client
        self._note(self.connections, number)

    def _lost(self, number: int) -> None:
        self._note(self.lost, number)

    def _published(self, _number: int, mid: int, _reason: int) -> None:
        self._note(self.published, mid)

    def _note(self, where: list[int], what: int) -> None:
        where.append(what)
        self._waking.append(asyncio.ensure_future(self._wake()))

    async def _wake(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, where: list[int], count: int) -> None:
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(lambda: len(where) >= count)


@asynccontextmanager
async def linked(broker: Broker, window: int = 100) -> AsyncIterator[Owner]:
    owner = Owner()
    address = BrokerAddress("127.0.0.1", broker.port, "5")  # whatever the address says, it is 3.1.1
    link = MqttLink(address, "x", owner.callbacks(), window=window, stream=True)
    link.start()
    try:
        await owner.until(owner.connections, 1)
        assert link.protocol == "3.1.1"
        yield owner
    finally:
        await link.close()


async def test_publishes_arrive_in_order_and_are_confirmed() -> None:
    async with mqtt_broker() as broker, linked(broker) as owner:
        sent = [owner.client.publish("t", b"%d" % n, 1, False) for n in range(50)]
        await owner.until(owner.published, 50)
        assert [int(one.payload) for one in broker.published] == list(range(50))
        assert owner.published == [one.mid for one in sent]


async def test_what_is_above_the_window_waits_and_what_is_above_twice_the_window_is_refused() -> None:
    async with mqtt_broker() as broker, linked(broker, window=4) as owner:
        broker.silent = True
        codes = [owner.client.publish("t", b"x", 1, False).rc for _ in range(10)]
        assert codes == [Code.SUCCESS] * 8 + [Code.QUEUE_FULL] * 2
        assert len(await broker.until(4)) == 4


async def test_those_behind_the_window_go_as_the_first_are_confirmed() -> None:
    async with mqtt_broker() as broker, linked(broker, window=4) as owner:
        for n in range(8):
            owner.client.publish("t", b"%d" % n, 1, False)
        await owner.until(owner.published, 8)
        assert [int(one.payload) for one in broker.published] == list(range(8))


async def test_a_lost_connection_is_told_and_another_is_opened() -> None:
    async with mqtt_broker() as broker, linked(broker) as owner:
        gone = owner.client
        broker.drop_all()
        await owner.until(owner.connections, 2)
        assert owner.lost == [1] and owner.client is not gone
        assert gone.publish("t", b"", 1, False).rc == Code.NO_CONNECTION
        owner.client.publish("t", b"again", 1, False)
        await owner.until(owner.published, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_run_of_messages_is_counted_up_to_the_first_that_was_not_taken(stream: bool) -> None:
    async with mqtt_broker() as broker:
        address = BrokerAddress("127.0.0.1", broker.port, "3.1.1")
        opened = asyncio.Event()
        out = Publisher(address, "out", puback_timeout_s=0.5, on_connected=opened.set, stream=stream)
        assert await out.publish_run("t", [b"0"]) == 0, "not connected"
        out.start()
        try:
            await asyncio.wait_for(opened.wait(), WAIT_S)
            out.puback_timeout_s = WAIT_S
            assert await out.publish_run("t", [b"%d" % n for n in range(150)]) == 150, "more than the window"
            assert [int(one.payload) for one in broker.published] == list(range(150))
            broker.silent = True
            out.puback_timeout_s = 0.5
            assert await out.publish_run("t", [b"x", b"y"]) == 0
            broker.silent = False
            out.puback_timeout_s = WAIT_S
            assert await out.publish_run("t", [b"z"]) == 1, "the window is free again"
        finally:
            await out.close()
