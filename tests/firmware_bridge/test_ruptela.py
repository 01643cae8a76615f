"""Ruptela frames to reports, and the answers units wait for."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.avl import RefusedFrame
from firmware_bridge.messages import Event, PositionReport, Refusal
from firmware_bridge.ruptela import FRAME_LIMIT, RuptelaDecoder, RuptelaFrame, answer, crc16_kermit

CORPUS = Path(__file__).parents[1] / "corpus" / "serial" / "telematics" / "ruptela.jsonl"
FRAMES = {frame["id"]: frame for frame in map(json.loads, CORPUS.read_text().splitlines())}
IMEI = 869_153_042_601_309
TIME_S = 1_796_126_400
NOWHERE = -(1 << 31)


def frame(command: int, data: bytes, imei: int = IMEI) -> bytes:
    body = imei.to_bytes(8, "big") + bytes((command,)) + data
    return len(body).to_bytes(2, "big") + body + crc16_kermit(body).to_bytes(2, "big")


def record(
    latitude: int = 475_667_000,
    longitude: int = 93_833_000,
    *,
    time_s: int = TIME_S,
    satellites: int = 9,
    kmh: int = 36,
    course: int = 9_000,
    hdop: int = 8,
    part: int | None = None,
) -> bytes:
    """A record; with `part` (high nibble last part, low nibble this one) an extended one."""
    extended = part is not None
    head = struct.pack(">IB", time_s, 0) + (bytes((part,)) if extended else b"") + b"\x00"
    place = struct.pack(">iiHHBHB", longitude, latitude, 4_000, course, satellites, kmh, hdop)
    one_byte = (b"\x00\x05" if extended else b"\x05") + b"\x01"
    eight_bytes = (b"\x00\x96" if extended else b"\x96") + bytes(8)
    groups = b"\x01" + one_byte + b"\x00\x00\x01" + eight_bytes
    return head + place + (b"\x00\x07" if extended else b"\x07") + groups


def records(*parts: bytes, command: int = 0x01, count: int | None = None) -> bytes:
    return frame(command, bytes((0, len(parts) if count is None else count)) + b"".join(parts))


def decode(data: bytes, chunk: int = 1 << 20) -> list[Event]:
    decoder = RuptelaDecoder()
    events: list[Event] = []
    for at in range(0, len(data), chunk):
        events += decoder.feed(data[at : at + chunk])
        assert decoder.buffered <= FRAME_LIMIT + 4
    return events + decoder.end()


def reasons(events: list[Event]) -> list[str]:
    return [event.reason if isinstance(event, Refusal) else "report" for event in events]


def test_crc_is_kermit():
    assert crc16_kermit(b"123456789") == 0x2189  # the check value of the CRC catalogue


@pytest.mark.parametrize("frame_id", ["ruptela-001", "ruptela-003", "ruptela-004"])
def test_corpus_record_for_record(frame_id):
    data = bytes.fromhex(FRAMES[frame_id]["data"])
    expected = [position for position in FRAMES[frame_id]["positions"] if position["new_fix"]]
    reports = decode(data)
    assert len(reports) == len(expected)
    for report, position in zip(reports, expected, strict=True):
        assert report.fix_time_ms == position["time_ms"]
        assert (report.latitude, report.longitude) == (position["lat"], position["lon"])
        assert report.speed == pytest.approx(position["speed_mps"], abs=0.001)
        assert (report.satellites, report.hdop) == (position["sat"], position["hdop"])
    for chunk in (1, 7, 64):
        assert decode(data, chunk) == reports


def test_frame_with_a_wrong_length_is_refused():
    assert reasons(decode(bytes.fromhex(FRAMES["ruptela-007"]["data"])))[0] == "bad_checksum"


def test_record_field_by_field():
    [report] = decode(records(record()))
    assert report == PositionReport(
        unit="869153042601309",
        latitude=47.5667,
        longitude=9.3833,
        fix_time_ms=TIME_S * 1000,
        accuracy=pytest.approx(6.4),
        speed=pytest.approx(10.0),
        heading=90.0,
        satellites=9,
        hdop=0.8,
    )


def test_frame_has_the_answer():
    [one] = RuptelaDecoder().frames(records(record()))
    assert isinstance(one, RuptelaFrame)
    assert (one.imei, one.command, one.answer.hex()) == ("869153042601309", 1, "0002640113bc")


def test_absurd_frame_with_a_right_crc_is_sent_again_and_given_up_in_the_end():
    [one] = RuptelaDecoder().frames(records(record(), count=2))
    assert isinstance(one, RefusedFrame)
    assert (one.imei, one.refusal.reason) == ("869153042601309", "cut_short")
    assert (one.answer, one.give_up) == (answer(1, accepted=False), answer(1))


@pytest.mark.parametrize(
    ("command", "expected"),
    [(0x01, "0002640113bc"), (0x44, "0002640113bc"), (0x09, "00026d01c4a4"), (0x24, "000288015385")],
)
def test_answers_as_traccar_sends_them(command, expected):
    assert answer(command).hex() == expected


def test_a_refusal_is_not_the_acknowledgement():
    assert answer(1, accepted=False)[:4] == b"\x00\x02\x64\x00"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"satellites": 0}, ("NONE", 0)),
        ({"satellites": 0, "latitude": 0, "longitude": 0}, ("NONE", 0)),
        ({"satellites": 0xFF}, (None, None)),
    ],
)
def test_no_satellites_is_no_fix_but_a_report(change, expected):
    [report] = decode(records(record(**change)))
    assert (report.fix_type, report.satellites) == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"latitude": 910_000_000}, "bad_position"),
        ({"longitude": 1_810_000_000}, "bad_position"),
        ({"latitude": 910_000_000, "satellites": 0}, "bad_position"),
        ({"latitude": 0, "longitude": 0}, "bad_position"),
        ({"kmh": 700}, "bad_field"),
    ],
)
def test_absurd_record_is_refused_and_its_neighbour_taken(change, reason):
    assert reasons(decode(records(record(**change), record()))) == [reason, "report"]


def test_unknown_values_are_left_out():
    [report] = decode(records(record(kmh=0xFFFF, hdop=0xFF, course=0xFFFF)))
    assert (report.speed, report.hdop, report.heading, report.accuracy) == (None, None, None, None)


def test_record_without_a_position_gives_nothing():
    assert decode(records(record(NOWHERE, NOWHERE))) == []


def test_parts_of_an_extended_record_make_one_report():
    parts = [record(part=0x20), record(part=0x21), record(part=0x22), record(time_s=TIME_S + 1, part=0)]
    assert [report.fix_time_ms for report in decode(records(*parts, command=0x44))] == [
        TIME_S * 1000,
        TIME_S * 1000 + 1000,
    ]


def test_position_in_a_later_part_counts():
    parts = [record(NOWHERE, NOWHERE, part=0x10), record(part=0x11)]
    assert reasons(decode(records(*parts, command=0x44))) == ["report"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (records(record(), count=2), ["cut_short"]),
        (records(record(), record(), count=1), ["left_over"]),
        (frame(0x01, b""), ["cut_short"]),
        (frame(0x0F, b"anything"), []),
        (records(record())[:-5], ["cut_short"]),
        (b"\xff" * 20 + records(record()), ["noise", "report"]),
        (b"\x10\x00\x00\x03" + records(record()) * 5, ["cut_short"] + ["report"] * 5),
        (records(record())[:3], ["noise"]),
        (frame(1, b"\0\0", imei=9 * 10**12), ["noise"]),
        (frame(1, b"\0\0", imei=10**15), ["noise"]),
        (b"", []),
    ],
)
def test_damage(data, expected):
    found = reasons(decode(data))
    assert found == expected


@given(st.data())
def test_any_flipped_bit_gives_no_report(data):
    good = records(record(), record(time_s=TIME_S + 1))
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    spoilt = bytearray(good)
    spoilt[bit // 8] ^= 1 << bit % 8
    events = decode(bytes(spoilt))
    assert events and not [event for event in events if isinstance(event, PositionReport)]


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 50))
def test_good_frame_is_found_between_garbage(before, after, chunk):
    good = records(record())
    found = decode(before + good + after, chunk)
    assert sum(isinstance(event, PositionReport) for event in found) == 1


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 900_000_000), st.integers(-1_800_000_000, 1_800_000_000), st.integers(0, 2**32 - 1)),
        max_size=20,
    ),
    st.integers(1, 100),
)
def test_records_come_through(places, chunk):
    data = records(*(record(latitude, longitude, time_s=time_s) for latitude, longitude, time_s in places))
    assert [(event.latitude, event.longitude, event.fix_time_ms) for event in decode(data, chunk)] == [
        (latitude / 1e7, longitude / 1e7, time_s * 1000) for latitude, longitude, time_s in places
    ]


def test_storm_of_headers_is_bounded_in_memory_and_time():
    begun = time.process_time()
    assert not [event for event in decode(b"\x10\x00\x00\x00" * 65_536, 4_096) if isinstance(event, PositionReport)]
    assert time.process_time() - begun < 20.0
