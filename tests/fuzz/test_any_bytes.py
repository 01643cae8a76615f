"""Every decoder, given noise and damaged recordings: no exception, bounded, the same in chunks."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_bridge.capture import CaptureError
from firmware_bridge.commands import DECODERS, Format
from tests.fuzz.targets import TARGETS, check, seeds

PIECES = st.sampled_from(
    [
        b"\n",
        b"$",
        b"!",
        b"*",
        b",",
        b"\\",
        b"\xb5\x62",
        b"\xd3\x00",
        b"\x00" * 4,
        b"{",
        b"[",
        b'"',
        b"\xff" * 8,
        b"9" * 30,
    ]
)
"""What begins or ends something in one of the formats."""


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A recording with bits flipped, stretches lost, doubled and put in."""
    data = bytearray(draw(st.sampled_from(seeds(name)))[: draw(st.integers(1, 1_500))])
    for _ in range(draw(st.integers(1, 6))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 40))
        match draw(st.sampled_from(["flip", "lose", "double", "insert"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "lose":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + length]
            case _:
                data[at:at] = draw(PIECES | st.binary(max_size=20))
    return bytes(data)


def test_every_format_is_a_target():
    assert set(DECODERS) == set(Format)
    assert {format_.value for format_ in Format} < set(TARGETS)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_recordings_are_read_without_a_fault(name):
    for seed in seeds(name):
        check(name, seed)


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_recordings(name, data):
    check(name, data.draw(damaged(name)))


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(deadline=None, max_examples=60)
@given(data=st.one_of(st.binary(max_size=300), st.lists(PIECES | st.binary(max_size=6), max_size=40).map(b"".join)))
def test_noise(name, data):
    check(name, data)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_device_that_never_stops_talking(name):
    """A megabyte without any end."""
    decoder = TARGETS[name]()
    chunk = b"1" * 8_192
    try:
        for _ in range(128):
            decoder.feed(chunk)
            assert decoder.buffered <= 280_000
        decoder.end()
    except CaptureError:
        assert name == "capture"  # no header: told as such
