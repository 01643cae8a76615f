"""What a protocol tells the listener."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.avl import AvlFrame, Hello, RefusedFrame, Reply, events_of, record_key
from firmware_bridge.messages import PositionReport, Refusal
from firmware_bridge.queclink import QueclinkFrame
from firmware_bridge.ruptela import RuptelaFrame
from firmware_bridge.teltonika import TeltonikaFrame

REPORT = PositionReport(latitude=47.0, longitude=8.0, fix_time_ms=1_796_126_400_000, speed=10.0, satellites=9)
REFUSAL = Refusal("bad_position", "expected one")


def test_every_protocols_frame_is_one_and_nothing_else_is() -> None:
    frames = [
        TeltonikaFrame(None, 8, (REPORT,), b"\x01"),
        RuptelaFrame("1" * 15, 1, (REPORT,), b"\x01"),
        QueclinkFrame("1" * 15, "GTFRI", (REPORT,), b"\x01"),
    ]
    others = [Hello("1" * 15, b"\x01", b"\x00"), Reply(b"x"), RefusedFrame(REFUSAL, b"", b""), REFUSAL]
    assert all(isinstance(frame, AvlFrame) for frame in frames)
    assert not any(isinstance(other, AvlFrame) for other in others)


def test_events_are_what_decode_writes() -> None:
    items = [
        Hello("1" * 15, b"\x01", b"\x00"),
        TeltonikaFrame(None, 8, (REPORT, REFUSAL), b"\x02"),
        RefusedFrame(REFUSAL, b"", b""),
        Reply(b"x"),
        REFUSAL,
    ]
    assert events_of(items) == [REPORT, REFUSAL, REFUSAL, REFUSAL]


@given(
    st.builds(
        dict,
        latitude=st.floats(-90, 90),
        longitude=st.floats(-180, 180),
        satellites=st.integers(0, 20),
        fix_time_ms=st.integers(0, 2**41),
    )
)
def test_the_key_of_a_record_sent_again_is_the_same(changed: dict[str, float]) -> None:
    report = msgspec.structs.replace(REPORT, **changed)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=PositionReport)
    assert record_key(again) == record_key(report)
    other = msgspec.structs.replace(report, fix_time_ms=(report.fix_time_ms or 0) + 1)
    assert record_key(other) != record_key(report)
