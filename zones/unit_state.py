"""What the detector knows of one unit, and its form on disk (design/detection.md section 5)."""

from __future__ import annotations

import enum
import math

import msgspec

from zones.events import Direction, Evidence, Kind
from zones.fix import Fix
from zones.grid import Place
from zones.index import ZoneIndex
from zones.segment import Crossing

MAX_TRAIL = 8
"""Positions kept to tell the direction of an entry, TRAIL_STEP_DEG apart."""
TRAIL_STEP_DEG = 1e-4
"""11 m of latitude; of longitude 7.6 m in Switzerland."""
MAX_PASSAGES = 8
MAX_KEYS = 16
MAX_INTERVALS = 8
MAX_HELD = 8
MAX_GAPS = 4
MAX_EVIDENCE = 8
DUMP_VERSION = 2


class Phase(enum.IntEnum):
    """State of one unit and zone; OUT is the absence of one."""

    CANDIDATE = 1
    IN = 2
    LEAVING = 3


class ZoneState(msgspec.Struct, array_like=True, gc=False):
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

    @property
    def is_out(self) -> bool:
        """The last fix was out of the zone, though not OUTSIDE."""
        return self.phase is Phase.LEAVING or (self.phase is Phase.CANDIDATE and self.run == 0)

    def note(self, fix: Fix, accuracy_m: float) -> None:
        """Remember a fix the coming event rests on; no position."""
        if len(self.evidence) < MAX_EVIDENCE:
            self.evidence.append(Evidence(fix.seq, fix.time_s, accuracy_m))

    def copy(self) -> ZoneState:
        """A copy that shares nothing mutable."""
        twin = msgspec.structs.replace(self)
        twin.evidence = list(self.evidence)
        return twin


class Passage(msgspec.Struct, frozen=True, array_like=True, gc=False):
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


class Calm(enum.IntEnum):
    """Settled, and in just the zones that hold the anchor: only crossing an edge can change anything."""

    FAR = 1
    """In no zone."""
    INSIDE = 2


NO_FIX = Fix("", 0.0, math.nan, math.nan, 0.0)
"""In place of the anchor of a unit at rest (`zones/roster.py`)."""


class UnitState:
    """Everything about one unit. Outside every zone `fix` is the only position; the next fix replaces it."""

    __slots__ = (
        "blind",
        "branch",
        "calm",
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
        "passages",
        "place",
        "quiet",
        "run_from_seq",
        "since_s",
        "stale",
        "step_dt_s",
        "step_m",
        "timer_s",
        "trail",
        "zones",
    )

    def __init__(self, fix: Fix) -> None:
        self.fix = fix
        """The anchor: the last trusted fix. At rest it is in the roster."""
        self.since_s = fix.time_s
        """First fix of a frozen run: since when the position has been what it is."""
        self.calm: Calm | None = None
        self.place: Place | None = None
        """Where the anchor is; None if it was not looked up since it moved, or has no position."""
        self.known = False
        """Whether a usable fix was ever seen; the first one may find the unit inside."""
        self.quiet = False
        """Nothing open: no zone, no branch, nothing held."""
        self.blind = False
        """The anchor's position was dropped (privacy); its time stays."""
        self.inside = False
        """The anchor lies in a zone."""
        self.step_m = self.step_dt_s = 0.0
        """The step to the anchor; not kept up to date where a unit at rest reports its speed."""
        self.frozen = 0
        self.dwell_stopped = False
        self.zones: dict[str, ZoneState] = {}
        self.branch: Branch | None = None
        self.held: tuple[Fix, ...] = ()
        self.held_due_s = math.inf
        self.gaps: tuple[Gap, ...] = ()
        self.passages: tuple[Passage, ...] = ()
        self.run_from_seq = 0
        """Every `seq` from here to the anchor's was used, without a hole."""
        self.keys: tuple[tuple[str | None, int], ...] = ()
        """Others used before."""
        self.intervals: tuple[float, ...] = ()
        self.trail: tuple[tuple[float, float], ...] = ()
        """(latitude, longitude) of in-fixes, oldest first."""
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
        if not self.zones:
            self.trail = ()

    def placed(self, index: ZoneIndex) -> Place:
        """Where the anchor is in this index; it must have a position."""
        place = self.place
        if place is None:
            place = self.place = index.place(self.fix.latitude, self.fix.longitude)
        return place

    @property
    def settled(self) -> bool:
        """No branch, nothing held, in every open zone for certain: only an edge can change anything."""
        if not self.known or self.branch is not None or self.held or self.blind:
            return False
        for zone in self.zones.values():  # noqa: SIM110 - a generator for all() takes three times as long
            if zone.phase is not Phase.IN:
                return False
        return True

    def saw(self, before: Fix, fix: Fix) -> None:
        """Remember that the `seq` of a fix was used; `before` was the anchor until then."""
        seq = fix.seq
        if seq is None:
            return
        same_boot = fix.boot_id == before.boot_id
        keys = self.keys if same_boot else ()
        if self.fix is not fix:
            keys = (*keys, (fix.boot_id, seq))
        elif not same_boot or before.seq is None or before is fix:
            self.run_from_seq = seq
        elif seq != before.seq + 1:
            first = max(self.run_from_seq, before.seq - MAX_KEYS + 1)
            keys = (*keys, *((before.boot_id, used) for used in range(first, before.seq + 1)))
            self.run_from_seq = seq
        self.keys = keys[-MAX_KEYS:]

    def has_seen(self, fix: Fix) -> bool:
        """Whether a fix of the same boot and `seq` was used before."""
        seq, old = fix.seq, self.fix
        if seq is None:
            return False
        if old.seq is not None and fix.boot_id == old.boot_id and self.run_from_seq <= seq <= old.seq:
            return True
        return (fix.boot_id, seq) in self.keys

    def note_interval(self, interval_s: float) -> None:
        """Remember how long the unit was silent."""
        self.intervals = (*self.intervals[1 - MAX_INTERVALS :], interval_s)

    def note_passage(self, passage: Passage) -> None:
        """Remember a stay that has ended."""
        self.passages = (*self.passages[1 - MAX_PASSAGES :], passage)

    def drop_position(self) -> None:
        """Forget where the anchor was; its time and all else stay."""
        self.fix = blinded(self.fix)
        self.blind = True
        self.place = self.calm = None

    def rest(self) -> None:
        """The anchor has moved to the roster."""
        self.fix, self.place = NO_FIX, None

    @property
    def is_bare(self) -> bool:
        """Nothing is known but the anchor: of such a unit the row in the roster is enough."""
        return not (self.zones or self.passages or self.gaps or self.keys or self.intervals or self.held) and (
            self.timer_s is None and self.branch is None and not self.blind
        )

    def extend_trail(self, latitude: float, longitude: float) -> None:
        """Remember where an in-fix was, if it is some way from the last one remembered."""
        if self.trail:
            last_latitude, last_longitude = self.trail[-1]
            d_lat, d_lon = latitude - last_latitude, longitude - last_longitude
            if -TRAIL_STEP_DEG < d_lat < TRAIL_STEP_DEG and -TRAIL_STEP_DEG < d_lon < TRAIL_STEP_DEG:
                return
        self.trail = (*self.trail[1 - MAX_TRAIL :], (latitude, longitude))


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
    held: tuple[Fix, ...]
    held_due_s: float
    gaps: tuple[Gap, ...]
    passages: tuple[Passage, ...]
    run_from_seq: int
    keys: tuple[tuple[str | None, int], ...]
    intervals: tuple[float, ...]
    trail: tuple[tuple[float, float], ...]
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
    held = tuple(fix for fix in state.held if index.containing(fix.latitude, fix.longitude))
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
        state.held_due_s if held else math.inf,
        tuple(gap for gap in state.gaps if not gap.late),
        state.passages,
        state.run_from_seq,
        state.keys,
        state.intervals,
        state.trail,
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
        if name != "version":
            setattr(state, name, getattr(stored, name))
    for zone_id, zone in state.zones.items():
        _place_again(zone_id, zone, index)
    if state.branch is not None:
        hints = state.branch.hints
        state.branch.hints = {zone_id: _placed(zone_id, at, index) for zone_id, at in hints.items()}
    for gap in state.gaps:
        for zone_id, zone in gap.zones.items():
            _place_again(zone_id, zone, index)
    if not state.held:
        state.held_due_s = math.inf  # else `tick` would wait for ever for what is not there
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
