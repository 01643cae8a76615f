"""Time of week to UTC."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.gps_time import GPS_START_MS, WEEK_MS, GpsClock, gps_to_utc_ms, leap_s_at, utc_ms


def at(text: str) -> int:
    return round(datetime.datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


@pytest.mark.parametrize(
    ("moment", "leap_s"),
    [
        ("1980-01-06T00:00:00", 0),
        ("1981-06-30T23:59:59", 0),
        ("1981-07-01T00:00:00", 1),
        ("1999-01-01T00:00:00", 13),
        ("2009-01-28T20:35:40", 15),
        ("2012-07-01T00:00:00", 16),
        ("2016-12-31T23:59:59", 17),
        ("2017-01-01T00:00:00", 18),
        ("2026-12-01T00:00:00", 18),
    ],
)
def test_leap_seconds_by_date(moment, leap_s):
    assert leap_s_at(at(moment)) == leap_s


def test_week_and_time_of_week():
    assert gps_to_utc_ms(0, 0) == GPS_START_MS
    assert gps_to_utc_ms(1516, 333_355_001) == at("2009-01-28T20:35:40.001")  # a LEA-4T
    assert gps_to_utc_ms(1516, 333_355_001, 14) == at("2009-01-28T20:35:41.001")


def test_around_a_leap_second_no_second_is_missing():
    week, itow_ms = divmod(at("2016-12-31T23:59:58") - GPS_START_MS + 17_000, WEEK_MS)
    seconds = [gps_to_utc_ms(week, itow_ms + n * 1000) for n in range(4)]
    expected = ["2016-12-31T23:59:58", "2016-12-31T23:59:59", "2017-01-01T00:00:00", "2017-01-01T00:00:00"]
    assert seconds == [at(text) for text in expected]


MOMENTS = st.integers(at("1990-01-01T00:00:00"), at("2060-01-01T00:00:00"))


def of_week(moment_ms: int, leap_s: int) -> tuple[int, int]:
    return divmod(moment_ms - GPS_START_MS + leap_s * 1000, WEEK_MS)


@given(MOMENTS, st.integers(-3 * 86_400_000, 3 * 86_400_000), st.integers(0, 30))
def test_any_source_of_the_week_gives_the_time(moment_ms, apart_ms, leap_s):
    learned_ms = moment_ms + apart_ms
    week, itow_then_ms = of_week(learned_ms, leap_s)
    by_pair, by_week, by_date = GpsClock(), GpsClock(), GpsClock()
    assert by_pair.utc_ms(0) is None
    by_pair.learn_pair(itow_then_ms, learned_ms)
    by_week.learn_leap(leap_s)
    by_week.learn_week(week, itow_then_ms)
    by_date.learn_leap(leap_s)
    by_date.learn_utc(learned_ms)
    itow_ms = of_week(moment_ms, leap_s)[1]
    assert by_pair.utc_ms(itow_ms) == by_week.utc_ms(itow_ms) == by_date.utc_ms(itow_ms) == moment_ms


@given(MOMENTS, st.lists(st.integers(1, 3 * 86_400_000), max_size=30))
def test_time_runs_on_over_any_number_of_weeks(start_ms, steps_ms):
    clock = GpsClock()
    clock.learn_pair(of_week(start_ms, 18)[1], start_ms)
    moment_ms = start_ms
    for step_ms in steps_ms:
        moment_ms += step_ms
        assert clock.utc_ms(of_week(moment_ms, 18)[1]) == moment_ms


def test_stated_pair_is_not_moved_by_weaker_words():
    clock = GpsClock()
    clock.learn_pair(5_000, at("2026-12-01T00:00:00"))
    clock.learn_leap(99)
    clock.learn_week(1, 0)
    clock.learn_utc(0)
    assert clock.utc_ms(6_000) == at("2026-12-01T00:00:01")


def test_utc_of_a_day():
    assert utc_ms(datetime.date(2026, 12, 1), 1_500) == at("2026-12-01T00:00:01.500")
