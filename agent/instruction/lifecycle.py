"""Machine I: what one lorry is told, version after version (design/domain.md sections 5 and 6).

Two rules carry the invariants. Whatever merely arrives can only *add* causes; only an officer or a control
result takes one away. And GO or GO_WITH_OBLIGATION is issued only when every declaration has a fresh answer
or a named release. Each function is total and gives the next state with what must be done about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec

from agent.activation.effects import (
    AskedDeclaration,
    Effect,
    EmitEvent,
    Entry,
    RaiseAlarm,
    SendInstruction,
)
from agent.activation.goods import strictness
from agent.activation.journey import FrozenDeclaration
from agent.config import PolicyConfig
from agent.domain.identifiers import instruction_id
from agent.domain.instruction import Action, Delivery, DeliveryStage, Instruction, ReasonCode, Vehicle
from agent.domain.routing import Assessment, ControlLocation, Routing
from agent.domain.times import epoch_s, rfc3339
from agent.instruction.budget import Budget
from agent.instruction.combination import Cause, Outcome, cause_of, combine, readable

DELIVERIES_KEPT = 8
"""Versions whose receipts are still taken."""

CLOSED_BY_CONTROL = frozenset({Routing.TO_CONTROL.value, Routing.ENTRY_PENDING.value})
"""Routings whose cause a control result closes (section 6); ENTRY_DENIED takes an officer."""
MILD = frozenset({Action.GO, Action.GO_WITH_OBLIGATION})


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The answer in force for one declaration: the strictest so far, fresh until the newest one ends."""

    assessment: Assessment
    valid_until_s: float


class InstructionState(msgspec.Struct, frozen=True, kw_only=True):
    """State of machine I. A *round* runs from one entry into the activation zone to the next."""

    key: str
    jrn: str | None
    unit: str
    """Unit whose entry runs the budget; empty if an officer decided before any unit came."""
    units: tuple[str, ...] = ()
    """All units that are told."""
    vehicle: Vehicle | None = None
    crossing: str | None = None
    direction: str | None = None
    customs_office: str | None = None
    lane: str | None = None
    unmanned: bool = False
    empty: bool = False
    round: int = 0
    round_version: int = 0
    """Version in force when the round began."""
    entered_s: float | None = None
    """When the boundary of the activation zone was crossed."""
    settled_s: float | None = None
    """Fix time of the fix that settled it."""
    arrived_s: float | None = None
    """When that fix reached the agent."""
    limit_s: float | None = None
    """When an instruction must be out in this round."""
    due_s: float | None = None
    """When HOLD is decided in this round; only ever earlier."""
    decided_s: float | None = None
    """When the first instruction of this round was decided."""
    out_s: float | None = None
    """When the first instruction of this round was out (PUBACK)."""
    required: tuple[AskedDeclaration, ...] = ()
    """The frozen declarations, each of which must be answered."""
    standings: tuple[Standing, ...] = ()
    conditional: frozenset[str] = frozenset()
    """activationIds whose answer in force is the authority's conditional one."""
    released: frozenset[str] = frozenset()
    """activationIds that an officer or a control result released."""
    released_by: str | None = None
    """The officer who decided last in this round; automatic answers are then recorded only."""
    waiting: bool = False
    """The budget runs: answers are still expected."""
    causes: tuple[Cause, ...] = ()
    action: Action | None = None
    """None = NONE or PENDING in this round."""
    reason: ReasonCode | None = None
    version: int = 0
    issued_s: float | None = None
    expires_s: float | None = None
    instruction: Instruction | None = None
    cleared: bool = False
    """The retained instruction was cleared at its end."""
    ask: int = 0
    """Questions asked so far; goes into the request id."""
    renew_s: float | None = None
    confirmed: bool = False
    closed: bool = False
    """The journey is over: nothing more is issued."""
    deliveries: tuple[Delivery, ...] = ()
    display_due_s: float | None = None
    obligation_due_s: float | None = None
    forget_s: float | None = None

    @property
    def next_due_s(self) -> float | None:
        """Earliest of budget, renewal, expiry, display, obligation and being forgotten."""
        dues = (
            self.due_s if self.waiting else None,
            self.renew_s,
            None if self.cleared else self.expires_s,
            self.display_due_s,
            self.obligation_due_s,
            self.forget_s,
        )
        return min((due for due in dues if due is not None), default=None)

    @property
    def ref(self) -> dict[str, object]:
        """What names it in journal entries and events."""
        return {"jrn": self.jrn, "unit": self.unit, "version": self.version}


def instruction_key(jrn: str | None, unit: str) -> str:
    """Record key: the jrn, or `unit:` + unit where there is no journey (a jrn holds no colon)."""
    return jrn if jrn is not None else f"unit:{unit}"


@dataclass(frozen=True)
class Issuer:
    """Who issues, and by which settings."""

    agent_id: str
    policy: PolicyConfig = field(default_factory=PolicyConfig)


@dataclass(frozen=True)
class Turn:
    """Next state, what must be done, and what the journal keeps."""

    state: InstructionState
    effects: tuple[Effect, ...] = ()
    entries: tuple[Entry, ...] = ()

    def then(self, other: Turn) -> Turn:
        """This turn followed by another that began from its state."""
        return Turn(other.state, self.effects + other.effects, self.entries + other.entries)


def late(state: InstructionState, what: str, **facts: object) -> Entry:
    """An answer that changes nothing: never obeyed, always recorded."""
    return Entry("LATE_ANSWER", {**state.ref, "what": what, **facts})


def refusal(code: str, what: str, /, **facts: object) -> Entry:
    """Something that does not fit: recorded, never raised."""
    return Entry("REFUSED", {"code": code, "what": what, **facts})


def begin(
    state: InstructionState,
    required: tuple[AskedDeclaration, ...],
    causes: tuple[Cause, ...],
    entered_s: float,
    settled_s: float,
    arrived_s: float,
    limits: Budget,
) -> InstructionState:
    """An entry into the activation zone starts a round: answers are asked afresh, open causes stay.

    An officer's GO of an earlier round does not count again; his STOP or HOLD stays until he closes it.
    """
    kept = tuple(cause for cause in state.causes if cause.action >= Action.HOLD)
    return msgspec.structs.replace(
        state,
        round=state.round + 1,
        round_version=state.version,
        entered_s=entered_s,
        settled_s=settled_s,
        arrived_s=arrived_s,
        limit_s=limits.limit_s,
        due_s=limits.due_s,
        decided_s=None,
        out_s=None,
        required=required,
        standings=(),
        conditional=frozenset(),
        released=frozenset(),
        released_by=None,
        waiting=True,
        causes=with_causes(kept, causes),
        action=None,
        reason=None,
        renew_s=None,
        confirmed=False,
        closed=False,
        obligation_due_s=None,
    )


def shorten(state: InstructionState, limits: Budget) -> InstructionState:
    """The budget of a later fix: only ever earlier."""
    if not state.waiting or state.action is not None or state.due_s is None or state.limit_s is None:
        return state
    if limits.due_s >= state.due_s:
        return state
    return msgspec.structs.replace(state, due_s=limits.due_s, limit_s=min(state.limit_s, limits.limit_s))


def with_causes(held: tuple[Cause, ...], added: Iterable[Cause]) -> tuple[Cause, ...]:
    """Causes without repeats: one for each declaration and reason."""
    merged = {(cause.activation_id, cause.reason): cause for cause in held}
    for cause in added:
        merged.setdefault((cause.activation_id, cause.reason), cause)
    return tuple(merged.values())


def add_causes(state: InstructionState, causes: Iterable[Cause], issuer: Issuer, now_s: float) -> Turn:
    """Journey causes, refusals by customs, local rules: they tighten or change nothing."""
    if state.closed:
        entries = tuple(late(state, "CAUSE", reason=cause.reason.value) for cause in causes)
        return Turn(state, (), entries)
    capped = [_capped(state, cause) for cause in causes]
    changed = msgspec.structs.replace(state, causes=with_causes(state.causes, capped))
    return settle(changed, issuer, now_s)


def _capped(state: InstructionState, cause: Cause) -> Cause:
    """After CONFIRMED a lorry that was let go is not called back: an obligation at the next office."""
    if not state.confirmed or state.action not in MILD or cause.action <= Action.GO_WITH_OBLIGATION:
        return cause
    return msgspec.structs.replace(cause, action=Action.GO_WITH_OBLIGATION, reason=ReasonCode.LATE_CONTROL)


def answer(
    state: InstructionState,
    assessments: Iterable[Assessment],
    issuer: Issuer,
    now_s: float,
    raised: bool = False,
) -> Turn:
    """Verified risk answers for this journey.

    Args:
        state: State now.
        assessments: Their signatures are good; whether they fit is checked here.
        issuer: Who issues.
        now_s: UTC seconds.
        raised: The authority raised them after its first answer (G9); this holds after an officer too.
    """
    before = state
    entries: list[Entry] = []
    for assessment in assessments:
        fault = unfit(state, assessment, now_s)
        if fault is not None:
            entries.append(refusal(fault, "RISK_ANSWER", **state.ref, mrn=assessment.mrn))
            continue
        if state.closed or (assessment.activation_id in state.released and not raised):
            entries.append(late(state, "RISK_ANSWER", mrn=assessment.mrn, routing=assessment.routing))
            continue
        if before.action in (Action.HOLD, Action.STOP) and assessment.routing == Routing.TO_ENTRY.value:
            entries.append(late(state, "RISK_ANSWER", mrn=assessment.mrn, routing=assessment.routing))
        state = _standing(state, assessment, now_s)
        state = msgspec.structs.replace(state, conditional=state.conditional - {assessment.activation_id})
    turn = settle(state, issuer, now_s)
    return Turn(turn.state, turn.effects, tuple(entries) + turn.entries)


def answered_beforehand(
    state: InstructionState, assessments: Iterable[Assessment], issuer: Issuer, now_s: float
) -> Turn:
    """The authority's conditional answers stand in for live ones that cannot be had.

    Args:
        state: State now; its budget is over.
        assessments: What the conditional answers say; that they may be used now was checked.
        issuer: Who issues.
        now_s: UTC seconds.
    """
    for assessment in assessments:
        state = _standing(state, assessment, now_s)
        state = msgspec.structs.replace(state, conditional=state.conditional | {assessment.activation_id})
    return settle(state, issuer, now_s)


def unfit(state: InstructionState, assessment: Assessment, now_s: float) -> str | None:
    """Why an answer is no answer for this journey, or None: wrong declaration, unreadable, or expired."""
    asked = next((item for item in state.required if item.activation_id == assessment.activation_id), None)
    if asked is None:
        return "NOT_ASKED"
    ours = (asked.mrn, asked.version, state.jrn, state.crossing, state.direction)
    theirs = (
        assessment.mrn,
        assessment.version,
        assessment.jrn,
        assessment.crossing,
        assessment.direction,
    )
    if ours != theirs:
        return "OTHER_DECLARATION"
    if not readable(assessment):
        return "UNREADABLE"
    return "EXPIRED" if epoch_s(assessment.valid_until) <= now_s else None


def _standing(state: InstructionState, assessment: Assessment, now_s: float) -> InstructionState:
    """Take a fitting answer: the stricter one holds, the newer one keeps it fresh."""
    held = _standing_of(state, assessment.activation_id)
    valid_until_s = epoch_s(assessment.valid_until)
    others = tuple(one for one in state.standings if one is not held)
    if held is not None and _strictness(assessment) <= _strictness(held.assessment):
        kept = held.assessment
        if _strictness(assessment) == _strictness(kept):
            kept = assessment
        newest_s = max(valid_until_s, held.valid_until_s)
        standing = Standing(assessment=kept, valid_until_s=newest_s)
        return msgspec.structs.replace(state, standings=(*others, standing))
    standing = Standing(assessment=assessment, valid_until_s=valid_until_s)
    changed = msgspec.structs.replace(state, standings=(*others, standing))
    cause = cause_of(assessment, now_s)
    if cause is None:
        return changed
    milder = tuple(
        one
        for one in changed.causes
        if one.routing is None or one.activation_id != cause.activation_id or one.reason is ReasonCode.LATE_CONTROL
    )
    causes = with_causes(milder, (_capped(state, cause),))
    return msgspec.structs.replace(changed, causes=causes, released=changed.released - {assessment.activation_id})


def _standing_of(state: InstructionState, activation_id: str) -> Standing | None:
    return next((one for one in state.standings if one.assessment.activation_id == activation_id), None)


def _strictness(assessment: Assessment) -> tuple[int, int]:
    after = assessment.routing_control_location == ControlLocation.AFTER_ENTRY.value
    location = ControlLocation.AFTER_ENTRY if after else ControlLocation.ON_ENTRY
    routing = Routing(assessment.routing)
    return strictness(routing, ControlLocation.ON_ENTRY if routing is Routing.TO_ENTRY else location)


def unanswered(state: InstructionState, now_s: float) -> tuple[AskedDeclaration, ...]:
    """Frozen declarations without a fresh answer or a named release."""
    fresh = {one.assessment.activation_id for one in state.standings if one.valid_until_s > now_s}
    answered = fresh | state.released
    return tuple(item for item in state.required if item.activation_id not in answered)


def settle(
    state: InstructionState,
    issuer: Issuer,
    now_s: float,
    *,
    by: str | None = None,
    reason: ReasonCode | None = None,
    renew: bool = False,
) -> Turn:
    """Issue what the open causes come to, if something must be issued.

    Args:
        state: State with its causes and answers.
        issuer: Who issues.
        now_s: UTC seconds.
        by: The officer whose act this is; nothing else makes an instruction milder.
        reason: Said instead of the worst cause's.
        renew: The same action again, for another while.
    """
    outcome = combine(state.causes, empty=state.empty, unmanned=state.unmanned)
    complete = bool(state.required or state.released_by) and not unanswered(state, now_s)
    if complete and state.waiting:
        state = msgspec.structs.replace(state, waiting=False)
    milder = state.action is None or outcome.action < state.action or renew
    if outcome.action in MILD and milder and not complete:
        return Turn(state)
    if not _must_issue(state, outcome, by is not None, renew):
        return Turn(state)
    if reason is None and outcome.action is Action.GO and state.conditional - state.released:
        reason = ReasonCode.CONDITIONAL
    if reason is not None:
        outcome = replace(outcome, reason=reason)
    return issue(state, outcome, issuer, now_s, by)


def _must_issue(state: InstructionState, outcome: Outcome, by_officer: bool, renew: bool) -> bool:
    if state.closed:
        return False
    if state.action is None or by_officer:
        return True
    if outcome.action != state.action:
        return outcome.action > state.action
    if renew:
        return True
    told = state.instruction
    if told is None or outcome.action in (Action.GO, Action.HOLD):
        return False
    new = (outcome.report_to_locations, _rfc(outcome.deadline_s), *_place(state, outcome))
    return new != (told.report_to_locations, told.deadline, told.customs_office, told.lane)


def _place(state: InstructionState, outcome: Outcome) -> tuple[str | None, str | None]:
    """Office and lane: those of the worst cause, else those of the crossing."""
    return outcome.customs_office or state.customs_office, outcome.lane or state.lane


def issue(state: InstructionState, outcome: Outcome, issuer: Issuer, now_s: float, by: str | None = None) -> Turn:
    """The next version, to every unit of the vehicle."""
    version = state.version + 1
    reason = outcome.reason
    expires_s = expiry_s(state, outcome.action, issuer.policy, now_s)
    customs_office, lane = _place(state, outcome)
    instruction = Instruction(
        instruction_id=instruction_id(issuer.agent_id, state.jrn or state.unit, version),
        jrn=state.jrn,
        version=version,
        unit=state.unit,
        vehicle=state.vehicle,
        action=outcome.action.name,
        customs_office=customs_office,
        lane=lane,
        report_to_locations=outcome.report_to_locations,
        deadline=_rfc(outcome.deadline_s),
        reason_code=reason.value,
        issued_at=rfc3339(now_s),
        expires_at=rfc3339(expires_s),
        supersedes=state.instruction.instruction_id if state.instruction else None,
        activations=tuple(item.activation_id for item in state.required if item.mrn is not None),
        checkpoint=None,
    )
    issued = _issued(state, instruction, outcome, reason, expires_s, issuer.policy, now_s)
    facts = {
        **issued.ref,
        "instructionId": instruction.instruction_id,
        "action": instruction.action,
        "reasonCode": instruction.reason_code,
        "crossing": state.crossing,
        "direction": state.direction,
        "expiresAt": instruction.expires_at,
        "supersedes": instruction.supersedes,
        **({"officer": by} if by is not None else {}),
    }
    effects: tuple[Effect, ...] = (
        *_sends(issued, instruction, expires_s),
        EmitEvent(kind="INSTRUCTION", body=facts),
    )
    return Turn(issued, effects, (Entry("INSTRUCTION_ISSUED", facts),))


def _sends(state: InstructionState, instruction: Instruction, expires_s: float) -> tuple[SendInstruction, ...]:
    first_of_round = state.version == state.round_version + 1
    return tuple(
        SendInstruction(
            key=state.key,
            unit=unit,
            instruction=msgspec.structs.replace(instruction, unit=unit),
            expires_s=expires_s,
            due_s=state.limit_s if first_of_round and unit == state.unit else None,
        )
        for unit in dict.fromkeys((state.unit, *state.units))
        if unit
    )


def _issued(
    state: InstructionState,
    instruction: Instruction,
    outcome: Outcome,
    reason: ReasonCode,
    expires_s: float,
    policy: PolicyConfig,
    now_s: float,
) -> InstructionState:
    superseded = tuple(
        msgspec.structs.replace(one, stage=DeliveryStage.SUPERSEDED)
        if one.stage in (DeliveryStage.SENT, DeliveryStage.DELIVERED, DeliveryStage.UNDELIVERED)
        else one
        for one in state.deliveries
    )
    delivery = Delivery(instruction_id=instruction.instruction_id, version=instruction.version)
    mild = outcome.action in MILD
    halfway_s = now_s + (expires_s - now_s) / 2  # an answer that is good for seconds is not asked for all day
    return msgspec.structs.replace(
        state,
        action=outcome.action,
        reason=reason,
        version=instruction.version,
        issued_s=now_s,
        expires_s=expires_s,
        instruction=instruction,
        cleared=False,
        decided_s=state.decided_s if state.decided_s is not None else now_s,
        renew_s=max(expires_s - policy.renew_before_s, halfway_s) if mild and not state.confirmed else None,
        deliveries=(*superseded, delivery)[-DELIVERIES_KEPT:],
        display_due_s=None,
        obligation_due_s=outcome.deadline_s if outcome.action is Action.GO_WITH_OBLIGATION else None,
    )


def expiry_s(state: InstructionState, action: Action, policy: PolicyConfig, now_s: float) -> float:
    """When an instruction issued now ends: a mild one no later than the first answer that it rests on."""
    if action not in MILD:
        return now_s + policy.hold_life_s
    ends = [one.valid_until_s for one in state.standings if one.assessment.activation_id not in state.released]
    return min([now_s + policy.instruction_life_s, *(end_s for end_s in ends if end_s > now_s)])


def _rfc(time_s: float | None) -> str | None:
    return None if time_s is None else rfc3339(time_s)


def officer_decides(
    state: InstructionState,
    action: Action,
    officer: str,
    reason: str,
    place: Place,
    issuer: Issuer,
    now_s: float,
) -> Turn:
    """The officer always wins: the open causes are closed, what was decided is the only one."""
    causes: tuple[Cause, ...] = ()
    if action is not Action.GO:
        cause = Cause(
            action=action,
            reason=ReasonCode.OFFICER,
            customs_office=place.customs_office,
            lane=place.lane,
            since_s=now_s,
        )
        causes = (cause,)
    decided = msgspec.structs.replace(
        state,
        causes=causes,
        released=frozenset(item.activation_id for item in state.required),
        released_by=officer,
        waiting=False,
        closed=False,
    )
    facts = {**state.ref, "officer": officer, "action": action.name, "reason": reason}
    turn = settle(decided, issuer, now_s, by=officer, reason=ReasonCode.OFFICER)
    return Turn(turn.state, turn.effects, (Entry("OFFICER_DECIDED", facts), *turn.entries))


@dataclass(frozen=True)
class Place:
    """Where an officer sends a lorry."""

    customs_office: str | None = None
    lane: str | None = None


def control_taken(
    state: InstructionState, activation_id: str | None, code: str, officer: str, issuer: Issuer, now_s: float
) -> Turn:
    """A control result: CONFORM and FINDING close the cause, NOT_RELEASED keeps it or makes one.

    Args:
        state: State now.
        activation_id: Declaration that was controlled; None = the vehicle as a whole.
        code: CONFORM, FINDING or NOT_RELEASED.
        officer: Who found it.
        issuer: Who issues.
        now_s: UTC seconds.
    """
    if code not in ("CONFORM", "FINDING"):
        cause = Cause(action=Action.STOP, reason=ReasonCode.ENTRY_DENIED, activation_id=activation_id, since_s=now_s)
        return add_causes(state, (cause,), issuer, now_s)
    if not state.required:
        return Turn(state)  # nothing was activated, so nothing is released: this takes an officer's decision
    left = tuple(cause for cause in state.causes if not _closed_by(cause, activation_id))
    released = state.released if activation_id is None else state.released | {activation_id}
    changed = msgspec.structs.replace(state, causes=left, released=released)
    if state.action is None or state.closed:
        return Turn(changed)
    if state.action >= Action.HOLD:  # nothing still on its way may let it go after this
        changed = give_up(changed, ReasonCode.NO_ANSWER, now_s)
    if combine(changed.causes, empty=state.empty, unmanned=state.unmanned).action >= state.action:
        return Turn(changed)
    return settle(changed, issuer, now_s, by=officer)


def _closed_by(cause: Cause, activation_id: str | None) -> bool:
    if cause.activation_id != activation_id:
        return False
    return activation_id is None or cause.routing in CLOSED_BY_CONTROL


def give_up(state: InstructionState, reason: ReasonCode, now_s: float) -> InstructionState:
    """Every declaration without a fresh answer becomes a HOLD cause."""
    missing = tuple(
        Cause(
            action=Action.HOLD,
            reason=reason,
            activation_id=item.activation_id,
            mrn=item.mrn,
            since_s=now_s,
        )
        for item in unanswered(state, now_s)
    )
    if not state.required and not state.causes and state.action is None:
        # Nothing was frozen and nothing is open: still no reason to let anyone go.
        missing = (Cause(action=Action.HOLD, reason=reason, since_s=now_s),)
    capped = tuple(_capped(state, cause) for cause in missing)
    return msgspec.structs.replace(state, causes=with_causes(state.causes, capped), waiting=False)


def confirm(state: InstructionState, issuer: Issuer, now_s: float) -> Turn:
    """The vehicle is at the confirmation line: undecided means HOLD at once; renewal ends."""
    if state.closed or state.confirmed:
        return Turn(state)
    if state.action is None:
        held = give_up(state, ReasonCode.NO_ANSWER, now_s)
        turn = settle(held, issuer, now_s)
        return Turn(msgspec.structs.replace(turn.state, confirmed=True, renew_s=None), turn.effects, turn.entries)
    return Turn(msgspec.structs.replace(state, confirmed=True, renew_s=None))


def close(state: InstructionState, forget_s: float) -> InstructionState:
    """The journey is over: nothing more is issued; what is shown stays until its end."""
    return msgspec.structs.replace(
        state, closed=True, waiting=False, renew_s=None, obligation_due_s=None, forget_s=forget_s
    )


def all_released(state: InstructionState) -> bool:
    """Whether a named officer, and no answer, stands for every declaration."""
    return all(item.activation_id in state.released for item in state.required)


def require(state: InstructionState, frozen: Iterable[FrozenDeclaration]) -> InstructionState:
    """An officer activated by hand: these are asked for; what he released before stays released."""
    asked = tuple(AskedDeclaration(one.mrn, one.version, one.activation_id) for one in frozen)
    released = state.released
    if state.released_by is not None:
        released = released | {item.activation_id for item in asked}
    return msgspec.structs.replace(state, required=asked, released=released)


def alarm_of(state: InstructionState, name: str, text: str) -> RaiseAlarm:
    """An alarm about this instruction."""
    return RaiseAlarm(name=name, jrn=state.jrn, unit=state.unit, crossing=state.crossing, text=text)
