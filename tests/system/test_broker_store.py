"""What a broker keeps: through kills, a lost store and a full queue."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.broker_files import QUEUE_BYTES
from agent.delivery.unit_channel import Publisher
from agent.errors import LinkError
from agent.ingest.mqtt_source import MqttSource
from agent.mqtt_link import BrokerAddress
from simulator.broker import Broker, choose

pytestmark = pytest.mark.system

TOPIC = "borderlane/v1/units/U-1/position"
FILTERS = (("borderlane/v1/units/+/position", 1),)


async def until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - what is awaited lies in other processes
            await asyncio.sleep(0.01)


async def connected(address: BrokerAddress) -> Publisher:
    out = Publisher(address, f"out-{os.urandom(8).hex()}", puback_timeout_s=1.0)
    out.start()
    await until(lambda: out.connected)
    return out


async def session(address: BrokerAddress, client_id: str) -> None:
    """Make the persistent session, then leave."""
    first = MqttSource(address, client_id, FILTERS)
    first.start()
    await until(lambda: first.connected)
    await asyncio.sleep(0.3)  # SUBACK
    await first.close()


async def drain(address: BrokerAddress, client_id: str, idle_s: float = 2.5) -> set[bytes]:
    """Everything the session holds, acknowledged."""
    source = MqttSource(address, client_id, FILTERS)
    seen: set[bytes] = set()
    batches = source.batches()
    try:
        while True:
            batch = await asyncio.wait_for(anext(batches), idle_s)
            seen |= {message.payload for message in batch.messages}
            source.acknowledge(batch)
    except TimeoutError:
        return seen
    finally:
        await source.close()


async def test_nats_keeps_what_it_confirmed_through_its_own_kill(
    tmp_path: Path, client_id: str, require: Callable[[str], str]
) -> None:
    choice = choose("nats")
    if choice.kind != "nats":
        require("nats-server")
    broker = Broker(choice, tmp_path / "broker")
    await broker.start()
    address = BrokerAddress(broker.host, broker.port, broker.protocol)
    try:
        await session(address, client_id)
        out = await connected(address)
        await asyncio.gather(*(out.publish(TOPIC, b"%d" % n) for n in range(500)))
        await broker.restart()
        assert await drain(address, client_id) >= {b"%d" % n for n in range(500)}
        await out.close()
    finally:
        await broker.stop()


async def test_after_a_lost_store_subscriptions_and_retained_messages_come_back(
    broker: Broker, address: BrokerAddress, client_id: str
) -> None:
    republished: list[asyncio.Task[None]] = []
    status = "borderlane/v1/agents/box-1/status"

    def again() -> None:
        republished.append(asyncio.create_task(out.publish(status, b"here", retain=True)))

    out = Publisher(address, f"out-{os.urandom(8).hex()}", on_connected=again)
    source = MqttSource(address, client_id, FILTERS)
    out.start()
    source.start()
    await until(lambda: out.connected and source.connected)
    connections = out.connection, source.connection
    await broker.lose_store()
    await until(lambda: out.connection > connections[0] and out.connected)
    await until(lambda: source.connection > connections[1] and source.connected)
    await asyncio.sleep(0.3)
    await out.publish(TOPIC, b"after")
    batch = await asyncio.wait_for(anext(source.batches()), 5)
    assert [message.payload for message in batch.messages] == [b"after"]
    watcher = MqttSource(address, client_id + "w", ((status, 1),))
    batch = await asyncio.wait_for(anext(watcher.batches()), 5)
    assert [(message.payload, message.retained) for message in batch.messages] == [(b"here", True)]
    await asyncio.gather(*republished, return_exceptions=True)
    for closing in (out, source, watcher):
        await closing.close()


async def test_a_full_nats_queue_refuses_and_then_drains_completely(
    tmp_path: Path, client_id: str, require: Callable[[str], str]
) -> None:
    choice = choose("nats")
    if choice.kind != "nats":
        require("nats-server")
    broker = Broker(choice, tmp_path / "broker")
    await broker.start()
    address = BrokerAddress(broker.host, broker.port, broker.protocol)
    size = 200_000
    taken: set[bytes] = set()
    try:
        await session(address, client_id)
        out = await connected(address)
        for n in range(QUEUE_BYTES // size + 5):
            try:
                await out.publish(TOPIC, b"%06d" % n + bytes(size))
                taken.add(b"%06d" % n)
            except LinkError:
                break
        else:
            pytest.fail("the queue has no bound")
        assert len(taken) > 0.9 * QUEUE_BYTES // size
        await out.close()
        drained = {payload[:6] for payload in await drain(address, client_id, 4.0)}
        assert taken <= drained
        out = await connected(address)
        await out.publish(TOPIC, b"room again")
        await out.close()
    finally:
        await broker.stop()


async def test_stop_leaves_nothing_and_a_second_broker_can_start(broker: Broker) -> None:
    store = Path(broker._settings.store_dir)
    assert store.exists() and broker.rss_mb() > 1
    pid = broker.pid
    await broker.stop()
    assert not store.exists() and broker.pid is None and not broker.running
    assert not Path(f"/proc/{pid}").exists()
    await broker.start()
    assert broker.running and broker.pid != pid


async def test_a_port_in_use_is_said(broker: Broker, tmp_path: Path) -> None:
    second = Broker(choose(broker.kind), tmp_path / "second", port=broker.port)
    try:
        with pytest.raises(LinkError) as raised:
            await second.start()
        assert f":{broker.port} is in use" in str(raised.value)
    finally:
        await second.stop()
