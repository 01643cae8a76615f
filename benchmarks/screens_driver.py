"""Pictures of the driver's page for the README, from a real box without broker (`make screens`)."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

from agent.domain.instruction import Action
from tests.agent.driver_side import Crossing, serving

SCREENS = Path(__file__).parents[1] / "docs" / "screens"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1, "is_mobile": True}
WAIT_MS = 20_000


async def _wait(_crossing: Crossing) -> None:
    """Nothing is decided."""


async def _go(crossing: Crossing) -> None:
    await crossing.answered()


async def _report(crossing: Crossing) -> None:
    await crossing.must_report()


async def _stop(crossing: Crossing) -> None:
    await crossing.officer(Action.STOP)


async def _hold(crossing: Crossing) -> None:
    await crossing.officer(Action.HOLD)


STATES: dict[str, tuple[str, str, Callable[[Crossing], Awaitable[None]]]] = {
    "wait": ("WAIT", "de", _wait),
    "go": ("GO", "de", _go),
    "report": ("GO_WITH_OBLIGATION", "pl", _report),
    "stop": ("STOP", "ro", _stop),
    "halt": ("HOLD", "fr", _hold),
}
"""Name of the picture, the word, the driver's language, what is decided."""


async def _picture(browser: Any, name: str, scheme: str) -> None:
    word, language, decide = STATES[name]
    folder = Path(tempfile.mkdtemp(prefix="borderlane-screens-"))
    try:
        crossing = Crossing(folder)
        await crossing.announced(language)
        async with serving(crossing) as place:
            context = await browser.new_context(**PHONE, color_scheme=scheme)
            page = await context.new_page()
            page.set_default_timeout(WAIT_MS)
            await page.goto(place.url)
            await page.wait_for_function("() => document.getElementById('plate').textContent")
            await crossing.arrives()
            await decide(crossing)
            await page.wait_for_function("word => document.body.dataset.word === word", arg=word)
            if name != "wait":
                await page.wait_for_selector("#code:visible")
            await page.screenshot(path=SCREENS / f"driver-{name}-{scheme}.png", full_page=name != "wait")
            await context.close()
    finally:
        shutil.rmtree(folder)


async def main() -> None:
    """Write every picture, light and dark."""
    SCREENS.mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for name in STATES:
            for scheme in ("light", "dark"):
                await _picture(browser, name, scheme)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
