"""agent/batch.py: what one batch must leave on disk, and what it must not."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.activation.events import InstructionOut, OfficerDecided
from agent.domain.instruction import Action, Receipt
from agent.ingest.limits import BURST
from agent.ingest.wire import (
    Incident,
    Refused,
    UnitIncident,
    UnitReceipt,
    Witness,
    WitnessReport,
    decode_message,
)
from agent.journal.batch import RefusalRow, Retry
from agent.journal.reader import Reader
from agent.postings import Lane
from tests.agent.border import T0
from tests.agent.roadside import (
    EAST,
    IN_ACTIVATION,
    IN_TRACKING,
    LATITUDE,
    METRES_PER_DEGREE,
    TOPICS,
    WEST,
    Roadside,
    drive,
    expected,
    lanes,
    report,
)
from zones.fix import Fix, FixType

Open = Callable[..., Roadside]
BERN = (46.9480123, 7.4474321)
"""Outside every tracking zone, with digits that nothing else has."""


def away(n: int, unit: str = "far", **changes: Any) -> Fix:
    """A lorry that stands in Bern."""
    latitude, longitude = BERN
    fix = Fix(unit=unit, time_s=T0 + n, latitude=latitude, longitude=longitude, received_s=T0 + n, seq=n)
    return msgspec.structs.replace(fix, **changes)


def traces(number: float) -> list[bytes]:
    """How a coordinate could be found in a file: digits, a double either way round, degrees in E7."""
    whole = round(number * 1e7)
    return [
        f"{number:.4f}".encode(),
        struct.pack(">d", number),
        struct.pack("<d", number),
        struct.pack(">i", whole),
        struct.pack("<i", whole),
        str(whole).encode(),
    ]


def assert_nowhere(roadside: Roadside, *numbers: float) -> None:
    found = roadside.on_disk()
    for number in numbers:
        for trace in traces(number):
            assert trace not in found, f"{number} as {trace!r}"


async def test_a_position_outside_all_zones_leaves_no_row_and_no_byte(roadside: Roadside) -> None:
    for n in range(1, 4):
        gathering = roadside.gathering()
        gathering.items(
            decode_message(roadside.around.inbound, TOPICS.position("far"), report(away(n)), T0 + n), "mqtt"
        )
        gathering.tick()
        assert gathering.commit() is None
        gathering.install()
        assert gathering.fixes == {("mqtt", "accepted"): 1}
    assert "far" in roadside.around.cursors and "far" not in roadside.around.last
    roadside.store.close()
    assert_nowhere(roadside, *BERN)


async def test_the_search_finds_a_position_that_is_stored(roadside: Roadside) -> None:
    """The test above could not fail otherwise: inside a tracking zone the position is on disk."""
    fixes = drive(end=IN_TRACKING)
    await roadside.drive(fixes)
    roadside.store.close()
    with pytest.raises(AssertionError):
        assert_nowhere(roadside, fixes[-1].longitude)


async def test_a_lorry_that_came_and_went_leaves_none_of_its_positions_outside(roadside: Roadside) -> None:
    await roadside.take(events=(expected(),))
    fixes = drive(end=WEST)
    found = await roadside.drive(fixes)
    assert "detection" in {event.kind for one in found for event in one.events}
    roadside.store.close()
    index = roadside.around.detector.index
    outside = [fix for fix in fixes if not index.containing(fix.latitude, fix.longitude)]
    assert len(outside) > 4
    assert_nowhere(roadside, *(fix.longitude for fix in outside))


async def test_a_lorry_just_outside_the_zone_it_is_still_leaving_is_stored_without_its_position(
    roadside: Roadside,
) -> None:
    """The exit is settled some metres beyond the boundary; the state in between is on disk."""
    index, edge, beyond = roadside.around.detector.index, IN_TRACKING, EAST
    while beyond - edge > 1e-7:
        middle = (edge + beyond) / 2
        edge, beyond = (middle, beyond) if index.containing(LATITUDE, middle) else (edge, middle)
    outside = beyond + 6.0 / METRES_PER_DEGREE
    near = [outside - n * 10.0 / METRES_PER_DEGREE for n in (8, 7, 6, 5, 4, 3, 2, 1, 0)]
    for n, longitude in enumerate(near):
        fix = away(n + 1, "u1", latitude=LATITUDE, longitude=longitude, accuracy_m=4.0, speed_mps=10.0)
        await roadside.take(fix)
    assert not roadside.around.detector.in_tracking("u1") and roadside.around.detector.inside("u1")
    assert set(roadside.store.load_state().unit_states) == {"u1"}
    roadside.store.close()
    assert not index.containing(LATITUDE, near[-1]) and index.containing(LATITUDE, near[-2])
    assert_nowhere(roadside, near[-1])


async def test_the_store_keeps_cursor_and_state_only_of_units_that_are_or_were_inside(roadside: Roadside) -> None:
    await roadside.take(away(1))
    await roadside.drive(drive(end=IN_TRACKING))
    loaded = roadside.store.load_state()
    assert [one.unit for one in loaded.cursors] == ["u1"] and set(loaded.unit_states) == {"u1"}
    onwards = drive(start=IN_TRACKING, end=WEST, start_s=roadside.clock.now_s())[1:]
    await roadside.drive([msgspec.structs.replace(fix, seq=100 + n) for n, fix in enumerate(onwards)])
    left = roadside.store.load_state()
    assert [one.unit for one in left.cursors] == ["u1"] and left.unit_states == {}


async def test_an_entry_activates_once_and_a_repeat_does_nothing(roadside: Roadside) -> None:
    await roadside.take(events=(expected(),))
    fixes = drive()
    found = await roadside.drive(fixes)
    effects = [lane for lane, _ in lanes(found)]
    assert effects.count(Lane.ACTIVATION) == effects.count(Lane.RISK) == 1
    assert (await roadside.store.counts()).activations == 1
    before = roadside.store.load_state()
    gathering = roadside.gathering()
    gathering.items(fixes, "mqtt")
    assert gathering.repeats == {"u1"} and gathering.fixes == {("mqtt", "duplicate"): len(fixes)}
    assert gathering.commit() is None
    gathering.install()
    assert roadside.store.load_state() == before


async def test_the_repeat_does_nothing_after_a_restart_either(open_roadside: Open) -> None:
    roadside = open_roadside()
    await roadside.take(events=(expected(),))
    fixes = drive()
    await roadside.drive(fixes)
    before = await roadside.store.counts()
    again = open_roadside()
    inside = fixes[8:]  # a cursor is stored from the first fix inside on
    await again.drive(inside)
    after = await again.store.counts()
    assert (after.activations, after.entries) == (before.activations, before.entries) and before.activations == 1


async def test_a_restart_in_the_middle_changes_no_decision(open_roadside: Open) -> None:
    """Cut anywhere, the activation comes out once and under the same id."""
    roadside = open_roadside()
    await roadside.take(events=(expected(),))
    fixes = drive()
    found = []
    for n in range(0, len(fixes), 7):
        found += await open_roadside().drive(fixes[n : n + 7])
    keys = [key for lane, key in lanes(found) if lane == Lane.ACTIVATION]
    assert len(keys) == 1 and keys[0]


async def test_a_vehicle_without_a_journey_is_held(roadside: Roadside) -> None:
    found = await roadside.drive(drive(unit="stranger"))
    told = [msgspec.json.decode(event.body) for one in found for event in one.events if event.kind == "instruction"]
    assert [(one["action"], one["reasonCode"]) for one in told] == [("HOLD", "UNKNOWN_VEHICLE")]
    assert [lane for lane, _ in lanes(found)].count(Lane.INSTRUCTION) == 1
    assert (await roadside.store.counts()).activations == 0


async def test_a_refused_payload_is_kept_by_digest_without_its_bytes(roadside: Roadside) -> None:
    topic, payload = TOPICS.position("u1"), b'{"latitude": 46.9480123, "longitude": "7.4474321"}'
    for _ in range(2):
        await roadside.take(*decode_message(roadside.around.inbound, topic, payload, T0))
    roadside.store.close()
    with Reader.open(roadside.folder) as reader:
        (kept,) = reader.refusals()
    assert (kept.topic, kept.length, kept.count, len(kept.sha256)) == (topic, len(payload), 2, 32)
    assert kept.reason.startswith("unreadable: ")
    assert_nowhere(roadside, *BERN)


@pytest.mark.parametrize(
    ("fix", "said"),
    [
        (away(1, fix_type=FixType.NONE), "fixType NONE"),
        (away(1, fix_type=FixType.SIMULATED), "SIMULATED"),
        (away(1, received_s=T0 - 60.0), "ahead of its receipt"),
    ],
)
async def test_a_fix_that_is_not_usable_is_refused_once(roadside: Roadside, fix: Fix, said: str) -> None:
    gathering = roadside.gathering()
    gathering.fix(fix, "serial")
    assert gathering.fixes == {("serial", "refused"): 1} and gathering.refused == {("serial", "not_usable"): 1}
    batch = gathering.commit()
    assert batch is not None and (batch.cursors, batch.unit_states, batch.records) == ((), (), ())
    (row,) = batch.refusals
    assert isinstance(row, RefusalRow) and row.reason.startswith("not_usable: ") and said in row.reason
    await roadside.store.commit(batch)
    roadside.store.close()
    assert_nowhere(roadside, *BERN)


def refused_of(gathering: Any) -> list[tuple[str, str]]:
    return [(row.topic, row.reason) for row in gathering.commit().refusals]


@pytest.mark.parametrize(
    ("item", "topic", "said"),
    [
        (
            UnitReceipt("u1", Receipt(instruction_id="i", version=1, delivered="yesterday")),
            TOPICS.receipt("u1"),
            "yesterday",
        ),
        (UnitIncident("u1", Incident(kind="PICNIC")), TOPICS.incident("u1"), "expected one of TRACTOR_CHANGE"),
        (UnitIncident("u1", Incident()), TOPICS.incident("u1"), "expected one of TRACTOR_CHANGE"),
        (
            WitnessReport("cam-1", Witness(kind="ANPR", identification_number="ZH 1", time="noon")),
            TOPICS.witness("cam-1"),
            "noon",
        ),
    ],
)
def test_other_messages_that_cannot_be_used_are_refused_and_are_no_reports(
    roadside: Roadside, item: Any, topic: str, said: str
) -> None:
    gathering = roadside.gathering()
    gathering.items([item], "mqtt")
    ((where, why),) = refused_of(gathering)
    assert where == topic and said in why
    assert sum(gathering.refused.values()) == 1 and not gathering.fixes


def test_refusals_of_the_feed_are_no_reports(roadside: Roadside) -> None:
    gathering = roadside.gathering()
    gathering.refuse(Refused("unreadable_journey", "x", "/v1/transport-declarations", "00" * 32, 3), "feed")
    assert gathering.refused == {("feed", "unreadable_journey"): 1} and not gathering.fixes


def test_a_witness_and_an_incident_of_a_known_kind_are_taken(roadside: Roadside) -> None:
    gathering = roadside.gathering()
    gathering.items(
        [
            WitnessReport("cam-1", Witness(kind="ANPR", identification_number="ZH 1", time="2026-11-22T10:00:00Z")),
            UnitIncident("u1", Incident(kind="BREAKDOWN")),
        ],
        "mqtt",
    )
    batch = gathering.commit()
    assert batch is not None and batch.refusals == () and len(batch.entries) >= 2
    assert b"ZH 1" not in msgspec.json.encode([draft.facts for draft in batch.entries]), "no plate in the journal"


async def test_an_officer_and_a_receipt_go_through_the_same_machines(roadside: Roadside) -> None:
    await roadside.take(events=(expected(),))
    await roadside.drive(drive())
    officer = OfficerDecided("JRN-1", Action.GO, "Muster", "officer", "seen")
    found = await roadside.take(events=(officer,))
    assert found is not None and Lane.INSTRUCTION in [row.lane for row in found.outbox]
    instruction = roadside.register.instructions["JRN-1"].instruction
    assert instruction is not None and instruction.action == "GO"
    out = InstructionOut("JRN-1", instruction.version, "u1", roadside.clock.now_s())
    at_ms = round(roadside.clock.now_s() * 1000)
    receipt = Receipt(
        instruction_id=instruction.instruction_id, version=instruction.version, delivered=at_ms, displayed=at_ms
    )
    await roadside.take(UnitReceipt("u1", receipt), events=(out,))
    assert [one.stage.value for one in roadside.register.instructions["JRN-1"].deliveries][-1] == "DISPLAYED"


def test_what_became_of_effects_and_the_marker_are_of_the_same_commit(roadside: Roadside) -> None:
    gathering = roadside.gathering()
    gathering.outcome([1, 2], [3], [Retry(4, 5, 6)])
    gathering.marker(41)
    batch = gathering.commit()
    assert batch is not None
    assert (batch.done, batch.dropped, batch.retried, batch.feed_marker) == ((1, 2), (3,), (Retry(4, 5, 6),), 41)


async def test_a_batch_that_is_not_installed_changes_nothing_in_memory(roadside: Roadside) -> None:
    gathering = roadside.gathering()
    gathering.event(expected())
    assert gathering.commit() is not None
    assert roadside.register.journeys == {} and roadside.around.cursors == {}


async def test_units_outside_are_forgotten_first_when_there_are_too_many(open_roadside: Open) -> None:
    roadside = open_roadside(max_units=20)
    await roadside.drive(drive(end=IN_TRACKING))
    for n in range(60):
        await roadside.take(away(1, unit=f"far-{n}"))
    kept = roadside.around.cursors
    assert len(kept) == 20 and "u1" in kept and "far-59" in kept and "far-0" not in kept


async def test_a_late_fix_does_not_become_the_last_one(roadside: Roadside) -> None:
    fixes = drive(end=IN_TRACKING)
    await roadside.drive([*fixes[:-2], fixes[-1], fixes[-2]])
    assert roadside.around.last["u1"] == fixes[-1]


ORDERS = st.lists(st.integers(0, 20), min_size=1, max_size=30)


@given(order=ORDERS, seed=st.integers(0, 3))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_comes_in_whatever_order_the_counts_add_up(roadside: Roadside, order: list[int], seed: int) -> None:
    """Every report ends under exactly one result, and accepted ones are never accepted twice."""
    unit = f"unit-{seed}-{len(roadside.around.cursors)}"
    fixes = [msgspec.structs.replace(fix, received_s=T0 + 3_600.0) for fix in drive(unit=unit)[:21]]
    gathering = roadside.gathering()
    gathering.items([fixes[n] for n in order], "mqtt")
    assert sum(gathering.fixes.values()) == len(order)
    accepted = gathering.fixes["mqtt", "accepted"] + gathering.fixes["mqtt", "late"]
    assert accepted <= len(set(order))


def test_the_road_of_these_tests_leads_through_the_zones(roadside: Roadside) -> None:
    index = roadside.around.detector.index
    inside = {place: index.containing(LATITUDE, place) for place in (EAST, IN_TRACKING, IN_ACTIVATION, WEST)}
    assert inside[EAST] == inside[WEST] == frozenset() == index.containing(*BERN)
    assert "thayngen/in/tracking" in inside[IN_TRACKING] and "thayngen/in/activation" not in inside[IN_TRACKING]
    assert "thayngen/in/activation" in inside[IN_ACTIVATION]


def test_a_source_that_floods_is_refused_unread_and_the_others_are_not(roadside: Roadside) -> None:
    gathering = roadside.gathering()
    flood, calm = TOPICS.position("flood"), TOPICS.position("calm")
    for n in range(round(BURST) + 50):
        gathering.message(flood, b"not a report %d" % n, T0)
    gathering.message(calm, b"not a report", T0)
    reasons = [row.reason.split(":")[0] for row in gathering.commit().refusals]  # type: ignore[union-attr]
    assert reasons.count("too_fast") == 50
    assert reasons[-1] == "unreadable"


def test_a_clock_that_runs_ahead_is_told_and_its_fix_is_not_used(roadside: Roadside) -> None:
    gathering = roadside.gathering()
    gathering.fix(away(0, time_s=T0 + 600.0), "mqtt")
    batch = gathering.commit()
    assert batch is not None
    assert [draft.facts["notice"] for draft in batch.entries if draft.kind == "NOTICED"] == ["CLOCK_FAULT"]
    assert [row.reason.split(":")[0] for row in batch.refusals] == ["not_usable"]
