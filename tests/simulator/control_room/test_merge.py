"""simulator/control_room/merge.py: the wire format, and many agents as one over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import Clock
from agent.web import StreamEvent, run
from simulator.control_room import merge
from simulator.control_room.api import room_application
from simulator.control_room.config import AgentLink, RoomConfig
from simulator.control_room.merge import MAX_DATA_CHARACTERS, Room, StreamError, messages
from simulator.control_room.watch import Watch

WAIT_S = 10.0


async def _lines(data: bytes) -> AsyncIterator[bytes]:
    for line in data.splitlines(keepends=True) if b"\r" not in data else data.split(b"\n"):
        yield line if line.endswith(b"\n") else line + b"\n"


def read(data: bytes) -> list[tuple[str, str, str] | None]:
    """All that a stream of these bytes says."""

    async def gather() -> list[tuple[str, str, str] | None]:
        return [message async for message in messages(_lines(data))]

    return asyncio.run(gather())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"data: x\n\n", [("message", "x", "")]),
        (b"data:x\n\n", [("message", "x", "")]),
        (b"data:  x\n\n", [("message", " x", "")]),  # one space belongs to the format
        (b"data: a\ndata: b\n\n", [("message", "a\nb", "")]),
        (b"data\n\n", [("message", "", "")]),
        (b"id: 7\nevent: mode\ndata: {}\n\ndata: 2\n\n", [("mode", "{}", "7"), ("message", "2", "7")]),
        (b"id: 7\r\ndata: x\r\n\r\n", [("message", "x", "7")]),
        (b"id: 7\ndata: x\n\nid: 8\0\ndata: y\n\n", [("message", "x", "7"), ("message", "y", "7")]),
        (b"event: mode\n\ndata: x\n\n", [("message", "x", "")]),  # without data it says nothing
        (b": still here\n\n", [None]),
        (b"retry: 2000\n\n", []),
        (b"wrong: x\ndata: y\n\n", [("message", "y", "")]),
        (b"data: cut off\n", []),
        (b"data: \xff\n\n", [("message", "\N{REPLACEMENT CHARACTER}", "")]),
    ],
)
def test_stream_is_read_as_the_standard_says(data: bytes, expected: list[Any]) -> None:
    assert read(data) == expected


facts = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20) | st.none(), max_size=4)
kinds = st.sampled_from(["detection", "activation", "instruction", "alarm", "mode"])


@given(st.lists(st.tuples(st.integers(0, 10**15), kinds, facts)), st.lists(st.booleans()))
def test_what_a_service_streams_comes_out_again(told: list[tuple[int, str, dict[str, Any]]], alive: list[bool]) -> None:
    data = b"retry: 2000\n\n"
    for number, (event_id, kind, fact) in enumerate(told):
        data += StreamEvent(event_id, kind, json.dumps(fact).encode()).encode()
        if number < len(alive) and alive[number]:
            data += b": still here\n\n"
    heard = [message for message in read(data) if message is not None]
    assert [(int(number), kind, json.loads(text)) for kind, text, number in heard] == told


@given(st.lists(st.binary(max_size=30)))
def test_no_noise_on_the_line_raises_or_splits_a_message(noise: list[bytes]) -> None:
    data = b"\n".join(noise) + b"\n\nid: 5\nevent: mode\ndata: {}\n\n"
    last = read(data)[-1]
    assert last is not None
    assert (last[0], last[1]) == ("mode", "{}")


def test_message_without_end_is_given_up() -> None:
    line = b"data: " + b"x" * 60_000 + b"\n"
    with pytest.raises(StreamError, match=str(MAX_DATA_CHARACTERS)):
        read(line * (MAX_DATA_CHARACTERS // 60_000 + 1))


class Listening:
    """A room that listens to agents, and what a watcher of its stream hears."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.heard: list[tuple[int, str, dict[str, Any]]] = []
        self._news = asyncio.Event()

    async def watch(self, url: str, session: aiohttp.ClientSession) -> None:
        """Follow the merged stream as a browser does."""
        async with session.get(f"{url}/v1/events?lastEventId=0") as answer:
            async for message in messages(answer.content):
                if message is not None:
                    self.heard.append((int(message[2]), message[0], json.loads(message[1])))
                    self._news.set()

    async def until(self, said: Callable[[list[tuple[int, str, dict[str, Any]]]], bool]) -> None:
        """Wait until what was heard is enough."""
        async with asyncio.timeout(WAIT_S):
            while not said(self.heard):
                self._news.clear()
                await self._news.wait()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Facts of one kind, in the order heard."""
        return [fact for _, one, fact in self.heard if one == kind]


@contextlib.asynccontextmanager
async def listening(*agents: Any) -> AsyncIterator[Listening]:
    async with aiohttp.ClientSession() as session:
        room = Room(tuple(AgentLink(id=agent.name, url=agent.url) for agent in agents), session)
        runner = await run(room_application(Watch(room, RoomConfig(), Clock())), "127.0.0.1", 0)
        heard = Listening(room)
        tasks = [asyncio.create_task(room.run()), asyncio.create_task(heard.watch(runner.url, session))]
        try:
            yield heard
        finally:
            room.stream.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await runner.stop()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "RECONNECT_S", 0.01)


def connected(*names: str) -> Callable[[list[tuple[int, str, dict[str, Any]]]], bool]:
    def said(heard: list[tuple[int, str, dict[str, Any]]]) -> bool:
        links = {fact["agent"]: fact["connected"] for _, kind, fact in heard if kind == "link"}
        return all(links.get(name) for name in names)

    return said


async def test_agents_become_one_stream_with_rising_ids(start_agent: Any) -> None:
    first, second = await start_agent("box-1"), await start_agent("box-2")
    async with listening(first, second) as heard:
        await heard.until(connected("box-1", "box-2"))
        for number in range(5):
            first.tell(number, "mode", {"n": number})
            second.tell(1000 + number, "mode", {"n": number})
        await heard.until(lambda _: len(heard.of("mode")) == 10)
    for name in ("box-1", "box-2"):
        assert [fact["n"] for fact in heard.of("mode") if fact["agent"] == name] == list(range(5))
    ids = [number for number, _, _ in heard.heard]
    assert ids == sorted(set(ids))


async def test_room_that_starts_anew_numbers_above_the_old_one(start_agent: Any) -> None:
    agent = await start_agent("box-1")
    last_ids = []
    for _ in range(2):
        async with listening(agent) as heard:
            await heard.until(connected("box-1"))
        last_ids.append(heard.heard[-1][0])
    assert last_ids[0] < last_ids[1]


async def test_after_an_outage_nothing_is_lost_and_nothing_comes_twice(start_agent: Any) -> None:
    agent = await start_agent("box-1")
    async with listening(agent) as heard:
        await heard.until(connected("box-1"))
        for number in range(1, 4):
            agent.tell(number, "mode", {"n": number})
        await heard.until(lambda _: len(heard.of("mode")) == 3)
        await agent.stop()
        await heard.until(lambda _: any(not fact["connected"] for fact in heard.of("link")))
        for number in range(4, 8):
            agent.tell(number, "mode", {"n": number})  # nobody hears it; it is kept
        await agent.start()
        await heard.until(lambda _: len(heard.of("mode")) == 7)
        agent.tell(8, "mode", {"n": 8})
        await heard.until(lambda _: len(heard.of("mode")) == 8)
    assert [fact["n"] for fact in heard.of("mode")] == list(range(1, 9))
    assert [fact["connected"] for fact in heard.of("link")] == [True, False, True]


@pytest.mark.parametrize("data", [b"[1]", b"3", b"{", b"null", b"[" * 20_000])
async def test_event_that_cannot_be_read_is_refused_and_the_stream_goes_on(start_agent: Any, data: bytes) -> None:
    agent = await start_agent("box-1")
    async with listening(agent) as heard:
        await heard.until(connected("box-1"))
        agent.tell_raw(1, "mode", data)
        agent.tell(2, "mode", {"n": 2})
        await heard.until(lambda _: bool(heard.of("mode")))
        assert heard.room.refused == 1
    assert heard.of("mode") == [{"n": 2, "agent": "box-1"}]


async def test_agent_out_of_reach_is_named_and_the_others_answer(start_agent: Any) -> None:
    here, gone = await start_agent("box-1"), await start_agent("box-2")
    async with listening(here, gone) as heard:
        await heard.until(connected("box-1", "box-2"))
        await gone.stop()
        await heard.until(lambda _: any(not fact["connected"] for fact in heard.of("link")))
        rows, unanswered = await heard.room.journeys()
        first, second = await heard.room.status()
    assert [row["agent"] for row in rows] == ["box-1"]
    assert unanswered == ["box-2"]
    assert (first["mode"], first["connected"]) == ("NORMAL", True)
    assert (second["mode"], second["connected"]) == ("OUT_OF_REACH", False)
    assert first["heardAgoS"] < WAIT_S
    assert second["heardAgoS"] is not None  # it was heard once


async def test_agent_never_heard_has_no_age() -> None:
    async with aiohttp.ClientSession() as session:
        room = Room((AgentLink(id="box-9", url="http://127.0.0.1:1"),), session)
        assert [agent["heardAgoS"] for agent in await room.status()] == [None]


async def test_only_the_journeys_asked_for_are_asked_for(start_agent: Any) -> None:
    agent = await start_agent("box-1")
    async with listening(agent) as heard:
        rows, _ = await heard.room.journeys("U-box-1,U-2")
        assert agent.asked == [frozenset({"U-box-1", "U-2"})]
    assert [row["jrn"] for row in rows] == ["JRN-box-1"]
