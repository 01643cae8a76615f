"""Why a lorry was or was not activated, told from what a roadside box has on disk."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agent.activation.events import (
    FeedRowArrived,
    IncidentKind,
    IncidentReported,
    InstructionOut,
    OfficerDecided,
    ReceiptArrived,
    RiskAnswered,
)
from agent.activation.matching import CLOSE_PAIRS
from agent.domain.instruction import Action
from agent.explain import Rules, explain, open_case, report
from agent.ingest.wire import Refused
from agent.journal.reader import Reader
from tests.agent.border import T0, assessment, fault, journey, row
from tests.agent.roadside import EAST, IN_ACTIVATION, IN_TRACKING, WEST, Roadside, drive, expected, shipped_index
from zones.fix import FixType

CLOSE = frozenset().union(*CLOSE_PAIRS)
RULES = Rules(shipped_index(), "00" * 32, close=CLOSE.__contains__)
JRN = "JRN-1"
ASIDE = 0.0027
"""Degrees of latitude: 300 m beside the road, inside the tracking zone only."""


def told(roadside: Roadside, name: str = JRN, rules: Rules = RULES):
    """What is said about a name."""
    with Reader.open(roadside.folder) as reader:
        case = open_case(reader, name)
    return None if case is None else explain(case, rules)


def lines(explanation):
    return "\n".join(report(explanation))


def passage(explanation, crossing="thayngen", direction="IN"):
    (found,) = [one for one in explanation.passages if (one.crossing, one.direction) == (crossing, direction)]
    return found


def at_the_line(fix) -> bool:
    """Whether a fix lies in the activation zone."""
    return "thayngen/in/activation" in shipped_index().containing(fix.latitude, fix.longitude)


def up_to_entry(**way):
    """A drive that ends with the fix that settles the entry."""
    fixes = drive(**way)
    return fixes[: next(n for n, fix in enumerate(fixes) if at_the_line(fix)) + 1]


async def answer(roadside: Roadside, routing: str = "TO_ENTRY", **changes):
    """The authority's answer to every declaration of the journey."""
    state = roadside.register.instructions[JRN]
    now_s = roadside.clock.now_s() + 0.1
    roadside.clock.move_to(now_s)
    answers = tuple(assessment(state, one.activation_id, routing, now_s, **changes) for one in state.required)
    await roadside.take(events=(RiskAnswered(JRN, f"box-1/{JRN}/1", answers),))


# --- activated ------------------------------------------------------------------------------------


async def test_a_go_from_fix_to_receipt(roadside):
    await roadside.take(events=(expected(),))
    await roadside.drive(up_to_entry(start=EAST))
    await answer(roadside, score_card={"channel": "green", "score": 3, "reasons": [{"id": "SECRET-RULE"}]})
    state = roadside.register.instructions[JRN]
    out_s = roadside.clock.now_s() + 0.05
    receipt = ReceiptArrived("u1", state.instruction.instruction_id, 1, out_s + 0.2, out_s + 0.3, None, "pl")
    await roadside.take(events=(InstructionOut(JRN, 1, "u1", out_s), receipt))
    found = told(roadside)
    assert found.activated
    assert "thayngen (IN), 2027-01-15: activated at" in found.verdict
    assert found.verdict.endswith("1 declaration; told GO (RELEASED)")
    (handling,) = found.handlings
    (declaration,) = handling.declarations
    assert (declaration.mrn, declaration.routing, declaration.channel) == ("26CH000000000001J4", "TO_ENTRY", "green")
    (instruction,) = handling.instructions
    assert (instruction.action, instruction.stage) == ("GO", "DISPLAYED")
    assert instruction.out_at < instruction.delivered_at < instruction.displayed_at
    assert passage(found).activations == (declaration.activation_id,)
    assert passage(found).decided_again is True
    assert "SECRET-RULE" not in lines(found)
    assert "Decided again from the kept fixes: the same entry." in lines(found)


async def test_an_entry_names_its_fixes_and_its_rule(roadside):
    await roadside.take(events=(expected(),))
    fixes = drive(start=EAST)
    await roadside.drive(fixes)
    event = next(one for one in passage(told(roadside)).events if one.zone == "ACTIVATION")
    settling = next(fix for fix in fixes if fix.seq == event.settled_by)
    assert (event.what, event.kind, event.rule) == ("ENTERED", "FIX", "WHOLE_CIRCLE")
    assert "entered the activation zone between the fixes of" in event.words
    assert f"(no. {settling.seq}): 5.0 m accuracy, " in event.words
    assert event.words.endswith(" m inside; its whole accuracy circle lies in the zone")


@pytest.mark.parametrize(("accuracy_m", "step_s", "rule"), [(5.0, 5.0, "WHOLE_CIRCLE"), (70.0, 1.0, "TWO_FIXES")])
async def test_the_rule_is_the_one_that_settled_it(roadside, accuracy_m, step_s, rule):
    await roadside.take(events=(expected(),))
    await roadside.drive([replace(fix, accuracy_m=accuracy_m) for fix in drive(start=8.74, step_s=step_s)])
    event = next(one for one in passage(told(roadside)).events if one.zone == "ACTIVATION")
    assert event.rule == rule


async def test_a_stop_in_the_accuracy_band_is_settled_by_dwell(roadside):
    """The receiver repeats one position just inside the edge."""
    await roadside.take(events=(expected(),))
    way = [replace(fix, accuracy_m=60.0) for fix in up_to_entry(start=8.74, step_s=1.0)]
    first = way[-1]
    stood = [
        replace(first, seq=first.seq + n, time_s=first.time_s + n, received_s=first.time_s + n, speed_mps=0.0)
        for n in range(1, 8)
    ]
    await roadside.drive(way + stood)
    found = passage(told(roadside))
    event = next(one for one in found.events if one.zone == "ACTIVATION")
    assert (event.rule, found.activated) == ("DWELL", True)
    assert "near its edge, for as long as is asked" in event.words


async def test_a_pass_between_two_fixes(roadside):
    await roadside.take(events=(expected(),))
    ways = (drive(start=EAST + shift, end=WEST, step_s=60.0) for shift in (0.0, 0.003, 0.006, 0.009))
    await roadside.drive(next(way for way in ways if not any(map(at_the_line, way))))
    found = passage(told(roadside))
    events = [one for one in found.events if one.zone == "ACTIVATION"]
    assert {one.kind for one in events} == {"SEGMENT"}
    assert "the straight line between the two leads through the zone" in events[0].words
    assert found.activated


async def test_found_inside(roadside):
    await roadside.take(events=(expected(),))
    await roadside.drive(drive(start=IN_ACTIVATION + 0.0005, end=IN_ACTIVATION, step_s=1.0))
    found = passage(told(roadside))
    event = next(one for one in found.events if one.zone == "ACTIVATION")
    assert (event.kind, event.rule) == ("FOUND_INSIDE", "FIRST_FIX")
    assert "the approach was not seen" in event.words


async def test_an_officer_is_named(roadside):
    await roadside.take(events=(expected(),))
    await roadside.drive(up_to_entry(start=IN_TRACKING))
    await answer(roadside, "TO_CONTROL", routing_control_location="ON_ENTRY")
    decided = OfficerDecided(JRN, Action.GO, "officer-7", "officer", "papers seen")
    await roadside.take(events=(decided,))
    found = told(roadside)
    assert [one.action for one in found.handlings[0].instructions] == ["STOP", "GO"]
    assert "officer officer-7 decided GO: papers seen" in lines(found)
    assert found.verdict.endswith("told GO (OFFICER)")


async def test_a_restart_in_the_middle_changes_nothing(open_roadside):
    roadside = open_roadside()
    await roadside.take(events=(expected(),))
    fixes = drive(start=EAST)
    await roadside.drive(fixes[:40])
    roadside = open_roadside()
    await roadside.drive(fixes[40:])
    found = passage(told(roadside))
    assert found.activated
    kept = [fix.seq for fix in found.fixes]
    assert kept == sorted(kept)
    assert {39, 40, 41, 42} <= set(kept)


# --- not activated --------------------------------------------------------------------------------


async def feed_not_ready(roadside):
    failures = (fault("$.references[0].referenceNumber"),)
    await roadside.take(events=(FeedRowArrived(row(journey(JRN), "NOT_READY", rule_failures=failures)),))


async def feed_elsewhere(roadside):
    await roadside.take(events=(FeedRowArrived(row(journey(JRN, plan={"crossing": "bargen"}))),))


async def feed_self_report(roadside):
    await roadside.take(events=(expected(),))
    await roadside.take(events=(IncidentReported("u1", IncidentKind.EXTRA_GOODS, "two pallets"),))


async def feed_nothing(roadside):
    await roadside.take()


@pytest.mark.parametrize(
    ("prepare", "reason", "instruction"),
    [
        (feed_nothing, "no journey names this unit", "HOLD (UNKNOWN_VEHICLE)"),
        (feed_not_ready, "the journey was not ready", "HOLD (NOT_READY)"),
        (feed_elsewhere, "its journey is for another crossing", "HOLD (WRONG_CROSSING)"),
        (feed_self_report, "the driver reported extra goods", "STOP (SELF_REPORTED_GOODS)"),
    ],
)
async def test_at_the_crossing_and_yet_not_activated(roadside, prepare, reason, instruction):
    await prepare(roadside)
    await roadside.drive(drive(start=EAST))
    found = told(roadside, "u1")
    assert not found.activated
    assert "not activated, although at the crossing at" in found.verdict
    assert found.verdict.endswith(f"{reason}; told {instruction}")


async def test_the_field_at_fault_is_named(roadside):
    await feed_not_ready(roadside)
    await roadside.drive(drive(start=EAST))
    assert "fault $.references[0].referenceNumber: wrong check digit" in lines(told(roadside))


def aside(fixes):
    return [replace(fix, latitude=fix.latitude + ASIDE) for fix in fixes]


async def test_a_bypass_on_a_parallel_road(roadside):
    await roadside.take(events=(expected(),))
    await roadside.drive(aside(drive(start=EAST, end=WEST)))
    found = told(roadside)
    assert not found.activated
    left = "left the tracking zone without the activation zone"
    assert passage(found).verdict == f"not activated: passed on another road: {left}"
    assert passage(found).not_kept >= 1


async def test_turned_back_before_the_zone(roadside):
    await roadside.take(events=(expected(),))
    there = aside(drive(start=EAST, end=IN_TRACKING))
    end_s = there[-1].time_s
    back = [
        replace(
            fix,
            seq=len(there) + n + 1,
            time_s=end_s + 5.0 * (n + 1),
            received_s=end_s + 5.0 * (n + 1),
            heading_deg=90.0,
        )
        for n, fix in enumerate(reversed(there[:-1]))
    ]
    await roadside.drive(there + back)
    assert passage(told(roadside)).verdict == "not activated: turned back before the activation zone"


async def test_still_on_its_way_and_then_silent(roadside):
    await roadside.take(events=(expected(),))
    await roadside.drive(drive(start=EAST, end=IN_TRACKING))
    assert "has not come to the activation zone" in told(roadside).verdict
    roadside.clock.move_to(roadside.clock.now_s() + 200.0)
    await roadside.take()
    found = told(roadside)
    assert "fell silent in the tracking zone" in found.verdict
    assert "lost: no fix for a long while" in lines(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fix_type": FixType.SIMULATED}, "refused: fixType SIMULATED"),
        ({"time_s": T0 + 1e6}, "refused: fixTime"),
    ],
)
async def test_refused_from_the_first_fix_on(roadside, changes, words):
    """No event at all, and yet it can be said why."""
    await roadside.take(events=(expected(),))
    await roadside.drive([replace(fix, **changes) for fix in drive(start=IN_TRACKING)])
    found = told(roadside)
    (only,) = found.passages
    assert (only.crossing, only.direction, only.events == () or words.startswith("refused: fixTime")) == (
        "thayngen",
        None,
        True,
    )
    assert words in only.verdict
    assert "none counted; the first (no. 1)" in only.verdict


async def test_refused_only_at_the_line(roadside):
    """Good in the tracking zone, then simulated: the first refused fix in the activation zone is named."""
    await roadside.take(events=(expected(),))
    fixes = drive(start=EAST)
    at_line = [n for n, fix in enumerate(fixes) if at_the_line(fix)]
    faked = [replace(fix, fix_type=FixType.SIMULATED) if n in at_line else fix for n, fix in enumerate(fixes)]
    await roadside.drive(faked)
    first = fixes[at_line[0]].seq
    verdict = passage(told(roadside)).verdict
    assert f"in the activation zone counted; the first (no. {first}): refused: fixType SIMULATED" in verdict


async def test_the_wrong_way_has_no_effect_and_is_said(roadside):
    """A lorry that leaves the country passes the zones for IN too."""
    await roadside.take(events=(FeedRowArrived(row(journey(JRN, direction="IN"))),))
    west = drive(start=EAST, end=WEST)
    last = len(west) - 1
    out = [
        replace(fix, seq=n + 1, time_s=T0 + 5.0 * n, received_s=T0 + 5.0 * n, heading_deg=90.0)
        for n, fix in enumerate(reversed(west))
    ]
    assert out[0].longitude == west[last].longitude
    await roadside.drive(out)
    found = told(roadside)
    assert not found.activated
    assert [one.direction for one in found.passages] == ["OUT"]
    assert any("u1 went OUT through the zones for IN of thayngen" in note for note in found.notes)


async def test_a_unit_that_was_never_near(roadside):
    await roadside.take(events=(expected(),))
    assert told(roadside).verdict == "not activated: no fix of u1 in any tracking zone is known"


async def test_a_journey_without_a_unit(roadside):
    await roadside.take(events=(FeedRowArrived(row(journey(JRN, units=()))),))
    assert told(roadside).verdict == "not activated: its journey names no unit, and none was matched to it"


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["{0}", "zh {1}", "ZH.{1}/CH", " {0} "])
async def test_found_by_plate_however_it_is_written(roadside, spelling):
    await roadside.take(events=(expected(),))
    plate = roadside.register.journeys[JRN].vehicle.partition("/")[0]
    found = told(roadside, spelling.format(plate, plate.removeprefix("ZH")))
    assert (found.known_as, found.units, [one.jrn for one in found.handlings]) == ("vehicle", ("u1",), [JRN])


@pytest.mark.parametrize("name", ["JRN-2", "u2", "ZH 1", "", "unit:u1", "JRN"])
async def test_an_unknown_name_is_nothing(roadside, name):
    await roadside.take(events=(expected(),))
    await roadside.drive(drive(start=IN_TRACKING, end=8.749))
    assert told(roadside, name) is None


async def test_a_plate_of_another_country_is_another_vehicle(roadside):
    await roadside.take(events=(expected(),))
    plate = roadside.register.journeys[JRN].vehicle.partition("/")[0]
    assert told(roadside, f"{plate}/DE") is None


async def test_only_what_concerns_the_name_is_told(roadside):
    await roadside.take(events=(expected(), expected("JRN-2", "u2")))
    await roadside.drive(drive("u1", start=IN_TRACKING))
    await roadside.drive(drive("u2", start=IN_TRACKING, start_s=roadside.clock.now_s() + 60.0))
    for jrn, unit in (("JRN-1", "u1"), ("JRN-2", "u2")):
        found = told(roadside, jrn)
        assert {one.unit for one in found.passages} == {unit}
        assert [one.jrn for one in found.handlings] == [jrn]
        assert (found.units, found.activated) == ((unit,), True)


async def test_a_pass_for_another_journey_is_not_this_ones(roadside):
    """The same unit comes again the next day, with new papers."""
    await roadside.take(events=(expected("JRN-1"),))
    await roadside.drive(drive(start=EAST, end=WEST))
    roadside.clock.move_to(T0 + 70_000.0)
    await roadside.take(events=(expected("JRN-2"),))
    again = drive(start=EAST, end=WEST, start_s=T0 + 80_000.0)
    await roadside.drive([replace(fix, seq=fix.seq + 1_000) for fix in again])
    for jrn, passes in (("JRN-1", [True, False]), ("JRN-2", [True])):
        found = told(roadside, jrn)
        inbound = [one for one in found.passages if one.direction == "IN"]
        assert [one.activated for one in inbound] == passes
        assert [one.jrn for one in found.handlings] == [jrn]
    second = [one for one in told(roadside, "JRN-1").passages if one.direction == "IN"][1]
    assert second.verdict.endswith("for another journey (JRN-2)")
    both = told(roadside, "u1")
    assert [one.activated for one in both.passages if one.direction == "IN"] == [True, True]


# --- what is not there any more -------------------------------------------------------------------


async def test_after_a_day_the_journal_alone_still_tells(roadside):
    await roadside.take(events=(expected(),))
    await roadside.drive(drive(start=EAST))
    roadside.clock.move_to(roadside.clock.now_s() + 120_000.0)
    while (await roadside.store.purge()).more:
        pass
    found = told(roadside)
    one = passage(found)
    assert (one.activated, one.fixes, one.decided_again) == (True, (), None)
    assert any("kept for 24 hours at most" in note for note in found.notes)
    event = next(event for event in one.events if event.zone == "ACTIVATION")
    assert "accuracy" in event.words
    assert "inside the" not in event.words


async def test_another_zone_file_is_noted_and_no_distance_is_made_up(roadside):
    await roadside.take(events=(expected(),))
    await roadside.drive(drive(start=EAST))
    found = told(roadside, rules=Rules(shipped_index(), "11" * 32, close=CLOSE.__contains__))
    assert any(note.startswith("judged by zone set") for note in found.notes)


async def test_repeats_and_leaps_are_told_among_the_fixes(roadside):
    await roadside.take(events=(expected(),))
    fixes = drive(start=IN_TRACKING)
    leap = replace(fixes[12], longitude=8.7225)
    await roadside.drive([*fixes[:12], leap, *fixes[13:]])
    await roadside.take(fixes[3], replace(fixes[-1], seq=fixes[-1].seq + 1, time_s=fixes[-1].time_s + 1.0))
    found = passage(told(roadside))
    (told_of,) = [fix for fix in found.fixes if fix.seq == leap.seq]
    assert told_of.outcome == "suspect"
    assert "no vehicle gets there so fast" in told_of.words
    assert any(event.what == "SUSPECT_INSIDE" for event in found.events)
    assert found.repeated == 1


# --- refused input --------------------------------------------------------------------------------------------------


async def test_a_unit_of_which_nothing_was_taken_is_told_with_every_reason(roadside: Roadside) -> None:
    old = Refused("clock_disagrees", "fixTime: more than a day behind the system clock", "serial:u7", "", 0)
    none = Refused("zero_satellites", "epoch: a fix from 0 satellites; expected at least one", "serial:u7", "", 0)
    other = Refused("unreadable", "not JSON", "borderlane/v1/units/u8/position", "", 3)
    await roadside.take(old, other, source="serial")
    await roadside.take(old, none, source="serial")
    explanation = told(roadside, "u7")
    assert [(one.reason, one.count) for one in explanation.refusals] == [("clock_disagrees", 2), ("zero_satellites", 1)]
    assert "nothing that u7 sent was taken; the last reason:" in explanation.verdict
    assert "2 times from u7 by serial, on 2027-01-15 at 08:00:00" in lines(explanation)
    assert told(roadside, "u8").refusals[0].reason == "unreadable"
    assert told(roadside, "u9") is None


async def test_fixes_that_may_not_activate_are_told_with_their_reason(roadside: Roadside) -> None:
    await roadside.take(events=(expected(),))
    fixes = [replace(fix, fix_type=FixType.ESTIMATED) for fix in drive(start=EAST)]
    await roadside.drive(fixes)
    explanation = told(roadside)
    assert not explanation.activated
    assert "estimated" in lines(explanation).lower()
