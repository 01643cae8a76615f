"""Reorder window, gap snapshots, late evidence (design/detection.md section 6 step 3, section 7)."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable

from zones.events import Detected, DetectionEvent, EventName, Kind, Notice, NoticeName
from zones.fix import Fix
from zones.grid import NOWHERE
from zones.index import ZoneIndex
from zones.plausibility import DetectionConfig, effective_accuracy_m
from zones.settle import Step, settle
from zones.step import make_step, step
from zones.unit_state import MAX_GAPS, MAX_HELD, Gap, Passage, Phase, UnitState

MAX_LATE = 1_024
"""Late fixes kept for one gap."""


def is_hole(state: UnitState, fix: Fix) -> bool:
    """Whether `seq` says that fixes are missing between the anchor and this one."""
    before = state.fix
    if fix.seq is None or before.seq is None or fix.boot_id != before.boot_id:
        return False
    return fix.seq > before.seq + 1


# --- reorder window -------------------------------------------------------------------------------


def hold(state: UnitState, fix: Fix, config: DetectionConfig) -> bool:
    """Keep a fix back until the hole before it fills; False if the same time is held already."""
    at = bisect.bisect_left(state.held, fix.time_s, key=lambda held: held.time_s)
    if at < len(state.held) and state.held[at].time_s == fix.time_s:
        return False
    if not state.held:
        state.held_due_s = fix.received_s + config.reorder_window_s
    state.held = (*state.held[:at], fix, *state.held[at:])
    return True


def next_released(state: UnitState, now_s: float) -> Fix | None:
    """The first held fix if it may go: the hole is filled, the window is over, or too many are held."""
    if not state.held:
        return None
    first = state.held[0]
    over = now_s >= state.held_due_s or len(state.held) > MAX_HELD
    if not (over or first.time_s <= state.newest_s or not is_hole(state, first)):
        return None
    state.held = state.held[1:]
    if not state.held:
        state.held_due_s = math.inf
    return first


# --- gaps -----------------------------------------------------------------------------------------


def open_gap(state: UnitState, fix: Fix, config: DetectionConfig) -> Gap | None:
    """Snapshot before a fix that ends a silence, None if there was none worth keeping."""
    if not state.known or state.branch is not None:
        return None
    before = state.fix
    silent = state.inside and fix.time_s - before.time_s > config.late_gap_s
    if not (silent or is_hole(state, fix)):
        return None
    kept = before if state.inside and not state.blind else None
    copies = {zone_id: zone.copy() for zone_id, zone in state.zones.items()}
    same_boot = fix.boot_id == before.boot_id
    return Gap(
        before.time_s,
        fix.time_s,
        before.boot_id,
        before.seq if same_boot else None,
        fix.seq if same_boot else None,
        kept,
        None,
        copies,
    )


def reach_of(index: ZoneIndex, state: UnitState) -> float:
    """Every zone is at least this far from the anchor, metres; 0 if its position was dropped."""
    return 0.0 if state.blind else state.placed(index).lower_bound_m


def keep_gap(
    index: ZoneIndex, state: UnitState, gap: Gap, fix: Fix, reach_before_m: float, config: DetectionConfig
) -> None:
    """Keep a snapshot if a zone could have been met in the gap."""
    reach_m = reach_before_m + reach_of(index, state)
    if not (gap.zones or state.inside or reach_m <= config.speed_gate_mps * (gap.end_s - gap.start_s)):
        return
    if state.inside and state.fix is fix:
        gap.after = fix
    state.gaps = (*state.gaps[1 - MAX_GAPS :], gap)


def collect(index: ZoneIndex, state: UnitState, fix: Fix, config: DetectionConfig) -> Gap | None:
    """Put a late fix with the rest of its gap; None if it lies in none, or came twice."""
    if fix.received_s - fix.time_s > config.late_horizon_s:
        return None
    for gap in state.gaps:
        if not gap.start_s < fix.time_s < gap.end_s or len(gap.seen) >= MAX_LATE:
            continue
        if (fix.seq, fix.time_s) in gap.seen:
            return None
        gap.seen.append((fix.seq, fix.time_s))
        if index.containing(fix.latitude, fix.longitude):  # outside the zones nothing is kept (privacy)
            bisect.insort(gap.late, fix, key=lambda late: late.time_s)
        gap.due_s = fix.received_s + config.late_settle_s
        return gap
    return None


def is_full(gap: Gap) -> bool:
    """Whether every fix that `seq` missed has come."""
    missing = gap.missing()
    return missing is not None and len(gap.seen) >= missing


def drop_old_gaps(state: UnitState, now_s: float, config: DetectionConfig) -> None:
    """Forget gaps whose fixes would be too late by now."""
    state.gaps = tuple(gap for gap in state.gaps if now_s - gap.start_s <= config.late_horizon_s)


def replay_gap(index: ZoneIndex, config: DetectionConfig, state: UnitState, gap: Gap) -> list[Detected]:
    """Judge the late fixes of a gap on a copy of the state before it; what is new, as events and notices.

    Late evidence may add a passage, or confirm one that had only touched; it never retracts anything.
    """
    state.gaps = tuple(other for other in state.gaps if other is not gap)
    if not gap.late:
        return []
    found: list[Detected] = []
    twin = _state_before(gap)
    for fix in gap.late:
        if fix.time_s >= twin.newest_s:
            step(index, config, twin, fix, found)
    _close(index, config, twin, gap, found)
    events = [item for item in found if isinstance(item, DetectionEvent)]
    return list(_new_passages(state, events, config))


def _state_before(gap: Gap) -> UnitState:
    first = gap.late[0]
    twin = UnitState(gap.before if gap.before is not None else first)
    twin.known = gap.before is not None
    if gap.before is not None:
        twin.inside = True
        twin.zones = {zone_id: zone.copy() for zone_id, zone in gap.zones.items()}
    twin.refresh()
    return twin


def _close(index: ZoneIndex, config: DetectionConfig, twin: UnitState, gap: Gap, out: list[Detected]) -> None:
    """Bring the copy to the fix that ended the gap: in a zone as it was, else outside all of them."""
    twin.branch = None
    if gap.after is not None:  # trusted when it came: no grading again
        place = index.place(gap.after.latitude, gap.after.longitude)
        settle(make_step(index, config, twin, gap.after, place, out))
        return
    last = twin.fix
    outside = Fix(last.unit, gap.end_s, math.nan, math.nan, last.received_s)
    settle(Step(index, config, twin, outside, NOWHERE, effective_accuracy_m(outside, config), out, None))


def _new_passages(state: UnitState, events: list[DetectionEvent], config: DetectionConfig) -> Iterable[Detected]:
    for entered in events:
        if entered.event is not EventName.ENTERED:
            continue
        exited = next((e for e in events if _ends(e, entered)), None)
        if exited is None or _still_in(state, entered, exited, config):
            yield from _stay_confirmed(state, entered)
            continue  # a stay that goes on is known from the fixes after the gap
        known = _known(state, entered, exited, config)
        if known is None:
            kept = Passage(entered.zone_id, entered.time, exited.time, entered.kind)
            state.note_passage(kept)
            yield entered
            yield exited
            reason = f"{entered.kind.value} from fixes that came late"
            yield _notice(NoticeName.LATE_EVIDENCE, entered, reason)
        elif known.kind is Kind.TOUCH and entered.kind is not Kind.TOUCH:
            state.passages = tuple(other for other in state.passages if other is not known)
            state.note_passage(Passage(known.zone_id, known.entered_s, known.exited_s, entered.kind))
            yield _notice(NoticeName.PASS_CONFIRMED, entered, f"{entered.kind.value} instead of TOUCH")


def _stay_confirmed(state: UnitState, entered: DetectionEvent) -> Iterable[Detected]:
    """A stay that goes on, but had only touched the zone for all that was known: late fixes prove it."""
    zone = state.zones.get(entered.zone_id)
    if zone is None or zone.phase is not Phase.CANDIDATE:
        return
    zone.phase = Phase.LEAVING if zone.is_out else Phase.IN
    zone.kind, zone.direction, zone.evidence = entered.kind, entered.direction, []
    state.calm = None
    yield entered
    yield _notice(NoticeName.LATE_EVIDENCE, entered, f"{entered.kind.value} from fixes that came late")


def _notice(name: NoticeName, event: DetectionEvent, reason: str) -> Notice:
    return Notice(name, event.unit, event.time, event.zone_id, reason, event.direction)


def _ends(event: DetectionEvent, entered: DetectionEvent) -> bool:
    return event.event is EventName.EXITED and event.zone_id == entered.zone_id and event.time >= entered.time


def _still_in(state: UnitState, entered: DetectionEvent, exited: DetectionEvent, config: DetectionConfig) -> bool:
    """The unit is in the zone by newer fixes, and was before the late ones ended: one stay."""
    zone = state.zones.get(entered.zone_id)
    return zone is not None and exited.time >= zone.entry.time_s - config.merge_gap_s


def _known(
    state: UnitState, entered: DetectionEvent, exited: DetectionEvent, config: DetectionConfig
) -> Passage | None:
    gap_s = config.merge_gap_s
    for passage in state.passages:
        same = passage.zone_id == entered.zone_id
        if same and entered.time <= passage.exited_s + gap_s and exited.time >= passage.entered_s - gap_s:
            return passage
    return None
