"""The driver's page over HTTP (`/driver/{token}`, design/experience.md section 4): files, live word, what comes back.

The page is shown as a roadside sign is: it says GO only as long as it hears, each second, that GO stands. So every
message carries the server's monotonic clock, and nothing here or in the page rests on the clock of the phone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import html
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import msgspec
from aiohttp import web

from agent.delivery.driver_view import (
    DriverIncident,
    DriverLink,
    DriverMessage,
    DriverReceipt,
    DriverView,
    PassCode,
    Pulse,
)
from agent.delivery.pass_code import qr_svg
from agent.delivery.wording import LANGUAGES, NATIONAL, text_file, wording
from agent.web import SEND_TIMEOUT_S, Call, ProblemError, Reply, Route

BEAT_S = 1.0
"""A page hears so often that what it shows still stands; after three seconds of silence it shows no GO."""
MAX_PAGES = 400
"""Pages open at one agent; more are refused with 503."""
MAX_PAGES_OF_ONE = 6
"""Pages open for one journey: crew, dispatcher, a second phone."""
LINKING = ("operator", "officer", "supervisor", "carrier")
POSTS_A_MINUTE = 60
"""Receipts and reports of one journey; more are refused with 429."""
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "geolocation=(self), camera=(), microphone=()",
    "Cache-Control": "no-cache",
}
"""The address holds a secret: it goes to nobody else."""
PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
MEDIA_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
    "json": "application/json",
    "webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class Look:
    """What a journey's page shows now."""

    records: Any
    """What it was made from; the same object means that nothing has changed."""
    view: DriverView
    pulse: Pulse


@dataclass(frozen=True)
class DriverDesk:
    """What pages ask and tell; the app provides each. Journeys that are over are None."""

    jrn: Callable[[str], str | None]
    """The journey of a token; None = the token is none of ours."""
    records: Callable[[str], Any | None]
    """What the view of a journey is made from."""
    look: Callable[[Any], Look]
    receipt: Callable[[str, DriverReceipt], Awaitable[bool]]
    """True once it is on disk; False if no unit of the journey has this instruction."""
    incident: Callable[[str, DriverIncident], Awaitable[bool]]
    code: Callable[[str], Awaitable[PassCode | None]]
    recorded: Callable[[str], dict[str, object]]
    link: Callable[[str, str], DriverLink | None]
    """(jrn, address the agent is asked under) to the page's address."""


@dataclass(eq=False)
class _Client:
    jrn: str
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    records: Any = None


class DriverPages:
    """Routes of the page, and the pages that are open."""

    def __init__(self, desk: DriverDesk, papers_days: float) -> None:
        self._desk, self._papers_days = desk, papers_days
        self._clients: set[_Client] = set()
        self._posts: dict[str, deque[float]] = defaultdict(deque)
        self._closed = False
        self._files = _page_files(f"{papers_days:g}")

    @property
    def open_pages(self) -> int:
        """How many listen now."""
        return len(self._clients)

    def news(self) -> None:
        """Something is on disk: pages whose records have changed are told at once."""
        for client in self._clients:
            records = self._desk.records(client.jrn)
            if records is None or not records.same_as(client.records):
                client.bell.set()

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        for client in self._clients:
            client.bell.set()

    def link_routes(self) -> list[Route]:
        """Where a page is, for staff and for the dispatcher who passes it on."""
        link = "/v1/journeys/{jrn}/driver-link"
        return [
            Route("GET", link, self._link, "Address of the driver's page", responses={200: DriverLink}, roles=LINKING),
            Route("GET", f"{link}.svg", self._link_picture, "The same as QR code", media_type="image/svg+xml",
                  roles=LINKING),
        ]  # fmt: skip

    def page_routes(self) -> list[Route]:
        """The calls of the page; a token is all the access they need."""
        page = "/driver/{token}"
        return [
            Route("GET", "/driver/static/{name}", self._static, "Files of the driver's page",
                  media_type="text/javascript"),
            Route("GET", page, self._page, "The driver's page", media_type="text/html"),
            Route("GET", f"{page}/events", self._events, "The word that stands, each second",
                  media_type="text/event-stream"),
            Route("GET", f"{page}/code", self._code, "The signed instruction as QR code", responses={200: PassCode}),
            Route("GET", f"{page}/recorded", self._recorded, "What is held about the driver"),
            Route("POST", f"{page}/receipt", self._receipt, "What the page did with an instruction",
                  request=DriverReceipt, responses={204: None}),
            Route("POST", f"{page}/incident", self._incident, "More goods, breakdown, other trailer",
                  request=DriverIncident, responses={204: None}),
        ]  # fmt: skip

    # --- files --------------------------------------------------------------------------------------------------

    async def _static(self, call: Call) -> Reply:
        reply = self._files.get(call.path["name"])
        if reply is None:
            raise web.HTTPNotFound
        return reply

    async def _page(self, call: Call) -> Reply:
        """The same page for every journey; what it shows, it hears. Refusals are pages too: people read them."""
        jrn = self._desk.jrn(call.path["token"])
        if jrn is None or self._desk.records(jrn) is None:
            status, key = (404, "unknownLink") if jrn is None else (410, "OVER")
            return Reply(content=self._refusal(key), status=status, media_type="text/html", headers=PAGE_HEADERS)
        return self._files["page.html"]

    def _refusal(self, key: str) -> bytes:
        """A page without script that says, in the four national languages, that this link opens nothing."""
        parts = "".join(f'<p lang="{language}">{html.escape(_sentence(language, key))}</p>' for language in NATIONAL)
        text = self._files["refusal.html"].content or b""
        return text.replace(b"<!--sentences-->", parts.encode())

    async def _link(self, call: Call) -> Reply:
        return Reply(self._link_of(call), headers=PRIVATE)

    async def _link_picture(self, call: Call) -> Reply:
        picture = await asyncio.to_thread(qr_svg, self._link_of(call).url)
        return Reply(content=picture, media_type="image/svg+xml", headers=PRIVATE)

    def _link_of(self, call: Call) -> DriverLink:
        found = self._desk.link(call.path["jrn"], f"{call.request.scheme}://{call.request.host}")
        if found is None:
            raise ProblemError(404, f"journey {call.path['jrn']!r}: over, or not known here")
        return found

    # --- live ---------------------------------------------------------------------------------------------------

    async def _events(self, call: Call) -> web.StreamResponse:
        jrn = self._jrn(call)
        client = self._admitted(jrn)
        try:
            response = web.StreamResponse(
                headers={**PRIVATE, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
            )
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                await response.prepare(call.request)
                await self._follow(response, client)
        finally:
            self._clients.discard(client)
        return response

    def _admitted(self, jrn: str) -> _Client:
        same = sum(client.jrn == jrn for client in self._clients)
        if self._closed or len(self._clients) >= MAX_PAGES or same >= MAX_PAGES_OF_ONE:
            raise ProblemError(503, "no more pages now", headers={"Retry-After": "2"})
        client = _Client(jrn)
        self._clients.add(client)
        return client

    async def _follow(self, response: web.StreamResponse, client: _Client) -> None:
        shown: DriverView | None = None
        await _send(response, b"retry: 1000\n\n")
        while not self._closed:
            records = self._desk.records(client.jrn)
            if records is None:
                await _send(response, b"event: over\ndata: {}\n\n")
                return
            look = self._desk.look(records)
            told = DriverMessage(pulse=look.pulse, view=None if look.view == shown else look.view)
            client.records, shown = records, look.view
            await _send(response, b"data: %s\n\n" % msgspec.json.encode(told))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await client.bell.wait()
            client.bell.clear()

    # --- what comes back ----------------------------------------------------------------------------------------

    async def _code(self, call: Call) -> Reply:
        code = await self._desk.code(self._jrn(call))
        if code is None:
            raise ProblemError(404, "nothing signed stands for this journey")
        return Reply(code, headers=PRIVATE)

    async def _recorded(self, call: Call) -> Reply:
        headers = {**PRIVATE, "Content-Disposition": 'attachment; filename="borderlane-recorded.json"'}
        return Reply({**self._desk.recorded(self._jrn(call)), "papersKeptDays": self._papers_days}, headers=headers)

    async def _receipt(self, call: Call) -> Reply:
        if not await self._desk.receipt(self._posting(call), call.body):
            raise ProblemError(409, "no unit of this journey was sent this instruction")
        return Reply(status=204)

    async def _incident(self, call: Call) -> Reply:
        if not await self._desk.incident(self._posting(call), call.body):
            raise ProblemError(409, "no unit speaks for this journey: report to an officer")
        return Reply(status=204)

    def _jrn(self, call: Call) -> str:
        jrn = self._desk.jrn(call.path["token"])
        if jrn is None:
            raise ProblemError(404, "this link is not valid")
        if self._desk.records(jrn) is None:
            raise ProblemError(410, "this journey is over")
        return jrn

    def _posting(self, call: Call) -> str:
        """The journey, if it has not said too much lately."""
        jrn, now_s = self._jrn(call), time.monotonic()
        said = self._posts[jrn]
        while said and said[0] < now_s - 60.0:
            said.popleft()
        if len(said) >= POSTS_A_MINUTE:
            raise ProblemError(429, "too much at once", headers={"Retry-After": "60"})
        said.append(now_s)
        self._forget_silent(now_s)
        return jrn

    def _forget_silent(self, now_s: float) -> None:
        if len(self._posts) > MAX_PAGES:
            silent = [jrn for jrn, said in self._posts.items() if not said or said[-1] < now_s - 60.0]
            for jrn in silent:
                del self._posts[jrn]


def _sentence(language: str, key: str) -> str:
    words = wording(language)
    return words.lines[key] if key in words.lines else words.says[key]


async def _send(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await response.write(data)


def _page_files(papers_days: str) -> dict[str, Reply]:
    """Files of the page by name; the service worker holds the stamp of all of them, by which a phone finds new ones."""
    folder = files("agent.delivery") / "driver_page"
    contents = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    contents |= {f"{language}.json": text_file(language) for language in LANGUAGES}
    names = {language: wording(language).name for language in LANGUAGES}
    contents["languages.json"] = msgspec.json.encode(names)
    contents["page.html"] = contents["page.html"].replace(b"@DAYS@", papers_days.encode())
    stamp = hashlib.sha256(b"".join(contents[name] for name in sorted(contents))).hexdigest()[:12]
    listed = msgspec.json.encode(sorted(name for name in contents if name not in ("worker.js", "refusal.html")))
    worker = contents["worker.js"].replace(b"@STAMP@", stamp.encode()).replace(b"[/* files */]", listed)
    contents["worker.js"] = worker
    return {name: _file_reply(name, content) for name, content in contents.items()}


def _file_reply(name: str, content: bytes) -> Reply:
    allowed = {"Service-Worker-Allowed": "/driver/"} if name == "worker.js" else {}
    media_type = MEDIA_TYPES[name.rsplit(".", 1)[-1]]
    return Reply(content=content, headers={**PAGE_HEADERS, **allowed}, media_type=media_type)
