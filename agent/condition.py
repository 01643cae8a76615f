"""How the agent is: facts to mode, figures for status and metrics. Looks and counts; starts and stops nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent.activation.events import ActivationAnswered, Event, InstructionOut
from agent.checkpoints import Checkpoints
from agent.clock import Clock, SteadyClock, is_synchronised
from agent.delivery.sign_channel import OutputView, SignChannel
from agent.delivery.unit_channel import Publisher
from agent.domain.times import rfc3339
from agent.ingest.avl_source import AvlSource
from agent.ingest.feed import Feed
from agent.ingest.mqtt_source import MqttSource
from agent.ingest.serial_source import SerialUnit
from agent.journal.batch import Committed
from agent.journal.store import Store
from agent.outbox import Outbox
from agent.pipeline import Pipeline
from agent.register import Register
from agent.status.api import AgentStatus, ListenerStatus, OutputStatus, PortStatus
from agent.status.live import Metrics
from agent.status.modes import Mode, ModeFacts, degraded, worst
from firmware_bridge.capture import Recorder
from firmware_bridge.outputs import OutputState
from firmware_bridge.session import SerialSource

if TYPE_CHECKING:
    from agent.ingest.ais_source import AisVessels

CUSTOMS_SILENT_S = 3.0
"""Customs is out of reach when nothing of it was heard for so long and the last try failed, wall seconds."""
FOLLOW_AFTER_S = 60.0
"""A step of the system's clock is taken over after it has stood so long (choice: a time source has then settled)."""
SAME_STEP_S = 0.5
"""Two readings of a step that differ by less are the same; a step below it is none."""
LOG = structlog.get_logger()
LATENCIES = 2_000
"""Latest instructions of which the figures in the status speak."""


@dataclass(frozen=True)
class Parts:
    """The shells that are looked at."""

    store: Store
    source: MqttSource
    publisher: Publisher
    outbox: Outbox
    pipeline: Pipeline
    feed: Feed
    checkpoints: Checkpoints
    serial: tuple[SerialUnit | AisVessels, ...]
    signs: SignChannel
    listeners: tuple[AvlSource, ...] = ()
    recorders: Mapping[str, Recorder] = field(default_factory=dict)
    """Of ports whose raw bytes are recorded, by unit."""


class Condition:
    """Mode, figures and the words for both."""

    def __init__(self, agent: str, version: str, clock: Clock, register: Register, metrics: Metrics) -> None:
        self._agent, self._version = agent, version
        self._clock, self._register, self._metrics = clock, register, metrics
        self.since = self.mode_since = rfc3339(clock.now_s())
        self.degraded: tuple[Mode, ...] = ()
        """Every mode in force besides NORMAL, worst last."""
        self.entries = 0
        """Entries of the journal."""
        self.marker = 0
        """The feed is processed up to here."""
        self.newest_s = 0.0
        """When the journal's newest entry of an earlier run was written, by the clock of then."""
        self._step = time.monotonic(), 0.0
        """Since when the system's clock has been off ours by how much."""
        self._customs_heard_s: float | None = None
        self._began_s: float | None = None
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._instructions: Counter[str] = Counter()

    @property
    def mode(self) -> Mode:
        """The worst mode in force."""
        return worst(self.degraded)

    # --- mode -------------------------------------------------------------------------------------------------

    def look(self, parts: Parts) -> bool:
        """Take the facts in; True if the mode has changed."""
        modes = degraded(self._facts(parts))
        self._gauge(parts)
        if modes == self.degraded:
            return False
        self.degraded, self.mode_since = modes, rfc3339(self._clock.now_s())
        return True

    def _facts(self, parts: Parts) -> ModeFacts:
        valid_to_s = self._register.zone_set.valid_to_s
        return ModeFacts(
            breaker_open=parts.outbox.breaker.is_open,
            customs_reachable=self._customs_reachable(parts),
            heartbeat_age_s=0.0 if parts.source.alive else self._heartbeat_age_s(parts),
            clock_difference_s=self._clock_difference_s(parts),
            clock_doubted=self._clock_doubted(parts),
            gnss_suspect=parts.pipeline.doubts.gnss_suspect(time.monotonic()),
            zones_stale=valid_to_s is not None and self._clock.now_s() > valid_to_s,
            journal_writable=not self.readonly_reason(parts),
        )

    def readonly_reason(self, parts: Parts) -> str:
        """Why nothing may be written, or empty."""
        return parts.checkpoints.refusal or parts.store.readonly

    def _clock_difference_s(self, parts: Parts) -> float:
        """The largest of: a step of the system's clock, a wired receiver, a journal that is ahead of our time."""
        ahead_s = self._clock.wall_s(self.newest_s - self._clock.now_s())
        receiver_s = parts.pipeline.doubts.receiver_difference_s(time.monotonic())
        return max((self._stepped_s(), receiver_s, max(0.0, ahead_s)), key=abs)

    def _stepped_s(self) -> float:
        return self._clock.stepped_s() if isinstance(self._clock, SteadyClock) else 0.0

    def _clock_doubted(self, parts: Parts) -> bool:
        if parts.pipeline.doubts.units_doubt_clock(time.monotonic()):
            return True
        return parts.pipeline.around.site.policy.clock_must_be_kept and is_synchronised() is False

    def follow_clock(self, parts: Parts) -> bool:
        """Take a step of the system's clock over once it has stood for a minute, so that trust can come back."""
        if not isinstance(self._clock, SteadyClock):
            return False
        stepped_s, now_s = self._clock.stepped_s(), time.monotonic()
        if abs(stepped_s - self._step[1]) > SAME_STEP_S:
            self._step = now_s, stepped_s
        if abs(stepped_s) <= SAME_STEP_S or now_s - self._step[0] < FOLLOW_AFTER_S:
            return False
        self._clock.follow()
        self._step = now_s, 0.0
        LOG.warning("clock_followed", stepped_s=round(stepped_s, 3))
        return True

    def _heartbeat_age_s(self, parts: Parts) -> float:
        """Counted from the first look at most: at the start no heartbeat can have come yet."""
        now_s = asyncio.get_running_loop().time()
        if self._began_s is None:
            self._began_s = now_s
        return min(parts.source.heartbeat_age_s(), now_s - self._began_s)

    def _customs_reachable(self, parts: Parts) -> bool:
        """One request that fails is no outage: nothing heard for `CUSTOMS_SILENT_S` is, or being denied access."""
        now_s = asyncio.get_running_loop().time()
        if parts.feed.reachable or self._customs_heard_s is None:  # at start nobody has asked yet
            self._customs_heard_s = now_s
        return now_s - self._customs_heard_s < CUSTOMS_SILENT_S and not parts.outbox.denied

    def _gauge(self, parts: Parts) -> None:
        metrics, oldest_s = self._metrics, parts.outbox.oldest_s()
        metrics.disk_used.set(parts.store.disk_used)
        metrics.outbox_pending.set(parts.outbox.pending)
        metrics.outbox_oldest.set(0.0 if oldest_s is None else self._clock.now_s() - oldest_s)
        metrics.link_up.labels("broker").set(parts.source.alive)
        metrics.link_up.labels("customs").set(parts.feed.reachable)
        for listener in parts.listeners:
            metrics.connections.labels(listener.name).set(listener.server.connections)
            for result, number in listener.counts.items():
                metrics.frames.labels(listener.name, result).set(number)
        in_force = self.degraded or (Mode.NORMAL,)
        for mode in Mode:
            metrics.mode.labels(mode.name).set(mode in in_force)
        metrics.zone_set.clear()
        metrics.zone_set.labels(self._register.zone_set.version).set(1)
        metrics.units.set(len(parts.pipeline.around.cursors))
        for view in parts.signs.views():
            for state in OutputState:
                metrics.output.labels(view.place.output, state.name).set(view.measured is state)
            metrics.output_fault.labels(view.place.output).set(view.fault != "NONE")

    # --- figures ----------------------------------------------------------------------------------------------

    def committed(self, committed: Committed) -> None:
        """Count what is on disk now."""
        self.entries = max(self.entries, *committed.seqs) if committed.seqs else self.entries
        for event in committed.events:
            if event.kind == "instruction":
                action = str(msgspec.json.decode(event.body).get("action"))
                self._instructions[action] += 1
                self._metrics.instructions.labels(action).inc()
            elif event.kind == "alarm":
                self._metrics.alarms.labels(str(msgspec.json.decode(event.body).get("name"))).inc()

    def performed(self, events: Sequence[Event]) -> None:
        """Count what came back from broker and customs."""
        for event in events:
            if isinstance(event, InstructionOut):
                self._instruction_out(event)
            elif isinstance(event, ActivationAnswered):
                self._metrics.activations.labels(event.result).inc()

    def _instruction_out(self, event: InstructionOut) -> None:
        """The first instruction of a round: how long it took since the settling fix arrived, wall seconds."""
        state = self._register.instructions.get(event.key)
        if state is None or state.arrived_s is None or state.out_s is not None:
            return
        seconds = self._clock.wall_s(event.at_s - state.arrived_s)
        self._latencies.append(seconds)
        self._metrics.fix_to_instruction.observe(seconds)

    # --- words ------------------------------------------------------------------------------------------------

    def message(self) -> bytes:
        """Body of the retained status topic."""
        return self._message(self.mode, self.degraded, online=True)

    def last_message(self) -> bytes:
        """The same when the agent is gone: its last will, and what it says when it stops."""
        return self._message(Mode.BROKER_LOST, (Mode.BROKER_LOST,), online=False)

    def _message(self, mode: Mode, modes: tuple[Mode, ...], online: bool) -> bytes:
        return msgspec.json.encode(
            {
                "agent": self._agent,
                "online": online,
                "mode": mode.name,
                "degraded": [one.name for one in modes],
                "modeSince": self.mode_since,
                "since": self.since,
                "zoneSet": self._register.zone_set.version,
                "version": self._version,
            }
        )

    def status(self, parts: Parts) -> AgentStatus:
        """How the agent is, whole."""
        oldest_s = parts.outbox.oldest_s()
        zone_set = self._register.zone_set
        return AgentStatus(
            agent=self._agent,
            mode=self.mode.name,
            degraded=tuple(mode.name for mode in self.degraded),
            mode_since=self.mode_since,
            since=self.since,
            version=self._version,
            zone_set=zone_set.version,
            zones=len(zone_set.zones),
            broker_connected=parts.source.alive and parts.publisher.connected,
            customs_reachable=self._customs_reachable(parts),
            feed_marker=self.marker,
            journeys=len(self._register.journeys),
            units=len(parts.pipeline.around.cursors),
            waiting=sum(state.waiting and state.action is None for state in self._register.instructions.values()),
            outbox_pending=parts.outbox.pending,
            outbox_oldest_s=None if oldest_s is None else round(self._clock.now_s() - oldest_s, 3),
            journal_entries=self.entries,
            checkpoint=parts.store.checkpoint,
            checkpoint_held=parts.checkpoints.held,
            fixes=parts.pipeline.fixes_by_result(),
            instructions=dict(self._instructions),
            fix_to_instruction_ms=quantiles_ms(self._latencies),
            serial={unit.unit: unit.state.value for unit in parts.serial}
            | {name: board.state.value for name, board in parts.signs.boards.items()},
            ports={unit.unit: port_status(unit.session) for unit in parts.serial},
            outputs={view.place.output: _output(view) for view in parts.signs.views()},
            capture={name: recorder.state for name, recorder in parts.recorders.items()},
            listeners={one.name: ListenerStatus(one.server.connections, dict(one.counts)) for one in parts.listeners},
        )

    def ready(self, parts: Parts) -> dict[str, bool]:
        """Whether each part that activation needs is there."""
        return {
            "journal": not self.readonly_reason(parts),
            "broker": parts.source.alive and parts.publisher.connected,
            "zones": bool(self._register.zone_set.zones),
        }


def _output(view: OutputView) -> OutputStatus:
    waiting = view.wanted.waiting
    return OutputStatus(
        kind=view.place.kind.name.lower(),
        crossing=view.place.crossing,
        direction=view.place.direction,
        lane=view.place.lane or None,
        wanted=view.wanted.state.name,
        commanded=None if view.commanded is None else view.commanded.name,
        measured=None if view.measured is None else view.measured.name,
        jrn=None if waiting is None else waiting.jrn,
        unit=None if waiting is None else waiting.unit,
        fault=view.fault,
    )


def port_status(session: SerialSource) -> PortStatus:
    """How a receiver's port is."""
    age_s = session.last_frame_age_s(time.monotonic())
    return PortStatus(
        path=session.path,
        state=session.state.value,
        reason=session.reason,
        last_frame_age_s=None if age_s is None else round(age_s, 1),
        reopens=session.reopens,
        frames=session.frames,
        reports=session.reports,
        refusals=dict(session.refusals),
        noise_bytes=session.noise_bytes,
        doubted=session.clock.reason if session.clock.alarm else None,
    )


def quantiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and max in milliseconds; empty without a value."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1)
        for name, share in shares.items()
    }
