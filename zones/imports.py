"""Zones from an operator's own shapes: polygons as they are, lines and points with a buffer around them."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import shapely

from zones.border_zone import ZoneKind, ZoneSet
from zones.errors import BuildError, ZoneFileError
from zones.events import Direction
from zones.frame import Frame, frame_for
from zones.hours import OpeningHours
from zones.rings import MAX_LATITUDE, MAX_VERTICES, Findings, shown
from zones.zone_file import DECIMALS, MAX_FILE_BYTES, MAX_TEXT, MAX_ZONES, PROPERTIES, parse_zone_set

MAX_BUFFER_M = 5_000.0
"""As far as the longest tracking zone reaches (design/detection.md section 2)."""
MAX_ID = 80
"""Characters of a derived id, before the number that makes it unique."""

_LINES = {"LineString": 1, "MultiLineString": 2}
_POINTS = {"Point": 0, "MultiPoint": 1}
_DEPTH = _LINES | _POINTS
"""Lists around the positions of a geometry that needs a buffer."""
_POLYGONS = ("Polygon", "MultiPolygon")
_OPTIONS_SAY = tuple(name for name in PROPERTIES if name not in ("id", "openingHours", "source", "confidence"))

Position = tuple[float, float]
"""Longitude, latitude in degrees."""


@dataclass(frozen=True)
class ForeignShape:
    """One shape of a file that is not ours."""

    label: str
    """What the file calls it, for messages: its id or `#n` by position."""
    name: str | None
    """What its zone id is derived from; None: the label."""
    geometry: object
    """GeoJSON geometry, not yet checked."""
    opening_hours: str | None = None
    source: str = ""


@dataclass(frozen=True)
class ImportOptions:
    """What the shapes of one file are to become."""

    kind: ZoneKind = ZoneKind.ACTIVATION
    crossing: str | None = None
    """None: each zone is a crossing of its own, called by its id."""
    customs_office: str | None = None
    direction: Direction | None = None
    buffer_m: float | None = None
    """Distance of the outline from lines and points, metres; None: polygons only."""


@dataclass(frozen=True)
class Import:
    """Shapes of a file, and what of it was not taken."""

    shapes: tuple[ForeignShape, ...]
    notes: tuple[str, ...] = ()


def read_shapes(data: bytes, source: str) -> Import:
    """Shapes of a GeoJSON file: a FeatureCollection, a Feature or a bare geometry.

    Of the properties, `name`, `id`, `opening_hours` (or `openingHours`), `source` and `licence` are used.

    Raises:
        BuildError: Not GeoJSON, empty, or too large.
    """
    features = _features(data, source)
    if not features:
        raise BuildError(f"{source}: no features: expected at least one")
    if len(features) > MAX_ZONES:
        raise BuildError(f"{source}: {len(features)} features: at most {MAX_ZONES} are read")
    shapes = tuple(_shape(at, feature, source) for at, feature in enumerate(features))
    unused = [name for name in _OPTIONS_SAY if any(_given(feature, name) for feature in features)]
    notes = (f"not taken from the file, use the options: {', '.join(unused)}",) if unused else ()
    return Import(shapes, notes)


def _features(data: bytes, source: str) -> list[Any]:
    if len(data) > MAX_FILE_BYTES:
        raise BuildError(f"{source}: {len(data)} bytes: at most {MAX_FILE_BYTES} are read")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BuildError(f"{source}: not JSON: {error}") from None
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection" and isinstance(document.get("features"), list):
        return list(document["features"])
    if kind == "Feature":
        return [document]
    if kind in _POLYGONS or kind in _DEPTH:
        return [{"type": "Feature", "geometry": document}]
    raise BuildError(f"{source}: type {shown(kind)}: expected a GeoJSON FeatureCollection, Feature or shape")


def _properties(feature: Any) -> dict[str, Any]:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    return properties if isinstance(properties, dict) else {}


def _given(feature: Any, name: str) -> bool:
    return _properties(feature).get(name) is not None


def _shape(at: int, feature: Any, source: str) -> ForeignShape:
    properties = _properties(feature)
    known = _first_text(properties.get("id"), feature.get("id") if isinstance(feature, dict) else None)
    name = _first_text(properties.get("name"))
    parts = (_first_text(properties.get("source")) or source, _first_text(properties.get("licence")))
    return ForeignShape(
        label=known or (f"#{at} ({name})" if name else f"#{at}"),
        name=_first_text(properties.get("id")) or name or known,
        geometry=feature.get("geometry") if isinstance(feature, dict) else None,
        opening_hours=_first_text(properties.get("openingHours"), properties.get("opening_hours")),
        source=", ".join(part for part in parts if part),
    )


def _first_text(*values: object) -> str | None:
    """The first that is a text or a whole number, as one line."""
    for value in values:
        if isinstance(value, str | int) and not isinstance(value, bool):
            text = "".join(mark if mark.isprintable() else " " for mark in str(value)[:MAX_TEXT]).strip()
            if text:
                return text
    return None


def import_zones(imported: Import, options: ImportOptions, source: str, version: str) -> tuple[ZoneSet, Import]:
    """Zones from foreign shapes; ids are derived from names and made unique by a number.

    Args:
        imported: As from `read_shapes` or from an OpenStreetMap extract.
        options: What the zones are to be.
        source: Name of the file, for messages.
        version: Version of the new set.

    Returns:
        The checked set, and the import with what else was left out among its notes.

    Raises:
        BuildError: The buffer is out of range.
        ZoneFileError: Shapes are wrong, or the zones break a rule of zone files; every fault is listed.
    """
    if options.buffer_m is not None and not 0.0 < options.buffer_m <= MAX_BUFFER_M:
        raise BuildError(f"buffer {options.buffer_m:g} m: expected over 0 to {MAX_BUFFER_M:g} m")
    findings = Findings()
    features, notes = [], list(imported.notes)
    ids = unique_ids(shape.name or shape.label for shape in imported.shapes)
    for shape, zone_id in zip(imported.shapes, ids, strict=True):
        geometry = _outline(shape, options.buffer_m, findings)
        features.append(_zone(zone_id, shape, geometry, options, notes))
    if findings.faults:
        raise ZoneFileError(source, tuple(findings.faults))
    document = {"type": "FeatureCollection", "borderlane": {"version": version}, "features": features}
    zone_set = parse_zone_set(json.dumps(document).encode(), source)
    return zone_set, Import(imported.shapes, (*notes, *zone_set.warnings))


def _zone(
    zone_id: str, shape: ForeignShape, geometry: object, options: ImportOptions, notes: list[str]
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {
            "id": zone_id,
            "crossing": options.crossing,
            "customsOffice": options.customs_office,
            "direction": options.direction.value if options.direction else None,
            "zone": options.kind.value,
            "openingHours": _hours(shape, notes),
            "source": shape.source[:MAX_TEXT] or None,
        },
        "geometry": geometry,
    }


def _hours(shape: ForeignShape, notes: list[str]) -> str | None:
    """Opening hours that can be read; others are noted, since nobody may be able to mend the source."""
    if shape.opening_hours is None:
        return None
    try:
        return OpeningHours.parse(shape.opening_hours).text
    except ValueError as error:
        notes.append(f"{shape.label}: opening hours {shown(shape.opening_hours)} left out: {error}")
        return None


def unique_ids(names: Iterable[str]) -> Iterator[str]:
    """An id for each name: lower-case ASCII and hyphens, `-2` and so on behind the first of equals."""
    used: set[str] = set()
    counts: dict[str, int] = {}
    for name in names:
        plain = _plain(name)
        zone_id = plain
        while zone_id in used:
            counts[plain] = counts.get(plain, 1) + 1
            zone_id = f"{plain}-{counts[plain]}"
        used.add(zone_id)
        yield zone_id


def _plain(name: str) -> str:
    """`Zürich, Güterbahnhof` to `zurich-guterbahnhof`; `/` stays, since it parts a crossing from the rest."""
    letters = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    parts = (re.sub(r"[^a-z0-9._]+", "-", part).strip("-") for part in letters.lower().split("/"))
    return "/".join(part for part in parts if part)[:MAX_ID].strip("/-") or "zone"


def _outline(shape: ForeignShape, buffer_m: float | None, findings: Findings) -> object:
    """The geometry of a zone: polygons unchanged, for the load check; others with their buffer."""
    geometry = shape.geometry
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in _DEPTH:
        return geometry
    if buffer_m is None:
        findings.fault(
            shape.label, f"{kind}: expected Polygon or MultiPolygon, or a buffer (--buffer-m)", "geometry.type"
        )
        return None
    paths = list(_paths(geometry.get("coordinates"), _DEPTH[kind]))
    if reason := _paths_fault(paths):
        findings.fault(shape.label, reason, "geometry.coordinates")
        return None
    return buffered([_positions(path) for path in paths], kind in _LINES, buffer_m)


def _paths(coordinates: Any, depth: int) -> Iterator[Any]:
    """Lists of positions; what is not a list where one is due comes out as it is, to be named as a fault."""
    if depth == 2 and isinstance(coordinates, list):
        yield from coordinates
    else:
        yield [coordinates] if depth == 0 else coordinates


def _paths_fault(paths: list[Any]) -> str | None:
    if not paths or not all(isinstance(path, list) and path for path in paths):
        return "expected a list of positions that is not empty"
    if (count := sum(map(len, paths))) > MAX_VERTICES:
        return f"{count} vertices: at most {MAX_VERTICES} are allowed"
    for path in paths:
        for position in path:
            if not _is_position(position):
                return f"position {shown(position)}: expected longitude -180 to 180, latitude -85 to 85"
    return None


def _is_position(position: Any) -> bool:
    if not isinstance(position, list) or len(position) < 2:
        return False
    longitude, latitude = position[:2]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (longitude, latitude))
    return numbers and bool(abs(longitude) <= 180.0 and abs(latitude) <= MAX_LATITUDE)  # NaN is neither


def _positions(path: list[Any]) -> list[Position]:
    return [(float(position[0]), float(position[1])) for position in path]


def buffered(paths: Sequence[Sequence[Position]], lines: bool, buffer_m: float) -> dict[str, Any]:
    """Ground within a distance of lines (flat at their ends) or points, as a GeoJSON geometry.

    Args:
        paths: Lines, or one list of points for each path; degrees, longitude first.
        lines: True if each path is a line. A line of no length counts as its point.
        buffer_m: Distance in metres.
    """
    frame = frame_for([(latitude, longitude) for path in paths for longitude, latitude in path])
    metres = [[frame.to_metres(latitude, longitude) for longitude, latitude in path] for path in paths]
    parts = [_part(path, lines, buffer_m) for path in metres]
    shape = shapely.union_all(parts)
    polygons = [shape] if isinstance(shape, shapely.Polygon) else list(shape.geoms)
    coordinates = [[_ring(ring, frame) for ring in (one.exterior, *one.interiors)] for one in polygons]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _part(path: list[tuple[float, float]], line: bool, buffer_m: float) -> Any:
    if line and math.dist(*_box(path)) > 0.01:
        return shapely.buffer(shapely.LineString(path), buffer_m, cap_style="flat", quad_segs=4)
    return shapely.buffer(shapely.MultiPoint(path), buffer_m, quad_segs=8)


def _box(path: list[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    east, north = zip(*path, strict=True)
    return (min(east), min(north)), (max(east), max(north))


def _ring(ring: shapely.LinearRing, frame: Frame) -> list[list[float]]:
    """Degrees, rounded as the file will hold them; turned so that readers need no repair."""
    positions = [_degrees(frame, east_m, north_m) for east_m, north_m in ring.coords]
    return positions[::-1]  # GEOS winds outer rings clockwise


def _degrees(frame: Frame, east_m: float, north_m: float) -> list[float]:
    latitude, longitude = frame.to_degrees(east_m, north_m)
    return [round(longitude, DECIMALS), round(latitude, DECIMALS)]


__all__ = [
    "MAX_BUFFER_M",
    "ForeignShape",
    "Import",
    "ImportOptions",
    "buffered",
    "import_zones",
    "read_shapes",
    "unique_ids",
]
