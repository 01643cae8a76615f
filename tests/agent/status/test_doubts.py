from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.doubts import MAX_UNITS, MIN_UNITS, RECEIVER_FIXES, SHARE, WINDOW_S, Doubts

UNITS = [f"u{number}" for number in range(12)]


def test_one_unit_with_a_bad_receiver_is_its_own_trouble() -> None:
    doubts = Doubts()
    doubts.heard(UNITS, 0.0)
    doubts.jumps(UNITS[:2], 1.0)
    doubts.clock_faults(UNITS[:2], 1.0)
    assert not doubts.gnss_suspect(2.0) and not doubts.units_doubt_clock(2.0)


def test_most_units_at_once_are_a_sign_until_it_is_old() -> None:
    doubts = Doubts()
    doubts.heard(UNITS, 0.0)
    doubts.jumps(UNITS[:7], 1.0)
    assert doubts.gnss_suspect(2.0) and not doubts.units_doubt_clock(2.0)
    assert not doubts.gnss_suspect(1.0 + WINDOW_S + 0.1)


def test_units_whose_fixes_are_all_refused_count_although_they_are_not_heard() -> None:
    """With our clock an hour behind no fix is usable, so no unit is heard near a border."""
    doubts = Doubts()
    doubts.clock_faults(UNITS[:3], 0.0)
    assert doubts.units_doubt_clock(1.0)


@pytest.mark.parametrize(
    ("behind", "difference"),
    [
        ([3_600.0] * 3, 3_600.0),
        ([3_600.0] * 2, 0.0),  # not enough to say
        ([0.2, 9.0, 0.3], 0.2),  # a late sentence
        ([-2.5, -2.4, -2.6], -2.4),
        ([9.0, 9.0, 9.0, 0.1], 0.1),
    ],
)
def test_a_wired_receiver_tells_the_clock_apart_from_a_late_sentence(behind: list[float], difference: float) -> None:
    doubts = Doubts()
    for at_s, value in enumerate(behind):
        doubts.receiver("box-1-gnss", value, float(at_s))
    assert doubts.receiver_difference_s(len(behind)) == difference
    assert doubts.receiver_difference_s(len(behind) + 2 * WINDOW_S) == 0.0
    assert len(behind) <= RECEIVER_FIXES + 1


@given(st.lists(st.tuples(st.sampled_from(UNITS), st.sampled_from(("heard", "jump")), st.floats(0.0, 20.0))))
def test_it_says_what_the_whole_record_says(told: list[tuple[str, str, float]]) -> None:
    doubts, now_s, record = Doubts(), 0.0, []
    for unit, kind, later_s in told:
        now_s += later_s
        (doubts.heard if kind == "heard" else doubts.jumps)([unit], now_s)
        record.append((unit, kind, now_s))
        lately = [(name, what) for name, what, at_s in record if now_s - at_s <= WINDOW_S]
        jumped = {name for name, what in lately if what == "jump"}
        most = len(jumped) >= MIN_UNITS and len(jumped) > SHARE * len({name for name, _ in lately})
        assert doubts.gnss_suspect(now_s) == most


def test_what_is_remembered_is_bounded() -> None:
    doubts = Doubts()
    doubts.heard((f"unit-{number}" for number in range(MAX_UNITS + 50)), 0.0)
    assert len(doubts._heard) == MAX_UNITS
