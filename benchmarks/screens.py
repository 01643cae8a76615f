"""Pictures of the pages for docs/screens/: a real demo, looked at in Chromium. `make screens`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Browser, Page, async_playwright

from simulator.parts import free_ports

OUT = Path(__file__).parents[1] / "docs" / "screens"
ARGUMENTS = ["--disable-gpu", "--enable-unsafe-swiftshader"]
START_LIMIT_S = 120.0
DRIVE_S = 35.0
"""Enough for every kind of decision to have fallen."""
SIZE: Any = {"width": 1440, "height": 900}


async def _serving(url: str) -> None:
    async with asyncio.timeout(START_LIMIT_S), aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.get(f"{url}healthz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.5)


async def _open(browser: Browser, url: str, theme: Any, language: str) -> Page:
    context = await browser.new_context(viewport=SIZE, color_scheme=theme, locale=language, timezone_id="UTC")
    page = await context.new_page()
    await page.goto(url)
    await page.locator("#map[data-ready]").wait_for()
    await page.locator("#vehicles-table .badge.GO").first.wait_for()
    await page.wait_for_timeout(2_000)
    return page


async def _busiest(page: Page) -> None:
    """To the crossing with most vehicles."""
    numbers = await page.locator("#board-table tbody tr").evaluate_all(
        "rows => rows.map(row => [1, 2].reduce((sum, at) => sum + Number(row.cells[at].textContent), 0))"
    )
    await page.locator("#board-table tbody button").nth(numbers.index(max(numbers))).click()
    await page.wait_for_timeout(2_500)


async def _shoot(browser: Browser, url: str) -> None:
    page = await _open(browser, url, "light", "en")
    await page.screenshot(path=OUT / "control-room-light.png")
    await page.locator("#vehicles-table tr:has(.badge.STOP) button").first.click()
    await page.locator("#journey dl").first.wait_for()
    await page.wait_for_timeout(800)
    await page.screenshot(path=OUT / "control-room-journey.png")
    await page.keyboard.press("o")
    await page.wait_for_timeout(400)
    await page.screenshot(path=OUT / "control-room-override.png")
    page = await _open(browser, url, "dark", "de")
    await _busiest(page)
    await page.screenshot(path=OUT / "control-room-dark.png")
    page = await _open(browser, url, "light", "fr")
    await page.locator("#controls button").first.click()
    await page.locator("#tab-figures").click()
    await page.wait_for_timeout(1_500)
    await page.screenshot(path=OUT / "control-room-replay.png")


async def main() -> None:
    """Run a demo, look, end it."""
    OUT.mkdir(exist_ok=True)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/"
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator.cli", "demo", "--port", str(port), "--lorries", "300",
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await _serving(url)
        await asyncio.sleep(DRIVE_S)
        async with async_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            await _shoot(browser, url)
            await browser.close()
    finally:
        demo.terminate()
        await demo.wait()


if __name__ == "__main__":
    asyncio.run(main())
