"""simulator/equipment.py: who speaks how, and how often it is asked."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from simulator.dice import Dice
from simulator.equipment import MANY_LORRIES, Payload, payload_of, receiver_of

PLATFORM = {Payload.ROWS, Payload.OPERATOR_JSON}


def shares(first: int, last: int) -> Counter[bool]:
    return Counter(payload_of(Dice("t", number), number) in PLATFORM for number in range(first, last))


def test_lorries_of_large_hauliers_report_through_platforms_but_single_units_stay_in_the_mix() -> None:
    few, many = shares(0, MANY_LORRIES), shares(MANY_LORRIES, MANY_LORRIES + 2_000)
    assert 0.15 < few[True] / few.total() < 0.4
    assert 0.6 < many[True] / many.total() < 0.8
    kinds = {payload_of(Dice("t", number), number) for number in range(MANY_LORRIES, MANY_LORRIES + 500)}
    assert kinds == set(Payload) - {Payload.SERIAL, Payload.AIS, Payload.TELTONIKA}


def test_platforms_of_large_hauliers_ask_their_units_less_often() -> None:
    def mean_s(number: int, payload: Payload) -> float:
        receivers = [receiver_of(Dice("r", n), payload, number, quick=False) for n in range(500)]
        return sum(one.interval_s for one in receivers) / len(receivers)

    assert mean_s(MANY_LORRIES, Payload.ROWS) > 4.0
    assert mean_s(MANY_LORRIES, Payload.JSON) == mean_s(0, Payload.ROWS) < 3.0


@given(st.integers(), st.sampled_from(sorted(Payload, key=lambda one: one.value)), st.integers(0, 5_000))
def test_a_quick_receiver_measures_each_second_without_whims(seed: int, payload: Payload, number: int) -> None:
    receiver = receiver_of(Dice(seed), payload, number, quick=True)
    assert payload is Payload.AIS or receiver.interval_s == 1.0
    assert not (receiver.gaps or receiver.sticks or receiver.freezes)
    assert receiver.settle_s >= 4.0
