"""Queclink text to reports, and the answers units wait for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.messages import Event, PositionReport, Refusal
from firmware_bridge.queclink import FRAME_LIMIT, QueclinkDecoder, QueclinkFrame

CORPUS = Path(__file__).parents[1] / "corpus" / "serial" / "telematics" / "queclink-text.jsonl"
FRAMES = [json.loads(line) for line in CORPUS.read_text().splitlines()]
PLACE = "1,36.0,90,412.5,9.383300,47.566700,20261201120000"
GOOD = f"+RESP:GTFRI,270B01,867162027893742,gv300w,,,10,1,{PLACE},0228,0001,25F8,061A,00,,,,,20261201120001,4CFE$"


def decode(text: str | bytes, chunk: int = 1 << 20) -> list[Event]:
    data = text if isinstance(text, bytes) else text.encode()
    decoder = QueclinkDecoder()
    events: list[Event] = []
    for at in range(0, len(data), chunk):
        events += decoder.feed(data[at : at + chunk])
        assert decoder.buffered <= FRAME_LIMIT
    return events + decoder.end()


def reasons(events: list[Event]) -> list[str]:
    return [event.reason if isinstance(event, Refusal) else "report" for event in events]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["id"])
def test_corpus(frame):
    [report], [expected] = decode(frame["data"]), frame["positions"]
    assert report.fix_time_ms == expected["time_ms"]
    assert (report.latitude, report.longitude) == (expected["lat"], expected["lon"])
    assert report.speed == pytest.approx(expected["speed_mps"], abs=0.001)
    assert (report.fix_type == "NONE") == (expected["hdop"] == 0)  # 0 = last known
    for chunk in (1, 7, 64):
        assert decode(frame["data"], chunk) == [report]


def test_report_field_by_field():
    assert decode(GOOD) == [
        PositionReport(
            unit="867162027893742",
            latitude=47.5667,
            longitude=9.3833,
            fix_time_ms=1_796_126_400_000,
            accuracy=8.0,
            speed=pytest.approx(10.0),
            heading=90.0,
            hdop=1.0,
        )
    ]


@pytest.mark.parametrize(
    ("text", "command", "answer"),
    [
        (GOOD, "GTFRI", b"+SACK:4CFE$"),
        (GOOD.replace("+RESP", "+BUFF"), "GTFRI", b"+SACK:4CFE$"),
        ("+ACK:GTHBD,1F0101,135790246811220,,20260101000000,11F0$", "GTHBD", b"+SACK:GTHBD,1F0101,11F0$"),
        ("+ACK:GTFRI,1F0101,135790246811220,,0000,20260101000000,11F0$", "GTFRI", b""),
    ],
)
def test_answers(text, command, answer):
    [frame] = QueclinkDecoder().frames(text.encode())
    assert isinstance(frame, QueclinkFrame)
    assert (frame.command, frame.answer) == (command, answer)


def test_several_positions_in_one_report():
    second = PLACE.replace("120000", "120005")
    events = decode(GOOD.replace(PLACE, f"{PLACE},0228,0001,25F8,061A,00,{second}"))
    assert [event.fix_time_ms for event in events] == [1_796_126_400_000, 1_796_126_405_000]


def test_speed_course_and_altitude_may_be_empty():
    [report] = decode(GOOD.replace("1,36.0,90,412.5,9", "1,,,,9"))
    assert (report.speed, report.heading) == (None, None)


def test_report_without_a_position_gives_nothing():
    assert decode("+RESP:GTINF,1F0101,135790246811220,,16,,20260101000000,11F0$") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("47.566700", "97.566700"), ["bad_position"]),
        (GOOD.replace("20261201120000,", "20261301120000,"), ["bad_field"]),
        (GOOD.replace("20261201120000,", "00261201120000,"), ["bad_field"]),
        (GOOD.replace("36.0", "936.0"), ["bad_field"]),
        (GOOD.replace("867162027893742", "8671620278937"), ["bad_unit"]),
        (GOOD.replace("4CFE$", "4CF$"), ["cut_short"]),
        (GOOD[:-1], ["cut_short"]),
        (GOOD[:60] + GOOD, ["cut_short", "report"]),
        ("noise$" + GOOD + "\r\n\0", ["not_a_report", "report"]),
        ("\xff\xfe" + GOOD + GOOD, ["report", "report"]),
        ("x" * (FRAME_LIMIT + 1) + "$" + GOOD, ["too_long", "report"]),
        ("", []),
        ("\r\n", []),
    ],
)
def test_damage(text, expected):
    assert reasons(decode(text)) == expected


@given(
    st.floats(-89.9, 89.9).filter(lambda degrees: abs(degrees) > 0.001),
    st.floats(-179.9, 179.9),
    st.floats(0, 500),
    st.integers(1, 99),
    st.integers(1, 40),
)
def test_values_come_through(latitude, longitude, kmh, hdop, chunk):
    place = f"{hdop},{kmh:.1f},90,412.5,{longitude:.6f},{latitude:.6f},20261201120000"
    [report] = decode(GOOD.replace(PLACE, place), chunk)
    assert (report.latitude, report.longitude) == pytest.approx((latitude, longitude), abs=1e-6)
    assert report.speed == pytest.approx(kmh / 3.6, abs=0.02)
    assert report.hdop == hdop
