"""Where nothing can change: boxes in degrees that no edge of any zone meets.

A unit whose zones are all settled can neither enter nor leave one while it stays in such a box, and the straight
way between two fixes in it meets no edge. Asking whether a fix is still in the box costs four comparisons, so
this answers for most fixes without projecting them (design/detection.md section 6, step 5).

The map is a raster over the zones and REACH_M around them. A box depends on its cell only, not on where in the
cell the unit is, so keeping it keeps no position (privacy).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

QUIET_CELL_M = 100.0
"""Side of a cell: boxes beside an edge are at least this near to it, and 4 times the cells cost little."""
QUIET_REACH_M = 5_000.0
"""The raster goes this far beyond the zones; a position off it is at least this far from all of them."""
MAX_QUIET_CELLS = 16_000_000
"""Bound of one raster, a byte a cell; a wider group of zones gets coarser cells."""
MAX_RINGS = 100
METRES_PER_DEGREE = 111_000.0
"""Of latitude, a little short: cells come out no smaller than asked for."""
BEND_M = 0.2
"""A box's diagonal, straight in degrees, bends by less in the frame: times half the side in km, squared
(0.024 m for 1 km, design/detection.md section 3, over 2.83 half sides)."""
EDGE_PAD_M = 0.5
"""The boundary counts as inside, within 0.01 m; edges of 500 m bend by 0.006 m."""

Box = tuple[float, float, float, float]
"""South, west, north, east: strictly between them nothing can change."""

NO_BOX: Box = (math.inf, math.inf, -math.inf, -math.inf)
"""Holds no position."""

LONG_DEG = 0.02
"""Longer ways are not looked at cell by cell; shorter ones bend by less than 0.2 m (2.7 km)."""
WAY_PAD_M = EDGE_PAD_M + 0.2


@dataclass(frozen=True, slots=True, eq=False)
class QuietMap:
    """Rings of free cells about every cell of a raster in degrees."""

    south: float
    west: float
    """Corner of the raster, degrees; `west` as an offset from `west0`."""
    west0: float
    d_lat: float
    d_lon: float
    """Size of a cell, degrees."""
    width: int
    height: int
    rings: bytes
    """By cell, how many cells away the nearest cell with an edge is; 0 = it has one itself."""
    pads: tuple[tuple[float, float], ...]
    """By ring: what a box is narrower at each side, degrees of latitude and of longitude."""
    way_pad: tuple[float, float]
    """WAY_PAD_M in degrees of latitude and of longitude."""
    off_rings: int
    """Rings about a cell off the raster."""

    def box(self, latitude: float, longitude: float) -> Box:
        """The box about a position, or NO_BOX where an edge is too near, or where no position can be."""
        if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0):
            return NO_BOX
        offset = (longitude - self.west0 + 180.0) % 360.0 - 180.0
        row, column = int((latitude - self.south) // self.d_lat), int((offset - self.west) // self.d_lon)
        width = self.width
        on_map = 0 <= row < self.height and 0 <= column < width
        rings = self.rings[row * width + column] if on_map else self.off_rings
        if not rings:
            return NO_BOX
        pad_lat, pad_lon = self.pads[rings]
        south, d_lat, d_lon, west = self.south, self.d_lat, self.d_lon, longitude - offset + self.west
        box = (
            south + (row - rings + 1) * d_lat + pad_lat,
            west + (column - rings + 1) * d_lon + pad_lon,
            south + (row + rings) * d_lat - pad_lat,
            west + (column + rings) * d_lon - pad_lon,
        )
        if box[0] < -90.0 or box[1] < -180.0 or box[2] > 90.0 or box[3] > 180.0:
            return max(box[0], -90.0), max(box[1], -180.0), min(box[2], 90.0), min(box[3], 180.0)
        return box

    def is_free(self, latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> bool:
        """Whether no edge is in any cell about the straight way between two positions.

        The cells are those of the way's bounds. A way of LONG_DEG, or off the map, is not called free.
        """
        offset = (longitude - self.west0 + 180.0) % 360.0 - 180.0 - self.west
        to_offset = (to_longitude - self.west0 + 180.0) % 360.0 - 180.0 - self.west
        south, north = (latitude, to_latitude) if latitude < to_latitude else (to_latitude, latitude)
        west, east = (offset, to_offset) if offset < to_offset else (to_offset, offset)
        if not (north - south < LONG_DEG and east - west < LONG_DEG):  # nor NaN
            return False
        pad_lat, pad_lon = self.way_pad
        row, last_row = (
            int((south - self.south - pad_lat) // self.d_lat),
            int((north - self.south + pad_lat) // self.d_lat),
        )
        first, last = int((west - pad_lon) // self.d_lon), int((east + pad_lon) // self.d_lon)
        if row < 0 or last_row >= self.height or first < 0 or last >= self.width:
            return False
        rings, width = self.rings, self.width
        while row <= last_row:
            if 0 in rings[row * width + first : row * width + last + 1]:
                return False
            row += 1
        return True

    def clearance_m(self, latitude: float, longitude: float) -> float:
        """No edge of a zone is nearer than this; 0 = perhaps one is."""
        south, west, north, east = self.box(latitude, longitude)
        if south > north:
            return 0.0
        per_lon = METRES_PER_DEGREE * math.cos(math.radians(min(89.0, max(abs(south), abs(north)))))
        to_side = min(latitude - south, north - latitude) * METRES_PER_DEGREE
        return max(0.0, min(to_side, min(longitude - west, east - longitude) * per_lon))


def build_quiet_map(lines: npt.NDArray[np.float64], west0: float, box: tuple[float, float, float, float]) -> QuietMap:
    """The map of a group of zones.

    Args:
        lines: Edges as rows (longitude offset from `west0`, latitude, and the same of the other end), degrees.
        west0: Longitude that offsets count from.
        box: South, north, and west, east of the zones as offsets.
    """
    south, north, west, east = box
    narrow = math.cos(math.radians(min(87.0, max(abs(south), abs(north)) + 0.1)))
    pad = QUIET_REACH_M / METRES_PER_DEGREE
    south, north, west, east = south - pad, north + pad, west - pad / narrow, east + pad / narrow
    cell_m = QUIET_CELL_M
    while _cells(north - south, cell_m) * _cells((east - west) * narrow, cell_m) > MAX_QUIET_CELLS:
        cell_m *= 2.0
    d_lat = cell_m / METRES_PER_DEGREE
    d_lon = d_lat / narrow
    width, height = math.ceil((east - west) / d_lon), math.ceil((north - south) / d_lat)
    crossed = np.zeros((height, width), np.bool_)
    _mark(crossed, (lines - np.array([west, south, west, south])) / np.array([d_lon, d_lat, d_lon, d_lat]))
    pads_m = [EDGE_PAD_M + BEND_M * (rings * cell_m / 1_000.0) ** 2 for rings in range(MAX_RINGS + 1)]
    # Degrees of longitude are longest at the equator's side of the box: `narrow` belongs to the other side.
    pads = tuple((pad_m / METRES_PER_DEGREE, pad_m / METRES_PER_DEGREE / narrow) for pad_m in pads_m)
    way_pad = WAY_PAD_M / METRES_PER_DEGREE, WAY_PAD_M / METRES_PER_DEGREE / narrow
    off_rings = max(1, min(MAX_RINGS, int(QUIET_REACH_M / cell_m) - 1))
    return QuietMap(
        south, west, west0, d_lat, d_lon, width, height, _rings(crossed).tobytes(), pads, way_pad, off_rings
    )


def _cells(degrees: float, cell_m: float) -> int:
    return math.ceil(degrees * METRES_PER_DEGREE / cell_m)


def _mark(crossed: npt.NDArray[np.bool_], lines: npt.NDArray[np.float64]) -> None:
    """Mark every cell an edge meets; `lines` in cells.

    Edges are cut into pieces shorter than a cell each way. A piece then meets no cells but those of its ends
    and of the corners of its box.
    """
    if not len(lines):
        return
    d = lines[:, 2:] - lines[:, :2]
    pieces = np.ceil(np.abs(d).max(axis=1)).astype(np.int64) + 1
    which = np.repeat(np.arange(len(lines)), pieces)
    step = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = lines[which, :2] + d[which] * (step / pieces[which])[:, None]
    end = lines[which, :2] + d[which] * ((step + 1) / pieces[which])[:, None]
    for x in (start[:, 0], end[:, 0]):
        for y in (start[:, 1], end[:, 1]):
            crossed[np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)] = True


def _rings(crossed: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Chebyshev distance to the nearest crossed cell, at most MAX_RINGS: along rows, then down, then up."""
    height, width = crossed.shape
    columns = np.arange(width, dtype=np.int32)
    left = np.maximum.accumulate(np.where(crossed, columns, -MAX_RINGS), axis=1)
    right = np.minimum.accumulate(np.where(crossed, columns, width + MAX_RINGS)[:, ::-1], axis=1)[:, ::-1]
    rings = np.minimum(np.minimum(columns - left, right - columns), MAX_RINGS).astype(np.uint8)
    for first, last, way in ((1, height, 1), (height - 2, -1, -1)):
        for row in range(first, last, way):
            above = rings[row - way]
            reach = above.copy()
            np.minimum(reach[1:], above[:-1], out=reach[1:])
            np.minimum(reach[:-1], above[1:], out=reach[:-1])
            np.minimum(rings[row], reach + 1, out=rings[row])
    return rings
