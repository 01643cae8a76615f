"""Zones of the border crossings from plazas, approach roads and the customs line.

All rules and numbers: design/detection.md section 2.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any

import shapely

from zones.border_zone import BorderZone, Confidence, Ring, ZoneKind, ZoneSet
from zones.errors import BuildError
from zones.events import Direction
from zones.frame import LocalFrame, lv95, lv95_to_degrees
from zones.ribbon import Line, chainage_of, chord, cut, length_m, passes, ribbon, simplified
from zones.rings import Findings, check_shapes, signed_area
from zones.zone_file import DECIMALS

STRAIGHT_REACH_M = 2_600.0
"""Straight centre lines reach this far each way, or BEYOND_BORDER_M past the customs line if that is more.
Longer ones would run through foreign crossings."""
BEYOND_BORDER_M = 1_600.0
OSM_TOLERANCE_M = 20.0
"""Real roads are simplified to this, otherwise the ribbon crosses itself at Schaanwald."""
OSM_YARD_M = 50.0
"""The roads begin 12 to 14 m off the plaza and wind through its yard; from here on they are roads."""
OSM_LINES = {"schaanwald": "schaanwald", "ruggell": "ruggell"}
"""Crossing to the road that serves it; Schaanwald has a second one, to Bendern."""

TRACKING_BEFORE_APPROACH_M = 5_000.0
TRACKING_BEFORE_LEAST_M = 2_000.0
TRACKING_BEYOND_BORDER_M = 1_500.0
TRACKING_AFTER_M = 750.0
TRACKING_HALF_WIDTH_M = 500.0
ACTIVATION_MOTORWAY_M = 600.0
"""8 s budget at 60 % of the remaining time at 80 km/h is 296 m; two fixes 5 s apart up to 222 m more."""
ACTIVATION_MAIN_ROAD_M = 400.0
ACTIVATION_SECONDARY_M = 300.0
CONFIRMATION_M = 250.0
# By the plaza's confidence, since the width covers part of the plaza's error.
HALF_WIDTH_M = {Confidence.HIGH: 60.0, Confidence.MEDIUM: 100.0, Confidence.LOW: 150.0}
NESTED_TOLERANCE_M = 1.0
"""Activation and confirmation lie in the tracking zone but for this much."""
BEARING_BY_NEIGHBOUR = {"brig-gamsen": "gondo"}
"""Inland office: its road leads to the plaza from that crossing."""


@dataclass(frozen=True)
class CentreLine:
    """The road through a crossing in inbound direction, foreign end first."""

    crossing: str
    points_m: Line
    """(east, north) in LV95, metres."""
    plaza_m: float
    """Chainage of the customs plaza from the foreign end, metres."""
    kind: str
    """`approach line`, `OSM road` or `straight line`."""

    def in_direction(self, direction: Direction) -> CentreLine:
        """The same road in direction of travel; OUT is the reverse."""
        if direction is not Direction.OUT:
            return self
        return CentreLine(self.crossing, self.points_m[::-1], length_m(self.points_m) - self.plaza_m, self.kind)


def centre_lines(crossings: bytes, approach: bytes, approach_osm: bytes) -> dict[str, CentreLine]:
    """Inbound centre line of each crossing, by crossing key, in file order.

    Args:
        crossings, approach, approach_osm: GeoJSON files as described in zones/data/geo/SOURCES.md.

    Raises:
        BuildError: A file cannot be read or a crossing has neither line nor bearing.
    """
    points = _features(crossings, "crossings", "id")
    drawn = _features(approach, "approach roads", "crossing_id")
    real = {feature["id"]: feature for feature in _features(approach_osm, "OSM roads", "crossing_id").values()}
    return {key: _centre_line(key, points, drawn, real) for key in points}


def build_zone_set(crossings: bytes, approach: bytes, approach_osm: bytes, border: bytes, version: str) -> ZoneSet:
    """Three zones for each direction of each crossing.

    Args:
        crossings, approach, approach_osm, border: GeoJSON files as in zones/data/geo/SOURCES.md.
        version: Version of the new set.

    Raises:
        BuildError: A file cannot be read, a centre line does not pass each of its own zones exactly once or
            does not meet the customs line where it must, or a zone is not valid; every fault is listed.
    """
    lines = centre_lines(crossings, approach, approach_osm)
    points = _features(crossings, "crossings", "id")
    faults = _border_faults(points, lines, _territory(border))
    zones: list[BorderZone] = []
    for key, line in lines.items():
        for direction in (Direction.IN, Direction.OUT):
            built, wrong = _direction_zones(points[key]["properties"], line.in_direction(direction), direction)
            zones += built
            faults += wrong
    findings = Findings()
    check_shapes(zones, findings)
    faults += map(str, findings.faults)
    if faults:
        raise BuildError(f"{len(faults)} fault(s): " + "; ".join(faults))
    return ZoneSet(version=version, zones=tuple(zones))


def _features(data: bytes, what: str, key: str) -> dict[str, dict[str, Any]]:
    """Features by the given property; of several with one value the first counts."""
    try:
        features = json.loads(data)["features"]
        keyed: dict[str, dict[str, Any]] = {}
        for feature in features:
            keyed.setdefault(feature["properties"][key], feature)
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{what}: expected GeoJSON features with property {key!r}: {error!r}") from error
    return keyed


def _territory(border: bytes) -> shapely.Polygon:
    try:
        features = json.loads(border)["features"]
        found = next(feature for feature in features if feature.get("id") == "customs-territory")
        rings = [[lv95(lat, lon) for lon, lat in ring] for ring in found["geometry"]["coordinates"]]
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise BuildError(f"border: expected a Polygon with id customs-territory: {error!r}") from error
    return shapely.Polygon(rings[0], rings[1:])


def _line(feature: dict[str, Any]) -> Line:
    return tuple(lv95(latitude, longitude) for longitude, latitude in feature["geometry"]["coordinates"])


def _plaza(feature: dict[str, Any]) -> tuple[float, float]:
    longitude, latitude = feature["geometry"]["coordinates"]
    return lv95(latitude, longitude)


def _centre_line(key: str, points: dict[str, Any], drawn: dict[str, Any], real: dict[str, Any]) -> CentreLine:
    plaza = _plaza(points[key])
    if key in drawn:
        line, kind = _line(drawn[key]), "approach line"
    else:
        heading = _inbound(key, points)
        if OSM_LINES.get(key) in real:
            road = dropwhile(lambda point: math.dist(point, plaza) < OSM_YARD_M, _line(real[OSM_LINES[key]]))
            abroad = _moved(plaza, heading, -STRAIGHT_REACH_M)
            line, kind = simplified((abroad, plaza, *road), OSM_TOLERANCE_M), "OSM road"
        else:
            beyond_m = float(points[key]["properties"]["boundary_distance_m"]) + BEYOND_BORDER_M
            reach_m = max(STRAIGHT_REACH_M, beyond_m)
            line = (_moved(plaza, heading, -reach_m), plaza, _moved(plaza, heading, reach_m))
            kind = "straight line"
    return CentreLine(key, line, chainage_of(line, plaza), kind)


def _moved(point: tuple[float, float], heading: tuple[float, float], by_m: float) -> tuple[float, float]:
    return point[0] + heading[0] * by_m, point[1] + heading[1] * by_m


def _inbound(key: str, points: dict[str, Any]) -> tuple[float, float]:
    """Unit vector (east, north) in LV95 of travel into the customs territory, at the plaza."""
    properties = points[key]["properties"]
    plaza = _plaza(points[key])
    bearing = properties["inbound_bearing_deg"]
    if bearing is not None:
        return _grid_direction(points[key]["geometry"]["coordinates"], bearing)
    if key in BEARING_BY_NEIGHBOUR:
        start = _plaza(points[BEARING_BY_NEIGHBOUR[key]])
    else:
        longitude, latitude = properties["border_point"]
        start = lv95(latitude, longitude)
    distance_m = math.dist(start, plaza)
    if distance_m < 1.0:
        raise BuildError(f"{key}: no inbound bearing, and the plaza lies on the customs line")
    return (plaza[0] - start[0]) / distance_m, (plaza[1] - start[1]) / distance_m


def _grid_direction(position: Sequence[float], bearing_deg: float) -> tuple[float, float]:
    """True bearing to a unit vector of the grid; LV95's north is up to 2.2 degrees off true north."""
    local = LocalFrame(position[1], position[0])
    angle = math.radians(bearing_deg)
    start = lv95(position[1], position[0])
    end = lv95(*local.to_degrees(1_000.0 * math.sin(angle), 1_000.0 * math.cos(angle)))
    distance_m = math.dist(start, end)
    return (end[0] - start[0]) / distance_m, (end[1] - start[1]) / distance_m


def true_bearing(start_m: tuple[float, float], end_m: tuple[float, float]) -> float:
    """True bearing in degrees from one LV95 position to another, one decimal."""
    latitude, longitude = lv95_to_degrees(*start_m)
    east_m, north_m = LocalFrame(latitude, longitude).to_metres(*lv95_to_degrees(*end_m))
    return round(math.degrees(math.atan2(east_m, north_m)) % 360.0, 1) % 360.0


def _border_faults(points: dict[str, Any], lines: dict[str, CentreLine], territory: shapely.Polygon) -> list[str]:
    """Centre lines that do not meet the customs line as they must; inland offices need not."""
    shapely.prepare(territory)
    faults = []
    for key, line in lines.items():
        if points[key]["properties"].get("inland"):
            continue
        if line.kind == "straight line":  # a guessed course may run back over a winding border, but must meet it
            if not territory.intersects(road := shapely.LineString(line.points_m)) or territory.covers(road):
                faults.append(f"{key}: the centre line does not meet the customs line")
            continue
        if shapely.intersects_xy(territory, *line.points_m[0]):
            faults.append(f"{key}: foreign end of the centre line lies in the customs territory")
        if not shapely.intersects_xy(territory, *line.points_m[-1]):
            faults.append(f"{key}: inner end of the centre line lies outside the customs territory")
    return faults


@dataclass(frozen=True)
class _Span:
    """Where along the road a zone lies, chainage in direction of travel, and how wide it is to each side."""

    kind: ZoneKind
    from_m: float
    to_m: float
    half_width_m: float


def confidence_of(properties: dict[str, Any]) -> Confidence:
    """Confidence of a crossing's zones: of its plaza, at most medium where the road's course is a guess."""
    plaza = Confidence(properties["confidence"])
    guessed = properties["bearing_source"] == "boundary normal"
    return Confidence.MEDIUM if guessed and plaza is Confidence.HIGH else plaza


def _activation_m(properties: dict[str, Any]) -> float:
    swiss_road = str(properties["road"]).split("/", 1)[0]
    if swiss_road[:1] == "A" and swiss_road[1:2].isdigit():
        return ACTIVATION_MOTORWAY_M
    return ACTIVATION_SECONDARY_M if properties["class"] == "secondary" else ACTIVATION_MAIN_ROAD_M


def _tracking_before_m(properties: dict[str, Any], line: CentreLine) -> float:
    if line.kind == "approach line":
        return TRACKING_BEFORE_APPROACH_M
    return max(TRACKING_BEFORE_LEAST_M, float(properties["boundary_distance_m"]) + TRACKING_BEYOND_BORDER_M)


def _spans(properties: dict[str, Any], line: CentreLine) -> tuple[_Span, ...]:
    plaza_m, end_m = line.plaza_m, length_m(line.points_m)
    start_m = max(0.0, plaza_m - _tracking_before_m(properties, line))
    half_m = HALF_WIDTH_M[Confidence(properties["confidence"])]
    return (
        _Span(ZoneKind.TRACKING, start_m, min(end_m, plaza_m + TRACKING_AFTER_M), TRACKING_HALF_WIDTH_M),
        _Span(ZoneKind.ACTIVATION, plaza_m - _activation_m(properties), plaza_m, half_m),
        _Span(ZoneKind.CONFIRMATION, plaza_m, plaza_m + CONFIRMATION_M, half_m),
    )


def _direction_zones(
    properties: dict[str, Any], line: CentreLine, direction: Direction
) -> tuple[list[BorderZone], list[str]]:
    """The three zones of one direction, and what is wrong with them."""
    zones: list[BorderZone] = []
    faults: list[str] = []
    outlines: dict[ZoneKind, shapely.Polygon] = {}
    for span in _spans(properties, line):
        outlines[span.kind] = outline = _outline(line.points_m, span)
        faults += _span_faults(f"{line.crossing}/{direction.value.lower()}/{span.kind.value.lower()}", line, outline)
        zones.append(_zone(properties, line, direction, span.kind, outline))
    around = shapely.buffer(outlines[ZoneKind.TRACKING], NESTED_TOLERANCE_M)
    for kind in (ZoneKind.ACTIVATION, ZoneKind.CONFIRMATION):
        if not around.covers(outlines[kind]):
            faults.append(f"{line.crossing}/{direction.value.lower()}: {kind.value} reaches out of the tracking zone")
    return zones, faults


def _outline(points: Line, span: _Span) -> shapely.Polygon:
    """Tracking: flat-cap buffer; the others: mitre ribbon, so that neighbours share one gate edge."""
    if span.kind is ZoneKind.TRACKING:
        part = shapely.LineString(cut(points, span.from_m, span.to_m))
        return shapely.buffer(part, span.half_width_m, cap_style="flat", quad_segs=4)
    return shapely.Polygon(ribbon(points, span.from_m, span.to_m, span.half_width_m))


def _span_faults(name: str, line: CentreLine, outline: shapely.Polygon) -> list[str]:
    if not outline.is_valid:
        return [f"{name}: {shapely.is_valid_reason(outline)}"]
    times = len(passes(line.points_m, outline))
    return [] if times == 1 else [f"{name}: the centre line passes it {times} times, expected once"]


def _zone(
    properties: dict[str, Any],
    line: CentreLine,
    direction: Direction,
    kind: ZoneKind,
    outline: shapely.Polygon,
) -> BorderZone:
    runs = passes(line.points_m, outline)
    ends = chord(line.points_m, runs[0]) if runs else None
    course = f"straight line on {properties['bearing_source']}" if line.kind == "straight line" else line.kind
    return BorderZone(
        id=f"{line.crossing}/{direction.value.lower()}/{kind.value.lower()}",
        polygons=((_degrees(outline),),),
        kind=kind,
        crossing=line.crossing,
        customs_office=properties["office_ref"],
        direction=direction,
        bearing=true_bearing(*ends) if ends else None,
        competences=_competences(properties, direction),
        source=f"{course}; plaza: {properties['source']}",
        confidence=confidence_of(properties),
    )


def _competences(properties: dict[str, Any], direction: Direction) -> frozenset[str]:
    """Transit by BAZG's table; import inbound and export outbound at every crossing."""
    trade = "IMPORT" if direction is Direction.IN else "EXPORT"
    transit = properties["activ_transit_in" if direction is Direction.IN else "activ_transit_out"]
    return frozenset({trade, "TRANSIT"} if transit else {trade})


def _degrees(outline: shapely.Polygon) -> Ring:
    """Outer ring as longitude, latitude, counter-clockwise, rounded as the file will hold it."""
    ring: Ring = tuple(_position(east_m, north_m) for east_m, north_m in outline.exterior.coords)
    return ring if signed_area(ring) >= 0.0 else ring[::-1]


def _position(east_m: float, north_m: float) -> tuple[float, float]:
    latitude, longitude = lv95_to_degrees(east_m, north_m)
    return round(longitude, DECIMALS), round(latitude, DECIMALS)


__all__ = ["CentreLine", "build_zone_set", "centre_lines", "true_bearing"]
