"""simulator/customs/declarations.py: tables of design/domain.md section 4, and rules of sections 5 and 9."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.declaration import (
    DeclarationReference,
    GoodsDeclaration,
    GoodsItem,
    PlannedCrossing,
    Trailer,
    TransportDeclaration,
    TransportEquipment,
    TransportMeans,
)
from agent.domain.identifiers import MrnVerdict, judge_mrn
from simulator.customs.declarations import (
    MAX_SERIAL,
    PROCEDURES,
    GoodsFacts,
    Places,
    assigned_mrn,
    check_goods,
    check_journey,
    container_is_good,
    normal_goods,
)

PLACES = Places({"thayngen": "CH002471", "perly": None}, frozenset({"CH002471", "CH001251"}))
Make = Callable[..., Any]


def goods_codes(goods: GoodsDeclaration) -> tuple[set[str], set[str]]:
    found = check_goods(normal_goods(goods), PLACES)
    return {one.code for one in found.failures}, {one.code for one in found.warnings}


@pytest.mark.parametrize(
    ("number", "procedure", "failures", "warnings"),
    [
        ("26CH05WTL3TJWMS5J1", "TRANSIT", set(), set()),
        ("26ch 0000 0000 0001 j4", "TRANSIT", set(), set()),
        ("26CH000000000002J3", "TRANSIT", set(), set()),
        ("26CH000000000001R8", "IMPORT", set(), set()),
        ("26CH000000000001A2", "EXPORT", set(), set()),
        ("26CH000000000006J0", "TRANSIT", set(), set()),
        ("22CHVL2525YYN7IZJ7", "TRANSIT", set(), set()),
        ("22CHLV2525YYN7IZJ7", "TRANSIT", set(), set()),  # passes the digit: only the register can tell
        ("21CHEI000042027074", "IMPORT", set(), {"MRN_LETTER"}),
        ("22CHVL2525YYN7IZJ8", "TRANSIT", {"MRN_CHECK_DIGIT"}, set()),
        ("22CHVL5225YYN7IZJ7", "TRANSIT", {"MRN_CHECK_DIGIT"}, set()),
        ("24NO02091DW4BIEST4", "IMPORT", set(), {"MRN_CHECK_DIGIT", "MRN_LETTER"}),
        ("22SEEVO1CT5UAP2BT3", "IMPORT", set(), {"MRN_CHECK_DIGIT", "MRN_LETTER"}),
        ("22FR98765273876523", "IMPORT", set(), {"MRN_CHECK_DIGIT", "MRN_LETTER"}),
        ("26CH0000000001", "IMPORT", {"MRN_FORM"}, set()),
        ("26CH0000000000012R", "IMPORT", {"MRN_FORM"}, set()),
        ("26CH00000000001R8", "IMPORT", {"MRN_FORM"}, set()),
    ],
)
def test_mrn_table(goods: Make, number: str, procedure: str, failures: set[str], warnings: set[str]) -> None:
    direction = "OUT" if procedure == "EXPORT" else "IN"
    declared = goods(mrn=number, procedure=procedure, direction=direction)
    assert goods_codes(declared) == (failures, warnings)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"procedure": "SMUGGLE"}, "PROCEDURE_UNKNOWN", "$.procedure"),
        ({"direction": "UP"}, "DIRECTION_UNKNOWN", "$.direction"),
        ({"direction": "OUT"}, "DIRECTION_MISMATCH", "$.direction"),
        ({"customs_office": "CH1251"}, "OFFICE_FORM", "$.customsOffice"),
        ({"customs_office": "CH009999"}, "OFFICE_UNKNOWN", "$.customsOffice"),
        ({"goods_items": ()}, "GOODS_ITEM_MISSING", "$.goodsItems"),
        ({"procedure": "PERIODIC", "mrn": "PERMIT-7"}, "OFFICE_MISSING", "$.customsOffice"),
        ({"procedure": "PERIODIC", "mrn": "no permit", "customs_office": "CH001251"}, "PERMIT_FORM", "$.mrn"),
        (
            {"goods_items": (GoodsItem(goods_item_number=1, commodity_code="3926"),) * 2},
            "GOODS_ITEM_TWICE",
            "$.goodsItems[1].goodsItemNumber",
        ),
        (
            {"goods_items": (GoodsItem(goods_item_number=1, commodity_code="3926", country_of_origin="X1"),)},
            "COUNTRY_FORM",
            "$.goodsItems[0].countryOfOrigin",
        ),
    ],
)
def test_each_fault_of_goods_names_its_field(goods: Make, changes: dict[str, Any], code: str, field: str) -> None:
    found = check_goods(goods(**changes), PLACES)
    assert [(one.code, one.field) for one in found.failures] == [(code, field)]
    assert all(one.message and one.blocking for one in found.failures)


def test_good_goods_have_no_faults_and_missing_parties_only_warn(goods: Make) -> None:
    assert goods_codes(goods()) == (set(), set())
    assert goods_codes(goods(consignee=None)) == (set(), {"PARTY_MISSING"})
    assert goods_codes(goods(procedure="PERIODIC", mrn="PERMIT-7", customs_office="CH001251")) == (set(), set())


@given(st.integers(0, MAX_SERIAL - 1), st.integers(2020, 2099), st.sampled_from(PROCEDURES[:-1]))
def test_assigned_mrns_are_good_and_differ_by_serial(serial: int, year: int, procedure: str) -> None:
    mrn = assigned_mrn(serial, year, procedure)
    assert judge_mrn(mrn) is MrnVerdict.GOOD
    assert mrn[16] in "ARJ"
    assert assigned_mrn((serial + 1) % MAX_SERIAL, year, procedure)[:17] != mrn[:17]


def test_containers() -> None:
    assert container_is_good("CSQU3054383")
    assert container_is_good("csqu 305438 3")
    assert not container_is_good("CSQU3054384")
    assert not container_is_good("CSQU305438")
    assert not container_is_good("1234567890A")


# --- journeys ---


def facts(declaration: GoodsDeclaration, **more: Any) -> dict[str, GoodsFacts]:
    assert declaration.mrn is not None
    return {declaration.mrn: GoodsFacts(declaration, more.pop("state", "ACCEPTED"), **more)}


def journey_faults(journey: TransportDeclaration, known: dict[str, GoodsFacts]) -> list[tuple[str, str]]:
    return [(one.code, one.field) for one in check_journey(journey, PLACES, known).failures]


def test_a_good_journey_is_ready_and_linked(goods: Make, journey: Make, mrn: Make) -> None:
    verdict = check_journey(journey("J", mrn(1)), PLACES, facts(goods(1)))
    assert (verdict.state, verdict.failures) == ("READY", ())
    assert [one.reference_number for one in verdict.linked] == [mrn(1)]


REFERENCE = "$.references[0].referenceNumber"


@pytest.mark.parametrize(
    ("of_goods", "more", "code", "field"),
    [
        ({}, {"state": "DRAFT"}, "GOODS_NOT_READY", REFERENCE),
        ({}, {"state": "CANCELLED"}, "CANCELLED", REFERENCE),
        ({}, {"state": "EXPIRED"}, "EXPIRED", REFERENCE),
        ({"version": 2}, {}, "OLD_VERSION", "$.references[0].version"),
        ({"procedure": "EXPORT", "direction": "OUT"}, {}, "DIRECTION_MISMATCH", REFERENCE),
        ({}, {"other_holders": ("JRN-9",)}, "ALREADY_REFERENCED", REFERENCE),
        ({}, {"activated_by": "JRN-9"}, "ALREADY_ACTIVATED", REFERENCE),
        ({"procedure": "PERIODIC", "customs_office": "CH002471"}, {}, "REFERENCE_TYPE", REFERENCE),
    ],
)
def test_link_faults(
    goods: Make, journey: Make, mrn: Make, of_goods: dict[str, Any], more: dict[str, Any], code: str, field: str
) -> None:
    known = facts(goods(1, **of_goods), **more)
    assert journey_faults(journey("J", mrn(1)), known) == [(code, field)]


def test_what_may_be_referenced_more_than_once(goods: Make, journey: Make, mrn: Make) -> None:
    split = facts(goods(1, parts=2), other_holders=("J2",), activated_by="J2")
    assert journey_faults(journey("J", mrn(1)), split) == []
    assert journey_faults(journey("J", mrn(1)), facts(goods(1, parts=2), other_holders=("J2", "J3"))) == [
        ("ALREADY_REFERENCED", REFERENCE)
    ]
    transit = facts(goods(1, procedure="TRANSIT", direction="IN"))
    assert journey_faults(journey("J", mrn(1), direction="OUT"), transit) == []
    permit = goods(mrn="P-7", procedure="PERIODIC", customs_office="CH002471")
    reference = DeclarationReference(reference_number="P-7", type_of_reference="PERMIT")
    held = facts(permit, other_holders=("J2",), activated_by="J3")
    assert journey_faults(journey("J", references=(reference,)), held) == []
    elsewhere = facts(msgspec.structs.replace(permit, customs_office="CH001251"))
    assert journey_faults(journey("J", references=(reference,)), elsewhere) == [("PERMIT_OFFICE", REFERENCE)]


VEHICLE = "$.activeBorderTransportMeans"
PLAN = "$.plannedCrossing"


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"direction": "UP"}, "DIRECTION_UNKNOWN", "$.direction"),
        ({"plate": "-"}, "PLATE_FORM", f"{VEHICLE}.identificationNumber"),
        ({"plate": "A" * 18}, "PLATE_FORM", f"{VEHICLE}.identificationNumber"),
        (
            {"active_border_transport_means": TransportMeans(identification_number="ZH1", nationality="CHX")},
            "NATIONALITY",
            f"{VEHICLE}.nationality",
        ),
        (
            {"trailers": (Trailer(identification_number="zh-123", nationality="CH"),)},
            "TRAILER_IS_VEHICLE",
            f"{VEHICLE}.identificationNumber",
        ),
        ({"planned_crossing": PlannedCrossing(crossing="nowhere")}, "CROSSING_UNKNOWN", f"{PLAN}.crossing"),
        (
            {"planned_crossing": PlannedCrossing(crossing="thayngen", alternatives="LISTED", list=("perly", "x"))},
            "CROSSING_UNKNOWN",
            f"{PLAN}.list[1]",
        ),
        (
            {"planned_crossing": PlannedCrossing(crossing="thayngen", alternatives="SOME")},
            "ALTERNATIVES",
            f"{PLAN}.alternatives",
        ),
        (
            {"planned_crossing": PlannedCrossing(crossing="thayngen", customs_office="CH001251")},
            "OFFICE_CROSSING",
            f"{PLAN}.customsOffice",
        ),
        (
            {"planned_crossing": PlannedCrossing(crossing="thayngen", estimated_date_time="tomorrow")},
            "TIME_FORM",
            f"{PLAN}.estimatedDateTime",
        ),
        ({"units": ("box 1",)}, "UNIT_FORM", "$.units[0]"),
        ({"empty": True}, "EMPTY_WITH_GOODS", "$.empty"),
        ({"references": ()}, "REFERENCES_MISSING", "$.references"),
    ],
)
def test_each_fault_of_a_journey_names_its_field(
    goods: Make, journey: Make, mrn: Make, changes: dict[str, Any], code: str, field: str
) -> None:
    assert journey_faults(journey("J", mrn(1), **changes), facts(goods(1))) == [(code, field)]


def test_one_bad_reference_leaves_the_others_linked(goods: Make, journey: Make, mrn: Make) -> None:
    verdict = check_journey(journey("J", mrn(1), mrn(2), mrn(1)), PLACES, facts(goods(1)))
    assert [one.code for one in verdict.failures] == ["UNKNOWN_MRN", "REFERENCE_TWICE"]
    assert [one.field for one in verdict.failures] == [f"$.references[{n}].referenceNumber" for n in (1, 2)]
    assert [one.reference_number for one in verdict.linked] == [mrn(1)]


def test_an_empty_run_needs_no_reference_and_a_container_only_warns(journey: Make) -> None:
    box = TransportEquipment(container_identification_number="CSQU3054384")
    verdict = check_journey(journey("J", empty=True, transport_equipment=(box,)), PLACES, {})
    assert verdict.state == "READY"
    assert [one.code for one in verdict.warnings] == ["CONTAINER_NUMBER"]
