"""Passage between two fixes, direction, crossing point and time (design/detection.md section 6, 7 and 10)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from zones.events import Direction
from zones.grid import CompiledZone
from zones.index import ZoneIndex
from zones.membership import EDGE_M, Edge
from zones.plausibility import DetectionConfig

Span = tuple[float, float]
"""Part of a segment inside a zone, as shares of its length, 0 to 1."""

OPPOSITE = {Direction.IN: Direction.OUT, Direction.OUT: Direction.IN, Direction.UNKNOWN: Direction.UNKNOWN}


class Crossing(NamedTuple):
    """Where and when a path met the boundary of a zone."""

    time_s: float
    latitude: float
    longitude: float
    x: float
    y: float


class Leg(NamedTuple):
    """The straight line between two fixes, in a frame and in degrees."""

    t0_s: float
    x0: float
    y0: float
    latitude0: float
    longitude0: float
    t1_s: float
    x1: float
    y1: float
    latitude1: float
    longitude1: float

    def at(self, share: float) -> Crossing:
        """Point and time at a share of the way."""
        d_lon = (self.longitude1 - self.longitude0 + 180.0) % 360.0 - 180.0
        return Crossing(
            self.t0_s + share * (self.t1_s - self.t0_s),
            self.latitude0 + share * (self.latitude1 - self.latitude0),
            (self.longitude0 + share * d_lon + 180.0) % 360.0 - 180.0,
            self.x0 + share * (self.x1 - self.x0),
            self.y0 + share * (self.y1 - self.y0),
        )

    @property
    def length_m(self) -> float:
        """Metres in the frame."""
        return math.hypot(self.x1 - self.x0, self.y1 - self.y0)


def spans(
    index: ZoneIndex,
    zone: CompiledZone,
    leg: Leg,
    end_inside: bool,
    edges: Iterable[Edge] | None = None,
    *,
    clear_end: bool = False,
) -> list[Span]:
    """The parts of a leg inside a zone, in order; touching parts are joined.

    Args:
        index: Knows the zone.
        zone: In the frame of the leg.
        leg: The way.
        end_inside: Whether its end is in the zone.
        edges: Those the leg can meet; None = to be looked up.
        clear_end: The end is farther than EDGE_M from the boundary, so not inside by tolerance only.
    """
    if edges is None:
        edges = index.edges_near(zone, min(leg.y0, leg.y1), max(leg.y0, leg.y1))
    shares, grazes = _meeting_shares(edges, leg)
    if not shares:  # the end may be inside by nothing but the tolerance of the boundary
        whole = end_inside and index.contains(zone, 0.5 * (leg.x0 + leg.x1), 0.5 * (leg.y0 + leg.y1))
        return [(0.0, 1.0)] if whole else []
    if len(shares) == 1 and not grazes and (clear_end or not end_inside):  # the boundary parts inside from outside
        return [(shares[0], 1.0)] if end_inside else [(0.0, shares[0])]
    found: list[Span] = []
    for start, end in pairwise(sorted({0.0, 1.0, *shares})):
        middle = 0.5 * (start + end)
        x, y = leg.x0 + middle * (leg.x1 - leg.x0), leg.y0 + middle * (leg.y1 - leg.y0)
        if not index.contains(zone, x, y):
            continue
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _meeting_shares(edges: Iterable[Edge], leg: Leg) -> tuple[list[float], bool]:
    """Shares of the leg at which it meets an edge, or the ends of an edge it runs along, and whether it does so."""
    dx, dy = leg.x1 - leg.x0, leg.y1 - leg.y0
    length2 = dx * dx + dy * dy
    width = 2.0 * EDGE_M * math.sqrt(length2)
    shares: list[float] = []
    grazes = False
    for x1, y1, x2, y2 in edges:
        side1 = (x1 - leg.x0) * dy - (y1 - leg.y0) * dx
        side2 = (x2 - leg.x0) * dy - (y2 - leg.y0) * dx
        if -width <= side1 <= width and -width <= side2 <= width and length2 > 0.0:
            grazes = True
            shares.append(((x1 - leg.x0) * dx + (y1 - leg.y0) * dy) / length2)
            shares.append(((x2 - leg.x0) * dx + (y2 - leg.y0) * dy) / length2)
        elif (side1 > 0.0) != (side2 > 0.0):
            ex, ey = x2 - x1, y2 - y1
            shares.append(((x1 - leg.x0) * ey - (y1 - leg.y0) * ex) / (dx * ey - dy * ex))
    return [share for share in shares if 0.0 < share < 1.0], grazes


def entry_on(found: list[Span], leg: Leg) -> Crossing:
    """The last crossing into the zone before the end of the leg, which is inside."""
    if found and found[-1][1] == 1.0:
        return leg.at(found[-1][0])
    return leg.at(1.0)  # the end is inside only by the tolerance of the boundary


def exit_on(found: list[Span], leg: Leg) -> Crossing:
    """The last crossing out of the zone on a leg whose end is outside."""
    return leg.at(found[-1][1]) if found else leg.at(0.0)


def along_bearing(zone: CompiledZone, east: float, north: float, config: DetectionConfig) -> int:
    """1 if a displacement goes along the zone's bearing, -1 against it, 0 if neither, or without bearing."""
    length = math.hypot(east, north)
    if zone.along is None or length == 0.0:
        return 0
    cosine = (east * zone.along[0] + north * zone.along[1]) / length
    limit = math.cos(math.radians(config.bearing_tolerance_deg))
    return 1 if cosine >= limit else -1 if cosine <= -limit else 0


def proper_chord(zone: CompiledZone, start: Crossing, end: Crossing, smaller_m: float, config: DetectionConfig) -> bool:
    """Whether the way from boundary to boundary is a passage, and no mere touch."""
    east, north = end.x - start.x, end.y - start.y
    if math.hypot(east, north) < max(config.direction_min_m, smaller_m):
        return False
    return zone.along is None or along_bearing(zone, east, north, config) != 0


def direction_of(zone: CompiledZone, east: float, north: float, config: DetectionConfig) -> Direction:
    """Direction of travel of a displacement; UNKNOWN across the zone, or where it has no bearing."""
    side = along_bearing(zone, east, north, config)
    own = zone.zone.direction
    if side == 0 or own is None:
        return Direction.UNKNOWN
    return own if side > 0 else OPPOSITE[own]


def inward_normal(zone: CompiledZone, edges: tuple[Edge, ...], index: ZoneIndex, at: Crossing) -> tuple[float, float]:
    """Unit vector into the zone at a point of its boundary; (0, 0) if it cannot be told."""
    best, normal = math.inf, (0.0, 0.0)
    for x1, y1, x2, y2 in edges:
        ex, ey = x2 - x1, y2 - y1
        length2 = ex * ex + ey * ey
        share = min(1.0, max(0.0, ((at.x - x1) * ex + (at.y - y1) * ey) / length2))
        distance = math.hypot(at.x - x1 - share * ex, at.y - y1 - share * ey)
        if distance < best:
            length = math.sqrt(length2)
            best, normal = distance, (-ey / length, ex / length)
    if index.contains(zone, at.x + normal[0], at.y + normal[1]):
        return normal
    if index.contains(zone, at.x - normal[0], at.y - normal[1]):
        return -normal[0], -normal[1]
    return 0.0, 0.0
