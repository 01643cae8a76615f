"""The control room's pages and calls: the agents' calls, merged, and alarms (design/experience.md section 3)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec import Meta

from agent.domain.times import epoch_s
from agent.status.api import (
    BINARY,
    FRESH,
    JSON_LINES,
    ExportQuery,
    JourneyDetail,
    OverrideRequest,
    PositionsQuery,
    Story,
)
from agent.web import Call, ProblemError, Reply, Route, application
from simulator.control_room.alarms import Alarm
from simulator.control_room.figures import Point
from simulator.control_room.merge import Forwarded
from simulator.control_room.pages import read_pages
from simulator.control_room.watch import Watch
from simulator.rehearsal import ScenarioOrder

Name = Annotated[str, Meta(min_length=1, max_length=70)]


class JourneyQuery(msgspec.Struct, frozen=True):
    """Which journeys; empty = all."""

    keys: str = ""
    """Keys of journeys, separated by commas."""


class JourneyPage(msgspec.Struct, frozen=True):
    """Journeys of all agents, as each agent serves them, with the agent's id."""

    journeys: list[dict[str, Any]]
    unanswered: list[str]
    """Agents whose journeys are not among them because they did not answer."""


class DeclarationRows(msgspec.Struct, frozen=True):
    """Declarations of all agents."""

    declarations: list[dict[str, Any]]
    unanswered: list[str]


class RoomStatus(msgspec.Struct, frozen=True):
    """State of every agent, as it says itself; mode OUT_OF_REACH where it does not answer."""

    agents: list[dict[str, Any]]
    listeners: int
    rehearsal: bool = False
    """Whether the scenario takes orders."""


class AlarmPage(msgspec.Struct, frozen=True):
    """All alarms."""

    alarms: list[Alarm]
    dropped: int
    """Let go because there were too many."""


class Acknowledge(msgspec.Struct, frozen=True):
    """Somebody has taken note."""

    ids: Annotated[list[str], Meta(min_length=1, max_length=2_000)]
    by: Name = "operator"


class Acknowledged(msgspec.Struct, frozen=True):
    """What came of it."""

    unknown: list[str]
    """Ids that name no alarm (any more)."""


class Shelve(msgspec.Struct, frozen=True, rename="camel"):
    """Out of the way until a time."""

    until_time: str
    by: Name = "operator"


class Assign(msgspec.Struct, frozen=True):
    """Whose it is; empty = nobody's."""

    to: Annotated[str, Meta(max_length=70)]


class FigurePage(msgspec.Struct, frozen=True):
    """Figures over the last hour, oldest first."""

    points: list[Point]


class HistoryPage(msgspec.Struct, frozen=True):
    """What can be replayed."""

    frames: list[int]
    """Epoch milliseconds of each frame."""
    facts: list[dict[str, Any]]
    """Events, oldest first."""


class FrameQuery(msgspec.Struct, frozen=True):
    """Positions as they were."""

    at: Annotated[int, Meta(ge=0)]
    """Epoch milliseconds."""


def room_application(watch: Watch, scenario_url: str = "") -> web.Application:
    """Routes of the control room."""
    return application(
        [*_page_routes(), *_agent_routes(watch, scenario_url), *_alarm_routes(watch), *_replay_routes(watch),
         *_scenario_routes(watch, scenario_url)],
        title="borderlane control room",
        version=version("borderlane"),
    )  # fmt: skip


def _page_routes() -> list[Route]:
    pages = read_pages()

    async def home(call: Call) -> web.Response:
        return pages["index.html"].response(call.request)

    async def static(call: Call) -> web.Response:
        page = pages.get(call.path["name"])
        if page is None:
            raise web.HTTPNotFound
        return page.response(call.request)

    async def healthz(_call: Call) -> dict[str, bool]:
        return {"ok": True}

    return [
        Route("GET", "/", home, "The control-room page", media_type="text/html"),
        Route("GET", "/static/{name:.+}", static, "Files of the page", media_type="text/javascript"),
        Route("GET", "/healthz", healthz, "The process turns over"),
    ]


def _agent_routes(watch: Watch, scenario_url: str) -> list[Route]:
    room = watch.room

    async def status(_call: Call) -> RoomStatus:
        agents = watch.status or await room.status()
        return RoomStatus(agents, room.stream.clients, bool(scenario_url))

    async def journeys(call: Call) -> JourneyPage:
        if call.query.keys:
            return JourneyPage(*await room.journeys(call.query.keys))
        return JourneyPage(list(watch.book.rows.values()), watch.silent())

    async def declarations(_call: Call) -> DeclarationRows:
        pages = await room.pages("/v1/declarations")
        found = [row | {"agent": agent} for agent, page in pages if page for row in page.get("declarations", ())]
        return DeclarationRows(found, [agent for agent, page in pages if page is None])

    async def passed_on(call: Call, tail: str = "", method: str = "GET", body: bytes | None = None) -> Reply:
        key = call.path["jrn"]
        path = f"/v1/journeys/{quote(key, safe='')}{tail}"
        return _reply(await _first_that_knows(watch, key, path, method, body))

    async def journey(call: Call) -> Reply:
        return await passed_on(call)

    async def explain(call: Call) -> Reply:
        return await passed_on(call, "/explain")

    async def override(call: Call) -> Reply:
        return await passed_on(call, "/override", "POST", msgspec.json.encode(call.body))

    async def zones(_call: Call) -> Reply:
        for link in room.links:
            answer = await room.forward(link.id, "GET", "/v1/zones")
            if answer is not None and answer.status == 200:
                return _reply(answer)
        raise ProblemError(503, "no agent tells its zones")

    async def export(call: Call) -> Reply:
        path = f"/v1/journal/export?activation={quote(call.query.activation, safe='')}"
        return _reply(await _first_that_knows(watch, "", path, "GET", None))

    async def events(call: Call) -> web.StreamResponse:
        return await room.stream.respond(call.request)

    async def positions(call: Call) -> Reply:
        return Reply(content=watch.positions(call.query.since), media_type=BINARY, headers=FRESH)

    return [
        Route("GET", "/v1/status", status, "State of every agent", responses={200: RoomStatus}),
        Route("GET", "/v1/journeys", journeys, "Journeys of all agents", query=JourneyQuery,
              responses={200: JourneyPage}),
        Route("GET", "/v1/journeys/{jrn}", journey, "One journey whole", responses={200: JourneyDetail}),
        Route("GET", "/v1/journeys/{jrn}/explain", explain, "Why it was or was not activated",
              responses={200: Story}),
        Route("POST", "/v1/journeys/{jrn}/override", override, "An officer decides", request=OverrideRequest,
              responses={200: JourneyDetail}),
        Route("GET", "/v1/declarations", declarations, "Declarations of vehicles at crossings",
              responses={200: DeclarationRows}),
        Route("GET", "/v1/zones", zones, "The zones in force", media_type="application/geo+json"),
        Route("GET", "/v1/journal/export", export, "The whole proof of one activation", query=ExportQuery,
              media_type=JSON_LINES),
        Route("GET", "/v1/events", events, "Events of all agents, as server-sent events",
              media_type="text/event-stream"),
        Route("GET", "/v1/positions.bin", positions, "Vehicles of all agents, as one binary frame",
              query=PositionsQuery, media_type=BINARY),
    ]  # fmt: skip


async def _first_that_knows(watch: Watch, key: str, path: str, method: str, body: bytes | None) -> Forwarded:
    """The answer of the agent that has this key, else of the first that does not say 404."""
    known = watch.book.agent_of(key)
    agents = [link.id for link in watch.room.links if known in (None, link.id)]
    answers = [await watch.room.forward(agent, method, path, body=body) for agent in agents]
    heard = [answer for answer in answers if answer is not None]
    if len(heard) < len(answers) and all(answer.status == 404 for answer in heard):
        raise ProblemError(503, "the agent that may know it does not answer", headers={"Retry-After": "5"})
    if not heard:
        raise ProblemError(404, f"{key or 'this'}: no agent knows it")
    return next((answer for answer in heard if answer.status != 404), heard[0])


def _reply(answer: Forwarded) -> Reply:
    headers = dict(FRESH)
    if answer.disposition:
        headers["Content-Disposition"] = answer.disposition
    return Reply(content=answer.body, status=answer.status, media_type=answer.media_type, headers=headers)


def _alarm_routes(watch: Watch) -> list[Route]:
    board = watch.alarms

    async def alarms(_call: Call) -> AlarmPage:
        return AlarmPage(list(board.alarms.values()), board.dropped)

    async def acknowledge(call: Call) -> Acknowledged:
        unknown = board.acknowledge(call.body.ids, call.body.by, watch.clock.now_s())
        watch.tell_alarms()
        return Acknowledged(unknown)

    async def shelve(call: Call) -> Alarm:
        try:
            until_s = epoch_s(call.body.until_time)
        except ValueError as error:
            raise ProblemError(422, f"untilTime {call.body.until_time!r}: expected RFC 3339") from error
        now_s = watch.clock.now_s()
        if until_s <= now_s:
            raise ProblemError(422, f"untilTime {call.body.until_time!r}: expected a time to come")
        return _done(call.path["id"], board.shelve(call.path["id"], until_s, call.body.by, now_s))

    async def assign(call: Call) -> Alarm:
        return _done(call.path["id"], board.assign(call.path["id"], call.body.to))

    def _done(alarm_id: str, is_known: bool) -> Alarm:
        if not is_known:
            raise ProblemError(404, f"alarm {alarm_id!r}: not open (any more)")
        watch.tell_alarms()
        return board.alarms[alarm_id]

    return [
        Route("GET", "/v1/alarms", alarms, "What asks for an action", responses={200: AlarmPage}),
        Route("POST", "/v1/alarms/acknowledge", acknowledge, "Take note of alarms", request=Acknowledge,
              responses={200: Acknowledged}),
        Route("POST", "/v1/alarms/{id}/shelve", shelve, "Put an alarm aside until a time", request=Shelve,
              responses={200: Alarm}),
        Route("POST", "/v1/alarms/{id}/assign", assign, "Make an alarm somebody's", request=Assign,
              responses={200: Alarm}),
    ]  # fmt: skip


def _replay_routes(watch: Watch) -> list[Route]:
    async def figures(_call: Call) -> FigurePage:
        return FigurePage(list(watch.figures.points))

    async def history(_call: Call) -> HistoryPage:
        return HistoryPage(watch.history.times_ms, list(watch.facts))

    async def frame(call: Call) -> Reply:
        found = watch.history.at(call.query.at)
        if found is None:
            raise ProblemError(404, "nothing is kept of that time")
        return Reply(content=found, media_type=BINARY)

    return [
        Route("GET", "/v1/figures", figures, "Flow, latency, selection and queue over the last hour",
              responses={200: FigurePage}),
        Route("GET", "/v1/history", history, "What can be replayed", responses={200: HistoryPage}),
        Route("GET", "/v1/history/positions.bin", frame, "Positions as they were at a time", query=FrameQuery,
              media_type=BINARY),
    ]  # fmt: skip


def _scenario_routes(watch: Watch, url: str) -> list[Route]:
    if not url:
        return []

    async def order(call: Call) -> Reply:
        answer = await watch.room.order(url, msgspec.json.encode(call.body))
        if answer is None:
            raise ProblemError(503, "the scenario does not answer")
        return _reply(answer)

    return [Route("POST", "/v1/scenario", order, "Rehearsal: what shall happen next", request=ScenarioOrder)]
