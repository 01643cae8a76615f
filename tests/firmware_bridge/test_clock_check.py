"""A GNSS date that the system clock contradicts is refused, never repaired."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.clock_check import (
    ALARM_AFTER,
    BUILD_TIME_S,
    LIVE_LIMIT_S,
    WEEK_ROLLOVER_S,
    Arrival,
    ClockWatch,
    clock_refusal,
)

NOW_S = BUILD_TIME_S + 1_000_000.0


@pytest.mark.parametrize(
    ("ahead_s", "arrival", "reason"),
    [
        (0, Arrival.LIVE, None),
        (5, Arrival.LIVE, None),
        (-5, Arrival.LIVE, None),
        (5.5, Arrival.LIVE, "clock_disagrees"),
        (-5.5, Arrival.LIVE, "clock_disagrees"),
        (-5_000, Arrival.STORED, None),
        (5.5, Arrival.STORED, "clock_disagrees"),
        (-1_000_001, Arrival.STORED, "date_before_build"),
        (-1_000_001, Arrival.LIVE, "date_before_build"),
        (-WEEK_ROLLOVER_S, Arrival.LIVE, "week_rollover"),
        (WEEK_ROLLOVER_S + 86_000, Arrival.STORED, "week_rollover"),
        (-2 * WEEK_ROLLOVER_S, Arrival.LIVE, "week_rollover"),
        (WEEK_ROLLOVER_S + 90_000, Arrival.LIVE, "clock_disagrees"),
    ],
)
def test_refusal(ahead_s, arrival, reason):
    refusal = clock_refusal(round((NOW_S + ahead_s) * 1000), NOW_S, arrival)
    assert (refusal and refusal.reason) == reason


@given(st.integers(0, 4_000_000_000_000), st.floats(BUILD_TIME_S, 4e9))
def test_what_passes_live_is_within_the_limit(fix_time_ms, received_s):
    if clock_refusal(fix_time_ms, received_s) is None:
        assert abs(fix_time_ms / 1000 - received_s) <= LIVE_LIMIT_S


def test_ten_in_a_row_raise_the_alarm_and_one_good_fix_ends_it():
    watch = ClockWatch()
    for n in range(ALARM_AFTER):
        assert not watch.alarm, n
        assert watch.check(0, NOW_S)
    assert watch.alarm
    assert watch.check(round(NOW_S * 1000), NOW_S) is None
    assert not watch.alarm


def test_refusals_have_few_words_since_the_same_words_are_kept_as_one():
    details = {clock_refusal(round((NOW_S + n) * 1000), NOW_S).detail for n in range(-900_000, 900_000, 977)}
    assert len(details) <= 8
    assert "fixTime: more than an hour behind the system clock; expected within 5 s" in details


def test_watch_knows_the_reason_until_a_fix_passes():
    watch = ClockWatch()
    watch.check(round((NOW_S - WEEK_ROLLOVER_S) * 1000), NOW_S)
    assert watch.reason == "week_rollover"
    watch.check(round(NOW_S * 1000), NOW_S)
    assert watch.reason == ""
