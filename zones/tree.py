"""A tree instead of a grid, for thousands of zones: quick to build, little memory (design/detection.md section 4).

A loose quadtree in a dictionary. A zone belongs to the level whose squares are just wider than its bounds, so it
lies in at most four of them; a position lies in one square of each level. Asking it costs a look-up for each level
that holds zones, one or two in practice; an STR tree asked point by point costs five times as much (measured).

The quiet map answers wherever no edge is near; the tree is asked for the rest.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from zones.border_zone import BorderZone
from zones.frame import Frame
from zones.grid import (
    CELL_M,
    NEAR_M,
    WHOLE_RING_EDGES,
    Array,
    CompiledZone,
    Nearby,
    Place,
    compile_zone,
    degree_edges,
    offset_deg,
    padded,
    project,
)
from zones.membership import Edge, keeps_clear
from zones.quiet_map import QuietMap, build_quiet_map

ROOT_M = 256.0
"""Side of the smallest squares: with NEAR_M around it an activation zone still fits into the next larger."""
MAX_WAY_M = 2_000.0
"""Longer ways are not searched for edges."""

Square = tuple[float, int, int]
"""Side in metres, column and row of it."""

_BOUNDS = struct.Struct("=4d")
_bounds_of = _BOUNDS.iter_unpack
_NO_ZONES: tuple[bytes, tuple[CompiledZone, ...]] = (b"", ())


@dataclass(frozen=True, slots=True, eq=False)
class TreePart:
    """The zones that share a frame, by the squares their bounds meet."""

    frame: Frame
    bounds_deg: tuple[float, float, float, float]
    """South, north, and west, east of the zones as offsets from `west0`, degrees, padded by REACH_M."""
    west0: float
    sides: tuple[float, ...]
    """Sides of the levels that hold zones, metres."""
    squares: dict[Square, tuple[bytes, tuple[CompiledZone, ...]]]
    """The zones of a square, whose bounds with NEAR_M around them meet it; first their packed bounds, which answer
    for most without a look at the zone."""
    quiet: QuietMap
    order: dict[str, int] = field(repr=False)
    """Zone id to its place in the set."""

    def place(self, number: int, latitude: float, longitude: float) -> Place:
        """Look a position up: every zone whose bounds are within NEAR_M counts as nearby."""
        x, y = self.frame.to_metres(latitude, longitude)
        partial = tuple([_nearby(zone, y) for zone in self._around(x, y)])
        bound_m = 0.0 if partial else self.quiet.clearance_m(latitude, longitude)
        return Place(number, x, y, bound_m, frozenset(), partial)

    def _around(self, x: float, y: float) -> list[CompiledZone]:
        """Zones whose bounds are within NEAR_M of a point."""
        found: list[CompiledZone] = []
        if not (math.isfinite(x) and math.isfinite(y)):
            return found
        for side in self.sides:
            packed, zones = self.squares.get((side, int(x // side), int(y // side)), _NO_ZONES)
            for number, (west, south, east, north) in enumerate(_bounds_of(packed)):
                if west - NEAR_M <= x <= east + NEAR_M and south - NEAR_M <= y <= north + NEAR_M:
                    found.append(zones[number])
        if len(found) > 1:
            found.sort(key=lambda zone: self.order[zone.id])
        return found

    def way_is_clear(self, latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> bool:
        """Whether no edge of any zone is on the straight way between two positions; no, if over MAX_WAY_M."""
        x0, y0 = self.frame.to_metres(latitude, longitude)
        x1, y1 = self.frame.to_metres(to_latitude, to_longitude)
        if not abs(x1 - x0) + abs(y1 - y0) <= MAX_WAY_M:  # nor one to NaN
            return False
        west, east, south, north = min(x0, x1) - 1.0, max(x0, x1) + 1.0, min(y0, y1) - 1.0, max(y0, y1) + 1.0
        for zone in self._meeting(west, south, east, north):
            edges = zone.edges if not zone.rows else _edges_of(zone, south, north)
            if not keeps_clear(edges, x0, y0, x1, y1):
                return False
        return True

    def _meeting(self, west: float, south: float, east: float, north: float) -> list[CompiledZone]:
        """Zones whose bounds meet a box, some more than once."""
        squares = self.squares
        met: list[CompiledZone] = []
        for side in self.sides:
            rows = range(int(south // side), int(north // side) + 1)
            for column in range(int(west // side), int(east // side) + 1):
                for row in rows:
                    packed, zones = squares.get((side, column, row), _NO_ZONES)
                    for number, (west1, south1, east1, north1) in enumerate(_bounds_of(packed)):
                        if west1 <= east and east1 >= west and south1 <= north and north1 >= south:
                            met.append(zones[number])
        return met

    def outside(self, latitudes: Array, longitudes: Array) -> npt.NDArray[np.bool_]:
        """Which of many positions are certainly in no zone, and not beside one."""
        x, y = self.frame.to_metres(latitudes, longitudes)
        near = [bool(self._around(x1, y1)) for x1, y1 in zip(x.tolist(), y.tolist(), strict=True)]
        return ~np.array(near, np.bool_)

    def contains(self, zone: CompiledZone, x: float, y: float) -> bool:
        """Whether a point of the frame, metres, is in one of the zones or on its boundary."""
        return _nearby(zone, y).contains(x, y)

    def edges_near(self, zone: CompiledZone, y_low: float, y_high: float) -> Iterable[Edge]:
        """The zone's edges that can meet a band of northings; each at most once."""
        return _edges_of(zone, y_low, y_high)

    def zones_about(self, west: float, south: float, east: float, north: float) -> Iterable[CompiledZone]:
        """Zones whose bounds may meet a box, metres."""
        found = {zone.id: zone for zone in self._meeting(west, south, east, north)}
        return sorted(found.values(), key=lambda zone: self.order[zone.id])

    def holds(self, latitude: float, longitude: float) -> bool:
        """Whether a position may be near a zone of this part."""
        south, north, west, east = self.bounds_deg
        return south <= latitude <= north and west <= offset_deg(longitude, self.west0) <= east


def _nearby(zone: CompiledZone, y: float) -> Nearby:
    edges = _edges_of(zone, y - NEAR_M, y + NEAR_M)
    return Nearby(zone, None, edges, edges)


def _edges_of(zone: CompiledZone, y_low: float, y_high: float) -> tuple[Edge, ...]:
    """The edges that can meet a band of northings, each once; all of a zone with few."""
    if not zone.rows:
        return zone.edges
    rows = range(int(y_low // CELL_M), int(y_high // CELL_M) + 1)
    return tuple(dict.fromkeys(edge for row in rows for edge in zone.rows.get(row, ())))


def build_tree_part(
    number: int, frame: Frame, zones: list[BorderZone], west0: float, box: tuple[float, float, float, float]
) -> tuple[TreePart, list[CompiledZone]]:
    """Compile zones that share a frame; `box`: their south, north, and west, east as offsets from `west0`."""
    compiled = [_compile(number, frame, zone) for zone in zones]
    squares: dict[Square, list[CompiledZone]] = {}
    for zone in compiled:
        for square in _squares_about(zone):
            squares.setdefault(square, []).append(zone)
    part = TreePart(
        frame,
        padded(box),
        west0,
        tuple(sorted({side for side, _, _ in squares})),
        {square: (b"".join(_BOUNDS.pack(*zone.bounds) for zone in met), tuple(met)) for square, met in squares.items()},
        build_quiet_map(degree_edges(zones, west0), west0, box),
        {zone.id: place for place, zone in enumerate(compiled)},
    )
    return part, compiled


def _compile(number: int, frame: Frame, zone: BorderZone) -> CompiledZone:
    edges = project(frame, zone)
    return compile_zone(zone, number, frame, edges, CELL_M if len(edges) > WHOLE_RING_EDGES else None)


def _squares_about(zone: CompiledZone) -> Iterator[Square]:
    """Squares of the zone's level that its bounds, with NEAR_M around them, meet."""
    west, south, east, north = zone.bounds
    west, south, east, north = west - NEAR_M, south - NEAR_M, east + NEAR_M, north + NEAR_M
    side = ROOT_M * 2.0 ** max(0, math.ceil(math.log2(max(east - west, north - south) / ROOT_M)))
    for column in range(int(west // side), int(east // side) + 1):
        for row in range(int(south // side), int(north // side) + 1):
            yield side, column, row
