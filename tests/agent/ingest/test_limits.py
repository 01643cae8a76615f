from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.ingest.limits import BURST, MESSAGES_PER_S, Bucket, RateLimits, take


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200), st.floats(0.5, 20), st.integers(1, 20))
@settings(max_examples=150)
def test_never_more_than_burst_and_rate_allow(waits_s: list[float], rate_per_s: float, burst: int) -> None:
    limits, now_s, allowed = RateLimits(rate_per_s, burst), 0.0, 0
    for wait_s in waits_s:
        now_s += wait_s
        allowed += limits.allow("U-1", now_s)
        assert allowed <= burst + now_s * rate_per_s + 1e-6


def test_an_hour_of_honest_resends_passes_at_once_and_a_flood_does_not() -> None:
    limits = RateLimits()
    assert all(limits.allow("honest", 0.0) for _ in range(int(BURST)))
    assert not limits.allow("honest", 0.0)
    assert limits.allow("honest", 1 / MESSAGES_PER_S)
    assert limits.allow("other", 0.0)


def test_a_steady_unit_is_never_refused() -> None:
    limits = RateLimits(burst=2)
    assert all(limits.allow("U-1", n / MESSAGES_PER_S) for n in range(1_000))


def test_ten_thousand_unknown_units_stay_in_bounded_memory() -> None:
    limits = RateLimits(burst=1, max_sources=100)
    for n in range(10_000):
        assert limits.allow(f"U-{n}", 0.0)
    assert len(limits) == 100
    assert not limits.allow("U-9999", 0.0)
    assert limits.allow("U-0", 0.0), "forgotten, so full again"


@pytest.mark.parametrize("back_s", [0.0, 1.0, 1e9])
def test_a_clock_that_goes_back_fills_nothing(back_s: float) -> None:
    assert take(Bucket(0.5, 1e9), 1e9 - back_s, 1.0, 10.0) is None
