"""Real brokers that go by certificates: who may speak, who may hear, who is let in, and for how long."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.certificates import HOLDER_DAYS, TrialAuthority
from agent.delivery.unit_channel import Publisher
from agent.domain.holder import Holder, Kind
from agent.ingest.mqtt_source import MqttSource
from agent.ingest.wire import Inbound, Topics
from agent.mqtt_link import BrokerAddress, Callbacks, MqttLink, Speaker
from simulator.broker import Broker
from simulator.identities import Identities, http_session
from simulator.parts import Part, free_ports
from tests.system.box import command
from tests.system.conftest import KINDS, usable

pytestmark = [pytest.mark.system, pytest.mark.timeout(170)]

AGENT, TOPICS = "box-1", Topics()
HONEST, LIAR = "lorry.1", "lorry-2"
QUIET_S = 0.7
"""What has not come so long after a message that did come does not come."""
PATIENCE_S = 30.0


async def until(true: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not true():  # noqa: ASYNC110 - what is awaited lies in other processes
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


@dataclass
class Place:
    """A broker and the certificates it knows."""

    broker: Broker
    authority: TrialAuthority

    def address(self, holder: Holder) -> BrokerAddress:
        tls = Identities(self.authority.folder).tls(holder).client
        return BrokerAddress(self.broker.host, self.broker.port, "3.1.1", tls=tls)


@pytest.fixture(params=KINDS)
async def place(request: pytest.FixtureRequest, tmp_path: Path, absent: Callable[[str], str]) -> AsyncIterator[Place]:
    choice = usable(request.param, absent)
    authority = TrialAuthority(tmp_path / "tls")
    for kind in (Kind.AGENT, Kind.RECEIVER, Kind.BROKER):
        authority.issue(Holder(AGENT, kind))
    for unit in (HONEST, LIAR):
        authority.issue(Holder(unit))
    running = Broker(choice, tmp_path / "broker", name=AGENT, authority=authority)
    await running.start()
    try:
        yield Place(running, authority)
    finally:
        await running.stop()


class Unit:
    """One unit's connection and what it has heard."""

    def __init__(self, address: BrokerAddress, *filters: str, client_id: str = "") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.client: Speaker | None = None
        self.opened = self.lost = 0
        self._filters = filters

        def message(_connection: int, message: object) -> None:
            self.heard.append((message.topic, message.payload))  # type: ignore[attr-defined]

        self.link = MqttLink(
            address,
            client_id or f"unit-{secrets.token_hex(4)}",
            Callbacks(self._connected, self._lost, message),
            stream=True,
        )

    def _connected(self, client: Speaker, _connection: int) -> None:
        self.client, self.opened = client, self.opened + 1
        if self._filters:
            client.subscribe([(one, 1) for one in self._filters])

    def _lost(self, _connection: int) -> None:
        self.client, self.lost = None, self.lost + 1

    async def say(self, topic: str, payload: bytes, retain: bool = False) -> None:
        await until(lambda: self.client is not None, f"a connection to say {topic} by")
        assert self.client is not None
        self.client.publish(topic, payload, 1, retain)


@asynccontextmanager
async def unit(address: BrokerAddress, *filters: str, client_id: str = "") -> AsyncIterator[Unit]:
    one = Unit(address, *filters, client_id=client_id)
    one.link.start()
    try:
        yield one
    finally:
        await one.link.close()


class Agent:
    """The agent's two connections."""

    def __init__(self, place: Place, stream: bool) -> None:
        self.secret = secrets.token_hex(16)
        heartbeat = TOPICS.heartbeat(AGENT)
        self.publisher = Publisher(
            place.address(Holder(AGENT, Kind.AGENT)), f"out-{self.secret}", heartbeat_topic=heartbeat, stream=stream
        )
        self.source = MqttSource(
            place.address(Holder(AGENT, Kind.RECEIVER)), f"in-{self.secret}", Inbound().filters(),
            heartbeat_topic=heartbeat, stream=stream,
        )  # fmt: skip
        self.heard: list[tuple[str, bytes]] = []
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.publisher.start()
        self.source.start()
        self._reading = asyncio.create_task(self._read())
        await until(lambda: self.source.alive and self.publisher.connected, "the agent hears its own heartbeat")

    async def _read(self) -> None:
        async for batch in self.source.batches():
            self.heard += [(message.topic, message.payload) for message in batch.messages]
            self.source.acknowledge(batch)

    async def close(self) -> None:
        await self.source.close()
        await self.publisher.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


@pytest.fixture(params=["paho", "stream"])
async def agent(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[Agent]:
    running = Agent(place, request.param == "stream")
    try:
        await running.start()
        yield running
    finally:
        await running.close()


async def test_s2_a_lorry_speaks_for_itself_alone(place: Place, agent: Agent) -> None:
    forged = [
        TOPICS.position(HONEST), TOPICS.receipt(HONEST), TOPICS.incident(HONEST), TOPICS.instruction(HONEST),
        TOPICS.watermark(HONEST), TOPICS.positions("platform-1"), TOPICS.witness("camera-1"), TOPICS.status(AGENT),
        TOPICS.heartbeat(AGENT), TOPICS.events(AGENT), "owntracks/lorry/1",
    ]  # fmt: skip
    heard_by = (TOPICS.instruction(HONEST), TOPICS.watermark(HONEST), TOPICS.status("+"))
    async with unit(place.address(Holder(HONEST)), *heard_by) as honest:
        await honest.say(TOPICS.position(HONEST), b"mine")
        await until(lambda: (TOPICS.position(HONEST), b"mine") in agent.heard, "an honest position arrives")
        for topic in forged:
            async with unit(place.address(Holder(LIAR))) as liar:  # NATS may close a connection for one of them
                for retained in (False, True):
                    await liar.say(topic, b"forged", retained)
                await asyncio.sleep(0.05)
        async with unit(place.address(Holder(LIAR))) as liar:
            await liar.say(TOPICS.position(LIAR), b"own")
            await until(lambda: (TOPICS.position(LIAR), b"own") in agent.heard, "its own position arrives")
        await asyncio.sleep(QUIET_S)
        assert not [topic for topic, payload in agent.heard if payload == b"forged"]
        assert not [topic for topic, payload in honest.heard if payload == b"forged"]


async def test_s21_a_lorry_hears_its_own_instructions_alone(place: Place, agent: Agent) -> None:
    await agent.publisher.publish(TOPICS.instruction(HONEST), b"for another", 1, True)
    curious = [
        TOPICS.instruction(HONEST), TOPICS.instruction("+"), TOPICS.position("+"), TOPICS.position(HONEST), "#",
        "borderlane/#", "+/+/+/+/+", TOPICS.events("+"), "$SYS/#", "$MQTT/#",
    ]  # fmt: skip
    listening = [Unit(place.address(Holder(LIAR)), curious[0])]
    own = Unit(place.address(Holder(HONEST)), TOPICS.instruction(HONEST))
    try:
        own.link.start()
        await until(lambda: own.heard != [], "an instruction arrives where it should")
        for topic in curious:
            async with unit(place.address(Holder(LIAR)), topic) as liar:
                listening.append(liar)
                await until(lambda liar=liar: liar.opened > 0, f"a connection for {topic}")  # type: ignore[misc]
                await agent.publisher.publish(TOPICS.instruction(HONEST), b"for another", 1, True)
                await own.say(TOPICS.position(HONEST), b"secret place")
                await asyncio.sleep(0.2)
        async with unit(place.address(Holder(LIAR)), TOPICS.instruction(LIAR)) as liar:
            await agent.publisher.publish(TOPICS.instruction(LIAR), b"for you", 1, True)
            await until(lambda: (TOPICS.instruction(LIAR), b"for you") in liar.heard, "its own instruction arrives")
        assert not [one for spy in listening for one in spy.heard if one[1] in (b"for another", b"secret place")]
    finally:
        await own.link.close()


async def test_s3_a_lorry_cannot_displace_the_agent(place: Place, agent: Agent) -> None:
    guesses = [AGENT, f"agent:{AGENT}", f"agent-in:{AGENT}", f"in-{AGENT}", f"out-{AGENT}", f"in-{'0' * 32}"]
    if place.broker.kind == "mosquitto":
        # It takes the name in the certificate for the client id, so that even the secret itself is of no use. NATS has
        # no such rule (design/broker.md, trap 3): there the 128 random bits are what protects the agent.
        guesses += [f"in-{agent.secret}", f"out-{agent.secret}"]
    before = agent.source.connection, agent.publisher.connection
    for guess in guesses:
        async with unit(place.address(Holder(LIAR)), client_id=guess) as liar:
            await until(lambda liar=liar: liar.opened + liar.lost > 0 or liar.link.last_problem != "", "an answer")  # type: ignore[misc]
    async with unit(place.address(Holder(HONEST))) as honest:
        await honest.say(TOPICS.position(HONEST), b"still heard")
        await until(lambda: (TOPICS.position(HONEST), b"still heard") in agent.heard, "the agent hears")
    assert (agent.source.connection, agent.publisher.connection) == before


async def refused(address: BrokerAddress) -> str:
    """Why a connection is never let in; fails if it is."""
    async with unit(address) as nobody:
        await until(lambda: nobody.opened > 0 or nobody.link.last_problem != "", "an answer")
        assert nobody.opened == 0
        return nobody.link.last_problem


async def test_s1_foreign_ended_revoked_and_no_certificates_are_not_let_in(place: Place, tmp_path: Path) -> None:
    async with unit(place.address(Holder(HONEST))) as honest:
        await until(lambda: honest.opened > 0, "a good certificate is let in")
    foreign = TrialAuthority(tmp_path / "foreign")
    foreign.issue(Holder(HONEST))
    late = TrialAuthority(place.authority.folder, dt.datetime.now(dt.UTC) - dt.timedelta(days=HOLDER_DAYS + 1))
    place.authority.revoke(Holder(LIAR))
    place.broker.reload()
    own = late.pair(Holder("ended"))
    late.issue(Holder("ended"))
    wrong = {"none": (), "foreign": (foreign.pair(Holder(HONEST)),), "ended": (own,),
             "revoked": (place.authority.pair(Holder(LIAR)),)}  # fmt: skip
    for kind, pairs in wrong.items():
        context = ssl.create_default_context(cafile=str(place.authority.certificate))
        for pair in pairs:
            context.load_cert_chain(pair.certificate, pair.key)
        assert await refused(BrokerAddress(place.broker.host, place.broker.port, "3.1.1", tls=context)), kind
    old = Identities(place.authority.folder).tls(Holder(HONEST)).client
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await refused(BrokerAddress(place.broker.host, place.broker.port, "3.1.1", tls=old))
    assert await refused(BrokerAddress(place.broker.host, place.broker.port, "3.1.1"))  # no TLS at all


async def test_a_revoked_lorry_falls_silent_and_nobody_else_notices(place: Place, agent: Agent) -> None:
    async with unit(place.address(Holder(HONEST))) as honest, unit(place.address(Holder(LIAR))) as liar:
        await liar.say(TOPICS.position(LIAR), b"before")
        await honest.say(TOPICS.position(HONEST), b"before")
        await until(lambda: len(agent.heard) == 2, "both are heard")
        place.authority.revoke(Holder(LIAR))
        place.authority.issue(Holder(AGENT, Kind.BROKER))  # its own certificate is renewed in the same breath
        serial = await served_serial(place)
        place.broker.reload()
        async with asyncio.timeout(PATIENCE_S):
            while await served_serial(place) == serial:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        if liar.client is not None:
            liar.client.publish(TOPICS.position(LIAR), b"after", 1, False)
        await honest.say(TOPICS.position(HONEST), b"after")
        await until(lambda: (TOPICS.position(HONEST), b"after") in agent.heard, "the honest one is heard")
        await asyncio.sleep(QUIET_S)
        assert (TOPICS.position(LIAR), b"after") not in agent.heard
        assert (honest.opened, honest.lost) == (1, 0) and agent.source.connection == agent.publisher.connection == 1
        assert await refused(place.address(Holder(LIAR)))


async def test_an_agent_renews_its_certificate_while_it_serves(tmp_path: Path) -> None:
    box = tmp_path / "box"
    status, _, err = await command("init", str(box), "--tls")
    assert status == 0, err
    (box / "keys" / "authority.pub.pem").write_bytes((box / "keys" / "agent.pub.pem").read_bytes())
    status, out, err = await command("identity", "issue", "watch", "--kind", "auditor", "--folder", str(box))
    assert status == 0 and "auditor:watch" in out, err
    (port,) = free_ports(1)
    config = box / "borderlane.toml"
    config.write_text(config.read_text().replace("port = 8081", f"port = {port}"))
    part = Part("agent", ["agent", "--config", str(config)], tmp_path / "agent.log")
    auditor = Identities(box / "tls").tls(Holder("watch", Kind.AUDITOR)).client
    await part.start()
    try:
        await until(lambda: "agent_serving" in part.log_file.read_text(), "the agent serves")
        async with http_session(auditor) as session:
            address = f"https://127.0.0.1:{port}/v1/status"
            async with session.get(address) as answer:
                assert answer.status == 200
            before = await shown_serial(port, auditor)
            assert (await command("identity", "issue", AGENT, "--kind", "agent", "--folder", str(box)))[0] == 0
            assert part.process is not None
            part.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(PATIENCE_S):
                while await shown_serial(port, auditor) == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            async with session.get(address) as answer:  # on the connection that was open all the time
                assert answer.status == 200
        pair = TrialAuthority(box / "tls").pair(Holder("watch", Kind.AUDITOR))
        who = ["--ca", str(box / "tls" / "ca.cert.pem"), "--certificate", str(pair.certificate), "--key", str(pair.key)]
        status, out, _ = await command("status", "--url", f"https://127.0.0.1:{port}", *who)
        assert status in (0, 1) and out.startswith(f"{AGENT}:"), out  # degraded as soon as it misses the broker
        assert "PRIVATE" not in part.log_file.read_text()
    finally:
        assert await part.stop()


async def served_serial(place: Place) -> str:
    """Serial number of the certificate that the broker shows now."""
    return await shown_serial(place.broker.port, Identities(place.authority.folder).tls(Holder(HONEST)).client)


async def shown_serial(port: int, tls: ssl.SSLContext) -> str:
    """Serial number of the certificate that a service on loopback shows now."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        return str(writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
