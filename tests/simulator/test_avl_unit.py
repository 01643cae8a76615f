"""The simulated unit: what it encodes the decoder reads, what the listener says it understands."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.messages import PositionReport
from firmware_bridge.teltonika import TeltonikaDecoder, encode_command
from simulator.avl_unit import (
    RECORDS_A_FRAME,
    AvlUnit,
    Heard,
    encode_frame,
    encode_hello,
    encode_record,
    encode_reply,
    imei_of,
    read_answer,
)
from zones.fix import Fix, FixType

WAIT_S = 20.0
IMEI = imei_of(7)
FIXES = st.builds(
    Fix,
    unit=st.just("u"),
    time_s=st.integers(1_700_000_000_000, 1_900_000_000_000).map(lambda ms: ms / 1000),
    latitude=st.integers(450_000_000, 480_000_000).map(lambda e7: e7 / 1e7),
    longitude=st.integers(60_000_000, 100_000_000).map(lambda e7: e7 / 1e7),
    received_s=st.just(0.0),
    accuracy_m=st.just(0.0) | st.floats(3.0, 50.0),
    speed_mps=st.none() | st.floats(0.0, 40.0),
    heading_deg=st.none() | st.floats(0.0, 359.9),
    fix_type=st.sampled_from([FixType.THREE_D, FixType.NONE]),
)


@given(st.lists(FIXES, min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_what_it_encodes_is_read_as_it_was_meant(fixes: list[Fix]) -> None:
    reports = TeltonikaDecoder().feed(encode_hello(IMEI) + encode_frame([encode_record(fix) for fix in fixes]))
    assert len(reports) == len(fixes)
    for report, fix in zip(reports, fixes, strict=True):
        assert isinstance(report, PositionReport)
        assert (report.unit, report.fix_time_ms) == (IMEI, round(fix.time_s * 1000))
        assert (report.latitude, report.longitude) == (fix.latitude, fix.longitude)
        assert (report.fix_type == "NONE") == (fix.fix_type is FixType.NONE)
        assert report.speed == pytest.approx(fix.speed_mps or 0.0, abs=0.15)
        if fix.accuracy_m:
            assert report.accuracy == pytest.approx(fix.accuracy_m, abs=0.41)
        else:
            assert report.accuracy is None


@given(st.integers(0, 999_999))
def test_an_imei_has_15_digits_and_its_check_digit(number: int) -> None:
    imei = imei_of(number)
    doubled = [int(digit) * (2 if at % 2 else 1) for at, digit in enumerate(imei)]
    assert len(imei) == 15 and sum(n // 10 + n % 10 for n in doubled) % 10 == 0


COMMAND = encode_command(b"STOP 3")


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", None),
        (b"\x00\x00\x00", None),
        (b"\x00\x00\x00\x07", (Heard(taken=7), 4)),
        (bytes(4), (Heard(taken=0), 4)),
        (bytes(4) + b"\x00\x00", None),
        (bytes(4) + b"\x00\x00\x00\x02", (Heard(taken=0), 4)),
        (COMMAND[:-1], None),
        (COMMAND, (Heard(text=b"STOP 3"), len(COMMAND))),
        (COMMAND + b"\x00\x00\x00\x01", (Heard(text=b"STOP 3"), len(COMMAND))),
    ],
)
def test_answers_and_commands_are_told_apart(data: bytes, answer: tuple[Heard, int] | None) -> None:
    assert read_answer(data) == answer


class Listener:
    """The other end, in the test's hand."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.lines.put((reader, writer))


async def frame_of(reader: asyncio.StreamReader) -> list[Any]:
    head = await reader.readexactly(8)
    return list(TeltonikaDecoder().feed(head + await reader.readexactly(int.from_bytes(head[4:], "big") + 4)))


def fix(n: int) -> Fix:
    return Fix("u", 1_796_000_000.0 + n, 47.7, 8.7, 0.0, accuracy_m=5.0, fix_type=FixType.THREE_D)


async def test_it_keeps_what_is_not_confirmed_sends_it_again_and_shows_texts() -> None:
    listener, texts = Listener(), list[str]()
    server = await asyncio.start_server(listener.came, "127.0.0.1", 0)
    unit = AvlUnit("127.0.0.1", server.sockets[0].getsockname()[1], IMEI, texts.append)
    for n in range(RECORDS_A_FRAME + 5):
        unit.take(fix(n))
    unit.start()
    try:
        async with asyncio.timeout(WAIT_S):
            reader, writer = await listener.lines.get()
            assert await reader.readexactly(17) == encode_hello(IMEI)
            writer.write(b"\x01")
            assert len(await frame_of(reader)) == RECORDS_A_FRAME
            writer.close()  # without an answer
            reader, writer = await listener.lines.get()
            await reader.readexactly(17)
            writer.write(b"\x01")
            again = await frame_of(reader)
            assert [report.fix_time_ms for report in again] == [
                round(fix(n).time_s * 1000) for n in range(RECORDS_A_FRAME)
            ]
            assert unit.resent == RECORDS_A_FRAME and unit.waiting == RECORDS_A_FRAME + 5
            writer.write(COMMAND + RECORDS_A_FRAME.to_bytes(4, "big"))
            assert await reader.readexactly(len(encode_reply(b"shown"))) == encode_reply(b"shown")
            assert len(await frame_of(reader)) == 5
            assert texts == ["STOP 3"] and unit.waiting == 5
            writer.close()
    finally:
        await unit.close()
        server.close()
