"""The other side of the agent's outward connections: a customs service and a broker that do as they are told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer

WAIT_S = 10.0
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    path: str
    query: str
    key: str | None
    body: bytes
    headers: dict[str, str]


@dataclass
class Seen:
    """A list that can be waited for."""

    items: list[object] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def add(self, item: object) -> None:
        async with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    async def until(self, true: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(true)


def says(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    """Answers with exactly this."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named, content_type="application/json")

    return answer


async def cuts(request: web.Request) -> web.StreamResponse:
    """Closes the connection without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


class Held:
    """Answers only once it is let go."""

    def __init__(self, then: Answer | None = None) -> None:
        self.then = then or says(200)
        self._go = asyncio.Event()

    def let_go(self) -> None:
        self._go.set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        await self._go.wait()
        return await self.then(request)


class Customs:
    """Takes every POST; `then` are its next answers, afterwards `always`."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.then: deque[Answer] = deque()
        self.always: Answer = says(200)
        self.url = ""

    @property
    def asked(self) -> list[Asked]:
        return [one for one in self.seen.items if isinstance(one, Asked)]

    async def until(self, count: int) -> list[Asked]:
        await self.seen.until(lambda: len(self.asked) >= count)
        return self.asked

    async def _take(self, request: web.Request) -> web.StreamResponse:
        answer = self.then.popleft() if self.then else self.always
        body = await request.read()
        await self.seen.add(
            Asked(
                request.path, request.query_string, request.headers.get("Idempotency-Key"), body, dict(request.headers)
            )
        )
        return await answer(request)


@asynccontextmanager
async def customs_service() -> AsyncIterator[Customs]:
    customs = Customs()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", customs._take)
    server = TestServer(app)
    await server.start_server(shutdown_timeout=0.1)
    customs.url = str(server.make_url(""))
    try:
        yield customs
    finally:
        await server.close()


@dataclass(frozen=True)
class Published:
    """One message that a client published."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Broker:
    """Just enough of MQTT 3.1.1 to take publishes, and to be silent or gone when a test wants it."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.silent = False
        """Takes messages and says nothing."""
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def published(self) -> list[Published]:
        return [one for one in self.seen.items if isinstance(one, Published)]

    async def until(self, count: int) -> list[Published]:
        await self.seen.until(lambda: len(self.published) >= count)
        return self.published

    def drop_all(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()

    async def all_gone(self) -> None:
        """Every connection is closed to the last callback: what stays open here would warn in a later test."""
        while self._connections:
            self.drop_all()
            await asyncio.wait(self._connections)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await self._packet(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _packet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = (await reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        body = await reader.readexactly(length)
        match first >> 4:
            case 1:
                writer.write(b"\x20\x02\x00\x00")
            case 3:
                await self._publish(first, body, writer)
            case 12:
                writer.write(b"\xd0\x00")
            case 14:
                raise ConnectionError("goodbye")

    async def _publish(self, first: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(body[:2], "big")
        topic, rest, qos = body[2 : 2 + size].decode(), body[2 + size :], (first >> 1) & 3
        payload = rest[2:] if qos else rest
        await self.seen.add(Published(topic, payload, qos, bool(first & 1)))
        if qos and not self.silent:
            writer.write(b"\x40\x02" + rest[:2])


@asynccontextmanager
async def mqtt_broker() -> AsyncIterator[Broker]:
    broker = Broker()
    server = await asyncio.start_server(broker.accept, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        await broker.all_gone()
