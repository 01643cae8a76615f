"""Frames out of a byte stream, whatever lies between them and however it was cut into chunks."""

from __future__ import annotations

import random
import time
from functools import reduce
from operator import xor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.framing import SENTENCE_LIMIT, UBX_LIMIT, Frame, FrameKind, Framer, crc24q, fletcher
from firmware_bridge.messages import Refusal

BUFFER_LIMIT = 8 * 1024


def sentence(body: bytes, start: bytes = b"$") -> bytes:
    return start + body + b"*%02X\r\n" % reduce(xor, body, 0)


def ubx(payload: bytes, kind: bytes = b"\x01\x07") -> bytes:
    body = kind + len(payload).to_bytes(2, "little") + payload
    return b"\xb5\x62" + body + fletcher(body)


def rtcm(payload: bytes) -> bytes:
    frame = b"\xd3" + len(payload).to_bytes(2, "big") + payload
    return frame + crc24q(frame).to_bytes(3, "big")


GOOD = sentence(b"GPZDA,120000,01,12,2026,00,00")
RTCM_1005 = rtcm((1005 << 4).to_bytes(2, "big") + bytes(17))


def frames(data: bytes, chunk: int | None = None, **options: bool) -> list[Frame | Refusal]:
    framer = Framer(**options)
    out = []
    for at in range(0, len(data), chunk or max(1, len(data))):
        out += framer.feed(data[at : at + (chunk or len(data))])
        assert framer.buffered <= BUFFER_LIMIT
    return out + framer.end()


def reasons(data: bytes) -> list[str]:
    return [one.reason if isinstance(one, Refusal) else one.kind.value for one in frames(data)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GOOD, ["$"]),
        (sentence(b"AIVDM,1,1,,A,x,0", b"!"), ["!"]),
        (GOOD[:-2] + b"\n", ["$"]),
        (GOOD[:-2] + GOOD, ["$", "$"]),  # line end lost
        (GOOD.replace(b"*", b"+"), ["no_checksum"]),
        (GOOD.replace(b"12,", b"13,", 1), ["bad_checksum"]),
        (GOOD[:20] + GOOD, ["cut_short", "$"]),
        (b"$GPGGA,\xff" + GOOD, ["cut_short", "$"]),
        (b"$GPTXT," + b"A" * SENTENCE_LIMIT + GOOD, ["too_long", "$"]),
        (GOOD[:-2], ["$"]),  # whole, and the input ends
        (GOOD[:-4], ["cut_short"]),
        (b"$$$!!" + GOOD, ["$"]),
        (ubx(b"\n#$GP") + GOOD, ["ubx", "$"]),
        (ubx(b"12345678")[:-1] + b"?" + GOOD, ["$"]),
        (ubx(bytes(20))[:15] + GOOD + GOOD, ["$", "$"]),
        (b"\xb5\x62\x01\x07\xff\xff" + GOOD, ["$"]),
        (RTCM_1005 + GOOD, ["rtcm", "$"]),
        (RTCM_1005[:-1] + b"\x00" + GOOD, ["$"]),
        (b"\xd3\x00\x13" + GOOD, ["$"]),
        (b"", []),
    ],
)
def test_frames_and_refusals_in_order(data, expected):
    assert reasons(data) == expected


def test_frame_holds_what_its_protocol_calls_the_body():
    seen = frames(GOOD + ubx(b"ab") + RTCM_1005)
    assert [one.body for one in seen] == [GOOD[1:-5], b"\x01\x07\x02\x00ab", RTCM_1005[3:-3]]
    assert [one.kind for one in seen] == [FrameKind.SENTENCE, FrameKind.UBX, FrameKind.RTCM]


def test_crc24q_agrees_with_the_published_check_value():
    assert crc24q(b"123456789") == 0xCDE703


def test_only_the_leading_run_of_hash_lines_is_a_header():
    log = b"# a $GPGGA, log\n#\n" + GOOD + ubx(b"\n#x\n") + b"# $GPZDA,1*00\n" + GOOD
    assert [type(one).__name__ for one in frames(log, skip_header=True)] == [
        "Frame",
        "Frame",
        "Refusal",
        "Frame",
    ]
    assert frames(log, 1, skip_header=True) == frames(log, skip_header=True)


@pytest.mark.parametrize("data", [b"#" * 20_000, b"# no end", b"#\n"])
def test_header_without_data_gives_nothing_and_stays_bounded(data):
    assert frames(data, 64, skip_header=True) == []


def test_noise_is_counted_without_line_ends():
    framer = Framer()
    framer.feed(b"\x00\x01\r\n" + GOOD + b"\x7fnoise\r\n")
    framer.end()
    assert framer.noise_bytes == 8
    assert framer.frames == 1


PIECES = st.one_of(
    st.sampled_from([GOOD, ubx(b"\n#$"), RTCM_1005, b"$", b"!", b"\xb5\x62", b"\xd3\x00", b"\r\n", GOOD[:12]]),
    st.binary(max_size=40),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=12), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_chunks_make_no_difference(pieces, sizes):
    data = b"".join(pieces)
    framer, out, at, turn = Framer(), [], 0, 0
    while at < len(data):
        out += framer.feed(data[at : at + sizes[turn % len(sizes)]])
        at, turn = at + sizes[turn % len(sizes)], turn + 1
    out += framer.end()
    whole = Framer()
    assert out == whole.feed(data) + whole.end()
    assert (framer.noise_bytes, framer.frames) == (whole.noise_bytes, whole.frames)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_good_sentence_is_found_behind_any_damage(noise):
    # Behind enough of them: a false UBX header may hold back at most one limit's worth of bytes.
    copies = UBX_LIMIT // len(GOOD) + 3
    found = [one for one in frames(noise + GOOD * copies) if isinstance(one, Frame)]
    assert found.count(Frame(FrameKind.SENTENCE, GOOD[1:-5])) >= copies - 1


@pytest.mark.parametrize(
    "storm",
    [
        random.Random(1).randbytes(1 << 20),
        b"$" * (1 << 20),
        b"$GPGGA," * (1 << 17),
        b"\xb5\x62\x01\x35\x00\x10" * 45_000,
        b"\xb5\x62\x01\x07\x80\x00" * 45_000,
        b"\xd3\x00\x13\x3e\xd0" * 13_000,
        b"$GPGGA," + b"1" * (1 << 20),
    ],
    ids=["random", "dollars", "heads", "ubx heads", "short ubx heads", "rtcm heads", "endless line"],
)
def test_storm_gives_no_frame_in_a_third_of_its_line_time(storm):
    started_s = time.process_time()
    assert not [one for one in frames(storm, 4096) if isinstance(one, Frame)]
    line_s = len(storm) * 10 / 115_200
    assert time.process_time() - started_s < line_s / 3
