"""The control room's pages and calls: the agents' calls, merged (design/experience.md section 3)."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from typing import Any

import msgspec
from aiohttp import web

from agent.web import Call, Reply, Route, application
from simulator.control_room.merge import Room

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""No inline script or style, nothing from elsewhere."""
MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class JourneyQuery(msgspec.Struct, frozen=True):
    """Which journeys; empty = all."""

    keys: str = ""
    """Keys of journeys, separated by commas."""


class JourneyPage(msgspec.Struct, frozen=True):
    """Journeys of all agents, as each agent serves them, with the agent's id."""

    journeys: list[dict[str, Any]]
    unanswered: list[str]
    """Agents whose journeys are not among them because they did not answer."""


class RoomStatus(msgspec.Struct, frozen=True):
    """State of every agent, as it says itself; mode OUT_OF_REACH where it does not answer."""

    agents: list[dict[str, Any]]
    listeners: int


def _static_pages() -> dict[str, Reply]:
    folder = files("simulator.control_room") / "static"
    found = {}
    for entry in folder.iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in MEDIA_TYPES:
            found[entry.name] = Reply(content=entry.read_bytes(), headers=PAGE_HEADERS, media_type=MEDIA_TYPES[suffix])
    return found


def room_application(room: Room) -> web.Application:
    """Routes of the control room."""
    pages = _static_pages()

    async def home(_call: Call) -> Reply:
        return pages["index.html"]

    async def static(call: Call) -> Reply:
        page = pages.get(call.path["name"])
        if page is None:
            raise web.HTTPNotFound
        return page

    async def healthz(_call: Call) -> dict[str, bool]:
        return {"ok": True}

    async def status(_call: Call) -> RoomStatus:
        return RoomStatus(await room.status(), room.stream.clients)

    async def journeys(call: Call) -> JourneyPage:
        return JourneyPage(*await room.journeys(call.query.keys))

    async def events(call: Call) -> web.StreamResponse:
        return await room.stream.respond(call.request)

    routes = [
        Route("GET", "/", home, "The control-room page", media_type="text/html"),
        Route("GET", "/static/{name}", static, "Files of the page", media_type="text/javascript"),
        Route("GET", "/healthz", healthz, "The process turns over"),
        Route("GET", "/v1/status", status, "State of every agent", responses={200: RoomStatus}),
        Route("GET", "/v1/journeys", journeys, "Journeys of all agents", query=JourneyQuery,
              responses={200: JourneyPage}),
        Route("GET", "/v1/events", events, "Events of all agents, as server-sent events",
              media_type="text/event-stream"),
    ]  # fmt: skip
    return application(routes, title="borderlane control room", version=version("borderlane"))
