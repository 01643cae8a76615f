"""Goods declaration, transport declaration and the link between them (design/domain.md section 8)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Text35 = Annotated[str, Meta(min_length=1, max_length=35)]
Text512 = Annotated[str, Meta(max_length=512)]
NotNegative = Annotated[float, Meta(ge=0)]
Degrees90 = Annotated[float, Meta(ge=-90, le=90)]
Degrees180 = Annotated[float, Meta(ge=-180, le=180)]

MAX_ITEMS = 999
"""Goods items of a declaration, as in NCTS phase 5."""
MAX_REFERENCES = 100
"""Goods declarations of one lorry (choice)."""


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """Base of messages from outside: camelCase, unknown fields ignored as newer senders add some.

    No message can be part of a cycle, so the garbage collector need not look at the hundreds of thousands of them
    that an agent keeps.
    """


class Party(Message, frozen=True):
    """A person or firm in a declaration."""

    name: Text512
    identification_number: Annotated[str, Meta(max_length=35)] | None = None
    country: Annotated[str, Meta(max_length=3)] | None = None


class DutyAndTax(Message, frozen=True):
    """A duty or tax on a line of goods."""

    tax_type: Annotated[str, Meta(max_length=8)]
    tax_rate: NotNegative | None = None
    """Percent."""


class GoodsItem(Message, frozen=True):
    """One line of goods."""

    goods_item_number: Annotated[int, Meta(ge=1, le=MAX_ITEMS)]
    commodity_code: Annotated[str, Meta(pattern=r"^[0-9]{4,12}$")]
    description_of_goods: Text512 = ""
    country_of_origin: Annotated[str, Meta(max_length=3)] | None = None
    country_of_dispatch: Annotated[str, Meta(max_length=3)] | None = None
    net_mass: NotNegative | None = None
    gross_mass: NotNegative | None = None
    statistical_value: NotNegative | None = None
    currency: Annotated[str, Meta(max_length=3)] | None = None
    origin_indicator: Annotated[str, Meta(max_length=3)] | None = None
    """How the origin is marked on the goods."""
    duties_and_taxes: Annotated[tuple[DutyAndTax, ...], Meta(max_length=99)] = ()


class ImportData(Message, frozen=True):
    """What an import declaration says besides; risk analysis reads it. Codes of the EU customs data model."""

    customs_office_of_import: Annotated[str, Meta(max_length=8)] | None = None
    additional_declaration_type: Annotated[str, Meta(max_length=3)] | None = None
    requested_procedure: Annotated[str, Meta(max_length=4)] | None = None
    nature_of_transaction: Annotated[str, Meta(max_length=3)] | None = None
    method_of_payment: Annotated[str, Meta(max_length=3)] | None = None
    inland_mode_of_transport: Annotated[str, Meta(max_length=3)] | None = None
    courier: Party | None = None


class PreviousDocument(Message, frozen=True):
    """A document that came before, by type and number."""

    type: Annotated[str, Meta(max_length=8)]
    reference_number: Annotated[str, Meta(max_length=70)]


class GoodsDeclaration(Message, frozen=True):
    """A goods declaration (key `mrn` + `version`); the permit number stands in place of the mrn if PERIODIC."""

    procedure: str
    """EXPORT, IMPORT, TRANSIT_OPEN, TRANSIT_CLOSE, TRANSIT or PERIODIC."""
    direction: str
    """IN or OUT."""
    mrn: str | None = None
    lrn: Annotated[str, Meta(max_length=22)] | None = None
    version: Annotated[int, Meta(ge=1)] = 1
    declarant: Party | None = None
    consignor: Party | None = None
    consignee: Party | None = None
    parts: Annotated[int, Meta(ge=1, le=999)] = 1
    customs_office: str | None = None
    """PERIODIC: the one office at which the permit holds."""
    import_data: ImportData | None = None
    goods_items: Annotated[tuple[GoodsItem, ...], Meta(max_length=MAX_ITEMS)] = ()
    previous_documents: Annotated[tuple[PreviousDocument, ...], Meta(max_length=99)] = ()


class TransportMeans(Message, frozen=True):
    """The active vehicle at the border."""

    identification_number: Annotated[str, Meta(max_length=35)]
    nationality: Annotated[str, Meta(max_length=3)]
    type_of_identification: int = 30
    customs_office_at_border_reference_number: str | None = None
    conveyance_reference_number: str | None = None


class Trailer(Message, frozen=True):
    """A trailer by its plate."""

    identification_number: Annotated[str, Meta(max_length=35)]
    nationality: Annotated[str, Meta(max_length=3)]
    type_of_identification: int = 31


class Seal(Message, frozen=True):
    """One seal."""

    identifier: Annotated[str, Meta(max_length=20)]


class TransportEquipment(Message, frozen=True):
    """A container and its seals."""

    container_identification_number: Annotated[str, Meta(max_length=17)] | None = None
    seals: Annotated[tuple[Seal, ...], Meta(max_length=99)] = ()


class CrewMember(Message, frozen=True):
    """One of the crew; language for what the driver is shown."""

    role: str = "DRIVER"
    contact: Annotated[str, Meta(max_length=70)] | None = None
    language: Annotated[str, Meta(max_length=5)] | None = None


class PlannedCrossing(Message, frozen=True):
    """Where and when the vehicle means to cross."""

    crossing: Annotated[str, Meta(max_length=64)]
    customs_office: str | None = None
    estimated_date_time: str | None = None
    """RFC 3339."""
    alternatives: str = "NONE"
    """NONE, LISTED or ANY_COMPETENT."""
    list: tuple[str, ...] = ()
    """Crossings allowed besides, if LISTED."""


class DeclarationReference(Message, frozen=True):
    """A goods declaration that this journey carries."""

    reference_number: str
    """MRN, or permit number."""
    version: Annotated[int, Meta(ge=1)] = 1
    type_of_reference: str = "MRN"
    """MRN or PERMIT."""


class TransportDeclaration(Message, frozen=True):
    """A transport declaration (journey, key `jrn`): one vehicle, one crossing, one direction, used once."""

    jrn: str
    direction: str
    """IN or OUT."""
    active_border_transport_means: TransportMeans
    planned_crossing: PlannedCrossing
    lrn: Annotated[str, Meta(max_length=22)] | None = None
    version: Annotated[int, Meta(ge=1)] = 1
    mode_of_transport_at_the_border: int = 3
    trailers: Annotated[tuple[Trailer, ...], Meta(max_length=9)] = ()
    transport_equipment: Annotated[tuple[TransportEquipment, ...], Meta(max_length=99)] = ()
    crew: Annotated[tuple[CrewMember, ...], Meta(max_length=9)] = ()
    units: Annotated[tuple[str, ...], Meta(max_length=9)] = ()
    """Telematics units that speak for the vehicle."""
    references: Annotated[tuple[DeclarationReference, ...], Meta(max_length=MAX_REFERENCES)] = ()
    empty: bool = False
    empty_reason: str | None = None
    all_or_nothing: bool = False
    departed: bool = False
    carrier: Party | None = None
    representative: Party | None = None


class RuleFailure(Message, frozen=True):
    """What is wrong in which field (JSONPath); blocking ones keep a declaration NOT_READY."""

    code: str
    field: str
    value: Any
    message: str
    blocking: bool = True


class ControlResult(Message, frozen=True):
    """What the officer found (design/domain.md section 8)."""

    control_result_id: str
    """Idempotency key of the result."""
    mrn: str | None
    version: int
    jrn: str
    officer: Annotated[str, Meta(min_length=1, max_length=70)]
    control_result_code: str
    """CONFORM, FINDING or NOT_RELEASED."""
    started_at: str | None = None
    ended_at: str | None = None
    discrepancies: tuple[dict[str, Any], ...] = ()
    measured_weight: NotNegative | None = None
    seized: bool = False
    profile_ids: tuple[str, ...] = ()
    customs_office: str | None = None
    activation_id: str | None = None


class FeedRow(Message, frozen=True):
    """One change of a journey in the feed for agents, by rising marker."""

    marker: int
    jrn: str
    version: int
    state: str
    """READY, NOT_READY, CANCELLED or EXPIRED."""
    declaration: TransportDeclaration
    goods: tuple[GoodsDeclaration, ...] = ()
    rule_failures: tuple[RuleFailure, ...] = ()
    control_results: tuple[ControlResult, ...] = ()
    """Results so far for the declarations of this journey."""
    raised: tuple[dict[str, Any], ...] = ()
    """Assessments raised by the authority after the first answer, signed."""
    conditional: tuple[dict[str, Any], ...] = ()
    """Conditional answers of the authority for the declarations of this journey, signed."""
    instruction_version: int = 0
    """Highest instruction version reported; a second agent goes on from there."""


class FeedPage(Message, frozen=True):
    """Answer of the feed: rows above the asked marker, oldest first."""

    marker: int
    """Marker to ask with next."""
    rows: tuple[FeedRow, ...] = ()
