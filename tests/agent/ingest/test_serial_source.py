from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

import pytest

from agent.activation.events import ReceiverDoubted
from agent.ingest.serial_source import SerialUnit
from agent.ingest.wire import Refused
from tests.agent.ingest.ports import heard
from zones.fix import Fix

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
NOW_S = NOW.timestamp()


def sentence(body: str) -> bytes:
    check = 0
    for byte in body.encode():
        check ^= byte
    return f"${body}*{check:02X}\r\n".encode()


def second(n: int, day: str = "221126") -> bytes:
    time = f"10000{n}.00"
    return sentence(f"GNRMC,{time},A,4736.6000,N,00833.0000,E,19.4,90.0,{day},,,A") + sentence(
        f"GNGGA,{time},4736.6000,N,00833.0000,E,1,09,0.9,400.0,M,47.0,M,,"
    )


async def test_nmea_from_a_real_port_becomes_fixes_of_the_configured_unit(port: tuple[int, str]) -> None:
    theirs, path = port
    unit = SerialUnit("U-9", path, baud=9_600, now_s=lambda: NOW_S)
    one, two = await heard(unit, 2, theirs, second(0) + second(1) + second(2))
    assert isinstance(one, Fix) and isinstance(two, Fix)
    assert (one.unit, one.time_s, one.received_s) == ("U-9", NOW_S, NOW_S)
    assert (one.latitude, one.longitude) == pytest.approx((47.61, 8.55))
    assert one.seq is not None and two.seq == one.seq + 1
    assert one.speed_mps == pytest.approx(19.4 * 0.514444, abs=0.01)


async def test_a_receiver_of_another_day_is_refused_without_its_position(port: tuple[int, str]) -> None:
    theirs, path = port
    unit = SerialUnit("U-9", path, baud=9_600, now_s=lambda: NOW_S)
    (item,) = await heard(unit, 1, theirs, second(0, "080407") + second(1, "080407"))
    assert isinstance(item, Refused)
    assert item.source == "serial:U-9" and item.reason and item.length == 0
    assert "4736" not in item.detail and "47.6" not in item.detail


async def test_a_port_that_does_not_exist_says_so_and_closing_ends() -> None:
    unit = SerialUnit("U-9", "/dev/no-such-port", baud=9_600)
    reading = asyncio.create_task(anext(unit.items(), None))
    async with asyncio.timeout(5):
        while "no-such-port" not in unit.session.reason:  # noqa: ASYNC110 - the state has no event
            await asyncio.sleep(0)
        assert unit.state.value == "absent"
        unit.close()
        assert await reading is None


async def test_ten_refusals_in_a_row_are_told_once_and_so_is_their_end(port: tuple[int, str]) -> None:
    theirs, path = port
    unit = SerialUnit("U-9", path, baud=9_600, now_s=lambda: NOW_S)
    old = b"".join(second(n, "220426") for n in range(10))
    told = []
    reading = unit.items()
    async with asyncio.timeout(20):
        first_item = asyncio.create_task(anext(reading))
        while unit.state.value != "open":  # noqa: ASYNC110 - the state has no event
            await asyncio.sleep(0)
        os.write(theirs, old + second(0) + second(1))
        items = [await first_item]
        while not isinstance(items[-1], Fix):
            told.append(unit.doubt())
            items.append(await anext(reading))
        told.append(unit.doubt())
    unit.close()
    await reading.aclose()
    assert len(items) == 11
    assert [one for one in told if one] == [ReceiverDoubted("U-9", "date_before_build"), ReceiverDoubted("U-9", "NONE")]
