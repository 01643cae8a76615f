"""zones/roster.py: what goes to rest comes back, and nothing stays behind."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zones.fix import Fix
from zones.quiet_map import NO_BOX
from zones.roster import GROW_ROWS, MAX_SEQ, NO_SEQ, ROW_B, Roster, read_anchor
from zones.unit_state import NO_FIX, Calm, UnitState

BOX = (46.9, 7.3, 47.1, 7.6)
FINITE = st.floats(-1e9, 1e9)
FIXES = st.builds(
    Fix,
    st.just("u"),
    st.floats(0.0, 2e9),
    st.floats(-90.0, 90.0),
    st.floats(-180.0, 180.0),
    st.floats(0.0, 2e9),
    st.none() | st.integers(NO_SEQ + 1, MAX_SEQ - 1),
    st.none() | st.text(max_size=8),
    st.floats(0.0, 100.0),
    st.none() | st.floats(0.0, 1_000.0),
)


def calm_state(fix: Fix, calm: Calm = Calm.FAR) -> UnitState:
    state = UnitState(fix)
    state.known, state.calm = True, calm
    return state


@settings(max_examples=100, deadline=None)
@given(FIXES, st.sampled_from(Calm), FINITE, st.integers(NO_SEQ + 1, MAX_SEQ), FINITE, FINITE)
def test_what_goes_to_rest_comes_back(fix, calm, since_s, run_from, step_m, step_dt_s):
    roster, state = Roster(), calm_state(fix, calm)
    state.since_s, state.run_from_seq, state.step_m, state.step_dt_s = since_s, run_from, step_m, step_dt_s
    at = roster.add()
    assert roster.lay_down(at, state, fix.accuracy_m, BOX)
    assert roster.rests(at)
    assert roster.time_s(at) == fix.time_s
    assert state.fix is NO_FIX
    for known in (state, None):
        woken = roster.wake(at, "u", known)
        assert woken.fix == fix
        found = (woken.calm, woken.since_s, woken.run_from_seq, woken.step_m, woken.step_dt_s, woken.quiet)
        assert found == (calm, since_s, run_from, step_m, step_dt_s, True)
        assert not any(roster.memory), "nothing of an anchor stays behind"
        assert roster.wake(at, "u", woken) is woken, "and waking twice does nothing"
        roster.lay_down(at, woken, fix.accuracy_m, BOX)


@settings(max_examples=100, deadline=None)
@given(FIXES)
def test_a_first_fix_far_away_is_as_one_laid_down(fix):
    begun, laid = Roster(), Roster()
    begun.begin(begun.add(), fix, fix.accuracy_m, BOX)
    state = calm_state(fix)
    state.saw(fix, fix)
    laid.lay_down(laid.add(), state, fix.accuracy_m, BOX)
    assert bytes(begun.memory) == bytes(laid.memory)
    assert begun.boots == laid.boots


@pytest.mark.parametrize("seq", [MAX_SEQ, NO_SEQ, 2**70, -(2**70)])
def test_a_seq_that_does_not_fit_keeps_the_unit_awake(seq):
    roster, state = Roster(), calm_state(Fix("u", 1.0, 47.0, 7.5, 1.0, seq))
    at = roster.add()
    assert not roster.lay_down(at, state, 5.0, BOX)
    assert not roster.rests(at)
    assert state.fix.seq == seq


def test_rows_are_used_again_and_their_memory_is_one_piece():
    roster = Roster()
    rows = [roster.add() for _ in range(GROW_ROWS + 1)]
    assert len(set(rows)) == len(rows)
    assert len(roster.memory) == 2 * GROW_ROWS * ROW_B
    memory = roster.memory
    roster.begin(rows[3], Fix("u", 1.0, 47.0, 7.5, 1.0, boot_id="b"), 5.0, BOX)
    roster.drop(rows[3])
    assert not any(roster.memory)
    assert set(roster.boots) == {None}
    assert roster.add() == rows[3]
    assert roster.memory is memory


def test_units_that_stay_outside_sleep_on_without_their_boxes():
    roster = Roster()
    rows = [roster.add() for _ in range(5)]
    for k, at in enumerate(rows[:4]):
        state = calm_state(Fix(f"u{k}", 1.0, 46.0 + k, 7.5, 1.0), Calm.INSIDE if k == 3 else Calm.FAR)
        roster.lay_down(at, state, 5.0, BOX)
    asked = []

    def outside(latitudes, longitudes):
        asked.append((latitudes.tolist(), longitudes.tolist()))
        return np.array([latitude != 47.0 for latitude in latitudes])

    assert roster.keep_away(outside) == {rows[0], rows[2]}
    assert asked == [([46.0, 47.0, 48.0], [7.5, 7.5, 7.5])]
    assert [read_anchor(roster.memory, at)[4:8] for at in rows[:4]] == [NO_BOX, BOX, NO_BOX, BOX]
    roster.add()  # the memory is not held any more
    for _ in range(GROW_ROWS):
        roster.add()


def test_a_step_of_a_unit_without_speed_is_kept():
    roster, fix = Roster(), Fix("u", 1.0, 47.0, 7.5, 1.0)
    at = roster.add()
    roster.begin(at, fix, 5.0, BOX)
    roster.note_step(at, 0.0, 5.0, math.nan)
    assert roster.wake(at, "u", None).step_m == 0.0
    roster.begin(at, fix, 5.0, BOX)
    roster.note_step(at, 50.0, 5.0, math.nan)
    woken = roster.wake(at, "u", None)
    assert (woken.step_m, woken.step_dt_s) == (50.0, 5.0)
    roster.begin(at, msgspec.structs.replace(fix, speed_mps=7.0), 5.0, BOX)
    roster.note_step(at, 0.0, 5.0, 7.0)
    woken = roster.wake(at, "u", None)
    assert (woken.step_m, woken.step_dt_s) == (7.0, 1.0)
