"""One event through passage, journey, declarations and instruction (design/domain.md sections 5 and 6).

`decide` is pure and total: it never raises on what the world sends, and what fits no row of the tables is
recorded as a refusal. Nothing it says is done before it is on disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import assert_never

import msgspec

from agent import line_cut
from agent.activation.effects import ClearInstruction, Effect, SendNotice
from agent.activation.events import (
    ActivationAnswered,
    ControlResultArrived,
    DeadlinePassed,
    Detected,
    EntryFacts,
    Event,
    FeedRowArrived,
    IncidentKind,
    IncidentReported,
    InstructionOut,
    ModeChanged,
    OfficerActivated,
    OfficerDecided,
    OutputFaulted,
    OutputShown,
    Progressed,
    ReceiptArrived,
    ReceiverDoubted,
    ReferenceTaken,
    RiskAnswered,
    UnitHeard,
    WitnessSeen,
)
from agent.activation.goods import GoodsEvent, routed
from agent.activation.goods import advance as advance_goods
from agent.activation.journey import (
    BEFORE_LOCK,
    LOCKED_KEPT_S,
    MAX_RESULTS,
    FrozenDeclaration,
    Journey,
    JourneyStage,
    Trigger,
    from_row,
)
from agent.activation.passage import (
    PASSAGE_KEPT_S,
    Passage,
    advance,
    confirm_touch,
    find,
    lose,
    new_passage,
    passage_key,
    zone_direction,
)
from agent.at_the_border import NO_WAITING, ask, follow, new_state, release_goods, report, worst_open
from agent.delivery.receipts import ReceiptTimes, take
from agent.domain.declaration import ControlResult
from agent.domain.identifiers import normal_mrn
from agent.domain.instruction import Action, ReasonCode
from agent.domain.routing import Assessment, ControlLocation, Routing
from agent.domain.times import rfc3339
from agent.instruction import deadlines, lifecycle
from agent.instruction.budget import Budget, budget
from agent.instruction.combination import Cause, readable
from agent.instruction.lifecycle import InstructionState, Place
from agent.sheet import Decision, Record, Sheet, Site, View
from zones.border_zone import BorderZone
from zones.events import DetectionEvent, Notice, NoticeName

__all__ = ["Decision", "Record", "Site", "View", "decide"]

DECIDING_ROLES = frozenset({"officer", "supervisor"})
"""Who may override (contract section 7)."""


def decide(view: View, event: Event, site: Site, now_s: float) -> Decision:
    """Say what one event changes, what must be done about it, and what the journal keeps.

    Args:
        view: What the agent remembers, with the changes of earlier events of the same batch.
        event: What has happened; checked for form, signature and right by the shell that built it.
        site: Settings.
        now_s: UTC seconds.
    """
    sheet = Sheet(view, site, now_s)
    _take(sheet, event)
    return sheet.decision()


def _take(sheet: Sheet, event: Event) -> None:
    match event:
        case Detected():
            _detected(sheet, event)
        case Progressed():
            _progressed(sheet, event)
        case FeedRowArrived():
            _feed_row(sheet, event)
        case RiskAnswered():
            _risk_answered(sheet, event)
        case ActivationAnswered():
            _activation_answered(sheet, event)
        case ControlResultArrived(result):
            _control_result(sheet, result)
        case OfficerDecided():
            _officer_decided(sheet, event)
        case OfficerActivated():
            _officer_activated(sheet, event)
        case ReceiptArrived():
            _receipt(sheet, event)
        case InstructionOut():
            _instruction_out(sheet, event)
        case IncidentReported():
            _incident(sheet, event)
        case WitnessSeen():
            _witness(sheet, event)
        case DeadlinePassed(now_s):
            _deadline(sheet, now_s)
        case ModeChanged(mode, degraded):
            _mode_changed(sheet, mode, degraded)
        case ReferenceTaken(version, revocations, issued_at):
            sheet.note("REFERENCE_TAKEN", version=version, revocations=revocations, issuedAt=issued_at)
        case OutputShown():
            _output_shown(sheet, event)
        case OutputFaulted():
            _output_faulted(sheet, event)
        case ReceiverDoubted():
            _receiver_doubted(sheet, event)
        case UnitHeard():
            _heard(sheet, event)
        case _:
            assert_never(event)


def _mode_changed(sheet: Sheet, mode: str, degraded: tuple[str, ...]) -> None:
    """To the journal and to watchers; where nobody waits any more, those who do are told HOLD now."""
    sheet.note("MODE_CHANGED", mode=mode, degraded=list(degraded))
    sheet.emit("MODE", mode=mode, degraded=list(degraded))
    if NO_WAITING.isdisjoint(degraded):
        return
    for state in tuple(sheet.view.waiting()):
        if state.action is not None or state.due_s is None or state.limit_s is None:
            continue
        now = Budget(state.limit_s, min(state.due_s, sheet.now_s))
        state = lifecycle.shorten(state, now)
        if "CLOCK_UNTRUSTED" in degraded:  # no answer's times can be judged, nor a conditional one's
            cause = Cause(action=Action.HOLD, reason=ReasonCode.CLOCK_UNTRUSTED, since_s=sheet.now_s)
            state = msgspec.structs.replace(state, causes=lifecycle.with_causes(state.causes, (cause,)))
        _instruction_due(sheet, state, sheet.now_s)


def _output_shown(sheet: Sheet, event: OutputShown) -> None:
    """What the driver was shown at the roadside, and by which instruction."""
    facts = {
        "output": event.output,
        "crossing": event.crossing,
        "direction": event.direction,
        "state": event.state,
        "commanded": event.commanded,
        "decisionRef": event.decision_ref,
        "jrn": event.jrn,
        "unit": event.unit,
        "instructionId": event.instruction_id,
        "version": event.version,
    }
    sheet.note("OUTPUT_SHOWN", **facts)
    sheet.emit("OUTPUT", **facts)


def _receiver_doubted(sheet: Sheet, event: ReceiverDoubted) -> None:
    sheet.note("RECEIVER_DOUBTED", unit=event.unit, reason=event.reason)
    if event.reason != "NONE":
        text = f"its dates do not agree with the system clock: {event.reason}"
        sheet.alarm("RECEIVER_DOUBTED", None, event.unit, None, text)


def _output_faulted(sheet: Sheet, event: OutputFaulted) -> None:
    sheet.note("OUTPUT_FAULT", output=event.output, crossing=event.crossing, fault=event.fault)
    if event.fault != "NONE":
        sheet.alarm("OUTPUT_FAULT", None, "", event.crossing, f"{event.output}: {event.fault}")


def _detected(sheet: Sheet, event: Detected) -> None:
    if isinstance(event.what, Notice):
        _noticed(sheet, event.what, event.facts)
        return
    what = event.what
    zone = sheet.view.zone(what.zone_id)
    if zone is None:
        sheet.refuse("UNKNOWN_ZONE", what.event.value, zoneId=what.zone_id, unit=what.unit)
        return
    key = passage_key(what.unit, zone.crossing_key, zone_direction(zone))
    passage = sheet.passage(key) or new_passage(what.unit, zone)
    step = advance(passage, what, zone, sheet.view.row(zone), sheet.site.is_close(zone.crossing_key))
    sheet.put(step.passage)
    _record_detection(sheet, what, zone, step.ignored)
    for passage_event in step.events:
        follow(sheet, key, passage_event, zone, event.facts)


def _record_detection(sheet: Sheet, what: DetectionEvent, zone: BorderZone, ignored: str | None) -> None:
    """To the journal without the position; to control rooms as contract section 4 has it."""
    body = msgspec.to_builtins(what)
    body["time"] = rfc3339(what.time)
    body["detectedAt"] = rfc3339(what.detected_at)
    for used, evidence in zip(body["evidence"], what.evidence, strict=True):
        used["time"] = rfc3339(evidence.time)
    body.pop("type", None)
    sheet.emit("DETECTION", **body)
    facts = {name: value for name, value in body.items() if name not in ("latitude", "longitude")}
    sheet.note("DETECTED", crossing=zone.crossing_key, ignored=ignored, **facts)
    if ignored in ("OUT_OF_SEQUENCE", "CLOSE_PAIR"):
        sheet.refuse(ignored, what.event.value, zoneId=what.zone_id, unit=what.unit)


def _noticed(sheet: Sheet, notice: Notice, facts: EntryFacts) -> None:
    said = {
        "notice": notice.notice.value,
        "unit": notice.unit,
        "zoneId": notice.zone_id,
        "reason": notice.reason,
        "time": rfc3339(notice.time),
    }
    sheet.note("NOTICED", **said)
    sheet.emit("NOTICE", **said)
    if notice.notice is NoticeName.PASS_CONFIRMED and notice.zone_id is not None:
        _touch_confirmed(sheet, notice, notice.zone_id, facts)
    elif notice.notice is NoticeName.LOST:
        for passage in sheet.passages_of(notice.unit):
            step = lose(passage, notice.time)
            _follow_quietly(sheet, step.passage, len(step.events) > 0, notice.time, lost=True)


def _touch_confirmed(sheet: Sheet, notice: Notice, zone_id: str, facts: EntryFacts) -> None:
    zone = sheet.view.zone(zone_id)
    key = passage_key(notice.unit, zone.crossing_key, zone_direction(zone)) if zone else ""
    passage = sheet.passage(key)
    if zone is None or passage is None:
        sheet.refuse("OUT_OF_SEQUENCE", notice.notice.value, zoneId=zone_id, unit=notice.unit)
        return
    step = confirm_touch(passage, notice, zone)
    sheet.put(step.passage)
    if step.ignored is not None:
        sheet.refuse(step.ignored, notice.notice.value, zoneId=zone_id, unit=notice.unit)
    for passage_event in step.events:
        follow(sheet, key, passage_event, zone, facts)


def _follow_quietly(sheet: Sheet, passage: Passage, changed: bool, at_s: float, *, lost: bool) -> None:
    """C10 and C11 need no zone."""
    if not changed:
        return
    sheet.put(passage)
    sheet.emit("UNIT_LOST" if lost else "UNIT_FOUND", unit=passage.unit, crossing=passage.crossing)
    journey = sheet.journey(passage.jrn) if passage.jrn else None
    if journey is not None and journey.unit == passage.unit:
        sheet.put(msgspec.structs.replace(journey, lost_s=at_s if lost else None))


def _heard(sheet: Sheet, event: UnitHeard) -> None:
    for passage in sheet.passages_of(event.unit):
        step = find(passage, event.at_s)
        _follow_quietly(sheet, step.passage, len(step.events) > 0, event.at_s, lost=False)


def _progressed(sheet: Sheet, event: Progressed) -> None:
    """The budget again, from where the vehicle is now: only ever earlier."""
    for state in sheet.view.instructions_of_unit(event.unit):
        if state.unit != event.unit or not state.waiting or state.entered_s is None:
            continue
        limits = budget(
            remaining_m=event.facts.remaining_m,
            speed_mps=event.facts.speed_mps,
            fix_age_s=event.facts.fix_age_s,
            arrived_s=event.facts.arrived_s,
            entry_s=state.entered_s,
            policy=sheet.site.policy,
        )
        sheet.put(lifecycle.shorten(state, limits))


def _feed_row(sheet: Sheet, event: FeedRowArrived) -> None:
    row = event.row
    known = sheet.journey(row.jrn)
    if row.declaration.jrn != row.jrn:
        sheet.refuse("UNREADABLE", "FEED_ROW", jrn=row.jrn, marker=row.marker)
        return
    if event.refused:
        sheet.refuse("BAD_SIGNATURE", "FEED_ROW", jrn=row.jrn, marker=row.marker, count=event.refused)
    if known is None or known.stage in BEFORE_LOCK:
        _take_row(sheet, event, known)
    elif row.version > known.declaration.version or row.state in ("CANCELLED", "EXPIRED"):
        # Its contents are frozen; only results and raised answers still count (T20, G4).
        sheet.refuse("OUT_OF_SEQUENCE", f"FEED_{row.state}", jrn=row.jrn, stage=known.stage.value)
    state = sheet.instruction(row.jrn)
    if state is not None and event.raised:
        turn = lifecycle.answer(state, event.raised, sheet.site, sheet.now_s, raised=True)
        sheet.take(turn)
        _route_goods(sheet, row.jrn, event.raised, by_officer=False)
    for result in row.control_results:
        _control_result(sheet, result)


def _take_row(sheet: Sheet, event: FeedRowArrived, known: Journey | None) -> None:
    row = event.row
    journey = from_row(known, row, sheet.now_s, sheet.site.policy.journey_expiry_s, event.conditional)
    if journey is None:
        sheet.refuse("OUT_OF_SEQUENCE", f"FEED_{row.state}", jrn=row.jrn, marker=row.marker)
        return
    sheet.put(journey)
    sheet.note("JOURNEY_FED", jrn=row.jrn, version=row.version, state=row.state, marker=row.marker)
    was_coming = known is not None and known.stage not in (JourneyStage.READY, JourneyStage.NOT_READY)
    if known is not None and was_coming and row.state != "READY":  # T2, before the activation zone
        fault = next((failure.field for failure in row.rule_failures if failure.blocking), None)
        sheet.emit("JOURNEY", jrn=row.jrn, stage=journey.stage.value, crossing=None)
        for unit in known.declaration.units:
            sheet.do(SendNotice(jrn=row.jrn, unit=unit, code=row.state, field=fault))


def _risk_answered(sheet: Sheet, event: RiskAnswered) -> None:
    state = sheet.instruction(event.key)
    if state is None:
        sheet.refuse("OUT_OF_SEQUENCE", "RISK_ANSWER", key=event.key, requestId=event.request_id)
        return
    if event.refused:
        sheet.refuse("BAD_SIGNATURE", "RISK_ANSWER", requestId=event.request_id, count=event.refused)
    for assessment in event.assessments:
        _record_answer(sheet, event, assessment)
    turn = lifecycle.answer(state, event.assessments, sheet.site, sheet.now_s)
    state = sheet.take(turn.then(deadlines.renew(turn.state, sheet.site, sheet.now_s)))
    if state.jrn is not None:
        _route_goods(sheet, state.jrn, event.assessments, by_officer=False)


def _record_answer(sheet: Sheet, event: RiskAnswered, assessment: Assessment) -> None:
    """The answer by its digest (the bytes the authority signed) and the card's figures; never its texts."""
    card = assessment.score_card or {}
    sheet.note(
        "RISK_ANSWERED",
        assessment.activation_id,
        jrn=assessment.jrn,
        requestId=event.request_id,
        routing=assessment.routing,
        routingControlLocation=assessment.routing_control_location,
        validUntil=assessment.valid_until,
        channel=card.get("channel"),
        score=card.get("score"),
        selectionKind=card.get("selectionKind"),
        ruleBookVersion=card.get("ruleBookVersion"),
        assessmentSha256=hashlib.sha256(msgspec.json.encode(assessment)).hexdigest(),
    )


def _route_goods(sheet: Sheet, jrn: str, assessments: tuple[Assessment, ...], *, by_officer: bool) -> None:
    """G8, G9 on the agent's copy, for answers that fit."""
    journey = sheet.journey(jrn)
    state = sheet.instruction(jrn)
    if journey is None or state is None:
        return
    standing = {one.assessment.activation_id: one.assessment for one in state.standings}
    frozen = []
    for one in journey.frozen:
        answer = standing.get(one.activation_id)
        if answer is None or answer not in assessments or not readable(answer):
            frozen.append(one)
            continue
        frozen.append(_routed(one, answer, journey.stage is JourneyStage.CONFIRMED, by_officer))
    sheet.put(msgspec.structs.replace(journey, frozen=tuple(frozen)))


def _routed(one: FrozenDeclaration, answer: Assessment, is_confirmed: bool, by_officer: bool) -> FrozenDeclaration:
    after = answer.routing_control_location == ControlLocation.AFTER_ENTRY.value
    location = ControlLocation.AFTER_ENTRY if after else ControlLocation.ON_ENTRY
    step = routed(one.state, Routing(answer.routing), location, confirmed=is_confirmed, by_officer=by_officer)
    return msgspec.structs.replace(one, state=step.state or one.state)


def _activation_answered(sheet: Sheet, event: ActivationAnswered) -> None:
    journey = sheet.journey(event.jrn)
    frozen = [one for one in journey.frozen if one.activation_id == event.activation_id] if journey else []
    if journey is None or not frozen:
        sheet.refuse("OUT_OF_SEQUENCE", "ACTIVATION_ANSWER", jrn=event.jrn, activationId=event.activation_id)
        return
    facts = {"jrn": event.jrn, "result": event.result, "reason": event.reason}
    sheet.note("ACTIVATION_ANSWERED", event.activation_id, acceptedAt=event.accepted_at, **facts)
    if event.result in ("ACCEPTED", "ALREADY_ACTIVATED"):
        accepted = tuple(
            msgspec.structs.replace(one, confirmed=one.confirmed or one.activation_id == event.activation_id)
            for one in journey.frozen
        )
        sheet.put(msgspec.structs.replace(journey, frozen=accepted))
        return
    state = sheet.instruction(event.jrn)
    if state is None:
        return
    cause = Cause(
        action=Action.HOLD,
        reason=ReasonCode.ACTIVATION_REFUSED,
        activation_id=event.activation_id,
        mrn=frozen[0].mrn,
        since_s=sheet.now_s,
    )
    sheet.take(lifecycle.add_causes(state, (cause,), sheet.site, sheet.now_s))


_FOUND = {
    "CONFORM": GoodsEvent.FOUND_CONFORM,
    "FINDING": GoodsEvent.FOUND_FINDING,
    "NOT_RELEASED": GoodsEvent.FOUND_NOT_RELEASED,
}


def _control_result(sheet: Sheet, result: ControlResult) -> None:
    """G12, G13, and the causes that a control closes."""
    journey = sheet.journey(result.jrn)
    if journey is None or result.control_result_code not in _FOUND:
        sheet.refuse("OUT_OF_SEQUENCE", "CONTROL_RESULT", jrn=result.jrn, result=result.control_result_code)
        return
    if result.control_result_id in journey.results:
        return
    targets = _controlled(journey, result)
    if not targets:
        sheet.refuse("OUT_OF_SEQUENCE", "CONTROL_RESULT", jrn=result.jrn, mrn=result.mrn)
        return
    taken = (*journey.results, result.control_result_id)[-MAX_RESULTS:]
    frozen = tuple(
        _intervened(one, result.control_result_code) if one.activation_id in targets else one for one in journey.frozen
    )
    sheet.put(msgspec.structs.replace(journey, results=taken, frozen=frozen))
    sheet.note(
        "CONTROL_RESULT",
        result.activation_id,
        jrn=result.jrn,
        mrn=result.mrn,
        result=result.control_result_code,
        officer=result.officer,
        controlResultId=result.control_result_id,
    )
    state = sheet.instruction(result.jrn)
    if state is None:
        return
    for target in targets:
        turn = lifecycle.control_taken(
            state, target, result.control_result_code, result.officer, sheet.site, sheet.now_s
        )
        state = sheet.take(turn)
    _close_if_done(sheet, result.jrn)


def _controlled(journey: Journey, result: ControlResult) -> tuple[str | None, ...]:
    """activationIds that a result is about; None = the vehicle as a whole (no mrn given)."""
    if result.mrn is None:
        light = tuple(one.activation_id for one in journey.frozen if one.mrn is None)
        return (*light, None)
    mrn = normal_mrn(result.mrn)
    return tuple(
        one.activation_id
        for one in journey.frozen
        if one.mrn is not None and mrn == normal_mrn(one.mrn) and one.version == result.version
    )


def _intervened(one: FrozenDeclaration, code: str) -> FrozenDeclaration:
    started = advance_goods(one.state, GoodsEvent.CONTROL_STARTED).state
    found = advance_goods(started, _FOUND[code]).state
    return msgspec.structs.replace(one, state=found or one.state)


def _close_if_done(sheet: Sheet, jrn: str) -> None:
    """T18: the last cause is closed and the vehicle has left; G11 where it has not."""
    journey, state = sheet.journey(jrn), sheet.instruction(jrn)
    if journey is None or state is None or worst_open(state) >= Action.HOLD:
        return
    release_goods(sheet, jrn)
    journey = sheet.journey(jrn) or journey
    ended = journey.stage in (JourneyStage.CONFIRMED, JourneyStage.BREACH)
    if ended and journey.left and not state.causes:
        sheet.move(journey, Trigger.LAST_CAUSE_CLOSED)
        sheet.put(lifecycle.close(state, sheet.now_s + sheet.site.policy.journey_expiry_s))


def _officer_decided(sheet: Sheet, event: OfficerDecided) -> None:
    journey = sheet.journey(event.key)
    state = sheet.instruction(event.key)
    if event.role not in DECIDING_ROLES or not event.officer:
        sheet.refuse("NOT_ALLOWED", "OFFICER_DECIDED", key=event.key, role=event.role)
        return
    if state is None and journey is None:
        sheet.refuse("OUT_OF_SEQUENCE", "OFFICER_DECIDED", key=event.key, officer=event.officer)
        return
    if state is None:
        units = journey.declaration.units if journey else ()
        state = new_state(event.key, journey, units[0] if units else "")
    place = Place(event.customs_office, event.lane)
    turn = lifecycle.officer_decides(state, event.action, event.officer, event.reason, place, sheet.site, sheet.now_s)
    sheet.take(turn)
    if journey is not None:
        _close_if_done(sheet, journey.key)


def _officer_activated(sheet: Sheet, event: OfficerActivated) -> None:
    """T10: the frozen declarations are activated in the officer's name."""
    journey = sheet.journey(event.jrn)
    state = sheet.instruction(event.jrn)
    if event.role not in DECIDING_ROLES or not event.officer:
        sheet.refuse("NOT_ALLOWED", "OFFICER_ACTIVATED", jrn=event.jrn, role=event.role)
        return
    if journey is None or state is None or journey.stage is not JourneyStage.LOCKED:
        stage = journey.stage.value if journey else None
        sheet.refuse("OUT_OF_SEQUENCE", "OFFICER_ACTIVATED", jrn=event.jrn, stage=stage)
        return
    sheet.note("OFFICER_ACTIVATED", jrn=event.jrn, officer=event.officer, reason=event.reason)
    journey = sheet.move(journey, Trigger.OFFICER_ACTIVATED)
    report(sheet, journey, journey.frozen, None, "MANUAL", event.officer)
    sheet.put(ask(sheet, lifecycle.require(state, journey.frozen), journey, {}))
    if state.action is not None:  # the instruction it stands under was issued while LOCKED
        sheet.move(sheet.journey(event.jrn) or journey, Trigger.INSTRUCTED)


def _receipt(sheet: Sheet, event: ReceiptArrived) -> None:
    times = ReceiptTimes(event.delivered_s, event.displayed_s, event.acknowledged_s, event.language)
    for state in sheet.view.instructions_of_unit(event.unit):
        moved = take(state.deliveries, event.instruction_id, event.version, times)
        if moved is None:
            continue
        sheet.put(msgspec.structs.replace(state, deliveries=moved))
        stage = next(one.stage.value for one in moved if one.version == event.version)
        facts = {**state.ref, "instructionId": event.instruction_id, "version": event.version, "stage": stage}
        sheet.note("RECEIPT", checkpoint=event.checkpoint, **{**facts, "unit": event.unit})
        sheet.emit("RECEIPT", **{**facts, "unit": event.unit})
        return
    sheet.refuse("UNKNOWN_INSTRUCTION", "RECEIPT", unit=event.unit, instructionId=event.instruction_id)


def _instruction_out(sheet: Sheet, event: InstructionOut) -> None:
    state = sheet.instruction(event.key)
    if state is None:
        sheet.refuse("OUT_OF_SEQUENCE", "INSTRUCTION_OUT", key=event.key, version=event.version)
        return
    sheet.put(deadlines.out(state, event.version, event.unit, event.at_s, sheet.site.policy))
    out_at = rfc3339(event.at_s)
    sheet.note("INSTRUCTION_OUT", key=event.key, version=event.version, unit=event.unit, outAt=out_at)


def _incident(sheet: Sheet, event: IncidentReported) -> None:
    """Extra goods are a STOP at any time; the rest is an officer's task."""
    journeys = sheet.journeys_of_unit(event.unit)
    at_border = [journey for journey in journeys if journey.stage not in BEFORE_LOCK and not journey.left]
    coming = [journey for journey in journeys if journey.stage is JourneyStage.APPROACHING]
    journey = next(iter(at_border or coming or journeys), None)
    jrn = journey.key if journey else None
    sheet.note("INCIDENT", jrn=jrn, unit=event.unit, incident=event.kind.value)
    sheet.emit("INCIDENT", jrn=jrn, unit=event.unit, incident=event.kind.value)
    if journey is None or event.kind is not IncidentKind.EXTRA_GOODS:
        crossing = journey.crossing if journey else None
        sheet.alarm("OFFICER_TASK", jrn, event.unit, crossing, f"{event.kind.value} reported by the driver")
        return
    if journey.stage in BEFORE_LOCK:
        sheet.put(msgspec.structs.replace(journey, self_reported=True))
    state = sheet.instruction(journey.key) or new_state(journey.key, journey, event.unit)
    cause = Cause(action=Action.STOP, reason=ReasonCode.SELF_REPORTED_GOODS, since_s=sheet.now_s)
    sheet.take(lifecycle.add_causes(state, (cause,), sheet.site, sheet.now_s))


def _witness(sheet: Sheet, event: WitnessSeen) -> None:
    sheet.note(
        "WITNESS",
        device=event.device,
        witness=event.kind,
        lane=event.lane,
        confidence=event.confidence,
        seenAt=rfc3339(event.seen_s),
        evidenceSha256=event.evidence_hash,
    )


def _deadline(sheet: Sheet, now_s: float) -> None:
    for record in tuple(sheet.view.due(now_s)):
        if isinstance(record, Passage):
            if record.last_s + PASSAGE_KEPT_S <= now_s:
                sheet.forget(record)
        elif isinstance(record, Journey):
            _journey_due(sheet, record, now_s)
        else:
            _instruction_due(sheet, record, now_s)


def _journey_due(sheet: Sheet, journey: Journey, now_s: float) -> None:
    if journey.forget_s is not None and journey.forget_s <= now_s:
        sheet.note("JOURNEY_FORGOTTEN", jrn=journey.key, stage=journey.stage.value)
        sheet.forget(journey)
    elif journey.stage in BEFORE_LOCK:
        sheet.move(journey, Trigger.TIME_LIMIT_PASSED)  # T20
    elif journey.lost_s is not None:
        _lost_for_good(sheet, journey, now_s)


def _lost_for_good(sheet: Sheet, journey: Journey, now_s: float) -> None:
    """T21."""
    state = sheet.instruction(journey.key)
    found = msgspec.structs.replace(journey, lost_s=None, forget_s=now_s + LOCKED_KEPT_S)
    if state is None or not state.causes:
        sheet.move(found, Trigger.LOST_CLEAR)
        if state is not None:
            sheet.put(lifecycle.close(state, now_s + sheet.site.policy.journey_expiry_s))
        return
    sheet.put(found)
    if worst_open(state) is Action.STOP:
        text = "no fix for 30 min under an open STOP"
        sheet.alarm("LOST_UNDER_STOP", journey.key, journey.unit or "", journey.crossing, text)


def _instruction_due(sheet: Sheet, due: InstructionState, now_s: float) -> None:
    turn = line_cut.deadline(sheet, due)
    effects = tuple(effect for effect in turn.effects if not _is_superseded(sheet, due, effect))
    state = sheet.take(replace(turn, effects=effects))
    if state.forget_s is not None and state.forget_s <= now_s:
        sheet.forget(state)
        return
    journey = sheet.journey(state.jrn) if state.jrn is not None else None
    if not deadlines.wants_renewal(state, now_s):
        return
    state = msgspec.structs.replace(state, renew_s=None)
    if journey is None or lifecycle.all_released(state):
        sheet.take(deadlines.renew(state, sheet.site, now_s))
    else:
        sheet.put(ask(sheet, state, journey, {}))


def _is_superseded(sheet: Sheet, state: InstructionState, effect: Effect) -> bool:
    """Whether an instruction that has ended was replaced on the unit's topic by one of a later journey."""
    if not isinstance(effect, ClearInstruction) or state.issued_s is None:
        return False
    others = (one for one in sheet.view.instructions_of_unit(effect.unit) if one.key != state.key)
    return any(one.issued_s is not None and one.issued_s >= state.issued_s for one in others)
