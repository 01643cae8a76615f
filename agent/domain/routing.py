"""Routing of one declaration, signed risk answer, score card (design/domain.md sections 5, 6; risk.md section 11)."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta


class Routing(enum.Enum):
    """Where one declaration goes; order of strictness in `ROUTING_ORDER`."""

    TO_ENTRY = "TO_ENTRY"
    ENTRY_PENDING = "ENTRY_PENDING"
    TO_CONTROL = "TO_CONTROL"
    ENTRY_DENIED = "ENTRY_DENIED"


ROUTING_ORDER = (Routing.TO_ENTRY, Routing.ENTRY_PENDING, Routing.TO_CONTROL, Routing.ENTRY_DENIED)


class ControlLocation(enum.Enum):
    """Where a control takes place."""

    ON_ENTRY = "ON_ENTRY"
    AFTER_ENTRY = "AFTER_ENTRY"


class ReportToLocation(msgspec.Struct, frozen=True, rename="camel"):
    """A place where the lorry must report, and for what."""

    inspection_type_id: str
    location_ids: tuple[str, ...]
    order: Annotated[int, Meta(ge=0, le=9_999)] = 0
    """Place among the inspections of the reference data; bounded, as MessagePack holds 64 bits."""


class Reason(msgspec.Struct, frozen=True, rename="camel"):
    """One reason of a score card; for officers only, never for driver or trade."""

    kind: str
    id: str
    points: int
    text: dict[str, str] = {}


class ScoreParts(msgspec.Struct, frozen=True, rename="camel"):
    """Points by origin; they add up to the score."""

    deductive: int = 0
    inductive: int = 0
    predictive: int = 0


class ScoreCard(msgspec.Struct, frozen=True, rename="camel"):
    """What the risk check saw in one declaration."""

    channel: str
    """green, yellow or red."""
    score: int
    parts: ScoreParts
    reasons: tuple[Reason, ...]
    selection_kind: str
    """WATCHLIST, RULE, FEEDBACK, MODEL, RANDOM or NONE."""
    rule_book_version: str
    model_version: str
    random: bool = False
    capacity: bool = False


class Assessment(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Signed answer of the authority for one declaration of one journey at one crossing and direction.

    `mrn` is None for the light check of an empty run.
    """

    activation_id: str
    mrn: str | None
    version: int
    jrn: str
    crossing: str
    direction: str
    routing: str
    """One of `Routing`; kept as text so that an unknown word is read, recorded and never a GO."""
    issued_at: str
    valid_until: str
    routing_control_location: str | None = None
    type_of_controls: tuple[str, ...] = ()
    report_to_locations: tuple[ReportToLocation, ...] = ()
    deadline: str | None = None
    customs_office: str | None = None
    lane: str | None = None
    score_card: dict[str, Any] | None = None
    signature: str | None = None
    """JWS compact, Ed25519, over this object without it."""


class ConditionalAnswer(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """What the authority says before the crossing, for the case that it cannot be asked then.

    "`routing` if activated at this crossing and direction, between these times, with this mrn and version, unless
    its id is on the revocation list", of which the agent must hold one that is not older than said here.
    """

    activation_id: str
    mrn: str | None
    version: int
    jrn: str
    crossing: str
    direction: str
    routing: str
    """Only TO_ENTRY lets anybody go."""
    issued_at: str
    not_before: str
    not_after: str
    """Between these times it must be activated, RFC 3339."""
    list_number: int
    """Number of the oldest revocation list with which it may be used."""
    list_max_age_s: float
    """How old the newest list held may be, seconds."""
    signature: str | None = None
    """JWS compact, Ed25519, over this object without it."""


class RevocationList(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Conditional answers that no longer hold; part of the signed reference data."""

    number: int = 0
    issued_at: str | None = None
    activation_ids: tuple[str, ...] = ()
