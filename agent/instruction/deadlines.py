"""Machine I in time: budget and expiry, renewal, what is out and what is shown (design/domain.md section 6).

`InstructionState.next_due_s` says when; `deadline` says what. Like all of machine I, time only tightens.
"""

from __future__ import annotations

import msgspec

from agent.activation.effects import ClearInstruction, Entry
from agent.config import PolicyConfig
from agent.domain.instruction import Action, DeliveryStage, ReasonCode
from agent.instruction.combination import Cause
from agent.instruction.lifecycle import (
    MILD,
    InstructionState,
    Issuer,
    Turn,
    alarm_of,
    expiry_s,
    give_up,
    settle,
    unanswered,
    with_causes,
)


def out(state: InstructionState, version: int, unit: str, at_s: float, policy: PolicyConfig) -> InstructionState:
    """The broker has the instruction: it is out."""
    if version <= state.round_version or version > state.version:
        return state
    first_s = state.out_s
    if first_s is None and unit == state.unit:
        first_s = at_s
    deliveries = tuple(
        msgspec.structs.replace(one, sent_s=at_s) if one.version == version and one.sent_s is None else one
        for one in state.deliveries
    )
    display_due_s = state.display_due_s
    if version == state.version and display_due_s is None and not _displayed(state):
        display_due_s = at_s + policy.display_due_s
    return msgspec.structs.replace(state, out_s=first_s, deliveries=deliveries, display_due_s=display_due_s)


def _displayed(state: InstructionState) -> bool:
    shown = (DeliveryStage.DISPLAYED, DeliveryStage.ACKNOWLEDGED)
    return any(one.version == state.version and one.stage in shown for one in state.deliveries)


def wants_renewal(state: InstructionState, now_s: float) -> bool:
    """Whether fresh answers must be asked for before GO ends."""
    return state.renew_s is not None and state.renew_s <= now_s and state.action in MILD and not state.confirmed


def renew(state: InstructionState, issuer: Issuer, now_s: float) -> Turn:
    """Fresh answers came while GO stands: issue it again if it then lasts longer."""
    if state.action not in MILD or state.confirmed or state.closed or state.expires_s is None:
        return Turn(state)
    if state.renew_s is not None:  # not asked for yet: a hedged answer, not a renewal
        return Turn(state)
    if unanswered(state, now_s) or expiry_s(state, state.action, issuer.policy, now_s) <= state.expires_s:
        return Turn(state)
    reason = None if state.reason is ReasonCode.CONDITIONAL else state.reason  # it may rest on live answers now
    return settle(state, issuer, now_s, reason=reason, renew=True)


def deadline(state: InstructionState, issuer: Issuer, now_s: float) -> Turn:
    """Whatever is due by now, apart from asking again (`wants_renewal`) and being forgotten."""
    turn = Turn(state)
    if state.waiting and state.due_s is not None and state.due_s <= now_s:
        turn = turn.then(settle(give_up(state, ReasonCode.NO_ANSWER, now_s), issuer, now_s))
    turn = turn.then(_expire(turn.state, issuer, now_s))
    turn = turn.then(_display_due(turn.state, now_s))
    return turn.then(_obligation_due(turn.state, now_s))


def _expire(state: InstructionState, issuer: Issuer, now_s: float) -> Turn:
    if state.cleared or state.expires_s is None or state.expires_s > now_s:
        return Turn(state)
    if state.action in MILD and not (state.confirmed or state.closed):
        expired = give_up(state, ReasonCode.ANSWER_EXPIRED, now_s)
        if not expired.causes or max(cause.action for cause in expired.causes) < Action.HOLD:
            cause = Cause(action=Action.HOLD, reason=ReasonCode.ANSWER_EXPIRED, since_s=now_s)
            expired = msgspec.structs.replace(expired, causes=with_causes(expired.causes, (cause,)))
        return settle(expired, issuer, now_s)
    clears = tuple(
        ClearInstruction(key=state.key, unit=unit, version=state.version)
        for unit in dict.fromkeys((state.unit, *state.units))
        if unit
    )
    deliveries = tuple(
        msgspec.structs.replace(one, stage=DeliveryStage.EXPIRED)
        if one.version == state.version and one.stage is not DeliveryStage.ACKNOWLEDGED
        else one
        for one in state.deliveries
    )
    ended = msgspec.structs.replace(state, cleared=True, renew_s=None, display_due_s=None, deliveries=deliveries)
    if ended.jrn is None and ended.forget_s is None:  # no journey will close it; the counter must outlive it
        ended = msgspec.structs.replace(ended, forget_s=now_s + issuer.policy.journey_expiry_s)
    return Turn(ended, clears, (Entry("INSTRUCTION_EXPIRED", state.ref),))


def _display_due(state: InstructionState, now_s: float) -> Turn:
    if state.display_due_s is None or state.display_due_s > now_s:
        return Turn(state)
    waited = msgspec.structs.replace(state, display_due_s=None)
    if _displayed(state):
        return Turn(waited)
    deliveries = tuple(
        msgspec.structs.replace(one, stage=DeliveryStage.UNDELIVERED)
        if one.version == state.version and one.stage is DeliveryStage.SENT
        else one
        for one in state.deliveries
    )
    told = state.action.name if state.action is not None else "no instruction"
    alarm = alarm_of(state, "NOT_DISPLAYED", f"{told} version {state.version} is not shown to the driver")
    return Turn(
        msgspec.structs.replace(waited, deliveries=deliveries),
        (alarm,),
        (Entry("ALARM", {**state.ref, "alarm": "NOT_DISPLAYED"}),),
    )


def _obligation_due(state: InstructionState, now_s: float) -> Turn:
    if state.obligation_due_s is None or state.obligation_due_s > now_s:
        return Turn(state)
    waited = msgspec.structs.replace(state, obligation_due_s=None)
    if not state.causes:
        return Turn(waited)
    alarm = alarm_of(state, "OBLIGATION_OVERDUE", "an obligation is still open after its deadline")
    return Turn(waited, (alarm,), (Entry("ALARM", {**state.ref, "alarm": "OBLIGATION_OVERDUE"}),))
