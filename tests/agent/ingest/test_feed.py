from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest
from aiohttp import web

from agent.clock import Clock
from agent.domain.declaration import FeedRow, PlannedCrossing, TransportDeclaration, TransportMeans
from agent.errors import LinkError, PeerError
from agent.ingest.feed import LIMIT, Feed, decode_page
from agent.ingest.wire import Refused

FAST = Clock(speedup=100.0)


def row(marker: int) -> FeedRow:
    declaration = TransportDeclaration(
        jrn=f"J-{marker}",
        direction="IN",
        active_border_transport_means=TransportMeans(identification_number="ZH1", nationality="CH"),
        planned_crossing=PlannedCrossing(crossing="thayngen"),
    )
    return FeedRow(marker=marker, jrn=declaration.jrn, version=1, state="READY", declaration=declaration)


def page(marker: int, rows: list[object]) -> bytes:
    return msgspec.json.encode({"marker": marker, "rows": rows})


def test_a_page_is_read() -> None:
    got, bad = decode_page(page(2, [row(1), row(2)]), 0)
    assert ([one.jrn for one in got.rows], got.marker, bad) == (["J-1", "J-2"], 2, ())


def test_one_bad_row_is_refused_and_the_others_pass() -> None:
    got, (bad,) = decode_page(page(3, [row(1), {"marker": 2, "jrn": 5}, row(3)]), 0)
    assert [one.marker for one in got.rows] == [1, 3]
    assert bad.reason == "unreadable_journey" and "jrn" in bad.detail


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff", b'{"marker":"1"}', page(4, []), page(5, [row(5)]), b'{"rows":[]}']
)
def test_a_page_that_leads_nowhere_is_refused(body: bytes) -> None:
    with pytest.raises(PeerError):
        decode_page(body, 5)


def test_an_empty_page_keeps_its_marker() -> None:
    assert decode_page(page(5, []), 5)[0].rows == ()


@dataclass
class Customs:
    """An HTTP server that answers from a list, then with empty pages."""

    answers: list[web.Response] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if self.answers:
            return self.answers.pop(0)
        return web.Response(body=page(int(request.query.get("marker", 0)), []))


@asynccontextmanager
async def serving(*answers: web.Response) -> AsyncIterator[tuple[Customs, str]]:
    customs = Customs(list(answers))
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", customs.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield customs, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def markers(feed: Feed, count: int, start: int = 0) -> list[int]:
    got: list[int] = []
    async with asyncio.timeout(5):
        async for one in feed.pages(start):
            got.append(one.marker)
            if len(got) == count:
                break
    return got


async def test_full_pages_follow_at_once_and_the_marker_goes_on() -> None:
    full = page(LIMIT + 5, [row(n) for n in range(6, LIMIT + 6)])
    rest = page(LIMIT + 6, [row(LIMIT + 6)])
    async with serving(web.Response(body=full), web.Response(body=rest)) as (customs, url):
        async with Feed(url, Clock(), interval_s=60) as feed:
            assert await markers(feed, 2, start=5) == [LIMIT + 5, LIMIT + 6]
            assert feed.reachable and feed.last_page_s is not None
        assert customs.asked == [
            "/v1/transport-declarations?marker=5&limit=1000",
            f"/v1/transport-declarations?marker={LIMIT + 5}&limit=1000",
        ]


async def test_faults_of_the_other_side_never_end_the_feed() -> None:
    told: list[bool] = []
    refused: list[Refused] = []
    answers = [
        web.Response(status=503), web.Response(body=b"<html>"), web.Response(status=404),
        web.Response(body=page(2, [row(1), {"marker": 2}])),
    ]  # fmt: skip
    async with serving(*answers) as (customs, url):
        feed = Feed(url, FAST, on_refused=refused.append, on_reachable=told.append)
        async with feed:
            assert await markers(feed, 1) == [2]
        assert len(customs.asked) == 4
    assert [one.reason for one in refused] == ["unreadable_journey"]
    assert told == [True]


async def test_customs_out_of_reach_is_told_once_and_found_again() -> None:
    told: list[bool] = []
    answers = [
        web.Response(body=page(1, [row(1)])), web.Response(status=500), web.Response(status=500),
        web.Response(body=page(2, [row(2)])),
    ]  # fmt: skip
    async with serving(*answers) as (_customs, url), Feed(url, FAST, on_reachable=told.append) as feed:
        assert await markers(feed, 2) == [1, 2]
    assert told == [True, False, True]


async def test_reference_data_comes_as_served_or_says_what_failed() -> None:
    async with serving(web.Response(body=b"signed"), web.Response(status=500)) as (customs, url):
        async with Feed(url, Clock()) as feed:
            assert await feed.reference_data() == b"signed"
            with pytest.raises(LinkError, match="HTTP 500"):
                await feed.reference_data()
        assert customs.asked[0] == "/v1/reference-data"
    async with Feed(url, Clock()) as feed:
        with pytest.raises(LinkError, match="Connect"):
            await feed.reference_data()


async def test_close_ends_the_pages() -> None:
    async with serving() as (_customs, url), Feed(url, Clock(), interval_s=60) as feed:
        reading = asyncio.create_task(markers(feed, 1))
        while not feed.reachable:  # noqa: ASYNC110 - the state has no event
            await asyncio.sleep(0)
        await feed.close()
        assert await reading == []
