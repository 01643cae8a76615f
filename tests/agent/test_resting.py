"""agent/resting.py: a journey at rest answers like the journey itself, and is decoded only when asked for."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.activation.journey import Journey, JourneyStage
from agent.domain.declaration import TransportMeans
from agent.register import Register, encode
from agent.resting import Journeys
from tests.agent.border import T0, ZONES, journey

TIMES = st.none() | st.floats(T0, T0 + 1e6)
PLATES = st.sampled_from(["ZH 1", "zh 123·456", "В 77", "-", "A" * 30, ""])
NATIONS = st.sampled_from(["CH", "D", "?", "fl"])


def body_of(one: Journey) -> bytes:
    row = encode(one)
    assert row.body is not None
    return row.body


def made(
    jrn: str, units: tuple[str, ...] = ("u1",), plate: str = "ZH 1", nation: str = "CH", **state: object
) -> Journey:
    means = TransportMeans(identification_number=plate, nationality=nation)
    declaration = journey(jrn, units=units, active_border_transport_means=means)
    return msgspec.structs.replace(Journey(key=jrn, stage=JourneyStage.READY, declaration=declaration), **state)


JOURNEYS = st.builds(
    lambda jrn, units, plate, nation, stage, lost_s, expires_s, forget_s: made(
        jrn, tuple(sorted(units)), plate, nation, stage=stage, lost_s=lost_s, expires_s=expires_s, forget_s=forget_s
    ),
    st.sampled_from(["A", "B", "C"]), st.sets(st.sampled_from(["u1", "u2"])), PLATES, NATIONS,
    st.sampled_from(JourneyStage), TIMES, TIMES, TIMES,
)  # fmt: skip


@given(JOURNEYS)
def test_an_outline_says_of_a_journey_what_the_journey_says(one: Journey) -> None:
    outline = Journeys().lay(one.key, body_of(one))
    assert (outline.units, outline.vehicle) == (one.declaration.units, one.vehicle)
    assert (outline.stage, outline.next_due_s) == (one.stage, one.next_due_s)


DEEDS = st.lists(st.tuples(st.sampled_from(["lay", "put", "pop", "get", "in"]), JOURNEYS), max_size=20)


@given(DEEDS)
def test_journeys_are_a_mapping_whichever_of_them_rest(deeds: list[tuple[str, Journey]]) -> None:
    journeys, model = Journeys(), dict[str, Journey]()
    for deed, one in deeds:
        match deed:
            case "lay":
                journeys.lay(one.key, body_of(one))
                model[one.key] = one
            case "put":
                journeys.put(one)
                model[one.key] = one
            case "pop":
                assert journeys.pop(one.key) == model.pop(one.key, None)
            case "get":
                assert journeys.get(one.key) == model.get(one.key)
                assert not journeys.rests(one.key)
            case _:
                assert (one.key in journeys) == (one.key in model)
        assert (len(journeys), list(journeys)) == (len(model), list(model))
        assert {one.key for one in journeys.awake()} == {key for key in model if not journeys.rests(key)}
    assert dict(journeys) == model


def test_what_nobody_asks_for_stays_at_rest_and_due_in_time() -> None:
    rows = {name: body_of(made(name, expires_s=T0 + at_s)) for at_s, name in enumerate("ABCDE")}
    register = Register.loaded(ZONES, {"journey": rows})
    for n in range(20_000):  # one that changes often makes the deadlines anew
        register.put(made("C", expires_s=T0 + 50.0 + n))
    assert [register.journeys.rests(jrn) for jrn in "ABCDE"] == [True, True, False, True, True]
    assert register.due_keys(T0 + 3.0) == [(Journey, "A"), (Journey, "B"), (Journey, "D")]
    assert register.journeys.rests("E") and register.jrns_of_unit["u1"] == set("ABCDE")
    register.forget(Journey, "A")
    assert register.due_s() == T0 + 1.0


def test_bytes_that_are_no_journey_are_refused_at_once() -> None:
    with pytest.raises(msgspec.DecodeError):
        Register.loaded(ZONES, {"journey": {"A": msgspec.msgpack.encode({"key": "A"})}})
