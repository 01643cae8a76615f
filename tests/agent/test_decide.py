from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.activation.effects import (
    ClearInstruction,
    RaiseAlarm,
    ReportActivation,
    SendInstruction,
    SendNotice,
)
from agent.activation.events import (
    ActivationAnswered,
    ControlResultArrived,
    DeadlinePassed,
    Detected,
    EntryFacts,
    FeedRowArrived,
    IncidentKind,
    IncidentReported,
    InstructionOut,
    ModeChanged,
    OfficerActivated,
    OfficerDecided,
    Progressed,
    ReceiptArrived,
    ReceiverDoubted,
    RiskAnswered,
    UnitHeard,
    WitnessSeen,
)
from agent.activation.goods import GoodsState
from agent.activation.journey import JourneyStage
from agent.domain.declaration import ControlResult
from agent.domain.identifiers import activation_id
from agent.domain.instruction import Action
from agent.domain.times import epoch_s
from tests.agent.border import (
    MRN,
    MRN_2,
    T0,
    ZONES,
    Border,
    asked,
    assessment,
    detection,
    fault,
    journey,
    notice,
    row,
)

TRACKING, ACTIVATION, CONFIRMATION = (f"thayngen/in/{kind}" for kind in ("tracking", "activation", "confirmation"))


def at_activation(**changes: object) -> Border:
    """A lorry with one declaration that has just entered the activation zone."""
    border = Border()
    border.feed(journey(**changes))
    border.cross(TRACKING)
    border.cross(ACTIVATION)
    return border


def stage(border: Border, jrn: str = "JRN-1") -> JourneyStage:
    found = border.journey(jrn)
    assert found is not None
    return found.stage


def alarms(border: Border) -> list[str]:
    return [effect.name for effect in border.effects if isinstance(effect, RaiseAlarm)]


def reports(border: Border) -> list[ReportActivation]:
    return [effect for effect in border.effects if isinstance(effect, ReportActivation)]


def refusals(decision: object) -> list[str]:
    return [entry.facts["code"] for entry in decision.entries if entry.kind == "REFUSED"]


def control(code: str = "CONFORM", mrn: str | None = MRN, number: str = "C1") -> ControlResult:
    return ControlResult(
        control_result_id=number, mrn=mrn, version=1, jrn="JRN-1", officer="A. Muster", control_result_code=code
    )


def officer(action: Action, key: str = "JRN-1", role: str = "officer") -> OfficerDecided:
    return OfficerDecided(key, action, "A. Muster", role, "seen")


def test_the_whole_way_of_a_released_lorry():
    border = Border()
    border.feed(journey(mrns=(MRN, MRN_2)))
    border.cross(TRACKING)
    assert stage(border) is JourneyStage.APPROACHING
    entered = border.cross(ACTIVATION)
    assert stage(border) is JourneyStage.ACTIVATED
    assert [one.activation_id for one in reports(border)] == [
        activation_id(mrn, 1, "JRN-1", "thayngen", "IN") for mrn in (MRN, MRN_2)
    ]
    assert [len(question.declarations) for question in asked(entered.effects)] == [2]
    border.answer()
    assert border.told == "GO RELEASED"
    assert stage(border) is JourneyStage.ROUTED
    border.cross(ACTIVATION, "EXITED")
    border.cross(CONFIRMATION)
    assert stage(border) is JourneyStage.CONFIRMED
    assert {one.state for one in border.journey("JRN-1").frozen} == {GoodsState.RELEASED}
    border.cross(CONFIRMATION, "EXITED")
    assert stage(border) is JourneyStage.COMPLETED
    assert border.instruction("JRN-1").closed
    assert alarms(border) == []


def test_nothing_is_said_before_every_declaration_is_answered():
    border = at_activation(mrns=(MRN, MRN_2))
    state = border.instruction("JRN-1")
    first, second = (assessment(state, one.activation_id, "TO_ENTRY", border.now_s) for one in state.required)
    border.take(RiskAnswered("JRN-1", "q", (first,)))
    assert border.told is None
    border.take(RiskAnswered("JRN-1", "q", (second,)))
    assert border.told == "GO RELEASED"


def test_a_stop_does_not_wait_for_the_rest():
    border = at_activation(mrns=(MRN, MRN_2))
    state = border.instruction("JRN-1")
    first = assessment(state, state.required[0].activation_id, "TO_CONTROL", border.now_s)
    border.take(RiskAnswered("JRN-1", "q", (first,)))
    assert border.told == "STOP CONTROL"


@pytest.mark.parametrize(
    ("routing", "location", "told"),
    [
        ("TO_ENTRY", None, "GO RELEASED"),
        ("TO_CONTROL", "AFTER_ENTRY", "GO_WITH_OBLIGATION CONTROL_AFTER_ENTRY"),
        ("TO_CONTROL", "ON_ENTRY", "STOP CONTROL"),
        ("TO_CONTROL", None, "STOP CONTROL"),
        ("ENTRY_PENDING", "AFTER_ENTRY", "GO_WITH_OBLIGATION CORRECT_AFTER_ENTRY"),
        ("ENTRY_PENDING", "ON_ENTRY", "STOP CORRECT_NOW"),
        ("ENTRY_DENIED", None, "STOP ENTRY_DENIED"),
        ("ENTRY_DENIED", "AFTER_ENTRY", "STOP ENTRY_DENIED"),
    ],
)
def test_routing_to_instruction(routing, location, told):
    border = at_activation()
    border.answer(routing, routing_control_location=location, customs_office="CH001661")
    assert border.told == told


@pytest.mark.parametrize(
    "wrong",
    [
        {"mrn": MRN_2},
        {"version": 2},
        {"jrn": "JRN-2"},
        {"crossing": "bargen"},
        {"direction": "OUT"},
        {"activation_id": "x" * 26},
        {"routing": "LET_GO"},
        {"valid_until": "soon"},
        {"valid_until": "2020-01-01T00:00:00.000Z"},
    ],
)
def test_an_answer_that_does_not_fit_is_no_answer(wrong):
    border = at_activation()
    state = border.instruction("JRN-1")
    good = assessment(state, state.required[0].activation_id, "TO_ENTRY", border.now_s)
    decision = border.take(RiskAnswered("JRN-1", "q", (msgspec.structs.replace(good, **wrong),)))
    assert border.told is None
    assert len(refusals(decision)) == 1
    border.clock(10.0)
    assert border.told == "HOLD NO_ANSWER"


def test_hold_when_the_budget_ends_and_a_late_go_is_only_recorded():
    border = at_activation()
    state = border.instruction("JRN-1")
    # 200 m at 15 m/s: out within 8 s of entry (60 % of 13.3 s = 8.0 s), decided 1 s before
    assert state.limit_s == pytest.approx(min(border.now_s + 0.6 * 200 / 15, state.entered_s + 8))
    assert state.due_s == pytest.approx(state.limit_s - 1.0)
    border.clock(state.due_s - border.now_s - 0.01)
    assert border.told is None
    border.clock(0.02)
    assert border.told == "HOLD NO_ANSWER"
    decision = border.answer("TO_ENTRY", after_s=1.0)
    assert border.told == "HOLD NO_ANSWER"
    assert [entry.kind for entry in decision.entries if entry.kind == "LATE_ANSWER"] == ["LATE_ANSWER"]
    border.answer("TO_CONTROL", after_s=1.0)
    assert border.told == "STOP CONTROL"


def test_the_first_instruction_carries_its_limit_and_accounts_are_kept():
    border = at_activation()
    sent = [effect for effect in border.answer().effects if isinstance(effect, SendInstruction)]
    state = border.instruction("JRN-1")
    assert sent[0].due_s == state.limit_s
    assert (state.entered_s, state.arrived_s) == (T0 + 1.0, T0 + 2.0)
    assert state.decided_s == border.now_s
    border.take(InstructionOut("JRN-1", 1, "u1", border.now_s + 0.02))
    assert border.instruction("JRN-1").out_s == border.now_s + 0.02


def test_breach_when_leaving_under_an_open_stop():
    border = at_activation()
    border.answer("TO_CONTROL")
    border.cross(CONFIRMATION)
    border.cross(CONFIRMATION, "EXITED")
    assert stage(border) is JourneyStage.BREACH
    assert alarms(border) == ["BREACH"]
    border.take(officer(Action.GO))
    assert stage(border) is JourneyStage.COMPLETED


def test_hold_left_is_no_breach():
    border = at_activation()
    border.clock(20.0)
    border.cross(CONFIRMATION)
    border.cross(CONFIRMATION, "EXITED")
    assert stage(border) is JourneyStage.CONFIRMED
    assert alarms(border) == ["HOLD_LEFT"]


def test_undecided_at_the_confirmation_line_is_hold_at_once():
    border = at_activation()
    border.cross(CONFIRMATION)
    assert border.told == "HOLD NO_ANSWER"


def test_control_result_lets_a_stopped_lorry_go():
    border = at_activation()
    border.answer("TO_CONTROL")
    border.cross(CONFIRMATION)
    border.take(ControlResultArrived(control()), 60.0)
    assert border.told == "GO RELEASED"
    assert border.journey("JRN-1").frozen[0].state is GoodsState.RELEASED
    before = border.instruction("JRN-1").version
    border.take(ControlResultArrived(control()), 1.0)  # the feed brings it again
    assert border.instruction("JRN-1").version == before
    border.cross(CONFIRMATION, "EXITED")
    assert stage(border) is JourneyStage.COMPLETED


def test_control_result_comes_with_the_feed_too():
    border = at_activation()
    border.answer("TO_CONTROL")
    border.take(FeedRowArrived(row(journey(), control_results=(control("FINDING"),), marker=9)))
    assert border.instruction("JRN-1").action is Action.GO
    assert border.journey("JRN-1").frozen[0].state is GoodsState.RELEASED_WITH_FINDING


def test_control_of_one_declaration_does_not_answer_another():
    border = at_activation(mrns=(MRN, MRN_2))
    state = border.instruction("JRN-1")
    first = assessment(state, state.required[0].activation_id, "TO_CONTROL", border.now_s)
    border.take(RiskAnswered("JRN-1", "q", (first,)))
    border.take(ControlResultArrived(control()))
    assert border.told == "HOLD NO_ANSWER"
    border.answer("TO_ENTRY")
    assert border.told == "HOLD NO_ANSWER"


def test_not_released_keeps_the_stop():
    border = at_activation()
    border.answer("TO_CONTROL")
    border.take(ControlResultArrived(control("NOT_RELEASED")))
    assert border.instruction("JRN-1").action is Action.STOP
    border.take(ControlResultArrived(control("CONFORM", number="C2")))
    assert border.instruction("JRN-1").action is Action.STOP  # denial takes an officer


def test_only_officer_and_supervisor_decide():
    border = at_activation()
    border.answer("TO_CONTROL")
    assert refusals(border.take(officer(Action.GO, role="operator"))) == ["NOT_ALLOWED"]
    assert border.told == "STOP CONTROL"
    decision = border.take(officer(Action.GO, role="supervisor"))
    assert border.told == "GO OFFICER"
    named = [entry.facts["officer"] for entry in decision.entries if entry.kind == "OFFICER_DECIDED"]
    assert named == ["A. Muster"]


def test_an_answer_after_the_officer_is_recorded_but_a_raised_one_stops():
    border = at_activation()
    border.take(officer(Action.GO))
    assert border.told == "GO OFFICER"
    border.answer("TO_CONTROL")
    assert border.told == "GO OFFICER"
    state = border.instruction("JRN-1")
    raised = assessment(state, state.required[0].activation_id, "TO_CONTROL", border.now_s)
    border.take(FeedRowArrived(row(journey(), marker=7), (raised,)))
    assert border.told == "STOP CONTROL"


def test_go_becomes_stop_before_the_confirmation_zone_and_an_obligation_after():
    before = at_activation()
    before.answer()
    before.answer("TO_CONTROL")
    assert before.told == "STOP CONTROL"
    after = at_activation()
    after.answer()
    after.cross(CONFIRMATION)
    after.answer("TO_CONTROL")
    assert after.told == "GO_WITH_OBLIGATION LATE_CONTROL"


def test_refused_activation_tightens():
    border = at_activation()
    border.answer()
    activation = border.journey("JRN-1").frozen[0].activation_id
    border.take(ActivationAnswered("JRN-1", activation, "REFUSED", "OLD_VERSION"))
    assert border.told == "HOLD ACTIVATION_REFUSED"
    border.take(ActivationAnswered("JRN-1", activation, "ACCEPTED"))
    assert border.told == "HOLD ACTIVATION_REFUSED"
    assert border.journey("JRN-1").frozen[0].confirmed


def test_unknown_vehicle_is_held_without_a_journey():
    border = Border()
    border.cross(ACTIVATION, unit="stranger")
    sent = next(effect for effect in border.effects if isinstance(effect, SendInstruction))
    assert (sent.instruction.jrn, sent.unit, sent.instruction.action) == (None, "stranger", "HOLD")
    assert border.told == "HOLD UNKNOWN_VEHICLE"
    assert alarms(border) == ["OFFICER_TASK"]
    assert reports(border) == []
    border.take(officer(Action.GO, key="unit:stranger"))
    assert border.told == "GO OFFICER"


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"office_open": False}, "HOLD OFFICE_CLOSED"),
        ({"degraded": ("CLOCK_UNTRUSTED",)}, "HOLD CLOCK_UNTRUSTED"),
        ({"degraded": ("GNSS_UNTRUSTED",)}, "HOLD PRESENCE_UNCONFIRMED"),
        ({"degraded": ("RISK_DEGRADED",)}, "HOLD NO_ANSWER"),
        ({"degraded": ("UPLINK_LOST",)}, "HOLD NO_ANSWER"),
    ],
)
def test_what_the_agent_knows_at_entry_holds_at_once(facts, told):
    border = Border()
    border.feed(journey())
    border.cross(ACTIVATION, facts=facts)
    assert border.told == told
    expected = 0 if "office_open" in facts else 1
    assert len(reports(border)) == expected
    assert stage(border) is (JourneyStage.ROUTED if expected else JourneyStage.LOCKED)


def test_closed_office_activates_nothing_until_an_officer_does():
    border = Border()
    border.feed(journey())
    border.cross(ACTIVATION, facts={"office_open": False})
    border.take(OfficerActivated("JRN-1", "A. Muster", "officer", "by hand"))
    assert [(one.variant, one.officer) for one in reports(border)] == [("MANUAL", "A. Muster")]
    assert border.told == "HOLD OFFICE_CLOSED"
    border.answer("TO_ENTRY")
    assert border.told == "HOLD OFFICE_CLOSED"
    again = border.take(OfficerActivated("JRN-1", "A. Muster", "officer", "by hand"))
    assert refusals(again) == ["OUT_OF_SEQUENCE"]


def test_not_competent():
    transit_only = replace(
        ZONES,
        zones=tuple(replace(one, competences=frozenset({"TRANSIT"})) for one in ZONES.zones),
    )
    border = Border(transit_only)
    border.feed(journey())
    border.cross(ACTIVATION)
    assert border.told == "HOLD NOT_COMPETENT"
    assert reports(border) == []


@pytest.mark.parametrize(
    ("failures", "all_or_nothing", "activated", "reached"),
    [
        ((fault("$.references[0].referenceNumber"),), False, 1, JourneyStage.ROUTED),
        ((fault("$.references[0].referenceNumber"),), True, 0, JourneyStage.LOCKED),
        ((fault("$.activeBorderTransportMeans.nationality"),), False, 0, JourneyStage.LOCKED),
        ((), False, 0, JourneyStage.LOCKED),
    ],
)
def test_not_ready(failures, all_or_nothing, activated, reached):
    border = Border()
    declared = journey(mrns=("26CH000000000001J5", MRN_2), all_or_nothing=all_or_nothing)
    border.feed(declared, state="NOT_READY", rule_failures=failures)
    border.cross(TRACKING)
    assert any(isinstance(effect, SendNotice) and effect.code == "NOT_READY" for effect in border.effects)
    border.cross(ACTIVATION)
    assert border.told == "HOLD NOT_READY"
    assert [one.mrn for one in reports(border)] == [MRN_2][:activated]
    assert stage(border) is reached


def test_wrong_crossing():
    border = Border()
    border.feed(journey())
    border.cross("bargen/in/tracking")
    assert stage(border) is JourneyStage.DIVERTED
    border.cross("bargen/in/activation")
    assert border.told == "HOLD WRONG_CROSSING"
    assert reports(border) == []
    border.take(officer(Action.GO))
    assert border.told == "GO OFFICER"
    border.cross("bargen/in/tracking", "EXITED", direction="OUT")
    border.cross(ACTIVATION, after_s=4_000)
    assert len(reports(border)) == 1
    border.clock(10.0)
    assert border.told == "HOLD NO_ANSWER"  # what he said there is no release here


@pytest.mark.parametrize("plan", [{"alternatives": "ANY_COMPETENT"}, {"alternatives": "LISTED", "list": ("bargen",)}])
def test_allowed_alternative(plan):
    border = Border()
    border.feed(journey(plan=plan))
    border.cross("bargen/in/activation")
    assert [one.crossing for one in reports(border)] == ["bargen"]


def test_ambiguous_journeys():
    border = Border()
    border.feed(journey())
    border.feed(journey("JRN-2", (MRN_2,)), marker=2)
    border.cross(ACTIVATION)
    assert border.told == "HOLD AMBIGUOUS_JOURNEY"
    assert reports(border) == []


def test_two_units_of_one_lorry_are_one_activation_and_both_are_told():
    border = Border()
    border.feed(journey(units=("u1", "u2")))
    border.cross(ACTIVATION)
    border.cross(ACTIVATION, unit="u2")
    assert len(reports(border)) == 1
    sent = [effect for effect in border.answer().effects if isinstance(effect, SendInstruction)]
    assert {(one.unit, one.instruction.unit) for one in sent} == {("u1", "u1"), ("u2", "u2")}
    border.cross(CONFIRMATION)
    border.cross(CONFIRMATION, unit="u2")
    border.cross(CONFIRMATION, "EXITED")
    border.cross(CONFIRMATION, "EXITED", unit="u2")
    assert stage(border) is JourneyStage.COMPLETED
    assert alarms(border) == []


def test_second_vehicle_under_one_journey():
    border = Border()
    border.feed(journey(units=("u1", "u2")))
    border.cross(ACTIVATION)
    border.cross("bargen/in/activation", unit="u2")
    assert border.told == "HOLD DUPLICATE_JRN"
    assert len(reports(border)) == 1


def test_same_vehicle_at_two_crossings_at_once():
    border = Border()
    plate = journey().active_border_transport_means
    border.feed(journey(active_border_transport_means=plate))
    border.feed(
        journey("JRN-2", (MRN_2,), ("u9",), active_border_transport_means=plate, plan={"crossing": "bargen"}),
        marker=2,
    )
    border.cross(ACTIVATION)
    border.cross("bargen/in/activation", unit="u9", after_s=30)
    told = {key: border.instruction(key).reason.value for key in ("JRN-1", "JRN-2")}
    assert told == {"JRN-1": "DUPLICATE_VEHICLE", "JRN-2": "DUPLICATE_VEHICLE"}


def test_first_zone_wins_between_close_crossings():
    border = Border()
    border.feed(journey(plan={"crossing": "bardonnex"}))
    border.cross("bardonnex/in/activation")
    decision = border.cross("perly/in/activation")
    assert refusals(decision) == ["FIRST_ZONE_WINS"]
    border.answer()
    assert border.told == "GO RELEASED"


def test_zone_of_the_other_direction_is_only_recorded():
    border = Border()
    border.feed(journey())
    border.cross(ACTIVATION, kind="FOUND_INSIDE", direction="UNKNOWN")
    decision = border.cross("thayngen/out/activation", kind="FOUND_INSIDE", direction="UNKNOWN")
    assert refusals(decision) == ["OPPOSITE_DIRECTION"]
    contrary = border.cross("thayngen/out/activation", direction="IN")
    assert contrary.effects and not refusals(contrary)
    assert border.instruction("unit:u1") is None


def test_missed_activation_zone():
    border = Border()
    border.feed(journey())
    border.cross(TRACKING)
    border.cross(CONFIRMATION)
    assert border.told == "HOLD ACTIVATION_MISSED"
    assert len(reports(border)) == 1
    assert stage(border) is JourneyStage.CONFIRMED


def test_turning_back_asks_afresh_and_activates_once():
    border = at_activation()
    border.answer()
    border.cross(TRACKING, "EXITED", direction="OUT")
    assert alarms(border) == ["OFFICER_TASK"]
    border.cross(TRACKING)
    decision = border.cross(ACTIVATION)
    assert len(asked(decision.effects)) == 1
    assert border.instruction("JRN-1").action is None
    border.answer()
    assert border.instruction("JRN-1").version == 2
    assert len(reports(border)) == 1


def test_self_reported_goods_stop_before_and_after():
    before = Border()
    before.feed(journey())
    before.cross(TRACKING)
    before.take(IncidentReported("u1", IncidentKind.EXTRA_GOODS))
    assert before.told == "STOP SELF_REPORTED_GOODS"
    before.cross(ACTIVATION)
    assert before.told == "STOP SELF_REPORTED_GOODS"
    assert reports(before) == []
    after = at_activation()
    after.answer()
    after.take(IncidentReported("u1", IncidentKind.EXTRA_GOODS))
    assert after.told == "STOP SELF_REPORTED_GOODS"


def test_empty_run_is_asked_but_not_activated():
    border = at_activation(mrns=(), empty=True)
    assert reports(border) == []
    assert [question.declarations[0].mrn for question in asked(border.effects)] == [None]
    border.answer()
    assert border.told == "GO EMPTY_RELEASED"
    missing = at_activation(mrns=(), empty=True, empty_reason="MRN_MISSING")
    assert missing.told == "STOP EMPTY_MRN_MISSING"


def test_a_journey_without_any_declaration_never_goes():
    border = at_activation(mrns=())
    assert border.told == "HOLD NOT_READY"


def test_periodic_permit_is_activated_anew_by_each_journey():
    border = Border()
    for number in ("JRN-1", "JRN-2"):
        permit = journey(number, ("P-77",))
        references = (msgspec.structs.replace(permit.references[0], type_of_reference="PERMIT"),)
        border.feed(msgspec.structs.replace(permit, references=references))
        border.cross(TRACKING)
        border.cross(ACTIVATION)
        border.answer(jrn=number)
        border.cross(CONFIRMATION)
        border.cross(CONFIRMATION, "EXITED")
        border.cross(TRACKING, "EXITED")
    assert [one.mrn for one in reports(border)] == ["P-77", "P-77"]
    assert len({one.activation_id for one in reports(border)}) == 2


def test_go_is_renewed_before_it_ends_or_becomes_hold():
    border = at_activation()
    border.answer(life_s=300.0)
    state = border.instruction("JRN-1")
    assert state.expires_s == pytest.approx(border.now_s + 300.0, abs=0.001)
    question = asked(border.clock(state.renew_s - border.now_s).effects)
    assert [one.request_id for one in question] == ["box-1/JRN-1/2"]
    border.answer(life_s=300.0)
    assert border.instruction("JRN-1").version == 2
    assert border.told == "GO RELEASED"
    border.clock(301.0)
    assert border.told == "HOLD ANSWER_EXPIRED"


def test_an_instruction_is_cleared_at_its_end_after_confirmation():
    border = at_activation()
    border.answer()
    border.cross(CONFIRMATION)
    decision = border.clock(1_801.0)
    assert [one.version for one in decision.effects if isinstance(one, ClearInstruction)] == [1]


def test_go_that_is_not_displayed_is_an_officer_task():
    border = at_activation()
    border.answer()
    border.take(InstructionOut("JRN-1", 1, "u1", border.now_s))
    border.clock(5.1)
    assert alarms(border) == ["NOT_DISPLAYED"]
    shown = at_activation()
    shown.answer()
    sent = next(effect for effect in shown.effects if isinstance(effect, SendInstruction))
    shown.take(InstructionOut("JRN-1", 1, "u1", shown.now_s))
    receipt = ReceiptArrived("u1", sent.instruction.instruction_id, 1, shown.now_s, shown.now_s)
    shown.take(receipt)
    shown.clock(5.1)
    assert alarms(shown) == []
    unknown = replace(receipt, instruction_id="nobody-issued-this")
    assert refusals(shown.take(unknown)) == ["UNKNOWN_INSTRUCTION"]


def test_lost_after_confirmation():
    clear = at_activation()
    clear.answer()
    clear.cross(CONFIRMATION)
    clear.take(notice("LOST", "u1", clear.now_s))
    clear.clock(1_800.0)
    assert stage(clear) is JourneyStage.COMPLETED
    stopped = at_activation()
    stopped.answer("TO_CONTROL")
    stopped.cross(CONFIRMATION)
    stopped.take(notice("LOST", "u1", stopped.now_s))
    stopped.clock(1_800.0)
    assert stage(stopped) is JourneyStage.CONFIRMED
    assert alarms(stopped) == ["LOST_UNDER_STOP"]


def test_unmanned_crossing_turns_stop_into_a_call():
    unmanned = replace(ZONES, zones=tuple(replace(one, unmanned=True) for one in ZONES.zones))
    border = Border(unmanned)
    border.feed(journey())
    border.cross(ACTIVATION)
    border.answer("TO_CONTROL")
    assert border.told == "STOP CALL_OFFICE"


def test_random_local_stops_are_drawn_alike_each_time():
    border = Border(random_stop_share=1.0)
    border.feed(journey())
    border.cross(ACTIVATION)
    assert border.told == "STOP LOCAL_RULE"


def test_journey_expires_and_a_cancelled_one_does_not_activate():
    border = Border()
    border.feed(journey())
    border.feed(journey("JRN-2", (MRN_2,)), marker=2)
    border.feed(journey("JRN-2", (MRN_2,)), state="CANCELLED", marker=3)
    assert stage(border, "JRN-2") is JourneyStage.CANCELLED
    border.clock(260_000.0)
    assert stage(border) is JourneyStage.EXPIRED
    border.clock(260_000.0)
    assert border.journey("JRN-1") is None


def test_cancelled_after_lock_is_refused():
    border = at_activation()
    assert refusals(border.feed(journey(), state="CANCELLED", marker=4)) == ["OUT_OF_SEQUENCE"]
    assert stage(border) is JourneyStage.ACTIVATED


def test_second_agent_goes_on_from_the_reported_version():
    border = Border()
    border.feed(journey(), instruction_version=4)
    border.cross(ACTIVATION)
    border.answer()
    assert border.instruction("JRN-1").version == 5


def test_journal_holds_neither_position_nor_plate():
    border = Border()
    border.feed(journey())
    entries = [*border.cross(TRACKING).entries, *border.cross(ACTIVATION).entries, *border.answer().entries]
    text = msgspec.json.encode(entries).decode()
    assert "latitude" not in text
    assert "47.05" not in text
    assert journey().active_border_transport_means.identification_number not in text


def test_an_open_stop_outlives_turning_back():
    border = at_activation()
    border.answer("TO_CONTROL")
    border.cross(TRACKING, "EXITED", direction="OUT")
    border.cross(TRACKING)
    border.cross(ACTIVATION)
    assert (border.told, border.instruction("JRN-1").version) == ("STOP CONTROL", 2)


def test_an_officers_go_counts_for_one_entry_only():
    border = at_activation()
    border.take(officer(Action.GO))
    border.cross(TRACKING, "EXITED", direction="OUT")
    border.cross(TRACKING)
    question = asked(border.cross(ACTIVATION).effects)
    assert [len(one.declarations) for one in question] == [1]
    border.clock(10.0)
    assert border.told == "HOLD NO_ANSWER"


def test_an_answer_that_ends_before_the_last_one_comes_is_not_fresh():
    border = at_activation(mrns=(MRN, MRN_2))
    state = border.instruction("JRN-1")
    first, second = (one.activation_id for one in state.required)
    border.take(RiskAnswered("JRN-1", "q", (assessment(state, first, "TO_ENTRY", border.now_s, 2.0),)))
    border.now_s += 3.0
    border.take(RiskAnswered("JRN-1", "q", (assessment(state, second, "TO_ENTRY", border.now_s),)))
    assert border.told is None
    border.clock(10.0)
    assert border.told == "HOLD NO_ANSWER"


def test_a_stranger_between_close_crossings_is_told_once():
    border = Border()
    border.cross("bardonnex/in/activation", unit="stranger")
    assert refusals(border.cross("perly/in/activation", unit="stranger")) == ["FIRST_ZONE_WINS"]
    assert border.instruction("unit:stranger").version == 1


def test_a_stranger_in_the_zones_of_both_directions_is_told_once():
    border = Border()
    border.cross(ACTIVATION, unit="stranger", kind="FOUND_INSIDE", direction="UNKNOWN")
    both = border.cross("thayngen/out/activation", unit="stranger", kind="FOUND_INSIDE", direction="UNKNOWN")
    assert refusals(both) == ["OPPOSITE_DIRECTION"]
    assert border.instruction("unit:stranger").version == 1


def test_the_second_unit_of_a_lorry_asks_nothing_again():
    border = Border()
    border.feed(journey(units=("u1", "u2")))
    border.cross(ACTIVATION)
    border.answer("TO_CONTROL")
    decision = border.cross(ACTIVATION, unit="u2")
    assert asked(decision.effects) == []
    assert [entry.kind for entry in decision.entries if entry.kind != "DETECTED"] == ["SECOND_WITNESS"]
    for unit in ("u1", "u2"):
        border.cross(CONFIRMATION, unit=unit)
    for unit in ("u1", "u2"):
        border.cross(CONFIRMATION, "EXITED", unit=unit)
    assert alarms(border) == ["BREACH"]


def test_a_hedged_second_answer_is_no_new_version():
    border = at_activation()
    border.answer()
    border.answer(after_s=1.0)
    assert border.instruction("JRN-1").version == 1


def test_a_repeated_control_result_is_taken_once():
    border = at_activation()
    border.answer("TO_CONTROL")
    kinds = [[entry.kind for entry in border.take(ControlResultArrived(control())).entries] for _ in range(2)]
    assert kinds[0][0] == "CONTROL_RESULT"
    assert kinds[1] == []


def test_an_old_instruction_does_not_clear_the_next_journeys():
    border = at_activation()
    border.answer()
    border.cross(CONFIRMATION)
    border.cross(CONFIRMATION, "EXITED")
    border.feed(journey("JRN-2", (MRN_2,)), marker=2)
    border.cross(TRACKING, "EXITED")
    border.cross(TRACKING, after_s=900.0)
    border.cross(ACTIVATION)
    border.answer(jrn="JRN-2", life_s=3_000.0)
    border.cross(CONFIRMATION)
    first = border.clock(1_000.0)
    assert border.instruction("JRN-1").cleared
    assert [effect for effect in first.effects if isinstance(effect, ClearInstruction)] == []
    second = border.clock(1_000.0)
    assert [effect.key for effect in second.effects if isinstance(effect, ClearInstruction)] == ["JRN-2"]


# --- any order of anything ---------------------------------------------------------------------------------

UNITS = st.sampled_from(["u1", "u2", "stranger"])
JRNS = st.sampled_from(["JRN-1", "JRN-2", "JRN-9"])
KEYS = st.sampled_from(["JRN-1", "JRN-2", "unit:stranger", "unit:u1", "nobody"])
PLACES = st.sampled_from(
    [
        f"{crossing}/{way}/{kind}"
        for crossing in ("thayngen", "bargen", "bardonnex", "perly")
        for way in ("in", "out")
        for kind in ("tracking", "activation", "confirmation")
    ]
    + ["nowhere/in/activation"]
)
OFTEN = st.sampled_from([TRACKING, ACTIVATION, CONFIRMATION])
MODES = st.lists(st.sampled_from(["RISK_DEGRADED", "CLOCK_UNTRUSTED", "GNSS_UNTRUSTED"]), max_size=1)
STEPS = st.one_of(
    st.tuples(
        st.just("detect"),
        st.one_of(OFTEN, PLACES),
        st.sampled_from(["ENTERED", "ENTERED", "EXITED"]),
        UNITS,
        st.sampled_from(["FIX", "SEGMENT", "FOUND_INSIDE", "TOUCH"]),
        st.sampled_from(["IN", "IN", "OUT", "UNKNOWN"]),
        st.sampled_from([True, True, True, False]),
        MODES,
    ),
    st.tuples(st.just("notice"), st.sampled_from(["LOST", "PASS_CONFIRMED", "JUMP"]), UNITS, OFTEN),
    st.tuples(
        st.just("answer"),
        st.sampled_from(["JRN-1", "JRN-2"]),
        st.sampled_from(["TO_ENTRY", "TO_ENTRY", "TO_CONTROL", "ENTRY_DENIED", "LET_GO"]),
        st.sampled_from(["ON_ENTRY", "AFTER_ENTRY", None]),
        st.sampled_from([5.0, 90.0, 1_800.0]),
        st.booleans(),
    ),
    st.tuples(st.just("officer"), KEYS, st.sampled_from(list(Action)), st.sampled_from(["officer", "operator"])),
    st.tuples(st.just("control"), st.sampled_from(["CONFORM", "NOT_RELEASED", "?"]), st.sampled_from([MRN, None])),
    st.tuples(st.just("refused"), st.sampled_from(["ACCEPTED", "REFUSED"])),
    st.tuples(
        st.just("feed"),
        st.sampled_from(["JRN-1", "JRN-2"]),
        st.sampled_from(["READY", "READY", "NOT_READY", "CANCELLED", "?"]),
    ),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 8.0, 70.0, 2_000.0, 90_000.0])),
    st.tuples(st.just("other"), st.integers(0, 7), UNITS),
)


def play(border: Border, step: tuple, number: int) -> object:
    """The event a step stands for."""
    match step:
        case ("detect", place, what, unit, kind, direction, is_open, modes):
            facts = EntryFacts(border.now_s, 0.5, 150.0, 14.0, is_open, tuple(modes))
            return Detected(detection(place, what, unit, border.now_s, kind, direction), facts)
        case ("notice", name, unit, place):
            return notice(name, unit, border.now_s, place)
        case ("answer", jrn, routing, location, life_s, all_of_them):
            state = border.instruction(jrn)
            required = state.required if state else ()
            answers = tuple(
                assessment(state, one.activation_id, routing, border.now_s, life_s, routing_control_location=location)
                for one in (required if all_of_them else required[:1])
            )
            return RiskAnswered(jrn, "q", answers)
        case ("officer", key, action, role):
            return officer(action, key, role)
        case ("control", code, mrn):
            return ControlResultArrived(control(code, mrn, f"C{number}"))
        case ("refused", result):
            found = border.journey("JRN-1")
            activation = found.frozen[0].activation_id if found and found.frozen else "x"
            return ActivationAnswered("JRN-1", activation, result)
        case ("feed", jrn, state):
            mrns = (MRN, MRN_2) if jrn == "JRN-1" else ("26CH000000000001A2",)
            units = ("u1", "u2") if jrn == "JRN-1" else ("u1",)
            failures = (fault("$.references[0]"),) if state == "NOT_READY" else ()
            return FeedRowArrived(row(journey(jrn, mrns, units), state, rule_failures=failures, marker=number))
        case ("wait", wait_s):
            border.now_s += wait_s
            return DeadlinePassed(border.now_s)
        case ("other", which, unit):
            return (
                IncidentReported(unit, IncidentKind.EXTRA_GOODS),
                IncidentReported(unit, IncidentKind.BREAKDOWN),
                WitnessSeen("cam-1", "ANPR", border.now_s),
                ModeChanged("RISK_DEGRADED", ("RISK_DEGRADED",)),
                UnitHeard(unit, border.now_s),
                ReceiverDoubted(unit, "week_rollover"),
                Progressed(unit, EntryFacts(border.now_s, 0.0, 30.0, 20.0)),
                OfficerActivated("JRN-1", "A. Muster", "officer", "by hand"),
            )[which]
    raise AssertionError(step)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_invariants_under_any_order_of_events(steps):
    border = Border()
    border.feed(journey("JRN-1", (MRN, MRN_2), ("u1", "u2")))
    activated: set[str] = set()
    told: dict[str, tuple[int, str]] = {}
    freed: set[str] = set()
    for number, step in enumerate(steps):
        border.now_s += 1.0
        event = play(border, step, number)
        before = {state.key: state for state in border.records.values() if hasattr(state, "due_s")}
        decision = border.take(event)
        check_activated_once(decision, activated)
        if isinstance(event, OfficerDecided | ControlResultArrived):
            freed |= {"JRN-1"} if isinstance(event, ControlResultArrived) else {event.key}
        for effect in decision.effects:
            if isinstance(effect, SendInstruction):
                check_told(border, effect, told, freed)
        for key, state in before.items():
            check_due_only_earlier(state, border.instruction(key))
        if isinstance(event, DeadlinePassed):
            assert [record.key for record in border.due(border.now_s)] == []


def check_activated_once(decision, activated):
    new = [effect.activation_id for effect in decision.effects if isinstance(effect, ReportActivation)]
    assert len(set(new)) == len(new)
    assert activated.isdisjoint(new)
    activated.update(new)


def check_told(border, effect, told, freed):
    """Versions rise by one; HOLD and STOP get milder only by a named officer; GO only on good answers."""
    instruction, key = effect.instruction, effect.key
    version, action = told.get(key, (0, None))
    if instruction.version == version:  # the same one to another unit
        assert instruction.action == action
        return
    assert instruction.version == version + 1
    if action in ("HOLD", "STOP") and Action[instruction.action] < Action[action]:
        assert key in freed
    freed.discard(key)
    told[key] = (instruction.version, instruction.action)
    if instruction.action in ("GO", "GO_WITH_OBLIGATION"):
        check_answered(border, border.instruction(key), instruction)


def check_answered(border, state, instruction):
    assert instruction.reason_code == "OFFICER" or state.required
    if state.confirmed and instruction.action == "GO_WITH_OBLIGATION":
        return  # tightened after the line
    standing = {one.assessment.activation_id: one for one in state.standings}
    for declared in state.required:
        if declared.activation_id in state.released:
            continue
        answer = standing[declared.activation_id]
        assert answer.valid_until_s > border.now_s
        assert epoch_s(instruction.expires_at) <= answer.valid_until_s + 0.001
        if instruction.action == "GO":
            assert answer.assessment.routing == "TO_ENTRY"


def test_a_receiver_whose_dates_are_not_believed_is_an_alarm_until_it_is_over():
    border = Border()
    doubted = border.take(ReceiverDoubted("u1", "clock_disagrees"))
    assert [(one.name, one.unit) for one in doubted.effects if isinstance(one, RaiseAlarm)] == [
        ("RECEIVER_DOUBTED", "u1")
    ]
    over = border.take(ReceiverDoubted("u1", "NONE"))
    assert not [one for one in over.effects if isinstance(one, RaiseAlarm)]
    assert [
        entry.facts["reason"] for entry in (*doubted.entries, *over.entries) if entry.kind == "RECEIVER_DOUBTED"
    ] == [
        "clock_disagrees",
        "NONE",
    ]


def check_due_only_earlier(old, new):
    if new is not None and new.round == old.round and old.due_s is not None:
        assert new.due_s <= old.due_s
        assert new.limit_s <= old.limit_s


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("RISK_DEGRADED", "HOLD NO_ANSWER"),
        ("UPLINK_LOST", "HOLD NO_ANSWER"),
        ("CLOCK_UNTRUSTED", "HOLD CLOCK_UNTRUSTED"),
    ],
)
def test_when_nobody_waits_any_more_those_who_do_are_told_hold_at_once(mode: str, told: str) -> None:
    border = at_activation()
    assert border.told is None
    border.take(ModeChanged(mode, (mode,)), after_s=0.5)
    assert border.told == told
    border.answer()
    assert border.told == told, "what comes late is never obeyed"


@pytest.mark.parametrize("mode", ["NORMAL", "BROKER_LOST", "GNSS_UNTRUSTED"])
def test_other_modes_leave_a_running_budget_alone(mode: str) -> None:
    border = at_activation()
    border.take(ModeChanged(mode, () if mode == "NORMAL" else (mode,)), after_s=0.5)
    assert border.told is None
    border.answer()
    assert border.told == "GO RELEASED"


def test_a_budget_that_is_decided_is_not_touched_by_a_mode() -> None:
    border = at_activation()
    border.answer()
    border.take(ModeChanged("RISK_DEGRADED", ("RISK_DEGRADED",)), after_s=0.5)
    assert border.told == "GO RELEASED"


@pytest.mark.parametrize("mode", ["GNSS_UNTRUSTED", "ZONES_STALE"])
def test_where_presence_is_not_certain_nobody_is_let_go(mode: str) -> None:
    border = Border()
    border.feed(journey())
    border.cross(TRACKING)
    border.cross(ACTIVATION, facts={"degraded": (mode,)})
    assert border.told == "HOLD PRESENCE_UNCONFIRMED"
    border.answer()
    assert border.told == "HOLD PRESENCE_UNCONFIRMED"
