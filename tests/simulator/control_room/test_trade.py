"""simulator/control_room/trade.py: who has no token sees nothing; who has one sees its own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from agent import desk
from agent.domain.declaration import FeedPage, Party
from agent.status.api import JourneyDetail, JourneyPage, JourneyQuery
from agent.web import Call, Route, application, run
from simulator.control_room.config import AgentLink, CarrierTable, TradeTable
from simulator.control_room.merge import Room
from simulator.control_room.trade import Trade
from simulator.customs.api import RoutingPage
from tests.agent.border import journey, row
from tests.agent.driver_side import JRN, UNIT, Crossing

TOKEN = "let-me-see"
CARRIER = "Alpenfracht AG"


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def agent_routes(crossing: Crossing) -> list[Route]:
    """The agent's calls that the trade view asks, over the same register."""
    register = crossing.box.register

    async def rows(call: Call) -> JourneyPage:
        return JourneyPage(desk.rows(register, frozenset(call.query.keys.split(","))))

    async def one(call: Call) -> JourneyDetail | None:
        return desk.detail(register, call.path["jrn"])

    return [
        Route("GET", "/v1/journeys", rows, "rows", query=JourneyQuery),
        Route("GET", "/v1/journeys/{jrn}", one, "one"),
        *crossing.pages.link_routes(),
    ]


def customs_routes() -> list[Route]:
    """The feeds of customs: one journey of the carrier, one of another."""
    mine = row(journey(JRN, units=(UNIT,), carrier=Party(name=CARRIER)))
    other = row(journey("J-OTHER", carrier=Party(name="Rheintal Logistik GmbH")), marker=2)

    async def feed(call: Call) -> FeedPage:
        return FeedPage(2, (mine, other) if call.request.query["marker"] == "0" else ())

    async def routing(_call: Call) -> RoutingPage:
        return RoutingPage(marker=0)

    return [
        Route("GET", "/v1/transport-declarations", feed, "feed"),
        Route("GET", "/v1/routing", routing, "routing"),
    ]


@asynccontextmanager
async def trade_view(crossing: Crossing) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    agent = await run(application(agent_routes(crossing), title="a", version="0"), "127.0.0.1", 0)
    customs = await run(application(customs_routes(), title="c", version="0"), "127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        table = TradeTable(customs_url=customs.url, carriers=(CarrierTable(name=CARRIER, token_sha256=digest),))
        trade = Trade(table, Room((AgentLink(id="box-1", url=agent.url),), session))
        task = asyncio.create_task(trade.run())
        view = await run(application(trade.routes(), title="t", version="0"), "127.0.0.1", 0)
        try:
            async with asyncio.timeout(20):
                while not trade.book.is_of(JRN, CARRIER):  # noqa: ASYNC110 - feeds have no event of their own
                    await asyncio.sleep(0.02)
            yield session, view.url
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            for runner in (view, customs, agent):
                await runner.stop()
            crossing.box.store.close()


async def test_its_own_journeys_with_result_and_obligations_and_no_reason(tmp_path: Path) -> None:
    crossing = Crossing(tmp_path)
    await crossing.announced()
    await crossing.arrives()
    await crossing.must_report()
    async with trade_view(crossing) as (session, url):
        async with session.get(f"{url}/v1/trade/journeys", headers=_bearer(TOKEN)) as answer:
            text = await answer.text()
            page: dict[str, Any] = msgspec.json.decode(text)
        (one,) = page["journeys"]
        assert (one["jrn"], one["state"], one["result"]) == (JRN, "READY", "GO_WITH_OBLIGATION")
        assert one["obligations"][0] == {"inspection": "VET", "places": ["Zollamt Thayngen, Rampe 2"]}
        assert one["deadline"] == "2027-01-15T12:00:00.000Z"
        assert "reason" not in text.lower() and "score" not in text.lower()


async def test_without_its_token_nothing(tmp_path: Path) -> None:
    crossing = Crossing(tmp_path)
    await crossing.announced()
    async with trade_view(crossing) as (session, url):
        link = f"/v1/trade/journeys/{JRN}/driver-link"
        for path in ("/v1/trade/journeys", link, f"{link}.svg"):
            for headers in ({}, _bearer("guessed"), {"Authorization": TOKEN}):
                async with session.get(url + path, headers=headers) as answer:
                    assert answer.status == 401, path


async def test_the_drivers_link_of_its_own_journey_only(tmp_path: Path) -> None:
    crossing = Crossing(tmp_path)
    await crossing.announced()
    async with trade_view(crossing) as (session, url):
        link = f"{url}/v1/trade/journeys/{JRN}/driver-link"
        async with session.get(link, headers=_bearer(TOKEN)) as answer:
            assert (await answer.json())["url"].endswith(f"/driver/{crossing.tokens.token(JRN)}")
        async with session.get(f"{link}.svg", headers=_bearer(TOKEN)) as answer:
            assert answer.content_type == "image/svg+xml"
        async with session.get(link.replace(JRN, "J-OTHER"), headers=_bearer(TOKEN)) as answer:
            assert answer.status == 404
