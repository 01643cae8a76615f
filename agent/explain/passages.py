"""Why a unit's pass activated, or the first reason against it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from agent.activation.events import Bypassed, TouchSeen, TurnedBack
from agent.activation.passage import PassageStage, zone_direction
from agent.domain.times import rfc3339
from agent.explain.case import Case
from agent.explain.events import event_story
from agent.explain.fixes import Kept, Rules, decide_again, fix_story, fix_words
from agent.explain.passes import Against, Pass, Seen
from agent.explain.story import PassageStory
from agent.explain.words import HELD, IGNORED, NOTICE, REFUSED, clock, counted, number
from agent.journal.entry import EntryBody
from agent.journal.telemetry import Observed
from zones.border_zone import ZoneKind
from zones.detector import Verdict
from zones.events import DetectionEvent, EventName, Kind, NoticeName

AROUND_S = 60.0
"""Fixes so long before and after a pass are told with it: what was refused first belongs to it."""
APART_S = 1_800.0
"""Fixes without any event are one group until a silence of this length."""
SAME_S = 0.002


@dataclass(frozen=True)
class Aftermath:
    """What one entry into an activation zone led to, from the entries of the same decision."""

    activations: tuple[str, ...] = ()
    witness: bool = False
    """The journey was activated before: this is a second witness, or a return."""
    empty: bool = False
    refused: str | None = None
    reason: str | None = None
    """Reason code of an instruction issued at once."""
    jrn: str | None = None
    """Journey that the entry counted for."""


def aftermath(entries: Sequence[EntryBody], detected: EntryBody) -> Aftermath:
    """Read on from a detection to the next one, within the same commit."""
    kinds = ("DETECTED", "NOTICED")
    later = (entry for entry in entries if entry.seq > detected.seq)
    same = list(itertools.takewhile(lambda entry: entry.at == detected.at and entry.kind not in kinds, later))
    facts = {entry.kind: entry.facts for entry in reversed(same)}
    moved = facts.get("JOURNEY_MOVED", {})
    activations = tuple(entry.activation_id for entry in same if entry.kind == "ACTIVATED" and entry.activation_id)
    return Aftermath(
        activations=activations,
        witness="SECOND_WITNESS" in facts or "REPEATED_ENTRY" in facts,
        empty=not activations and moved.get("trigger") in ("ENTERED", "ENTERED_MISSED"),
        refused=facts.get("REFUSED", {}).get("code"),
        reason=facts.get("INSTRUCTION_ISSUED", {}).get("reasonCode"),
        jrn=next((entry.facts["jrn"] for entry in same if entry.facts.get("jrn")), None),
    )


# --- a pass with events -----------------------------------------------------------------------------


def passage_story(one: Pass, case: Case, kept: Sequence[Kept], rules: Rules) -> PassageStory:
    """One pass of a case.

    Args:
        one: The pass.
        case: Its journeys decide whether an activation is theirs.
        kept: Every kept fix of its unit.
        rules: By what was decided.
    """
    zone_ids = _zones_of(one, rules)
    near = [fix for fix in kept if _belongs(fix, one, zone_ids)]
    came = _aftermath_of(one, case.entries)
    other = came is not None and came.jrn is not None and came.jrn not in case.jrns
    activations = () if came is None or other else came.activations
    rows = list(_rows_within(case.telemetry.get(one.unit, ()), one))
    return PassageStory(
        unit=one.unit,
        crossing=one.crossing,
        direction=one.direction,
        begins=rfc3339(one.begins_s),
        activated=bool(activations),
        activations=activations,
        verdict=_verdict(one, came, other, near, rules),
        events=tuple(event_story(seen, kept, rules) for seen in one.seen),
        fixes=tuple(fix_story(fix, zone_ids, rules) for fix in near),
        not_kept=sum(row.outside for row in rows),
        repeated=sum(row.repeated for row in rows),
        decided_again=_alike(one, near, rules),
    )


def _zones_of(one: Pass, rules: Rules) -> list[str]:
    order = list(ZoneKind)
    zones = [
        zone
        for zone in rules.index.zone_set.zones
        if zone.crossing_key == one.crossing and zone_direction(zone) == one.direction
    ]
    return [zone.id for zone in sorted(zones, key=lambda zone: order.index(zone.kind))]


def _belongs(fix: Kept, one: Pass, zone_ids: Iterable[str]) -> bool:
    return _is_within(fix.seen.time_s, one) and any(zone_id in fix.states for zone_id in zone_ids)


def _is_within(time_s: float, one: Pass) -> bool:
    return one.begins_s - AROUND_S <= time_s <= one.ends_s + AROUND_S


def _rows_within(telemetry: Iterable[Observed], one: Pass) -> Iterator[Observed]:
    """Rows of a pass; one that has only counts belongs to the fixes before it."""
    within = False
    for row in telemetry:
        if row.fixes:
            within = any(_is_within(seen.time_s, one) for seen in row.fixes)
        if within:
            yield row


def _aftermath_of(one: Pass, entries: Sequence[EntryBody]) -> Aftermath | None:
    proof = one.entry
    return None if proof is None else aftermath(entries, proof[0].entry)


def _verdict(one: Pass, came: Aftermath | None, other: bool, near: Sequence[Kept], rules: Rules) -> str:
    if came is None:
        return f"not activated: {_why_not_entered(one, near, rules)}"
    proof = one.entry
    assert proof is not None
    at = clock(proof[1].entered_s)
    missed = ", found only in the confirmation zone" if proof[1].missed else ""
    if other:
        return f"at the crossing at {at}{missed}, for another journey ({came.jrn})"
    if came.activations:
        return f"activated at {at}{missed}: {counted(len(came.activations), 'declaration')}"
    if came.witness:
        return f"at the crossing at {at}; its journey was activated before, so this changed nothing"
    if came.empty:
        return f"at the crossing at {at}{missed}; an empty run has nothing to activate, the light check was asked for"
    reason = HELD.get(came.reason or "") or REFUSED.get(came.refused or "")
    if reason is None:
        reason = "for no reason that the journal names"
    return f"not activated, although at the crossing at {at}: {reason}"


def _why_not_entered(one: Pass, near: Sequence[Kept], rules: Rules) -> str:
    """The first reason why no entry into the activation zone was proven."""
    unused = _unused_at_the_line(near, _activation_zones(one, rules))
    if unused is not None:
        return unused
    if one.tells(TouchSeen):
        return "its fixes touched the activation zone only within their accuracy"
    ignored = [seen for seen in one.seen if _is_activation_entry(seen) and seen.ignored]
    if ignored:
        return IGNORED.get(ignored[0].ignored or "", str(ignored[0].ignored))
    notices = {seen.what.notice for seen in one.seen if not isinstance(seen.what, DetectionEvent)}
    for name in (NoticeName.SUSPECT_INSIDE, NoticeName.ADOPTED_INSIDE, NoticeName.POSSIBLE_PASSAGE):
        if name in notices:
            return NOTICE[name]
    if one.tells(Bypassed):
        return "passed on another road: left the tracking zone without the activation zone"
    if one.tells(TurnedBack):
        return "turned back before the activation zone"
    if one.is_lost:
        return "fell silent in the tracking zone, before the activation zone"
    if one.stage is PassageStage.TRACKING:
        return "is in the tracking zone and has not come to the activation zone"
    return "no fix proves that it was in the activation zone"


def _is_activation_entry(seen: Seen) -> bool:
    is_entry = isinstance(seen.what, DetectionEvent) and seen.what.event is EventName.ENTERED
    return is_entry and seen.zone is not None and seen.zone.kind is ZoneKind.ACTIVATION


def _activation_zones(one: Pass, rules: Rules) -> list[str]:
    zones = rules.index.zone_set.by_id
    return [zone_id for zone_id in _zones_of(one, rules) if zones[zone_id].kind is ZoneKind.ACTIVATION]


def _unused_at_the_line(near: Sequence[Kept], activation_zones: Iterable[str]) -> str | None:
    """Words for fixes in the activation zone of which none was used, if that is what happened."""
    at_it = [fix for fix in near if any(fix.inside(zone_id) for zone_id in activation_zones)]
    if not at_it or any(fix.used for fix in at_it):
        return None
    first = at_it[0].seen
    each = counted(len(at_it), "fix") if len(at_it) == 1 else f"{len(at_it)} fixes"
    return f"none of {each} in the activation zone counted; the first{number(first.seq)}: {fix_words(first)}"


def _alike(one: Pass, near: Sequence[Kept], rules: Rules) -> bool | None:
    """Whether the kept fixes prove the same entry when decided again."""
    proof = one.entry
    if proof is None or not isinstance(proof[0].what, DetectionEvent):
        return None
    what = proof[0].what
    if not near or what.zone_set_version != rules.index.version or what.kind is not Kind.FIX:
        return None
    again = [event for event in decide_again(near, rules) if event.zone_id == what.zone_id]
    return any(abs(event.time - what.time) <= SAME_S and event.kind is what.kind for event in again)


# --- fixes without events ---------------------------------------------------------------------------


def silent_stories(
    unit: str, kept: Sequence[Kept], passes: Sequence[Pass], against: Sequence[Against], rules: Rules
) -> list[PassageStory]:
    """Fixes of a unit at a crossing where they made no event at all: refused, unusable, not believed."""
    loose = [fix for fix in kept if not _is_told(fix, passes, against)]
    groups: list[list[Kept]] = []
    for fix in loose:
        last = groups[-1][-1] if groups else None
        near = last is not None and fix.seen.time_s - last.seen.time_s < APART_S
        if near and last is not None and _crossing(fix, rules) == _crossing(last, rules):
            groups[-1].append(fix)
        else:
            groups.append([fix])
    return [_silent_story(unit, group, rules) for group in groups]


def _is_told(fix: Kept, passes: Sequence[Pass], against: Sequence[Against]) -> bool:
    time_s = fix.seen.time_s
    told = any(one.unit == fix.unit and _is_within(time_s, one) for one in passes)
    return told or any(one.unit == fix.unit and abs(time_s - one.time_s) < APART_S for one in against)


def _crossing(fix: Kept, rules: Rules) -> str:
    """The crossing of the innermost zone a fix lies in."""
    order = list(ZoneKind)
    zones = [rules.index.zone_set.by_id.get(zone_id) for zone_id in fix.states if fix.inside(zone_id)]
    known = sorted((zone for zone in zones if zone is not None), key=lambda zone: -order.index(zone.kind))
    return known[0].crossing_key if known else "?"


def _silent_story(unit: str, group: Sequence[Kept], rules: Rules) -> PassageStory:
    zone_ids = sorted({zone_id for fix in group for zone_id in fix.states})
    first = next((fix for fix in group if not fix.used), group[0])
    refused = sum(fix.seen.verdict == Verdict.REFUSED.value for fix in group)
    words = f"{len(group)} of its fixes lie in zones here and none counted"
    if refused and refused < len(group):
        words += f", {refused} were refused"
    if first.used:
        words = "its fixes here led to no event"
    return PassageStory(
        unit=unit,
        crossing=_crossing(first, rules),
        direction=None,
        begins=rfc3339(group[0].seen.time_s),
        activated=False,
        activations=(),
        verdict=f"not activated: {words}; the first{number(first.seen.seq)}: {fix_words(first.seen)}",
        events=(),
        fixes=tuple(fix_story(fix, zone_ids, rules) for fix in group),
        not_kept=0,
        repeated=0,
        decided_again=None,
    )
