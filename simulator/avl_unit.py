"""A Teltonika unit on TCP: codec 8E frames of its fixes, handshake, resends, and a display for commands.

What a frame holds is computed here and not by the listener's package: who reads must not be checked against
itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from zones.fix import Fix, FixType

CODEC_8E, CODEC_12 = 0x8E, 0x0C
RECORDS_A_FRAME = 25
QUEUE_RECORDS = 3_600
"""Records a unit keeps until they are confirmed: an hour at 1 Hz; then the oldest are given up."""
ANSWER_WAIT_S = 15.0
"""A unit that hears nothing for so long connects anew, wall seconds (choice)."""
RECONNECT_S = (0.3, 3.0)
"""First and longest pause before the next try, wall seconds (choice)."""
CONNECT_S = 5.0
HDOP_ID, HDOP_METRES = 182, 8.0
"""I/O element of the HDOP in tenths, and the 95 % radius that one unit of it stands for."""
SATELLITES = 11
COMMAND_LIMIT = 1_024

_PLACE = struct.Struct(">QBiihHBH")
_TAC = "86008503"
"""Type allocation code in front of the serial number (choice)."""


def imei_of(number: int) -> str:
    """IMEI of a simulated unit: type, six digits, check digit after Luhn."""
    body = f"{_TAC}{number:06d}"
    digits = [int(digit) * (2 if at % 2 else 1) for at, digit in enumerate(body)]
    return f"{body}{-sum(digit - 9 if digit > 9 else digit for digit in digits) % 10}"


def encode_record(fix: Fix) -> bytes:
    """One codec 8E record; speed in whole km/h and course in whole degrees, as the protocol has them."""
    two_bytes = b""
    if fix.accuracy_m > 0:
        two_bytes = struct.pack(">HH", HDOP_ID, max(1, round(fix.accuracy_m / HDOP_METRES * 10)))
    number = len(two_bytes) // 4
    place = _PLACE.pack(
        round(fix.time_s * 1000),
        0,
        round(fix.longitude * 1e7),
        round(fix.latitude * 1e7),
        0,
        round(fix.heading_deg or 0.0) % 360,
        0 if fix.fix_type is FixType.NONE else SATELLITES,
        round((fix.speed_mps or 0.0) * 3.6),
    )
    # event, all elements; of 1 byte, of 2, of 4, of 8, of any length
    return place + struct.pack(">HHHH", 0, number, 0, number) + two_bytes + struct.pack(">HHH", 0, 0, 0)


def encode_frame(records: list[bytes]) -> bytes:
    """Up to 255 records as a TCP frame."""
    return _framed(bytes((CODEC_8E, len(records))) + b"".join(records) + bytes((len(records),)))


def encode_hello(imei: str) -> bytes:
    """The handshake."""
    return len(imei).to_bytes(2, "big") + imei.encode()


def encode_reply(text: bytes) -> bytes:
    """The unit's answer to a codec 12 command."""
    return _framed(bytes((CODEC_12, 1, 0x06)) + len(text).to_bytes(4, "big") + text + b"\x01")


def _framed(body: bytes) -> bytes:
    return bytes(4) + len(body).to_bytes(4, "big") + body + _crc(body).to_bytes(4, "big")


def _crc(data: bytes) -> int:
    """CRC-16/ARC, bit by bit."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


@dataclass(frozen=True)
class Heard:
    """What the listener said: records taken, or the text of a command."""

    taken: int = 0
    text: bytes | None = None


def read_answer(data: bytes) -> tuple[Heard, int] | None:
    """The first answer in `data` and its length; None = more bytes are needed.

    Four zero bytes are "nothing taken" if they stand alone, and begin a command if more follows.
    """
    if len(data) < 4:
        return None
    if data[:4] != bytes(4) or len(data) == 4:
        return Heard(int.from_bytes(data[:4], "big")), 4
    if len(data) < 8:
        return None
    length = int.from_bytes(data[4:8], "big")
    if not 8 <= length <= COMMAND_LIMIT:
        return Heard(0), 4  # two answers in a row
    if len(data) < length + 12:
        return None
    return Heard(text=data[15 : 7 + length]), length + 12


class AvlUnit:
    """One unit: keeps its records until they are confirmed, connects for ever."""

    def __init__(
        self, host: str, port: int, imei: str, on_text: Callable[[str], None], tls: ssl.SSLContext | None = None
    ) -> None:
        self.imei = imei
        self._host, self._port, self._on_text, self._tls = host, port, on_text, tls
        self._records: deque[bytes] = deque(maxlen=QUEUE_RECORDS)
        self._woken = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._under_way = 0
        self.resent = 0
        """Records sent again because no answer had come."""

    @property
    def waiting(self) -> int:
        """Records not confirmed yet."""
        return len(self._records)

    def start(self) -> None:
        """Switch it on."""
        self._task = asyncio.create_task(self._run(), name=f"unit {self.imei}")

    def take(self, fix: Fix) -> None:
        """Keep a fix and send it as soon as may be."""
        if len(self._records) == QUEUE_RECORDS:
            self._under_way = max(0, self._under_way - 1)  # the oldest is given up, sent or not
        self._records.append(encode_record(fix))
        self._woken.set()

    async def close(self) -> None:
        """Switch it off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        first_s, longest_s = RECONNECT_S
        pause_s = first_s
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                if await self._session():
                    pause_s = first_s
            await asyncio.sleep(pause_s)
            pause_s = min(longest_s, pause_s * 2)

    async def _session(self) -> bool:
        """One connection to its end; whether we were let in."""
        async with asyncio.timeout(CONNECT_S):
            reader, self._writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        try:
            self._writer.write(encode_hello(self.imei))
            async with asyncio.timeout(ANSWER_WAIT_S):
                if await reader.readexactly(1) != b"\x01":
                    return False
            self.resent += self._under_way
            self._under_way = 0
            await self._talk(reader, self._writer)
        finally:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        return True

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender = asyncio.create_task(self._send(writer))
        heard = b""
        try:
            while True:
                async with asyncio.timeout(ANSWER_WAIT_S if self._under_way else None):
                    data = await reader.read(COMMAND_LIMIT)
                if not data:
                    return
                heard += data
                while (answer := read_answer(heard)) is not None:
                    heard = heard[answer[1] :]
                    self._hear(answer[0], writer)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        """One frame under way at a time."""
        while True:
            if self._records and not self._under_way:
                frame = [self._records[at] for at in range(min(RECORDS_A_FRAME, len(self._records)))]
                self._under_way = len(frame)
                writer.write(encode_frame(frame))
                await writer.drain()
            self._woken.clear()
            await self._woken.wait()

    def _hear(self, heard: Heard, writer: asyncio.StreamWriter) -> None:
        if heard.text is not None:
            self._on_text(heard.text.decode("ascii", "replace"))
            writer.write(encode_reply(b"shown"))
            return
        for _ in range(min(heard.taken, self._under_way, len(self._records))):
            self._records.popleft()
        self._under_way = 0
        self._woken.set()
