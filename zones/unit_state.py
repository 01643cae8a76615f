"""What the detector knows of one unit, and its form on disk (design/detection.md section 5)."""

from __future__ import annotations

import enum
import math
from collections import deque

import msgspec

from zones.events import Direction, Evidence, Kind
from zones.fix import Fix
from zones.index import ZoneIndex
from zones.segment import Crossing

MAX_TRAIL = 8
"""Positions kept to tell the direction of an entry, TRAIL_STEP_M apart."""
TRAIL_STEP_M = 10.0
MAX_PASSAGES = 8
MAX_KEYS = 16
MAX_INTERVALS = 8
MAX_HELD = 8
MAX_GAPS = 4
MAX_EVIDENCE = 8
UNPLACED = -2
"""Part of an anchor that was never projected."""
DUMP_VERSION = 1


class Phase(enum.IntEnum):
    """State of one unit and zone; OUT is the absence of one."""

    CANDIDATE = 1
    IN = 2
    LEAVING = 3


class ZoneState(msgspec.Struct, array_like=True):
    """One unit and one zone that is not simply OUT."""

    phase: Phase
    first_entry: Crossing
    entry: Crossing
    """Crossing before the first in-fix of the current run."""
    run: int
    """Successive different in-fixes while CANDIDATE; 0 = out, but not OUTSIDE."""
    run_since_s: float
    kind: Kind = Kind.FIX
    direction: Direction = Direction.UNKNOWN
    leave: Crossing | None = None
    """Last crossing outwards, while LEAVING or out as CANDIDATE."""
    steps_away: int = 0
    """Successive fast steps away from the zone, while LEAVING or out as CANDIDATE."""
    adopted: bool = False
    """IN by a swap, without ENTERED."""
    evidence: list[Evidence] = []

    def note(self, fix: Fix, accuracy_m: float) -> None:
        """Remember a fix the coming event rests on; no position."""
        if len(self.evidence) < MAX_EVIDENCE:
            self.evidence.append(Evidence(fix.seq, fix.time_s, accuracy_m))

    def copy(self) -> ZoneState:
        """A copy that shares nothing mutable."""
        twin = msgspec.structs.replace(self)
        twin.evidence = list(self.evidence)
        return twin


class Passage(msgspec.Struct, frozen=True, array_like=True):
    """One known stay in a zone, ended; no position."""

    zone_id: str
    entered_s: float
    exited_s: float
    kind: Kind


class Branch(msgspec.Struct, array_like=True):
    """Fixes that do not fit the anchor, waiting for others that agree with them."""

    last: Fix
    needed: int
    leap: bool
    """Opened by a step no vehicle makes; else only by an uncorroborated one."""
    anchor_to_last_m: float
    count: int = 1
    fixes: list[Fix] = []
    """Those in a zone, at most `needed`; of the others only `last` is kept (privacy)."""
    hints: dict[str, Crossing] = {}
    """Boundary crossings between the anchor and the first fix of the branch."""


class Gap(msgspec.Struct, array_like=True):
    """A silence inside or near a zone: where the unit stood before it, and late fixes out of it."""

    start_s: float
    end_s: float
    boot_id: str | None
    seq_before: int | None
    seq_after: int | None
    before: Fix | None
    after: Fix | None
    """Positions only where they lie in a zone."""
    zones: dict[str, ZoneState]
    late: list[Fix] = []
    seen: list[tuple[int | None, float]] = []
    """seq and time of the late fixes that came, those outside every zone too."""
    due_s: float | None = None

    def missing(self) -> int | None:
        """How many fixes `seq` says are missing; None if it does not say."""
        if self.seq_before is None or self.seq_after is None:
            return None
        return self.seq_after - self.seq_before - 1


class UnitState:
    """Everything about one unit. Outside every zone `fix` is the only position; the next fix replaces it."""

    __slots__ = (
        "blind",
        "branch",
        "dwell_stopped",
        "fix",
        "frozen",
        "gaps",
        "held",
        "held_due_s",
        "inside",
        "intervals",
        "keys",
        "known",
        "last_received_s",
        "lost",
        "lower_bound_m",
        "open",
        "part",
        "passages",
        "quiet",
        "since_s",
        "stale",
        "step_dt_s",
        "step_m",
        "timer_s",
        "trail",
        "x",
        "y",
        "zones",
    )

    def __init__(self, fix: Fix) -> None:
        self.fix = fix
        """Anchor: the last trusted fix."""
        self.known = False
        """Whether a usable fix was ever seen; the first one may find the unit inside."""
        self.quiet = False
        """Nothing open: no zone, no branch, nothing held. The fast path asks only this."""
        self.blind = False
        """The anchor's position was dropped (privacy); its time stays."""
        self.inside = False
        """The anchor lies in a zone."""
        self.lower_bound_m = 0.0
        self.since_s = fix.time_s
        """First fix of a frozen run: since when the position has been what it is."""
        self.step_m = 0.0
        self.step_dt_s = 0.0
        self.part, self.x, self.y = UNPLACED, math.nan, math.nan
        self.frozen = 0
        self.dwell_stopped = False
        self.zones: dict[str, ZoneState] = {}
        self.open: frozenset[str] = frozenset()
        """The ids in `zones` if all of them are IN, for the path on which nothing can change."""
        self.branch: Branch | None = None
        self.held: list[Fix] = []
        self.held_due_s = math.inf
        self.gaps: list[Gap] = []
        self.passages: deque[Passage] = deque(maxlen=MAX_PASSAGES)
        self.keys: deque[tuple[str | None, int]] = deque(maxlen=MAX_KEYS)
        self.intervals: deque[float] = deque(maxlen=MAX_INTERVALS)
        self.trail: deque[tuple[float, float]] = deque(maxlen=MAX_TRAIL)
        self.stale = self.lost = False
        self.last_received_s = fix.received_s
        self.timer_s: float | None = None
        """When the detector's timer looks at this unit again."""

    @property
    def newest_s(self) -> float:
        """Time of the newest fix used or waiting in the branch."""
        return self.fix.time_s if self.branch is None else max(self.fix.time_s, self.branch.last.time_s)

    def refresh(self) -> None:
        """Bring the shortcuts up to date after a change."""
        self.quiet = self.known and not self.zones and self.branch is None and not self.held and not self.blind
        if all(zone.phase is Phase.IN for zone in self.zones.values()):
            self.open = frozenset(self.zones)
        else:
            self.open = frozenset()
        if not self.zones:
            self.trail.clear()

    def drop_position(self) -> None:
        """Forget where the anchor was; its time and all else stay."""
        self.fix = blinded(self.fix)
        self.blind = True
        self.part, self.x, self.y = UNPLACED, math.nan, math.nan

    def extend_trail(self, x: float, y: float) -> None:
        """Remember where an in-fix was, if it is some way from the last one remembered."""
        if not self.trail or math.hypot(x - self.trail[-1][0], y - self.trail[-1][1]) >= TRAIL_STEP_M:
            self.trail.append((x, y))


def blinded(fix: Fix) -> Fix:
    """The fix without its position."""
    return msgspec.structs.replace(fix, latitude=math.nan, longitude=math.nan)


class _Stored(msgspec.Struct, array_like=True):
    version: int
    fix: Fix
    blind: bool
    inside: bool
    since_s: float
    step_m: float
    step_dt_s: float
    frozen: int
    dwell_stopped: bool
    zones: dict[str, ZoneState]
    branch: Branch | None
    held: list[Fix]
    held_due_s: float
    gaps: list[Gap]
    passages: list[Passage]
    keys: list[tuple[str | None, int]]
    intervals: list[float]
    trail: list[tuple[float, float]]
    stale: bool
    lost: bool


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


def dump_state(state: UnitState, index: ZoneIndex) -> bytes | None:
    """State of a unit for the disk, None if nothing is open. No position outside the zones is in it."""
    if not state.zones and state.branch is None and not state.held:
        return None
    outside = not state.inside and not state.blind
    branch = state.branch
    if branch is not None and not index.containing(branch.last.latitude, branch.last.longitude):
        branch = None
    held = [fix for fix in state.held if index.containing(fix.latitude, fix.longitude)]
    if not state.zones and branch is None and not held:
        return None
    stored = _Stored(
        DUMP_VERSION,
        blinded(state.fix) if outside else state.fix,
        state.blind or outside,
        state.inside,
        state.since_s,
        state.step_m,
        state.step_dt_s,
        state.frozen,
        state.dwell_stopped,
        state.zones,
        branch,
        held,
        state.held_due_s,
        [] if not state.gaps else [gap for gap in state.gaps if not gap.late],
        list(state.passages),
        list(state.keys),
        list(state.intervals),
        list(state.trail),
        state.stale,
        state.lost,
    )
    return _encoder.encode(stored)


def load_state(value: bytes, index: ZoneIndex) -> UnitState:
    """The state `dump_state` wrote. Zones the index does not know stay in it, for the caller to retire.

    Raises:
        ValueError: no such state, or one of another version.
    """
    stored = _decoder.decode(value)
    if stored.version != DUMP_VERSION:
        raise ValueError(f"unit state of version {stored.version}: expected {DUMP_VERSION}")
    if stored.blind:
        stored.fix = blinded(stored.fix)
    state = UnitState(stored.fix)
    state.known = True
    for name in _Stored.__struct_fields__:
        if name in ("version", "keys", "passages", "intervals", "trail"):
            continue
        setattr(state, name, getattr(stored, name))
    state.keys.extend(stored.keys)
    state.passages.extend(stored.passages)
    state.intervals.extend(stored.intervals)
    state.trail.extend(stored.trail)
    for zone_id, zone in state.zones.items():
        _place_again(zone_id, zone, index)
    if state.branch is not None:
        hints = state.branch.hints
        state.branch.hints = {zone_id: _placed(zone_id, at, index) for zone_id, at in hints.items()}
    for gap in state.gaps:
        for zone_id, zone in gap.zones.items():
            _place_again(zone_id, zone, index)
    state.refresh()
    return state


def _place_again(zone_id: str, zone: ZoneState, index: ZoneIndex) -> None:
    """Metres of a stored crossing hold in the frame of the index that wrote them: project anew."""
    zone.first_entry = _placed(zone_id, zone.first_entry, index)
    zone.entry = _placed(zone_id, zone.entry, index)
    zone.leave = None if zone.leave is None else _placed(zone_id, zone.leave, index)


def _placed(zone_id: str, at: Crossing, index: ZoneIndex) -> Crossing:
    compiled = index.zones.get(zone_id)
    if compiled is None:
        return at
    x, y = index.parts[compiled.part].frame.to_metres(at.latitude, at.longitude)
    return at._replace(x=x, y=y)
