"""All lorries of a run in one event loop: one heap of what is due next, a few broker connections, one log.

Not a task for each lorry: 2,000 units at 10 Hz are 20,000 due times a second.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import aiohttp
import msgspec
import structlog
from joserfc.jwk import OKPKey

from agent.broker_files import client_id_part
from agent.clock import Clock
from agent.domain.holder import Holder, Kind
from agent.domain.instruction import Action, Instruction
from agent.errors import ConfigError
from agent.ingest.wire import Incident, Topics, decode_watermark
from agent.mqtt_link import Arrived, BrokerAddress, Callbacks, MqttLink, Speaker
from simulator.ais_unit import ais_sentences
from simulator.avl_unit import AvlUnit, imei_of
from simulator.dice import Dice
from simulator.equipment import OPERATORS, Payload
from simulator.identities import DEMO, Identities, client_of, http_session
from simulator.lorry import ACKNOWLEDGE_S, DISPLAY_S, REACTION_S, Lorry, Told
from simulator.officers import WALK_UP_S, Act, ActKind, Officers, choose
from simulator.scenario import LorryPlan, Scenario
from simulator.serial_unit import SerialReceiver, nmea_sentences
from simulator.telematics import BATCH_EVERY_S, Message, Outgoing, serial_report
from simulator.trade import CustomsUnreachable, by_arrival, hand_in
from zones.fix import Fix

UNITS_A_CONNECTION = 25
"""Units that share a broker connection while there are connections to spare."""
IDLE_S = 0.03
"""The loop looks at its heap at least so often, wall seconds."""
TICK_S = 0.02
"""It performs what is due at most so often, wall seconds: what falls due together leaves in one write. A shorter one
gives each fix of a large fleet a write of its own, and broker and fleet pay for that more than for the fix."""
LINGER_S = 1.5
"""Units answer instructions for so long after the end of the run, wall seconds."""
UNCONFIRMED_LINGER_S = 30.0
"""A unit that connects by itself stays on for so long at most until its records are confirmed: no broker keeps them."""
DECLARED_AHEAD_S = 20.0
"""Further lorries of an endless run are declared so long before they set out."""
PROGRESS_EVERY_S = 5.0
SWITCHED_ON_S = 5.0
"""A unit listens from so long before its lorry sets out (choice)."""
LEFT_BEHIND_S = 20.0
"""A unit whose lorry has left still listens for so long."""
REPORT_AGAIN_S = 3.0
"""A driver's report has no watermark: it is said again this often until an instruction answers it."""

_LOG = structlog.get_logger()


class LorryLog:
    """`lorry-log.jsonl`: what lorries and officers did, one JSON object a line, no positions."""

    def __init__(self, file: IO[str], now_s: Callable[[], float]) -> None:
        self._file = file
        self._now_s = now_s

    def write(self, event: str, **facts: Any) -> None:
        """One line, on its way to the file at once."""
        self._file.write(json.dumps({"event": event, "at": round(self._now_s(), 3), **facts}) + "\n")
        self._file.flush()


@dataclass
class Counts:
    """What the fleet has done so far."""

    published: int = 0
    """Fixes sent for the first time."""
    duplicates: int = 0
    """Fixes sent again: copies, and what lies above the watermark after a reconnect."""
    events: Counter[str] = field(default_factory=Counter)

    def facts(self) -> dict[str, Any]:
        """For the log."""
        return {"published": self.published, "duplicates": self.duplicates, **dict(self.events)}


@dataclass(frozen=True)
class Surroundings:
    """Where the fleet lives."""

    broker: BrokerAddress
    topics: Topics
    customs_url: str
    agent_url: str
    agent_keys: Mapping[str, OKPKey]
    serial_folder: Path
    connections: int = 32
    avl: tuple[str, int] = ("127.0.0.1", 0)
    """Host and port of the agent's listener."""
    identities: Identities | None = None
    """With them every unit and platform has a connection of its own; without, units share a few."""


class _Link:
    """One broker connection, the units that hear by it and those whose fixes leave by it.

    Args:
        fleet: Whose it is.
        name: For the client id; a random part comes behind it, as where sessions belong to whoever says their id,
            nobody else should know it (design/broker.md section 3, trap 3).
        holder: Whose certificate it shows; None = none.
    """

    def __init__(self, fleet: Fleet, name: str, holder: Holder | None = None) -> None:
        self.fleet = fleet
        self.client: Speaker | None = None
        self.hears: set[str] = set()
        self.speaks: set[str] = set()
        self.since: dict[str, str] = {}
        self._started = self._unsent = False
        identities = fleet.around.identities
        tls = client_of(identities, holder) if holder is not None else None

        def on_message(_connection: int, message: Arrived) -> None:
            fleet.received(self, message.topic, message.payload)

        self.mqtt = MqttLink(
            replace(fleet.around.broker, tls=tls),
            client_id_part(f"{name}-{secrets.token_hex(6)}"),
            Callbacks(connected=self._connected, lost=self._lost, message=on_message),
            stream=True,  # 2,000 units at 10 Hz are more than a thread for each connection can carry
        )

    def _connected(self, client: Speaker, connection: int) -> None:
        self.client = client
        client.subscribe([self._status(), *(topic for unit in self.hears for topic in self._topics(unit))])
        if connection > 1 or self._unsent:
            self._unsent = False
            self.fleet.send_again(self.speaks)

    def _lost(self, _connection: int) -> None:
        self.client = None

    def start(self) -> None:
        """Begin to connect, once."""
        if not self._started:
            self._started = True
            self.mqtt.start()

    def carry(self, unit: str) -> None:
        """Take a unit on; an open connection subscribes for it at once."""
        self.hears.add(unit)
        self.start()
        if self.client is not None:
            self.client.subscribe(self._topics(unit))

    def drop(self, unit: str) -> None:
        """Let a unit go."""
        self.hears.discard(unit)
        self.speaks.discard(unit)
        if self.client is not None:
            self.client.unsubscribe([topic for topic, _ in self._topics(unit)])

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send with QoS 1; False if there is no connection (the unit then keeps its outbox)."""
        if self.client is None:
            self._unsent = True
            return False
        return bool(self.client.publish(topic, payload, 1, False).rc == 0)

    def _topics(self, unit: str) -> list[tuple[str, int]]:
        """Asked for at QoS 0: an instruction is retained, so a new connection gets it again, and within one TCP loses
        nothing. At QoS 1 each filter costs NATS a consumer, and a thousand of them double the price of every
        position (measured: 51 to 110-130 us of the broker's time)."""
        topics = self.fleet.around.topics
        return [(topics.instruction(unit), 0), (topics.watermark(unit), 0)]

    def _status(self) -> tuple[str, int]:
        return self.fleet.around.topics.status("+"), 1


class Fleet:
    """Drives every lorry of a scenario until it ends or is stopped."""

    def __init__(self, scenario: Scenario, around: Surroundings, clock: Clock, log: LorryLog) -> None:
        self.scenario = scenario
        self.around = around
        self.clock = clock
        self.log = log
        self.counts = Counts()
        self._lorries: dict[str, Lorry] = {}
        self._links: list[_Link] = []
        """All that are open; without certificates units share them."""
        self._platforms: dict[str, _Link] = {}
        self._link_of: dict[str, _Link] = {}
        self._outgoing = Outgoing(around.topics)
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._further: Iterator[LorryPlan] = scenario.waves()
        self._serial: dict[str, SerialReceiver] = {}
        self._avl: dict[str, AvlUnit] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()
        self._ended = False
        """The time of the run is up: nobody drives or decides any more, but units still answer."""
        self._session: aiohttp.ClientSession | None = None
        self._officers: Officers | None = None

    def stop(self) -> None:
        """End soon, in order."""
        self._stopping.set()

    def unplug_serial(self) -> None:
        """Pull every receiver off its serial port."""
        for receiver in self._serial.values():
            receiver.unplug()

    def replug_serial(self) -> None:
        """Put every receiver back."""
        for receiver in self._serial.values():
            receiver.replug()

    async def run(self) -> None:
        """Drive until the scenario's end, answer for a moment more, and return; earlier on `stop`."""
        trade, officer = (client_of(self.around.identities, Holder(DEMO, kind)) for kind in (Kind.TRADE, Kind.OFFICER))
        async with http_session(trade) as self._session, http_session(officer) as booth:
            self._officers = Officers(booth, self.around.customs_url, self.around.agent_url, self.log.write)
            self._open()
            try:
                await self._drive()
            finally:
                await self._close()

    def _open(self) -> None:
        if self.around.identities is None:
            wanted = max(1, min(self.around.connections, -(-len(self.scenario.lorries) // UNITS_A_CONNECTION)))
            self._links = [_Link(self, f"lorries-{self.scenario.run_id}-{number}") for number in range(wanted)]
            self._platforms = dict.fromkeys(OPERATORS, self._links[0])
        else:
            self._platforms = {name: _Link(self, name, Holder(name, Kind.PLATFORM)) for name in OPERATORS}
            self._links = list(self._platforms.values())
        for link in self._links:
            link.start()
        for plan in by_arrival(self.scenario.lorries):
            self._enlist(plan)
        now_s = self.clock.now_s()
        self._at(now_s + BATCH_EVERY_S, self._flush_batches)
        self._at(now_s + PROGRESS_EVERY_S, self._progress)
        self._expect_next()

    async def _drive(self) -> None:
        end_s = self.scenario.end_s
        while not self._stopping.is_set():
            now_s = self.clock.now_s()
            if now_s >= end_s and not self._ended:
                self._ended = True
                self.log.write("ended", **self.counts.facts())
            if self._is_over(self.clock.wall_s(now_s - end_s)):
                return
            self._perform(now_s)
            left_s = self.clock.wall_s(self._due[0][0] - self.clock.now_s()) if self._due else IDLE_S
            await asyncio.sleep(min(IDLE_S, max(TICK_S, left_s)))

    def _is_over(self, since_end_s: float) -> bool:
        unconfirmed = any(unit.waiting for unit in self._avl.values())
        return since_end_s >= (UNCONFIRMED_LINGER_S if unconfirmed else LINGER_S)

    def _perform(self, now_s: float) -> None:
        """Everything due by now, oldest first."""
        due = self._due
        while due and due[0][0] <= now_s:
            at_s, _, action = heapq.heappop(due)
            action(at_s)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._flush()
        await asyncio.gather(*(link.mqtt.close() for link in self._links))
        for receiver in self._serial.values():
            receiver.close()
        self.counts.duplicates += sum(unit.resent for unit in self._avl.values())
        await asyncio.gather(*(unit.close() for unit in self._avl.values()))
        self.log.write("summary", **self.counts.facts())

    def _at(self, time_s: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._due, (time_s, next(self._order), action))

    def _task(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Lorries come and go.

    def _enlist(self, plan: LorryPlan) -> None:
        lorry = Lorry(plan, self.scenario.seed, f"{self.scenario.run_id}-{plan.number}")
        link = self._link_for(plan)
        self._lorries[plan.unit] = lorry
        self._link_of[plan.unit] = link
        if plan.payload in (Payload.SERIAL, Payload.AIS):
            self._serial[plan.unit] = SerialReceiver(self.around.serial_folder, plan.unit)
        self._at(plan.departs_s - SWITCHED_ON_S, lambda _: link.carry(plan.unit))
        if plan.payload is Payload.TELTONIKA:
            self._switch_on(lorry)
        if plan.track:
            self._start_track(lorry)
        else:
            self._start_simulated(lorry)

    def _link_for(self, plan: LorryPlan) -> _Link:
        """By which a unit hears; one that a platform reports for speaks by the platform's."""
        if self.around.identities is None:
            link = self._links[plan.number % len(self._links)]
        else:
            link = _Link(self, plan.unit, Holder(plan.unit))
            self._links.append(link)
        speaker = link if plan.operator is None or self.around.identities is None else self._platforms[plan.operator]
        speaker.speaks.add(plan.unit)
        return link

    def _switch_on(self, lorry: Lorry) -> None:
        """Its unit connects by itself; what the display shows is noted, the signed instruction is obeyed."""

        def on_text(text: str) -> None:
            self._note("display", lorry, text=text)

        tls = client_of(self.around.identities, Holder(lorry.plan.unit))
        unit = AvlUnit(*self.around.avl, imei_of(lorry.plan.number), on_text, tls)
        self._avl[lorry.plan.unit] = unit
        unit.start()

    def _start_simulated(self, lorry: Lorry) -> None:
        sampling = lorry.sampling()

        def measure(at_s: float) -> None:
            if self._ended:
                return
            if lorry.gone(at_s):
                self._leave(lorry, at_s)
                return
            taken = lorry.measure(at_s)
            if taken is not None:
                observation, fix = taken
                self._at(observation.emit_s, lambda _: self._emit(lorry, fix, observation.copies))
            if lorry.passes_bay(at_s):
                self._note("ran_through", lorry)
            self._at(next(sampling), measure)

        self._at(next(sampling), measure)
        if lorry.reports_goods_s is not None:
            self._at(lorry.reports_goods_s, lambda at_s: self._report_goods(lorry, at_s))

    def _start_track(self, lorry: Lorry) -> None:
        """Recorded fixes in the order of their file, none before the one it follows there."""
        emit_s = lorry.plan.departs_s
        for fix in lorry.plan.track:
            emit_s = max(emit_s, fix.time_s)
            self._at(emit_s + 0.05, self._emitter(lorry, fix))
        self._at(emit_s + LEFT_BEHIND_S, lambda at_s: self._leave(lorry, at_s))

    def _emitter(self, lorry: Lorry, fix: Fix) -> Callable[[float], None]:
        return lambda _: self._emit(lorry, lorry.recorded(fix), 1)

    def _leave(self, lorry: Lorry, at_s: float) -> None:
        for message in self._outgoing.flush_unit(lorry.plan.unit):
            self._publish(lorry, message)
        self._note("left", lorry)
        self._at(at_s + LEFT_BEHIND_S, lambda _: self._forget(lorry))

    def _forget(self, lorry: Lorry) -> None:
        unit = lorry.plan.unit
        self._link_of[unit].drop(unit)
        if self.around.identities is not None:
            self._links.remove(self._link_of[unit])
            self._task(self._link_of[unit].mqtt.close())
            for platform in self._platforms.values():
                platform.speaks.discard(unit)
        if self.scenario.seconds is not None or self.scenario.last_track_s is not None:
            return  # the run has an end, and so has the memory it takes
        del self._link_of[unit]
        del self._lorries[unit]
        receiver = self._serial.pop(unit, None)
        if receiver is not None:
            receiver.close()
        avl = self._avl.pop(unit, None)
        if avl is not None:
            self._task(avl.close())

    def _expect_next(self) -> None:
        """The next lorry of an endless run: its papers go in some time before it sets out."""
        plan = next(self._further, None)
        if plan is not None:
            self._at(plan.departs_s - DECLARED_AHEAD_S, lambda _: self._declare_and_expect(plan))

    def _declare_and_expect(self, plan: LorryPlan) -> None:
        self._task(self._declare(plan))
        self._expect_next()

    async def _declare(self, plan: LorryPlan) -> None:
        assert self._session is not None
        try:
            await hand_in(self._session, self.around.customs_url, [plan])
        except CustomsUnreachable as error:
            _LOG.warning("lorry_stays_home", unit=plan.unit, problem=str(error))
            return
        try:
            self._enlist(plan)
        except ConfigError as error:  # no certificate was made for it
            _LOG.warning("lorry_stays_home", unit=plan.unit, problem=str(error))

    # What units send.

    def _emit(self, lorry: Lorry, fix: Fix, copies: int) -> None:
        if self._ended:
            return
        self.counts.published += 1
        unit = self._avl.get(lorry.plan.unit)
        if unit is not None:
            unit.take(fix)
            return
        receiver = self._serial.get(lorry.plan.unit)
        if receiver is not None:
            is_vessel = lorry.plan.payload is Payload.AIS
            receiver.write(ais_sentences(fix) if is_vessel else nmea_sentences(serial_report(fix)))
            return
        for message in self._outgoing.add(lorry.plan, fix):
            for _ in range(copies):
                self._publish(lorry, message)
            self.counts.duplicates += (copies - 1) * message.fixes

    def _flush_batches(self, at_s: float) -> None:
        self._flush()
        self._at(at_s + BATCH_EVERY_S, self._flush_batches)

    def _flush(self) -> None:
        for message in self._outgoing.flush_batches():
            address = self.around.topics.parse(message.topic)
            assert address is not None
            self._publish_by(self._platforms[address.name], message)

    def _publish(self, lorry: Lorry, message: Message) -> None:
        own = self.around.identities is None or lorry.plan.operator is None
        link = self._link_of.get(lorry.plan.unit) if own else self._platforms[lorry.plan.operator or ""]
        if link is not None:
            self._publish_by(link, message)

    def _publish_by(self, link: _Link, message: Message) -> None:
        if not link.publish(message.topic, message.payload):
            self.counts.events["unsent"] += message.fixes

    def send_again(self, units: set[str]) -> None:
        """What may have been lost above the watermark, after a reconnect or when the agent has started anew."""
        now_s = self.clock.now_s()
        for unit in sorted(units):
            lorry = self._lorries.get(unit)
            if lorry is not None:
                lorry.missed()
                self._again(lorry, now_s)

    def _again(self, lorry: Lorry, now_s: float) -> None:
        fixes, later_s = lorry.again(now_s)
        if later_s is not None:
            self._at(later_s, lambda at_s: self._again(lorry, at_s))
        self.counts.duplicates += len(fixes)
        for message in self._outgoing.again(lorry.plan, fixes) if fixes else ():
            self._publish(lorry, message)

    def _report_goods(self, lorry: Lorry, at_s: float) -> None:
        """The driver's button: more goods on board than declared. Said again until the agent has answered."""
        if self._ended or lorry.instruction is not None:
            return
        incident = Incident(kind="EXTRA_GOODS", text="two pallets more than declared")
        topic = self.around.topics.incident(lorry.plan.unit)
        link = self._link_of.get(lorry.plan.unit)
        if link is not None and link.publish(topic, msgspec.json.encode(incident)):
            self._note("reported_goods", lorry)
        self._at(at_s + REPORT_AGAIN_S, lambda later_s: self._report_goods(lorry, later_s))

    # What units receive.

    def received(self, link: _Link, topic: str, payload: bytes) -> None:
        """A message of the broker; what cannot be read is counted, the driver sees nothing of it."""
        address = self.around.topics.parse(topic)
        if address is None:
            return
        if address.kind.name == "STATUS":
            self._agent_status(link, address.name, payload)
            return
        lorry = self._lorries.get(address.name)
        if lorry is None:
            return
        if address.kind.name == "WATERMARK":
            self._watermark(lorry, payload)
        else:
            self._instruction(lorry, payload)

    def _agent_status(self, link: _Link, agent: str, payload: bytes) -> None:
        try:
            since = str(msgspec.json.decode(payload, type=dict[str, Any]).get("since", ""))
        except msgspec.MsgspecError:
            self.counts.events["bad_status"] += 1
            return
        before = link.since.get(agent)
        link.since[agent] = since
        if before is not None and since and before != since:
            self.send_again(link.speaks)

    def _watermark(self, lorry: Lorry, payload: bytes) -> None:
        try:
            mark = decode_watermark(payload)
        except msgspec.MsgspecError:
            self.counts.events["bad_watermark"] += 1
            return
        lorry.confirmed(mark.boot_id, mark.up_to)

    def _instruction(self, lorry: Lorry, payload: bytes) -> None:
        now_s = self.clock.now_s()
        verdict = lorry.read(payload, now_s, self.around.agent_keys)
        self.counts.events[f"instruction_{verdict.told.value.lower()}"] += 1
        if verdict.told is Told.REFUSED:
            self._note("refused", lorry, reason=verdict.reason)
        if verdict.instruction is None or verdict.told not in (Told.NEW, Told.REPEATED):
            return
        instruction = verdict.instruction
        self._at(now_s + DISPLAY_S, lambda _: self._receipt(lorry, instruction, now_s, None))
        if verdict.told is Told.NEW:
            self._note(
                "instruction",
                lorry,
                jrn=instruction.jrn,
                version=instruction.version,
                action=instruction.action,
                reason=instruction.reason_code,
            )
            self._at(now_s + REACTION_S, lambda at_s: self._react(lorry, instruction, at_s))

    def _receipt(self, lorry: Lorry, instruction: Instruction, arrived_s: float, acknowledged_s: float | None) -> None:
        receipt = lorry.receipt(instruction, arrived_s, acknowledged_s)
        topic = self.around.topics.receipt(lorry.plan.unit)
        link = self._link_of.get(lorry.plan.unit)
        if link is not None and link.publish(topic, msgspec.json.encode(receipt)):
            self._note("receipt", lorry, jrn=instruction.jrn, version=instruction.version)

    def _react(self, lorry: Lorry, instruction: Instruction, at_s: float) -> None:
        if lorry.instruction is not instruction:
            return  # a newer one is shown
        outcome = lorry.react(at_s)
        self._note(outcome, lorry, version=instruction.version, action=instruction.action)
        if Action[instruction.action] < Action.HOLD:
            return
        stands_s = lorry.standstill_s() if outcome == "halted" else at_s
        self._at(
            stands_s + ACKNOWLEDGE_S,
            lambda late_s: self._receipt(lorry, instruction, at_s - REACTION_S, late_s),
        )
        dice = Dice(self.scenario.seed, "officer", lorry.plan.number, instruction.version)
        act = choose(lorry.plan, instruction, dice) if outcome == "halted" else None
        if act is not None:
            done_s = stands_s + dice.between(*WALK_UP_S)
            self._at(done_s, lambda late_s: self._officer(lorry, act, stands_s, late_s))

    def _officer(self, lorry: Lorry, act: Act, begun_s: float, now_s: float) -> None:
        """A control whose result customs does not take is followed by the officer's decision."""
        assert self._officers is not None
        if self._ended:
            return
        officers = self._officers

        async def attend() -> None:
            done = await officers.perform(act, lorry.plan, begun_s, now_s)
            if not done and act.kind is ActKind.CONTROL_RESULT:
                decision = Act(ActKind.OVERRIDE, act.key, act.officer, Action.GO.name, reason="goods seen")
                await officers.perform(decision, lorry.plan, begun_s, now_s)

        self._task(attend())

    def _note(self, event: str, lorry: Lorry, **facts: Any) -> None:
        self.counts.events[event] += 1
        self.log.write(event, unit=lorry.plan.unit, **facts)

    def _progress(self, at_s: float) -> None:
        self.log.write("progress", lorries=len(self._lorries), **self.counts.facts())
        self._at(at_s + PROGRESS_EVERY_S, self._progress)
