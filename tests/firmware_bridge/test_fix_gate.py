"""Worse evidence wins; a position is not a fix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.fix_gate import Evidence, Verdict, accuracy_m, judge, position_fault, usable_heading_deg

E = Evidence


@pytest.mark.parametrize(
    ("evidence", "nav_mode", "satellites", "expected"),
    [
        ([], 3, 9, Verdict.NO_FIX),
        ([E.VALID], None, None, Verdict.TWO_D),  # RMC alone: the Swiss car drive
        ([E.PLAIN], 2, 5, Verdict.TWO_D),
        ([E.PLAIN, E.VALID], 3, 5, Verdict.THREE_D),
        ([E.DGNSS, E.VALID], 3, 5, Verdict.DGNSS),
        ([E.RTK, E.RTK], 3, 12, Verdict.RTK),
        ([E.ESTIMATED], None, 0, Verdict.ESTIMATED),  # dead reckoning needs no satellites
        ([E.PLAIN], 3, 0, Verdict.ZERO_SATELLITES),
        ([E.RTK], 3, 0, Verdict.ZERO_SATELLITES),
        ([E.NO_FIX, E.PLAIN], 3, 9, Verdict.NO_FIX),  # RMC V beats GGA 1
        ([E.PLAIN, E.VALID], 1, 9, Verdict.NO_FIX),  # all GSA 1 beats both
        ([E.SIMULATED, E.NO_FIX], 3, 9, Verdict.SIMULATED),
        ([E.SIMULATED], 1, 9, Verdict.SIMULATED),
        ([E.MANUAL, E.PLAIN], 3, 9, Verdict.MANUAL),
    ],
)
def test_verdict(evidence, nav_mode, satellites, expected):
    assert judge(evidence, nav_mode, satellites) is expected


LIVE = {Verdict.TWO_D, Verdict.THREE_D, Verdict.DGNSS, Verdict.RTK}
MODES = st.sampled_from([None, 1, 2, 3])


@given(
    st.lists(st.sampled_from(list(E)), max_size=5),
    st.sampled_from(list(E)),
    MODES,
    st.sampled_from([None, 0, 7]),
)
def test_more_evidence_never_makes_a_live_fix_out_of_none(evidence, more, nav_mode, satellites):
    before = judge(evidence, nav_mode, satellites)
    after = judge([*evidence, more], nav_mode, satellites)
    if evidence and before not in LIVE:
        assert after not in LIVE
    if more <= E.ESTIMATED:
        assert after not in LIVE


@pytest.mark.parametrize(
    ("stated_m", "hdop", "fix_type", "expected"),
    [
        (4.2, 9.0, "3D", 4.2),
        (None, 0.9, "3D", pytest.approx(7.2)),
        (None, 0.9, "DGNSS", pytest.approx(3.6)),
        (None, 0.5, "RTK", 3.0),  # never better than the floor
        (0.0, 1.0, "3D", 8.0),
        (None, 0.0, "3D", None),
        (None, None, "3D", None),
    ],
)
def test_accuracy(stated_m, hdop, fix_type, expected):
    assert accuracy_m(stated_m, hdop, fix_type) == expected


@pytest.mark.parametrize(
    ("heading_deg", "speed_mps", "expected"),
    [(90.0, 0.5, 90.0), (90.0, 0.49, None), (90.0, None, None), (None, 9.0, None)],
)
def test_heading_only_while_moving(heading_deg, speed_mps, expected):
    assert usable_heading_deg(heading_deg, speed_mps) == expected


@pytest.mark.parametrize(
    ("latitude", "longitude", "word"),
    [(91, 8, "latitude"), (47, 181, "longitude"), (0.0, 0.0, "0/0"), (float("nan"), 8, "latitude")],
)
def test_position_out_of_range_is_named_but_not_quoted(latitude, longitude, word):
    fault = position_fault(latitude, longitude)
    assert word in fault and "91" not in fault and "181" not in fault


@pytest.mark.parametrize(("latitude", "longitude"), [(47.7, 8.6), (0.0, 8.6), (-90, 180)])
def test_position_in_range(latitude, longitude):
    assert position_fault(latitude, longitude) is None
