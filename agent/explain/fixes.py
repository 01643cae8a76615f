"""Kept fixes against the zones: where each lay, what it came to, and whether they decide alike again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from agent.domain.times import rfc3339
from agent.explain.story import FixStory, Place
from agent.explain.words import ESTIMATED, OUTCOME, VERDICT
from agent.journal.telemetry import CANDIDATE, IN, LEAVING, OUT, FixSeen, Observed
from zones.detector import Detector, Verdict
from zones.events import DetectionEvent, EventName
from zones.fix import Fix, FixType
from zones.index import ZoneIndex
from zones.membership import clearance_m
from zones.plausibility import DetectionConfig

STATE = {OUT: "OUT", CANDIDATE: "CANDIDATE", IN: "IN", LEAVING: "LEAVING"}
FARTHEST_M = 1e6
"""Bound of a distance to an edge; no zone is so large."""


@dataclass(frozen=True)
class Rules:
    """By what was decided, as far as the reader of the journal has it."""

    index: ZoneIndex
    sha256: str
    """Of the zone file, hex."""
    config: DetectionConfig = field(default_factory=DetectionConfig)
    close: Callable[[str], bool] = lambda crossing: False
    """Whether a crossing is one of a close pair."""


@dataclass(frozen=True)
class Kept:
    """One kept fix of a unit with the states it led to."""

    unit: str
    seen: FixSeen
    states: dict[str, str]
    """Zone id to code (`agent.journal.telemetry`)."""
    zone_set: str

    @property
    def used(self) -> bool:
        """Whether the detector took it for where the unit was."""
        taken = self.seen.verdict in (Verdict.ACCEPTED.value, Verdict.HELD.value)
        return taken and self.seen.outcome not in ("unusable", "suspect", "jump")

    def inside(self, zone_id: str) -> bool:
        """Whether it lies in a zone."""
        return self.states.get(zone_id, "o").isupper()

    def clearance_m(self, zone_id: str, rules: Rules) -> float | None:
        """Distance to the edge of a zone; None if the zone file is not the one it was judged by."""
        zone = rules.index.zones.get(zone_id)
        if zone is None or self.zone_set != rules.index.version:
            return None
        x, y = rules.index.parts[zone.part].frame.to_metres(self.seen.latitude, self.seen.longitude)
        return clearance_m(zone.edges, x, y, FARTHEST_M)


def kept_fixes(unit: str, telemetry: Iterable[Observed]) -> list[Kept]:
    """The fixes of a unit, in the order in which they came."""
    return [
        Kept(unit, seen, observed.states_of(seen), observed.zone_set)
        for observed in telemetry
        for seen in observed.fixes
    ]


def fix_story(kept: Kept, zone_ids: Iterable[str], rules: Rules) -> FixStory:
    """One fix as far as it concerns some zones."""
    seen = kept.seen
    return FixStory(
        time=rfc3339(seen.time_s),
        seq=seen.seq,
        latitude=seen.latitude,
        longitude=seen.longitude,
        accuracy_m=round(seen.decided_m, 2),
        speed_mps=seen.speed_mps,
        verdict=seen.verdict,
        outcome=seen.outcome,
        places=tuple(_place(kept, zone_id, rules) for zone_id in zone_ids if zone_id in kept.states),
        words=fix_words(seen),
    )


def fix_words(seen: FixSeen) -> str:
    """What became of a fix."""
    if seen.reason:
        return f"{VERDICT[seen.verdict]}: {seen.reason}"
    if seen.outcome == "unusable" and seen.fix_type == FixType.ESTIMATED:
        return ESTIMATED
    return VERDICT[seen.verdict] if seen.outcome is None else OUTCOME.get(seen.outcome, seen.outcome)


def _place(kept: Kept, zone_id: str, rules: Rules) -> Place:
    zone = rules.index.zone_set.by_id.get(zone_id)
    clearance = kept.clearance_m(zone_id, rules)
    return Place(
        zone_id=zone_id,
        zone=None if zone is None else zone.kind.value,
        state=STATE[kept.states[zone_id].upper()],
        inside=kept.inside(zone_id),
        clearance_m=None if clearance is None else round(clearance, 1),
    )


def runs(stories: Sequence[FixStory], keep: Callable[[FixStory], bool]) -> Iterator[list[FixStory]]:
    """Fixes to be told one by one, and runs of successive ones in which nothing changed.

    Args:
        stories: In order.
        keep: Whether one must be told by itself whatever its neighbours are.
    """
    run: list[FixStory] = []
    for story in stories:
        if run and (keep(story) or keep(run[-1]) or _face(story) != _face(run[-1])):
            yield run
            run = []
        run.append(story)
    if run:
        yield run


def _face(story: FixStory) -> tuple[object, ...]:
    outcome = "used" if story.outcome in ("used", "steady") else story.outcome
    return story.verdict, outcome, tuple((place.zone_id, place.state, place.inside) for place in story.places)


def decide_again(fixes: Sequence[Kept], rules: Rules) -> list[DetectionEvent]:
    """What a new detector makes of kept fixes; those outside every zone are missing, so the approach may differ."""
    detector = Detector(rules.index, rules.config)
    found: list[DetectionEvent] = []
    for kept in fixes:
        if kept.seen.verdict == Verdict.REFUSED.value:
            continue
        fix: Fix = kept.seen.fix(kept.unit)
        said = (*detector.tick(fix.received_s), *detector.feed(fix))
        found += [one for one in said if isinstance(one, DetectionEvent) and one.event is EventName.ENTERED]
    return found
