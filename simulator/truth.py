"""True passages of noise-free paths through zones, apart from the detector.

Nothing of `zones.detector`, `zones.index` or `zones.membership` is used here: the demo's `expected` must not
share a fault with what it judges. Only the metric frame is the same (design/detection.md sections 3 and 9).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import shapely

from zones.border_zone import BorderZone, ZoneKind, ZoneSet
from zones.frame import lv95

Point = tuple[float, float]
"""(east, north) in LV95, metres."""

EXCURSION_M = 20.0
"""Leaving a zone for less than this is no second pass (design/detection.md section 9)."""
SPLIT_DEG = 0.004
"""Zone edges are straight in degrees: split so before projecting (under 500 m)."""
TINY_M = 1e-6


@dataclass(frozen=True)
class Pass:
    """One way through a zone, by chainage of the path."""

    from_m: float
    to_m: float

    @property
    def length_m(self) -> float:
        """How far inside, along the path."""
        return self.to_m - self.from_m


@dataclass(frozen=True)
class ZonePass:
    """One way of a path through one zone."""

    zone: BorderZone
    run: Pass


def outline(zone: BorderZone) -> shapely.MultiPolygon:
    """The zone's polygon in LV95 metres."""
    polygons = shapely.MultiPolygon([shapely.Polygon(rings[0], rings[1:]) for rings in zone.polygons])
    split = shapely.segmentize(polygons, SPLIT_DEG)
    return shapely.transform(split, lambda at: [lv95(latitude, longitude) for longitude, latitude in at])


def passes(path: Sequence[Point], polygon: shapely.Geometry) -> tuple[Pass, ...]:
    """Each maximal interval of chainage inside a polygon, merged over excursions under 20 m.

    Leg by leg, since pieces of one intersection with the whole line are not passes: GEOS splits a line where
    it touches a gate or crosses itself.
    """
    runs: list[Pass] = []
    base_m = 0.0
    for start, end in pairwise(path):
        size_m = math.dist(start, end)
        for from_m, to_m in _inside(start, end, size_m, polygon):
            runs = _joined(runs, Pass(base_m + from_m, base_m + to_m))
        base_m += size_m
    return tuple(runs)


def _joined(runs: list[Pass], run: Pass) -> list[Pass]:
    if runs and run.from_m - runs[-1].to_m < EXCURSION_M:
        return [*runs[:-1], Pass(runs[-1].from_m, max(runs[-1].to_m, run.to_m))]
    return [*runs, run]


def _inside(start: Point, end: Point, size_m: float, polygon: shapely.Geometry) -> list[tuple[float, float]]:
    """Intervals of one leg inside a polygon, as distances from its start, in order."""
    if size_m < TINY_M:
        return []
    piece = shapely.LineString((start, end)).intersection(polygon)
    parts = [part for part in shapely.get_parts(piece) if part.length > TINY_M]
    ends = [sorted(math.dist(start, at) for at in part.coords) for part in parts]
    return sorted((away[0], away[-1]) for away in ends)


class Ground:
    """The zones as truth sees them, with a tree to find the ones near a path."""

    def __init__(self, zones: Iterable[BorderZone]) -> None:
        self.zones = tuple(zones)
        self._outlines = [outline(zone) for zone in self.zones]
        self._tree = shapely.STRtree(self._outlines)

    def passes(self, path: Sequence[Point]) -> tuple[ZonePass, ...]:
        """Every way of a path through a zone, in order of entry."""
        line = shapely.LineString(path)
        near = sorted(int(index) for index in self._tree.query(line, predicate="intersects"))
        found = [ZonePass(self.zones[at], run) for at in near for run in passes(path, self._outlines[at])]
        return tuple(sorted(found, key=lambda item: (item.run.from_m, item.zone.id)))

    def near(self, path: Sequence[Point], within_m: float) -> frozenset[str]:
        """Ids of zones that come within a distance of a path."""
        line = shapely.LineString(path)
        return frozenset(
            self.zones[int(at)].id for at in self._tree.query(line, predicate="dwithin", distance=within_m)
        )


def activation_ground(zone_set: ZoneSet) -> Ground:
    """Only the activation zones."""
    return Ground(zone for zone in zone_set.zones if zone.kind is ZoneKind.ACTIVATION)


@dataclass(frozen=True)
class TimedPath:
    """A recorded track: its own fixes joined by straight lines."""

    points_m: tuple[Point, ...]
    times_s: tuple[float, ...]

    def time_at(self, chainage_m: float) -> float:
        """Time at a chainage, linear between the two fixes around it."""
        base_m = 0.0
        for (start, end), (from_s, to_s) in zip(pairwise(self.points_m), pairwise(self.times_s), strict=True):
            size_m = math.dist(start, end)
            if size_m >= TINY_M and chainage_m <= base_m + size_m:
                return from_s + (to_s - from_s) * max(0.0, chainage_m - base_m) / size_m
            base_m += size_m
        return self.times_s[-1]

    def place_at(self, chainage_m: float) -> Point:
        """(east, north) at a chainage."""
        base_m = 0.0
        for start, end in pairwise(self.points_m):
            size_m = math.dist(start, end)
            if size_m >= TINY_M and chainage_m <= base_m + size_m:
                share = max(0.0, chainage_m - base_m) / size_m
                return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
            base_m += size_m
        return self.points_m[-1]


@dataclass(frozen=True)
class Expected:
    """One activation that must (or may) come out of the run."""

    unit: str
    jrn: str
    mrn: str
    version: int
    crossing: str
    direction: str
    entry_s: float
    """When the true path enters the activation zone, UTC seconds."""
    must: bool
    """False: too near the end of the run to demand it."""
