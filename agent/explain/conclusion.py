"""One case explained: its passes, what became of it, and the verdict over all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent.domain.times import epoch_s, rfc3339
from agent.explain.case import JOURNEY, Case
from agent.explain.fixes import Kept, Rules, kept_fixes
from agent.explain.handling import handlings
from agent.explain.passages import passage_story, silent_stories
from agent.explain.passes import Against, Passes, passes_of
from agent.explain.story import Explanation, Handling, PassageStory, RefusalStory
from agent.explain.words import clock, day, times
from agent.journal.batch import StoredRefusal
from agent.journal.entry import EntryBody

MAX_PASSES = 20
"""Newest passes that are told."""
MAX_REFUSALS = 50
"""Newest kinds of refused input that are told."""


def explain(case: Case, rules: Rules) -> Explanation:
    """Say why the vehicle of a case was or was not activated.

    Args:
        case: What the data folder knows.
        rules: The zone file in force, and by which constants was decided.
    """
    kept = {unit: kept_fixes(unit, rows) for unit, rows in case.telemetry.items()}
    since_s = _since_s(case)
    found = passes_of(case.entries, rules.index.zone_set, rules.close)
    stories = _stories(case, found, kept, since_s, rules)
    handled = tuple(handlings(case))
    activated = any(story.activated for story in stories) or any(_is_activated(one) for one in handled)
    return Explanation(
        name=case.name,
        known_as=case.known_as,
        units=case.units,
        activated=activated,
        verdict=_verdict(case, stories, found.against, handled),
        passages=tuple(stories),
        handlings=handled,
        refusals=refusal_stories(case, since_s),
        notes=tuple(_notes(case, found, stories, rules)),
    )


def refusal_stories(case: Case, since_s: float = 0.0) -> tuple[RefusalStory, ...]:
    """What its units sent and was not taken, and why; the newest last."""
    rows = [(unit, row) for unit, found in case.refusals.items() for row in found if row.last_ms >= since_s * 1000]
    newest = sorted(rows, key=lambda pair: pair[1].last_ms)[-MAX_REFUSALS:]
    return tuple(_refusal_story(unit, row) for unit, row in newest)


def _refusal_story(unit: str, row: StoredRefusal) -> RefusalStory:
    first_s, last_s = row.first_ms / 1000, row.last_ms / 1000
    when = f"on {day(first_s)} at {clock(first_s)}"
    until = "" if row.count == 1 else f", last on {day(last_s)} at {clock(last_s)}"
    return RefusalStory(
        unit=unit,
        source=row.source,
        reason=row.reason.partition(":")[0],
        first=rfc3339(first_s),
        last=rfc3339(last_s),
        count=row.count,
        words=f"{times(row.count)} from {unit} by {row.source}, {when}{until}: {row.reason}",
    )


def _since_s(case: Case) -> float:
    """A journey begins with its first entry; what its unit did before is another story."""
    if case.known_as != JOURNEY:
        return 0.0
    return min((epoch_s(entry.at) for entry in case.entries if entry.facts.get("jrn") == case.name), default=0.0)


def _stories(
    case: Case, found: Passes, kept: dict[str, list[Kept]], since_s: float, rules: Rules
) -> list[PassageStory]:
    passes = [one for one in found.passes if one.ends_s >= since_s]
    stories = [passage_story(one, case, kept.get(one.unit, []), rules) for one in passes]
    for unit, fixes in kept.items():
        recent = [fix for fix in fixes if fix.seen.time_s >= since_s]
        stories += silent_stories(unit, recent, found.passes, found.against, rules)
    return sorted(stories, key=lambda story: story.begins)[-MAX_PASSES:]


def _is_activated(handled: Handling) -> bool:
    return any(one.activated_at is not None for one in handled.declarations)


def _verdict(
    case: Case, stories: Sequence[PassageStory], against: Sequence[Against], handled: Sequence[Handling]
) -> str:
    told = _told(handled)
    decisive = max(stories, key=_weight, default=None)
    if decisive is not None:
        begins_s = epoch_s(decisive.begins)
        way = f" ({decisive.direction})" if decisive.direction else ""
        return f"{decisive.crossing}{way}, {day(begins_s)}: {decisive.verdict}{told}"
    if against:
        one = against[-1]
        where = f"{one.crossing}, {day(one.time_s)} at {clock(one.time_s)}"
        return f"{where}: not activated: went {one.measured} through zones for {one.direction}{told}"
    if any(_is_activated(one) for one in handled):
        return f"activated by hand, no pass of a unit is known{told}"
    return f"not activated: {_why_nothing(case)}{told}"


def _weight(story: PassageStory) -> tuple[bool, bool, bool, str]:
    """Which pass decides: an activated one, else one with an entry, else the newest with events."""
    entered = any(one.zone == "ACTIVATION" and one.what == "ENTERED" and not one.ignored for one in story.events)
    return story.activated, entered, story.direction is not None, story.begins


def _told(handled: Sequence[Handling]) -> str:
    last = [(one.instructions[-1].issued_at, one.instructions[-1]) for one in handled if one.instructions]
    if not last:
        return ""
    newest = max(last, key=lambda pair: pair[0])[1]
    return f"; told {newest.action} ({newest.reason_code})"


def _why_nothing(case: Case) -> str:
    if not case.units:
        return "its journey names no unit, and none was matched to it"
    seen = [row.last_fix_ms / 1000 for row in case.cursors.values()]
    units = ", ".join(case.units)
    if not seen and case.refusals:
        row = max((row for found in case.refusals.values() for row in found), key=lambda row: row.last_ms)
        return f"nothing that {units} sent was taken; the last reason: {row.reason}"
    if not seen:
        return f"no fix of {units} in any tracking zone is known"
    return f"no pass of {units} is known; the last fix in or near a zone was of {rfc3339(max(seen))}"


def _notes(case: Case, found: Passes, stories: Sequence[PassageStory], rules: Rules) -> Iterable[str]:
    for zone_id in sorted(found.unknown_zones):
        yield f"zone {zone_id} is not in the zone file given: its events are left out"
    versions = {entry.zone_set_version for entry in case.entries if _judged_otherwise(entry, rules)} - {None}
    if versions:
        yield (
            f"judged by zone set {', '.join(sorted(map(str, versions)))}, the file given is "
            f"{rules.index.version} ({rules.sha256[:12]}): distances to its edges may differ or are left out"
        )
    for one in dict.fromkeys((one.unit, one.crossing, one.direction, one.measured) for one in found.against):
        unit, crossing, direction, measured = one
        yield f"{unit} went {measured} through the zones for {direction} of {crossing}: recorded, no effect"
    if any(story.events and not story.fixes for story in stories):
        yield "fixes are kept for 24 hours at most: older passes are told from the journal alone"


def _judged_otherwise(entry: EntryBody, rules: Rules) -> bool:
    return entry.kind == "DETECTED" and entry.zone_set_sha256 not in (None, rules.sha256)
