"""Detector.feed: entry and exit per unit; swap; state out and in (design/detection.md sections 5 to 7).

No clock, no I/O: time comes with the fixes and with `tick`. Outside every zone the detector holds of a unit
its newest position only, and the next fix replaces it.
"""

from __future__ import annotations

import enum
import heapq
import math
from dataclasses import dataclass, field
from statistics import median

from zones.border_zone import ZoneSet
from zones.events import Detected, Notice, NoticeName
from zones.fix import Fix, FixType, checked_fix
from zones.frame import metres_between
from zones.index import ZoneIndex
from zones.late import (
    collect,
    drop_old_gaps,
    hold,
    is_full,
    is_hole,
    keep_gap,
    next_released,
    open_gap,
    reach_of,
    replay_gap,
)
from zones.membership import Membership, classify
from zones.plausibility import DetectionConfig, effective_accuracy_m
from zones.quiet_map import NO_BOX
from zones.roster import BOX_AT, MAX_SEQ, NO_SEQ, ROW_BITS, Roster, read_anchor, read_motion, write_anchor, write_box
from zones.segment import Crossing
from zones.step import Outcome, step
from zones.unit_state import (
    Calm,
    Phase,
    UnitState,
    ZoneState,
    dump_state,
    load_state,
)

MAX_UNITS = 200_000
"""Units remembered; the one seen first among those in no zone makes room."""
STALE_INTERVALS, LOST_INTERVALS = 1.5, 3.0
"""Usual intervals of a unit before its silence says something (design/domain.md section 6)."""

_SIMULATED = FixType.SIMULATED
_NOT_QUICK = (FixType.NONE, FixType.ESTIMATED, FixType.SIMULATED)
"""Their fixes need a closer look, or none."""


class Verdict(enum.Enum):
    """What became of the last fix fed."""

    ACCEPTED = "accepted"
    HELD = "held"
    """Waiting for a missing `seq`; used later."""
    DUPLICATE = "duplicate"
    LATE = "late"
    """Older than the newest; used where a gap is known, else dropped."""
    REFUSED = "refused"


_ACCEPTED = Verdict.ACCEPTED
_FAR = int(Calm.FAR)
_THREE_D = FixType.THREE_D
_NAN, _INFINITE = math.nan, math.inf


@dataclass(frozen=True)
class SwapReport:
    """What a swap of the zone set did."""

    version: str
    detected: list[Detected] = field(default_factory=list)
    """Notices only: a swap never produces an entry or an exit."""
    adopted: int = 0
    retired: int = 0


class Detector:
    """Fixes in, detection events out: one for all units, one caller at a time.

    `feed` never raises: it refuses what it cannot use, says so in `last_verdict` and `last_reason`, counts.
    """

    def __init__(self, index: ZoneIndex, config: DetectionConfig | None = None) -> None:
        self._config = config if config is not None else DetectionConfig()
        self._roster = Roster()
        self._memory, self._boots = self._roster.memory, self._roster.boots
        self._rows: dict[str, int] = {}
        """Where the row of each known unit begins."""
        self._units: dict[str, UnitState] = {}
        """Of units that are awake, or of which more is known than an anchor."""
        self._timers: list[tuple[float, str]] = []
        self._counts: dict[str, int] = {}
        self._far = self._steady = self._used = 0
        self._behind_s = 0.0
        """Of the last `tick`."""
        self._gone_reason = "removed"
        self._verdict = Verdict.ACCEPTED
        self._reason = ""
        self._outcome: Outcome | None = None
        self._take_up(index)
        self._future_s = self._config.future_tolerance_s
        self._late_gap_s = self._config.late_gap_s
        self._usable_m = self._config.accuracy_usable_m
        self._gate_mps = self._config.speed_gate_mps
        self._moving_mps = self._config.exit_moving_mps
        self._stale_s = self._config.stale_after_s

    def _take_up(self, index: ZoneIndex) -> None:
        self._index = index
        self._per_latitude, self._per_longitude = index.metres_per_latitude, index.metres_per_longitude
        alone = index.parts[0] if len(index.parts) == 1 else None
        self._quiet_box = index.quiet_box if alone is None else alone.quiet.box
        self._free = index.way_is_free if alone is None else alone.quiet.is_free
        self._clear = index.way_is_clear if alone is None else alone.way_is_clear

    # --- what is known ---

    @property
    def zone_set(self) -> ZoneSet:
        """The zone set in force."""
        return self._index.zone_set

    @property
    def index(self) -> ZoneIndex:
        """The index in force."""
        return self._index

    @property
    def config(self) -> DetectionConfig:
        """The constants in force."""
        return self._config

    @property
    def last_verdict(self) -> Verdict:
        """What became of the fix of the last `feed`."""
        return self._verdict

    @property
    def last_reason(self) -> str:
        """Why it was refused, for people; empty otherwise."""
        return self._reason

    @property
    def last_outcome(self) -> Outcome | None:
        """What the last fix fed within reach of a zone did there; None if it was not used, or not yet."""
        return self._outcome

    @property
    def counters(self) -> dict[str, int]:
        """Fixes by verdict (`accepted`, `held`, `duplicate`, `late`, `refused`); the used also by outcome."""
        counts = dict(self._counts)
        often = (Outcome.REJECTED, self._far), (Outcome.STEADY, self._steady), (Outcome.USED, self._used)
        for name, quick in ((outcome.value, count) for outcome, count in often):
            counts[name] = counts.get(name, 0) + quick
            counts[Verdict.ACCEPTED.value] = counts.get(Verdict.ACCEPTED.value, 0) + quick
        for verdict in Verdict:
            counts.setdefault(verdict.value, 0)
        return counts

    def inside(self, unit: str) -> frozenset[str]:
        """Ids of the zones the unit is in, or leaving."""
        state = self._units.get(unit)
        if state is None:
            return frozenset()
        return frozenset(z for z, zone in state.zones.items() if zone.phase is not Phase.CANDIDATE)

    def phases(self, unit: str) -> dict[str, Phase]:
        """Zones whose state is open for the unit; all others are OUT."""
        state = self._units.get(unit)
        return {} if state is None else {zone_id: zone.phase for zone_id, zone in state.zones.items()}

    def in_tracking(self, unit: str) -> bool:
        """Whether the unit's newest position lies in a zone: the only positions that may be stored.

        Activation and confirmation zones lie in tracking zones; in a set without them, they count themselves.
        """
        state = self._units.get(unit)
        return state is not None and state.inside and not state.blind

    def last_fix_time(self, unit: str) -> float | None:
        """UTC seconds of the newest fix used, None for an unknown unit."""
        at = self._rows.get(unit)
        if at is None:
            return None
        return self._roster.time_s(at) if self._roster.rests(at) else self._units[unit].newest_s

    # --- fixes ---

    def feed(self, fix: Fix) -> list[Detected]:
        """Take one fix; give the events and notices it settles, in order. Never raises."""
        at = self._rows.get(fix.unit)
        if at is None:
            return self._feed_first(fix)
        # A unit at rest: only an edge on the way can change anything. Every comparison is false for NaN.
        old_s, old_latitude, old_longitude, old_seq, south, west, north, east, calm = read_anchor(self._memory, at)
        time_s, latitude, longitude, seq = fix.time_s, fix.latitude, fix.longitude, fix.seq
        speed, heading, accuracy_m = fix.speed_mps, fix.heading_deg, fix.accuracy_m
        if accuracy_m == 0.0 and (fix.hdop is not None or fix.phone):
            accuracy_m = effective_accuracy_m(fix, self._config)
        if (
            calm
            and old_s < time_s <= fix.received_s + self._future_s
            and (seq is None or (seq - 1 == old_seq and seq < MAX_SEQ))
            and fix.boot_id == self._boots[at >> ROW_BITS]
            and 0.0 <= accuracy_m < _INFINITE
            and (speed is None or 0.0 <= speed <= 1_000.0)
            and (heading is None or 0.0 <= heading <= 360.0)
            and ((kind := fix.fix_type) is _THREE_D or kind not in _NOT_QUICK)
        ):
            moved = latitude != old_latitude or longitude != old_longitude
            if (
                calm == _FAR  # in a zone there may be no silence, no leap, no stuck receiver, and the fix is usable
                or (
                    time_s - old_s <= self._late_gap_s
                    and accuracy_m <= self._usable_m
                    and (
                        self._is_near(time_s - old_s, latitude - old_latitude, longitude - old_longitude)
                        if moved
                        else speed is None or speed <= self._moving_mps
                    )
                )
            ) and (
                (south < latitude < north and west < longitude < east)
                or self._way_is_clear(at, old_latitude, old_longitude, latitude, longitude)
            ):
                since_s = time_s
                if not moved or speed is None:
                    old_speed, since_s = read_motion(self._memory, at)
                    if speed is None:
                        step_m = metres_between(old_latitude, old_longitude, latitude, longitude)
                        self._roster.note_step(at, step_m, time_s - since_s, old_speed)
                write_anchor(
                    self._memory, at, time_s, latitude, longitude, fix.received_s, accuracy_m,
                    _NAN if speed is None else speed, time_s if moved else since_s, NO_SEQ if seq is None else seq,
                )  # fmt: skip
                if calm == _FAR:
                    self._far += 1
                else:
                    self._stay(fix, time_s - old_s, moved)
                self._verdict, self._reason = _ACCEPTED, ""
                return []
        return self._feed_slowly(fix, at)

    def _is_near(self, dt_s: float, d_lat: float, d_lon: float) -> bool:
        """A step that a vehicle can make."""
        gate_m, north_m, east_m = self._gate_mps * dt_s, d_lat * self._per_latitude, d_lon * self._per_longitude
        return north_m * north_m + east_m * east_m <= gate_m * gate_m

    def _way_is_clear(
        self, at: int, old_latitude: float, old_longitude: float, latitude: float, longitude: float
    ) -> bool:
        """Whether no edge is on the way from the anchor to a position; if so, the box is now that of the latter."""
        box = self._quiet_box(latitude, longitude)
        if not (box[0] < old_latitude < box[2] and box[1] < old_longitude < box[3]):
            if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0):
                return False
            if not (
                (box is not NO_BOX and self._free(old_latitude, old_longitude, latitude, longitude))
                or self._clear(old_latitude, old_longitude, latitude, longitude)
            ):
                return False
        write_box(self._memory, at + BOX_AT, *box)
        return True

    def _stay(self, fix: Fix, dt_s: float, moved: bool) -> None:
        """What a unit that stays in its zones leaves behind, and its timer."""
        state = self._units[fix.unit]
        self._steady += 1
        self._outcome = Outcome.STEADY
        if moved:
            state.frozen, state.dwell_stopped = 0, False
            state.extend_trail(fix.latitude, fix.longitude)
        else:
            state.frozen += 1
        state.note_interval(dt_s)
        received_s = fix.received_s
        if received_s > state.last_received_s:
            state.last_received_s = received_s
        if state.timer_s is None or state.timer_s > received_s + self._stale_s:
            self._arm(state, fix.unit)

    def _feed_first(self, fix: Fix) -> list[Detected]:
        """The first fix of a unit. One in no zone needs a row, and nothing else."""
        seq, index = fix.seq, self._index
        if (
            fix.fix_type not in _NOT_QUICK
            and checked_fix(fix) is None
            and fix.time_s <= fix.received_s + self._future_s
            and (seq is None or NO_SEQ < seq < MAX_SEQ)
            and effective_accuracy_m(fix, self._config) <= self._usable_m
            and not index.place(fix.latitude, fix.longitude).members()
        ):
            at = self._enlist(fix.unit)
            self._roster.begin(at, fix, self._resting_accuracy_m(fix), index.quiet_box(fix.latitude, fix.longitude))
            self._outcome, self._verdict, self._reason = Outcome.USED, _ACCEPTED, ""
            self._used += 1
            return []
        return self._feed_slowly(fix, None)

    def _feed_slowly(self, fix: Fix, at: int | None) -> list[Detected]:
        out: list[Detected] = []
        self._outcome = None
        self._reason = self._refusal(fix) or ""
        if self._reason:
            self._note(Verdict.REFUSED)
            return out
        if fix.time_s > fix.received_s + self._future_s:
            self._reason = f"fixTime {fix.time_s - fix.received_s:.1f} s ahead of its receipt"
            self._note(Verdict.REFUSED)
            return [Notice(NoticeName.CLOCK_FAULT, fix.unit, fix.received_s, None, self._reason)]
        if at is None:
            at = self._enlist(fix.unit)
            state = self._units[fix.unit] = UnitState(fix)
            self._use(state, fix, out)
            self._after(state, fix)
        else:
            state = self._awake(fix.unit, at)
            if self._is_duplicate(state, fix):
                self._note(Verdict.DUPLICATE)
            else:
                self._sort_in(state, fix, out)
                self._after(state, fix)
        self._rest(fix.unit, at, state)
        return out

    # --- rest ---

    def _enlist(self, unit: str) -> int:
        """A row for a new unit; in a crowd another one makes room."""
        if len(self._rows) >= MAX_UNITS:
            self.forget(next((u for u in self._rows if not self.phases(u)), next(iter(self._rows))))
        at = self._rows[unit] = self._roster.add()
        return at

    def _awake(self, unit: str, at: int) -> UnitState:
        """The state of a known unit, with its anchor."""
        state = self._units.get(unit)
        woken = self._roster.wake(at, unit, state)
        assert woken is not None, unit  # a unit without a state is at rest
        if state is None:
            self._units[unit] = woken
        return woken

    def _rest(self, unit: str, at: int, state: UnitState) -> None:
        """Let a calm unit rest; if its anchor is all that is known of it, the row is all that is kept."""
        if state.calm is None:
            return
        fix = state.fix
        box = self._quiet_box(fix.latitude, fix.longitude)
        if self._roster.lay_down(at, state, self._resting_accuracy_m(fix), box) and state.is_bare:
            del self._units[unit]

    def _resting_accuracy_m(self, fix: Fix) -> float:
        """Accuracy 0 stays unknown, except where hdop tells what it is, or the kind of unit."""
        told = fix.hdop is not None or fix.phone
        return effective_accuracy_m(fix, self._config) if told else fix.accuracy_m

    def _sort_in(self, state: UnitState, fix: Fix, out: list[Detected]) -> None:
        if fix.time_s < state.newest_s:
            self._take_late(state, fix, out)
        elif state.held or (state.zones and is_hole(state, fix)):
            state.calm = None
            self._order(state, fix, out)
        else:
            self._use(state, fix, out)

    def _refusal(self, fix: Fix) -> str | None:
        if fix.fix_type is _SIMULATED and not self._config.accept_simulated:
            return "fixType SIMULATED: simulated positions are not accepted here"
        return checked_fix(fix)

    def _note(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._count(verdict.value)

    def _count(self, name: str) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1

    def _is_duplicate(self, state: UnitState, fix: Fix) -> bool:
        """Same boot and seq, or same time: of two positions for one time the more accurate is kept."""
        old = state.fix
        if state.has_seen(fix):
            return True
        if fix.time_s != state.newest_s:
            return False
        if state.branch is not None or state.blind:
            return True
        same = fix.latitude == old.latitude and fix.longitude == old.longitude
        if same and fix.seq is not None and fix.boot_id == old.boot_id:
            state.fix = fix  # its `seq` has come: no hole before the next one
            state.saw(old, fix)
        better = effective_accuracy_m(fix, self._config) < effective_accuracy_m(old, self._config)
        return same or not better

    def _order(self, state: UnitState, fix: Fix, out: list[Detected]) -> None:
        """Hold a fix after a hole in `seq`, unless it proves an entry: the driver is waiting for that."""
        if (is_hole(state, fix) and self._enters(state, fix)) or (
            not is_hole(state, fix) and (not state.held or fix.time_s < state.held[0].time_s)
        ):
            self._use(state, fix, out)
        else:
            self._note(Verdict.HELD if hold(state, fix, self._config) else Verdict.DUPLICATE)
        self._release(state, fix.received_s, out)

    def _release(self, state: UnitState, now_s: float, out: list[Detected]) -> None:
        verdict, reason, outcome = self._verdict, self._reason, self._outcome
        while held := next_released(state, now_s):
            if held.time_s > state.newest_s:
                self._use(state, held, out)
        self._verdict, self._reason, self._outcome = verdict, reason, outcome

    def _enters(self, state: UnitState, fix: Fix) -> bool:
        """Whether the fix lies INSIDE a zone the unit is not yet known to be in."""
        place = self._index.place(fix.latitude, fix.longitude)
        accuracy_m = effective_accuracy_m(fix, self._config)
        for zone_id in place.full:
            zone = state.zones.get(zone_id)
            if zone is None or zone.phase is Phase.CANDIDATE:
                return accuracy_m <= self._config.accuracy_usable_m
        for nearby in place.partial:
            zone = state.zones.get(nearby.zone.id)
            if zone is not None and zone.phase is not Phase.CANDIDATE:
                continue
            deep = nearby.clearance_m(place.x, place.y) >= self._config.inside_factor * accuracy_m
            if deep and nearby.contains(place.x, place.y):
                return True
        return False

    def _use(self, state: UnitState, fix: Fix, out: list[Detected]) -> None:
        before = state.fix
        gap = open_gap(state, fix, self._config)
        reach_m = 0.0 if gap is None else reach_of(self._index, state)
        if state.inside and fix.time_s > before.time_s:
            state.note_interval(fix.time_s - before.time_s)
        outcome = self._outcome = step(self._index, self._config, state, fix, out)
        state.saw(before, fix)
        if gap is not None:
            keep_gap(self._index, state, gap, fix, reach_m, self._config)
        if outcome is Outcome.USED:
            self._used += 1
            self._verdict = _ACCEPTED
        else:
            self._count(outcome.value)
            self._note(_ACCEPTED)

    def _take_late(self, state: UnitState, fix: Fix, out: list[Detected]) -> None:
        gap = collect(self._index, state, fix, self._config)
        self._note(Verdict.LATE)
        if gap is None:
            self._count("late_dropped")
        elif is_full(gap):
            out += replay_gap(self._index, self._config, state, gap)

    # --- time ---

    def _after(self, state: UnitState, fix: Fix) -> None:
        """Timers after a fix: it is neither stale nor lost, and something may be due."""
        state.stale = state.lost = False
        received_s = state.last_received_s = max(state.last_received_s, fix.received_s)
        if state.gaps or state.held:
            self._arm(state, fix.unit)
        elif state.zones and (state.timer_s is None or state.timer_s > received_s + self._stale_s):
            self._arm(state, fix.unit)  # else the timer looks at the unit before its silence can say anything

    def _arm(self, state: UnitState, unit: str) -> None:
        """Set the unit's timer, if something falls due before it."""
        due_s = self._due_of(state)
        if due_s < math.inf and (state.timer_s is None or due_s < state.timer_s):
            state.timer_s = due_s
            heapq.heappush(self._timers, (due_s, unit))

    def _due_of(self, state: UnitState) -> float:
        """When something falls due for a unit without another fix."""
        due_s = state.held_due_s
        for gap in state.gaps:
            expires_s = gap.start_s + self._config.late_horizon_s + 1.0
            due_s = min(due_s, expires_s if gap.due_s is None else gap.due_s)
        if state.zones and not state.lost:
            stale_s, lost_s = self._silence_s(state)
            due_s = min(due_s, state.last_received_s + (lost_s if state.stale else stale_s) + self._behind_s)
        return due_s

    def _silence_s(self, state: UnitState) -> tuple[float, float]:
        usual_s = median(state.intervals) if state.intervals else 0.0
        stale_s = max(self._config.stale_after_s, STALE_INTERVALS * usual_s)
        return stale_s, max(stale_s, self._config.lost_after_s, LOST_INTERVALS * usual_s)

    def due_s(self) -> float | None:
        """When `tick` has something to do, UTC seconds; None if nothing is waiting."""
        while self._timers:
            at_s, unit = self._timers[0]
            state = self._units.get(unit)
            if state is None or state.timer_s != at_s:
                heapq.heappop(self._timers)
                continue
            due_s = self._due_of(state)
            if due_s <= at_s:
                return due_s
            heapq.heappop(self._timers)
            state.timer_s = None if due_s == math.inf else due_s
            if state.timer_s is not None:
                heapq.heappush(self._timers, (due_s, unit))
        return None

    def tick(self, now_s: float, behind_s: float = 0.0) -> list[Detected]:
        """Let time pass: held fixes go, late ones are judged, silence is noticed, but is never an exit.

        Args:
            now_s: UTC seconds.
            behind_s: How long fixes may have been lying unread: nobody counts as silent for that time.
        """
        self._behind_s = behind_s
        out: list[Detected] = []
        while (due_s := self.due_s()) is not None and due_s <= now_s:
            _, unit = heapq.heappop(self._timers)
            state = self._awake(unit, self._rows[unit])
            state.timer_s = None
            self._fall_due(unit, state, now_s, out)
            next_s = self._due_of(state)
            if next_s < math.inf:
                state.timer_s = next_s
                heapq.heappush(self._timers, (next_s, unit))
            self._rest(unit, self._rows[unit], state)
        return out

    def _fall_due(self, unit: str, state: UnitState, now_s: float, out: list[Detected]) -> None:
        if state.held:
            state.calm = None
            self._release(state, now_s, out)
        for gap in [gap for gap in state.gaps if gap.due_s is not None and gap.due_s <= now_s]:
            out += replay_gap(self._index, self._config, state, gap)
        drop_old_gaps(state, now_s, self._config)
        if not state.zones or state.lost:
            return
        stale_s, lost_s = self._silence_s(state)
        silent_s = now_s - state.last_received_s
        if now_s >= state.last_received_s + lost_s + self._behind_s:
            state.stale = state.lost = True
            state.calm = None
            out.append(Notice(NoticeName.LOST, unit, now_s, None, f"no fix for {silent_s:.0f} s"))
        elif now_s >= state.last_received_s + stale_s + self._behind_s and not state.stale:
            state.stale = True
            state.calm = None
            out.append(Notice(NoticeName.STALE, unit, now_s, None, f"no fix for {silent_s:.0f} s"))

    # --- zone sets and storage ---

    def swap(self, index: ZoneIndex, now_s: float | None = None) -> SwapReport:
        """Exchange the zone set between two fixes. Never an entry or an exit: notices say what changed.

        Args:
            index: The set to take up.
            now_s: UTC seconds; with it a zone that goes because the time of its set is over is retired as such.
        """
        notices: list[Notice] = []
        self._gone_reason = _gone_reason(self._index.zone_set, index.zone_set, now_s)
        self._take_up(index)
        away = self._roster.keep_away(index.outside)
        for unit, at in self._rows.items():
            if unit in self._units or at not in away:
                self._reclassify(unit, self._awake(unit, at), notices)
        adopted = sum(n.notice is NoticeName.ADOPTED_INSIDE for n in notices)
        return SwapReport(index.version, list(notices), adopted, len(notices) - adopted)

    def _reclassify(self, unit: str, state: UnitState, notices: list[Notice]) -> None:
        """One unit under the new set: zones are matched by id."""
        for gap in state.gaps:
            gap.zones = {z: zone for z, zone in gap.zones.items() if z in self._index.zones}
        if state.branch is not None:
            hints = state.branch.hints
            state.branch.hints = {z: at for z, at in hints.items() if z in self._index.zones}
        state.calm = state.place = None
        if state.blind or not state.known:
            self._retire(unit, state, set(), notices)
            return
        fix = state.fix
        place = self._index.place(fix.latitude, fix.longitude)
        if state.quiet and place.lower_bound_m > 0.0:
            return
        state.place = place
        members = self._index.containing(fix.latitude, fix.longitude)
        accuracy_m = effective_accuracy_m(fix, self._config)
        gone = {n.zone.id for n in place.partial if self._left(n.clearance_m(place.x, place.y), accuracy_m)}
        near = {n.zone.id for n in place.partial} - gone
        self._retire(unit, state, {z for z in state.zones if z not in members and z not in near}, notices)
        if state.inside or accuracy_m <= self._config.accuracy_usable_m:
            self._adopt(unit, state, members, notices)
        state.inside = bool(members)
        state.refresh()

    def _left(self, clearance: float, accuracy_m: float) -> bool:
        config = self._config
        outside = classify(
            False,
            clearance,
            accuracy_m,
            inside_factor=config.inside_factor,
            exit_margin_m=config.exit_margin_m,
        )
        return outside is Membership.OUTSIDE

    def _retire(self, unit: str, state: UnitState, left: set[str], notices: list[Notice]) -> None:
        for zone_id in [z for z in state.zones if z in left or z not in self._index.zones]:
            del state.zones[zone_id]
            reason = "moved" if zone_id in self._index.zones else self._gone_reason
            notices.append(Notice(NoticeName.ZONE_RETIRED, unit, state.newest_s, zone_id, reason))

    def _adopt(self, unit: str, state: UnitState, members: frozenset[str], notices: list[Notice]) -> None:
        fix = state.fix
        place = state.placed(self._index)
        at = Crossing(fix.time_s, fix.latitude, fix.longitude, place.x, place.y)
        for zone_id in sorted(members - state.zones.keys()):
            state.zones[zone_id] = ZoneState(Phase.IN, at, at, 1, fix.time_s, adopted=True)
            reason = "inside when the zone came into force"
            notices.append(Notice(NoticeName.ADOPTED_INSIDE, unit, fix.time_s, zone_id, reason))

    def dump(self, unit: str) -> bytes | None:
        """State of a unit for the disk, None if nothing is open; no position outside the zones is in it."""
        if unit not in self._units:
            return None
        at = self._rows[unit]
        state = self._awake(unit, at)
        stored = dump_state(state, self._index)
        self._rest(unit, at, state)
        return stored

    def restore(self, unit: str, value: bytes) -> list[Detected]:
        """Take up a stored state; notices for zones that are gone since.

        Raises:
            ValueError: the bytes are no such state (or msgspec's subclass of it, which says where).
        """
        state = load_state(value, self._index)
        self.forget(unit)
        self._enlist(unit)
        self._units[unit] = state
        notices: list[Notice] = []
        self._retire(unit, state, set(), notices)
        state.refresh()
        self._after(state, state.fix)
        return list(notices)

    def forget(self, unit: str) -> None:
        """Drop all that is known of a unit; its next fix is its first."""
        self._units.pop(unit, None)
        at = self._rows.pop(unit, None)
        if at is not None:
            self._roster.drop(at)


def _gone_reason(old: ZoneSet, new: ZoneSet, now_s: float | None) -> str:
    """Why a zone of the old set that the new one does not have is retired."""
    if now_s is not None and old.valid_to_s is not None and old.valid_to_s <= now_s:
        return "no longer valid"
    return "removed" if new.zones else "no zone set in force"
