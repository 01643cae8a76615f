"""The fault proxy does to a connection what it says, and nothing when it says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from simulator.faults import FaultProxy, Line

PATIENCE_S = 10.0
SILENT_S = 0.3
"""What has not come after so long is held back."""


class Echo:
    """Says back what it hears, and how each of its connections ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.heard = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                self.heard += data
                writer.write(data)
                await writer.drain()
            self.ends.append("EOF")
            await asyncio.sleep(0)
        except OSError:
            self.ends.append("RST")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    between = FaultProxy(server.sockets[0].getsockname())
    await between.start()
    try:
        yield between
    finally:
        await between.stop()
        server.close()
        await server.wait_closed()


class Caller:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, data: bytes) -> bytes:
        self.writer.write(data)
        await self.writer.drain()
        return await self.hear(len(data))

    async def hear(self, size: int, patience_s: float = PATIENCE_S) -> bytes:
        async with asyncio.timeout(patience_s):
            return await self.reader.readexactly(size)


@contextlib.asynccontextmanager
async def calling(proxy: FaultProxy) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def settled(look, what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < end_s, what
        await asyncio.sleep(0.005)


async def test_a_good_line_passes_everything_both_ways(proxy: FaultProxy, echo: Echo) -> None:
    data = bytes(range(256)) * 2_000
    async with calling(proxy) as one, calling(proxy) as two:
        assert await one.ask(data) == data
        assert await two.ask(b"second") == b"second"
        assert proxy.connections == 2 and proxy.answered_s is not None
    await settled(lambda: echo.ends == ["EOF", "EOF"], "the end of the calls comes through")
    await settled(lambda: proxy.connections == 0, "nothing is left")


async def test_an_end_of_file_passes_and_the_other_way_stays_open(proxy: FaultProxy) -> None:
    async with calling(proxy) as caller:
        caller.writer.write(b"all")
        caller.writer.write_eof()
        assert await caller.hear(3) == b"all"
        assert await caller.reader.read() == b""


async def test_delay_and_throttle_take_their_time(proxy: FaultProxy) -> None:
    async with calling(proxy) as caller:
        proxy.set(Line(delay_s=0.1, jitter_s=0.05))
        began_s = time.monotonic()
        assert await caller.ask(b"x") == b"x"
        assert time.monotonic() - began_s >= 0.2, "once each way"
        proxy.set(Line(bytes_per_s=10_000))
        began_s = time.monotonic()
        assert await caller.ask(b"y" * 3_000) == b"y" * 3_000
        assert time.monotonic() - began_s >= 0.3
        proxy.set()
        assert await caller.ask(b"z") == b"z"


async def test_a_black_hole_holds_everything_and_lets_it_go_again(proxy: FaultProxy) -> None:
    async with calling(proxy) as caller:
        await caller.ask(b"before")
        proxy.set(Line(blackhole=True))
        caller.writer.write(b"lost?")
        with pytest.raises(TimeoutError):
            await caller.hear(5, SILENT_S)
        async with calling(proxy) as other:  # new connections stand, too
            other.writer.write(b"hello")
            with pytest.raises(TimeoutError):
                await other.hear(5, SILENT_S)
        proxy.set()
        assert await caller.hear(5) == b"lost?"


async def test_a_cut_line_resets_what_stands_and_refuses_what_comes(proxy: FaultProxy, echo: Echo) -> None:
    async with calling(proxy) as caller:
        await caller.ask(b"before")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await caller.hear(1)
    await settled(lambda: echo.ends == ["RST"], "the far side is reset, too")
    async with calling(proxy) as caller:
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await caller.ask(b"again")
    proxy.set()
    async with calling(proxy) as caller:
        assert await caller.ask(b"back") == b"back"


async def test_half_closed_both_sides_hear_the_end(proxy: FaultProxy, echo: Echo) -> None:
    async with calling(proxy) as caller:
        await caller.ask(b"before")
        proxy.half_close()
        assert await asyncio.wait_for(caller.reader.read(), PATIENCE_S) == b""
        await settled(lambda: echo.ends == ["EOF"], "the far side hears the end")


async def test_corruption_changes_one_bit_and_no_length(proxy: FaultProxy, echo: Echo) -> None:
    data = bytes(4_000)
    async with calling(proxy) as caller:
        proxy.set(Line(corrupt=1.0))
        answer = await caller.ask(data)
    changed = [byte for byte in echo.heard if byte]
    assert len(echo.heard) == len(answer) == len(data)
    assert changed and all(byte.bit_count() == 1 for byte in changed)


async def test_a_target_that_is_away_ends_the_call_and_nothing_else() -> None:
    proxy = FaultProxy(("127.0.0.1", 1))
    await proxy.start()
    try:
        for _ in range(2):
            async with calling(proxy) as caller:
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    await caller.ask(b"anyone?")
        await settled(lambda: proxy.connections == 0, "nothing is left")
    finally:
        await proxy.stop()


async def test_it_stops_while_connections_hang(proxy: FaultProxy) -> None:
    async with calling(proxy) as caller:
        await caller.ask(b"x")
        proxy.set(Line(blackhole=True))
        caller.writer.write(b"held")
        async with asyncio.timeout(PATIENCE_S):
            await proxy.stop()
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await caller.hear(4)
