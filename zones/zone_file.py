"""Zone files of contract section 3: bytes to a checked ZoneSet and back."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from zones.border_zone import BorderZone, Confidence, Ring, ZoneKind, ZoneSet
from zones.errors import ZoneFileError
from zones.events import Direction
from zones.hours import OpeningHours
from zones.rings import Findings, Polygons, check_shapes, read_polygons, shown

MAX_ZONES = 200_000
"""Zones of one file (design/detection.md section 2)."""
MAX_FILE_BYTES = 512 * 1024 * 1024
"""Room for MAX_ZONES zones of 2.5 kB each."""
MAX_TEXT = 500
"""Characters of any text property."""
DECIMALS = 7
"""Decimals of a written coordinate: 1.1 cm."""

COMPETENCES = ("EXPORT", "IMPORT", "TRANSIT")
PROPERTIES = (
    "id",
    "crossing",
    "customsOffice",
    "direction",
    "zone",
    "bearing",
    "lane",
    "unmanned",
    "openingHours",
    "competences",
    "source",
    "confidence",
)
"""In the order in which they are written."""

_OFFICE = re.compile(r"[A-Z]{2}[A-Z0-9]{6}")  # design/domain.md section 4
_ALIKE = 0.85
"""From this likeness on, an unknown property is taken for a misspelt known one."""

Word = TypeVar("Word", bound=Enum)


def parse_zone_set(data: bytes, source: str) -> ZoneSet:
    """Read a zone file whole, or refuse it whole.

    Args:
        data: RFC 7946 FeatureCollection, UTF-8.
        source: Where it comes from, for messages.

    Returns:
        The set; rings are wound by the right-hand rule (`warnings` say which were turned). Without a
        version in the file it is `sha256-` and the start of the digest, so that two files never share one.

    Raises:
        ZoneFileError: Lists every fault with feature, what was expected, and where.
    """
    findings = Findings()
    zone_set = _read(data, findings)
    if zone_set is None or findings.faults:
        raise ZoneFileError(source, tuple(findings.faults))
    return zone_set


def zone_set_digest(data: bytes) -> str:
    """SHA-256 of a zone file's bytes, hex."""
    return hashlib.sha256(data).hexdigest()


def _read(data: bytes, findings: Findings) -> ZoneSet | None:
    document = _document(data, findings)
    if document is None:
        return None
    header = _header(document, data, findings)
    features = _features(document, findings)
    zones = [zone for at, feature in enumerate(features) if (zone := _zone(at, feature, findings))]
    _check_ids(zones, findings)
    check_shapes(zones, findings)
    return ZoneSet(zones=tuple(zones), warnings=tuple(findings.warnings), **header)


def _document(data: bytes, findings: Findings) -> dict[str, Any] | None:
    if len(data) > MAX_FILE_BYTES:
        findings.fault("file", f"{len(data)} bytes: at most {MAX_FILE_BYTES} are read")
        return None
    try:
        # NaN and Infinity are read here so that the position that holds them can be named.
        document = json.loads(data)
    except json.JSONDecodeError as error:
        findings.fault("file", f"not JSON: {error.msg}", f"line {error.lineno}, column {error.colno}")
        return None
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of 5,000 digits, 10,000 brackets
        findings.fault("file", f"not JSON: {error}")
        return None
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        found = document.get("type") if isinstance(document, dict) else type(document).__name__
        findings.fault("file", f"type {shown(found)}: expected FeatureCollection", "type")
        return None
    return document


def _features(document: dict[str, Any], findings: Findings) -> list[object]:
    features = document.get("features")
    if not isinstance(features, list):
        findings.fault("file", "no list of features: expected a FeatureCollection of zones", "features")
        return []
    if not features:
        findings.fault("file", "no zones: expected at least one", "features")
    if len(features) > MAX_ZONES:
        findings.fault("file", f"{len(features)} zones: at most {MAX_ZONES} are allowed", "features")
        return []
    return features


def _header(document: dict[str, Any], data: bytes, findings: Findings) -> dict[str, Any]:
    """Version and validity from the foreign member `borderlane`."""
    member = document.get("borderlane", {})
    if not isinstance(member, dict):
        findings.fault("file", "expected an object with version, validFrom, validTo", "borderlane")
        member = {}
    version = member.get("version")
    if version is not None and not _is_text(version):
        findings.fault("file", f"version {shown(version)}: expected text, e.g. 2026-11-22.1", "borderlane.version")
    findings.longitude_first = member.get("axisOrder") == "longitude-latitude"
    start = _time(member, "validFrom", findings)
    end = _time(member, "validTo", findings)
    if start is not None and end is not None and end <= start:
        findings.fault("file", "validTo is not after validFrom", "borderlane.validTo")
    return {
        "version": version if _is_text(version) else f"sha256-{zone_set_digest(data)[:12]}",
        "valid_from_s": start,
        "valid_to_s": end,
    }


def _time(member: dict[str, Any], name: str, findings: Findings) -> float | None:
    text = member.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        expected = "expected RFC 3339, e.g. 2026-11-22T10:00:00.000Z"
        findings.fault("file", f"{name} {shown(text)}: {expected}", f"borderlane.{name}")
        return None
    return moment.timestamp()


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()


def _zone(at: int, feature: object, findings: Findings) -> BorderZone | None:
    """One zone, or None after noting every fault of its properties and shape."""
    label = f"#{at}"
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        findings.fault(label, "expected an object of type Feature", f"features[{at}]")
        return None
    properties = feature.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, dict):
        findings.fault(label, "properties: expected an object", f"features[{at}].properties")
        return None
    before = len(findings.faults)
    zone_id = properties.get("id", feature.get("id"))
    if isinstance(zone_id, str) and _is_text(zone_id):
        label = zone_id
    else:
        findings.fault(label, f"id {shown(zone_id)}: expected text of 1 to {MAX_TEXT} characters", "properties.id")
    fields = _Fields(label, properties, findings).read()
    polygons = read_polygons(label, feature.get("geometry"), findings)
    if polygons is None or len(findings.faults) > before:
        return None
    return BorderZone(id=label, polygons=polygons, **fields)


class _Fields:
    """Properties of one feature, each read with its fault noted."""

    def __init__(self, label: str, properties: dict[str, Any], findings: Findings) -> None:
        self._label, self._properties, self._findings = label, properties, findings

    def read(self) -> dict[str, Any]:
        self._check_names()
        return {
            "kind": self._word("zone", ZoneKind) or ZoneKind.ACTIVATION,
            "crossing": self._text("crossing"),
            "customs_office": self._office(),
            "direction": self._direction(),
            "bearing": self._bearing(),
            "lane": self._text("lane"),
            "unmanned": self._checked("unmanned", lambda value: isinstance(value, bool), "true or false") or False,
            "opening_hours": self._hours(),
            "competences": self._competences(),
            "source": self._text("source") or "",
            "confidence": self._word("confidence", Confidence) or Confidence.HIGH,
        }

    def _fault(self, name: str, what: str) -> None:
        self._findings.fault(self._label, what, f"properties.{name}")

    def _checked(self, name: str, good: Callable[[Any], bool], expected: str) -> Any:
        """The value if it is good; None if absent, null, or noted as a fault."""
        value = self._properties.get(name)
        if value is None or good(value):
            return value
        self._fault(name, f"{name} {shown(value)}: expected {expected}")
        return None

    def _text(self, name: str) -> str | None:
        text: str | None = self._checked(name, _is_text, f"text of 1 to {MAX_TEXT} characters, or null")
        return text

    def _word(self, name: str, words: type[Word]) -> Word | None:
        value = self._properties.get(name)
        if value is None:
            return None
        known = [str(word.value) for word in words]
        if value in known:
            return words(value)
        self._fault(name, f"{name} {shown(value)}: expected {_one_of(known)}{_nearest(value, known)}")
        return None

    def _direction(self) -> Direction | None:
        known = [Direction.IN.value, Direction.OUT.value]
        value = self._properties.get("direction")
        if value is None or value in known:
            return None if value is None else Direction(value)
        self._fault(
            "direction",
            f"direction {shown(value)}: expected {_one_of(known)} or null{_nearest(value, known)}",
        )
        return None

    def _office(self) -> str | None:
        office: str | None = self._checked(
            "customsOffice",
            lambda value: isinstance(value, str) and _OFFICE.fullmatch(value) is not None,
            "two letters and six letters or digits, e.g. CH002311, or null",
        )
        return office

    def _hours(self) -> str | None:
        text = self._text("openingHours")
        if text is None:
            return None
        try:
            return OpeningHours.parse(text).text
        except ValueError as error:
            self._fault("openingHours", f"openingHours {shown(text)}: {error}")
            return None

    def _bearing(self) -> float | None:
        value = self._checked("bearing", _is_bearing, "degrees from 0 to 360, or null")
        return None if value is None else float(value) % 360.0

    def _competences(self) -> frozenset[str]:
        value = self._properties.get("competences")
        if value is None:
            return frozenset()
        if not isinstance(value, list):
            self._fault("competences", f"competences {shown(value)}: expected a list of {_one_of(COMPETENCES)}")
            return frozenset()
        for word in value:
            if word not in COMPETENCES:
                expected = f"expected {_one_of(COMPETENCES)}{_nearest(word, COMPETENCES)}"
                self._fault("competences", f"competence {shown(word)}: {expected}")
        return frozenset(word for word in value if word in COMPETENCES)

    def _check_names(self) -> None:
        """A misspelt property would silently take its default; names unlike ours are the author's own."""
        missing = [name for name in PROPERTIES if name not in self._properties]
        for name in self._properties.keys() - set(PROPERTIES):
            near = _alike(name, missing)
            if near is not None and self._properties[name] is not None:
                self._fault(name, f"unknown property {name!r}: did you mean {near!r}?")


def _is_bearing(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 360.0


def _one_of(known: list[str] | tuple[str, ...]) -> str:
    return ", ".join(known)


def _nearest(value: object, known: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(value)[:40].upper(), [word.upper() for word in known], n=1, cutoff=0.5)
    word = next((word for word in known if near and word.upper() == near[0]), None)
    return f"; did you mean {word!r}?" if word else ""


def _alike(name: str, known: list[str]) -> str | None:
    plain = {word.lower(): word for word in known}
    near = difflib.get_close_matches(name[:40].lower().replace("_", ""), plain, n=1, cutoff=_ALIKE)
    return plain[near[0]] if near else None


def _check_ids(zones: list[BorderZone], findings: Findings) -> None:
    seen: set[str] = set()
    for zone in zones:
        if zone.id in seen:
            findings.fault(zone.id, "id is there more than once: ids must be unique", "properties.id")
        seen.add(zone.id)


def encode_zone_set(zone_set: ZoneSet) -> bytes:
    """The set as a zone file: a feature a line, fixed key order, 7 decimals; equal sets give equal bytes."""
    header = {
        "version": zone_set.version,
        "validFrom": _moment(zone_set.valid_from_s),
        "validTo": _moment(zone_set.valid_to_s),
    }
    lines = ",\n".join(_compact(_feature(zone)) for zone in zone_set.zones)
    text = f'{{"type":"FeatureCollection","borderlane":{_compact(header)},"features":[\n{lines}\n]}}\n'
    return text.encode()


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _moment(time_s: float | None) -> str | None:
    if time_s is None:
        return None
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _feature(zone: BorderZone) -> dict[str, object]:
    values = (
        zone.id,
        zone.crossing,
        zone.customs_office,
        zone.direction.value if zone.direction else None,
        zone.kind.value,
        zone.bearing,
        zone.lane,
        zone.unmanned,
        zone.opening_hours,
        sorted(zone.competences),
        zone.source or None,
        zone.confidence.value,
    )
    return {
        "type": "Feature",
        "properties": dict(zip(PROPERTIES, values, strict=True)),
        "geometry": _geometry(zone.polygons),
    }


def _geometry(polygons: Polygons) -> dict[str, object]:
    rounded = [[_rounded(ring) for ring in rings] for rings in polygons]
    if len(rounded) == 1:
        return {"type": "Polygon", "coordinates": rounded[0]}
    return {"type": "MultiPolygon", "coordinates": rounded}


def _rounded(ring: Ring) -> list[list[float]]:
    return [[round(longitude, DECIMALS), round(latitude, DECIMALS)] for longitude, latitude in ring]


__all__ = [
    "MAX_FILE_BYTES",
    "MAX_ZONES",
    "encode_zone_set",
    "parse_zone_set",
    "zone_set_digest",
]
