"""simulator/customs/book.py: names, plates, lots, and the index against a naive scan."""

import datetime
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.domain.declaration import GoodsDeclaration, GoodsItem, Party
from agent.domain.identifiers import VehicleKey
from agent.risk.names import normal_name
from simulator.customs.book import (
    Range,
    Rule,
    Subject,
    confused_plates,
    fired,
    index_rules,
    indicator_names,
    lot,
    lot_key,
    names_like,
)
from simulator.customs.rule_build import load_book
from simulator.customs.rule_source import shipped_rules

BOOK = load_book(shipped_rules())
DAY = datetime.date(2026, 11, 22)


@pytest.mark.parametrize(
    ("name", "hit"),
    [
        ("Helvetia Schattenhandel AG", True),
        ("Helvetia Schatenhandel AG", True),
        ("Schattenhandel Helvecia", True),
        ("Helvetia Handel AG", False),
        ("Muster AG", False),
        ("", False),
    ],
)
def test_watched_names_are_found_misspelt_but_not_guessed(name: str, hit: bool) -> None:
    assert bool(names_like(name, BOOK)) is hit


def test_one_confusable_character_and_no_more() -> None:
    near = set(confused_plates(VehicleKey("ZH80", "CH")))
    assert near == {VehicleKey("ZHB0", "CH"), VehicleKey("ZH8O", "CH")}


def test_indicators_by_the_names_that_rules_use() -> None:
    seen = {"plateMatches": False, "trailerChanged": True, "stopBeforeBorderS": 5, "NO_APPROACH": True, "detour": 0}
    assert indicator_names(seen) == ["NO_APPROACH", "PLATE_DIFFERS", "STOP_BEFORE_BORDER_S", "TRAILER_CHANGED"]
    assert indicator_names({"plateMatches": True}) == []


def subject(goods: GoodsDeclaration | None = None, **more: Any) -> Subject:
    fields = {
        "activation_id": "a", "mrn": "M", "version": 1, "jrn": "J", "crossing": "thayngen", "office": "CH002471",
        "direction": "IN", "activated_s": 1_795_000_000.0, "goods": goods,
    }  # fmt: skip
    return Subject(**(fields | more))


def test_the_lot_matches_its_rate_and_cannot_be_asked_again() -> None:
    share, count = 0.002, 100_000
    drawn = sum(lot(b"secret", f"M{number}") < share for number in range(count))
    assert abs(drawn - share * count) < 3 * math.sqrt(count * share * (1 - share))
    assert lot(b"secret", "M1") == lot(b"secret", "M1") != lot(b"other", "M1")


def test_one_permit_for_many_journeys_is_drawn_for_each(goods: Callable[..., GoodsDeclaration]) -> None:
    permit = goods(procedure="PERIODIC", mrn="P-1")
    assert lot_key(subject(permit, mrn="P-1", jrn="J1")) != lot_key(subject(permit, mrn="P-1", jrn="J2"))
    assert lot_key(subject(mrn="M", jrn="J1")) == lot_key(subject(mrn="M", jrn="J2"))
    assert lot_key(subject(mrn=None, jrn="J1")) == "J1"


# --- the index against a naive scan ---

HS = st.sampled_from(["2402", "240220", "64039990", "87032310"])
COUNTRY = st.sampled_from(["DE", "CN", "ua"])
NAMES = st.sampled_from(["Muster AG", "Nordwerk GmbH", "Müller"])
ITEMS = st.builds(
    GoodsItem,
    goods_item_number=st.just(1),
    commodity_code=HS,
    country_of_origin=st.none() | COUNTRY,
    net_mass=st.none() | st.floats(0, 100),
    statistical_value=st.none() | st.floats(0, 100),
    currency=st.sampled_from([None, "CHF", "EUR", "XXX"]),
)
GOODS = st.builds(
    GoodsDeclaration,
    procedure=st.sampled_from(["IMPORT", "TRANSIT"]),
    direction=st.just("IN"),
    consignee=st.none() | NAMES.map(lambda name: Party(name=name)),
    goods_items=st.lists(ITEMS, max_size=4).map(tuple),
)
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "hs4": st.sampled_from(["2402", "6403", "8703"]),
        "origin": COUNTRY,
        "consignee": NAMES,
        "indicator": st.sampled_from(["TRAILER_CHANGED", "DETOUR"]),
        "procedure": st.sampled_from(["IMPORT", "TRANSIT"]),
    },
).filter(lambda match: 1 <= len(match) <= 3)
BOUNDS = st.lists(
    st.builds(Range, st.sampled_from(["net_mass_kg", "value_per_mass_chf_kg"]), above=st.floats(0, 50)), max_size=2
)
INDICATORS = st.fixed_dictionaries({}, optional={"trailerChanged": st.booleans(), "detour": st.booleans()})


def rule_of(number: int, match: dict[str, str], where: list[Range], valid: bool) -> Rule:
    year = 2026 if valid else 2025
    return Rule(
        id=f"R{number}", owner="o", valid_from=datetime.date(year, 1, 1), valid_to=datetime.date(year, 12, 31),
        match=match, points=1, text="t", where=tuple(where), direction=[None, "IN", "OUT"][number % 3],
    )  # fmt: skip


def naive(rule: Rule, assessed: Subject) -> bool:
    """The same question asked of every rule and every goods item, without an index."""
    if rule.direction not in (None, assessed.direction) or not rule.valid_from <= DAY <= rule.valid_to:
        return False
    goods = assessed.goods
    assert goods is not None
    for item in (None, *goods.goods_items):
        holds = True
        for name, value in rule.match.items():
            if name == "hs4":
                holds &= item is not None and item.commodity_code[:4] == value
            elif name == "origin":
                origin = item.country_of_origin if item is not None else None
                holds &= origin is not None and origin.upper() == value.upper()
            elif name == "consignee":
                holds &= goods.consignee is not None and normal_name(goods.consignee.name) == normal_name(value)
            elif name == "procedure":
                holds &= goods.procedure == value
            else:
                key = {"TRAILER_CHANGED": "trailerChanged", "DETOUR": "detour"}[value]
                holds &= bool(assessed.indicators.get(key))
        for bound in rule.where:
            assert bound.above is not None
            mass = item.net_mass if item is not None else None
            if bound.field == "net_mass_kg":
                holds &= mass is not None and mass > bound.above
            else:
                rate = {None: 1.0, "CHF": 1.0, "EUR": 0.94}.get(item.currency) if item is not None else None
                value_chf = item.statistical_value if item is not None else None
                known = bool(mass) and value_chf is not None and rate is not None
                holds &= known and value_chf * rate / mass > bound.above  # type: ignore[operator]
        if holds:
            return True
    return False


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(MATCHES, BOUNDS, st.booleans()), max_size=12), GOODS, INDICATORS)
def test_the_index_finds_what_a_naive_scan_finds(
    drawn: list[tuple[dict[str, str], list[Range], bool]], goods: GoodsDeclaration, indicators: dict[str, bool]
) -> None:
    rules = [rule_of(number, *parts) for number, parts in enumerate(drawn)]
    book = replace(BOOK, rules=index_rules(rules))
    assessed = subject(goods, indicators=indicators)
    expected = sorted(rule.id for rule in rules if naive(rule, assessed))
    assert [rule.id for rule in fired(assessed, book, DAY)] == expected


def test_a_rule_fires_on_its_last_day_and_not_after() -> None:
    rule = rule_of(0, {"procedure": "IMPORT"}, [], True)
    book = replace(BOOK, rules=index_rules([rule]))
    assessed = subject(GoodsDeclaration(procedure="IMPORT", direction="IN"))
    days = [datetime.date(2025, 12, 31), datetime.date(2026, 1, 1), datetime.date(2026, 12, 31)]
    days.append(datetime.date(2027, 1, 1))
    assert [len(fired(assessed, book, day)) for day in days] == [0, 1, 1, 0]
