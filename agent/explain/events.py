"""One edge crossed, in words: between which fixes, settled by which, by which rule."""

from __future__ import annotations

from collections.abc import Sequence

from agent.domain.times import rfc3339
from agent.explain.fixes import Kept, Rules
from agent.explain.passes import Seen
from agent.explain.story import EventStory
from agent.explain.words import IGNORED, NOTICE, RULE, clock, metres, number, zone_words
from zones.events import DetectionEvent, EventName, Evidence, Kind, Notice

SAME_TIME_S = 0.001
"""The journal keeps milliseconds."""


def event_story(one: Seen, kept: Sequence[Kept], rules: Rules) -> EventStory:
    """A detection or a notice.

    Args:
        one: As the journal has it.
        kept: The fixes of its unit that are still kept.
        rules: By what was decided.
    """
    if isinstance(one.what, Notice):
        return _notice_story(one, one.what)
    what = one.what
    settling = settling_fix(what, kept)
    rule = rule_of(what, settling, rules)
    evidence = _settling_evidence(what)
    return EventStory(
        entry=one.entry.seq,
        time=rfc3339(what.time),
        what=what.event.value,
        zone_id=what.zone_id,
        zone=None if one.zone is None else one.zone.kind.value,
        kind=what.kind.value,
        direction=what.direction.value,
        settled_at=rfc3339(what.detected_at),
        settled_by=None if evidence is None else evidence.seq,
        rule=rule,
        ignored=one.ignored,
        words=_sentence(one, what, settling, rule, rules),
    )


def _notice_story(one: Seen, notice: Notice) -> EventStory:
    where = f" at {zone_words(one.zone, notice.zone_id)}" if notice.zone_id is not None else ""
    reason = f" ({notice.reason})" if notice.reason else ""
    return EventStory(
        entry=one.entry.seq,
        time=rfc3339(notice.time),
        what=notice.notice.value,
        zone_id=notice.zone_id,
        zone=None if one.zone is None else one.zone.kind.value,
        kind=None,
        direction=None,
        settled_at=None,
        settled_by=None,
        rule=None,
        ignored=None,
        words=f"{NOTICE[notice.notice]}{where}{reason}",
    )


def settling_fix(what: DetectionEvent, kept: Sequence[Kept]) -> Kept | None:
    """The kept fix that settled an event: of several at that time the one that was used."""
    at_that_time = [one for one in kept if abs(one.seen.time_s - what.detected_at) <= SAME_TIME_S]
    return min(at_that_time, key=lambda one: not one.used, default=None)


def _settling_evidence(what: DetectionEvent) -> Evidence | None:
    return next((one for one in what.evidence if abs(one.time - what.detected_at) <= SAME_TIME_S), None)


def rule_of(what: DetectionEvent, settling: Kept | None, rules: Rules) -> str | None:
    """The rule that settled it, named as in `words.RULE`; None if that cannot be told any more."""
    match what.kind:
        case Kind.SEGMENT:
            return "PASSED"
        case Kind.TOUCH:
            return "TOUCH"
        case _ if what.event is EventName.EXITED:
            return "OUTSIDE"
        case Kind.FOUND_INSIDE if _in_fixes(what) <= 1:
            return "FIRST_FIX"
    if settling is not None and settling.seen.outcome == "frozen":
        return "DWELL"
    clearance = None if settling is None else settling.clearance_m(what.zone_id, rules)
    if settling is not None and clearance is not None:
        if clearance >= rules.config.inside_factor * settling.seen.decided_m:
            return "WHOLE_CIRCLE"
        return "TWO_FIXES" if _in_fixes(what) >= rules.config.confirm_fixes else "DWELL"
    if _in_fixes(what) <= 1:
        return "WHOLE_CIRCLE"  # one fix alone is enough only so
    return None


def _in_fixes(what: DetectionEvent) -> int:
    """Fixes of the evidence from the crossing on."""
    return sum(one.time >= what.time - SAME_TIME_S for one in what.evidence)


def _sentence(one: Seen, what: DetectionEvent, settling: Kept | None, rule: str | None, rules: Rules) -> str:
    zone = zone_words(one.zone, what.zone_id)
    verb = {
        (EventName.ENTERED, Kind.SEGMENT): f"passed through {zone} from here",
        (EventName.EXITED, Kind.SEGMENT): f"passed through {zone} up to here",
        (EventName.ENTERED, Kind.TOUCH): f"touched {zone}",
        (EventName.EXITED, Kind.TOUCH): f"was clear of {zone} again",
        (EventName.ENTERED, Kind.FOUND_INSIDE): f"was found inside {zone}",
    }.get((what.event, what.kind), f"{'entered' if what.event is EventName.ENTERED else 'left'} {zone}")
    text = f"{verb}{_between(what)}; settled by the fix of {clock(what.detected_at)}{_facts(what, settling, rules)}"
    if rule is not None:
        text += f"; {RULE[rule]}"
    return f"{text}. {IGNORED[one.ignored].capitalize()}" if one.ignored in IGNORED else text


def _between(what: DetectionEvent) -> str:
    """The fixes on either side of the crossing, as the evidence names them."""
    before = [one.time for one in what.evidence if one.time < what.time - SAME_TIME_S]
    after = [one.time for one in what.evidence if one.time >= what.time - SAME_TIME_S]
    if not before or not after:
        return ""
    return f" between the fixes of {clock(max(before))} and {clock(min(after))}"


def _facts(what: DetectionEvent, settling: Kept | None, rules: Rules) -> str:
    evidence = _settling_evidence(what)
    if settling is None and evidence is None:
        return ""
    if settling is None:
        assert evidence is not None
        return f"{number(evidence.seq)}: {metres(evidence.accuracy)} accuracy"
    text = f"{number(settling.seen.seq)}: {metres(settling.seen.decided_m)} accuracy"
    clearance = settling.clearance_m(what.zone_id, rules)
    if clearance is None:
        return text
    return f"{text}, {metres(round(clearance, 1))} {'inside' if settling.inside(what.zone_id) else 'outside'}"
