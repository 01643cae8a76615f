"""An explanation as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from agent.domain.times import epoch_s
from agent.explain.fixes import runs
from agent.explain.story import Explanation, FixStory, Handling, PassageStory, Place
from agent.explain.words import clock, counted, day, metres

SHORT = {"TRACKING": "tracking", "ACTIVATION": "activation", "CONFIRMATION": "confirmation"}


def report(explanation: Explanation) -> Iterator[str]:
    """The lines, for a terminal; times are UTC."""
    yield f"{explanation.known_as.capitalize()} {explanation.name}"
    yield f"  {explanation.verdict}"
    for handling in explanation.handlings:
        yield from _handling(handling)
    for story in explanation.passages:
        yield from _passage(story)
    if explanation.refusals:
        yield ""
        yield "Refused input"
    for refusal in explanation.refusals:
        yield f"  {refusal.words}"
    for note in explanation.notes:
        yield f"note: {note}"


def _at(text: str) -> str:
    return clock(epoch_s(text))


def _handling(one: Handling) -> Iterator[str]:
    yield ""
    if one.jrn is None:
        yield f"Unit {one.unit}, without a journey"
    else:
        facts = (
            one.vehicle and f"vehicle {one.vehicle}",
            one.direction and f"direction {one.direction}",
            one.planned_crossing and f"planned at {one.planned_crossing}",
            one.stage and f"now {one.stage}",
        )
        yield ", ".join([f"Journey {one.jrn}", *(fact for fact in facts if fact)])
    for fault in one.faults:
        yield f"  fault {fault}"
    for declaration in one.declarations:
        name = "light check of the empty run" if declaration.mrn is None else f"declaration {declaration.mrn}"
        version = "" if declaration.version is None or declaration.mrn is None else f" version {declaration.version}"
        yield f"  {name}{version}: {declaration.words}"
    for instruction in one.instructions:
        yield f"  instruction {instruction.words}"
    for act in one.acts:
        yield f"  {_at(act.time):<11} {act.words}"


def _passage(story: PassageStory) -> Iterator[str]:
    begins_s = epoch_s(story.begins)
    yield ""
    way = f" ({story.direction})" if story.direction else ""
    yield f"Unit {story.unit} at {story.crossing}{way} on {day(begins_s)}: {story.verdict}"
    for event in story.events:
        yield f"  {_at(event.time):<11} {event.words}"
    if story.decided_again is not None:
        yield f"  {_again(story.decided_again)}"
    if not story.fixes:
        return
    yield f"  Fixes: {len(story.fixes)} kept{_besides(story)}"
    settling = {event.settled_at for event in story.events}
    for run in runs(story.fixes, lambda fix: fix.time in settling):
        yield f"    {_run(run)}"


def _again(alike: bool) -> str:
    if alike:
        return "Decided again from the kept fixes: the same entry."
    return "Decided again from the kept fixes alone, without those outside the zones: not the same entry."


def _besides(story: PassageStory) -> str:
    parts = []
    if story.not_kept:
        parts.append(f"{story.not_kept} outside the zones, whose positions are not kept")
    if story.repeated:
        parts.append(f"{counted(story.repeated, 'report')} that came again")
    return f"; besides {', '.join(parts)}" if parts else ""


def _run(run: list[FixStory]) -> str:
    first, last = run[0], run[-1]
    if len(run) > 2:
        accuracy = max(fix.accuracy_m for fix in run)
        where = "; ".join(_state(place) for place in last.places)
        span = f"{_at(first.time)} to {_at(last.time)}: {len(run)} fixes, up to {metres(accuracy)}"
        return f"{span}: {first.words} | {where}"
    return "\n    ".join(_fix(fix) for fix in run)


def _fix(fix: FixStory) -> str:
    seq = "" if fix.seq is None else f" no. {fix.seq}"
    speed = "" if fix.speed_mps is None else f", {fix.speed_mps:.1f} m/s"
    where = "; ".join(_state(place) + _clearance(place) for place in fix.places)
    return f"{_at(fix.time)}{seq}, {metres(fix.accuracy_m)}{speed}: {fix.words} | {where}"


def _state(place: Place) -> str:
    return f"{SHORT.get(place.zone or '', place.zone_id)} {place.state.lower()}"


def _clearance(place: Place) -> str:
    if place.clearance_m is None:
        return ""
    return f" ({metres(place.clearance_m)} {'inside' if place.inside else 'outside'})"
