"""simulator/zone_orders.py: zones of one crossing moved, closed and opened; the result is a zone file that is taken."""

from __future__ import annotations

import pytest

from simulator.zone_orders import MOVED_M, closed, moved, opened
from zones.catalogue import shipped_zone_set
from zones.frame import metres_between
from zones.hours import OpeningHours
from zones.zone_file import encode_zone_set, parse_zone_set

SHIPPED = shipped_zone_set()


def test_only_the_zones_of_the_crossing_move_and_by_as_much_as_said() -> None:
    changed = parse_zone_set(encode_zone_set(moved(SHIPPED, "thayngen", 1)), "moved")
    assert changed.version == f"{SHIPPED.version}+rehearsal.1"
    for before, after in zip(SHIPPED.zones, changed.zones, strict=True):
        (west, south), (east, north) = before.polygons[0][0][0], after.polygons[0][0][0]
        way_m = metres_between(south, west, north, east)
        assert abs(way_m - (MOVED_M if before.crossing == "thayngen" else 0)) < 1.0, before.id


def test_an_office_closes_and_opens_again() -> None:
    shut = parse_zone_set(encode_zone_set(closed(SHIPPED, "thayngen", 1)), "closed")
    hours = {zone.opening_hours for zone in shut.zones if zone.crossing == "thayngen"}
    assert hours == {"off"} and not OpeningHours.parse("off").is_open(1_795_377_112.0)
    again = opened(shut, "thayngen", 2, SHIPPED)
    assert again.zones == SHIPPED.zones and again.version == f"{SHIPPED.version}+rehearsal.2"


def test_a_crossing_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError):
        moved(SHIPPED, "atlantis", 1)
