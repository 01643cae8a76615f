"""agent/register.py: a draft answers as the register will, and a restart changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.activation.journey import Journey, JourneyStage
from agent.activation.passage import PASSAGE_KEPT_S, Passage, PassageStage
from agent.domain.declaration import TransportMeans
from agent.instruction.lifecycle import InstructionState
from agent.journal.batch import RECORD_TABLES, RecordRow, RecordTable
from agent.register import KIND_OF, SPARE_DUES, TABLE_OF, Draft, Register, encode
from agent.sheet import Decision, Record
from tests.agent.border import T0, ZONES, journey, zone
from zones.border_zone import ZoneKind, ZoneSet

UNITS, KEYS, PLATES = ("u1", "u2", "u3"), ("A", "B", "C"), ("ZH 1", "ZH 2")
VEHICLES = ("ZH1/CH", "ZH2/CH")
TIMES = st.one_of(st.none(), st.sampled_from([T0 - 10.0, T0, T0 + 5.0, T0 + 1_000.0]))


@cache
def declaration(jrn: str, units: tuple[str, ...], plate: str) -> Any:
    means = TransportMeans(identification_number=plate, nationality="CH")
    return journey(jrn, units=units, active_border_transport_means=means)


PASSAGES = st.builds(
    lambda unit, key, lost_s, last_s, stage: Passage(
        key=f"{unit}|{key}|IN", unit=unit, crossing=key, direction="IN", lost_s=lost_s, last_s=last_s, stage=stage
    ),
    st.sampled_from(UNITS),
    st.sampled_from(KEYS),
    TIMES,
    st.sampled_from([T0 - PASSAGE_KEPT_S - 1.0, T0]),
    st.sampled_from(PassageStage),
)
JOURNEYS = st.builds(
    lambda key, units, plate, stage, expires_s: Journey(
        key=key, stage=stage, declaration=declaration(key, tuple(sorted(units)), plate), expires_s=expires_s
    ),
    st.sampled_from(KEYS),
    st.sets(st.sampled_from(UNITS)),
    st.sampled_from(PLATES),
    st.sampled_from(JourneyStage),
    TIMES,
)
INSTRUCTIONS = st.builds(
    lambda key, unit, units, waiting, due_s, crossing: InstructionState(
        key=key, jrn=key, unit=unit, units=tuple(sorted(units)), waiting=waiting, due_s=due_s, crossing=crossing,
        direction=None if crossing is None else "IN",
    ),
    st.sampled_from(KEYS),
    st.sampled_from(("", *UNITS)),
    st.sets(st.sampled_from(UNITS)),
    st.booleans(),
    TIMES,
    st.sampled_from([None, "thayngen", "bargen"]),
)  # fmt: skip
RECORDS = st.one_of(PASSAGES, JOURNEYS, INSTRUCTIONS)
DECISIONS = st.builds(
    lambda put, forgotten: Decision(records=tuple(put), forgotten=tuple(forgotten)),
    st.lists(RECORDS, max_size=3, unique_by=lambda one: (type(one), one.key)),
    st.lists(RECORDS, max_size=1),
)
BATCHES = st.lists(st.lists(DECISIONS, max_size=4), max_size=4)


def answers(view: Draft) -> dict[str, Any]:
    """Everything that a decision can ask."""
    passages = [f"{unit}|{key}|IN" for unit in UNITS for key in KEYS]
    return {
        "passage": [view.passage(key) for key in passages],
        "journey": [view.journey(key) for key in KEYS],
        "instruction": [view.instruction(key) for key in KEYS],
        "of unit": [
            (view.passages_of(unit), view.journeys_of_unit(unit), view.instructions_of_unit(unit)) for unit in UNITS
        ],
        "of vehicle": [view.journeys_of_vehicle(vehicle) for vehicle in VEHICLES],
        "due": sorted((type(one).__name__, one.key) for one in view.due(T0)),
        "lost": [view.is_lost(unit) for unit in UNITS],
        "awaited": [view.awaited_zones(unit) for unit in UNITS],
    }


def test_the_vehicles_asked_for_are_those_of_the_plates() -> None:
    found = {Journey(key="A", stage=JourneyStage.READY, declaration=declaration("A", (), p)).vehicle for p in PLATES}
    assert found == set(VEHICLES)


def place(record: Record) -> tuple[type[Record], str]:
    return type(record), record.key


def installed(records: Iterable[Record]) -> Register:
    register = Register(ZONES)
    for record in records:
        register.put(record)
    return register


def earliest(records: Iterable[Record]) -> float | None:
    return min((one.next_due_s for one in records if one.next_due_s is not None), default=None)


@given(BATCHES)
@settings(max_examples=150)
def test_a_draft_answers_as_a_register_with_its_records_and_so_does_a_restart(batches: list[list[Decision]]) -> None:
    register = Register(ZONES)
    expected: dict[tuple[type[Record], str], Record] = {}
    disk: dict[RecordTable, dict[str, bytes]] = {table: {} for table in RECORD_TABLES}
    for decisions in batches:
        draft = Draft(register)
        for decision in decisions:
            draft.take(decision)
            expected.update({place(record): record for record in decision.records})
            for record in decision.forgotten:
                expected.pop(place(record), None)
            assert answers(draft) == answers(Draft(installed(expected.values())))
        store(disk, draft.rows())
        draft.install()
        assert answers(Draft(register)) == answers(Draft(installed(expected.values())))
        assert register.due_s() == earliest(expected.values())
    again = Register.loaded(ZONES, disk)
    assert answers(Draft(again)) == answers(Draft(register))
    assert again.due_s() == register.due_s()
    for index in ("jrns_of_unit", "jrns_of_vehicle", "passages_of_unit", "instructions_of_unit"):
        assert getattr(again, index) == getattr(register, index), index


def store(disk: dict[RecordTable, dict[str, bytes]], rows: tuple[RecordRow, ...]) -> None:
    for row in rows:
        if row.body is None:
            disk[row.table].pop(row.key, None)
        else:
            disk[row.table][row.key] = row.body


@given(BATCHES)
@settings(max_examples=50)
def test_a_draft_that_is_not_installed_leaves_no_trace(batches: list[list[Decision]]) -> None:
    register = installed([Journey(key="A", stage=JourneyStage.READY, declaration=declaration("A", ("u1",), "ZH 1"))])
    before = answers(Draft(register))
    for decisions in batches:
        draft = Draft(register)
        for decision in decisions:
            draft.take(decision)
        draft.rows()
    assert answers(Draft(register)) == before


@given(RECORDS)
def test_a_row_is_the_record(record: Record) -> None:
    row = encode(record)
    assert row.table == TABLE_OF[type(record)] and row.key == record.key and row.body is not None
    assert msgspec.msgpack.decode(row.body, type=KIND_OF[row.table]) == record


def state(due_s: float, key: str = "A") -> InstructionState:
    return InstructionState(key=key, jrn=key, unit="u1", waiting=True, due_s=due_s)


def test_what_is_due_stays_due_until_a_commit_has_dealt_with_it() -> None:
    register = installed([state(T0 - 2.0, "B"), state(T0 - 1.0), state(T0 + 1.0, "C")])
    for _ in range(3):
        assert register.due_keys(T0) == [(InstructionState, "B"), (InstructionState, "A")]
    register.put(state(T0 + 9.0, "B"))
    assert register.due_keys(T0) == [(InstructionState, "A")]
    assert register.due_s() == T0 - 1.0


def test_a_record_that_changes_for_days_does_not_fill_memory_with_deadlines() -> None:
    register = Register(ZONES)
    register.put(state(T0, "B"))
    for n in range(20_000):
        register.put(state(T0 + 259_200.0 + n))
    assert len(register._dues) <= SPARE_DUES + 4
    assert register.due_s() == T0
    register.forget(InstructionState, "B")
    assert register.due_s() == T0 + 259_200.0 + 19_999


def test_the_zones_awaited_are_those_of_the_unit_that_runs_the_budget() -> None:
    waiting = InstructionState(
        key="A", jrn="A", unit="u1", units=("u1", "u2"), waiting=True, crossing="thayngen", direction="IN"
    )
    draft = Draft(installed([waiting]))
    assert draft.awaited_zones("u1") == ["thayngen/in/activation"]
    assert draft.awaited_zones("u2") == []
    answered = msgspec.structs.replace(waiting, waiting=False)
    assert Draft(installed([answered])).awaited_zones("u1") == []


def test_a_swap_of_the_zone_set_is_seen_at_once() -> None:
    register = Register(ZONES)
    there = zone("thayngen", "IN", ZoneKind.ACTIVATION)
    draft = Draft(register)
    assert draft.zone(there.id) is not None and draft.row(there) == frozenset(ZoneKind)
    register.swap(ZoneSet("test.2", (there,)))
    assert draft.row(there) == frozenset({ZoneKind.ACTIVATION})
    assert draft.zone("thayngen/in/tracking") is None


@pytest.mark.parametrize("kind", [Passage, Journey, InstructionState])
def test_forgetting_what_is_not_there_is_harmless(kind: type[Record]) -> None:
    register = Register(ZONES)
    register.forget(kind, "nobody")
    assert register.jrns_of_unit == defaultdict(set) and register.due_s() is None
