"""simulator/customs/assessment.py: colour, routing, card; the same again; never looser."""

import datetime
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.domain.declaration import GoodsDeclaration, GoodsItem, Party
from agent.domain.identifiers import VehicleKey
from agent.domain.routing import Assessment
from simulator.customs.assessment import assess, strictness
from simulator.customs.book import Rule, Subject, index_rules
from simulator.customs.feedback import NO_COUNTERS, Count, Counters
from simulator.customs.indicators import counted_keys
from simulator.customs.models import shipped
from simulator.customs.rule_build import load_book
from simulator.customs.rule_source import shipped_rules
from simulator.customs.score import MAX_REASONS, Learning

BOOK = load_book(shipped_rules())
OTHER = load_book(shipped_rules())
NOW_S = 1_795_342_500.0
SHIPPED = shipped("default")


def learning(counters: Counters = NO_COUNTERS) -> Learning:
    return Learning.of(SHIPPED.model, SHIPPED.prior, counters)


LEARNED = learning()
Make = Callable[..., Any]


def subject(goods: GoodsDeclaration | None, **more: Any) -> Subject:
    fields = {
        "activation_id": "a", "mrn": goods.mrn if goods else None, "version": 1, "jrn": "J", "crossing": "thayngen",
        "office": "CH002471", "direction": "IN", "activated_s": NOW_S, "goods": goods,
        "vehicle": VehicleKey("ZH1", "CH"),
    }  # fmt: skip
    return Subject(**(fields | more))


def cigarettes(value: float) -> tuple[GoodsItem, ...]:
    return (
        GoodsItem(
            goods_item_number=1, commodity_code="24022090", country_of_origin="UA", net_mass=100.0,
            statistical_value=value, currency="CHF",
        ),
    )  # fmt: skip


def shoes() -> tuple[GoodsItem, ...]:
    return (
        GoodsItem(
            goods_item_number=1, commodity_code="64039990", country_of_origin="CN", net_mass=1_000.0,
            statistical_value=2_000.0, currency="CHF",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("of_goods", "of_subject", "drawn", "expected"),
    [
        ({}, {}, False, ("TO_ENTRY", None, "green", "NONE")),
        ({}, {}, True, ("TO_CONTROL", "ON_ENTRY", "red", "RANDOM")),
        ({}, {"vehicle": VehicleKey("ZH999001", "CH")}, False, ("TO_CONTROL", "ON_ENTRY", "red", "WATCHLIST")),
        ({}, {"vehicle": VehicleKey("ZH999001", "DE")}, False, ("TO_ENTRY", None, "green", "NONE")),
        ({}, {"vehicle": VehicleKey("ZH9990O1", "CH")}, False, ("TO_CONTROL", "AFTER_ENTRY", "yellow", "WATCHLIST")),
        ({}, {"vehicle": VehicleKey("ZH9990OI", "CH")}, False, ("TO_ENTRY", None, "green", "NONE")),
        (
            {"consignee": Party(name="Helvetia Schatenhandel AG")},
            {},
            True,
            ("TO_CONTROL", "ON_ENTRY", "red", "WATCHLIST"),
        ),
        ({"goods_items": cigarettes(500.0)}, {}, False, ("TO_CONTROL", "ON_ENTRY", "red", "RULE")),
        ({"goods_items": cigarettes(5_000.0)}, {}, False, ("TO_ENTRY", None, "green", "NONE")),
        ({"goods_items": cigarettes(500.0)}, {"direction": "OUT"}, False, ("TO_ENTRY", None, "green", "NONE")),
        ({"goods_items": shoes()}, {}, False, ("TO_CONTROL", "AFTER_ENTRY", "yellow", "RULE")),
        ({}, {"missing": "UNKNOWN_MRN"}, False, ("ENTRY_PENDING", "ON_ENTRY", "yellow", "RULE")),
        ({}, {"indicators": {"plateMatches": False}}, False, ("TO_CONTROL", "ON_ENTRY", "red", "RULE")),
        ({}, {"indicators": {"trailerChanged": True}}, False, ("TO_ENTRY", None, "green", "NONE")),
    ],
)
def test_routing_table(
    goods: Make,
    of_goods: dict[str, Any],
    of_subject: dict[str, Any],
    drawn: bool,
    expected: tuple[str, str | None, str, str],
) -> None:
    answer = assess(subject(goods(1, **of_goods), **of_subject), BOOK, LEARNED, NOW_S, drawn=drawn)
    card = answer.score_card
    assert card is not None
    got = (answer.routing, answer.routing_control_location, card["channel"], card["selectionKind"])
    assert got == expected
    assert card["random"] is drawn
    assert bool(answer.report_to_locations) is bool(answer.deadline) is (got[1] == "AFTER_ENTRY")
    assert bool(answer.type_of_controls) is (answer.routing != "TO_ENTRY")


def test_on_the_way_out_only_a_floor_makes_a_card_yellow(goods: Make) -> None:
    by_points = replace(BOOK, yellow_at=10)
    leaving = {"direction": "OUT", "indicators": {"trailerChanged": True}}
    free = assess(subject(goods(1, procedure="EXPORT"), **leaving), by_points, LEARNED, NOW_S, drawn=False)
    assert (free.routing, free.score_card and free.score_card["channel"]) == ("TO_ENTRY", "green")
    alike = {"direction": "OUT", "vehicle": VehicleKey("ZH9990O1", "CH")}
    stopped = assess(subject(goods(1), **alike), BOOK, LEARNED, NOW_S, drawn=False)
    assert (stopped.routing, stopped.routing_control_location) == ("TO_CONTROL", "ON_ENTRY")


@pytest.mark.parametrize(
    ("hours", "where"),
    [(None, "AFTER_ENTRY"), ("24/7", "AFTER_ENTRY"), ("off", "ON_ENTRY"), ("Mo-Fr 07:00-17:00", "ON_ENTRY")],
)
def test_a_yellow_card_goes_inland_only_where_an_office_will_be_open(
    goods: Make, hours: str | None, where: str
) -> None:
    book = replace(BOOK, inspections=tuple(msgspec.structs.replace(one, hours=hours) for one in BOOK.inspections))
    sunday = subject(goods(1, goods_items=shoes()))
    answer = assess(sunday, book, LEARNED, NOW_S, drawn=False)
    assert (answer.routing, answer.routing_control_location) == ("TO_CONTROL", where)


def test_a_prohibition_denies_entry(goods: Make) -> None:
    day = datetime.date(2026, 1, 1)
    rule = Rule(
        id="D", owner="o", valid_from=day, valid_to=datetime.date(2026, 12, 31), match={"hs4": "3926"}, points=0,
        text="no-approach", deny=True,
    )  # fmt: skip
    answer = assess(subject(goods(1)), replace(BOOK, rules=index_rules([rule])), LEARNED, NOW_S, drawn=False)
    assert (answer.routing, answer.routing_control_location) == ("ENTRY_DENIED", "ON_ENTRY")


def test_an_empty_run_gets_one_light_card() -> None:
    empty = assess(subject(None), BOOK, LEARNED, NOW_S, drawn=False)
    assert (empty.mrn, empty.routing) == (None, "TO_ENTRY")
    forgotten = assess(subject(None, empty_reason="MRN_MISSING"), BOOK, LEARNED, NOW_S, drawn=False)
    assert (forgotten.routing, forgotten.routing_control_location) == ("TO_CONTROL", "ON_ENTRY")


def test_a_control_result_is_the_one_way_to_a_laxer_answer(goods: Make) -> None:
    watched = subject(goods(1), vehicle=VehicleKey("ZH999001", "CH"))
    first = assess(watched, BOOK, LEARNED, NOW_S, drawn=False)
    released = assess(watched, BOOK, LEARNED, NOW_S, drawn=True, released=True, previous=first)
    assert (released.routing, released.routing_control_location) == ("TO_ENTRY", None)


def test_reasons_beyond_the_bound_are_summed(goods: Make) -> None:
    day, until = datetime.date(2026, 1, 1), datetime.date(2026, 12, 31)
    rules = [
        Rule(id=f"R{n}", owner="o", valid_from=day, valid_to=until, match={"hs4": "3926"}, points=n, text="no-approach")
        for n in range(60)
    ]
    card = assess(subject(goods(1)), replace(BOOK, rules=index_rules(rules)), LEARNED, NOW_S, drawn=False).score_card
    assert card is not None
    assert len(card["reasons"]) == MAX_REASONS
    assert sum(reason["points"] for reason in card["reasons"]) == card["score"] == sum(range(60))


NAMES = ["Muster AG", "Helvetia Schattenhandel AG", "Nordwerk"]
SUBJECTS = st.builds(
    lambda items, consignee, plate, direction, indicators, missing: subject(
        GoodsDeclaration(
            procedure="IMPORT", direction="IN", mrn="M1", consignee=Party(name=consignee), goods_items=items
        ),
        vehicle=VehicleKey(plate, "CH"),
        direction=direction,
        indicators=indicators,
        missing=missing,
    ),
    st.sampled_from([cigarettes(500.0), cigarettes(5_000.0), shoes(), shoes() + cigarettes(1.0), ()]),
    st.sampled_from(NAMES),
    st.sampled_from(["ZH1", "ZH999001", "ZH9990O1"]),
    st.sampled_from(["IN", "OUT"]),
    st.dictionaries(
        st.sampled_from(["trailerChanged", "NO_APPROACH", "plateMatches", "stopBeforeBorderS", "odd"]),
        st.booleans() | st.integers(0, 9_000) | st.text(max_size=3),
    ),
    st.sampled_from([None, "UNKNOWN_MRN"]),
)
COUNTERS = st.builds(
    lambda seen, found: Counters({("consignee", "muster"): Count(seen + found, found)}, Count(1_000, 100), 7),
    st.integers(0, 50),
    st.integers(0, 50),
)


@settings(max_examples=200, deadline=None)
@given(SUBJECTS, COUNTERS, st.booleans())
def test_the_same_again_is_the_same_and_points_add_up(assessed: Subject, counters: Counters, drawn: bool) -> None:
    first = assess(assessed, BOOK, learning(counters), NOW_S, drawn=drawn)
    again = assess(assessed, OTHER, learning(counters), NOW_S, drawn=drawn)
    assert msgspec.json.encode(first) == msgspec.json.encode(again)
    card = first.score_card
    assert card is not None
    assert sum(card["parts"].values()) == card["score"] == sum(reason["points"] for reason in card["reasons"])
    assert card["countersUpTo"] == counters.up_to
    assert (card["ruleBookVersion"], card["listsVersion"]) == (BOOK.version, BOOK.lists_version)
    assert card["modelVersion"] == SHIPPED.model.version
    assert (first.routing == "TO_ENTRY") <= (not drawn)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(SUBJECTS, st.booleans()), min_size=2, max_size=6))
def test_later_answers_are_never_looser(asked: list[tuple[Subject, bool]]) -> None:
    previous: Assessment | None = None
    for number, (assessed, drawn) in enumerate(asked):
        answer = assess(assessed, BOOK, LEARNED, NOW_S + number, drawn=drawn, previous=previous)
        assert previous is None or strictness(answer) >= strictness(previous)
        assert answer.issued_at != (previous.issued_at if previous else None)  # renewed all the same
        previous = answer


def test_what_is_counted_says_nothing_of_the_vehicle(goods: Make) -> None:
    assert counted_keys(goods(1)) == [
        ("hs2", "39"), ("hs4", "3926"), ("hs6", "392690"), ("importer", "muster"), ("origin", "DE"),
        ("origin_hs4", "DE 3926"), ("seller", "nordwerk"),
    ]  # fmt: skip
