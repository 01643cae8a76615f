"""Many agents as one: their event streams under one rising id, their journeys and states in one list."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec
import structlog
from yarl import URL

from agent.web import EventStream, StreamEvent
from simulator.control_room.config import AgentLink

RECONNECT_S = 0.5
SILENT_AFTER_S = 25.0
"""An agent's stream says something at least every 10 s; two missed and the connection is taken for dead."""
CONNECT_TIMEOUT_S = 2.0
STATUS_TIMEOUT_S = 1.0
"""Short, so that watchers are told within 3 s that an agent is out of reach (design/experience.md section 11)."""
JOURNEYS_TIMEOUT_S = 5.0
ORDER_TIMEOUT_S = 20.0
"""A part that is started or a zone set that is swapped takes a while."""
OUT_OF_REACH = "OUT_OF_REACH"
"""Mode of an agent that does not answer."""
MAX_LINE_BYTES = 1 << 20
MAX_ANSWER_BYTES = 64 << 20
"""Of one answer that is passed on."""
MAX_DATA_CHARACTERS = 1 << 20
"""Of one message, over all its data lines."""
_LOG = structlog.get_logger()


@dataclass(frozen=True)
class Forwarded:
    """An agent's answer, as it is."""

    status: int
    media_type: str
    body: bytes
    disposition: str | None = None


class StreamError(ValueError):
    """An agent's stream is not one of server-sent events with JSON objects; the connection is given up."""


@dataclass
class Heard:
    """What one agent's stream has said so far."""

    link: AgentLink
    last_event_id: int | None = None
    last_heard_s: float | None = None
    """Monotonic seconds at which what is shown of it was last known to be so; None = never."""
    connected: bool = False


@dataclass
class _Message:
    kind: str = "message"
    lines: list[str] = field(default_factory=list)
    length: int = 0
    id: str = ""


async def messages(lines: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, str, str] | None]:
    """Server-sent events (kind, data, id) from the lines of a stream; None for a comment, which shows life.

    As in the HTML standard, section 9.2.6, for lines that end in LF or CRLF. A message that the end of the
    stream cuts off is dropped.

    Raises:
        StreamError: one message is longer than `MAX_DATA_CHARACTERS`.
    """
    message = _Message()
    async for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\n").removesuffix("\r")
        if not line:
            if message.lines:
                yield message.kind, "\n".join(message.lines), message.id
            message = _Message(id=message.id)
        elif line.startswith(":"):
            yield None
        else:
            _take(message, *line.partition(":")[::2])


def _take(message: _Message, name: str, value: str) -> None:
    text = value.removeprefix(" ")
    if name == "event":
        message.kind = text or "message"
    elif name == "data":
        message.length += len(text) + 1
        if message.length > MAX_DATA_CHARACTERS:
            raise StreamError(f"message of over {MAX_DATA_CHARACTERS} characters")
        message.lines.append(text)
    elif name == "id" and "\0" not in text:
        message.id = text


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """The body of an answer.

    Raises:
        aiohttp.ClientPayloadError: it is longer than `MAX_ANSWER_BYTES`.
    """
    parts, size = [], 0
    async for part in answer.content.iter_chunked(MAX_LINE_BYTES):
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError(f"answer of over {MAX_ANSWER_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Room:
    """Listens to every agent for as long as `run` runs."""

    links: tuple[AgentLink, ...]
    session: aiohttp.ClientSession
    stream: EventStream = field(default_factory=EventStream)
    heard: Callable[[str, str, dict[str, Any]], None] = lambda _agent, _kind, _fact: None
    """Is told every event: agent, kind, fact; must not wait."""
    refused: int = 0
    """Events of agents that could not be read."""
    _next_id: int = field(default_factory=_wall_ms)
    """Starts at the wall clock, so that ids rise over restarts: browsers resume above the last id they have."""

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
            self._tell_link(heard, connected=False)
            await asyncio.sleep(RECONNECT_S)

    async def _follow(self, heard: Heard) -> None:
        headers = {} if heard.last_event_id is None else {"Last-Event-ID": str(heard.last_event_id)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENT_AFTER_S)
        async with self.session.get(
            f"{heard.link.url}/v1/events", headers=headers, timeout=timeout, read_bufsize=MAX_LINE_BYTES
        ) as answer:
            answer.raise_for_status()
            self._tell_link(heard, connected=True)
            async for message in messages(answer.content):
                heard.last_heard_s = time.monotonic()
                if message is not None:
                    self._pass_on(heard, *message)

    def _tell_link(self, heard: Heard, connected: bool) -> None:
        """Watchers read the journeys anew when an agent comes back: its history is bounded."""
        if connected:
            heard.last_heard_s = time.monotonic()
        if connected is heard.connected:
            return
        heard.connected = connected
        self._publish("link", {"connected": connected}, heard)

    def _pass_on(self, heard: Heard, kind: str, data: str, event_id: str) -> None:
        if event_id.isascii() and event_id.isdigit():
            heard.last_event_id = int(event_id)
        try:
            fact = msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            self.refused += 1
            _LOG.warning("agent_event_refused", agent=heard.link.id, event_id=event_id[:20], reason=str(error))
            return
        self._publish(kind, fact, heard)

    def _publish(self, kind: str, fact: dict[str, Any], heard: Heard) -> None:
        self.tell(kind, fact | {"agent": heard.link.id})
        self.heard(heard.link.id, kind, fact)

    def tell(self, kind: str, fact: dict[str, Any]) -> None:
        """An event of the control room itself, or one of an agent's, to every browser."""
        self._next_id += 1
        self.stream.publish(StreamEvent(self._next_id, kind, msgspec.json.encode(fact)))

    async def journeys(self, keys: str = "") -> tuple[list[dict[str, Any]], list[str]]:
        """Journeys of all agents, and the agents that did not answer.

        Args:
            keys: Keys, jrns or units, separated by commas; empty = all.
        """
        pages = await asyncio.gather(
            *(self._ask(heard, "/v1/journeys", JOURNEYS_TIMEOUT_S, keys) for heard in self._heard)
        )
        answers = list(zip(self._heard, pages, strict=True))
        rows = [
            row | {"agent": heard.link.id}
            for heard, page in answers
            if page is not None
            for row in page.get("journeys", ())
        ]
        return rows, [heard.link.id for heard, page in answers if page is None]

    async def status(self) -> list[dict[str, Any]]:
        """Each agent's status, and how old what is known of it is (`heardAgoS`, None = never heard)."""
        pages = await asyncio.gather(*(self._ask(heard, "/v1/status", STATUS_TIMEOUT_S) for heard in self._heard))
        return [self._described(heard, page) for heard, page in zip(self._heard, pages, strict=True)]

    def _described(self, heard: Heard, page: dict[str, Any] | None) -> dict[str, Any]:
        if page is not None and heard.connected:  # without its stream, changes would go unseen
            heard.last_heard_s = time.monotonic()
        age_s = None if heard.last_heard_s is None else round(time.monotonic() - heard.last_heard_s, 1)
        known = page or {"mode": OUT_OF_REACH, "degraded": [OUT_OF_REACH]}
        return known | {
            "agent": heard.link.id,
            "url": heard.link.url,
            "connected": heard.connected,
            "heardAgoS": age_s,
        }

    async def rows(self, agent: str, keys: frozenset[str]) -> list[dict[str, Any]] | None:
        """Rows of one agent; None if it does not answer."""
        page = await self._ask(self._of(agent), "/v1/journeys", JOURNEYS_TIMEOUT_S, ",".join(sorted(keys)))
        return None if page is None else [row for row in page.get("journeys", ()) if isinstance(row, dict)]

    async def pages(self, path: str) -> list[tuple[str, dict[str, Any] | None]]:
        """What each agent answers to a call; None where it does not."""
        pages = await asyncio.gather(*(self._ask(heard, path, JOURNEYS_TIMEOUT_S) for heard in self._heard))
        return [(heard.link.id, page) for heard, page in zip(self._heard, pages, strict=True)]

    async def positions(self, agent: str) -> bytes | None:
        """An agent's frame of positions; None if it does not answer."""
        answer = await self.forward(agent, "GET", "/v1/positions.bin", STATUS_TIMEOUT_S)
        return answer.body if answer is not None and answer.status == HTTPStatus.OK else None

    async def forward(
        self, agent: str, method: str, path: str, timeout_s: float = JOURNEYS_TIMEOUT_S, body: bytes | None = None
    ) -> Forwarded | None:
        """Pass a call on to an agent; None if it does not answer.

        Args:
            agent: Its id.
            method: GET or POST.
            path: Encoded, with query.
            timeout_s: Wall seconds.
            body: JSON.
        """
        return await self._call(f"{self._of(agent).link.url}{path}", method, timeout_s, body)

    async def order(self, url: str, body: bytes) -> Forwarded | None:
        """Pass an order on to the scenario; None if it does not answer."""
        return await self._call(f"{url}/v1/scenario", "POST", ORDER_TIMEOUT_S, body)

    async def _call(self, address: str, method: str, timeout_s: float, body: bytes | None) -> Forwarded | None:
        headers = {} if body is None else {"Content-Type": "application/json"}
        timeout, url = aiohttp.ClientTimeout(total=timeout_s), URL(address, encoded=True)
        try:
            async with self.session.request(method, url, data=body, headers=headers, timeout=timeout) as answer:
                content = await _bounded(answer)
                return Forwarded(answer.status, answer.content_type, content, answer.headers.get("Content-Disposition"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _LOG.debug("out_of_reach", url=url.host, reason=type(error).__name__)
            return None

    def _of(self, agent: str) -> Heard:
        return next(heard for heard in self._heard if heard.link.id == agent)

    async def _ask(self, heard: Heard, path: str, timeout_s: float, keys: str = "") -> dict[str, Any] | None:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        params = {"keys": keys} if keys else {}
        try:
            async with self.session.get(f"{heard.link.url}{path}", params=params, timeout=timeout) as answer:
                answer.raise_for_status()
                return msgspec.json.decode(await answer.read(), type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            _LOG.debug("agent_out_of_reach", agent=heard.link.id, reason=type(error).__name__)
            return None
