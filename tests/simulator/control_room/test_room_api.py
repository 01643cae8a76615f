"""simulator/control_room/api.py: the page, its policy, and the merged calls over a real socket."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate

import agent
from agent.web import run
from simulator.control_room.api import room_application
from simulator.control_room.config import AgentLink
from simulator.control_room.merge import Room

STATIC = files("simulator.control_room") / "static"


@asynccontextmanager
async def room_of(*agents: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose addresses are relative to a control room of these agents."""
    async with aiohttp.ClientSession() as outwards:
        links = tuple(AgentLink(id=agent.name, url=agent.url) for agent in agents)
        runner = await run(room_application(Room(links, outwards)), "127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(runner.url) as session:
                yield session
        finally:
            await runner.stop()


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _tags() -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed((STATIC / "index.html").read_text("utf-8"))
    return parser.tags


async def test_page_forbids_what_it_does_not_need() -> None:
    async with room_of() as session, session.get("/") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
        policy = answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.findall(r"https?:|\*", policy)


def test_page_has_no_inline_script_or_style() -> None:
    for tag, attributes in _tags():
        assert tag != "style"
        assert tag != "script" or attributes.get("src"), "inline script"
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


async def test_everything_the_page_refers_to_is_served_from_here() -> None:
    referred = {
        value for tag, attributes in _tags() for name, value in attributes.items() if name in ("src", "href") and value
    }
    assert {"/static/room.js", "/static/room.css"} <= referred
    async with room_of() as session:
        for address in sorted(referred):
            async with session.get(address) as answer:
                assert answer.status == 200, address


async def test_every_file_of_the_page_has_its_media_type() -> None:
    expected = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "html": "text/html"}
    async with room_of() as session:
        for entry in (one for one in STATIC.iterdir() if one.is_file()):
            async with session.get(f"/static/{entry.name}") as answer:
                assert answer.content_type == expected[entry.name.rpartition(".")[2]]
                assert await answer.read() == entry.read_bytes()


@pytest.mark.parametrize("name", ["absent.js", "..%2Fapi.py", "%2e%2e/api.py", "room.js/"])
async def test_nothing_else_is_served(name: str) -> None:
    async with room_of() as session, session.get(f"/static/{name}") as answer:
        assert answer.status == 404
        assert answer.content_type == "application/problem+json"


async def test_calls_are_described() -> None:
    async with room_of() as session, session.get("/openapi.json") as answer:
        document = await answer.json()
    validate(document)
    assert {"/v1/status", "/v1/journeys", "/v1/events"} <= document["paths"].keys()


async def test_journeys_and_status_of_all_agents(start_agent: Any) -> None:
    first, second = await start_agent("box-1"), await start_agent("box-2")
    await second.stop()
    async with room_of(first, second) as session:
        async with session.get("/v1/journeys") as answer:
            page = await answer.json()
        async with session.get("/v1/status") as answer:
            status = await answer.json()
    assert [(row["agent"], row["jrn"]) for row in page["journeys"]] == [("box-1", "JRN-box-1")]
    assert page["unanswered"] == ["box-2"]
    assert [(one["agent"], one["mode"]) for one in status["agents"]] == [("box-1", "NORMAL"), ("box-2", "OUT_OF_REACH")]


def _told_kinds() -> set[str]:
    """Kinds of event that the agent's code tells watchers."""
    told = {"alarm", "notice", "touch_seen", "bypassed"}  # postings.py; a name that is not written at the call
    for file in Path(agent.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit":
                first = ast.walk(node.args[0])
                told |= {one.value.lower() for one in first if isinstance(one, ast.Constant)}
    return told


def test_page_listens_for_every_kind_of_event() -> None:
    script = (STATIC / "room.js").read_text("utf-8")
    listened = set(re.findall(r"^  (\w+): \(fact\) =>", script, re.MULTILINE))
    quiet = re.search(r"QUIET = \[([^\]]*)\]", script)
    assert quiet is not None
    listened |= set(re.findall(r'"(\w+)"', quiet[1]))
    kinds = _told_kinds()
    assert {"detection", "journey", "receipt", "mode"} <= kinds
    assert kinds | {"instruction", "link"} <= listened
