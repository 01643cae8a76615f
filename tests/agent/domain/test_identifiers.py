from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.identifiers import (
    JRN_FORM,
    OFFICE_FORM,
    MrnVerdict,
    activation_id,
    check_digit,
    instruction_id,
    judge_mrn,
    nationality_code,
    normal_mrn,
    plate_key,
    vehicle_key,
)


@pytest.mark.parametrize(
    ("mrn", "verdict"),
    [
        ("22CHVL2525YYN7IZJ7", MrnVerdict.GOOD),
        ("26CH05WTL3TJWMS5J1", MrnVerdict.GOOD),
        ("21CHEI000042027074", MrnVerdict.GOOD),
        ("26CH000000000001J4", MrnVerdict.GOOD),
        ("26CH000000000002J3", MrnVerdict.GOOD),
        ("26CH000000000001R8", MrnVerdict.GOOD),
        ("26CH000000000001A2", MrnVerdict.GOOD),
        ("26CH000000000006J0", MrnVerdict.GOOD),
        ("22CHLV2525YYN7IZJ7", MrnVerdict.GOOD),  # swapped letters that the digit does not see
        ("22CHVL2525YYN7IZJ8", MrnVerdict.BAD_CHECK_DIGIT),
        ("22CHVL5225YYN7IZJ7", MrnVerdict.BAD_CHECK_DIGIT),
        ("24NO02091DW4BIEST4", MrnVerdict.WARN_CHECK_DIGIT),
        ("22SEEVO1CT5UAP2BT3", MrnVerdict.WARN_CHECK_DIGIT),
        ("22FR98765273876523", MrnVerdict.WARN_CHECK_DIGIT),
        ("22CHVL2525YYN7", MrnVerdict.BAD_FORM),
        ("22CHVL2525YYN7IZJ", MrnVerdict.BAD_FORM),
        ("", MrnVerdict.BAD_FORM),
    ],
)
def test_mrn(mrn, verdict):
    assert judge_mrn(mrn) is verdict


def test_mrn_is_compared_without_spaces_and_case():
    assert normal_mrn(" 22ch vl25 25YYN7IZJ7") == "22CHVL2525YYN7IZJ7"


LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@given(st.text(LETTERS, min_size=17, max_size=17))
def test_check_digit_is_one_digit(first):
    assert 0 <= check_digit(first) <= 9


@pytest.mark.parametrize(
    ("plate", "nationality", "key"),
    [
        ("zh 123·456", "CH", "ZH123456/CH"),
        ("АВ 1234 СЕ", "UA", "AB1234CE/UA"),
        ("M-AB 123", "D", "MAB123/DE"),
        ("MAB123", "A", "MAB123/AT"),
        ("BÖ-A 1", "DE", "BÖA1/DE"),
        ("BO-A 1", "DE", "BOA1/DE"),
        ("FL 1234", "FL", "FL1234/LI"),
        ("AB12 CDE", "uk", "AB12CDE/GB"),
    ],
)
def test_vehicle_key(plate, nationality, key):
    assert str(vehicle_key(plate, nationality)) == key


@pytest.mark.parametrize("plate", ["", "-", "1", "A" * 18])
def test_unreadable_plate(plate):
    assert plate_key(plate) is None
    assert vehicle_key(plate, "CH") is None


@pytest.mark.parametrize("nationality", ["", "X", "ABCD", "1A"])
def test_unknown_nationality(nationality):
    assert nationality_code(nationality) is None


@given(st.text(max_size=20))
def test_plate_key_is_a_fixed_point(plate):
    key = plate_key(plate)
    assert key is None or plate_key(key) == key


def test_activation_id_of_the_design():
    assert activation_id("26CH000000000001J4", 1, "JRN-1", "thayngen", "IN") == "eqglupxzpnumwxzgs55ll5lwbg"


@given(st.tuples(*[st.sampled_from(["a", "b"])] * 4), st.integers(1, 3))
def test_ids_differ_by_every_part(parts, version):
    mrn, jrn, crossing, direction = parts
    first = activation_id(mrn, version, jrn, crossing, direction)
    others = {
        activation_id(mrn + "x", version, jrn, crossing, direction),
        activation_id(mrn, version + 1, jrn, crossing, direction),
        activation_id(mrn, version, jrn + "x", crossing, direction),
        activation_id(mrn, version, jrn, crossing + "x", direction),
        activation_id(mrn, version, jrn, crossing, direction + "x"),
    }
    assert len(others) == 5
    assert first not in others
    assert len(first) == 26
    assert instruction_id("box-1", jrn, version) != instruction_id("box-2", jrn, version)


@pytest.mark.parametrize(("office", "good"), [("CH001251", True), ("CH001661", True), ("CH1251", False)])
def test_office_form(office, good):
    assert bool(OFFICE_FORM.fullmatch(office)) is good


@pytest.mark.parametrize(("jrn", "good"), [("JRN-1", True), ("a" * 36, False), ("a:b", False), ("", False)])
def test_jrn_form(jrn, good):
    assert bool(JRN_FORM.fullmatch(jrn)) is good
