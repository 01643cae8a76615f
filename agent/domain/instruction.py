"""Action GO to STOP, Instruction, reason codes, receipt (contract section 6; design/domain.md section 7)."""

from __future__ import annotations

import enum

import msgspec

from agent.domain.routing import ReportToLocation


class Action(enum.IntEnum):
    """What the driver is told; ordered by severity, so the worst is the largest."""

    GO = 0
    GO_WITH_OBLIGATION = 1
    HOLD = 2
    STOP = 3


class ReasonCode(enum.Enum):
    """Why, in the words of design/domain.md section 7."""

    RELEASED = "RELEASED"
    EMPTY_RELEASED = "EMPTY_RELEASED"
    CONDITIONAL = "CONDITIONAL"
    CONTROL_AFTER_ENTRY = "CONTROL_AFTER_ENTRY"
    CORRECT_AFTER_ENTRY = "CORRECT_AFTER_ENTRY"
    LATE_CONTROL = "LATE_CONTROL"
    CONTROL = "CONTROL"
    CORRECT_NOW = "CORRECT_NOW"
    ENTRY_DENIED = "ENTRY_DENIED"
    SELF_REPORTED_GOODS = "SELF_REPORTED_GOODS"
    LOCAL_RULE = "LOCAL_RULE"
    CALL_OFFICE = "CALL_OFFICE"
    EMPTY_MRN_MISSING = "EMPTY_MRN_MISSING"
    NO_ANSWER = "NO_ANSWER"
    ANSWER_EXPIRED = "ANSWER_EXPIRED"
    UNKNOWN_VEHICLE = "UNKNOWN_VEHICLE"
    NOT_READY = "NOT_READY"
    WRONG_CROSSING = "WRONG_CROSSING"
    OFFICE_CLOSED = "OFFICE_CLOSED"
    NOT_COMPETENT = "NOT_COMPETENT"
    AMBIGUOUS_JOURNEY = "AMBIGUOUS_JOURNEY"
    DUPLICATE_JRN = "DUPLICATE_JRN"
    DUPLICATE_VEHICLE = "DUPLICATE_VEHICLE"
    PLATE_MISMATCH = "PLATE_MISMATCH"
    PRESENCE_UNCONFIRMED = "PRESENCE_UNCONFIRMED"
    ACTIVATION_REFUSED = "ACTIVATION_REFUSED"
    ACTIVATION_MISSED = "ACTIVATION_MISSED"
    CLOCK_UNTRUSTED = "CLOCK_UNTRUSTED"
    OFFICER = "OFFICER"


class Vehicle(msgspec.Struct, frozen=True, rename="camel"):
    """The vehicle an instruction is for."""

    identification_number: str
    nationality: str


class Instruction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one lorry is told; published as JWS with `typ` `INSTRUCTION_TYPE`."""

    instruction_id: str
    jrn: str | None
    version: int
    unit: str
    vehicle: Vehicle | None
    action: str
    """Name of an `Action`."""
    customs_office: str | None
    lane: str | None
    report_to_locations: tuple[ReportToLocation, ...]
    deadline: str | None
    reason_code: str
    issued_at: str
    expires_at: str
    supersedes: str | None
    activations: tuple[str, ...]
    checkpoint: str | None


class Receipt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a unit says about an instruction: when it arrived, was shown, was acknowledged."""

    instruction_id: str
    version: int
    delivered: str | int | None = None
    displayed: str | int | None = None
    acknowledged: str | int | None = None
    language: str | None = None
    checkpoint: str | None = None


INSTRUCTION_TYPE = "borderlane-instruction+jws"
ASSESSMENT_TYPE = "borderlane-assessment+jws"
REFERENCE_TYPE = "borderlane-reference+jws"
CONDITIONAL_TYPE = "borderlane-conditional+jws"
"""`typ` of the JWS header, so that no signed text passes for another."""


class DeliveryStage(enum.Enum):
    """How far one version of an instruction got (design/domain.md section 5, machine I)."""

    SENT = "SENT"
    DELIVERED = "DELIVERED"
    DISPLAYED = "DISPLAYED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    UNDELIVERED = "UNDELIVERED"
    SUPERSEDED = "SUPERSEDED"
    EXPIRED = "EXPIRED"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one version's way to the driver; times are UTC seconds."""

    instruction_id: str
    version: int
    stage: DeliveryStage = DeliveryStage.SENT
    sent_s: float | None = None
    """PUBACK of the broker."""
    delivered_s: float | None = None
    displayed_s: float | None = None
    acknowledged_s: float | None = None
    language: str | None = None
