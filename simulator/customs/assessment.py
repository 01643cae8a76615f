"""Risk check of one declaration: watch list, profiles, learned rates, lot; score card and routing.

Each step only adds (design/risk.md section 5; design/domain.md section 10). Same inputs and same versions
give the same assessment.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
    ScoreParts,
)
from agent.domain.times import rfc3339
from agent.risk.names import normal_name
from simulator.customs.book import Book, Floor, Subject, fired, in_force, names_like, parties
from simulator.customs.feedback import Counters, Key, learned_points

MAX_REASONS = 50
"""Reasons on one card; the points of any further ones are summed in the last."""
CONDITIONAL_VALID_S = 86_400.0
"""A conditional answer is good for a day after it was given (choice: a lorry is linked hours before it crosses)."""
LIST_MAX_AGE_S = 3_600.0
"""How old the newest revocation list held by an agent may be (choice: the time for which a cut line is bridged)."""
MODEL_VERSION = "none"
"""No learned model yet: `predictive` is 0."""


@dataclass
class _Card:
    """A score card in the making; every step only adds."""

    reasons: list[Reason] = field(default_factory=list)
    deductive: int = 0
    inductive: int = 0
    floor: Floor | None = None
    deny: bool = False
    kinds: set[str] = field(default_factory=set)
    """Selection kinds of what raised the card by itself."""

    def add(self, kind: str, id_: str, points: int, text: Mapping[str, str], floor: Floor | None) -> None:
        self.reasons.append(Reason(kind, id_, points, dict(text)))
        self.deductive += points
        self.raise_to(floor, kind)

    def raise_to(self, floor: Floor | None, kind: str) -> None:
        if floor is not None:
            self.kinds.add(kind)
            self.floor = "red" if "red" in (self.floor, floor) else "yellow"


def _watch_list(card: _Card, subject: Subject, book: Book, day: datetime.date) -> None:
    if subject.vehicle is not None:
        for plate in _valid(book.plates.get(subject.vehicle, ()), day):
            card.add("WATCHLIST", plate.id, plate.points, book.texts[plate.text], "red")
        for plate in _valid(book.alike_plates.get(subject.vehicle, ()), day):
            card.add("WATCHLIST", plate.id, plate.points // 2, book.texts["plate-alike"], "yellow")
    hit: set[str] = set()
    for role, party in parties(subject).items():
        for entry in _valid(names_like(party.name, book), day):
            if role in entry.roles and entry.id not in hit:
                hit.add(entry.id)
                card.add("WATCHLIST", entry.id, entry.points, book.texts[entry.text], entry.floor)


def _valid(entries: Iterable[Any], day: datetime.date) -> list[Any]:
    return [entry for entry in entries if in_force(entry, day)]


def _profiles(card: _Card, subject: Subject, book: Book, day: datetime.date) -> None:
    for rule in fired(subject, book, day):
        card.add("RULE", rule.id, rule.points, book.texts[rule.text], rule.floor)
        card.deny = card.deny or rule.deny
    if subject.mrn is None and subject.empty_reason == "MRN_MISSING":
        card.add("RULE", "EMPTY-MRN-MISSING", 0, book.texts["empty-mrn-missing"], "red")


def feedback_keys(subject: Subject) -> list[Key]:
    """What is counted when this declaration is controlled, and asked for when it is scored."""
    keys: set[Key] = {(role, normal_name(party.name)) for role, party in parties(subject).items()}
    for item in subject.goods.goods_items if subject.goods else ():
        keys.add(("hs6", item.commodity_code[:6]))
        if item.country_of_origin:
            keys.add(("origin+hs4", f"{item.country_of_origin.upper()} {item.commodity_code[:4]}"))
    return sorted(keys)


def _learned(card: _Card, subject: Subject, book: Book, counters: Counters) -> None:
    points = round(learned_points(counters, feedback_keys(subject)))
    if points:
        card.inductive = points
        card.reasons.append(Reason("FEEDBACK", "learned-rate", points, dict(book.texts["learned-rate"])))


def _colour(card: _Card, book: Book) -> str:
    score = card.deductive + card.inductive
    if card.deny or card.floor == "red" or score >= book.red_at:
        return "red"
    return "yellow" if card.floor == "yellow" or score >= book.yellow_at else "green"


def _selection_kind(card: _Card, book: Book, channel: str, drawn: bool) -> str:
    if "WATCHLIST" in card.kinds:
        return "WATCHLIST"
    if channel != "green":
        return "FEEDBACK" if not card.kinds and card.deductive < book.yellow_at else "RULE"
    return "RANDOM" if drawn else "NONE"


def score_card(subject: Subject, book: Book, counters: Counters, drawn: bool) -> tuple[ScoreCard, bool, bool]:
    """The score card, whether a floor stands behind its colour, and whether entry is denied."""
    day = datetime.datetime.fromtimestamp(subject.activated_s, datetime.UTC).date()
    card = _Card()
    _watch_list(card, subject, book, day)
    _profiles(card, subject, book, day)
    _learned(card, subject, book, counters)
    colour = _colour(card, book)
    kind = _selection_kind(card, book, colour, drawn)
    if drawn:
        card.reasons.append(Reason("RANDOM", "lot", 0, dict(book.texts["drawn-by-lot"])))
    done = ScoreCard(
        channel="red" if drawn else colour,
        score=card.deductive + card.inductive,
        parts=ScoreParts(card.deductive, card.inductive, 0),
        reasons=_top(card.reasons),
        selection_kind=kind,
        rule_book_version=book.version,
        model_version=MODEL_VERSION,
        random=drawn,
    )
    return done, card.floor is not None, card.deny


def _top(reasons: list[Reason]) -> tuple[Reason, ...]:
    """Strongest first; what does not fit is summed, so that points still add up to the score."""
    ordered = sorted(reasons, key=lambda reason: (-abs(reason.points), reason.kind, reason.id))
    if len(ordered) <= MAX_REASONS:
        return tuple(ordered)
    kept, rest = ordered[: MAX_REASONS - 1], ordered[MAX_REASONS - 1 :]
    return (*kept, Reason("REST", f"{len(rest)} further", sum(reason.points for reason in rest)))


# --- routing ---


def assess(
    subject: Subject,
    book: Book,
    counters: Counters,
    now_s: float,
    *,
    drawn: bool,
    released: bool = False,
    previous: Assessment | None = None,
) -> Assessment:
    """The unsigned answer for one declaration.

    Args:
        drawn: The lot fell on it.
        released: A control result lets the goods go: the one way to a laxer answer.
        previous: Newest answer for the same activation; what follows is never looser.
    """
    card, by_floor, denied = score_card(subject, book, counters, drawn)
    if released:
        routed = _Routed(Routing.TO_ENTRY)
        card = _released_card(card, book)
    elif subject.missing is not None:
        routed = _Routed(Routing.ENTRY_PENDING, ControlLocation.ON_ENTRY, ("DOCUMENTS",))
        card = _pending_card(card, subject.missing, book)
    else:
        routed = _route(card.channel, subject.direction, by_floor, denied, book)
    answer = _answer(subject, routed, card, book, counters, now_s)
    if released or previous is None or strictness(answer) >= strictness(previous):
        return answer
    return msgspec.structs.replace(previous, issued_at=answer.issued_at, valid_until=answer.valid_until, signature=None)


@dataclass(frozen=True)
class _Routed:
    routing: Routing
    location: ControlLocation | None = None
    controls: tuple[str, ...] = ()


def _route(channel: str, direction: str, by_floor: bool, denied: bool, book: Book) -> _Routed:
    """Colour to routing; leaving the territory there is no "after entry"."""
    if denied:
        return _Routed(Routing.ENTRY_DENIED, ControlLocation.ON_ENTRY, ("DOCUMENTS", "PHYSICAL"))
    if channel == "red":
        return _Routed(Routing.TO_CONTROL, ControlLocation.ON_ENTRY, ("DOCUMENTS", "PHYSICAL"))
    if channel == "green" or (direction == "OUT" and not by_floor):
        return _Routed(Routing.TO_ENTRY)
    inland = direction == "IN" and any(one.id == "DOCUMENTS" and one.locations for one in book.inspections)
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
    counters: Counters,
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
    answer = assess(subject, book, counters, now_s, drawn=drawn)
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
    subject: Subject, routed: _Routed, card: ScoreCard, book: Book, counters: Counters, now_s: float
) -> Assessment:
    later = routed.location is ControlLocation.AFTER_ENTRY
    shown: dict[str, Any] = msgspec.to_builtins(card)
    shown |= {
        "listsVersion": book.lists_version,
        "countersUpTo": counters.up_to,
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
        report_to_locations=_places(routed.controls, book) if later else (),
        deadline=rfc3339(now_s + book.obligation_s) if later else None,
        customs_office=subject.office,
        score_card=shown,
    )


def _places(controls: tuple[str, ...], book: Book) -> tuple[ReportToLocation, ...]:
    return tuple(ReportToLocation(one.id, one.locations, one.order) for one in book.inspections if one.id in controls)


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
