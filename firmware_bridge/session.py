"""One receiver on one serial port: reports as they come, the port opened again whenever it is lost."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol, TypeAlias

import msgspec

from firmware_bridge.capture import Recorder
from firmware_bridge.clock_check import ClockWatch
from firmware_bridge.errors import PortLost
from firmware_bridge.gnss import GnssDecoder
from firmware_bridge.messages import Event, PositionReport, Refusal
from firmware_bridge.port import SerialPort
from firmware_bridge.reopening import PortState, ReopenedPort

SILENT_AFTER_S = 3.0
"""A receiver without a valid frame for so long is opened again: a half-dead USB adapter reports no error."""


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


class SerialSource(ReopenedPort[PositionReport | Refusal]):
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
        super().__init__(path, baud=baud, reset_on_open=reset_on_open, recorder=recorder, now_s=now_s, spread=spread)
        self.unit = unit
        self.refusals: Counter[str] = Counter()
        self.reports = 0
        self.clock = ClockWatch()
        self._silent_after_s = silent_after_s
        self._new_decoder, self._decoder = decoder, decoder()
        self._wall_s = wall_s
        self._noise_before, self._frames_before = 0, 0
        self._last_frame_s: float | None = None

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

    def items(self) -> AsyncIterator[Item]:
        """Reports, refusals and changes of the port, for ever; no error of the port or the bytes ends it."""
        return self._for_ever()

    def _opened(self) -> None:
        """Half a frame from before the loss is worth nothing: start with a fresh decoder."""
        self._noise_before, self._frames_before = self.noise_bytes, self.frames
        self._decoder = self._new_decoder()

    def _left(self) -> None:
        """Nothing is held that the next opening does not begin anew."""

    def _good_for_s(self, opened_s: float) -> float:
        return 0.0 if self._last_frame_s is None else self._last_frame_s - opened_s

    async def _round(self, port: SerialPort, opened_s: float) -> Iterator[PositionReport | Refusal]:
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

    def _checked(self, events: list[Event]) -> Iterator[PositionReport | Refusal]:
        """One after the other as they are taken, so that counts and alarm are those of the item handed out."""
        return map(self._check, events)

    def _check(self, event: Event) -> PositionReport | Refusal:
        """The report with unit and number, or why not; a refusal without its bytes."""
        if isinstance(event, PositionReport):
            wrong = None if event.fix_time_ms is None else self.clock.check(event.fix_time_ms, self._wall_s())
            if wrong is None:
                self.reports += 1
                return msgspec.structs.replace(event, unit=event.unit or self.unit, seq=self.reports)
            event = wrong
        self.refusals[event.reason] += 1
        return Refusal(event.reason, event.detail)
