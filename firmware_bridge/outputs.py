"""Leases: what a sign, signal head or barrier may show, and until when. Both sides of the link decide by this.

A lease ends in the *device's* uptime (u32 milliseconds, compared modulo 2^32), so that a frame which sat in a
stalled buffer is dead when it arrives. Permissive states - those that let a vehicle go - are granted for 3 s at
most and renewed by the task that holds the decision; restrictive ones for a minute (design/firmware-bridge.md
section 8, design/reliability.md section 5).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

UPTIME_MODULUS = 1 << 32
PERMISSIVE_AHEAD_MS = 3_000
"""A device refuses a permissive lease that ends further ahead (contract section 9)."""
PERMISSIVE_LEASE_MS = 2_800
"""What we ask for: 0.2 s are left for the lamp, a slow oscillator and a device that has to restart first."""
RESTRICTIVE_AHEAD_MS = 60_000
RENEW_EVERY_S = 1.0
"""How often the deciding task renews."""
MISMATCH_MS = 500
"""Commanded and measured may differ so long before it is a fault: lamps and arms take their time."""
MAX_OUTPUTS = 8


class OutputState(enum.IntEnum):
    """What an output shows; the values are those on the wire."""

    DEFAULT = 0
    """The site's default, as configured: blank or STOP; a barrier is closed."""
    GO = 1
    GO_WITH_OBLIGATION = 2
    STOP = 3
    HOLD = 4
    OPEN = 5
    CLOSED = 6


PERMISSIVE = frozenset({OutputState.GO, OutputState.GO_WITH_OBLIGATION, OutputState.OPEN})
"""States that let a vehicle go: never a default, never longer than a lease."""


class OutputKind(enum.IntEnum):
    """What hangs on an output; the values are those on the wire."""

    SIGN = 1
    SIGNAL_HEAD = 2
    """Through a signal controller's dry contact only: its own conflict monitoring stays in charge."""
    BARRIER = 3
    WATCHDOG = 4
    """Relay that restarts the host when its WATCHDOG lapses; shows nothing."""


ALLOWED: dict[OutputKind, frozenset[OutputState]] = {
    OutputKind.SIGN: frozenset(
        {
            OutputState.DEFAULT,
            OutputState.GO,
            OutputState.GO_WITH_OBLIGATION,
            OutputState.STOP,
            OutputState.HOLD,
        }
    ),
    OutputKind.SIGNAL_HEAD: frozenset({OutputState.DEFAULT, OutputState.GO, OutputState.STOP}),
    OutputKind.BARRIER: frozenset({OutputState.DEFAULT, OutputState.OPEN, OutputState.CLOSED}),
    OutputKind.WATCHDOG: frozenset(),
}
"""What can be asked of each kind."""
DEFAULTS: dict[OutputKind, frozenset[OutputState]] = {
    OutputKind.SIGN: frozenset({OutputState.DEFAULT, OutputState.STOP}),
    OutputKind.SIGNAL_HEAD: frozenset({OutputState.DEFAULT, OutputState.STOP}),
    OutputKind.BARRIER: frozenset({OutputState.CLOSED}),
    OutputKind.WATCHDOG: frozenset({OutputState.DEFAULT}),
}
"""What each kind may fall to; DEFAULT itself stands for dark."""


class Nak(enum.IntEnum):
    """Why a message was not obeyed; the values are those on the wire."""

    UNKNOWN_TYPE = 1
    BAD_FIELDS = 2
    NO_HELLO = 3
    """The device has no hello, or not yet its configuration: greet it again."""
    WRONG_BOOT = 4
    """Meant for an earlier start of the device."""
    LEASE_TOO_LONG = 5
    LEASE_EXPIRED = 6
    """Its end had passed when it arrived."""
    NO_SUCH_OUTPUT = 7
    STATE_NOT_ALLOWED = 8
    """This kind of output cannot show that."""
    CONFIG_MISMATCH = 9
    """The configuration does not have the check sum it was announced with."""
    FAULT = 10
    """The output has a fault: nothing permissive is shown."""


def uptime_ms(now_s: float) -> int:
    """A monotonic clock as u32 milliseconds, as it goes over the wire."""
    return int(now_s * 1000.0) % UPTIME_MODULUS


def ahead_ms(later_ms: int, now_ms: int) -> int:
    """How far `later_ms` lies ahead of `now_ms`, both u32 uptimes: -2^31 to 2^31 - 1, right across the wrap."""
    half = UPTIME_MODULUS // 2
    return (later_ms - now_ms + half) % UPTIME_MODULUS - half


def longest_ms(state: OutputState) -> int:
    """How far ahead a lease of this state may end."""
    return PERMISSIVE_AHEAD_MS if state in PERMISSIVE else RESTRICTIVE_AHEAD_MS


def lease_refusal(kind: OutputKind, state: OutputState, ahead: int) -> Nak | None:
    """Why a lease that ends `ahead` milliseconds from now cannot be granted; None if it can."""
    if state not in ALLOWED[kind]:
        return Nak.STATE_NOT_ALLOWED
    if ahead <= 0:
        return Nak.LEASE_EXPIRED
    if ahead > longest_ms(state):
        return Nak.LEASE_TOO_LONG
    return None


@dataclass(frozen=True)
class DeviceClock:
    """The device's uptime as of the last time it told us, and when that was.

    What it said is at least as old as its way here, so `at` never runs ahead of the device: a lease counted from
    it can only come out shorter.
    """

    uptime_ms: int
    heard_s: float

    def at(self, now_s: float) -> int:
        """The device's uptime now, u32 milliseconds; `now_s` on the clock of `heard_s`."""
        return (self.uptime_ms + int(max(0.0, now_s - self.heard_s) * 1000.0)) % UPTIME_MODULUS

    def lease_end_ms(self, now_s: float, lease_ms: int) -> int:
        """End of a lease granted now, in the device's uptime."""
        return (self.at(now_s) + lease_ms) % UPTIME_MODULUS


@dataclass(frozen=True)
class OutputSettings:
    """One output of a device as the site has it."""

    kind: OutputKind
    default: OutputState = OutputState.DEFAULT
    """What it falls to; of a barrier always CLOSED."""

    def __post_init__(self) -> None:
        """Refuse a default that would let a vehicle go."""
        if self.default not in DEFAULTS[self.kind]:
            words = ", ".join(sorted(state.name for state in DEFAULTS[self.kind]))
            raise ValueError(f"default {self.default.name} of a {self.kind.name}: expected {words}")


CONFIG_ITEMS = 16
"""Configuration keys of one output: its number times this, plus the item."""
ITEM_KIND, ITEM_DEFAULT = 0, 1


def config_values(outputs: tuple[OutputSettings, ...]) -> dict[int, int]:
    """The configuration of a device as keys and values; the outputs are numbered from 0."""
    values: dict[int, int] = {}
    for number, output in enumerate(outputs):
        values[number * CONFIG_ITEMS + ITEM_KIND] = output.kind
        values[number * CONFIG_ITEMS + ITEM_DEFAULT] = output.default
    return values


def outputs_of(values: dict[int, int]) -> tuple[OutputSettings, ...]:
    """The outputs that a configuration describes; items not known here are passed over.

    Raises:
        ValueError: an output without kind or with a default it must not have, a gap, or more than `MAX_OUTPUTS`.
    """
    numbers = sorted({key // CONFIG_ITEMS for key in values})
    if numbers != list(range(len(numbers))) or len(numbers) > MAX_OUTPUTS:
        raise ValueError(f"outputs {numbers}: expected 0 to at most {MAX_OUTPUTS - 1} without a gap")
    return tuple(
        OutputSettings(
            OutputKind(values.get(number * CONFIG_ITEMS + ITEM_KIND, 0)),
            OutputState(values.get(number * CONFIG_ITEMS + ITEM_DEFAULT, 0)),
        )
        for number in numbers
    )
