"""A TCP proxy that does to a line what lines do: delays, chokes, swallows, cuts, halves and garbles it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

CHUNK_BYTES = 16_384
"""Bytes moved in one go; with a throttle a chunk is as small as a tenth of a second of it."""
THROTTLE_STEP_S = 0.1
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Line:
    """What the line does to everything that passes, both ways; the default is a good line."""

    delay_s: float = 0.0
    """Each chunk comes so much later. Order is kept, as in TCP."""
    jitter_s: float = 0.0
    """Up to so much later still, drawn for each chunk."""
    bytes_per_s: float | None = None
    """At most so many, for each connection and direction."""
    blackhole: bool = False
    """Connections stand and nothing comes through; what was sent meanwhile comes once the line is good again."""
    refuse: bool = False
    """New connections are reset at once."""
    corrupt: float = 0.0
    """Share of chunks in which one byte is changed."""


GOOD = Line()


class FaultProxy:
    """Listens on a port of loopback and passes everything on to another, as `line` says at the time.

    Args:
        target: Host and port that are reached through it.
        host, port: Where to listen; 0 = a free port.
        seed: Of jitter and corruption.
    """

    def __init__(self, target: tuple[str, int], *, host: str = "127.0.0.1", port: int = 0, seed: int = 1) -> None:
        self.host, self.port = host, port
        self.line = GOOD
        self.answered_s: float | None = None
        """When the far side last said anything that came through, monotonic."""
        self.on_answer: Callable[[], None] = lambda: None
        self._target, self._dice = target, random.Random(seed)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._good = asyncio.Event()
        self._good.set()

    @property
    def connections(self) -> int:
        """Connections through it now."""
        return len(self._writers) // 2

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection and listen no more."""
        if self._server is not None:
            self._server.close()
        self.set()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def set(self, line: Line = GOOD) -> None:
        """Change what the line does, for connections that stand too."""
        self.line = line
        (self._good.clear if line.blackhole else self._good.set)()

    def reset(self) -> int:
        """Reset every connection (RST) on both sides; returns how many there were."""
        count = self.connections
        for writer in list(self._writers):
            _reset(writer)
        return count

    def half_close(self) -> None:
        """Say "no more" (FIN) to both sides of every connection, which stays open the other way."""
        for writer in list(self._writers):
            with contextlib.suppress(OSError, RuntimeError):
                writer.write_eof()

    def cut(self) -> None:
        """The line is gone: connections are reset, and no new one comes up."""
        self.set(replace(self.line, refuse=True))
        self.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if not self.line.refuse:
                await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # `stop`; nobody waits for this task but `stop`
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            _reset(writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                far_reader, far_writer = await asyncio.open_connection(*self._target)
        except (OSError, TimeoutError):
            return
        self._writers.add(far_writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer, answers=False))
                group.create_task(self._pump(far_reader, writer, answers=True))
        except* OSError:
            pass  # one side has gone; both then go
        finally:
            self._writers.discard(far_writer)
            _reset(far_writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        """One direction, until its end; an end of file is passed on."""
        while data := await reader.read(self._chunk_bytes()):
            await self._hold(len(data))
            writer.write(self._garbled(data))
            await writer.drain()
            if answers:
                self.answered_s = time.monotonic()
                self.on_answer()
        await self._good.wait()
        with contextlib.suppress(RuntimeError):  # half closed before
            writer.write_eof()

    def _chunk_bytes(self) -> int:
        rate = self.line.bytes_per_s
        return CHUNK_BYTES if rate is None else max(1, min(CHUNK_BYTES, int(rate * THROTTLE_STEP_S)))

    async def _hold(self, size: int) -> None:
        """Wait as long as the line takes for so many bytes."""
        line = self.line
        wait_s = line.delay_s + line.jitter_s * self._dice.random()
        if line.bytes_per_s is not None:
            wait_s += size / line.bytes_per_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await self._good.wait()

    def _garbled(self, data: bytes) -> bytes:
        if self._dice.random() >= self.line.corrupt:
            return data
        changed = bytearray(data)
        changed[self._dice.randrange(len(changed))] ^= 1 << self._dice.randrange(8)
        return bytes(changed)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close without a goodbye: the other side gets RST."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
