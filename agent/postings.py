"""Effects to stored rows: what goes to whom, as exact bytes, before anything is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from joserfc.jwk import OKPKey

from agent.activation.effects import (
    AskRisk,
    ClearInstruction,
    Effect,
    EmitEvent,
    Entry,
    RaiseAlarm,
    ReportActivation,
    SendInstruction,
    SendNotice,
)
from agent.activation.events import Event, FeedRowArrived, RiskAnswered
from agent.domain.times import rfc3339
from agent.ingest.wire import Topics
from agent.instruction.signing import sign_instruction
from agent.journal.batch import REQUEST, RISK_ANSWER, ActivationRow, OutboxRow, PaperRow
from agent.journal.entry import EntryDraft
from agent.journal.store import Seal
from agent.risk.exchange import (
    ActivatedDeclaration,
    ActivationRequest,
    Gnss,
    Location,
    RiskRequest,
)

NO_DIGESTS: Mapping[str, str] = {}
RISK_KEPT_S = 86_400.0
"""A risk question that nobody waits for any more is asked for the record for so long (choice)."""


class Lane:
    """Names of the outbox lanes."""

    INSTRUCTION = "instruction"
    CLEAR = "clear"
    ALARM = "alarm"
    EVENT = "event"
    ACTIVATION = "activation"
    RISK = "risk"


PRIORITY = {
    Lane.INSTRUCTION: 0,
    Lane.RISK: 1,
    Lane.ACTIVATION: 2,
    Lane.CLEAR: 3,
    Lane.ALARM: 4,
    Lane.EVENT: 5,
}
"""Which lane goes first when several have work (design/reliability.md section 2)."""


@dataclass(frozen=True)
class Told:
    """One event for watchers."""

    kind: str
    fact: dict[str, Any]


@dataclass(frozen=True)
class Postings:
    """What one decision leaves to be stored besides its records."""

    activations: tuple[ActivationRow, ...] = ()
    outbox: tuple[OutboxRow, ...] = ()
    told: tuple[Told, ...] = ()
    """What watchers are told."""


def sealer(key: OKPKey, kid: str) -> Seal:
    """Fills the newest tree head into an instruction and signs the whole; called inside the commit."""

    def seal(body: bytes, checkpoint: str) -> bytes:
        send = msgspec.json.decode(body, type=SendInstruction)
        instruction = msgspec.structs.replace(send.instruction, checkpoint=checkpoint)
        return sign_instruction(instruction, key, kid).encode("ascii")

    return seal


def row_key(key: str, version: int) -> str:
    """Key of an instruction's outbox row: record and version."""
    return f"{key}\x1f{version}"


def split_row_key(text: str) -> tuple[str, int]:
    """Record key and version of an instruction's outbox row."""
    key, _, version = text.rpartition("\x1f")
    return key, int(version)


def activation_request(effect: ReportActivation) -> ActivationRequest:
    """Body of `POST /v1/activations` for one declaration."""
    return ActivationRequest(
        jrn=effect.jrn,
        crossing=effect.crossing,
        customs_office=effect.customs_office,
        direction=effect.direction,
        activation_date_time=rfc3339(effect.activated_s),
        location=_location(effect),
        variant=effect.variant,
        declarations=(
            ActivatedDeclaration(mrn=effect.mrn, version=effect.version, activation_id=effect.activation_id),
        ),
        evidence_digest=effect.evidence_digest,
        officer=effect.officer,
    )


def _location(effect: ReportActivation) -> Location | None:
    """Where it took place; None for an activation by hand of a vehicle whose position is not known."""
    if effect.latitude is None or effect.longitude is None:
        return None
    return Location(gnss=Gnss(latitude=effect.latitude, longitude=effect.longitude))


def risk_request(effect: AskRisk) -> RiskRequest:
    """Body of `POST /v1/risk-assessments`; the same effect gives the same bytes in every try."""
    return RiskRequest(
        request_id=effect.request_id,
        jrn=effect.jrn,
        crossing=effect.crossing,
        customs_office=effect.customs_office,
        direction=effect.direction,
        activation_date_time=rfc3339(effect.activated_s),
        vehicle=effect.vehicle,
        declarations=tuple(
            ActivatedDeclaration(mrn=one.mrn, version=one.version, activation_id=one.activation_id)
            for one in effect.declarations
        ),
        lane=effect.lane,
        trailers=effect.trailers,
        indicators=effect.indicators,
    )


def _ms(time_s: float | None) -> int | None:
    return None if time_s is None else round(time_s * 1000)


def _activation(effect: ReportActivation) -> Postings:
    body = msgspec.json.encode(activation_request(effect))
    row = ActivationRow(
        activation_id=effect.activation_id,
        mrn=effect.mrn,
        version=effect.version,
        jrn=effect.jrn,
        crossing=effect.crossing,
        direction=effect.direction,
        unit=effect.unit,
        at_ms=round(effect.activated_s * 1000),
        received_ms=round(effect.received_s * 1000),
        body=body,
    )
    return Postings((row,), (OutboxRow(Lane.ACTIVATION, effect.crossing, effect.activation_id, body),))


def _question(effect: AskRisk) -> Postings:
    expires_ms = _ms((effect.deadline_s or effect.activated_s) + RISK_KEPT_S)
    body = msgspec.json.encode(effect)
    return Postings(
        outbox=(OutboxRow(Lane.RISK, effect.request_id, effect.request_id, body, _ms(effect.deadline_s), expires_ms),)
    )


def _instruction(effect: SendInstruction, topics: Topics) -> Postings:
    row = OutboxRow(
        Lane.INSTRUCTION,
        topics.instruction(effect.unit),
        row_key(effect.key, effect.instruction.version),
        msgspec.json.encode(effect),
        _ms(effect.due_s),
        _ms(effect.expires_s),
        owner=effect.key,
        seal=True,
    )
    return Postings(outbox=(row,))


def _clear(effect: ClearInstruction, topics: Topics) -> Postings:
    key = row_key(effect.key, effect.version)
    return Postings(outbox=(OutboxRow(Lane.CLEAR, topics.instruction(effect.unit), key, b""),))


def _told(lane: str, kind: str, fact: dict[str, Any], agent: str, topics: Topics) -> Postings:
    row = OutboxRow(lane, topics.events(agent), kind, msgspec.json.encode({"type": kind, **fact}))
    return Postings(outbox=(row,), told=(Told(kind, fact),))


def postings(effect: Effect, agent: str, topics: Topics, now_s: float) -> Postings:
    """The rows of one effect."""
    match effect:
        case ReportActivation():
            return _activation(effect)
        case AskRisk():
            return _question(effect)
        case SendInstruction():
            return _instruction(effect, topics)
        case ClearInstruction():
            return _clear(effect, topics)
        case EmitEvent(kind=kind, body=body):
            return _told(Lane.EVENT, kind, {"time": rfc3339(now_s), **body}, agent, topics)
        case RaiseAlarm() | SendNotice():
            fact = {"time": rfc3339(now_s), **msgspec.to_builtins(effect)}
            fact.pop("do")
            is_alarm = isinstance(effect, RaiseAlarm)
            return _told(Lane.ALARM if is_alarm else Lane.EVENT, "ALARM" if is_alarm else "NOTICE", fact, agent, topics)


def digest_of(body: bytes) -> str:
    """How an entry names a paper: SHA-256 in hex."""
    return hashlib.sha256(body).hexdigest()


def papers_of(event: Event, activations: Iterable[ActivationRow]) -> list[PaperRow]:
    """The exact bytes behind the entries of one event: what was asked of customs, and what it answered."""
    papers = [PaperRow(row.jrn, REQUEST, row.body, row.activation_id) for row in activations]
    if isinstance(event, RiskAnswered):
        answers, tokens, owner = event.assessments, event.tokens, event.key
    elif isinstance(event, FeedRowArrived):
        answers, tokens, owner = event.raised, event.tokens, event.row.jrn
    else:
        return papers
    signed = zip(answers, tokens, strict=False)  # events made by hand bring no tokens
    return papers + [PaperRow(owner, RISK_ANSWER, token.encode(), one.activation_id) for one, token in signed]


def with_events(entries: list[EntryDraft], told: list[Told]) -> list[EntryDraft]:
    """Tie each event to an entry of its decision, so that its number rises with the journal's.

    Where a decision tells more than it records, an entry of its own says that watchers were told.
    """
    spare = [EntryDraft("TOLD", {"event": one.kind}) for one in told[len(entries) :]]
    drafts = [*entries, *spare]
    first = len(drafts) - len(told)
    return drafts[:first] + [
        replace(draft, event_kind=one.kind.lower(), event=one.fact, evidence_sha256=_positions_of(one))
        for draft, one in zip(drafts[first:], told, strict=True)
    ]


def _positions_of(one: Told) -> str | None:
    """Digest of what watchers were told where that holds positions: the entry proves it and does not hold it."""
    return digest_of(msgspec.json.encode(one.fact)) if one.kind == "DETECTION" else None


def draft_of(entry: Entry, digests: Mapping[str, str] = NO_DIGESTS) -> EntryDraft:
    """A decision's entry for the journal.

    Args:
        entry: The decision's.
        digests: activationId to digest of the request that reports it.
    """
    digest = digests.get(entry.activation_id or "") if entry.kind == "ACTIVATED" else None
    facts = entry.facts if digest is None else {**entry.facts, "requestSha256": digest}
    return EntryDraft(entry.kind, facts, entry.activation_id)
