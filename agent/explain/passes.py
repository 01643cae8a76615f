"""Journal entries to passes: machine C again, over the detections as the journal has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from agent.activation.events import ActivationZoneEntered, PassageEvent
from agent.activation.passage import (
    BEGINNING,
    Passage,
    PassageStage,
    Step,
    advance,
    confirm_touch,
    contrary,
    find,
    lose,
    new_passage,
    passage_key,
    row_of,
    zone_direction,
)
from agent.domain.times import epoch_s
from agent.journal.entry import EntryBody
from zones.border_zone import BorderZone, ZoneKind, ZoneSet
from zones.events import DetectionEvent, Direction, EventName, Evidence, Kind, Notice, NoticeName


@dataclass(frozen=True)
class Seen:
    """One detection or notice of the journal, and what it meant to the passage."""

    entry: EntryBody
    what: DetectionEvent | Notice
    zone: BorderZone | None
    ignored: str | None = None
    told: tuple[PassageEvent, ...] = ()


@dataclass
class Pass:
    """One unit at one crossing in one direction, once."""

    unit: str
    crossing: str
    direction: str
    seen: list[Seen] = field(default_factory=list)
    stage: PassageStage = PassageStage.OUTSIDE
    is_lost: bool = False
    open: set[str] = field(default_factory=set)
    """Zones entered and not left."""

    @property
    def begins_s(self) -> float:
        """When its first edge was crossed."""
        return self.seen[0].what.time

    @property
    def ends_s(self) -> float:
        """When the fix came that settled its last event; infinite while a zone is open."""
        return math.inf if self.open else max(at_s(one.what) for one in self.seen)

    @property
    def entry(self) -> tuple[Seen, ActivationZoneEntered] | None:
        """What proved that the unit was at the crossing, if anything did."""
        for one in self.seen:
            for told in one.told:
                if isinstance(told, ActivationZoneEntered):
                    return one, told
        return None

    def tells(self, kind: type[PassageEvent]) -> bool:
        """Whether machine C told such an event."""
        return any(isinstance(told, kind) for one in self.seen for told in one.told)


@dataclass(frozen=True)
class Against:
    """An entry into zones of the other direction: recorded, nothing else."""

    unit: str
    crossing: str
    direction: str
    measured: str
    time_s: float


@dataclass
class Passes:
    """All passes that some entries come to, oldest first."""

    passes: list[Pass] = field(default_factory=list)
    against: list[Against] = field(default_factory=list)
    unknown_zones: set[str] = field(default_factory=set)
    """Zones that the entries name and the zone file does not have."""


def at_s(what: DetectionEvent | Notice) -> float:
    """Fix time of what settled it."""
    return what.detected_at if isinstance(what, DetectionEvent) else what.time


def passes_of(entries: Iterable[EntryBody], zones: ZoneSet, is_close: Callable[[str], bool]) -> Passes:
    """Play the detections and notices among these entries, oldest first, through machine C.

    Args:
        entries: Of any kind; only DETECTED and NOTICED count.
        zones: The zone file in force.
        is_close: Whether a crossing is one of a close pair.
    """
    replay = _Replay(zones, is_close)
    for entry in entries:
        if entry.kind == "DETECTED":
            replay.detected(entry, _detection(entry.facts))
        elif entry.kind == "NOTICED":
            replay.noticed(entry, _notice(entry.facts))
    return replay.found


def _detection(facts: dict[str, Any]) -> DetectionEvent:
    """The event without its position, which the journal does not hold."""
    evidence = tuple(Evidence(one["seq"], epoch_s(one["time"]), one["accuracy"]) for one in facts["evidence"])
    return DetectionEvent(
        event=EventName(facts["event"]),
        zone_id=facts["zoneId"],
        unit=facts["unit"],
        time=epoch_s(facts["time"]),
        detected_at=epoch_s(facts["detectedAt"]),
        kind=Kind(facts["kind"]),
        direction=Direction(facts["direction"]),
        latitude=math.nan,
        longitude=math.nan,
        zone_set_version=facts["zoneSetVersion"],
        evidence=evidence,
    )


def _notice(facts: dict[str, Any]) -> Notice:
    return Notice(NoticeName(facts["notice"]), facts["unit"], epoch_s(facts["time"]), facts["zoneId"], facts["reason"])


class _Replay:
    def __init__(self, zones: ZoneSet, is_close: Callable[[str], bool]) -> None:
        self.found = Passes()
        self._zones, self._is_close = zones, is_close
        self._passages: dict[str, Passage] = {}
        self._current: dict[str, Pass] = {}
        self._rows: dict[str, frozenset[ZoneKind]] = {}

    def detected(self, entry: EntryBody, event: DetectionEvent) -> None:
        zone = self._zones.by_id.get(event.zone_id)
        if zone is None:
            self.found.unknown_zones.add(event.zone_id)
            return
        key = passage_key(event.unit, zone.crossing_key, zone_direction(zone))
        before = self._passages.get(key) or new_passage(event.unit, zone)
        step = advance(before, event, zone, self._row(zone), self._is_close(zone.crossing_key))
        self._passages[key] = step.passage
        if event.event is EventName.ENTERED and contrary(event, zone):
            way = zone_direction(zone)
            self.found.against.append(Against(event.unit, zone.crossing_key, way, event.direction.value, event.time))
            return
        current = self._pass(key, before, step, event, zone)
        if current is None:
            return
        current.seen.append(Seen(entry, event, zone, entry.facts.get("ignored"), step.events))
        current.stage, current.is_lost = step.passage.stage, False
        if event.event is EventName.ENTERED:
            current.open.add(zone.id)
        else:
            current.open.discard(zone.id)

    def _pass(self, key: str, before: Passage, step: Step, event: DetectionEvent, zone: BorderZone) -> Pass | None:
        """The pass an event belongs to: the one going on, or a new one; None for an exit without an entry."""
        current = self._current.get(key)
        entered = event.event is EventName.ENTERED
        lone = entered and before.stage in BEGINNING and zone.kind is ZoneKind.ACTIVATION  # a touch, a close pair
        if step.passage.passage != before.passage or (entered and current is None) or lone:
            current = self._current[key] = Pass(event.unit, zone.crossing_key, zone_direction(zone))
            self.found.passes.append(current)
        elif not entered and (current is None or zone.id not in current.open):
            return None
        return current

    def noticed(self, entry: EntryBody, notice: Notice) -> None:
        zone = self._zones.by_id.get(notice.zone_id) if notice.zone_id is not None else None
        if zone is not None:
            key = passage_key(notice.unit, zone.crossing_key, zone_direction(zone))
            current = self._current.get(key)
            if current is not None:
                told = self._confirmed(key, notice, zone) if notice.notice is NoticeName.PASS_CONFIRMED else ()
                current.seen.append(Seen(entry, notice, zone, None, told))
                current.stage = self._passages[key].stage
            return
        for key, current in self._current.items():
            if current.unit == notice.unit and current.open:
                self._silence(key, notice)
                current.is_lost = self._passages[key].lost_s is not None
                current.seen.append(Seen(entry, notice, None))

    def _confirmed(self, key: str, notice: Notice, zone: BorderZone) -> tuple[PassageEvent, ...]:
        step = confirm_touch(self._passages[key], notice, zone)
        self._passages[key] = step.passage
        return step.events

    def _silence(self, key: str, notice: Notice) -> None:
        passage = self._passages[key]
        step = lose(passage, notice.time) if notice.notice is NoticeName.LOST else find(passage, notice.time)
        self._passages[key] = step.passage

    def _row(self, zone: BorderZone) -> frozenset[ZoneKind]:
        found = self._rows.get(zone.id)
        if found is None:
            found = self._rows[zone.id] = row_of(self._zones, zone)
        return found
