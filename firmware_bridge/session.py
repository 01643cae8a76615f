"""One receiver on one serial port: reports as they come, the port opened again whenever it is lost."""

from __future__ import annotations

import asyncio
import enum
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol, TypeAlias

import msgspec

from firmware_bridge.capture import Recorder
from firmware_bridge.clock_check import ClockWatch
from firmware_bridge.errors import PortLost, PortUnavailable
from firmware_bridge.gnss import GnssDecoder
from firmware_bridge.messages import Event, PositionReport, Refusal
from firmware_bridge.port import SerialPort, open_port

REOPEN_FIRST_S = 0.2
REOPEN_MOST_S = 0.8
"""Waits between two attempts, doubling: a port that returns is open again within a second."""
REOPEN_SPREAD = 0.2
"""Share by which a wait is drawn longer or shorter, so that many ports do not try in step."""
GOOD_FOR_S = 10.0
"""Good data for so long makes the next wait the first again."""
SILENT_AFTER_S = 3.0
"""A receiver without a valid frame for so long is opened again: a half-dead USB adapter reports no error."""


class LinkState(enum.Enum):
    """What the port is doing."""

    OPEN = "open"
    LOST = "lost"
    """Was open, went away."""
    ABSENT = "absent"
    """Could not be opened; the reason says why."""


class PortState(msgspec.Struct, frozen=True):
    """The port has changed its state."""

    path: str
    state: LinkState
    reason: str = ""
    """For people: why it is lost or absent."""


Item: TypeAlias = PositionReport | Refusal | PortState


class LiveDecoder(Protocol):
    """A decoder fed by a live port; `GnssDecoder(live=True)` is one."""

    @property
    def frames(self) -> int:
        """Frames with a right checksum so far."""
        ...

    @property
    def noise_bytes(self) -> int:
        """Bytes that belonged to no frame."""
        ...

    def feed(self, data: bytes, now_s: float) -> list[Event]:
        """Events these bytes complete."""
        ...

    def due_s(self) -> float | None:
        """When `tick` is next needed."""
        ...

    def tick(self, now_s: float) -> list[Event]:
        """Events that fall due by time."""
        ...


def _gnss() -> LiveDecoder:
    return GnssDecoder(live=True)


class SerialSource:
    """One receiver on one port. Iterate `items()` once; `close()` ends it.

    Refusals come without the refused bytes, which may hold a position; reports are numbered from 1, across
    reopenings.
    """

    def __init__(
        self,
        path: str,
        *,
        baud: int = 115_200,
        unit: str | None = None,
        reset_on_open: bool = False,
        silent_after_s: float = SILENT_AFTER_S,
        decoder: Callable[[], LiveDecoder] = _gnss,
        recorder: Recorder | None = None,
        wall_s: Callable[[], float] = time.time,
        now_s: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """`wall_s` (UTC) is what GNSS dates are checked against, `now_s` (monotonic) what silence is measured
        by, `spread` draws from 0 to 1; `recorder` keeps the raw bytes."""
        self.path = path
        self.unit = unit
        self.state = LinkState.ABSENT
        self.reason = "not opened yet"
        self.reopens = 0
        """Times the port was opened again after it had been lost."""
        self.refusals: Counter[str] = Counter()
        self.reports = 0
        self.clock = ClockWatch()
        self._baud, self._reset_on_open, self._silent_after_s = baud, reset_on_open, silent_after_s
        self._new_decoder, self._decoder = decoder, decoder()
        self._wall_s, self._now_s, self._spread = wall_s, now_s, spread
        self._noise_before, self._frames_before = 0, 0
        self._last_frame_s: float | None = None
        self._recorder = recorder
        self._port: SerialPort | None = None
        self._closed = asyncio.Event()

    @property
    def noise_bytes(self) -> int:
        """Bytes that belonged to no frame, since the start."""
        return self._noise_before + self._decoder.noise_bytes

    @property
    def frames(self) -> int:
        """Frames with a right checksum, since the start."""
        return self._frames_before + self._decoder.frames

    def last_frame_age_s(self, now_s: float) -> float | None:
        """Seconds since the last frame with a right checksum (monotonic clock); None before the first."""
        return None if self._last_frame_s is None else max(0.0, now_s - self._last_frame_s)

    def close(self) -> None:
        """End `items()`; safe to call twice."""
        self._closed.set()
        self.state, self.reason = LinkState.ABSENT, "closed"
        if self._port is not None:
            self._port.close()
        if self._recorder is not None:
            self._recorder.close()

    async def items(self) -> AsyncIterator[Item]:
        """Reports, refusals and changes of the port, for ever; no error of the port or the bytes ends it."""
        attempt, opened_before = 0, False
        while not self._closed.is_set():
            try:
                self._port = await open_port(self.path, self._baud, reset_on_open=self._reset_on_open)
            except PortUnavailable as error:
                if change := self._changed(LinkState.ABSENT, str(error)):
                    yield change
            else:
                self.reopens += opened_before
                opened_before, opened_s = True, self._now_s()
                async for item in self._while_open(self._port, opened_s):
                    yield item
                if self._last_frame_s is not None and self._last_frame_s - opened_s >= GOOD_FOR_S:
                    attempt = 0
            await self._pause(reopen_wait_s(attempt, self._spread()))
            attempt += 1

    async def _while_open(self, port: SerialPort, opened_s: float) -> AsyncIterator[Item]:
        self._forget_line()
        try:
            if change := self._changed(LinkState.OPEN, ""):
                yield change
            while True:
                for item in await self._next_items(port, opened_s):
                    yield item
        except PortLost as lost:
            reason = str(lost)
        finally:
            port.close()
        if not self._closed.is_set() and (change := self._changed(LinkState.LOST, reason)):
            yield change

    async def _next_items(self, port: SerialPort, opened_s: float) -> Iterator[Item]:
        silent_s = max(opened_s, self._last_frame_s or opened_s) + self._silent_after_s
        due_s = min(silent_s, self._decoder.due_s() or silent_s)
        data = await port.read(max(0.0, due_s - self._now_s()))
        now_s = self._now_s()
        if data is None:
            if now_s >= silent_s:
                raise PortLost(self.path, f"no valid frame for {self._silent_after_s:g} s")
            return self._checked(self._decoder.tick(now_s))
        if self._recorder is not None:
            self._recorder.record("in", data, now_s)
        frames = self._decoder.frames
        events = self._decoder.feed(data, now_s)
        if self._decoder.frames > frames:
            self._last_frame_s = now_s
        elif now_s >= silent_s:
            raise PortLost(self.path, f"only noise for {self._silent_after_s:g} s")
        return self._checked(events)

    def _checked(self, events: list[Event]) -> Iterator[Item]:
        """One after the other as they are taken, so that counts and alarm are those of the item handed out."""
        return map(self._check, events)

    def _check(self, event: Event) -> Item:
        """The report with unit and number, or why not; a refusal without its bytes."""
        if isinstance(event, PositionReport):
            wrong = None if event.fix_time_ms is None else self.clock.check(event.fix_time_ms, self._wall_s())
            if wrong is None:
                self.reports += 1
                return msgspec.structs.replace(event, unit=event.unit or self.unit, seq=self.reports)
            event = wrong
        self.refusals[event.reason] += 1
        return Refusal(event.reason, event.detail)

    def _forget_line(self) -> None:
        """Half a frame from before the loss is worth nothing: start with a fresh decoder."""
        self._noise_before, self._frames_before = self.noise_bytes, self.frames
        self._decoder = self._new_decoder()

    def _changed(self, state: LinkState, reason: str) -> PortState | None:
        if (state, reason) == (self.state, self.reason):
            return None
        self.state, self.reason = state, reason
        return PortState(self.path, state, reason)

    async def _pause(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._closed.wait()
        except TimeoutError:
            pass


def reopen_wait_s(attempt: int, spread: float) -> float:
    """Wait before the next attempt, seconds: 0.2 doubling to 0.8, drawn within 20 % by `spread` (0 to 1)."""
    wait_s = min(REOPEN_MOST_S, REOPEN_FIRST_S * 2.0 ** min(attempt, 10))
    return wait_s * (1.0 + REOPEN_SPREAD * (2.0 * spread - 1.0))
