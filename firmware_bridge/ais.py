"""AIS of vessels: `!xxVDM` lines to position reports, and what vessels say about themselves.

The payloads are read by pyais, behind a guard; cutting, checksums and joining of parts are done here. pyais's
own queue joins any two parts with the same sequence number, also of different messages
(design/firmware-bridge.md section 6; field widths and values for "not available": ITU-R M.1371-5, Annex 8).
"""

from __future__ import annotations

import datetime
import re
from collections import OrderedDict
from functools import reduce
from operator import xor
from typing import Any

import msgspec
import pyais

from firmware_bridge.fix_gate import position_fault, usable_heading_deg
from firmware_bridge.lines import Lines
from firmware_bridge.messages import Event, PositionReport, Refusal

KNOT_MPS = 0.514444
VESSEL_TYPES = frozenset({1, 2, 3, 18, 19})
"""Position reports of vessels; the others are base stations, aircraft, buoys, and what satellites hear."""
HIGH_ACCURACY_M = 10.0
"""The accuracy flag promises this or better; without it nothing is known."""
PARTS_LIMIT_S = 10.0
"""Parts of one message come right after each other; older ones are given up."""
PARTS_LIMIT_LINES = 100
"""The same for recordings, which have no clock: more lines than a Rhine site hears in a second."""
OPEN_LIMIT = 16
"""Messages of which parts are missing, at one time."""
VESSELS_LIMIT = 4_096
"""Vessels whose particulars are kept; those not heard for longest go first."""
AHEAD_S = 1.0
"""A report may seem to come from so far in the future: its second is rounded, and clocks differ."""

_MIN_BITS = {
    1: 149,
    2: 149,
    3: 149,
    4: 149,
    5: 420,
    8: 157,
    9: 149,
    11: 149,
    18: 149,
    19: 301,
    21: 271,
    24: 160,
    27: 94,
}
"""Bits of each type up to the last field we want: receivers leave the radio state out. Other types say nothing."""
_POSITION_TYPES = frozenset({1, 2, 3, 4, 9, 11, 18, 19, 21, 27})
_WHOLE_KNOTS = {9: 1023, 27: 63}
"""Types that state whole knots, and their value for unknown."""
_INLAND = (200, 10)
"""Area and function of the inland vessel's particulars in a type 8."""

_DATE_FIELDS = ("year", "month", "day", "hour", "minute", "second")

_SENTENCE = re.compile(rb"(?:\\([^\\!]{0,128})\\)?!([^!\\*]*)(?:\*([0-9A-Fa-f]{2}))?")
_LOOKS_LIKE_SENTENCE = re.compile(rb"[A-Z][A-Z0-9]{3,},")
_CARRIES_AIS = re.compile(rb"[A-Z0-9]{2}VD[MO],")
_FIELDS = re.compile(rb"[A-Z0-9]{2}VD[MO],([1-9]),([1-9]),([0-9]?),([^,]*),([0-W`-w]+),([0-5])")
_TAG_TIME = re.compile(rb"(?:^|,)c:(\d{9,13})(?:,|$)")


class Vessel(msgspec.Struct, frozen=True, kw_only=True):
    """What a vessel says about itself (types 5, 19 and 24, inland type 8). None = it did not say."""

    mmsi: str
    name: str | None = None
    call_sign: str | None = None
    eni: str | None = None
    """Unique European vessel identification number, eight digits."""
    ship_type: int | None = None
    """ITU-R M.1371 table 53; 70 to 79 cargo, 80 to 89 tanker."""
    eri_type: int | None = None
    """Vessel or convoy type of inland navigation."""
    length_m: float | None = None
    beam_m: float | None = None
    blue_cones: int | None = None
    """Dangerous goods by cones, 0 to 3; 4 is the B flag."""
    loaded: bool | None = None


class _Part(msgspec.Struct, frozen=True):
    """One sentence of a message."""

    count: int
    number: int
    key: tuple[bytes, bytes, int]
    payload: bytes
    fill: int
    line: bytes
    tag_s: float | None


class _Open(msgspec.Struct):
    parts: list[_Part]
    since_s: float
    since_line: int


class AisDecoder:
    """Bytes of an AIS receiver to position reports; never raises for what the bytes hold.

    Reports carry no time but the second of the minute, unless a TAG block or the message has a date.
    """

    def __init__(self, vessels: OrderedDict[str, Vessel] | None = None) -> None:
        """`vessels` is what is known from before, of another decoder on the same port."""
        self._lines = Lines()
        self._open: OrderedDict[tuple[bytes, bytes, int], _Open] = OrderedDict()
        self._line_count = 0
        self.frames = 0
        """Sentences with a right checksum."""
        self.noise_bytes = 0
        """Bytes that belonged to no sentence and to nothing that looked like one."""
        self.vessels: OrderedDict[str, Vessel] = OrderedDict() if vessels is None else vessels
        """Particulars by MMSI, the latest heard last."""

    @property
    def buffered(self) -> int:
        """Bytes waiting for the rest of their line or message."""
        return self._lines.buffered + sum(len(part.line) for one in self._open.values() for part in one.parts)

    def feed(self, data: bytes, now_s: float = 0.0) -> list[Event]:
        """Reports and refusals these bytes complete; `now_s` (monotonic) ages the parts of a live stream."""
        return [event for line in self._lines.feed(data) for event in self._line(line, now_s)]

    def due_s(self) -> float | None:
        """Never: a report is out as soon as its last byte is in."""
        return None

    def tick(self, now_s: float) -> list[Event]:
        """Give up what is too old."""
        return self._give_up(now_s)

    def end(self) -> list[Event]:
        """What is still open when the stream ends."""
        events = [event for line in self._lines.end() for event in self._line(line, 0.0)]
        left = [_missing(one) for one in self._open.values()]
        self._open.clear()
        return events + left

    def _line(self, line: bytes | Refusal, now_s: float) -> list[Event]:
        if isinstance(line, Refusal):
            return [line]
        if line.startswith(b"#"):  # recorded logs explain themselves
            return []
        events: list[Event] = []
        read = 0
        for found in _SENTENCE.finditer(line):
            events += self._sentence(found, now_s)
            read += len(found[0])
        self.noise_bytes += len(line) - read
        return events

    def _sentence(self, found: re.Match[bytes], now_s: float) -> list[Event]:
        tag, body, checksum = found.groups()
        if checksum is None or reduce(xor, body, 0) != int(checksum, 16):
            if not _LOOKS_LIKE_SENTENCE.match(body):
                self.noise_bytes += len(found[0])
                return []
            return [_damaged(found[0], has_checksum=checksum is not None)]
        self.frames += 1
        self._line_count += 1
        events = self._give_up(now_s)
        if not _CARRIES_AIS.match(body):
            return events
        part = _part(body, b"!" + body + b"*" + checksum, tag)
        if isinstance(part, Refusal):
            return [*events, part]
        whole = self._join(part, now_s, events)
        return events + (self._read(whole) if whole else [])

    def _give_up(self, now_s: float) -> list[Event]:
        """Refusals for messages whose missing parts will not come any more."""
        old = [
            key
            for key, one in self._open.items()
            if now_s - one.since_s > PARTS_LIMIT_S or self._line_count - one.since_line > PARTS_LIMIT_LINES
        ]
        return [_missing(self._open.pop(key)) for key in old]

    def _join(self, part: _Part, now_s: float, events: list[Event]) -> list[_Part] | None:
        """All parts of the message this one completes. Parts come in order, so another one spoils the message."""
        if part.count == 1:
            return [part]
        before = self._open.pop(part.key, None)
        expected = len(before.parts) + 1 if before else 1
        if before and part.number != expected:
            events.append(_missing(before))
            before = None
        if part.number != (expected if before else 1):
            events.append(Refusal("parts_missing", f"VDM: part {part.number} without those before it", part.line))
            return None
        one = before or _Open([], now_s, self._line_count)
        one.parts.append(part)
        if part.number == part.count:
            return one.parts
        self._open[part.key] = one
        if len(self._open) > OPEN_LIMIT:
            events.append(_missing(self._open.popitem(last=False)[1]))
        return None

    def _read(self, parts: list[_Part]) -> list[Event]:
        read = read_message(parts)
        if isinstance(read, PositionReport | Refusal):
            return [read]
        if isinstance(read, Vessel):
            self._know(read)
        elif read is not None:
            report, vessel = read
            self._know(vessel)
            return [report]
        return []

    def _know(self, said: Vessel) -> None:
        before = self.vessels.pop(said.mmsi, None)
        self.vessels[said.mmsi] = said if before is None else _merged(before, said)
        if len(self.vessels) > VESSELS_LIMIT:
            self.vessels.popitem(last=False)


def fix_time_ms(received_s: float, utc_second: int) -> int:
    """When a report with this second of the minute was taken: the latest such time up to its reception.

    Args:
        received_s: UTC seconds.
        utc_second: 0 to 59.
    """
    limit = int(received_s + AHEAD_S)
    return (limit - (limit - utc_second) % 60) * 1000


def read_message(parts: list[_Part]) -> PositionReport | Vessel | tuple[Event, Vessel] | Refusal | None:
    """What one whole message says; None for types that say nothing about a vessel's place or particulars."""
    payload, line = b"".join(part.payload for part in parts), b"".join(part.line for part in parts)
    kind = _six_bits(payload[0])
    if kind not in _MIN_BITS:
        return None
    bits = 6 * len(payload) - parts[-1].fill
    if bits < _MIN_BITS[kind]:
        if kind == 8:  # of another area or function; the inland particulars are longer
            return None
        return Refusal("cut_short", f"type {kind}: {bits} bits; expected {_MIN_BITS[kind]} at least", line)
    try:
        fields: dict[str, Any] = dict(pyais.decode(*(part.line for part in parts)).asdict())
    except Exception as error:  # whatever damage brings about; its words may quote the payload
        return Refusal("decoder_fault", f"type {kind}: {type(error).__name__} from the field decoder", line)
    if not 0 < fields["mmsi"] <= 999_999_999:
        return Refusal("bad_field", "MMSI: expected at most nine digits", line)
    mmsi = f"{fields['mmsi']:09d}"
    if kind not in _POSITION_TYPES:
        return _vessel(kind, mmsi, fields)
    report = _report(kind, mmsi, fields, parts[0].tag_s, line)
    if kind == 19 and report is not None:
        return report, _particulars(mmsi, fields)
    return report


def _report(kind: int, mmsi: str, fields: dict[str, Any], tag_s: float | None, line: bytes) -> Event | None:
    latitude, longitude = fields["lat"], fields["lon"]
    if latitude == 91.0 or longitude == 181.0:  # the values for "not available"
        return None
    fault = position_fault(latitude, longitude)
    if fault:
        return Refusal("bad_position", f"type {kind}: {fault}", line)
    second = fields.get("second")
    speed_mps = _speed_mps(kind, fields)
    return PositionReport(
        unit=mmsi,
        latitude=latitude,
        longitude=longitude,
        fix_time_ms=_own_time_ms(fields) if kind in (4, 11) else _tagged_time_ms(tag_s, second),
        accuracy=HIGH_ACCURACY_M if fields["accuracy"] else None,
        speed=speed_mps,
        heading=usable_heading_deg(_course_deg(fields), speed_mps),
        authenticated=False,
        ais_type=kind,
        utc_second=second,
    )


def _tagged_time_ms(tag_s: float | None, second: int | None) -> int | None:
    """In a recording: from the time a TAG block gives, which is that of the reception."""
    return fix_time_ms(tag_s, second) if tag_s is not None and second is not None and second < 60 else None


def _own_time_ms(fields: dict[str, Any]) -> int | None:
    """Base stations send their whole date."""
    try:
        year, month, day, hour, minute, second = (int(fields[name]) for name in _DATE_FIELDS)
        moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:  # not available, or damaged
        return None
    return round(moment.timestamp() * 1000)


def _speed_mps(kind: int, fields: dict[str, Any]) -> float | None:
    knots = fields.get("speed")
    unknown = _WHOLE_KNOTS.get(kind, 102.3)
    return None if knots is None or knots >= unknown else knots * KNOT_MPS


def _course_deg(fields: dict[str, Any]) -> float | None:
    """Course over ground, else where the bow points."""
    course, heading = fields.get("course"), fields.get("heading")
    if course is not None and course < 360.0:
        return float(course)
    return float(heading) if heading is not None and heading < 360 else None


def _vessel(kind: int, mmsi: str, fields: dict[str, Any]) -> Vessel | None:
    if kind != 8:
        return _particulars(mmsi, fields)
    if (fields.get("dac"), fields.get("fid")) != _INLAND:
        return None
    return Vessel(
        mmsi=mmsi,
        eni=_text(fields["vin"]),
        eri_type=fields["shiptype"] or None,
        length_m=fields["length"] or None,
        beam_m=fields["beam"] or None,
        blue_cones=fields["hazard"] if fields["hazard"] <= 4 else None,
        loaded={1: True, 2: False}.get(int(fields["loaded"])),
    )


def _particulars(mmsi: str, fields: dict[str, Any]) -> Vessel:
    """Types 5, 19 and both parts of 24."""
    length_m = (fields.get("to_bow") or 0) + (fields.get("to_stern") or 0)
    beam_m = (fields.get("to_port") or 0) + (fields.get("to_starboard") or 0)
    return Vessel(
        mmsi=mmsi,
        name=_text(fields.get("shipname")),
        call_sign=_text(fields.get("callsign")),
        ship_type=int(fields.get("ship_type") or 0) or None,
        length_m=float(length_m) or None,
        beam_m=float(beam_m) or None,
    )


def _merged(before: Vessel, said: Vessel) -> Vessel:
    new = {name: value for name in said.__struct_fields__ if (value := getattr(said, name)) is not None}
    return msgspec.structs.replace(before, **new)


def _text(value: str | None) -> str | None:
    return (value or "").strip(" @") or None


def _part(body: bytes, line: bytes, tag: bytes | None) -> _Part | Refusal:
    fields = _FIELDS.fullmatch(body)
    if fields is None or int(fields[2]) > int(fields[1]):
        return Refusal("bad_field", "VDM: expected count, number, sequence, channel, payload and fill bits", line)
    count, number, sequence, channel, payload, fill = fields.groups()
    return _Part(int(count), int(number), (sequence, channel, int(count)), payload, int(fill), line, _tag_time_s(tag))


def _tag_time_s(tag: bytes | None) -> float | None:
    """The `c:` field of a TAG block, in seconds or milliseconds; a damaged block says nothing."""
    text, _, checksum = (tag or b"").rpartition(b"*")
    found = _TAG_TIME.search(text)
    if found is None or f"{reduce(xor, text, 0):02x}".encode() != checksum.lower():
        return None
    value = int(found[1])
    return value / 1000.0 if value > 99_999_999_999 else float(value)


def _six_bits(armoured: int) -> int:
    value = armoured - 48
    return value - 8 if value > 40 else value


def _damaged(sentence: bytes, *, has_checksum: bool) -> Refusal:
    if has_checksum:
        return Refusal("bad_checksum", "sentence: expected the XOR of its bytes after `*`", sentence)
    return Refusal("cut_short", "sentence: expected `*` and two hex digits at its end", sentence)


def _missing(one: _Open) -> Refusal:
    first = one.parts[0]
    return Refusal("parts_missing", f"VDM: {len(one.parts)} of {first.count} parts came", first.line)
