"""The noise model has the statistics that were measured, and every peculiarity it promises."""

import math
import statistics
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.dice import Dice
from simulator.gnss_error import GAP_S, METRES_PER_DEGREE, STICK_S, GnssError, Receiver, Truth

LATITUDE, LONGITUDE = 47.0, 8.0


def truth(time_s, *, speed_mps=0.0, covered=False, tunnel=False, north_m=0.0):
    return Truth(time_s, LATITUDE + north_m / METRES_PER_DEGREE, LONGITUDE, speed_mps, 0.0, covered, tunnel)


def off_m(observation, north_m=0.0):
    north = (observation.latitude - LATITUDE) * METRES_PER_DEGREE - north_m
    east = (observation.longitude - LONGITUDE) * METRES_PER_DEGREE * math.cos(math.radians(LATITUDE))
    return math.hypot(east, north)


def run(receiver, seconds, seed=0, **state):
    error = GnssError(receiver, Dice("test", seed))
    return [error.observe(truth(float(at_s), **state)) for at_s in range(seconds)]


def errors(receiver, seconds, seeds, **state):
    return sorted(off_m(item) for seed in range(seeds) for item in run(receiver, seconds, seed, **state) if item)


def test_open_sky_is_as_good_as_measured_and_no_better():
    found = errors(Receiver(), 300, 20)
    # OU(0.8 m, 6 s) + OU(2 m, 60 s) on each axis: Rayleigh with sigma 2.15 m.
    assert 2.0 < found[len(found) // 2] < 3.1
    assert 4.3 < found[int(len(found) * 0.95)] < 6.5


def test_errors_last_as_they_do_in_receivers():
    items = [item for item in run(Receiver(), 600) if off_m(item) < 50.0]  # a jump is another matter
    north = [(item.latitude - LATITUDE) * METRES_PER_DEGREE for item in items]
    mean = statistics.fmean(north)
    centred = [value - mean for value in north]
    spread = sum(value * value for value in centred)
    one_second = sum(a * b for a, b in pairwise(centred)) / spread
    assert one_second > 0.85, "white noise would be 0"


def test_a_yard_roof_is_worse_and_reports_it_but_not_its_multipath_steps():
    open_sky, roof = errors(Receiver(), 300, 15), errors(Receiver(), 300, 15, covered=True)
    assert roof[len(roof) // 2] > 2.5 * open_sky[len(open_sky) // 2]
    item = run(Receiver(), 5, covered=True)[-1]
    assert 8.0 < item.accuracy_m < 45.0
    assert max(roof) > 20.0


def test_reported_accuracy_holds_most_fixes():
    inside = total = 0
    for seed in range(20):
        for item in run(Receiver(), 200, seed):
            total += 1
            inside += off_m(item) <= item.accuracy_m
    assert 0.85 < inside / total < 0.995


def test_accuracy_and_speed_only_where_the_receiver_has_them():
    item = run(Receiver(reports_accuracy=False, reports_speed=False), 3)[-1]
    assert (item.accuracy_m, item.speed_mps, item.heading_deg) == (0.0, None, None)


def test_positions_lag_along_the_track():
    error = GnssError(Receiver(), Dice("lag"))
    behind = []
    for at_s in range(400):
        north_m = at_s * 20.0
        item = error.observe(truth(float(at_s), speed_mps=20.0, north_m=north_m))
        behind.append(north_m - (item.latitude - LATITUDE) * METRES_PER_DEGREE)
    assert 20.0 * 0.08 - 2.0 < statistics.median(behind) < 20.0 * 0.5 + 2.0


def test_a_standing_unit_that_freezes_repeats_its_position_to_the_digit():
    items = run(Receiver(freezes=True), 60)
    places = {(item.latitude, item.longitude) for item in items}
    assert len(places) <= 3, "but for a rare jump it does not move"
    assert len({(item.latitude, item.longitude) for item in run(Receiver(), 60)}) > 50


def test_a_unit_that_sticks_does_so_while_driving_and_leaps_afterwards():
    error = GnssError(Receiver(sticks=True), Dice("sticks"))
    steps = []
    last = None
    for at_s in range(600):
        north_m = at_s * 15.0
        item = error.observe(truth(float(at_s), speed_mps=15.0, north_m=north_m))
        if last is not None:
            steps.append((item.latitude - last.latitude) * METRES_PER_DEGREE)
        last = item
    assert steps.count(0.0) > 10
    assert max(steps) > 15.0 * (STICK_S[0] - 2.0)


def test_gaps_are_silent_and_bounded_and_never_at_the_start():
    silent, longest, here = 0, 0, 0
    for seed in range(30):
        items = run(Receiver(gaps=True), 300, seed)
        assert items[0] is not None and items[1] is not None
        for item in items:
            here = 0 if item is not None else here + 1
            silent, longest = silent + (item is None), max(longest, here)
    assert silent > 50
    assert longest <= GAP_S[1] + 1


def test_jumps_are_rare_and_large():
    found = errors(Receiver(), 2_000, 10)
    jumps = [value for value in found if value > 90.0]
    assert 2 <= len(jumps) <= 25, "1 in 2,000 of 20,000"
    assert max(jumps) < 3_100.0


def test_no_fix_in_a_tunnel_and_a_poor_one_behind_it():
    far = []
    for seed in range(30):
        error = GnssError(Receiver(), Dice("tunnel", seed))
        assert error.observe(truth(0.0)) is not None
        assert [error.observe(truth(float(at), tunnel=True)) for at in range(1, 60)] == [None] * 59
        after = [error.observe(truth(60.0 + at)) for at in range(20)]
        far.append(off_m(after[0]))
        assert off_m(after[-1]) < 15.0 or off_m(after[-1]) > 90.0
    assert 15.0 < statistics.median(far) < 55.0


def test_duplicates_and_disorder_only_where_asked():
    assert {item.copies for item in run(Receiver(), 300) if item} == {1}
    assert max(item.copies for item in run(Receiver(duplicates=True), 300) if item) > 1
    plain = [item.emit_s for item in run(Receiver(), 300) if item]
    mixed = [item.emit_s for item in run(Receiver(disorder=True), 300) if item]
    assert plain == sorted(plain)
    assert mixed != sorted(mixed)


@given(st.integers(0, 10_000), st.lists(st.booleans(), min_size=1, max_size=40))
@settings(max_examples=50)
def test_same_dice_same_fixes_and_every_value_in_range(seed, tunnels):
    def drive():
        error = GnssError(Receiver(gaps=True, freezes=True, sticks=True, duplicates=True), Dice(seed))
        return [
            error.observe(truth(float(at), speed_mps=at % 20, tunnel=tunnel, covered=at % 3 == 0))
            for at, tunnel in enumerate(tunnels)
        ]

    first = drive()
    assert first == drive()
    for at_s, item in enumerate(first):
        if item is not None:
            assert item.time_s == at_s <= item.emit_s
            assert item.accuracy_m > 0.0 and item.speed_mps >= 0.0 and 0.0 <= item.heading_deg < 360.0


def test_settle_time_covers_the_longest_silence():
    assert Receiver().settle_s < 10.0
    assert Receiver(interval_s=30.0).settle_s > 60.0
    assert Receiver(gaps=True).settle_s > GAP_S[1]
    assert Receiver(sticks=True).settle_s > STICK_S[1]
    with pytest.raises(AttributeError):
        Receiver().interval_s = 2.0
