"""One microcontroller on one serial port: the link over it, the port opened again whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

from firmware_bridge.capture import Direction, Recorder
from firmware_bridge.errors import PortLost, PortUnavailable
from firmware_bridge.link import HostLink, LinkEvent, Phase
from firmware_bridge.outputs import OutputSettings, OutputState
from firmware_bridge.port import SerialPort, open_port
from firmware_bridge.session import GOOD_FOR_S, LinkState, PortState, reopen_wait_s

DeviceEvent: TypeAlias = LinkEvent | PortState


class DeviceSession:
    """Iterate `events()` once; `close()` ends it. Leases go out at once, and are forgotten without a link."""

    def __init__(
        self,
        path: str,
        outputs: tuple[OutputSettings, ...],
        *,
        baud: int = 115_200,
        reset_on_open: bool = False,
        recorder: Recorder | None = None,
        number: int = 0,
        wall_s: Callable[[], float] = time.time,
        now_s: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """`number` tells our own starts apart in the device's log, `wall_s` (UTC) is what it sets its calendar by,
        `recorder` keeps the raw bytes."""
        self.path = path
        self.link = HostLink(outputs, session=number)
        self.state = LinkState.ABSENT
        self.reason = "not opened yet"
        self.reopens = 0
        """Times the port was opened again after it had been lost."""
        self._baud, self._reset_on_open = baud, reset_on_open
        self._wall_s, self._now_s, self._spread = wall_s, now_s, spread
        self._recorder = recorder
        self._port: SerialPort | None = None
        self._closed = asyncio.Event()

    @property
    def is_up(self) -> bool:
        """Whether leases can be said."""
        return self.link.phase is Phase.UP

    def lease(self, output: int, state: OutputState, lease_ms: int, *, decision_ref: int = 0, text: str = "") -> bool:
        """Let an output show a state for so long from now; False without a link."""
        said = self.link.lease(output, state, lease_ms, self._now_s(), decision_ref=decision_ref, text=text)
        self._flush()
        return said

    def watchdog(self, lease_ms: int, *, armed: bool = True) -> bool:
        """Say that the host lives; False without a link or where the device cannot restart it."""
        said = self.link.watchdog(lease_ms, self._now_s(), armed=armed)
        self._flush()
        return said

    def acknowledge(self, seq: int) -> None:
        """What a report asked for is done."""
        self.link.acknowledge(seq)
        self._flush()

    def close(self) -> None:
        """End `events()`; safe to call twice."""
        self._closed.set()
        self.link.closed()
        self.state, self.reason = LinkState.ABSENT, "closed"
        if self._port is not None:
            self._port.close()
        if self._recorder is not None:
            self._recorder.close()

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """What the device says and how the port is, for ever; no error of the port or the bytes ends it."""
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
                async for event in self._while_open(self._port):
                    yield event
                if self._now_s() - opened_s >= GOOD_FOR_S:
                    attempt = 0
            await self._pause(reopen_wait_s(attempt, self._spread()))
            attempt += 1

    async def _while_open(self, port: SerialPort) -> AsyncIterator[DeviceEvent]:
        try:
            if change := self._changed(LinkState.OPEN, ""):
                yield change
            if not self._closed.is_set():
                self.link.opened(self._now_s(), int(self._wall_s() * 1000))
            while self.link.phase is not Phase.CLOSED:
                self._write(port, self.link.to_send())
                for event in await self._next_events(port):
                    yield event
            reason = f"{self.path}: the link is down"
        except PortLost as lost:
            reason = str(lost)
        finally:
            self.link.closed()
            port.close()
        if not self._closed.is_set() and (change := self._changed(LinkState.LOST, reason)):
            yield change

    async def _next_events(self, port: SerialPort) -> list[DeviceEvent]:
        due_s = self.link.due_s()
        wait_s = 0.0 if due_s is None else max(0.0, due_s - self._now_s())
        data = await port.read(wait_s)
        now_s = self._now_s()
        events: list[DeviceEvent] = []
        if data is not None:
            self._record("in", data)
            events += self.link.receive(data, now_s)
        events += self.link.tick(self._now_s())
        return events

    def _flush(self) -> None:
        """Not later than now: a decision does not wait for the reader."""
        data = self.link.to_send()
        if self._port is not None and data:
            with contextlib.suppress(PortLost):  # the port is closed then; its reader says so
                self._write(self._port, data)

    def _write(self, port: SerialPort, data: bytes) -> None:
        if data:
            self._record("out", data)
            port.write(data)

    def _record(self, direction: Direction, data: bytes) -> None:
        if self._recorder is not None:
            self._recorder.record(direction, data, self._now_s())

    def _changed(self, state: LinkState, reason: str) -> PortState | None:
        if (state, reason) == (self.state, self.reason):
            return None
        self.state, self.reason = state, reason
        return PortState(self.path, state, reason)

    async def _pause(self, wait_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._closed.wait()
