"""Debian's Chromium through playwright, one for all tests here; a context of its own for each page.

These tests, their fixtures and the services they start share one event loop, since the browser lives on it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

HERE = Path(__file__).parent
ARGUMENTS = ("--disable-gpu", "--enable-unsafe-swiftshader")
"""Software rendering, as on a machine without a graphics card; WebGL runs all the same."""
WITHOUT_WEBGL = (*ARGUMENTS, "--disable-software-rasterizer")
WCAG_AA = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
WAIT_MS = 20_000
"""How long a test waits for what a page shall show: wide, for machines under load."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every coroutine here runs on the loop of the browser."""
    for item in items:
        if HERE in item.path.parents and isinstance(item, pytest.Function) and _is_coroutine(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def _is_coroutine(item: pytest.Function) -> bool:
    return bool(getattr(item.function, "__code__", None) and item.function.__code__.co_flags & 0x80)


@dataclass
class Seen:
    """A page, and what it complained of."""

    page: Any
    """playwright's `Page`."""
    errors: list[str] = field(default_factory=list)
    """Errors in the console and exceptions nobody caught."""
    outside: list[str] = field(default_factory=list)
    """Requests to hosts other than the one the page came from."""


def _chromium(absent: Callable[[str], str]) -> str:
    path = os.environ.get("BORDERLANE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    return path or absent("chromium is not installed")


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def playwright(absent: Callable[[str], str]) -> AsyncIterator[Any]:
    """playwright's driver process."""
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        absent("playwright is not installed")
        raise
    async with async_playwright() as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def launch(playwright: Any, absent: Callable[[str], str]) -> Callable[..., Awaitable[Any]]:
    """`await launch(*arguments)`: another Chromium with these arguments; close it."""
    path = _chromium(absent)

    async def start(*arguments: str) -> Any:
        return await playwright.chromium.launch(executable_path=path, args=list(arguments))

    return start


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser(launch: Callable[..., Awaitable[Any]]) -> AsyncIterator[Any]:
    """One Chromium for all tests here."""
    running = await launch(*ARGUMENTS)
    try:
        yield running
    finally:
        await running.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Any) -> AsyncIterator[Callable[..., Awaitable[Seen]]]:
    """`await open_page(url, **options)`: a page in a context of its own; options as of playwright's `new_context`."""
    contexts: list[Any] = []

    async def start(url: str, *, within: Any = None, **options: Any) -> Seen:
        context = await (within or browser).new_context(**{"locale": "en-GB", "timezone_id": "UTC", **options})
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        seen = Seen(await context.new_page())
        _watch(seen, url)
        await seen.page.goto(url)
        return seen

    yield start
    for context in contexts:
        await context.close()


def _watch(seen: Seen, url: str) -> None:
    origin = "/".join(url.split("/")[:3])
    seen.page.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
    seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
    seen.page.on(
        "request",
        lambda request: (
            seen.outside.append(request.url) if not request.url.startswith((origin, "data:", "blob:")) else None
        ),
    )


@pytest.fixture(scope="session")
def axe() -> Callable[[Any], Awaitable[list[str]]]:
    """`await axe(page)`: what axe-core holds against a page, WCAG 2.2 AA and good practice; one line each."""
    source = (HERE / "vendor" / "axe.min.js").read_text("utf-8")

    async def faults(page: Any) -> list[str]:
        await page.evaluate(source)  # not a script element: the page's policy forbids those, and shall
        found = await page.evaluate("tags => axe.run(document, {runOnly: tags})", list(WCAG_AA))
        return [
            f"{fault['id']}: {fault['help']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
            for fault in found["violations"]
            for node in fault["nodes"]
        ]

    return faults
