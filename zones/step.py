"""One fix, newer than the anchor, against one unit: frozen, out of reach, plausible, or a branch
(design/detection.md section 6, steps 4 to 6)."""

from __future__ import annotations

import enum
import math

from zones.border_zone import ZoneKind
from zones.events import Detected, Notice, NoticeName
from zones.fix import Fix
from zones.grid import Place
from zones.index import ZoneIndex
from zones.plausibility import (
    BranchVerdict,
    DetectionConfig,
    Trust,
    effective_accuracy_m,
    faster_reported_mps,
    grade_step,
    judge_branch,
    step_speed_mps,
    usable,
)
from zones.segment import Crossing, Leg, entry_on, exit_on, spans
from zones.settle import Step, confirm, settle, would_change
from zones.unit_state import Branch, Calm, Phase, UnitState

FROZEN_FIXES = 3
"""Identical positions at speed that make a receiver count as stuck."""


class Outcome(enum.Enum):
    """What became of a fix, for the counters."""

    USED = "used"
    REJECTED = "reject"
    STEADY = "steady"
    """In the same zones as before, no edge within reach: the path of most fixes in zones."""
    FROZEN = "frozen"
    UNUSABLE = "unusable"
    SUSPECT = "suspect"
    ADOPTED = "adopted"
    JUMP = "jump"


def step(index: ZoneIndex, config: DetectionConfig, state: UnitState, fix: Fix, out: list[Detected]) -> Outcome:
    """Take one checked fix, not older than the anchor; append what is detected to `out`."""
    anchor = state.fix
    if state.known and not state.blind and state.branch is None and _same_position(anchor, fix):
        return _stand_still(index, config, state, fix, out)
    place = index.place(fix.latitude, fix.longitude)
    if state.quiet and place.lower_bound_m > 0.0:
        over_long_m = _over_long_m(index, anchor, fix)
        if state.placed(index).lower_bound_m + place.lower_bound_m > over_long_m:
            _replace_anchor(state, fix, place, over_long_m)
            state.calm = Calm.FAR
            return Outcome.REJECTED
    accuracy_m = effective_accuracy_m(fix, config)
    if not usable(fix, accuracy_m, config):
        return _pass_over(state, fix, place)
    if not state.known and place.lower_bound_m > 0.0:
        state.known = True
        _replace_anchor(state, fix, place)
        state.calm = Calm.FAR
        return Outcome.USED
    if state.branch is not None:
        return _with_branch(index, config, state, fix, place, out)
    return _against_anchor(index, config, state, fix, place, out)


def _same_position(one: Fix, other: Fix) -> bool:
    return one.latitude == other.latitude and one.longitude == other.longitude


def _over_long_m(index: ZoneIndex, one: Fix, other: Fix) -> float:
    d_lon = abs((other.longitude - one.longitude + 180.0) % 360.0 - 180.0)
    return math.hypot((other.latitude - one.latitude) * index.metres_per_latitude, d_lon * index.metres_per_longitude)


def _replace_anchor(state: UnitState, fix: Fix, place: Place, step_m: float | None = None) -> None:
    """Outside and out of reach: the new position takes the place of the old one."""
    state.step_m = step_m or 0.0
    state.step_dt_s = 0.0 if step_m is None else fix.time_s - state.since_s
    state.fix, state.since_s, state.blind = fix, fix.time_s, False
    state.place, state.inside, state.frozen, state.calm = place, False, 0, None
    state.refresh()


def _stand_still(index: ZoneIndex, config: DetectionConfig, state: UnitState, fix: Fix, out: list[Detected]) -> Outcome:
    """Coordinates identical to the anchor's: time and dwell go on, there is no new evidence."""
    state.fix = fix
    state.frozen += 1
    moving = fix.speed_mps is not None and fix.speed_mps > config.exit_moving_mps
    if moving and state.frozen >= FROZEN_FIXES - 1 and not state.dwell_stopped:
        state.dwell_stopped = True
        if state.zones:
            reason = f"{state.frozen + 1} identical positions at {fix.speed_mps:.1f} m/s"
            out.append(Notice(NoticeName.FROZEN, fix.unit, fix.time_s, None, reason))
    if state.zones and not state.dwell_stopped:
        for zone_id, zone_state in state.zones.items():
            running = zone_state.phase is Phase.CANDIDATE and zone_state.run > 0
            if running and fix.time_s - zone_state.run_since_s >= config.dwell_s:
                zone_state.note(fix, effective_accuracy_m(fix, config))
                confirm(index, state, index.zones[zone_id], zone_state, fix, out)
        state.refresh()
    return Outcome.FROZEN


def _pass_over(state: UnitState, fix: Fix, place: Place) -> Outcome:
    """Too inaccurate to decide on. Inside a zone the good anchor stays; outside it may not (privacy)."""
    branch = state.branch
    if branch is not None and branch.last not in branch.fixes:
        state.branch = branch = None
    if branch is None and not (state.known and state.inside):
        _replace_anchor(state, fix, place)
    state.refresh()
    return Outcome.UNUSABLE


# --- against the anchor ---------------------------------------------------------------------------


def _against_anchor(
    index: ZoneIndex, config: DetectionConfig, state: UnitState, fix: Fix, place: Place, out: list[Detected]
) -> Outcome:
    this = make_step(index, config, state, fix, place, out)
    if not state.known or state.blind:
        this.found = not state.known
        settle(this)
        return Outcome.USED
    trust = _trust(this)
    if trust is Trust.TRUSTED or (trust is Trust.UNCORROBORATED and not would_change(this)):
        settle(this)
        return Outcome.USED
    if not state.inside and not index.containing(fix.latitude, fix.longitude):
        _replace_anchor(state, fix, place)  # neither end in a zone: no segment, nothing to keep
        return Outcome.JUMP
    _open_branch(this, trust is Trust.SUSPECT)
    return Outcome.SUSPECT


def make_step(
    index: ZoneIndex, config: DetectionConfig, state: UnitState, fix: Fix, place: Place, out: list[Detected]
) -> Step:
    """A fix as a step from the anchor of the unit, ready to be settled."""
    anchor = state.fix
    accuracy_m = effective_accuracy_m(fix, config)
    if state.blind or not state.known:
        return Step(index, config, state, fix, place, accuracy_m, out, None)
    before = state.placed(index)
    dt_s = fix.time_s - anchor.time_s
    if before.part != place.part or place.part < 0:
        length_m = _over_long_m(index, anchor, fix)
        return Step(index, config, state, fix, place, accuracy_m, out, None, length_m, dt_s)
    length_m = math.hypot(place.x - before.x, place.y - before.y)
    # A true stop ends at its last fix; a stuck receiver had been moving since the first of the run.
    stop = length_m <= config.speed_gate_mps * dt_s
    leg = Leg(
        anchor.time_s if stop else state.since_s,
        before.x,
        before.y,
        anchor.latitude,
        anchor.longitude,
        fix.time_s,
        place.x,
        place.y,
        fix.latitude,
        fix.longitude,
    )
    this = Step(index, config, state, fix, place, accuracy_m, out, leg, length_m, dt_s)
    this.anchor_accuracy_m = effective_accuracy_m(anchor, config)
    return this


def _trust(this: Step) -> Trust:
    """How far to believe the step.

    One that is plausible only from the first fix of a frozen run may be a receiver that was stuck, or an
    outlier after a stop: it needs company.
    """
    since_last = _grade_since(this, this.state.fix.time_s)
    if since_last is Trust.TRUSTED or this.state.since_s == this.state.fix.time_s:
        return since_last
    since_first = _grade_since(this, this.state.since_s)
    return Trust.UNCORROBORATED if since_first is Trust.TRUSTED else since_first


def _grade_since(this: Step, since_s: float) -> Trust:
    state, config = this.state, this.config
    dt_s = this.fix.time_s - since_s
    accuracy_m = this.anchor_accuracy_m if this.leg is not None else effective_accuracy_m(state.fix, config)
    speed_mps = step_speed_mps(this.length_m, accuracy_m, this.accuracy_m, dt_s)
    previous_mps = state.step_m / state.step_dt_s if state.step_dt_s > 0.0 else None
    return grade_step(speed_mps, dt_s, faster_reported_mps(state.fix, this.fix), previous_mps, config)


# --- the branch -----------------------------------------------------------------------------------


def _open_branch(this: Step, leap: bool) -> None:
    """The fix does not fit: keep it beside the anchor, settle nothing."""
    state, config, fix = this.state, this.config, this.fix
    hints: dict[str, Crossing] = {}
    in_zone = False
    for zone, inside, _ in this.contacts():
        in_zone = in_zone or inside
        zone_state = state.zones.get(zone.id)
        was_in = zone_state is not None and (zone_state.phase is Phase.IN or zone_state.run > 0)
        if this.leg is not None and inside is not was_in:
            found = spans(this.index, zone, this.leg, inside)
            hints[zone.id] = entry_on(found, this.leg) if inside else exit_on(found, this.leg)
        if leap and inside and zone.zone.kind is ZoneKind.ACTIVATION:
            reason = "a position no vehicle could have reached"
            this.out.append(Notice(NoticeName.SUSPECT_INSIDE, fix.unit, fix.time_s, zone.id, reason))
    needed = config.suspect_fixes if leap else config.uncorroborated_fixes
    branch = Branch(fix, needed, leap, this.length_m, 1, [fix] if in_zone else [], hints)
    state.branch, state.calm = branch, None
    if not state.inside and not state.blind:
        state.drop_position()
    state.refresh()
    if branch.count >= needed:
        _adopt(this.index, config, state, this.out)


def _with_branch(
    index: ZoneIndex, config: DetectionConfig, state: UnitState, fix: Fix, place: Place, out: list[Detected]
) -> Outcome:
    branch = state.branch
    assert branch is not None
    in_zone = bool(index.containing(fix.latitude, fix.longitude))
    if state.blind and not in_zone:
        _notice_jump(state, fix, out)
        state.branch = None
        settle(make_step(index, config, state, fix, place, out))
        return Outcome.JUMP
    if _same_position(branch.last, fix):
        return Outcome.SUSPECT  # a repeated position is no second witness
    verdict = _judge(index, config, state, branch, fix, place)
    if verdict is BranchVerdict.GROWS:
        branch.count += 1
        branch.last = fix
        if in_zone:
            branch.fixes.append(fix)
        if branch.count < branch.needed:
            return Outcome.SUSPECT
        _adopt(index, config, state, out)
        return Outcome.ADOPTED
    _notice_jump(state, fix, out)
    state.branch = None
    if verdict is BranchVerdict.RESTARTS:
        this = make_step(index, config, state, fix, place, out)
        _open_branch(this, leap=True)
        return Outcome.SUSPECT
    if _same_position(state.fix, fix):
        return _stand_still(index, config, state, fix, out)
    return _against_anchor(index, config, state, fix, place, out)


def _judge(
    index: ZoneIndex, config: DetectionConfig, state: UnitState, branch: Branch, fix: Fix, place: Place
) -> BranchVerdict:
    last = branch.last
    accuracy_m = effective_accuracy_m(fix, config)
    last_accuracy_m = effective_accuracy_m(last, config)
    onward_m = _distance_m(index, last, fix, place)
    onward_mps = step_speed_mps(onward_m, last_accuracy_m, accuracy_m, fix.time_s - last.time_s)
    anchor_m, anchor_ok, anchor_accuracy_m = math.inf, None, 0.0
    if not state.blind:
        anchor_accuracy_m = effective_accuracy_m(state.fix, config)
        anchor_m = _distance_m(index, state.fix, fix, place)
        anchor_mps = step_speed_mps(anchor_m, anchor_accuracy_m, accuracy_m, fix.time_s - state.since_s)
        anchor_ok = anchor_mps <= config.speed_gate_mps
    return judge_branch(
        branch_to_fix_ok=onward_mps <= config.speed_gate_mps,
        anchor_to_fix_ok=anchor_ok,
        anchor_to_branch_m=branch.anchor_to_last_m,
        branch_to_fix_m=onward_m,
        anchor_to_fix_m=anchor_m,
        accuracies_m=accuracy_m + last_accuracy_m + anchor_accuracy_m,
    )


def _distance_m(index: ZoneIndex, before: Fix, fix: Fix, place: Place) -> float:
    other = index.place(before.latitude, before.longitude)
    if other.part != place.part or place.part < 0:
        return _over_long_m(index, before, fix)
    return math.hypot(place.x - other.x, place.y - other.y)


def _notice_jump(state: UnitState, fix: Fix, out: list[Detected]) -> None:
    reason = "a position that the fixes after it do not bear out"
    out.append(Notice(NoticeName.JUMP, fix.unit, fix.time_s, None, reason))


def _adopt(index: ZoneIndex, config: DetectionConfig, state: UnitState, out: list[Detected]) -> None:
    """Enough fixes agree: replay them in order as trusted."""
    branch = state.branch
    assert branch is not None
    state.branch = None
    replay = list(branch.fixes)
    if branch.last not in replay:
        replay.append(branch.last)
    for number, fix in enumerate(replay):
        place = index.place(fix.latitude, fix.longitude)
        this = make_step(index, config, state, fix, place, out)
        if number == 0:
            this.hints = branch.hints
            this.found = branch.leap
            this.passes = not branch.leap
        settle(this)
