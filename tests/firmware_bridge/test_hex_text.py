"""Binary frames given as bytes or as hex text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.hex_text import HexText
from firmware_bridge.messages import Event, Refusal


class Echo:
    """Tells what it was given."""

    buffered = 0

    def __init__(self) -> None:
        self.data = b""

    def feed(self, data: bytes) -> list[Event]:
        self.data += data
        return []

    def end(self) -> list[Event]:
        return [Refusal("end", "", self.data)]


def read(data: bytes, chunk: int = 100) -> bytes:
    text = HexText(Echo())
    for at in range(0, len(data), chunk):
        assert text.feed(data[at : at + chunk]) == []
    [event] = text.end()
    return event.quote


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"01460003115c885f", bytes.fromhex("01460003115c885f")),
        (b" 01 46\r\n00 03 11 5C", bytes.fromhex("01460003115c")),
        (b"0146\n", b"\x01\x46"),
        (b"014", b"\x01"),
        (b"\x01\x46\x00\x03", b"\x01\x46\x00\x03"),
        (b"zebra", b"zebra"),
        (b"", b""),
        (b"   ", b"   "),
    ],
)
def test_first_bytes_decide(data, expected):
    assert read(data) == expected
    assert read(data, 1) == expected


@given(st.binary(min_size=8, max_size=60), st.integers(1, 9))
def test_hex_of_anything_is_that(data, chunk):
    assert read(data.hex(" ").encode(), chunk) == data
    assert read(b"\x00" + data, chunk) == b"\x00" + data
