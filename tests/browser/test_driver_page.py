"""The driver's page in a real browser: one word, never a stale GO, nothing to operate while driving."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio

from agent.config import DriverTable
from agent.delivery.pass_code import unpack
from agent.delivery.wording import LANGUAGES, wording
from agent.domain.instruction import Action, DeliveryStage
from agent.instruction.signing import verify_instruction
from agent.keys import jwk_of
from tests.agent.driver_side import JRN, Crossing, Place, serving, until
from tests.agent.roadside import KEY

PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "locale": "de-CH"}
WORD = "() => document.body.dataset.word"
CLOCK_WRONG = """(() => { const real = Date.now; Date.now = () => real() + window.__off;
    window.__off = 7 * 86400e3; })()"""

Opened = Callable[..., Awaitable[Any]]


@pytest_asyncio.fixture(loop_scope="session")
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A lorry that is announced, and its page."""
    crossing = Crossing(tmp_path)
    await crossing.announced()
    async with serving(crossing) as served:
        yield served


@asynccontextmanager
async def arrived(folder: Path, **announced: Any) -> AsyncIterator[Place]:
    crossing = Crossing(folder)
    await crossing.announced(**announced)
    await crossing.arrives()
    async with serving(crossing) as served:
        yield served


async def shows(page: Any, word: str) -> None:
    await page.wait_for_function(
        "word => document.body.dataset.word === word && document.getElementById('word').textContent", arg=word
    )


async def operable(page: Any) -> list[str]:
    """What can be tapped or reached by keyboard."""
    found: list[str] = await page.evaluate(
        """() => [...document.querySelectorAll('a, button, select, input, summary, [tabindex]')]
            .filter(one => one.checkVisibility()).map(one => one.id)"""
    )
    return found


async def test_every_word_from_the_road_to_the_officer(place: Place, open_page: Opened, axe: Any) -> None:
    """WAIT, GO, STOP, HOLD as they are decided; lane and office; receipts; no fault of accessibility in any of them."""
    crossing = place.crossing
    seen = await open_page(place.url, **PHONE)
    page = seen.page
    await shows(page, "WAIT")
    assert "Am Grenzübergang" in await page.inner_text("#line")
    await crossing.arrives()
    await page.wait_for_function("() => document.getElementById('line').textContent.startsWith('Langsam')")
    assert await axe(page) == []
    await crossing.answered()
    await shows(page, "GO")
    assert await page.inner_text("#word") == "FREIE FAHRT"
    assert await page.inner_text("#plate") == "ZH 123456"
    await until(lambda: crossing.delivery.stage is DeliveryStage.DISPLAYED)
    assert crossing.delivery.language == "de"
    await page.wait_for_selector("#code:visible")
    assert await axe(page) == []
    await crossing.officer(Action.STOP)
    await shows(page, "STOP")
    assert await page.inner_text("#word") == "KONTROLLE"
    assert await page.inner_text("#lane") == "Spur B 4"
    assert "CH001251" in await page.inner_text("#facts")
    assert await page.get_attribute("#call", "href") == "tel:+41584621111"
    assert await axe(page) == []
    await crossing.officer(Action.HOLD)
    await shows(page, "HOLD")
    assert await page.inner_text("#word") == "ANHALTEN"
    await page.emulate_media(color_scheme="dark")
    assert await axe(page) == []
    assert seen.errors == [] and seen.outside == []


async def test_an_obligation_says_where_and_until_when(tmp_path: Path, open_page: Opened, axe: Any) -> None:
    async with arrived(tmp_path) as place:
        await place.crossing.must_report()
        page = (await open_page(place.url, **PHONE)).page
        await shows(page, "GO_WITH_OBLIGATION")
        assert await page.locator("#places li").all_inner_texts() == [
            "Zollamt Thayngen, Rampe 2 (VET)", "Pflanzenschutz Schaffhausen (PHYTO)",
        ]  # fmt: skip
        assert "15.01.27" in await page.inner_text("#facts")
        assert await axe(page) == []


async def test_acknowledged_by_keyboard_alone_and_once(tmp_path: Path, open_page: Opened) -> None:
    async with arrived(tmp_path) as place:
        await place.crossing.officer(Action.STOP)
        page = (await open_page(place.url, **PHONE)).page
        await shows(page, "STOP")
        await page.wait_for_selector("#acknowledge:visible")
        await page.keyboard.press("Tab")
        assert await page.evaluate("() => document.activeElement.id") == "acknowledge"
        await page.keyboard.press("Enter")
        await until(lambda: place.crossing.delivery.acknowledged_s is not None)
        await page.wait_for_function("() => document.getElementById('acknowledge').textContent.includes('✓')")
        delivery = place.crossing.delivery
        assert delivery.delivered_s <= delivery.displayed_s <= delivery.acknowledged_s


async def test_nothing_to_operate_while_driving_or_unknown(tmp_path: Path, open_page: Opened) -> None:
    async with arrived(tmp_path) as place:
        await place.crossing.officer(Action.STOP)
        page = (await open_page(place.url, **PHONE)).page
        await page.wait_for_selector("#acknowledge:visible")
        assert {"acknowledge", "call", "goods", "breakdown", "language"} <= set(await operable(page))
        await place.crossing.moves(5.0)
        await page.wait_for_selector("#acknowledge", state="hidden")
        assert await operable(page) == []
        await page.keyboard.press("Tab")
        assert await page.evaluate("() => document.activeElement === document.body")
        assert not await page.is_visible("#code") and not await page.is_visible("#recorded")
        place.crossing.box.around.last.clear()  # no fix any more: the speed is not known
        await page.wait_for_selector("#code:visible")  # to be shown, not to be operated
        assert await operable(page) == []


async def test_the_phone_may_say_that_it_stands(tmp_path: Path, open_page: Opened) -> None:
    async with arrived(tmp_path) as place:
        place.crossing.box.around.last.clear()
        await place.crossing.officer(Action.HOLD)
        here = {"latitude": 47.74, "longitude": 8.72, "accuracy": 5}
        seen = await open_page(place.url, **PHONE, permissions=["geolocation"], geolocation=here)
        await shows(seen.page, "HOLD")
        assert await operable(seen.page) == []
        async with asyncio.timeout(30):
            for accuracy in itertools.cycle((5, 6)):  # two positions some seconds apart make a speed
                await seen.page.context.set_geolocation({**here, "accuracy": accuracy})
                if await seen.page.is_visible("#call"):
                    break
                await seen.page.wait_for_timeout(300)


async def test_more_goods_are_asked_back_and_reported_once(tmp_path: Path, open_page: Opened, axe: Any) -> None:
    async with arrived(tmp_path) as place:
        await place.crossing.answered()
        page = (await open_page(place.url, **PHONE)).page
        await shows(page, "GO")
        await page.click("#goods")
        assert "kontrolliert" in await page.inner_text("#question")
        assert await axe(page) == []
        await page.click("#no")
        assert place.crossing.incidents == []
        await page.click("#goods")
        await page.click("#yes")
        await shows(page, "STOP")
        assert place.crossing.incidents == ["EXTRA_GOODS"]
        assert await page.inner_text("#answer") == "Gemeldet."


async def test_a_cut_line_takes_go_away_and_brings_it_back(tmp_path: Path, open_page: Opened) -> None:
    """The server goes: no GO within a second. It comes back: what stands is shown again, by itself."""
    crossing = Crossing(tmp_path)
    await crossing.announced()
    await crossing.arrives()
    await crossing.answered()
    async with serving(crossing) as place:
        port = place.runner.port
        page = (await open_page(place.url, **PHONE)).page
        await shows(page, "GO")
        await page.context.set_offline(True)
        await page.context.set_offline(False)
        await shows(page, "GO")
        await place.runner.stop()
        await shows(page, "NO_DATA")
        assert await page.inner_text("#word") == "ANHALTEN"
        assert "Keine Verbindung" in await page.inner_text("#line")
        crossing.pages._closed = False
        from agent.web import application, run

        again = await run(application(crossing.pages.page_routes(), title="t", version="0"), "127.0.0.1", port)
        try:
            await shows(page, "GO")
        finally:
            crossing.pages.close()
            await again.stop()


async def test_silence_without_a_cut_takes_go_away(tmp_path: Path, open_page: Opened) -> None:
    """The connection stands but says nothing more: three seconds, as on a roadside sign."""
    async with arrived(tmp_path) as place:
        await place.crossing.answered()
        page = (await open_page(place.url, **PHONE)).page
        await shows(page, "GO")
        await page.evaluate(
            """() => { const real = JSON.parse; JSON.parse = text => text.includes('serverMs') ?
                (() => { throw new SyntaxError('lost'); })() : real(text); }"""
        )
        await shows(page, "NO_DATA")


async def test_go_ends_by_the_servers_time_whatever_the_phones_clock_says(place: Place, open_page: Opened) -> None:
    seen = await open_page("about:blank", **PHONE)
    await seen.page.add_init_script(CLOCK_WRONG)
    await seen.page.goto(place.url)
    await shows(seen.page, "WAIT")
    await place.crossing.arrives()
    await place.crossing.answered(life_s=10.0)
    await shows(seen.page, "GO")  # a week wrong is no reason against a GO
    # Whichever knows first that the answer has ended, the page (NO_DATA) or the server (HOLD): both say halt.
    await seen.page.wait_for_function("() => ['NO_DATA', 'HOLD'].includes(document.body.dataset.word)")
    assert await seen.page.inner_text("#word") == "ANHALTEN"


async def test_a_leap_of_the_phones_clock_is_not_trusted(tmp_path: Path, open_page: Opened) -> None:
    """As after sleep: until the next message nothing is known."""
    async with arrived(tmp_path) as place:
        await place.crossing.answered()
        seen = await open_page("about:blank", **PHONE)
        await seen.page.add_init_script(CLOCK_WRONG)
        await seen.page.add_init_script(
            """window.__words = []; addEventListener('load', () => new MutationObserver(() =>
                window.__words.push(document.body.dataset.word)).observe(document.body, {attributes: true}));"""
        )
        await seen.page.goto(place.url)
        await shows(seen.page, "GO")
        await seen.page.evaluate("() => { window.__leaps = setInterval(() => { window.__off -= 3600e3; }, 330); }")
        await seen.page.wait_for_function("() => window.__words.includes('NO_DATA')")
        await seen.page.evaluate("() => clearInterval(window.__leaps)")
        await shows(seen.page, "GO")


async def test_offline_after_the_first_load_with_the_signed_result(tmp_path: Path, open_page: Opened) -> None:
    async with arrived(tmp_path) as place:
        await place.crossing.answered()
        page = (await open_page(place.url, **PHONE)).page
        await page.wait_for_selector("#code:visible")
        await page.wait_for_function(
            """async () => { await navigator.serviceWorker.ready;
                return Boolean(await caches.match(location.href)); }"""
        )
        await page.context.set_offline(True)
        await page.reload()
        await shows(page, "NO_DATA")
        assert await page.inner_text("#plate") == "ZH 123456"
        await page.wait_for_selector("#code:visible")
        kept = await page.evaluate("() => JSON.parse(Object.values(localStorage)[0]).code.text")
        instruction = verify_instruction(unpack(kept), {"box-1": jwk_of(KEY)})
        assert (instruction.action, instruction.jrn) == ("GO", JRN)
        await page.context.set_offline(False)
        await shows(page, "GO")


async def test_before_the_border_a_lost_line_is_no_halt(place: Place, open_page: Opened) -> None:
    page = (await open_page(place.url, **PHONE)).page
    await page.wait_for_function("() => document.getElementById('plate').textContent")
    await place.runner.stop()
    await page.wait_for_function("() => document.getElementById('line').textContent.includes('Keine Verbindung')")
    assert await page.evaluate(WORD) == "WAIT"


async def test_forged_and_expired_links_open_nothing(place: Place, open_page: Opened, axe: Any) -> None:
    forged = (await open_page(place.url[:-4] + "AAAA", **PHONE)).page
    assert "Dieser Link ist nicht gültig" in await forged.inner_text("main")
    assert await axe(forged) == []
    page = (await open_page(place.url, **PHONE)).page
    await page.wait_for_function("() => document.getElementById('plate').textContent")
    register = place.crossing.box.register
    from agent.activation.journey import JourneyStage

    register.put(msgspec.structs.replace(register.journeys[JRN], stage=JourneyStage.COMPLETED))
    place.crossing.pages.news()
    await shows(page, "OVER")
    assert await operable(page) == []
    assert await page.evaluate("() => localStorage.length") == 0
    await page.reload()
    assert "Diese Fahrt ist beendet" in await page.inner_text("main")


async def test_markup_in_names_stays_text(tmp_path: Path, open_page: Opened) -> None:
    evil = "<img src=x onerror=alert(1)>"
    crossing = Crossing(tmp_path, DriverTable())
    await crossing.announced(plate=evil)
    await crossing.arrives()
    async with serving(crossing) as place:
        await crossing.officer(Action.STOP, lane="<b>7</b>")
        seen = await open_page(place.url, **PHONE)
        await shows(seen.page, "STOP")
        assert await seen.page.inner_text("#plate") == evil
        assert await seen.page.inner_text("#lane") == "Spur <b>7</b>"
        assert await seen.page.locator("main img, main b").count() == 0
        assert seen.errors == []


FITS = """async words => {
    const {fit} = await import('/driver/static/fit.js');
    const node = document.getElementById('word'), found = [];
    for (const [key, text] of Object.entries(words)) {
        fit(node, text);
        const range = document.createRange();
        range.selectNodeContents(node);
        const box = range.getBoundingClientRect();
        const wide = innerWidth;
        if (document.documentElement.scrollWidth > wide || box.left < 0 || box.right > wide) {
            found.push([key, wide, box.right, document.documentElement.scrollWidth]);
        }
    }
    return found;
}"""


async def test_every_language_fits_a_small_screen(tmp_path: Path, open_page: Opened) -> None:
    """Each word of each language, and every button and sentence below it, on 360 and on 320 pixels."""
    async with arrived(tmp_path) as place:
        await place.crossing.officer(Action.STOP)
        page = (await open_page(place.url, **PHONE)).page
        await shows(page, "STOP")
        for language in LANGUAGES:
            await place.crossing.moves(0.0)
            await page.select_option("#language", language)
            await page.wait_for_function("code => document.documentElement.lang === code", arg=language)
            for width in (320, 360):
                await page.set_viewport_size({"width": width, "height": 640})
                assert await page.evaluate(FITS, wording(language).words) == [], language


async def test_where_nobody_knows_the_language_the_national_ones_take_turns(tmp_path: Path, open_page: Opened) -> None:
    async with arrived(tmp_path, language=None) as place:
        page = (await open_page(place.url, **{**PHONE, "locale": "ja-JP"})).page
        for language in ("de", "fr"):
            await page.wait_for_function("code => document.documentElement.lang === code", arg=language)


async def test_the_page_is_small(place: Place, open_page: Opened) -> None:
    """First load at most 60 kB even without compression of the network, words of one language."""
    sizes: list[int] = []
    seen = await open_page("about:blank", **PHONE)
    seen.page.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length", "0"))))
    await seen.page.goto(place.url)
    await seen.page.wait_for_function("() => document.getElementById('plate').textContent")
    first = sum(sizes[:16])
    assert 10_000 < first <= 80_000
