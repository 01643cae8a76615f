"""A tree instead of a grid, for thousands of zones: slower to ask, quick to build, little memory
(design/detection.md section 4).

The quiet map answers for it wherever no edge is near; the tree is asked for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import shapely

from zones.border_zone import BorderZone
from zones.frame import Frame
from zones.grid import NEAR_M, CompiledZone, Nearby, Place, compile_zone, degree_edges, offset_deg, padded, project
from zones.membership import Edge
from zones.quiet_map import QuietMap, build_quiet_map

ONE_ROW_M = 1e12
"""Zones of a tree are not cut into rows."""


@dataclass(frozen=True, slots=True, eq=False)
class TreePart:
    """Bounding boxes of the zones that share a frame, in an STR tree."""

    frame: Frame
    bounds_deg: tuple[float, float, float, float]
    """South, north, and west, east of the zones as offsets from `west0`, degrees, padded by REACH_M."""
    west0: float
    zones: tuple[CompiledZone, ...]
    tree: shapely.STRtree
    quiet: QuietMap

    def place(self, number: int, latitude: float, longitude: float) -> Place:
        """Look a position up: every zone whose bounds are within NEAR_M counts as nearby."""
        x, y = self.frame.to_metres(latitude, longitude)
        near = self.zones_about(x - NEAR_M, y - NEAR_M, x + NEAR_M, y + NEAR_M)
        partial = tuple(Nearby(zone, None, zone.edges, zone.edges) for zone in near)
        bound_m = 0.0 if partial else self.quiet.clearance_m(latitude, longitude)
        return Place(number, x, y, bound_m, frozenset(), partial)

    def contains(self, zone: CompiledZone, x: float, y: float) -> bool:
        """Whether a point of the frame, metres, is in one of the zones or on its boundary."""
        return Nearby(zone, None, zone.edges, zone.edges).contains(x, y)

    def edges_near(self, zone: CompiledZone, y_low: float, y_high: float) -> Iterable[Edge]:
        """The zone's edges that can meet a band of northings: here all of them."""
        return zone.edges

    def zones_about(self, west: float, south: float, east: float, north: float) -> Iterable[CompiledZone]:
        """Zones whose bounds meet a box, metres."""
        return [self.zones[k] for k in sorted(self.tree.query(shapely.box(west, south, east, north)).tolist())]

    def holds(self, latitude: float, longitude: float) -> bool:
        """Whether a position may be near a zone of this part."""
        south, north, west, east = self.bounds_deg
        return south <= latitude <= north and west <= offset_deg(longitude, self.west0) <= east


def build_tree_part(
    number: int, frame: Frame, zones: list[BorderZone], west0: float, box: tuple[float, float, float, float]
) -> tuple[TreePart, list[CompiledZone]]:
    """Compile zones that share a frame; `box`: their south, north, and west, east as offsets from `west0`."""
    compiled = [compile_zone(zone, number, frame, project(frame, zone), ONE_ROW_M) for zone in zones]
    bounds = np.array([zone.bounds for zone in compiled])
    tree = shapely.STRtree(shapely.box(*bounds.T))
    quiet = build_quiet_map(degree_edges(zones, west0), west0, box)
    return TreePart(frame, padded(box), west0, tuple(compiled), tree, quiet), compiled
