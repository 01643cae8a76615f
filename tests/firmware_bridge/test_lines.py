"""Lines out of a byte stream: complete, bounded, the same however it was cut into chunks."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.lines import Lines
from firmware_bridge.messages import Refusal


def cut(lines: Lines, data: bytes, sizes: list[int]) -> list[bytes | Refusal]:
    out, at = [], 0
    for size in [*sizes, len(data)]:
        out += lines.feed(data[at : at + size])
        at += size
    return out + lines.end()


def test_ends_are_left_out_and_empty_lines_too():
    assert cut(Lines(), b"one\r\n\n\xfftwo\x00three", []) == [b"one", b"two", b"three"]


def test_other_ends():
    assert cut(Lines(re.compile(rb"\$"), 10), b"a\r\n$b", []) == [b"a\r\n", b"b"]


def test_line_at_the_limit_and_one_above():
    assert cut(Lines(limit=4), b"abcd\nabcde\nab", []) == [
        b"abcd",
        Refusal("too_long", "line: expected at most 4 bytes", b"abcd"),
        b"ab",
    ]


@given(st.binary(max_size=60), st.lists(st.integers(1, 9), max_size=12))
def test_chunks_make_no_difference(data, sizes):
    lines = Lines(limit=8)
    assert cut(lines, data, sizes) == cut(Lines(limit=8), data, [])
    assert lines.buffered == 0


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_what_waits_is_bounded(chunks):
    lines = Lines(limit=16)
    for chunk in chunks:
        lines.feed(chunk)
        assert lines.buffered <= 16
