"""What must be done about it, in the imperative: performed from the outbox, at least once, after the commit.

Each is a tagged msgspec struct, so `msgspec.json.encode(effect)` is the outbox row and
`msgspec.json.decode(row, type=Effect)` gives it back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agent.domain.declaration import Trailer
from agent.domain.instruction import Instruction, Vehicle


class ReportActivation(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="do"):
    """Report one activation to customs, and store it: one new row of the activation table for each of these.

    `agent.risk.exchange.activation_request` makes the body; the activationId is the Idempotency-Key.
    """

    activation_id: str
    mrn: str
    """MRN, or permit number of a periodic declaration."""
    version: int
    jrn: str
    crossing: str
    customs_office: str | None
    direction: str
    unit: str
    activated_s: float
    """When the boundary was crossed, UTC seconds."""
    received_s: float
    """When the deciding fix reached the agent."""
    latitude: float | None
    longitude: float | None
    variant: str
    """AUTOMATIC, MANUAL or FALLBACK."""
    officer: str | None = None
    evidence_digest: str | None = None


class AskedDeclaration(msgspec.Struct, frozen=True):
    """One declaration to be assessed; `mrn` None = the light check of an empty run."""

    mrn: str | None
    version: int
    activation_id: str


class AskRisk(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="do"):
    """Ask customs for the risk answers of a journey; the answer comes back as `RiskAnswered`.

    The same `request_id` is one question, however often it is sent; a later question has a new one.
    """

    key: str
    request_id: str
    jrn: str
    crossing: str
    customs_office: str | None
    direction: str
    activated_s: float
    vehicle: Vehicle
    declarations: tuple[AskedDeclaration, ...]
    lane: str | None = None
    trailers: tuple[Trailer, ...] = ()
    indicators: dict[str, Any] = {}
    deadline_s: float | None = None
    """When HOLD is decided without an answer; None = nobody waits."""


class SendInstruction(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="do"):
    """Publish an instruction to one unit, retained until superseded or cleared.

    `instruction.checkpoint` is None: it is filled and the whole signed at commit.
    """

    key: str
    """Record key of the instruction; goes into `InstructionOut.key`."""
    unit: str
    instruction: Instruction
    expires_s: float
    due_s: float | None = None
    """When it must be out (PUBACK), UTC seconds; None = no limit runs."""


class ClearInstruction(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="do"):
    """Clear the retained instruction of a unit if it is still this version (it has expired)."""

    key: str
    unit: str
    version: int


class EmitEvent(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="do"):
    """Tell control rooms (MQTT events topic, server-sent events)."""

    kind: str
    """DETECTION, ACTIVATION, INSTRUCTION, JOURNEY, RECEIPT, TASK, ..."""
    body: dict[str, Any]


class RaiseAlarm(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="do"):
    """Something that asks staff for an action."""

    name: str
    """BREACH, HOLD_LEFT, OBLIGATION_OVERDUE, LOST_UNDER_STOP, OFFICER_TASK, ..."""
    jrn: str | None
    unit: str
    crossing: str | None
    text: str


class SendNotice(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="do"):
    """Tell driver and trade something that never says go or stop; has no version."""

    jrn: str
    unit: str
    code: str
    field: str | None = None
    """JSONPath of the field at fault."""
    text: str = ""


Effect = ReportActivation | AskRisk | SendInstruction | ClearInstruction | EmitEvent | RaiseAlarm | SendNotice
"""Everything the outbox performs."""


class Entry(msgspec.Struct, frozen=True):
    """What the journal records: no plate, no coordinate, no person but the officer."""

    kind: str
    facts: dict[str, Any]
    activation_id: str | None = None
