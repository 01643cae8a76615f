"""Real brokers: nothing is lost that was acknowledged by hand, whoever is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from agent.delivery.unit_channel import Publisher
from agent.errors import LinkError
from agent.ingest.mqtt_source import Batch, MqttSource
from agent.ingest.wire import Inbound, Topics
from agent.mqtt_link import BrokerAddress, Will
from simulator.broker import Broker

pytestmark = pytest.mark.system

TOPICS = Topics()
POSITIONS = ((TOPICS.position("+"), 1),)

OPTIONS: dict[str, object] = {}
"""Of every client that a test opens."""

SUBSCRIBER = """
import asyncio, os, sys
from agent.ingest.mqtt_source import MqttSource
from agent.mqtt_link import BrokerAddress

async def main(host, port, protocol, client_id, topic, path, client):
    address = BrokerAddress(host, int(port), protocol)
    source = MqttSource(address, client_id, [(topic, 1)], window=200, stream=client == "stream")
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async for batch in source.batches():
        await asyncio.sleep(0.03)  # a slow commit: what is in hand when the process is killed must come again
        os.write(out, b"".join(message.payload + b"\\n" for message in batch.messages))
        os.fsync(out)
        source.acknowledge(batch)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(params=["paho", "stream"], autouse=True)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both clients of MQTT keep the same promises."""
    monkeypatch.setitem(OPTIONS, "stream", request.param == "stream")
    return str(request.param)


async def until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - what is awaited lies in other processes
            await asyncio.sleep(0.01)


@asynccontextmanager
async def publisher(address: BrokerAddress, **options: object) -> AsyncIterator[Publisher]:
    out = Publisher(address, f"out-{os.urandom(8).hex()}", **OPTIONS, **options)  # type: ignore[arg-type]
    out.start()
    await until(lambda: out.connected)
    try:
        yield out
    finally:
        await out.close()


@asynccontextmanager
async def source(
    address: BrokerAddress, client_id: str, filters: object = POSITIONS, **options: object
) -> AsyncIterator[MqttSource]:
    listening = MqttSource(address, client_id, filters, **OPTIONS, **options)  # type: ignore[arg-type]
    listening.start()
    await until(lambda: listening.connected)
    try:
        yield listening
    finally:
        await listening.close()


async def take(listening: MqttSource, count: int, timeout_s: float = 10.0, acknowledge: bool = True) -> list[Batch]:
    """Batches until so many messages have come."""
    taken: list[Batch] = []
    async with asyncio.timeout(timeout_s):
        async for batch in listening.batches():
            taken.append(batch)
            if acknowledge:
                listening.acknowledge(batch)
            if sum(len(one.messages) for one in taken) >= count:
                return taken
    raise AssertionError("source ended")


def payloads(batches: list[Batch]) -> list[bytes]:
    return [message.payload for batch in batches for message in batch.messages]


async def publish_surely(out: Publisher, topic: str, payload: bytes) -> None:
    """As an outbox does it: again until the broker has said yes."""
    while True:
        try:
            return await out.publish(topic, payload)
        except LinkError:
            await asyncio.sleep(0.05)


async def test_publisher_returns_after_the_puback_and_the_message_arrives_once(
    address: BrokerAddress, client_id: str
) -> None:
    async with source(address, client_id) as listening, publisher(address) as out:
        await until(lambda: listening.connected)
        await asyncio.sleep(0.2)  # SUBACK
        await asyncio.gather(*(out.publish(TOPICS.position("U-1"), b"%d" % n) for n in range(300)))
        taken = payloads(await take(listening, 300))
    assert sorted(map(int, taken)) == list(range(300))


async def test_every_topic_of_the_contract_is_delivered_once(address: BrokerAddress, client_id: str) -> None:
    inbound = Inbound(TOPICS, traccar_topic="traccar/positions", flespi_topic="flespi/message/+")
    sent = [
        TOPICS.position("a.b"), TOPICS.position(".a"), TOPICS.position("a..b"), TOPICS.positions("op_1"),
        TOPICS.receipt("U-1"), TOPICS.incident("U-1"), TOPICS.witness("cam-1"), "owntracks/u/phone",
        "traccar/positions", "flespi/message/dev1",
    ]  # fmt: skip
    async with source(address, client_id, inbound.filters()) as listening, publisher(address) as out:
        await asyncio.sleep(0.2)
        for topic in sent:
            await out.publish(topic, b"{}")
        await out.publish(TOPICS.position("last"), b"end")
        taken = await take(listening, len(sent) + 1)
    topics = Counter(message.topic for batch in taken for message in batch.messages)
    assert topics == Counter([*sent, TOPICS.position("last")])


async def test_unacknowledged_messages_come_again_and_acknowledged_ones_do_not(
    address: BrokerAddress, client_id: str
) -> None:
    async with publisher(address) as out:
        async with source(address, client_id) as first:
            await asyncio.sleep(0.2)
            await out.publish(TOPICS.position("U-1"), b"done")
            await take(first, 1)
            await out.publish(TOPICS.position("U-1"), b"open")
            await take(first, 1, acknowledge=False)
        await out.publish(TOPICS.position("U-1"), b"while away")
        async with source(address, client_id) as second:
            taken = payloads(await take(second, 2))
    assert sorted(taken) == [b"open", b"while away"]


async def test_an_acknowledgement_of_an_older_connection_is_not_sent(
    broker: Broker, address: BrokerAddress, client_id: str
) -> None:
    async with source(address, client_id) as listening, publisher(address) as out:
        await asyncio.sleep(0.2)
        for name in (b"old-1", b"old-2", b"old-3"):
            await out.publish(TOPICS.position("U-1"), name)
        held = await take(listening, 3, acknowledge=False)
        connection = listening.connection
        await broker.restart()
        await until(lambda: listening.connection > connection and listening.connected and out.connected)
        await asyncio.sleep(0.3)
        for name in (b"new-1", b"new-2", b"new-3"):
            await publish_surely(out, TOPICS.position("U-1"), name)
        for batch in held:
            listening.acknowledge(batch)
        assert listening.acks_skipped == 3
    async with source(address, client_id) as again:  # nothing new was acknowledged: all of it comes
        seen: set[bytes] = set()
        async with asyncio.timeout(10):
            async for batch in again.batches():
                seen |= {message.payload for message in batch.messages}
                if seen >= {b"new-1", b"new-2", b"new-3"}:
                    break


async def test_subscriber_killed_three_times_loses_nothing(
    broker: Broker, address: BrokerAddress, client_id: str, client: str, tmp_path: Path
) -> None:
    total, record = 1_500, tmp_path / "record"
    record.touch()
    script = tmp_path / "subscriber.py"
    script.write_text(SUBSCRIBER)

    async def subscriber() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, str(script), broker.host, str(broker.port), broker.protocol, client_id,
            TOPICS.position("+"), str(record), client, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip

    def recorded() -> Counter[bytes]:
        return Counter(record.read_bytes().split())

    async def publish_all(out: Publisher) -> None:
        for start in range(0, total, 10):
            await asyncio.gather(
                *(publish_surely(out, TOPICS.position("U-1"), b"%d" % n) for n in range(start, start + 10))
            )
            await asyncio.sleep(0.01)  # a steady flow: something is in hand at every kill

    process = await subscriber()
    try:
        async with publisher(address) as out:
            await out.publish(TOPICS.position("U-1"), b"probe", retain=False)
            while not recorded():  # the session exists once the first message came through
                await publish_surely(out, TOPICS.position("U-1"), b"probe")
                await asyncio.sleep(0.1)
            publishing = asyncio.create_task(publish_all(out))
            for share in (0.15, 0.35, 0.55):
                await until(lambda share=share: len(recorded()) > share * total, 30)
                process.send_signal(signal.SIGKILL)
                await process.wait()
                process = await subscriber()
            await publishing
        wanted = {b"%d" % n for n in range(total)}
        with suppress(TimeoutError):
            await until(lambda: wanted <= set(recorded()), 15)
        assert wanted - set(recorded()) == set()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_broker_killed_agent_serves_again_within_three_seconds(
    broker: Broker, address: BrokerAddress, client_id: str
) -> None:
    loop = asyncio.get_running_loop()
    lost = asyncio.Event()
    async with source(address, client_id, on_lost=lost.set) as listening, publisher(address) as out:
        await broker.kill()
        async with asyncio.timeout(2):
            await lost.wait()
        with pytest.raises(LinkError):
            await out.publish(TOPICS.position("U-1"), b"x")
        await broker.start()
        started_s = loop.time()
        await until(lambda: listening.connected and out.connected, 3)
        await out.publish(TOPICS.position("U-1"), b"back")
        assert payloads(await take(listening, 1)) == [b"back"]
        assert loop.time() - started_s < 3


async def test_frozen_broker_is_noticed_by_the_heartbeat(
    broker: Broker, address: BrokerAddress, client_id: str
) -> None:
    loop = asyncio.get_running_loop()
    lost, found = asyncio.Event(), asyncio.Event()
    heart = TOPICS.heartbeat("box-1")
    async with (
        publisher(address, heartbeat_topic=heart) as out,
        source(address, client_id, heartbeat_topic=heart, on_lost=lost.set, on_found=found.set) as listening,
    ):
        await until(lambda: listening.heartbeat_age_s() < 0.5)
        found.clear()
        broker.freeze()
        frozen_s = loop.time()
        await asyncio.wait_for(lost.wait(), 6)
        assert loop.time() - frozen_s < 4
        assert not listening.alive
        out.reconnect()
        broker.thaw()
        await asyncio.wait_for(found.wait(), 6)
        await until(lambda: out.connected)
        await out.publish(TOPICS.position("U-1"), b"again")
        assert payloads(await take(listening, 1)) == [b"again"]


async def test_last_will_speaks_when_the_agent_vanishes_and_not_when_it_leaves(
    address: BrokerAddress, client_id: str
) -> None:
    status = TOPICS.status("box-1")
    async with source(address, client_id, ((status, 1),)) as listening:
        await asyncio.sleep(0.2)
        async with publisher(address, will=Will(status, b"gone")) as out:
            out.reconnect()
            assert payloads(await take(listening, 1)) == [b"gone"]
            await until(lambda: out.connected)
            await out.publish(status, b"here", retain=True)
        await asyncio.sleep(0.3)
        assert payloads(await take(listening, 1)) == [b"here"]
        assert listening.waiting == 0


async def test_protocol_is_found_out(broker: Broker, client_id: str, client: str) -> None:
    async with source(BrokerAddress(broker.host, broker.port, "auto"), client_id) as listening:
        assert listening.protocol == (broker.protocol if client == "paho" else "3.1.1")


async def test_wrong_client_cannot_stop_the_stream_with_qos0_flood(address: BrokerAddress, client_id: str) -> None:
    async with source(address, client_id, window=50) as listening, publisher(address) as out:
        await asyncio.sleep(0.2)
        await out.publish(TOPICS.position("U-1"), b"kept")
        await until(lambda: listening.waiting > 0)
        for n in range(500):
            await out.publish(TOPICS.position("U-2"), b"%d" % n, qos=0)
        await until(lambda: listening.dropped_qos0 >= 450)
        assert listening.waiting <= 51
        assert payloads(await take(listening, 51))[0] == b"kept"
