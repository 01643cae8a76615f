"""Road line and speed to true positions: approach, halt in the control bay, drive on.

A `Road` is where, a `Drive` is when; both are values, so a lorry that is told to stop gets a new `Drive`.
Metres are LV95, the frame of the zones, and positions in degrees are interpolated between the ends of legs
of at most 500 m (a longer straight line bends visibly in degrees, design/detection.md section 3).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

from zones.frame import LocalFrame, lv95_to_degrees

Point = tuple[float, float]
"""(east, north) in LV95, metres."""

MAX_LEG_M = 500.0
COMFORT_MPS2 = 0.9
"""Braking and starting of a loaded lorry in ordinary driving (choice)."""
HARDEST_MPS2 = 3.0
"""Braking that a driver accepts when told late to stop (choice)."""


@dataclass(frozen=True)
class _Leg:
    """One straight piece in degrees, with the scale beside it."""

    latitude: float
    longitude: float
    d_latitude: float
    d_longitude: float
    """Degrees for each metre of chainage."""
    heading_deg: float


@dataclass(frozen=True)
class RoadPosition:
    """Where a chainage of the road lies."""

    latitude: float
    longitude: float
    heading_deg: float
    """True heading of travel."""


class Road:
    """A road in direction of travel; chainage is metres from its start."""

    def __init__(self, points_m: tuple[Point, ...]) -> None:
        points = _split(points_m)
        chainages = [0.0]
        for left, right in pairwise(points):
            chainages.append(chainages[-1] + math.dist(left, right))
        if chainages[-1] <= 0.0:
            raise ValueError("road without length")
        self.points_m = tuple(points)
        self._chainages = chainages
        self._legs: dict[int, _Leg] = {}

    @property
    def length_m(self) -> float:
        """Length of the road, metres."""
        return self._chainages[-1]

    def at(self, chainage_m: float) -> RoadPosition:
        """Position at a chainage, clamped to the ends."""
        chainage_m = min(max(chainage_m, 0.0), self.length_m)
        index = min(bisect_right(self._chainages, chainage_m), len(self.points_m) - 1) - 1
        leg = self._legs.get(index)
        if leg is None:
            leg = self._legs[index] = self._leg(index)
        along_m = chainage_m - self._chainages[index]
        return RoadPosition(
            leg.latitude + along_m * leg.d_latitude,
            leg.longitude + along_m * leg.d_longitude,
            leg.heading_deg,
        )

    def metres_at(self, chainage_m: float) -> Point:
        """(east, north) at a chainage, clamped to the ends."""
        chainage_m = min(max(chainage_m, 0.0), self.length_m)
        index = min(bisect_right(self._chainages, chainage_m), len(self.points_m) - 1) - 1
        left, right = self.points_m[index], self.points_m[index + 1]
        share = (chainage_m - self._chainages[index]) / (self._chainages[index + 1] - self._chainages[index])
        return left[0] + share * (right[0] - left[0]), left[1] + share * (right[1] - left[1])

    def part(self, from_m: float, to_m: float) -> Road:
        """The road between two chainages (clamped), from_m < to_m."""
        from_m, to_m = max(0.0, from_m), min(self.length_m, to_m)
        inner = [
            point
            for point, at_m in zip(self.points_m, self._chainages, strict=True)
            if from_m + 0.01 < at_m < to_m - 0.01
        ]
        return Road((self.metres_at(from_m), *inner, self.metres_at(to_m)))

    def turning_back(self, at_m: float) -> Road:
        """The road up to a chainage and the same way back."""
        there = self.part(0.0, at_m).points_m
        return Road((*there, *there[-2::-1]))

    def beside(self, offset_m: float) -> Road:
        """A parallel road, `offset_m` to the right of travel: the whole line moved square to its chord."""
        (e0, n0), (e1, n1) = self.points_m[0], self.points_m[-1]
        size_m = math.dist((e0, n0), (e1, n1))
        east_m, north_m = (n1 - n0) / size_m * offset_m, -(e1 - e0) / size_m * offset_m
        return Road(tuple((east + east_m, north + north_m) for east, north in self.points_m))

    def _leg(self, index: int) -> _Leg:
        start, end = self.points_m[index], self.points_m[index + 1]
        length_m = self._chainages[index + 1] - self._chainages[index]
        (lat0, lon0), (lat1, lon1) = lv95_to_degrees(*start), lv95_to_degrees(*end)
        east_m, north_m = LocalFrame(lat0, lon0).to_metres(lat1, lon1)
        heading_deg = math.degrees(math.atan2(east_m, north_m)) % 360.0
        return _Leg(lat0, lon0, (lat1 - lat0) / length_m, (lon1 - lon0) / length_m, heading_deg)


def _split(points_m: tuple[Point, ...]) -> list[Point]:
    """The line without repeated points and with legs of at most MAX_LEG_M."""
    points = [points_m[0]]
    for point in points_m[1:]:
        start = points[-1]
        size_m = math.dist(start, point)
        if size_m < 0.01:
            continue
        pieces = math.ceil(size_m / MAX_LEG_M)
        points += [
            (
                start[0] + (point[0] - start[0]) * piece / pieces,
                start[1] + (point[1] - start[1]) * piece / pieces,
            )
            for piece in range(1, pieces)
        ]
        points.append(point)
    return points


@dataclass(frozen=True)
class Stage:
    """A time of constant acceleration, from `time_s` until the next stage begins."""

    time_s: float
    chainage_m: float
    speed_mps: float
    acceleration_mps2: float = 0.0


@dataclass(frozen=True)
class Drive:
    """Chainage over time: stages of constant acceleration, never backwards."""

    stages: tuple[Stage, ...]

    @property
    def start_s(self) -> float:
        """When it sets out, UTC seconds; before that it stands at its start."""
        return self.stages[0].time_s

    def at(self, time_s: float) -> tuple[float, float]:
        """(chainage_m, speed_mps) at a time."""
        stage = self._stage(time_s)
        dt_s = max(0.0, time_s - stage.time_s)
        if stage.acceleration_mps2 < 0.0:
            dt_s = min(dt_s, -stage.speed_mps / stage.acceleration_mps2)
        speed_mps = stage.speed_mps + stage.acceleration_mps2 * dt_s
        return stage.chainage_m + dt_s * (stage.speed_mps + speed_mps) / 2.0, speed_mps

    def time_at(self, chainage_m: float) -> float:
        """First time at which a chainage is reached; infinite if never."""
        for stage, after in zip(self.stages, (*self.stages[1:], None), strict=True):
            if after is not None and after.chainage_m < chainage_m:
                continue
            return stage.time_s + _time_to(chainage_m - stage.chainage_m, stage)
        raise AssertionError("the last stage has no end")

    def halting(self, now_s: float, bay_m: float) -> Drive:
        """From now on, drive on and stop at the bay; too near or past it, brake as hard as a driver would."""
        chainage_m, speed_mps = self.at(now_s)
        if speed_mps <= 0.0:
            return self._with(now_s, Stage(now_s, chainage_m, 0.0))
        left_m = bay_m - chainage_m
        comfortable_m = speed_mps**2 / (2.0 * COMFORT_MPS2)
        if left_m > comfortable_m:
            cruise_s = (left_m - comfortable_m) / speed_mps
            brake = Stage(now_s + cruise_s, bay_m - comfortable_m, speed_mps, -COMFORT_MPS2)
            return self._with(now_s, Stage(now_s, chainage_m, speed_mps), brake)
        needed = HARDEST_MPS2 if left_m <= 0.0 else min(HARDEST_MPS2, speed_mps**2 / (2.0 * left_m))
        return self._with(now_s, Stage(now_s, chainage_m, speed_mps, -needed))

    def going(self, now_s: float, speed_mps: float) -> Drive:
        """From now on, take up a speed and keep it."""
        chainage_m, current_mps = self.at(now_s)
        change = speed_mps - current_mps
        if abs(change) < 0.01:
            return self._with(now_s, Stage(now_s, chainage_m, current_mps))
        needs_s = abs(change) / COMFORT_MPS2
        reached = Stage(now_s + needs_s, chainage_m + needs_s * (current_mps + speed_mps) / 2.0, speed_mps)
        return self._with(now_s, Stage(now_s, chainage_m, current_mps, math.copysign(COMFORT_MPS2, change)), reached)

    def _with(self, now_s: float, *stages: Stage) -> Drive:
        """The past as it was, then these stages."""
        return Drive((*(stage for stage in self.stages if stage.time_s < now_s), *stages))

    def _stage(self, time_s: float) -> Stage:
        for stage in reversed(self.stages):
            if stage.time_s <= time_s:
                return stage
        return Stage(time_s, self.stages[0].chainage_m, 0.0)


def approach(start_s: float, cruise_mps: float, bay_m: float) -> Drive:
    """Set out at chainage 0, cruise, and stop at the bay: what every lorry does unless it is told GO."""
    return Drive((Stage(start_s, 0.0, cruise_mps),)).halting(start_s, bay_m)


def through(start_s: float, cruise_mps: float) -> Drive:
    """Set out at chainage 0 and keep the speed."""
    return Drive((Stage(start_s, 0.0, cruise_mps),))


def _time_to(distance_m: float, stage: Stage) -> float:
    """Seconds from the begin of a stage until it has gone this far; infinite if it stops before."""
    if distance_m <= 0.0:
        return 0.0
    v, a = stage.speed_mps, stage.acceleration_mps2
    if a == 0.0:
        return distance_m / v if v > 0.0 else math.inf
    root = v * v + 2.0 * a * distance_m
    if root < 0.0:
        # Rounding at the very place where it comes to rest is no reason never to arrive.
        return -v / a if root > -1e-6 * max(1.0, v * v) else math.inf
    return (math.sqrt(root) - v) / a
