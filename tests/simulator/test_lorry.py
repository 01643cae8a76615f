"""A unit keeps what is not confirmed, shows only what is signed for it, and its driver obeys or does not."""

from dataclasses import replace
from itertools import islice

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.domain.instruction import Instruction
from agent.domain.times import rfc3339
from agent.instruction.signing import sign_instruction
from agent.keys import jwk_of
from simulator.dice import Dice
from simulator.equipment import Payload
from simulator.lorry import OUTBOX_FIXES, Lorry, Told
from simulator.officers import ActKind, choose, control_result
from simulator.scenario import Behaviour, make_scenario
from zones.catalogue import shipped_centre_lines, shipped_zone_set

START_S = 1_795_000_000.0
SCENARIO = make_scenario(1, 60, START_S, shipped_zone_set(), shipped_centre_lines(), 60.0)
KEY, OTHER_KEY = (jwk_of(Ed25519PrivateKey.generate()) for _ in range(2))
KEYS = {"box-1": KEY}


def plan_with(**wanted):
    return next(
        plan
        for plan in SCENARIO.lorries
        if plan.journey is not None
        and all(getattr(plan, name) == value for name, value in wanted.items())
        and plan.receiver.interval_s == 1.0
        and not plan.planted
    )


REGULAR = plan_with(behaviour=Behaviour.REGULAR, payload=Payload.JSON)


def instruction(plan=REGULAR, action="GO", version=1, **changes):
    plain = Instruction(
        instruction_id=f"i{version}", jrn=plan.journey.jrn, version=version, unit=plan.unit, vehicle=None,
        action=action, customs_office=None, lane=None, report_to_locations=(), deadline=None,
        reason_code="RELEASED", issued_at=rfc3339(START_S), expires_at=rfc3339(START_S + 1_800.0),
        supersedes=None, activations=(), checkpoint="head",
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def token(told, key=KEY, kid="box-1"):
    return sign_instruction(told, key, kid).encode()


def driven(plan=REGULAR, until_s=30.0):
    lorry = Lorry(plan, 1, "boot")
    fixes = [taken[1] for at_s in islice(lorry.sampling(), int(until_s)) if (taken := lorry.measure(at_s)) is not None]
    return lorry, fixes


def test_fixes_are_numbered_without_holes_and_kept():
    lorry, fixes = driven()
    assert [fix.seq for fix in fixes] == list(range(len(fixes)))
    assert {fix.boot_id for fix in fixes} == {"boot"}
    assert lorry.unconfirmed() == fixes


@given(st.lists(st.integers(0, 40), max_size=10))
@settings(max_examples=30, deadline=None)
def test_only_what_lies_above_the_highest_watermark_is_sent_again(marks):
    lorry, fixes = driven()
    for up_to in marks:
        lorry.confirmed("boot", up_to)
    assert [fix.seq for fix in lorry.unconfirmed()] == [f.seq for f in fixes if f.seq > max(marks, default=-1)]


def test_a_watermark_of_an_earlier_start_confirms_nothing():
    lorry, fixes = driven()
    lorry.confirmed("boot-before", 1_000)
    assert len(lorry.unconfirmed()) == len(fixes)


def test_the_outbox_is_bounded_and_loses_the_oldest():
    lorry = Lorry(REGULAR, 1, "boot")
    for at_s in islice(lorry.sampling(), OUTBOX_FIXES + 50):
        lorry.measure(at_s)
    kept = lorry.unconfirmed()
    assert len(kept) == OUTBOX_FIXES
    assert lorry.dropped == kept[0].seq > 0


def test_what_was_missed_is_sent_again_once_and_then_less_and_less_often():
    lorry, fixes = driven()
    assert lorry.again(START_S) == ([], None)
    lorry.missed()
    assert lorry.again(START_S) == (fixes, None)
    assert lorry.again(START_S) == ([], None)  # nothing new has happened
    sent_s, pauses = START_S, []
    for _ in range(7):
        lorry.missed()
        none, later_s = lorry.again(sent_s)
        assert none == []
        assert lorry.again(later_s) == (fixes, None)
        pauses.append(later_s - sent_s)
        sent_s = later_s
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    lorry.confirmed("boot", fixes[-3].seq)
    lorry.missed()
    assert lorry.again(sent_s + 60.0) == (fixes[-2:], None)
    lorry.missed()
    assert lorry.again(sent_s + 60.0) == ([], sent_s + 62.0)


def test_what_was_measured_on_the_new_connection_is_not_sent_twice():
    lorry, fixes = driven()
    lorry.missed()
    assert lorry.again(START_S) == (fixes, None)
    lorry.missed()
    later = [taken[1] for at_s in (START_S + 100.0, START_S + 101.0) if (taken := lorry.measure(at_s))]
    lorry.confirmed("boot", fixes[-2].seq)
    assert later and lorry.again(START_S + 10.0) == ([fixes[-1]], None)


def test_units_without_numbers_keep_nothing():
    plan = replace(REGULAR, payload=Payload.OWNTRACKS, receiver=replace(REGULAR.receiver, whole_seconds=True))
    lorry, fixes = driven(plan)
    assert lorry.unconfirmed() == []
    assert all(fix.seq is None and fix.time_s == int(fix.time_s) for fix in fixes)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        pytest.param(token(instruction()), Told.NEW, id="good"),
        pytest.param(b"", Told.CLEARED, id="cleared"),
        pytest.param(b"GO", Told.REFUSED, id="no JWS"),
        pytest.param(token(instruction(), OTHER_KEY), Told.REFUSED, id="another key"),
        pytest.param(token(instruction(), KEY, "box-2"), Told.REFUSED, id="unknown key id"),
        pytest.param(token(instruction(unit="someone-else")), Told.REFUSED, id="another unit"),
        pytest.param(token(instruction(expires_at=rfc3339(START_S - 1.0))), Told.REFUSED, id="expired"),
        pytest.param(token(instruction(action="FLY")), Told.REFUSED, id="unknown action"),
    ],
)
def test_the_driver_sees_only_what_is_signed_for_this_unit_and_in_force(message, told):
    lorry = Lorry(REGULAR, 1, "boot")
    verdict = lorry.read(message, START_S, KEYS)
    assert verdict.told is told
    assert (lorry.instruction is not None) == (told is Told.NEW)
    assert bool(verdict.reason) == (told is Told.REFUSED), "a refusal says why"


def test_versions_rise_and_repeats_change_nothing():
    lorry = Lorry(REGULAR, 1, "boot")
    assert lorry.read(token(instruction(version=2, action="STOP")), START_S, KEYS).told is Told.NEW
    assert lorry.read(token(instruction(version=2, action="STOP")), START_S, KEYS).told is Told.REPEATED
    assert lorry.read(token(instruction(version=1)), START_S, KEYS).told is Told.REFUSED
    assert lorry.instruction.action == "STOP"
    assert lorry.read(token(instruction(version=3)), START_S, KEYS).told is Told.NEW


def told(lorry, action, now_s, version=1):
    lorry.read(token(instruction(lorry.plan, action, version)), START_S, KEYS)
    return lorry.react(now_s)


def test_go_takes_the_lorry_through_and_off_the_road():
    lorry = Lorry(REGULAR, 1, "boot")
    assert told(lorry, "GO", REGULAR.entry_s + 1.0) == "drove_on"
    assert lorry.gone(REGULAR.entry_s + 200.0)
    assert not lorry.gone(REGULAR.entry_s + 2.0)


@pytest.mark.parametrize("action", ["STOP", "HOLD"])
def test_stop_and_hold_end_in_the_bay_until_the_officer_says_go(action):
    lorry = Lorry(REGULAR, 1, "boot")
    assert told(lorry, action, REGULAR.entry_s + 1.0) == "halted"
    stands_s = lorry.standstill_s()
    chainage_m, speed_mps = lorry.drive.at(stands_s + 100.0)
    assert speed_mps == 0.0 and chainage_m == pytest.approx(REGULAR.bay_m, abs=0.5)
    assert told(lorry, "GO", stands_s + 120.0, version=2) == "drove_on"
    assert lorry.gone(stands_s + 400.0)


def test_a_go_taken_back_in_time_still_ends_in_the_bay():
    lorry = Lorry(REGULAR, 1, "boot")
    told(lorry, "GO", REGULAR.entry_s + 1.0)
    told(lorry, "STOP", REGULAR.entry_s + 3.0, version=2)
    assert lorry.drive.at(REGULAR.entry_s + 500.0)[0] == pytest.approx(REGULAR.bay_m, abs=0.5)
    assert not lorry.passes_bay(REGULAR.entry_s + 500.0)


def test_a_runner_does_not_stop_and_is_seen_once():
    plan = plan_with(runs=True)
    lorry = Lorry(plan, 1, "boot")
    assert told(lorry, "STOP", plan.entry_s + 1.0) == "ignored"
    passed_s = lorry.drive.time_at(plan.bay_m + 21.0)
    assert not lorry.passes_bay(plan.entry_s)
    assert lorry.passes_bay(passed_s)
    assert not lorry.passes_bay(passed_s + 5.0)


def test_without_any_instruction_every_honest_lorry_waits_in_the_bay():
    lorry = Lorry(REGULAR, 1, "boot")
    assert lorry.react(REGULAR.entry_s) == "nothing"
    assert lorry.drive.at(REGULAR.entry_s + 500.0)[1] == 0.0


def test_receipts_name_version_times_and_language():
    lorry = Lorry(REGULAR, 1, "boot")
    receipt = lorry.receipt(instruction(version=4), START_S + 1.0, None)
    assert (receipt.version, receipt.acknowledged, receipt.checkpoint) == (4, None, "head")
    assert receipt.delivered < receipt.displayed
    assert receipt.language == REGULAR.papers.language
    assert lorry.receipt(instruction(), START_S, START_S + 9.0).acknowledged == rfc3339(START_S + 9.0)


def test_officers_answer_a_control_with_results_and_the_rest_with_a_decision():
    act = choose(REGULAR, instruction(action="STOP", reason_code="CONTROL"), Dice(1))
    assert act.kind is ActKind.CONTROL_RESULT and act.mrns == REGULAR.papers.valid
    result = control_result(act, *act.mrns[0], REGULAR, START_S, START_S + 5.0)
    assert result.jrn == REGULAR.journey.jrn and result.officer == act.officer
    held = choose(REGULAR, instruction(action="HOLD", reason_code="NO_ANSWER"), Dice(1))
    assert (held.kind, held.code) == (ActKind.OVERRIDE, "GO")
    unknown = choose(REGULAR, instruction(action="HOLD", jrn=None, reason_code="UNKNOWN_VEHICLE"), Dice(1))
    assert unknown.key == f"unit:{REGULAR.unit}"


def test_officers_leave_go_alone_and_never_release_the_planted():
    assert choose(REGULAR, instruction(action="GO"), Dice(1)) is None
    planted = next(plan for plan in SCENARIO.lorries if plan.planted)
    assert choose(planted, instruction(planted, "STOP", reason_code="CONTROL"), Dice(1)) is None
