"""Builds every shell once, runs them in one task group, stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter, deque
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import structlog

from agent import desk, logs
from agent.activation.events import FeedRowArrived, InstructionOut, ModeChanged, OfficerDecided
from agent.batch import Surroundings
from agent.clock import Clock
from agent.config import Config, load_config
from agent.delivery.unit_channel import Publisher
from agent.domain.declaration import FeedPage, FeedRow
from agent.domain.instruction import Action
from agent.domain.routing import Assessment
from agent.domain.signed import BadSignature
from agent.domain.times import rfc3339
from agent.errors import AgentError, ConfigError, JournalError, LinkError, PeerError
from agent.ingest.feed import Feed
from agent.ingest.intake import restored
from agent.ingest.limits import RateLimits
from agent.ingest.mqtt_source import MqttSource
from agent.ingest.serial_source import SerialUnit
from agent.ingest.topics import filter_faults
from agent.ingest.wire import Inbound, Refused, Topics, encode_watermark
from agent.journal.batch import Committed, Loaded
from agent.journal.entry import Circumstances
from agent.journal.store import Store
from agent.keys import jwk_of, read_private_key, read_public_keys
from agent.mqtt_link import BrokerAddress, Will, client_ids
from agent.outbox import Outbox, Performed
from agent.pipeline import Happened, Measured, Outlets, Pipeline, Received
from agent.postings import sealer
from agent.register import Register
from agent.risk.client import CustomsClient, Verdict, verdict
from agent.risk.exchange import verified_assessment
from agent.sheet import Site
from agent.status.api import AgentStatus, Desk, OverrideRequest, agent_application
from agent.status.live import Metrics
from agent.status.modes import Mode, ModeFacts, degraded, worst
from agent.web import EventStream, StreamEvent, run
from zones.catalogue import parse_zone_set, read_zone_bytes, shipped_bytes, zone_set_digest
from zones.detector import Detector
from zones.errors import ZoneError
from zones.index import ZoneIndex, compile_index

LOOK_EVERY_S = 0.25
"""How often the facts behind the mode are looked at, wall seconds."""
CUSTOMS_SILENT_S = 3.0
"""Customs is out of reach when nothing of it was heard for so long and the last try failed."""
PURGE_EVERY_S = 60.0
"""How often telemetry over age is deleted, wall seconds."""
SHIPPED_ZONES = "border_zones.geojson"
HISTORY_EVENTS = 5_000
"""Events a watcher that comes back is sent; what it misses beyond that, it loads anew."""
LATENCIES = 2_000
LOG = structlog.get_logger()


async def run_agent(config_file: Path) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError, AlreadyRunning: the operator must act before it can start.
        JournalError: durability can no longer be promised; a supervisor starts it again.
        LinkError: the HTTP port cannot be had.
    """
    config = load_config(config_file, os.environ)
    logs.configure(config.log.format, config.log.level)
    app = App(config, config_file)
    try:
        await app.run()
    finally:
        await app.close()


class App:
    """One agent."""

    def __init__(self, config: Config, config_file: Path) -> None:
        self.config, self.config_file = config, config_file
        self.folder = config_file.resolve().parent
        self.agent = config.agent.id
        self.clock = Clock(config.clock.speedup, config.clock.origin_s)
        self.version = version("borderlane")
        self.since = rfc3339(self.clock.now_s())
        self.topics = Topics(config.mqtt.prefix)
        self.metrics = Metrics()
        self._stop = asyncio.Event()
        self._mode, self._mode_since = Mode.NORMAL, self.since
        self._degraded: tuple[Mode, ...] = ()
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._fixes: Counter[str] = Counter()
        self._instructions: Counter[str] = Counter()
        self._entries = 0
        self._marker = 0
        self._checkpoint = asyncio.Event()
        self._customs_heard_s = self._customs_failed_s = 0.0
        self._background: set[asyncio.Task[Any]] = set()
        self._open()

    # --- building ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Everything that blocks: keys, zones, journal, state."""
        key = read_private_key(self.folder / self.config.agent.signing_key)
        self._authority = read_public_keys(self.config.customs.authority_keys, self.folder)
        index, self._zone_digest = self._read_zones(self.config)
        data = self.folder / self.config.agent.data_dir
        seal = sealer(jwk_of(key), self.agent)
        self.store = Store.open(data, self.agent, key, self.agent, self.version, self.clock, seal=seal)
        loaded = self.store.load_state()
        self.register = Register.loaded(index.zone_set, loaded.records)
        self.detector = Detector(index, self.config.detection)
        self._entries, self._marker = loaded.entries, loaded.feed_marker
        self._restore(loaded)
        self._build(loaded, data)

    def _read_zones(self, config: Config) -> tuple[ZoneIndex, str]:
        file = config.zones.file
        try:
            data = read_zone_bytes(self.folder / file) if file else shipped_bytes(SHIPPED_ZONES)
            return compile_index(parse_zone_set(data, file or SHIPPED_ZONES)), zone_set_digest(data)
        except ZoneError as error:
            raise ConfigError(str(error)) from error

    def _restore(self, loaded: Loaded) -> None:
        for unit, body in loaded.unit_states.items():
            try:
                self.detector.restore(unit, body)
            except ValueError as error:  # its next fix is then its first: FOUND_INSIDE at worst
                LOG.error("unit_state_unreadable", reason=str(error))

    def _build(self, loaded: Loaded, data: Path) -> None:
        config = self.config
        now_s = self.clock.now_s()
        cursors = {
            row.unit: restored(row.unit, row.boot_id, row.highest, row.gaps, row.last_fix_ms, now_s)
            for row in loaded.cursors
        }
        around = Surroundings(
            site=Site(self.agent, config.policy),
            topics=self.topics,
            inbound=self._inbound(),
            detector=self.detector,
            limits=RateLimits(),
            cursors=cursors,
            last={},
            circumstances=Circumstances(self.register.zone_set.version, self._zone_digest),
        )
        self._link(data, around.inbound)
        self.client = CustomsClient(config.customs.url)
        self.outbox = Outbox(
            self.publisher, self.client, self._authority, self.clock, self._performed, config.customs.request_timeout_s
        )
        self.outbox.risk_seconds = self.metrics.risk.observe
        self.outbox.retain(loaded.retained)
        self.outbox.add(loaded.outbox)
        outlets = Outlets(self._committed, self._watermark)
        self.pipeline = Pipeline(self.register, around, self.store, self.clock, self.metrics, outlets)
        self.stream = EventStream(self._history)
        self.serial = [
            SerialUnit(port.unit, port.path, baud=port.baud, reset_on_open=port.reset_on_open, now_s=self.clock.now_s)
            for port in config.serial
        ]

    def _inbound(self) -> Inbound:
        mqtt = self.config.mqtt
        operators = {name: frozenset(operator.units) for name, operator in self.config.operators.items()}
        inbound = Inbound(self.topics, mqtt.owntracks, mqtt.traccar_topic, mqtt.flespi_topic, operators)
        faults = filter_faults([topic for topic, _ in inbound.filters()])
        if faults:
            raise ConfigError("\n".join(f"mqtt: {fault}" for fault in faults))
        return inbound

    def _link(self, data: Path, inbound: Inbound) -> None:
        """The two connections to the broker."""
        mqtt = self.config.mqtt
        password = self._password(mqtt.password_file)
        address = BrokerAddress(mqtt.host, mqtt.port, mqtt.protocol, mqtt.username, password)
        ids = client_ids(data)
        heartbeat = self.topics.heartbeat(self.agent)
        gone = self._status_message(Mode.BROKER_LOST, (Mode.BROKER_LOST,), online=False)
        self.publisher = Publisher(
            address,
            ids.outgoing,
            will=Will(self.topics.status(self.agent), gone),
            heartbeat_topic=heartbeat,
            on_connected=self._publish_again,
        )
        self.source = MqttSource(
            address,
            ids.incoming,
            inbound.filters(),
            heartbeat_topic=heartbeat,
            now_s=self.clock.now_s,
            window=mqtt.window,
            batch_messages=self.config.commit.messages,
            linger_s=self.config.commit.linger_ms / 1000,
            on_lost=self.publisher.reconnect,
        )

    def _password(self, file: str) -> str | None:
        if not file:
            return None
        try:
            return (self.folder / file).read_text("utf-8").strip()
        except OSError as error:
            raise ConfigError(f"mqtt.password_file: {file}: {error.strerror}") from error

    # --- running ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        http = self.config.http
        self._desk = Desk(self.status, self._rows, self._detail, self._ready, self._override, self.stream, self.metrics)
        runner = await run(agent_application(self._desk, self.version), http.host, http.port)
        self.publisher.start()
        self.source.start()
        LOG.info("agent_serving", agent=self.agent, url=runner.url, zone_set=self.register.zone_set.version)
        try:
            async with self.client, asyncio.TaskGroup() as group:
                tasks = [group.create_task(work, name=name) for name, work in self._work()]
                await self._stop.wait()
                LOG.info("agent_stopping", agent=self.agent)
                for task in tasks:
                    task.cancel()
        except* JournalError as group_error:
            raise group_error.exceptions[0] from group_error
        finally:
            self.stream.close()
            await runner.stop()

    def _work(self) -> list[tuple[str, Any]]:
        return [
            ("pipeline", self.pipeline.run()),
            ("outbox", self.outbox.run()),
            ("mqtt", self._read_broker()),
            ("feed", self._read_feed()),
            ("mode", self._watch_mode()),
            ("checkpoints", self._send_checkpoints()),
            ("retention", self._keep_retention()),
            *((f"serial {unit.unit}", self._read_serial(unit)) for unit in self.serial),
        ]

    async def close(self) -> None:
        """Stop in order: nothing more is read, what is decided is on disk, the broker is told."""
        for unit in self.serial:
            unit.close()
        with contextlib.suppress(LinkError, PeerError):
            await self.publisher.publish(
                self.topics.status(self.agent),
                self._status_message(Mode.BROKER_LOST, (Mode.BROKER_LOST,), online=False),
                retain=True,
            )
        await self.source.close()
        await self.publisher.close()
        self.store.close()

    async def _read_broker(self) -> None:
        async for batch in self.source.batches():
            await self.pipeline.submit(Received(batch, self.source.acknowledge))

    async def _read_serial(self, unit: SerialUnit) -> None:
        async for item in unit.items():
            await self.pipeline.submit(Measured(item, "serial"))

    async def _read_feed(self) -> None:
        customs = self.config.customs
        refused: list[Refused] = []
        async with Feed(
            customs.url,
            self.clock,
            interval_s=customs.feed_interval_s,
            timeout_s=customs.request_timeout_s,
            on_refused=refused.append,
            on_reachable=self._note_customs,
        ) as self.feed:
            async for page in self.feed.pages(self._marker):
                events = tuple(self._row_arrived(row) for row in page.rows)
                taken = tuple((one, "feed") for one in refused)
                refused.clear()
                await self._take_page(page, events, taken)

    async def _take_page(
        self, page: FeedPage, events: tuple[FeedRowArrived, ...], refused: tuple[tuple[Refused, str], ...]
    ) -> None:
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self.pipeline.submit(Happened(events, refusals=refused, marker=page.marker, told=told))
        await told
        self._marker = page.marker

    def _row_arrived(self, row: FeedRow) -> FeedRowArrived:
        """A row with what the authority raised since, each with a good signature."""
        raised: list[Assessment] = []
        refused = 0
        for one in row.raised:
            try:
                raised.append(verified_assessment(msgspec.convert(one, Assessment), self._authority))
            except (BadSignature, msgspec.ValidationError):
                refused += 1
        return FeedRowArrived(row, tuple(raised), refused)

    async def _send_checkpoints(self) -> None:
        """The newest signed tree head to customs, so that a rebuilt journal is found out."""
        while True:
            await self._checkpoint.wait()
            self._checkpoint.clear()
            note = self.store.checkpoint
            body = msgspec.json.encode({"agent": self.agent, "checkpoint": note})
            try:
                reply = await self.client.post("/v1/checkpoints", body, 3.0)
            except LinkError:
                await asyncio.sleep(1.0)
                self._checkpoint.set()
                continue
            if verdict(reply.status) is not Verdict.DONE:
                LOG.error("checkpoint_refused", status=reply.status)

    async def _keep_retention(self) -> None:
        """Telemetry goes when its day is over: at the start what aged meanwhile, then every minute."""
        while True:
            purged = await self.store.purge()
            if purged.rows or purged.keys:
                LOG.info("telemetry_purged", rows=purged.rows, keys=purged.keys)
            await asyncio.sleep(0.0 if purged.more else PURGE_EVERY_S)

    # --- modes ------------------------------------------------------------------------------------------------

    def _note_customs(self, reachable: bool) -> None:
        self.metrics.link_up.labels("customs").set(reachable)

    def _facts(self) -> ModeFacts:
        valid_to_s = self.register.zone_set.valid_to_s
        return ModeFacts(
            breaker_open=self.outbox.breaker.is_open,
            customs_reachable=self._customs_reachable(),
            heartbeat_age_s=0.0 if self.source.alive else self.source.heartbeat_age_s(),
            zones_stale=valid_to_s is not None and self.clock.now_s() > valid_to_s,
            journal_writable=self.store.failure is None,
        )

    def _customs_reachable(self) -> bool:
        """One request that fails is no outage: nothing heard for `CUSTOMS_SILENT_S` is."""
        feed = getattr(self, "feed", None)
        now_s = asyncio.get_running_loop().time()
        if (feed is not None and feed.reachable) or (feed is None and self.outbox.customs_reachable):
            self._customs_heard_s = now_s
        return now_s - self._customs_heard_s < CUSTOMS_SILENT_S

    async def _watch_mode(self) -> None:
        self._customs_heard_s = asyncio.get_running_loop().time()
        while True:
            modes = degraded(self._facts())
            if modes != self._degraded:
                await self._change_mode(modes)
            self._gauge()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _change_mode(self, modes: tuple[Mode, ...]) -> None:
        self._degraded, self._mode = modes, worst(modes)
        self._mode_since = rfc3339(self.clock.now_s())
        names = tuple(mode.name for mode in modes)
        self.pipeline.degraded = names
        LOG.warning("mode_changed", mode=self._mode.name, degraded=names)
        await self.pipeline.submit(Happened((ModeChanged(self._mode.name, names),)))
        self._publish_status()

    def _gauge(self) -> None:
        now_s = self.clock.now_s()
        oldest_s = self.outbox.oldest_s()
        self.metrics.outbox_pending.set(self.outbox.pending)
        self.metrics.outbox_oldest.set(0.0 if oldest_s is None else now_s - oldest_s)
        self.metrics.link_up.labels("broker").set(self.source.alive)
        in_force = self._degraded or (Mode.NORMAL,)
        for name in Mode.__members__:
            self.metrics.mode.labels(name).set(Mode[name] in in_force)
        self.metrics.zone_set.labels(self.register.zone_set.version).set(1)

    # --- outwards ---------------------------------------------------------------------------------------------

    def _status_message(self, mode: Mode, modes: tuple[Mode, ...], online: bool = True) -> bytes:
        return msgspec.json.encode(
            {
                "agent": self.agent,
                "online": online,
                "mode": mode.name,
                "degraded": [one.name for one in modes],
                "modeSince": self._mode_since,
                "since": self.since,
                "zoneSet": self.register.zone_set.version,
                "version": self.version,
            }
        )

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _try_publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """For what is published again at the next occasion anyway."""
        with contextlib.suppress(LinkError, PeerError):
            await self.publisher.publish(topic, payload, qos, retain)

    def _publish_status(self) -> None:
        topic = self.topics.status(self.agent)
        self._spawn(self._try_publish(topic, self._status_message(self._mode, self._degraded), 1, True))

    def _publish_again(self) -> None:
        """After every connect: retained messages die with an unsaved broker."""
        self._publish_status()
        for row in self.outbox.live_instructions():
            self._spawn(self._try_publish(row.target, row.body, 1, True))
        for unit in list(self.register.jrns_of_unit):
            self.pipeline.mark(unit)

    def _watermark(self, unit: str, boot_id: str | None, up_to: int) -> None:
        if self.publisher.connected:
            self._spawn(self._try_publish(self.topics.watermark(unit), encode_watermark(boot_id, up_to), 0, False))

    def _committed(self, committed: Committed) -> None:
        """All of it is on disk: let it out."""
        self._entries = max(self._entries, *committed.seqs) if committed.seqs else self._entries
        self.outbox.add(committed.outbox)
        for event in committed.events:
            self.stream.publish(StreamEvent(event.seq, event.kind, event.body))
            self._count(event.kind, event.body)
        if committed.checkpoint is not None:
            self._checkpoint.set()

    def _count(self, kind: str, body: bytes) -> None:
        if kind == "instruction":
            action = str(msgspec.json.decode(body).get("action"))
            self._instructions[action] += 1
            self.metrics.instructions.labels(action).inc()
        elif kind == "alarm":
            self.metrics.alarms.labels(str(msgspec.json.decode(body).get("name"))).inc()

    async def _performed(self, outcome: Performed) -> None:
        for event in outcome.events:
            if isinstance(event, InstructionOut):
                self._time(event)
        await self.pipeline.submit(Happened(outcome.events, outcome.done, outcome.dropped, outcome.retried))

    def _time(self, event: InstructionOut) -> None:
        state = self.register.instructions.get(event.key)
        if state is None or state.arrived_s is None or state.out_s is not None:
            return
        seconds = self.clock.wall_s(event.at_s - state.arrived_s)
        self._latencies.append(seconds)
        self.metrics.fix_to_instruction.observe(seconds)

    async def _history(self, above: int) -> list[StreamEvent]:
        found = await self.store.read_events(above, HISTORY_EVENTS)
        return [StreamEvent(event.seq, event.kind, event.body) for event in found]

    # --- desk -------------------------------------------------------------------------------------------------

    def _rows(self, keys: frozenset[str]) -> tuple[Any, ...]:
        return desk.rows(self.register, keys)

    def _detail(self, key: str) -> Any:
        return desk.detail(self.register, key)

    def _ready(self) -> dict[str, bool]:
        return {
            "journal": self.store.failure is None,
            "broker": self.source.alive and self.publisher.connected,
            "zones": bool(self.register.zone_set.zones),
        }

    async def _override(self, key: str, request: OverrideRequest, action: Action, role: str) -> bool:
        if key not in self.register.journeys and key not in self.register.instructions:
            return False
        await self.pipeline.record(
            OfficerDecided(key, action, request.officer, role, request.reason, request.lane, request.customs_office)
        )
        return True

    def status(self) -> AgentStatus:
        """How the agent is."""
        oldest_s = self.outbox.oldest_s()
        return AgentStatus(
            agent=self.agent,
            mode=self._mode.name,
            degraded=tuple(mode.name for mode in self._degraded),
            mode_since=self._mode_since,
            since=self.since,
            version=self.version,
            zone_set=self.register.zone_set.version,
            zones=len(self.register.zone_set.zones),
            broker_connected=self.source.alive and self.publisher.connected,
            customs_reachable=self._customs_reachable(),
            feed_marker=self._marker,
            journeys=len(self.register.journeys),
            units=len(self.pipeline.around.cursors),
            waiting=sum(state.waiting for state in self.register.instructions.values()),
            outbox_pending=self.outbox.pending,
            outbox_oldest_s=None if oldest_s is None else round(self.clock.now_s() - oldest_s, 3),
            journal_entries=self._entries,
            fixes=self.pipeline.fixes_by_result(),
            instructions=dict(self._instructions),
            fix_to_instruction_ms=_quantiles_ms(self._latencies),
            serial={unit.unit: unit.state.value for unit in self.serial},
        )

    # --- reload -----------------------------------------------------------------------------------------------

    def _reload_soon(self) -> None:
        self._spawn(self._reload())

    async def _reload(self) -> None:
        """SIGHUP: read, check, swap at once; a bad file keeps the old one and says so."""
        try:
            config = load_config(self.config_file, os.environ)
            index, digest = await asyncio.to_thread(self._read_zones, config)
        except AgentError as error:
            LOG.error("reload_refused", reason=str(error), zone_set=self.register.zone_set.version)
            return
        logs.configure(config.log.format, config.log.level)
        self._zone_digest = digest
        self.pipeline.swap(index, digest, Site(self.agent, config.policy))
        LOG.info("reloaded", zone_set=index.zone_set.version)
        self._publish_status()


def _quantiles_ms(seconds: deque[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    pick = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1) for name, share in pick.items()
    }
