"""The control room in Chromium, fed through its agents' HTTP interface: what an operator sees and can do."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from agent.clock import Clock
from agent.status.api import DeclarationRow, JourneyRow
from agent.status.positions import VehicleState, row
from agent.web import Runner, run
from simulator.control_room.api import room_application
from simulator.control_room.config import AgentLink, RoomConfig
from simulator.control_room.merge import Room
from simulator.control_room.watch import Watch
from tests.simulator.control_room.running_agent import RunningAgent, journey_row

WAIT_S = 30.0
STOP, GO = (0xB3, 0x00, 0x1E), (0x00, 0x71, 0x3F)
"""Colours of the light map."""
MARKUP = "<img src=x onerror=alert(1)>"
CARD = {
    "mrn": "26CH0000000000AAA1",
    "routing": "TO_CONTROL",
    "score_card": {
        "channel": "red",
        "score": 40,
        "parts": {"deductive": 40, "inductive": 0, "predictive": 0},
        "reasons": [{"kind": "RULE", "id": "r1", "points": 40, "text": {"en": "Value low for these goods"}}],
        "selectionKind": "RULE",
        "ruleBookVersion": "b1",
        "modelVersion": "none",
    },
}
ROWS = (
    journey_row("J-GO", "U-1", plate="ZH1001", handle=1, channel="green", score=3),
    journey_row("J-STOP", "U-2", plate="AG2002", action="STOP", reason_code="CONTROL", handle=2, channel="red",
                score=40),
    journey_row("J-WAIT", "U-3", plate="BE3003", action=None, reason_code=None, waiting=True, handle=3),
    journey_row("unit:U-4", "U-4", jrn=None, plate=None, nationality=None, crossing="rafz", action="HOLD",
                reason_code="UNKNOWN_VEHICLE", handle=4),
    journey_row("J-MARKUP", "U-5", plate=MARKUP, crossing="au", direction="OUT", stage="TRACKING", action=None,
                reason_code=None, handle=5),
)  # fmt: skip
POSITIONS = [
    row(1, 8.70, 47.74, 90.0, VehicleState.GO, 0.5),
    row(2, 8.71, 47.74, 90.0, VehicleState.STOP, 0.5),
    row(3, 8.72, 47.74, None, VehicleState.WAITING, 0.5),
    row(4, 8.53, 47.60, 180.0, VehicleState.HOLD, 30.0),
    row(5, 9.64, 47.43, 270.0, VehicleState.TRACKING, 0.5),
]
DECLARATIONS = (
    DeclarationRow(mrn="26CH0000000000AAA1", version=1, activation_id="a1", state="TO_CONTROL", jrn="J-STOP",
                   plate="AG2002", crossing="thayngen", direction="IN", action="STOP", routing="TO_CONTROL",
                   channel="red", score=40, selection_kind="RULE"),
)  # fmt: skip


@dataclass
class Place:
    """A control room that watches one agent."""

    agent: RunningAgent
    watch: Watch
    url: str
    runner: Runner
    events: int = field(default=0)

    def change(self, key: str, **facts: Any) -> None:
        """A row becomes another, and the agent says so."""
        self.agent.rows = tuple(
            msgspec.structs.replace(one, **facts) if one.key == key else one for one in self.agent.rows
        )
        changed = next(one for one in self.agent.rows if one.key == key)
        self.events += 1
        fact = {"jrn": changed.jrn, "unit": changed.unit, "action": changed.action, "crossing": changed.crossing}
        more = {"direction": changed.direction, "reasonCode": changed.reason_code, "version": self.events}
        self.agent.tell(self.events, "instruction", {"time": "2026-11-22T10:00:01.000Z", **fact, **more})


@asynccontextmanager
async def control_room(rows: tuple[JourneyRow, ...] = ROWS) -> AsyncIterator[Place]:
    agent = RunningAgent("box-1", rows=rows, positions=POSITIONS, declarations=DECLARATIONS, assessments=(CARD,))
    await agent.start()
    async with aiohttp.ClientSession() as session:
        links = (AgentLink(id=agent.name, url=agent.url),)
        watch = Watch(Room(links, session), RoomConfig(agents=links), Clock())
        runner = await run(room_application(watch), "127.0.0.1", 0)
        watching = asyncio.create_task(watch.run())
        try:
            yield Place(agent, watch, runner.url, runner)
        finally:
            watch.room.stream.close()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await runner.stop()
            await agent.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def place() -> AsyncIterator[Place]:
    async with control_room() as running:
        yield running


def line(page: Any, name: str) -> Any:
    return page.locator("#vehicles-table tbody tr", has_text=name)


async def ready(page: Any) -> None:
    await page.locator("#map[data-ready]").wait_for()
    await line(page, "ZH1001").wait_for()


COUNTED = """async ([text, wanted]) => {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
  const flat = new OffscreenCanvas(image.width, image.height).getContext('2d');
  flat.drawImage(image, 0, 0);
  const { data } = flat.getImageData(0, 0, image.width, image.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4)
    if (wanted.every((value, channel) => Math.abs(data[at + channel] - value) < 8)) found += 1;
  return found;
}"""


async def pixel_count(page: Any, colour: tuple[int, int, int]) -> int:
    """Pixels of the map, as painted, in nearly this colour; the legend is put away."""
    await page.evaluate("() => { document.querySelector('#legend').hidden = true; }")
    picture = base64.b64encode(await page.locator("#map").screenshot()).decode()
    return int(await page.evaluate(COUNTED, [picture, list(colour)]))


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_panel_is_accessible_quiet_and_from_here(
    place: Place, open_page: Any, axe: Any, theme: str
) -> None:
    seen = await open_page(place.url, color_scheme=theme)
    page = seen.page
    await ready(page)
    faults = await axe(page)
    for tab in ("declarations", "figures", "health"):
        await page.click(f"#tab-{tab}")
        await page.wait_for_function(f"() => document.querySelector('#{tab}').textContent.length > 20")
        faults += await axe(page)
    await page.click("#tab-vehicles")
    await line(page, "AG2002").locator("button").click()
    await page.locator("#journey", has_text="Value low for these goods").wait_for()
    faults += await axe(page)
    await page.keyboard.press("o")
    await page.locator("#override form").wait_for()
    faults += await axe(page)
    await page.keyboard.press("Escape")
    await page.keyboard.press("Escape")
    await page.keyboard.press("?")
    faults += await axe(page)
    await page.keyboard.press("Escape")
    await page.locator("#controls button").first.click()
    await page.locator("#replay .timeline").wait_for()
    faults += await axe(page)
    assert faults == []
    assert seen.errors == [] and seen.outside == []


async def test_table_and_board_say_what_the_agent_says(place: Place, open_page: Any) -> None:
    page = (await open_page(place.url)).page
    await ready(page)
    assert await line(page, "AG2002").locator(".badge.STOP").count() == 1
    assert await line(page, "BE3003").locator(".badge.WAIT").count() == 1
    await line(page, "U-4").locator(".stale").wait_for()  # its fix is old
    counts = await page.locator("#board-table tr", has_text="Thayngen").locator("td").all_text_contents()
    assert counts == ["3", "0", "1", "1"]
    await page.locator("#board-table tbody tr").nth(63).wait_for()
    place.change("J-WAIT", action="GO", reason_code="RELEASED", waiting=False)
    await line(page, "BE3003").locator(".badge.GO").wait_for()
    await page.locator("#feed li", has_text="BE3003").locator(".badge.GO").wait_for()


async def test_vehicles_are_on_the_map_by_colour(place: Place, open_page: Any) -> None:
    page = (await open_page(f"{place.url}/?crossing=thayngen", color_scheme="light")).page
    await ready(page)
    async with asyncio.timeout(WAIT_S):
        while await pixel_count(page, STOP) < 20 or await pixel_count(page, GO) < 20:
            await page.wait_for_timeout(200)
        place.agent.positions = [row(2, 8.71, 47.74, 90.0, VehicleState.GO, 0.5)]
        while await pixel_count(page, STOP):
            await page.wait_for_timeout(200)
    assert await pixel_count(page, GO) > 20


async def test_filters_and_order_live_in_the_address(place: Place, open_page: Any) -> None:
    page = (await open_page(f"{place.url}/?state=STOP")).page
    await line(page, "AG2002").wait_for()
    assert await line(page, "ZH1001").count() == 0
    await page.get_by_role("button", name="clear filters").click()
    await line(page, "ZH1001").wait_for()
    await page.keyboard.press("/")
    await page.keyboard.type("be30")
    await line(page, "BE3003").wait_for()
    assert await line(page, "ZH1001").count() == 0
    assert "q=be30" in page.url
    await page.fill("#search", "")
    await page.get_by_role("button", name="Vehicle", exact=True).click()
    assert "sort=plate" in page.url
    assert await page.locator("#vehicles-table th[aria-sort=descending]").inner_text() != ""
    await page.locator("#board-table button", has_text="Rafz").click()
    await page.locator("#vehicles-bar .count", has_text="1 of 5").wait_for()
    assert "crossing=rafz" in page.url


async def test_names_with_markup_stay_text(place: Place, open_page: Any) -> None:
    seen = await open_page(place.url)
    page = seen.page
    await line(page, MARKUP).wait_for()
    await line(page, MARKUP).locator("button").click()
    await page.locator("#journey h2", has_text=MARKUP).wait_for()
    place.agent.tell(90, "incident", {"unit": "U-5", "jrn": "J-MARKUP", "incident": MARKUP})
    place.agent.tell(91, "alarm", {"unit": MARKUP, "name": MARKUP, "text": MARKUP, "crossing": MARKUP})
    await page.locator("#feed", has_text="onerror").wait_for()
    await page.locator("#alarms", has_text=MARKUP).wait_for()
    assert await page.locator("img").count() == 0
    assert seen.errors == []


async def test_override_by_keyboard_with_a_second_look(place: Place, open_page: Any) -> None:
    page = (await open_page(place.url)).page
    await line(page, "AG2002").locator("td").nth(2).click()
    await page.keyboard.press("o")
    await page.locator("#override form").wait_for()
    await page.keyboard.press("Enter")  # without a name it does not go on
    assert place.agent.overridden == []
    await page.get_by_label("Name of the officer").fill("Meier")
    await page.keyboard.press("Enter")
    send = page.get_by_role("button", name="Send to the driver")
    await send.wait_for()
    assert await page.locator("#override .preview").inner_text() == "GO"
    assert place.agent.overridden == []
    await page.wait_for_function("() => document.activeElement.hasAttribute('data-send')")
    await page.keyboard.press("Enter")
    await page.locator("#override:not([open])").wait_for(state="attached")
    assert place.agent.overridden == [("J-STOP", "GO", "Meier", "officer", "vehicle and goods checked")]


async def test_an_override_that_is_not_taken_says_so(place: Place, open_page: Any) -> None:
    page = (await open_page(place.url)).page
    await line(page, "AG2002").locator("td").nth(2).click()
    place.agent.rows = ()  # forgotten meanwhile
    await page.keyboard.press("o")
    await page.get_by_label("Name of the officer").fill("Meier")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Send to the driver").click()
    await page.locator("#override .said", has_text="not known here").wait_for()


async def test_alarms_by_keyboard_alone(place: Place, open_page: Any) -> None:
    page = (await open_page(place.url)).page
    alarms = page.locator("#alarms li")
    await alarms.nth(1).wait_for()
    await page.locator("#h-alarms .count", has_text="2").wait_for()
    await page.keyboard.press("l")
    await page.keyboard.press("j")
    await page.keyboard.press("k")
    await page.keyboard.press("a")
    await page.locator("#h-alarms .count", has_text="1").wait_for()
    await page.wait_for_function("() => document.activeElement.matches('[data-alarm]')")  # the next one
    async with asyncio.timeout(WAIT_S):
        while not await page.locator("#alarms .empty").count():
            await page.keyboard.press("a")
            await page.wait_for_timeout(300)
    noted = {alarm.key: alarm.acknowledged_by for alarm in place.watch.alarms.alarms.values() if alarm.key}
    assert noted == {"J-STOP": "operator", "unit:U-4": "operator"}
    await page.get_by_role("button", name="set aside or noted").click()
    assert await alarms.count() >= 2


async def test_many_alarms_at_once_set_aside_and_given_to_somebody(place: Place, open_page: Any) -> None:
    page = (await open_page(place.url)).page
    await page.locator("#alarms li").nth(1).wait_for()
    await page.get_by_role("button", name="Mine").first.click()
    await page.locator("#alarms li", has_text="with operator").wait_for()
    await page.get_by_role("button", name="15 min aside").first.click()
    await page.locator("#alarms li").nth(1).wait_for(state="detached")
    await page.get_by_label("mark all").check()
    await page.get_by_role("button", name="Acknowledge (").click()
    await page.locator("#alarms .empty").wait_for()


async def test_after_a_cut_nothing_is_lost_and_the_banner_says_how_old_it_is(place: Place, open_page: Any) -> None:
    page = (await open_page(place.url)).page
    await line(page, "ZH1001").wait_for()
    place.change("J-GO", action="STOP", reason_code="CONTROL")
    await line(page, "ZH1001").locator(".badge.STOP").wait_for()
    await place.agent.stop()
    await page.locator("#banner", has_text="out of reach").wait_for()
    place.change("J-WAIT", action="STOP", reason_code="CONTROL", waiting=False)  # nobody hears it; it is kept
    await place.agent.start()
    await page.locator("#banner").wait_for(state="hidden")
    await line(page, "BE3003").locator(".badge.STOP").wait_for()
    await page.locator("#feed li", has_text="BE3003").wait_for()
    assert await page.locator("#feed li.instruction", has_text="BE3003").count() == 1


async def test_control_room_that_does_not_answer_is_said(place: Place, open_page: Any) -> None:
    page = (await open_page(place.url)).page
    await line(page, "ZH1001").wait_for()
    await page.context.set_offline(True)
    await page.locator("#banner", has_text="does not answer").wait_for()
    await page.context.set_offline(False)
    await page.locator("#banner").wait_for(state="hidden")


async def test_replay_on_the_same_map(place: Place, open_page: Any) -> None:
    page = (await open_page(place.url)).page
    await ready(page)
    place.change("J-GO", action="STOP", reason_code="CONTROL")
    await line(page, "ZH1001").locator(".badge.STOP").wait_for()
    await page.wait_for_timeout(2_200)
    await page.get_by_role("button", name="Replay").click()
    await page.locator("#replay .banner").wait_for()
    await page.get_by_role("slider").fill(str(place.watch.history.times_ms[0]))
    await page.get_by_role("button", name="Next event").click()
    await page.locator("#replay li", has_text="J-GO").wait_for()
    place.change("J-WAIT", action="GO", reason_code="RELEASED", waiting=False)  # the present goes on
    await line(page, "BE3003").locator(".badge.GO").wait_for()
    await page.get_by_role("button", name="Back to now").click()
    await page.locator("#replay").wait_for(state="hidden")


async def test_without_webgl_all_facts_are_there(place: Place, launch: Any, open_page: Any) -> None:
    without = await launch("--disable-gpu", "--disable-software-rasterizer")
    try:
        seen = await open_page(place.url, within=without)
        await seen.page.locator("#map-none", has_text="no WebGL").wait_for()
        await line(seen.page, "AG2002").locator(".badge.STOP").wait_for()
        assert await seen.page.locator("#vehicles-table tbody tr").count() == 5
        await seen.page.locator("#board-table tbody tr").nth(63).wait_for()
        await line(seen.page, "AG2002").locator("button").click()
        await seen.page.locator("#journey", has_text="Value low for these goods").wait_for()
        assert seen.errors == []
        await seen.page.close()
    finally:
        await without.close()


async def test_journey_tells_why_and_gives_the_proof(place: Place, open_page: Any) -> None:
    page = (await open_page(place.url)).page
    await line(page, "AG2002").locator("button").click()
    await page.get_by_role("button", name="explain fix by fix").click()
    await page.locator("#journey pre", has_text="Journey J-STOP").wait_for()
    assert "red 40" in await page.locator("#journey .card").inner_text()
    await page.keyboard.press("Escape")
    await page.click("#tab-declarations")
    await page.locator("#declarations-table tr", has_text="26CH0000000000AAA1").locator(".badge.STOP").wait_for()


LANGUAGES = [("de", "Fahrzeuge"), ("fr", "Véhicules"), ("it", "Veicoli"), ("en", "Vehicles")]
CUT = """() => [...document.querySelectorAll('button, h1, h2, label')]
  .filter((one) => one.offsetWidth && one.scrollWidth > one.clientWidth + 1)
  .filter((one) => getComputedStyle(one).overflow === 'visible' && getComputedStyle(one).display !== 'inline')
  .map((one) => one.textContent)"""


@pytest.mark.parametrize(("language", "word"), LANGUAGES)
async def test_every_language_fits(place: Place, open_page: Any, language: str, word: str) -> None:
    page = (await open_page(place.url, locale=language, viewport={"width": 1280, "height": 720})).page
    await line(page, "ZH1001").wait_for()
    assert await page.locator("#tab-vehicles").inner_text() == word
    assert await page.evaluate("() => document.documentElement.lang") == language
    for width in (1280, 360):
        await page.set_viewport_size({"width": width, "height": 720})
        assert await page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    assert await page.evaluate(CUT) == []


MULTIPLIED = """async () => {
  const { store, takeRows } = await import('/static/store.js');
  const own = [...store.rows.values()].filter((row) => row.agent === 'box-1');
  for (const agent of ['box-2', 'box-3', 'box-4', 'box-5'])
    takeRows(own.map((row) => ({ ...row, id: `${agent} ${row.key}`, agent })), []);
}"""


async def test_a_hundred_thousand_rows_stay_usable(open_page: Any) -> None:
    many = tuple(journey_row(f"J-{number}", f"U-{number}", plate=f"ZH{number}") for number in range(20_000))
    async with control_room(many) as place:
        page = (await open_page(place.url)).page
        await page.locator("#vehicles-bar .count", has_text="20000 of 20000").wait_for()
        many_are_shown = page.locator("#vehicles-bar .count", has_text="100000 of 100000")
        async with asyncio.timeout(2 * WAIT_S):
            while not await many_are_shown.count():  # once more where the page has read everything anew meanwhile
                await page.evaluate(MULTIPLIED)
                await page.wait_for_timeout(2_000)
        assert await page.locator("#vehicles-table tbody tr").count() < 60
        await page.evaluate("() => { document.querySelector('#vehicles-table').scrollTop = 1e9; }")
        await page.locator("#vehicles-table tr[aria-rowindex='100001']").wait_for()
        await page.fill("#search", "ZH19999")
        await page.locator("#vehicles-bar .count", has_text="5 of 100000").wait_for()


async def test_no_script_is_allowed_but_ours(place: Place, open_page: Any) -> None:
    seen = await open_page(place.url)
    await ready(seen.page)
    await seen.page.evaluate(
        "() => document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.bad = 1' }))"
    )
    assert await seen.page.evaluate("() => window.bad") is None
    assert any("Content Security Policy" in error for error in seen.errors)
    reply = await seen.page.request.get(place.url)
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert json.loads(await (await seen.page.request.get(f"{place.url}/v1/alarms")).text())["dropped"] == 0
