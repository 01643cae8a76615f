"""What a rehearsal does to zones: moves those of a crossing, closes and opens its office. Sets in, sets out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from zones.border_zone import BorderZone, Ring, ZoneSet

MOVED_M = 50.0
"""How far the zones of a crossing are moved east (choice: more than their usual play, less than a lane's length)."""
CLOSED = "off"
"""Never open, in OpenStreetMap's syntax."""
METRES_PER_DEGREE = 111_320.0
"""Of longitude at the equator, WGS 84; good to a metre for so short a way."""


def moved(zones: ZoneSet, crossing: str, number: int) -> ZoneSet:
    """The zones of a crossing a little further east."""
    return _changed(zones, crossing, number, _moved)


def closed(zones: ZoneSet, crossing: str, number: int) -> ZoneSet:
    """The office of a crossing closed."""
    return _changed(zones, crossing, number, lambda zone: replace(zone, opening_hours=CLOSED))


def opened(zones: ZoneSet, crossing: str, number: int, shipped: ZoneSet) -> ZoneSet:
    """The office of a crossing with its own hours again."""
    hours = {zone.id: zone.opening_hours for zone in shipped.zones}
    return _changed(zones, crossing, number, lambda zone: replace(zone, opening_hours=hours.get(zone.id)))


def _changed(zones: ZoneSet, crossing: str, number: int, change: Callable[[BorderZone], BorderZone]) -> ZoneSet:
    """A new version of the set; `number` counts the orders.

    Raises:
        KeyError: there is no such crossing.
    """
    if not any(zone.crossing == crossing for zone in zones.zones):
        raise KeyError(crossing)
    base = zones.version.partition("+rehearsal")[0]
    changed = tuple(change(zone) if zone.crossing == crossing else zone for zone in zones.zones)
    return replace(zones, version=f"{base}+rehearsal.{number}", zones=changed)


def _moved(zone: BorderZone) -> BorderZone:
    polygons = tuple(tuple(_moved_ring(ring) for ring in rings) for rings in zone.polygons)
    return replace(zone, polygons=polygons)


def _moved_ring(ring: Ring) -> Ring:
    return tuple(
        (longitude + MOVED_M / (METRES_PER_DEGREE * math.cos(math.radians(latitude))), latitude)
        for longitude, latitude in ring
    )
