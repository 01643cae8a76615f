"""One microcontroller on one serial port: the link over it, the port opened again whenever it is lost."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

from firmware_bridge.capture import Direction, Recorder
from firmware_bridge.errors import PortLost
from firmware_bridge.link import HostLink, LinkEvent, Phase
from firmware_bridge.outputs import OutputSettings, OutputState
from firmware_bridge.port import SerialPort
from firmware_bridge.reopening import PortState, ReopenedPort

DeviceEvent: TypeAlias = LinkEvent | PortState


class DeviceSession(ReopenedPort[LinkEvent]):
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
        super().__init__(path, baud=baud, reset_on_open=reset_on_open, recorder=recorder, now_s=now_s, spread=spread)
        self.link = HostLink(outputs, session=number)
        self._wall_s = wall_s

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
        self.link.closed()
        super().close()

    def events(self) -> AsyncIterator[DeviceEvent]:
        """What the device says and how the port is, for ever; no error of the port or the bytes ends it."""
        return self._for_ever()

    def _opened(self) -> None:
        self.link.opened(self._now_s(), int(self._wall_s() * 1000))

    def _left(self) -> None:
        self.link.closed()

    def _good_for_s(self, opened_s: float) -> float:
        return self._now_s() - opened_s

    async def _round(self, port: SerialPort, opened_s: float) -> list[LinkEvent] | None:
        if self.link.phase is Phase.CLOSED:
            return None
        self._write(port, self.link.to_send())
        return await self._next_events(port)

    async def _next_events(self, port: SerialPort) -> list[LinkEvent]:
        due_s = self.link.due_s()
        wait_s = 0.0 if due_s is None else max(0.0, due_s - self._now_s())
        data = await port.read(wait_s)
        now_s = self._now_s()
        events: list[LinkEvent] = []
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
