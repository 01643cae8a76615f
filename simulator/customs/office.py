"""What customs does for an agent: activate, assess, record a control or a checkpoint; one transaction each.

Runs on the store's thread; the rules themselves are pure: `assessment`, machine G.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.jwk import OKPKey
from msgspec import Meta

from agent.activation.goods import ActivationFacts, ActivationVerdict, GoodsState, judge_activation
from agent.activation.journey import reference_mrn, vehicle_of
from agent.domain.declaration import (
    ControlResult,
    GoodsDeclaration,
    Message,
    TransportDeclaration,
)
from agent.domain.identifiers import activation_id, vehicle_key
from agent.domain.routing import Assessment, ConditionalAnswer, RevocationList
from agent.domain.times import rfc3339
from agent.errors import PeerError
from agent.journal.handover import CONFLICT, HeadPosted, fault_of
from agent.journal.verify import BadCheckpoint, Checkpoint, origin_of, parse_checkpoint, verify_checkpoint
from agent.risk.conditional import sign_conditional
from agent.risk.exchange import (
    ActivatedDeclaration,
    ActivationAnswer,
    ActivationRequest,
    ActivationResult,
    RiskAnswer,
    RiskRequest,
    sign_assessment,
)
from simulator.customs.assessment import CONDITIONAL_VALID_S, Grounds, assess, conditional_answer
from simulator.customs.book import Book, Subject, lot, lot_key
from simulator.customs.declarations import goods_fit_direction, time_s
from simulator.customs.feedback import (
    CONTROL_RESULT_CODES,
    FOUND_CODES,
    MAX_RECENT,
    NO_COUNTERS,
    RELEASING_CODES,
    Thresholds,
    is_due,
    thresholds,
)
from simulator.customs.indicators import counted_keys
from simulator.customs.models import Learned, shipped
from simulator.customs.register import LIVE, Register
from simulator.customs.score import Ahead, Learning, lodged_step, predicted_of, referenced_step, scored
from simulator.customs.store import ActivationRecord, AheadRow, GoodsRow, JourneyRow, LinkRow, Store

MAX_DECLARATIONS = 100
"""Declarations of one activation or risk request."""
CONTROL_STATES = {
    "CONFORM": GoodsState.RELEASED.value,
    "FINDING": GoodsState.RELEASED_WITH_FINDING.value,
    "NOT_RELEASED": GoodsState.NOT_RELEASED.value,
}


class Refused(PeerError):  # noqa: N818 - reads as the fact it states
    """A call that is refused as a whole: HTTP status, field, reason."""

    def __init__(self, status: int, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.status, self.field, self.message = status, field, message


class RoutingRow(Message, frozen=True):
    """One change of routing for the trade; never says why."""

    id: int
    mrn: str | None
    jrn: str
    routing: str
    time: str
    routing_control_location: str | None = None


class ControlAnswer(Message, frozen=True):
    """What became of the goods after a control."""

    control_result_id: str
    state: str


class Reconciliation(Message, frozen=True):
    """A named person's word that an agent's journal, as it is now, is to be believed."""

    agent: Annotated[str, Meta(min_length=1, max_length=64)]
    officer: Annotated[str, Meta(min_length=1, max_length=70)]
    reason: Annotated[str, Meta(min_length=1, max_length=512)]


class HeadRefused(Refused):
    """A journal's head that does not continue the one that is held."""

    def __init__(self, message: str, held_size: int) -> None:
        super().__init__(CONFLICT, "$.checkpoint", message)
        self.held_size = held_size


@dataclass
class Office:
    """The customs service's decisions at the border, over what is in the register."""

    register: Register
    book: Book
    key: OKPKey
    kid: str
    agent_keys: Mapping[str, Sequence[Ed25519PublicKey]] = field(default_factory=dict)
    """Keys with which agents sign their journals; heads of an agent that is not here are taken unsigned."""
    conditional: frozenset[str] = frozenset()
    """Crossings where a lorry may go on the authority's conditional answer while the line is cut."""
    learned: Learned = field(default_factory=lambda: shipped("default"))
    """The model of the score card and the counts that it starts from."""
    bays: Mapping[str, int] = field(default_factory=dict)
    """Control bays of a crossing that are free each hour; crossings that are not here have no bound."""
    _learning: Learning | None = None
    _thresholds: dict[str, Thresholds] = field(default_factory=dict)
    _version_s: float = 0.0

    def scoring_register(self) -> Register:
        """The register, scoring what is lodged and referenced and giving conditional answers."""
        return replace(
            self.register,
            conditional=self.conditional_answers,
            lodged=self.score_lodged,
            referenced=self.score_referenced,
        )

    @property
    def store(self) -> Store:
        """The register's database."""
        return self.register.store

    # --- activation ---

    def activate(self, key: str, body: bytes, request: ActivationRequest, now_s: float) -> bytes:
        """Activate each declaration (G5, G6); the answer is kept under the key for good.

        Raises:
            Refused: same key, other body; an id that is not derived from what it stands for.
        """
        stored = self._stored_answer("activation", key, body)
        if stored is not None:
            return stored
        _check_activation(request)
        results = tuple(self._activate_one(one, request, now_s) for one in request.declarations)
        answer = msgspec.json.encode(ActivationAnswer(results=results))
        self.store.put_answered("activation", key, body, answer)
        return answer

    def _stored_answer(self, kind: str, key: str, body: bytes) -> bytes | None:
        stored = self.store.answered(kind, key)
        if stored is None:
            return None
        if stored.body_sha256 != hashlib.sha256(body).digest():
            raise Refused(422, _KEY_FIELDS[kind], f"{key!r} was used before with another body")
        return stored.answer

    def _activate_one(self, one: ActivatedDeclaration, request: ActivationRequest, now_s: float) -> ActivationResult:
        before = self.store.activation(one.activation_id)
        if before is not None and before.result != "REFUSED":
            self.store.put_activation(msgspec.structs.replace(before, repeats=before.repeats + 1))
            return _activation_result(before)
        verdict = self._activation_verdict(one, request)
        record = ActivationRecord(
            marker=self.store.next_number("marker"),
            activation_id=one.activation_id,
            mrn=one.mrn,
            version=one.version,
            jrn=request.jrn,
            crossing=request.crossing,
            direction=request.direction,
            variant=request.variant,
            officer=request.officer,
            activation_date_time=request.activation_date_time,
            answered_date_time=rfc3339(now_s),
            result=verdict.result,
            reason=verdict.reason,
            first_activation_id=verdict.activation_id if verdict.result == "ALREADY_ACTIVATED" else None,
        )
        self.store.put_activation(record)
        if verdict.result == "ACCEPTED":
            self._activated(one, request)
        return _activation_result(record)

    def _activation_verdict(self, one: ActivatedDeclaration, request: ActivationRequest) -> ActivationVerdict:
        journey = self.store.journey(request.jrn)
        by_officer = request.variant == "MANUAL"
        if journey is not None and journey.state not in LIVE:
            return ActivationVerdict("REFUSED", journey.state)
        if one.mrn is None:  # an empty run has nothing to activate, but may be reported
            fits = journey is not None and journey.declaration.empty
            return ActivationVerdict("ACCEPTED") if fits else ActivationVerdict("REFUSED", "UNKNOWN_MRN")
        goods = self.store.goods(one.mrn)
        link = self.store.link(request.jrn, one.mrn)
        held = link is not None and link.state != "WANTED" and link.direction == request.direction
        first = self.store.first_activation(one.mrn, request.direction)
        periodic = goods is not None and goods.declaration.procedure == "PERIODIC"
        if goods is not None and periodic and not (held or by_officer):
            return ActivationVerdict("REFUSED", "NOT_REFERENCED")
        facts = ActivationFacts(
            state=GoodsState(goods.state) if goods else None,
            version=goods.declaration.version if goods else 1,
            referenced_by=request.jrn if held else None,
            first_activation_id=first[0] if first else None,
            activated_by=first[1] if first else None,
            parts=goods.declaration.parts if goods else 1,
            periodic=periodic,
        )
        return judge_activation(facts, request.jrn, one.version, one.activation_id, by_officer)

    def _activated(self, one: ActivatedDeclaration, request: ActivationRequest) -> None:
        """Freeze the journey; a risk answer may have come before the activation report."""
        self.store.lock_journey(request.jrn)
        if one.mrn is not None:
            newest = self.store.newest_assessment(one.activation_id)
            state = newest[0].routing if newest else GoodsState.ACTIVATED.value
            self.store.put_link(LinkRow(request.jrn, one.mrn, request.direction, state))

    # --- risk ---

    def assess(self, body: bytes, request: RiskRequest, now_s: float) -> bytes:
        """Assess each declaration and sign; the same requestId gets the same bytes.

        Raises:
            Refused: same requestId, other body; a request that cannot be read.
        """
        stored = self._stored_answer("risk", request.request_id, body)
        if stored is not None:
            return stored
        _check_count(request.declarations)
        journey = self.store.journey(request.jrn)
        answers = tuple(self._assess_one(one, request, journey, now_s) for one in request.declarations)
        if journey is not None and journey.declaration.empty:
            self.store.lock_journey(request.jrn)  # an empty run has no activation that would
        answer = msgspec.json.encode(RiskAnswer(assessments=answers))
        self.store.put_answered("risk", request.request_id, body, answer)
        return answer

    def _assess_one(
        self, one: ActivatedDeclaration, request: RiskRequest, journey: JourneyRow | None, now_s: float
    ) -> Assessment:
        started = time.perf_counter()
        subject = self._subject(one, request, journey)
        previous = self.store.newest_assessment(one.activation_id)
        day = previous[1] if previous else _date(subject.activated_s)
        learning = self._counter_version(now_s)
        ahead = self.store.ahead(one.mrn, request.jrn, one.version) if one.mrn else None
        grounds = Grounds(
            subject,
            now_s,
            drawn=self._drawn(day, subject),
            released=self._released(request.jrn, one.mrn),
            bays=self._bays_left(subject, ahead),
        )
        answer = assess(
            subject,
            self._book_for(request.direction),
            learning,
            now_s,
            drawn=grounds.drawn,
            released=grounds.released,
            previous=previous[0] if previous else None,
            ahead=ahead,
            bays=grounds.bays,
        )
        card = {**(answer.score_card or {}), "latencyUs": round((time.perf_counter() - started) * 1e6)}
        signed = sign_assessment(msgspec.structs.replace(answer, score_card=card), self.key, self.kid)
        self.store.put_assessment(self.store.next_number("marker"), signed, day, grounds)
        if one.mrn is not None:
            self.store.drop_ahead(one.mrn, request.jrn)
        if (signed.routing, signed.routing_control_location) == ("TO_CONTROL", "ON_ENTRY"):
            self.store.take_bay(one.activation_id, subject.crossing, _hour(subject.activated_s))
        self._routed(signed, previous[0] if previous else None, now_s)
        return signed

    def _drawn(self, day: str, subject: Subject) -> bool:
        return lot(self.store.day_secret(day), lot_key(subject)) < self.book.random_share

    def _bays_left(self, subject: Subject, ahead: Ahead | None) -> int | None:
        """Room for one that the model alone selects; lorries still expected with a higher score come first."""
        bays = self.bays.get(subject.crossing)
        if bays is None:
            return None
        score = ahead.predicted.points if ahead else 0
        return bays - self.store.bays_wanted(subject.crossing, _hour(subject.activated_s), score, subject.activation_id)

    def _book_for(self, direction: str) -> Book:
        """The book with the thresholds of the counter version in force."""
        own = self._thresholds.get(direction)
        if own is None or self.book.frozen:
            return self.book
        return replace(self.book, yellow_at=own.yellow_at, red_at=own.red_at)

    # --- before the border ---

    def score_lodged(self, goods: GoodsDeclaration, now_s: float) -> None:
        """Score what goods alone say, when they are lodged."""
        if goods.mrn is None:
            return
        subject = _lodged_subject(goods, now_s)
        learning = self._counter_version(now_s)
        found = Ahead(lodged_step(subject, self.book), predicted_of(subject, self.book, learning))
        card = scored(subject, self._book_for(goods.direction), learning, False, found).card
        row = AheadRow(goods.mrn, "", goods.version, goods.direction, "", 0, card.score, "", found)
        self.store.put_ahead(row, now_s)

    def score_referenced(self, row: JourneyRow, now_s: float) -> None:
        """Score vehicle, carrier and place with the goods, when a journey is ready."""
        if row.state != "READY" or row.locked:
            return
        for mrn, version in _carried(row.declaration):
            known = self.store.ahead(mrn, "", version) if mrn else None
            if mrn is not None and known is not None:
                self._score_in_journey(mrn, version, row, known, now_s)

    def _score_in_journey(self, mrn: str, version: int, row: JourneyRow, known: Ahead, now_s: float) -> None:
        subject = self._planned(mrn, version, row, now_s)
        found = msgspec.structs.replace(known, referenced=referenced_step(subject, self.book))
        direction = row.declaration.direction
        card = scored(subject, self._book_for(direction), self._counter_version(now_s), False, found).card
        selected = card.selection_kind if card.channel == "red" else ""
        self.store.put_ahead(
            AheadRow(
                mrn, row.declaration.jrn, version, direction, subject.crossing,
                _hour(subject.activated_s), found.predicted.points, selected, found,
            ),
            now_s,
        )  # fmt: skip

    def _planned(self, mrn: str | None, version: int, row: JourneyRow, now_s: float) -> Subject:
        """The declaration as it will be asked about if the journey goes as planned."""
        declared = row.declaration
        plan = declared.planned_crossing
        expected_s = time_s(plan.estimated_date_time) if plan.estimated_date_time else None
        request = RiskRequest(
            request_id="",
            jrn=declared.jrn,
            crossing=plan.crossing,
            customs_office=self.register.places.crossings.get(plan.crossing),
            direction=declared.direction,
            activation_date_time=rfc3339(now_s if expected_s is None else max(now_s, expected_s)),
            vehicle=vehicle_of(declared),
            declarations=(),
        )
        key = activation_id(mrn or "", version, declared.jrn, plan.crossing, declared.direction)
        return self._subject(ActivatedDeclaration(mrn=mrn, version=version, activation_id=key), request, row)

    def _subject(self, one: ActivatedDeclaration, request: RiskRequest, journey: JourneyRow | None) -> Subject:
        goods = self.store.goods(one.mrn) if one.mrn else None
        declared = journey.declaration if journey else None
        return Subject(
            activation_id=one.activation_id,
            mrn=one.mrn,
            version=one.version,
            jrn=request.jrn,
            crossing=request.crossing,
            office=request.customs_office or self.register.places.crossings.get(request.crossing),
            direction=request.direction,
            activated_s=_time_s("$.activationDateTime", request.activation_date_time),
            vehicle=vehicle_key(request.vehicle.identification_number, request.vehicle.nationality),
            goods=goods.declaration if goods else None,
            carrier=declared.carrier if declared else None,
            empty_reason=declared.empty_reason if declared else None,
            missing=_missing(one, goods, request.direction, declared),
            indicators=request.indicators,
            trailers=declared.trailers if declared else (),
            journey=declared,
        )

    def _released(self, jrn: str, mrn: str | None) -> bool:
        """Whether the newest control result for the declaration lets it go."""
        codes = [result.control_result_code for result in self.store.control_results(jrn) if result.mrn == mrn]
        return bool(codes) and codes[-1] in RELEASING_CODES

    def _counter_version(self, now_s: float) -> Learning:
        """The counters in force; a new version when enough results, or time, have gone by."""
        if self._learning is None:
            self._take_version(now_s)
        assert self._learning is not None, "just taken"
        if is_due(self._learning.counters, self.store.number("result"), now_s - self._version_s):
            self._draw_version(now_s)
        return self._learning

    def _take_version(self, now_s: float) -> None:
        """After a start: the version that was in force, so that cards go on as they were."""
        kept = self.store.counter_version()
        if kept is None:
            self._draw_version(now_s)
            return
        up_to, self._version_s, self._thresholds = kept
        counters = self.store.counters(up_to) if up_to else NO_COUNTERS
        self._learning = Learning.of(self.learned.model, self.learned.prior, counters)

    def _draw_version(self, now_s: float) -> None:
        counters = self.store.counters()
        self._learning = Learning.of(self.learned.model, self.learned.prior, counters)
        self._version_s = now_s
        recent = {one: self.store.recent_scores(one, MAX_RECENT) for one in ("IN", "OUT")}
        taken = {one: thresholds(scores, self.book.red_share, self.book.yellow_share) for one, scores in recent.items()}
        self._thresholds = {one: found for one, found in taken.items() if found is not None}
        self.store.put_counter_version(counters.up_to, now_s, self._thresholds)

    def commit_draws(self, now_s: float) -> None:
        """Fix tomorrow's secret of the lot today, by its hash; today's too where the service did not run yesterday."""
        for day_s in (now_s, now_s + 86_400.0):
            self.store.commit_draw(_date(day_s), now_s)

    def _routed(self, new: Assessment, previous: Assessment | None, now_s: float) -> None:
        """Note the routing in the link, and tell the trade if it has changed."""
        link = self.store.link(new.jrn, new.mrn) if new.mrn else None
        if link is not None and link.state not in ("WANTED", GoodsState.REFERENCED.value):
            self.store.put_link(replace(link, state=new.routing))
        same = previous is not None and (previous.routing, previous.routing_control_location) == (
            new.routing,
            new.routing_control_location,
        )
        if not same:
            self._tell_trade(new.mrn, new.jrn, new.routing, new.routing_control_location, now_s)

    def _tell_trade(self, mrn: str | None, jrn: str, routing: str, location: str | None, now_s: float) -> None:
        marker = self.store.next_number("marker")
        row = RoutingRow(
            id=marker,
            mrn=mrn,
            jrn=jrn,
            routing=routing,
            routing_control_location=location,
            time=rfc3339(now_s),
        )
        self.store.put_routing(marker, msgspec.json.encode(row))

    # --- conditional answers ---

    def conditional_answers(self, row: JourneyRow, now_s: float) -> tuple[dict[str, Any], ...]:
        """Signed conditional answers for a journey; earlier ones that are not given again are revoked."""
        declared = row.declaration
        given: list[ConditionalAnswer] = []
        if row.state == "READY" and not row.locked and declared.planned_crossing.crossing in self.conditional:
            found = (self._conditional_one(mrn, version, row, now_s) for mrn, version in _carried(declared))
            given = [answer for answer in found if answer is not None]
        if self.store.revoke_conditional(declared.jrn, now_s, but=[one.activation_id for one in given]):
            self.store.next_number("revocation")
        for one in given:
            self.store.put_conditional(one.activation_id, declared.jrn, now_s + CONDITIONAL_VALID_S)
        return tuple(msgspec.to_builtins(sign_conditional(one, self.key, self.kid)) for one in given)

    def _conditional_one(
        self, mrn: str | None, version: int, row: JourneyRow, now_s: float
    ) -> ConditionalAnswer | None:
        subject = replace(self._planned(mrn, version, row, now_s), activated_s=now_s)
        first = datetime.fromtimestamp(now_s, UTC).date()
        days = (first, first + timedelta(seconds=CONDITIONAL_VALID_S))
        drawn = any(self._drawn(one.isoformat(), subject) for one in days)
        number = self.store.number("revocation")
        book, learning = self._book_for(subject.direction), self._counter_version(now_s)
        return conditional_answer(subject, book, learning, now_s, drawn=drawn, list_number=number)

    def revocations(self, now_s: float) -> RevocationList:
        """The newest revocation list, as of now."""
        ids = self.store.revoked(now_s)
        return RevocationList(number=self.store.number("revocation"), issued_at=rfc3339(now_s), activation_ids=ids)

    def revoke_all(self, now_s: float) -> int:
        """After a change of rules nothing that was given under the old ones holds; how many were revoked."""
        revoked = self.store.revoke_conditional(None, now_s)
        if revoked:
            self.store.next_number("revocation")
        return revoked

    # --- control results, checkpoints ---

    def record_control(self, body: bytes, result: ControlResult, now_s: float) -> bytes:
        """Keep what the officer found, count it, tell agents and trade (G12, G13).

        Raises:
            Refused: same id, other body; unknown code, journey or declaration.
        """
        stored = self._stored_answer("control", result.control_result_id, body)
        if stored is not None:
            return stored
        row = self._controlled_journey(result)
        self.store.put_control_result(result)
        self._count(result)
        state = CONTROL_STATES[result.control_result_code]
        if result.mrn is not None:
            self.store.put_link(LinkRow(result.jrn, result.mrn, row.declaration.direction, state))
        if result.control_result_code in RELEASING_CODES:
            self._tell_trade(result.mrn, result.jrn, "TO_ENTRY", None, now_s)
        self.register.put_journey(row, now_s, self.store.expires_s(result.jrn))
        answer = msgspec.json.encode(ControlAnswer(control_result_id=result.control_result_id, state=state))
        self.store.put_answered("control", result.control_result_id, body, answer)
        return answer

    def _controlled_journey(self, result: ControlResult) -> JourneyRow:
        if result.control_result_code not in CONTROL_RESULT_CODES:
            expected = f"expected one of {', '.join(CONTROL_RESULT_CODES)}"
            raise Refused(422, "$.controlResultCode", f"{result.control_result_code!r}: {expected}")
        row = self.store.journey(result.jrn)
        if row is None:
            raise Refused(404, "$.jrn", f"{result.jrn!r} is not in the register")
        if result.mrn is not None and self.store.goods(result.mrn) is None:
            raise Refused(404, "$.mrn", f"UNKNOWN_MRN: {result.mrn!r} is not in the register")
        if result.mrn is not None and self.store.link(result.jrn, result.mrn) is None:
            raise Refused(422, "$.mrn", f"{result.mrn!r} is not referenced by journey {result.jrn!r}")
        return row

    def _count(self, result: ControlResult) -> None:
        found = result.control_result_code in FOUND_CODES
        newest = self.store.newest_assessment(result.activation_id) if result.activation_id else None
        reasons = (newest[0].score_card or {}).get("reasons", ()) if newest else ()
        keys = {("", "all")} | {("rule", str(one["id"])) for one in reasons if one["kind"] in _COUNTED_KINDS}
        if newest and newest[0].score_card and newest[0].score_card.get("random"):
            keys.add(("", "random"))
        goods = self.store.goods(result.mrn) if result.mrn else None
        if goods is not None:
            keys.update(counted_keys(goods.declaration))
        self.store.count_controls(sorted(keys), found)

    def record_checkpoint(self, posted: HeadPosted, now_s: float) -> None:
        """Keep the newest head of an agent's journal.

        Raises:
            HeadRefused: 409, it does not continue the head that is held.
            Refused: 422, no checkpoint of this agent, or not signed by its key where that is known.
        """
        head = self._head_of(posted)
        held = self.store.checkpoint(posted.agent)
        fault = fault_of(held, head, posted.old_size, posted.proof)
        if fault is not None:
            raise HeadRefused(fault, held[0] if held else 0)
        if held is None or head.size > held[0]:
            self.store.put_checkpoint(posted.agent, head.size, head.root, posted.checkpoint, rfc3339(now_s))

    def _head_of(self, posted: HeadPosted) -> Checkpoint:
        keys = self.agent_keys.get(posted.agent)
        try:
            head = parse_checkpoint(posted.checkpoint)
            if head.origin != origin_of(posted.agent):
                raise BadCheckpoint(f"origin {head.origin!r}: expected {origin_of(posted.agent)!r}")
            return head if keys is None else verify_checkpoint(posted.checkpoint, keys)
        except BadCheckpoint as error:
            raise Refused(422, "$.checkpoint", str(error)) from error

    def reconcile(self, word: Reconciliation, now_s: float) -> None:
        """Let go of the head that is held, so that the agent's next one is taken; who said so is kept.

        Raises:
            Refused: 404, no head of this agent is held.
        """
        if self.store.checkpoint(word.agent) is None:
            raise Refused(404, "$.agent", f"no head of agent {word.agent!r} is held")
        self.store.supersede_checkpoint(word.agent, word.officer, word.reason, rfc3339(now_s))


def _lodged_subject(goods: GoodsDeclaration, now_s: float) -> Subject:
    """What is known when goods are lodged."""
    return Subject("", goods.mrn, goods.version, "", "", None, goods.direction, now_s, goods=goods)


def _date(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).date().isoformat()


def _hour(time_s: float) -> int:
    """UTC hours since 1970."""
    return int(time_s // 3_600)


def _carried(journey: TransportDeclaration) -> list[tuple[str | None, int]]:
    """What an agent will ask for when the journey crosses: each declaration, or the empty run."""
    if journey.empty and not journey.references:
        return [(None, journey.version)]
    return [(reference_mrn(one), one.version) for one in journey.references]


_KEY_FIELDS = {
    "activation": "header Idempotency-Key",
    "risk": "$.requestId",
    "control": "$.controlResultId",
}
_COUNTED_KINDS = ("RULE", "WATCHLIST")


def _time_s(field: str, text: str) -> float:
    seconds = time_s(text)
    if seconds is None:
        raise Refused(422, field, f"{text!r}: expected RFC 3339 with a zone")
    return seconds


def _check_count(declarations: Sequence[ActivatedDeclaration]) -> None:
    if not 1 <= len(declarations) <= MAX_DECLARATIONS:
        message = f"{len(declarations)} declarations: expected 1 to {MAX_DECLARATIONS}"
        raise Refused(422, "$.declarations", message)


def _check_activation(request: ActivationRequest) -> None:
    """What makes an activation unreadable as a whole."""
    _check_count(request.declarations)
    _time_s("$.activationDateTime", request.activation_date_time)
    if request.variant not in ("AUTOMATIC", "MANUAL", "FALLBACK"):
        raise Refused(422, "$.variant", f"{request.variant!r}: expected AUTOMATIC, MANUAL or FALLBACK")
    if request.variant == "MANUAL" and not request.officer:
        raise Refused(422, "$.officer", "a manual activation names its officer")
    for index, one in enumerate(request.declarations):
        if one.mrn is None:
            continue
        derived = activation_id(one.mrn, one.version, request.jrn, request.crossing, request.direction)
        if derived != one.activation_id:
            field = f"$.declarations[{index}].activationId"
            raise Refused(422, field, f"{one.activation_id!r}: expected {derived!r}, derived from its contents")


def _activation_result(record: ActivationRecord) -> ActivationResult:
    accepted = record.result == "ACCEPTED"
    return ActivationResult(
        mrn=record.mrn,
        version=record.version,
        activation_id=record.first_activation_id or record.activation_id,
        result=record.result,
        acceptance_date_time=record.answered_date_time if accepted else None,
        reason=record.reason,
    )


def _missing(
    one: ActivatedDeclaration,
    goods: GoodsRow | None,
    direction: str,
    journey: TransportDeclaration | None,
) -> str | None:
    """Why the register cannot vouch for the declaration that is to be assessed."""
    if journey is None:
        return "UNKNOWN_JRN"
    if one.mrn is None:
        return None if journey.empty else "NOT_EMPTY"
    if goods is None:
        return "UNKNOWN_MRN"
    if goods.state != "ACCEPTED":
        return goods.state
    if goods.declaration.version != one.version:
        return "OLD_VERSION"
    if not goods_fit_direction(goods.declaration, direction):
        return "DIRECTION_MISMATCH"
    if one.mrn not in {reference.reference_number for reference in journey.references}:
        return "NOT_REFERENCED"
    return None
