"""What a decision reads (`View`), by which settings (`Site`), and what it says (`Decision`).

`Sheet` gathers the changes of one event: later steps of the same event see what earlier ones changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from agent.activation.effects import Effect, EmitEvent, Entry, RaiseAlarm
from agent.activation.journey import FINAL, Journey, JourneyStage, Trigger, next_stage
from agent.activation.matching import CLOSE_PAIRS
from agent.activation.passage import Passage
from agent.instruction.lifecycle import InstructionState, Issuer, Turn, refusal
from agent.journal.batch import PaperRow
from agent.risk.conditional import WhenCut
from zones.border_zone import BorderZone, ZoneKind

NOTHING_HELD = WhenCut()
Record = Passage | Journey | InstructionState


@dataclass(frozen=True)
class Site(Issuer):
    """Settings of this agent that decisions follow."""

    close_pairs: frozenset[frozenset[str]] = CLOSE_PAIRS
    """Crossings under 2 km apart, by key."""
    cut: WhenCut = NOTHING_HELD
    """What holds while customs is out of reach."""
    random_key: bytes = b""
    """Secret for random local stops; unused while `policy.random_stop_share` is 0."""

    def is_close(self, crossing: str, other: str | None = None) -> bool:
        """Whether a crossing is one of a close pair, or of one with `other`."""
        if other is not None:
            return frozenset((crossing, other)) in self.close_pairs
        return any(crossing in pair for pair in self.close_pairs)


class View(Protocol):
    """Read-only look-ups over what the agent remembers; each answers from memory."""

    def passage(self, key: str) -> Passage | None:
        """Passage by key."""

    def passages_of(self, unit: str) -> Sequence[Passage]:
        """Passages of a unit."""

    def journey(self, jrn: str) -> Journey | None:
        """Journey by jrn."""

    def journeys_of_unit(self, unit: str) -> Sequence[Journey]:
        """Journeys whose declaration names the unit."""

    def journeys_of_vehicle(self, vehicle: str) -> Sequence[Journey]:
        """Journeys by `Journey.vehicle`."""

    def instruction(self, key: str) -> InstructionState | None:
        """Instruction by record key."""

    def instructions_of_unit(self, unit: str) -> Sequence[InstructionState]:
        """Instructions that are told to a unit."""

    def waiting(self) -> Iterable[InstructionState]:
        """Instructions whose time budget runs."""

    def zone(self, zone_id: str) -> BorderZone | None:
        """Zone of the set in force."""

    def row(self, zone: BorderZone) -> frozenset[ZoneKind]:
        """`agent.activation.passage.row_of` for the set in force."""

    def due(self, now_s: float) -> Iterable[Record]:
        """Records whose `next_due_s` is not later than now."""


@dataclass(frozen=True)
class Decision:
    """What one event came to: all of it in one transaction, effects performed afterwards."""

    records: tuple[Record, ...] = ()
    """New and changed records, each once."""
    effects: tuple[Effect, ...] = ()
    entries: tuple[Entry, ...] = ()
    forgotten: tuple[Record, ...] = field(default=())
    """Records to drop from store and memory."""
    papers: tuple[PaperRow, ...] = ()
    """Exact bytes on which the decision rests, besides those that came with the event."""


class Sheet:
    """One event's changes over a view."""

    def __init__(self, view: View, site: Site, now_s: float) -> None:
        self.view = view
        self.site = site
        self.now_s = now_s
        self._records: dict[tuple[type[Record], str], Record] = {}
        self._forgotten: dict[tuple[type[Record], str], Record] = {}
        self._effects: list[Effect] = []
        self._entries: list[Entry] = []
        self._papers: list[PaperRow] = []

    def decision(self) -> Decision:
        """What came of it."""
        changed = tuple(record for place, record in self._records.items() if place not in self._forgotten)
        forgotten, papers = tuple(self._forgotten.values()), tuple(self._papers)
        return Decision(changed, tuple(self._effects), tuple(self._entries), forgotten, papers)

    def passage(self, key: str) -> Passage | None:
        """Passage as it is by now."""
        found = self._records.get((Passage, key))
        return found if isinstance(found, Passage) else self.view.passage(key)

    def passages_of(self, unit: str) -> list[Passage]:
        """Passages of a unit as they are by now."""
        found = {passage.key: passage for passage in self.view.passages_of(unit)}
        found.update({p.key: p for p in self._records.values() if isinstance(p, Passage) and p.unit == unit})
        return [found[key] for key in sorted(found)]

    def journey(self, jrn: str) -> Journey | None:
        """Journey as it is by now."""
        found = self._records.get((Journey, jrn))
        return found if isinstance(found, Journey) else self.view.journey(jrn)

    def journeys_of_unit(self, unit: str) -> list[Journey]:
        """Journeys of a unit that are not over, as they are by now."""
        return self._live(self.view.journeys_of_unit(unit))

    def journeys_of_vehicle(self, vehicle: str) -> list[Journey]:
        """Journeys of a vehicle that are not over, as they are by now."""
        return self._live(self.view.journeys_of_vehicle(vehicle))

    def _live(self, journeys: Iterable[Journey]) -> list[Journey]:
        by_now = (self.journey(journey.key) or journey for journey in journeys)
        return [journey for journey in by_now if journey.stage not in FINAL]

    def instruction(self, key: str | None) -> InstructionState | None:
        """Instruction as it is by now."""
        if key is None:
            return None
        found = self._records.get((InstructionState, key))
        return found if isinstance(found, InstructionState) else self.view.instruction(key)

    def put(self, record: Record) -> None:
        """Keep a changed record, if it changed."""
        place = (type(record), record.key)
        if place in self._records or self._stored(record) != record:
            self._records[place] = record

    def _stored(self, record: Record) -> Record | None:
        if isinstance(record, Passage):
            return self.view.passage(record.key)
        if isinstance(record, Journey):
            return self.view.journey(record.key)
        return self.view.instruction(record.key)

    def forget(self, record: Record) -> None:
        """Let a record go."""
        self._forgotten[type(record), record.key] = record

    def do(self, *effects: Effect) -> None:
        """Add effects."""
        self._effects.extend(effects)

    def note(self, kind: str, about: str | None = None, /, **facts: Any) -> None:
        """Add a journal entry; `about` is the activationId it belongs to."""
        self._entries.append(Entry(kind, facts, about))

    def file(self, paper: PaperRow) -> None:
        """Keep the exact bytes that an entry names by digest."""
        self._papers.append(paper)

    def refuse(self, code: str, what: str, /, **facts: Any) -> None:
        """Record what does not fit; never raised, never dropped."""
        self._entries.append(refusal(code, what, **facts))

    def emit(self, kind: str, /, **body: Any) -> None:
        """Tell control rooms."""
        self.do(EmitEvent(kind=kind, body=body))

    def alarm(self, name: str, jrn: str | None, unit: str, crossing: str | None, text: str) -> None:
        """Ask staff for an action, and record that."""
        self.do(RaiseAlarm(name=name, jrn=jrn, unit=unit, crossing=crossing, text=text))
        self.note("ALARM", alarm=name, jrn=jrn, unit=unit, crossing=crossing)

    def take(self, turn: Turn) -> InstructionState:
        """Keep a turn of machine I; the journey follows (T8: instruction issued)."""
        before = self.instruction(turn.state.key)
        self.put(turn.state)
        self.do(*turn.effects)
        self._entries.extend(turn.entries)
        issued = turn.state.version > (before.version if before else 0)
        journey = self.journey(turn.state.jrn) if turn.state.jrn is not None else None
        if issued and journey is not None and journey.stage is JourneyStage.ACTIVATED:
            self.move(journey, Trigger.INSTRUCTED)
        return turn.state

    def move(self, journey: Journey, trigger: Trigger, **changes: Any) -> Journey:
        """Move a journey by its table; a trigger that fits no row is a refusal and changes nothing."""
        stage = next_stage(journey.stage, trigger)
        if stage is None:
            self.refuse("OUT_OF_SEQUENCE", trigger.value, jrn=journey.key, stage=journey.stage.value)
            return journey
        if stage in FINAL:
            changes["forget_s"] = self.now_s + self.site.policy.journey_expiry_s
        moved = msgspec.structs.replace(journey, stage=stage, **changes)
        self.put(moved)
        if stage is not journey.stage:
            self.note("JOURNEY_MOVED", jrn=journey.key, stage=stage.value, trigger=trigger.value)
            self.emit("JOURNEY", jrn=journey.key, stage=stage.value, crossing=moved.crossing)
        return moved
