"""The risk rule book: profiles and watch lists by what they ask for, and what of it fits a declaration.

The index has one bucket for each set of fields that rules ask for, so that the cost of a check follows the
goods items of the declaration and not the number of rules (design/risk.md section 3).
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.domain.declaration import GoodsDeclaration, GoodsItem, Party, Trailer, TransportDeclaration
from agent.domain.identifiers import VehicleKey
from agent.risk.book import Entry
from agent.risk.expression import Expression
from agent.risk.names import NameIndex, normal_name
from agent.risk.phrases import PhraseIndex
from agent.risk.rule_index import (
    DENY,
    EXPRESSION,
    HEADER_FIELDS,
    ITEM_FIELDS,
    LATE,
    LATE_FIELDS,
    LATE_NUMBERS,
    MAX_BOUNDS,
    NO_FIELD,
    NUMBER_FIELDS,
    ONLY_IN,
    ONLY_OUT,
    RED,
    ROW,
    YELLOW,
    Question,
    RuleIndex,
    Template,
    key_hash,
    ordered,
)

Floor = Literal["yellow", "red"]
Role = Literal["consignor", "consignee", "declarant", "carrier"]

MATCH_FIELDS = tuple(name for name in (*ITEM_FIELDS, *HEADER_FIELDS) if name != "document")
"""What a rule's access key may consist of; declarations carry no document numbers yet."""
WHERE_FIELDS = NUMBER_FIELDS
"""Numbers that a rule may bound."""
NAME_ROLES = ("consignor", "consignee", "declarant", "carrier")


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bound on a number; both ends exclusive."""

    field: str
    above: float | None = None
    below: float | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile of the rule book."""

    id: str
    owner: str
    valid_from: datetime.date
    valid_to: datetime.date
    match: dict[str, str]
    points: int
    text: str
    direction: Literal["IN", "OUT"] | None = None
    where: tuple[Range, ...] = ()
    floor: Floor | None = None
    deny: bool = False
    """A prohibition: entry is denied."""
    when: str | None = None
    """A condition in CEL that must hold as well."""

    @property
    def condition(self) -> str | None:
        """The same, as compiled rules name it."""
        return self.when


class WatchedPlate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vehicle on the watch list: red if the plate is equal, yellow if one confusable character differs."""

    id: str
    owner: str
    valid_from: datetime.date
    valid_to: datetime.date
    identification_number: str
    nationality: str
    points: int
    text: str


class WatchedName(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A party on the watch list, found also if misspelt."""

    id: str
    owner: str
    valid_from: datetime.date
    valid_to: datetime.date
    name: str
    roles: tuple[Role, ...]
    points: int
    text: str
    floor: Floor | None = None


class WatchedPhrase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A phrase on the watch list of goods texts."""

    id: str
    owner: str
    valid_from: datetime.date
    valid_to: datetime.date
    phrase: str
    points: int
    text: str
    floor: Floor | None = None


class Inspection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of inspection and where it can be had inland."""

    id: str
    order: int
    locations: tuple[str, ...]
    hours: str | None = None
    """When a competent office there is open, as `opening_hours`; always without it."""


Dated = Rule | WatchedPlate | WatchedName | WatchedPhrase
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Book:
    """A rule book, read, checked and indexed."""

    version: str
    lists_version: str
    random_share: float
    red_share: float
    yellow_share: float
    """Shares of recent declarations from which thresholds are taken, where they are not frozen."""
    frozen: bool
    """The thresholds stand whatever recent declarations score."""
    yellow_at: int
    red_at: int
    valid_s: float
    obligation_s: float
    rates: Mapping[str, float]
    """Currency to CHF."""
    texts: Mapping[str, Mapping[str, str]]
    """Text key to language to words."""
    inspections: tuple[Inspection, ...]
    rules: RuleTable
    plates: PlateList
    alike_plates: PlateList
    """Plates one confusable character away from a watched one."""
    names: NameList
    phrases: PhraseList


@dataclass(frozen=True)
class Subject:
    """What is assessed: one declaration (or an empty run) of one journey at one crossing."""

    activation_id: str
    mrn: str | None
    version: int
    jrn: str
    crossing: str
    office: str | None
    direction: str
    activated_s: float
    """UTC seconds."""
    vehicle: VehicleKey | None = None
    goods: GoodsDeclaration | None = None
    carrier: Party | None = None
    empty_reason: str | None = None
    missing: str | None = None
    """Why the register has no such declaration, such as UNKNOWN_MRN."""
    indicators: Mapping[str, Any] = field(default_factory=dict)
    """What the agent saw of the journey."""
    trailers: tuple[Trailer, ...] = ()
    journey: TransportDeclaration | None = None


# --- names, plates, lots ---

_CONFUSED = {"0": "O", "O": "0", "1": "I", "I": "1", "8": "B", "B": "8", "5": "S", "S": "5"}
"""Characters of plates that people and cameras confuse (design/risk.md section 4)."""


def confused_plates(key: VehicleKey) -> Iterator[VehicleKey]:
    """Keys that differ from this one by one confusable character."""
    for index, char in enumerate(key.plate):
        if char in _CONFUSED:
            plate = f"{key.plate[:index]}{_CONFUSED[char]}{key.plate[index + 1 :]}"
            yield VehicleKey(plate, key.nationality)


def lot(secret: bytes, key: str) -> float:
    """The lot in [0, 1): not to be foreseen without the secret, the same however often it is asked for."""
    digest = hmac.new(secret, key.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def lot_key(subject: Subject) -> str:
    """What the lot is drawn over: the MRN; where one number serves many journeys, the journey as well."""
    if subject.mrn is None:
        return subject.jrn
    if subject.goods is not None and subject.goods.procedure == "PERIODIC":
        return f"{subject.mrn}|{subject.jrn}"
    return subject.mrn


# --- what a rule can ask for ---


def indicator_names(indicators: Mapping[str, Any]) -> list[str]:
    """Indicators that hold, as rules name them: `trailerChanged: true` is TRAILER_CHANGED."""
    names = [_upper_snake(name) for name, value in indicators.items() if value and name != "plateMatches"]
    if indicators.get("plateMatches") is False:
        names.append("PLATE_DIFFERS")
    return sorted(set(names))


def _upper_snake(name: str) -> str:
    return name if name.isupper() else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def _item_facts(item: GoodsItem) -> dict[str, str]:
    facts = {f"hs{length}": item.commodity_code[:length] for length in (2, 4, 6, 8)}
    facts = {name: value for name, value in facts.items() if len(value) == int(name[2:])}
    for name, value in (("origin", item.country_of_origin), ("dispatch", item.country_of_dispatch)):
        if value:
            facts[name] = value.upper()
    return facts


def parties(subject: Subject) -> dict[str, Party]:
    """The parties of a declaration and its journey, by role."""
    goods = subject.goods
    named = {
        "consignor": goods.consignor if goods else None,
        "consignee": goods.consignee if goods else None,
        "declarant": goods.declarant if goods else None,
        "carrier": subject.carrier,
    }
    return {role: party for role, party in named.items() if party is not None}


def _header_facts(subject: Subject) -> dict[str, str]:
    facts = {role: normal_name(party.name) for role, party in parties(subject).items()}
    facts["crossing"] = subject.crossing
    if subject.office:
        facts["office"] = subject.office
    if subject.vehicle:
        facts["plate"] = str(subject.vehicle)
    if subject.goods:
        facts["procedure"] = subject.goods.procedure
    return facts


def _numbers(subject: Subject, item: GoodsItem | None, rates: Mapping[str, float]) -> dict[str, float]:
    stop_s = subject.indicators.get("stopBeforeBorderS", 0)
    numbers = {
        "stop_before_border_s": float(stop_s) if isinstance(stop_s, int | float) else 0.0,
        "hour": float(int(subject.activated_s // 3_600) % 24),
    }
    if item is None:
        return numbers
    if item.net_mass is not None:
        numbers["net_mass_kg"] = item.net_mass
    if item.gross_mass is not None:
        numbers["gross_mass_kg"] = item.gross_mass
    rate = rates.get(item.currency or "CHF")
    if item.statistical_value is not None and rate is not None:
        numbers["statistical_value_chf"] = item.statistical_value * rate
        if item.net_mass:
            numbers["value_per_mass_chf_kg"] = item.statistical_value * rate / item.net_mass
    return numbers


def in_force(entry: Dated | Entry, day: datetime.date) -> bool:
    """Whether a rule or list entry holds on a day; both ends included."""
    return entry.valid_from <= day <= entry.valid_to


@dataclass(frozen=True)
class RuleTable:
    """Rules in the order of the index that finds them."""

    index: RuleIndex
    rules: Sequence[Rule | Entry]


def index_rules(rules: Iterable[Rule], salt: bytes = b"borderlane") -> RuleTable:
    """Rules behind an index by what their access keys ask for."""
    listed = tuple(rules)
    templates = sorted({ordered(tuple(rule.match)) for rule in listed})
    number = {template: place for place, template in enumerate(templates)}
    keys = [_rule_key(rule, number, salt) for rule in listed]
    order = sorted(range(len(listed)), key=lambda one: (keys[one], listed[one].id))
    rows = np.array([rule_row(listed[one]) for one in order], dtype=ROW)
    index = RuleIndex(templates, np.array([keys[one] for one in order], np.uint64), rows, salt)
    return RuleTable(index, tuple(listed[one] for one in order))


def access_key(rule: Rule) -> tuple[str, ...]:
    """The values a rule asks for, canonical, in the order of its template."""
    return tuple(canonical(name, rule.match[name]) for name in ordered(tuple(rule.match)))


def _rule_key(rule: Rule, number: Mapping[Template, int], salt: bytes) -> int:
    return key_hash(salt, number[ordered(tuple(rule.match))], access_key(rule))


def rule_row(rule: Rule) -> tuple[Any, ...]:
    """A rule as a row of the index."""
    bounds = [(NUMBER_FIELDS.index(one.field), one.above, one.below) for one in rule.where]
    spare = MAX_BOUNDS - len(bounds)
    field = [one[0] for one in bounds] + [NO_FIELD] * spare
    low = [-math.inf if one[1] is None else one[1] for one in bounds] + [0.0] * spare
    high = [math.inf if one[2] is None else one[2] for one in bounds] + [0.0] * spare
    return (rule.points, _flags(rule), field, days(rule.valid_from), days(rule.valid_to), low, high)


def _flags(rule: Rule) -> int:
    late = not LATE_FIELDS.isdisjoint(rule.match) or any(one.field in LATE_NUMBERS for one in rule.where)
    late = late or (rule.when is not None and Expression(rule.when).late)
    return (
        {"IN": ONLY_IN, "OUT": ONLY_OUT, None: 0}[rule.direction]
        | {"yellow": YELLOW, "red": RED, None: 0}[rule.floor]
        | (DENY if rule.deny else 0)
        | (LATE if late else 0)
        | (EXPRESSION if rule.when is not None else 0)
    )


def days(day: datetime.date) -> int:
    """Days since 1970."""
    return day.toordinal() - _EPOCH_DAY


def canonical(name: str, value: str) -> str:
    """A match value in the form in which it is compared."""
    if name in NAME_ROLES:
        return normal_name(value)
    return value if name == "crossing" else "".join(value.split()).upper()


def fired(subject: Subject, book: Book, day: datetime.date) -> tuple[Rule | Entry, ...]:
    """The rules that fit, each once however many goods items it fits, in order of their ids."""
    found = [book.rules.rules[row] for row in book.rules.index.fitting(question_of(subject, book.rates, days(day)))]
    return tuple(sorted(found, key=lambda rule: rule.id))


def question_of(subject: Subject, rates: Mapping[str, float], day: int) -> Question:
    """What is asked of the index about a declaration, on a day since 1970."""
    header: dict[str, str | list[str]] = {**_header_facts(subject)}
    header["indicator"] = indicator_names(subject.indicators)
    items = subject.goods.goods_items if subject.goods else ()
    facts = [_item_facts(item) for item in items]
    return Question(header, facts, numbers_of(subject, rates), day, subject.direction)


def numbers_of(subject: Subject, rates: Mapping[str, float]) -> NDArray[np.float64]:
    """`NUMBER_FIELDS` of the declaration without items, and of each goods item; NaN = not known."""
    items = subject.goods.goods_items if subject.goods else ()
    numbers = [_numbers(subject, item, rates) for item in (None, *items)]
    return np.array([[row.get(name, math.nan) for name in NUMBER_FIELDS] for row in numbers])


@dataclass(frozen=True)
class NameList:
    """Watched names behind an index; entries by the number of their normal name."""

    index: NameIndex
    entries: Sequence[tuple[Entry, ...]]


@dataclass(frozen=True)
class PhraseList:
    """Watched phrases behind an index; entries by the number of their normal phrase."""

    index: PhraseIndex
    entries: Sequence[tuple[Entry, ...]]


class PlateList:
    """Entries about a plate.

    Args:
        entries: Of exactly this plate, `ZH123456/CH`.
        alike: Take those of the plates that differ by one confusable character instead.
    """

    def __init__(self, entries: Callable[[str], tuple[Entry, ...]], alike: bool = False) -> None:
        self._entries, self._alike = entries, alike

    def get(self, key: VehicleKey, default: tuple[Entry, ...] = ()) -> tuple[Entry, ...]:
        """The entries, in order of their ids."""
        keys = confused_plates(key) if self._alike else (key,)
        found = [entry for one in keys for entry in self._entries(str(one))]
        return tuple(sorted(found, key=lambda entry: entry.id)) or default


def names_like(name: str, book: Book) -> tuple[Entry, ...]:
    """Watch-list entries of the listed name that is most like this one, if it is like enough."""
    found = book.names.index.most_like(name)
    return () if found is None else book.names.entries[found]


def phrases_in(texts: Iterable[str], book: Book) -> list[Entry]:
    """Watch-list entries whose phrase stands in one of the texts."""
    return [one for found in book.phrases.index.found(texts) for one in book.phrases.entries[found]]
