"""simulator/customs/score.py: parts add up, steps kept ahead change nothing, what selects is named, lists stay mild."""

from __future__ import annotations

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
from simulator.customs.assessment import assess, capped
from simulator.customs.book import Range, Rule, Subject, index_rules
from simulator.customs.feedback import NO_COUNTERS, Count, Counters
from simulator.customs.models import shipped, shipped_declarations
from simulator.customs.rule_build import load_book
from simulator.customs.rule_source import shipped_rules
from simulator.customs.score import (
    MAX_ALIKE_POINTS,
    Ahead,
    Learning,
    Scored,
    lodged_step,
    predicted_of,
    referenced_step,
    scored,
)
from simulator.papers import declared

NOW_S = 1_795_342_500.0
SHIPPED = shipped("default")
LEARNED = Learning.of(SHIPPED.model, SHIPPED.prior, NO_COUNTERS)
LINES = shipped_declarations()


def rule(id_: str, match: dict[str, str], **more: Any) -> Rule:
    fields: dict[str, Any] = {
        "id": id_, "owner": "o", "valid_from": datetime.date(2026, 1, 1), "valid_to": datetime.date(2026, 12, 31),
        "match": match, "points": 7, "text": "no-approach",
    }  # fmt: skip
    return Rule(**(fields | more))


RULES = [
    rule("goods", {"procedure": "IMPORT"}),
    rule("hour", {"procedure": "IMPORT"}, where=(Range("hour", above=6.5, below=12.5),), points=3),
    rule("stop", {"hs2": "64"}, where=(Range("net_mass_kg", above=10.0), Range("stop_before_border_s", above=600.0))),
    rule("carrier", {"carrier": "Spedition X"}, floor="yellow"),
    rule("office", {"office": "CH002471", "hs2": "64"}, points=11),
    rule("crossing", {"crossing": "thayngen"}, direction="OUT"),
    rule("early", {"procedure": "IMPORT"}, when="size(declaration.goodsItems) > 1"),
    rule("late", {"hs2": "64"}, when="vehicle.nationality == 'CH' && hour > 5", points=13),
    rule("seen", {"indicator": "TRAILER_CHANGED"}, points=9),
    rule("past", {"procedure": "IMPORT"}, valid_to=datetime.date(2026, 1, 2), points=30),
]
BOOK = replace(load_book(shipped_rules()), rules=index_rules(RULES))
SHOES = GoodsItem(
    goods_item_number=1, commodity_code="64039990", country_of_origin="CN", net_mass=1_000.0,
    statistical_value=9_000.0, currency="CHF",
)  # fmt: skip


def subject(goods: GoodsDeclaration | None, **more: Any) -> Subject:
    fields = {
        "activation_id": "a", "mrn": "M1" if goods else None, "version": 1, "jrn": "J", "crossing": "thayngen",
        "office": "CH002471", "direction": "IN", "activated_s": NOW_S, "goods": goods,
        "vehicle": VehicleKey("ZH1", "CH"),
    }  # fmt: skip
    return Subject(**(fields | more))


GOODS = st.builds(
    lambda items, consignee, procedure: GoodsDeclaration(
        procedure=procedure, direction="IN", mrn="M1", consignee=Party(name=consignee), goods_items=items
    ),
    st.lists(st.just(SHOES), max_size=3).map(tuple),
    st.sampled_from(["Muster AG", "Helvetia Schattenhandel AG"]),
    st.sampled_from(["IMPORT", "TRANSIT"]),
) | st.integers(0, len(LINES) - 1).map(
    lambda at: declared(LINES[at], GoodsDeclaration(procedure="IMPORT", direction="IN", mrn="M1"))
)
SUBJECTS = st.builds(
    lambda goods, plate, direction, carrier, office, hour, indicators: subject(
        goods,
        vehicle=VehicleKey(plate, "CH"),
        direction=direction,
        carrier=Party(name=carrier),
        office=office,
        activated_s=NOW_S + 3_600.0 * hour,
        indicators=indicators,
    ),
    st.none() | GOODS,
    st.sampled_from(["ZH1", "ZH999001", "ZH9990O1"]),
    st.sampled_from(["IN", "OUT"]),
    st.sampled_from(["Spedition X SA", "Alpenfracht AG"]),
    st.sampled_from(["CH002471", None]),
    st.integers(0, 40),
    st.fixed_dictionaries({}, optional={"trailerChanged": st.booleans(), "stopBeforeBorderS": st.integers(0, 2_000)}),
)
COUNTERS = st.builds(
    lambda seen, found: Counters({("hs2", "64"): Count(seen + found, found)}, Count(seen + found, found), seen + found),
    st.integers(0, 500),
    st.integers(0, 500),
)


@settings(max_examples=40, deadline=None)
@given(SUBJECTS, SUBJECTS, COUNTERS, st.booleans())
def test_a_card_made_in_steps_is_the_card_made_at_once(
    asked: Subject, planned: Subject, counters: Counters, drawn: bool
) -> None:
    """Whatever the journey was planned as, and whichever counters were in force when the goods were lodged."""
    learning = Learning.of(SHIPPED.model, SHIPPED.prior, counters)
    lodged = replace(asked, crossing="", office=None, vehicle=None, carrier=None, indicators={}, jrn="")
    planned = replace(planned, goods=asked.goods, mrn=asked.mrn)
    early = Ahead(lodged_step(lodged, BOOK), predicted_of(lodged, BOOK, LEARNED), referenced_step(planned, BOOK))
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(early), type=Ahead)
    at_once = assess(asked, BOOK, learning, NOW_S, drawn=drawn)
    in_steps = assess(asked, BOOK, learning, NOW_S, drawn=drawn, ahead=kept)
    assert msgspec.json.encode(at_once) == msgspec.json.encode(in_steps)


@settings(max_examples=40, deadline=None)
@given(SUBJECTS, COUNTERS, st.booleans())
def test_parts_and_reasons_add_up_to_the_score(asked: Subject, counters: Counters, drawn: bool) -> None:
    card = scored(asked, BOOK, Learning.of(SHIPPED.model, SHIPPED.prior, counters), drawn).card
    parts = msgspec.to_builtins(card.parts)
    assert sum(parts.values()) == card.score == sum(reason.points for reason in card.reasons)
    by_kind = {kind: sum(one.points for one in card.reasons if one.kind == kind) for kind in ("FEEDBACK", "MODEL")}
    assert (by_kind["FEEDBACK"], by_kind["MODEL"]) == (parts["inductive"], parts["predictive"])
    assert (card.selection_kind == "NONE") is (card.channel == "green")


def fired(asked: Subject) -> set[str]:
    return {one.id for one in scored(asked, BOOK, LEARNED, False).card.reasons if one.kind == "RULE"}


def import_of(*items: GoodsItem) -> GoodsDeclaration:
    return GoodsDeclaration(procedure="IMPORT", direction="IN", mrn="M1", goods_items=items)


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, {"goods", "hour", "office", "late"}),
        ({"activated_s": NOW_S + 12 * 3_600}, {"goods", "office", "late"}),
        ({"vehicle": VehicleKey("W1", "AT")}, {"goods", "hour", "office"}),
        ({"office": None}, {"goods", "hour", "late"}),
        ({"carrier": Party(name="SPEDITION X")}, {"goods", "hour", "office", "late", "carrier"}),
        ({"indicators": {"stopBeforeBorderS": 601}}, {"goods", "hour", "office", "late", "stop"}),
        ({"indicators": {"trailerChanged": True}}, {"goods", "hour", "office", "late", "seen"}),
        ({"direction": "OUT"}, {"goods", "hour", "office", "late", "crossing"}),
        ({"activated_s": NOW_S + 90 * 86_400}, set()),
    ],
)
def test_rules_fire_where_and_when_they_hold(more: dict[str, Any], found: set[str]) -> None:
    assert fired(subject(import_of(SHOES), **more)) == found


def test_a_condition_on_goods_is_asked_when_they_are_lodged() -> None:
    assert "early" in fired(subject(import_of(SHOES, SHOES)))
    step = lodged_step(subject(import_of(SHOES, SHOES)), BOOK)
    conditions = {one.id: one.condition for one in step.findings}
    assert conditions["early"] == ""
    assert conditions["late"] != ""


PLAIN = load_book(shipped_rules())


def test_a_plate_that_only_resembles_a_watched_one_is_never_red_by_itself() -> None:
    alike = subject(None, vehicle=VehicleKey("ZH9990O1", "CH"))
    card = scored(alike, replace(PLAIN, red_at=MAX_ALIKE_POINTS + 1), LEARNED, False).card
    assert (card.channel, card.selection_kind) == ("yellow", "WATCHLIST")


@pytest.mark.parametrize(
    ("yellow_at", "red_at", "drawn", "channel", "kind"),
    [
        (500, 501, False, "green", "NONE"),
        (500, 501, True, "red", "RANDOM"),
        (-500, -500, False, "red", "WATCHLIST"),
        (1, 500, False, "yellow", "RULE"),
        (1, 500, True, "red", "RANDOM"),
    ],
)
def test_what_selects_is_the_first_step_that_suffices(
    yellow_at: int, red_at: int, drawn: bool, channel: str, kind: str
) -> None:
    book = replace(BOOK, yellow_at=yellow_at, red_at=red_at)
    asked = subject(GoodsDeclaration(procedure="TRANSIT", direction="IN", mrn="M1", goods_items=(SHOES,)))
    card = scored(asked, book, LEARNED, drawn).card
    assert (card.channel, card.selection_kind) == (channel, kind)


def line_of_model() -> Subject:
    """The labelled declaration with the highest score: what the model alone selects."""
    goods = [declared(line, import_of()) for line in LINES[:600]]
    return max((subject(one) for one in goods), key=lambda one: predicted_of(one, PLAIN, LEARNED).points)


def test_the_model_alone_selects_and_gives_way_when_bays_are_full() -> None:
    asked = line_of_model()

    def answer(bays: int | None, direction: str = "IN", hours: str | None = None) -> Assessment:
        inspections = tuple(msgspec.structs.replace(one, hours=hours) for one in PLAIN.inspections)
        book = replace(PLAIN, inspections=inspections)
        return assess(replace(asked, direction=direction), book, LEARNED, NOW_S, drawn=False, bays=bays)

    def told(given_: Assessment) -> tuple[str, str | None, str, bool]:
        card = given_.score_card or {}
        return given_.routing, given_.routing_control_location, card["selectionKind"], card["capacity"]

    assert told(answer(None)) == told(answer(1)) == ("TO_CONTROL", "ON_ENTRY", "MODEL", False)
    assert told(answer(0)) == ("TO_CONTROL", "AFTER_ENTRY", "MODEL", True)
    assert told(answer(0, hours="off")) == ("TO_CONTROL", "ON_ENTRY", "MODEL", False), "nowhere else to look at it"
    assert told(answer(0, direction="OUT")) == ("TO_ENTRY", None, "NONE", True)


@given(
    st.sampled_from(["WATCHLIST", "RULE", "FEEDBACK", "MODEL", "RANDOM", "NONE"]),
    st.sampled_from(["green", "yellow", "red"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["IN", "OUT"]),
)
def test_nothing_but_what_the_model_selected_gives_way(
    kind: str, channel: str, random: bool, deny: bool, direction: str
) -> None:
    card = msgspec.structs.replace(
        scored(subject(None), PLAIN, LEARNED, False).card, selection_kind=kind, channel=channel, random=random
    )
    changed = capped(Scored(card, None, deny), direction, True, 0) != card
    assert changed is (kind == "MODEL" and channel == "red" and not random and not deny)


def test_leaving_out_what_the_model_reads_makes_no_card_milder() -> None:
    bare = predicted_of(subject(import_of(SHOES)), PLAIN, LEARNED)
    assert bare.points >= 0


def test_exports_and_transits_are_not_the_models_business() -> None:
    goods = GoodsDeclaration(procedure="EXPORT", direction="OUT", goods_items=(SHOES,))
    assert predicted_of(subject(goods), PLAIN, LEARNED).reasons == ()


def test_the_shipped_thresholds_hold_the_shares_of_the_shipped_declarations(goods: Callable[..., Any]) -> None:
    cards = [scored(subject(declared(line, import_of())), PLAIN, LEARNED, False).card for line in LINES[::8]]
    red = sum(card.channel == "red" for card in cards) / len(cards)
    yellow = sum(card.channel == "yellow" for card in cards) / len(cards)
    assert red < 0.02, "under 2 % are stopped"
    assert 0.01 < yellow < 0.03
