"""INSIDE, OUTSIDE or EDGE: one fix, one zone (design/detection.md section 6, step 8)."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

EDGE_M = 0.01
"""The boundary counts as inside within this; recorded tracks have fixes 1.6 to 4.5 cm from the line."""

Edge = tuple[float, float, float, float]
"""x1, y1, x2, y2 in metres of the zone's frame."""


class Membership(enum.Enum):
    """Where the fix is, given how far off it may be."""

    INSIDE = "INSIDE"
    OUTSIDE = "OUTSIDE"
    EDGE = "EDGE"


def ray_inside(ring: Iterable[Edge], x: float, y: float) -> bool:
    """Even-odd rule with a half-open ray to the right; `ring` holds every edge that ray can meet."""
    inside = False
    for x1, y1, x2, y2 in ring:
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside


def clearance_m(edges: Iterable[Edge], x: float, y: float, at_most_m: float) -> float:
    """Distance to the nearest of the edges, metres, at most `at_most_m`."""
    best = at_most_m * at_most_m
    for x1, y1, x2, y2 in edges:
        ex, ey, px, py = x2 - x1, y2 - y1, x - x1, y - y1
        along = px * ex + py * ey
        if along > 0.0:
            length2 = ex * ex + ey * ey
            share = along / length2 if along < length2 else 1.0
            px -= share * ex
            py -= share * ey
        square = px * px + py * py
        if square < best:
            best = square
    return math.sqrt(best)


def keeps_clear(edges: Iterable[Edge], x0: float, y0: float, x1: float, y1: float) -> bool:
    """Whether a leg stays farther than EDGE_M from every edge; of one that only just does it may say no."""
    dx, dy = x1 - x0, y1 - y0
    on, width = x0 * dy - y0 * dx, 2.0 * EDGE_M * (abs(dx) + abs(dy))
    low, high = on - width, on + width
    for ax, ay, bx, by in edges:
        side1, side2 = ax * dy - ay * dx, bx * dy - by * dx
        if (side1 > high and side2 > high) or (side1 < low and side2 < low):
            continue  # the edge is all on one side of the way
        ex, ey = bx - ax, by - ay
        width_e = 2.0 * EDGE_M * (abs(ex) + abs(ey))
        side1 = (x0 - ax) * ey - (y0 - ay) * ex
        side2 = (x1 - ax) * ey - (y1 - ay) * ex
        if not ((side1 > width_e and side2 > width_e) or (side1 < -width_e and side2 < -width_e)):
            return False
    return True


def classify(
    inside: bool, clearance_m: float, accuracy_m: float, *, inside_factor: float, exit_margin_m: float
) -> Membership:
    """Say whether a fix lies in a zone, given how far off it may be.

    Args:
        inside: Whether the reported position is in the zone or on its boundary.
        clearance_m: Distance from there to the boundary.
        accuracy_m: Radius that holds the true position 95 % of the time; > 0.
        inside_factor: INSIDE needs this many accuracies of clearance.
        exit_margin_m: OUTSIDE needs at least this much.

    Raises:
        ValueError: accuracy_m is not positive (a caller's mistake: 0 means unknown and was replaced before).
    """
    if not accuracy_m > 0.0:
        raise ValueError(f"accuracy_m {accuracy_m!r}: expected more than 0")
    if inside:
        return Membership.INSIDE if clearance_m >= inside_factor * accuracy_m else Membership.EDGE
    return Membership.OUTSIDE if clearance_m >= max(exit_margin_m, accuracy_m) else Membership.EDGE


def moves_away(
    clearance_before_m: float, clearance_now_m: float, step_m: float, dt_s: float, *, least_mps: float
) -> bool:
    """Whether a step leads out of a zone: fast enough, and at least half of it away (inside counts negative)."""
    if dt_s <= 0.0 or step_m < least_mps * dt_s:
        return False
    return clearance_now_m - clearance_before_m >= 0.5 * step_m
