"""agent/desk.py: the register as people see it."""

from __future__ import annotations

import msgspec
import pytest

from agent import desk
from agent.activation.events import OfficerDecided
from agent.domain.instruction import Action
from agent.status.api import JourneyRow
from tests.agent.border import MRN
from tests.agent.roadside import IN_ACTIVATION, IN_TRACKING, WEST, Roadside, drive, expected

ALL: frozenset[str] = frozenset()


def only(roadside: Roadside, *keys: str) -> JourneyRow:
    (row,) = desk.rows(roadside.register, frozenset(keys))
    return row


async def test_an_expected_journey_is_shown_when_asked_for_and_not_among_those_at_the_border(
    roadside: Roadside,
) -> None:
    await roadside.take(events=(expected(),))
    assert desk.rows(roadside.register, ALL) == ()
    row = only(roadside, "JRN-1")
    assert (row.key, row.jrn, row.stage, row.state, row.action) == ("JRN-1", "JRN-1", "EXPECTED", "READY", None)
    assert row.plate is not None and row.nationality == "CH"


async def test_a_lorry_is_followed_through_the_crossing(roadside: Roadside) -> None:
    await roadside.take(events=(expected(),))
    stages = []
    for fix in drive(end=WEST):
        await roadside.drive([fix])
        found = [row for row in desk.rows(roadside.register, ALL) if row.key == "JRN-1"]
        if found and found[0].stage not in stages:
            stages.append(found[0].stage)
            assert (found[0].unit, found[0].crossing, found[0].direction) == ("u1", "thayngen", "IN")
    assert stages == ["TRACKING", "ACTIVATION", "CONFIRMATION", "PASSED"]


async def test_one_row_however_it_is_asked_for(roadside: Roadside) -> None:
    await roadside.take(events=(expected(), expected("JRN-2", "u2")))
    await roadside.drive(drive(end=IN_ACTIVATION))
    (row,) = desk.rows(roadside.register, ALL)
    assert only(roadside, "JRN-1") == only(roadside, "u1") == only(roadside, "JRN-1", "u1") == row
    assert row.declarations == 1 and row.version == 1 and row.action == "HOLD" and row.reason_code == "NO_ANSWER"
    assert {one.key for one in desk.rows(roadside.register, frozenset({"JRN-1", "JRN-2"}))} == {"JRN-1", "JRN-2"}
    assert desk.rows(roadside.register, frozenset({"nobody"})) == ()


async def test_a_unit_without_a_journey_has_a_row_of_its_own(roadside: Roadside) -> None:
    await roadside.drive(drive(unit="stranger", end=IN_ACTIVATION))
    (row,) = desk.rows(roadside.register, ALL)
    assert (row.key, row.jrn, row.unit, row.plate) == ("unit:stranger", None, "stranger", None)
    assert (row.action, row.reason_code) == ("HOLD", "UNKNOWN_VEHICLE")
    assert only(roadside, "unit:stranger") == only(roadside, "stranger") == row


async def test_an_instruction_before_any_fix_is_shown(roadside: Roadside) -> None:
    """An officer stops a journey that has not been seen yet."""
    stopped = OfficerDecided("JRN-1", Action.STOP, "Muster", "officer", "known smuggler")
    await roadside.take(events=(expected(), stopped))
    (row,) = desk.rows(roadside.register, ALL)
    assert (row.key, row.stage, row.action) == ("JRN-1", "EXPECTED", "STOP")


async def test_one_journey_whole(roadside: Roadside) -> None:
    await roadside.take(events=(expected(),))
    before = desk.detail(roadside.register, "JRN-1")
    assert before is not None and before.instruction is None and before.entered_at is None
    await roadside.drive(drive(end=IN_ACTIVATION))
    whole = desk.detail(roadside.register, "JRN-1")
    assert whole is not None and whole.row == only(roadside, "JRN-1")
    assert [one["mrn"] for one in whole.declarations] == [MRN]
    assert whole.instruction is not None and whole.instruction["action"] == "HOLD"
    assert [one["reason"] for one in whole.causes] == ["NO_ANSWER"]
    assert whole.entered_at is not None and whole.decide_by is not None and whole.entered_at < whole.decide_by
    assert b'"action":"HOLD"' in msgspec.json.encode(whole)


async def test_a_unit_without_a_journey_whole(roadside: Roadside) -> None:
    await roadside.drive(drive(unit="stranger", end=IN_ACTIVATION))
    whole = desk.detail(roadside.register, "unit:stranger")
    assert whole is not None and whole.declarations == () and whole.row.action == "HOLD"


async def test_nothing_is_known_of_a_key_that_nobody_has(roadside: Roadside) -> None:
    await roadside.drive(drive(unit="u1", end=IN_TRACKING))
    assert desk.detail(roadside.register, "JRN-1") is None
    assert desk.detail(roadside.register, "") is None


@pytest.mark.parametrize("key", [None, "JRN-1"])
async def test_no_position_is_shown(roadside: Roadside, key: str | None) -> None:
    """Vehicles are shown by crossing and stage."""
    await roadside.take(events=(expected(),))
    await roadside.drive(drive(end=IN_ACTIVATION))
    shown = desk.rows(roadside.register, ALL) if key is None else desk.detail(roadside.register, key)
    text = msgspec.json.encode(shown)
    assert b"latitude" not in text and b"47.7418" not in text
