"""Risk answer for one declaration: its score card, the room at the booth, routing and where the control takes place.

Each step only adds (design/risk.md section 5; design/domain.md section 10), but for the cap of what the control bays
can take. Same inputs and same versions give the same assessment.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.domain.routing import (
    ROUTING_ORDER,
    Assessment,
    ConditionalAnswer,
    ControlLocation,
    Reason,
    ReportToLocation,
    Routing,
    ScoreCard,
)
from agent.domain.times import rfc3339
from simulator.customs.book import Book, Inspection, Subject
from simulator.customs.score import Ahead, Learning, Scored, scored
from zones.hours import OpeningHours

CONDITIONAL_VALID_S = 86_400.0
"""A conditional answer is good for a day after it was given (choice: a lorry is linked hours before it crosses)."""
LIST_MAX_AGE_S = 3_600.0
"""How old the newest revocation list held by an agent may be (choice: the time for which a cut line is bridged)."""


# --- routing ---


def assess(
    subject: Subject,
    book: Book,
    learning: Learning,
    now_s: float,
    *,
    drawn: bool,
    released: bool = False,
    previous: Assessment | None = None,
    ahead: Ahead | None = None,
    bays: int | None = None,
) -> Assessment:
    """The unsigned answer for one declaration.

    Args:
        drawn: The lot fell on it.
        released: A control result lets the goods go: the one way to a laxer answer.
        previous: Newest answer for the same activation; what follows is never looser.
        ahead: What was found of the declaration before the border.
        bays: Control bays of the crossing that this hour still has room for; None = no bound.
    """
    found = scored(subject, book, learning, drawn, ahead)
    inland = _inland(subject, book, now_s)
    if released:
        routed = _Routed(Routing.TO_ENTRY)
        card = _released_card(found.card, book)
    elif subject.missing is not None:
        routed = _Routed(Routing.ENTRY_PENDING, ControlLocation.ON_ENTRY, ("DOCUMENTS",))
        card = _pending_card(found.card, subject.missing, book)
    else:
        card = capped(found, subject.direction, bool(inland), bays)
        routed = _route(card.channel, found.deny, bool(inland))
    answer = _answer(subject, routed, card, book, learning, now_s, inland)
    if released or previous is None or strictness(answer) >= strictness(previous):
        return answer
    return msgspec.structs.replace(previous, issued_at=answer.issued_at, valid_until=answer.valid_until, signature=None)


class Grounds(msgspec.Struct, frozen=True, array_like=True):
    """Everything that an answer rests on besides book, model, counters and the answer before it.

    Attributes:
        now_s: When it was given, UTC seconds.
        drawn, released, bays: As `assess` takes them.
    """

    subject: Subject
    now_s: float
    drawn: bool
    released: bool
    bays: int | None


@dataclass(frozen=True)
class _Routed:
    routing: Routing
    location: ControlLocation | None = None
    controls: tuple[str, ...] = ()


def capped(found: Scored, direction: str, inland: bool, bays: int | None) -> ScoreCard:
    """The card after the cap: only what the model alone selected gives way, where there is no bay left for it.

    Into the country it is looked at inland, if that can be; out of it, it goes (design/risk.md section 5).
    """
    card = found.card
    full = bays is not None and bays <= 0
    if not full or card.channel != "red" or card.selection_kind != "MODEL" or card.random or found.deny:
        return card
    if direction == "OUT":
        return msgspec.structs.replace(card, channel="green", selection_kind="NONE", capacity=True)
    return msgspec.structs.replace(card, channel="yellow", capacity=True) if inland else card


def _inland(subject: Subject, book: Book, now_s: float) -> tuple[Inspection, ...]:
    """Inspections that a competent office inland can do before the deadline; none when leaving the territory."""
    if subject.direction != "IN":
        return ()
    offered = tuple(one for one in book.inspections if one.locations and _opens(one.hours, now_s, book.obligation_s))
    return offered if any(one.id == "DOCUMENTS" for one in offered) else ()


def _opens(hours: str | None, now_s: float, within_s: float) -> bool:
    if hours is None:
        return True
    opening = OpeningHours.parse(hours)
    if opening.is_open(now_s):
        return True
    change_s = opening.next_change_s(now_s)
    return change_s is not None and change_s < now_s + within_s


def _route(channel: str, denied: bool, inland: bool) -> _Routed:
    """Colour to routing; after entry only where an inland office can do it."""
    if denied:
        return _Routed(Routing.ENTRY_DENIED, ControlLocation.ON_ENTRY, ("DOCUMENTS", "PHYSICAL"))
    if channel == "red":
        return _Routed(Routing.TO_CONTROL, ControlLocation.ON_ENTRY, ("DOCUMENTS", "PHYSICAL"))
    if channel == "green":
        return _Routed(Routing.TO_ENTRY)
    where = ControlLocation.AFTER_ENTRY if inland else ControlLocation.ON_ENTRY
    return _Routed(Routing.TO_CONTROL, where, ("DOCUMENTS",))


def _released_card(card: ScoreCard, book: Book) -> ScoreCard:
    reason = Reason("CONTROL_RESULT", "released", 0, dict(book.texts["released-by-control"]))
    return msgspec.structs.replace(card, channel="green", reasons=(*card.reasons, reason), selection_kind="NONE")


def _pending_card(card: ScoreCard, missing: str, book: Book) -> ScoreCard:
    reason = Reason("MISSING", missing, 0, dict(book.texts["papers-missing"]))
    channel = "yellow" if card.channel == "green" else card.channel
    kind = "RULE" if card.selection_kind == "NONE" else card.selection_kind
    return msgspec.structs.replace(card, channel=channel, reasons=(*card.reasons, reason), selection_kind=kind)


def conditional_answer(
    subject: Subject,
    book: Book,
    learning: Learning,
    now_s: float,
    *,
    drawn: bool,
    list_number: int,
) -> ConditionalAnswer | None:
    """The unsigned answer for the case that the line is cut at the crossing; None where it would not be "go".

    Args:
        subject: As for the live answer, with what is known at linking time.
        drawn: The lot falls on it on one of the days on which it may be used.
        list_number: Number of the newest revocation list.
    """
    answer = assess(subject, book, learning, now_s, drawn=drawn)
    if answer.routing != Routing.TO_ENTRY.value or subject.missing is not None:
        return None
    return ConditionalAnswer(
        activation_id=subject.activation_id,
        mrn=subject.mrn,
        version=subject.version,
        jrn=subject.jrn,
        crossing=subject.crossing,
        direction=subject.direction,
        routing=answer.routing,
        issued_at=rfc3339(now_s),
        not_before=rfc3339(now_s),
        not_after=rfc3339(now_s + CONDITIONAL_VALID_S),
        list_number=list_number,
        list_max_age_s=LIST_MAX_AGE_S,
    )


def _answer(
    subject: Subject,
    routed: _Routed,
    card: ScoreCard,
    book: Book,
    learning: Learning,
    now_s: float,
    inland: tuple[Inspection, ...],
) -> Assessment:
    later = routed.location is ControlLocation.AFTER_ENTRY
    shown: dict[str, Any] = msgspec.to_builtins(card)
    shown |= {
        "listsVersion": book.lists_version,
        "countersUpTo": learning.counters.up_to,
        "thresholds": {"yellowAt": book.yellow_at, "redAt": book.red_at},
        "inputHash": input_hash(subject),
    }
    return Assessment(
        activation_id=subject.activation_id,
        mrn=subject.mrn,
        version=subject.version,
        jrn=subject.jrn,
        crossing=subject.crossing,
        direction=subject.direction,
        routing=routed.routing.value,
        issued_at=rfc3339(now_s),
        valid_until=rfc3339(now_s + book.valid_s),
        routing_control_location=routed.location.value if routed.location else None,
        type_of_controls=routed.controls,
        report_to_locations=_places(routed.controls, inland) if later else (),
        deadline=rfc3339(now_s + book.obligation_s) if later else None,
        customs_office=subject.office,
        score_card=shown,
    )


def _places(controls: tuple[str, ...], inland: tuple[Inspection, ...]) -> tuple[ReportToLocation, ...]:
    return tuple(ReportToLocation(one.id, one.locations, one.order) for one in inland if one.id in controls)


def strictness(answer: Assessment) -> tuple[int, int]:
    """Order of answers: routing first, then AFTER_ENTRY before ON_ENTRY (design/domain.md section 5, G9)."""
    return (
        [routing.value for routing in ROUTING_ORDER].index(answer.routing),
        int(answer.routing_control_location == ControlLocation.ON_ENTRY.value),
    )


def input_hash(subject: Subject) -> str:
    """SHA-256 over everything about the subject that entered the card."""
    facts = {
        name: value
        for name, value in ((one, getattr(subject, one)) for one in subject.__dataclass_fields__)
        if name not in ("activation_id", "vehicle")
    }
    facts["vehicle"] = str(subject.vehicle) if subject.vehicle else None
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()
