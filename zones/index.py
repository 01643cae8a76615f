"""Compiled index: cells, distance bounds, local edges (design/detection.md section 4).

One grid for each group of zones that share a frame (`zones/grid.py`), and the questions the detector asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from zones.border_zone import BorderZone, ZoneSet
from zones.frame import Frame, frame_for
from zones.grid import (
    NOWHERE,
    Array,
    CompiledZone,
    Part,
    Place,
    build_part,
    offset_deg,
    unit_vector,
)
from zones.membership import Edge
from zones.quiet_map import NO_BOX, Box
from zones.tree import TreePart, build_tree_part

CLUSTER_M = 20_000.0
"""Zones closer than this share a frame."""
MAX_DEGREE_M = 111_700.0
"""No degree of latitude, and no degree of longitude times cos(latitude), is longer on WGS 84."""
LENGTH_SLACK = 1.005
"""Frames are off by at most 0.3 %; a length used to reject must never be too short."""
GRID_ZONES = 2_000
"""Cells of a grid cost 66 MB for 1,000 zones and 649 MB for 10,000 (design/detection.md section 4)."""
FAR_DEG = 0.02
"""Side of a cell far from every part: two of them are less than REACH_M, north and east."""
MAX_SEARCH_M = 25_000.0
"""Longer segments are not searched for zones between their ends."""


@dataclass(frozen=True, eq=False)
class ZoneIndex:
    """All zones of one set, immutable, shared by all units."""

    zone_set: ZoneSet
    parts: tuple[Part | TreePart, ...]
    zones: dict[str, CompiledZone]
    metres_per_longitude: float
    """Over-long scale at the lowest latitude of any zone: lengths for rejecting are never too short."""
    metres_per_latitude: float = field(default=MAX_DEGREE_M * LENGTH_SLACK)

    @property
    def kind(self) -> str:
        """`grid`, or above GRID_ZONES zones `tree`: what answers near the zones, for the log."""
        return "tree" if any(isinstance(part, TreePart) for part in self.parts) else "grid"

    @property
    def version(self) -> str:
        """Version of the zone set."""
        return self.zone_set.version

    def place(self, latitude: float, longitude: float) -> Place:
        """Which zones a position is in or near, in the frame of its part."""
        parts = self.parts
        if len(parts) == 1:
            return parts[0].place(0, latitude, longitude)
        for number, part in enumerate(self.parts):
            if part.holds(latitude, longitude):
                return part.place(number, latitude, longitude)
        return NOWHERE

    def quiet_box(self, latitude: float, longitude: float) -> Box:
        """A box in degrees about a position in which no zone begins or ends; NO_BOX near an edge."""
        if len(self.parts) == 1:
            return self.parts[0].quiet.box(latitude, longitude)
        for part in self.parts:
            if part.holds(latitude, longitude):
                return _meet(part.quiet.box(latitude, longitude), _box_of(part, longitude))
        return _far_box(latitude, longitude)

    def way_is_free(self, latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> bool:
        """Whether there is no edge in the cells about a way: quicker than `way_is_clear`, and oftener no."""
        if len(self.parts) == 1:
            return self.parts[0].quiet.is_free(latitude, longitude, to_latitude, to_longitude)
        for part in self.parts:
            if part.holds(latitude, longitude):
                held = part.holds(to_latitude, to_longitude)
                return held and part.quiet.is_free(latitude, longitude, to_latitude, to_longitude)
        return False

    def way_is_clear(self, latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> bool:
        """Whether no edge of any zone is on the straight way between two positions; of a long one it says no."""
        if len(self.parts) == 1:
            return self.parts[0].way_is_clear(latitude, longitude, to_latitude, to_longitude)
        for part in self.parts:
            if part.holds(latitude, longitude):
                held = part.holds(to_latitude, to_longitude)
                return held and part.way_is_clear(latitude, longitude, to_latitude, to_longitude)
        return False

    def outside(self, latitudes: Array, longitudes: Array) -> npt.NDArray[np.bool_]:
        """Which of many positions are certainly in no zone, and not beside one."""
        found = np.ones(len(latitudes), np.bool_)
        for part in self.parts:
            south, north, west, east = part.bounds_deg
            offsets = (longitudes - part.west0 + 180.0) % 360.0 - 180.0
            held = (south <= latitudes) & (latitudes <= north) & (west <= offsets) & (offsets <= east)
            found[held] = part.outside(latitudes[held], longitudes[held])
        return found

    def containing(self, latitude: float, longitude: float) -> frozenset[str]:
        """Ids of the zones a position is in; the boundary counts as inside."""
        return self.place(latitude, longitude).members()

    def contains(self, zone: CompiledZone, x: float, y: float) -> bool:
        """Whether a point of the zone's frame, metres, is in the zone or on its boundary."""
        return self.parts[zone.part].contains(zone, x, y)

    def edges_near(self, zone: CompiledZone, y_low: float, y_high: float) -> Iterable[Edge]:
        """The zone's edges that can meet a band of northings; each at most once."""
        return self.parts[zone.part].edges_near(zone, y_low, y_high)

    def zones_about(self, part: int, x0: float, y0: float, x1: float, y1: float) -> list[CompiledZone]:
        """Zones whose bounds meet the box of a segment; none for a segment longer than MAX_SEARCH_M."""
        west, east, south, north = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        if part < 0 or east - west > MAX_SEARCH_M or north - south > MAX_SEARCH_M:
            return []
        about = self.parts[part].zones_about(west, south, east, north)
        return [zone for zone in about if meets(zone.bounds, x0, y0, x1, y1)]

    def distance_to_exit_m(
        self, zone_id: str, latitude: float, longitude: float, heading_deg: float | None = None
    ) -> float:
        """Way from a position to the end of a zone, metres, >= 0.

        Measured along the zone's `bearing`: to its farthest vertex in that direction, so that a bent road
        does not end at its first bend. Without a bearing, to the farthest boundary straight ahead on
        `heading_deg`; without either, to the farthest vertex.

        Raises:
            KeyError: no zone of that id.
        """
        zone = self.zones[zone_id]
        frame = self.parts[zone.part].frame
        x, y = frame.to_metres(latitude, longitude)
        if zone.along is not None:
            east, north = zone.along
            return max(0.0, max((e[0] - x) * east + (e[1] - y) * north for e in zone.edges))
        if heading_deg is not None:
            return _straight_ahead_m(zone.edges, x, y, unit_vector(frame, latitude, longitude, heading_deg))
        return max(math.hypot(e[0] - x, e[1] - y) for e in zone.edges)

    def distance_from_entry_m(self, zone_id: str, latitude: float, longitude: float) -> float | None:
        """Way from where a zone begins, along its `bearing`, to a position, metres, >= 0; None without a bearing.

        Raises:
            KeyError: no zone of that id.
        """
        zone = self.zones[zone_id]
        if zone.along is None:
            return None
        x, y = self.parts[zone.part].frame.to_metres(latitude, longitude)
        east, north = zone.along
        return max(0.0, max((x - e[0]) * east + (y - e[1]) * north for e in zone.edges))


def _meet(one: Box, other: Box) -> Box:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _box_of(part: Part | TreePart, longitude: float) -> Box:
    """Where a part holds, in longitudes about this one."""
    south, north, west, east = part.bounds_deg
    base = longitude - offset_deg(longitude, part.west0)
    return south, base + west, north, base + east


def _far_box(latitude: float, longitude: float) -> Box:
    """About a position held by no part, so REACH_M from every zone: FAR_DEG each way, on a raster (privacy)."""
    if not (math.isfinite(latitude) and math.isfinite(longitude)):
        return NO_BOX
    south, west = math.floor(latitude / FAR_DEG) * FAR_DEG, math.floor(longitude / FAR_DEG) * FAR_DEG
    return south - FAR_DEG, west - FAR_DEG, south + 2.0 * FAR_DEG, west + 2.0 * FAR_DEG


def compile_index(zone_set: ZoneSet, grid_zones: int = GRID_ZONES) -> ZoneIndex:
    """Compile a valid zone set; zones of 100,000 vertices and areas of a whole country are fine.

    Args:
        zone_set: Valid, by `zones.catalogue`.
        grid_zones: With more zones than this a tree takes the place of the grid; see `ZoneIndex.kind`.
    """
    clusters = _clusters(zone_set.zones)
    parts: list[Part | TreePart] = []
    zones: dict[str, CompiledZone] = {}
    for frame, group in clusters:
        box = (group.south, group.north, group.west, group.east)
        build = build_part if len(zone_set.zones) <= grid_zones else build_tree_part
        part, compiled = build(len(parts), frame, group.zones, group.west0, box)
        parts.append(part)
        zones.update((zone.id, zone) for zone in compiled)
    lowest = min((abs(lat) for z in zone_set.zones for _, lat in _positions(z)), default=0.0)
    lowest = max(0.0, lowest - 0.1)
    scale = MAX_DEGREE_M * math.cos(math.radians(lowest)) * LENGTH_SLACK
    return ZoneIndex(zone_set, tuple(parts), zones, scale)


def _positions(zone: BorderZone) -> Iterator[tuple[float, float]]:
    for rings in zone.polygons:
        for ring in rings:
            yield from ring


def meets(bounds: tuple[float, float, float, float], x0: float, y0: float, x1: float, y1: float) -> bool:
    """Whether the box of a segment meets a zone's bounds."""
    return (
        bounds[0] <= max(x0, x1) and bounds[2] >= min(x0, x1) and bounds[1] <= max(y0, y1) and bounds[3] >= min(y0, y1)
    )


# --- groups that share a frame --------------------------------------------------------------------


@dataclass
class _Cluster:
    zones: list[BorderZone]
    west0: float
    south: float
    north: float
    west: float
    east: float

    def near(self, other: _Cluster) -> bool:
        lat = max(abs(self.south), abs(self.north), abs(other.south), abs(other.north))
        pad_lat = CLUSTER_M / 110_000.0
        pad_lon = pad_lat / max(0.05, math.cos(math.radians(min(lat, 87.0))))
        shift = offset_deg(other.west0, self.west0)
        return (
            self.south - pad_lat <= other.north
            and other.south - pad_lat <= self.north
            and self.west - pad_lon <= other.east + shift
            and other.west + shift - pad_lon <= self.east
        )

    def absorb(self, other: _Cluster) -> None:
        shift = offset_deg(other.west0, self.west0)
        self.zones += other.zones
        self.south, self.north = min(self.south, other.south), max(self.north, other.north)
        self.west, self.east = min(self.west, other.west + shift), max(self.east, other.east + shift)


def _cluster_of(zone: BorderZone) -> _Cluster:
    positions = list(_positions(zone))
    west0 = positions[0][0]
    lons = [offset_deg(lon, west0) for lon, _ in positions]
    lats = [lat for _, lat in positions]
    return _Cluster([zone], west0, min(lats), max(lats), min(lons), max(lons))


def _clusters(zones: tuple[BorderZone, ...]) -> list[tuple[Frame, _Cluster]]:
    """Groups of zones, each with its frame; boxes of different groups are more than CLUSTER_M apart.

    One group holds everything at home: where LV95 serves all, one frame and one grid are simplest.
    """
    if not zones:
        return []
    whole = _cluster_of(zones[0])
    for zone in zones[1:]:
        whole.absorb(_cluster_of(zone))
    frame = frame_for([(lat, lon) for z in zones for lon, lat in _positions(z)])
    if frame.name == "LV95":
        return [(frame, whole)]
    groups: list[_Cluster] = []
    for zone in zones:
        new = _cluster_of(zone)
        while touching := next((g for g in groups if g.near(new)), None):
            groups.remove(touching)
            touching.absorb(new)
            new = touching
        groups.append(new)
    return [(frame_for([(lat, lon) for z in g.zones for lon, lat in _positions(z)]), g) for g in groups]


def _straight_ahead_m(edges: tuple[Edge, ...], x: float, y: float, ahead: tuple[float, float]) -> float:
    east, north = ahead
    farthest = 0.0
    for x1, y1, x2, y2 in edges:
        side1 = (x1 - x) * north - (y1 - y) * east
        side2 = (x2 - x) * north - (y2 - y) * east
        if (side1 > 0.0) != (side2 > 0.0):
            share = side1 / (side1 - side2)
            reach = (x1 + share * (x2 - x1) - x) * east + (y1 + share * (y2 - y1) - y) * north
            farthest = max(farthest, reach)
    return farthest
