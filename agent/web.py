"""One route table gives routing, decoding, roles, problem+json and OpenAPI 3.1, for every HTTP service here.

A service is a list of `Route`s; `application` makes an aiohttp application of it, `run` serves it. The same
table is the source of `/openapi.json` and of the page `/docs`, so neither can drift from what is served.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from aiohttp import web
from apispec import APISpec

from agent.errors import AgentError, LinkError
from agent.web_page import PAGE_HEADERS, docs_page

MAX_BODY_BYTES = 1 << 20
"""Largest request body unless a service says otherwise; larger ones are refused with 413."""
SHUTDOWN_S = 2.0
"""How long running requests may take to end when a service stops, wall seconds."""
CLIENT_QUEUE = 1_000
"""Events that may wait for one client; who is further behind is dropped (design/experience.md section 3)."""
SEND_TIMEOUT_S = 5.0
"""A client that takes nothing for so long is dropped."""
HEARTBEAT_S = 10.0
"""A comment line so often, so that proxies and clients see that the stream lives."""
RETRY_MS = 2_000
"""How long a client should wait before it connects again."""
MAX_STREAM_CLIENTS = 200
"""Clients of one event stream; more are refused with 503."""

PROBLEM_TYPE = "application/problem+json"
_PATH_NAME = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_AT = re.compile(r" - at `(?P<path>\$[^`]*)`$")


class FieldError(msgspec.Struct, frozen=True):
    """One fault of a request: JSONPath of the field and what was expected there."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to a request that was not served (RFC 9457)."""

    title: str
    status: int
    type: str = "about:blank"
    detail: str | None = None
    instance: str | None = None
    errors: tuple[FieldError, ...] = ()


class ProblemError(AgentError):
    """Raised by a handler to answer with problem+json."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        title: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(
            title=title or HTTPStatus(status).phrase, status=status, detail=detail, errors=tuple(errors)
        )
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Identity:
    """Who asks, and in which role: operator, officer, supervisor, auditor, carrier, agent or trade."""

    name: str
    role: str


Access = Callable[[web.Request], Identity | None]
"""Says who asks; None = nobody we know."""


@dataclass(frozen=True)
class Call:
    """One request, decoded."""

    request: web.Request
    path: Mapping[str, str]
    query: Any = None
    """The route's query struct."""
    body: Any = None
    """The route's request model; the bytes if the route is `raw`."""
    identity: Identity | None = None

    def header(self, name: str) -> str:
        """Value of a header, or empty."""
        return self.request.headers.get(name, "")


@dataclass(frozen=True)
class Reply:
    """What a handler answers when a plain value with status 200 is not enough."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    """Exact bytes instead of `body`, for answers that must repeat byte for byte."""
    media_type: str = "application/json"


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """One call: everything about it that routing, decoding and the description need."""

    method: str
    path: str
    """With `{name}` for parts that vary."""
    handler: Handler
    """Gets a `Call`; returns a value for 200, a `Reply`, or an aiohttp response."""
    summary: str
    request: Any = None
    """msgspec type of the body, or None."""
    responses: Mapping[int, Any] = field(default_factory=lambda: {200: None})
    """Status to msgspec type of the answer; None = no JSON described."""
    query: type[msgspec.Struct] | None = None
    """Struct of the query parameters."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that must be there, each with what it is for; one missing is a 400."""
    roles: tuple[str, ...] = ()
    """Roles that may call it; empty = everybody."""
    raw: bool = False
    """Hand the body over as bytes; `request` then only describes it."""
    media_type: str = "application/json"
    """Of the answer, where it is not JSON."""


def problem_reply(problem: Problem, headers: Mapping[str, str] | None = None) -> web.Response:
    """The response that carries a problem."""
    return web.Response(
        body=msgspec.json.encode(problem), status=problem.status, content_type=PROBLEM_TYPE, headers=headers
    )


def field_error(error: msgspec.ValidationError) -> FieldError:
    """The field that msgspec refused, by JSONPath, and why."""
    text = str(error)
    at = _AT.search(text)
    return FieldError(at["path"], text[: at.start()]) if at else FieldError("$", text)


def decode(body: bytes, model: Any) -> Any:
    """Body as the model.

    Raises:
        ProblemError: 400 not JSON, 422 JSON of another form; names the field.
    """
    try:
        return msgspec.json.decode(body, type=model)
    except msgspec.ValidationError as error:
        fault = field_error(error)
        raise ProblemError(422, f"{fault.field}: {fault.message}", (fault,)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProblemError(400, f"body: expected JSON: {error}") from error


def bearer_access(tokens: Mapping[str, Identity]) -> Access:
    """Access by `Authorization: Bearer TOKEN`; only hashes of the tokens are kept."""
    known = [(hashlib.sha256(token.encode()).digest(), identity) for token, identity in tokens.items()]

    def identify(request: web.Request) -> Identity | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found = [identity for hashed, identity in known if hmac.compare_digest(hashed, digest)]
        return found[0] if found and scheme.lower() == "bearer" else None

    return identify


def application(
    routes: Sequence[Route],
    *,
    title: str,
    version: str,
    description: str = "",
    access: Access | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> web.Application:
    """An aiohttp application that serves the table, besides `/openapi.json` and `/docs`.

    Args:
        access: Says who asks. None = roles are not checked: only for a service on loopback.
    """
    app = web.Application(client_max_size=max_body_bytes, middlewares=[_problems])
    document = openapi(routes, title=title, version=version, description=description, secured=access is not None)
    for route in routes:
        app.router.add_route(route.method, route.path, _served(route, access))
    app.router.add_get("/openapi.json", _fixed(msgspec.json.encode(document), "application/json"))
    app.router.add_get("/docs", _fixed(docs_page(document).encode(), "text/html", PAGE_HEADERS))
    return app


def _fixed(content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Any:
    async def serve(_request: web.Request) -> web.Response:
        return web.Response(
            body=content,
            content_type=media_type,
            charset="utf-8" if "html" in media_type else None,
            headers=headers,
        )

    return serve


def _served(route: Route, access: Access | None) -> Any:
    async def serve(request: web.Request) -> web.StreamResponse:
        identity = access(request) if access else None
        _check_role(route, access, identity)
        _check_headers(route, request)
        query = _decode_query(route, request)
        body = await _decode_body(route, request)
        return _response(await route.handler(Call(request, request.match_info, query, body, identity)))

    return serve


def _check_role(route: Route, access: Access | None, identity: Identity | None) -> None:
    if not route.roles or access is None:
        return
    if identity is None:
        raise ProblemError(401, "who asks is not known", headers={"WWW-Authenticate": "Bearer"})
    if identity.role not in route.roles:
        raise ProblemError(403, f"role {identity.role!r}: expected {' or '.join(route.roles)}")


def _check_headers(route: Route, request: web.Request) -> None:
    missing = [name for name in route.headers if not request.headers.get(name, "").strip()]
    if missing:
        faults = [FieldError(f"header {name}", route.headers[name]) for name in missing]
        raise ProblemError(400, f"header {', '.join(missing)} missing", faults)


def _decode_query(route: Route, request: web.Request) -> Any:
    if route.query is None:
        return None
    try:
        return msgspec.convert(dict(request.query), route.query, strict=False)
    except msgspec.ValidationError as error:
        fault = field_error(error)
        raise ProblemError(422, f"query {fault.field}: {fault.message}", (fault,)) from error


async def _decode_body(route: Route, request: web.Request) -> Any:
    if route.request is None:
        return None
    # Anything but JSON is refused: a browser sends forms across origins without asking, JSON it does not.
    if not (request.content_type == "application/json" or request.content_type.endswith("+json")):
        raise ProblemError(415, f"Content-Type {request.content_type}: expected application/json")
    body = await request.read()
    return body if route.raw else decode(body, route.request)


def _response(answer: Any) -> web.StreamResponse:
    if isinstance(answer, web.StreamResponse):
        return answer
    reply = answer if isinstance(answer, Reply) else Reply(answer)
    content = reply.content if reply.content is not None else msgspec.json.encode(reply.body)
    if reply.status == HTTPStatus.NO_CONTENT:
        return web.Response(status=204, headers=reply.headers)
    return web.Response(
        body=content, status=reply.status, content_type=reply.media_type, headers=dict(reply.headers) or None
    )


@web.middleware
async def _problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every refusal leaves as problem+json; a fault of ours as 500 without inner detail."""
    try:
        return await handler(request)
    except ProblemError as error:
        return problem_reply(error.problem, error.headers)
    except web.HTTPRequestEntityTooLarge:
        size = f"body: over {request.client_max_size} bytes are not read"
        return problem_reply(Problem(title="Content Too Large", status=413, detail=size))
    except web.HTTPException as error:
        if error.status < 400:  # redirects are raised too
            raise
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        detail = f"{request.method} {request.path}"
        return problem_reply(Problem(title=error.reason, status=error.status, detail=detail), allow)
    except Exception:  # the last resort of a server: log it, serve on
        structlog.get_logger().exception("request_failed", method=request.method, route=_route_name(request))
        return problem_reply(Problem(title="Internal Server Error", status=500))


def _route_name(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else "-"


# --- description ---


def openapi(
    routes: Sequence[Route], *, title: str, version: str, description: str = "", secured: bool = False
) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a route table."""
    spec = APISpec(title=title, version=version, openapi_version="3.1.0", info={"description": description})
    models = _models(routes)
    schemas, components = msgspec.json.schema_components(models, ref_template="#/components/schemas/{name}")
    for name, schema in components.items():
        spec.components.schema(name, schema)
    if secured:
        spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    shown = {id(model): schema for model, schema in zip(models, schemas, strict=True)}
    for route in routes:
        spec.path(
            path=_PATH_NAME.sub(r"{\1}", route.path),
            operations={route.method.lower(): _operation(route, shown, components, secured)},
        )
    return dict(spec.to_dict())


def _models(routes: Sequence[Route]) -> list[Any]:
    wanted: dict[int, Any] = {id(Problem): Problem}
    for route in routes:
        for model in (route.request, route.query, *route.responses.values()):
            if model is not None:
                wanted[id(model)] = model
    return list(wanted.values())


def _operation(route: Route, shown: Mapping[int, Any], components: Mapping[str, Any], secured: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}_{route.path}").strip("_"),
        "parameters": _parameters(route, components),
        "responses": {
            str(status): _described(status, route, None if model is None else shown[id(model)])
            for status, model in route.responses.items()
        },
    }
    operation["responses"]["default"] = {
        "description": "The request was not served (RFC 9457)",
        "content": {PROBLEM_TYPE: {"schema": shown[id(Problem)]}},
    }
    if route.request is not None:
        schema = shown[id(route.request)]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if secured and route.roles:
        operation["security"] = [{"bearer": []}]
        operation["description"] = f"Roles: {', '.join(route.roles)}."
    return operation


def _described(status: int, route: Route, schema: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if schema is not None or route.media_type != "application/json":
        answer["content"] = {route.media_type: {"schema": schema if schema is not None else {"type": "string"}}}
    return answer


def _parameters(route: Route, components: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_NAME.findall(route.path)
    ]
    found += [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": purpose}
        for name, purpose in route.headers.items()
    ]
    if route.query is not None:
        schema = components[route.query.__name__]
        found += [
            {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": value}
            for name, value in schema["properties"].items()
        ]
    return found


# --- serving ---


@dataclass(frozen=True)
class Runner:
    """A service that is being served."""

    host: str
    port: int
    scheme: str
    _runner: web.AppRunner

    @property
    def url(self) -> str:
        """Address of the service."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    async def stop(self) -> None:
        """Close the port, let running requests end, close."""
        await self._runner.cleanup()


async def run(app: web.Application, host: str, port: int, tls: ssl.SSLContext | None = None) -> Runner:
    """Serve an application; port 0 = a free one.

    Raises:
        LinkError: the port cannot be had.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError as error:
        await runner.cleanup()
        raise LinkError(f"{host}:{port}: cannot listen: {error.strerror or error}") from error
    return Runner(host, int(runner.addresses[0][1]), "https" if tls else "http", runner)


# --- server-sent events ---


@dataclass(frozen=True)
class StreamEvent:
    """One event of a stream."""

    id: int
    """Rises; a client resumes above the last one it has."""
    kind: str
    data: bytes
    """JSON on one line, as msgspec writes it."""

    def encode(self) -> bytes:
        """The lines of this event."""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.id, self.kind.encode(), self.data)


History = Callable[[int], Awaitable[Sequence[StreamEvent]]]
"""Events above an id, oldest first; may be bounded: what a client misses beyond that, it loads anew."""


class EventStream:
    """Server-sent events to many clients; nobody who is slow holds up the others or grows without bound."""

    def __init__(self, history: History | None = None) -> None:
        """`history` reads events above an id, e.g. from a journal; without it the last 1,000 are kept."""
        self._history = history or self._kept
        self._recent: deque[StreamEvent] = deque(maxlen=CLIENT_QUEUE)
        self._clients: set[asyncio.Queue[StreamEvent | None]] = set()
        self._closed = False
        self.dropped = 0
        """Clients dropped because they fell behind."""

    @property
    def clients(self) -> int:
        """How many listen now."""
        return len(self._clients)

    def publish(self, event: StreamEvent) -> None:
        """Hand an event to every client; call from the loop's own thread, with rising ids. Never waits."""
        self._recent.append(event)
        for queue in list(self._clients):
            if queue.qsize() >= CLIENT_QUEUE:
                self._drop(queue)
            else:
                queue.put_nowait(event)

    def close(self) -> None:
        """End the stream for every client."""
        self._closed = True
        for queue in list(self._clients):
            self._clients.discard(queue)
            queue.put_nowait(None)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it goes, falls behind, or the stream closes. Resumes by `Last-Event-ID`."""
        if self._closed or len(self._clients) >= MAX_STREAM_CLIENTS:
            raise ProblemError(503, "no more listeners now", headers={"Retry-After": "5"})
        last_id = _last_event_id(request)
        queue: asyncio.Queue[StreamEvent | None] = asyncio.Queue()
        self._clients.add(queue)  # before history is read, so that nothing falls between the two
        try:
            response = web.StreamResponse(
                headers={
                    "Content-Type": "text/event-stream",
                    "Cache-Control": "no-store",
                    "X-Accel-Buffering": "no",
                }
            )
            await response.prepare(request)
            await _send(response, b"retry: %d\n\n" % RETRY_MS)
            await self._follow(response, queue, last_id)
        except (TimeoutError, ConnectionResetError):
            self.dropped += queue in self._clients
        finally:
            self._clients.discard(queue)
        return response

    async def _follow(
        self, response: web.StreamResponse, queue: asyncio.Queue[StreamEvent | None], last_id: int | None
    ) -> None:
        sent_id = -1 if last_id is None else last_id
        if last_id is not None:
            for missed in await self._history(last_id):
                await _send(response, missed.encode())
                sent_id = max(sent_id, missed.id)
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    event = await queue.get()
            except TimeoutError:
                await _send(response, b": still here\n\n")
                continue
            waiting = [event, *(queue.get_nowait() for _ in range(queue.qsize()))]
            new = [one for one in waiting if one is not None and one.id > sent_id]  # history and queue overlap
            if new:
                await _send(response, b"".join([one.encode() for one in new]))
                sent_id = new[-1].id
            if waiting[-1] is None:
                return

    def _drop(self, queue: asyncio.Queue[StreamEvent | None]) -> None:
        self.dropped += 1
        self._clients.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)

    async def _kept(self, above: int) -> Sequence[StreamEvent]:
        return [event for event in self._recent if event.id > above]


async def _send(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await response.write(data)


def _last_event_id(request: web.Request) -> int | None:
    text = request.headers.get("Last-Event-ID") or request.query.get("lastEventId")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ProblemError(400, f"Last-Event-ID {text[:40]!r}: expected a number")
    return int(text)
