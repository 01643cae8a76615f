"""What a passage means for journey and instruction: machine C's events through T and I.

Everything here writes on a `Sheet`; nothing is done.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from agent import line_cut
from agent.activation.effects import AskedDeclaration, AskRisk, ReportActivation, SendNotice
from agent.activation.events import (
    ActivationZoneEntered,
    ApproachSeen,
    Bypassed,
    ConfirmationEntered,
    ConfirmationLeft,
    EntryFacts,
    PassageEvent,
    TouchSeen,
    TurnedBack,
    UnitFound,
    UnitLost,
)
from agent.activation.goods import GoodsEvent, GoodsState
from agent.activation.goods import advance as advance_goods
from agent.activation.journey import (
    FrozenDeclaration,
    Journey,
    JourneyStage,
    Trigger,
    faulty_references,
    reference_mrn,
    sound_references,
    vehicle_of,
)
from agent.activation.matching import (
    Ambiguous,
    AtTheBorder,
    Elsewhere,
    Match,
    Matched,
    Opposite,
    Taken,
    clones,
    competent,
    match,
)
from agent.activation.passage import EITHER, UNDER_WAY, Passage, PassageStage
from agent.domain.declaration import DeclarationReference
from agent.domain.identifiers import activation_id
from agent.domain.instruction import Action, ReasonCode
from agent.instruction import lifecycle
from agent.instruction.budget import Budget, budget
from agent.instruction.combination import Cause
from agent.instruction.lifecycle import InstructionState, instruction_key
from agent.sheet import Sheet
from zones.border_zone import BorderZone
from zones.events import Direction, Kind

RECENT_S = 1_800.0
"""A passage so recent is the same drive through the same place (choice, as LOST's 30 min)."""
NO_WAITING = frozenset({"RISK_DEGRADED", "UPLINK_LOST", "CLOCK_UNTRUSTED"})
"""Modes in which nobody waits for an answer (design/reliability.md section 5)."""
UNSURE_PLACE = frozenset({"GNSS_UNTRUSTED", "ZONES_STALE"})
"""Modes in which presence in a zone is not certain: fixes, or the zones themselves, are not believed."""
MRN_MISSING = "MRN_MISSING"
"""`emptyReason` that is no empty run at all."""


def follow(sheet: Sheet, key: str, event: PassageEvent, zone: BorderZone, facts: EntryFacts) -> None:
    """Take one event of the passage `key`, seen at `zone`."""
    passage = sheet.passage(key)
    assert passage is not None  # it was put on the sheet before its events are followed
    match event:
        case ApproachSeen():
            approached(sheet, passage, zone, facts)
        case ActivationZoneEntered():
            entered(sheet, passage, event, zone, facts)
        case ConfirmationEntered():
            confirmed(sheet, passage)
        case ConfirmationLeft():
            left(sheet, passage, event)
        case TurnedBack():
            turned_back(sheet, passage, event)
        case TouchSeen() | Bypassed():
            name = "TOUCH_SEEN" if isinstance(event, TouchSeen) else "BYPASSED"
            sheet.emit(name, unit=passage.unit, crossing=passage.crossing, direction=passage.direction)
        case UnitLost() | UnitFound():
            lost_or_found(sheet, passage, event)


def _found(sheet: Sheet, passage: Passage, zone: BorderZone, direction: Direction) -> Match:
    """The journey meant by this unit here; where zones serve both ways, the fixes may tell the direction."""
    way: str | None = passage.direction
    if way == EITHER:
        way = None if direction is Direction.UNKNOWN else direction.value
    journeys = sheet.journeys_of_unit(passage.unit)
    return match(journeys, passage.crossing, way, zone.competences, sheet.now_s)


def approached(sheet: Sheet, passage: Passage, zone: BorderZone, facts: EntryFacts) -> None:
    """T4, T11: the journey comes near; what would stop it is told now."""
    found = _found(sheet, passage, zone, Direction.UNKNOWN)
    match found:
        case Matched(journey):
            sheet.move(journey, Trigger.APPROACHED)
            _join(sheet, passage, journey.key, None)
            _warn(sheet, passage, journey, zone, facts)
        case AtTheBorder(journey):
            _join(sheet, passage, journey.key, instruction_key(journey.key, passage.unit))
        case Elsewhere(journey) if not _on_its_way(sheet, passage, journey):
            sheet.move(journey, Trigger.APPROACHED_ELSEWHERE)
            _notice(sheet, journey, passage.unit, ReasonCode.WRONG_CROSSING.value)
        case Ambiguous((first, _)):
            _notice(sheet, first, passage.unit, ReasonCode.AMBIGUOUS_JOURNEY.value)
        case _:
            pass  # nobody we know, or somebody we expect: the activation zone decides


def _on_its_way(sheet: Sheet, passage: Passage, journey: Journey) -> bool:
    """Whether the unit is at the right crossing too: tracking zones of neighbours overlap."""
    return any(
        other.key != passage.key and other.jrn == journey.key and other.stage in UNDER_WAY
        for other in sheet.passages_of(passage.unit)
    )


def _join(sheet: Sheet, passage: Passage, jrn: str | None, key: str | None) -> None:
    sheet.put(msgspec.structs.replace(passage, jrn=jrn, instruction_key=key))


def _warn(sheet: Sheet, passage: Passage, journey: Journey, zone: BorderZone, facts: EntryFacts) -> None:
    if journey.stage is JourneyStage.NOT_READY:
        fault = next((failure for failure in journey.failures if failure.blocking), None)
        _notice(sheet, journey, passage.unit, ReasonCode.NOT_READY.value, fault.field if fault else None)
    unserved = _unserved(journey, zone, facts)
    if unserved is not None:
        _notice(sheet, journey, passage.unit, unserved.value)


def _notice(sheet: Sheet, journey: Journey, unit: str, code: str, field: str | None = None) -> None:
    sheet.do(SendNotice(jrn=journey.key, unit=unit, code=code, field=field))
    sheet.note("NOTICE_SENT", jrn=journey.key, code=code, field=field)


def _unserved(journey: Journey, zone: BorderZone, facts: EntryFacts) -> ReasonCode | None:
    """Why the office here cannot take this journey, if so."""
    if not facts.office_open:
        return ReasonCode.OFFICE_CLOSED
    offices = {item.customs_office for item in journey.goods if item.procedure == "PERIODIC"} - {None}
    elsewhere = zone.customs_office is not None and bool(offices - {zone.customs_office})
    if elsewhere or not competent(zone.competences, journey.goods):
        return ReasonCode.NOT_COMPETENT
    return None


def entered(sheet: Sheet, passage: Passage, event: ActivationZoneEntered, zone: BorderZone, facts: EntryFacts) -> None:
    """Matching, then T5 to T7, T9, T11, T13."""
    ignored = _same_drive(sheet, passage, event)
    if ignored is not None:
        sheet.refuse(ignored, "ACTIVATION_ZONE_ENTERED", unit=passage.unit, crossing=passage.crossing)
        return
    arrival = Arrival(sheet, passage, event, zone, facts)
    match _found(sheet, passage, zone, event.direction):
        case Matched(journey):
            arrival.activate(journey)
        case AtTheBorder(journey):
            arrival.again(journey)
        case Taken(journey):
            arrival.taken(journey)
        case Elsewhere(journey):
            arrival.elsewhere(journey)
        case Ambiguous():
            arrival.hold_unit(ReasonCode.AMBIGUOUS_JOURNEY)
        case Opposite(journey) if event.direction is Direction.UNKNOWN:
            sheet.refuse("OPPOSITE_DIRECTION", "ACTIVATION_ZONE_ENTERED", unit=passage.unit, jrn=journey.key)
        case _:
            arrival.hold_unit(ReasonCode.UNKNOWN_VEHICLE)


def _same_drive(sheet: Sheet, passage: Passage, event: ActivationZoneEntered) -> str | None:
    """Why an entry belongs to a drive that was counted already, if so.

    The first valid zone wins between close crossings; and the zones of the other direction lie on the same
    road, so fixes that tell no direction may be inside both.
    """
    for other in sheet.passages_of(passage.unit):
        if other.key == passage.key or not other.activated or sheet.now_s - other.last_s > RECENT_S:
            continue
        at_it = other.stage in (PassageStage.ACTIVATION, PassageStage.CONFIRMATION)
        if at_it and sheet.site.is_close(passage.crossing, other.crossing):
            return "FIRST_ZONE_WINS"
        if other.crossing == passage.crossing and event.direction is Direction.UNKNOWN:
            return "OPPOSITE_DIRECTION"
    return None


class Arrival:
    """One entry into an activation zone, and what it sets off."""

    def __init__(
        self,
        sheet: Sheet,
        passage: Passage,
        event: ActivationZoneEntered,
        zone: BorderZone,
        facts: EntryFacts,
    ) -> None:
        self.sheet = sheet
        self.passage = passage
        self.event = event
        self.zone = zone
        self.facts = facts

    def activate(self, journey: Journey) -> None:
        """T5, T6, T7, T9."""
        copies = self._clones(journey)
        unserved = _unserved(journey, self.zone, self.facts)
        sound = sound_references(journey)
        causes = self._common_causes(journey) + copies
        if journey.self_reported or unserved is not None:
            held = self._cause(Action.STOP, ReasonCode.SELF_REPORTED_GOODS)
            if unserved is not None and not journey.self_reported:
                held = self._cause(Action.HOLD, unserved)
            self._lock(journey, Trigger.ENTERED_UNSERVED, (), (*causes, held))
            return
        if journey.stage is not JourneyStage.NOT_READY:
            trigger = Trigger.ENTERED_MISSED if self.event.missed else Trigger.ENTERED
            self._lock(journey, trigger, sound, causes)
            return
        whole = faulty_references(journey)[1] or journey.declaration.all_or_nothing or not sound
        trigger = Trigger.ENTERED_FAULTY if whole else Trigger.ENTERED_PARTLY_FAULTY
        if self.event.missed:
            trigger = Trigger.ENTERED_MISSED
        self._lock(journey, trigger, sound, (*causes, self._cause(Action.HOLD, ReasonCode.NOT_READY)))

    def _cause(self, action: Action, reason: ReasonCode, declaration: FrozenDeclaration | None = None) -> Cause:
        return Cause(
            action=action,
            reason=reason,
            activation_id=declaration.activation_id if declaration else None,
            mrn=declaration.mrn if declaration else None,
            since_s=self.sheet.now_s,
        )

    def _common_causes(self, journey: Journey | None) -> tuple[Cause, ...]:
        """Causes that lie in the entry and in the journey's own words."""
        reasons: list[tuple[Action, ReasonCode]] = []
        if self.event.missed:
            reasons.append((Action.HOLD, ReasonCode.ACTIVATION_MISSED))
        if "CLOCK_UNTRUSTED" in self.facts.degraded:
            reasons.append((Action.HOLD, ReasonCode.CLOCK_UNTRUSTED))
        found_inside = self.event.kind is Kind.FOUND_INSIDE and self.sheet.site.policy.found_inside_holds
        if found_inside or not UNSURE_PLACE.isdisjoint(self.facts.degraded):
            reasons.append((Action.HOLD, ReasonCode.PRESENCE_UNCONFIRMED))
        declaration = journey.declaration if journey else None
        if declaration and declaration.empty and declaration.empty_reason == MRN_MISSING:
            reasons.append((Action.STOP, ReasonCode.EMPTY_MRN_MISSING))
        if declaration and not declaration.empty and not declaration.references:
            reasons.append((Action.HOLD, ReasonCode.NOT_READY))
        return tuple(self._cause(action, reason) for action, reason in reasons)

    def _clones(self, journey: Journey) -> tuple[Cause, ...]:
        """The same vehicle at two crossings at once: HOLD for both."""
        if journey.vehicle is None:
            return ()
        of_vehicle = self.sheet.journeys_of_vehicle(journey.vehicle)
        others = clones(journey, of_vehicle, self.passage.crossing, self.passage.unit, self.sheet.now_s)
        cause = self._cause(Action.HOLD, ReasonCode.DUPLICATE_VEHICLE)
        for other in others:
            state = self.sheet.instruction(other.key)
            if state is not None:
                self.sheet.take(lifecycle.add_causes(state, (cause,), self.sheet.site, self.sheet.now_s))
        return (cause,) if others else ()

    def _lock(
        self,
        journey: Journey,
        trigger: Trigger,
        activated: tuple[DeclarationReference, ...],
        causes: tuple[Cause, ...],
    ) -> None:
        """Freeze the journey's contents, activate the given declarations, start the round."""
        unactivated = trigger in (Trigger.ENTERED_UNSERVED, Trigger.ENTERED_FAULTY)
        references = sound_references(journey) if unactivated else activated
        frozen = self._frozen(journey, references)
        locked = self.sheet.move(
            journey,
            trigger,
            unit=self.passage.unit,
            crossing=self.passage.crossing,
            customs_office=self.zone.customs_office,
            zone_id=self.zone.id,
            entered_s=self.event.entered_s,
            latitude=self.event.latitude,
            longitude=self.event.longitude,
            frozen=frozen,
            turned_back=False,
            left=False,
        )
        required = () if unactivated else frozen
        if not unactivated:
            causes = (*causes, *self._random_stops(frozen))
            report(self.sheet, locked, frozen, self.facts, self._variant(), None)
        self._round(locked.key, locked, required, causes)

    def _variant(self) -> str:
        return "FALLBACK" if "UPLINK_LOST" in self.facts.degraded else "AUTOMATIC"

    def _frozen(self, journey: Journey, references: tuple[DeclarationReference, ...]) -> tuple[FrozenDeclaration, ...]:
        """The declarations by activationId, each once; an empty run has one without mrn."""
        keys: list[tuple[str | None, int]] = [(reference_mrn(one), one.version) for one in references]
        if journey.declaration.empty and not journey.declaration.references:
            keys = [(None, journey.declaration.version)]
        direction = journey.declaration.direction
        frozen = {}
        for mrn, version in keys:
            activation = activation_id(mrn or "", version, journey.key, self.passage.crossing, direction)
            frozen[activation] = FrozenDeclaration(mrn=mrn, version=version, activation_id=activation)
        return tuple(frozen.values())

    def _random_stops(self, frozen: tuple[FrozenDeclaration, ...]) -> tuple[Cause, ...]:
        """Local random stops, drawn so that a replay after a crash decides alike."""
        site = self.sheet.site
        if site.policy.random_stop_share <= 0.0:
            return ()
        drawn = [one for one in frozen if _draw(site.random_key, one.activation_id) < site.policy.random_stop_share]
        return tuple(self._cause(Action.STOP, ReasonCode.LOCAL_RULE, one) for one in drawn)

    def _limits(self) -> Budget:
        limits = budget(
            remaining_m=self.facts.remaining_m,
            speed_mps=self.facts.speed_mps,
            fix_age_s=self.facts.fix_age_s,
            arrived_s=self.facts.arrived_s,
            entry_s=self.event.entered_s,
            policy=self.sheet.site.policy,
        )
        if NO_WAITING.isdisjoint(self.facts.degraded):
            return limits
        return Budget(limits.limit_s, min(limits.due_s, self.facts.arrived_s))

    def _round(
        self,
        key: str,
        journey: Journey | None,
        required: tuple[FrozenDeclaration, ...],
        causes: tuple[Cause, ...],
    ) -> None:
        """Start a round of the instruction, ask, and issue what is known already."""
        state = self.sheet.instruction(key) or new_state(key, journey, self.passage.unit)
        begun = lifecycle.begin(
            state,
            tuple(AskedDeclaration(one.mrn, one.version, one.activation_id) for one in required),
            causes,
            self.event.entered_s,
            self.event.settled_s,
            self.facts.arrived_s,
            self._limits(),
        )
        begun = self._placed(begun, journey)
        if journey is not None and required:
            begun = ask(self.sheet, begun, journey, _indicators(self.event))
        turn = lifecycle.Turn(begun).then(lifecycle.settle(begun, self.sheet.site, self.sheet.now_s))
        self.sheet.take(turn.then(line_cut.deadline(self.sheet, turn.state)))
        passage = self.sheet.passage(self.passage.key) or self.passage
        _join(self.sheet, passage, journey.key if journey else None, key)

    def _placed(self, state: InstructionState, journey: Journey | None) -> InstructionState:
        floor = journey.instruction_version if journey else 0
        direction = journey.declaration.direction if journey else self.passage.direction
        return msgspec.structs.replace(
            state,
            unit=self.passage.unit,
            units=journey.declaration.units if journey else (),
            crossing=self.passage.crossing,
            direction=direction,
            customs_office=self.zone.customs_office,
            lane=self.zone.lane,
            unmanned=self.zone.unmanned,
            empty=journey.declaration.empty if journey else False,
            version=max(state.version, floor),
            round_version=max(state.round_version, floor),
        )

    def again(self, journey: Journey) -> None:
        """T13's return after turning back; else a repeat or a second witness: the first answer stands."""
        key = instruction_key(journey.key, self.passage.unit)
        if not journey.turned_back:
            _join(self.sheet, self.passage, journey.key, key)
            second = self.passage.unit != journey.unit
            kind = "SECOND_WITNESS" if second else "REPEATED_ENTRY"
            self.sheet.note(kind, jrn=journey.key, unit=self.passage.unit, crossing=self.passage.crossing)
            return
        back = msgspec.structs.replace(journey, turned_back=False, unit=self.passage.unit)
        self.sheet.put(back)
        required = () if journey.stage is JourneyStage.LOCKED else journey.frozen
        causes = self._common_causes(journey)
        if not required:
            causes = (*causes, self._cause(Action.HOLD, ReasonCode.NOT_READY))
        self._round(key, back, required, causes)

    def taken(self, journey: Journey) -> None:
        """The journey is at another crossing: a close pair, a second vehicle, or a detour."""
        elsewhere = journey.crossing or ""
        if self.sheet.site.is_close(self.passage.crossing, elsewhere):
            self.sheet.refuse("FIRST_ZONE_WINS", "ACTIVATION_ZONE_ENTERED", jrn=journey.key)
            return
        if self.passage.unit != journey.unit:
            self.hold_unit(ReasonCode.DUPLICATE_JRN)
            return
        key = instruction_key(journey.key, self.passage.unit)
        state = self.sheet.instruction(key)
        if state is not None:
            cause = self._cause(Action.HOLD, ReasonCode.WRONG_CROSSING)
            self.sheet.take(lifecycle.add_causes(state, (cause,), self.sheet.site, self.sheet.now_s))
        _join(self.sheet, self.passage, journey.key, key)

    def elsewhere(self, journey: Journey) -> None:
        """T11: HOLD, nothing is activated; the officer sends it on."""
        moved = self.sheet.move(journey, Trigger.ENTERED_ELSEWHERE)
        cause = self._cause(Action.HOLD, ReasonCode.WRONG_CROSSING)
        self._round(journey.key, moved, (), (*self._common_causes(journey), cause))

    def hold_unit(self, reason: ReasonCode) -> None:
        """HOLD without a journey, and an officer task to make one by hand."""
        key = instruction_key(None, self.passage.unit)
        self._round(key, None, (), (*self._common_causes(None), self._cause(Action.HOLD, reason)))
        text = f"{reason.value}: a unit without a clear journey is at {self.passage.crossing}"
        self.sheet.alarm("OFFICER_TASK", None, self.passage.unit, self.passage.crossing, text)


def _draw(key: bytes, activation: str) -> float:
    """A share from 0 to 1 that nobody outside can foresee and a replay repeats."""
    digest = hmac.new(key, activation.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _indicators(event: ActivationZoneEntered) -> dict[str, object]:
    return {"NO_APPROACH": True} if event.kind is Kind.FOUND_INSIDE else {}


def new_state(key: str, journey: Journey | None, unit: str) -> InstructionState:
    """The instruction of a journey or unit that was never told anything."""
    if journey is None:
        return InstructionState(key=key, jrn=None, unit=unit)
    return InstructionState(
        key=key,
        jrn=journey.key,
        unit=unit,
        units=journey.declaration.units,
        vehicle=vehicle_of(journey.declaration),
        crossing=journey.crossing or journey.declaration.planned_crossing.crossing,
        direction=journey.declaration.direction,
        customs_office=journey.customs_office,
        empty=journey.declaration.empty,
        version=journey.instruction_version,
        round_version=journey.instruction_version,
    )


def ask(sheet: Sheet, state: InstructionState, journey: Journey, indicators: dict[str, object]) -> InstructionState:
    """Ask for the risk answers of every declaration that nobody released."""
    asked = tuple(item for item in state.required if item.activation_id not in state.released)
    number = state.ask + 1
    question = AskRisk(
        key=state.key,
        request_id=f"{sheet.site.agent_id}/{journey.key}/{number}",
        jrn=journey.key,
        crossing=state.crossing or "",
        customs_office=state.customs_office,
        direction=journey.declaration.direction,
        activated_s=state.entered_s if state.entered_s is not None else sheet.now_s,
        vehicle=vehicle_of(journey.declaration),
        declarations=asked,
        lane=state.lane,
        trailers=journey.declaration.trailers,
        indicators=indicators,
        deadline_s=state.due_s if state.waiting else state.expires_s,
    )
    sheet.do(question)
    sheet.note("RISK_ASKED", jrn=journey.key, requestId=question.request_id, declarations=len(asked))
    return msgspec.structs.replace(state, ask=number, renew_s=None)


def report(
    sheet: Sheet,
    journey: Journey,
    frozen: tuple[FrozenDeclaration, ...],
    facts: EntryFacts | None,
    variant: str,
    officer: str | None,
) -> None:
    """Record each activation and report it to customs; an empty run has none."""
    activated_s = journey.entered_s if journey.entered_s is not None else sheet.now_s
    for one in frozen:
        if one.mrn is None:
            continue
        effect = ReportActivation(
            activation_id=one.activation_id,
            mrn=one.mrn,
            version=one.version,
            jrn=journey.key,
            crossing=journey.crossing or "",
            customs_office=journey.customs_office,
            direction=journey.declaration.direction,
            unit=journey.unit or "",
            activated_s=activated_s,
            received_s=facts.arrived_s if facts else sheet.now_s,
            latitude=journey.latitude,
            longitude=journey.longitude,
            variant=variant,
            officer=officer,
        )
        sheet.do(effect)
        facts_of = {
            "jrn": journey.key,
            "mrn": one.mrn,
            "version": one.version,
            "crossing": effect.crossing,
            "direction": effect.direction,
            "variant": variant,
            "activatedAt": activated_s,
            **({"officer": officer} if officer else {}),
        }
        sheet.note("ACTIVATED", one.activation_id, **facts_of)
        sheet.emit("ACTIVATION", activationId=one.activation_id, **facts_of)


def confirmed(sheet: Sheet, passage: Passage) -> None:
    """T14: at the confirmation line; undecided means HOLD at once."""
    journey = sheet.journey(passage.jrn) if passage.jrn else None
    state = sheet.instruction(passage.instruction_key)
    if journey is not None and journey.stage in (
        JourneyStage.LOCKED,
        JourneyStage.ACTIVATED,
        JourneyStage.ROUTED,
    ):
        sheet.move(journey, Trigger.CONFIRMATION_ENTERED)
    elif journey is not None and journey.stage is JourneyStage.CONFIRMED:
        sheet.note("SECOND_WITNESS", jrn=journey.key, unit=passage.unit, crossing=passage.crossing)
    if state is not None:
        state = sheet.take(lifecycle.confirm(state, sheet.site, sheet.now_s))
    if passage.jrn and state is not None and worst_open(state) < Action.HOLD:
        release_goods(sheet, passage.jrn)


def release_goods(sheet: Sheet, jrn: str) -> None:
    """G11 on the agent's copy: nothing holds what is TO_ENTRY any more."""
    journey = sheet.journey(jrn)
    if journey is None or journey.stage is not JourneyStage.CONFIRMED:
        return
    frozen = tuple(
        msgspec.structs.replace(one, state=advance_goods(one.state, GoodsEvent.CONFIRMED).state)
        if one.state is GoodsState.TO_ENTRY
        else one
        for one in journey.frozen
    )
    sheet.put(msgspec.structs.replace(journey, frozen=frozen))


def worst_open(state: InstructionState) -> Action:
    """The worst open cause; GO if there is none."""
    return max((cause.action for cause in state.causes), default=Action.GO)


def left(sheet: Sheet, passage: Passage, event: ConfirmationLeft) -> None:
    """T15 to T17: leaving with an open STOP is a BREACH, with an open HOLD an officer task."""
    journey = sheet.journey(passage.jrn) if passage.jrn else None
    state = sheet.instruction(passage.instruction_key)
    open_now = worst_open(state) if state is not None else Action.GO
    if journey is not None and journey.stage is JourneyStage.CONFIRMED and not journey.left:
        trigger = Trigger.LEFT_CLEAR
        if open_now is Action.STOP:
            trigger = Trigger.LEFT_UNDER_STOP
        elif open_now is not Action.GO:
            trigger = Trigger.LEFT_OPEN
        sheet.move(journey, trigger, left=True, lost_s=None)
    elif journey is not None and journey.left:
        return  # the second unit of the same lorry
    if open_now is Action.STOP:
        where = f"the confirmation zone of {passage.crossing}"
        sheet.alarm("BREACH", passage.jrn, passage.unit, passage.crossing, f"left {where} under an open STOP")
    elif open_now is Action.HOLD:
        text = f"left {passage.crossing} under an open HOLD, towards {event.side.value}"
        sheet.alarm("HOLD_LEFT", passage.jrn, passage.unit, passage.crossing, text)
    elif state is not None and open_now is Action.GO:
        sheet.put(lifecycle.close(state, sheet.now_s + sheet.site.policy.journey_expiry_s))


def turned_back(sheet: Sheet, passage: Passage, event: TurnedBack) -> None:
    """T12, T13."""
    journey = sheet.journey(passage.jrn) if passage.jrn else None
    sheet.emit("TURNED_BACK", unit=passage.unit, crossing=passage.crossing, activated=event.activated)
    if journey is None:
        return
    if not event.activated:
        if journey.stage is JourneyStage.APPROACHING:
            sheet.move(journey, Trigger.TURNED_BACK)
        _notice(sheet, journey, passage.unit, "TURNED_BACK")
        return
    if journey.unit == passage.unit and journey.crossing == passage.crossing:
        sheet.move(journey, Trigger.TURNED_BACK, turned_back=True)
    text = f"turned back at {passage.crossing} after activation; withdrawal may be asked"
    sheet.alarm("OFFICER_TASK", journey.key, passage.unit, passage.crossing, text)


def lost_or_found(sheet: Sheet, passage: Passage, event: UnitLost | UnitFound) -> None:
    """C10, C11; T21 counts from here."""
    is_lost = isinstance(event, UnitLost)
    sheet.emit("UNIT_LOST" if is_lost else "UNIT_FOUND", unit=passage.unit, crossing=passage.crossing)
    journey = sheet.journey(passage.jrn) if passage.jrn else None
    if journey is not None and journey.unit == passage.unit:
        sheet.put(msgspec.structs.replace(journey, lost_s=event.at_s if is_lost else None))
