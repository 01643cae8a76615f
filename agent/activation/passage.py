"""Machine C: one unit passing one crossing in one direction (design/domain.md section 5, rows C1 to C12).

Fed by the detector's events; total: what fits no row changes nothing and is said so (`ignored`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import msgspec

from agent.activation.events import (
    ActivationZoneEntered,
    ApproachSeen,
    Bypassed,
    ConfirmationEntered,
    ConfirmationLeft,
    PassageEvent,
    TouchSeen,
    TurnedBack,
    UnitFound,
    UnitLost,
)
from zones.border_zone import BorderZone, ZoneKind, ZoneSet
from zones.events import DetectionEvent, Direction, EventName, Kind, Notice

PASSAGE_KEPT_S = 259_200.0
"""How long a finished passage stays known: as long as a journey may (72 h, design/domain.md section 6)."""
EITHER = "ANY"
"""Direction of a passage through zones that serve both."""


class PassageStage(enum.Enum):
    """How far a unit is through a crossing."""

    OUTSIDE = "OUTSIDE"
    TRACKING = "TRACKING"
    ACTIVATION = "ACTIVATION"
    CONFIRMATION = "CONFIRMATION"
    PASSED = "PASSED"
    ABORTED = "ABORTED"


BEGINNING = frozenset({PassageStage.OUTSIDE, PassageStage.PASSED, PassageStage.ABORTED})
UNDER_WAY = frozenset({PassageStage.TRACKING, PassageStage.ACTIVATION, PassageStage.CONFIRMATION})
AT_BOOTH = frozenset({PassageStage.ACTIVATION, PassageStage.CONFIRMATION})
"""Where a roadside sign may be meant for the unit."""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """State of machine C; LOST is `lost_s`, the stage stays remembered."""

    key: str
    unit: str
    crossing: str
    direction: str
    """IN, OUT, or `EITHER` where the zones serve both."""
    stage: PassageStage = PassageStage.OUTSIDE
    inside: frozenset[ZoneKind] = frozenset()
    passage: int = 0
    """Counts the passages."""
    activated: bool = False
    """An activation zone was entered in this passage."""
    lost_s: float | None = None
    touch_zone_id: str | None = None
    """Activation zone of a TOUCH that is not confirmed yet."""
    jrn: str | None = None
    """Journey that this passage belongs to, once matched."""
    instruction_key: str | None = None
    last_s: float = 0.0

    @property
    def next_due_s(self) -> float | None:
        """When a finished passage may be forgotten."""
        return self.last_s + PASSAGE_KEPT_S


def passage_key(unit: str, crossing: str, direction: str) -> str:
    """Key of a passage: `unit|crossing|direction`."""
    return f"{unit}|{crossing}|{direction}"


def zone_direction(zone: BorderZone) -> str:
    """Direction of the passages through a zone."""
    return zone.direction.value if zone.direction in (Direction.IN, Direction.OUT) else EITHER


def new_passage(unit: str, zone: BorderZone) -> Passage:
    """A unit that was never seen at this crossing and direction."""
    direction = zone_direction(zone)
    return Passage(
        key=passage_key(unit, zone.crossing_key, direction),
        unit=unit,
        crossing=zone.crossing_key,
        direction=direction,
    )


@dataclass(frozen=True)
class Step:
    """What one event did to a passage."""

    passage: Passage
    events: tuple[PassageEvent, ...] = ()
    ignored: str | None = None
    """Why an entry had no effect: CONTRARY, CLOSE_PAIR, REPEATED or OUT_OF_SEQUENCE."""


def contrary(event: DetectionEvent, zone: BorderZone) -> bool:
    """Whether the direction of travel is known and is not that of the zone."""
    known = (Direction.IN, Direction.OUT)
    return event.direction in known and zone.direction in known and event.direction is not zone.direction


def advance(
    passage: Passage, event: DetectionEvent, zone: BorderZone, row: frozenset[ZoneKind], close_pair: bool
) -> Step:
    """Take one detection event.

    Args:
        passage: State of this unit at the zone's crossing and direction.
        event: The event, of `zone`.
        row: Kinds of zone that the crossing has in this direction.
        close_pair: Whether another crossing lies under 2 km away (design/detection.md section 2).
    """
    found: tuple[PassageEvent, ...] = ()
    if passage.lost_s is not None:  # C11: an event rests on a trusted fix
        found = (UnitFound(event.detected_at),)
    known = msgspec.structs.replace(passage, lost_s=None, last_s=max(passage.last_s, event.detected_at))
    if event.event is EventName.ENTERED:
        step = _entered(known, event, zone, close_pair)
    else:
        step = _exited(known, event, zone, row)
    return Step(step.passage, found + step.events, step.ignored)


def _entered(passage: Passage, event: DetectionEvent, zone: BorderZone, close_pair: bool) -> Step:
    if contrary(event, zone):
        return Step(passage, (), "CONTRARY")
    if zone.kind is ZoneKind.TRACKING:
        return _entered_tracking(passage, event)
    if zone.kind is ZoneKind.ACTIVATION:
        return _entered_activation(passage, event, zone, close_pair)
    return _entered_confirmation(passage, event)


def _entered_tracking(passage: Passage, event: DetectionEvent) -> Step:
    inside = passage.inside | {ZoneKind.TRACKING}
    if passage.stage not in BEGINNING:
        return Step(msgspec.structs.replace(passage, inside=inside), (), "REPEATED")
    begun = _begun(passage, PassageStage.TRACKING, frozenset({ZoneKind.TRACKING}))
    return Step(begun, (ApproachSeen(event.time),))  # C1


def _begun(passage: Passage, stage: PassageStage, inside: frozenset[ZoneKind]) -> Passage:
    """The next passage of the same unit: forgets what the last one was matched to."""
    return msgspec.structs.replace(
        passage,
        stage=stage,
        inside=inside,
        passage=passage.passage + 1,
        activated=False,
        touch_zone_id=None,
        jrn=None,
        instruction_key=None,
    )


def _entered_activation(passage: Passage, event: DetectionEvent, zone: BorderZone, close_pair: bool) -> Step:
    inside = passage.inside | {ZoneKind.ACTIVATION}
    if passage.stage not in BEGINNING | {PassageStage.TRACKING}:
        reason = "REPEATED" if passage.stage is PassageStage.ACTIVATION else "OUT_OF_SEQUENCE"
        return Step(msgspec.structs.replace(passage, inside=inside), (), reason)
    if event.kind is Kind.TOUCH:  # C3
        touched = msgspec.structs.replace(passage, touch_zone_id=zone.id)
        return Step(touched, (TouchSeen(event.time),))
    if event.kind is Kind.SEGMENT and close_pair and event.direction is Direction.UNKNOWN:
        return Step(passage, (), "CLOSE_PAIR")
    if passage.stage is not PassageStage.TRACKING:
        passage = _begun(passage, PassageStage.ACTIVATION, passage.inside & {ZoneKind.TRACKING})
    entered = msgspec.structs.replace(
        passage,
        stage=PassageStage.ACTIVATION,
        inside=passage.inside | {ZoneKind.ACTIVATION},
        activated=True,
        touch_zone_id=None,
    )
    return Step(entered, (_activation_entered(event, missed=False),))  # C2


def _activation_entered(event: DetectionEvent, missed: bool) -> ActivationZoneEntered:
    return ActivationZoneEntered(
        entered_s=event.time,
        settled_s=event.detected_at,
        kind=event.kind,
        direction=event.direction,
        latitude=event.latitude,
        longitude=event.longitude,
        missed=missed,
    )


def _entered_confirmation(passage: Passage, event: DetectionEvent) -> Step:
    inside = passage.inside | {ZoneKind.CONFIRMATION}
    if passage.stage is PassageStage.ACTIVATION:  # C5
        there = msgspec.structs.replace(passage, stage=PassageStage.CONFIRMATION, inside=inside)
        return Step(there, (ConfirmationEntered(event.time),))
    if passage.stage is PassageStage.CONFIRMATION:
        return Step(msgspec.structs.replace(passage, inside=inside), (), "REPEATED")
    if passage.stage is PassageStage.PASSED and passage.activated:
        # Back into the bay within the same passage; it has been confirmed and left already.
        return Step(msgspec.structs.replace(passage, inside=inside), (), "OUT_OF_SEQUENCE")
    if passage.stage in BEGINNING:
        passage = _begun(passage, PassageStage.CONFIRMATION, passage.inside & {ZoneKind.TRACKING})
    there = msgspec.structs.replace(
        passage,
        stage=PassageStage.CONFIRMATION,
        inside=passage.inside | {ZoneKind.CONFIRMATION},
        activated=True,
    )
    return Step(there, (_activation_entered(event, missed=True), ConfirmationEntered(event.time)))  # C4


def _exited(passage: Passage, event: DetectionEvent, zone: BorderZone, row: frozenset[ZoneKind]) -> Step:
    passage = msgspec.structs.replace(passage, inside=passage.inside - {zone.kind})
    against = contrary(event, zone)
    if zone.kind is ZoneKind.CONFIRMATION and passage.stage is PassageStage.CONFIRMATION:  # C6
        return Step(_at(passage, PassageStage.PASSED), (ConfirmationLeft(event.time, event.direction),))
    if zone.kind is ZoneKind.TRACKING:
        return _exited_tracking(passage, event, against)
    if zone.kind is ZoneKind.ACTIVATION and passage.stage is PassageStage.ACTIVATION:
        if against and ZoneKind.TRACKING not in row:
            return _turned_back(passage, event)
        if not against and ZoneKind.CONFIRMATION not in row:
            return _skipped(passage, event)
    return Step(passage)  # C8, and leaving zones after the passage is over


def _exited_tracking(passage: Passage, event: DetectionEvent, against: bool) -> Step:
    if passage.stage is PassageStage.TRACKING and not passage.inside:  # C7
        left: PassageEvent = TurnedBack(event.time, activated=False) if against else Bypassed(event.time)
        return Step(_at(passage, PassageStage.ABORTED), (left,))
    if passage.stage is PassageStage.ACTIVATION:  # C9
        return _turned_back(passage, event) if against else _skipped(passage, event)
    return Step(passage)


def _turned_back(passage: Passage, event: DetectionEvent) -> Step:
    return Step(_at(passage, PassageStage.ABORTED), (TurnedBack(event.time, activated=True),))


def _skipped(passage: Passage, event: DetectionEvent) -> Step:
    left = ConfirmationLeft(event.time, event.direction, skipped=True)
    return Step(_at(passage, PassageStage.PASSED), (ConfirmationEntered(event.time), left))


def _at(passage: Passage, stage: PassageStage) -> Passage:
    return msgspec.structs.replace(passage, stage=stage)


def confirm_touch(passage: Passage, notice: Notice, zone: BorderZone) -> Step:
    """PASS_CONFIRMED: late evidence makes a TOUCH an entry (C2), whenever it comes."""
    if zone.kind is not ZoneKind.ACTIVATION or passage.touch_zone_id != zone.id:
        return Step(passage, (), "OUT_OF_SEQUENCE")
    if passage.stage not in BEGINNING | {PassageStage.TRACKING}:
        return Step(passage, (), "REPEATED")
    event = ActivationZoneEntered(notice.time, notice.time, Kind.TOUCH, notice.direction)
    if passage.stage is not PassageStage.TRACKING:
        passage = _begun(passage, PassageStage.ACTIVATION, passage.inside)
    entered = msgspec.structs.replace(passage, stage=PassageStage.ACTIVATION, activated=True, touch_zone_id=None)
    return Step(entered, (event,))


def lose(passage: Passage, at_s: float) -> Step:
    """C10: no fix for `lost_after_s`."""
    if passage.stage not in UNDER_WAY or passage.lost_s is not None:
        return Step(passage)
    return Step(msgspec.structs.replace(passage, lost_s=at_s), (UnitLost(at_s),))


def find(passage: Passage, at_s: float) -> Step:
    """C11: a trusted fix of a lost unit."""
    if passage.lost_s is None:
        return Step(passage)
    return Step(msgspec.structs.replace(passage, lost_s=None), (UnitFound(at_s),))


def row_of(zones: ZoneSet, zone: BorderZone) -> frozenset[ZoneKind]:
    """Kinds of zone that the crossing has in this zone's direction: the row that `advance` asks for."""
    return frozenset(
        other.kind
        for other in zones.zones
        if other.crossing_key == zone.crossing_key and zone_direction(other) in (EITHER, zone_direction(zone))
    )
