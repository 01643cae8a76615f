"""agent/whereabouts.py: units inside tracking zones as rows of a frame."""

from __future__ import annotations

import msgspec

from agent.activation.events import OfficerDecided
from agent.domain.instruction import Action
from agent.status.positions import NO_HEADING, SILENT, STATE_BITS, VehicleState, decode_frame
from agent.whereabouts import SAME_MS, SPARE_HANDLES, Whereabouts
from tests.agent.border import T0
from tests.agent.roadside import IN_ACTIVATION, IN_TRACKING, LATITUDE, Roadside, drive, expected
from zones.fix import Fix


def fix(unit: str, heading_deg: float | None = 270.0) -> Fix:
    return Fix(unit=unit, time_s=T0, latitude=LATITUDE, longitude=8.72, received_s=T0, heading_deg=heading_deg)


async def test_a_unit_is_where_its_newest_fix_says_and_what_holds_for_it_is_told(roadside: Roadside) -> None:
    await roadside.take(events=(expected(),))
    await roadside.drive(drive(end=IN_TRACKING))
    seen = Whereabouts(roadside.register)
    (before,), _ = decode_frame(seen.frame({"u1": fix("u1")}, T0 + 2.0))
    assert before["state"] == VehicleState.TRACKING and before["age_ds"] == 20
    assert abs(before["longitude_e7"] - 87_200_000) <= 1 and before["heading"] == 192
    await roadside.drive(drive(end=IN_ACTIVATION))
    (held,), _ = decode_frame(seen.frame({"u1": fix("u1")}, T0 + 4.0))
    assert held["state"] == VehicleState.HOLD and held["handle"] == before["handle"] == seen.handle("u1")
    await roadside.take(events=(OfficerDecided("JRN-1", Action.GO, "Meier", "officer", "seen", None, None),))
    (gone,), _ = decode_frame(seen.frame({"u1": fix("u1", None)}, T0 + 6.0))
    assert gone["state"] == VehicleState.GO | NO_HEADING


async def test_a_unit_without_position_is_marked(roadside: Roadside) -> None:
    await roadside.drive(drive(unit="stranger", end=IN_ACTIVATION))
    register = roadside.register
    for passage in list(register.passages.values()):
        register.put(msgspec.structs.replace(passage, lost_s=T0))
    (lost,), _ = decode_frame(Whereabouts(register).frame({"stranger": fix("stranger")}, T0 + 90))
    assert lost["state"] & SILENT and lost["state"] & STATE_BITS == VehicleState.HOLD


async def test_nobody_outside_tracking_zones_is_in_a_frame(roadside: Roadside) -> None:
    await roadside.take(events=(expected(),))
    await roadside.drive(drive(end=IN_ACTIVATION))
    assert len(decode_frame(Whereabouts(roadside.register).frame({}, T0))[0]) == 0


async def test_watchers_at_once_share_a_frame_and_handles_do_not_pile_up(roadside: Roadside) -> None:
    seen = Whereabouts(roadside.register)
    assert seen.frame({"a": fix("a")}, T0) == seen.frame({"b": fix("b")}, T0 + SAME_MS / 2000)
    numbers = {seen.handle(f"u{number}") for number in range(SPARE_HANDLES + 2)}
    assert len(numbers) == SPARE_HANDLES + 2
    kept = seen.handle("u1")
    seen.frame({"u1": fix("u1")}, T0 + 1)
    assert seen.handle("u1") == kept
    assert seen.handle("u2") > kept
