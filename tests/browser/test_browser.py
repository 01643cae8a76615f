"""The set-up itself: the browser starts, renders WebGL in software, and axe finds what is wrong."""

from __future__ import annotations

from typing import Any

WRONG = "data:text/html,<html lang=en><title>t</title><main><h1>t</h1><img src='data:,'></main></html>"
RIGHT = "data:text/html,<!doctype html><html lang=en><title>t</title><main><h1>t</h1><p>text</p></main></html>"


async def test_axe_finds_a_fault_and_only_where_there_is_one(open_page: Any, axe: Any) -> None:
    wrong, right = await open_page(WRONG), await open_page(RIGHT)
    assert any(fault.startswith("image-alt") for fault in await axe(wrong.page))
    assert await axe(right.page) == []


async def test_webgl_is_rendered_in_software_and_can_be_taken_away(open_page: Any, launch: Any) -> None:
    has_webgl = "() => !!document.createElement('canvas').getContext('webgl2')"
    assert await (await open_page(RIGHT)).page.evaluate(has_webgl)
    without = await launch("--disable-gpu", "--disable-software-rasterizer")
    try:
        assert not await (await open_page(RIGHT, within=without)).page.evaluate(has_webgl)
    finally:
        await without.close()


async def test_what_a_page_complains_of_is_heard(open_page: Any) -> None:
    seen = await open_page(RIGHT)
    await seen.page.evaluate("() => { console.error('said aloud'); fetch('http://127.0.0.1:9/x').catch(() => 0); }")
    await seen.page.wait_for_timeout(50)
    assert "said aloud" in seen.errors[0]
    assert seen.outside == ["http://127.0.0.1:9/x"]
