"""A serial port that is opened again whenever it is lost; what is said over it is for the subclass."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from firmware_bridge.capture import Recorder
from firmware_bridge.errors import PortLost, PortUnavailable
from firmware_bridge.port import SerialPort, open_port

REOPEN_FIRST_S = 0.2
REOPEN_MOST_S = 0.8
"""Waits between two attempts, doubling: a port that returns is open again within a second."""
REOPEN_SPREAD = 0.2
"""Share by which a wait is drawn longer or shorter, so that many ports do not try in step."""
GOOD_FOR_S = 10.0
"""Good for so long makes the next wait the first again."""

T = TypeVar("T")


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


class ReopenedPort(ABC, Generic[T]):
    """One port, for ever: tried again after ever longer waits, its state told when it changes.

    Args:
        path, baud, reset_on_open: The port, as `open_port` takes it.
        recorder: Keeps the raw bytes; closed with the port.
        now_s: Monotonic clock.
        spread: Draws from 0 to 1.
    """

    def __init__(
        self,
        path: str,
        *,
        baud: int,
        reset_on_open: bool,
        recorder: Recorder | None,
        now_s: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.path = path
        self.state = LinkState.ABSENT
        self.reason = "not opened yet"
        self.reopens = 0
        """Times the port was opened again after it had been lost."""
        self._baud, self._reset_on_open = baud, reset_on_open
        self._recorder = recorder
        self._now_s, self._spread = now_s, spread
        self._port: SerialPort | None = None
        self._closed = asyncio.Event()

    def close(self) -> None:
        """End the iteration and give the port back; safe to call twice."""
        self._closed.set()
        self.state, self.reason = LinkState.ABSENT, "closed"
        if self._port is not None:
            self._port.close()
        if self._recorder is not None:
            self._recorder.close()

    @abstractmethod
    def _opened(self) -> None:
        """The port is open: begin anew."""

    @abstractmethod
    async def _round(self, port: SerialPort, opened_s: float) -> Iterable[T] | None:
        """What the port says next; None = open it again although it is there. Raises PortLost."""

    @abstractmethod
    def _left(self) -> None:
        """The port is lost or closed."""

    @abstractmethod
    def _good_for_s(self, opened_s: float) -> float:
        """How long it has worked since it was opened, seconds."""

    async def _for_ever(self) -> AsyncIterator[T | PortState]:
        """What the port says and how it is; no error of the port or the bytes ends it, only `close`."""
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
                if self._good_for_s(opened_s) >= GOOD_FOR_S:
                    attempt = 0
            await self._pause(reopen_wait_s(attempt, self._spread()))
            attempt += 1

    async def _while_open(self, port: SerialPort, opened_s: float) -> AsyncIterator[T | PortState]:
        try:
            if change := self._changed(LinkState.OPEN, ""):
                yield change
            if not self._closed.is_set():
                self._opened()
            while (items := await self._round(port, opened_s)) is not None:
                for item in items:
                    yield item
            reason = f"{self.path}: the link is down"
        except PortLost as lost:
            reason = str(lost)
        finally:
            self._left()
            port.close()
        if not self._closed.is_set() and (change := self._changed(LinkState.LOST, reason)):
            yield change

    def _changed(self, state: LinkState, reason: str) -> PortState | None:
        if (state, reason) == (self.state, self.reason):
            return None
        self.state, self.reason = state, reason
        return PortState(self.path, state, reason)

    async def _pause(self, wait_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._closed.wait()


def reopen_wait_s(attempt: int, spread: float) -> float:
    """Wait before the next attempt, seconds: 0.2 doubling to 0.8, drawn within 20 % by `spread` (0 to 1)."""
    wait_s = min(REOPEN_MOST_S, REOPEN_FIRST_S * 2.0 ** min(attempt, 10))
    return wait_s * (1.0 + REOPEN_SPREAD * (2.0 * spread - 1.0))
