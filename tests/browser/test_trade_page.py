"""The carrier's page in a real browser: its journeys in words, the driver's code, nothing without its token."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import aiohttp
import msgspec

from agent.clock import Clock
from agent.domain.declaration import FeedRow, Party, RuleFailure, TransportMeans
from agent.web import run
from simulator.control_room.api import room_application
from simulator.control_room.config import CarrierTable, RoomConfig, TradeTable
from simulator.control_room.merge import Room
from simulator.control_room.trade import Trade
from simulator.control_room.watch import Watch
from tests.agent.border import journey, row

TOKEN = "let-me-see"
EVIL = "<img src=x onerror=alert(1)>"


def declared(number: int, plate: str = "", **changes: Any) -> FeedRow:
    means = TransportMeans(identification_number=plate or f"ZH {100 + number}", nationality="CH")
    party = Party(name="Alpenfracht AG")
    return row(journey(f"J-{number}", carrier=party, active_border_transport_means=means), **changes)


FAULT = RuleFailure(code="MRN", field="$.references[0].referenceNumber", value="x", message=EVIL)
ROWS = (declared(1), declared(2), declared(3, EVIL, state="NOT_READY", rule_failures=(FAULT,)))


@asynccontextmanager
async def trade_page() -> AsyncIterator[str]:
    """The control room with a carrier's journeys; no agent has decided on any."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    async with aiohttp.ClientSession() as session:
        config = RoomConfig()
        room = Room(config.agents, session)
        table = TradeTable(carriers=(CarrierTable(name="Alpenfracht AG", token_sha256=digest),))
        trade = Trade(table, room)
        for one in ROWS:
            trade.book.declared(one)
        app = room_application(Watch(room, config, Clock()), "", trade.routes())
        runner = await run(app, "127.0.0.1", 0)
        try:
            yield runner.url
        finally:
            await runner.stop()


async def test_a_carrier_reads_its_journeys(open_page: Any, axe: Any) -> None:
    async with trade_page() as url:
        seen = await open_page(f"{url}/trade#{TOKEN}", viewport={"width": 1100, "height": 700})
        page = seen.page
        await page.wait_for_selector("#journeys:visible")
        assert "Alpenfracht AG" in await page.inner_text("header")
        text = await page.inner_text("#rows")
        assert "$.references[0].referenceNumber" in text and EVIL in text
        assert await page.locator("#rows img").count() == 0
        assert await axe(page) == []
        await page.emulate_media(color_scheme="dark")
        assert await axe(page) == []
        for code, word in (("de", "Ihre Fahrten"), ("fr", "Vos trajets"), ("it", "I vostri viaggi")):
            await page.select_option("#language", code)
            await page.wait_for_function("word => document.getElementById('title').textContent === word", arg=word)
        await page.set_viewport_size({"width": 360, "height": 700})
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= 360
        assert await axe(page) == []
        assert seen.errors == [] and seen.outside == []


async def test_a_wrong_token_shows_nothing(open_page: Any, axe: Any) -> None:
    async with trade_page() as url:
        page = (await open_page(f"{url}/trade#guessed")).page
        await page.wait_for_function("() => document.getElementById('state').textContent.includes('not valid')")
        assert not await page.is_visible("#journeys")
        assert await axe(page) == []


def test_no_text_of_the_page_lacks_a_key() -> None:
    folder = files("simulator.control_room") / "static" / "trade_text"
    texts = {entry.name: msgspec.json.decode(entry.read_bytes()) for entry in folder.iterdir()}
    assert texts.keys() == {"de.json", "fr.json", "it.json", "en.json"}
    for text in texts.values():
        assert text.keys() == texts["de.json"].keys() and len(text["heads"]) == 6
        assert text["results"].keys() == {"GO", "GO_WITH_OBLIGATION", "STOP", "HOLD"}
