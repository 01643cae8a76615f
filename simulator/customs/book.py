"""The risk rule book: profiles and watch lists by what they ask for, and what of it fits a declaration.

The index has one bucket for each set of fields that rules ask for, so that the cost of a check follows the
goods items of the declaration and not the number of rules (design/risk.md section 3).
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import msgspec
from rapidfuzz import fuzz, process

from agent.domain.declaration import GoodsDeclaration, GoodsItem, Party
from agent.domain.identifiers import VehicleKey

Floor = Literal["yellow", "red"]

ITEM_FIELDS = ("hs2", "hs4", "hs6", "hs8", "origin", "dispatch")
HEADER_FIELDS = ("procedure", "office", "crossing", "consignor", "consignee", "declarant", "carrier", "plate")
MATCH_FIELDS = (*ITEM_FIELDS, *HEADER_FIELDS, "indicator")
"""What a rule's access key may consist of."""
WHERE_FIELDS = (
    "value_per_mass_chf_kg",
    "statistical_value_chf",
    "net_mass_kg",
    "gross_mass_kg",
    "stop_before_border_s",
)
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
    roles: tuple[Literal["consignor", "consignee", "declarant", "carrier"], ...]
    points: int
    text: str
    floor: Floor | None = None


class Inspection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of inspection and where it can be had inland."""

    id: str
    order: int
    locations: tuple[str, ...]


Dated = Rule | WatchedPlate | WatchedName
Template = tuple[str, ...]


@dataclass(frozen=True)
class Book:
    """A rule book, read, checked and indexed."""

    version: str
    lists_version: str
    random_share: float
    yellow_at: int
    red_at: int
    name_match_at: float
    valid_s: float
    obligation_s: float
    rates: Mapping[str, float]
    """Currency to CHF."""
    texts: Mapping[str, Mapping[str, str]]
    """Text key to language to words."""
    inspections: tuple[Inspection, ...]
    index: Mapping[Template, Mapping[tuple[str, ...], tuple[Rule, ...]]]
    """Fields of the access key to their values to the rules that ask for them."""
    plates: Mapping[VehicleKey, tuple[WatchedPlate, ...]]
    alike_plates: Mapping[VehicleKey, tuple[WatchedPlate, ...]]
    """Plates one confusable character away from a watched one."""
    names: Mapping[str, tuple[WatchedName, ...]]
    """Normal name to entries."""


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


# --- names, plates, lots ---

_LEGAL_FORMS = frozenset(
    (
        "ag", "gmbh", "sa", "sarl", "sagl", "srl", "spa", "sas", "eurl", "bv", "nv", "ltd", "llc", "inc",
        "plc", "co", "kg", "ohg", "ug", "se", "ab", "as", "oy", "aps", "doo", "kft", "zoo", "sro",
    )
)  # fmt: skip
_CONFUSED = {"0": "O", "O": "0", "1": "I", "I": "1", "8": "B", "B": "8", "5": "S", "S": "5"}
"""Characters of plates that people and cameras confuse (design/risk.md section 4)."""


def normal_name(name: str) -> str:
    """A name for comparing: no case, no accents, no legal form, words in order of the alphabet."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(char for char in plain if not unicodedata.combining(char))
    words = re.findall(r"\w+", letters.replace(".", ""))
    return " ".join(sorted(word for word in words if word not in _LEGAL_FORMS) or words)


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
    numbers = {"stop_before_border_s": float(stop_s) if isinstance(stop_s, int | float) else 0.0}
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


def in_force(entry: Dated, day: datetime.date) -> bool:
    """Whether a rule or list entry holds on a day; both ends included."""
    return entry.valid_from <= day <= entry.valid_to


def _within(bound: Range, numbers: Mapping[str, float]) -> bool:
    """A number that is not known meets no bound."""
    value = numbers.get(bound.field)
    if value is None:
        return False
    return (bound.above is None or value > bound.above) and (bound.below is None or value < bound.below)


def index_rules(rules: Iterable[Rule]) -> dict[Template, dict[tuple[str, ...], tuple[Rule, ...]]]:
    """Rules by the fields of their access key and the values they ask for."""
    index: dict[Template, dict[tuple[str, ...], tuple[Rule, ...]]] = {}
    for rule in rules:
        template = tuple(sorted(rule.match))
        bucket = index.setdefault(template, {})
        key = tuple(canonical(name, rule.match[name]) for name in template)
        bucket[key] = (*bucket.get(key, ()), rule)
    return index


def canonical(name: str, value: str) -> str:
    """A match value in the form in which it is compared."""
    if name in NAME_ROLES:
        return normal_name(value)
    return value if name == "crossing" else "".join(value.split()).upper()


def fired(subject: Subject, book: Book, day: datetime.date) -> tuple[Rule, ...]:
    """The rules that fit, each once however many goods items it fits, in order of their ids."""
    header = _header_facts(subject)
    indicators = indicator_names(subject.indicators)
    items: list[GoodsItem | None] = [None, *(subject.goods.goods_items if subject.goods else ())]
    found: dict[str, Rule] = {}
    for item in items:
        numbers = _numbers(subject, item, book.rates)
        facts = header if item is None else {**header, **_item_facts(item)}
        for rule in _candidates(facts, indicators, book):
            if _fits(rule, subject, numbers, day):
                found[rule.id] = rule
    return tuple(found[rule_id] for rule_id in sorted(found))


def _candidates(facts: Mapping[str, str], indicators: list[str], book: Book) -> Iterator[Rule]:
    for template, bucket in book.index.items():
        values = [indicators if name == "indicator" else [facts[name]] for name in template if _has(name, facts)]
        if len(values) == len(template):
            for key in product(*values):
                yield from bucket.get(key, ())


def _has(name: str, facts: Mapping[str, str]) -> bool:
    return name == "indicator" or name in facts


def _fits(rule: Rule, subject: Subject, numbers: Mapping[str, float], day: datetime.date) -> bool:
    return (
        (rule.direction is None or rule.direction == subject.direction)
        and in_force(rule, day)
        and all(_within(bound, numbers) for bound in rule.where)
    )


def names_like(name: str, book: Book) -> tuple[WatchedName, ...]:
    """Watch-list entries of the listed name that is most like this one, if it is like enough."""
    if not book.names:
        return ()
    best = process.extractOne(normal_name(name), list(book.names), scorer=fuzz.ratio, score_cutoff=book.name_match_at)
    return book.names[best[0]] if best else ()
