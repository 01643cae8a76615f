"""Anchors of the units at rest, a row each in one piece of memory.

Most units are calm most of the time: settled, and in just the zones that hold their newest position. All they need
for their next fix is that position, a box about it in which nothing can change, and a few numbers. What 20,000 units
hold is in no cache, so the time of a fix goes by the memory it touches: a row is two cache lines, where an object
for each unit and each number of its anchor took 15, and 500 bytes more (measured).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from zones.fix import Fix
from zones.grid import Array
from zones.quiet_map import NO_BOX, Box
from zones.unit_state import Calm, UnitState

ROW_BITS = 7
ROW_B = 1 << ROW_BITS
"""The numbers of a row take 121 bytes; two cache lines hold one."""
GROW_ROWS = 64
BOX_AT, _CALM_AT, _REST_AT = 64, 96, 97

NO_SEQ = -(2**63)
MAX_SEQ = 2**63 - 1
"""In place of no `seq`; larger and smaller ones do not fit a row."""

read_anchor = struct.Struct("=3d32xq4dB").unpack_from
"""Time, latitude, longitude, seq; the box; 0 = awake, or Calm."""
read_motion = struct.Struct("=40x2d").unpack_from
"""Speed (NaN = none), first fix of a frozen run."""
write_anchor = struct.Struct("=7dq").pack_into
"""Time, latitude, longitude, receipt, accuracy, speed, first fix of a frozen run, seq."""
_read_all = struct.Struct("=7dq32xBq2d").unpack_from
write_box = struct.Struct("=4d").pack_into
_write_calm = struct.Struct("=Bq2d").pack_into
"""Calm, first `seq` of the run without a hole, and the step to the anchor: metres and seconds."""
_write_step = struct.Struct("=2d").pack_into
_EMPTY = bytes(ROW_B)
_CALM = (None, Calm.FAR, Calm.INSIDE)
_COLUMNS = np.dtype(
    {
        "names": ["latitude", "longitude", "calm", "south", "west", "north", "east"],
        "formats": ["f8", "f8", "u1", "f8", "f8", "f8", "f8"],
        "offsets": [8, 16, _CALM_AT, BOX_AT, BOX_AT + 8, BOX_AT + 16, BOX_AT + 24],
        "itemsize": ROW_B,
    }
)


class Roster:
    """The rows, by where they begin in `memory`."""

    __slots__ = ("_free", "boots", "memory")

    def __init__(self) -> None:
        self.memory = bytearray()
        self.boots: list[str | None] = []
        """`bootId` of the anchor, by number of the row."""
        self._free: list[int] = []

    def add(self) -> int:
        """Where a new row begins; its unit is awake."""
        if not self._free:
            end = len(self.memory)
            self.memory.extend(bytes(GROW_ROWS * ROW_B))
            self.boots += [None] * GROW_ROWS
            self._free = list(range(len(self.memory) - ROW_B, end - 1, -ROW_B))
        return self._free.pop()

    def blank(self, at: int) -> None:
        """Forget what a row holds (privacy)."""
        self.memory[at : at + ROW_B] = _EMPTY
        self.boots[at >> ROW_BITS] = None

    def drop(self, at: int) -> None:
        """A row is free for another unit."""
        self.blank(at)
        self._free.append(at)

    def rests(self, at: int) -> bool:
        """Whether the unit of a row is at rest."""
        return self.memory[at + _CALM_AT] != 0

    def time_s(self, at: int) -> float:
        """Time of the anchor of a unit at rest."""
        return float(read_anchor(self.memory, at)[0])

    def lay_down(self, at: int, state: UnitState, accuracy_m: float, box: Box) -> bool:
        """Let a calm unit rest: its anchor moves from its state to the row. False: its numbers do not fit.

        Args:
            at: Its row.
            state: Calm.
            accuracy_m: What counts as the accuracy of its anchor.
            box: About the anchor, without an edge.
        """
        fix, run_from = state.fix, state.run_from_seq
        seq = NO_SEQ if fix.seq is None else fix.seq
        if state.calm is None or not (NO_SEQ < run_from <= MAX_SEQ and (fix.seq is None or NO_SEQ < seq < MAX_SEQ)):
            return False
        speed_mps = math.nan if fix.speed_mps is None else fix.speed_mps
        write_anchor(
            self.memory, at, fix.time_s, fix.latitude, fix.longitude, fix.received_s, accuracy_m, speed_mps,
            state.since_s, seq,
        )  # fmt: skip
        write_box(self.memory, at + BOX_AT, *box)
        _write_calm(self.memory, at + _CALM_AT, state.calm, run_from, state.step_m, state.step_dt_s)
        self.boots[at >> ROW_BITS] = fix.boot_id
        state.rest()
        return True

    def begin(self, at: int, fix: Fix, accuracy_m: float, box: Box) -> None:
        """The first fix of a unit, in no zone: it rests at once."""
        seq = NO_SEQ if fix.seq is None else fix.seq
        speed_mps = math.nan if fix.speed_mps is None else fix.speed_mps
        write_anchor(
            self.memory, at, fix.time_s, fix.latitude, fix.longitude, fix.received_s, accuracy_m, speed_mps,
            fix.time_s, seq,
        )  # fmt: skip
        write_box(self.memory, at + BOX_AT, *box)
        _write_calm(self.memory, at + _CALM_AT, Calm.FAR, 0 if fix.seq is None else seq, 0.0, 0.0)
        self.boots[at >> ROW_BITS] = fix.boot_id

    def wake(self, at: int, unit: str, state: UnitState | None) -> UnitState | None:
        """Give a unit at rest its anchor back, in a state made for it if it has none; others are left alone."""
        (time_s, latitude, longitude, received_s, accuracy_m, speed_mps, since_s, seq,
         calm, run_from, step_m, step_dt_s) = _read_all(self.memory, at)  # fmt: skip
        if not calm:
            return state
        fix = Fix(
            unit,
            time_s,
            latitude,
            longitude,
            received_s,
            None if seq == NO_SEQ else seq,
            self.boots[at >> ROW_BITS],
            accuracy_m,
            None if speed_mps != speed_mps else speed_mps,
        )
        if state is None:
            state = UnitState(fix)
            state.known = True
        state.fix, state.since_s, state.calm = fix, since_s, _CALM[calm]
        state.run_from_seq, state.step_m, state.step_dt_s = run_from, step_m, step_dt_s
        state.refresh()
        self.blank(at)
        return state

    def note_step(self, at: int, step_m: float, step_dt_s: float, old_speed_mps: float) -> None:
        """A unit that reports no speed has moved, or not; what it reported at its anchor, NaN = nothing.

        The step is asked for only where neither end of the next one reports a speed.
        """
        if step_m > 0.0:
            _write_step(self.memory, at + _REST_AT + 8, step_m, step_dt_s)
        elif old_speed_mps == old_speed_mps:
            _write_step(self.memory, at + _REST_AT + 8, old_speed_mps, 1.0)

    def keep_away(self, outside: Callable[[Array, Array], npt.NDArray[np.bool_]]) -> set[int]:
        """Where the rows begin of units at rest in no zone, under other zones too; their boxes are forgotten.

        Args:
            outside: Says of many latitudes and longitudes which are in no zone.
        """
        rows = np.frombuffer(self.memory, _COLUMNS)  # let go before a row is added: memory in use cannot grow
        far = np.flatnonzero(rows["calm"] == Calm.FAR)
        away = far[outside(rows["latitude"][far], rows["longitude"][far])]
        for side, value in zip(("south", "west", "north", "east"), NO_BOX, strict=True):
            rows[side][away] = value
        return set((away * ROW_B).tolist())
