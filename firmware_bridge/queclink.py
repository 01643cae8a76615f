"""Queclink units: `+RESP:` and `+BUFF:` text to position reports, with the answer the unit expects.

Positions are found by their shape, seven fields in a row, whatever the report is called and however many
fields a model puts before them (design/firmware-bridge.md section 6). The text has no checksum.
"""

from __future__ import annotations

import datetime
import itertools
import re

import msgspec

from firmware_bridge.avl import events_of
from firmware_bridge.fix_gate import MAX_SPEED_MPS, accuracy_m, position_fault, usable_heading_deg
from firmware_bridge.lines import Lines
from firmware_bridge.messages import Event, PositionReport, Refusal

KMH_MPS = 1 / 3.6
FRAME_LIMIT = 4_096
"""Bytes up to the closing `$`; 15 positions with their cells take about 1,500."""
ACCURACY_LAST_KNOWN = 0
"""The protocol's word for a position that is not a live one, in the place of the HDOP."""

_HEAD = re.compile(rb"\+(?:RESP|BUFF|ACK):GT[A-Z]{3},")
_IMEI = re.compile(rb"\d{15}")
_COUNT = re.compile(rb"[0-9A-Fa-f]{4}")
_VERSION = re.compile(rb"[0-9A-Za-z]{6,12}")
_PLACE = re.compile(
    rb"(?<=,)(\d{1,2}(?:\.\d{1,2})?),(\d{1,3}\.\d)?,(\d{1,3})?,(-?\d{1,5}\.\d)?,"
    rb"(-?\d{1,3}\.\d{4,7}),(-?\d{1,2}\.\d{4,7}),(\d{14})(?=,|$)"
)
"""HDOP, km/h, course, altitude in metres, longitude, latitude, UTC."""


class QueclinkFrame(msgspec.Struct, frozen=True):
    """One report, heartbeat or answer of the unit."""

    imei: str
    command: str
    """`GTFRI`, `GTHBD` and so on."""
    events: tuple[Event, ...]
    answer: bytes
    """What to send once the events are on disk; empty where the unit expects nothing."""


class QueclinkDecoder:
    """Text of one unit to frames; at most `FRAME_LIMIT` bytes wait for their `$`."""

    def __init__(self) -> None:
        self._lines = Lines(re.compile(rb"\$"), FRAME_LIMIT)

    @property
    def buffered(self) -> int:
        """Bytes waiting for the end of their frame."""
        return self._lines.buffered

    def feed(self, data: bytes) -> list[Event]:
        """Reports and refusals these bytes complete."""
        return events_of(self.frames(data))

    def end(self) -> list[Event]:
        """What is still open when the stream ends; half a frame is refused."""
        return [_cut_short(line) for line in self._lines.end() if isinstance(line, Refusal) or line.strip(b"\r\n\0 ")]

    def frames(self, data: bytes) -> list[QueclinkFrame | Refusal]:
        """Frames and refusals these bytes complete, in input order."""
        return [item for line in self._lines.feed(data) for item in _read_line(line)]


def _read_line(line: bytes | Refusal) -> list[QueclinkFrame | Refusal]:
    """Usually one frame. What is cut off before the next one begins is refused, the next one read."""
    if isinstance(line, Refusal):
        return [line]
    starts = [found.start() for found in _HEAD.finditer(line)]
    if not starts:
        stripped = line.strip(b"\r\n\0 ")
        return [Refusal("not_a_report", "frame: expected +RESP:, +BUFF: or +ACK:", line)] if stripped else []
    cut: list[QueclinkFrame | Refusal] = [_cut_short(line[at:stop]) for at, stop in itertools.pairwise(starts)]
    return [*cut, read_frame(line[starts[-1] :])]


def read_frame(frame: bytes) -> QueclinkFrame | Refusal:
    """One frame without its closing `$`."""
    fields = frame.split(b",")
    if len(fields) < 4 or not _COUNT.fullmatch(fields[-1]):
        return _cut_short(frame)
    if not _IMEI.fullmatch(fields[2]):
        return Refusal("bad_unit", "IMEI: expected 15 digits in the third field", frame)
    imei, command = fields[2].decode(), fields[0].rpartition(b":")[2].decode()
    events = tuple(_report(imei, found) for found in _PLACE.finditer(frame))
    return QueclinkFrame(imei, command, events, _answer(fields))


def _answer(fields: list[bytes]) -> bytes:
    kind, version, count = fields[0], fields[1], fields[-1]
    if not kind.startswith(b"+ACK:"):
        return b"+SACK:" + count + b"$"
    if kind == b"+ACK:GTHBD" and (not version or _VERSION.fullmatch(version)):
        return b"+SACK:GTHBD," + version + b"," + count + b"$"
    return b""  # its answer to a command of ours


def _report(imei: str, found: re.Match[bytes]) -> Event:
    hdop, longitude, latitude = float(found[1]), float(found[5]), float(found[6])
    speed_mps = float(found[2]) * KMH_MPS if found[2] else None
    course = float(found[3]) if found[3] else None
    moment = _time(found[7].decode())
    if moment is None:
        return Refusal("bad_field", "time: expected YYYYMMDDhhmmss in UTC", found[0])
    is_live = hdop != ACCURACY_LAST_KNOWN
    fault = position_fault(latitude, longitude)
    if fault:
        return Refusal("bad_position", fault, found[0])
    if speed_mps is not None and speed_mps > MAX_SPEED_MPS:
        return Refusal("bad_field", f"speed: expected at most {MAX_SPEED_MPS:g} m/s", found[0])
    return PositionReport(
        unit=imei,
        latitude=latitude,
        longitude=longitude,
        fix_time_ms=round(moment.timestamp() * 1000),
        accuracy=accuracy_m(None, hdop, "") if is_live else None,
        speed=speed_mps,
        heading=usable_heading_deg(course if course is not None and course <= 360 else None, speed_mps),
        hdop=hdop if is_live else None,
        fix_type=None if is_live else "NONE",
    )


def _time(digits: str) -> datetime.datetime | None:
    """`strptime` would also take fewer digits."""
    year, month, day, hour, minute, second = int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, 14, 2))
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:
        return None
    return moment if moment.year >= 1980 else None


def _cut_short(frame: bytes | Refusal) -> Refusal:
    if isinstance(frame, Refusal):
        return frame
    return Refusal("cut_short", "frame: expected a count of four hex digits and `$` at its end", frame)
