"""simulator/control_room/api.py: the page, its policy, and the merged calls over a real socket."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from openapi_spec_validator import validate

import agent
from agent.activation.passage import PassageStage
from agent.clock import Clock
from agent.domain.instruction import Action, ReasonCode
from agent.status.modes import Mode
from agent.status.positions import decode_frame, row
from agent.web import run
from simulator.control_room.alarms import PRIORITY
from simulator.control_room.api import room_application
from simulator.control_room.config import AgentLink, RoomConfig
from simulator.control_room.merge import Room
from simulator.control_room.pages import MEDIA_TYPES, read_pages
from simulator.control_room.watch import Watch
from tests.simulator.control_room.running_agent import journey_row

WAIT_S = 20.0
STATIC = files("simulator.control_room") / "static"


@asynccontextmanager
async def room_of(*agents: Any, scenario: str = "") -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose addresses are relative to a control room that watches these agents."""
    async with aiohttp.ClientSession() as outwards:
        links = tuple(AgentLink(id=agent.name, url=agent.url) for agent in agents)
        watch = Watch(Room(links, outwards), RoomConfig(agents=links), Clock())
        runner = await run(room_application(watch, scenario), "127.0.0.1", 0)
        watching = asyncio.create_task(watch.run())
        try:
            async with aiohttp.ClientSession(runner.url) as session:
                yield session
        finally:
            watch.room.stream.close()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await runner.stop()


async def until(session: aiohttp.ClientSession, path: str, is_so: Callable[[Any], bool]) -> Any:
    """The answer of a call once it is as wanted."""
    async with asyncio.timeout(WAIT_S):
        while True:
            async with session.get(path) as answer:
                page = await answer.json()
            if is_so(page):
                return page
            await asyncio.sleep(0.02)


async def post(session: aiohttp.ClientSession, path: str, body: Any) -> tuple[int, Any]:
    async with session.post(path, json=body) as answer:
        return answer.status, await answer.json()


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
    assert {"/static/main.js", "/static/room.css"} <= referred
    async with room_of() as session:
        for address in sorted(referred):
            async with session.get(address) as answer:
                assert answer.status == 200, address


def _files() -> list[Path]:
    with as_file(STATIC) as folder:
        return [file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.suffix[1:] in MEDIA_TYPES]


async def test_every_file_of_the_page_is_served_with_its_media_type() -> None:
    async with room_of() as session:
        for file in _files():
            async with session.get(f"/static/{file}") as answer:
                assert answer.content_type == MEDIA_TYPES[file.suffix[1:]], file
                assert await answer.read() == STATIC.joinpath(*file.parts).read_bytes()
                assert answer.headers["Content-Encoding"] == "gzip" or len(await answer.read()) < 200
                tag = answer.headers["ETag"]
        async with session.get(f"/static/{file}", headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304
        async with session.get("/static/main.js", headers={"Accept-Encoding": "identity"}) as answer:
            assert "Content-Encoding" not in answer.headers


def test_first_load_is_small() -> None:
    pages = read_pages()
    first = [page for name, page in pages.items() if not name.startswith("text/") and "LICENSE" not in name]
    assert sum(len(page.packed) for page in first) <= 700_000  # design/experience.md section 11


@pytest.mark.parametrize(
    "name", ["absent.js", "..%2Fapi.py", "%2e%2e/api.py", "main.js/", "vendor/VENDOR.md", "basemap/SOURCES.md"]
)
async def test_nothing_else_is_served(name: str) -> None:
    async with room_of() as session, session.get(f"/static/{name}") as answer:
        assert answer.status == 404
        assert answer.content_type == "application/problem+json"


async def test_calls_are_described() -> None:
    async with room_of() as session, session.get("/openapi.json") as answer:
        document = await answer.json()
    validate(document)
    assert {"/v1/status", "/v1/journeys", "/v1/events", "/v1/positions.bin", "/v1/alarms"} <= document["paths"].keys()
    assert "/v1/scenario" not in document["paths"]


async def test_journeys_and_status_of_all_agents(start_agent: Any) -> None:
    first, second = await start_agent("box-1"), await start_agent("box-2")
    await second.stop()
    async with room_of(first, second) as session:
        page = await until(session, "/v1/journeys", lambda page: page["journeys"])
        status = await until(session, "/v1/status", lambda page: page["agents"][0]["connected"])
    assert [(row["agent"], row["jrn"]) for row in page["journeys"]] == [("box-1", "JRN-box-1")]
    assert page["unanswered"] == ["box-2"]
    assert [(one["agent"], one["mode"]) for one in status["agents"]] == [("box-1", "NORMAL"), ("box-2", "OUT_OF_REACH")]
    assert status["rehearsal"] is False


async def test_positions_of_all_agents_as_one_frame(start_agent: Any) -> None:
    agents = [await start_agent("box-1"), await start_agent("box-2")]
    for one in agents:
        one.positions = [row(1, 8.7, 47.7, 90.0, 2, 0.0)]
    async with room_of(*agents) as session:
        await until(session, "/v1/history", lambda page: page["frames"])
        async with asyncio.timeout(WAIT_S):
            while True:
                async with session.get("/v1/positions.bin") as answer:
                    frame = await answer.read()
                    if len(frame) == 48:
                        break
        rows, _ = decode_frame(frame)
        history = await until(session, "/v1/history", lambda page: len(page["frames"]) >= 2)
        async with session.get("/v1/history/positions.bin", params={"at": history["frames"][-1]}) as answer:
            kept, _ = decode_frame(await answer.read())
        async with session.get("/v1/history/positions.bin?at=1") as answer:
            assert answer.status == 404
    assert len(set(rows["handle"].tolist())) == 2 and set(rows["longitude_e7"].tolist()) == {87_000_000}
    assert kept["handle"].tolist() == rows["handle"].tolist()


async def test_an_open_stop_is_an_alarm_until_an_officer_decides(start_agent: Any) -> None:
    agent = await start_agent("box-1")
    agent.rows = (journey_row("J-1", "U-1", action="STOP"),)
    async with room_of(agent) as session:
        page = await until(session, "/v1/alarms", lambda page: page["alarms"])
        (alarm,) = page["alarms"]
        name = quote(alarm["id"], safe="")
        assert (alarm["name"], alarm["key"], alarm["plate"]) == ("OPEN_STOP", "J-1", "CH ZH123")
        status, answer = await post(session, "/v1/alarms/acknowledge", {"ids": [alarm["id"], "x"], "by": "Keller"})
        assert (status, answer) == (200, {"unknown": ["x"]})
        later = datetime.now(UTC) + timedelta(minutes=5)
        status, answer = await post(session, f"/v1/alarms/{name}/shelve", {"untilTime": later.isoformat()})
        assert (status, answer["shelvedBy"], answer["acknowledgedBy"]) == (200, "operator", "Keller")
        assert (await post(session, f"/v1/alarms/{name}/assign", {"to": "Keller"}))[1]["assignedTo"] == "Keller"
        assert (await post(session, f"/v1/alarms/{name}/shelve", {"untilTime": "2001-01-01T00:00:00Z"}))[0] == 422
        assert (await post(session, f"/v1/alarms/{name}/shelve", {"untilTime": "soon"}))[0] == 422
        assert (await post(session, "/v1/alarms/none/assign", {"to": ""}))[0] == 404
        assert (await post(session, "/v1/alarms/acknowledge", {"ids": []}))[0] == 422
        agent.rows = (journey_row("J-1", "U-1", action="GO", officer="Meier"),)
        agent.tell(1, "instruction", {"jrn": "J-1", "unit": "U-1", "action": "GO"})
        assert (await until(session, "/v1/alarms", lambda page: not page["alarms"]))["dropped"] == 0


async def test_calls_about_one_journey_go_to_the_agent_that_has_it(start_agent: Any) -> None:
    first, second = await start_agent("box-1"), await start_agent("box-2")
    order = {"action": "STOP", "officer": "Meier", "reason": "suspicion", "role": "supervisor"}
    async with room_of(first, second) as session:
        await until(session, "/v1/journeys", lambda page: len(page["journeys"]) == 2)
        assert (await post(session, "/v1/journeys/JRN-box-2/override", order))[0] == 200
        assert (await post(session, "/v1/journeys/JRN-box-2/override", order | {"role": "carrier"}))[0] == 403
        assert (await post(session, "/v1/journeys/JRN-box-2/override", order | {"action": "FLY"}))[0] == 422
        assert (await post(session, "/v1/journeys/nobody/override", order))[0] == 404
        async with session.get("/v1/journeys/JRN-box-2/explain") as answer:
            assert (await answer.json())["lines"] == ["Journey JRN-box-2"]
        async with session.get("/v1/journal/export?activation=a1") as answer:
            assert answer.headers["Content-Disposition"] == 'attachment; filename="proof-a1.jsonl"'
            assert await answer.read() == b'{"export":1}\n'
        async with session.get("/v1/zones") as answer:
            assert len((await answer.json(content_type=None))["features"]) == 384
        await second.stop()
        async with session.get("/v1/journeys/JRN-box-2") as answer:
            assert answer.status == 503
    assert first.overridden == []
    assert second.overridden == [("JRN-box-2", "STOP", "Meier", "supervisor", "suspicion")]


async def test_rows_that_changed_are_pushed(start_agent: Any) -> None:
    agent = await start_agent("box-1")
    async with room_of(agent) as session:
        await until(session, "/v1/journeys", lambda page: page["journeys"])
        agent.rows = (journey_row("JRN-box-1", "U-box-1", action="STOP"), journey_row("J-2", "U-2"))
        agent.tell(1, "detection", {"unit": "U-2"})
        agent.tell(2, "instruction", {"jrn": "JRN-box-1", "action": "STOP"})
        page = await until(session, "/v1/journeys", lambda page: len(page["journeys"]) == 2)
        assert {row["id"]: row["action"] for row in page["journeys"]} == {"box-1 JRN-box-1": "STOP", "box-1 J-2": "GO"}
        assert page["unanswered"] == []
    assert frozenset({"U-2", "JRN-box-1"}) in agent.asked


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
    script = (STATIC / "live.js").read_text("utf-8")
    lists = re.findall(r"^const (?:TOLD|QUIET) = \[([^\]]*)\]", script, re.MULTILINE)
    assert len(lists) == 2
    listened = set(re.findall(r'"(\w+)"', "".join(lists)))
    kinds = _told_kinds()
    assert {"detection", "journey", "receipt", "mode"} <= kinds
    assert kinds | {"instruction", "link"} <= listened


# --- words ---


def _words(language: str) -> dict[str, str]:
    return dict(json.loads((STATIC / "text" / f"{language}.json").read_text("utf-8"))["words"])


@pytest.mark.parametrize("language", ["de", "fr", "it"])
def test_every_language_says_everything(language: str) -> None:
    english, words = _words("en"), _words(language)
    assert words.keys() == english.keys()
    assert [key for key, text in words.items() if not text.strip()] == []
    names = re.compile(r"\{\w+\}")
    assert [key for key in english if sorted(names.findall(words[key])) != sorted(names.findall(english[key]))] == []


def test_every_word_the_scripts_ask_for_is_there() -> None:
    english = _words("en")
    asked = set()
    for file in _files():
        if file.suffix == ".js":
            text = STATIC.joinpath(*file.parts).read_text("utf-8")
            asked |= set(re.findall(r'\bt\("([\w.]+)"', text))
    page = (STATIC / "index.html").read_text("utf-8")
    asked |= set(re.findall(r'data-(?:t|label)="([\w.]+)"', page))
    assert asked - english.keys() == set()
    assert len(asked) > 100


@pytest.mark.parametrize(("family", "codes"), [
    ("reason", [reason.value for reason in ReasonCode]), ("mode", [mode.name for mode in Mode]),
    ("stage", [stage.value for stage in PassageStage]), ("state", [action.name for action in Action]),
    ("driver", [action.name for action in Action]), ("alarm", sorted(PRIORITY)),
])  # fmt: skip
def test_every_code_of_the_agent_has_words(family: str, codes: list[str]) -> None:
    assert [code for code in codes if f"{family}.{code}" not in _words("en")] == []
