"""The register as one driver may see it: the word, where to go, and nothing about why."""

from __future__ import annotations

from dataclasses import dataclass

from agent.activation.journey import FINAL, Journey, JourneyStage
from agent.activation.passage import AT_BOOTH, Passage
from agent.config import DriverTable
from agent.delivery.driver_view import WAIT, DriverView, phone_of
from agent.domain.instruction import Action, Instruction
from agent.instruction.lifecycle import InstructionState
from agent.register import Register


@dataclass(frozen=True)
class Case:
    """The records behind one page. They are never changed in place, so the same ones show the same page."""

    journey: Journey
    passage: Passage | None
    state: InstructionState | None

    def same_as(self, other: Case | None) -> bool:
        """Whether nothing has changed since."""
        return (
            other is not None
            and self.journey is other.journey
            and self.passage is other.passage
            and self.state is other.state
        )

    @property
    def unit(self) -> str | None:
        """The unit that speaks for the vehicle: whose entry counted, else the first that is declared."""
        if self.state is not None and self.state.unit:
            return self.state.unit
        return next(iter(self.journey.declaration.units), None)

    @property
    def expires_s(self) -> float | None:
        """When what is shown ends, UTC seconds; None = nothing is decided."""
        return self.state.expires_s if self.state is not None and self.state.action is not None else None


def case_of(register: Register, jrn: str) -> Case | None:
    """The records of a journey; None once it is over, or was never here."""
    journey = register.journeys.get(jrn)
    if journey is None or journey.stage in FINAL:
        return None
    return Case(journey, _passage(register, journey), register.instructions.get(jrn))


def _passage(register: Register, journey: Journey) -> Passage | None:
    """The newest passage of the vehicle's units: theirs, unless it is known to be another journey's."""
    keys = {key for unit in journey.declaration.units for key in register.passages_of_unit.get(unit, ())}
    found = [register.passages[key] for key in keys]
    mine = [one for one in found if one.jrn in (None, journey.key)]
    return max(mine, key=lambda one: one.last_s, default=None)


def view_of(case: Case, table: DriverTable, now_s: float) -> DriverView:
    """What the page shows now.

    Args:
        case: The records.
        table: Numbers to call.
        now_s: UTC seconds; an instruction that has expired is never better than HOLD.
    """
    journey, state = case.journey, case.state
    action = _action(state, now_s)
    told = state.instruction if state is not None and action is not None else None
    means = journey.declaration.active_border_transport_means
    office = (told.customs_office if told else None) or journey.declaration.planned_crossing.customs_office
    return DriverView(
        show=WAIT if action is None else action.name,
        plate=means.identification_number,
        nationality=means.nationality,
        jrn=journey.key,
        at_border=action is not None or (case.passage is not None and case.passage.stage in AT_BOOTH),
        crossing=_crossing(case),
        office=office,
        lane=told.lane if told else None,
        phone=phone_of(office, table.phones, table.phone),
        report_to=told.report_to_locations if told else (),
        deadline=told.deadline if told else None,
        notices=_notices(journey) if action is None else (),
        instruction_id=told.instruction_id if told else None,
        version=told.version if told else 0,
        issued_at=told.issued_at if told else None,
        acknowledged=told is not None and _acknowledged(state, told),
        language=_language(journey),
    )


def _action(state: InstructionState | None, now_s: float) -> Action | None:
    if state is None or state.action is None:
        return None
    expired = state.expires_s is None or state.expires_s <= now_s
    return max(state.action, Action.HOLD) if expired else state.action


def _crossing(case: Case) -> str | None:
    passage, state = case.passage, case.state
    if passage is not None:
        return passage.crossing
    return (state.crossing if state else None) or case.journey.declaration.planned_crossing.crossing


def _notices(journey: Journey) -> tuple[str, ...]:
    """What can still be mended on the way; which field is at fault is for the trade, not for the road."""
    return ("NOT_READY",) if journey.stage is JourneyStage.NOT_READY else ()


def _acknowledged(state: InstructionState | None, told: Instruction) -> bool:
    deliveries = state.deliveries if state is not None else ()
    return any(one.version == told.version and one.acknowledged_s is not None for one in deliveries)


def _language(journey: Journey) -> str | None:
    """The driver's, as declared; two letters."""
    spoken = (member.language for member in journey.declaration.crew if member.language)
    return next((language[:2].lower() for language in spoken), None)


def recorded_of(case: Case) -> dict[str, object]:
    """What the agent holds about this driver and vehicle now, for the driver to take along."""
    journey, state = case.journey, case.state
    deliveries = state.deliveries if state is not None else ()
    means = journey.declaration.active_border_transport_means
    return {
        "jrn": journey.key,
        "plate": means.identification_number,
        "nationality": means.nationality,
        "units": list(journey.declaration.units),
        "language": _language(journey),
        "crossing": _crossing(case),
        "stage": case.passage.stage.value if case.passage is not None else None,
        "references": [one.reference_number for one in journey.declaration.references],
        "enteredAt": state.entered_s if state is not None else None,
        "receipts": [
            {
                "version": one.version,
                "stage": one.stage.value,
                "deliveredAt": one.delivered_s,
                "displayedAt": one.displayed_s,
                "acknowledgedAt": one.acknowledged_s,
                "language": one.language,
            }
            for one in deliveries
        ],
    }
