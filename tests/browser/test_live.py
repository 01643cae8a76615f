"""The whole system as processes, seen in Chromium: an entry becomes GO or STOP, a rehearsal is obeyed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from simulator.broker import NoBroker, choose
from simulator.parts import free_ports

START_LIMIT_S = 90.0
STOP_LIMIT_S = 60.0
SEEN_MS = 90_000
"""For the first GO and STOP of a demo: 10 s and 30 s on a machine that is not busy."""


@pytest_asyncio.fixture(loop_scope="session")
async def demo(tmp_path: Path, absent: Callable[[str], str]) -> AsyncIterator[str]:
    """The address of the control room of a running demo."""
    try:
        choose("nats")
    except NoBroker as error:
        absent(str(error))
    (port,) = free_ports(1)
    with (tmp_path / "demo.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulator.cli", "demo", "--lorries", "60", "--port", str(port),
            stdout=log, stderr=log, env=None,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(START_LIMIT_S), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"{url}/healthz") as answer:
                        if answer.status == 200:
                            break
                assert process.returncode is None, (tmp_path / "demo.log").read_text()
                await asyncio.sleep(0.2)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(STOP_LIMIT_S):
            await process.wait()


async def test_an_entry_becomes_go_and_stop_on_the_page(demo: str, open_page: Any, axe: Any) -> None:
    seen = await open_page(demo)
    page = seen.page
    await page.locator("#map[data-ready]").wait_for()
    feed = page.locator("#feed li.instruction")
    await feed.locator(".badge.GO").first.wait_for(timeout=SEEN_MS)
    await feed.locator(".badge.STOP, .badge.HOLD").first.wait_for(timeout=SEEN_MS)
    await page.locator("#vehicles-table .badge.GO").first.wait_for()
    await page.locator("#alarms li").first.wait_for()
    await page.evaluate("async () => { window.positions = (await import('/static/store.js')).store.positions; }")
    assert await page.evaluate("() => window.positions.count") > 0
    await page.locator("#vehicles-table tr:has(.badge.GO) button").first.click()
    await page.get_by_role("button", name="explain fix by fix").click()
    await page.locator("#journey pre", has_text=re.compile("activat", re.IGNORECASE)).wait_for()
    await page.get_by_role("link", name="proof").first.wait_for()
    address = await page.get_by_role("link", name="proof").first.get_attribute("href")
    proof = await (await page.request.get(f"{demo}{address}")).text()
    assert '"export"' in proof.splitlines()[0] and len(proof.splitlines()) > 3
    await page.keyboard.press("Escape")
    await page.locator("#tab-rehearsal").click()
    await page.locator("#rehearsal select").select_option("thayngen")
    await page.get_by_role("button", name="Close the office").click()
    await page.locator("#rehearsal [role=status]", has_text="done").wait_for()
    await page.get_by_label("How many").fill("5")
    await page.get_by_role("button", name="Add lorries").click()
    await page.locator("#rehearsal [role=status]", has_text="Add lorries: done").wait_for()
    assert await axe(page) == []
    await page.locator("#tab-health").click()
    await page.locator("#health", has_text="rehearsal.1").wait_for()
    assert seen.errors == [] and seen.outside == []
