"""Many agents as one: their event streams under one rising id, their journeys and states in one list."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import structlog

from agent.web import EventStream, StreamEvent
from simulator.control_room.config import AgentLink

RECONNECT_S = 0.5
SILENT_AFTER_S = 25.0
"""An agent's stream says something at least every 10 s; two missed and the connection is taken for dead."""
ASK_TIMEOUT_S = 2.0
MAX_LINE_BYTES = 1 << 20
_LOG = structlog.get_logger()


@dataclass
class Heard:
    """What one agent's stream has said so far."""

    link: AgentLink
    last_event_id: int | None = None
    last_heard_s: float | None = None
    """Monotonic seconds; None = never."""
    connected: bool = False


@dataclass
class _Message:
    kind: str = "message"
    data: str = ""
    id: str = ""


async def messages(lines: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, str, str] | None]:
    """Server-sent events (kind, data, id) from the lines of a stream; None for a comment, which shows life."""
    message = _Message()
    async for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if message.data:
                yield message.kind, message.data, message.id
            message = _Message(id=message.id)
        elif line.startswith(":"):
            yield None
        else:
            _take(message, *line.partition(":")[::2])


def _take(message: _Message, name: str, value: str) -> None:
    text = value.removeprefix(" ")
    if name == "event":
        message.kind = text
    elif name == "data":
        message.data += text
    elif name == "id":
        message.id = text


@dataclass
class Room:
    """Listens to every agent for as long as `run` runs."""

    links: tuple[AgentLink, ...]
    session: aiohttp.ClientSession
    stream: EventStream = field(default_factory=EventStream)
    _next_id: int = 0

    def __post_init__(self) -> None:
        self._heard = [Heard(link) for link in self.links]

    async def run(self) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as group:
            for heard in self._heard:
                group.create_task(self._listen(heard))

    async def _listen(self, heard: Heard) -> None:
        while True:
            try:
                await self._follow(heard)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                _LOG.debug("agent_stream_lost", agent=heard.link.id, reason=type(error).__name__)
            heard.connected = False
            await asyncio.sleep(RECONNECT_S)

    async def _follow(self, heard: Heard) -> None:
        headers = {} if heard.last_event_id is None else {"Last-Event-ID": str(heard.last_event_id)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ASK_TIMEOUT_S, sock_read=SILENT_AFTER_S)
        async with self.session.get(
            f"{heard.link.url}/v1/events", headers=headers, timeout=timeout, read_bufsize=MAX_LINE_BYTES
        ) as answer:
            answer.raise_for_status()
            heard.connected, heard.last_heard_s = True, time.monotonic()
            async for message in messages(answer.content):
                heard.last_heard_s = time.monotonic()
                if message is not None:
                    self._pass_on(heard, *message)

    def _pass_on(self, heard: Heard, kind: str, data: str, event_id: str) -> None:
        if event_id.isdigit():
            heard.last_event_id = int(event_id)
        self._next_id += 1
        fact = msgspec.json.decode(data)
        fact["agent"] = heard.link.id
        self.stream.publish(StreamEvent(self._next_id, kind, msgspec.json.encode(fact)))

    async def journeys(self, keys: str = "") -> list[dict[str, Any]]:
        """Journeys of all agents; an agent that does not answer is left out (its age shows it)."""
        pages = await asyncio.gather(
            *(self._ask(heard, "/v1/journeys", {"keys": keys}) for heard in self._heard)
        )
        return [
            row | {"agent": heard.link.id}
            for heard, page in zip(self._heard, pages, strict=True)
            if page is not None
            for row in page["journeys"]
        ]

    async def status(self) -> list[dict[str, Any]]:
        """Each agent's status, and how long ago it was last heard."""
        pages = await asyncio.gather(*(self._ask(heard, "/v1/status", {}) for heard in self._heard))
        return [self._described(heard, page) for heard, page in zip(self._heard, pages, strict=True)]

    def _described(self, heard: Heard, page: dict[str, Any] | None) -> dict[str, Any]:
        if page is not None:
            heard.last_heard_s = time.monotonic()
        age_s = None if heard.last_heard_s is None else round(time.monotonic() - heard.last_heard_s, 1)
        known = page or {"mode": "OUT_OF_REACH", "degraded": ["OUT_OF_REACH"]}
        return known | {"agent": heard.link.id, "url": heard.link.url, "heardAgoS": age_s}

    async def _ask(self, heard: Heard, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        try:
            async with self.session.get(
                f"{heard.link.url}{path}", params={k: v for k, v in query.items() if v}, timeout=timeout
            ) as answer:
                answer.raise_for_status()
                return dict(msgspec.json.decode(await answer.read()))
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            _LOG.debug("agent_out_of_reach", agent=heard.link.id, reason=type(error).__name__)
            return None
