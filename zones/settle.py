"""What a trusted fix changes: zone states, passages, events (design/detection.md section 6, from step 7)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from zones.border_zone import ZoneKind
from zones.events import Detected, DetectionEvent, Direction, EventName, Evidence, Kind, Notice, NoticeName
from zones.fix import Fix
from zones.grid import NEAR_M, CompiledZone, Nearby, Place
from zones.index import ZoneIndex, meets
from zones.membership import EDGE_M, Edge, Membership, classify, clearance_m, moves_away
from zones.plausibility import DetectionConfig, usable
from zones.segment import (
    Crossing,
    Leg,
    Span,
    direction_of,
    entry_on,
    exit_on,
    inward_normal,
    proper_chord,
    spans,
)
from zones.unit_state import Calm, Passage, Phase, UnitState, ZoneState

HEADING_MIN_MPS = 3.0
"""Slower than this a reported heading is noise."""


Contact = tuple[CompiledZone, bool, Nearby | None]
"""A zone, whether the fix is inside, and its edges nearby if there are any."""
NO_HINTS: dict[str, Crossing] = {}
"""Never written to."""


@dataclass(slots=True, eq=False)
class Step:
    """One trusted fix, about to be settled against the state of its unit."""

    index: ZoneIndex
    config: DetectionConfig
    state: UnitState
    fix: Fix
    place: Place
    accuracy_m: float
    out: list[Detected]
    leg: Leg | None
    """From the anchor; None if the anchor has no position, or one in another frame."""
    length_m: float = 0.0
    dt_s: float = 0.0
    """Time since the anchor."""
    found: bool = False
    """Zones entered now were found inside: first fix of the unit, or after a leap."""
    passes: bool = True
    """Whether passages between the anchor and this fix are believed."""
    hints: dict[str, Crossing] = field(default_factory=lambda: NO_HINTS)
    """Crossings worked out while the anchor still had its position."""
    in_zone: bool = False
    """The fix lies in a zone; known once settled."""

    anchor_accuracy_m: float = 0.0
    """Of the anchor, where there is a leg."""

    _contacts: list[Contact] | None = None

    def contacts(self) -> list[Contact]:
        """Zones the fix is in or near, or whose state is open before it is settled."""
        if self._contacts is None:
            self._contacts = self._found()
        return self._contacts

    def _found(self) -> list[Contact]:
        _, x, y, _, full, partial = self.place
        zones, open_zones = self.index.zones, self.state.zones
        found: list[Contact] = [(zones[zone_id], True, None) for zone_id in full] if full else []
        found += [(nearby.zone, nearby.contains(x, y), nearby) for nearby in partial]
        if open_zones:
            met = [contact[0].id for contact in found]
            found += [(zones[zone_id], False, None) for zone_id in open_zones if zone_id not in met]
        return found

    def here(self) -> Crossing:
        """The fix itself as a point of the path."""
        return Crossing(self.fix.time_s, self.fix.latitude, self.fix.longitude, self.place.x, self.place.y)


def would_change(step: Step) -> bool:
    """Whether settling the fix would change the state of any zone, or find a passage."""
    for zone, inside, _ in step.contacts():
        state = step.state.zones.get(zone.id)
        was_in = state is not None and (state.phase is Phase.IN or state.run > 0)
        if inside is not was_in:
            return True
    return any(True for _ in _passed_zones(step))


def settle(step: Step) -> None:
    """Move every zone state, append events and notices to `step.out`, make the fix the anchor."""
    state = step.state
    first_new = len(step.out)
    found = step.contacts()
    passed = list(_passed_zones(step)) if step.passes else ()
    for zone, inside, nearby in found:
        zone_state = state.zones.get(zone.id)
        if inside:
            step.in_zone = True
            _inside(step, zone, zone_state, nearby)
        elif zone_state is not None:
            _outside(step, zone, zone_state, nearby)
    for zone, parts in passed:
        _passed(step, zone, parts)
    if len(step.out) > first_new + 1:
        _in_order(step, first_new)
    _anchor(step)


def _in_order(step: Step, first: int) -> None:
    """By time, ENTERED first, then TRACKING, ACTIVATION, CONFIRMATION; notices after."""

    def rank(item: Detected) -> tuple[int, float, bool, int, str]:
        if isinstance(item, Notice):
            return 1, item.time, False, 0, ""
        order = step.index.zones[item.zone_id].order
        return 0, item.time, item.event is EventName.EXITED, order, item.zone_id

    step.out[first:] = sorted(step.out[first:], key=rank)


def _anchor(step: Step) -> None:
    state, fix, place = step.state, step.fix, step.place
    state.step_m, state.step_dt_s = step.length_m, fix.time_s - state.since_s
    if step.leg is None:
        state.step_dt_s = 0.0
    state.fix, state.since_s, state.blind, state.known = fix, fix.time_s, False, True
    state.place = place
    state.inside = step.in_zone
    state.frozen, state.dwell_stopped = 0, False
    if step.in_zone:
        state.extend_trail(fix.latitude, fix.longitude)
    state.refresh()
    state.calm = None
    if state.settled:
        state.calm = Calm.INSIDE if state.zones else Calm.FAR


# --- one zone -------------------------------------------------------------------------------------


def _inside(step: Step, zone: CompiledZone, zone_state: ZoneState | None, nearby: Nearby | None) -> None:
    state = step.state
    if zone_state is not None and zone_state.phase is not Phase.CANDIDATE:
        zone_state.phase, zone_state.leave, zone_state.steps_away = Phase.IN, None, 0
        return
    clearance = NEAR_M if nearby is None else nearby.clearance_m(step.place.x, step.place.y)
    sure = _membership(step, True, clearance) is Membership.INSIDE
    if zone_state is None:
        zone_state = state.zones[zone.id] = _candidate(step, zone, clearance)
    elif zone_state.run == 0:
        _restart_run(step, zone, zone_state, clearance)
    else:
        zone_state.run += 1
    zone_state.note(step.fix, step.accuracy_m)
    dwelt = step.fix.time_s - zone_state.run_since_s >= step.config.dwell_s and zone_state.run > 1
    if sure or dwelt or zone_state.run >= step.config.confirm_fixes:
        confirm(step.index, state, zone, zone_state, step.fix, step.out)


def _membership(step: Step, inside: bool, clearance: float) -> Membership:
    config = step.config
    return classify(
        inside,
        clearance,
        step.accuracy_m,
        inside_factor=config.inside_factor,
        exit_margin_m=config.exit_margin_m,
    )


def _candidate(step: Step, zone: CompiledZone, clearance: float) -> ZoneState:
    entry, found = _entry(step, zone, clearance)
    state = ZoneState(Phase.CANDIDATE, entry, entry, 1, step.fix.time_s)
    state.kind = Kind.FOUND_INSIDE if found else Kind.FIX
    state.direction = _entry_direction(step, zone, entry, found)
    _note_anchor(step, state)
    return state


def _restart_run(step: Step, zone: CompiledZone, state: ZoneState, clearance: float) -> None:
    entry, found = _entry(step, zone, clearance)
    state.entry, state.run, state.run_since_s, state.leave = entry, 1, step.fix.time_s, None
    state.kind, state.steps_away = Kind.FIX, 0
    state.direction = _entry_direction(step, zone, entry, found)
    state.evidence = []
    _note_anchor(step, state)


def _note_anchor(step: Step, state: ZoneState) -> None:
    if step.leg is not None:
        state.note(step.state.fix, step.anchor_accuracy_m)


def _entry(step: Step, zone: CompiledZone, clearance: float) -> tuple[Crossing, bool]:
    """Where the path came into the zone, and whether it was simply found there; `clearance` of the fix, metres."""
    hint = step.hints.get(zone.id)
    if step.found:
        return step.here(), True
    if hint is not None:
        return hint, False
    if step.leg is None:
        return step.here(), True
    found = spans(step.index, zone, step.leg, True, _edges_near(step, zone), clear_end=clearance > EDGE_M)
    return entry_on(found, step.leg), False


def confirm(
    index: ZoneIndex,
    state: UnitState,
    zone: CompiledZone,
    zone_state: ZoneState,
    fix: Fix,
    out: list[Detected],
) -> None:
    """CANDIDATE becomes IN: announce the entry."""
    zone_state.phase, zone_state.leave, zone_state.steps_away = Phase.IN, None, 0
    at, kind = zone_state.entry, zone_state.kind
    out.append(_event(index, zone, EventName.ENTERED, at, kind, zone_state.direction, fix, zone_state.evidence))
    zone_state.evidence = []


def _outside(step: Step, zone: CompiledZone, zone_state: ZoneState, nearby: Nearby | None) -> None:
    was_out = zone_state.is_out
    out = _is_out(step, zone_state, nearby, was_out)
    if not was_out:
        zone_state.leave = _exit(step, zone)
        zone_state.run = 0
        if zone_state.phase is Phase.IN:
            zone_state.phase = Phase.LEAVING
            zone_state.evidence = []
            _note_anchor(step, zone_state)
    zone_state.note(step.fix, step.accuracy_m)
    if not out:
        return
    del step.state.zones[zone.id]
    if zone_state.phase is Phase.CANDIDATE:
        _end_candidate(step, zone, zone_state)
    else:
        _end_stay(step, zone, zone_state)


def _is_out(step: Step, zone_state: ZoneState, nearby: Nearby | None, was_out: bool) -> bool:
    """OUTSIDE, or driving away: two fast steps in a row, the second from out to out.

    One fast step is not enough: the scatter of a parked vehicle makes one now and then.
    """
    if nearby is None:
        return True
    clearance = nearby.clearance_m(step.place.x, step.place.y)
    if _membership(step, False, clearance) is Membership.OUTSIDE:
        return True
    if step.leg is None:
        return False
    before = clearance_m(nearby.near, step.leg.x0, step.leg.y0, NEAR_M) * (1.0 if was_out else -1.0)
    least_mps = step.config.exit_moving_mps
    away = moves_away(before, clearance, step.length_m, step.dt_s, least_mps=least_mps)
    zone_state.steps_away = zone_state.steps_away + 1 if away else 0
    return was_out and zone_state.steps_away >= 2 and clearance >= step.config.exit_moving_m


def _exit(step: Step, zone: CompiledZone) -> Crossing:
    """Last crossing outwards. Without a leg: where the unit was last seen inside."""
    hint = step.hints.get(zone.id)
    if hint is not None:
        return hint
    if step.leg is not None:
        return exit_on(spans(step.index, zone, step.leg, False, _edges_near(step, zone)), step.leg)
    anchor, zone_state = step.state, step.state.zones[zone.id]
    if anchor.blind:
        return zone_state.entry
    last = anchor.placed(step.index)
    return Crossing(anchor.fix.time_s, anchor.fix.latitude, anchor.fix.longitude, last.x, last.y)


def _end_candidate(step: Step, zone: CompiledZone, zone_state: ZoneState) -> None:
    start, end = zone_state.first_entry, zone_state.leave or zone_state.first_entry
    kind = Kind.SEGMENT if proper_chord(zone, start, end, step.accuracy_m, step.config) else Kind.TOUCH
    direction = zone_state.direction
    if kind is Kind.SEGMENT:
        direction = direction_of(zone, end.x - start.x, end.y - start.y, step.config)
    _announce_pass(step, zone, start, end, kind, direction, zone_state.evidence)


def _end_stay(step: Step, zone: CompiledZone, zone_state: ZoneState) -> None:
    at = zone_state.leave or zone_state.entry
    direction = _exit_direction(step, zone, at)
    event = _event(step.index, zone, EventName.EXITED, at, Kind.FIX, direction, step.fix, zone_state.evidence)
    step.out.append(event)
    step.state.note_passage(Passage(zone.id, zone_state.entry.time_s, at.time_s, zone_state.kind))


def _announce_pass(
    step: Step,
    zone: CompiledZone,
    start: Crossing,
    end: Crossing,
    kind: Kind,
    direction: Direction,
    evidence: list[Evidence],
) -> None:
    for name, at in ((EventName.ENTERED, start), (EventName.EXITED, end)):
        step.out.append(_event(step.index, zone, name, at, kind, direction, step.fix, evidence))
    step.state.note_passage(Passage(zone.id, start.time_s, end.time_s, kind))


def _event(
    index: ZoneIndex,
    zone: CompiledZone,
    name: EventName,
    at: Crossing,
    kind: Kind,
    direction: Direction,
    fix: Fix,
    evidence: list[Evidence],
) -> DetectionEvent:
    return DetectionEvent(
        event=name,
        zone_id=zone.id,
        unit=fix.unit,
        time=at.time_s,
        detected_at=fix.time_s,
        kind=kind,
        direction=direction,
        latitude=at.latitude,
        longitude=at.longitude,
        zone_set_version=index.version,
        evidence=tuple(evidence),
    )


# --- passage between two fixes --------------------------------------------------------------------


def _passed_zones(step: Step) -> Iterator[tuple[CompiledZone, list[Span]]]:
    """Zones out at both ends that the leg runs through, with the parts inside."""
    leg, state = step.leg, step.state
    if leg is None or not state.known or not step.passes:
        return
    known = [*state.zones, *[zone.id for zone, is_inside, _ in step.contacts() if is_inside]]
    for zone in _on_the_way(step, leg, known):
        found = spans(step.index, zone, leg, False, _edges_near(step, zone))
        if found or _through_tunnel(step, zone):
            yield zone, found


def _on_the_way(step: Step, leg: Leg, known: list[str]) -> list[CompiledZone]:
    """Zones whose bounds meet the leg, but for the known ones."""
    if step.length_m > 2.0 * NEAR_M:
        about = step.index.zones_about(step.place.part, leg.x0, leg.y0, leg.x1, leg.y1)
        return [zone for zone in about if zone.id not in known]
    met: list[CompiledZone] = []
    for nearby in (*step.place.partial, *step.state.placed(step.index).partial):
        zone = nearby.zone
        if zone.id not in known and meets(zone.bounds, leg.x0, leg.y0, leg.x1, leg.y1):
            known.append(zone.id)
            met.append(zone)
    return met


def _edges_near(step: Step, zone: CompiledZone) -> tuple[Edge, ...] | None:
    """The edges of a zone that a leg of at most twice NEAR_M can meet: those near the cells of its ends."""
    if step.leg is None or step.length_m > 2.0 * NEAR_M:
        return None
    edges: tuple[Edge, ...] = ()
    for nearby in (*step.state.placed(step.index).partial, *step.place.partial):
        if nearby.zone is zone and nearby.near is not edges:
            edges = nearby.near if not edges else tuple(dict.fromkeys(edges + nearby.near))
    return edges


def _passed(step: Step, zone: CompiledZone, found: list[Span]) -> None:
    """Both ends out: a passage, a touch, or only a possible passage."""
    leg, config = step.leg, step.config
    assert leg is not None
    start = leg.at(found[0][0] if found else 0.5)
    end = leg.at(found[-1][1] if found else 0.5)
    direction = direction_of(zone, leg.x1 - leg.x0, leg.y1 - leg.y0, config)
    anchor, anchor_accuracy_m = step.state.fix, step.anchor_accuracy_m
    evidence = [
        Evidence(anchor.seq, anchor.time_s, anchor_accuracy_m),
        Evidence(step.fix.seq, step.fix.time_s, step.accuracy_m),
    ]
    near_enough = step.dt_s <= config.segment_max_gap_s and step.length_m <= config.segment_max_length_m
    if near_enough and usable(anchor, anchor_accuracy_m, config):
        proper = proper_chord(zone, start, end, min(anchor_accuracy_m, step.accuracy_m), config)
        kind = Kind.SEGMENT if proper else Kind.TOUCH
        _announce_pass(step, zone, start, end, kind, direction, evidence)
    elif _through_tunnel(step, zone):
        _announce_pass(step, zone, start, end, Kind.SEGMENT, direction, evidence)
    elif _beyond_m(zone, leg.x0, leg.y0) + _beyond_m(zone, leg.x1, leg.y1) <= config.speed_gate_mps * step.dt_s:
        name = NoticeName.POSSIBLE_PASSAGE
        reason = f"{step.dt_s:.0f} s and {step.length_m:.0f} m between two fixes, the zone lies between them"
        step.out.append(Notice(name, step.fix.unit, start.time_s, zone.id, reason, direction))


def _through_tunnel(step: Step, zone: CompiledZone) -> bool:
    """A long silence, both ends in the zone's tracking zone and on opposite sides of it along its bearing."""
    leg = step.leg
    if leg is None or zone.along is None or step.dt_s <= step.config.segment_max_gap_s:
        return False
    if zone.zone.kind is ZoneKind.TRACKING or not _share_tracking(step, zone):
        return False
    east, north = zone.along
    reach = [e[0] * east + e[1] * north for e in zone.edges]
    ends = sorted((leg.x0 * east + leg.y0 * north, leg.x1 * east + leg.y1 * north))
    return ends[0] <= min(reach) and ends[1] >= max(reach)


def _share_tracking(step: Step, zone: CompiledZone) -> bool:
    for other_id, state in step.state.zones.items():
        other = step.index.zones[other_id]
        same = (
            other.zone.kind is ZoneKind.TRACKING
            and other.zone.crossing_key == zone.zone.crossing_key
            and other.zone.direction is zone.zone.direction
        )
        if same and state.phase is Phase.IN and step.index.contains(other, step.place.x, step.place.y):
            return True
    return False


def _beyond_m(zone: CompiledZone, x: float, y: float) -> float:
    """Least way from a point to the zone's bounding box."""
    west, south, east, north = zone.bounds
    return math.hypot(max(west - x, 0.0, x - east), max(south - y, 0.0, y - north))


# --- direction ------------------------------------------------------------------------------------


def _entry_direction(step: Step, zone: CompiledZone, at: Crossing, found: bool) -> Direction:
    if not found:
        vector = _displacement(step, at)
        if vector is not None:
            return direction_of(zone, *vector, step.config)
    heading = _heading(step.fix)
    if heading is not None:
        return direction_of(zone, *heading, step.config)
    if found:
        return Direction.UNKNOWN
    normal = inward_normal(zone, zone.edges, step.index, at)
    return direction_of(zone, *normal, step.config)


def _exit_direction(step: Step, zone: CompiledZone, at: Crossing) -> Direction:
    vector = _displacement(step, at) or _heading(step.fix)
    if vector is None:
        east, north = inward_normal(zone, zone.edges, step.index, at)
        vector = -east, -north
    return direction_of(zone, *vector, step.config)


def _displacement(step: Step, at: Crossing) -> tuple[float, float] | None:
    """Way of at least `direction_min_m` that ends at the crossing, else the leg if that is long enough."""
    least_m, leg = step.config.direction_min_m, step.leg
    if leg is not None and math.hypot(at.x - leg.x0, at.y - leg.y0) >= least_m:
        return at.x - leg.x0, at.y - leg.y0
    for x, y in _trail_back(step):
        if math.hypot(at.x - x, at.y - y) >= least_m:
            return at.x - x, at.y - y
    if leg is not None and step.length_m >= least_m:
        return leg.x1 - leg.x0, leg.y1 - leg.y0
    return None


def _trail_back(step: Step) -> Iterator[tuple[float, float]]:
    """Where the unit was before, newest first, in the frame of the fix."""
    frame = step.index.parts[step.place.part].frame if step.place.part >= 0 else None
    for latitude, longitude in reversed(step.state.trail):
        if frame is not None:
            yield frame.to_metres(latitude, longitude)


def _heading(fix: Fix) -> tuple[float, float] | None:
    if fix.heading_deg is None or fix.speed_mps is None or fix.speed_mps < HEADING_MIN_MPS:
        return None
    angle = math.radians(fix.heading_deg)
    return math.sin(angle), math.cos(angle)
