"""Vehicles inside tracking zones as watchers see them on a map: a number, a position, what holds for them."""

from __future__ import annotations

from collections.abc import Mapping

from agent.activation.journey import JourneyStage
from agent.activation.passage import UNDER_WAY, Passage
from agent.domain.instruction import Action
from agent.instruction.lifecycle import InstructionState
from agent.register import Register
from agent.status.positions import SILENT, Changes, VehicleState, row, rows_of
from zones.fix import Fix

SAME_MS = 250
"""Watchers that ask within so long are given the same positions (choice)."""
HANDLES = 1 << 24
"""Handles are below this, so that a control room can put the agent's number beside them."""
SPARE_HANDLES = 4_096
"""Handles that may be kept of units that are gone, beside one for each unit that is here."""
STATE_OF = {
    Action.GO: VehicleState.GO,
    Action.GO_WITH_OBLIGATION: VehicleState.OBLIGATION,
    Action.HOLD: VehicleState.HOLD,
    Action.STOP: VehicleState.STOP,
}


class Whereabouts:
    """Gives each unit inside tracking zones a handle for as long as it is there, and makes the frames."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._handles: dict[str, int] = {}
        self._next = 1
        self._changes = Changes()
        self._taken_ms = -SAME_MS

    def handle(self, unit: str) -> int:
        """The number of a unit in frames; another one after it was away."""
        found = self._handles.get(unit)
        if found is None:
            found = self._handles[unit] = self._next
            self._next = self._next % (HANDLES - 1) + 1
        return found

    def frame(self, last: Mapping[str, Fix], now_s: float, since_ms: int = 0) -> bytes:
        """The frame of now.

        Args:
            last: Newest fix of each unit inside tracking zones.
            now_s: UTC seconds.
            since_ms: Only what changed after this time of an earlier frame; 0 = everything.
        """
        now_ms = round(now_s * 1000)
        if not 0 <= now_ms - self._taken_ms < SAME_MS:
            self._forget_others(last)
            self._changes.take(rows_of(self._row(fix, now_s) for fix in last.values()), now_ms)
            self._taken_ms = now_ms
        return self._changes.frame(self._taken_ms, since_ms)

    def _row(self, fix: Fix, now_s: float) -> tuple[int, int, int, int, int, int]:
        state = self._state(fix.unit)
        return row(self.handle(fix.unit), fix.longitude, fix.latitude, fix.heading_deg, state, now_s - fix.time_s)

    def _state(self, unit: str) -> int:
        """Of all its passages under way the worst."""
        found = 0
        for key in self._register.passages_of_unit.get(unit, ()):
            passage = self._register.passages[key]
            if passage.stage in UNDER_WAY:
                flag = SILENT if passage.lost_s is not None else 0
                found = max(found & ~SILENT, self._state_in(passage)) | (found & SILENT) | flag
        return found

    def _state_in(self, passage: Passage) -> VehicleState:
        register = self._register
        journey = register.journeys.get(passage.jrn or "")
        if journey is not None and journey.stage is JourneyStage.BREACH:
            return VehicleState.BREACH
        return _state_under(register.instructions.get(passage.instruction_key or ""))

    def _forget_others(self, last: Mapping[str, Fix]) -> None:
        if len(self._handles) > len(last) + SPARE_HANDLES:
            self._handles = {unit: handle for unit, handle in self._handles.items() if unit in last}


def _state_under(state: InstructionState | None) -> VehicleState:
    if state is None:
        return VehicleState.TRACKING
    if state.action is not None:
        return STATE_OF[state.action]
    return VehicleState.WAITING if state.waiting else VehicleState.TRACKING
