"""Every word of the detector and the life cycle has words for people; and an explanation is always to be had."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.activation.journey import Trigger
from agent.activation.matching import CLOSE_PAIRS
from agent.activation.passage import PassageStage
from agent.explain import Explanation, Rules, explain, open_case, picture, report
from agent.explain.passages import APART_S, AROUND_S
from agent.explain.passes import passes_of
from agent.explain.words import NOTICE, OUTCOME, RULE, TRIGGER, VERDICT, clock, counted, metres
from agent.journal.entry import EntryBody
from agent.journal.reader import Reader
from tests.agent.border import T0
from tests.agent.roadside import (
    EAST,
    IN_ACTIVATION,
    IN_TRACKING,
    WEST,
    HandClock,
    Roadside,
    drive,
    expected,
    shipped_index,
)
from zones.detector import Verdict
from zones.events import NoticeName
from zones.fix import FixType
from zones.step import Outcome

RULES = Rules(shipped_index(), "00" * 32, close=frozenset().union(*CLOSE_PAIRS).__contains__)


def test_no_word_is_without_words():
    assert set(NOTICE) == set(NoticeName)
    assert set(OUTCOME) == {one.value for one in Outcome}
    assert set(VERDICT) == {one.value for one in Verdict}
    fed = {"FEED_READY", "FEED_NOT_READY", "FEED_CANCELLED", "DEPARTED"}  # JOURNEY_FED tells these
    assert set(TRIGGER) == {one.value for one in Trigger} - fed
    assert set(RULE) == {"WHOLE_CIRCLE", "TWO_FIXES", "DWELL", "PASSED", "FIRST_FIX", "TOUCH", "OUTSIDE"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (clock(1_800_000_000.0), "08:00:00"),
        (clock(1_800_000_001.5), "08:00:01.5"),
        (clock(1_800_000_001.96), "08:00:02"),
        (clock(1_800_000_059.999), "08:01:00"),
        (metres(3.04), "3.0 m"),
        (metres(18.4), "18 m"),
        (counted(1, "declaration"), "1 declaration"),
        (counted(2, "declaration"), "2 declarations"),
    ],
)
def test_figures_for_people(value, words):
    assert value == words


# --- machine C again --------------------------------------------------------------------------------


def detected(seq, zone, what="ENTERED", at="2026-11-22T10:00:00.000Z", **changes):
    facts = {
        "event": what,
        "zoneId": zone,
        "unit": "u1",
        "time": at,
        "detectedAt": at,
        "kind": "FIX",
        "direction": "IN",
        "zoneSetVersion": shipped_index().version,
        "evidence": [],
        "crossing": zone.split("/")[0],
        "ignored": None,
    }
    return EntryBody(
        seq=seq, prev="", agent="a", kid="k", boot_id="b", kind="DETECTED", at=at, monotonic_ms=0,
        software_version="1", facts={**facts, **changes},
    )  # fmt: skip


def played(*entries):
    return passes_of(entries, shipped_index().zone_set, RULES.close)


def test_two_drives_are_two_passes():
    zones = ("thayngen/in/tracking", "thayngen/in/activation", "thayngen/in/confirmation")
    first = [detected(n, zone, at=f"2026-11-22T10:00:0{n}.000Z") for n, zone in enumerate(zones)]
    left = [detected(n + 5, zone, "EXITED", at=f"2026-11-22T10:01:0{n}.000Z") for n, zone in enumerate(zones[::-1])]
    again = [detected(n + 9, zone, at=f"2026-11-23T10:00:0{n}.000Z") for n, zone in enumerate(zones)]
    one, two = played(*first, *left, *again).passes
    assert (len(one.seen), one.stage, one.open) == (6, PassageStage.PASSED, set())
    assert (len(two.seen), two.stage, len(two.open)) == (3, PassageStage.CONFIRMATION, 3)
    assert one.entry is not None
    assert one.ends_s < two.begins_s
    assert two.ends_s == float("inf")


def test_yesterdays_pass_gets_nothing_of_todays_drive_the_other_way():
    out = [
        detected(1, "thayngen/out/tracking", direction="OUT"),
        detected(2, "thayngen/out/tracking", "EXITED", direction="OUT"),
    ]
    today = [
        detected(3, "thayngen/out/tracking", at="2026-11-23T10:00:00.000Z", ignored="CONTRARY"),
        detected(4, "thayngen/out/tracking", "EXITED", at="2026-11-23T10:01:00.000Z"),
    ]
    found = played(*out, *today)
    assert [len(one.seen) for one in found.passes] == [2]
    assert [(one.direction, one.measured) for one in found.against] == [("OUT", "IN")]


def test_a_lone_touch_and_a_zone_that_is_not_in_the_file():
    found = played(detected(1, "thayngen/in/activation", kind="TOUCH"), detected(2, "gone/in/activation"))
    (touch,) = found.passes
    assert touch.entry is None
    assert found.unknown_zones == {"gone/in/activation"}


# --- always an answer -------------------------------------------------------------------------------

CHANGES = [
    {},
    {},
    {"longitude": 8.7225},
    {"accuracy_m": 70.0},
    {"accuracy_m": 500.0},
    {"fix_type": FixType.SIMULATED},
    {"time_s": T0 + 1e6},
    {"latitude": 47.7445},
    {"boot_id": "boot-0"},
]


@st.composite
def drives(draw):
    ways = [(EAST, IN_ACTIVATION), (IN_TRACKING, WEST), (8.73, WEST), (EAST, IN_TRACKING), (WEST, EAST)]
    start, end = draw(st.sampled_from(ways))
    fixes = drive("u1", max(start, end), min(start, end), T0, draw(st.sampled_from([3.0, 7.0, 40.0])))
    if start < end:
        times = [(fix.seq, fix.time_s) for fix in fixes]
        turned = zip(reversed(fixes), times, strict=True)
        fixes = [replace(fix, seq=seq, time_s=at_s, received_s=at_s, heading_deg=90.0) for fix, (seq, at_s) in turned]
    shift = draw(st.sampled_from([0.0, 0.0, 0.0027, 0.0009]))
    changed = draw(st.dictionaries(st.integers(0, len(fixes) - 1), st.sampled_from(CHANGES), max_size=5))
    fixes = [replace(fix, **{"latitude": fix.latitude + shift, **changed.get(n, {})}) for n, fix in enumerate(fixes)]
    return fixes[: draw(st.integers(1, len(fixes)))], draw(st.booleans())


async def put_away(folder, fixes, has_journey):
    clock_ = HandClock()
    roadside = Roadside(folder, clock_)
    if has_journey:
        await roadside.take(events=(expected(),))
    await roadside.drive(fixes)
    roadside.store.close()


@settings(max_examples=25, deadline=None)
@given(drives())
def test_an_explanation_is_always_to_be_had_and_agrees_with_the_store(drawn):
    fixes, has_journey = drawn
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        asyncio.run(put_away(folder, fixes, has_journey))
        with Reader.open(folder) as reader:
            case = open_case(reader, "u1")
            activations = {row.activation_id for row in reader.activations()}
            kept = sum(len(row.fixes) for row in reader.telemetry("u1"))
    if case is None:
        assert (activations, kept, has_journey) == (set(), 0, False)
        return
    found = explain(case, RULES)
    assert found.activated is bool(activations)
    assert {one for story in found.passages for one in story.activations} == activations
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found
    text = "\n".join(report(found))
    assert text.splitlines()[1].strip() == found.verdict
    assert ("not activated" in found.verdict) is not found.activated or "at the crossing" in found.verdict
    drawn_svg = picture(case, found, shipped_index().zone_set)
    assert drawn_svg is None or drawn_svg.startswith("<svg")
    for story in found.passages:
        assert story.decided_again in (True, None) or "suspect" in {fix.outcome for fix in story.fixes}


def test_margins_are_longer_than_a_gap():
    assert AROUND_S < APART_S
