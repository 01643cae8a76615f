"""Rules for goods and transport declarations: what blocks, warns, is linked (design/domain.md 4, 8, 9).

Facts of the register come in as values; answers name the field by JSONPath, so that an author can mend it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agent.domain.declaration import (
    DeclarationReference,
    GoodsDeclaration,
    Message,
    RuleFailure,
    TransportDeclaration,
)
from agent.domain.identifiers import (
    JRN_FORM,
    MRN_FORM,
    OFFICE_FORM,
    PERMIT_FORM,
    PROCEDURE_LETTERS,
    UNIT_FORM,
    MrnVerdict,
    check_digit,
    judge_mrn,
    nationality_code,
    normal_mrn,
    plate_key,
    vehicle_key,
)
from agent.domain.times import epoch_s

DIRECTIONS = ("IN", "OUT")
PROCEDURES = ("EXPORT", "IMPORT", "TRANSIT", "TRANSIT_OPEN", "TRANSIT_CLOSE", "PERIODIC")
DIRECTION_OF = {"EXPORT": "OUT", "IMPORT": "IN"}
"""Procedures that fit one direction only; transit goes both ways, in two journeys."""
ALTERNATIVES = ("NONE", "LISTED", "ANY_COMPETENT")
_LETTER_OF = {"EXPORT": "A", "IMPORT": "R", "TRANSIT": "J", "TRANSIT_OPEN": "J", "TRANSIT_CLOSE": "J"}
MAX_SERIAL = 36**12
"""MRNs that one office can give in a year: twelve characters between country and procedure letter."""


class ValidationAnswer(Message, frozen=True, omit_defaults=False):
    """What customs says of a submitted declaration."""

    state: str
    """READY or NOT_READY; CANCELLED after a DELETE."""
    mrn: str | None = None
    jrn: str | None = None
    lrn: str | None = None
    version: int | None = None
    """Version now in the register; None if nothing was stored."""
    rule_failures: tuple[RuleFailure, ...] = ()
    warnings: tuple[RuleFailure, ...] = ()
    cannot_verify: tuple[str, ...] = ()
    """Checks that our own side could not make yet: not the author's fault."""


@dataclass(frozen=True)
class Places:
    """Crossings and offices that exist."""

    crossings: Mapping[str, str | None]
    """Crossing to its customs office."""
    offices: frozenset[str]


@dataclass(frozen=True)
class GoodsFacts:
    """What the register knows of one MRN or permit, as seen by one journey."""

    declaration: GoodsDeclaration
    state: str
    """DRAFT, ACCEPTED, CANCELLED or EXPIRED."""
    other_holders: tuple[str, ...] = ()
    """Other live journeys of this direction that reference it."""
    activated_by: str | None = None
    """Another journey that has already activated it in this direction."""


@dataclass
class Findings:
    """Faults found so far."""

    failures: list[RuleFailure] = field(default_factory=list)
    warnings: list[RuleFailure] = field(default_factory=list)

    def fail(self, code: str, where: str, value: Any, message: str) -> None:
        """Add a fault that keeps the declaration NOT_READY."""
        self.failures.append(RuleFailure(code=code, field=where, value=value, message=message))

    def warn(self, code: str, where: str, value: Any, message: str) -> None:
        """Add a remark that blocks nothing."""
        self.warnings.append(RuleFailure(code=code, field=where, value=value, message=message, blocking=False))


@dataclass(frozen=True)
class JourneyVerdict:
    """Outcome of the rules for a transport declaration."""

    failures: tuple[RuleFailure, ...]
    warnings: tuple[RuleFailure, ...]
    linked: tuple[DeclarationReference, ...]
    """References that hold; a journey that is NOT_READY still carries its good ones."""

    @property
    def state(self) -> str:
        """READY or NOT_READY."""
        return "NOT_READY" if self.failures else "READY"


def assigned_mrn(serial: int, year: int, procedure: str) -> str:
    """The MRN that this service gives: year, CH, serial in base 36, letter of the procedure, check digit.

    Raises:
        ValueError: serial out of range (a caller bug).
    """
    if not 0 <= serial < MAX_SERIAL:
        raise ValueError(f"serial {serial}: expected 0 to {MAX_SERIAL - 1}")
    first_17 = f"{year % 100:02d}CH{_base36(serial):0>12}{_LETTER_OF.get(procedure, 'A')}"
    return f"{first_17}{check_digit(first_17)}"


def _base36(number: int) -> str:
    text = ""
    while number:
        number, rest = divmod(number, 36)
        text = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest] + text
    return text


def normal_goods(goods: GoodsDeclaration) -> GoodsDeclaration:
    """The declaration with its MRN in the form in which MRNs are compared."""
    if goods.mrn is None or goods.procedure == "PERIODIC":
        return goods
    return msgspec.structs.replace(goods, mrn=normal_mrn(goods.mrn))


def normal_reference(reference: DeclarationReference) -> DeclarationReference:
    """The reference with its MRN in the form in which MRNs are compared."""
    if reference.type_of_reference != "MRN":
        return reference
    return msgspec.structs.replace(reference, reference_number=normal_mrn(reference.reference_number))


def storable_goods_key(goods: GoodsDeclaration) -> bool:
    """Whether the register can hold the declaration, if only as a draft, under its own number."""
    form = PERMIT_FORM if goods.procedure == "PERIODIC" else MRN_FORM
    return goods.mrn is not None and form.fullmatch(goods.mrn) is not None


def check_goods(goods: GoodsDeclaration, places: Places) -> Findings:
    """Rules for a normal goods declaration that already has its MRN."""
    found = Findings()
    _check_choice(found, "PROCEDURE_UNKNOWN", "$.procedure", goods.procedure, PROCEDURES)
    _check_choice(found, "DIRECTION_UNKNOWN", "$.direction", goods.direction, DIRECTIONS)
    expected = DIRECTION_OF.get(goods.procedure)
    if expected is not None and goods.direction in DIRECTIONS and goods.direction != expected:
        found.fail("DIRECTION_MISMATCH", "$.direction", goods.direction, f"{goods.procedure}: expected {expected}")
    _check_goods_number(found, goods)
    if goods.customs_office is not None:
        _check_office(found, "$.customsOffice", goods.customs_office, places)
    elif goods.procedure == "PERIODIC":
        found.fail("OFFICE_MISSING", "$.customsOffice", None, "a permit holds at one office: expected its number")
    _check_items(found, goods)
    for role in ("consignor", "consignee"):
        if getattr(goods, role) is None:
            found.warn("PARTY_MISSING", f"$.{role}", None, f"without {role} the risk check may ask for papers")
    return found


def _check_choice(found: Findings, code: str, where: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        found.fail(code, where, value, f"expected one of {', '.join(known)}")


def _check_goods_number(found: Findings, goods: GoodsDeclaration) -> None:
    number = goods.mrn
    if goods.procedure == "PERIODIC":
        if number is None or not PERMIT_FORM.fullmatch(number):
            found.fail("PERMIT_FORM", "$.mrn", number, "expected the permit number, 1 to 35 letters and digits")
        return
    if number is None:
        return
    _check_mrn(found, "$.mrn", number)
    letters = PROCEDURE_LETTERS.get(goods.procedure, frozenset())
    if MRN_FORM.fullmatch(number) and letters and number[16] not in letters:
        wanted = ", ".join(sorted(letters))
        found.warn("MRN_LETTER", "$.mrn", number, f"position 17 is {number[16]}: {goods.procedure} has {wanted}")


def _check_mrn(found: Findings, where: str, mrn: str) -> bool:
    """Whether the form of an MRN lets us go on and look it up."""
    match judge_mrn(mrn):
        case MrnVerdict.BAD_FORM:
            found.fail("MRN_FORM", where, mrn, "expected 2 digits, 2 letters, 13 letters or digits, 1 check digit")
            return False
        case MrnVerdict.BAD_CHECK_DIGIT:
            found.fail("MRN_CHECK_DIGIT", where, mrn, f"check digit {mrn[17]}: expected {check_digit(mrn[:17])}")
            return False
        case MrnVerdict.WARN_CHECK_DIGIT:
            found.warn("MRN_CHECK_DIGIT", where, mrn, f"check digit {mrn[17]}: expected {check_digit(mrn[:17])}")
    return True


def _check_office(found: Findings, where: str, office: str, places: Places) -> None:
    if not OFFICE_FORM.fullmatch(office):
        found.fail("OFFICE_FORM", where, office, "expected 2 letters and 6 letters or digits, such as CH001251")
    elif office not in places.offices:
        found.fail("OFFICE_UNKNOWN", where, office, "no office of this number")


def _check_items(found: Findings, goods: GoodsDeclaration) -> None:
    if not goods.goods_items:
        found.fail("GOODS_ITEM_MISSING", "$.goodsItems", [], "expected at least one goods item")
    seen: set[int] = set()
    for index, item in enumerate(goods.goods_items):
        where = f"$.goodsItems[{index}]"
        number = item.goods_item_number
        if number in seen:
            found.fail("GOODS_ITEM_TWICE", f"{where}.goodsItemNumber", number, "each item number only once")
        seen.add(number)
        _check_countries(found, where, item.country_of_origin, item.country_of_dispatch)
        if item.net_mass is not None and item.gross_mass is not None and item.net_mass > item.gross_mass:
            found.warn("MASS", f"{where}.netMass", item.net_mass, f"more than grossMass {item.gross_mass}")


def _check_countries(found: Findings, where: str, origin: str | None, dispatch: str | None) -> None:
    for name, country in (("countryOfOrigin", origin), ("countryOfDispatch", dispatch)):
        if country is not None and nationality_code(country) is None:
            found.fail("COUNTRY_FORM", f"{where}.{name}", country, "expected two letters (ISO 3166)")


def check_journey(journey: TransportDeclaration, places: Places, goods: Mapping[str, GoodsFacts]) -> JourneyVerdict:
    """Rules for a transport declaration whose references are normal.

    Args:
        goods: What the register knows of the referenced numbers; a missing number is unknown to it.
    """
    found = Findings()
    _check_choice(found, "DIRECTION_UNKNOWN", "$.direction", journey.direction, DIRECTIONS)
    _check_vehicle(found, journey)
    _check_plan(found, journey, places)
    for index, unit in enumerate(journey.units):
        if not UNIT_FORM.fullmatch(unit):
            found.fail("UNIT_FORM", f"$.units[{index}]", unit, "expected 1 to 64 of A-Z a-z 0-9 . _ -")
    if journey.empty and journey.references:
        found.fail("EMPTY_WITH_GOODS", "$.empty", True, "an empty run references nothing")
    if not journey.empty and not journey.references:
        found.fail("REFERENCES_MISSING", "$.references", [], "expected a reference, or empty: true")
    linked = tuple(_linked(found, journey, places, goods))
    return JourneyVerdict(tuple(found.failures), tuple(found.warnings), linked)


def jrn_is_good(jrn: str) -> bool:
    """Whether a journey reference has the form of one."""
    return JRN_FORM.fullmatch(jrn) is not None


def _check_vehicle(found: Findings, journey: TransportDeclaration) -> None:
    vehicle = journey.active_border_transport_means
    where = "$.activeBorderTransportMeans"
    _check_plate(found, where, vehicle.identification_number, vehicle.nationality)
    key = vehicle_key(vehicle.identification_number, vehicle.nationality)
    for index, trailer in enumerate(journey.trailers):
        _check_plate(found, f"$.trailers[{index}]", trailer.identification_number, trailer.nationality)
        if key is not None and vehicle_key(trailer.identification_number, trailer.nationality) == key:
            shown = vehicle.identification_number
            found.fail("TRAILER_IS_VEHICLE", f"{where}.identificationNumber", shown, "this is the trailer's plate")
    for index, equipment in enumerate(journey.transport_equipment):
        number = equipment.container_identification_number
        if number is not None and not container_is_good(number):
            spot = f"$.transportEquipment[{index}].containerIdentificationNumber"
            found.warn("CONTAINER_NUMBER", spot, number, "check digit of ISO 6346 does not hold")


def _check_plate(found: Findings, where: str, plate: str, nationality: str) -> None:
    if plate_key(plate) is None:
        found.fail("PLATE_FORM", f"{where}.identificationNumber", plate, "expected 2 to 17 letters and digits")
    if nationality_code(nationality) is None:
        found.fail("NATIONALITY", f"{where}.nationality", nationality, "expected ISO 3166 or a vehicle sign")


def container_is_good(number: str) -> bool:
    """ISO 6346: four letters, six digits, check digit; `CSQU3054383` is good."""
    text = "".join(number.split()).upper()
    if len(text) != 11 or not (text.isascii() and text[:4].isalpha() and text[4:].isdigit()):
        return False
    return check_digit(text[:10]) == int(text[10])


def _check_plan(found: Findings, journey: TransportDeclaration, places: Places) -> None:
    plan = journey.planned_crossing
    where = "$.plannedCrossing"
    for spot, crossing in ((f"{where}.crossing", plan.crossing), *_listed(plan.list, where)):
        if crossing not in places.crossings:
            found.fail("CROSSING_UNKNOWN", spot, crossing, "no crossing of this key")
    _check_choice(found, "ALTERNATIVES", f"{where}.alternatives", plan.alternatives, ALTERNATIVES)
    if plan.customs_office is not None:
        _check_office(found, f"{where}.customsOffice", plan.customs_office, places)
        office = places.crossings.get(plan.crossing)
        if office is not None and plan.customs_office in places.offices and office != plan.customs_office:
            found.fail("OFFICE_CROSSING", f"{where}.customsOffice", plan.customs_office, f"expected {office}")
    if plan.estimated_date_time is not None and time_s(plan.estimated_date_time) is None:
        spot, value = f"{where}.estimatedDateTime", plan.estimated_date_time
        found.fail("TIME_FORM", spot, value, "expected RFC 3339 with a zone, such as 2026-11-22T10:00:00Z")


def _listed(crossings: tuple[str, ...], where: str) -> Iterator[tuple[str, str]]:
    return ((f"{where}.list[{index}]", crossing) for index, crossing in enumerate(crossings))


def time_s(text: str | int) -> float | None:
    """UTC seconds, or None if the text is no time."""
    try:
        return epoch_s(text)
    except (ValueError, OverflowError):
        return None


def _linked(
    found: Findings, journey: TransportDeclaration, places: Places, goods: Mapping[str, GoodsFacts]
) -> Iterator[DeclarationReference]:
    """The references that hold; for each other one a failure."""
    seen: set[str] = set()
    for index, reference in enumerate(journey.references):
        where, number = f"$.references[{index}]", reference.reference_number
        if number in seen:
            found.fail("REFERENCE_TWICE", f"{where}.referenceNumber", number, "referenced above already")
            continue
        seen.add(number)
        if _reference_form(found, where, reference) and _reference_holds(
            found, where, reference, goods.get(number), journey, places
        ):
            yield reference


def _reference_form(found: Findings, where: str, reference: DeclarationReference) -> bool:
    number = reference.reference_number
    if reference.type_of_reference == "MRN":
        return _check_mrn(found, f"{where}.referenceNumber", number)
    if reference.type_of_reference != "PERMIT":
        spot = f"{where}.typeOfReference"
        found.fail("REFERENCE_TYPE", spot, reference.type_of_reference, "expected MRN or PERMIT")
        return False
    if not PERMIT_FORM.fullmatch(number):
        found.fail("PERMIT_FORM", f"{where}.referenceNumber", number, "expected 1 to 35 letters and digits")
        return False
    return True


def _reference_holds(
    found: Findings,
    where: str,
    reference: DeclarationReference,
    facts: GoodsFacts | None,
    journey: TransportDeclaration,
    places: Places,
) -> bool:
    """Whether the register bears the reference out; the first thing that does not is named."""
    number = reference.reference_number
    fault = _register_fault(reference, facts, journey.direction)
    if fault is None and facts is not None and facts.declaration.procedure == "PERIODIC":
        office = places.crossings.get(journey.planned_crossing.crossing)
        if office != facts.declaration.customs_office:
            fault = (
                "PERMIT_OFFICE",
                f"holds at {facts.declaration.customs_office}, this crossing has {office}",
            )
    if fault is None:
        return True
    spot = "version" if fault[0] == "OLD_VERSION" else "referenceNumber"
    found.fail(fault[0], f"{where}.{spot}", reference.version if spot == "version" else number, fault[1])
    return False


def _register_fault(
    reference: DeclarationReference, facts: GoodsFacts | None, direction: str
) -> tuple[str, str] | None:
    if facts is None:
        return "UNKNOWN_MRN", "not in the register"
    goods, periodic = facts.declaration, facts.declaration.procedure == "PERIODIC"
    if periodic != (reference.type_of_reference == "PERMIT"):
        return "REFERENCE_TYPE", f"the register has it as {goods.procedure}"
    if facts.state != "ACCEPTED":
        return {"DRAFT": "GOODS_NOT_READY"}.get(facts.state, facts.state), f"it is {facts.state}"
    if reference.version != goods.version:
        return "OLD_VERSION", f"the register has version {goods.version}"
    if direction in DIRECTIONS and not goods_fit_direction(goods, direction):
        return "DIRECTION_MISMATCH", f"declared for {goods.direction}"
    if periodic:
        return None
    if facts.activated_by is not None and goods.parts == 1:
        return "ALREADY_ACTIVATED", f"journey {facts.activated_by} has taken it over the border"
    if len(facts.other_holders) >= goods.parts:
        return "ALREADY_REFERENCED", f"referenced by journey {facts.other_holders[0]}"
    return None


def goods_fit_direction(goods: GoodsDeclaration, direction: str) -> bool:
    """Transit goes through the country, so one declaration serves the way in and the way out."""
    return goods.procedure == "TRANSIT" or goods.direction == direction
