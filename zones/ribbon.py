"""Geometry along a road line, by chainage: cut, ribbon, passes (design/detection.md section 2)."""

from __future__ import annotations

import math
from itertools import pairwise

import shapely

Point = tuple[float, float]
Line = tuple[Point, ...]
"""(east, north) in metres, at least two different points."""

MITRE_LIMIT = 2.5
"""A corner is at most this many half-widths from the line."""
SAME_PLACE_M = 0.01
EXCURSION_M = 20.0
"""Leaving a zone for less than this along the line is no second pass (design/detection.md section 9)."""


def length_m(points: Line) -> float:
    """Length of a line."""
    return sum(math.dist(left, right) for left, right in pairwise(points))


def _chainages(points: Line) -> list[float]:
    chainages = [0.0]
    for left, right in pairwise(points):
        chainages.append(chainages[-1] + math.dist(left, right))
    return chainages


def point_at(points: Line, at_m: float) -> Point:
    """Position at a chainage, clamped to the ends of the line."""
    for (left, right), (from_m, to_m) in zip(pairwise(points), pairwise(_chainages(points)), strict=True):
        if at_m <= to_m and to_m > from_m:
            share = max(0.0, (at_m - from_m) / (to_m - from_m))
            return left[0] + share * (right[0] - left[0]), left[1] + share * (right[1] - left[1])
    return points[-1]


def chainage_of(points: Line, place: Point) -> float:
    """Chainage of the point of the line nearest to a place."""
    return float(shapely.LineString(points).project(shapely.Point(place)))


def simplified(points: Line, tolerance_m: float) -> Line:
    """The line without vertices nearer than the tolerance to what remains; drops small loops.

    Douglas and Peucker's method.
    """
    return tuple(shapely.LineString(points).simplify(tolerance_m, preserve_topology=False).coords)


def cut(points: Line, from_m: float, to_m: float) -> Line:
    """The part of a line between two chainages, which lie on it."""
    inner = [
        point
        for point, at_m in zip(points, _chainages(points), strict=True)
        if from_m + SAME_PLACE_M < at_m < to_m - SAME_PLACE_M
    ]
    return (point_at(points, from_m), *inner, point_at(points, to_m))


def ribbon(points: Line, from_m: float, to_m: float, half_width_m: float) -> Line:
    """Closed ring around a part of a line, counter-clockwise if the line does not turn back on itself.

    Each vertex is offset along the bisector of its two legs, the ends of the part included, so two ribbons
    that follow each other share one gate edge and the line crosses it once. Flat caps would not: where the
    line turns at the gate they let it run on inside.

    Args:
        points: The whole line; legs beyond the part decide the direction of the gates.
        from_m, to_m: Chainages on the line, from_m < to_m.
        half_width_m: Distance of the long sides from the line.
    """
    chainages = _chainages(points)
    stations = [at_m for at_m in chainages if from_m + SAME_PLACE_M < at_m < to_m - SAME_PLACE_M]
    offsets = [_offset(points, chainages, at_m, half_width_m) for at_m in (from_m, *stations, to_m)]
    right = tuple(pair[1] for pair in offsets)
    left = tuple(pair[0] for pair in reversed(offsets))
    return (*right, *left, right[0])


def _offset(points: Line, chainages: list[float], at_m: float, half_width_m: float) -> tuple[Point, Point]:
    """Positions left and right of the line at a chainage, on the bisector of the legs there."""
    east, north = point_at(points, at_m)
    before, after = _legs(points, chainages, at_m)
    normal = (-(before[1] + after[1]), before[0] + after[0])
    size = math.hypot(*normal)
    if size < 2.0 / MITRE_LIMIT:  # half the sum is the cosine of half the turn, so this is the mitre limit
        reach_m = MITRE_LIMIT * half_width_m
        size = size or 1.0
    else:
        reach_m = 2.0 * half_width_m / size
    east_m, north_m = normal[0] / size * reach_m, normal[1] / size * reach_m
    return (east + east_m, north + north_m), (east - east_m, north - north_m)


def _legs(points: Line, chainages: list[float], at_m: float) -> tuple[Point, Point]:
    """Unit vectors of the legs that end and begin at a chainage; the same one twice within a leg."""
    legs = [
        (from_m, to_m, ((right[0] - left[0]) / (to_m - from_m), (right[1] - left[1]) / (to_m - from_m)))
        for (left, right), (from_m, to_m) in zip(pairwise(points), pairwise(chainages), strict=True)
        if to_m - from_m > SAME_PLACE_M
    ]
    before = next((unit for _, to_m, unit in legs if to_m >= at_m - SAME_PLACE_M), legs[-1][2])
    after = next((unit for from_m, _, unit in reversed(legs) if from_m <= at_m + SAME_PLACE_M), legs[0][2])
    return before, after


def passes(points: Line, outline: shapely.Polygon | shapely.MultiPolygon) -> tuple[tuple[float, float], ...]:
    """Each run of chainage inside an outline, as (from, to), merged over excursions under 20 m.

    Found leg by leg from the crossings with the boundary: pieces of `intersection` do not count passes,
    because GEOS splits a line where it touches a gate or crosses itself.
    """
    runs: list[tuple[float, float]] = []
    for (left, right), (from_m, to_m) in zip(pairwise(points), pairwise(_chainages(points)), strict=True):
        for start_m, end_m in _leg_runs(left, right, outline):
            start_m, end_m = from_m + start_m, min(from_m + end_m, to_m)
            if runs and start_m - runs[-1][1] < EXCURSION_M:
                runs[-1] = (runs[-1][0], end_m)
            else:
                runs.append((start_m, end_m))
    return tuple(runs)


def _leg_runs(left: Point, right: Point, outline: shapely.Polygon | shapely.MultiPolygon) -> list[tuple[float, float]]:
    size_m = math.dist(left, right)
    leg = shapely.LineString((left, right))
    if size_m < SAME_PLACE_M or not leg.intersects(outline):
        return []
    met = shapely.get_coordinates(leg.intersection(outline.boundary))
    stations = sorted({0.0, size_m, *(min(size_m, math.dist(left, place)) for place in met.tolist())})
    runs = []
    for start_m, end_m in pairwise(stations):
        middle = point_at((left, right), (start_m + end_m) / 2.0)
        if end_m - start_m > SAME_PLACE_M and outline.covers(shapely.Point(middle)):
            runs.append((start_m, end_m))
    return runs


def chord(points: Line, run: tuple[float, float]) -> tuple[Point, Point]:
    """Where a run begins and ends."""
    return point_at(points, run[0]), point_at(points, run[1])
