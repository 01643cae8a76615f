"""simulator/customs/feedback.py: what counts teach."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.customs.feedback import (
    MAX_LEARNED_POINTS,
    NO_COUNTERS,
    VERSION_EVERY,
    VERSION_EVERY_S,
    Count,
    Counters,
    counted,
    is_due,
    learned_points,
)

COUNTS = st.builds(lambda seen, found: Count(seen + found, found), st.integers(0, 500), st.integers(0, 500))


def test_nothing_known_gives_no_points() -> None:
    assert learned_points(NO_COUNTERS, [("consignee", "muster")]) == 0.0


def test_a_party_with_finds_earns_points_and_a_clean_one_loses_some() -> None:
    counters = Counters({("consignee", "a"): Count(20, 15), ("consignee", "b"): Count(20, 0)}, Count(200, 20))
    assert learned_points(counters, [("consignee", "a")]) > 20.0
    assert learned_points(counters, [("consignee", "b")]) < -10.0


def test_a_new_version_is_due_by_number_or_by_age() -> None:
    assert not is_due(NO_COUNTERS, 0, 10 * VERSION_EVERY_S)
    assert not is_due(NO_COUNTERS, VERSION_EVERY - 1, VERSION_EVERY_S - 1)
    assert is_due(NO_COUNTERS, VERSION_EVERY, 0.0)
    assert is_due(NO_COUNTERS, 1, VERSION_EVERY_S)


@given(st.dictionaries(st.tuples(st.just("k"), st.sampled_from("abcdef")), COUNTS), COUNTS)
def test_points_stay_in_bounds_and_rise_with_every_find(counts: dict[tuple[str, str], Count], total: Count) -> None:
    counters = Counters(counts, total)
    points = learned_points(counters, [("k", "a"), ("k", "b")])
    assert -MAX_LEARNED_POINTS <= points <= MAX_LEARNED_POINTS
    if ("k", "a") in counts:
        more = Counters({**counts, ("k", "a"): counted(counts["k", "a"], True)}, total)
        fewer = Counters({**counts, ("k", "a"): counted(counts["k", "a"], False)}, total)
        assert learned_points(fewer, [("k", "a"), ("k", "b")]) <= points
        assert points <= learned_points(more, [("k", "a"), ("k", "b")])
