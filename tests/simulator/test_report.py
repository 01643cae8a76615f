"""The report on facts made by hand: all well, and each counter by itself."""

from dataclasses import replace

import pytest

from simulator.report import (
    ActivationFact,
    AssessmentFact,
    Facts,
    FaultFact,
    InstructionFact,
    OfficerFact,
    action_of,
    expected_id,
    key_of,
    limit_of,
    make_report,
    quantile,
    worst,
)
from simulator.report_view import report_view
from simulator.scenario import Behaviour, expected_activations, make_scenario
from zones.catalogue import shipped_centre_lines, shipped_zone_set

START_S = 1_795_000_000.0
SCENARIO = make_scenario(1, 40, START_S, shipped_zone_set(), shipped_centre_lines(), 60.0)
END_S = START_S + 60.0
OUTCOME = {
    Behaviour.UNKNOWN: "HOLD", Behaviour.NOT_READY: "HOLD", Behaviour.PARTLY_READY: "HOLD",
    Behaviour.WRONG_CROSSING: "HOLD", Behaviour.SELF_REPORTS: "STOP",
}  # fmt: skip


def good_facts():
    """What an agent that does everything right leaves behind."""
    expected = [item for plan in SCENARIO.lorries for item in expected_activations(plan, END_S)]
    activations = tuple(
        ActivationFact(expected_id(item), item.mrn, item.jrn, item.crossing, item.direction) for item in expected
    )
    instructions, assessments = [], []
    for plan in SCENARIO.lorries:
        if plan.entry_s is None or plan.entry_s > END_S - 1.0:
            continue
        action = "STOP" if plan.planted else OUTCOME.get(plan.behaviour, "GO")
        arrived_s = plan.entry_s + 0.3
        instructions.append(
            InstructionFact(key_of(plan), plan.unit, action, "", 1, arrived_s, arrived_s, arrived_s + 0.2, True)
        )
        routing = ("TO_CONTROL", "ON_ENTRY") if plan.planted else ("TO_ENTRY", None)
        if plan.journey is not None:
            mrns = [mrn for mrn, _ in plan.papers.valid] or [None]
            assessments += [AssessmentFact(plan.journey.jrn, mrn, *routing) for mrn in mrns]
    return Facts(
        end_s=END_S, wall_seconds=60.0, journal=activations, customs=activations,
        instructions=tuple(instructions), assessments=tuple(assessments), journal_entries=900,
        journal_verified=True, published=5_000, accepted=4_900,
    )  # fmt: skip


GOOD = good_facts()


def changed(key, **changes):
    """The good facts with one instruction changed."""
    return replace(GOOD, instructions=tuple(replace(i, **changes) if i.key == key else i for i in GOOD.instructions))


def regular():
    """A lorry with a 1 s receiver and papers in order."""
    good = [plan for plan in SCENARIO.lorries if plan.behaviour is Behaviour.REGULAR and plan.papers.valid]
    return next(plan for plan in good if not plan.planted and plan.receiver.interval_s == 1.0)


def test_a_good_run_is_ok():
    report, findings = make_report(SCENARIO, GOOD)
    assert findings == ()
    assert report["ok"] is True
    assert report["activations"]["expected"] == report["activations"]["journal"] == report["activations"]["customs"]
    assert report["instructions"]["STOP"] >= 2
    assert report["instructions"]["receipted"] == len(GOOD.instructions)
    assert report["latencyMs"]["fixToInstruction"] == {"p50": 200.0, "p99": 200.0, "max": 200.0}
    assert set(report) == {
        "ok", "seconds", "seed", "lorries", "crossings", "fixes", "activations", "instructions", "latencyMs",
        "faults", "journal", "peakRssMb",
    }  # fmt: skip


STRANGE = ActivationFact("a" * 26, "26CH000000000001J4", "J-x", "thayngen", "IN")


@pytest.mark.parametrize(
    ("facts", "counter", "count"),
    [
        pytest.param(replace(GOOD, journal=GOOD.journal[1:]), "missing", 1, id="not in the journal"),
        pytest.param(replace(GOOD, customs=GOOD.customs[2:]), "missing", 2, id="not at customs"),
        pytest.param(replace(GOOD, journal=(*GOOD.journal, STRANGE)), "unexpected", 1, id="nobody asked for it"),
        pytest.param(replace(GOOD, customs=(*GOOD.customs, STRANGE)), "unexpected", 1, id="only customs has it"),
        pytest.param(replace(GOOD, customs=(*GOOD.customs, GOOD.customs[0])), "twice", 1, id="twice at customs"),
        pytest.param(replace(GOOD, journal=(*GOOD.journal, GOOD.journal[0])), "twice", 1, id="twice in the journal"),
    ],
)
def test_each_activation_counter_can_count(facts, counter, count):
    report, findings = make_report(SCENARIO, facts)
    assert report["activations"][counter] == count == len(findings)
    assert report["ok"] is False


@pytest.mark.parametrize("action", ["STOP", "HOLD", "GO_WITH_OBLIGATION"])
def test_another_action_than_the_answers_give_is_wrong(action):
    report, (finding,) = make_report(SCENARIO, changed(key_of(regular()), action=action))
    assert report["instructions"]["wrong"] == 1 and report["ok"] is False
    assert finding.what == "wrong" and action in finding.detail


def test_go_for_a_planted_lorry_is_wrong_whatever_customs_answers():
    plan = SCENARIO.lorries[1]
    lenient = tuple(replace(a, routing="TO_ENTRY") for a in GOOD.assessments)
    report, _ = make_report(SCENARIO, replace(changed(key_of(plan), action="GO"), assessments=lenient))
    assert report["instructions"]["wrong"] >= 1


def test_no_instruction_at_all_is_wrong():
    key = key_of(regular())
    without = replace(GOOD, instructions=tuple(i for i in GOOD.instructions if i.key != key))
    _, (finding,) = make_report(SCENARIO, without)
    assert (finding.what, finding.detail) == ("wrong", "no instruction")


def test_an_instruction_for_who_never_entered_is_wrong():
    plan = next(plan for plan in SCENARIO.lorries if plan.behaviour is Behaviour.TURNS_BACK)
    stray = InstructionFact(key_of(plan), plan.unit, "HOLD", "", 1, START_S, None, None, True)
    _, (finding,) = make_report(SCENARIO, replace(GOOD, instructions=(*GOOD.instructions, stray)))
    assert finding.what == "wrong"


def test_an_instruction_under_another_key_is_wrong():
    stray = InstructionFact(f"unit:{regular().unit}", regular().unit, "HOLD", "", 1, START_S, None, None, True)
    _, (finding,) = make_report(SCENARIO, replace(GOOD, instructions=(*GOOD.instructions, stray)))
    assert (finding.what, finding.key) == ("wrong", stray.key)


def test_late_counts_from_arrival_and_scales_with_the_clock():
    plan = regular()
    fact = next(i for i in GOOD.instructions if i.key == key_of(plan))
    limit_s = limit_of(plan, fact.arrived_s)
    assert 2.0 < limit_s <= 8.0
    late = changed(fact.key, first_out_s=fact.arrived_s + limit_s + 0.1)
    report, (finding,) = make_report(SCENARIO, late)
    assert report["instructions"]["late"] == 1 and finding.what == "late"
    assert make_report(SCENARIO, replace(late, speedup=10.0))[0]["instructions"]["late"] == 0
    never = changed(fact.key, first_out_s=None)
    assert make_report(SCENARIO, never)[0]["instructions"]["late"] == 1


def test_past_the_zone_the_limit_is_two_seconds_and_hold_is_right():
    plan = regular()
    assert limit_of(plan, plan.exit_s + 5.0) == 2.0
    held = changed(key_of(plan), action="HOLD", arrived_s=plan.exit_s + 3.0, first_out_s=plan.exit_s + 4.0)
    assert make_report(SCENARIO, held)[0]["ok"] is True
    slow = changed(key_of(plan), action="HOLD", arrived_s=plan.exit_s + 3.0, first_out_s=plan.exit_s + 5.5)
    assert make_report(SCENARIO, slow)[0]["instructions"]["late"] == 1


def test_a_fault_explains_a_hold_but_not_a_stop_and_not_a_hold_elsewhere():
    plan = regular()
    fact = next(i for i in GOOD.instructions if i.key == key_of(plan))
    fault = FaultFact("cut-customs", fact.arrived_s - 1.0, fact.arrived_s + 3.0, 120.0)
    held = replace(changed(fact.key, action="HOLD"), faults=(fault,))
    report, _ = make_report(SCENARIO, held)
    assert report["ok"] is True
    assert report["faults"][0]["kind"] == "cut-customs" and report["faults"][0]["recoveredAfterMs"] == 120.0
    assert make_report(SCENARIO, replace(changed(fact.key, action="STOP"), faults=(fault,)))[0]["ok"] is False
    elsewhere = replace(fault, at_s=fact.arrived_s + 30.0, until_s=fact.arrived_s + 31.0)
    assert make_report(SCENARIO, replace(held, faults=(elsewhere,)))[0]["ok"] is False


def test_an_officer_has_the_last_word():
    plan = next(plan for plan in SCENARIO.lorries if plan.behaviour is Behaviour.UNKNOWN and plan.entry_s < END_S)
    act = OfficerFact(key_of(plan), END_S - 20.0, "GO")
    ignored = replace(GOOD, officers=(act,))
    assert make_report(SCENARIO, ignored)[0]["instructions"]["wrong"] == 1
    obeyed = replace(changed(key_of(plan), action="GO"), officers=(act,))
    assert make_report(SCENARIO, obeyed)[0]["ok"] is True
    assert make_report(SCENARIO, changed(key_of(plan), action="GO"))[0]["ok"] is False
    just_now = replace(GOOD, officers=(replace(act, at_s=END_S - 1.0),))
    assert make_report(SCENARIO, just_now)[0]["ok"] is True, "it may not have arrived yet"


def test_a_control_result_closes_its_declaration_only():
    plan = next(
        p for p in SCENARIO.lorries if p.behaviour is Behaviour.REGULAR and not p.planted and len(p.papers.valid) > 1
    )
    first, second = plan.papers.valid[0][0], plan.papers.valid[1][0]
    jrn = plan.journey.jrn
    others = tuple(a for a in GOOD.assessments if (a.jrn, a.mrn) not in {(jrn, first), (jrn, second)})
    control = tuple(AssessmentFact(jrn, mrn, "TO_CONTROL", "ON_ENTRY") for mrn in (first, second))
    stopped = replace(changed(jrn, action="STOP"), assessments=(*others, *control))
    assert make_report(SCENARIO, stopped)[0]["ok"] is True
    acts = [OfficerFact(jrn, END_S - 20.0, "CONFORM", mrn) for mrn in (first, second)]
    one = replace(stopped, officers=(acts[0],))
    assert make_report(SCENARIO, one)[0]["ok"] is True, "the other declaration still stops it"
    both = replace(stopped, officers=tuple(acts))
    assert make_report(SCENARIO, both)[0]["instructions"]["wrong"] == 1
    released = replace(both, instructions=changed(jrn, action="GO").instructions)
    assert make_report(SCENARIO, released)[0]["ok"] is True


def test_a_journal_that_does_not_verify_is_not_ok():
    assert make_report(SCENARIO, replace(GOOD, journal_verified=False))[0]["ok"] is False


@pytest.mark.parametrize(
    ("routing", "location", "direction", "action"),
    [
        ("TO_ENTRY", None, "IN", "GO"),
        ("TO_CONTROL", "AFTER_ENTRY", "IN", "GO_WITH_OBLIGATION"),
        ("TO_CONTROL", "AFTER_ENTRY", "OUT", "STOP"),
        ("TO_CONTROL", "ON_ENTRY", "IN", "STOP"),
        ("TO_CONTROL", None, "IN", "STOP"),
        ("ENTRY_PENDING", "AFTER_ENTRY", "IN", "GO_WITH_OBLIGATION"),
        ("ENTRY_PENDING", None, "IN", "STOP"),
        ("ENTRY_DENIED", None, "IN", "STOP"),
        ("SOMETHING_NEW", None, "IN", "HOLD"),
    ],
)
def test_combination_rule(routing, location, direction, action):
    assert action_of(routing, location, direction) == action


def test_worst_and_quantiles():
    assert worst(["GO", "STOP", "HOLD"]) == "STOP"
    assert worst(["GO", "GO_WITH_OBLIGATION"]) == "GO_WITH_OBLIGATION"
    assert worst([]) == "GO"
    assert quantile([], 0.5) == 0.0
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert quantile(list(map(float, range(1, 101))), 0.99) == 99.0


def test_people_see_the_answer_first():
    from rich.console import Console

    def shown(facts):
        console = Console(width=200, no_color=True, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        console.print(report_view(*make_report(SCENARIO, facts)))
        console.file.close()
        return console.export_text()

    assert shown(GOOD).startswith("ok: 40 lorries")
    bad = shown(replace(GOOD, journal=GOOD.journal[1:]))
    assert bad.startswith("not ok:") and "missing: J1-" in bad
