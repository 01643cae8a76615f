"""The trade view (`/trade`): a carrier's journeys, read-only, behind a token of its own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import structlog
from aiohttp import web

from agent.domain.declaration import FeedPage
from agent.web import Call, ProblemError, Reply, Route
from simulator.control_room.config import TradeTable
from simulator.control_room.merge import Forwarded, Room
from simulator.control_room.pages import read_pages
from simulator.control_room.trade_rows import TradeBook, TradeJourney, with_obligations, with_result
from simulator.customs.api import RoutingPage

ASK_EVERY_S = 2.0
PAGE_ROWS = 1_000
MAX_ROWS = 500
"""Journeys of one carrier on the page, the latest first."""
MAX_DETAILS = 50
"""Obligations looked up at once."""
TIMEOUT = aiohttp.ClientTimeout(total=10.0)
PRIVATE = {"Cache-Control": "no-store"}
_LOG = structlog.get_logger()


class TradePage(msgspec.Struct, frozen=True):
    """A carrier's journeys."""

    carrier: str
    journeys: list[TradeJourney]
    more: bool


class Trade:
    """Follows customs' feeds for the carriers that may ask."""

    def __init__(self, table: TradeTable, room: Room) -> None:
        self._table, self._room = table, room
        self.book = TradeBook(frozenset(one.name for one in table.carriers))
        self._markers = {"transport-declarations": 0, "routing": 0}

    async def run(self) -> None:
        """Follow until cancelled."""
        while self._table.customs_url and self._table.carriers:
            try:
                more = await self._read("transport-declarations", FeedPage)
                more = await self._read("routing", RoutingPage) or more
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
                _LOG.debug("customs_out_of_reach", reason=type(error).__name__)
                more = False
            await asyncio.sleep(0.0 if more else ASK_EVERY_S)

    async def _read(self, feed: str, model: type[FeedPage] | type[RoutingPage]) -> bool:
        """One page of a feed; whether there is more."""
        params = {"marker": str(self._markers[feed]), "limit": str(PAGE_ROWS)}
        url = f"{self._table.customs_url.rstrip('/')}/v1/{feed}"
        async with self._room.session.get(url, params=params, timeout=TIMEOUT) as answer:
            answer.raise_for_status()
            page = msgspec.json.decode(await answer.read(), type=model)
        if isinstance(page, FeedPage):
            for row in page.rows:
                self.book.declared(row)
        else:
            for routed in page.rows:
                self.book.routed(routed)
        self._markers[feed] = page.marker
        return len(page.rows) >= PAGE_ROWS

    # --- calls --------------------------------------------------------------------------------------------------

    def routes(self) -> list[Route]:
        """The page, and what it reads."""
        pages = read_pages()

        async def page(call: Call) -> web.Response:
            return pages["trade.html"].response(call.request)

        link = "/v1/trade/journeys/{jrn}/driver-link"
        return [
            Route("GET", "/trade", page, "The carrier's page", media_type="text/html"),
            Route("GET", "/v1/trade/journeys", self._journeys, "Journeys of the carrier that asks; never why",
                  responses={200: TradePage}),
            Route("GET", link, self._link(""), "Address of the driver's page, to pass on"),
            Route("GET", f"{link}.svg", self._link(".svg"), "The same as QR code", media_type="image/svg+xml"),
        ]  # fmt: skip

    def _carrier(self, call: Call) -> str:
        scheme, _, token = call.header("Authorization").partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
        found = [one.name for one in self._table.carriers if hmac.compare_digest(one.token_sha256, digest)]
        if not found or scheme.lower() != "bearer":
            raise ProblemError(401, "this link is not valid", headers={"WWW-Authenticate": "Bearer"})
        return found[0]

    async def _journeys(self, call: Call) -> Reply:
        carrier = self._carrier(call)
        mine = self.book.of(carrier)
        shown = mine[:MAX_ROWS]
        rows = {}
        for start in range(0, len(shown), 100):  # what an address may hold
            keys = ",".join(one.jrn for one in shown[start : start + 100])
            found, _ = await self._room.journeys(keys)
            rows.update({row.get("jrn"): row for row in found})
        decided = [with_result(one, rows.get(one.jrn, {})) for one in shown]
        owing = [one for one in decided if one.result == "GO_WITH_OBLIGATION"][:MAX_DETAILS]
        told = await asyncio.gather(*(self._obligations(one) for one in owing))
        full = {one.jrn: one for one in told}
        page = TradePage(carrier, [full.get(one.jrn, one) for one in decided], len(mine) > MAX_ROWS)
        return Reply(page, headers=PRIVATE)

    async def _obligations(self, journey: TradeJourney) -> TradeJourney:
        answer = await self._asked(f"/v1/journeys/{quote(journey.jrn, safe='')}")
        if answer is None:
            return journey
        detail: dict[str, Any] = msgspec.json.decode(answer.body, type=dict[str, Any])
        return with_obligations(journey, detail.get("instruction") or {})

    def _link(self, suffix: str) -> Any:
        async def link(call: Call) -> Reply:
            jrn = call.path["jrn"]
            if not self.book.is_of(jrn, self._carrier(call)):
                raise ProblemError(404, f"journey {jrn!r}: not one of this carrier's")
            answer = await self._asked(f"/v1/journeys/{quote(jrn, safe='')}/driver-link{suffix}")
            if answer is None:
                raise ProblemError(404, f"journey {jrn!r}: over, or no agent knows it yet")
            return Reply(content=answer.body, media_type=answer.media_type, headers=PRIVATE)

        return link

    async def _asked(self, path: str) -> Forwarded | None:
        """The answer of the first agent that has one."""
        for one in self._room.links:
            answer = await self._room.forward(one.id, "GET", path)
            if answer is not None and answer.status == 200:
                return answer
        return None
