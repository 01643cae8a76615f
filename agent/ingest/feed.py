"""Journeys from customs by marker; reference data."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Self

import aiohttp
import msgspec
import structlog

from agent.clock import Clock
from agent.domain.declaration import FeedPage, FeedRow
from agent.errors import LinkError, PeerError
from agent.ingest.wire import Refused, refused

LIMIT = 1_000
"""Rows of one page (contract section 7)."""
MAX_PAGE_BYTES = 64 << 20
"""1,000 journeys of 100 declarations stay under it."""
RETRY_MIN_S, RETRY_MAX_S = 0.5, 10.0
"""Doubling, with 20 % jitter; shorter than the outbox's 60 s, as a journey may be near the border."""
FEED_PATH = "/v1/transport-declarations"
REFERENCE_PATH = "/v1/reference-data"


class _PageOnWire(msgspec.Struct, frozen=True):
    """A page with rows undecoded, so that one bad row does not hold up the others."""

    marker: int
    rows: tuple[msgspec.Raw, ...] = ()


log = structlog.get_logger()


def decode_page(body: bytes, asked: int) -> tuple[FeedPage, tuple[Refused, ...]]:
    """A page of the feed, and the rows that could not be read.

    Args:
        body: The answer of customs.
        asked: The marker asked with.

    Raises:
        PeerError: the page itself cannot be read, or it has rows and its marker is not above `asked`.
    """
    try:
        page = msgspec.json.decode(body, type=_PageOnWire)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerError(f"{FEED_PATH}: not a page: {error}") from error
    if page.marker < asked or (page.rows and page.marker == asked):
        raise PeerError(f"{FEED_PATH}: marker {page.marker}: expected above {asked}")
    rows, bad = [], []
    for raw in page.rows:
        try:
            rows.append(msgspec.json.decode(raw, type=FeedRow))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            bad.append(refused("unreadable_journey", str(error), FEED_PATH, raw))
    return FeedPage(marker=page.marker, rows=tuple(rows)), tuple(bad)


class Feed:
    """Polls the feed of journeys; use as an async context.

    Args:
        url: Customs service.
        clock: Pace of polling and time-outs.
        interval_s: Between polls when nothing is waiting.
        timeout_s: For one request.
        on_refused: Told of rows that cannot be read; they are skipped.
        on_reachable: Told when customs goes out of reach or comes back.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        interval_s: float = 1.0,
        timeout_s: float = 3.0,
        on_refused: Callable[[Refused], None] | None = None,
        on_reachable: Callable[[bool], None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.interval_s = interval_s
        self.reachable = False
        self.last_problem = "not asked yet"
        self.last_page_s: float | None = None
        """When the last page came, UTC seconds of the clock; its age is shown as the feed's."""
        self._clock, self._timeout_s = clock, timeout_s
        self._on_refused, self._on_reachable = on_refused, on_reachable
        self._session: aiohttp.ClientSession | None = None
        self._tls = tls
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._clock.wall_s(self._timeout_s))
        connector = aiohttp.TCPConnector(ssl=self._tls or True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End `pages` and give the connections back."""
        self._closed.set()
        if self._session:
            await self._session.close()

    async def pages(self, marker: int) -> AsyncIterator[FeedPage]:
        """Pages with news above `marker`, for ever; the next is asked for when the last is dealt with."""
        retry_s = RETRY_MIN_S
        while not self._closed.is_set():
            try:
                page, bad = decode_page(await self._get(f"{FEED_PATH}?marker={marker}&limit={LIMIT}"), marker)
            except (LinkError, PeerError) as error:
                self._failed(str(error))
                await self._pause(retry_s * random.uniform(0.8, 1.2))
                retry_s = min(RETRY_MAX_S, retry_s * 2)
                continue
            retry_s = RETRY_MIN_S
            self._succeeded(bad)
            if page.marker > marker:
                yield page
                marker = page.marker
            if len(page.rows) + len(bad) < LIMIT:
                await self._pause(self.interval_s)

    async def reference_data(self) -> bytes:
        """Signed reference data as customs serves it: offices, hours, competences, zones.

        Raises:
            LinkError, PeerError: as for every request.
        """
        return await self._get(REFERENCE_PATH)

    async def _get(self, path: str) -> bytes:
        """Body of a 200.

        Raises:
            LinkError: out of reach, too slow, 429 or 5xx.
            PeerError: any other status, or an answer beyond every bound.
        """
        assert self._session is not None, "used outside its context"
        try:
            async with self._session.get(self.url + path) as answer:
                body = await answer.content.read(MAX_PAGE_BYTES + 1)
                while not answer.content.at_eof() and len(body) <= MAX_PAGE_BYTES:
                    body += await answer.content.read(MAX_PAGE_BYTES + 1 - len(body))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LinkError(f"{self.url}: {type(error).__name__}: {error}") from error
        if answer.status == 429 or answer.status >= 500:
            raise LinkError(f"{self.url}{path}: HTTP {answer.status}")
        if answer.status != 200:
            raise PeerError(f"{self.url}{path}: HTTP {answer.status}: expected 200")
        if len(body) > MAX_PAGE_BYTES:
            raise PeerError(f"{self.url}{path}: more than {MAX_PAGE_BYTES} bytes")
        return body

    def _succeeded(self, bad: tuple[Refused, ...]) -> None:
        self.last_page_s = self._clock.now_s()
        for row in bad:
            log.warning("journey_refused", detail=row.detail)
            if self._on_refused:
                self._on_refused(row)
        self._set_reachable(True, "")

    def _failed(self, problem: str) -> None:
        if problem != self.last_problem:
            log.warning("feed_failed", problem=problem)
        self._set_reachable(False, problem)

    def _set_reachable(self, reachable: bool, problem: str) -> None:
        changed, self.reachable, self.last_problem = reachable != self.reachable, reachable, problem
        if changed and self._on_reachable:
            self._on_reachable(reachable)

    async def _pause(self, wait_s: float) -> None:
        try:
            async with self._clock.timeout(wait_s):
                await self._closed.wait()
        except TimeoutError:
            pass
