"""What a carrier sees of its journeys: ready or what is wrong in which field, what came of it, never why."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.domain.declaration import FeedRow, RuleFailure
from agent.domain.instruction import Action
from agent.domain.routing import ReportToLocation
from simulator.customs.office import RoutingRow

MAX_JOURNEYS = 20_000
"""Journeys kept of all carriers; the oldest go first."""
RESULTS = frozenset(Action.__members__)


class Fault(msgspec.Struct, frozen=True):
    """What is wrong in which field."""

    field: str
    message: str


class Obligation(msgspec.Struct, frozen=True):
    """Where the lorry must report."""

    inspection: str
    places: tuple[str, ...]


class TradeJourney(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One journey of a carrier."""

    jrn: str
    carrier: str
    plate: str
    nationality: str
    crossing: str
    direction: str
    expected_at: str | None
    state: str
    """READY, NOT_READY, CANCELLED or EXPIRED."""
    faults: tuple[Fault, ...] = ()
    routings: dict[str, str] = {}
    """mrn to TO_ENTRY, TO_CONTROL and so on, as customs tells the trade."""
    result: str | None = None
    """GO, GO_WITH_OBLIGATION, STOP or HOLD; None = not decided."""
    obligations: tuple[Obligation, ...] = ()
    deadline: str | None = None


class TradeBook:
    """Journeys of the carriers that may ask, from the feeds of customs."""

    def __init__(self, carriers: frozenset[str]) -> None:
        self._carriers = carriers
        self._journeys: OrderedDict[str, TradeJourney] = OrderedDict()

    def declared(self, row: FeedRow) -> None:
        """A row of the feed of journeys."""
        declared = row.declaration
        name = declared.carrier.name if declared.carrier is not None else ""
        known = self._journeys.get(row.jrn)
        if name not in self._carriers:
            self._journeys.pop(row.jrn, None)
            return
        means, plan = declared.active_border_transport_means, declared.planned_crossing
        self._journeys[row.jrn] = TradeJourney(
            jrn=row.jrn,
            carrier=name,
            plate=means.identification_number,
            nationality=means.nationality,
            crossing=plan.crossing,
            direction=declared.direction,
            expected_at=plan.estimated_date_time,
            state=row.state,
            faults=tuple(_fault(one) for one in row.rule_failures if one.blocking),
            routings=known.routings if known is not None else {},
        )
        self._journeys.move_to_end(row.jrn)
        while len(self._journeys) > MAX_JOURNEYS:
            self._journeys.popitem(last=False)

    def routed(self, row: RoutingRow) -> None:
        """A row of the routing feed."""
        known = self._journeys.get(row.jrn)
        if known is not None:
            routings = {**known.routings, row.mrn or "": row.routing}
            self._journeys[row.jrn] = msgspec.structs.replace(known, routings=routings)

    def of(self, carrier: str) -> list[TradeJourney]:
        """A carrier's journeys, the latest declared first."""
        return [one for one in reversed(self._journeys.values()) if one.carrier == carrier]

    def is_of(self, jrn: str, carrier: str) -> bool:
        """Whether a journey is this carrier's."""
        known = self._journeys.get(jrn)
        return known is not None and known.carrier == carrier


def _fault(failure: RuleFailure) -> Fault:
    return Fault(failure.field, failure.message)


def with_result(journey: TradeJourney, row: Mapping[str, Any]) -> TradeJourney:
    """The journey with what an agent decided; of the agent's row nothing else is taken: not the reason, not a score."""
    action = row.get("action")
    return msgspec.structs.replace(journey, result=action if action in RESULTS else None)


def with_obligations(journey: TradeJourney, instruction: Mapping[str, Any]) -> TradeJourney:
    """The journey with the places and the deadline of its instruction; an unreadable place is left out.

    Args:
        journey: The journey.
        instruction: As an agent shows it.
    """
    try:
        places = msgspec.convert(instruction.get("reportToLocations", ()), tuple[ReportToLocation, ...])
    except msgspec.ValidationError:
        places = ()
    deadline = instruction.get("deadline")
    found = tuple(Obligation(one.inspection_type_id, one.location_ids) for one in places)
    return msgspec.structs.replace(journey, obligations=found, deadline=deadline if isinstance(deadline, str) else None)
