"""What is kept of fixes at a crossing, and that nothing is kept of those outside every zone."""

from __future__ import annotations

import asyncio
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.journal.reader import Reader
from agent.journal.telemetry import MAX_FIXES, decode
from agent.sightings import Sightings
from tests.agent.border import T0
from tests.agent.roadside import (
    EAST,
    IN_ACTIVATION,
    IN_TRACKING,
    LATITUDE,
    WEST,
    HandClock,
    Roadside,
    drive,
    shipped_index,
)
from zones.detector import Detector
from zones.fix import Fix, FixType
from zones.frame import metres_between

TRACKING, ACTIVATION = "thayngen/in/tracking", "thayngen/in/activation"


def kept(folder, unit="u1"):
    """(row, fix) of everything that is kept of a unit."""
    with Reader.open(folder) as reader:
        return [(observed, seen) for observed in reader.telemetry(unit) for seen in observed.fixes]


async def test_a_drive_is_kept_from_the_first_fix_inside_to_the_last(roadside):
    fixes = drive(start=EAST, end=WEST)
    await roadside.drive(fixes)
    index = shipped_index()
    inside = [fix.seq for fix in fixes if index.containing(fix.latitude, fix.longitude)]
    found = kept(roadside.folder)
    assert [seen.seq for _, seen in found] == inside
    assert {seen.verdict for _, seen in found} == {"accepted"}
    assert 0 < len(inside) < len(fixes)


async def test_states_are_told_as_they_became(roadside):
    await roadside.drive(drive(start=EAST, end=WEST))
    states = [observed.states_of(seen) for observed, seen in kept(roadside.folder)]
    at_line = [one.get(ACTIVATION) for one in states]
    assert at_line.index("I") > 0
    assert at_line[-1] is None
    assert [one[TRACKING] for one in states if TRACKING in one].count("I") > 50
    for (observed, seen), one in zip(kept(roadside.folder), states, strict=True):
        assert observed.zone_set == shipped_index().version
        members = shipped_index().containing(seen.latitude, seen.longitude)
        assert {zone_id for zone_id, code in one.items() if code.isupper()} == members


async def test_a_stay_ends_with_the_last_zone_and_its_outside_fixes_are_counted(roadside):
    await roadside.drive(drive(start=IN_TRACKING, end=WEST))
    with Reader.open(roadside.folder) as reader:
        outside = sum(observed.outside for observed in reader.telemetry("u1"))
        (closed,) = reader._rows("SELECT closed_ms IS NOT NULL FROM evidence_key")
    assert closed == (1,)
    assert outside >= 1


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({"fix_type": FixType.SIMULATED}, "refused", "simulated positions are not accepted here"),
        ({"time_s": T0 + 100.0}, "refused", "fixTime 100.0 s ahead of its receipt"),
        ({"accuracy_m": 500.0}, "accepted", ""),
    ],
)
async def test_what_is_refused_inside_is_kept_with_its_reason(roadside, changes, verdict, words):
    good = drive(start=IN_TRACKING, end=IN_ACTIVATION)[-1]
    fix = replace(good, **{"time_s": T0, "received_s": T0, **changes})
    await roadside.take(fix)
    ((_, seen),) = kept(roadside.folder)
    assert (seen.verdict, words in seen.reason) == (verdict, True)


async def test_a_report_of_an_earlier_start_is_kept_as_refused(roadside):
    fixes = drive(start=IN_TRACKING, end=IN_ACTIVATION)
    await roadside.drive(fixes)
    before = len(kept(roadside.folder))
    await roadside.take(replace(fixes[3], boot_id="boot-0", seq=90))
    found = kept(roadside.folder)
    assert len(found) == before + 1
    assert (found[-1][1].verdict, found[-1][1].seq) == ("refused", 90)
    assert "earlier start" in found[-1][1].reason


async def test_reports_that_come_again_cost_no_transaction_of_their_own(roadside):
    fixes = drive(start=IN_TRACKING, end=IN_ACTIVATION)
    await roadside.drive(fixes[:-1])
    assert await roadside.take(*fixes[:5]) is None
    await roadside.take(fixes[3], fixes[-1])
    with Reader.open(roadside.folder) as reader:
        assert reader.telemetry("u1")[-1].repeated == 1


async def test_a_restart_goes_on_with_the_stay(open_roadside):
    fixes = drive(start=IN_TRACKING, end=IN_ACTIVATION)
    await open_roadside().drive(fixes[:10])
    roadside = open_roadside()
    await roadside.drive(fixes[10:])
    assert [seen.seq for _, seen in kept(roadside.folder)] == [fix.seq for fix in fixes]
    with Reader.open(roadside.folder) as reader:
        assert reader._value("SELECT count(*) FROM evidence_key") == 1


def test_a_large_batch_is_kept_in_several_rows():
    detector = Detector(shipped_index())
    sightings = Sightings(detector)
    for number in range(MAX_FIXES + 5):
        fix = Fix("u1", T0 + number, LATITUDE, IN_TRACKING - number * 1e-6, T0 + number, seq=number)
        detector.feed(fix)
        sightings.judged(fix, was_open=False)
    rows = list(sightings.rows({"u1": None}))
    assert [len(decode(row.body).fixes) for row in rows] == [MAX_FIXES, 5]
    assert [row.ends for row in rows] == [False, False]


def test_of_refused_ones_a_row_is_kept_and_the_rest_counted():
    sightings = Sightings(Detector(shipped_index()))
    for number in range(MAX_FIXES + 5):
        sightings.refused(Fix("u1", T0, LATITUDE, IN_TRACKING, T0, seq=number), "no")
    (row,) = sightings.rows({})
    observed = decode(row.body)
    assert (len(observed.fixes), observed.outside) == (MAX_FIXES, 5)


# --- nothing outside the zones ----------------------------------------------------------------------


@st.composite
def mixed_traffic(draw):
    """Approaches with what receivers and networks do to them: leaps, repeats, lateness, lies."""
    fixes = []
    for number in range(draw(st.integers(1, 3))):
        start = draw(st.sampled_from([EAST, 8.76, IN_TRACKING, 8.73]))
        way = drive(f"u{number}", start, draw(st.sampled_from([IN_ACTIVATION, WEST, 8.70])), T0, 7.0)
        shift = draw(st.sampled_from([0.0, 0.0027, 0.0044, 0.0052, 0.2]))  # metres aside: 0, 300, 490, 580, far
        fixes += [replace(fix, latitude=fix.latitude + shift) for fix in way]
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(fixes) - 1))
        fixes[place] = replace(fixes[place], **draw(st.sampled_from(FAULTS)))
    order = draw(st.lists(st.integers(0, len(fixes) - 1), max_size=6))
    return fixes + [fixes[place] for place in order]


FAULTS = [
    {"latitude": 47.9},
    {"longitude": 8.9},
    {"latitude": float("nan")},
    {"latitude": 0.0, "longitude": 0.0},
    {"accuracy_m": 900.0},
    {"fix_type": FixType.SIMULATED},
    {"fix_type": FixType.NONE},
    {"time_s": T0 + 9e5},
    {"time_s": T0 - 50.0},
    {"boot_id": "boot-0"},
    {"seq": 400},
]


async def put_away(folder, fixes):
    clock = HandClock()
    roadside = Roadside(folder, clock)
    for fix in fixes:
        clock.move_to(fix.received_s)
        await roadside.take(fix)
    disk = roadside.on_disk()
    roadside.store.close()
    return disk + roadside.on_disk()


@settings(max_examples=25, deadline=None)
@given(mixed_traffic())
def test_no_position_outside_the_zones_is_ever_in_the_data_folder(fixes):
    """Neither in clear, nor after everything that is encrypted there is decrypted with the keys beside it."""
    with tempfile.TemporaryDirectory() as name:
        disk = asyncio.run(put_away(Path(name) / "data", fixes))
        units = {fix.unit for fix in fixes}
        found = [seen for unit in units for _, seen in kept(Path(name) / "data", unit)]
    index = shipped_index()
    assert all(index.containing(seen.latitude, seen.longitude) for seen in found)
    inside = {fix.longitude for fix in fixes if _lies_inside(fix)}
    for fix in fixes:
        if not _lies_inside(fix) and fix.longitude not in inside and fix.longitude == fix.longitude:
            packed = struct.pack(">d", fix.longitude)
            assert fix.longitude == 0.0 or packed not in disk
            assert len(text := str(fix.longitude)) < 9 or text.encode() not in disk


def _lies_inside(fix):
    finite = fix.latitude == fix.latitude
    return finite and bool(shipped_index().containing(fix.latitude, fix.longitude))


def test_the_search_above_would_find_a_position_in_clear(tmp_path):
    """The property rests on it: a fix in the zones is found once it is decrypted, and its bytes are as sought."""
    fixes = drive(start=IN_TRACKING, end=IN_ACTIVATION)
    disk = asyncio.run(put_away(tmp_path / "data", fixes))
    seen = kept(tmp_path / "data")[0][1]
    assert seen.longitude == fixes[0].longitude
    assert metres_between(seen.latitude, seen.longitude, LATITUDE, IN_TRACKING) == 0.0
    states = struct.pack(">d", fixes[-1].longitude)
    assert states in disk, "the stored detector state has the newest position, which lies in a zone"
