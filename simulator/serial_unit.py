"""The device side of the serial link: a receiver on a pseudo-terminal that speaks NMEA.

`nmea_sentences` is pure; `SerialReceiver` owns the pseudo-terminal. Its path is a link in a folder of ours,
which stays when the receiver is unplugged and comes back on another terminal, as `/dev/serial/by-id` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import xor
from pathlib import Path

from firmware_bridge.messages import PositionReport

BITS_PER_BYTE = 10
"""Start bit, eight data bits, stop bit. A pseudo-terminal ignores the baud rate; the receiver keeps to it."""
SATELLITES = 9
HDOP = 0.9
"""What a receiver with open sky says, where the report says nothing."""
MPS_PER_KNOT = 0.514444

_MINUTE_PARTS = 100_000  # five decimals of a minute, 1.9 cm, as u-blox receivers send
_QUALITY_AND_MODE = {
    "NONE": ("0", "N"),
    "DGNSS": ("2", "D"),
    "RTK": ("4", "R"),
    "ESTIMATED": ("6", "E"),
    "SIMULATED": ("8", "S"),
}


def nmea_sentences(report: PositionReport) -> bytes:
    """RMC, GGA and GSA of one fix, talker GN, each with checksum and line end.

    Positions are rounded to 1e-5 minutes, speed to 0.001 kn. A report of fix type `NONE` becomes what a
    receiver without a fix sends: its time, and empty fields.

    Raises:
        ValueError: the report has no fix time; NMEA cannot do without.
    """
    if report.fix_time_ms is None:
        raise ValueError("report without fix_time_ms: expected the UTC time of the fix")
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=report.fix_time_ms)
    clock, day = f"{moment:%H%M%S}.{moment.microsecond // 1000:03d}", f"{moment:%d%m%y}"
    has_fix = report.fix_type != "NONE"
    quality, mode = _QUALITY_AND_MODE.get(report.fix_type or "", ("1", "A"))
    place = _place(report) if has_fix else ",,,"
    knots = f"{report.speed / MPS_PER_KNOT:.3f}" if has_fix and report.speed is not None else ""
    course = f"{report.heading:.2f}" if has_fix and report.heading is not None else ""
    satellites = (SATELLITES if report.satellites is None else report.satellites) if has_fix else 0
    hdop = f"{HDOP if report.hdop is None else report.hdop:.2f}" if has_fix else "99.99"
    dimensions = "1" if not has_fix else "2" if report.fix_type == "2D" else "3"
    used = ",".join(f"{n:02d}" if n <= satellites else "" for n in range(1, 13))
    return b"".join(
        (
            _sentence(f"GNRMC,{clock},{'A' if has_fix else 'V'},{place},{knots},{course},{day},,,{mode}"),
            _sentence(f"GNGGA,{clock},{place},{quality},{satellites:02d},{hdop},,M,,M,,"),
            _sentence(f"GNGSA,A,{dimensions},{used},{hdop},{hdop},{hdop}"),
        )
    )


def _place(report: PositionReport) -> str:
    latitude, longitude = _minutes(report.latitude, 2), _minutes(report.longitude, 3)
    north_south = "N" if report.latitude >= 0 else "S"
    return f"{latitude},{north_south},{longitude},{'E' if report.longitude >= 0 else 'W'}"


def _minutes(degrees: float, digits: int) -> str:
    """`4741.12345`: rounded as a whole first, so that no 60.00000 minutes can come out."""
    whole, parts = divmod(round(abs(degrees) * 60 * _MINUTE_PARTS), 60 * _MINUTE_PARTS)
    return f"{whole:0{digits}d}{parts // _MINUTE_PARTS:02d}.{parts % _MINUTE_PARTS:05d}"


def _sentence(body: str) -> bytes:
    return f"${body}*{reduce(xor, body.encode(), 0):02X}\r\n".encode()


class SerialReceiver:
    """A GNSS receiver on a pseudo-terminal, plugged in from the start; close it or use it as a context."""

    def __init__(self, folder: Path, name: str, *, baud: int = 115_200) -> None:
        self.path = folder / name
        """What the agent opens; a link to the terminal of the moment, missing while unplugged."""
        self.lost_bytes = 0
        """Bytes nobody took: unplugged, or the reader was away for longer than the terminal's buffer."""
        self._baud = baud
        self._ends: tuple[int, int] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.replug()

    def __enter__(self) -> SerialReceiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def plugged(self) -> bool:
        """Whether the terminal exists."""
        return self._ends is not None

    async def send(self, report: PositionReport) -> None:
        """Speak one fix, each sentence as long as the line takes for it."""
        for sentence in nmea_sentences(report).splitlines(keepends=True):
            self.write(sentence)
            await asyncio.sleep(len(sentence) * BITS_PER_BYTE / self._baud)

    def write(self, data: bytes) -> None:
        """Put bytes on the line at once; like a real receiver it waits for nobody."""
        sent = 0
        if self._ends is not None:
            with contextlib.suppress(BlockingIOError):
                sent = os.write(self._ends[0], data)
        self.lost_bytes += len(data) - sent

    def unplug(self) -> None:
        """Take the receiver off: the path goes, who holds the port gets a hang-up. Safe to call twice."""
        if self._ends is None:
            return
        self.path.unlink(missing_ok=True)
        for end in self._ends:
            os.close(end)
        self._ends = None

    def replug(self) -> None:
        """Put the receiver back: another terminal under the same path. Safe to call twice."""
        if self._ends is not None:
            return
        ours, theirs = os.openpty()
        # Their end stays open here too: the line settings then outlast a reader that goes and comes back.
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._ends = (ours, theirs)
        link = self.path.with_name(f".{self.path.name}.new")
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(theirs))
        link.replace(self.path)

    def close(self) -> None:
        """Unplug for good."""
        self.unplug()
