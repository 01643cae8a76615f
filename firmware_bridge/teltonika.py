"""Teltonika units: codecs 8, 8E, 16 and 7 to position reports, 12 to 14 as commands, by TCP and UDP.

A TCP frame is four zero bytes, length (4 bytes, codec id to second count), codec, count, records, count,
CRC-16/ARC in 4 bytes; a UDP packet has length and packet id in front, the IMEI inside and no CRC. All
big-endian (design/firmware-bridge.md section 6, from Teltonika's "Data Sending Protocols"). How many records were
taken is the answer, and what is not confirmed the unit sends again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec

from firmware_bridge.avl import FRAME_LIMIT, IMEI, AvlItem, Hello, RefusedFrame, Reply, events_of
from firmware_bridge.fix_gate import MAX_SPEED_MPS, accuracy_m, position_fault, usable_heading_deg
from firmware_bridge.messages import MAX_TIME_MS, Event, PositionReport, Refusal

KMH_MPS = 1 / 3.6
PREAMBLE = bytes(4)
CODEC_7, CODEC_8, CODEC_12, CODEC_13, CODEC_14, CODEC_16, CODEC_8E = 0x07, 0x08, 0x0C, 0x0D, 0x0E, 0x10, 0x8E
COMMANDS = (CODEC_12, CODEC_13, CODEC_14)
COMMAND_TEXT, REPLY_TEXT = 0x05, 0x06
HDOP_ID = 182
"""I/O element that carries the HDOP in tenths."""
HELLO_BYTES = 17
IMEI_LENGTH = b"\x00\x0f"
LEAST_LENGTH = 3
"""Codec, count and count again."""
TRIES_IN_REFUSED = 16
"""Frames looked for inside a refused one: each costs a check sum over up to `FRAME_LIMIT` bytes."""
GH3000_EPOCH_S = 1_167_609_600
"""1 January 2007; codec 7 counts 30 bits of seconds from there, two more are the priority."""
KEEP_ALIVE = 0xFF
"""A lone byte between frames, sent to keep a mobile network's path open."""

_HEAD_BYTES = 8  # preamble, length
_UDP_HEAD_BYTES = 23  # length 2, id 2, 01, AVL id, IMEI length 2, IMEI 15
_PLACE = struct.Struct(">QBiihHBH")
"""Time ms, priority, longitude, latitude (1e-7 degrees), altitude m, course, satellites, km/h."""
_VALUE_BYTES = (1, 2, 4, 8)


def _crc_table() -> tuple[int, ...]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _crc_table()


def crc16_arc(data: bytes) -> int:
    """CRC-16/ARC: polynomial 0x8005 reflected, initial value 0. `123456789` gives 0xBB3D."""
    crc = 0
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


class TeltonikaFrame(msgspec.Struct, frozen=True):
    """One good frame."""

    imei: str | None
    """UDP only; on TCP the handshake says it."""
    codec: int
    events: tuple[Event, ...]
    answer: bytes
    """How many records were taken, to be sent once they are on disk."""


_Kind = tuple[Callable[[bytes], bool], Callable[[bytes, list[AvlItem]], int]]
"""Whether something may begin with these bytes, and what takes it: bytes used up, 0 = wait for more."""


class TeltonikaDecoder:
    """Bytes of one TCP connection, or of a recording, to frames.

    Args:
        udp: Also take UDP packets, which a recording may hold; a TCP connection never does.
    """

    def __init__(self, *, udp: bool = False) -> None:
        self._udp = udp
        self._buffer = bytearray()
        self._noise = bytearray()
        self._refused_bytes = 0
        """So many bytes ahead belong to a frame already refused; what is wrong in them is not told again."""
        self._tries = 0
        self._imei: str | None = None

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

    def frames(self, data: bytes) -> list[AvlItem]:
        """Hello, frames, refused frames, replies and refusals these bytes complete, in input order."""
        self._buffer += data
        return self._scan(final=False)

    def _scan(self, *, final: bool) -> list[AvlItem]:
        out: list[AvlItem] = []
        while self._buffer:
            used = self._one(out, final=final)
            if not used:
                break
            del self._buffer[:used]
            if self._refused_bytes:
                self._refused_bytes = max(0, self._refused_bytes - used)
                self._noise.clear()
            if len(self._noise) >= FRAME_LIMIT:
                out += self._quiet()
        return out

    def _one(self, out: list[AvlItem], *, final: bool) -> int:
        """Bytes used up at the start of the buffer; 0 = wait for more."""
        head = bytes(self._buffer[:_UDP_HEAD_BYTES])
        if head[0] == KEEP_ALIVE and not self._noise and not self._refused_bytes:
            return 1
        for begins, take in self._kinds():
            if begins(head):
                used = take(head, out)
                return used or (self._cut_short(head, out) if final else 0)
        return self._skip()

    def _skip(self) -> int:
        """To the next byte that may begin something; on TCP all heads begin with a zero."""
        end = 1 if self._udp else self._buffer.find(0, 1)
        used = min(len(self._buffer) if end < 0 else end, FRAME_LIMIT)
        self._noise += self._buffer[:used]
        return used

    def _kinds(self) -> list[_Kind]:
        kinds: list[_Kind] = [(_may_be_frame, self._frame), (_may_be_hello, self._hello)]
        return [*kinds, (_may_be_packet, self._packet)] if self._udp else kinds

    def _hello(self, head: bytes, out: list[AvlItem]) -> int:
        if len(head) < HELLO_BYTES:
            return 0
        self._imei = head[2:HELLO_BYTES].decode()
        out += [*self._quiet(), Hello(self._imei, b"\x01", b"\x00")]
        return HELLO_BYTES

    def _frame(self, head: bytes, out: list[AvlItem]) -> int:
        length = int.from_bytes(head[4:8], "big")
        whole = length + 12
        if len(head) < _HEAD_BYTES or len(self._buffer) < whole:
            return 0
        if self._tries >= TRIES_IN_REFUSED and self._refused_bytes:
            return self._skip()
        body, given = bytes(self._buffer[8 : 8 + length]), int.from_bytes(self._buffer[8 + length : whole], "big")
        if crc16_arc(body) != given:
            return self._refuse(Refusal("bad_crc", "frame: expected its CRC-16/ARC at the end"), body, whole, out)
        out += [*self._quiet(), read_body(body, self._imei)]
        self._refused_bytes = 0
        return whole

    def _packet(self, head: bytes, out: list[AvlItem]) -> int:
        whole = int.from_bytes(head[:2], "big") + 2
        if len(self._buffer) < whole:
            return 0
        item = read_packet(bytes(self._buffer[:whole]))
        if not isinstance(item, RefusedFrame):
            out += [*self._quiet(), item]
            return whole
        return self._refuse(item.refusal, b"", whole, out)

    def _refuse(self, refusal: Refusal, body: bytes, whole: int, out: list[AvlItem]) -> int:
        """One byte is used up, so that a good frame inside is found; told once for all the frame's bytes."""
        if not self._refused_bytes:
            self._tries = 0
            out += [*self._quiet(), refused_frame(refusal, body, bytes(self._buffer[:whole]))]
        self._tries += 1
        self._refused_bytes = max(self._refused_bytes, whole)
        return 1

    def _cut_short(self, head: bytes, out: list[AvlItem]) -> int:
        if len(head) < _HEAD_BYTES:
            return self._skip()
        return self._refuse(Refusal("bad_length", "frame: the stream ends before it does"), b"", len(self._buffer), out)

    def _quiet(self) -> list[AvlItem]:
        """One refusal for a run of bytes that begin no frame."""
        noise, self._noise = bytes(self._noise), bytearray()
        return [_noise_refusal(noise)] if noise else []


def _noise_refusal(noise: bytes) -> Refusal:
    """Names what is wrong with the head, where there is one."""
    if noise[:4] == PREAMBLE and len(noise) >= 8:
        length = int.from_bytes(noise[4:8], "big")
        return Refusal("bad_length", f"length: {length}, expected {LEAST_LENGTH} to {FRAME_LIMIT} bytes", noise)
    if noise[:2] == IMEI_LENGTH:
        return Refusal("bad_imei", "IMEI: expected 15 digits", noise)
    return Refusal("bad_preamble", f"{len(noise)} bytes that begin no frame: expected four zero bytes", noise)


def _may_be_frame(head: bytes) -> bool:
    """Whether a TCP frame may begin so; true as long as too little is known."""
    if head[:4] != PREAMBLE[: len(head)]:
        return False
    if len(head) < _HEAD_BYTES:
        return not any(head[4:6])
    return LEAST_LENGTH <= int.from_bytes(head[4:8], "big") <= FRAME_LIMIT


def _may_be_hello(head: bytes) -> bool:
    digits = head[2:HELLO_BYTES]
    return head[:2] == IMEI_LENGTH[: len(head)] and (not digits or digits.isdigit())


def _may_be_packet(head: bytes) -> bool:
    """Whether a UDP packet may begin so; the IMEI is looked at only once the packet is whole."""
    if len(head) >= 2 and not _UDP_HEAD_BYTES < int.from_bytes(head[:2], "big") + 2 <= FRAME_LIMIT:
        return False
    return len(head) < 5 or head[4] == 1


# --- frames -----------------------------------------------------------------------------------------------------


class _Unfit(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, reason: str, detail: str) -> None:
        self.refusal = Refusal(reason, detail)
        super().__init__(detail)


def count_answer(count: int) -> bytes:
    """The acknowledgement on TCP: so many records were taken."""
    return count.to_bytes(4, "big")


def refused_frame(refusal: Refusal, body: bytes, quote: bytes) -> RefusedFrame:
    """A refused TCP frame; `body` is codec to second count, as far as it is known."""
    claimed = body[1] if len(body) > 1 else 0
    return RefusedFrame(msgspec.structs.replace(refusal, quote=quote), count_answer(0), count_answer(claimed))


def read_body(body: bytes, imei: str | None = None) -> TeltonikaFrame | RefusedFrame | Reply:
    """Codec id to second count of a TCP frame whose CRC is right."""
    try:
        if body[0] in COMMANDS:
            return _read_command(body)
        events = _read_records(body, imei)
    except _Unfit as fault:
        return refused_frame(fault.refusal, body, body)
    return TeltonikaFrame(None, body[0], events, count_answer(body[1]))


def read_packet(packet: bytes) -> TeltonikaFrame | RefusedFrame:
    """One UDP packet. It has no CRC; what holds it together is lengths and counts."""
    head, claimed = packet[2:4] + b"\x01" + packet[5:6], 0
    try:
        imei, body = _opened(packet)
        claimed = body[1]
        if body[0] in COMMANDS:
            raise _Unfit("bad_codec", "codec: expected records, 7, 8, 8E or 16")
        events = _read_records(body, imei)
    except _Unfit as fault:
        refusal = msgspec.structs.replace(fault.refusal, quote=packet)
        return RefusedFrame(refusal, _udp_answer(head, 0), _udp_answer(head, claimed), _imei_of(packet))
    return TeltonikaFrame(imei, body[0], events, _udp_answer(head, claimed))


def _udp_answer(head: bytes, count: int) -> bytes:
    return b"\x00\x05" + head + bytes((count,)) if len(head) == 4 else b""


def _imei_of(packet: bytes) -> str | None:
    digits = packet[8:_UDP_HEAD_BYTES].decode("latin-1")
    return digits if packet[6:8] == IMEI_LENGTH and IMEI.fullmatch(digits) else None


def _opened(packet: bytes) -> tuple[str, bytes]:
    """IMEI, and codec to second count."""
    if len(packet) > FRAME_LIMIT or int.from_bytes(packet[:2], "big") != len(packet) - 2:
        raise _Unfit("bad_length", "packet: expected as many bytes as its length says")
    imei = _imei_of(packet)
    if imei is None or packet[4] != 1:
        raise _Unfit("bad_imei", "packet: expected 01, AVL id, 000F and an IMEI of 15 digits")
    if len(packet) < _UDP_HEAD_BYTES + LEAST_LENGTH:
        raise _Unfit("bad_length", "packet: expected codec, count and records")
    return imei, packet[_UDP_HEAD_BYTES:]


def _read_command(body: bytes) -> Reply | TeltonikaFrame:
    """A reply to a command of ours; any other text says nothing about a position and needs no answer."""
    size = int.from_bytes(body[3:7], "big")
    if body[1] != body[-1]:
        raise _Unfit("bad_count", "command: expected its count twice")
    if body[1] == 1 and size + 8 != len(body):
        raise _Unfit("left_over", "command: expected as many bytes of text as its size says")
    if body[2] != REPLY_TEXT or body[1] != 1:
        return TeltonikaFrame(None, body[0], (), b"")
    before_text = {CODEC_13: 4, CODEC_14: 8}.get(body[0], 0)  # a time; the IMEI
    return Reply(body[7 + before_text : -1])


def encode_command(text: bytes) -> bytes:
    """A codec 12 command for the unit, as a TCP frame."""
    body = bytes((CODEC_12, 1, COMMAND_TEXT)) + len(text).to_bytes(4, "big") + text + b"\x01"
    return PREAMBLE + len(body).to_bytes(4, "big") + body + crc16_arc(body).to_bytes(4, "big")


# --- records ----------------------------------------------------------------------------------------------------


def _read_records(body: bytes, imei: str | None) -> tuple[Event, ...]:
    codec, count = body[0], body[1]
    reader = _READERS.get(codec)
    if reader is None:
        raise _Unfit("bad_codec", f"codec: {codec:#04x}, expected 7, 8, 8E, 16, 12, 13 or 14")
    if body[-1] != count:
        raise _Unfit("bad_count", f"count: {count} before the records, {body[-1]} after them")
    events: list[Event] = []
    at, end = 2, len(body) - 1
    for number in range(count):
        try:
            event, at = reader(body, at, imei)
        except (struct.error, IndexError):
            at = end + 1
        if at > end:
            raise _Unfit("bad_length", f"record {number + 1} of {count}: goes beyond the end of the frame")
        events += [] if event is None else [event]
    if at != end:
        raise _Unfit("left_over", f"{end - at} bytes after the last of {count} records")
    return tuple(events)


_Read = tuple[Event | None, int]
"""What a record says, and where the next begins."""


def _record_8(body: bytes, at: int, imei: str | None) -> _Read:
    values, at = _PLACE.unpack_from(body, at), at + _PLACE.size
    hdop, at = _elements(body, at + 2, id_bytes=1, count_bytes=1)  # event, total
    return _report(imei, values, hdop), at


def _record_8e(body: bytes, at: int, imei: str | None) -> _Read:
    values, at = _PLACE.unpack_from(body, at), at + _PLACE.size
    hdop, at = _elements(body, at + 4, id_bytes=2, count_bytes=2)
    (count,) = struct.unpack_from(">H", body, at)
    at += 2
    for _ in range(count):  # of variable length
        _, length = struct.unpack_from(">HH", body, at)
        at += 4 + length
    return _report(imei, values, hdop), at


def _record_16(body: bytes, at: int, imei: str | None) -> _Read:
    values, at = _PLACE.unpack_from(body, at), at + _PLACE.size
    hdop, at = _elements(body, at + 4, id_bytes=2, count_bytes=1)  # event, generation, total
    return _report(imei, values, hdop), at


def _elements(body: bytes, at: int, *, id_bytes: int, count_bytes: int) -> tuple[float | None, int]:
    """HDOP among the I/O elements, and where they end."""
    hdop = None
    for value_bytes in _VALUE_BYTES:
        count = int.from_bytes(body[at : at + count_bytes], "big")
        at += count_bytes
        if value_bytes == 2:
            hdop = _hdop(body, at, count, id_bytes)
        at += count * (id_bytes + value_bytes)
        if at > len(body):
            raise IndexError
    return hdop, at


def _hdop(body: bytes, at: int, count: int, id_bytes: int) -> float | None:
    for start in range(at, min(at + count * (id_bytes + 2), len(body) - id_bytes - 1), id_bytes + 2):
        if int.from_bytes(body[start : start + id_bytes], "big") == HDOP_ID:
            return int.from_bytes(body[start + id_bytes : start + id_bytes + 2], "big") / 10 or None
    return None


def _record_7(body: bytes, at: int, imei: str | None) -> _Read:
    """Codec 7 of the GH3000: what it holds is said by masks."""
    (seconds,) = struct.unpack_from(">I", body, at)
    mask, at = body[at + 4], at + 5
    event: Event | None = None
    if mask & 1:
        time_ms = ((seconds & 0x3FFF_FFFF) + GH3000_EPOCH_S) * 1000
        event, at = _place_7(body, at, time_ms, imei)
    for bit, value_bytes in ((2, 1), (4, 2), (8, 4)):
        if mask & bit:
            at += 1 + body[at] * (1 + value_bytes)
    return event, at


def _place_7(body: bytes, at: int, time_ms: int, imei: str | None) -> _Read:
    mask, at = body[at], at + 1
    found: dict[int, tuple[float, ...]] = {}
    for bit, form in enumerate((">ff", ">h", ">B", ">B", ">B", ">I", ">B", ">I")):
        if mask & 1 << bit:
            found[bit] = struct.unpack_from(form, body, at)
            at += struct.calcsize(form)
    if 0 not in found:
        return None, at
    latitude, longitude = found[0]
    course = found[2][0] * 360 / 256 if 2 in found else None
    satellites = int(found[4][0]) if 4 in found else None
    kmh = found[3][0] if 3 in found else None
    return _checked(imei, time_ms, latitude, longitude, kmh, course, satellites, None), at


def _report(imei: str | None, values: tuple[int, ...], hdop: float | None) -> Event:
    time_ms, _priority, longitude, latitude, _altitude, course, satellites, kmh = values
    return _checked(imei, time_ms, latitude / 1e7, longitude / 1e7, kmh, course, satellites, hdop)


def _checked(
    imei: str | None,
    time_ms: int,
    latitude: float,
    longitude: float,
    kmh: float | None,
    course: float | None,
    satellites: int | None,
    hdop: float | None,
) -> Event:
    """The record as a report. With no satellite it is `NONE`: the unit sent what it knew last, or 0/0."""
    speed_mps = None if kmh is None else kmh * KMH_MPS
    fix_type = "NONE" if satellites == 0 else None
    fault = position_fault(latitude, longitude)
    if fault and not (fix_type and latitude == longitude == 0.0):
        return Refusal("bad_position", fault)
    if time_ms > MAX_TIME_MS:
        return Refusal("bad_field", "time: expected milliseconds since 1970, before the year 10000")
    if speed_mps is not None and speed_mps > MAX_SPEED_MPS:
        return Refusal("bad_field", f"speed: expected at most {MAX_SPEED_MPS:g} m/s")
    return PositionReport(
        unit=imei,
        latitude=latitude,
        longitude=longitude,
        fix_time_ms=time_ms,
        accuracy=accuracy_m(None, hdop, ""),
        speed=speed_mps,
        heading=usable_heading_deg(course if course is not None and course <= 360 else None, speed_mps),
        satellites=satellites,
        hdop=hdop,
        fix_type=fix_type,
    )


_READERS: dict[int, Callable[[bytes, int, str | None], _Read]] = {
    CODEC_7: _record_7,
    CODEC_8: _record_8,
    CODEC_8E: _record_8e,
    CODEC_16: _record_16,
}
