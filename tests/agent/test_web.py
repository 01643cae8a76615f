"""agent/web.py: what is served, refused, described and streamed, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from openapi_spec_validator import validate

from agent.errors import LinkError
from agent.web import (
    CLIENT_QUEUE,
    Call,
    EventStream,
    Identity,
    ProblemError,
    Reply,
    Route,
    Runner,
    StreamEvent,
    application,
    bearer_access,
    decode,
    openapi,
    run,
)
from agent.web_page import docs_page


class Item(msgspec.Struct):
    """A line."""

    name: str
    mass: Annotated[float, Meta(ge=0)]


class Order(msgspec.Struct):
    """A body of a request."""

    items: list[Item]
    notes: dict[str, Any] = {}


class Page(msgspec.Struct):
    """Query of a list."""

    limit: Annotated[int, Meta(ge=1, le=10)] = 5


async def echo(call: Call) -> Any:
    return call.body


async def page(call: Call) -> Any:
    return call.query


async def named(call: Call) -> Any:
    return Reply(content=call.path["name"].encode(), status=201, headers={"X-Name": "yes"})


async def conflict(call: Call) -> Any:
    raise ProblemError(409, "held already", headers={"Retry-After": "3"})


async def broken(call: Call) -> Any:
    raise RuntimeError("inner detail")


async def raw(call: Call) -> Any:
    return {"length": len(call.body)}


ROUTES = [
    Route("POST", "/orders", echo, "Order", request=Order, responses={200: Order}),
    Route("POST", "/keyed", echo, "Order once", request=Order, headers={"Idempotency-Key": "which order"}),
    Route("GET", "/orders", page, "List", query=Page, responses={200: Page}),
    Route("GET", "/orders/{name}", named, "One", responses={201: None}),
    Route("PUT", "/conflict", conflict, "Never works"),
    Route("GET", "/broken", broken, "Fails"),
    Route("POST", "/raw", raw, "Bytes", request=Order | list[Order], raw=True, responses={200: dict[str, int]}),
    Route("GET", "/secret", page, "For officers", query=Page, roles=("officer",), responses={200: Page}),
]


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[tuple[Runner, aiohttp.ClientSession]]:
    runner = await run(app, "127.0.0.1", 0)
    async with aiohttp.ClientSession(runner.url) as session:
        try:
            yield runner, session
        finally:
            await session.close()
            await runner.stop()


def shop(**options: Any) -> web.Application:
    return application(ROUTES, title="shop", version="1", **options)


async def ask(session: aiohttp.ClientSession, method: str, path: str, **how: Any) -> tuple[int, Any, Any]:
    async with session.request(method, path, **how) as answer:
        return answer.status, json.loads(await answer.read() or b"null"), answer.headers


GOOD = {"items": [{"name": "a", "mass": 1.0}], "notes": {}}
JSON = {"Content-Type": "application/json"}


async def test_good_requests_are_answered() -> None:
    async with served(shop()) as (_, session):
        assert (await ask(session, "POST", "/orders", json=GOOD))[:2] == (200, GOOD)
        assert (await ask(session, "GET", "/orders?limit=7"))[:2] == (200, {"limit": 7})
        assert (await ask(session, "POST", "/raw", data=b"[]", headers=JSON))[:2] == (200, {"length": 2})
        async with session.get("/orders/x%20y") as answer:
            assert (answer.status, await answer.text(), answer.headers["X-Name"]) == (201, "x y", "yes")


@pytest.mark.parametrize(
    ("method", "path", "how", "status", "field"),
    [
        ("POST", "/orders", {"json": {"items": [{"name": "a", "mass": -1}]}}, 422, "$.items[0].mass"),
        ("POST", "/orders", {"json": {"items": [{"mass": 1}]}}, 422, "$.items[0]"),
        ("POST", "/orders", {"json": []}, 422, "$"),
        ("POST", "/orders", {"data": b"{", "headers": JSON}, 400, None),
        ("POST", "/orders", {"data": b"\xff\xfe", "headers": JSON}, 400, None),
        (
            "POST",
            "/orders",
            {"data": b'{"items":[],"notes":{"a":' + b"[" * 5_000, "headers": JSON},
            400,
            None,
        ),
        ("POST", "/orders", {"data": b"items=1"}, 415, None),
        ("POST", "/keyed", {"json": GOOD}, 400, "header Idempotency-Key"),
        (
            "POST",
            "/keyed",
            {"json": GOOD, "headers": {"Idempotency-Key": "  "}},
            400,
            "header Idempotency-Key",
        ),
        ("GET", "/orders?limit=11", {}, 422, "$.limit"),
        ("GET", "/orders?limit=x", {}, 422, "$.limit"),
        ("GET", "/nowhere", {}, 404, None),
        ("DELETE", "/orders", {}, 405, None),
        ("PUT", "/conflict", {}, 409, None),
        ("GET", "/broken", {}, 500, None),
    ],
)
async def test_refusals_are_problems_that_name_the_field(
    method: str, path: str, how: dict[str, Any], status: int, field: str | None
) -> None:
    async with served(shop()) as (_, session):
        got, problem, headers = await ask(session, method, path, **how)
    assert got == status == problem["status"]
    assert headers["Content-Type"] == "application/problem+json"
    assert problem["title"]
    assert "inner detail" not in json.dumps(problem)
    assert [error["field"] for error in problem.get("errors", [])] == ([field] if field else [])
    if status == 409:
        assert headers["Retry-After"] == "3"
    if status == 405:
        assert "GET" in headers["Allow"]


async def test_a_body_over_the_bound_is_refused_and_the_service_goes_on() -> None:
    async with served(shop(max_body_bytes=100)) as (_, session):
        status, problem, _ = await ask(session, "POST", "/orders", data=b" " * 200, headers=JSON)
        assert (status, problem["detail"]) == (413, "body: over 100 bytes are not read")
        assert (await ask(session, "POST", "/orders", json=GOOD))[0] == 200


async def test_roles_are_checked_where_access_is_configured() -> None:
    access = bearer_access({"t-1": Identity("Meier", "officer"), "t-2": Identity("Keller", "carrier")})
    async with served(shop(access=access)) as (_, session):
        for header, status in [
            (None, 401), ("Bearer wrong", 401), ("Basic t-1", 401), ("Bearer t-2", 403), ("bearer t-1", 200),
        ]:  # fmt: skip
            headers = {"Authorization": header} if header else {}
            assert (await ask(session, "GET", "/secret", headers=headers))[0] == status, header
        assert (await ask(session, "GET", "/orders"))[0] == 200  # no role asked for


async def test_the_description_is_valid_and_complete() -> None:
    async with served(shop(access=bearer_access({}))) as (_, session):
        status, document, _ = await ask(session, "GET", "/openapi.json")
        async with session.get("/docs") as answer:
            docs = await answer.text()
            assert "script" not in answer.headers["Content-Security-Policy"]
    assert status == 200
    validate(document)
    described = {(method.upper(), path) for path, ops in document["paths"].items() for method in ops}
    assert described == {(route.method, route.path) for route in ROUTES}
    assert document["paths"]["/keyed"]["post"]["parameters"][0]["name"] == "Idempotency-Key"
    for route in ROUTES:
        assert f"<code>{route.path}</code>" in docs


def test_docs_escape_what_a_description_says() -> None:
    route = Route("GET", "/x", page, "<script>alert(1)</script>")
    assert "<script>" not in docs_page(openapi([route], title="<b>", version="1"))


async def test_a_taken_port_is_a_link_error() -> None:
    async with served(shop()) as (runner, _):
        with pytest.raises(LinkError, match=f"127.0.0.1:{runner.port}: cannot listen"):
            await run(shop(), "127.0.0.1", runner.port)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    try:
        assert isinstance(decode(body, Order), Order)
    except ProblemError as error:
        assert error.problem.status in (400, 422)


# --- server-sent events ---


async def read_events(content: aiohttp.StreamReader, count: int) -> list[int]:
    ids: list[int] = []
    async with asyncio.timeout(10):
        while len(ids) < count:
            line = await content.readline()
            assert line, "stream ended early"
            if line.startswith(b"id: "):
                ids.append(int(line[4:]))
    return ids


def streaming(stream: EventStream) -> web.Application:
    async def events(call: Call) -> Any:
        return await stream.respond(call.request)

    route = Route("GET", "/events", events, "Events", media_type="text/event-stream")
    return application([route], title="events", version="1")


def event(number: int) -> StreamEvent:
    return StreamEvent(number, "alarm", b'{"n":%d}' % number)


async def listening(stream: EventStream, count: int) -> None:
    async with asyncio.timeout(5):
        while stream.clients < count:  # noqa: ASYNC110 - the stream tells nobody but its clients
            await asyncio.sleep(0.005)


async def test_events_reach_every_client_and_resume_without_gap_or_repeat() -> None:
    stream = EventStream()
    async with served(streaming(stream)) as (_, session):
        async with session.get("/events") as one, session.get("/events") as two:
            await listening(stream, 2)
            for number in range(1, 6):
                stream.publish(event(number))
            assert await read_events(one.content, 5) == await read_events(two.content, 5) == [1, 2, 3, 4, 5]
        stream.publish(event(6))
        async with session.get("/events", headers={"Last-Event-ID": "3"}) as again:
            assert again.headers["Content-Type"] == "text/event-stream"
            assert await read_events(again.content, 3) == [4, 5, 6]
            stream.publish(event(7))
            assert await read_events(again.content, 1) == [7]
        assert (await ask(session, "GET", "/events", headers={"Last-Event-ID": "x"}))[0] == 400
        stream.close()
        assert (await ask(session, "GET", "/events"))[0] == 503


async def test_history_and_live_events_overlap_without_repeats() -> None:
    waiting, going_on = asyncio.Event(), asyncio.Event()

    async def history(above: int) -> list[StreamEvent]:
        waiting.set()
        await going_on.wait()
        return [event(number) for number in range(above + 1, 5)]

    stream = EventStream(history)
    async with served(streaming(stream)) as (_, session):
        asked = asyncio.ensure_future(session.get("/events", headers={"Last-Event-ID": "1"}))
        await waiting.wait()
        stream.publish(event(4))  # committed and published while history was being read
        stream.publish(event(5))
        going_on.set()
        async with await asked as answer:
            assert await read_events(answer.content, 4) == [2, 3, 4, 5]


async def test_a_client_that_falls_behind_is_dropped_and_others_are_not_held_up() -> None:
    stream = EventStream()
    async with served(streaming(stream)) as (_, session), session.get("/events"):
        await listening(stream, 1)
        for number in range(CLIENT_QUEUE + 2):  # nothing is read meanwhile: the loop has no turn
            stream.publish(event(number))
        assert (stream.clients, stream.dropped) == (0, 1)


async def test_closing_ends_the_stream_so_that_a_service_can_stop() -> None:
    stream = EventStream()
    async with served(streaming(stream)) as (_, session), session.get("/events") as answer:
        await listening(stream, 1)
        stream.close()
        async with asyncio.timeout(5):
            assert (await answer.content.read()).startswith(b"retry: 2000")
