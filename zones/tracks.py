"""Recorded tracks: csv, gpx, geojson, jsonl, nmea through a decoder handed in; the detector over them.

File order is kept; the unit is the file's name without its folder. A line that cannot be read makes the whole
file a TrackError that says where and what was expected: a recording is somebody's evidence, not a stream.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from zones.detector import Detector
from zones.errors import TrackError
from zones.events import Detected
from zones.fix import FIX_TYPE_WORDS, Fix, FixType, checked_fix
from zones.index import ZoneIndex
from zones.plausibility import DetectionConfig

FORMATS = ("csv", "gpx", "nmea", "geojson", "jsonl")
MAX_TRACK_BYTES = 256 * 1024 * 1024
MAX_FIXES = 5_000_000
TIME_COLUMNS = ("time", "utc", "timestamp", "fixTime")
LATITUDE_COLUMNS = ("lat", "latitude")
LONGITUDE_COLUMNS = ("lon", "longitude", "lng")
OPTIONAL_COLUMNS: tuple[str, ...] = ("accuracy_m", "speed_mps", "course_deg")

NmeaDecoder = Callable[[bytes, str], Iterable[Fix]]
"""Bytes of a receiver log and the unit's name to fixes."""

_ENDINGS = {
    "csv": "csv",
    "gpx": "gpx",
    "geojson": "geojson",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "nmea": "nmea",
    "log": "nmea",
}


def read_track(
    data: bytes,
    name: str,
    format: str = "auto",  # noqa: A002 - the word of the command line
    nmea_decoder: NmeaDecoder | None = None,
) -> list[Fix]:
    """The fixes of one recorded file, in file order.

    Args:
        data: Contents of the file.
        name: Its name; a folder before it is dropped, the rest is the unit.
        format: One of FORMATS, or `auto` to go by the name's ending and then the first bytes.
        nmea_decoder: Reads receiver logs; this package knows nothing of them.

    Raises:
        TrackError: The file cannot be read; says file, line, and what was expected.
    """
    if len(data) > MAX_TRACK_BYTES:
        raise TrackError(f"{name}: {len(data)} bytes, expected at most {MAX_TRACK_BYTES}")
    unit = re.split(r"[/\\]", name)[-1]
    kind = _guess(data, unit) if format == "auto" else format
    if kind == "nmea":
        if nmea_decoder is None:
            raise TrackError(f"{name}: NMEA needs a decoder, and none was given")
        return _bounded(nmea_decoder(data, unit), name)
    readers = {"csv": _read_csv, "gpx": _read_gpx, "geojson": _read_geojson, "jsonl": _read_jsonl}
    reader = readers.get(kind)
    if reader is None:
        raise TrackError(f"{name}: format {format!r}, expected auto or one of {', '.join(FORMATS)}")
    return _bounded(reader(_text(data, name), name, unit), name)


def detect_track(index: ZoneIndex, fixes: Iterable[Fix], config: DetectionConfig | None = None) -> Iterator[Detected]:
    """What the agent would have detected, had it received this recording as one list of positions.

    A list is sorted by fix time first (some units send the newest first); time passes as the fixes were
    received. At the end of the file held and late fixes are settled, but no exit is invented.
    """
    detector = Detector(index, config)
    end_s = None
    for fix in sorted(fixes, key=lambda one: one.time_s):
        yield from _pass_time(detector, fix.received_s)
        yield from detector.feed(fix)
        end_s = fix.received_s if end_s is None else max(end_s, fix.received_s)
    if end_s is not None:
        used = config if config is not None else DetectionConfig()
        yield from _pass_time(detector, end_s + max(used.reorder_window_s, used.late_settle_s))


def _pass_time(detector: Detector, now_s: float) -> Iterator[Detected]:
    while (due_s := detector.due_s()) is not None and due_s <= now_s:
        yield from detector.tick(due_s)


def parse_time_s(value: object) -> float | None:
    """UTC seconds of an RFC 3339 time (without a zone: UTC) or of epoch milliseconds; None if neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value / 1000.0 if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            milliseconds = float(text)
        except ValueError:
            return None
        return milliseconds / 1000.0 if math.isfinite(milliseconds) else None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _guess(data: bytes, unit: str) -> str:
    ending = unit.rsplit(".", 1)[-1].lower() if "." in unit else ""
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<"):
        return "gpx"
    if start.startswith((b"$", b"!", b"\\")):
        return "nmea"
    if start.startswith((b"{", b"[")):
        return "geojson" if b'"Feature' in start or b'"features"' in start else "jsonl"
    return "csv"


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TrackError(f"{name}:{line}: byte {data[error.start]:#04x}, expected UTF-8 text") from error


def _bounded(fixes: Iterable[Fix], name: str) -> list[Fix]:
    kept: list[Fix] = []
    for fix in fixes:
        if len(kept) >= MAX_FIXES:
            raise TrackError(f"{name}: more than {MAX_FIXES} fixes")
        kept.append(fix)
    return kept


def _checked(fix: Fix, where: str) -> Fix:
    fault = checked_fix(fix)
    if fault is not None and fix.fix_type is not FixType.NONE:
        raise TrackError(f"{where}: {fault}")
    return fix


# --- csv ------------------------------------------------------------------------------------------


def _read_csv(text: str, name: str, unit: str) -> Iterator[Fix]:
    rows = csv.reader(io.StringIO(text))
    try:
        header = [column.strip() for column in next(rows, [])]
        columns = [_column(header, options, name) for options in (TIME_COLUMNS, LATITUDE_COLUMNS, LONGITUDE_COLUMNS)]
        extra = {key: header.index(key) for key in OPTIONAL_COLUMNS if key in header}
        for row in rows:
            if row and any(cell.strip() for cell in row):
                yield _csv_fix(row, columns, extra, unit, f"{name}:{rows.line_num}")
    except csv.Error as error:
        raise TrackError(f"{name}:{rows.line_num}: {error}, expected comma-separated values") from error


def _column(header: list[str], options: tuple[str, ...], name: str) -> int:
    for option in options:
        if option in header:
            return header.index(option)
    have = ", ".join(header[:12]) or "nothing"
    raise TrackError(f"{name}:1: header has {have}, expected a column {' or '.join(options[:2])}")


def _csv_fix(row: list[str], columns: list[int], extra: dict[str, int], unit: str, where: str) -> Fix:
    if len(row) <= max([*columns, *extra.values()]):
        expected = max([*columns, *extra.values()]) + 1
        raise TrackError(f"{where}: {len(row)} values, expected at least {expected}")
    time_s = parse_time_s(row[columns[0]])
    if time_s is None:
        raise TrackError(f"{where}: time {row[columns[0]]!r}, expected RFC 3339 or epoch milliseconds")
    optional = {key: _number(row[at], key, where) if row[at].strip() else None for key, at in extra.items()}
    fix = Fix(
        unit,
        time_s,
        _number(row[columns[1]], "latitude", where),
        _number(row[columns[2]], "longitude", where),
        time_s,
        accuracy_m=optional.get("accuracy_m") or 0.0,
        speed_mps=optional.get("speed_mps"),
        heading_deg=optional.get("course_deg"),
    )
    return _checked(fix, where)


def _number(value: object, what: str, where: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TrackError(f"{where}: {what} {value!r}, expected a number") from None


# --- gpx ------------------------------------------------------------------------------------------


def _read_gpx(text: str, name: str, unit: str) -> Iterator[Fix]:
    """Track points with a time; route and way points are no recording."""
    declared = re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE)
    if declared:
        line = text.count("\n", 0, declared.start()) + 1
        raise TrackError(f"{name}:{line}: {declared.group()} is refused, expected GPX without a document type")
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1)  # it is decoded already
    try:
        root = ET.fromstring(text)  # noqa: S314 - entities need a document type, refused above
    except ET.ParseError as error:
        raise TrackError(f"{name}:{error.position[0]}: {error}, expected GPX") from error
    if not root.tag.endswith("gpx"):
        raise TrackError(f"{name}:1: <{root.tag}>, expected <gpx>")
    for number, point in enumerate((e for e in root.iter() if _local(e) == "trkpt"), start=1):
        where = f"{name}: track point {number}"
        parts = {_local(child): (child.text or "") for child in point.iter()}
        if not parts.get("time", "").strip():
            continue
        time_s = parse_time_s(parts["time"])
        if time_s is None:
            raise TrackError(f"{where}: time {parts['time']!r}, expected RFC 3339")
        yield _checked(_gpx_fix(point, parts, time_s, unit, where), where)


def _gpx_fix(point: ET.Element, parts: Mapping[str, str], time_s: float, unit: str, where: str) -> Fix:
    def optional(key: str) -> float | None:
        return _number(parts[key], key, where) if parts.get(key, "").strip() else None

    course = optional("course")
    return Fix(
        unit,
        time_s,
        _number(point.get("lat"), "lat", where),
        _number(point.get("lon"), "lon", where),
        time_s,
        speed_mps=optional("speed"),
        heading_deg=None if course is None else course % 360.0,
        hdop=optional("hdop"),
    )


def _local(element: ET.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


# --- json -----------------------------------------------------------------------------------------


def _read_jsonl(text: str, name: str, unit: str) -> Iterator[Fix]:
    """Position reports of contract section 5, one a line, or lists of them."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        report = _json(line, where)
        for one in report if isinstance(report, list) else [report]:
            if not isinstance(one, dict):
                raise TrackError(f"{where}: {_shown(one)}, expected a position report")
            if "summary" in one and "latitude" not in one:
                continue  # the last line of `borderlane decode`
            yield _report_fix(one, unit, where)


def _report_fix(report: dict[str, Any], unit: str, where: str) -> Fix:
    time_s = parse_time_s(report.get("fixTime"))
    if time_s is None:
        raise TrackError(f"{where}: fixTime {report.get('fixTime')!r}, expected RFC 3339 or epoch milliseconds")

    def optional(key: str) -> float | None:
        return None if report.get(key) is None else _number(report[key], key, where)

    received_s = parse_time_s(report.get("receivedAt"))
    seq, boot = report.get("seq"), report.get("bootId")
    fix = Fix(
        unit,
        time_s,
        _number(report.get("latitude"), "latitude", where),
        _number(report.get("longitude"), "longitude", where),
        time_s if received_s is None else max(received_s, time_s),
        seq=seq if isinstance(seq, int) and not isinstance(seq, bool) else None,
        boot_id=None if boot is None else str(boot),
        accuracy_m=optional("accuracy") or 0.0,
        speed_mps=optional("speed"),
        heading_deg=optional("heading"),
        fix_type=FIX_TYPE_WORDS.get(str(report.get("fixType")), FixType.UNKNOWN),
        hdop=optional("hdop"),
    )
    return _checked(fix, where)


def _read_geojson(text: str, name: str, unit: str) -> Iterator[Fix]:
    """Points with a `time` property, or lines with `coordTimes` (or `times`) beside their coordinates."""
    document = _json(text, name)
    if not isinstance(document, dict):
        raise TrackError(f"{name}: {_shown(document)}, expected a GeoJSON object")
    features = document.get("features") if document.get("type") == "FeatureCollection" else [document]
    if not isinstance(features, list):
        raise TrackError(f"{name}: no features, expected a FeatureCollection")
    for number, feature in enumerate(features, start=1):
        where = f"{name}: feature {number}"
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        if not isinstance(geometry, dict):
            raise TrackError(f"{where}: no geometry, expected a Point or LineString")
        properties = feature.get("properties") or {}
        for place, time in _timed(geometry, properties, where):
            yield _geojson_fix(place, time, properties, geometry["type"] == "Point", unit, where)


def _timed(geometry: dict[str, Any], properties: dict[str, Any], where: str) -> Iterator[tuple[object, object]]:
    kind, places = geometry.get("type"), geometry.get("coordinates")
    if kind == "Point":
        named = next((properties[key] for key in TIME_COLUMNS if key in properties), None)
        yield places, named
        return
    if kind not in ("LineString", "MultiLineString") or not isinstance(places, list):
        raise TrackError(f"{where}: geometry {kind!r}, expected Point, LineString or MultiLineString")
    inner = properties.get("coordinateProperties")
    source = {**(inner if isinstance(inner, dict) else {}), **properties}
    times = next((source[key] for key in ("coordTimes", "times") if key in source), None)
    if kind == "MultiLineString":
        places = [place for line in places if isinstance(line, list) for place in line]
        if isinstance(times, list) and times and isinstance(times[0], list):
            times = [time for line in times if isinstance(line, list) for time in line]
    if not isinstance(times, list) or len(times) != len(places):
        raise TrackError(f"{where}: no times, expected `coordTimes`, one for each of {len(places)} positions")
    yield from zip(places, times, strict=True)


def _geojson_fix(place: object, time: object, properties: dict[str, Any], single: bool, unit: str, where: str) -> Fix:
    if not isinstance(place, list) or len(place) < 2:
        raise TrackError(f"{where}: position {_shown(place)}, expected [longitude, latitude]")
    time_s = parse_time_s(time)
    if time_s is None:
        raise TrackError(f"{where}: time {time!r}, expected RFC 3339 or epoch milliseconds")
    extra: dict[str, float | None] = {}
    for key in ("accuracy_m", "speed_mps", "course_deg") if single else ():
        extra[key] = None if properties.get(key) is None else _number(properties[key], key, where)
    fix = Fix(
        unit,
        time_s,
        _number(place[1], "latitude", where),
        _number(place[0], "longitude", where),
        time_s,
        accuracy_m=extra.get("accuracy_m") or 0.0,
        speed_mps=extra.get("speed_mps"),
        heading_deg=extra.get("course_deg"),
    )
    return _checked(fix, where)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TrackError(f"{where}: {error}, expected JSON") from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
