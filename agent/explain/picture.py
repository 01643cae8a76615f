"""What a drawing of a case shows beside the zones: tracks, accuracy circles, where edges were crossed."""

from __future__ import annotations

from collections.abc import Sequence

from agent.domain.times import epoch_s, rfc3339
from agent.explain.case import Case
from agent.explain.fixes import Kept, kept_fixes
from agent.explain.story import EventStory, Explanation, PassageStory
from agent.explain.words import clock
from zones.border_zone import Ring, ZoneSet
from zones.build import CentreLine
from zones.drawing import Mark, Surroundings, draw_crossing
from zones.fix import Fix

MARKED = frozenset({("ACTIVATION", "ENTERED"), ("CONFIRMATION", "ENTERED"), ("CONFIRMATION", "EXITED")})


def picture(
    case: Case,
    explanation: Explanation,
    zones: ZoneSet,
    border: tuple[Ring, ...] = (),
    roads: dict[str, CentreLine] | None = None,
) -> str | None:
    """SVG of the crossing that the verdict is about; None if no pass with a known crossing is told."""
    story = _main(explanation, zones)
    if story is None:
        return None
    kept = {unit: kept_fixes(unit, rows) for unit, rows in case.telemetry.items()}
    told = {(fix.time, fix.seq) for one in explanation.passages if one.crossing == story.crossing for fix in one.fixes}
    tracks = tuple(track for fixes in kept.values() if (track := _track(fixes, told)))
    marks = tuple(
        mark
        for one in explanation.passages
        if one.crossing == story.crossing
        for event in one.events
        if (mark := _mark(event, kept.get(one.unit, []))) is not None
    )
    road = (roads or {}).get(story.crossing)
    around = Surroundings(border=border, roads=(road,) if road else (), tracks=tracks, marks=marks)
    return draw_crossing(zones, story.crossing, around)


def _main(explanation: Explanation, zones: ZoneSet) -> PassageStory | None:
    """The activated pass, else the one at which most fixes are kept."""
    known = [story for story in explanation.passages if story.crossing in zones.crossings]
    return max(known, key=lambda story: (story.activated, len(story.fixes), story.begins), default=None)


def _track(kept: Sequence[Kept], told: set[tuple[str, int | None]]) -> tuple[Fix, ...]:
    """The fixes that were used, with the radius that was decided with; all of them if none was."""
    near = [fix for fix in kept if (rfc3339(fix.seen.time_s), fix.seen.seq) in told]
    shown = [fix for fix in near if fix.used] or near
    return tuple(
        Fix(fix.unit, one.time_s, one.latitude, one.longitude, one.received_s, accuracy_m=one.decided_m)
        for fix in sorted(shown, key=lambda fix: fix.seen.time_s)
        if (one := fix.seen)
    )


def _mark(event: EventStory, kept: Sequence[Kept]) -> Mark | None:
    """Where an edge was crossed: between the two used fixes on either side of that moment."""
    if (event.zone, event.what) not in MARKED or event.ignored:
        return None
    at_s = epoch_s(event.time)
    used = [fix.seen for fix in kept if fix.used]
    before = max((fix for fix in used if fix.time_s <= at_s), key=lambda fix: fix.time_s, default=None)
    after = min((fix for fix in used if fix.time_s >= at_s), key=lambda fix: fix.time_s, default=None)
    if before is None or after is None:
        return None
    span_s = after.time_s - before.time_s
    share = (at_s - before.time_s) / span_s if span_s > 0.0 else 0.0
    position = (
        before.longitude + share * (after.longitude - before.longitude),
        before.latitude + share * (after.latitude - before.latitude),
    )
    verb = "in" if event.what == "ENTERED" else "out"
    return Mark(position, f"{(event.zone or '').lower()} {verb} {clock(at_s)}")
