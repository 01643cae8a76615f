"""zones/plausibility.py: tables for the rules of design/detection.md sections 5 and 6."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zones.fix import Fix, FixType
from zones.plausibility import (
    BranchVerdict,
    DetectionConfig,
    Trust,
    effective_accuracy_m,
    faster_reported_mps,
    grade_step,
    judge_branch,
    step_speed_mps,
    usable,
)

CONFIG = DetectionConfig()


def fix(**values):
    return Fix("u", 1.0, 47.0, 8.0, 1.0, **values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 15.0),
        ({"accuracy_m": 0.0}, 15.0),  # 0 is unknown, neither perfect nor worthless
        ({"phone": True}, 30.0),
        ({"phone": True, "accuracy_m": 8.0}, 8.0),
        ({"phone": True, "hdop": 1.5}, 12.0),
        ({"accuracy_m": 1.7}, 3.0),
        ({"accuracy_m": 40.0}, 40.0),
        ({"hdop": 1.5}, 12.0),
        ({"hdop": 1.5, "fix_type": FixType.DGNSS}, 6.0),
        ({"hdop": 0.1}, 3.0),
        ({"hdop": 99_999.0}, 15.0),
        ({"accuracy_m": 5.0, "hdop": 9.0}, 5.0),
    ],
)
def test_accuracy_to_decide_with(values, expected):
    assert effective_accuracy_m(fix(**values), CONFIG) == expected


def test_estimated_and_inaccurate_fixes_change_nothing():
    assert usable(fix(), 100.0, CONFIG)
    assert not usable(fix(), 100.1, CONFIG)
    assert not usable(fix(fix_type=FixType.ESTIMATED), 5.0, CONFIG)


@pytest.mark.parametrize(
    ("speed", "dt", "reported", "previous", "expected"),
    [
        (24.0, 5.0, 0.0, None, Trust.UNCORROBORATED),  # a parked lorry's fix that leaps 150 m in 5 s
        (24.0, 5.0, 22.0, None, Trust.TRUSTED),
        (28.0, 5.0, 22.0, None, Trust.TRUSTED),  # 30 % above what was reported
        (29.0, 5.0, 22.0, None, Trust.UNCORROBORATED),
        (45.1, 1.0, 45.0, None, Trust.SUSPECT),
        (math.inf, 0.0, None, None, Trust.SUSPECT),
        (40.0, 1.0, None, None, Trust.TRUSTED),  # nothing to compare with
        (13.0, 1.0, None, 10.0, Trust.TRUSTED),
        (13.1, 1.0, None, 10.0, Trust.UNCORROBORATED),
        (22.0, 60.0, None, 10.0, Trust.TRUSTED),
        (22.1, 60.0, None, 10.0, Trust.UNCORROBORATED),  # at most 12 m/s gained, however long
    ],
)
def test_steps_are_graded(speed, dt, reported, previous, expected):
    assert grade_step(speed, dt, reported, previous, CONFIG) is expected


def test_the_faster_reported_speed_counts():
    assert faster_reported_mps(fix(), fix()) is None
    assert faster_reported_mps(fix(speed_mps=3.0), fix()) == 3.0
    assert faster_reported_mps(fix(), fix(speed_mps=4.0)) == 4.0
    assert faster_reported_mps(fix(speed_mps=3.0), fix(speed_mps=4.0)) == 4.0


@given(st.floats(0, 1e6), st.floats(3, 100), st.floats(3, 100), st.floats(0, 1e4))
def test_step_speed_never_exceeds_the_plain_one(distance, one, other, dt):
    speed = step_speed_mps(distance, one, other, dt)
    assert speed >= 0.0
    if dt > 0.0:
        assert speed <= distance / dt
    if distance <= one + other:
        assert speed == 0.0


@pytest.mark.parametrize(
    ("b_ok", "a_ok", "ab", "bc", "ac", "expected"),
    [
        (True, True, 200.0, 20.0, 220.0, BranchVerdict.GROWS),  # onward in one line
        (True, False, 200.0, 20.0, 210.0, BranchVerdict.GROWS),
        (True, True, 200.0, 190.0, 20.0, BranchVerdict.DROPPED),  # back where it came from
        (False, True, 200.0, 200.0, 5.0, BranchVerdict.DROPPED),
        (False, False, 200.0, 900.0, 900.0, BranchVerdict.RESTARTS),
        (True, None, 200.0, 20.0, math.inf, BranchVerdict.GROWS),
        (False, None, 200.0, 900.0, math.inf, BranchVerdict.RESTARTS),
    ],
)
def test_a_branch_lives_by_the_fixes_that_agree(b_ok, a_ok, ab, bc, ac, expected):
    verdict = judge_branch(
        branch_to_fix_ok=b_ok,
        anchor_to_fix_ok=a_ok,
        anchor_to_branch_m=ab,
        branch_to_fix_m=bc,
        anchor_to_fix_m=ac,
        accuracies_m=9.0,
    )
    assert verdict is expected


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"dwell": 3}, "dwell"),
        ({"dwell_s": -1}, "dwell_s"),
        ({"accuracy_usable_m": 101}, "accuracy_usable_m"),
    ],
)
def test_configuration_refuses_typos_and_values_out_of_range(table, key):
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert(table, DetectionConfig)
