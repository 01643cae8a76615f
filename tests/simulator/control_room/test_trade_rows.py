"""simulator/control_room/trade_rows.py: a carrier sees its own journeys, the field at fault, and never why."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.declaration import FeedRow, Party, RuleFailure
from simulator.control_room.trade_rows import TradeBook, TradeJourney, with_obligations, with_result
from simulator.customs.office import RoutingRow
from tests.agent.border import journey, row

FIELD = "$.references[0].referenceNumber"


def declared(jrn: str = "J-1", carrier: str | None = "Alpenfracht AG", **changes: object) -> FeedRow:
    party = Party(name=carrier) if carrier else None
    return row(journey(jrn, carrier=party), **changes)


def book(*rows: FeedRow) -> TradeBook:
    made = TradeBook(frozenset({"Alpenfracht AG"}))
    for one in rows:
        made.declared(one)
    return made


def test_only_its_own_journeys_the_latest_first() -> None:
    made = book(declared("J-1"), declared("J-2", "Rheintal Logistik GmbH"), declared("J-3", None), declared("J-4"))
    assert [one.jrn for one in made.of("Alpenfracht AG")] == ["J-4", "J-1"]
    assert made.of("Rheintal Logistik GmbH") == [] and not made.is_of("J-2", "Rheintal Logistik GmbH")
    made.declared(declared("J-1", "Rheintal Logistik GmbH"))
    assert not made.is_of("J-1", "Alpenfracht AG")


def test_a_fault_names_its_field_and_a_remark_is_none() -> None:
    faults = (
        RuleFailure(code="MRN_CHECK_DIGIT", field=FIELD, value="x", message="wrong check digit"),
        RuleFailure(code="SOON", field="$", value=None, message="a remark", blocking=False),
    )
    (one,) = book(declared(state="NOT_READY", rule_failures=faults)).of("Alpenfracht AG")
    assert one.state == "NOT_READY"
    assert [(fault.field, fault.message) for fault in one.faults] == [(FIELD, "wrong check digit")]


def test_routing_stays_through_an_amendment() -> None:
    made = book(declared())
    made.routed(RoutingRow(id=1, mrn="M", jrn="J-1", routing="TO_CONTROL", time="t"))
    made.routed(RoutingRow(id=2, mrn="M", jrn="J-9", routing="TO_CONTROL", time="t"))
    made.declared(declared(version=2))
    (one,) = made.of("Alpenfracht AG")
    assert one.routings == {"M": "TO_CONTROL"}


def test_of_an_agents_row_the_result_is_taken_and_nothing_of_why() -> None:
    (one,) = book(declared()).of("Alpenfracht AG")
    told = with_result(one, {"action": "STOP", "reasonCode": "CONTROL", "score": 99, "causes": ["watch list"]})
    assert told.result == "STOP"
    text = msgspec.json.encode(told)
    assert not any(word in text for word in (b"CONTROL", b"score", b"watch"))
    assert with_result(one, {"action": "SOMETHING"}).result is None and with_result(one, {}).result is None


def test_obligations_with_their_deadline_and_what_cannot_be_read() -> None:
    (one,) = book(declared()).of("Alpenfracht AG")
    place = {"inspectionTypeId": "VET", "locationIds": ["Ramp 2"], "order": 1}
    owing = with_obligations(one, {"reportToLocations": [place], "deadline": "2027-01-15T12:00:00.000Z"})
    assert (owing.obligations[0].places, owing.deadline) == (("Ramp 2",), "2027-01-15T12:00:00.000Z")
    odd = with_obligations(one, {"reportToLocations": [{"x": 1}], "deadline": 7})
    assert (odd.obligations, odd.deadline) == ((), None)


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["Alpenfracht AG", "Other", None]))))
def test_whatever_comes_only_the_newest_word_counts(rows: list[tuple[str, str | None]]) -> None:
    made = book(*(declared(jrn, carrier) for jrn, carrier in rows))
    newest = dict(rows)
    mine: list[TradeJourney] = made.of("Alpenfracht AG")
    assert {one.jrn for one in mine} == {jrn for jrn, carrier in newest.items() if carrier == "Alpenfracht AG"}
