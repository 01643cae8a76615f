"""The live records in memory, and a batch's changes on top of them until they are on disk.

`Register` is what is committed; `Draft` is what a batch would make of it. A draft is installed only after its
commit, so a commit that fails leaves memory as it was.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from agent.activation.journey import Journey
from agent.activation.passage import AT_BOOTH, Passage, row_of
from agent.instruction.lifecycle import InstructionState
from agent.journal.batch import RecordRow, RecordTable
from agent.resting import Journeys
from agent.sheet import Decision, Record
from zones.border_zone import BorderZone, ZoneKind, ZoneSet
from zones.events import Direction

R = TypeVar("R", Passage, Journey, InstructionState)
K = TypeVar("K")

SPARE_DUES = 1_024
"""Outdated deadlines that may lie in the heap beside two for each record, before it is made anew."""

TABLE_OF: dict[type[Record], RecordTable] = {
    Passage: "crossing",
    Journey: "journey",
    InstructionState: "instruction",
}
KIND_OF: dict[RecordTable, type[Record]] = {table: kind for kind, table in TABLE_OF.items()}


def encode(record: Record) -> RecordRow:
    """The row that keeps a record."""
    return RecordRow(TABLE_OF[type(record)], record.key, msgspec.msgpack.encode(record))


def forgotten(kind: type[Record], key: str) -> RecordRow:
    """The row that lets a record go."""
    return RecordRow(TABLE_OF[kind], key, None)


class Register:
    """Every live record, with the indexes that matching needs and the earliest deadline."""

    def __init__(self, zone_set: ZoneSet) -> None:
        self.zone_set = zone_set
        self.passages: dict[str, Passage] = {}
        self.journeys = Journeys()
        self.instructions: dict[str, InstructionState] = {}
        self.jrns_of_unit: dict[str, set[str]] = defaultdict(set)
        self.jrns_of_vehicle: dict[str, set[str]] = defaultdict(set)
        self.passages_of_unit: dict[str, set[str]] = defaultdict(set)
        self.instructions_of_unit: dict[str, set[str]] = defaultdict(set)
        self.at_booth: dict[tuple[str, str], set[str]] = {}
        """Passages in the activation or confirmation zone, by crossing and direction."""
        self._dues: list[tuple[float, int, type[Record], str]] = []
        self._numbers = itertools.count()
        self._rows: dict[str, frozenset[ZoneKind]] = {}
        self._activation_zones: dict[tuple[str, str], list[str]] = {}

    @classmethod
    def loaded(cls, zone_set: ZoneSet, records: Mapping[RecordTable, Mapping[str, bytes]]) -> Register:
        """From the rows of the store.

        Raises:
            msgspec.DecodeError: a row is no record of its table.
        """
        register = cls(zone_set)
        for table, rows in records.items():
            if table == "journey":
                register._lay_journeys(rows)
                continue
            decoder = msgspec.msgpack.Decoder(KIND_OF[table])
            for body in rows.values():
                register.put(decoder.decode(body))
        return register

    def _lay_journeys(self, rows: Mapping[str, bytes]) -> None:
        """All at once: a heap made in one go takes a fraction of one that grows."""
        for jrn, body in rows.items():
            outline = self.journeys.lay(jrn, body)
            for unit in outline.units:
                self.jrns_of_unit[unit].add(jrn)
            if vehicle := outline.vehicle:
                self.jrns_of_vehicle[vehicle].add(jrn)
            if (due_s := outline.next_due_s) is not None:
                self._dues.append((due_s, next(self._numbers), Journey, jrn))
        heapq.heapify(self._dues)

    def put(self, record: Record) -> None:
        """Install a record."""
        match record:
            case Passage():
                self._drop_passage(record.key)
                self.passages[record.key] = record
                self.passages_of_unit[record.unit].add(record.key)
                if record.stage in AT_BOOTH:
                    self.at_booth.setdefault((record.crossing, record.direction), set()).add(record.key)
            case Journey():
                self._put_journey(record)
            case InstructionState():
                self._drop_instruction(record.key)
                self.instructions[record.key] = record
                for unit in _units_of(record):
                    self.instructions_of_unit[unit].add(record.key)
        self._push(record)

    def forget(self, kind: type[Record], key: str) -> None:
        """Let a record go."""
        if kind is Passage:
            self._drop_passage(key)
        elif kind is Journey:
            self._drop_journey(key)
        else:
            self._drop_instruction(key)

    def due_s(self) -> float | None:
        """Earliest deadline of any record, UTC seconds."""
        while self._dues:
            due_s, _, kind, key = self._dues[0]
            record = self.table(kind).get(key)
            if record is not None and record.next_due_s == due_s:
                return due_s
            heapq.heappop(self._dues)
        return None

    def due_keys(self, now_s: float) -> list[tuple[type[Record], str]]:
        """Records that are due by now, earliest first."""
        found: dict[tuple[type[Record], str], None] = {}
        while self._dues and self._dues[0][0] <= now_s:
            due_s, _, kind, key = heapq.heappop(self._dues)
            record = self.table(kind).get(key)
            if record is not None and record.next_due_s == due_s:
                found[kind, key] = None
        for kind, key in found:  # they stay due until a commit has dealt with them
            self._push(self.table(kind)[key])
        return list(found)

    def row(self, zone: BorderZone) -> frozenset[ZoneKind]:
        """Kinds of zone that the zone's crossing and direction has."""
        found = self._rows.get(zone.id)
        if found is None:
            found = self._rows[zone.id] = row_of(self.zone_set, zone)
        return found

    def activation_zones(self, crossing: str, direction: str) -> list[str]:
        """Ids of the activation zones of a crossing and direction: looked up for each fix of a lorry that waits."""
        place = (crossing, direction)
        found = self._activation_zones.get(place)
        if found is None:
            row = self.zone_set.of(crossing, Direction(direction))
            found = [zone.id for kind, zone in row.items() if kind is ZoneKind.ACTIVATION]
            self._activation_zones[place] = found
        return found

    def swap(self, zone_set: ZoneSet) -> None:
        """Another zone set is in force."""
        self.zone_set = zone_set
        self._rows = {}
        self._activation_zones = {}

    def table(self, kind: type[Record]) -> Mapping[str, Record]:
        """The records of a kind."""
        if kind is Passage:
            return self.passages
        return self.journeys if kind is Journey else self.instructions

    def _push(self, record: Record) -> None:
        due_s = record.next_due_s
        if due_s is not None:
            heapq.heappush(self._dues, (due_s, next(self._numbers), type(record), record.key))
        if len(self._dues) > SPARE_DUES + 2 * self._records():
            self._make_dues()

    def _records(self) -> int:
        return len(self.passages) + len(self.journeys) + len(self.instructions)

    def _make_dues(self) -> None:
        """The heap without what is outdated: a record that changes often leaves one deadline each time, one at rest
        has the one it came with."""
        resting = [due for due in self._dues if due[2] is Journey and self.journeys.rests(due[3])]
        records: Iterator[Record] = itertools.chain(
            self.passages.values(), self.journeys.awake(), self.instructions.values()
        )
        awake = [
            (record.next_due_s, next(self._numbers), type(record), record.key)
            for record in records
            if record.next_due_s is not None
        ]
        self._dues = [*resting, *awake]
        heapq.heapify(self._dues)

    def _drop_passage(self, key: str) -> None:
        passage = self.passages.pop(key, None)
        if passage is not None:
            _discard(self.passages_of_unit, passage.unit, key)
            _discard(self.at_booth, (passage.crossing, passage.direction), key)

    def _drop_instruction(self, key: str) -> None:
        state = self.instructions.pop(key, None)
        for unit in _units_of(state) if state is not None else ():
            _discard(self.instructions_of_unit, unit, key)

    def _put_journey(self, journey: Journey) -> None:
        self._drop_journey(journey.key)
        self.journeys.put(journey)
        for unit in journey.declaration.units:
            self.jrns_of_unit[unit].add(journey.key)
        if journey.vehicle:
            self.jrns_of_vehicle[journey.vehicle].add(journey.key)

    def _drop_journey(self, jrn: str) -> None:
        journey = self.journeys.pop(jrn)
        if journey is None:
            return
        for unit in journey.declaration.units:
            _discard(self.jrns_of_unit, unit, jrn)
        if journey.vehicle:
            _discard(self.jrns_of_vehicle, journey.vehicle, jrn)


def _discard(index: dict[K, set[str]], name: K, key: str) -> None:
    keys = index.get(name)
    if keys is None:
        return
    keys.discard(key)
    if not keys:
        del index[name]


class Draft:
    """What a batch would make of the register; answers `agent.sheet.View`."""

    def __init__(self, base: Register) -> None:
        self._base = base
        self._changed: dict[tuple[type[Record], str], Record | None] = {}
        self._units: dict[tuple[type[Record], str], set[str]] = defaultdict(set)
        """Keys of changed records by unit, which the base's indexes do not have yet."""
        self._vehicles: dict[str, set[str]] = defaultdict(set)

    def take(self, decision: Decision) -> None:
        """Put a decision's records on top."""
        for record in decision.records:
            self._changed[type(record), record.key] = record
            for unit in _units_of(record):
                self._units[type(record), unit].add(record.key)
            if isinstance(record, Journey) and record.vehicle:
                self._vehicles[record.vehicle].add(record.key)
        for record in decision.forgotten:
            self._changed[type(record), record.key] = None

    def rows(self) -> tuple[RecordRow, ...]:
        """Every changed record, as it is to be stored."""
        return tuple(
            forgotten(kind, key) if record is None else encode(record) for (kind, key), record in self._changed.items()
        )

    def install(self) -> None:
        """The rows are on disk: the register follows."""
        for (kind, key), record in self._changed.items():
            if record is None:
                self._base.forget(kind, key)
            else:
                self._base.put(record)
        self._changed.clear()

    # --- View -------------------------------------------------------------------------------------------------

    def passage(self, key: str) -> Passage | None:
        """Passage by key."""
        return self._get(Passage, key, self._base.passages)

    def passages_of(self, unit: str) -> list[Passage]:
        """Passages of a unit."""
        keys = self._keys(Passage, unit, self._base.passages_of_unit)
        return [found for key in keys if (found := self.passage(key)) is not None]

    def journey(self, jrn: str) -> Journey | None:
        """Journey by jrn."""
        return self._get(Journey, jrn, self._base.journeys)

    def journeys_of_unit(self, unit: str) -> list[Journey]:
        """Journeys whose declaration names the unit."""
        keys = self._keys(Journey, unit, self._base.jrns_of_unit)
        found = [journey for key in keys if (journey := self.journey(key)) is not None]
        return [journey for journey in found if unit in journey.declaration.units]

    def journeys_of_vehicle(self, vehicle: str) -> list[Journey]:
        """Journeys by vehicle key."""
        keys = sorted(self._vehicles.get(vehicle, set()) | self._base.jrns_of_vehicle.get(vehicle, set()))
        found = [journey for key in keys if (journey := self.journey(key)) is not None]
        return [journey for journey in found if journey.vehicle == vehicle]

    def instruction(self, key: str) -> InstructionState | None:
        """Instruction by record key."""
        return self._get(InstructionState, key, self._base.instructions)

    def instructions_of_unit(self, unit: str) -> list[InstructionState]:
        """Instructions that are told to a unit."""
        keys = self._keys(InstructionState, unit, self._base.instructions_of_unit)
        found = [state for key in keys if (state := self.instruction(key)) is not None]
        return [state for state in found if unit == state.unit or unit in state.units]

    def waiting(self) -> list[InstructionState]:
        """Instructions whose time budget runs."""
        changed = {key for kind, key in self._changed if kind is InstructionState}
        keys = dict.fromkeys((*(key for key, one in self._base.instructions.items() if one.waiting), *changed))
        found = (self.instruction(key) for key in keys)
        return [state for state in found if state is not None and state.waiting]

    def zone(self, zone_id: str) -> BorderZone | None:
        """Zone of the set in force."""
        return self._base.zone_set.by_id.get(zone_id)

    def row(self, zone: BorderZone) -> frozenset[ZoneKind]:
        """Kinds of zone that the zone's crossing and direction has."""
        return self._base.row(zone)

    def due(self, now_s: float) -> list[Record]:
        """Records whose `next_due_s` is not later than now."""
        keys = dict.fromkeys((*self._base.due_keys(now_s), *self._changed))
        found = (self._current(kind, key) for kind, key in keys)
        return [
            record
            for record in found
            if record is not None and record.next_due_s is not None and record.next_due_s <= now_s
        ]

    # --- besides ----------------------------------------------------------------------------------------------

    def is_lost(self, unit: str) -> bool:
        """Whether a passage of the unit is LOST."""
        for key in self._keys(Passage, unit, self._base.passages_of_unit):
            passage = self.passage(key)
            if passage is not None and passage.lost_s is not None:
                return True
        return False

    def awaited_zones(self, unit: str) -> list[str]:
        """Activation zones in which a time budget of this unit runs."""
        found: list[str] = []
        for state in self.instructions_of_unit(unit):
            if state.waiting and state.unit == unit and state.crossing is not None and state.direction is not None:
                found += self._base.activation_zones(state.crossing, state.direction)
        return found

    def _current(self, kind: type[Record], key: str) -> Record | None:
        place = (kind, key)
        return self._changed[place] if place in self._changed else self._base.table(kind).get(key)

    def _get(self, kind: type[R], key: str, base: Mapping[str, Any]) -> R | None:
        place = (kind, key)
        found = self._changed[place] if place in self._changed else base.get(key)
        return found if isinstance(found, kind) else None

    def _keys(self, kind: type[Record], unit: str, base: Mapping[str, set[str]]) -> Sequence[str]:
        """Called several times for each fix, and mostly there is none, or one."""
        stored, changed = base.get(unit), self._units.get((kind, unit))
        if not changed:
            return sorted(stored) if stored else ()
        return sorted(changed | stored) if stored else sorted(changed)


def _units_of(record: Record) -> tuple[str, ...]:
    match record:
        case Passage():
            return (record.unit,)
        case Journey():
            return record.declaration.units
        case InstructionState():
            return tuple({*record.units, record.unit} - {""})
