from __future__ import annotations

from zones.border_zone import BorderZone, ZoneKind, ZoneSet
from zones.events import Direction

SQUARE = ((((8.0, 47.0), (8.01, 47.0), (8.01, 47.01), (8.0, 47.01), (8.0, 47.0)),),)


def zone(zone_id: str, **fields) -> BorderZone:
    return BorderZone(id=zone_id, polygons=SQUARE, **fields)


def test_crossing_is_the_property_or_the_start_of_the_id():
    assert zone("thayngen/in/activation").crossing_key == "thayngen"
    assert zone("z1", crossing="bargen").crossing_key == "bargen"
    assert zone("yard").crossing_key == "yard"


def test_a_zone_without_direction_serves_both():
    both = zone("a/both", crossing="a")
    inbound = zone("a/in", crossing="a", direction=Direction.IN, kind=ZoneKind.CONFIRMATION)
    zones = ZoneSet("1", (both, inbound, zone("b/in", direction=Direction.IN)))
    assert zones.of("a", Direction.IN) == {ZoneKind.ACTIVATION: both, ZoneKind.CONFIRMATION: inbound}
    assert zones.of("a", Direction.OUT) == {ZoneKind.ACTIVATION: both}
    assert zones.crossings == ("a", "b")
    assert zones.by_id["a/in"] is inbound


def test_warnings_do_not_make_sets_differ():
    assert ZoneSet("1", (zone("a"),), warnings=("turned",)) == ZoneSet("1", (zone("a"),))
