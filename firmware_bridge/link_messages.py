"""The messages of the microcontroller link and their frames: the table, encoding and decoding.

A frame is COBS(MessagePack array + CRC-32 little endian) + `00`; the array begins with type and sequence number
and holds integers, short text and bytes, nothing else. One flipped bit in 10,000 bytes let 442 of 200,000 wrong
frames through without a check sum and none with CRC-32 (design/firmware-bridge.md section 8). docs/serial-link.md
is printed from this file.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import msgpack
import msgspec
from cobs import cobs
from msgspec import Meta

from firmware_bridge.messages import MAX_TIME_MS

PROTOCOL = 1
"""The only version so far; HELLO offers a range, the device takes the highest it knows."""
MAX_BODY_BYTES = 240
"""Keeps a frame in one COBS block: no byte of it has to be looked at twice."""
CRC_BYTES = 4
MAX_FRAME_BYTES = MAX_BODY_BYTES + CRC_BYTES + 2
"""With the COBS byte and the `00`; what is longer is dropped up to the next `00`."""
MAX_FIELDS = 16
MAX_CONFIG_KEYS = 32

U8 = Annotated[int, Meta(ge=0, le=0xFF)]
U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
TimeMs = Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]
"""UTC milliseconds since 1970."""
I32 = Annotated[int, Meta(ge=-0x8000_0000, le=0x7FFF_FFFF)]
Text16 = Annotated[str, Meta(max_length=16, pattern=r"^[ -~]*\Z")]
"""Printable ASCII: what every sign and every compiler can do."""
Text32 = Annotated[str, Meta(max_length=32)]
Text200 = Annotated[str, Meta(max_length=200)]
Bytes200 = Annotated[bytes, Meta(max_length=200)]


class Capability(enum.IntFlag):
    """What a device can do besides the outputs; bits 8 to 11 of the word are the number of outputs it has."""

    SIGN_TEXT = 1
    """Its signs show the lane text of a LEASE."""
    LAMP_CURRENT = 2
    """`lamp_ma` is measured."""
    WATCHDOG = 4
    """It can restart the host."""
    GNSS = 8
    """It sends FIX or RAW."""
    SIGHTINGS = 16
    """It reads number plates, seals or RFID."""


OUTPUTS_SHIFT = 8


class ResetCause(enum.IntEnum):
    """Why the device started last."""

    POWER = 0
    WATCHDOG = 1
    BROWN_OUT = 2
    COMMAND = 3


class FaultCode(enum.IntEnum):
    """What a device found wrong with itself."""

    NONE = 0
    """Whatever it was, it is over."""
    LAMP = 1
    """Commanded and measured differ for 500 ms."""
    DOOR = 2
    POWER = 3
    SILENT = 4
    """Its board on a bus does not answer, or does not fail safe as configured."""


class SightingKind(enum.IntEnum):
    """What read a vehicle."""

    ANPR = 1
    DSRC = 2
    SEAL = 3
    BEACON = 4


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What every message begins with, after its type."""

    seq: U8 = 0


class Heartbeat(Message, frozen=True, tag=0):
    """Twice a second from both sides; 1.5 s without one and the link is down on that side."""

    uptime_ms: U32 = 0
    boot: U32 = 0
    crc_errors: U32 = 0
    resyncs: U32 = 0
    overruns: U32 = 0


class Ack(Message, frozen=True, tag=1):
    """The message `acked` was obeyed, now or the first time it came."""

    acked: U8 = 0


class NakMessage(Message, frozen=True, tag=2):
    """The message `acked` was not obeyed; `reason` says why. Repeating it would not help."""

    acked: U8 = 0
    reason: U8 = 0


class Hello(Message, frozen=True, tag=3):
    """The host is there. The device drops what is permissive, forgets all sequence numbers and answers."""

    min_protocol: U8 = PROTOCOL
    max_protocol: U8 = PROTOCOL
    time_ms: TimeMs = 0
    config_crc: U32 = 0


class HelloReply(Message, frozen=True, tag=4):
    """Answer to HELLO, with its sequence number. `protocol` 0: none in common, and nothing more will be obeyed."""

    protocol: U8 = 0
    boot: U32 = 0
    config_crc: U32 = 0
    reset_cause: U8 = 0
    uptime_ms: U32 = 0
    device: Text16 = ""
    firmware: Text16 = ""
    capabilities: U32 = 0


class Config(Message, frozen=True, tag=5):
    """One value of the configuration; it counts from CONFIG_END on."""

    key: U16 = 0
    value: U32 = 0


class ConfigEnd(Message, frozen=True, tag=6):
    """All values are sent; with the right check sum they come into force and are kept over restarts."""

    config_crc: U32 = 0


class Fix(Message, frozen=True, tag=8):
    """Position of the device's own receiver; the latest counts."""

    time_ms: TimeMs = 0
    latitude_e7: I32 = 0
    longitude_e7: I32 = 0
    accuracy_cm: U32 = 0
    speed_cms: U32 = 0
    heading_cdeg: U16 = 0
    satellites: U8 = 0
    fix_type: U8 = 0


class Raw(Message, frozen=True, tag=9):
    """Bytes of a receiver behind the device, passed through."""

    port: U8 = 0
    data: Bytes200 = b""


class Sighting(Message, frozen=True, tag=10):
    """A number plate, RFID tag or seal was read; acknowledged once it is on disk."""

    kind: U8 = 0
    time_ms: TimeMs = 0
    value: Text32 = ""


class Lease(Message, frozen=True, tag=16):
    """Show `state` until `expires_uptime_ms` of your uptime, if this is your start number `boot`."""

    output: U8 = 0
    state: U8 = 0
    boot: U32 = 0
    expires_uptime_ms: U32 = 0
    decision_ref: U32 = 0
    text: Text16 = ""


class Output(Message, frozen=True, tag=17):
    """What an output was told to show and what it is measured to show: on change, and each second."""

    output: U8 = 0
    commanded: U8 = 0
    measured: U8 = 0
    decision_ref: U32 = 0
    remaining_ms: U32 = 0
    lamp_ma: U16 = 0


class Fault(Message, frozen=True, tag=18):
    """Something is wrong with an output or the cabinet, or is right again."""

    output: U8 = 0
    code: U8 = 0
    uptime_ms: U32 = 0


class Watchdog(Message, frozen=True, tag=24):
    """Restart the host when `expires_uptime_ms` passes without another; `armed` 0 ends that."""

    boot: U32 = 0
    expires_uptime_ms: U32 = 0
    armed: U8 = 1


class Log(Message, frozen=True, tag=31):
    """A line for people; level as in syslog."""

    level: U8 = 6
    text: Text200 = ""


AnyMessage: TypeAlias = (
    Heartbeat
    | Ack
    | NakMessage
    | Hello
    | HelloReply
    | Config
    | ConfigEnd
    | Fix
    | Raw
    | Sighting
    | Lease
    | Output
    | Fault
    | Watchdog
    | Log
)


@dataclass(frozen=True)
class Row:
    """One row of the message table."""

    name: str
    kind: type[Message]
    way: str
    """`both`, `a→d` (agent to device) or `d→a`."""
    acked: str
    """`no`, `yes`, `by 4` or `after commit`."""
    required: int
    """Fields after type and sequence number that have to be there; later versions may add some."""

    @property
    def number(self) -> int:
        """The message type."""
        return int(self.kind.__struct_config__.tag)  # type: ignore[arg-type]


TABLE = (
    Row("HEARTBEAT", Heartbeat, "both", "no", 5),
    Row("ACK", Ack, "both", "no", 1),
    Row("NAK", NakMessage, "both", "no", 2),
    Row("HELLO", Hello, "a→d", "by 4", 4),
    Row("HELLO_REPLY", HelloReply, "d→a", "no", 8),
    Row("CONFIG", Config, "a→d", "yes", 2),
    Row("CONFIG_END", ConfigEnd, "a→d", "yes", 1),
    Row("FIX", Fix, "d→a", "no", 8),
    Row("RAW", Raw, "d→a", "no", 2),
    Row("SIGHTING", Sighting, "d→a", "after commit", 3),
    Row("LEASE", Lease, "a→d", "yes", 5),
    Row("OUTPUT", Output, "d→a", "yes", 6),
    Row("FAULT", Fault, "d→a", "yes", 3),
    Row("WATCHDOG", Watchdog, "a→d", "yes", 2),
    Row("LOG", Log, "d→a", "no", 2),
)
BY_NUMBER = {row.number: row for row in TABLE}


@dataclass(frozen=True)
class FrameFault:
    """A frame that was not taken."""

    reason: str
    """`bad_cobs`, `bad_crc`, `not_an_array`, `unknown_type` or `bad_fields`."""
    detail: str = ""
    seq: int | None = None
    """Sequence number, where the frame was intact and can be answered by NAK."""


def encode_frame(message: Message) -> bytes:
    """The bytes that go over the line, closing `00` included.

    Raises:
        ValueError: the message is longer than `MAX_BODY_BYTES`; none within its fields' bounds is.
    """
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"{type(message).__name__} of {len(body)} bytes: expected at most {MAX_BODY_BYTES}")
    return bytes(cobs.encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little"))) + b"\0"


def decode_frame(frame: bytes) -> AnyMessage | FrameFault:
    """A message out of a frame (without its `00`), or why there is none; never raises."""
    try:
        data = cobs.decode(frame)
    except cobs.DecodeError as error:
        return FrameFault("bad_cobs", str(error))
    body, crc = data[:-CRC_BYTES], data[-CRC_BYTES:]
    if len(data) <= CRC_BYTES or zlib.crc32(body).to_bytes(CRC_BYTES, "little") != crc:
        return FrameFault("bad_crc", f"{len(data)} bytes")
    return _message(body)


def _message(body: bytes) -> AnyMessage | FrameFault:
    """What an intact body says. Whoever sends a right CRC may still send nonsense."""
    fields = _array(body)
    if fields is None:
        return FrameFault("not_an_array", f"{len(body)} bytes; expected one array of integers, text and bytes")
    if len(fields) < 2 or not all(type(one) is int and 0 <= one <= 0xFF for one in fields[:2]):
        return FrameFault("bad_fields", "type and sequence number: expected two integers up to 255")
    row, seq = BY_NUMBER.get(fields[0]), fields[1]
    if row is None:
        return FrameFault("unknown_type", f"type {fields[0]}", seq)
    if len(fields) - 2 < row.required:
        return FrameFault("bad_fields", f"{row.name} with {len(fields) - 2} fields: expected {row.required}", seq)
    try:
        return msgspec.convert(fields, row.kind)  # type: ignore[return-value]
    except msgspec.ValidationError as error:
        return FrameFault("bad_fields", f"{row.name}: {error}", seq)


def _array(body: bytes) -> list[Any] | None:
    """Exactly one flat array; a length field of 4 GB reserves nothing."""
    unpacker = msgpack.Unpacker(
        max_buffer_size=MAX_BODY_BYTES,
        max_array_len=MAX_FIELDS,
        max_map_len=0,
        max_ext_len=0,
        max_str_len=MAX_BODY_BYTES,
        max_bin_len=MAX_BODY_BYTES,
    )
    try:
        unpacker.feed(body)
        value = unpacker.unpack()
    except (ValueError, msgpack.UnpackException):  # UnicodeDecodeError and BufferFull among them
        return None
    if unpacker.tell() != len(body) or not isinstance(value, list):
        return None
    return value if all(type(one) in (int, str, bytes) for one in value) else None


class FrameReader:
    """Bytes to messages; keeps at most one frame, and finds its feet at the next `00`."""

    def __init__(self) -> None:
        self.crc_errors = 0
        """Frames that were damaged on the way."""
        self.resyncs = 0
        """Times bytes were thrown away because no `00` came in time."""
        self.refused = 0
        """Intact frames that say nothing we know."""
        self._held = bytearray()
        self._skipping = False

    @property
    def held_bytes(self) -> int:
        """Bytes of the frame under way."""
        return len(self._held)

    def feed(self, data: bytes) -> Iterator[AnyMessage | FrameFault]:
        """Messages and faults that these bytes complete; iterate to the end."""
        *complete, rest = data.split(b"\0")
        for piece in complete:
            frame = self._ended(piece)
            if frame:
                yield self._counted(decode_frame(frame))
        self._hold(rest)

    def _ended(self, piece: bytes) -> bytes:
        """The frame that ends here; empty where there is none, or it was too long."""
        self._hold(piece)
        frame, skipped = bytes(self._held), self._skipping
        self._held.clear()
        self._skipping = False
        return b"" if skipped else frame

    def _hold(self, piece: bytes) -> None:
        if self._skipping:
            return
        self._held += piece
        if len(self._held) >= MAX_FRAME_BYTES:  # a frame has its `00` by then
            self._held.clear()
            self._skipping = True
            self.resyncs += 1

    def _counted(self, found: AnyMessage | FrameFault) -> AnyMessage | FrameFault:
        if isinstance(found, FrameFault):
            if found.reason in ("bad_cobs", "bad_crc"):
                self.crc_errors += 1
            else:
                self.refused += 1
        return found


def config_crc(values: dict[int, int]) -> int:
    """CRC-32 over key (u16) and value (u32) of each pair, little endian, by rising key."""
    pairs = (key.to_bytes(2, "little") + values[key].to_bytes(4, "little") for key in sorted(values))
    return zlib.crc32(b"".join(pairs))
