"""OwnTracks, Traccar and flespi: JSON of telematics platforms to position reports.

These carry no sequence number: who feeds them on numbers them. Speeds: OwnTracks and flespi km/h, Traccar
knots (design/firmware-bridge.md section 6).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from firmware_bridge.fix_gate import MAX_SPEED_MPS, position_fault, usable_heading_deg
from firmware_bridge.lines import Lines
from firmware_bridge.messages import MAX_TIME_MS, UNIT_PATTERN, Event, PositionReport, Refusal

KMH_MPS = 1 / 3.6
KNOT_MPS = 0.514444
ACCURACY_68_TO_95 = 1.62
"""Phones state the radius that holds 68 % of a circular error; this many of it hold 95 %."""
DOCUMENT_LIMIT = 256 * 1024
"""Bytes of one JSON document; a platform's batch of 1,000 positions has about 200 KB."""
QUOTE_BYTES = 100
"""Of a line that is too long."""

Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
Degrees = Annotated[float, Meta(ge=0, le=360)]
Metres = Annotated[float, Meta(ge=0, le=1e7)]
EpochS = Annotated[float, Meta(ge=0, le=MAX_TIME_MS / 1000)]
Satellites = Annotated[float, Meta(ge=0, le=999)]
"""A number; scripts of platforms write 9.0 as well."""
KilometresPerHour = Annotated[float, Meta(ge=0, le=MAX_SPEED_MPS * 3.6)]
Knots = Annotated[float, Meta(ge=0, le=MAX_SPEED_MPS / KNOT_MPS)]

_OWNTRACKS_TOPIC = re.compile(r"(?:.*/)?owntracks/([^/]+)/([^/]+)(?:/.*)?")


class _Kind(Struct):
    type_: str = field(name="_type", default="")


class _OwnTracksLocation(Struct):
    lat: Latitude
    lon: Longitude
    tst: EpochS
    acc: Metres | None = None
    vel: Annotated[float, Meta(le=MAX_SPEED_MPS * 3.6)] | None = None
    cog: float | None = None


class _TraccarPosition(Struct, rename="camel"):
    latitude: Latitude
    longitude: Longitude
    fix_time: str | Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]
    speed: Knots | None = None
    course: Degrees | None = None
    accuracy: Metres | None = None
    valid: bool = True
    outdated: bool = False
    attributes: dict[str, Any] = {}


class _TraccarDevice(Struct, rename="camel"):
    unique_id: str | None = None


class _TraccarForward(Struct):
    position: _TraccarPosition
    device: _TraccarDevice | None = None


class _FlespiMessage(Struct):
    timestamp: EpochS
    latitude: Latitude | None = field(name="position.latitude", default=None)
    longitude: Longitude | None = field(name="position.longitude", default=None)
    ident: str | None = None
    direction: Degrees | None = field(name="position.direction", default=None)
    speed: KilometresPerHour | None = field(name="position.speed", default=None)
    satellites: Satellites | None = field(name="position.satellites", default=None)
    hdop: Metres | None = field(name="position.hdop", default=None)
    valid: bool = field(name="position.valid", default=True)


class _Unfit(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(detail)


def decode_owntracks(payload: bytes, topic: str | None = None) -> list[Event]:
    """Read one OwnTracks message; types other than `location` say nothing and are no refusals.

    The unit is `{user}.{device}` of the topic. A user with a dot is refused: `a.b`, `c` and `a`, `b.c` would
    be the same unit, and one driver could speak for another.
    """
    return _guarded(payload, lambda: _owntracks(payload, topic))


def decode_traccar(payload: bytes, topic: str | None = None) -> list[Event]:
    """Read one forwarded position `{position, device}` or a list; the unit is the device's `uniqueId`.

    A position by itself, as Traccar's own interface lists them, is read too; it names no unit.
    """
    return _guarded(payload, lambda: _each(payload, _traccar))


def decode_flespi(payload: bytes, topic: str | None = None) -> list[Event]:
    """Read one flespi message or a list; the unit is `ident`. Keys are dotted or nested.

    One bad message does not spoil the list; one without a position says nothing and is no refusal.
    """
    return _guarded(payload, lambda: _each(payload, _flespi))


def _guarded(payload: bytes, read: Callable[[], list[Event]]) -> list[Event]:
    try:
        if len(payload) > DOCUMENT_LIMIT:
            raise _Unfit("too_long", f"document: expected at most {DOCUMENT_LIMIT} bytes")
        return read()
    except _Unfit as fault:
        return [Refusal(fault.reason, fault.detail, payload)]
    except msgspec.ValidationError as fault:
        return [Refusal("bad_field", str(fault), payload)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        return [Refusal("not_json", f"document: {type(fault).__name__}, expected one JSON value", payload)]


def _each(payload: bytes, read: Callable[[Any], list[Event]]) -> list[Event]:
    """One document or a list of them, each for itself."""
    document = msgspec.json.decode(payload)
    if not isinstance(document, list):
        return read(document)
    return [event for item in document for event in _guarded(payload, lambda item=item: read(item))]  # type: ignore[misc]


def _owntracks(payload: bytes, topic: str | None) -> list[Event]:
    if msgspec.json.decode(payload, type=_Kind).type_ != "location":
        return []
    sent = msgspec.json.decode(payload, type=_OwnTracksLocation)
    # The app writes -1 where the phone knows no speed or course.
    speed_mps = sent.vel * KMH_MPS if sent.vel is not None and sent.vel >= 0 else None
    course_deg = sent.cog if sent.cog is not None and 0 <= sent.cog <= 360 else None
    report = PositionReport(
        unit=_owntracks_unit(topic),
        latitude=sent.lat,
        longitude=sent.lon,
        fix_time_ms=round(sent.tst * 1000),
        accuracy=sent.acc * ACCURACY_68_TO_95 if sent.acc else None,
        speed=speed_mps,
        heading=usable_heading_deg(course_deg, speed_mps),
    )
    return [_checked(report)]


def _owntracks_unit(topic: str | None) -> str | None:
    if topic is None:
        return None
    names = _OWNTRACKS_TOPIC.fullmatch(topic)
    if names is None:
        raise _Unfit("bad_unit", "topic: expected owntracks/{user}/{device}")
    if "." in names[1]:
        raise _Unfit("bad_unit", "topic: expected a user without `.`")
    return f"{names[1]}.{names[2]}"


def _traccar(document: Any) -> list[Event]:
    is_bare = isinstance(document, dict) and "position" not in document and "latitude" in document
    sent = msgspec.convert({"position": document} if is_bare else document, _TraccarForward)
    position = sent.position
    speed_mps = None if position.speed is None else position.speed * KNOT_MPS
    satellites, hdop = position.attributes.get("sat"), position.attributes.get("hdop")
    report = PositionReport(
        unit=sent.device.unique_id if sent.device else None,
        latitude=position.latitude,
        longitude=position.longitude,
        fix_time_ms=_traccar_time_ms(position.fix_time),
        accuracy=position.accuracy * ACCURACY_68_TO_95 if position.accuracy else None,
        speed=speed_mps,
        heading=usable_heading_deg(position.course, speed_mps),
        satellites=_whole(msgspec.convert(satellites, Satellites | None)),
        hdop=msgspec.convert(hdop, Metres | None),
        fix_type=None if position.valid and not position.outdated else "NONE",
    )
    return [_checked(report)]


def _traccar_time_ms(sent: str | int) -> int:
    if isinstance(sent, int):
        return sent
    try:
        moment = datetime.datetime.fromisoformat(sent)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year < 1970:
        raise _Unfit("bad_field", "fixTime: expected ISO 8601 with a zone, or epoch milliseconds")
    return round(moment.timestamp() * 1000)


def _flespi(message: Any) -> list[Event]:
    sent = msgspec.convert(_dotted(message), _FlespiMessage)
    if sent.latitude is None or sent.longitude is None:
        return []
    speed_mps = None if sent.speed is None else sent.speed * KMH_MPS
    report = PositionReport(
        unit=sent.ident,
        latitude=sent.latitude,
        longitude=sent.longitude,
        fix_time_ms=round(sent.timestamp * 1000),
        speed=speed_mps,
        heading=usable_heading_deg(sent.direction, speed_mps),
        satellites=_whole(sent.satellites),
        hdop=sent.hdop,
        fix_type=None if sent.valid else "NONE",
    )
    return [_checked(report)]


def _dotted(message: Any) -> Any:
    """`{"position": {"latitude": 1}}` as `{"position.latitude": 1}`; what is dotted already stays."""
    if not (isinstance(message, dict) and isinstance(message.get("position"), dict)):
        return message
    return {f"position.{name}": value for name, value in message["position"].items()} | message


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _checked(report: PositionReport) -> Event:
    if report.unit is not None and not UNIT_PATTERN.fullmatch(report.unit):
        raise _Unfit("bad_unit", "unit: expected 1 to 64 of A-Z a-z 0-9 . _ -")
    # A position the unit itself calls no fix passes as such, even at 0/0: the unit did send it.
    fault = None if report.fix_type == "NONE" else position_fault(report.latitude, report.longitude)
    if fault:
        raise _Unfit("bad_position", fault)
    return report


class JsonLines:
    """JSON documents, one a line, to events; `mosquitto_sub -v` lines (topic, blank, JSON) as well."""

    def __init__(self, decode: Callable[[bytes, str | None], list[Event]]) -> None:
        self._decode = decode
        self._lines = Lines(re.compile(rb"\n"), DOCUMENT_LIMIT)

    @property
    def buffered(self) -> int:
        """Bytes waiting for the end of their line."""
        return self._lines.buffered

    def feed(self, data: bytes) -> list[Event]:
        """Events of the lines these bytes complete."""
        return [event for line in self._lines.feed(data) for event in self._read(line)]

    def end(self) -> list[Event]:
        """The last line, where the line end is missing."""
        return [event for line in self._lines.end() for event in self._read(line)]

    def _read(self, line: bytes | Refusal) -> list[Event]:
        if isinstance(line, Refusal):
            return [Refusal(line.reason, line.detail, line.quote[:QUOTE_BYTES])]
        line = line.strip()
        topic, found, document = line.partition(b" ")
        if line[:1] in b"{[" or not found:
            return self._decode(line, None) if line else []
        return self._decode(document.strip(), topic.decode(errors="replace"))
