"""Teltonika frames to reports: the corpus, round trips of every codec, and what must be refused."""

from __future__ import annotations

import json
import random
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.avl import FRAME_LIMIT, Hello, RefusedFrame, Reply
from firmware_bridge.messages import Event, PositionReport, Refusal
from firmware_bridge.teltonika import (
    TeltonikaDecoder,
    TeltonikaFrame,
    crc16_arc,
    encode_command,
    read_packet,
)

FOLDER = Path(__file__).parents[1] / "corpus" / "serial" / "telematics"
FRAMES = [json.loads(line) for line in (FOLDER / "teltonika.jsonl").read_text().splitlines()]
VECTORS = [json.loads(line) for line in (FOLDER / "teltonika-vectors.jsonl").read_text().splitlines()]
IMEI = "352093086403655"
TIME_MS = 1_796_126_400_000
CODECS = (0x08, 0x8E, 0x10)


@dataclass(frozen=True)
class Sent:
    """What a unit puts into one record."""

    time_ms: int = TIME_MS
    latitude_e7: int = 477_416_000
    longitude_e7: int = 87_240_000
    course: int = 278
    satellites: int = 11
    kmh: int = 61
    hdop_tenths: int | None = 9


def elements(codec: int, hdop_tenths: int | None) -> bytes:
    """Event, count and groups; some elements of each size around the HDOP."""
    wide = codec != 0x08
    id_form, count_form = ("H" if wide else "B"), ("H" if codec == 0x8E else "B")
    two = [(181, 26)] + ([] if hdop_tenths is None else [(182, hdop_tenths)])
    groups = [("B", [(239, 1), (240, 0)]), ("H", two), ("I", [(241, 21_403)]), ("Q", [(78, 1)])]
    out = struct.pack(f">{id_form}", 239) + (b"\x05" if codec == 0x10 else b"")
    out += struct.pack(f">{count_form}", sum(len(values) for _, values in groups))
    for form, values in groups:
        out += struct.pack(f">{count_form}", len(values))
        out += b"".join(struct.pack(f">{id_form}{form}", key, value) for key, value in values)
    return out + (struct.pack(">HHH", 1, 281, 17) + b"WVWZZZ1KZ6U015338" if codec == 0x8E else b"")


def record(sent: Sent, codec: int) -> bytes:
    place = struct.pack(
        ">QBiihHBH",
        sent.time_ms, 1, sent.longitude_e7, sent.latitude_e7, 417, sent.course, sent.satellites, sent.kmh,
    )  # fmt: skip
    return place + elements(codec, sent.hdop_tenths)


def body(*records: bytes, codec: int = 0x08, count: int | None = None, after: int | None = None) -> bytes:
    number = len(records) if count is None else count
    return bytes((codec, number)) + b"".join(records) + bytes((number if after is None else after,))


def tcp(content: bytes, length: int | None = None, crc: int | None = None) -> bytes:
    size = len(content) if length is None else length
    check = crc16_arc(content) if crc is None else crc
    return bytes(4) + size.to_bytes(4, "big") + content + check.to_bytes(4, "big")


def udp(content: bytes, imei: bytes = IMEI.encode()) -> bytes:
    inner = b"\xca\xfe\x01\x05" + len(imei).to_bytes(2, "big") + imei + content
    return len(inner).to_bytes(2, "big") + inner


def hello(imei: str = IMEI) -> bytes:
    return len(imei).to_bytes(2, "big") + imei.encode()


GOOD = tcp(body(record(Sent(), 0x08)))


def decode(data: bytes, chunk: int = 1 << 20, *, both: bool = False) -> list[Event]:
    decoder = TeltonikaDecoder(udp=both)
    events: list[Event] = []
    for at in range(0, len(data), chunk):
        events += decoder.feed(data[at : at + chunk])
        assert decoder.buffered <= FRAME_LIMIT + 12
    return events + decoder.end()


def reasons(events: list[Event]) -> list[str]:
    return [event.reason if isinstance(event, Refusal) else "report" for event in events]


def items(data: bytes) -> list[Any]:
    return TeltonikaDecoder().frames(data)


# --- what others recorded -----------------------------------------------------------------------------------------


def test_crc_is_arc() -> None:
    assert crc16_arc(b"123456789") == 0xBB3D  # the check value of the CRC catalogue


@pytest.mark.parametrize("frame", FRAMES, ids=[frame["id"] for frame in FRAMES])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_corpus_record_for_record(frame: dict[str, Any], chunk: int) -> None:
    events = decode(bytes.fromhex(frame["data"]), chunk, both=True)
    if not (frame["length_ok"] and frame["crc_ok"]):
        assert events and all(isinstance(event, Refusal) for event in events)
        return
    expected = [position for position in frame["positions"] if position["new_fix"]]
    assert reasons(events) == ["report"] * len(expected)
    for report, position in zip(events, expected, strict=True):
        assert isinstance(report, PositionReport)
        assert report.fix_time_ms == position["time_ms"]
        exact = 1e-7 if frame["codec"] != 7 else 1e-5
        assert report.latitude == pytest.approx(position["lat"], abs=exact)
        assert report.longitude == pytest.approx(position["lon"], abs=exact)
        assert report.speed == pytest.approx(position["speed_mps"], abs=0.001)
        assert report.satellites == position["sat"]
        assert (report.fix_type == "NONE") == (not position["valid"])
        if position.get("hdop"):
            assert report.hdop == pytest.approx(position["hdop"])


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_vectors_are_accepted_or_refused(vector: dict[str, Any]) -> None:
    events = decode(bytes.fromhex(vector["data"]), both=True)
    refused = [event for event in events if isinstance(event, Refusal)]
    assert bool(refused) == (not vector["accept"])
    if not vector["accept"]:
        assert events == refused


@pytest.mark.parametrize(
    ("vector_id", "reason"),
    [
        ("go-TCPCodecsDecodeMustFail-1", "bad_crc"),
        ("go-TCPCodecsDecodeMustFail-3", "bad_crc"),
        ("go-TCPCodecsDecodeMustFail-5", "bad_crc"),
        ("go-TCPCodecsDecodeMustFail-7", "bad_crc"),
        ("go-UDPCodecsDecodeMustFail-0", "bad_imei"),
        ("go-UDPCodecsDecodeMustFail-2", "bad_length"),
    ],
)
def test_refused_for_the_right_reason(vector_id: str, reason: str) -> None:
    vector = next(one for one in VECTORS if one["id"] == vector_id)
    assert reasons(decode(bytes.fromhex(vector["data"]), both=True))[0] == reason


# --- round trips --------------------------------------------------------------------------------------------------

SENT = st.builds(
    Sent,
    time_ms=st.integers(0, 253_402_300_799_999),
    latitude_e7=st.integers(-900_000_000, 900_000_000),
    longitude_e7=st.integers(-1_800_000_000, 1_800_000_000).filter(bool),
    course=st.integers(0, 360),
    satellites=st.integers(0, 40),
    kmh=st.integers(0, 540),
    hdop_tenths=st.none() | st.integers(1, 999),
)


def said(sent: Sent) -> tuple[Any, ...]:
    return (
        sent.time_ms,
        sent.latitude_e7 / 1e7,
        sent.longitude_e7 / 1e7,
        sent.satellites,
        None if sent.hdop_tenths is None else sent.hdop_tenths / 10,
        "NONE" if sent.satellites == 0 else None,
        round(sent.kmh / 3.6, 9),
    )


def read(report: Event) -> tuple[Any, ...]:
    assert isinstance(report, PositionReport) and report.speed is not None
    return (
        report.fix_time_ms,
        report.latitude,
        report.longitude,
        report.satellites,
        report.hdop,
        report.fix_type,
        round(report.speed, 9),
    )


@given(st.lists(SENT, max_size=12), st.sampled_from(CODECS), st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_what_is_encoded_is_read_whatever_the_chunks(sent: list[Sent], codec: int, chunk: int) -> None:
    data = hello() + tcp(body(*(record(one, codec) for one in sent), codec=codec))
    events = decode(data, chunk)
    assert [read(event) for event in events] == [said(one) for one in sent]
    assert {event.unit for event in events if isinstance(event, PositionReport)} <= {IMEI}


@given(st.lists(SENT, max_size=5), st.sampled_from(CODECS))
@settings(max_examples=50, deadline=None)
def test_a_packet_names_its_unit_and_is_answered_with_its_ids(sent: list[Sent], codec: int) -> None:
    frame = read_packet(udp(body(*(record(one, codec) for one in sent), codec=codec)))
    assert isinstance(frame, TeltonikaFrame)
    assert frame.imei == IMEI
    assert [read(event) for event in frame.events] == [said(one) for one in sent]
    assert frame.answer == b"\x00\x05\xca\xfe\x01\x05" + bytes((len(sent),))


def test_codec_7_says_by_masks_what_it_holds() -> None:
    def gh3000(mask: int, place: bytes) -> bytes:
        return struct.pack(">IB", 0x4000_0000 | 100, mask) + place

    whole = bytes((0xFF,)) + struct.pack(">ffhBBBIBI", 47.75, 8.5, 400, 64, 36, 9, 1, 20, 22_801)
    with_elements = gh3000(0x0F, whole + b"\x01\x01\x05" + b"\x01\x02\x00\x05" + b"\x01\x03\x00\x00\x00\x05")
    without_place = gh3000(0x02, b"\x00")
    only_height = gh3000(0x01, b"\x02\x01\x90")
    (report,) = decode(tcp(body(with_elements, without_place, only_height, codec=0x07)))
    assert isinstance(report, PositionReport)
    assert report.fix_time_ms == (1_167_609_600 + 100) * 1000
    assert (report.latitude, report.longitude, report.satellites) == (47.75, 8.5, 9)
    assert report.speed == pytest.approx(10.0) and report.heading == pytest.approx(90.0)


# --- handshake, commands, answers ---------------------------------------------------------------------------------


def test_hello_then_frame_then_answer_with_their_count() -> None:
    first, frame = items(hello() + tcp(body(*[record(Sent(), 0x8E)] * 3, codec=0x8E)))
    assert first == Hello(IMEI, b"\x01", b"\x00")
    assert isinstance(frame, TeltonikaFrame)
    assert frame.answer == b"\x00\x00\x00\x03" and len(frame.events) == 3


def test_a_byte_that_keeps_the_line_open_is_no_refusal() -> None:
    assert reasons(decode(hello() + b"\xff\xff" + GOOD + b"\xff" + GOOD)) == ["report", "report"]


def test_a_command_is_a_codec_12_frame_and_a_reply_is_its_text() -> None:
    # "getinfo" as in the protocol's description, and among the vectors
    assert encode_command(b"getinfo").hex().upper() == VECTORS[3]["data"]
    answer = bytes((0x0C, 1, 6)) + (5).to_bytes(4, "big") + b"shown" + b"\x01"
    (reply,) = items(tcp(answer))
    assert reply == Reply(b"shown")
    (other,) = items(encode_command(b"hello"))
    assert isinstance(other, TeltonikaFrame) and (other.events, other.answer) == ((), b"")


# --- bad input ----------------------------------------------------------------------------------------------------

SPOILT = bytearray(GOOD)
SPOILT[20] ^= 0x10


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(SPOILT) + GOOD, ["bad_crc", "report"]),
        (GOOD[:-5] + GOOD, ["bad_crc", "report"]),
        (GOOD[:-5], ["bad_length"]),
        (GOOD[:6], ["bad_preamble"]),
        (b"hello\x00\x00world" + GOOD, ["bad_preamble", "report"]),
        (bytes(7) + GOOD, ["bad_preamble", "report"]),
        (bytes(4) + b"\xff\xff\xff\xff" + GOOD, ["bad_length", "report"]),
        (hello("35209308640365x") + GOOD, ["bad_imei", "report"]),
        (tcp(body(record(Sent(), 0x08), codec=0x99)) + GOOD, ["bad_codec", "report"]),
        (tcp(body(record(Sent(), 0x08), after=2)) + GOOD, ["bad_count", "report"]),
        (tcp(body(record(Sent(), 0x08), count=2)) + GOOD, ["bad_length", "report"]),
        (tcp(body(record(Sent(), 0x08) + b"\x00")) + GOOD, ["left_over", "report"]),
        (tcp(bytes((0x0C, 1, 6)) + (99).to_bytes(4, "big") + b"x\x01") + GOOD, ["left_over", "report"]),
    ],
)
@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
def test_what_is_bad_is_refused_once_and_the_next_frame_found(data: bytes, expected: list[str], chunk: int) -> None:
    assert reasons(decode(data, chunk)) == expected


def test_a_refused_frame_is_told_so_and_what_it_claims_is_known() -> None:
    (frame,) = items(tcp(body(*[record(Sent(), 0x08)] * 4, after=5)))
    assert isinstance(frame, RefusedFrame)
    assert (frame.answer, frame.give_up) == (bytes(4), b"\x00\x00\x00\x04")
    (spoilt,) = items(bytes(SPOILT))
    assert isinstance(spoilt, RefusedFrame) and spoilt.refusal.quote == bytes(SPOILT)
    packet = read_packet(udp(body(record(Sent(), 0x08), after=9)))
    assert isinstance(packet, RefusedFrame)
    assert (packet.answer[-1], packet.give_up[-1], packet.imei) == (0, 1, IMEI)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (udp(body(record(Sent(), 0x08)))[:-1], "bad_length"),
        (udp(body(record(Sent(), 0x08))) + b"\x00", "bad_length"),
        (udp(body(record(Sent(), 0x08)), imei=b"3520"), "bad_imei"),
        (udp(body(record(Sent(), 0x08)), imei=b"35209308640365x"), "bad_imei"),
        (udp(b"\x08"), "bad_length"),
        (udp(bytes((0x0C, 1, 5)) + bytes(4) + b"\x01"), "bad_codec"),
        (b"", "bad_length"),
        (b"\x00", "bad_length"),
        (bytes(FRAME_LIMIT + 1), "bad_length"),
    ],
)
def test_a_bad_packet_is_refused(packet: bytes, reason: str) -> None:
    frame = read_packet(packet)
    assert isinstance(frame, RefusedFrame) and frame.refusal.reason == reason


@pytest.mark.parametrize(
    ("sent", "outcome"),
    [
        (Sent(latitude_e7=910_000_000), "bad_position"),
        (Sent(longitude_e7=-1_810_000_000), "bad_position"),
        (Sent(latitude_e7=0, longitude_e7=0), "bad_position"),
        (Sent(latitude_e7=0, longitude_e7=0, satellites=0), "report"),
        (Sent(latitude_e7=910_000_000, satellites=0), "bad_position"),
        (Sent(kmh=900), "bad_field"),
        (Sent(time_ms=(1 << 64) - 1), "bad_field"),
    ],
)
def test_absurd_content_under_a_right_crc_spoils_its_record_alone(sent: Sent, outcome: str) -> None:
    (frame,) = items(tcp(body(record(Sent(), 0x08), record(sent, 0x08), record(Sent(), 0x08))))
    assert isinstance(frame, TeltonikaFrame)
    assert reasons(list(frame.events)) == ["report", outcome, "report"]
    assert frame.answer == b"\x00\x00\x00\x03", "the unit need not send it again"


def test_no_refusal_repeats_a_position() -> None:
    for event in decode(tcp(body(record(Sent(latitude_e7=912_345_678), 0x08)))):
        assert isinstance(event, Refusal) and "91.2" not in event.detail


@pytest.mark.parametrize(
    "blob",
    [
        random.Random(4).randbytes(1 << 18),
        bytes(1 << 18),
        (bytes(4) + b"\x00\x00\x0f\xff\x08") * 30_000,
        b"\x00\x0f1234567" * 30_000,
        tcp(bytes(4_000), crc=1) * 60,
    ],
    ids=["random", "zeros", "heads", "hellos", "wrong frames"],
)
def test_a_flood_is_refused_in_bounded_memory_and_the_next_frame_found(blob: bytes) -> None:
    decoder = TeltonikaDecoder()
    events: list[Event] = []
    for at in range(0, len(blob), 1_000):
        events += decoder.feed(blob[at : at + 1_000])
        assert decoder.buffered <= FRAME_LIMIT + 12
    assert len(events) <= len(blob) // 500
    events += decoder.feed(GOOD * 400) + decoder.end()
    assert reasons(events).count("report") >= 1


@given(st.binary(max_size=300), st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.booleans())
@settings(max_examples=100, deadline=None)
def test_nothing_false_comes_out_of_damage_and_nothing_escapes(noise: bytes, at: int, flip: int, both: bool) -> None:
    damaged = bytearray(GOOD)
    damaged[at] ^= flip
    for event in decode(noise + bytes(damaged) + noise, both=both):
        if isinstance(event, PositionReport):  # only where the noise itself repairs it
            assert read(event) == said(Sent())
