"""Byte stream to checked frames: NMEA sentences, UBX and RTCM frames, finding its feet after noise.

A start that turns out false costs one byte, so a damaged frame never takes the good one behind it along
(design/firmware-bridge.md section 3). Every decision depends only on the bytes, never on how they were cut
into chunks.
"""

from __future__ import annotations

import enum
import re
from functools import reduce
from itertools import accumulate
from operator import xor

import msgspec

from firmware_bridge.messages import Refusal

SENTENCE_LIMIT = 1_024
"""Bytes of a sentence. The standard says 82, Quectel's $PGLOR has 134: the limit only stops endless lines."""
UBX_LIMIT = 4_096
"""Payload bytes of a UBX frame; longer ones are taken for a false start."""
SHORT_UBX_LIMIT = 128
"""Payload bytes of the frames we read, the longest being NAV-PVT: a damaged length holds nothing up."""
SHORT_UBX = frozenset(
    (b"\x28\x00", *(bytes((1, number)) for number in (0x01, 0x02, 0x03, 0x06, 0x07, 0x12, 0x14, 0x20, 0x21, 0x61)))
)
"""Class and id of the frames we read: HNR-PVT and navigation results."""
HEADER_LINE_LIMIT = 8_192
"""Bytes of one `#` line at the head of a log."""

_UBX_OVERHEAD = 8  # sync 2, class, id, length 2, checksum 2
_RTCM_OVERHEAD = 6  # preamble, length 2, CRC 3
_START = re.compile(rb"[$!]|\xb5|\xd3")
_SENTENCE_STOP = re.compile(rb"[^\x20-\x7e]|[$!]")
_CHECKED = re.compile(rb"([^*]*)\*([0-9A-Fa-f]{2}) *")
_LOOKS_LIKE_SENTENCE = re.compile(rb"[A-Z][A-Z0-9]{3,},")


class FrameKind(enum.Enum):
    """Which protocol a frame belongs to."""

    SENTENCE = "$"
    ENCAPSULATED = "!"
    """AIS."""
    UBX = "ubx"
    RTCM = "rtcm"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame whose checksum is right."""

    kind: FrameKind
    body: bytes
    """Sentence: what lies between start and `*`. UBX: class, id, length and payload. RTCM: the payload."""


class Framer:
    """Cuts a byte stream into frames; at most `UBX_LIMIT` + 8 bytes stay buffered between two calls."""

    def __init__(self, *, skip_header: bool = False) -> None:
        """With `skip_header` the leading run of `#` lines, which recorded logs carry, is left out.

        Only the leading run: UBX payloads hold `\\n#` as well.
        """
        self._buffer = bytearray()
        self._in_header = skip_header
        self.noise_bytes = 0
        """Bytes that belonged to no frame and to nothing that looked like one (line ends not counted)."""
        self.frames = 0
        """Frames with a right checksum."""

    @property
    def buffered(self) -> int:
        """Bytes waiting for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame | Refusal]:
        """Frames and refusals that are complete now, in input order."""
        self._buffer += data
        return self._scan(final=False)

    def end(self) -> list[Frame | Refusal]:
        """What the last bytes still hold; half a frame is no frame."""
        return self._scan(final=True)

    def _scan(self, *, final: bool) -> list[Frame | Refusal]:
        out: list[Frame | Refusal] = []
        if self._in_header and not self._header_is_over(final):
            return out
        at = 0
        while found := _START.search(self._buffer, at):
            self._count_noise(at, found.start())
            at = found.start()
            consumed = self._take(at, final, out)
            if not consumed:
                break
            at += consumed
        else:
            self._count_noise(at, len(self._buffer))
            at = len(self._buffer)
        del self._buffer[:at]
        return out

    def _header_is_over(self, final: bool) -> bool:
        """Drops the `#` lines at the head of a log; True when the data has begun."""
        while self._buffer[:1] == b"#":
            line_end = self._buffer.find(b"\n") + 1
            if not line_end and not final and len(self._buffer) <= HEADER_LINE_LIMIT:
                return False
            del self._buffer[: line_end or len(self._buffer)]
        self._in_header = not self._buffer and not final
        return not self._in_header

    def _count_noise(self, start: int, stop: int) -> None:
        line_ends = self._buffer.count(b"\r", start, stop) + self._buffer.count(b"\n", start, stop)
        self.noise_bytes += stop - start - line_ends

    def _take(self, at: int, final: bool, out: list[Frame | Refusal]) -> int:
        """Bytes used up by the frame or false start at `at`; 0 = wait for more."""
        match self._buffer[at]:
            case 0xB5:
                return self._take_ubx(at, final, out)
            case 0xD3:
                return self._take_rtcm(at, final, out)
            case _:
                return self._take_sentence(at, final, out)

    def _take_sentence(self, at: int, final: bool, out: list[Frame | Refusal]) -> int:
        stop = _SENTENCE_STOP.search(self._buffer, at + 1, at + 1 + SENTENCE_LIMIT)
        if stop is None and len(self._buffer) - at <= SENTENCE_LIMIT and not final:
            return 0
        line_end = stop.start() if stop else min(len(self._buffer), at + 1 + SENTENCE_LIMIT)
        start, line = chr(self._buffer[at]), bytes(self._buffer[at + 1 : line_end])
        checked = _CHECKED.fullmatch(line)
        if checked and reduce(xor, checked[1], 0) == int(checked[2], 16):
            self.frames += 1
            out.append(Frame(FrameKind(start), checked[1]))
        elif _LOOKS_LIKE_SENTENCE.match(line):
            ended = stop is not None and stop[0] in b"\r\n"
            out.append(_damage(start.encode() + line, bool(checked), ended, stop is None and not final))
        else:
            self.noise_bytes += 1 + len(line)
        return line_end - at

    def _take_ubx(self, at: int, final: bool, out: list[Frame | Refusal]) -> int:
        head = self._buffer[at : at + 6]
        if len(head) > 1 and head[1] != 0x62:
            return self._false_start()
        length = int.from_bytes(head[4:6], "little")
        whole = length + _UBX_OVERHEAD
        if len(head) == 6 and length > (SHORT_UBX_LIMIT if bytes(head[2:4]) in SHORT_UBX else UBX_LIMIT):
            return self._false_start()
        if len(head) < 6 or len(self._buffer) - at < whole:
            return self._false_start() if final else 0
        body = bytes(self._buffer[at + 2 : at + whole - 2])
        check = bytes(self._buffer[at + whole - 2 : at + whole])
        # The plain sum first: it alone finds 255 of 256 false starts, in a tenth of the time.
        if sum(body) & 255 != check[0] or fletcher(body) != check:
            return self._false_start()
        self.frames += 1
        out.append(Frame(FrameKind.UBX, body))
        return whole

    def _take_rtcm(self, at: int, final: bool, out: list[Frame | Refusal]) -> int:
        head = self._buffer[at : at + 5]
        if not _may_be_rtcm(head):
            return self._false_start()
        whole = (int.from_bytes(head[1:3], "big") & 0x3FF) + _RTCM_OVERHEAD
        if len(head) < 5 or len(self._buffer) - at < whole:
            return self._false_start() if final else 0
        if crc24q(self._buffer[at : at + whole]) != 0:
            return self._false_start()
        self.frames += 1
        out.append(Frame(FrameKind.RTCM, bytes(self._buffer[at + 3 : at + whole - 3])))
        return whole

    def _false_start(self) -> int:
        self.noise_bytes += 1
        return 1


def fletcher(body: bytes) -> bytes:
    """The two checksum bytes of a UBX frame over class, id, length and payload."""
    return bytes((sum(body) & 255, sum(accumulate(body)) & 255))


def crc24q(data: bytes | bytearray) -> int:
    """CRC-24Q of RTCM 3; 0 over a frame together with its CRC."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFFFF) ^ _CRC24Q[crc >> 16 ^ byte]
    return crc


def _crc24q_entry(byte: int) -> int:
    crc = byte << 16
    for _ in range(8):
        crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc & 0xFFFFFF


_CRC24Q = tuple(_crc24q_entry(byte) for byte in range(256))


def _may_be_rtcm(head: bytes | bytearray) -> bool:
    """Six zero bits and a message number that exists: keeps most false starts away from the costly CRC."""
    if len(head) > 1 and head[1] & 0xFC:
        return False
    if len(head) < 5:
        return True
    number = int.from_bytes(head[3:5], "big") >> 4
    return 1001 <= number <= 1304 or 4001 <= number <= 4095


def _damage(line: bytes, checked: bool, ended: bool, endless: bool) -> Refusal:
    if endless:
        return Refusal("too_long", f"sentence: expected at most {SENTENCE_LIMIT} bytes", line)
    if checked:
        return Refusal("bad_checksum", "sentence: expected the XOR of its bytes after `*`", line)
    if not ended or b"*" in line:
        return Refusal("cut_short", "sentence: expected `*`, two hex digits and the line end", line)
    return Refusal("no_checksum", "sentence: expected `*` and two hex digits at its end", line)
