"""Which faults a run plays, and when."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from simulator.chaos import EVERY_S, KINDS, PATIENCE_S, QUIET_AT_END_S, kinds_of, schedule


def test_all_is_every_kind_that_this_run_has_something_for() -> None:
    assert kinds_of("all", own_broker=True, serial=True) == KINDS
    assert set(KINDS) - set(kinds_of("all", own_broker=False, serial=False)) == {"kill-broker", "unplug-serial"}
    for kind in KINDS:
        assert kinds_of(kind, own_broker=True, serial=True) == (kind,)


@pytest.mark.parametrize(
    ("word", "own_broker", "serial", "said"),
    [
        ("kill-all", True, True, "expected one of kill-agent"),
        ("kill-broker", False, True, "expected a broker of ours"),
        ("unplug-serial", True, False, "expected simulated lorries"),
    ],
)
def test_what_cannot_be_played_is_refused(word: str, own_broker: bool, serial: bool, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        kinds_of(word, own_broker=own_broker, serial=serial)


@given(st.integers(60, 100_000))
def test_at_least_five_faults_a_minute_and_none_near_the_end(seconds: int) -> None:
    times = [at_s for at_s, _ in schedule(KINDS, seconds)]
    assert len(times) >= seconds // 60 * 5
    assert times[-1] <= seconds - QUIET_AT_END_S
    assert all(later - earlier == EVERY_S for earlier, later in pairwise(times))


def test_two_minutes_hold_ten_faults_of_every_kind() -> None:
    played = [kind for _, kind in schedule(KINDS, 120)]
    assert len(played) >= 10 and set(played) == set(KINDS)


def test_a_run_without_an_end_never_runs_out_of_faults() -> None:
    assert len(list(islice(schedule(KINDS, None), 1_000))) == 1_000


def test_the_shortest_run_still_has_its_fault() -> None:
    assert [kind for _, kind in schedule(("kill-agent",), 5)] == ["kill-agent"]
    assert PATIENCE_S > 3.0
