"""Shapes of a zone file: positions, closure, winding, validity, overlap.

Rules: design/detection.md section 2, "Load check".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import shapely

from zones.border_zone import BorderZone, Ring, ZoneKind
from zones.errors import Fault
from zones.frame import LV95_EAST, LV95_NORTH, LV95_SOUTH, LV95_WEST
from zones.overlap import OverlapSearch, Shape, TooIntricateError

MAX_LATITUDE = 85.0
"""Nearer the poles the local frames no longer hold."""
MAX_VERTICES = 100_000
"""Vertices of one zone, all rings together."""
MAX_OVERLAP_CANDIDATES = 5_000_000
"""Pairs of activation zones whose boxes meet; beyond it the file is refused rather than searched."""
MAX_OVERLAPS = 1_000
"""Overlaps named; a thousand zones in one place would have half a million."""

Polygons: TypeAlias = tuple[tuple[Ring, ...], ...]

_VALIDITY_WORDS = {
    "Self-intersection": "ring crosses itself",
    "Ring Self-intersection": "ring touches or crosses itself",
    "Hole lies outside shell": "hole lies outside its outer ring",
    "Holes are nested": "a hole lies inside another hole",
    "Nested shells": "one polygon lies inside another of the same zone",
    "Duplicate Rings": "the same ring is there twice",
    "Interior is disconnected": "holes cut the zone into pieces",
    "Too few points in geometry component": "ring has fewer than 3 different positions",
}
"""GEOS's reasons in the author's words."""


@dataclass
class Findings:
    """What reading one file has brought to light, in file order."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    longitude_first: bool = False
    """The author vouches for the axis order (`borderlane.axisOrder`)."""

    def fault(self, feature: str, what: str, where: str = "") -> None:
        """Note one fault."""
        self.faults.append(Fault(feature, what, where))


def read_polygons(label: str, geometry: object, findings: Findings) -> Polygons | None:
    """Rings of a GeoJSON geometry, wound by the right-hand rule; None after noting every fault found.

    Args:
        label: Feature id, for the faults.
        geometry: Decoded `geometry` member.
        findings: Takes faults, and a warning for each ring that was turned round.
    """
    shapes = _shapes(label, geometry, findings)
    if shapes is None:
        return None
    before = len(findings.faults)
    if (count := _vertex_count(shapes)) > MAX_VERTICES:
        findings.fault(label, f"{count} vertices: at most {MAX_VERTICES} are allowed", "geometry.coordinates")
        return None
    polygons = tuple(_read_polygon(label, rings, place, findings) for rings, place in shapes)
    if len(findings.faults) > before:
        return None
    if not findings.longitude_first and _looks_swapped(polygons):
        longitude, latitude = polygons[0][0][0]
        findings.fault(
            label,
            f"axis order: expected longitude, latitude; [{longitude}, {latitude}] lies in Switzerland only "
            'if swapped (if it is right as it stands, say "axisOrder": "longitude-latitude" in `borderlane`)',
            "geometry.coordinates",
        )
        return None
    return polygons


def _shapes(label: str, geometry: object, findings: Findings) -> list[tuple[list[object], str]] | None:
    """Each polygon's list of rings with its path."""
    if not isinstance(geometry, dict):
        findings.fault(label, f"geometry is {_word(geometry)}: expected a Polygon or MultiPolygon", "geometry")
        return None
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    path = "geometry.coordinates"
    if kind not in ("Polygon", "MultiPolygon"):
        findings.fault(label, f"geometry type {shown(kind)}: expected Polygon or MultiPolygon", "geometry.type")
        return None
    if not isinstance(coordinates, list) or not coordinates:
        findings.fault(label, f"coordinates are {_word(coordinates)}: expected a list of rings", path)
        return None
    members = [(coordinates, path)]
    if kind == "MultiPolygon":
        members = [(member, f"{path}[{at}]") for at, member in enumerate(coordinates)]
    wrong = [place for member, place in members if not isinstance(member, list) or not member]
    for place in wrong:
        findings.fault(label, "polygon without rings: expected a list of rings", place)
    return None if wrong else members


def _vertex_count(shapes: list[tuple[list[object], str]]) -> int:
    return sum(len(ring) for rings, _ in shapes for ring in rings if isinstance(ring, list))


def _read_polygon(label: str, rings: list[object], place: str, findings: Findings) -> tuple[Ring, ...]:
    read = []
    for at, ring in enumerate(rings):
        positions = _read_ring(label, ring, f"{place}[{at}]", findings)
        if positions:
            read.append(_wound(label, positions, at == 0, f"{place}[{at}]", findings))
    return tuple(read)


def _read_ring(label: str, ring: object, place: str, findings: Findings) -> Ring:
    """One ring, or () after noting what is wrong with it."""
    if not isinstance(ring, list):
        findings.fault(label, f"ring is {_word(ring)}: expected a list of positions", place)
        return ()
    bad = [(at, reason) for at, position in enumerate(ring) if (reason := _position_fault(position))]
    if bad:
        more = f" (and {len(bad) - 1} more in this ring)" if len(bad) > 1 else ""
        findings.fault(label, bad[0][1] + more, f"{place}[{bad[0][0]}]")
        return ()
    positions = tuple((float(position[0]), float(position[1])) for position in ring)
    if reason := _ring_fault(positions):
        findings.fault(label, reason, place)
        return ()
    return positions


def _position_fault(position: object) -> str | None:
    if not isinstance(position, list) or len(position) < 2:
        return f"position is {_word(position)}: expected [longitude, latitude]"
    longitude, latitude = position[0], position[1]
    for name, value in (("longitude", longitude), ("latitude", latitude)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
            return f"{name} {shown(value)}: expected a finite number"
    if -180.0 <= longitude <= 180.0 and -MAX_LATITUDE <= latitude <= MAX_LATITUDE:
        return None
    if -MAX_LATITUDE <= longitude <= MAX_LATITUDE and 90.0 < abs(latitude) <= 180.0:
        return f"axis order: expected longitude, latitude; [{longitude}, {latitude}] fits only if swapped"
    if not -180.0 <= longitude <= 180.0:
        return f"longitude {shown(longitude)}: expected -180 to 180"
    return f"latitude {shown(latitude)}: expected -{MAX_LATITUDE:g} to {MAX_LATITUDE:g}"


def _ring_fault(positions: Ring) -> str | None:
    if len(positions) < 4:
        return f"ring has {len(positions)} positions: expected at least 4, the last equal to the first"
    if positions[0] != positions[-1]:
        return f"ring is not closed: starts at {positions[0]}, ends at {positions[-1]}"
    longitudes = [longitude for longitude, _ in positions]
    if max(longitudes) - min(longitudes) > 180.0:
        return "ring is over 180 degrees wide: split it at the antimeridian (RFC 7946 section 3.1.9)"
    return None


def _wound(label: str, ring: Ring, outer: bool, place: str, findings: Findings) -> Ring:
    """The ring by the right-hand rule; readers must accept the other winding (RFC 7946 section 3.1.6)."""
    if outer == (signed_area(ring) >= 0.0):
        return ring
    expected = "counter-clockwise" if outer else "clockwise"
    findings.warnings.append(f"{label}: ring turned round, expected {expected} ({place})")
    return ring[::-1]


def signed_area(ring: Sequence[tuple[float, float]]) -> float:
    """Area of a closed ring in its own units squared, positive if counter-clockwise."""
    x0, y0 = ring[0]  # relative to the first position, to keep digits
    total = 0.0
    for (x1, y1), (x2, y2) in pairwise(ring):
        total += (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    return total / 2.0


def _looks_swapped(polygons: Polygons) -> bool:
    """True if the zone lies at home with its axes swapped, and not as it stands."""
    longitudes = [position[0] for rings in polygons for ring in rings for position in ring]
    latitudes = [position[1] for rings in polygons for ring in rings for position in ring]
    return (
        min(longitudes) >= LV95_SOUTH
        and max(longitudes) <= LV95_NORTH
        and min(latitudes) >= LV95_WEST
        and max(latitudes) <= LV95_EAST
    )


def check_shapes(zones: Sequence[BorderZone], findings: Findings) -> None:
    """Validity by GEOS, and overlap between activation zones of different crossings."""
    activation: list[BorderZone] = []
    shapes: list[Shape] = []
    for zone in zones:
        shape = degrees_shape(zone)
        if not shape.is_valid:
            what, where = _validity_words(shapely.is_valid_reason(shape))
            findings.fault(zone.id, what, where)
        elif zone.kind is ZoneKind.ACTIVATION:
            activation.append(zone)
            shapes.append(shape)
    _check_overlap(activation, shapes, findings)


def degrees_shape(zone: BorderZone) -> Shape:
    """The zone as a shape in degrees, longitude first."""
    parts = [shapely.Polygon(rings[0], rings[1:]) for rings in zone.polygons]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _validity_words(reason: str) -> tuple[str, str]:
    """GEOS's `Self-intersection[8.6 47.7]` as what and where."""
    name, _, place = reason.partition("[")
    longitude, _, latitude = place.rstrip("]").partition(" ")
    where = f"at longitude {longitude}, latitude {latitude}" if latitude else ""
    return _VALIDITY_WORDS.get(name, f"invalid polygon: {name}"), where


def _check_overlap(zones: list[BorderZone], shapes: list[Shape], findings: Findings) -> None:
    search, named = OverlapSearch(), 0
    for left, right in _candidates(zones, shapes, findings):
        try:
            found = search.find(shapes[left], shapes[right])
        except TooIntricateError:
            what = f"too finely wound around activation zone {zones[right].id} to be compared: simplify it"
            findings.fault(zones[left].id, what)
            return
        if found is None:
            continue
        if named == MAX_OVERLAPS:
            findings.fault("file", f"over {MAX_OVERLAPS} overlaps between crossings: the rest is not listed")
            return
        named += 1
        findings.fault(
            zones[left].id,
            f"overlaps activation zone {zones[right].id} of another crossing by "
            f"{'' if found.whole else 'at least '}{found.area_m2:.0f} m2: one entry would activate at both",
            f"at longitude {found.longitude:.6f}, latitude {found.latitude:.6f}",
        )


def _candidates(zones: list[BorderZone], shapes: list[Shape], findings: Findings) -> Iterator[tuple[int, int]]:
    """Pairs of zones of different crossings that meet; stops at the bound, as a fault."""
    tree = shapely.STRtree(shapes)
    keys = [zone.crossing_key for zone in zones]
    seen = 0
    for left, shape in enumerate(shapes):
        near = tree.query(shape)
        seen += len(near)
        if seen > MAX_OVERLAP_CANDIDATES:
            findings.fault("file", f"over {MAX_OVERLAP_CANDIDATES} pairs of activation zones lie over each other")
            return
        others = sorted(int(right) for right in near if right > left and keys[right] != keys[left])
        yield from ((left, right) for right in others if shapely.intersects(shape, shapes[right]))


def shown(value: object) -> str:
    """A value from a file as it appears in a message, cut at 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _word(value: object) -> str:
    """What a JSON value is, for people."""
    if value is None:
        return "null or missing"
    if isinstance(value, list | dict) and not value:
        return "empty"
    return {"list": "a list", "dict": "an object", "str": "text", "bool": "a truth value"}.get(
        type(value).__name__, "a number"
    )
