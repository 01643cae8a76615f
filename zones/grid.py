"""One grid of the compiled index: cells, distance bounds, local edges (design/detection.md section 4).

A cell says which zones cover it whole, which have an edge nearby, and how far any zone is at least. Filled
with numpy, read with plain tuples: one look-up costs about a microsecond.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zones.border_zone import BorderZone, ZoneKind
from zones.frame import Frame
from zones.membership import EDGE_M, Edge, clearance_m, keeps_clear, ray_inside
from zones.quiet_map import QuietMap, build_quiet_map

CELL_M = 200.0
"""Side of a cell; 40 m cells cost 26 times the build time for nothing (design/detection.md section 4)."""
NEAR_M = 100.0
"""Clearance is exact up to here and says NEAR_M beyond; no accuracy above it is ever usable."""
MAX_CLEAR_WAY_M = 2.0 * (NEAR_M - EDGE_M)
"""No point of a shorter way, with the tolerance of an edge, is farther than NEAR_M from its middle."""
REACH_M = 5_000.0
"""A position off the grid is at least this far from every zone."""
SPLIT_M = 500.0
"""Longer edges are split before projecting: a 1 km edge bends 0.024 m in LV95, growing with the square."""
MAX_CELLS = 8_000_000
"""Bound of one grid; a wider group of zones gets coarser cells."""
BYTE_M = 20.0
"""Step of the stored distance bound: 250 steps reach REACH_M in one byte."""
WHOLE_RING_EDGES = 64
"""Up to here a zone's edges are all searched at once; above, by rows of the grid."""
BLOCK_CELLS = 16
"""Side of a block, in cells: segments look for zones by block."""

Array = npt.NDArray[np.float64]

_NONE: frozenset[str] = frozenset()
KIND_ORDER = {ZoneKind.TRACKING: 0, ZoneKind.ACTIVATION: 1, ZoneKind.CONFIRMATION: 2}


@dataclass(frozen=True, slots=True, eq=False)
class CompiledZone:
    """One zone in metres of its part's frame."""

    zone: BorderZone
    part: int
    edges: tuple[Edge, ...]
    rows: dict[int, tuple[Edge, ...]]
    """Grid row to the edges that meet it; none in a tree where the zone has few edges."""
    bounds: tuple[float, float, float, float]
    along: tuple[float, float] | None
    """Unit vector of the zone's bearing in the frame, (east, north)."""
    order: int
    """TRACKING, ACTIVATION, CONFIRMATION: 0, 1, 2."""
    id: str
    """Zone id."""


class Nearby(NamedTuple):
    """A zone with an edge within NEAR_M of the cell."""

    zone: CompiledZone
    covers_cell: bool | None
    """None: the edge runs through the cell, ask the ray."""
    ring: tuple[Edge, ...]
    near: tuple[Edge, ...]

    def contains(self, x: float, y: float) -> bool:
        """Inside or on the boundary (within EDGE_M)."""
        if self.covers_cell is not None:
            return self.covers_cell
        west, south, east, north = self.zone.bounds
        if not (west - EDGE_M <= x <= east + EDGE_M and south - EDGE_M <= y <= north + EDGE_M):
            return False
        return ray_inside(self.ring, x, y) or clearance_m(self.near, x, y, NEAR_M) <= EDGE_M

    def clearance_m(self, x: float, y: float) -> float:
        """Distance to the boundary, at most NEAR_M."""
        return clearance_m(self.near, x, y, NEAR_M)


class Place(NamedTuple):
    """What the index knows of one position."""

    part: int
    """-1: far from every zone, in no frame."""
    x: float
    y: float
    lower_bound_m: float
    full: frozenset[str]
    """Zones that cover the whole cell and have no edge within NEAR_M of it."""
    partial: tuple[Nearby, ...]

    def members(self) -> frozenset[str]:
        """Ids of the zones the position is in; the boundary counts as inside."""
        if not self.partial:
            return self.full
        return self.full.union([n.zone.id for n in self.partial if n.contains(self.x, self.y)])


NOWHERE = Place(-1, math.nan, math.nan, REACH_M, frozenset(), ())


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Grid of the zones that share a frame."""

    frame: Frame
    bounds_deg: tuple[float, float, float, float]
    """South, north, and west, east of the zones as offsets from `west0`, degrees, padded by REACH_M."""
    west0: float
    cell_m: float
    column0: int
    row0: int
    width: int
    height: int
    bound_bytes: bytes
    full_number: array[int]
    full_sets: tuple[frozenset[str], ...]
    partial: dict[int, tuple[Nearby, ...]]
    blocks: dict[tuple[int, int], tuple[CompiledZone, ...]]
    """Blocks of BLOCK_CELLS cells a side to the zones whose bounds meet them."""
    quiet: QuietMap
    walls: dict[int, tuple[Edge, ...]] = field(default_factory=dict)
    """Cell to the edges of all zones within NEAR_M of it, each once; filled when first asked for."""

    def place(self, number: int, latitude: float, longitude: float) -> Place:
        """Look a position up."""
        x, y = self.frame.to_metres(latitude, longitude)
        column, row = int(x // self.cell_m) - self.column0, int(y // self.cell_m) - self.row0
        if not (0 <= column < self.width and 0 <= row < self.height):
            return Place(number, x, y, REACH_M, _NONE, ())
        cell = row * self.width + column
        full = self.full_sets[self.full_number[cell]]
        return Place(number, x, y, self.bound_bytes[cell] * BYTE_M, full, self.partial.get(cell, ()))

    def way_is_clear(self, latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> bool:
        """Whether no edge of any zone is on the straight way between two positions.

        Every edge that a way shorter than twice NEAR_M meets is within NEAR_M of the cell its middle lies in; a
        longer way is not judged, and not called clear.
        """
        to_metres = self.frame.to_metres
        x0, y0 = to_metres(latitude, longitude)
        x1, y1 = to_metres(to_latitude, to_longitude)
        if not abs(x1 - x0) + abs(y1 - y0) <= MAX_CLEAR_WAY_M:  # nor one to NaN
            return False
        walls = self._walls(self._cell(0.5 * (x0 + x1), 0.5 * (y0 + y1)))
        return not walls or keeps_clear(walls, x0, y0, x1, y1)

    def _cell(self, x: float, y: float) -> int:
        """Number of the cell of a point, -1 off the grid."""
        column, row = int(x // self.cell_m) - self.column0, int(y // self.cell_m) - self.row0
        return row * self.width + column if 0 <= column < self.width and 0 <= row < self.height else -1

    def _walls(self, cell: int) -> tuple[Edge, ...]:
        walls = self.walls.get(cell)
        if walls is None:
            nearby = self.partial.get(cell)
            if nearby is None:
                return ()
            walls = self.walls[cell] = tuple(dict.fromkeys(edge for one in nearby for edge in one.near))
        return walls

    def outside(self, latitudes: Array, longitudes: Array) -> npt.NDArray[np.bool_]:
        """Which of many positions are certainly in no zone, and not beside one."""
        x, y = self.frame.to_metres(latitudes, longitudes)
        columns = np.floor(x / self.cell_m).astype(np.int64) - self.column0
        rows = np.floor(y / self.cell_m).astype(np.int64) - self.row0
        off = (columns < 0) | (columns >= self.width) | (rows < 0) | (rows >= self.height)
        cells = np.where(off, 0, rows * self.width + columns)
        found: npt.NDArray[np.bool_] = off | (np.frombuffer(self.bound_bytes, np.uint8)[cells] > 0)
        return found

    def contains(self, zone: CompiledZone, x: float, y: float) -> bool:
        """Whether a point of the frame, metres, is in one of the zones or on its boundary."""
        column, row = int(x // self.cell_m) - self.column0, int(y // self.cell_m) - self.row0
        if not (0 <= column < self.width and 0 <= row < self.height):
            return False
        cell = row * self.width + column
        for nearby in self.partial.get(cell, ()):
            if nearby.zone is zone:
                return nearby.contains(x, y)
        return zone.id in self.full_sets[self.full_number[cell]]

    def edges_near(self, zone: CompiledZone, y_low: float, y_high: float) -> Iterable[Edge]:
        """The zone's edges that can meet a band of northings; each at most once."""
        if len(zone.edges) <= WHOLE_RING_EDGES:
            return zone.edges
        rows = range(int(y_low // self.cell_m), int(y_high // self.cell_m) + 1)
        return {edge: None for row in rows for edge in zone.rows.get(row, ())}

    def zones_about(self, west: float, south: float, east: float, north: float) -> Iterable[CompiledZone]:
        """Zones whose bounds may meet a box, metres."""
        side = self.cell_m * BLOCK_CELLS
        found: dict[str, CompiledZone] = {}
        for column in range(int(west // side), int(east // side) + 1):
            for row in range(int(south // side), int(north // side) + 1):
                for zone in self.blocks.get((column, row), ()):
                    found[zone.id] = zone
        return found.values()

    def holds(self, latitude: float, longitude: float) -> bool:
        """Whether a position may be near a zone of this part."""
        south, north, west, east = self.bounds_deg
        return south <= latitude <= north and west <= offset_deg(longitude, self.west0) <= east


def offset_deg(longitude: float, west0: float) -> float:
    """Degrees east of a meridian, from -180 up to 180, so that a box may lie across the antimeridian."""
    return (longitude - west0 + 180.0) % 360.0 - 180.0


# --- one grid -------------------------------------------------------------------------------------


def build_part(
    number: int, frame: Frame, zones: list[BorderZone], west0: float, box: tuple[float, float, float, float]
) -> tuple[Part, list[CompiledZone]]:
    """Compile zones that share a frame; `box`: their south, north, and west, east as offsets from `west0`."""
    all_edges = [project(frame, zone) for zone in zones]
    west = min(e[0] for edges in all_edges for e in edges) - REACH_M
    east = max(e[0] for edges in all_edges for e in edges) + REACH_M
    south = min(e[1] for edges in all_edges for e in edges) - REACH_M
    north = max(e[1] for edges in all_edges for e in edges) + REACH_M
    cell_m = CELL_M
    while (east - west) / cell_m * ((north - south) / cell_m) > MAX_CELLS:
        cell_m *= 2.0
    grid = _Grid(cell_m, int(west // cell_m), int(south // cell_m), int(east // cell_m), int(north // cell_m))
    compiled = [compile_zone(zone, number, frame, edges, cell_m) for zone, edges in zip(zones, all_edges, strict=True)]
    for zone in compiled:
        grid.add(zone)
    bounds_deg = padded(box)
    part = Part(
        frame,
        bounds_deg,
        west0,
        cell_m,
        grid.column0,
        grid.row0,
        grid.width,
        grid.height,
        grid.bound_bytes(),
        array("H", grid.full.tobytes()),
        tuple(grid.sets),
        {cell: tuple(entries) for cell, entries in grid.partial.items()},
        {block: tuple(members) for block, members in _blocks(compiled, cell_m * BLOCK_CELLS).items()},
        build_quiet_map(degree_edges(zones, west0), west0, box),
    )
    return part, compiled


def padded(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """South, north, west, east in degrees with REACH_M around them."""
    pad_lat = REACH_M / 110_000.0
    pad_lon = pad_lat / max(0.05, math.cos(math.radians(min(87.0, max(abs(box[0]), abs(box[1]))))))
    return box[0] - pad_lat, box[1] + pad_lat, box[2] - pad_lon, box[3] + pad_lon


def project(frame: Frame, zone: BorderZone) -> tuple[Edge, ...]:
    """The edges of a zone in metres of a frame."""
    edges: list[Edge] = []
    for rings in zone.polygons:
        for ring in rings:
            points = [frame.to_metres(lat, lon) for lon, lat in _split(ring)]
            for (x1, y1), (x2, y2) in pairwise(points):
                if x1 != x2 or y1 != y2:
                    edges.append((x1, y1, x2, y2))
    return tuple(edges)


def degree_edges(zones: list[BorderZone], west0: float) -> npt.NDArray[np.float64]:
    """Every edge as a row (longitude offset from `west0`, latitude, and the same of its other end)."""
    rows = [
        (offset_deg(lon1, west0), lat1, offset_deg(lon1, west0) + offset_deg(lon2, lon1), lat2)
        for zone in zones
        for rings in zone.polygons
        for ring in rings
        for (lon1, lat1), (lon2, lat2) in pairwise(ring)
    ]
    return np.array(rows, np.float64).reshape(-1, 4)


def _split(ring: tuple[tuple[float, float], ...]) -> Iterator[tuple[float, float]]:
    """The ring with edges over SPLIT_M cut: RFC 7946 edges are straight in degrees, not in the frame."""
    for (lon1, lat1), (lon2, lat2) in pairwise(ring):
        yield lon1, lat1
        d_lon, d_lat = offset_deg(lon2, lon1), lat2 - lat1
        length_m = math.hypot(d_lat, d_lon * math.cos(math.radians(lat1))) * 111_000.0
        pieces = math.ceil(length_m / SPLIT_M)
        for k in range(1, pieces):
            yield lon1 + d_lon * k / pieces, lat1 + d_lat * k / pieces
    yield ring[-1]


def compile_zone(
    zone: BorderZone, part: int, frame: Frame, edges: tuple[Edge, ...], cell_m: float | None
) -> CompiledZone:
    """One zone with its edges by rows of a grid of `cell_m`, or without rows."""
    bounds = (
        min(e[0] for e in edges),
        min(e[1] for e in edges),
        max(e[0] for e in edges),
        max(e[1] for e in edges),
    )
    lon, lat = zone.polygons[0][0][0]
    along = None if zone.bearing is None else unit_vector(frame, lat, lon, zone.bearing)
    by_row = {} if cell_m is None else _by_row(edges, cell_m)
    return CompiledZone(zone, part, edges, by_row, bounds, along, KIND_ORDER[zone.kind], zone.id)


def _by_row(edges: tuple[Edge, ...], cell_m: float) -> dict[int, tuple[Edge, ...]]:
    rows: dict[int, list[Edge]] = {}
    for edge in edges:
        low, high = min(edge[1], edge[3]), max(edge[1], edge[3])
        for row in range(int(low // cell_m), int(high // cell_m) + 1):
            rows.setdefault(row, []).append(edge)
    return {row: tuple(members) for row, members in rows.items()}


def unit_vector(frame: Frame, latitude: float, longitude: float, bearing_deg: float) -> tuple[float, float]:
    """A true bearing as a direction in the frame (grid north is not true north)."""
    angle, step = math.radians(bearing_deg), 1e-4
    x0, y0 = frame.to_metres(latitude, longitude)
    d_lon = step * math.sin(angle) / math.cos(math.radians(latitude))
    x1, y1 = frame.to_metres(latitude + step * math.cos(angle), longitude + d_lon)
    length = math.hypot(x1 - x0, y1 - y0)
    return (x1 - x0) / length, (y1 - y0) / length


def _blocks(zones: list[CompiledZone], side: float) -> dict[tuple[int, int], list[CompiledZone]]:
    blocks: dict[tuple[int, int], list[CompiledZone]] = {}
    for zone in zones:
        west, south, east, north = zone.bounds
        for column in range(int(west // side), int(east // side) + 1):
            for row in range(int(south // side), int(north // side) + 1):
                blocks.setdefault((column, row), []).append(zone)
    return blocks


class _Grid:
    """A grid being filled, one zone after the other."""

    def __init__(self, cell_m: float, column0: int, row0: int, column1: int, row1: int) -> None:
        self.cell_m, self.column0, self.row0 = cell_m, column0, row0
        self.width, self.height = column1 - column0 + 1, row1 - row0 + 1
        self.full: npt.NDArray[np.uint16] = np.zeros(self.width * self.height, np.uint16)
        self.sets: list[frozenset[str]] = [_NONE]
        self.set_numbers: dict[frozenset[str], int] = {_NONE: 0}
        self.partial: dict[int, list[Nearby]] = {}
        self.occupied: npt.NDArray[np.bool_] = np.zeros(self.width * self.height, np.bool_)

    def add(self, zone: CompiledZone) -> None:
        """Mark the cells the zone covers, crosses, or has an edge near."""
        near: dict[int, list[Edge]] = {}
        crossed: dict[int, set[int]] = {}
        for edge in zone.edges:
            for row, first, last in self._touched(edge, NEAR_M):
                for cell in range(row * self.width + first, row * self.width + last + 1):
                    near.setdefault(cell, []).append(edge)
            for row, first, last in self._touched(edge, 2.0 * EDGE_M):
                crossed.setdefault(row, set()).update(range(first, last + 1))
        runs = [run for row in crossed for run in self._covered_runs(zone, row, sorted(crossed[row]))]
        covered: set[int] = set()
        for first, last in runs:
            self.occupied[first : last + 1] = True
            covered.update(cell for cell in range(first, last + 1) if cell in near)
            self._mark_full(zone.id, first, last, near)
        for cell, edges in near.items():
            row, column = divmod(cell, self.width)
            on_edge = column in crossed.get(row, ())
            if on_edge:
                self.occupied[cell] = True
            ring = self._ring(zone, row, column) if on_edge else ()
            inside = None if on_edge else cell in covered
            self.partial.setdefault(cell, []).append(Nearby(zone, inside, ring, tuple(edges)))

    def _touched(self, edge: Edge, pad_m: float) -> Iterator[tuple[int, int, int]]:
        """(row, first column, last column) of the cells within `pad_m` of the edge, and a few more."""
        x1, y1, x2, y2 = edge if edge[1] <= edge[3] else (edge[2], edge[3], edge[0], edge[1])
        slope = (x2 - x1) / (y2 - y1) if y2 > y1 else 0.0
        for row in range(int((y1 - pad_m) // self.cell_m), int((y2 + pad_m) // self.cell_m) + 1):
            low = max(y1, row * self.cell_m - pad_m)
            high = min(y2, (row + 1) * self.cell_m + pad_m)
            if y2 - y1 > 1e-9:
                a, b = x1 + (low - y1) * slope, x1 + (high - y1) * slope
            else:
                a, b = x1, x2
            first = int((min(a, b) - pad_m) // self.cell_m) - self.column0
            last = int((max(a, b) + pad_m) // self.cell_m) - self.column0
            yield row - self.row0, first, last

    def _covered_runs(self, zone: CompiledZone, row: int, crossed: list[int]) -> Iterator[tuple[int, int]]:
        """Runs of cells of one row between crossed ones that lie inside: all of a run is in, or none."""
        y = (row + self.row0 + 0.5) * self.cell_m
        ring = zone.rows.get(row + self.row0, ())
        for left, right in pairwise(crossed):
            if right - left < 2:
                continue
            if ray_inside(ring, (left + 1 + self.column0 + 0.5) * self.cell_m, y):
                yield row * self.width + left + 1, row * self.width + right - 1

    def _mark_full(self, zone_id: str, first: int, last: int, near: dict[int, list[Edge]]) -> None:
        """Add the zone to the sets of a run of cells, except those that keep its edges."""
        while first <= last and first in near:
            first += 1
        while last >= first and last in near:
            last -= 1
        wanted = [cell for cell in range(first, last + 1) if cell not in near] if last - first < 512 else None
        if wanted is not None:
            for cell in wanted:
                self.full[cell] = self._joined(int(self.full[cell]), zone_id)
            return
        chunk = self.full[first : last + 1]
        keep = np.fromiter((cell not in near for cell in range(first, last + 1)), np.bool_, last - first + 1)
        for old in np.unique(chunk[keep]):
            chunk[keep & (chunk == old)] = self._joined(int(old), zone_id)

    def _joined(self, number: int, zone_id: str) -> int:
        members = self.sets[number] | {zone_id}
        known = self.set_numbers.get(members)
        if known is None:
            known = self.set_numbers[members] = len(self.sets)
            self.sets.append(members)
        return known

    def _ring(self, zone: CompiledZone, row: int, column: int) -> tuple[Edge, ...]:
        west = (column + self.column0) * self.cell_m
        return tuple(e for e in zone.rows.get(row + self.row0, ()) if e[0] >= west or e[2] >= west)

    def bound_bytes(self) -> bytes:
        """Least distance from each cell to an occupied one, in steps of BYTE_M, rounded down."""
        occupied = self.occupied.reshape(self.height, self.width)
        reach = math.ceil(REACH_M / self.cell_m) + 1
        gap = _gap_in_row(occupied, reach)
        squares = (gap.astype(np.int32)) ** 2
        best = np.full(squares.shape, 2 * reach * reach, np.int32)
        for shift in range(-reach, reach + 1):
            rise = max(0, abs(shift) - 1) ** 2
            source = squares[max(0, shift) : self.height + min(0, shift)]
            target = best[max(0, -shift) : self.height + min(0, -shift)]
            np.minimum(target, source + rise, out=target)
        table = np.floor(np.minimum(np.sqrt(np.arange(2 * reach * reach + 1)) * self.cell_m, REACH_M) / BYTE_M)
        return table.astype(np.uint8)[best].tobytes()


def _gap_in_row(occupied: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.int16]:
    """Free cells between each cell and the nearest occupied one of its row (0: itself or a neighbour)."""
    width = occupied.shape[1]
    columns = np.arange(width, dtype=np.int32)
    left = np.maximum.accumulate(np.where(occupied, columns, -(10**6)), axis=1)
    right = np.minimum.accumulate(np.where(occupied, columns, 10**6)[:, ::-1], axis=1)[:, ::-1]
    distance = np.minimum(columns - left, right - columns)
    gap: npt.NDArray[np.int16] = np.clip(distance - 1, 0, reach).astype(np.int16)
    return gap
