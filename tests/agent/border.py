"""A small border for tests of the life cycle: two crossings, and a view that is nothing but dicts."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agent.activation.effects import AskRisk, Effect, SendInstruction
from agent.activation.events import (
    DeadlinePassed,
    Detected,
    EntryFacts,
    Event,
    FeedRowArrived,
    RiskAnswered,
)
from agent.activation.journey import FINAL, Journey
from agent.activation.passage import Passage, row_of
from agent.config import PolicyConfig
from agent.decide import Decision, Record, Site, decide
from agent.domain.declaration import (
    DeclarationReference,
    FeedRow,
    GoodsDeclaration,
    PlannedCrossing,
    RuleFailure,
    TransportDeclaration,
    TransportMeans,
)
from agent.domain.routing import Assessment
from agent.domain.times import rfc3339
from agent.instruction.lifecycle import InstructionState
from zones.border_zone import BorderZone, ZoneKind, ZoneSet
from zones.events import DetectionEvent, Direction, EventName, Kind, Notice, NoticeName

SQUARE = ((((8.0, 47.0), (8.1, 47.0), (8.1, 47.1), (8.0, 47.1), (8.0, 47.0)),),)
T0 = 1_800_000_000.0
MRN = "26CH000000000001J4"
MRN_2 = "26CH000000000002J3"


def zone(crossing: str, way: str, kind: ZoneKind, **changes: object) -> BorderZone:
    return BorderZone(
        id=f"{crossing}/{way.lower()}/{kind.value.lower()}",
        polygons=SQUARE,
        kind=kind,
        crossing=crossing,
        customs_office="CH001251",
        direction=Direction(way),
        **changes,  # type: ignore[arg-type]
    )


ZONES = ZoneSet(
    "test.1",
    tuple(
        zone(crossing, way, kind)
        for crossing in ("thayngen", "bargen", "bardonnex", "perly")
        for way in ("IN", "OUT")
        for kind in ZoneKind
    ),
)


class Border:
    """Feeds events to `decide` and keeps what it says, as the pipeline would after its commit."""

    def __init__(self, zones: ZoneSet = ZONES, **policy: object) -> None:
        self.zones = zones
        self.site = Site("box-1", PolicyConfig(**policy))  # type: ignore[arg-type]
        self.records: dict[tuple[type, str], Record] = {}
        self.effects: list[Effect] = []
        self.now_s = T0

    def passage(self, key: str) -> Passage | None:
        return self.records.get((Passage, key))  # type: ignore[return-value]

    def passages_of(self, unit: str) -> list[Passage]:
        return [one for one in self.records.values() if isinstance(one, Passage) and one.unit == unit]

    def journey(self, jrn: str) -> Journey | None:
        return self.records.get((Journey, jrn))  # type: ignore[return-value]

    def _journeys(self) -> Iterable[Journey]:
        return [one for one in self.records.values() if isinstance(one, Journey) and one.stage not in FINAL]

    def journeys_of_unit(self, unit: str) -> list[Journey]:
        return [one for one in self._journeys() if unit in one.declaration.units]

    def journeys_of_vehicle(self, vehicle: str) -> list[Journey]:
        return [one for one in self._journeys() if one.vehicle == vehicle]

    def instruction(self, key: str) -> InstructionState | None:
        return self.records.get((InstructionState, key))  # type: ignore[return-value]

    def instructions_of_unit(self, unit: str) -> list[InstructionState]:
        states = [one for one in self.records.values() if isinstance(one, InstructionState)]
        return [one for one in states if unit in (one.unit, *one.units)]

    def waiting(self) -> list[InstructionState]:
        return [one for one in self.records.values() if isinstance(one, InstructionState) and one.waiting]

    def zone(self, zone_id: str) -> BorderZone | None:
        return self.zones.by_id.get(zone_id)

    def row(self, zone: BorderZone) -> frozenset[ZoneKind]:
        return row_of(self.zones, zone)

    def due(self, now_s: float) -> list[Record]:
        return [one for one in self.records.values() if one.next_due_s is not None and one.next_due_s <= now_s]

    def take(self, event: Event, after_s: float = 0.0) -> Decision:
        """One event, `after_s` later; records are kept in their stored form and back."""
        self.now_s += after_s
        decision = decide(self, event, self.site, self.now_s)
        for record in decision.records:
            stored = msgspec.msgpack.encode(record)
            assert msgspec.msgpack.decode(stored, type=type(record)) == record
            self.records[type(record), record.key] = record
        for record in decision.forgotten:
            self.records.pop((type(record), record.key), None)
        for effect in decision.effects:
            stored = msgspec.json.encode(effect)
            assert msgspec.json.encode(msgspec.json.decode(stored, type=Effect)) == stored
        for entry in decision.entries:
            msgspec.json.encode(entry)
        self.effects += decision.effects
        return decision

    def clock(self, after_s: float) -> Decision:
        return self.take(DeadlinePassed(self.now_s + after_s), after_s)

    def feed(self, journey: TransportDeclaration, **changes: object) -> Decision:
        return self.take(FeedRowArrived(row(journey, **changes)))

    def cross(self, place: str, what: str = "ENTERED", unit: str = "u1", after_s: float = 1.0, **changes: object):
        """A detection event at `thayngen/in/activation`, one second later."""
        self.now_s += after_s
        facts = changes.pop("facts", None) or EntryFacts(self.now_s, 0.0, 200.0, 15.0)
        if isinstance(facts, dict):
            facts = EntryFacts(**{"arrived_s": self.now_s, "remaining_m": 200.0, "speed_mps": 15.0, **facts})
        return self.take(Detected(detection(place, what, unit, self.now_s, **changes), facts))

    def answer(self, routing: str = "TO_ENTRY", jrn: str = "JRN-1", after_s: float = 0.1, **changes: object):
        """The risk answer for every declaration of a journey."""
        self.now_s += after_s
        state = self.instruction(jrn)
        assert state is not None
        answers = tuple(assessment(state, one.activation_id, routing, self.now_s, **changes) for one in state.required)
        return self.take(RiskAnswered(jrn, f"box-1/{jrn}/{state.ask}", answers))

    @property
    def told(self) -> str | None:
        """Action and reason of the last instruction of u1."""
        sent = [effect for effect in self.effects if isinstance(effect, SendInstruction)]
        return f"{sent[-1].instruction.action} {sent[-1].instruction.reason_code}" if sent else None


def detection(
    place: str, what: str, unit: str, at_s: float, kind: str = "FIX", direction: str | None = None
) -> DetectionEvent:
    way = direction or ("IN" if "/in/" in place else "OUT")
    return DetectionEvent(
        event=EventName(what),
        zone_id=place,
        unit=unit,
        time=at_s - 1.0,
        detected_at=at_s,
        kind=Kind(kind),
        direction=Direction(way),
        latitude=47.05,
        longitude=8.05,
        zone_set_version="test.1",
    )


def notice(name: str, unit: str, at_s: float, zone_id: str | None = None) -> Detected:
    return Detected(Notice(NoticeName(name), unit, at_s, zone_id), EntryFacts(at_s))


def journey(
    jrn: str = "JRN-1", mrns: tuple[str, ...] = (MRN,), units: tuple[str, ...] = ("u1",), **changes: object
) -> TransportDeclaration:
    plan = {"crossing": "thayngen", "estimated_date_time": rfc3339(T0), **changes.pop("plan", {})}  # type: ignore[dict-item]
    fields: dict[str, object] = {
        "jrn": jrn,
        "direction": "IN",
        "active_border_transport_means": TransportMeans(
            identification_number=f"ZH {abs(hash(units)) % 100000}", nationality="CH"
        ),
        "planned_crossing": PlannedCrossing(**plan),
        "units": units,
        "references": tuple(DeclarationReference(reference_number=mrn) for mrn in mrns),
        **changes,
    }
    return TransportDeclaration(**fields)  # type: ignore[arg-type]


def row(declaration: TransportDeclaration, state: str = "READY", **changes: object) -> FeedRow:
    goods = tuple(
        GoodsDeclaration(procedure="IMPORT", direction="IN", mrn=one.reference_number) for one in declaration.references
    )
    fields: dict[str, object] = {
        "marker": 1,
        "jrn": declaration.jrn,
        "version": declaration.version,
        "state": state,
        "declaration": declaration,
        "goods": goods,
        **changes,
    }
    return FeedRow(**fields)  # type: ignore[arg-type]


def fault(field: str) -> RuleFailure:
    return RuleFailure(code="MRN_CHECK_DIGIT", field=field, value="x", message="wrong check digit")


def assessment(
    state: InstructionState, activation: str, routing: str, now_s: float, life_s: float = 1_800.0, **changes: object
) -> Assessment:
    asked = next(one for one in state.required if one.activation_id == activation)
    fields: dict[str, object] = {
        "activation_id": activation,
        "mrn": asked.mrn,
        "version": asked.version,
        "jrn": state.jrn,
        "crossing": state.crossing,
        "direction": state.direction,
        "routing": routing,
        "issued_at": rfc3339(now_s),
        "valid_until": rfc3339(now_s + life_s),
        **changes,
    }
    return Assessment(**fields)  # type: ignore[arg-type]


def asked(effects: Iterable[Effect]) -> list[AskRisk]:
    return [effect for effect in effects if isinstance(effect, AskRisk)]
