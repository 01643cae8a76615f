"""Roads and drives: where a lorry is at a time, and when it is where."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.routes import COMFORT_MPS2, HARDEST_MPS2, Road, approach, through
from zones.frame import lv95

ROAD = Road(((2_685_000.0, 1_290_000.0), (2_685_000.0, 1_291_200.0), (2_686_000.0, 1_291_200.0)))


@given(st.floats(0.0, 2_200.0))
def test_degrees_and_metres_of_a_chainage_are_the_same_place(chainage_m):
    place = ROAD.at(chainage_m)
    assert math.dist(lv95(place.latitude, place.longitude), ROAD.metres_at(chainage_m)) < 0.02


def test_heading_is_true_and_follows_the_road():
    # LV95's north is within about 1 degree of true north here.
    assert abs((ROAD.at(100.0).heading_deg + 180.0) % 360.0 - 180.0) < 1.5
    assert abs(ROAD.at(1_900.0).heading_deg - 90.0) < 1.5


def test_legs_are_short_and_repeated_points_are_dropped():
    road = Road(((0.0, 0.0), (0.0, 0.0), (0.0, 1_700.0)))
    assert len(road.points_m) == 5
    assert road.length_m == pytest.approx(1_700.0)


def test_a_road_needs_a_length():
    with pytest.raises(ValueError, match="without length"):
        Road(((1.0, 1.0), (1.0, 1.0)))


def test_part_turning_back_and_beside():
    part = ROAD.part(1_000.0, 1_500.0)
    assert part.length_m == pytest.approx(500.0)
    back = ROAD.turning_back(300.0)
    assert back.length_m == pytest.approx(600.0)
    assert math.dist(back.metres_at(0.0), back.metres_at(600.0)) < 1e-6
    beside = Road(((0.0, 0.0), (0.0, 1_000.0))).beside(300.0)
    assert beside.metres_at(500.0) == pytest.approx((300.0, 500.0)), "north-bound, right is east"


DRIVES = st.builds(approach, st.just(1_000.0), st.floats(6.0, 25.0), st.floats(700.0, 3_000.0))


@given(DRIVES, st.floats(0.0, 400.0), st.floats(0.0, 60.0))
def test_chainage_never_falls_and_speed_never_turns_negative(drive, first_s, more_s):
    before, after = drive.at(1_000.0 + first_s), drive.at(1_000.0 + first_s + more_s)
    assert after[0] >= before[0] - 1e-6
    assert before[1] >= -1e-9 and after[1] >= -1e-9


@given(DRIVES, st.floats(0.0, 1.0))
def test_time_at_is_the_inverse_of_at(drive, share):
    stages = drive.stages
    goal_m = stages[-1].chainage_m * share
    time_s = drive.time_at(goal_m)
    assert drive.at(time_s)[0] == pytest.approx(goal_m, abs=1e-3)


@given(st.floats(6.0, 25.0), st.floats(700.0, 3_000.0))
def test_without_a_word_every_lorry_stops_at_the_bay(cruise_mps, bay_m):
    drive = approach(0.0, cruise_mps, bay_m)
    assert drive.at(10_000.0) == (pytest.approx(bay_m, abs=0.01), pytest.approx(0.0))
    assert drive.time_at(bay_m + 1.0) == math.inf


@given(DRIVES, st.floats(0.0, 300.0))
@settings(max_examples=100)
def test_go_then_stop_obeys_both_and_keeps_the_past(drive, when_s):
    now_s = 1_000.0 + when_s
    bay_m = drive.at(20_000.0)[0]
    going = drive.going(now_s, 12.0)
    assert going.at(now_s - 0.5) == pytest.approx(drive.at(now_s - 0.5))
    assert going.at(now_s)[0] == pytest.approx(drive.at(now_s)[0], abs=1e-6)
    assert going.time_at(bay_m + 500.0) < math.inf
    stopped = going.halting(now_s + 1.0, bay_m)
    at_m, speed_mps = stopped.at(now_s + 2_000.0)
    assert speed_mps == pytest.approx(0.0, abs=1e-6)
    far_m = max(bay_m, going.at(now_s + 1.0)[0] + 25.0**2 / (2 * HARDEST_MPS2))
    assert at_m <= far_m + 1e-3


def test_a_late_stop_is_braked_harder_but_no_harder_than_a_driver_would():
    drive = through(0.0, 15.0).halting(0.0, 60.0)
    needed = 15.0**2 / (2 * 60.0)
    assert COMFORT_MPS2 < needed < HARDEST_MPS2
    assert drive.at(100.0)[0] == pytest.approx(60.0)
    assert through(0.0, 15.0).halting(0.0, 5.0).at(100.0)[0] == pytest.approx(15.0**2 / (2 * HARDEST_MPS2))


def test_waiting_before_setting_out():
    assert approach(100.0, 10.0, 500.0).at(50.0) == (0.0, 0.0)
