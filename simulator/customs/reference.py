"""Reference data: crossings, offices, inspection types; versioned and signed (design/domain.md section 8)."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from joserfc.jwk import OKPKey

from agent.domain.declaration import Message
from agent.domain.instruction import REFERENCE_TYPE
from agent.domain.routing import RevocationList
from agent.domain.signed import sign
from agent.domain.times import rfc3339
from simulator.customs.book import Inspection
from simulator.customs.declarations import Places


class CrossingReference(Message, frozen=True):
    """One crossing. What is null is not known from public sources."""

    id: str
    name: str
    customs_office: str | None
    road: str | None = None
    neighbour: str | None = None
    unmanned: bool | None = None
    opening_hours: str | None = None
    when_cut: str = "hold"
    """What an agent that is cut off does here: `hold`, or `conditional` (design/risk.md section 9)."""


class OfficeReference(Message, frozen=True):
    """One customs office."""

    number: str
    crossings: tuple[str, ...]
    competences: tuple[str, ...] | None = None
    opening_hours: str | None = None
    phone: str | None = None
    when_cut: str = "hold"
    """The same for a whole office: `conditional` only where it is at each of its crossings."""


class InspectionReference(Message, frozen=True):
    """A kind of inspection; `order` sorts the places to which a lorry reports."""

    id: str
    order: int
    locations: tuple[str, ...]


class ReferenceData(Message, frozen=True):
    """Answer of `GET /v1/reference-data`; `signature` is a JWS over this object without it."""

    version: str
    effective_from: str
    crossings: tuple[CrossingReference, ...]
    offices: tuple[OfficeReference, ...]
    inspections: tuple[InspectionReference, ...]
    effective_to: str | None = None
    revocations: RevocationList = RevocationList()
    signature: str | None = None


class _Feature(msgspec.Struct, frozen=True):
    properties: dict[str, Any]


class _Collection(msgspec.Struct, frozen=True):
    features: tuple[_Feature, ...]


def read_crossings(geojson: bytes) -> tuple[CrossingReference, ...]:
    """Crossings of the shipped GeoJSON (`zones/data/geo/crossings.geojson`), by key."""
    found = (one.properties for one in msgspec.json.decode(geojson, type=_Collection).features)
    crossings = (
        CrossingReference(
            id=one["id"],
            name=one["name"],
            customs_office=one.get("office_ref"),
            road=one.get("road"),
            neighbour=one.get("neighbour"),
        )
        for one in found
    )
    return tuple(sorted(crossings, key=lambda crossing: crossing.id))


def places_of(crossings: tuple[CrossingReference, ...]) -> Places:
    """Crossings and offices for the rules of declarations."""
    offices = {one.customs_office for one in crossings if one.customs_office is not None}
    return Places({one.id: one.customs_office for one in crossings}, frozenset(offices))


def reference_data(
    crossings: tuple[CrossingReference, ...],
    inspections: tuple[Inspection, ...],
    from_s: float,
    conditional: frozenset[str] = frozenset(),
) -> ReferenceData:
    """Unsigned reference data; its version is a digest of its content.

    Args:
        crossings, inspections: What there is.
        from_s: Since when it holds, UTC seconds.
        conditional: Crossings where the authority's conditional answers count while the line is cut.
    """
    crossings = tuple(
        msgspec.structs.replace(one, when_cut="conditional") if one.id in conditional else one for one in crossings
    )
    by_office: dict[str, list[str]] = {}
    for crossing in crossings:
        if crossing.customs_office is not None:
            by_office.setdefault(crossing.customs_office, []).append(crossing.id)
    offices = tuple(
        OfficeReference(
            number=one,
            crossings=tuple(by_office[one]),
            when_cut="conditional" if conditional.issuperset(by_office[one]) else "hold",
        )
        for one in sorted(by_office)
    )
    kinds = tuple(InspectionReference(id=one.id, order=one.order, locations=one.locations) for one in inspections)
    digest = hashlib.sha256(msgspec.json.encode((crossings, offices, kinds))).hexdigest()
    return ReferenceData(
        version=digest[:16],
        effective_from=rfc3339(from_s),
        crossings=crossings,
        offices=offices,
        inspections=kinds,
    )


def signed_reference_data(data: ReferenceData, key: OKPKey, kid: str) -> ReferenceData:
    """The same with the authority's signature."""
    unsigned = msgspec.json.encode(msgspec.structs.replace(data, signature=None))
    return msgspec.structs.replace(data, signature=sign(unsigned, key, kid, REFERENCE_TYPE))
