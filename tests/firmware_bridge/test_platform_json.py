"""OwnTracks, Traccar and flespi messages to position reports."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.messages import PositionReport, Refusal
from firmware_bridge.platform_json import (
    DOCUMENT_LIMIT,
    JsonLines,
    decode_flespi,
    decode_owntracks,
    decode_traccar,
)

CORPUS = Path(__file__).parents[1] / "corpus" / "serial" / "telematics" / "owntracks.jsonl"
TIME_MS = 1_796_126_400_000

OWNTRACKS = {
    "_type": "location",
    "lat": 47.7,
    "lon": 8.6,
    "tst": TIME_MS // 1000,
    "acc": 10,
    "vel": 36,
    "cog": 90,
}
TRACCAR = {
    "position": {
        "latitude": 47.7,
        "longitude": 8.6,
        "fixTime": "2026-12-01T12:00:00.000+00:00",
        "serverTime": "2026-12-01T13:00:00.000+00:00",
        "speed": 10,
        "course": 90,
        "accuracy": 0,
        "valid": True,
        "attributes": {"sat": 9, "hdop": 0.8, "motion": True},
    },
    "device": {"id": 4, "uniqueId": "352093081452251", "name": "lorry"},
}
FLESPI = {
    "ident": "lorry-7",
    "timestamp": TIME_MS / 1000 + 0.25,
    "position.latitude": 47.7,
    "position.longitude": 8.6,
    "position.speed": 36,
    "position.direction": 90,
    "position.satellites": 9,
    "position.hdop": 0.8,
    "battery.level": 80,
}


def body(document: object) -> bytes:
    return json.dumps(document).encode()


def test_owntracks_corpus():
    for line in CORPUS.read_text().splitlines():
        frame = json.loads(line)
        [report], [expected] = decode_owntracks(body(frame["data"])), frame["positions"]
        assert report.fix_time_ms == expected["time_ms"]
        assert (report.latitude, report.longitude) == (expected["lat"], expected["lon"])
        assert (report.speed or 0.0) == pytest.approx(expected["speed_mps"], abs=0.001)
        if expected["speed_mps"] > 1:
            assert report.heading == expected["course"]
        assert (report.accuracy or 0) == pytest.approx(expected["accuracy"] * 1.62)


def test_owntracks_topic_names_the_unit():
    [report] = decode_owntracks(body(OWNTRACKS), "owntracks/haller/cab-7")
    assert report == PositionReport(
        latitude=47.7,
        longitude=8.6,
        fix_time_ms=TIME_MS,
        unit="haller.cab-7",
        accuracy=pytest.approx(16.2),
        speed=pytest.approx(10.0),
        heading=90,
    )


def test_owntracks_unknown_speed_and_course_are_left_out():
    [report] = decode_owntracks(body(OWNTRACKS | {"vel": -1, "cog": -1}))
    assert (report.speed, report.heading) == (None, None)


@pytest.mark.parametrize("kind", ["transition", "waypoint", "lwt", "cmd"])
def test_owntracks_other_types_are_no_refusals(kind):
    assert decode_owntracks(body({"_type": kind, "tst": 1}), "owntracks/a/b/event") == []


def test_traccar_speed_in_knots_and_the_time_of_the_fix():
    [report] = decode_traccar(body(TRACCAR))
    assert report == PositionReport(
        latitude=47.7,
        longitude=8.6,
        fix_time_ms=TIME_MS,
        unit="352093081452251",
        speed=pytest.approx(5.14444),
        heading=90,
        satellites=9,
        hdop=0.8,
    )


@pytest.mark.parametrize(
    ("change", "fix_type"),
    [({}, None), ({"valid": False}, "NONE"), ({"outdated": True}, "NONE"), ({"fixTime": TIME_MS}, None)],
)
def test_traccar_marks_what_is_no_live_fix(change, fix_type):
    [report] = decode_traccar(body(TRACCAR | {"position": TRACCAR["position"] | change}))
    assert (report.fix_type, report.fix_time_ms) == (fix_type, TIME_MS)


def test_flespi_list_with_one_bad_message():
    good, bad, other = decode_flespi(body([FLESPI, FLESPI | {"position.latitude": 95}, FLESPI | {"ident": "b"}]))
    assert good.unit == "lorry-7"
    assert good.fix_time_ms == TIME_MS + 250
    assert good.speed == pytest.approx(10.0)
    assert bad.reason == "bad_field"
    assert other.unit == "b"


def test_flespi_cached_position_is_passed_on_as_none():
    lost = FLESPI | {"position.valid": False, "position.latitude": 0, "position.longitude": 0}
    assert [event.fix_type for event in decode_flespi(body(lost))] == ["NONE"]


def test_flespi_keys_may_be_nested():
    nested = {"ident": "lorry-7", "timestamp": FLESPI["timestamp"], "position": {}}
    for name, value in FLESPI.items():
        if name.startswith("position."):
            nested["position"][name.removeprefix("position.")] = value
    assert decode_flespi(body(nested)) == decode_flespi(body(FLESPI))


def test_flespi_message_without_a_position_is_neither():
    assert decode_flespi(body({"ident": "lorry-7", "timestamp": 1, "battery.level": 80})) == []


def test_satellites_may_be_written_as_a_fraction():
    [report] = decode_flespi(body(FLESPI | {"position.satellites": 9.0}))
    assert (report.satellites, type(report.satellites)) == (9, int)


@pytest.mark.parametrize("zone", ["+00:00", "+0000", "Z"])
def test_traccar_list_with_one_bad_position(zone):
    good = TRACCAR | {"position": TRACCAR["position"] | {"fixTime": "2026-12-01T12:00:00.000" + zone}}
    bad = TRACCAR | {"position": TRACCAR["position"] | {"speed": -1}}
    first, refusal, second = decode_traccar(body([good, bad, good]))
    assert first == second and first.fix_time_ms == TIME_MS
    assert refusal.reason == "bad_field"


def test_traccar_position_by_itself_names_no_unit():
    [report] = decode_traccar(body(TRACCAR["position"]))
    assert (report.unit, report.speed) == (None, pytest.approx(5.14444))


def test_traccar_without_anything_that_may_be_missing():
    position = {"latitude": 47.7, "longitude": 8.6, "fixTime": TIME_MS}
    [report] = decode_traccar(body({"position": position}))
    assert report == PositionReport(latitude=47.7, longitude=8.6, fix_time_ms=TIME_MS)


DECODERS = {"owntracks": decode_owntracks, "traccar": decode_traccar, "flespi": decode_flespi}


@pytest.mark.parametrize(
    ("name", "payload", "topic", "reason", "word"),
    [
        ("owntracks", b"{", None, "not_json", "JSON"),
        ("owntracks", b"\xff\xfe", None, "not_json", "JSON"),
        ("owntracks", b"", None, "not_json", "JSON"),
        ("flespi", b"[" * 100_000, None, "not_json", "JSON"),
        ("owntracks", b"7", None, "bad_field", "object"),
        ("owntracks", body(OWNTRACKS | {"lat": 91}), None, "bad_field", "$.lat"),
        ("owntracks", body(OWNTRACKS | {"lat": "47.7"}), None, "bad_field", "$.lat"),
        ("owntracks", body(OWNTRACKS | {"tst": -1}), None, "bad_field", "$.tst"),
        ("owntracks", body(OWNTRACKS | {"vel": 900}), None, "bad_field", "$.vel"),
        ("owntracks", body(OWNTRACKS | {"lat": 0, "lon": 0}), None, "bad_position", "0/0"),
        ("owntracks", body({"_type": "location", "lat": 1, "lon": 1}), None, "bad_field", "tst"),
        ("owntracks", body(OWNTRACKS), "somewhere/else", "bad_unit", "owntracks/{user}/{device}"),
        ("owntracks", body(OWNTRACKS), "owntracks/a.b/c", "bad_unit", "without"),
        ("owntracks", body(OWNTRACKS), "owntracks/müller/c", "bad_unit", "A-Z"),
        ("owntracks", b" " * (DOCUMENT_LIMIT + 1), None, "too_long", str(DOCUMENT_LIMIT)),
        ("traccar", body({"device": {}}), None, "bad_field", "position"),
        (
            "traccar",
            body({"position": TRACCAR["position"] | {"fixTime": "noon"}}),
            None,
            "bad_field",
            "fixTime",
        ),
        (
            "traccar",
            body({"position": TRACCAR["position"] | {"fixTime": "2026-12-01T12:00:00"}}),
            None,
            "bad_field",
            "zone",
        ),
        (
            "traccar",
            body({"position": TRACCAR["position"] | {"attributes": {"sat": "x"}}}),
            None,
            "bad_field",
            "float",
        ),
        ("traccar", body(TRACCAR | {"device": {"uniqueId": "a/b"}}), None, "bad_unit", "unit"),
        ("flespi", body(FLESPI | {"ident": ""}), None, "bad_unit", "unit"),
        ("flespi", body([3]), None, "bad_field", "object"),
    ],
)
def test_refused_with_what_and_where(name, payload, topic, reason, word):
    [refusal] = DECODERS[name](payload, topic)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.reason == reason
    assert word in refusal.detail
    assert "47.7" not in refusal.detail


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*OWNTRACKS, "position", "device", *TRACCAR["position"], *FLESPI]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(DECODERS)), st.one_of(st.binary(max_size=60), JSON.map(body)))
def test_any_payload_gives_events_and_no_exception(name, payload):
    for event in DECODERS[name](payload):
        assert isinstance(event, Refusal | PositionReport)


@settings(max_examples=100, deadline=None)
@given(
    st.floats(-90, 90).filter(bool),
    st.floats(-180, 180),
    st.integers(0, 250_000_000_000),
    st.floats(0, 500),
)
def test_owntracks_values_come_through(latitude, longitude, tst, vel):
    [report] = decode_owntracks(body({"_type": "location", "lat": latitude, "lon": longitude, "tst": tst, "vel": vel}))
    assert (report.latitude, report.longitude, report.fix_time_ms) == (latitude, longitude, tst * 1000)
    assert report.speed == pytest.approx(vel / 3.6)


LINES = body(OWNTRACKS) + b"\r\n\n" + b"owntracks/u/d " + body(OWNTRACKS) + b"\nnot json\n" + body(OWNTRACKS)


@pytest.mark.parametrize("chunk", [1, 7, 64, 10_000])
def test_lines_with_and_without_topic(chunk):
    lines = JsonLines(decode_owntracks)
    events = [event for at in range(0, len(LINES), chunk) for event in lines.feed(LINES[at : at + chunk])]
    events += lines.end()
    units = [event.reason if isinstance(event, Refusal) else event.unit for event in events]
    assert units == [None, "u.d", "not_json", None]


def test_endless_line_is_refused_once_and_the_next_one_read():
    lines = JsonLines(decode_owntracks)
    events = []
    for _ in range(DOCUMENT_LIMIT // 4096 + 3):
        events += lines.feed(b"x" * 4096)
    assert events == [] and lines.buffered <= DOCUMENT_LIMIT
    events = lines.feed(b"\n" + body(OWNTRACKS) + b"\n")
    assert [type(event) for event in events] == [Refusal, PositionReport]


def test_fix_time_is_read_as_written():
    moment = datetime.datetime(2026, 12, 1, 13, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    sent = {"position": TRACCAR["position"] | {"fixTime": moment.isoformat()}}
    [report] = decode_traccar(msgspec.json.encode(sent))
    assert report.fix_time_ms == TIME_MS
