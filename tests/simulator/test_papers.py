"""simulator/papers.py: lorries carry labelled declarations under made-up names, and officers find what labels say."""

from __future__ import annotations

from simulator.customs.models import shipped_declarations
from simulator.officers import FOUND, Act, ActKind, control_result
from simulator.scenario import Scenario, make_scenario
from zones.catalogue import shipped_centre_lines, shipped_zone_set

LINES = shipped_declarations()


def scenario(lines: bool = True) -> Scenario:
    zones, roads = shipped_zone_set(), shipped_centre_lines()
    return make_scenario(1, 120, 1_780_000_000.0, zones, roads, 60.0, lines=LINES if lines else ())


DRAWN = scenario()


def test_imports_are_drawn_from_the_labelled_declarations() -> None:
    known = {(line.importer, line.hs6) for line in LINES}
    imports = [one for plan in DRAWN.lorries for one in plan.goods if one.import_data is not None]
    assert len(imports) > 30
    for one in imports:
        assert one.procedure == "IMPORT"
        number = one.consignee.identification_number if one.consignee else None
        assert number is None or (number, one.goods_items[0].commodity_code[:6]) in known
        assert one.consignee is not None and one.consignee.name != number


def test_the_same_firm_has_the_same_name_in_every_run() -> None:
    assert [plan.goods for plan in DRAWN.lorries] == [plan.goods for plan in scenario().lorries]
    names: dict[str, set[str]] = {}
    for plan in DRAWN.lorries:
        for party in (one.consignee for one in plan.goods):
            if party is not None and party.identification_number:
                names.setdefault(party.identification_number, set()).add(party.name)
    assert all(len(one) == 1 for one in names.values())


def test_officers_find_what_the_label_says_and_nothing_else() -> None:
    codes = {True: set[str](), False: set[str]()}
    for plan in DRAWN.lorries:
        if plan.journey is None:
            continue
        act = Act(ActKind.CONTROL_RESULT, plan.journey.jrn, "M. Keller", "CONFORM", plan.papers.valid)
        for mrn, version in plan.papers.valid:
            result = control_result(act, mrn, version, plan, 0.0, 1.0)
            codes[mrn in plan.papers.findings].add(result.control_result_code)
    assert codes == {True: {FOUND}, False: {"CONFORM"}}


def test_without_labelled_declarations_freight_is_ordinary() -> None:
    assert not any(one.import_data for plan in scenario(lines=False).lorries for one in plan.goods)
