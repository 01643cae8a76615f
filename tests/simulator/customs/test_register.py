"""simulator/customs/register.py on a real database: links, amendments, expiry, feed."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.domain.declaration import FeedRow, PlannedCrossing
from agent.domain.identifiers import MrnVerdict, judge_mrn
from simulator.customs.office import Office
from simulator.customs.register import AFTER_ARRIVAL_S, UNLINKED_LIFE_S, Register

NOW_S = 1_795_342_500.0
Make = Callable[..., Any]


@pytest.fixture
def register(office: Office) -> Register:
    return office.register


def rows(register: Register, marker: int = 0) -> list[FeedRow]:
    return [msgspec.json.decode(body, type=FeedRow) for _, body in register.store.feed(marker, 1_000)]


def declare(register: Register, *goods: Any, amend: bool = False) -> list[tuple[str, list[str]]]:
    answers = register.submit_goods(goods, NOW_S, amend=amend)
    return [(one.state, [failure.code for failure in one.rule_failures]) for one in answers]


def travel(register: Register, *journeys: Any, amend: bool = False) -> list[tuple[str, list[str]]]:
    answers = register.submit_journeys(journeys, NOW_S, amend=amend)
    return [(one.state, [failure.code for failure in one.rule_failures]) for one in answers]


READY: tuple[str, list[str]] = ("READY", [])


def test_mrns_are_given_where_none_is_and_skip_taken_ones(register: Register, goods: Make, mrn: Make) -> None:
    assert declare(register, goods(1)) == [READY]  # takes the serial that would come first
    answers = register.submit_goods([goods(None), goods(None)], NOW_S, amend=False)
    given_mrns = [one.mrn for one in answers]
    assert len({mrn(1), *given_mrns}) == 3
    assert all(number and judge_mrn(number) is MrnVerdict.GOOD for number in given_mrns)


def test_goods_that_come_after_their_journey_make_it_ready(
    register: Register, goods: Make, journey: Make, mrn: Make
) -> None:
    assert travel(register, journey("J", mrn(1))) == [("NOT_READY", ["UNKNOWN_MRN"])]
    assert [row.state for row in rows(register)] == ["NOT_READY"]
    declare(register, goods(1))
    (row,) = rows(register)
    assert (row.state, row.marker, [one.mrn for one in row.goods]) == ("READY", 2, [mrn(1)])


def test_a_declaration_is_referenced_by_one_live_journey(
    register: Register, goods: Make, journey: Make, mrn: Make
) -> None:
    declare(register, goods(1))
    assert travel(register, journey("J1", mrn(1)), journey("J2", mrn(1))) == [
        READY,
        ("NOT_READY", ["ALREADY_REFERENCED"]),
    ]
    assert register.cancel_journeys(["J1"], NOW_S)[0].state == "CANCELLED"
    assert {row.jrn: row.state for row in rows(register)} == {"J1": "CANCELLED", "J2": "READY"}
    assert travel(register, journey("J1", mrn(1))) == [("NOT_READY", ["CANCELLED"])]  # a reference is used once


def test_the_same_sent_again_gets_the_first_answer_and_no_new_row(
    register: Register, goods: Make, journey: Make, mrn: Make
) -> None:
    for _ in range(2):
        assert declare(register, goods(1)) == [READY]
        assert travel(register, journey("J", mrn(1))) == [READY]
    assert [row.marker for row in rows(register)] == [1]
    assert declare(register, goods(1, consignee=None)) == [("NOT_READY", ["MRN_TAKEN"])]
    assert travel(register, journey("J", mrn(1), plate="ZH 9")) == [("NOT_READY", ["JRN_TAKEN"])]
    assert [row.marker for row in rows(register)] == [1]


def test_amended_goods_replace_the_old_version_in_the_journey_at_once(
    register: Register, goods: Make, journey: Make, mrn: Make
) -> None:
    declare(register, goods(1))
    travel(register, journey("J", mrn(1)))
    assert declare(register, goods(1, consignee=None), amend=True) == [READY]
    (row,) = rows(register)
    assert (row.state, row.version, row.declaration.references[0].version) == ("READY", 2, 2)
    assert (row.goods[0].version, row.goods[0].consignee) == (2, None)
    assert travel(register, journey("J", mrn(1))) == [READY]  # the author's own words have not changed


def test_a_failing_amendment_of_referenced_goods_changes_nothing(
    register: Register, goods: Make, journey: Make, mrn: Make
) -> None:
    declare(register, goods(1))
    travel(register, journey("J", mrn(1)))
    before = rows(register)
    assert declare(register, goods(1, goods_items=()), amend=True) == [("NOT_READY", ["GOODS_ITEM_MISSING"])]
    assert rows(register) == before


def test_drafts_are_kept_and_mended(register: Register, goods: Make, journey: Make, mrn: Make) -> None:
    assert declare(register, goods(1, goods_items=())) == [("NOT_READY", ["GOODS_ITEM_MISSING"])]
    assert travel(register, journey("J", mrn(1))) == [("NOT_READY", ["GOODS_NOT_READY"])]
    assert declare(register, goods(1)) == [READY]
    assert [row.state for row in rows(register)] == ["READY"]


def test_amending_and_cancelling_what_is_not_there(register: Register, goods: Make, journey: Make) -> None:
    assert declare(register, goods(1), amend=True) == [("NOT_READY", ["UNKNOWN_MRN"])]
    assert travel(register, journey("J", empty=True), amend=True) == [("NOT_READY", ["UNKNOWN_JRN"])]
    assert register.cancel_goods(["X"], NOW_S)[0].rule_failures[0].code == "UNKNOWN_MRN"
    assert register.cancel_journeys(["X"], NOW_S)[0].rule_failures[0].code == "UNKNOWN_JRN"
    assert rows(register) == []


def test_cancelled_goods_make_their_journey_not_ready(
    register: Register, goods: Make, journey: Make, mrn: Make
) -> None:
    declare(register, goods(1))
    travel(register, journey("J", mrn(1)))
    assert register.cancel_goods([f" {mrn(1).lower()} "], NOW_S)[0].state == "CANCELLED"
    (row,) = rows(register)
    assert (row.state, [one.code for one in row.rule_failures], row.goods) == ("NOT_READY", ["CANCELLED"], ())


def test_what_nobody_activates_expires(register: Register, goods: Make, journey: Make, mrn: Make) -> None:
    declare(register, goods(1), goods(2))
    plan = PlannedCrossing(crossing="thayngen", estimated_date_time="2026-11-23T10:00:00Z")
    travel(register, journey("J", mrn(1), planned_crossing=plan))
    arrival_s = 1_795_428_000.0
    assert register.expire(arrival_s + AFTER_ARRIVAL_S - 1) == 0
    assert register.expire(arrival_s + AFTER_ARRIVAL_S + 1) == 1
    assert [row.state for row in rows(register)] == ["EXPIRED"]
    assert register.expire(NOW_S + UNLINKED_LIFE_S + 1) == 2
    assert declare(register, goods(2)) == [("NOT_READY", ["EXPIRED"])]


STEPS = st.lists(
    st.tuples(st.sampled_from(["goods", "amend", "journey", "cancel-goods", "cancel-journey"]),
              st.integers(1, 3), st.sets(st.integers(1, 3), min_size=1)),
    max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_happens_a_number_has_one_holder_and_markers_rise(
    office: Office, goods: Make, journey: Make, mrn: Make, steps: list[tuple[str, int, set[int]]]
) -> None:
    register, store = office.register, office.register.store
    seen = store.number("example")  # one database for all examples: each takes numbers of its own
    store.next_number("example")

    def own(number: int) -> str:
        return str(mrn(seen * 10 + number))

    marker = store.number("marker")
    for what, number, numbers in steps:
        if what in ("goods", "amend"):
            declared = goods(seen * 10 + number, consignee=None if len(numbers) > 1 else goods(1).consignee)
            register.submit_goods([declared], NOW_S, amend=what == "amend")
        elif what == "journey":
            register.submit_journeys([journey(f"J{seen}-{number}", *map(own, sorted(numbers)))], NOW_S, amend=False)
        elif what == "cancel-goods":
            register.cancel_goods([own(number)], NOW_S)
        else:
            register.cancel_journeys([f"J{seen}-{number}"], NOW_S)
    for number in (1, 2, 3):
        assert len([link for link in store.links_to(own(number)) if link.state != "WANTED"]) <= 1
    changed = rows(register, marker)
    assert [row.marker for row in changed] == sorted({row.marker for row in changed})
    assert len({row.jrn for row in changed}) == len(changed)
    for row in changed:
        if row.state == "READY":
            assert {one.mrn for one in row.goods} == {one.reference_number for one in row.declaration.references}
