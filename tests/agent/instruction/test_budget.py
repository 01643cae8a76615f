from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import PolicyConfig
from agent.instruction.budget import PASSED_LIMIT_S, budget, hold_due_s

POLICY = PolicyConfig()


@pytest.mark.parametrize(("kmh", "after_s"), [(30, 8.0), (60, 5.4), (80, 4.05)])
def test_150_m_of_the_design(kmh, after_s):
    assert hold_due_s(150.0, kmh / 3.6, 100.0, 100.0, POLICY) == pytest.approx(100.0 + after_s)


@pytest.mark.parametrize(("length_m", "after_s"), [(200.0, 6.2), (100.0, 3.5)])
def test_entry_settled_two_seconds_later(length_m, after_s):
    speed_mps = 80 / 3.6
    limits = budget(
        remaining_m=length_m - 2 * speed_mps,
        speed_mps=speed_mps,
        fix_age_s=0.0,
        arrived_s=102.0,
        entry_s=100.0,
        policy=POLICY,
    )
    assert limits.limit_s == pytest.approx(100.0 + after_s, abs=0.06)
    assert limits.due_s == pytest.approx(limits.limit_s - 1.0)


def of(**changes: float | None):
    given_ = {"remaining_m": 300.0, "speed_mps": 15.0, "fix_age_s": 0.5, "arrived_s": 101.0, "entry_s": 100.0}
    return budget(**{**given_, **changes}, policy=POLICY)


@pytest.mark.parametrize("unknown", [{"speed_mps": None}, {"speed_mps": 0.0}, {"remaining_m": None}])
def test_a_standing_or_unknown_vehicle_has_the_8_s(unknown):
    assert of(**unknown).limit_s == 108.0


def test_passed_vehicle_gets_the_grace_if_the_fix_is_fresh():
    assert of(remaining_m=-10.0).due_s == 102.0
    assert of(remaining_m=-10.0).limit_s == 101.0 + PASSED_LIMIT_S
    assert of(remaining_m=10.0, fix_age_s=2.0).due_s == 102.0
    assert of(remaining_m=-10.0, fix_age_s=8.0).due_s == 101.0
    assert of(entry_s=50.0).due_s == 102.0


NUMBERS = {
    "remaining_m": st.none() | st.floats(-1e4, 1e4),
    "speed_mps": st.none() | st.floats(0, 60),
    "fix_age_s": st.floats(0, 900),
    "arrived_s": st.floats(1e3, 1e6),
    "entry_s": st.floats(1, 2e6),
}


@given(st.fixed_dictionaries(NUMBERS))
def test_bounds(numbers):
    limits = of(**numbers)
    arrived_s = numbers["arrived_s"]
    assert arrived_s <= limits.due_s <= limits.limit_s
    assert limits.limit_s <= max(arrived_s + PASSED_LIMIT_S, min(numbers["entry_s"], arrived_s) + 8.0)


@given(st.floats(1, 1_000), st.floats(0.2, 40), st.floats(1.01, 3))
def test_nearer_or_faster_is_never_later(remaining_m, speed_mps, factor):
    base_s = hold_due_s(remaining_m, speed_mps, 100.0, 100.0, POLICY)
    assert hold_due_s(remaining_m / factor, speed_mps, 100.0, 100.0, POLICY) <= base_s
    assert hold_due_s(remaining_m, speed_mps * factor, 100.0, 100.0, POLICY) <= base_s
