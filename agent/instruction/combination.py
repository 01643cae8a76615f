"""Open causes to the one thing the lorry is told: the worst of them (design/domain.md section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from agent.domain.instruction import Action, ReasonCode
from agent.domain.routing import Assessment, ControlLocation, ReportToLocation, Routing
from agent.domain.times import epoch_s

DEFAULT_INSPECTION = "DOCUMENTS"
"""Inspection type of an obligation whose answer names no place (design/domain.md section 8, CL716)."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for an instruction, open until what `section 6` says closes it."""

    action: Action
    reason: ReasonCode
    activation_id: str | None = None
    """Declaration it belongs to; None = the journey as a whole."""
    mrn: str | None = None
    routing: str | None = None
    report_to_locations: tuple[ReportToLocation, ...] = ()
    deadline_s: float | None = None
    customs_office: str | None = None
    lane: str | None = None
    since_s: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What the open causes come to."""

    action: Action
    reason: ReasonCode
    report_to_locations: tuple[ReportToLocation, ...] = ()
    deadline_s: float | None = None
    customs_office: str | None = None
    lane: str | None = None


_OF_ROUTING = {
    (Routing.TO_CONTROL, False): (Action.GO_WITH_OBLIGATION, ReasonCode.CONTROL_AFTER_ENTRY),
    (Routing.TO_CONTROL, True): (Action.STOP, ReasonCode.CONTROL),
    (Routing.ENTRY_PENDING, False): (Action.GO_WITH_OBLIGATION, ReasonCode.CORRECT_AFTER_ENTRY),
    (Routing.ENTRY_PENDING, True): (Action.STOP, ReasonCode.CORRECT_NOW),
    (Routing.ENTRY_DENIED, False): (Action.STOP, ReasonCode.ENTRY_DENIED),
    (Routing.ENTRY_DENIED, True): (Action.STOP, ReasonCode.ENTRY_DENIED),
}
_TIE = (
    Routing.ENTRY_DENIED.value,
    Routing.TO_CONTROL.value,
    Routing.ENTRY_PENDING.value,
)
"""Which of equally bad causes names office and lane."""


def readable(assessment: Assessment) -> bool:
    """Whether the routing is a word we know and its times can be read; anything else is no answer."""
    try:
        epoch_s(assessment.valid_until)
        epoch_s(assessment.issued_at)
    except (ValueError, TypeError, OverflowError):
        return False
    return assessment.routing in Routing.__members__


def cause_of(assessment: Assessment, now_s: float) -> Cause | None:
    """The cause that a readable answer gives, or None if it is positive (TO_ENTRY).

    A missing or unknown place of control counts as ON_ENTRY; so does AFTER_ENTRY on the way out, where it
    makes no sense.
    """
    routing = Routing(assessment.routing)
    if routing is Routing.TO_ENTRY:
        return None
    after = assessment.routing_control_location == ControlLocation.AFTER_ENTRY.value
    action, reason = _OF_ROUTING[routing, not after or assessment.direction == "OUT"]
    locations = assessment.report_to_locations
    if action is Action.GO_WITH_OBLIGATION and not locations:
        locations = _default_locations(assessment)
    return Cause(
        action=action,
        reason=reason,
        activation_id=assessment.activation_id,
        mrn=assessment.mrn,
        routing=assessment.routing,
        report_to_locations=locations,
        deadline_s=_deadline_s(assessment.deadline),
        customs_office=assessment.customs_office,
        lane=assessment.lane,
        since_s=now_s,
    )


def _default_locations(assessment: Assessment) -> tuple[ReportToLocation, ...]:
    if assessment.customs_office is None:
        return ()
    inspection = assessment.type_of_controls[0] if assessment.type_of_controls else DEFAULT_INSPECTION
    return (ReportToLocation(inspection, (assessment.customs_office,)),)


def _deadline_s(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return epoch_s(text)
    except (ValueError, TypeError, OverflowError):
        return None


def combine(causes: Sequence[Cause], *, empty: bool, unmanned: bool) -> Outcome:
    """The worst open cause, with the places, deadline, office and lane of section 6.

    Args:
        causes: Open causes; none = released.
        empty: The journey has no declarations (empty run).
        unmanned: Nobody is at the crossing: a STOP becomes a call to the office.
    """
    if not causes:
        return Outcome(Action.GO, ReasonCode.EMPTY_RELEASED if empty else ReasonCode.RELEASED)
    worst = min(causes, key=_badness)
    reason = worst.reason
    if unmanned and worst.action is Action.STOP and reason is not ReasonCode.OFFICER:
        reason = ReasonCode.CALL_OFFICE
    deadlines = [cause.deadline_s for cause in causes if cause.deadline_s is not None]
    return Outcome(
        action=worst.action,
        reason=reason,
        report_to_locations=union_of_locations(causes),
        deadline_s=min(deadlines, default=None),
        customs_office=worst.customs_office,
        lane=worst.lane,
    )


def _badness(cause: Cause) -> tuple[int, int, str, str]:
    tie = _TIE.index(cause.routing) if cause.routing in _TIE else len(_TIE)
    return -cause.action, tie, cause.mrn or "", cause.reason.value


def union_of_locations(causes: Iterable[Cause]) -> tuple[ReportToLocation, ...]:
    """Places of all causes by inspection type, in the order of reference data, then by type.

    Equal types intersect their locations, so that one stop serves both; if none is left, their union.
    """
    merged: dict[str, ReportToLocation] = {}
    for cause in causes:
        for place in cause.report_to_locations:
            known = merged.get(place.inspection_type_id)
            merged[place.inspection_type_id] = place if known is None else _merge(known, place)
    return tuple(sorted(merged.values(), key=lambda place: (place.order, place.inspection_type_id)))


def _merge(known: ReportToLocation, place: ReportToLocation) -> ReportToLocation:
    both = tuple(location for location in known.location_ids if location in place.location_ids)
    if not both:
        both = tuple(dict.fromkeys(known.location_ids + place.location_ids))
    return ReportToLocation(place.inspection_type_id, both, min(known.order, place.order))
