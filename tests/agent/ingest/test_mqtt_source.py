"""agent/ingest/mqtt_source.py against a broker of the test that repeats itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from agent import mqtt_packets as packets
from agent.ingest.mqtt_source import WINDOW, Batch, MqttSource
from agent.mqtt_link import BrokerAddress

WAIT_S = 10.0
TOPIC = "borderlane/v1/units/u/position"


class Repeating:
    """Lets one client in, sends what a test wants, and keeps the ids that were acknowledged."""

    def __init__(self) -> None:
        self.port = 0
        self.acknowledged: list[int] = []
        self.subscribed = asyncio.Event()
        self._changed = asyncio.Condition()
        self._writer: asyncio.StreamWriter | None = None
        self._serving: set[asyncio.Task[None]] = set()

    def send(self, mid: int, payload: bytes, *, again: bool = False) -> None:
        assert self._writer is not None
        data = packets.publish(TOPIC, payload, 1, False, mid)
        self._writer.write(bytes((data[0] | again << 3,)) + data[1:])

    async def until_acknowledged(self, count: int) -> list[int]:
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: len(self.acknowledged) >= count)
        return self.acknowledged

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    first, length = await reader.readexactly(2)  # all that a source sends is short
                    await self._answer(first >> 4, await reader.readexactly(length), writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == 1:
            writer.write(b"\x20\x02\x00\x00")
        elif kind == 8:
            writer.write(b"\x90\x03" + body[:2] + b"\x01")
            self.subscribed.set()
        elif kind == 4:
            async with self._changed:
                self.acknowledged.append(int.from_bytes(body, "big"))
                self._changed.notify_all()

    async def all_gone(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._serving:
            await asyncio.wait(self._serving)


@asynccontextmanager
async def listening(stream: bool, window: int = WINDOW) -> AsyncIterator[tuple[Repeating, MqttSource]]:
    broker = Repeating()
    server = await asyncio.start_server(broker.accept, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    address = BrokerAddress("127.0.0.1", broker.port, "3.1.1")
    source = MqttSource(address, "in", [(TOPIC, 1)], stream=stream, window=window)
    source.start()
    try:
        await asyncio.wait_for(broker.subscribed.wait(), WAIT_S)
        yield broker, source
    finally:
        await source.close()
        server.close()
        await broker.all_gone()


async def _first(source: MqttSource, count: int) -> AsyncIterator[Batch]:
    """Batches until so many messages have come."""
    async with asyncio.timeout(WAIT_S):
        async for batch in source.batches():
            yield batch
            count -= len(batch.messages)
            if count <= 0:
                return


async def take(source: MqttSource, count: int, *, acknowledge: bool) -> list[bytes]:
    taken: list[bytes] = []
    async with asyncio.timeout(WAIT_S):
        async for batch in source.batches():
            taken += [message.payload for message in batch.messages]
            if acknowledge:
                source.acknowledge(batch)
            if len(taken) >= count:
                return taken
    raise AssertionError("source ended")


@pytest.mark.parametrize("stream", [False, True], ids=["paho", "stream"])
async def test_a_window_that_was_full_is_told_once(stream: bool) -> None:
    async with listening(stream, window=3) as (broker, source):
        broker.send(1, b"one")
        assert await take(source, 1, acknowledge=False) == [b"one"]
        assert not source.was_full()
        for mid in (2, 3):
            broker.send(mid, b"more")
        batches = [batch async for batch in _first(source, 2)]
        for batch in batches:
            source.acknowledge(batch)
        assert source.was_full(), "three were in hand at once, although two are acknowledged by now"
        assert not source.was_full()


@pytest.mark.parametrize("stream", [False, True], ids=["paho", "stream"])
async def test_another_copy_of_what_is_in_hand_is_not_taken_and_one_of_what_was_given_back_is(stream: bool) -> None:
    async with listening(stream) as (broker, source):
        broker.send(1, b"one")
        broker.send(1, b"one", again=True)
        broker.send(2, b"two")
        assert await take(source, 2, acknowledge=True) == [b"one", b"two"]
        assert source.repeated == 1
        assert await broker.until_acknowledged(2) == [1, 2]
        broker.send(1, b"one", again=True)  # the acknowledgement was lost: it wants another
        assert await take(source, 1, acknowledge=True) == [b"one"]
        assert await broker.until_acknowledged(3) == [1, 2, 1]
