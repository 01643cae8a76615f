"""The papers of a simulated lorry: transport declaration, goods declarations, plate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from agent.domain.declaration import (
    CrewMember,
    DeclarationReference,
    DutyAndTax,
    GoodsDeclaration,
    GoodsItem,
    ImportData,
    Party,
    PlannedCrossing,
    Trailer,
    TransportDeclaration,
    TransportMeans,
)
from agent.domain.identifiers import check_digit
from agent.domain.instruction import Vehicle
from agent.domain.times import rfc3339
from simulator.dice import Dice
from zones.border_zone import BorderZone
from zones.events import Direction

WATCHED_PLATE = Vehicle("ZH999001", "CH")
"""Plate on the shipped watch list."""
NO_VEHICLE = Vehicle("", "")
"""A lorry driven by a recorded track that crosses nowhere."""
WATCHED_CONSIGNEE = "Helvetia Schatenhandel AG"
"""The shipped watch list's `Helvetia Schattenhandel AG`, misspelt as a smuggler would."""

LANGUAGES = ("de", "fr", "it", "en", "pl", "ro", "tr", "cs", "hu", "es", "pt", "lt")
_NATIONS = (
    ("CH", 30.0),
    ("DE", 20.0),
    ("IT", 12.0),
    ("PL", 12.0),
    ("AT", 8.0),
    ("FR", 8.0),
    ("RO", 6.0),
    ("LT", 4.0),
)
_CANTONS = ("AG", "BE", "BL", "GE", "GR", "LU", "SG", "SO", "TG", "TI", "VD", "ZG")
_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FIRMS = (
    "Aarau Maschinenbau AG",
    "Bodensee Obst Genossenschaft",
    "Cantieri Ticino SA",
    "Donau Stahl GmbH",
    "Emmental Milch AG",
    "Fribourg Emballages SA",
    "Glarner Textil AG",
    "Horlogerie du Jura SA",
    "Inntal Holz GmbH",
    "Lario Ceramiche SpA",
    "Limmat Pharma AG",
    "Norditalia Ortofrutta Srl",
    "Oberrhein Papier GmbH",
    "Schaffhauser Pumpen AG",
    "Rhone Chimie SA",
    "Toggenburg Bau AG",
)
_CARRIERS = (
    "Alpenfracht AG",
    "Transporti Gottardo SA",
    "Spedycja Wisla Sp. z o.o.",
    "Rheintal Logistik GmbH",
)
_WARES = (
    ("84137000", "Kreiselpumpen", 18.0),
    ("87089900", "Fahrzeugteile", 12.0),
    ("04069000", "Hartkäse", 9.0),
    ("44071100", "Schnittholz", 0.6),
    ("48101900", "Papier, gestrichen", 1.4),
    ("39232900", "Verpackungen aus Kunststoff", 3.2),
    ("69072100", "Keramikfliesen", 0.9),
    ("72142000", "Bewehrungsstahl", 0.8),
    ("07020000", "Tomaten", 1.9),
    ("94036000", "Holzmöbel", 6.5),
)
"""Commodity code, description, francs a kilogram (choice): ordinary freight that no shipped profile seeks."""
_MRN_LETTERS = {"IMPORT": "RS", "EXPORT": "ABCDE", "TRANSIT": "JKL"}
_TRANSIT_COUNTRIES = ("CH", "DE", "IT", "AT", "FR")
PERMIT_SHARE, EMPTY_SHARE, TRANSIT_SHARE = 0.08, 0.06, 0.25
UNDERVALUED_SHARE = 0.02
"""Of import declarations (choice): as many as the shares of the rule book send to a control after entry."""


CHF_OF_PRICE = 0.0006
"""Francs in one unit of the labelled declarations' prices (Korean won, roughly)."""
MAX_LORRY_KG = 25_000.0
"""What a lorry carries at most: labelled lines that weigh more went by ship."""


class DeclaredLine(msgspec.Struct, frozen=True, gc=False):
    """One labelled import declaration of the data set that models are trained on; texts as there, empty = none."""

    office: str
    process: str
    import_type: str
    import_use: str
    payment: str
    transport_mode: str
    declarant: str
    importer: str
    seller: str
    courier: str
    hs6: str
    departure: str
    origin: str
    tax_rate: float
    """Percent."""
    tax_type: str
    origin_mark: str
    mass_kg: float
    price: float
    """In units of `CHF_OF_PRICE`."""
    found: bool
    """What a control finds."""


@dataclass(frozen=True)
class Papers:
    """What a lorry carries."""

    vehicle: Vehicle = NO_VEHICLE
    journey: TransportDeclaration | None = None
    goods: tuple[GoodsDeclaration, ...] = ()
    valid: tuple[tuple[str, int], ...] = ()
    """(mrn or permit, version) of each declaration that can be activated."""
    language: str = "en"
    findings: frozenset[str] = field(default_factory=frozenset)
    """Declarations (mrn) in which a control finds something."""


def make_papers(
    run_id: str,
    number: int,
    unit: str,
    zone: BorderZone,
    eta_s: float,
    dice: Dice,
    *,
    declarations: int | None = None,
    faulty_of: int = 0,
    watched_plate: bool = False,
    watched_consignee: bool = False,
    lines: Sequence[DeclaredLine] = (),
) -> Papers:
    """Papers for one way through the crossing of `zone`.

    Args:
        run_id, number: Make every number unlike those of other runs and lorries.
        unit: Telematics unit that speaks for the lorry.
        zone: Activation zone of the planned crossing and direction.
        eta_s: When it should be there, UTC seconds.
        dice: The lorry's own.
        declarations: How many; None = by chance, with empty runs and permits among them.
        faulty_of: With n > 0 there are n declarations, and the last has a wrong check digit.
        watched_plate, watched_consignee: On the watch list.
        lines: Labelled declarations from which imports are drawn; none = made-up ordinary freight.
    """
    findings: set[str] = set()
    vehicle = WATCHED_PLATE if watched_plate else plate_for(run_id, number, dice)
    plain = faulty_of == 0 and declarations is None and not (watched_plate or watched_consignee)
    if plain and dice.chance(EMPTY_SHARE):
        goods: tuple[GoodsDeclaration, ...] = ()
    elif plain and zone.customs_office is not None and dice.chance(PERMIT_SHARE):
        goods = (_permit(run_id, zone, dice),)
    else:
        count = faulty_of or declarations or dice.weighted(((1, 4.0), (2, 3.0), (3, 2.0), (5, 1.0)))
        made = [_goods(run_id, number, index, zone, dice, lines) for index in range(count)]
        goods = tuple(one for one, _ in made)
        findings = {str(one.mrn) for one, found in made if found}
    if watched_consignee:
        goods = (_replaced(goods[0], consignee=Party(name=WATCHED_CONSIGNEE, country="CH")), *goods[1:])
    if faulty_of:
        goods = (*goods[:-1], _replaced(goods[-1], mrn=_misread(str(goods[-1].mrn))))
    language = dice.choice(LANGUAGES)
    journey = _journey(run_id, number, unit, zone, eta_s, vehicle, goods, language, dice)
    good = goods[:-1] if faulty_of else goods
    return Papers(
        vehicle=vehicle,
        journey=journey,
        goods=goods,
        valid=tuple((str(item.mrn), item.version) for item in good),
        language=language,
        findings=frozenset(findings),
    )


def plate_for(run_id: str, number: int, dice: Dice) -> Vehicle:
    """A plate of its own for each lorry of each run, far from any on the watch list."""
    nation = dice.weighted(_NATIONS)
    serial = Dice("plate", run_id, number).whole(0, 899_999)
    if nation == "CH":
        return Vehicle(f"{dice.choice(_CANTONS)}{serial % 890_000 + 10_000}", nation)
    letters = dice.choice(_LETTERS) + dice.choice(_LETTERS)
    return Vehicle(f"{letters}{serial // 1_000:03d}{_LETTERS[number % 23]}{serial % 1_000:03d}", nation)


def make_mrn(run_id: str, number: int, index: int, country: str, letter: str) -> str:
    """An MRN with its right check digit: year, country, 12 characters of this run, procedure letter."""
    dice = Dice("mrn", run_id, number, index)
    first = f"26{country}{''.join(dice.choice(_BASE36) for _ in range(12))}{letter}"
    return f"{first}{check_digit(first)}"


def _misread(mrn: str) -> str:
    """The same MRN with a wrong check digit, which CH and transit numbers may not have."""
    return f"{mrn[:17]}{(int(mrn[17]) + 3) % 10}"


def _goods(
    run_id: str, number: int, index: int, zone: BorderZone, dice: Dice, lines: Sequence[DeclaredLine]
) -> tuple[GoodsDeclaration, bool]:
    """A goods declaration, and whether a control finds something in it."""
    inbound = zone.direction is Direction.IN
    transit = "TRANSIT" in zone.competences and dice.chance(TRANSIT_SHARE)
    procedure = "TRANSIT" if transit else "IMPORT" if inbound else "EXPORT"
    country = dice.choice(_TRANSIT_COUNTRIES) if transit else "CH"
    abroad = dice.choice(("DE", "IT", "FR", "AT", "PL"))
    items = tuple(_item(line, abroad if inbound else "CH", dice) for line in range(1, dice.whole(1, 3) + 1))
    undervalued = procedure == "IMPORT" and dice.chance(UNDERVALUED_SHARE)
    if undervalued:
        items = (_undervalued(items[0]), *items[1:])
    goods = GoodsDeclaration(
        procedure=procedure,
        direction="IN" if inbound else "OUT",
        mrn=make_mrn(run_id, number, index, country, dice.choice(_MRN_LETTERS[procedure])),
        declarant=Party(name=dice.choice(_CARRIERS), country="CH"),
        consignor=Party(name=dice.choice(_FIRMS), country=abroad if inbound else "CH"),
        consignee=Party(name=dice.choice(_FIRMS), country="CH" if inbound else abroad),
        goods_items=items,
    )
    if procedure != "IMPORT" or undervalued or not lines:
        return goods, undervalued
    drawn = lines[dice.whole(0, len(lines) - 1)]
    return declared(drawn, goods), drawn.found


def declared(line: DeclaredLine, goods: GoodsDeclaration) -> GoodsDeclaration:
    """The declaration with what a labelled line says of goods, parties and procedure."""
    item = GoodsItem(
        goods_item_number=1,
        commodity_code=f"{line.hs6}00",
        country_of_origin=line.origin or None,
        country_of_dispatch=line.departure or None,
        net_mass=line.mass_kg,
        gross_mass=round(line.mass_kg * 1.06, 1),
        statistical_value=round(line.price * CHF_OF_PRICE, 2),
        currency="CHF",
        origin_indicator=line.origin_mark or None,
        duties_and_taxes=(DutyAndTax(tax_type=line.tax_type, tax_rate=line.tax_rate),),
    )
    data = ImportData(
        customs_office_of_import=line.office or None,
        additional_declaration_type=line.process or None,
        requested_procedure=line.import_type or None,
        nature_of_transaction=line.import_use or None,
        method_of_payment=line.payment or None,
        inland_mode_of_transport=line.transport_mode or None,
        courier=_firm(line.courier),
    )
    return _replaced(
        goods,
        declarant=_firm(line.declarant) or goods.declarant,
        consignor=_firm(line.seller) or goods.consignor,
        consignee=_firm(line.importer) or goods.consignee,
        import_data=data,
        goods_items=(item,),
    )


def _firm(number: str) -> Party | None:
    """A firm with a name of its own; the same number has the same name."""
    if not number:
        return None
    digest = hashlib.blake2b(number.encode(), digest_size=8).digest()
    words = ["".join(_SYLLABLES[byte % len(_SYLLABLES)] for byte in part) for part in (digest[:3], digest[3:6])]
    trade = _TRADES[digest[6] % len(_TRADES)]
    return Party(name=f"{words[0].title()} {words[1].title()} {trade}", identification_number=number)


_SYLLABLES = ("ba", "do", "fi", "ga", "ke", "lu", "mo", "na", "pe", "ri", "so", "ta", "vo", "wi", "ze", "hu")
_TRADES = ("Trading", "Import", "Handel", "Logistics", "Textil", "Elektronik", "Foods", "Parts")


def _undervalued(item: GoodsItem) -> GoodsItem:
    """Shoes far below their price: a shipped profile sends them to a control after entry."""
    return msgspec.structs.replace(
        item,
        commodity_code="64039900",
        description_of_goods="Schuhe",
        country_of_origin="CN",
        statistical_value=round((item.net_mass or 0.0) * 2.1),
    )


def _permit(run_id: str, zone: BorderZone, dice: Dice) -> GoodsDeclaration:
    """Bulk goods on a permit: the same number again and again through the same office."""
    inbound = zone.direction is Direction.IN
    return GoodsDeclaration(
        procedure="PERIODIC",
        direction="IN" if inbound else "OUT",
        mrn=f"PER-{run_id}-{Dice('permit', run_id, zone.id).whole(100_000, 999_999)}",
        consignor=Party(name="Kieswerk Hochrhein AG", country="DE" if inbound else "CH"),
        consignee=Party(name="Toggenburg Bau AG", country="CH" if inbound else "DE"),
        customs_office=zone.customs_office,
        goods_items=(
            GoodsItem(
                goods_item_number=1,
                commodity_code="25171000",
                description_of_goods="Kies und Schotter",
                country_of_origin="DE" if inbound else "CH",
                net_mass=24_000.0,
                gross_mass=24_000.0,
                statistical_value=480.0,
                currency="CHF",
            ),
        ),
    )


def _item(line: int, origin: str, dice: Dice) -> GoodsItem:
    code, words, francs_per_kg = dice.choice(_WARES)
    net_kg = round(dice.between(400.0, 6_000.0), 1)
    return GoodsItem(
        goods_item_number=line,
        commodity_code=code,
        description_of_goods=words,
        country_of_origin=origin,
        country_of_dispatch=origin,
        net_mass=net_kg,
        gross_mass=round(net_kg * 1.06, 1),
        statistical_value=round(net_kg * francs_per_kg * dice.between(0.8, 1.25), 2),
        currency="CHF",
    )


def _journey(
    run_id: str,
    number: int,
    unit: str,
    zone: BorderZone,
    eta_s: float,
    vehicle: Vehicle,
    goods: tuple[GoodsDeclaration, ...],
    language: str,
    dice: Dice,
) -> TransportDeclaration:
    trailer = plate_for(f"{run_id}-trailer", number, dice)
    return TransportDeclaration(
        jrn=f"J{run_id}-{number:05d}",
        direction="IN" if zone.direction is Direction.IN else "OUT",
        active_border_transport_means=TransportMeans(
            identification_number=vehicle.identification_number,
            nationality=vehicle.nationality,
            customs_office_at_border_reference_number=zone.customs_office,
        ),
        planned_crossing=PlannedCrossing(
            crossing=zone.crossing_key,
            customs_office=zone.customs_office,
            estimated_date_time=rfc3339(eta_s),
        ),
        trailers=(
            (Trailer(identification_number=trailer.identification_number, nationality=trailer.nationality),)
            if dice.chance(0.7)
            else ()
        ),
        crew=(CrewMember(language=language),),
        units=(unit,),
        references=tuple(
            DeclarationReference(
                reference_number=str(item.mrn),
                version=item.version,
                type_of_reference="PERMIT" if item.procedure == "PERIODIC" else "MRN",
            )
            for item in goods
        ),
        empty=not goods,
        empty_reason=None if goods else "RETURN",
        carrier=Party(name=dice.choice(_CARRIERS), country="CH"),
    )


def _replaced(goods: GoodsDeclaration, **changes: object) -> GoodsDeclaration:
    return msgspec.structs.replace(goods, **changes)
