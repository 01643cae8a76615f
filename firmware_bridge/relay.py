"""Bought relay boards: which coils show what, and how a board that knows no lease is made to fail safe.

Modbus knows no lease, so a board may show GO or open a barrier only if it drops its coils by itself when nobody
writes any more. How it does that has to be said for each output; there is no default (design/firmware-bridge.md
section 10).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from firmware_bridge.outputs import PERMISSIVE, PERMISSIVE_AHEAD_MS, OutputKind, OutputSettings, OutputState


class FailSafe(enum.Enum):
    """What ends a permissive state when nobody renews it."""

    BOARD_WATCHDOG = "board_watchdog"
    """The board drops its coils when nothing was written for so long; its register is set at start and read back."""
    TIMED_COIL = "timed_coil"
    """Each coil is switched with a time after which the board drops it; the register is written with each renewal."""
    RESTRICTIVE_ONLY = "restrictive_only"
    """The board keeps its last state: it may show STOP, never GO or open."""


BOARD_TIMEOUT_MS = PERMISSIVE_AHEAD_MS - 200
"""What a board's own time-out is set to."""


@dataclass(frozen=True)
class RelayOutput:
    """One sign, signal head or barrier behind a relay board."""

    settings: OutputSettings
    unit: int
    """Address of the board on the bus, 1 to 247."""
    fail_safe: FailSafe
    coils: Mapping[OutputState, int] = field(default_factory=dict)
    """Coil of each state; a state without one is every coil off."""
    timer_register: int = 0
    """Holding register of the board's own time-out."""
    timer_unit_ms: int = 100
    """What one count of it is."""

    def __post_init__(self) -> None:
        """Refuse a default without a coil, and GO on a board that cannot take it back."""
        default, known = self.settings.default, {OutputState.DEFAULT, OutputState.CLOSED, *self.coils}
        if default not in known:
            raise ValueError(f"default {default.name}: expected a coil for it")
        lit = [state.name for state in self.coils if state in PERMISSIVE]
        if self.fail_safe is FailSafe.RESTRICTIVE_ONLY and lit:
            raise ValueError(f"coils {', '.join(lit)} with restrictive_only: expected none that lets a vehicle go")

    @property
    def addresses(self) -> tuple[int, ...]:
        """Every coil of this output, rising."""
        return tuple(sorted(set(self.coils.values())))

    @property
    def timer_counts(self) -> int:
        """The time-out in counts of the register, at least 1, never longer than `BOARD_TIMEOUT_MS` but by that."""
        return max(1, BOARD_TIMEOUT_MS // self.timer_unit_ms)

    def shown_for(self, state: OutputState) -> OutputState:
        """What the coils can show of a state: HOLD without a coil of its own is STOP, any other one is dark."""
        state = self.settings.default if state is OutputState.DEFAULT else state
        if state in self.coils or state is self._dark():
            return state
        return OutputState.STOP if state is OutputState.HOLD and OutputState.STOP in self.coils else self._dark()

    def coils_for(self, shown: OutputState) -> dict[int, bool]:
        """How each coil must stand."""
        lit = self.coils.get(shown)
        return {address: address == lit for address in self.addresses}

    def measured(self, states: Mapping[int, bool]) -> OutputState | None:
        """What the coils that were read back show; None if no single state does."""
        lit = [address for address in self.addresses if states.get(address)]
        if len(lit) > 1:
            return None
        if not lit:
            return self._dark()
        return next(state for state, address in self.coils.items() if address == lit[0])

    def _dark(self) -> OutputState:
        """All coils off: a barrier falls by itself."""
        return OutputState.CLOSED if self.settings.kind is OutputKind.BARRIER else OutputState.DEFAULT

    def may_show(self, state: OutputState) -> bool:
        """Whether the board has a coil for it, and fails safe with it."""
        return state not in PERMISSIVE or (state in self.coils and self.fail_safe is not FailSafe.RESTRICTIVE_ONLY)
