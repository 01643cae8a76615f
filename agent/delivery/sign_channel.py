"""Roadside outputs: says what each shows, as often as the deciding task asks, and keeps what was measured.

`renew` is called by the pipeline after each of its turns and by nothing else: a pipeline that hangs says nothing,
and what lets a vehicle go ends with its lease (contract section 9).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from agent.activation.events import Event, OutputFaulted, OutputShown, WitnessSeen
from agent.config import OutputTable, SerialTable
from agent.delivery.sign_plan import NOTHING, RESTRICTIVE_LEASE_MS, Place, Showing
from firmware_bridge.capture import Recorder
from firmware_bridge.device_session import DeviceEvent, DeviceSession
from firmware_bridge.link import LeaseRefused, LinkDown, LinkUp
from firmware_bridge.link_messages import Fault, FaultCode, FrameFault, Log, Output, Sighting, SightingKind
from firmware_bridge.outputs import (
    MISMATCH_MS,
    PERMISSIVE,
    UPTIME_MODULUS,
    OutputKind,
    OutputSettings,
    OutputState,
)
from firmware_bridge.relay import FailSafe, RelayOutput
from firmware_bridge.reopening import LinkState, PortState

RENEW_AFTER_S = 0.8
"""A turn of the pipeline this long after the last renewal renews; it turns at least once a second."""
LOST_AFTER_S = 5.0
"""Without a link for so long staff are told."""
WATCHDOG_MS = 30_000
"""The host is restarted when the pipeline has not turned for so long; an agent that restarts is back long before."""
QUEUE = 64
"""Reports that wait for the journal; a device has one outstanding."""
MAX_DECISIONS = 16
"""Decisions remembered for each output, to name what a device reports."""
WHOLE_DEVICE = 0xFF
LOG = structlog.get_logger()


class Board(Protocol):
    """A device with outputs: `firmware_bridge.device_session.DeviceSession`, or a relay board."""

    path: str
    state: LinkState
    reason: str

    @property
    def is_up(self) -> bool:
        """Whether it can be told anything."""
        ...

    def lease(self, output: int, state: OutputState, lease_ms: int, *, decision_ref: int = 0, text: str = "") -> bool:
        """Let an output show a state for so long from now; False without a link."""
        ...

    def watchdog(self, lease_ms: int, *, armed: bool = True) -> bool:
        """Say that the host lives."""
        ...

    def acknowledge(self, seq: int) -> None:
        """What a report asked for is done."""
        ...

    def events(self) -> AsyncIterator[DeviceEvent]:
        """What it says, for ever."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@dataclass
class OutputView:
    """One output as far as we know."""

    place: Place
    wanted: Showing = NOTHING
    commanded: OutputState | None = None
    """What the device says it was told; None while there is no link."""
    measured: OutputState | None = None
    ref: int = 0
    fault: str = "NONE"
    mismatch_since_s: float | None = None
    decisions: dict[int, Showing] = field(default_factory=dict)
    said_s: float | None = None

    def remember(self, shown: Showing) -> None:
        """Keep whose decision a reference is."""
        self.decisions.pop(shown.ref, None)
        self.decisions[shown.ref] = shown
        while len(self.decisions) > MAX_DECISIONS:
            del self.decisions[next(iter(self.decisions))]


@dataclass(frozen=True)
class _ToJournal:
    events: tuple[Event, ...]
    board: Board | None = None
    seq: int = 0


class SignChannel:
    """All outputs of this agent."""

    def __init__(
        self,
        boards: Mapping[str, Board],
        places: Mapping[str, Sequence[Place]],
        record: Callable[..., Awaitable[None]],
        *,
        now_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            boards: By device name.
            places: Outputs of each device, in the order of their numbers.
            record: Takes events and returns when they are on disk.
            now_s: Monotonic clock.
            wall_s: UTC.
        """
        self.boards = dict(boards)
        self._views = {name: [OutputView(place) for place in places.get(name, ())] for name in boards}
        self._record, self._now_s, self._wall_s = record, now_s, wall_s
        self._queue: asyncio.Queue[_ToJournal] = asyncio.Queue(QUEUE)
        self._down_since_s = dict.fromkeys(boards, now_s())
        self.refusals: Counter[str] = Counter()
        """Leases not obeyed and frames not understood, by reason."""
        self.unrecorded = 0
        """Events for which the queue had no room; what was shown is reported again each second."""

    @property
    def places(self) -> tuple[Place, ...]:
        """Every output that shows something."""
        return tuple(view.place for view in self.views() if view.place.kind is not OutputKind.WATCHDOG)

    def views(self) -> list[OutputView]:
        """Every output."""
        return [view for views in self._views.values() for view in views]

    # --- outwards ------------------------------------------------------------------------------------------------

    def renew(self, plan: Mapping[str, Showing], permissive_ms: int) -> None:
        """Say what each output shows; called by the task that holds the decisions, at least once a second.

        Args:
            plan: What to show, by output; an output that is not in it goes to its default.
            permissive_ms: How long anything permissive may be shown from now on; 0 = not at all.
        """
        now_s = self._now_s()
        for name, views in self._views.items():
            board = self.boards[name]
            self._watch_link(name, now_s)
            for number, view in enumerate(views):
                if view.place.kind is OutputKind.WATCHDOG:
                    self._renew_watchdog(board, view, now_s)
                else:
                    self._renew(board, number, view, plan.get(view.place.output, NOTHING), permissive_ms, now_s)

    def _renew(
        self, board: Board, number: int, view: OutputView, shown: Showing, permissive_ms: int, now_s: float
    ) -> None:
        if shown.state in PERMISSIVE and permissive_ms <= 0:
            shown = NOTHING
        same = (shown.state, shown.ref, shown.text) == (view.wanted.state, view.wanted.ref, view.wanted.text)
        if same and view.said_s is not None and now_s - view.said_s < RENEW_AFTER_S:
            return
        view.wanted = shown
        view.remember(shown)
        lease_ms = permissive_ms if shown.state in PERMISSIVE else RESTRICTIVE_LEASE_MS
        said = board.lease(number, shown.state, lease_ms, decision_ref=shown.ref, text=shown.text)
        view.said_s = now_s if said else None

    def _renew_watchdog(self, board: Board, view: OutputView, now_s: float) -> None:
        if view.said_s is None or now_s - view.said_s >= RENEW_AFTER_S:
            view.said_s = now_s if board.watchdog(WATCHDOG_MS) else None

    def close(self) -> None:
        """Everything to its default at once, and no restart of the host: this end is meant."""
        for name, views in self._views.items():
            board = self.boards[name]
            for number, view in enumerate(views):
                if view.place.kind is OutputKind.WATCHDOG:
                    board.watchdog(WATCHDOG_MS, armed=False)
                else:
                    board.lease(number, OutputState.DEFAULT, RESTRICTIVE_LEASE_MS)
            board.close()

    # --- inwards -------------------------------------------------------------------------------------------------

    async def listen(self, name: str) -> None:
        """What one device says, for ever."""
        async for event in self.boards[name].events():
            self._heard(name, event)

    async def keep_record(self) -> None:
        """What was shown goes to the journal; the device may forget its report when it is on disk."""
        while True:
            item = await self._queue.get()
            await self._record(*item.events)
            if item.board is not None:
                item.board.acknowledge(item.seq)

    def _heard(self, name: str, event: DeviceEvent) -> None:
        match event:
            case LinkUp():
                self._came_up(name, event)
            case LinkDown():
                self._went_down(name)
                LOG.warning("device_link", device=name, state="down", reason=event.reason, detail=event.detail)
            case PortState():
                LOG.info("serial_port", device=name, path=event.path, state=event.state.value, reason=event.reason)
                if event.state is not LinkState.OPEN:
                    self._went_down(name)
            case Output():
                self._reported(name, event)
            case Fault():
                self._faulted(name, event)
            case Sighting():
                self._sighted(name, event)
            case LeaseRefused():
                self.refusals[event.reason] += 1
                LOG.warning("lease_refused", device=name, output=event.output, reason=event.reason)
            case FrameFault():
                self.refusals[event.reason] += 1
            case Log():
                LOG.debug("device_log", device=name, level=event.level, text=event.text)

    def _came_up(self, name: str, up: LinkUp) -> None:
        """Every decision is said again, by the task that holds it."""
        LOG.info("device_link", device=name, state="up", firmware=up.firmware, boot=up.boot, configured=up.configured)
        for view in self._views[name]:
            view.said_s = None
            if view.fault == "LOST":
                self._set_fault(view, "NONE")
        self._put(_ToJournal(()))  # turns the pipeline, which then renews

    def _went_down(self, name: str) -> None:
        for view in self._views[name]:
            view.commanded = view.measured = view.mismatch_since_s = view.said_s = None

    def _watch_link(self, name: str, now_s: float) -> None:
        if self.boards[name].is_up:
            self._down_since_s[name] = now_s
        elif now_s - self._down_since_s[name] >= LOST_AFTER_S:
            for view in self._views[name]:
                if view.fault != "LOST":
                    self._set_fault(view, "LOST")

    def _reported(self, name: str, report: Output) -> None:
        board, views = self.boards[name], self._views[name]
        if report.output >= len(views) or not {report.commanded, report.measured} <= set(OutputState):
            self.refusals["unknown_output"] += 1
            board.acknowledge(report.seq)
            return
        view = views[report.output]
        before = (view.measured, view.ref)
        view.commanded, view.measured = OutputState(report.commanded), OutputState(report.measured)
        view.ref = report.decision_ref
        self._compare(view)
        if before == (view.measured, view.ref):
            board.acknowledge(report.seq)
        else:
            self._put(_ToJournal((_shown(view),), board, report.seq))

    def _compare(self, view: OutputView) -> None:
        """Commanded and measured may differ while a lamp or an arm moves, not longer."""
        if view.commanded == view.measured:
            view.mismatch_since_s = None
            return
        now_s = self._now_s()
        if view.mismatch_since_s is None:
            view.mismatch_since_s = now_s
        elif now_s - view.mismatch_since_s >= MISMATCH_MS / 1000 and view.fault == "NONE":
            self._set_fault(view, FaultCode.LAMP.name)

    def _faulted(self, name: str, fault: Fault) -> None:
        word = FaultCode(fault.code).name if fault.code in set(FaultCode) else f"FAULT_{fault.code}"
        views = self._views[name]
        about = views if fault.output == WHOLE_DEVICE else views[fault.output : fault.output + 1]
        events = tuple(_fault_event(view, word) for view in about if view.fault != word)
        for view in about:
            view.fault = word
        self._put(_ToJournal(events, self.boards[name], fault.seq))

    def _set_fault(self, view: OutputView, word: str) -> None:
        view.fault = word
        self._put(_ToJournal((_fault_event(view, word),)))

    def _sighted(self, name: str, sighting: Sighting) -> None:
        """A camera never activates alone; what it read is not kept, that it read is."""
        kind = SightingKind(sighting.kind).name if sighting.kind in set(SightingKind) else "OTHER"
        seen_s = sighting.time_ms / 1000 if sighting.time_ms else self._wall_s()
        self._put(_ToJournal((WitnessSeen(name, kind, seen_s),), self.boards[name], sighting.seq))

    def _put(self, item: _ToJournal) -> None:
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            self.unrecorded += 1


def board_of(
    port: SerialTable, outputs: Sequence[OutputTable], wall_s: Callable[[], float], recorder: Recorder | None = None
) -> Board:
    """The device behind a port, by its role, with the outputs that name it; not opened yet."""
    behind = [output for output in outputs if output.device == port.unit]
    if port.role == "modbus":
        from firmware_bridge.modbus_output import RelayBoards  # its library takes 0.3 s of the start

        relays = tuple(_relay(output) for output in behind)
        return RelayBoards(port.path, relays, baud=port.baud, parity=port.parity)
    return DeviceSession(
        port.path,
        tuple(_settings(output) for output in behind),
        baud=port.baud,
        reset_on_open=port.reset_on_open,
        recorder=recorder,
        number=int(wall_s()) % UPTIME_MODULUS,
        wall_s=wall_s,
    )


def places_of(ports: Sequence[SerialTable], outputs: Sequence[OutputTable]) -> dict[str, tuple[Place, ...]]:
    """Outputs of each device, in the order of their numbers."""
    return {port.unit: tuple(_place(output) for output in outputs if output.device == port.unit) for port in ports}


def _place(output: OutputTable) -> Place:
    kind = OutputKind[output.kind.upper()]
    return Place(output.id, kind, output.crossing, output.direction, output.lane)


def _relay(output: OutputTable) -> RelayOutput:
    return RelayOutput(
        _settings(output),
        output.modbus_unit,
        FailSafe(output.fail_safe),
        {OutputState[name]: coil for name, coil in output.coils.items()},
        output.timer_register,
        output.timer_unit_ms,
    )


def _settings(output: OutputTable) -> OutputSettings:
    kind = OutputKind[output.kind.upper()]
    if kind is OutputKind.BARRIER:
        return OutputSettings(kind, OutputState.CLOSED)
    return OutputSettings(kind, OutputState.STOP if output.default == "stop" else OutputState.DEFAULT)


def _shown(view: OutputView) -> OutputShown:
    by = view.decisions.get(view.ref)
    waiting = None if by is None else by.waiting
    assert view.measured is not None and view.commanded is not None
    return OutputShown(
        output=view.place.output,
        crossing=view.place.crossing,
        direction=view.place.direction,
        state=view.measured.name,
        commanded=view.commanded.name,
        decision_ref=view.ref,
        jrn=None if waiting is None else waiting.jrn,
        unit=None if waiting is None else waiting.unit,
        instruction_id=None if waiting is None else waiting.instruction_id,
        version=None if waiting is None else waiting.version,
    )


def _fault_event(view: OutputView, word: str) -> OutputFaulted:
    return OutputFaulted(view.place.output, view.place.crossing, word)
