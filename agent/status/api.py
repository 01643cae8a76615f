"""The agent's HTTP calls (contract section 7): how it is, what it sees, what an officer decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from agent.domain.instruction import Action
from agent.status.access import VOUCHING
from agent.status.live import Metrics
from agent.status.positions import encode_frame, rows_of
from agent.web import Access, Call, EventStream, Problem, ProblemError, Reply, Route, application

SEEING = ("operator", "officer", "supervisor", "auditor", VOUCHING)
DECIDING = ("officer", "supervisor")
EXPORTING = ("officer", "supervisor", "auditor", VOUCHING)
BINARY, JSON_LINES = "application/octet-stream", "application/jsonl"
FRESH = {"Cache-Control": "no-store"}
ROWS_MAX = 50_000


class JourneyQuery(msgspec.Struct, frozen=True):
    """Which journeys; empty = all."""

    keys: str = ""
    """Keys, jrns or units, separated by commas."""


class JourneyRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One vehicle at a crossing, or a journey that is expected."""

    key: str
    """Key of the instruction: the jrn, or `unit:` + unit where there is no journey."""
    jrn: str | None
    unit: str | None
    plate: str | None
    nationality: str | None
    crossing: str | None
    direction: str | None
    stage: str
    """Of the passage: TRACKING, ACTIVATION, CONFIRMATION, PASSED, ABORTED; EXPECTED before it."""
    state: str | None
    """Of the journey (design/domain.md section 5, T)."""
    action: str | None
    reason_code: str | None
    version: int
    declarations: int
    waiting: bool
    breach: bool
    closed: bool
    changed: str | None
    handle: int | None = None
    """Number of its unit in `positions.bin`; None where it is in no tracking zone."""
    officer: str | None = None
    """Who decided last, where an officer did."""
    channel: str | None = None
    """Worst channel of its risk answers: green, yellow or red."""
    score: int | None = None
    """Highest score of them."""
    decide_by: str | None = None
    """When HOLD is decided if nothing else is; only while it waits."""


class JourneyPage(msgspec.Struct, frozen=True):
    """Journeys and vehicles."""

    journeys: tuple[JourneyRow, ...]


class JourneyDetail(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One journey whole."""

    row: JourneyRow
    causes: tuple[dict[str, Any], ...]
    deliveries: tuple[dict[str, Any], ...]
    declarations: tuple[dict[str, Any], ...]
    instruction: dict[str, Any] | None
    entered_at: str | None
    decide_by: str | None
    assessments: tuple[dict[str, Any], ...] = ()
    """Risk answers in force, with score card; for officials only."""


class PositionsQuery(msgspec.Struct, frozen=True):
    """Which positions."""

    since: Annotated[int, Meta(ge=0)] = 0
    """Only what changed after this time of an earlier frame, epoch milliseconds; 0 = everything."""


class DeclarationRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One goods declaration that a vehicle has brought to a crossing."""

    mrn: str | None
    version: int
    activation_id: str
    state: str
    """Of machine G (design/domain.md section 5)."""
    jrn: str
    plate: str | None
    crossing: str | None
    direction: str | None
    action: str | None
    routing: str | None
    channel: str | None
    score: int | None
    selection_kind: str | None


class DeclarationPage(msgspec.Struct, frozen=True):
    """Declarations of vehicles at crossings."""

    declarations: tuple[DeclarationRow, ...]


class Story(msgspec.Struct, frozen=True):
    """Why a vehicle was or was not activated, as `borderlane explain` says it."""

    verdict: str
    lines: tuple[str, ...]
    explanation: dict[str, Any]


class ExportQuery(msgspec.Struct, frozen=True):
    """Of which activation; its whole proof is given."""

    activation: Annotated[str, Meta(min_length=1, max_length=64)]


class OutputStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One roadside output: what it should show, was told to show, and is measured to show."""

    kind: str
    crossing: str
    direction: str
    lane: str | None
    wanted: str
    """GO, GO_WITH_OBLIGATION, STOP, HOLD, OPEN, CLOSED or DEFAULT (the site's default)."""
    commanded: str | None
    """None while there is no link to its device."""
    measured: str | None
    jrn: str | None
    """Whose decision it shows."""
    unit: str | None
    fault: str
    """NONE, LAMP, DOOR, POWER or LOST."""


class ListenerStatus(msgspec.Struct, frozen=True):
    """How a listener for telematics units is."""

    connections: int
    counts: dict[str, int]
    """Frames and connections by what became of them: accepted, refusals by reason, unknown_unit and so on."""


class PortStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One serial port of a receiver."""

    path: str
    state: str
    """open, lost or absent."""
    reason: str
    """Why it is lost or absent."""
    last_frame_age_s: float | None
    """Since the last frame with a right checksum; None = none yet."""
    reopens: int
    frames: int
    reports: int
    refusals: dict[str, int]
    """By reason."""
    noise_bytes: int
    """Bytes that belonged to no frame."""
    doubted: str | None
    """Why the dates of its last ten or more fixes were refused."""


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How the agent is."""

    agent: str
    mode: str
    degraded: tuple[str, ...]
    mode_since: str
    since: str
    version: str
    zone_set: str
    zones: int
    broker_connected: bool
    customs_reachable: bool
    feed_marker: int
    journeys: int
    units: int
    waiting: int
    """Vehicles whose time budget runs."""
    outbox_pending: int
    outbox_oldest_s: float | None
    journal_entries: int
    fixes: dict[str, int]
    instructions: dict[str, int]
    fix_to_instruction_ms: dict[str, float]
    serial: dict[str, str]
    ports: dict[str, PortStatus] = {}
    outputs: dict[str, OutputStatus] = {}
    checkpoint: str | None = None
    """Newest signed head of the journal (C2SP tlog-checkpoint); whoever keeps it can prove a cut or rebuilt one."""
    checkpoint_held: int | None = None
    """Entries of the head that customs holds; None = not known, or customs refuses ours."""
    capture: dict[str, str] = {}
    """Ports whose raw bytes are recorded: `recording`, `full`, `failed` or `closed`."""
    listeners: dict[str, ListenerStatus] = {}


class OverrideRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An officer decides."""

    action: str
    """GO, GO_WITH_OBLIGATION, STOP or HOLD."""
    officer: Annotated[str, Meta(min_length=1, max_length=70)]
    reason: Annotated[str, Meta(min_length=1, max_length=512)]
    role: str = "officer"
    """Believed of a control room, which knows who has signed in there, and where nobody is asked who he is (loopback
    without certificates); else the role is that of whoever asks."""
    lane: Annotated[str, Meta(max_length=35)] | None = None
    customs_office: Annotated[str, Meta(max_length=17)] | None = None


class Health(msgspec.Struct, frozen=True):
    """Whether it lives or is ready, and each part of it."""

    ok: bool
    parts: dict[str, bool] = {}


async def nobody_knows(_name: str) -> None:
    """What an agent without a journal says of anything."""


@dataclass(frozen=True)
class Desk:
    """What the calls ask and tell; the app provides each."""

    status: Callable[[], AgentStatus]
    rows: Callable[[frozenset[str]], tuple[JourneyRow, ...]]
    detail: Callable[[str], JourneyDetail | None]
    ready: Callable[[], dict[str, bool]]
    override: Callable[[str, OverrideRequest, Action, str], Awaitable[bool]]
    """Key, request, action, role; True once it is on disk, False if nothing is known under the key."""
    stream: EventStream
    metrics: Metrics
    positions: Callable[[int], bytes] = lambda _since_ms: encode_frame(rows_of(()), 0)
    """Frame of `positions.bin`; 0 = everything, else what changed since."""
    declarations: Callable[[], tuple[DeclarationRow, ...]] = tuple
    zones: Callable[[], bytes] = lambda: b'{"type":"FeatureCollection","features":[]}'
    """The zone file in force."""
    explain: Callable[[str], Awaitable[Story | None]] = nobody_knows
    """Key, plate or unit; None if nothing is known under it."""
    proof: Callable[[str], Awaitable[bytes | None]] = nobody_knows
    """JSON Lines for `borderlane journal verify` of one activation; None if no entry names it."""


def agent_application(
    desk: Desk, version: str, access: Access | None = None, more: Sequence[Route] = ()
) -> web.Application:
    """Routes of the agent, and of what else it serves."""

    async def healthz(_call: Call) -> Health:
        return Health(True)

    async def readyz(_call: Call) -> Reply:
        parts = desk.ready()
        return Reply(Health(all(parts.values()), parts), 200 if all(parts.values()) else 503)

    async def metrics(_call: Call) -> Reply:
        return Reply(content=desk.metrics.text(), media_type="text/plain")

    async def status(_call: Call) -> AgentStatus:
        return desk.status()

    async def journeys(call: Call) -> JourneyPage:
        keys = frozenset(filter(None, call.query.keys.split(",")))
        return JourneyPage(desk.rows(keys)[:ROWS_MAX])

    async def journey(call: Call) -> JourneyDetail:
        found = desk.detail(call.path["jrn"])
        if found is None:
            raise ProblemError(404, f"journey {call.path['jrn']!r}: not known here")
        return found

    async def events(call: Call) -> web.StreamResponse:
        return await desk.stream.respond(call.request)

    async def override(call: Call) -> JourneyDetail:
        request: OverrideRequest = call.body
        if request.action not in Action.__members__:
            raise ProblemError(422, f"action {request.action!r}: expected one of {', '.join(Action.__members__)}")
        asking = call.identity
        role = request.role if asking is None or asking.role == VOUCHING else asking.role
        if role not in DECIDING:
            raise ProblemError(403, f"role {role!r}: expected {' or '.join(DECIDING)}")
        if not await desk.override(call.path["jrn"], request, Action[request.action], role):
            raise ProblemError(404, f"journey {call.path['jrn']!r}: not known here")
        return await journey(call)

    async def positions(call: Call) -> Reply:
        return Reply(content=desk.positions(call.query.since), media_type=BINARY, headers=FRESH)

    async def declarations(_call: Call) -> DeclarationPage:
        return DeclarationPage(desk.declarations()[:ROWS_MAX])

    async def zones(_call: Call) -> Reply:
        return Reply(content=desk.zones(), media_type="application/geo+json")

    async def explain(call: Call) -> Story:
        found = await desk.explain(call.path["jrn"])
        if found is None:
            raise ProblemError(404, f"{call.path['jrn']!r}: neither a journey nor a unit nor a plate known here")
        return found

    async def export(call: Call) -> Reply:
        found = await desk.proof(call.query.activation)
        if found is None:
            raise ProblemError(404, f"activation {call.query.activation!r}: no entry names it")
        name = f'attachment; filename="proof-{call.query.activation[:32]}.jsonl"'
        safe = name if name.isascii() and name.isprintable() and name.count('"') == 2 else "attachment"
        return Reply(content=found, media_type=JSON_LINES, headers={"Content-Disposition": safe})

    routes = [
        Route("GET", "/healthz", healthz, "The process turns over", responses={200: Health}),
        Route("GET", "/readyz", readyz, "Ready to activate", responses={200: Health, 503: Health}),
        Route("GET", "/metrics", metrics, "Prometheus metrics", media_type="text/plain", roles=SEEING),
        Route("GET", "/v1/status", status, "Mode, links, figures", responses={200: AgentStatus}, roles=SEEING),
        Route("GET", "/v1/journeys", journeys, "Vehicles at crossings", query=JourneyQuery,
              responses={200: JourneyPage}, roles=SEEING),
        Route("GET", "/v1/journeys/{jrn}", journey, "One journey whole", responses={200: JourneyDetail}, roles=SEEING),
        Route("GET", "/v1/journeys/{jrn}/explain", explain, "Why it was or was not activated, fix by fix",
              responses={200: Story, 404: Problem}, roles=SEEING),
        Route("GET", "/v1/declarations", declarations, "Declarations of vehicles at crossings",
              responses={200: DeclarationPage}, roles=SEEING),
        Route("GET", "/v1/positions.bin", positions, "Vehicles inside tracking zones, as one binary frame",
              query=PositionsQuery, media_type=BINARY, roles=SEEING),
        Route("GET", "/v1/zones", zones, "The zone file in force", media_type="application/geo+json"),
        Route("GET", "/v1/journal/export", export, "The whole proof of one activation, as JSON Lines",
              query=ExportQuery, media_type=JSON_LINES, roles=EXPORTING),
        Route("GET", "/v1/events", events, "Events, resumed by Last-Event-ID", media_type="text/event-stream",
              roles=SEEING),
        Route("POST", "/v1/journeys/{jrn}/override", override, "An officer decides", request=OverrideRequest,
              responses={200: JourneyDetail}, roles=(*DECIDING, VOUCHING)),
        *more,
    ]  # fmt: skip
    return application(routes, title="borderlane agent", version=version, access=access)
