"""zones/tree.py: above 2,000 zones a tree answers, and answers the same."""

from __future__ import annotations

import random

import pytest

from simulator.bench_load import crossing_places, make_load, small_zones
from zones.catalogue import shipped_zone_set
from zones.detector import Detector
from zones.frame import lv95_to_degrees
from zones.index import GRID_ZONES, compile_index

GRID = compile_index(shipped_zone_set())
TREE = compile_index(shipped_zone_set(), grid_zones=0)


def test_the_kind_follows_the_number_of_zones():
    assert GRID.kind == "grid"
    assert TREE.kind == "tree"
    assert compile_index(small_zones(GRID_ZONES + 1, 1)).kind == "tree"


def test_both_kinds_hold_the_same_positions():
    rng = random.Random(1)
    inside = 0
    for x, y in crossing_places(shipped_zone_set()) * 12:
        position = lv95_to_degrees(x + rng.gauss(0.0, 900.0), y + rng.gauss(0.0, 900.0))
        assert GRID.containing(*position) == TREE.containing(*position)
        inside += bool(GRID.containing(*position))
    assert inside > 300


@pytest.mark.parametrize("step_s", [1.0, 5.0, 30.0])
def test_both_kinds_make_the_same_events(step_s):
    load = make_load("t", GRID.zone_set, vehicles=150, each=30, border_share=1.0, seed=2, step_s=step_s)
    found = []
    for index in (GRID, TREE):
        detector = Detector(index)
        found.append([event for batch in load.batches() for fix in batch for event in detector.feed(fix)])
    assert found[0] == found[1]
    assert len(found[0]) > 30


def test_way_to_the_exit_and_segments_do_not_depend_on_the_kind():
    for zone_id in list(GRID.zones)[::40]:
        latitude, longitude = GRID.zones[zone_id].zone.polygons[0][0][0][::-1]
        way_m = GRID.distance_to_exit_m(zone_id, latitude, longitude)
        assert TREE.distance_to_exit_m(zone_id, latitude, longitude) == pytest.approx(way_m)
