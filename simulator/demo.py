"""`borderlane demo`: starts, watches and stops every part; the report of `--check`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import shutil
import signal
import ssl
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from agent.certificates import TrialAuthority
from agent.clock import Clock
from agent.config import ClockTable
from agent.domain.holder import Holder, Kind
from agent.errors import ConfigError, LinkError
from agent.keys import jwk_of, make_key, read_private_key
from agent.web import Runner
from firmware_bridge.outputs import OutputState
from simulator.broker import Broker, choose
from simulator.chaos import Chaos, Lines, Stage, kinds_of
from simulator.control_room.merge import messages
from simulator.demo_files import (
    AGENT_ID,
    HOST,
    SIGN,
    BrokerPlace,
    Layout,
    Ports,
    agent_toml,
    customs_toml,
    every_second_crossing,
    listener_toml,
    lorries_config,
    room_toml,
    sign_toml,
    tls_toml,
    write_lorries,
)
from simulator.equipment import OPERATORS
from simulator.faults import FaultProxy
from simulator.gathering import ended_s, gather, patiently, read_log, started_s, with_fixes
from simulator.identities import DEMO, demo_identities, http_session
from simulator.lorry_config import LorriesConfig, RunTable
from simulator.parts import Part, PartFailed, free_ports
from simulator.rehearsal import Rehearsal
from simulator.report import FaultFact, Finding, make_report
from simulator.scenario import Planner, avl_units, ferry, serial_unit, unit_id
from simulator.scenario_files import scenario_of
from simulator.serial_unit import SerialDevice
from zones.border_zone import ZoneSet
from zones.catalogue import shipped_bytes, shipped_centre_lines, shipped_zone_set, write_zone_file

CHECK_SECONDS = 60.0
FURTHER_UNITS = 2_000
"""Of a run without end with `--tls`: certificates for so many lorries beyond the first; others stay at home."""
REHEARSAL = Holder("rehearsal", Kind.CONTROL_ROOM)
"""Who takes the control room's orders for a demo."""
START_LIMIT_S = 30.0
"""A part that does not serve so long after its start has failed."""
SETTLE_S = 12.0
"""After the lorries have stopped the last decisions may take so long: 8 s budget, and the receipts."""
SETTLED_FOR_S = 1.0
MEASURE_EVERY_S = 0.5
LISTEN_AGAIN_S = 0.2


@dataclass(frozen=True)
class DemoOptions:
    """What the command line asks for."""

    lorries: int = 200
    seed: int = 1
    speedup: float = 1.0
    seconds: float | None = None
    port: int | None = None
    tracks: Path | None = None
    broker: str = "nats"
    check: bool = False
    chaos: str | None = None
    book: Path | None = None
    """Rule book of the customs service, sources or compiled; None = the built-in one."""
    tls: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a checked run came to."""

    report: dict[str, Any]
    findings: tuple[Finding, ...]


def _faults_of(options: DemoOptions, broker_kind: str) -> tuple[str, ...]:
    """The kinds of fault to play; none without `--chaos`."""
    if options.chaos is None:
        return ()
    if options.speedup != 1:
        raise ConfigError("--chaos: expected --speedup 1: recoveries are wall time, budgets would not be")
    return kinds_of(options.chaos, own_broker=broker_kind != "url", serial=options.tracks is None)


Tell = Callable[[str, dict[str, Any]], None]
"""(kind, fact) of what happens, for the view."""


class Demo:
    """One run of the whole system."""

    def __init__(self, options: DemoOptions, tell: Tell) -> None:
        """Make the folder of the run.

        Raises:
            NoBroker: no broker can be had, or `--broker` is none.
            ConfigError: `--chaos` does not go with the other options.
        """
        self.options = options
        self.tell = tell
        self._choice = choose(options.broker)
        self._carrier_token = secrets.token_urlsafe(16)
        self._faults = _faults_of(options, self._choice.kind)
        if options.tls and self._choice.kind == "url":
            raise ConfigError(f"--tls --broker {options.broker}: expected nats or mosquitto: it must know the units")
        self.folder = Path(tempfile.mkdtemp(prefix="borderlane-"))
        ports = free_ports(5 if options.check else 6, options.port)  # a checked run takes no orders
        self.layout = Layout(self.folder, Ports(*ports), options.tls)
        self.started_s = time.monotonic()
        self.clean = True
        """Whether every part ended by itself when told to; else its log is worth keeping."""
        self._clock_table = ClockTable(speedup=options.speedup, origin_s=time.time())
        self._clock = Clock(options.speedup, self._clock_table.origin_s)
        self._broker: Broker | None = None
        self._authority: TrialAuthority | None = None
        self._tls: ssl.SSLContext | None = None
        """To ask the parts with."""
        self._parts: list[Part] = []
        self._stop = asyncio.Event()
        self._run = self._run_table()
        self._lorries = LorriesConfig()
        self._watching: list[asyncio.Task[None]] = []
        self.sign: SerialDevice | None = None
        """The sign at one crossing, on a pseudo-terminal."""
        self._signed: tuple[str, str] | None = None
        self._sign_runs: asyncio.Task[None] | None = None
        self._lines: Lines | None = None
        self._book: Path | None = None
        self._chaos: Chaos | None = None
        self._rehearsal: Rehearsal | None = None
        self._orders: Runner | None = None

    def stop(self) -> None:
        """End the run early (Ctrl-C)."""
        self._stop.set()

    @property
    def stopped_early(self) -> bool:
        """Whether somebody ended it."""
        return self._stop.is_set()

    async def run(self) -> Outcome | None:
        """Everything from the first process to the last; the report with `--check`.

        Raises:
            PartFailed, LinkError: a part does not start or ended by itself.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            await self._start()
            await self._until_end()
            return await self._check() if self.options.check and not self.stopped_early else None
        finally:
            await self._shut_down()

    # --- start ------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._authority = await asyncio.to_thread(self._certify) if self.options.tls else None
        self._broker = Broker(
            self._choice,
            self.folder / "broker",
            name=AGENT_ID,
            port=self.layout.ports.broker,
            authority=self._authority,
        )
        (self.folder / "broker").mkdir()
        make_key(self.folder / "keys" / "agent.key.pem", self.layout.agent_key)
        customs_keys = self.layout.customs_data
        customs_keys.mkdir(mode=0o700)
        make_key(customs_keys / "authority.key.pem", customs_keys / "authority.pub.pem")
        _, self._signed = await asyncio.gather(self._broker.start(), asyncio.to_thread(self._first_crossing))
        place = BrokerPlace(self._broker.host, self._broker.port, self._broker.protocol)
        if self._faults:
            self._lines = await self._lay_lines()
        if not self.options.check:
            await self._take_orders(place)
        self._write_files(place)
        self._book = None if self.options.book is None else await asyncio.to_thread(self._compiled, self.options.book)
        self.tell("started", {"part": "broker", "kind": self._choice.kind})
        *first, control_room = self._commands()
        for part in first:
            self._parts.append(part)
            await part.start()
        await asyncio.gather(self._broker.ready(), *(self._serving(url) for url in self._health()))
        self._parts.append(control_room)  # after the others: the first lorry should not wait for a page
        await control_room.start()
        await self._serving(f"{self.layout.room_url}healthz")
        trade_url = f"{self.layout.room_url}trade#{self._carrier_token}"
        self.tell("serving", {"url": self.layout.room_url, "agent": self.layout.agent_url, "trade": trade_url})
        self._watching = [asyncio.create_task(work) for work in self._watches()]

    def _certify(self) -> TrialAuthority:
        """Certificates for everybody of this run, those of an endless run's first waves among them."""
        place = BrokerPlace(HOST, self.layout.ports.broker, "auto")
        units = self._units_of(lorries_config(self.layout, place, self._clock_table, self._run))
        authority = demo_identities(self.folder / "tls", AGENT_ID, units, OPERATORS)
        authority.issue(REHEARSAL)
        assert self.layout.identities is not None
        self._tls = self.layout.identities.tls(Holder(DEMO, Kind.AUDITOR)).client
        return authority

    def _units_of(self, config: LorriesConfig) -> list[str]:
        """Names of a fleet's units, and of some that come later where there is no end."""
        plans, run = scenario_of(config, self.folder, self._clock.now_s()).lorries, config.run
        further = FURTHER_UNITS if run.seconds is None and run.tracks is None else 0
        return [plan.unit for plan in plans] + [unit_id(run.run_id, run.lorries + extra) for extra in range(further)]

    async def _lay_lines(self) -> Lines:
        identities = self.layout.identities
        if identities is None:
            return await Lines.laid(self.layout.customs_url)
        customs, agent = Holder(DEMO, Kind.CUSTOMS), Holder(AGENT_ID, Kind.AGENT)
        return await Lines.laid(self.layout.customs_url, identities.tls(customs), identities.tls(agent))

    def _watches(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on beside the parts; nobody looks at the events of a checked run."""
        listening = [] if self.options.check else [self._listen()]
        return [self._measure(), *listening, self._play_faults(), self._guard()]

    def _write_files(self, place: BrokerPlace) -> None:
        layout, clock, options, run_id = self.layout, self._clock_table, self.options, self._run.run_id
        self._lorries = lorries_config(layout, place, clock, self._run)
        lorries = 0 if options.tracks is not None else options.lorries
        lines = (("receiver", serial_unit(run_id, lorries)), ("ais", ferry(run_id, lorries)))
        ports = tuple((role, unit) for role, unit in lines if unit is not None)
        customs_url = self._customs_url()
        text = agent_toml(layout, place, clock, ports, customs_url, options.lorries)
        if self._signed is not None:
            self._put_up_sign(*self._signed)
            text += sign_toml(layout, *self._signed)
        text += listener_toml(layout, avl_units(run_id, lorries))
        layout.file("agent").write_text(text, "utf-8")
        conditional = every_second_crossing() if options.chaos is not None else ()
        own = tls_toml(layout, Holder(DEMO, Kind.CUSTOMS))
        layout.file("customs").write_text(customs_toml(clock, conditional) + own, "utf-8")
        layout.file("control-room").write_text(room_toml(layout, clock, self._carrier_token), "utf-8")
        write_lorries(layout, self._lorries)

    def _run_table(self) -> RunTable:
        options, seconds = self.options, self._seconds()
        return RunTable(
            run_id=uuid.uuid4().hex[:6],
            seed=options.seed,
            lorries=options.lorries,
            seconds=None if seconds is None else seconds * options.speedup,
            tracks=None if options.tracks is None else str(options.tracks.resolve()),
        )

    def _customs_url(self) -> str:
        """Customs, or the line to it that may be cut."""
        if self._lines is not None:
            return self._lines.url
        if self._rehearsal is not None:
            return f"{self.layout.scheme}://{self._rehearsal.line.host}:{self._rehearsal.line.port}"
        return self.layout.customs_url

    async def _take_orders(self, place: BrokerPlace) -> None:
        """Lay the line that may be cut, write the zones that may be changed, listen."""
        line = self._lines.customs if self._lines is not None else FaultProxy((HOST, self.layout.ports.customs))
        if self._lines is None:
            await line.start()
        self.layout.zone_file.write_bytes(shipped_bytes("border_zones.geojson"))
        zones = shipped_zone_set()
        lorries = min(max(self.options.lorries, 1), 500)
        add = functools.partial(self._add_fleet, place)
        self._rehearsal = Rehearsal(lorries, add, self._swap_zones, line, zones, zones)
        identities = self.layout.identities
        tls = None if identities is None else identities.tls(REHEARSAL).server
        self._orders = await self._rehearsal.serve(HOST, self.layout.ports.scenario, tls)

    async def _add_fleet(self, place: BrokerPlace, number: int, lorries: int) -> None:
        """More lorries, as a process of their own; units that need a port or listener of the agent are not heard."""
        name, folder = f"lorries-{number}", self.folder / f"fleet-{number}"
        folder.mkdir()
        run = RunTable(
            folder=folder.name,
            run_id=uuid.uuid4().hex[:6],
            seed=self.options.seed + number,
            lorries=lorries,
            zones=self.layout.zone_file.name,
        )
        config = lorries_config(self.layout, place, self._clock_table, run, connections=1)
        config = msgspec.structs.replace(config, avl=msgspec.structs.replace(config.avl, port=0))
        if self._authority is not None and self._broker is not None:
            for unit in await asyncio.to_thread(self._units_of, config):
                self._authority.issue(Holder(unit))
            self._broker.reload()
        write_lorries(self.layout, config, name)
        arguments = ["lorries", "--config", str(self.layout.file(name))]
        part = Part(name, arguments, self.folder / f"{name}.log")
        self._parts.append(part)
        await part.start()
        self.tell("started", {"part": name})

    def _swap_zones(self, zones: ZoneSet) -> None:
        write_zone_file(zones, self.layout.zone_file)
        self._part("agent").reload()

    def _first_crossing(self) -> tuple[str, str] | None:
        """Crossing and direction of the first lorry, where the demo's sign stands; recorded tracks have none."""
        options = self.options
        if options.tracks is not None or not options.lorries:
            return None
        zone_set, roads = shipped_zone_set(), shipped_centre_lines()
        plan = Planner(options.seed, options.lorries, self._clock.now_s(), zone_set, roads, None, "sign").plan(0)
        return plan.crossing, plan.direction.value

    def _put_up_sign(self, crossing: str, direction: str) -> None:
        """A microcontroller with a sign, on a serial line of the agent's."""

        def shown(_output: int, _commanded: OutputState, measured: OutputState) -> None:
            self.tell("sign", {"crossing": crossing, "direction": direction, "shows": measured.name})

        self.sign = SerialDevice(self.folder / "serial" / SIGN, name=SIGN, shown=shown)
        self._sign_runs = asyncio.create_task(self.sign.run())

    def _seconds(self) -> float | None:
        """How long the lorries drive, wall seconds; None = to the end of the tracks, or for ever."""
        options = self.options
        if options.seconds is not None or not options.check:
            return options.seconds
        return None if options.tracks is not None else CHECK_SECONDS

    def _compiled(self, book: Path) -> Path:
        """The book compiled: very many rules take longer than a part may take to start."""
        from agent.risk.book_file import is_book  # only now: most demos need none of it
        from simulator.customs.book_keys import KID, beside
        from simulator.customs.rule_build import build_book

        if is_book(book):
            return book.absolute()
        secret = read_private_key(self.layout.customs_data / "authority.key.pem")
        made = self.folder / "book"
        build_book(book, made, secret, jwk_of(secret), KID, round(time.time() * 1000))
        shutil.copyfile(self.layout.customs_data / "authority.pub.pem", beside(made, "pub.pem"))
        return made

    def _commands(self) -> list[Part]:
        layout = self.layout
        customs = ["--listen", f"{HOST}:{layout.ports.customs}", "--data", str(layout.customs_data)]
        if self._book is not None:
            customs += ["--rules", str(self._book)]
        arguments = {
            "customs": ["customs", *customs, "--config", str(layout.file("customs"))],
            "agent": ["agent", "--config", str(layout.file("agent"))],
            "lorries": ["lorries", "--config", str(layout.file("lorries"))],
            "control-room": ["control-room", "--config", str(layout.file("control-room"))],
        }
        return [Part(name, words, self.folder / f"{name}.log") for name, words in arguments.items()]

    def _health(self) -> list[str]:
        return [
            f"{self.layout.customs_url}/healthz",
            f"{self.layout.agent_url}/readyz",
        ]

    async def _serving(self, url: str) -> None:
        """Wait until a part answers."""
        deadline_s = time.monotonic() + START_LIMIT_S
        async with http_session(self._tls) as session:
            while not self._stop.is_set():
                self._none_failed()
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                    async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                        if answer.status == 200:
                            return
                if time.monotonic() > deadline_s:
                    raise LinkError(f"{url}: does not serve after {START_LIMIT_S:g} s\n{self._logs()}")
                await asyncio.sleep(0.05)

    def _none_failed(self) -> None:
        for part in self._parts:
            status = part.exit_status
            if status is None or part.stopping or (part.name.startswith("lorries") and status == 0):
                continue
            raise PartFailed(f"{part.name} ended with status {status}:\n{part.tail()}")

    def _logs(self) -> str:
        return "\n".join(f"--- {part.name}\n{part.tail()}" for part in self._parts)

    # --- watch ------------------------------------------------------------------------------------------------

    def _part(self, name: str) -> Part:
        return next(part for part in self._parts if part.name == name)

    async def _until_end(self) -> None:
        """Until the lorries have driven their time, somebody stops it, or a part fails."""
        lorries = self._part("lorries")
        assert lorries.process is not None
        ended = asyncio.create_task(lorries.process.wait())
        stopped = asyncio.create_task(self._stop.wait())
        guard = self._watching[-1]
        done, _ = await asyncio.wait({ended, stopped, guard}, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, stopped):
            task.cancel()
        if guard in done:
            guard.result()
        self._none_failed()

    async def _guard(self) -> None:
        while True:
            self._none_failed()
            await asyncio.sleep(MEASURE_EVERY_S)

    async def _play_faults(self) -> None:
        """What `--chaos` asks for; without it nothing."""
        if self._lines is None or self._broker is None:
            return
        stage = Stage(
            self._part("agent"),
            self._part("lorries"),
            self._broker,
            self.layout.agent_url,
            self._clock,
            self.sign,
            self._tls,
        )  # fmt: skip
        self._chaos = Chaos(stage, self._lines, self._tell_fault)
        await self._chaos.play(self._faults, self._seconds())

    def _tell_fault(self, fault: FaultFact) -> None:
        self.tell("fault", {"kind": fault.kind, "recoveredAfterMs": fault.recovered_after_ms})

    async def _measure(self) -> None:
        while True:
            for part in self._parts:
                part.measure()
            if self._broker is not None:
                self._broker_mb = max(self._broker_mb, self._broker.rss_mb())
            self.tell("status", await self._ask(f"{self.layout.agent_url}/v1/status") or {})
            await asyncio.sleep(MEASURE_EVERY_S)

    _broker_mb = 0.0

    async def _ask(self, url: str) -> dict[str, Any] | None:
        try:
            async with (
                http_session(self._tls, timeout=aiohttp.ClientTimeout(total=2)) as session,
                session.get(url) as answer,
            ):
                return dict(msgspec.json.decode(await answer.read()))
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
            return None

    async def _listen(self) -> None:
        """The agent's events, for the view."""
        last = "0"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=30)
        async with http_session(self._tls, timeout=timeout) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                    headers = {"Last-Event-ID": last}
                    async with session.get(f"{self.layout.agent_url}/v1/events", headers=headers) as answer:
                        async for message in messages(answer.content):
                            if message is not None:
                                last = message[2] or last
                                self.tell(message[0], msgspec.json.decode(message[1]))
                await asyncio.sleep(LISTEN_AGAIN_S)

    # --- report -----------------------------------------------------------------------------------------------

    async def _check(self) -> Outcome:
        """Let the last decisions come out, then hold what happened against what had to happen."""
        log = self.folder / "lorry-log.jsonl"
        lines = read_log(log)
        start_s = started_s(lines)
        if start_s is None:
            raise PartFailed(f"lorries never set out:\n{self._part('lorries').tail()}")
        end_s = ended_s(lines)
        if end_s is None:
            raise PartFailed(f"lorries ended without saying so:\n{self._part('lorries').tail()}")
        await self._settle()
        peaks = {part.name: part.peak_rss_mb for part in self._parts if part.name in ("agent", "customs")}
        facts = await patiently(
            lambda: gather(
                lorry_log=log,
                agent_data=self.layout.agent_data,
                agent_key=self.layout.agent_key,
                customs_url=self.layout.customs_url,
                agent_url=self.layout.agent_url,
                end_s=end_s,
                wall_seconds=self._clock.wall_s(end_s - start_s),
                speedup=self.options.speedup,
                faults=self._chaos.faults if self._chaos else (),
                peak_rss_mb={**peaks, "broker": self._broker_mb},
                tls=self._tls,
            ),
            self._none_failed,
        )
        if self._chaos is not None:
            facts = with_fixes(facts, self._chaos.fixes)
        report, findings = make_report(scenario_of(self._lorries, self.folder, start_s), facts)
        return Outcome(report, findings)

    async def _settle(self) -> None:
        """Until nothing is waiting or unsent for a moment."""
        deadline_s = time.monotonic() + SETTLE_S
        quiet_since_s: float | None = None
        while time.monotonic() < deadline_s and not self._stop.is_set():
            status = await self._ask(f"{self.layout.agent_url}/v1/status")
            quiet = status is not None and not status["waiting"] and not status["outboxPending"]
            if not quiet:
                quiet_since_s = None
            elif quiet_since_s is None:
                quiet_since_s = time.monotonic()
            elif time.monotonic() - quiet_since_s >= SETTLED_FOR_S:
                return
            await asyncio.sleep(0.1)

    # --- end --------------------------------------------------------------------------------------------------

    async def _shut_down(self) -> None:
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        for name in ("lorries", "control-room", "agent", "customs"):
            for part in self._parts:
                if part.name.partition("-")[0] == name.partition("-")[0]:
                    self.clean &= await part.stop()
        if self._sign_runs is not None:
            self._sign_runs.cancel()
            await asyncio.gather(self._sign_runs, return_exceptions=True)
        if self._broker is not None:
            await self._broker.stop()
        await self._end_orders()
        if self._lines is not None:
            await self._lines.close()

    async def _end_orders(self) -> None:
        if self._orders is not None:
            await self._orders.stop()
        if self._rehearsal is not None:
            await self._rehearsal.close()
            if self._lines is None:
                await self._rehearsal.line.stop()

    def remove_folder(self) -> None:
        """Delete the run's files."""
        shutil.rmtree(self.folder, ignore_errors=True)
