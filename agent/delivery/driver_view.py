"""What a driver's page is told and says: values only, never a rule, a score or a reason why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.domain.routing import ReportToLocation

WAIT = "WAIT"
"""Shown while nothing is decided; the other words are the names of `Action`."""
STANDSTILL_MPS = 1.4
"""Up to here a lorry counts as standing: 5 km/h (design/experience.md section 4)."""
SPEED_FRESH_S = 10.0
"""A speed older than this says nothing of now."""
LATE_MAX_S = 86_400.0
"""A receipt may say so long ago at most; what is longer ago counts as this."""
ServerMs = Annotated[float, Meta(ge=-1e15, le=1e15)]


class PassCode(msgspec.Struct, frozen=True, rename="camel"):
    """The signed instruction as a QR code."""

    instruction_id: str
    version: int
    text: str
    """What the code says (`agent.delivery.pass_code`)."""
    size: int
    """Side in modules, with the quiet zone."""
    path: str
    """SVG path of the dark modules."""


class DriverView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All that one page shows."""

    show: str
    """GO, GO_WITH_OBLIGATION, STOP, HOLD or WAIT."""
    plate: str
    nationality: str
    jrn: str
    at_border: bool
    """Inside the activation or confirmation zone, or decided there: without a line this is HALT, not WAIT."""
    crossing: str | None = None
    office: str | None = None
    lane: str | None = None
    phone: str | None = None
    report_to: tuple[ReportToLocation, ...] = ()
    deadline: str | None = None
    notices: tuple[str, ...] = ()
    """NOT_READY, OFFICE_CLOSED, NOT_COMPETENT: never say go or stop."""
    instruction_id: str | None = None
    version: int = 0
    issued_at: str | None = None
    acknowledged: bool = False
    language: str | None = None
    """As the declaration says."""


class Pulse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What goes with every message and each second: what the page's own clock cannot know."""

    server_ms: float
    """The server's monotonic clock: the page finds out from it how late a message is."""
    ends_in_s: float | None
    """Wall seconds until the instruction expires; None = no instruction."""
    standing: bool | None
    """Whether the vehicle stands, from its own fixes; None = not known."""


class DriverMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message to the page; `view` is left out while it has not changed."""

    pulse: Pulse
    view: DriverView | None = None


class DriverReceipt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the page did with an instruction, and when by the server's monotonic clock: the phone's is not asked."""

    instruction_id: Annotated[str, Meta(min_length=1, max_length=64)]
    version: Annotated[int, Meta(ge=1, le=2**31)]
    delivered_ms: ServerMs | None = None
    displayed_ms: ServerMs | None = None
    acknowledged_ms: ServerMs | None = None
    language: Annotated[str, Meta(max_length=5)] | None = None


class DriverIncident(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver reports."""

    kind: Annotated[str, Meta(pattern="^(EXTRA_GOODS|BREAKDOWN|TRAILER_CHANGE)$")]


class DriverLink(msgspec.Struct, frozen=True):
    """Where the driver's page of a journey is."""

    jrn: str
    url: str
    ends: str = "with the journey"


def is_standing(speed_mps: float | None, age_s: float) -> bool | None:
    """Whether a vehicle stands, from its newest fix; None = not known, and then nothing may be operated."""
    if speed_mps is None or not -SPEED_FRESH_S <= age_s <= SPEED_FRESH_S:
        return None
    return speed_mps <= STANDSTILL_MPS


def phone_of(office: str | None, phones: Mapping[str, str], otherwise: str) -> str | None:
    """Number to call: the office's own, else the one for all."""
    return phones.get(office or "") or otherwise or None
