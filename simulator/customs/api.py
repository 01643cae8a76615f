"""The customs service's HTTP calls (contract section 7): thin handlers over register and office."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from agent.clock import Clock
from agent.domain.declaration import (
    ControlResult,
    FeedPage,
    GoodsDeclaration,
    Message,
    RuleFailure,
    TransportDeclaration,
)
from agent.domain.identifiers import normal_mrn
from agent.domain.routing import Assessment
from agent.domain.times import rfc3339
from agent.errors import JournalError
from agent.journal.handover import CONFLICT, HeadConflict, HeadPosted
from agent.risk.exchange import ActivationAnswer, ActivationRequest, RiskAnswer, RiskRequest
from agent.web import (
    PROBLEM_TYPE,
    Access,
    Call,
    FieldError,
    ProblemError,
    Reply,
    Route,
    application,
    decode,
    field_error,
)
from agent.web_page import PAGE_HEADERS, PAGE_STYLE
from simulator.customs.declarations import ValidationAnswer, jrn_is_good
from simulator.customs.office import ControlAnswer, HeadRefused, Office, Reconciliation, Refused, RoutingRow
from simulator.customs.reference import ReferenceData, signed_reference_data
from simulator.customs.register import Register
from simulator.customs.store import MAX_PAGE, ActivationRecord
from simulator.customs.usage import RECENT, Usage, page, usage

API_VERSION = "1.0.0"
"""Of the interface, not of the program."""
MAX_LIST = 1_000
"""Declarations of one POST or PUT."""
MAX_BODY_BYTES = 32 << 20
"""A list of 1,000 declarations with dozens of goods items each."""
DRAW_OPEN_S = 2 * 86_400.0
"""A day's secret may still draw so long after it began: conditional answers look a day ahead."""
MAX_KEY_LENGTH = 128
"""Characters of an idempotency key."""

T = TypeVar("T")
D = TypeVar("D", GoodsDeclaration, TransportDeclaration)


class PageQuery(msgspec.Struct, frozen=True):
    """Which page of a feed."""

    marker: Annotated[int, Meta(ge=0, le=2**62)] = 0
    """Rows after this marker."""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE


class GoodsKey(Message, frozen=True):
    """A goods declaration to cancel."""

    mrn: Annotated[str, Meta(min_length=1, max_length=70)]


class JourneyKey(Message, frozen=True):
    """A transport declaration to cancel."""

    jrn: Annotated[str, Meta(min_length=1, max_length=70)]


class JourneyLink(Message, frozen=True):
    """Where a goods declaration stands in one journey."""

    jrn: str
    mrn: str
    direction: str
    state: str


class GoodsView(Message, frozen=True):
    """A goods declaration as the register has it."""

    state: str
    declaration: GoodsDeclaration
    journeys: tuple[JourneyLink, ...] = ()


class JourneyView(Message, frozen=True):
    """A transport declaration as the register has it."""

    state: str
    locked: bool
    declaration: TransportDeclaration
    rule_failures: tuple[RuleFailure, ...] = ()
    goods: tuple[JourneyLink, ...] = ()


class RoutingPage(Message, frozen=True):
    """Routing feed for the trade."""

    marker: int
    rows: tuple[RoutingRow, ...] = ()


class ActivationPage(Message, frozen=True):
    """Activations as stored."""

    marker: int
    rows: tuple[ActivationRecord, ...] = ()


class AssessmentPage(Message, frozen=True):
    """Risk answers as stored."""

    marker: int
    rows: tuple[Assessment, ...] = ()


class Draw(Message, frozen=True, kw_only=False):
    """One day's lot."""

    day: str
    sha256: str
    """Of the secret; fixed before the day began."""
    committed_at: str
    secret: str | None = None
    """Hex; only of days that are over."""


class DrawPage(Message, frozen=True, kw_only=False):
    """The lot of each day, newest first."""

    rows: tuple[Draw, ...] = ()


class Stored(msgspec.Struct, frozen=True):
    """The service has it."""

    status: str = "ok"


class _RawPage(msgspec.Struct, frozen=True):
    marker: int
    rows: list[msgspec.Raw]


class _Keyed(Protocol):
    async def __call__(self, call: Call) -> Any: ...


@dataclass(frozen=True)
class Faults:
    """What a demo makes go wrong here."""

    risk_delay_s: float = 0.0
    """How long every risk answer is held back, seconds of the service's clock."""


class CustomsApi:
    """Handlers of the service."""

    def __init__(self, office: Office, clock: Clock, reference: ReferenceData, faults: Faults) -> None:
        self._office = office
        self._clock = clock
        self.reference = reference
        """Unsigned; replaced whole when rules are read anew."""
        self.faults = faults

    @property
    def _register(self) -> Register:
        return self._office.register

    def routes(self) -> list[Route]:
        """The route table."""
        return [*self._trade_routes(), *self._agent_routes(), *self._read_routes()]

    def _trade_routes(self) -> list[Route]:
        goods, journeys = "/v1/goods-declarations", "/v1/transport-declarations"
        kept = {200: ValidationAnswer | list[ValidationAnswer]}
        one_goods, one_journey = (
            GoodsDeclaration | list[GoodsDeclaration],
            TransportDeclaration | list[TransportDeclaration],
        )
        trade = ("trade", "carrier", "officer")
        return [
            Route("POST", goods, self._submit_goods(False), "Declare goods, one or up to 1,000",
                  request=one_goods, responses=kept, roles=trade, raw=True),
            Route("PUT", goods, self._submit_goods(True), "Amend goods declarations",
                  request=one_goods, responses=kept, roles=trade, raw=True),
            Route("DELETE", goods, self.cancel_goods, "Cancel goods declarations before activation",
                  request=GoodsKey | list[GoodsKey], responses=kept, roles=trade, raw=True),
            Route("POST", journeys, self._submit_journeys(False), "Declare journeys, one or up to 1,000",
                  request=one_journey, responses=kept, roles=trade, raw=True),
            Route("PUT", journeys, self._submit_journeys(True), "Amend journeys",
                  request=one_journey, responses=kept, roles=trade, raw=True),
            Route("DELETE", journeys, self.cancel_journeys, "Cancel journeys before activation",
                  request=JourneyKey | list[JourneyKey], responses=kept, roles=trade, raw=True),
            Route("GET", "/v1/routing", self.routing, "Routing feed for the trade; never why",
                  query=PageQuery, responses={200: RoutingPage}, roles=trade),
        ]  # fmt: skip

    def _agent_routes(self) -> list[Route]:
        key = {"Idempotency-Key": "the activationId; never expires, another body under it is refused with 422"}
        return [
            Route("GET", "/v1/transport-declarations", self.feed, "Feed of journeys",
                  query=PageQuery, responses={200: FeedPage}, roles=("agent", "auditor")),
            Route("POST", "/v1/activations", self.activate, "Activate goods", request=ActivationRequest,
                  responses={200: ActivationAnswer}, headers=key, roles=("agent", "officer"), raw=True),
            Route("POST", "/v1/risk-assessments", self.assess, "Assess the risk", request=RiskRequest,
                  responses={200: RiskAnswer}, roles=("agent",), raw=True),
            Route("POST", "/v1/control-results", self.record_control, "Report what a control found",
                  request=ControlResult, responses={200: ControlAnswer}, roles=("officer",), raw=True),
            Route("POST", "/v1/checkpoints", self.record_checkpoint, "Hand over a journal's head",
                  request=HeadPosted, responses={200: Stored, 409: HeadConflict}, roles=("agent",)),
            Route("POST", "/v1/checkpoints/reconciliations", self.reconcile, "Take a journal as it is from now on",
                  request=Reconciliation, responses={200: Stored}, roles=("supervisor",)),
            Route("GET", "/v1/reference-data", self.reference_data, "Crossings, offices, inspections; signed",
                  responses={200: ReferenceData}),
        ]  # fmt: skip

    def _read_routes(self) -> list[Route]:
        auditor = ("auditor", "officer")
        return [
            Route("GET", "/v1/goods-declarations/{mrn}", self.goods, "A goods declaration's state",
                  responses={200: GoodsView}, roles=(*auditor, "trade")),
            Route("GET", "/v1/transport-declarations/{jrn}", self.journey, "A journey's state",
                  responses={200: JourneyView}, roles=(*auditor, "trade", "agent")),
            Route("GET", "/v1/activations", self.activations, "Activations as stored", query=PageQuery,
                  responses={200: ActivationPage}, roles=auditor),
            Route("GET", "/v1/risk-assessments", self.assessments, "Risk answers as stored", query=PageQuery,
                  responses={200: AssessmentPage}, roles=auditor),
            Route("GET", "/v1/rule-usage", self.rule_usage, "Rules by hits and finds, beside the lot",
                  responses={200: Usage}, roles=auditor),
            Route("GET", "/rules", self.rules_page, "The same as a page", roles=auditor, media_type="text/html"),
            Route("GET", "/v1/draws", self.draws, "Hashes of the secrets of the lot; secrets of days that are over",
                  responses={200: DrawPage}, roles=auditor),
            Route("GET", "/healthz", self.healthz, "The process lives", responses={200: Stored}),
            Route("GET", "/readyz", self.readyz, "The register answers", responses={200: Stored}),
        ]  # fmt: skip

    # --- trade ---

    def _submit_goods(self, amend: bool) -> _Keyed:
        async def submit(call: Call) -> Any:
            read, single = _elements(call.body, GoodsDeclaration)
            good = [one for one in read if isinstance(one, GoodsDeclaration)]
            now_s = self._clock.now_s()
            answers = await self._write(lambda: self._register.submit_goods(good, now_s, amend=amend))
            return _merged(read, answers, single)

        return submit

    def _submit_journeys(self, amend: bool) -> _Keyed:
        async def submit(call: Call) -> Any:
            read, single = _elements(call.body, TransportDeclaration)
            read = [_with_good_jrn(one, single) for one in read]
            good = [one for one in read if isinstance(one, TransportDeclaration)]
            now_s = self._clock.now_s()
            answers = await self._write(lambda: self._register.submit_journeys(good, now_s, amend=amend))
            return _merged(read, answers, single)

        return submit

    async def cancel_goods(self, call: Call) -> Any:
        """DELETE of goods declarations."""
        keys, single = _keys(call.body, GoodsKey)
        now_s = self._clock.now_s()
        answers = await self._write(
            lambda: self._register.cancel_goods([key.mrn for key in keys], now_s),
        )
        return answers[0] if single else answers

    async def cancel_journeys(self, call: Call) -> Any:
        """DELETE of transport declarations."""
        keys, single = _keys(call.body, JourneyKey)
        now_s = self._clock.now_s()
        answers = await self._write(
            lambda: self._register.cancel_journeys([key.jrn for key in keys], now_s),
        )
        return answers[0] if single else answers

    async def routing(self, call: Call) -> Reply:
        """Routing feed."""
        return await self._page(call.query, self._register.store.routing)

    # --- agents and officers ---

    async def feed(self, call: Call) -> Reply:
        """Journeys that have changed."""
        return await self._page(call.query, self._register.store.feed)

    async def activate(self, call: Call) -> Reply:
        """Activation of declarations."""
        request: ActivationRequest = decode(call.body, ActivationRequest)
        key = call.header("Idempotency-Key").strip()
        if len(key) > MAX_KEY_LENGTH:
            raise ProblemError(400, f"Idempotency-Key: at most {MAX_KEY_LENGTH} characters")
        now_s = self._clock.now_s()
        content = await self._write(lambda: self._office.activate(key, call.body, request, now_s))
        return Reply(content=content)

    async def assess(self, call: Call) -> Reply:
        """Risk assessment of declarations."""
        request: RiskRequest = decode(call.body, RiskRequest)
        if self.faults.risk_delay_s:
            await self._clock.sleep(self.faults.risk_delay_s)
        now_s = self._clock.now_s()
        return Reply(content=await self._write(lambda: self._office.assess(call.body, request, now_s)))

    async def record_control(self, call: Call) -> Reply:
        """What an officer found."""
        result: ControlResult = decode(call.body, ControlResult)
        now_s = self._clock.now_s()
        return Reply(content=await self._write(lambda: self._office.record_control(call.body, result, now_s)))

    async def record_checkpoint(self, call: Call) -> Reply:
        """Newest head of an agent's journal."""
        now_s = self._clock.now_s()

        def record() -> Reply:
            try:
                self._office.record_checkpoint(call.body, now_s)
            except HeadRefused as refused:
                conflict = HeadConflict(detail=str(refused), held_size=refused.held_size)
                return Reply(conflict, CONFLICT, media_type=PROBLEM_TYPE)
            return Reply(Stored())

        return await self._write(record)

    async def reconcile(self, call: Call) -> Stored:
        """A supervisor's word that a journal is to be believed as it is now."""
        now_s = self._clock.now_s()
        await self._write(lambda: self._office.reconcile(call.body, now_s))
        return Stored()

    async def reference_data(self, _call: Call) -> ReferenceData:
        """Reference data in force, with the revocation list as of now; signed for each answer."""
        now_s = self._clock.now_s()
        revocations = await self._write(lambda: self._office.revocations(now_s))
        newest = msgspec.structs.replace(self.reference, revocations=revocations)
        return signed_reference_data(newest, self._office.key, self._office.kid)

    # --- reading ---

    async def goods(self, call: Call) -> GoodsView:
        """One goods declaration."""
        store, asked = self._register.store, call.path["mrn"]

        def look() -> GoodsView | None:
            row = store.goods(asked) or store.goods(normal_mrn(asked))
            if row is None or row.declaration.mrn is None:
                return None
            links = store.links_to(row.declaration.mrn)
            journeys = tuple(
                JourneyLink(jrn=one.jrn, mrn=one.number, direction=one.direction, state=one.state) for one in links
            )
            return GoodsView(state=row.state, declaration=row.declaration, journeys=journeys)

        return _found(await self._read(look), "mrn", asked)

    async def journey(self, call: Call) -> JourneyView:
        """One transport declaration."""
        store, jrn = self._register.store, call.path["jrn"]

        def look() -> JourneyView | None:
            row = store.journey(jrn)
            if row is None:
                return None
            goods = tuple(
                JourneyLink(jrn=one.jrn, mrn=one.number, direction=one.direction, state=one.state)
                for one in store.links_of(jrn)
            )
            return JourneyView(
                state=row.state,
                locked=row.locked,
                declaration=row.declaration,
                rule_failures=row.failures,
                goods=goods,
            )

        return _found(await self._read(look), "jrn", jrn)

    async def activations(self, call: Call) -> ActivationPage:
        """Activations as stored, for auditors."""
        query: PageQuery = call.query
        rows = await self._read(lambda: self._register.store.activations(query.marker, query.limit))
        return ActivationPage(marker=rows[-1].marker if rows else query.marker, rows=tuple(rows))

    async def assessments(self, call: Call) -> Reply:
        """Risk answers as stored, for auditors."""
        return await self._page(call.query, self._register.store.assessments)

    async def rule_usage(self, _call: Call) -> Usage:
        """What rules are worth."""
        return await self._read(self._usage)

    async def rules_page(self, _call: Call) -> Reply:
        """The same for people."""
        content = page(await self._read(self._usage), PAGE_STYLE).encode()
        return Reply(content=content, media_type="text/html", headers=PAGE_HEADERS)

    def _usage(self) -> Usage:
        store = self._register.store
        now = store.counters()
        return usage(now, store.counters(max(0, now.up_to - RECENT)))

    async def draws(self, _call: Call) -> DrawPage:
        """What auditors check the lot with: a secret is told when its day is over for good."""
        over = rfc3339(self._clock.now_s() - DRAW_OPEN_S)[:10]
        rows = await self._read(self._register.store.draws)
        return DrawPage(
            tuple(
                Draw(day, digest, rfc3339(committed_s), secret.hex() if day < over else None)
                for day, digest, committed_s, secret in rows
            )
        )

    async def healthz(self, _call: Call) -> Stored:
        """The process lives."""
        return Stored()

    async def readyz(self, _call: Call) -> Stored:
        """The register answers."""
        await self._read(lambda: self._register.store.number("marker"))
        return Stored()

    # --- below ---

    async def _page(self, query: PageQuery, rows_of: Callable[[int, int], list[tuple[int, bytes]]]) -> Reply:
        """A page of rows that are stored as JSON, without decoding them."""
        rows = await self._read(lambda: rows_of(query.marker, query.limit))
        page = _RawPage(rows[-1][0] if rows else query.marker, [msgspec.Raw(body) for _, body in rows])
        return Reply(page)

    async def _write(self, work: Callable[[], T]) -> T:
        return await _answerable(self._register.store.write, work)

    async def _read(self, work: Callable[[], T]) -> T:
        return await _answerable(self._register.store.read, work)


async def _answerable(run: Callable[[Callable[[], T]], Any], work: Callable[[], T]) -> T:
    """Run work on the store's thread; its refusals become problems."""
    try:
        done: T = await run(work)
        return done
    except Refused as error:
        raise ProblemError(error.status, str(error), (FieldError(error.field, error.message),)) from error
    except JournalError as error:
        raise ProblemError(503, "the register does not answer", headers={"Retry-After": "1"}) from error


def _found(view: T | None, name: str, asked: str) -> T:
    if view is None:
        raise ProblemError(404, f"{name} {asked!r} is not in the register")
    return view


def _elements(body: bytes, model: type[D]) -> tuple[list[D | ValidationAnswer], bool]:
    """The declarations of a body, and whether it was a single one.

    One that cannot be read is refused for itself: a single one as a problem, in a list by its own answer.
    """
    if not body.lstrip().startswith(b"["):
        return [decode(body, model)], True
    raw = decode(body, list[msgspec.Raw])
    if len(raw) > MAX_LIST:
        raise ProblemError(422, f"$: {len(raw)} declarations: at most {MAX_LIST} at once")
    return [_element(one, model) for one in raw], False


def _element(raw: msgspec.Raw, model: type[D]) -> D | ValidationAnswer:
    try:
        return msgspec.json.decode(raw, type=model)
    except msgspec.ValidationError as error:
        fault = field_error(error)
        failure = RuleFailure(code="MALFORMED", field=fault.field, value=None, message=fault.message)
        return ValidationAnswer(state="NOT_READY", rule_failures=(failure,))


def _with_good_jrn(
    one: TransportDeclaration | ValidationAnswer, single: bool
) -> TransportDeclaration | ValidationAnswer:
    if isinstance(one, ValidationAnswer) or jrn_is_good(one.jrn):
        return one
    message = "expected 1 to 35 of A-Z a-z 0-9 . _ -"
    if single:
        raise ProblemError(422, f"$.jrn: {one.jrn!r}: {message}", (FieldError("$.jrn", message),))
    failure = RuleFailure(code="JRN_FORM", field="$.jrn", value=one.jrn, message=message)
    return ValidationAnswer(state="NOT_READY", jrn=one.jrn, rule_failures=(failure,))


def _merged(
    read: Sequence[GoodsDeclaration | TransportDeclaration | ValidationAnswer],
    answers: list[ValidationAnswer],
    single: bool,
) -> ValidationAnswer | list[ValidationAnswer]:
    """Answers in the order in which the declarations came."""
    rest = iter(answers)
    ordered = [one if isinstance(one, ValidationAnswer) else next(rest) for one in read]
    return ordered[0] if single else ordered


def _keys(body: bytes, model: type[T]) -> tuple[list[T], bool]:
    single = not body.lstrip().startswith(b"[")
    keys: list[T] = [decode(body, model)] if single else decode(body, list[model])  # type: ignore[valid-type]
    if len(keys) > MAX_LIST:
        raise ProblemError(422, f"$: {len(keys)} keys: at most {MAX_LIST} at once")
    return keys, single


def customs_application(api: CustomsApi, access: Access | None = None) -> web.Application:
    """The service as an aiohttp application."""
    return application(
        api.routes(),
        title="borderlane customs",
        version=API_VERSION,
        description="Simulated customs service: declarations, activation, risk assessment, reference data.",
        access=access,
        max_body_bytes=MAX_BODY_BYTES,
    )
