"""Ground that two zones have in common, found without ever building all of it.

GEOS's intersection of two combs of 4,000 vertices each has a million pieces and took 88 s and 5.2 GB. Here
large shapes are cut into cells until little of either is left in one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import shapely

from zones.errors import ZoneError

SLIVER_M2 = 1.0
"""Overlaps up to this area come from rounding a shared edge to 7 decimals, not from the author."""
EXACT_VERTICES = 400
"""Up to this many in both together GEOS answers at once: combs of 50 teeth meet in 2,500 pieces."""
MAX_CUT_VERTICES = 10_000_000
"""Vertices cut in one file, again for each cut; neighbours with 50,000 along their border take 1 million."""

_METRES = 111_320.0
"""A degree of latitude on the sphere; near enough for slivers and messages."""
_LEAST_CELL_M2 = 0.01
"""Nothing in a smaller cell can matter: MAX_VERTICES fill at most 500 of them."""

Shape: TypeAlias = shapely.Polygon | shapely.MultiPolygon


@dataclass(frozen=True)
class Overlap:
    """Common ground of two zones and a place in it."""

    area_m2: float
    longitude: float
    latitude: float
    whole: bool
    """False: the area is at least this."""


class TooIntricateError(ZoneError):
    """Two shapes are wound into each other so finely that the search was given up."""


class OverlapSearch:
    """Looks for common ground, within one budget for all pairs of a file."""

    def __init__(self, vertices: int = MAX_CUT_VERTICES) -> None:
        self._left = vertices

    def find(self, left: Shape, right: Shape) -> Overlap | None:
        """Common ground of two valid shapes in degrees, or None up to SLIVER_M2.

        Raises:
            TooIntricateError: The budget is used up.
        """
        if _vertices(left) + _vertices(right) <= EXACT_VERTICES:
            found = _measured(shapely.intersection(left, right))
            return found if found is not None and found.area_m2 > SLIVER_M2 else None
        return _by_sample(left, right) or self._by_cells(left, right)

    def _by_cells(self, left: Shape, right: Shape) -> Overlap | None:
        area_m2 = 0.0
        open_cells = [(left, right)]
        while open_cells:
            left, right = open_cells.pop()
            cell = _common_box(left, right)
            if cell is None or _box_m2(cell) < _LEAST_CELL_M2:
                continue
            if _vertices(left) + _vertices(right) > EXACT_VERTICES:
                open_cells += self._cut(left, right, cell)
                continue
            found = _measured(shapely.intersection(left, right))
            area_m2 += found.area_m2 if found else 0.0
            if found and area_m2 > SLIVER_M2:
                return Overlap(area_m2, found.longitude, found.latitude, whole=False)
        return None

    def _cut(self, left: Shape, right: Shape, cell: tuple[float, float, float, float]) -> list[tuple[Shape, Shape]]:
        """What lies in the two halves of a cell."""
        self._left -= _vertices(left) + _vertices(right)
        if self._left < 0:
            raise TooIntricateError
        return [(_within(left, half), _within(right, half)) for half in _halves(cell)]


def _vertices(shape: Shape) -> int:
    return int(shapely.get_num_coordinates(shape))


def _by_sample(left: Shape, right: Shape) -> Overlap | None:
    """The common case of shapes that lie over each other: 4 m2 in the middle of one lie in both."""
    for shape in (left, right):
        point = shape.representative_point()
        north = 1.0 / _METRES
        east = north / math.cos(math.radians(point.y))
        square = shapely.box(point.x - east, point.y - north, point.x + east, point.y + north)
        if left.covers(square) and right.covers(square):
            return Overlap(area_m2(square), point.x, point.y, whole=False)
    return None


def _common_box(left: Shape, right: Shape) -> tuple[float, float, float, float] | None:
    if left.is_empty or right.is_empty:
        return None
    (west, south, east, north), (west2, south2, east2, north2) = left.bounds, right.bounds
    box = max(west, west2), max(south, south2), min(east, east2), min(north, north2)
    return box if box[0] < box[2] and box[1] < box[3] else None


def _halves(cell: tuple[float, float, float, float]) -> tuple[Any, Any]:
    west, south, east, north = cell
    if east - west > north - south:
        middle = (west + east) / 2.0
        return shapely.box(west, south, middle, north), shapely.box(middle, south, east, north)
    middle = (south + north) / 2.0
    return shapely.box(west, south, east, middle), shapely.box(west, middle, east, north)


def _within(shape: Shape, cell: Any) -> Shape:
    """The part of a shape in a cell, without the lines and points in which it only touches."""
    part = shapely.clip_by_rect(shape, *cell.bounds)  # ten times as fast, but its result may cross itself
    if not part.is_valid:
        part = shapely.intersection(shape, cell)
    if isinstance(part, shapely.Polygon | shapely.MultiPolygon):
        return part
    pieces = [one for one in getattr(part, "geoms", ()) if isinstance(one, shapely.Polygon)]
    return shapely.MultiPolygon(pieces)


def _measured(common: Any) -> Overlap | None:
    if common.is_empty:
        return None
    point = common.representative_point()
    return Overlap(area_m2(common), point.x, point.y, whole=True)


def area_m2(shape: Any) -> float:
    """Area of a small shape given in degrees, square metres."""
    if shape.is_empty:
        return 0.0
    _, south, _, north = shape.bounds
    return float(shape.area) * _METRES**2 * math.cos(math.radians((south + north) / 2.0))


def _box_m2(box: tuple[float, float, float, float]) -> float:
    west, south, east, north = box
    return (east - west) * (north - south) * _METRES**2 * math.cos(math.radians((south + north) / 2.0))


__all__ = ["SLIVER_M2", "Overlap", "OverlapSearch", "Shape", "TooIntricateError", "area_m2"]
