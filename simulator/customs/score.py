"""The score card of one declaration: findings of rules and lists, what the model says, their sum, colour and cause.

Scoring goes in steps, each as soon as its inputs are known (design/risk.md section 7): goods are lodged, a journey
references them, the lorry is at the border. What the first two found is kept as values; a card made from them is
the same as one made at once. A step's values hold for the versions that stand on them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from agent.domain.routing import Reason, ScoreCard, ScoreParts
from agent.risk.expression import MAX_EXPRESSIONS, Expression, expression_context
from agent.risk.model import MILLI, Model, Prediction
from agent.risk.names import normal_name
from agent.risk.rule_index import BORDER, DENY, GOODS, JOURNEY, ONLY_IN, ONLY_OUT, RED, YELLOW, Met, Question
from simulator.customs.book import (
    Book,
    Floor,
    Subject,
    indicator_names,
    names_like,
    numbers_of,
    parties,
    phrases_in,
    question_of,
)
from simulator.customs.feedback import Counters
from simulator.customs.indicators import LearnedRates

MAX_REASONS = 50
"""Reasons on one card; the points of any further ones are summed in the last."""
MAX_TERMS = 5
"""Terms of the model told for each part; the points of all others are summed."""
MAX_ALIKE_POINTS = 20
"""A plate that only resembles a watched one adds no more, so that it is never red by itself."""
LODGED_ROLES = ("consignor", "consignee", "declarant")
STEPS = ("WATCHLIST", "RULE", "FEEDBACK", "MODEL")
"""What is added one after the other; a card is selected by the step at which its colour became what it is."""


class Finding(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A rule or list entry that fits what is known so far."""

    kind: str
    """RULE or WATCHLIST."""
    id: str
    points: int
    text: str
    floor: str
    """yellow, red or empty."""
    deny: bool
    from_day: int
    to_day: int
    """First and last day since 1970."""
    direction: str
    """IN, OUT, or empty for both."""
    condition: str = ""
    """CEL that is still to be asked, as it reads what is known only at the border."""


class Step(msgspec.Struct, frozen=True, array_like=True):
    """What one step found, for these versions and facts."""

    book: str
    lists: str
    facts: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    open: tuple[tuple[int, int], ...] = ()
    """Rules that wait for a number known only at the border (`Met.open`)."""


class Predicted(msgspec.Struct, frozen=True, array_like=True):
    """What the model says of a declaration, for this model and counter version; points add up over the reasons."""

    model: str
    counters_up_to: int
    points: int = 0
    inductive: int = 0
    reasons: tuple[Reason, ...] = ()


class Ahead(msgspec.Struct, frozen=True, array_like=True):
    """What was found before the border."""

    lodged: Step
    predicted: Predicted
    referenced: Step | None = None


@dataclass(frozen=True)
class Learning:
    """The model and one version of the counters."""

    model: Model
    rates: LearnedRates
    counters: Counters

    @staticmethod
    def of(model: Model, prior: Counters, counters: Counters) -> Learning:
        """A version of the counters on top of those that the model starts from."""
        return Learning(model, LearnedRates(prior, counters, model.chf_of_price), counters)


@dataclass(frozen=True)
class Scored:
    """A score card with what routing asks for besides.

    Attributes:
        floor: Colour that stands whatever the points are.
        deny: A prohibition fits.
    """

    card: ScoreCard
    floor: Floor | None
    deny: bool


def scored(subject: Subject, book: Book, learning: Learning, drawn: bool, ahead: Ahead | None = None) -> Scored:
    """The card at the border.

    Args:
        drawn: The lot fell on it.
        ahead: What earlier steps found; whatever does not hold for these versions and facts is done again.
    """
    lodged, predicted, referenced = _steps(subject, book, learning, ahead)
    border = _at_border(subject, book, (*lodged.open, *referenced.open))
    found = _in_force((*lodged.findings, *referenced.findings, *border), subject, book)
    return _summed(found, predicted, subject, book, drawn)


def _steps(subject: Subject, book: Book, learning: Learning, ahead: Ahead | None) -> tuple[Step, Predicted, Step]:
    asked = None if ahead else question_of(subject, book.rates, 0)
    lodged = ahead.lodged if ahead and _holds(ahead.lodged, book) else lodged_step(subject, book, asked)
    known = ahead.predicted if ahead else None
    if known is None or (known.model, known.counters_up_to) != (learning.model.version, learning.counters.up_to):
        known = predicted_of(subject, book, learning)
    referenced = ahead.referenced if ahead else None
    if referenced is None or not _holds(referenced, book) or referenced.facts != journey_facts(subject):
        referenced = referenced_step(subject, book, asked)
    return lodged, known, referenced


def _holds(step: Step, book: Book) -> bool:
    return step.book == book.version and step.lists == book.lists_version


# --- steps ---


def lodged_step(subject: Subject, book: Book, asked: Question | None = None) -> Step:
    """What rules, names and phrases say of the goods alone; `asked` is `question_of` where it was made already."""
    if subject.goods is None:
        return Step(book.version, book.lists_version)
    met = book.rules.index.met(asked or question_of(subject, book.rates, 0), GOODS)
    texts = [item.description_of_goods for item in subject.goods.goods_items]
    listed = [_of_list(one) for one in phrases_in(texts, book)]
    return _step(subject, book, (), met, [*_names(subject, LODGED_ROLES, book), *listed])


def journey_facts(subject: Subject) -> tuple[str, ...]:
    """What `referenced_step` reads of the journey."""
    carrier = "" if subject.carrier is None else normal_name(subject.carrier.name)
    return (carrier, str(subject.vehicle or ""), subject.office or "", subject.crossing)


def referenced_step(subject: Subject, book: Book, asked: Question | None = None) -> Step:
    """What rules and lists say of vehicle, carrier and place, with the goods."""
    met = book.rules.index.met(asked or question_of(subject, book.rates, 0), JOURNEY)
    listed = [*_plates(subject, book), *_names(subject, ("carrier",), book)]
    return _step(subject, book, journey_facts(subject), met, listed)


def predicted_of(subject: Subject, book: Book, learning: Learning) -> Predicted:
    """What the model says: of an import, by its goods item with the highest score (choice)."""
    nothing = Predicted(learning.model.version, learning.counters.up_to)
    goods = subject.goods
    if goods is None or goods.procedure != "IMPORT" or not goods.goods_items:  # it was trained on imports
        return nothing
    said = learning.model.highest(learning.rates.rows(goods, book.rates))
    points, inductive = _points(said.milli_points), _points(said.inductive)
    if points < 0 and goods.import_data is None:  # leaving out what the model reads must never make a card milder
        return nothing
    reasons = (
        *_told(said, "FEEDBACK", inductive, learned=True),
        *_told(said, "MODEL", points - inductive, learned=False),
    )
    return msgspec.structs.replace(nothing, points=points, inductive=inductive, reasons=reasons)


def _points(milli: int) -> int:
    return (milli + MILLI // 2) // MILLI


def _told(said: Prediction, kind: str, total: int, *, learned: bool) -> Iterator[Reason]:
    """The strongest terms of one part, and all others in one, so that points add up."""
    told = said.strongest(MAX_TERMS, inductive=learned)
    points = [_points(term.milli_points) for term in told]
    for term, one in zip(told, points, strict=True):
        if one:
            yield Reason(kind, " x ".join(term.indicators), one)
    if total - sum(points):
        yield Reason(kind, "further terms", total - sum(points))


def _step(subject: Subject, book: Book, facts: tuple[str, ...], met: Met, listed: Iterable[Finding]) -> Step:
    findings = (*listed, *_asked((_of_rule(row, book) for row in met.rows), subject))
    return Step(book.version, book.lists_version, facts, findings, met.open)


def _asked(found: Iterable[Finding], subject: Subject) -> Iterator[Finding]:
    """Findings whose condition holds, or waits for the border."""
    context = None
    for one in found:
        if not one.condition or _compiled(one.condition).late:
            yield one
            continue
        context = context or expression_context(subject.goods)
        if _compiled(one.condition).holds(context):
            yield msgspec.structs.replace(one, condition="")


_compiled = lru_cache(MAX_EXPRESSIONS)(Expression)


def _of_rule(row: int, book: Book) -> Finding:
    rule, packed = book.rules.rules[row], book.rules.index.rows[row]
    flags = int(packed["flags"])
    return Finding(
        "RULE",
        rule.id,
        int(packed["points"]),
        rule.text,
        "red" if flags & RED else "yellow" if flags & YELLOW else "",
        bool(flags & DENY),
        int(packed["from_day"]),
        int(packed["to_day"]),
        "IN" if flags & ONLY_IN else "OUT" if flags & ONLY_OUT else "",
        rule.condition or "",
    )


def _of_list(entry: Any, **changes: Any) -> Finding:
    given = {
        "points": entry.points,
        "text": entry.text,
        "floor": getattr(entry, "floor", None) or "",
        "from_day": _day(entry.valid_from),
        "to_day": _day(entry.valid_to),
    }
    return Finding(kind="WATCHLIST", id=entry.id, deny=False, direction="", **(given | changes))


def _day(date: datetime.date) -> int:
    return date.toordinal() - _EPOCH_DAY


_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()


def _names(subject: Subject, roles: Iterable[str], book: Book) -> Iterator[Finding]:
    named = parties(subject)
    for role in roles:
        if role in named:
            yield from (_of_list(one) for one in names_like(named[role].name, book) if role in one.roles)


def _plates(subject: Subject, book: Book) -> Iterator[Finding]:
    if subject.vehicle is None:
        return
    for plate in book.plates.get(subject.vehicle):
        yield _of_list(plate, floor="red")
    for plate in book.alike_plates.get(subject.vehicle):
        points = min(plate.points // 2, MAX_ALIKE_POINTS)
        yield _of_list(plate, points=points, floor="yellow", text="plate-alike")


# --- at the border ---


def _at_border(subject: Subject, book: Book, waiting: tuple[tuple[int, int], ...]) -> list[Finding]:
    """Rules on what the agent saw of the journey, and those that waited for a number."""
    index = book.rules.index
    rows: tuple[int, ...] = ()
    if waiting:
        rows += index.closed(waiting, numbers_of(subject, book.rates))
    if indicator_names(subject.indicators):
        met = index.met(question_of(subject, book.rates, 0), BORDER)
        rows += met.rows
        if met.open:
            rows += index.closed(met.open, numbers_of(subject, book.rates))
    found = [_of_rule(row, book) for row in rows]
    if subject.mrn is None and subject.empty_reason == "MRN_MISSING":
        found.append(Finding("RULE", "EMPTY-MRN-MISSING", 0, "empty-mrn-missing", "red", False, 0, 65_535, ""))
    return found


def _in_force(found: Iterable[Finding], subject: Subject, book: Book) -> list[Finding]:
    """Those of this day and direction whose conditions hold, each once."""
    day = int(subject.activated_s // 86_400)
    kept: dict[tuple[str, str], Finding] = {}
    context = None
    for one in found:
        if not one.from_day <= day <= one.to_day or one.direction not in ("", subject.direction):
            continue
        if one.condition:
            context = context or expression_context(subject.goods, late_values(subject))
            if not _compiled(one.condition).holds(context):
                continue
        kept.setdefault((one.kind, one.id), one)
    return list(kept.values())


def late_values(subject: Subject) -> dict[str, Any]:
    """Values of the late variables of conditions, as far as they are known."""
    values: dict[str, Any] = {
        "crossing": subject.crossing,
        "office": subject.office,
        "indicators": dict(subject.indicators),
        "hour": int(subject.activated_s // 3_600) % 24,
        "trailers": list(subject.trailers),
        "journey": subject.journey,
        "vehicle": None
        if subject.vehicle is None
        else {"identificationNumber": subject.vehicle.plate, "nationality": subject.vehicle.nationality},
    }
    return {name: value for name, value in values.items() if value is not None}


# --- sum, colour, cause ---


def _summed(found: list[Finding], predicted: Predicted, subject: Subject, book: Book, drawn: bool) -> Scored:
    listed = [one for one in found if one.kind == "WATCHLIST"]
    deductive = sum(one.points for one in found)
    after = (
        sum(one.points for one in listed),
        deductive,
        deductive + predicted.inductive,
        deductive + predicted.points,
    )
    floors = (_floor(listed), *[_floor(found)] * 3)
    deny = any(one.deny for one in found)
    colours = [_colour(points, floor, deny and step > 0, subject.direction, book)
               for step, (points, floor) in enumerate(zip(after, floors, strict=True))]  # fmt: skip
    reasons = [Reason(one.kind, one.id, one.points, dict(book.texts[one.text])) for one in found]
    if drawn:
        reasons.append(Reason("RANDOM", "lot", 0, dict(book.texts["drawn-by-lot"])))
    card = ScoreCard(
        channel="red" if drawn else colours[-1],
        score=after[-1],
        parts=ScoreParts(deductive, predicted.inductive, predicted.points - predicted.inductive),
        reasons=_top([*reasons, *predicted.reasons]),
        selection_kind=_selection_kind(colours, drawn),
        rule_book_version=book.version,
        model_version=predicted.model,
        random=drawn,
    )
    return Scored(card, floors[-1], deny)


def _floor(found: Iterable[Finding]) -> Floor | None:
    floors = {one.floor for one in found}
    return "red" if "red" in floors else "yellow" if "yellow" in floors else None


def _colour(score: int, floor: Floor | None, deny: bool, direction: str, book: Book) -> str:
    """On the way out yellow comes only of a floor: a control after entry means nothing there."""
    if deny or floor == "red" or score >= book.red_at:
        return "red"
    return "yellow" if floor == "yellow" or (score >= book.yellow_at and direction == "IN") else "green"


def _selection_kind(colours: list[str], drawn: bool) -> str:
    """The step at which the colour became what it is for good; a lot counts only where nothing else selects."""
    final = colours[-1]
    if final == "green" or (drawn and final != "red"):
        return "RANDOM" if drawn else "NONE"
    became = max((step for step in range(1, len(colours)) if colours[step - 1] != final), default=0)
    return STEPS[became]


def _top(reasons: list[Reason]) -> tuple[Reason, ...]:
    """Strongest first; what does not fit is summed, so that points still add up to the score."""
    ordered = sorted(reasons, key=lambda reason: (-abs(reason.points), reason.kind, reason.id))
    if len(ordered) <= MAX_REASONS:
        return tuple(ordered)
    kept, rest = ordered[: MAX_REASONS - 1], ordered[MAX_REASONS - 1 :]
    return (*kept, Reason("REST", f"{len(rest)} further", sum(reason.points for reason in rest)))
