"""Ruptela units: binary frames to position reports, with the answer the unit expects.

A frame is length (2 bytes), IMEI (8), command (1), data, CRC-16/KERMIT over IMEI to data, all big-endian
(design/firmware-bridge.md section 6). The unit sends everything again whose answer it has not seen, so who
listens answers only once the effects are on disk.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from dataclasses import dataclass

import msgspec

from firmware_bridge.avl import RefusedFrame, events_of
from firmware_bridge.fix_gate import MAX_SPEED_MPS, accuracy_m, position_fault, usable_heading_deg
from firmware_bridge.messages import Event, PositionReport, Refusal

KMH_MPS = 1 / 3.6
RECORDS, EXTENDED_RECORDS = 0x01, 0x44
FRAME_LIMIT = 4_096
"""Bytes from IMEI to data; units send about 1,000 at most."""
MIN_IMEI, MAX_IMEI = 10**13, 10**15 - 1
"""Fifteen digits, the first at most one zero: what tells a frame from noise."""

_HEAD_BYTES = 11  # length 2, IMEI 8, command 1
_LEAST = 9  # IMEI and command
_NOWHERE = -(1 << 31)
"""Longitude or latitude of a record without a position."""
_PLACE = struct.Struct(">iiHHBHB")
"""Longitude, latitude (1e-7 degrees), altitude (0.1 m), course (0.01 degrees), satellites, km/h, HDOP (0.1)."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class RuptelaFrame(msgspec.Struct, frozen=True):
    """One frame whose CRC is right."""

    imei: str
    command: int
    events: tuple[Event, ...]
    """Reports, and refusals of single records: the unit need not send these again."""
    answer: bytes
    """What to send once the events are on disk."""


class RuptelaDecoder:
    """Bytes of one unit to frames; at most one frame is buffered between two calls."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._noise = bytearray()
        self.noise_bytes = 0
        """Bytes that belonged to no frame."""

    @property
    def buffered(self) -> int:
        """Bytes waiting for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Event]:
        """Reports and refusals these bytes complete."""
        return events_of(self.frames(data))

    def end(self) -> list[Event]:
        """What is still open when the stream ends; half a frame is refused."""
        return events_of(self._scan(final=True) + self._quiet())

    def frames(self, data: bytes) -> list[RuptelaFrame | RefusedFrame | Refusal]:
        """Frames and refusals these bytes complete, in input order."""
        self._buffer += data
        return self._scan(final=False)

    def _scan(self, *, final: bool) -> list[RuptelaFrame | RefusedFrame | Refusal]:
        out: list[RuptelaFrame | RefusedFrame | Refusal] = []
        at = 0
        cut_short = False
        while at < len(self._buffer):
            head = bytes(self._buffer[at : at + _HEAD_BYTES])
            whole = int.from_bytes(head[:2], "big") + 4
            is_head = _may_be_head(head)
            if is_head and len(head) == _HEAD_BYTES and len(self._buffer) - at >= whole:
                at += self._take(bytes(self._buffer[at : at + whole]), out)
                continue
            if is_head and not final:
                break
            if is_head and len(head) == _HEAD_BYTES and not cut_short:
                cut_short = True  # told once; what follows is looked through for whole frames only
                out += [*self._quiet(), Refusal("cut_short", f"frame: expected {whole} bytes", head)]
            if cut_short:
                self.noise_bytes += 1
            else:
                self._noise += head[:1]
            at += 1
            if len(self._noise) >= FRAME_LIMIT:
                out += self._quiet()
        del self._buffer[:at]
        return out

    def _take(self, frame: bytes, out: list[RuptelaFrame | RefusedFrame | Refusal]) -> int:
        """Bytes used up: all if the CRC is right, else one, so that a good frame inside is found."""
        if crc16_kermit(frame[2:-2]) != int.from_bytes(frame[-2:], "big"):
            out += [*self._quiet(), Refusal("bad_checksum", "frame: expected its CRC-16/KERMIT at the end", frame)]
            self.noise_bytes += 1
            return 1
        out += [*self._quiet(), read_frame(frame)]
        return len(frame)

    def _quiet(self) -> list[RuptelaFrame | RefusedFrame | Refusal]:
        """One refusal for a run of bytes that begin no frame."""
        noise, self._noise = bytes(self._noise), bytearray()
        self.noise_bytes += len(noise)
        detail = f"{len(noise)} bytes that begin no frame: expected length and IMEI"
        return [Refusal("noise", detail, noise)] if noise else []


def crc16_kermit(data: bytes) -> int:
    """CRC-16/KERMIT: the reflected form of what `binascii` computes, so bits are turned before and after."""
    crc = crc_hqx(data.translate(_REVERSED), 0)
    return _REVERSED[crc & 0xFF] << 8 | _REVERSED[crc >> 8]


def answer(command: int, *, accepted: bool = True) -> bytes:
    """The acknowledgement of a frame, or its refusal: the unit then sends the frame again.

    Records of both kinds are answered by 100, other commands by 100 more than their number (as Traccar does).
    """
    number = 100 if command in (RECORDS, EXTENDED_RECORDS) else 100 + command & 0xFF
    body = bytes((number, accepted))
    return b"\x00\x02" + body + crc16_kermit(body).to_bytes(2, "big")


def read_frame(frame: bytes) -> RuptelaFrame | RefusedFrame:
    """A frame with a right CRC; commands other than records say nothing about a position."""
    imei, command = f"{int.from_bytes(frame[2:10], 'big'):015d}", frame[10]
    events: tuple[Event, ...] = ()
    if command in (RECORDS, EXTENDED_RECORDS):
        try:
            events = tuple(_read_records(imei, frame[11:-2], extended=command == EXTENDED_RECORDS))
        except (struct.error, IndexError):
            fault = Refusal("cut_short", "records: expected as many as the frame announces", frame)
            return RefusedFrame(fault, answer(command, accepted=False), answer(command), imei)
        except ValueError as error:
            fault = Refusal("left_over", str(error), frame)
            return RefusedFrame(fault, answer(command, accepted=False), answer(command), imei)
    return RuptelaFrame(imei, command, events, answer(command))


@dataclass(frozen=True)
class _Record:
    time_s: int
    part: int
    place: tuple[int, ...]
    """As `_PLACE` has it."""


def _read_records(imei: str, data: bytes, *, extended: bool) -> list[Event]:
    count, at = data[1], 2
    records: list[_Record] = []
    for _ in range(count):
        record, at = _record(data, at, extended)
        records.append(record)
    if at != len(data):
        raise ValueError(f"records: {len(data) - at} bytes after the last of {count}")
    events: list[Event] = []
    before: _Record | None = None
    for record in records:
        is_further_part = record.part > 0 and before is not None and before.time_s == record.time_s
        same_place = is_further_part and before is not None and before.place[:2] == record.place[:2]
        if _NOWHERE not in record.place[:2] and not same_place:
            events.append(_report(imei, record))
        before = record
    return events


def _record(data: bytes, at: int, extended: bool) -> tuple[_Record, int]:
    """One record and where the next begins. Raises struct.error or IndexError where the data ends too soon."""
    (time_s,) = struct.unpack_from(">I", data, at)
    part = data[at + 5] & 0x0F if extended else 0  # after the time's extension; high nibble: the last part
    at += 7 if extended else 6
    place = _PLACE.unpack_from(data, at)
    at += _PLACE.size + (2 if extended else 1)  # event
    id_bytes = 2 if extended else 1
    for value_bytes in (1, 2, 4, 8):
        at += 1 + data[at] * (id_bytes + value_bytes)
    if at > len(data):
        raise IndexError
    return _Record(time_s, part, place), at


def _report(imei: str, record: _Record) -> Event:
    longitude, latitude, _altitude, course, satellites, kmh, hdop = record.place
    speed_mps = None if kmh == 0xFFFF else kmh * KMH_MPS
    fix_type = "NONE" if satellites == 0 else None  # cached or empty; the unit did send it
    fault = None if fix_type else position_fault(latitude / 1e7, longitude / 1e7)
    if abs(latitude) > 900_000_000 or abs(longitude) > 1_800_000_000 or fault:
        return Refusal("bad_position", fault or "position: expected degrees of the earth")
    if speed_mps is not None and speed_mps > MAX_SPEED_MPS:
        return Refusal("bad_field", f"speed: expected at most {MAX_SPEED_MPS:g} m/s")
    known_hdop = hdop / 10 if 0 < hdop < 0xFF else None
    return PositionReport(
        unit=imei,
        latitude=latitude / 1e7,
        longitude=longitude / 1e7,
        fix_time_ms=record.time_s * 1000,
        accuracy=accuracy_m(None, known_hdop, ""),
        speed=speed_mps,
        heading=usable_heading_deg(course / 100 if course <= 36_000 else None, speed_mps),
        satellites=None if satellites == 0xFF else satellites,
        hdop=known_hdop,
        fix_type=fix_type,
    )


def _may_be_head(head: bytes) -> bool:
    """Whether a frame may begin so, by length and IMEI; true as long as too little is known."""
    length = int.from_bytes(head[:2], "big")
    if len(head) >= 2 and not _LEAST <= length <= FRAME_LIMIT:
        return False
    if len(head) < 10:
        # Fifteen digits are at most 00 03 8D 7E ...
        return not (len(head) > 2 and head[2]) and not (len(head) > 3 and head[3] > 3)
    return MIN_IMEI <= int.from_bytes(head[2:10], "big") <= MAX_IMEI
