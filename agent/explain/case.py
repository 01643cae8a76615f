"""Everything a data folder knows of one journey, vehicle or unit; read only, the agent may be running."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from agent.activation.journey import Journey
from agent.domain.identifiers import nationality_code, plate_key
from agent.instruction.lifecycle import InstructionState, instruction_key
from agent.journal.batch import CursorRow, StoredRefusal
from agent.journal.entry import EntryBody, parse
from agent.journal.reader import Reader
from agent.journal.telemetry import Observed
from zones.plausibility import DetectionConfig

JOURNEY, UNIT, VEHICLE = "journey", "unit", "vehicle"
MAX_ENTRIES = 20_000
"""Entries of one case, newest: years of a busy unit."""


_PARTS = re.compile(r"[/:]")
"""Between the parts of where input came from: `.../units/u1/position`, `serial:u1`."""


@dataclass(frozen=True)
class Case:
    """What is known under one name."""

    name: str
    known_as: str
    """`JOURNEY`, `UNIT` or `VEHICLE`."""
    units: tuple[str, ...]
    jrns: tuple[str, ...]
    journeys: Mapping[str, Journey]
    """Records by jrn; a journey that ended long ago has none."""
    instructions: Mapping[str, InstructionState]
    """Records by key."""
    entries: tuple[EntryBody, ...]
    """Journal entries about any of it, and about other journeys of its units, oldest first."""
    telemetry: Mapping[str, tuple[Observed, ...]]
    """By unit, oldest first."""
    cursors: Mapping[str, CursorRow]
    """How far the reports of each unit are processed."""
    refusals: Mapping[str, tuple[StoredRefusal, ...]]
    """What came from each unit or for it and was not taken, oldest first; without its bytes."""


def detection_of(reader: Reader) -> DetectionConfig:
    """The settings the agent detected with since its last start; the default ones if it kept none.

    Raises:
        ValueError: they cannot be read, as those of a newer version may.
    """
    kept = reader.detection()
    return msgspec.json.decode(kept, type=DetectionConfig) if kept else DetectionConfig()


class _Records:
    """The live records of a data folder."""

    def __init__(self, reader: Reader) -> None:
        journeys = msgspec.msgpack.Decoder(Journey)
        states = msgspec.msgpack.Decoder(InstructionState)
        self.journeys = {key: journeys.decode(body) for key, body in reader.records("journey").items()}
        self.instructions = {key: states.decode(body) for key, body in reader.instructions().items()}
        self.cursors = {row.unit: row for row in reader.cursors()}
        self.refusals = reader.refusals()

    def refusals_of(self, unit: str) -> tuple[StoredRefusal, ...]:
        """Of its own topic, port or connection; what a platform sends for many units names none."""
        return tuple(row for row in self.refusals if unit in _PARTS.split(row.topic))


def open_case(reader: Reader, name: str) -> Case | None:
    """The case of a jrn, a unit or a plate, looked for in this order; None if nothing is known under it.

    Raises:
        ValueError: an entry, a record or telemetry cannot be read.
    """
    name = name.strip()
    records = _Records(reader)
    known_as, jrns, units = _meant(reader, records, name)
    if not known_as:
        return None
    keys = {instruction_key(jrn, "") for jrn in jrns} | {instruction_key(None, unit) for unit in units}
    return Case(
        name=name,
        known_as=known_as,
        units=tuple(sorted(units)),
        jrns=tuple(sorted(jrns)),
        journeys={jrn: records.journeys[jrn] for jrn in sorted(jrns & records.journeys.keys())},
        instructions={key: records.instructions[key] for key in sorted(keys & records.instructions.keys())},
        entries=_about(reader, jrns | _kin(reader, records, units), units, keys)[-MAX_ENTRIES:],
        telemetry={unit: reader.telemetry(unit) for unit in sorted(units)},
        cursors={unit: records.cursors[unit] for unit in sorted(units & records.cursors.keys())},
        refusals={unit: found for unit in sorted(units) if (found := records.refusals_of(unit))},
    )


def _meant(reader: Reader, records: _Records, name: str) -> tuple[str, set[str], set[str]]:
    """What a name stands for, with the journeys and units that belong to it; empty if nothing."""
    jrns, units = _mentioned(reader, name)
    if name in records.journeys or jrns == {name}:
        return JOURNEY, {name}, units | _units_of(records, {name})
    declared = {jrn for jrn, journey in records.journeys.items() if name in journey.declaration.units}
    kept = name in records.cursors or name in reader.telemetry_units() or bool(records.refusals_of(name))
    if declared or units == {name} or kept:
        return UNIT, declared | jrns, {name}
    owned = {jrn for jrn, journey in records.journeys.items() if _is_vehicle(journey, name)}
    return (VEHICLE, owned, _units_of(records, owned)) if owned else ("", set(), set())


def _mentioned(reader: Reader, name: str) -> tuple[set[str], set[str]]:
    """Journeys and units that entries of the journal name together with `name`, itself included."""
    jrns: set[str] = set()
    units: set[str] = set()
    for body in _naming(reader, {name}):
        jrn, unit = body.facts.get("jrn"), body.facts.get("unit")
        if name in (jrn, unit):
            jrns.add(jrn or "")
            units.add(unit or "")
    return jrns - {""}, units - {""}


def _naming(reader: Reader, names: set[str]) -> list[EntryBody]:
    """Entries whose text holds any of these names; most of a journal is passed over unread."""
    texts = [name.encode() for name in names if name]
    return [parse(entry.body) for entry in reader.entries() if any(text in entry.body for text in texts)]


def _units_of(records: _Records, jrns: set[str]) -> set[str]:
    units: set[str] = set()
    for jrn in jrns & records.journeys.keys():
        journey = records.journeys[jrn]
        units |= {*journey.declaration.units, journey.unit or ""}
    for state in records.instructions.values():
        if state.jrn in jrns:
            units |= {*state.units, state.unit}
    return units - {""}


def _is_vehicle(journey: Journey, name: str) -> bool:
    """Whether a plate, perhaps with its nationality (`ZH 123456/CH`), is that of the journey."""
    plate, _, country = name.partition("/")
    own = journey.vehicle
    if own is None or plate_key(plate) is None:
        return False
    own_plate, _, own_country = own.partition("/")
    return plate_key(plate) == own_plate and (not country or nationality_code(country) == own_country)


def _kin(reader: Reader, records: _Records, units: set[str]) -> set[str]:
    """Every journey of these units: what a pass was for is told by the entries of its journey."""
    declared = {jrn for jrn, journey in records.journeys.items() if not units.isdisjoint(journey.declaration.units)}
    named = (body.facts for body in _naming(reader, units))
    return declared | {facts["jrn"] for facts in named if facts.get("unit") in units and facts.get("jrn")}


def _about(reader: Reader, jrns: set[str], units: set[str], keys: set[str]) -> tuple[EntryBody, ...]:
    """Entries that name one of these journeys, units or record keys."""
    found = []
    for body in _naming(reader, jrns | units):
        facts = body.facts
        if facts.get("jrn") in jrns or facts.get("unit") in units or facts.get("key") in keys:
            found.append(body)
    return tuple(found)
