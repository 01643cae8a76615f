"""The fixes that `borderlane bench detection` feeds: seeded drives about the crossings and inland.

Two mixes (design/detection.md section 8). *border*: every vehicle is within a few kilometres of a crossing, so
that 9.35 % of all fixes lie inside a zone of the shipped set, tracking zones included. *inland*: one vehicle in
ten is, the others are anywhere in the country. Vehicles drive straight at lorry speed with small correlated
errors, one in ten is parked; every fix has a sequence number, an accuracy, a speed and a heading. Fixes come in
order of time, vehicle after vehicle, as from a broker: the state of a vehicle is never fresh in the cache, the fix is.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from zones.border_zone import BorderZone, ZoneKind, ZoneSet
from zones.fix import Fix, FixType
from zones.frame import lv95, lv95_to_degrees

START_S = 1_790_000_000.0
LAG_S = 0.2
"""From fix to agent."""
INSIDE_SHARE = 0.0935
"""Of all fixes of the border mix, inside a zone (design/detection.md section 8)."""
DISC_M = 5_900.0
"""Vehicles of the border mix start this near to a crossing: chosen to give INSIDE_SHARE."""
COUNTRY = (2_500_000.0, 1_080_000.0, 2_820_000.0, 1_290_000.0)
"""LV95 box the inland vehicles drive in, metres."""
PARKED_SHARE = 0.1
SPEEDS_MPS = (12.0, 25.0)
STEP_S = 5.0
"""Between two fixes of a vehicle; at 80 km/h 111 m."""
JITTER_M = 1.5


BATCH = 1_000
"""Fixes made at a time."""

NUMBERS = 6
"""Numbers of a fix: time, latitude, longitude, accuracy, speed, heading."""


@dataclass(frozen=True)
class Load:
    """A mix, packed: as objects it would fill the memory that the detector is measured in."""

    name: str
    units: tuple[str, ...]
    numbers: array[float]
    """NUMBERS a fix, in order of time; the units take turns."""

    def __len__(self) -> int:
        return len(self.numbers) // NUMBERS

    def fixes(self, first: int, last: int) -> list[Fix]:
        """The fixes from one place in the order of time up to another."""
        numbers, units, count = self.numbers, self.units, len(self.units)
        made: list[Fix] = []
        for k in range(first, min(last, len(self))):
            time_s, latitude, longitude, accuracy_m, speed_mps, heading_deg = numbers[k * NUMBERS : (k + 1) * NUMBERS]
            made.append(
                Fix(units[k % count], time_s, latitude, longitude, time_s + LAG_S, k // count + 1, None,
                    accuracy_m, speed_mps, heading_deg, FixType.THREE_D)
            )  # fmt: skip
        return made

    def batches(self, size: int = BATCH) -> Iterator[list[Fix]]:
        """All fixes, made just before they are used, as a decoder makes them."""
        for first in range(0, len(self), size):
            yield self.fixes(first, first + size)

    def positions(self, count: int) -> list[tuple[float, float]]:
        """(latitude, longitude) of about so many fixes, evenly from all of them."""
        step = max(1, len(self) // max(1, count))
        return [(self.numbers[k * NUMBERS + 1], self.numbers[k * NUMBERS + 2]) for k in range(0, len(self), step)]


def make_load(
    name: str, zone_set: ZoneSet, *, vehicles: int, each: int, border_share: float, seed: int, step_s: float = STEP_S
) -> Load:
    """Fixes of `vehicles` vehicles, `each` of them, in order of time.

    Args:
        name: For the report.
        zone_set: Its crossings are the places the border vehicles drive about.
        vehicles: How many.
        each: Fixes of one vehicle.
        border_share: Share of the vehicles that drive about a crossing.
        seed: Of everything drawn.
        step_s: Between two fixes of a vehicle.
    """
    dice = random.Random(seed)
    places = crossing_places(zone_set)
    near = round(vehicles * border_share)
    tracks = [_track(_start(dice, places if n < near else None), dice, each, step_s) for n in range(vehicles)]
    dice.shuffle(tracks)
    numbers = array("d", (number for k in range(each) for track in tracks for number in track[k]))
    return Load(name, tuple(f"unit-{number:05d}" for number in range(vehicles)), numbers)


def crossing_places(zone_set: ZoneSet) -> list[tuple[float, float]]:
    """One LV95 point for each crossing: the middle of its first activation zone."""
    middles: dict[str, tuple[float, float]] = {}
    for zone in zone_set.zones:
        if zone.kind is ZoneKind.ACTIVATION and zone.crossing_key not in middles:
            ring = [lv95(lat, lon) for lon, lat in zone.polygons[0][0][:-1]]
            middles[zone.crossing_key] = (
                sum(x for x, _ in ring) / len(ring),
                sum(y for _, y in ring) / len(ring),
            )
    return [middles[key] for key in sorted(middles)]


def small_zones(count: int, seed: int) -> ZoneSet:
    """So many activation-sized zones at random places of the country: eight corners, about 150 m across."""
    dice = random.Random(seed)
    west, south, east, north = COUNTRY
    zones: list[BorderZone] = []
    for number in range(count):
        x, y = dice.uniform(west, east), dice.uniform(south, north)
        corners = [lv95_to_degrees(x + 75.0 * math.cos(k * math.pi / 4), y + 75.0 * math.sin(k * math.pi / 4))
                   for k in range(8)]  # fmt: skip
        ring = tuple((lon, lat) for lat, lon in [*corners, corners[0]])
        zones.append(BorderZone(id=f"z{number}", polygons=((ring,),), crossing=f"z{number}"))
    return ZoneSet(f"bench-{count}", tuple(zones))


def _start(dice: random.Random, places: list[tuple[float, float]] | None) -> tuple[float, float]:
    if places is None:
        west, south, east, north = COUNTRY
        return dice.uniform(west, east), dice.uniform(south, north)
    x, y = dice.choice(places)
    angle, radius_m = dice.uniform(0.0, math.tau), DISC_M * math.sqrt(dice.random())
    return x + radius_m * math.sin(angle), y + radius_m * math.cos(angle)


def _track(start: tuple[float, float], dice: random.Random, each: int, step_s: float) -> list[tuple[float, ...]]:
    x, y = start
    parked = dice.random() < PARKED_SHARE
    speed_mps = 0.0 if parked else dice.uniform(*SPEEDS_MPS)
    heading = dice.uniform(0.0, math.tau)
    accuracy_m = round(dice.uniform(3.0, 8.0), 2)
    latitude, longitude = lv95_to_degrees(x, y)
    one = lv95_to_degrees(x + 100.0 * math.sin(heading), y + 100.0 * math.cos(heading))
    per_m = ((one[0] - latitude) / 100.0, (one[1] - longitude) / 100.0)
    east_deg = 1.0 / (111_320.0 * math.cos(math.radians(latitude)))
    error_x, error_y = dice.gauss(0.0, JITTER_M), dice.gauss(0.0, JITTER_M)
    rows: list[tuple[float, ...]] = []
    offset_s = dice.random()
    for k in range(each):
        way_m = speed_mps * step_s * k
        error_x, error_y = 0.6 * error_x + dice.gauss(0.0, JITTER_M), 0.6 * error_y + dice.gauss(0.0, JITTER_M)
        rows.append(
            (
                round(START_S + offset_s + step_s * k, 3),
                round(latitude + way_m * per_m[0] + error_y / 111_195.0, 7),
                round(longitude + way_m * per_m[1] + error_x * east_deg, 7),
                accuracy_m,
                round(speed_mps, 2),
                round(math.degrees(heading), 2),
            )
        )
    return rows
