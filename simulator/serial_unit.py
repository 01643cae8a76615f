"""Hardware on a pseudo-terminal: a receiver that speaks NMEA, and a microcontroller with a sign.

Its path is a link in a folder of ours, which stays when the hardware is unplugged and comes back on another
terminal, as `/dev/serial/by-id` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import xor
from pathlib import Path

from firmware_bridge.link_messages import ResetCause
from firmware_bridge.messages import PositionReport
from firmware_bridge.outputs import OutputState, uptime_ms
from simulator.device_firmware import HANG_RESET_MS, DeviceFirmware

BITS_PER_BYTE = 10
"""Start bit, eight data bits, stop bit. A pseudo-terminal ignores the baud rate; the receiver keeps to it."""
TICK_S = 0.01
READ_BYTES = 4_096
HELD_BYTES = 4_096
"""What a line holds that nobody reads; older bytes are lost."""
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


class Terminal:
    """A pseudo-terminal under a path that stays its own over unplugging; plugged in from the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """What the agent opens; a link to the terminal of the moment, missing while unplugged."""
        self._ends: tuple[int, int] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self.replug()

    @property
    def plugged(self) -> bool:
        """Whether the terminal exists."""
        return self._ends is not None

    @property
    def fd(self) -> int | None:
        """Our end, for waiting on; None while unplugged."""
        return None if self._ends is None else self._ends[0]

    def read(self) -> bytes:
        """What the agent has written; empty if nothing."""
        if self._ends is not None:
            with contextlib.suppress(BlockingIOError):
                return os.read(self._ends[0], READ_BYTES)
        return b""

    def write(self, data: bytes) -> int:
        """Put bytes on the line at once; like real hardware it waits for nobody. Returns how many were taken."""
        if self._ends is not None:
            with contextlib.suppress(BlockingIOError):
                return os.write(self._ends[0], data)
        return 0

    def unplug(self) -> None:
        """The path goes, who holds the port gets a hang-up. Safe to call twice."""
        if self._ends is None:
            return
        self.path.unlink(missing_ok=True)
        for end in self._ends:
            os.close(end)
        self._ends = None

    def replug(self) -> None:
        """Back again: another terminal under the same path. Safe to call twice."""
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


class SerialReceiver:
    """A GNSS receiver on a pseudo-terminal, plugged in from the start; close it or use it as a context."""

    def __init__(self, folder: Path, name: str, *, baud: int = 115_200) -> None:
        self._terminal = Terminal(folder / name)
        self.lost_bytes = 0
        """Bytes nobody took: unplugged, or the reader was away for longer than the terminal's buffer."""
        self._baud = baud

    def __enter__(self) -> SerialReceiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """What the agent opens."""
        return self._terminal.path

    @property
    def plugged(self) -> bool:
        """Whether the terminal exists."""
        return self._terminal.plugged

    async def send(self, report: PositionReport) -> None:
        """Speak one fix, each sentence as long as the line takes for it."""
        for sentence in nmea_sentences(report).splitlines(keepends=True):
            self.write(sentence)
            await asyncio.sleep(len(sentence) * BITS_PER_BYTE / self._baud)

    def write(self, data: bytes) -> None:
        """Put bytes on the line at once; like a real receiver it waits for nobody."""
        self.lost_bytes += len(data) - self._terminal.write(data)

    def unplug(self) -> None:
        """Take the receiver off: the path goes, who holds the port gets a hang-up. Safe to call twice."""
        self._terminal.unplug()

    def replug(self) -> None:
        """Put the receiver back. Safe to call twice."""
        self._terminal.replug()

    def close(self) -> None:
        """Unplug for good."""
        self.unplug()


@dataclass
class DeviceFaults:
    """What is wrong with a device or its line at the moment."""

    mute: bool = False
    """Says nothing."""
    deaf: bool = False
    """Hears nothing."""
    stall: bool = False
    """The host's bytes wait in a buffer, and are all there when it ends."""
    drop: int = 0
    """Every so many bytes one is lost, in both directions; 0 = none."""
    flip: int = 0
    """Every so many bytes one is damaged."""
    carried: int = 0

    def spoil(self, data: bytes) -> bytes:
        """The bytes as they come out of the line."""
        if not self.drop and not self.flip:
            return data
        kept = bytearray()
        for byte in data:
            self.carried += 1
            if self.drop and self.carried % self.drop == 0:
                continue
            kept.append(byte ^ 4 if self.flip and self.carried % self.flip == 0 else byte)
        return bytes(kept)


class SerialDevice:
    """A microcontroller with a sign on a pseudo-terminal: `run` it as a task, give it faults by `obey`."""

    def __init__(
        self,
        path: Path,
        *,
        name: str = "sign",
        baud: int = 115_200,
        now_s: Callable[[], float] = time.monotonic,
        shown: Callable[[int, OutputState, OutputState], None] = lambda output, commanded, measured: None,
    ) -> None:
        """`shown` is told output, commanded and measured state whenever one of them changes."""
        self.terminal = Terminal(path)
        self.faults = DeviceFaults()
        self.machine = DeviceFirmware(device=name)
        self._now_s, self._shown = now_s, shown
        self._started_s = now_s()
        self._hung_until_s: float | None = None
        self._hang_resets = False
        self._bytes_a_tick = max(1, round(baud / BITS_PER_BYTE * TICK_S))
        self._held = bytearray()
        self._unsent = bytearray()
        self._told: dict[int, tuple[OutputState, OutputState]] = {}

    async def run(self) -> None:
        """Every 10 ms, until cancelled; unplugged at the end."""
        try:
            while True:
                self.turn()
                await asyncio.sleep(TICK_S)
        finally:
            self.terminal.unplug()

    def turn(self) -> None:
        """Hear, tick, switch the lamps, speak: what a device does every 10 ms."""
        now_s = self._now_s()
        if self._hung_until_s is not None:
            if now_s < self._hung_until_s:
                return
            self._hung_until_s = None
            if self._hang_resets:
                self.restart(ResetCause.WATCHDOG)
        uptime = uptime_ms(self._now_s() - self._started_s)
        if heard := self._hear():
            self.machine.feed(heard, uptime)
        self.machine.tick(uptime)
        self._show()
        self._speak()

    def restart(self, cause: ResetCause = ResetCause.COMMAND) -> None:
        """Off and on again; only flash is left."""
        self.machine = self.machine.restarted(cause)
        self._started_s = self._now_s()
        self._unsent.clear()
        self._show()

    def unplug(self) -> None:
        """The cable comes off; what was in it is gone."""
        self._held.clear()
        self._unsent.clear()
        self.terminal.unplug()

    def replug(self) -> None:
        """The cable is back."""
        self.terminal.replug()

    def obey(self, command: str) -> None:
        """One fault, in the words of `firmware_bridge/reference/roadside_device.c`.

        Raises:
            ValueError: no such fault.
        """
        match command.split():
            case ["mute" | "deaf" | "stall" as name, "on" | "off" as word]:
                setattr(self.faults, name, word == "on")
            case ["drop" | "flip" as name, every]:
                setattr(self.faults, name, int(every))
            case ["reboot"]:
                self.restart()
            case ["hang", ms]:
                self._hang_resets = int(ms) >= HANG_RESET_MS
                self._hung_until_s = self._now_s() + min(int(ms), HANG_RESET_MS) / 1000
            case ["stuck", output, state]:
                stuck = OutputState(int(state)) if int(state) >= 0 else None
                self.machine.outputs[int(output)].stuck = stuck
            case ["wrong-config", "on" | "off" as word]:
                self.machine.wrong_config_crc = word == "on"
            case ["power", "low" | "good" as word]:
                self.machine.power_low = word == "low"
            case ["sight", kind, *text]:
                self.machine.sight(int(kind), " ".join(text), 0)
            case ["unplug"]:
                self.unplug()
            case ["replug"]:
                self.replug()
            case _:
                raise ValueError(f"{command!r}: no such fault; see roadside_device.c for those there are")

    def _hear(self) -> bytes:
        data = self.terminal.read()
        if data and not self.faults.deaf:
            self._held += self.faults.spoil(data)
            del self._held[:-HELD_BYTES]
        if self.faults.stall:
            return b""
        heard = bytes(self._held)
        self._held.clear()
        return heard

    def _speak(self) -> None:
        """As many bytes as the line carries in 10 ms; the rest waits."""
        sent = self.machine.to_send()
        if not self.faults.mute:
            self._unsent += self.faults.spoil(sent)
            del self._unsent[:-HELD_BYTES]
        taken = self.terminal.write(bytes(self._unsent[: self._bytes_a_tick])) if self._unsent else 0
        del self._unsent[:taken]

    def _show(self) -> None:
        for number, output in enumerate(self.machine.outputs):
            now = (output.commanded, output.measured)
            if self._told.get(number) != now:
                self._told[number] = now
                self._shown(number, *now)
