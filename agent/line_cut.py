"""The end of a time budget while customs cannot be asked: the authority's conditional answers, or HOLD.

Conditional answers stand in for live ones only, never for causes: whatever holds a lorry locally goes on holding it.
"""

from __future__ import annotations

import hashlib

import msgspec

from agent.activation.effects import AskedDeclaration
from agent.activation.journey import Journey
from agent.domain.routing import Assessment, ConditionalAnswer
from agent.domain.times import rfc3339
from agent.instruction import deadlines, lifecycle
from agent.instruction.lifecycle import InstructionState, Turn
from agent.journal.batch import RISK_ANSWER, PaperRow
from agent.risk.conditional import Crossed, fault_of
from agent.sheet import Sheet


def deadline(sheet: Sheet, state: InstructionState) -> Turn:
    """Whatever is due by now; before HOLD for want of an answer, conditional answers are looked at."""
    turn = Turn(state)
    if state.waiting and state.action is None and state.due_s is not None and state.due_s <= sheet.now_s:
        turn = _beforehand(sheet, state)
    return turn.then(deadlines.deadline(turn.state, sheet.site, sheet.now_s))


def _beforehand(sheet: Sheet, state: InstructionState) -> Turn:
    """GO if a conditional answer may be used for every declaration that nobody answered; else nothing changes."""
    journey = sheet.journey(state.jrn) if state.jrn is not None else None
    missing = lifecycle.unanswered(state, sheet.now_s)
    if journey is None or not journey.conditional or not missing:
        return Turn(state)
    answers = [_usable(sheet, state, journey, item) for item in missing]
    good = [answer for answer in answers if answer is not None]
    if len(good) < len(missing):
        return Turn(state)
    for answer in good:
        _record(sheet, state, answer)
    return lifecycle.answered_beforehand(state, [_as_assessment(one) for one in good], sheet.site, sheet.now_s)


def _usable(
    sheet: Sheet, state: InstructionState, journey: Journey, item: AskedDeclaration
) -> ConditionalAnswer | None:
    answer = next((one for one in journey.conditional if one.activation_id == item.activation_id), None)
    if answer is None or state.entered_s is None:
        return None
    crossed = Crossed(
        activation_id=item.activation_id,
        mrn=item.mrn,
        version=item.version,
        jrn=state.jrn,
        crossing=state.crossing,
        direction=state.direction,
        entered_s=state.entered_s,
    )
    fault = fault_of(answer, crossed, sheet.site.cut, sheet.now_s)
    if fault is not None:
        sheet.refuse(fault, "CONDITIONAL_ANSWER", jrn=state.jrn, activationId=item.activation_id)
        return None
    return answer


def _record(sheet: Sheet, state: InstructionState, answer: ConditionalAnswer) -> None:
    """To the journal by the digest of what the authority signed, with the list that was held."""
    cut = sheet.site.cut
    signed = msgspec.json.encode(msgspec.structs.replace(answer, signature=None))
    sheet.note(
        "CONDITIONAL_USED",
        answer.activation_id,
        jrn=state.jrn,
        notAfter=answer.not_after,
        listNumber=cut.list_number,
        listIssuedAt=rfc3339(cut.list_issued_s),
        referenceVersion=cut.version,
        assessmentSha256=hashlib.sha256(signed).hexdigest(),
    )
    if answer.signature is not None:
        sheet.file(PaperRow(state.key, RISK_ANSWER, answer.signature.encode(), answer.activation_id))


def _as_assessment(answer: ConditionalAnswer) -> Assessment:
    return Assessment(
        activation_id=answer.activation_id,
        mrn=answer.mrn,
        version=answer.version,
        jrn=answer.jrn,
        crossing=answer.crossing,
        direction=answer.direction,
        routing=answer.routing,
        issued_at=answer.issued_at,
        valid_until=answer.not_after,
    )
