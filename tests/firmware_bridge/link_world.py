"""A host, a line and a device in simulated time, for tests of the link: nothing here waits.

The device is the Python machine or the C one, compiled by the system's compiler and loaded as a library.
"""

from __future__ import annotations

import ctypes
import random
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from firmware_bridge.link import HostLink, LinkDown, LinkEvent, LinkUp, Phase
from firmware_bridge.link_messages import Fault, Output, ResetCause, Sighting
from firmware_bridge.outputs import (
    PERMISSIVE,
    PERMISSIVE_LEASE_MS,
    RENEW_EVERY_S,
    RESTRICTIVE_AHEAD_MS,
    UPTIME_MODULUS,
    OutputKind,
    OutputSettings,
    OutputState,
)
from simulator.device_firmware import HANG_RESET_MS, DeviceFirmware

SOURCE = Path(__file__).parents[2] / "firmware_bridge" / "reference"
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion")
SHIM = """
#include "link_device.c"
size_t shim_size(void) { return sizeof(struct link_device); }
unsigned shim_boot(struct link_device *d) { return d->kept.boot; }
unsigned shim_outputs(struct link_device *d) { return d->outputs; }
unsigned shim_commanded(struct link_device *d, int n) { return d->output[n].commanded; }
unsigned shim_measured(struct link_device *d, int n) { return d->output[n].measured; }
void shim_measure(struct link_device *d, int n, unsigned state) { d->output[n].measured = (uint8_t)state; }
void shim_power(struct link_device *d, int low) { d->power_low = (uint8_t)low; }
void shim_spoil(struct link_device *d, int on) { d->wrong_config_crc = (uint8_t)on; }
unsigned shim_host_resets(struct link_device *d) { return d->host_resets; }
unsigned shim_overruns(struct link_device *d) { return d->overruns; }
const char *shim_text(struct link_device *d, int n) { return d->output[n].text; }
void shim_restart(struct link_device *d, struct link_device *before, unsigned cause, unsigned uptime_ms)
{
    static const struct link_kept nothing;
    link_start(d, before ? &before->kept : &nothing, (uint8_t)cause, uptime_ms);
}
"""


class Device(Protocol):
    """What both machines can do."""

    def feed(self, data: bytes, uptime_ms: int) -> None: ...
    def tick(self, uptime_ms: int) -> None: ...
    def to_send(self) -> bytes: ...
    def restarted(self, cause: ResetCause, uptime_ms: int) -> Device: ...
    def sight(self, kind: int, value: str, time_ms: int) -> None: ...
    def commanded(self) -> list[int]: ...
    def stick(self, output: int, state: int | None) -> None: ...
    def brown_out(self, low: bool) -> None: ...
    def spoil_config(self, on: bool) -> None: ...
    @property
    def boot(self) -> int: ...
    @property
    def host_resets(self) -> int: ...
    @property
    def overruns(self) -> int: ...
    def text(self, output: int) -> str: ...


class PythonDevice:
    """`simulator.device_firmware`."""

    def __init__(self, machine: DeviceFirmware | None = None) -> None:
        self.machine = machine or DeviceFirmware()

    def feed(self, data: bytes, uptime_ms: int) -> None:
        self.machine.feed(data, uptime_ms)

    def tick(self, uptime_ms: int) -> None:
        self.machine.tick(uptime_ms)

    def to_send(self) -> bytes:
        return self.machine.to_send()

    def restarted(self, cause: ResetCause, uptime_ms: int) -> Device:
        return PythonDevice(self.machine.restarted(cause, uptime_ms))

    def sight(self, kind: int, value: str, time_ms: int) -> None:
        self.machine.sight(kind, value, time_ms)

    def commanded(self) -> list[int]:
        return [int(output.commanded) for output in self.machine.outputs]

    def stick(self, output: int, state: int | None) -> None:
        self.machine.outputs[output].stuck = None if state is None else OutputState(state)

    def brown_out(self, low: bool) -> None:
        self.machine.power_low = low

    def spoil_config(self, on: bool) -> None:
        self.machine.wrong_config_crc = on

    @property
    def boot(self) -> int:
        return self.machine.kept.boot

    @property
    def host_resets(self) -> int:
        return self.machine.counters.host_resets

    @property
    def overruns(self) -> int:
        return self.machine.counters.overruns

    def text(self, output: int) -> str:
        return self.machine.outputs[output].text


def compile_library(folder: Path, compiler: str) -> ctypes.CDLL:
    """The C machine as a library; warnings are errors."""
    shim, library = folder / "shim.c", folder / "link_device.so"
    shim.write_text(SHIM)
    traps = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    command = [compiler, *STRICT, *traps, "-O1", "-shared", "-fPIC", f"-I{SOURCE}", str(shim), "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    loaded = ctypes.CDLL(str(library))
    loaded.shim_size.restype = loaded.link_take.restype = ctypes.c_size_t
    loaded.shim_text.restype = ctypes.c_char_p
    return loaded


class CDevice:
    """`firmware_bridge/reference/link_device.c`."""

    def __init__(self, library: ctypes.CDLL, before: CDevice | None = None, cause: int = 0, uptime_ms: int = 0) -> None:
        self._library = library
        self._device = ctypes.create_string_buffer(library.shim_size())
        self._room = ctypes.create_string_buffer(2_048)
        self._stuck: dict[int, int] = {} if before is None else before._stuck
        self._spoilt = False if before is None else before._spoilt
        old = None if before is None else before._device
        library.shim_restart(self._device, old, cause, ctypes.c_uint32(uptime_ms))
        library.shim_spoil(self._device, int(self._spoilt))

    def feed(self, data: bytes, uptime_ms: int) -> None:
        self._library.link_feed(self._device, data, ctypes.c_size_t(len(data)), ctypes.c_uint32(uptime_ms))

    def tick(self, uptime_ms: int) -> None:
        for number, state in enumerate(self.commanded()):  # what a board's feedback contacts do
            self._library.shim_measure(self._device, number, self._stuck.get(number, state))
        self._library.link_tick(self._device, ctypes.c_uint32(uptime_ms))

    def to_send(self) -> bytes:
        length = self._library.link_take(self._device, self._room, ctypes.c_size_t(len(self._room)))
        return ctypes.string_at(self._room, length)

    def restarted(self, cause: ResetCause, uptime_ms: int) -> Device:
        return CDevice(self._library, self, int(cause), uptime_ms)

    def sight(self, kind: int, value: str, time_ms: int) -> None:
        self._library.link_sight(self._device, kind, value.encode(), ctypes.c_uint64(time_ms))

    def commanded(self) -> list[int]:
        count = self._library.shim_outputs(self._device)
        return [self._library.shim_commanded(self._device, number) for number in range(count)]

    def stick(self, output: int, state: int | None) -> None:
        self._stuck.pop(output, None)
        if state is not None:
            self._stuck[output] = state

    def brown_out(self, low: bool) -> None:
        self._library.shim_power(self._device, int(low))

    def spoil_config(self, on: bool) -> None:
        self._spoilt = on
        self._library.shim_spoil(self._device, int(on))

    @property
    def boot(self) -> int:
        return int(self._library.shim_boot(self._device))

    @property
    def host_resets(self) -> int:
        return int(self._library.shim_host_resets(self._device))

    @property
    def overruns(self) -> int:
        return int(self._library.shim_overruns(self._device))

    def text(self, output: int) -> str:
        return str(self._library.shim_text(self._device, output).decode())


@dataclass
class Line:
    """One direction. Bytes put in come out at the next step, as far as its faults let them."""

    dice: random.Random
    lose_frames: float = 0.0
    flip_per_byte: float = 0.0
    lose_per_byte: float = 0.0
    double_frames: float = 0.0
    stalled: bool = False
    cut: bool = False
    held: bytearray = field(default_factory=bytearray)
    carried: int = 0
    LIMIT = 4_096

    def put(self, data: bytes) -> None:
        self.carried += len(data)
        if self.cut or not data:
            return
        for frame in data.split(b"\0")[:-1]:
            if self.dice.random() >= self.lose_frames:
                copies = 2 if self.dice.random() < self.double_frames else 1
                self.held += self._damaged(frame + b"\0") * copies
        del self.held[: max(0, len(self.held) - self.LIMIT)]

    def take(self) -> bytes:
        if self.stalled:
            return b""
        data = bytes(self.held)
        self.held.clear()
        return data

    def _damaged(self, frame: bytes) -> bytes:
        if not self.flip_per_byte and not self.lose_per_byte:
            return frame
        kept = bytearray()
        for byte in frame:
            if self.dice.random() < self.lose_per_byte:
                continue
            flip = self.dice.random() < self.flip_per_byte
            kept.append(byte ^ (1 << self.dice.randrange(8)) if flip else byte)
        return bytes(kept)


SIGN = (OutputSettings(OutputKind.SIGN),)
OPEN_AGAIN_MS = 200


class World:
    """One host and one device; `run` goes on in steps of 10 ms and checks after each that no GO outlives its right."""

    STEP_MS = 10

    def __init__(
        self,
        device: Device,
        outputs: tuple[OutputSettings, ...] = SIGN,
        *,
        seed: int = 1,
        uptime_ms: int = 0,
    ) -> None:
        dice = random.Random(seed)
        self.device, self.down, self.up = device, Line(dice), Line(dice)
        self.outputs = outputs
        self.now_ms = 1_000
        self._uptime_offset_ms = uptime_ms - self.now_ms
        self.sessions = 0
        self.events: list[LinkEvent] = []
        self.acknowledges = True
        """Whether the host does what reports ask for."""
        self.decisions: dict[int, OutputState] = {}
        """What the deciding task wants each output to show."""
        self.deciding = self.host_alive = True
        self.hung_until_ms: int | None = None
        self.plugged = True
        self._renewed_ms: dict[int, int] = {}
        self._permitted: dict[int, tuple[int, int]] = {}
        """Output: when GO was last renewed, and for which start of the device."""
        self._greeted_boots: set[int] = set()
        self._reopen_ms: int | None = None
        self.shown_s: dict[int, float] = {}
        self.host_restarts()

    # --- faults --------------------------------------------------------------------------------------------------

    def host_restarts(self) -> None:
        """A new agent: nothing of the old one is left but what lies on the line."""
        self.sessions += 1
        self.link = HostLink(self.outputs, session=self.sessions)
        self._renewed_ms.clear()
        self._reopen_ms = self.now_ms

    def device_restarts(self, cause: ResetCause = ResetCause.COMMAND) -> None:
        self._uptime_offset_ms = -self.now_ms
        self.device = self.device.restarted(cause, 0)
        self.hung_until_ms = None

    def device_hangs(self) -> None:
        """Its hardware watchdog notices."""
        if self.hung_until_ms is None:
            self.hung_until_ms = self.now_ms + HANG_RESET_MS

    def unplug(self) -> None:
        self.plugged = False
        self.down.held.clear()
        self.up.held.clear()
        self.link.closed()
        self._reopen_ms = None

    def replug(self) -> None:
        if not self.plugged:
            self.plugged, self._reopen_ms = True, self.now_ms + OPEN_AGAIN_MS

    # --- time ----------------------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        return self.now_ms / 1000

    @property
    def uptime_ms(self) -> int:
        return (self.now_ms + self._uptime_offset_ms) % UPTIME_MODULUS

    def run(self, ms: int) -> None:
        for _ in range(0, ms, self.STEP_MS):
            self.step()

    def step(self) -> None:
        self.now_ms += self.STEP_MS
        if self.host_alive:
            self._host()
        if self.plugged:
            self.down.put(self.link.to_send())
        self._device()
        self.check()

    def _host(self) -> None:
        if self._reopen_ms is not None and self.now_ms >= self._reopen_ms and self.plugged:
            self._reopen_ms = None
            self.link.opened(self.now_s, 1_800_000_000_000 + self.now_ms)
        data = self.up.take() if self.plugged else b""
        self._take(self.link.receive(data, self.now_s) + self.link.tick(self.now_s))
        if self.deciding:
            self._decide()

    def _take(self, events: list[LinkEvent]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, LinkUp):
                self._renewed_ms.clear()  # the current decision is said afresh
                self._greeted_boots.add(event.boot)
            elif isinstance(event, LinkDown) and event.closed:
                self._reopen_ms = self.now_ms + OPEN_AGAIN_MS
            elif isinstance(event, Output | Fault | Sighting) and self.acknowledges:
                self.link.acknowledge(event.seq)

    def _decide(self) -> None:
        for output, state in self.decisions.items():
            if self.now_ms - self._renewed_ms.get(output, -100_000) < RENEW_EVERY_S * 1000:
                continue
            self.say(output, state)

    def say(self, output: int, state: OutputState, text: str = "") -> bool:
        """The deciding task says what an output shows."""
        lease_ms = PERMISSIVE_LEASE_MS if state in PERMISSIVE else RESTRICTIVE_AHEAD_MS - 5_000
        said = self.link.lease(output, state, lease_ms, self.now_s, decision_ref=self.now_ms, text=text)
        if said:
            self._renewed_ms[output] = self.now_ms
            if state in PERMISSIVE and self.link.device is not None:
                self._permitted[output] = (self.now_ms, self.link.device.boot)
        return said

    def decide(self, output: int, state: OutputState) -> None:
        """A new decision: said at once, and then each second."""
        self.decisions[output] = state
        self._renewed_ms.pop(output, None)

    def _device(self) -> None:
        if self.hung_until_ms is not None:
            if self.now_ms < self.hung_until_ms:
                return
            self.device_restarts(ResetCause.WATCHDOG)
        data = self.down.take() if self.plugged else b""
        if data:
            self.device.feed(data, self.uptime_ms)
        self.device.tick(self.uptime_ms)
        sent = self.device.to_send()
        if self.plugged:
            self.up.put(sent)

    # --- what must hold ------------------------------------------------------------------------------------------

    def shows(self, output: int = 0) -> OutputState:
        """What the lamps are told to show; DEFAULT before the first configuration."""
        shown = self.device.commanded()
        return OutputState(shown[output]) if output < len(shown) else OutputState.DEFAULT

    def check(self) -> None:
        """GO is never shown later than 3 s after the last renewal, never under another boot, never before hello."""
        for output, state in enumerate(self.device.commanded()):
            if OutputState(state) not in PERMISSIVE:
                continue
            assert output in self._permitted, "GO that nobody allowed"
            renewed_ms, boot = self._permitted[output]
            assert self.now_ms - renewed_ms <= 3_000, "GO longer than 3 s after its last renewal"
            assert boot == self.device.boot, "GO under another start of the device"
            assert self.device.boot in self._greeted_boots, "GO before hello"

    @property
    def is_up(self) -> bool:
        return self.link.phase is Phase.UP
