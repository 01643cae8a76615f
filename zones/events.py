"""Detection events of contract section 4, and the notices beside them (design/detection.md section 6)."""

from __future__ import annotations

import enum
from datetime import UTC, datetime

import msgspec


class EventName(enum.Enum):
    """What happened at the edge of a zone."""

    ENTERED = "ENTERED"
    EXITED = "EXITED"


class Kind(enum.Enum):
    """How it is known."""

    FIX = "FIX"
    SEGMENT = "SEGMENT"
    """Passed between two fixes."""
    FOUND_INSIDE = "FOUND_INSIDE"
    """First trusted fix was already inside."""
    TOUCH = "TOUCH"
    """Ended inside the accuracy band without confirmation."""


class Direction(enum.Enum):
    """Direction of travel: into the customs territory, out of it, or not known."""

    IN = "IN"
    OUT = "OUT"
    UNKNOWN = "UNKNOWN"


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """One fix that an event rests on; carries no position (contract section 4)."""

    seq: int | None
    time: float
    """UTC seconds."""
    accuracy: float
    """Metres, 95 %."""


class DetectionEvent(msgspec.Struct, frozen=True, gc=False, rename="camel", tag_field="type", tag="DETECTION"):
    """One unit crossed the edge of one zone."""

    event: EventName
    zone_id: str
    unit: str
    time: float
    """When the boundary was crossed, UTC seconds, interpolated."""
    detected_at: float
    """Fix time of the fix that settled it, UTC seconds."""
    kind: Kind
    direction: Direction
    latitude: float
    longitude: float
    zone_set_version: str
    evidence: tuple[Evidence, ...] = ()


class NoticeName(enum.Enum):
    """Richer states: alarms and facts, never entries or exits."""

    CLOCK_FAULT = "CLOCK_FAULT"
    JUMP = "JUMP"
    SUSPECT_INSIDE = "SUSPECT_INSIDE"
    FROZEN = "FROZEN"
    POSSIBLE_PASSAGE = "POSSIBLE_PASSAGE"
    STALE = "STALE"
    LOST = "LOST"
    LATE_EVIDENCE = "LATE_EVIDENCE"
    PASS_CONFIRMED = "PASS_CONFIRMED"  # noqa: S105 - a word of the domain, no secret
    ADOPTED_INSIDE = "ADOPTED_INSIDE"
    ZONE_RETIRED = "ZONE_RETIRED"


class Notice(msgspec.Struct, frozen=True, gc=False, rename="camel", tag_field="type", tag="NOTICE"):
    """Something people should see, about one unit and perhaps one zone."""

    notice: NoticeName
    unit: str
    time: float
    """UTC seconds."""
    zone_id: str | None = None
    reason: str = ""
    direction: Direction = Direction.UNKNOWN


Detected = DetectionEvent | Notice


class _EventJson(msgspec.Struct, frozen=True, rename="camel"):
    event: EventName
    zone_id: str
    unit: str
    time: str
    detected_at: str
    kind: Kind
    direction: Direction
    latitude: float
    longitude: float
    zone_set_version: str
    evidence: list[dict[str, object]]


class _NoticeJson(msgspec.Struct, frozen=True, rename="camel"):
    notice: NoticeName
    unit: str
    time: str
    zone_id: str | None
    reason: str
    direction: Direction


def rfc3339(time_s: float) -> str:
    """UTC seconds as RFC 3339 with milliseconds."""
    moment = datetime.fromtimestamp(round(time_s * 1000.0) / 1000.0, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_to_json(event: Detected) -> bytes:
    """One event as in contract section 4, or a notice, as a JSON object."""
    if isinstance(event, Notice):
        time = rfc3339(event.time)
        notice = _NoticeJson(event.notice, event.unit, time, event.zone_id, event.reason, event.direction)
        return msgspec.json.encode(notice)
    evidence: list[dict[str, object]] = [
        {"seq": one.seq, "time": rfc3339(one.time), "accuracy": round(one.accuracy, 2)} for one in event.evidence
    ]
    return msgspec.json.encode(
        _EventJson(
            event.event,
            event.zone_id,
            event.unit,
            rfc3339(event.time),
            rfc3339(event.detected_at),
            event.kind,
            event.direction,
            round(event.latitude, 7),
            round(event.longitude, 7),
            event.zone_set_version,
            evidence,
        )
    )
