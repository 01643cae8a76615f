"""simulator/customs/feedback.py: what counts teach."""

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.customs.feedback import (
    MIN_RECENT,
    NO_COUNTERS,
    VERSION_EVERY,
    VERSION_EVERY_S,
    Count,
    counted,
    is_due,
    thresholds,
)


def test_a_new_version_is_due_by_number_or_by_age() -> None:
    assert not is_due(NO_COUNTERS, 0, 10 * VERSION_EVERY_S)
    assert not is_due(NO_COUNTERS, VERSION_EVERY - 1, VERSION_EVERY_S - 1)
    assert is_due(NO_COUNTERS, VERSION_EVERY, 0.0)
    assert is_due(NO_COUNTERS, 1, VERSION_EVERY_S)


@given(st.integers(0, 500), st.integers(0, 500), st.booleans())
def test_one_more_control_is_one_more(seen: int, found: int, hit: bool) -> None:
    assert counted(Count(seen + found, found), hit) == Count(seen + found + 1, found + hit)


def test_few_declarations_give_no_thresholds() -> None:
    assert thresholds([1] * (MIN_RECENT - 1), 0.015, 0.02) is None


SCORES = st.builds(
    lambda seed, many, width: [(number * number * seed) % width - 80 for number in range(many)],
    st.integers(1, 10_000),
    st.integers(MIN_RECENT, MIN_RECENT + 200),
    st.integers(1, 300),
)


@settings(max_examples=30)
@given(SCORES, st.sampled_from([0.0, 0.015, 0.1]), st.sampled_from([0.0, 0.02]))
def test_thresholds_hold_the_shares_and_waste_little(scores: list[int], red: float, yellow: float) -> None:
    found = thresholds(scores, red, yellow)
    assert found is not None
    assert found.yellow_at <= found.red_at
    stopped = sum(score >= found.red_at for score in scores)
    assert stopped <= red * len(scores)
    assert sum(score >= found.red_at - 1 for score in scores) > red * len(scores) - 1, "one point lower is too much"
    assert sum(score >= found.yellow_at for score in scores) <= (red + yellow) * len(scores)
