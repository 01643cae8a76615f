"""Builds every shell once, runs them in one task group, stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import math
import os
import signal
import ssl
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from agent import desk, interpreter, logs
from agent.activation.events import (
    Event,
    FeedRowArrived,
    InstructionOut,
    ModeChanged,
    OfficerDecided,
    ReceiptArrived,
    ReferenceTaken,
)
from agent.activation.matching import CLOSE_PAIRS
from agent.batch import FEED, Surroundings
from agent.booth import Booth
from agent.casework import Casework
from agent.checkpoints import Checkpoints
from agent.clock import SteadyClock
from agent.condition import Condition, Parts
from agent.config import DRIVING, Config, ListenerTable, SerialTable, load_config
from agent.delivery.display import display_text
from agent.delivery.driver_pages import DriverPages
from agent.delivery.driver_token import DriverTokens
from agent.delivery.sign_channel import Board, SignChannel, board_of, places_of
from agent.delivery.sign_plan import permissive_lease_ms, showing
from agent.delivery.unit_channel import Publisher
from agent.domain.declaration import FeedPage, FeedRow
from agent.domain.instruction import Action
from agent.domain.routing import Assessment, ConditionalAnswer
from agent.domain.signed import BadSignature
from agent.domain.times import rfc3339
from agent.driver_window import DriverWindow
from agent.errors import AgentError, ConfigError, JournalError, JournalFull, LinkError, PeerError
from agent.explain import Rules
from agent.ingest.avl_source import AvlSource, Display, ListenerPlan
from agent.ingest.feed import Feed
from agent.ingest.intake import restored
from agent.ingest.limits import RateLimits
from agent.ingest.mqtt_source import MqttSource
from agent.ingest.rights import inbound_of
from agent.ingest.serial_source import SerialUnit
from agent.ingest.topics import filter_faults
from agent.ingest.wire import Inbound, Refused, Topics, encode_watermark
from agent.instruction.signing import verify_instruction
from agent.journal.ballast import NEARLY_FULL
from agent.journal.batch import Committed, Loaded, Retention
from agent.journal.entry import Circumstances
from agent.journal.store import Purged, Store
from agent.keys import jwk_of, read_private_key, read_public_keys, read_secret, secret_file
from agent.mqtt_link import BrokerAddress, Will, client_ids
from agent.outbox import Outbox, Performed
from agent.pipeline import Happened, Measured, Outlets, Pipeline, Received
from agent.postings import sealer
from agent.reference import ReferenceData
from agent.register import Register
from agent.risk.client import CustomsClient
from agent.risk.conditional import WhenCut, verified_conditional
from agent.risk.exchange import verified_assessment
from agent.sheet import Site
from agent.status.access import certificate_access
from agent.status.api import Desk, OverrideRequest, agent_application
from agent.status.live import Metrics
from agent.tls import Tls, open_tls
from agent.watchdog import Watchdog, Watched
from agent.web import EventStream, ProblemError, Runner, StreamEvent, application, run
from agent.whereabouts import Whereabouts
from firmware_bridge.capture import SUFFIX, VERSION, Header, Recorder
from zones.catalogue import parse_zone_set, read_zone_bytes, shipped_bytes, zone_set_digest
from zones.detector import Detector
from zones.errors import ZoneError
from zones.index import ZoneIndex, compile_index
from zones.zone_file import encode_zone_set

if TYPE_CHECKING:
    from agent.ingest.ais_source import AisVessels

LOOK_EVERY_S = 0.25
"""How often the facts behind the mode are looked at, wall seconds."""
MEGABYTE = 1 << 20
SPACE_EVERY_S = 0.5
"""How often room on the disk is looked for while there is none, wall seconds."""
LOOK_OVER_PAUSE_S = 0.05
"""Between pages of a long journal that is hashed while the agent serves: a tenth of a core, 10,000 entries a second."""
DISK_EVERY_S = 10.0
"""How often it is looked at how full the disk is, wall seconds."""
PURGE_EVERY_S = 60.0
"""How often what is over age is deleted, wall seconds."""
DAY_S = 86_400.0
SHIPPED_ZONES = "border_zones.geojson"
HISTORY_EVENTS = 5_000
"""Events a watcher that comes back is sent; what it misses beyond that, it loads anew."""
LOG = structlog.get_logger()


async def run_agent(config_file: Path) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError, AlreadyRunning: the operator must act before it can start.
        JournalError: durability can no longer be promised; a supervisor starts it again.
        LinkError: the HTTP port or a listener's cannot be had.
    """
    config = load_config(config_file, os.environ)
    logs.configure(config.log.format, config.log.level)
    interpreter.share()
    app = App(config, config_file)
    interpreter.settle_memory()
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
        self.clock = SteadyClock(config.clock.speedup, config.clock.origin_s)
        self.version = version("borderlane")
        self.topics = Topics(config.mqtt.prefix)
        self.metrics = Metrics()
        self.url = ""
        """Address of the HTTP interface, once it is served."""
        self._stop = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._refused_rows: list[Refused] = []
        self._reference_told: tuple[str, int] | None = None
        self._recorders: dict[str, Recorder] = {}
        self._open()

    # --- building ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Everything that blocks: keys, zones, journal, state. What the operator must mend is found first."""
        config = self.config
        key = read_private_key(secret_file(config.agent.signing_key, self.folder, "signing key"))
        self.tls = open_tls(config.tls, self.folder)
        self._receiver_tls = self._open_receiver_tls()
        self._own_keys = {self.agent: jwk_of(key)}
        self._authority = read_public_keys(config.customs.authority_keys, self.folder)
        inbound, password = self._inbound(), self._password(config.mqtt.password_file)
        index, digest = self._read_zones(config)
        data = self.folder / config.agent.data_dir
        kept = Retention(config.retention.events_days * DAY_S, config.retention.papers_days * DAY_S)
        seal = sealer(jwk_of(key), self.agent)
        detection = msgspec.json.encode(config.detection).decode()
        store = Store.open(
            data, self.agent, key, self.agent, self.version, self.clock,
            detection=detection, seal=seal, retention=kept, ballast_bytes=config.agent.ballast_mb * MEGABYTE,
        )  # fmt: skip
        loaded = store.load_state()
        with _uncollected():
            self.register = Register.loaded(index.zone_set, loaded.records)
        self.condition = Condition(self.agent, self.version, self.clock, self.register, self.metrics)
        self.condition.entries, self.condition.marker = loaded.entries, loaded.feed_marker
        self.condition.newest_s = store.newest_s
        around = self._surroundings(loaded, inbound, index, digest)
        self._build(store, loaded, around, self._link(data, inbound, password))

    def _inbound(self) -> Inbound:
        inbound = inbound_of(self.config)
        faults = filter_faults([topic for topic, _ in inbound.filters()])
        if faults:
            raise ConfigError("\n".join(f"mqtt: {fault}" for fault in faults))
        return inbound

    def _password(self, file: str) -> str | None:
        if not file:
            return None
        try:
            return read_secret(file, self.folder)
        except ConfigError as error:
            raise ConfigError(f"mqtt.password_file: {error}") from error

    def _open_receiver_tls(self) -> Tls | None:
        """Identity of the receiving connection, where it has one of its own."""
        mqtt = self.config.mqtt
        if not mqtt.receiver_certificate:
            return self.tls
        own = msgspec.structs.replace(self.config.tls, certificate=mqtt.receiver_certificate, key=mqtt.receiver_key)
        return open_tls(own, self.folder)

    def _read_zones(self, config: Config) -> tuple[ZoneIndex, str]:
        file = config.zones.file
        try:
            data = read_zone_bytes(self.folder / file) if file else shipped_bytes(SHIPPED_ZONES)
            return compile_index(parse_zone_set(data, file or SHIPPED_ZONES)), zone_set_digest(data)
        except ZoneError as error:
            raise ConfigError(str(error)) from error

    def _surroundings(self, loaded: Loaded, inbound: Inbound, index: ZoneIndex, digest: str) -> Surroundings:
        now_s = self.clock.now_s()
        cursors = {
            row.unit: restored(row.unit, row.boot_id, row.highest, row.gaps, row.last_fix_ms, now_s)
            for row in loaded.cursors
        }
        return Surroundings(
            site=Site(self.agent, self.config.policy),
            topics=self.topics,
            inbound=inbound,
            detector=self._detector(index, loaded),
            limits=RateLimits(),
            cursors=cursors,
            last={},
            circumstances=Circumstances(index.zone_set.version, digest),
        )

    def _detector(self, index: ZoneIndex, loaded: Loaded) -> Detector:
        detector = Detector(index, self.config.detection)
        for unit, body in loaded.unit_states.items():
            try:
                detector.restore(unit, body)
            except ValueError as error:  # its next fix is then its first: FOUND_INSIDE at worst
                LOG.error("unit_state_unreadable", reason=str(error))
        return detector

    def _link(self, data: Path, inbound: Inbound, password: str | None) -> tuple[Publisher, MqttSource]:
        """The two connections to the broker."""
        mqtt, commit = self.config.mqtt, self.config.commit
        outgoing, incoming = (tls.client if tls and mqtt.tls else None for tls in (self.tls, self._receiver_tls))
        address = BrokerAddress(mqtt.host, mqtt.port, mqtt.protocol, mqtt.username, password, outgoing)
        ids = client_ids(data)
        stream = mqtt.client == "stream"
        heartbeat = self.topics.heartbeat(self.agent)
        publisher = Publisher(
            address,
            ids.outgoing,
            will=Will(self.topics.status(self.agent), self.condition.last_message()),
            heartbeat_topic=heartbeat,
            on_connected=self._publish_again,
            stream=stream,
        )
        source = MqttSource(
            replace(address, tls=incoming),
            ids.incoming,
            inbound.filters(),
            heartbeat_topic=heartbeat,
            now_s=self.clock.now_s,
            window=mqtt.window,
            batch_messages=commit.messages,
            linger_s=commit.linger_ms / 1000,
            stream=stream,
            on_lost=publisher.reconnect,
        )
        return publisher, source

    def _build(self, store: Store, loaded: Loaded, around: Surroundings, link: tuple[Publisher, MqttSource]) -> None:
        customs = self.config.customs
        publisher, source = link
        tls = self.tls.client if self.tls else None
        self.client = CustomsClient(customs.url, tls)
        outbox = Outbox(publisher, self.client, self._authority, self.clock, self._performed, customs.request_timeout_s)
        outbox.risk_seconds = self.metrics.risk.observe
        outbox.retain(loaded.retained)
        outbox.add(loaded.outbox)
        outlets = Outlets(self._committed, self._watermark, self._renew_signs, source.was_full)
        self._booth = Booth(self.register, around.detector.index)
        ports, outputs = self.config.serial, self.config.output
        self.stream = EventStream(self._history)
        checkpoints = Checkpoints(self.agent, store, self.client)
        pipeline = Pipeline(self.register, around, store, self.clock, self.metrics, outlets, checkpoints.settled)
        self.parts = Parts(
            store=store,
            source=source,
            publisher=publisher,
            outbox=outbox,
            pipeline=pipeline,
            checkpoints=checkpoints,
            feed=Feed(
                customs.url,
                self.clock,
                interval_s=customs.feed_interval_s,
                timeout_s=customs.request_timeout_s,
                on_refused=self._refused_rows.append,
                on_reachable=lambda reachable: outbox.customs_back() if reachable else None,
                tls=tls,
            ),
            serial=tuple(self._serial(port) for port in ports if port.role not in DRIVING),
            signs=SignChannel(self._boards(), places_of(ports, outputs), self._record),
            listeners=tuple(
                AvlSource(
                    self._listener_plan(table, number),
                    pipeline.submit,
                    functools.partial(self._display, table),
                    self._display_shown,
                    self.clock.now_s,
                    loaded.frames,
                )
                for number, table in enumerate(self.config.listener)
            ),
            recorders=self._recorders,
        )

        self._whereabouts = Whereabouts(self.register)
        self._casework = Casework.of(self.folder / self.config.agent.data_dir, self._rules)
        self._driver_pages = self._pages_for_drivers()
        self._watchdog = Watchdog(Watched(source, store.come_round))
        data = self.folder / self.config.agent.data_dir
        self._reference = ReferenceData(data, self.parts.feed, self._authority, self.clock, self._reference_taken)
        pipeline.line_cut(self._reference.cut)

    def _boards(self) -> dict[str, Board]:
        """The devices behind which outputs hang."""
        outputs = self.config.output
        return {
            port.unit: board_of(port, outputs, time.time, self._recorder(port))
            for port in self.config.serial
            if port.role in DRIVING
        }

    def _serial(self, port: SerialTable) -> SerialUnit | AisVessels:
        """The source on one serial port, by its role."""
        recorder, now_s = self._recorder(port), self.clock.now_s
        if port.role == "ais":
            from agent.ingest.ais_source import AisVessels  # its library takes 0.1 s of the start

            expected = self.register.jrns_of_unit
            return AisVessels(
                port.unit,
                port.path,
                baud=port.baud,
                has_journey=lambda unit: unit in expected,
                reset_on_open=port.reset_on_open,
                recorder=recorder,
                now_s=now_s,
            )
        return SerialUnit(
            port.unit,
            port.path,
            baud=port.baud,
            reset_on_open=port.reset_on_open,
            recorder=recorder,
            now_s=now_s,
        )

    def _recorder(self, port: SerialTable) -> Recorder | None:
        """Of a port whose raw bytes the configuration wants; a disk that refuses does not keep the agent down."""
        capture = self.config.capture
        if port.unit not in capture.ports:
            return None
        started_s = self.clock.now_s()
        folder = self.folder / capture.folder
        path = folder / f"{port.unit}-{round(started_s * 1000)}{SUFFIX}"
        header = Header(VERSION, port.path, port.baud, rfc3339(started_s))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            recorder = Recorder(path, header, limit_s=capture.minutes * 60, limit_bytes=capture.megabytes * 1024 * 1024)
        except OSError as error:
            LOG.error("capture_failed", unit_id=port.unit, path=str(path), reason=str(error))
            return None
        LOG.warning("capture_started", unit_id=port.unit, path=str(path))
        self._recorders[port.unit] = recorder
        return recorder

    def _listener_plan(self, table: ListenerTable, number: int) -> ListenerPlan:
        tls = self.tls.server if self.tls and table.certificates else None
        if table.tls_certificate:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            try:
                tls.load_cert_chain(self.folder / table.tls_certificate, secret_file(table.tls_key, self.folder))
            except (OSError, ValueError, ConfigError) as error:  # ssl.SSLError is an OSError
                raise ConfigError(f"listener[{number}].tls_certificate: cannot be used: {error}") from error
        return ListenerPlan(table.protocol, table.host, table.port, table.units, table.udp, tls, table.certificates)

    # --- running ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        for listener in self.parts.listeners:
            await listener.start()
        tls = self.tls.server if self.tls else None
        runner = await run(self._http(), self.config.http.host, self.config.http.port, tls)
        phones = await self._serve_phones()
        self.url = runner.url
        self.parts.publisher.start()
        self.parts.source.start()
        index = self.parts.pipeline.around.detector.index
        LOG.info("agent_serving", agent=self.agent, url=self.url, zone_set=index.version, index=index.kind)
        try:
            async with self.client, self.parts.feed, asyncio.TaskGroup() as group:
                tasks = [group.create_task(work, name=name) for name, work in self._work()]
                await self._stop.wait()
                LOG.info("agent_stopping", agent=self.agent)
                self.parts.signs.close()  # while the ports are open: the signs need not wait for the end of a lease
                for task in tasks:
                    task.cancel()
        except* JournalError as failures:
            raise _first(failures) from failures
        finally:
            self.stream.close()
            self._driver_pages.close()
            await runner.stop()
            if phones is not None:
                await phones.stop()

    def _work(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        return [
            ("pipeline", self.parts.pipeline.run()),
            ("outbox", self.parts.outbox.run()),
            ("mqtt", self._read_broker()),
            ("feed", self._read_feed()),
            ("reference", self._reference.run()),
            ("mode", self._watch_mode()),
            ("checkpoints", self.parts.checkpoints.run()),
            ("retention", self._keep_retention()),
            ("watchdog", self._watchdog.run()),
            ("disk", self._watch_disk()),
            ("journal", self._look_over()),
            *((f"serial {unit.unit}", self._read_serial(unit)) for unit in self.parts.serial),
            ("outputs", self.parts.signs.keep_record()),
            *((f"device {name}", self.parts.signs.listen(name)) for name in self.parts.signs.boards),
        ]

    async def close(self) -> None:
        """Stop in order: nothing more is read, what is decided is on disk, the broker is told."""
        parts = self.parts
        parts.signs.close()
        for unit in parts.serial:
            unit.close()
        for listener in parts.listeners:
            await listener.close()
        await self._try_publish(self.topics.status(self.agent), self.condition.last_message(), 1, True)
        await parts.source.close()
        await parts.publisher.close()
        self._watchdog.close()
        parts.store.close()

    async def _read_broker(self) -> None:
        source = self.parts.source
        async for batch in source.batches():
            await self.parts.pipeline.submit(Received(batch, source.acknowledge))

    async def _read_serial(self, unit: SerialUnit | AisVessels) -> None:
        async for item in unit.items():
            await self.parts.pipeline.submit(Measured(item, unit.kind))
            if isinstance(unit, SerialUnit) and (doubt := unit.doubt()):
                await self.parts.pipeline.submit(Happened((doubt,)))

    async def _read_feed(self) -> None:
        async for page in self.parts.feed.pages(self.condition.marker):
            await self._take_page(page)

    async def _take_page(self, page: FeedPage) -> None:
        """A page is on disk before the next is asked for."""
        events = tuple(self._row_arrived(row) for row in page.rows)
        refused = tuple((one, FEED) for one in self._refused_rows)
        self._refused_rows.clear()
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self.parts.pipeline.submit(Happened(events, refusals=refused, marker=page.marker, told=told))
        await told
        self.condition.marker = page.marker

    def _row_arrived(self, row: FeedRow) -> FeedRowArrived:
        """A row with what the authority raised since, each with a good signature."""
        raised: list[Assessment] = []
        tokens: list[str] = []
        conditional: list[ConditionalAnswer] = []
        refused = 0
        for fields in row.conditional:
            try:
                conditional.append(verified_conditional(fields, self._authority))
            except BadSignature:
                refused += 1
        for one in row.raised:
            try:
                raised.append(verified_assessment(msgspec.convert(one, Assessment), self._authority))
                tokens.append(str(one.get("signature")))
            except (BadSignature, msgspec.ValidationError):
                refused += 1
        return FeedRowArrived(row, tuple(raised), refused, tuple(tokens), tuple(conditional))

    async def _reference_taken(self, cut: WhenCut) -> None:
        self.parts.pipeline.line_cut(cut)
        news = (cut.version, cut.list_number)
        if news != self._reference_told:
            self._reference_told = news
            issued_at = rfc3339(cut.list_issued_s) if cut.list_number >= 0 else None
            await self.parts.pipeline.submit(Happened((ReferenceTaken(cut.version, cut.list_number, issued_at),)))

    async def _keep_retention(self) -> None:
        """What is over age goes: at the start what aged meanwhile, then every minute."""
        while True:
            try:
                purged = await self.parts.store.purge()
            except JournalFull:  # deleting takes room, too; the next round will find some
                purged = Purged()
            if purged.rows or purged.keys:
                LOG.info("telemetry_purged", rows=purged.rows, keys=purged.keys)
            await asyncio.sleep(0.0 if purged.more else PURGE_EVERY_S)

    async def _watch_disk(self) -> None:
        """Warn before the disk is full; once it is, look for room until there is some again."""
        store, warned, looked_s = self.parts.store, False, -DISK_EVERY_S
        while True:
            if store.short and await store.regain():
                LOG.warning("disk_has_room_again")
            now_s = asyncio.get_running_loop().time()
            if now_s - looked_s >= DISK_EVERY_S:
                looked_s, nearly_full = now_s, store.disk_used >= NEARLY_FULL
                if nearly_full and not warned:
                    LOG.warning("disk_nearly_full", used_share=round(store.disk_used, 3))
                warned = nearly_full
            await asyncio.sleep(SPACE_EVERY_S)

    async def _look_over(self) -> None:
        """What the start had no time for: serving comes first."""
        entries = await self.parts.store.look_over(LOOK_OVER_PAUSE_S)
        if entries:
            LOG.info("journal_looked_over", entries=entries)

    async def _watch_mode(self) -> None:
        condition, told = self.condition, b""
        while True:
            condition.follow_clock(self.parts)
            changed = condition.look(self.parts)
            if told != condition.message():  # the mode, or the zone set after a reload
                told = condition.message()
                self._publish_status()
            if changed:
                names = tuple(mode.name for mode in condition.degraded)
                LOG.warning("mode_changed", mode=condition.mode.name, degraded=names)
                self.parts.pipeline.degraded = names
                # Not awaited: a journal that may not be written takes nothing, and the mode must still be shown.
                self._spawn(self.parts.pipeline.submit(Happened((ModeChanged(condition.mode.name, names),))))
                self._alarm_if_readonly()
            await asyncio.sleep(LOOK_EVERY_S)

    def _alarm_if_readonly(self) -> None:
        """Told without the journal, which cannot keep it."""
        why = self.condition.readonly_reason(self.parts)
        if not why:
            return
        LOG.error("journal_readonly", reason=why)
        alarm = {"type": "ALARM", "name": "JOURNAL_READONLY", "time": rfc3339(self.clock.now_s()), "text": why}
        self._spawn(self._try_publish(self.topics.events(self.agent), msgspec.json.encode(alarm), 1, False))

    # --- outwards ---------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _try_publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """For what is published again at the next occasion anyway."""
        with contextlib.suppress(LinkError, PeerError):
            await self.parts.publisher.publish(topic, payload, qos, retain)

    def _publish_status(self) -> None:
        self._spawn(self._try_publish(self.topics.status(self.agent), self.condition.message(), 1, True))

    def _publish_again(self) -> None:
        """After every connect: retained messages die with an unsaved broker."""
        self._publish_status()
        for row in self.parts.outbox.live_instructions():
            self._spawn(self._try_publish(row.target, row.body, 1, True))
        for unit in list(self.register.jrns_of_unit):
            self.parts.pipeline.mark(unit)

    def _watermark(self, unit: str, boot_id: str | None, up_to: int) -> None:
        self.parts.publisher.say(self.topics.watermark(unit), encode_watermark(boot_id, up_to))

    def _committed(self, committed: Committed) -> None:
        """All of it is on disk: let it out."""
        self.condition.committed(committed)
        self.parts.outbox.add(committed.outbox)
        for event in committed.events:
            self.stream.publish(StreamEvent(event.seq, event.kind, event.body))
        if committed.events:
            self._driver_pages.news()
        if committed.checkpoint is not None:
            self.parts.checkpoints.news()

    def _renew_signs(self) -> None:
        """By the pipeline, after each of its turns: from what is committed, as far as the agent is fit for it."""
        parts, signs = self.parts, self.parts.signs
        if not signs.boards:
            return
        around = parts.pipeline.around
        if self._booth.index is not around.detector.index:
            self._booth = Booth(self.register, around.detector.index)
        reachable = parts.source.alive and parts.publisher.connected
        broker_age_s = parts.source.heartbeat_age_s() if reachable else math.inf
        permissive_ms = permissive_lease_ms(parts.pipeline.degraded, broker_age_s)
        now_s = self.clock.now_s()
        plan = {
            place.output: showing(place, self._booth.waiting(place, around.last, now_s), now_s, permissive_ms > 0)
            for place in signs.places
        }
        signs.renew(plan, permissive_ms)

    async def _record(self, *events: Event) -> None:
        await self.parts.pipeline.record(*events)

    async def _performed(self, outcome: Performed) -> None:
        self.condition.performed(outcome.events)
        await self.parts.pipeline.submit(Happened(outcome.events, outcome.done, outcome.dropped, outcome.retried))
        for event in outcome.events:
            if isinstance(event, InstructionOut):
                for listener in self.parts.listeners:  # soon: the outbox has yet to note that it is out
                    asyncio.get_running_loop().call_soon(listener.show, event.unit)

    def _display(self, table: ListenerTable, unit: str) -> Display | None:
        """What a telematics unit's display should show: its live instruction, if it has one."""
        row = self.parts.outbox.live_instruction(self.topics.instruction(unit)) if table.display else None
        if row is None:
            return None
        instruction = verify_instruction(row.body, self._own_keys)
        text = display_text(instruction, table.language, table.display)
        if text is None:
            return None
        return Display(unit, instruction.instruction_id, instruction.version, text, table.language)

    def _display_shown(self, display: Display) -> None:
        """The unit's answer to the command is its receipt; what the driver has read of it, nobody knows."""
        receipt = ReceiptArrived(
            unit=display.unit,
            instruction_id=display.instruction_id,
            version=display.version,
            delivered_s=self.clock.now_s(),
            language=display.language,
        )
        self._spawn(self.parts.pipeline.submit(Happened((receipt,))))

    async def _history(self, above: int) -> list[StreamEvent]:
        found = await self.parts.store.read_events(above, HISTORY_EVENTS)
        return [StreamEvent(event.seq, event.kind, event.body) for event in found]

    # --- desk -------------------------------------------------------------------------------------------------

    def _http(self) -> Any:
        """The HTTP application over this agent."""
        seen = Desk(
            status=lambda: self.condition.status(self.parts),
            rows=lambda keys: desk.rows(self.register, keys, self._handle),
            detail=lambda key: desk.detail(self.register, key, self._handle),
            ready=lambda: self.condition.ready(self.parts),
            override=self._override,
            stream=self.stream,
            metrics=self.metrics,
            positions=self._positions,
            declarations=lambda: desk.declarations(self.register),
            zones=lambda: encode_zone_set(self.parts.pipeline.around.detector.index.zone_set),
            explain=self._casework.explain,
            proof=self._casework.proof,
        )
        pages = self._driver_pages
        more = [*pages.link_routes(), *pages.page_routes()]
        return agent_application(seen, self.version, certificate_access if self.tls else None, more=more)

    def _pages_for_drivers(self) -> DriverPages:
        window = DriverWindow(
            register=self.register,
            tokens=DriverTokens(self._own_keys[self.agent]),
            table=self.config.driver,
            clock=self.clock,
            last_fix=lambda unit: self.parts.pipeline.around.last.get(unit),
            signed=lambda unit: self.parts.outbox.signed(self.topics.instruction(unit)),
            record=self._record_by_driver,
        )
        return DriverPages(window.desk(), self.config.retention.papers_days)

    async def _record_by_driver(self, event: Event) -> None:
        if why := self.condition.readonly_reason(self.parts):
            raise ProblemError(503, f"nothing can be recorded: {why}")
        await self.parts.pipeline.record(event)

    async def _serve_phones(self) -> Runner | None:
        """The listener that serves drivers' pages and nothing else, if there is to be one."""
        table = self.config.driver
        if not table.port:
            return None
        pages = application(self._driver_pages.page_routes(), title="borderlane driver page", version=self.version)
        return await run(pages, table.host, table.port, self._tls(table.tls_certificate, table.tls_key))

    def _tls(self, certificate: str, key: str) -> ssl.SSLContext | None:
        if not certificate:
            return None
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            tls.load_cert_chain(self.folder / certificate, self.folder / key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"driver: {certificate}, {key}: cannot be used: {error}") from error
        return tls

    def _handle(self, unit: str) -> int | None:
        """A unit's number on the map, while it is inside a tracking zone."""
        return self._whereabouts.handle(unit) if unit in self.parts.pipeline.around.last else None

    def _positions(self, since_ms: int) -> bytes:
        return self._whereabouts.frame(self.parts.pipeline.around.last, self.clock.now_s(), since_ms)

    def _rules(self) -> Rules:
        around = self.parts.pipeline.around
        close = frozenset().union(*CLOSE_PAIRS)
        return Rules(around.detector.index, around.circumstances.zone_set_sha256 or "", close=close.__contains__)

    async def _override(self, key: str, request: OverrideRequest, action: Action, role: str) -> bool:
        if key not in self.register.journeys and key not in self.register.instructions:
            return False
        if why := self.condition.readonly_reason(self.parts):
            raise ProblemError(503, f"nothing can be recorded: {why}")
        await self.parts.pipeline.record(
            OfficerDecided(key, action, request.officer, role, request.reason, request.lane, request.customs_office)
        )
        return True

    # --- reload -----------------------------------------------------------------------------------------------

    def _reload_soon(self) -> None:
        self._spawn(self._reload())

    async def _reload(self) -> None:
        """SIGHUP: read, check, swap at once; a bad file keeps the old one and says so."""
        try:
            config = load_config(self.config_file, os.environ)
            index, digest = await asyncio.to_thread(self._read_zones, config)
            for tls in (self.tls, self._receiver_tls):
                if tls is not None:
                    tls.reload()
        except AgentError as error:
            LOG.error("reload_refused", reason=str(error), zone_set=self.register.zone_set.version)
            return
        logs.configure(config.log.format, config.log.level)
        self.parts.pipeline.swap(index, digest, Site(self.agent, config.policy, cut=self._reference.cut))
        LOG.info("reloaded", zone_set=index.zone_set.version)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """What is made here is looked through for cycles neither now nor later: with 100,000 open journeys that would
    take seconds of the start, and hold up the loop again and again afterwards."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _first(failures: BaseExceptionGroup[JournalError]) -> BaseException:
    """The first failure of a group, however deep task groups have nested it."""
    first: BaseException = failures
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
