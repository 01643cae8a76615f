"""One receiver over a real terminal: noise, wrong clocks, unplugging, silence, return."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.clock_check import BUILD_TIME_S
from firmware_bridge.messages import PositionReport, Refusal
from firmware_bridge.reopening import LinkState, PortState, reopen_wait_s
from firmware_bridge.session import SerialSource
from simulator.serial_unit import SerialReceiver, nmea_sentences

NOW_S = BUILD_TIME_S + 1_000_000.0

SLACK_S = 4.0
"""For a starved machine; the back-off itself ends within 0.96 s."""


def fix(n: int, offset_s: float = 0.0) -> bytes:
    """Sentences of the n-th fix, one a second."""
    return nmea_sentences(
        PositionReport(
            latitude=47.7 + n / 10_000,
            longitude=8.6,
            fix_time_ms=round((NOW_S + n * 0.01 + offset_s) * 1000),
            speed=12.0,
            heading=90.0,
        )
    )


def source(path: object, **options: object) -> SerialSource:
    return SerialSource(str(path), unit="CH-7", **({"wall_s": lambda: NOW_S} | options))


@contextlib.asynccontextmanager
async def items_of(serial: SerialSource) -> AsyncIterator[AsyncIterator[object]]:
    items = serial.items()
    async with asyncio.timeout(15), contextlib.aclosing(items):
        yield items
        serial.close()


async def next_of(items: AsyncIterator[object], kind: type) -> object:
    """The next item of that kind; others are passed over."""
    async for item in items:
        if isinstance(item, kind):
            return item
    raise AssertionError("the session has ended")


async def state(items: AsyncIterator[object], wanted: LinkState) -> PortState:
    while (change := await next_of(items, PortState)).state is not wanted:
        pass
    return change


async def test_reports_across_noise_with_unit_and_number(unit):
    serial = source(unit.path)
    async with items_of(serial) as items:
        assert await state(items, LinkState.OPEN) == PortState(unit.path, LinkState.OPEN)
        unit.say(b"\xff\xfenoise\x00" + fix(1) + b"$GPGGA,bro\xb5\x00" + fix(2))
        first = await next_of(items, PositionReport)
        second = await next_of(items, PositionReport)
        assert [(one.unit, one.seq) for one in (first, second)] == [("CH-7", 1), ("CH-7", 2)]
        assert second.latitude == pytest.approx(47.7002, abs=1e-6)
        assert serial.refusals["cut_short"] == 1
        assert serial.noise_bytes >= 8
        assert serial.frames == 6
        assert serial.state is LinkState.OPEN
        assert 0 <= serial.last_frame_age_s(time.monotonic()) < 5
    assert serial.state is LinkState.ABSENT


async def test_refusal_carries_no_bytes_because_they_may_hold_a_position(unit):
    async with items_of(source(unit.path)) as items:
        await state(items, LinkState.OPEN)
        unit.say(b"$GPGGA,120000,4741.5,N,00836.2,E,1,08,0.9*00\r\n")
        refusal = await next_of(items, Refusal)
    assert (refusal.reason, refusal.quote) == ("bad_checksum", b"")


async def test_date_the_clock_contradicts_is_refused_and_the_tenth_raises_the_alarm(unit):
    serial = source(unit.path)
    async with items_of(serial) as items:
        await state(items, LinkState.OPEN)
        for n in range(10):
            unit.say(fix(n, offset_s=-7_000))
            assert (await next_of(items, Refusal)).reason == "clock_disagrees"
        assert serial.clock.alarm
        unit.say(fix(11))
        assert (await next_of(items, PositionReport)).seq == 1
        assert not serial.clock.alarm


async def test_unplugged_receiver_is_back_within_a_second_of_its_return(tmp_path):
    with SerialReceiver(tmp_path, "gnss0") as receiver:
        serial = source(receiver.path)
        async with items_of(serial) as items:
            await state(items, LinkState.OPEN)
            for n in (1, 2):
                receiver.unplug()
                await state(items, LinkState.LOST)
                assert "no such port" in (await state(items, LinkState.ABSENT)).reason
                receiver.replug()
                back_s = time.monotonic()
                await state(items, LinkState.OPEN)
                assert time.monotonic() - back_s < 1.0 + SLACK_S
                receiver.write(fix(n))
                assert (await next_of(items, PositionReport)).seq == n
            assert serial.reopens == 2


async def test_silent_port_is_opened_again(unit):
    serial = source(unit.path, silent_after_s=0.3)
    async with items_of(serial) as items:
        await state(items, LinkState.OPEN)
        assert "no valid frame for 0.3 s" in (await state(items, LinkState.LOST)).reason
        await state(items, LinkState.OPEN)
        unit.say(fix(1))
        assert (await next_of(items, PositionReport)).seq == 1
        assert serial.reopens == 1


async def test_port_full_of_noise_is_opened_again(tmp_path):
    with SerialReceiver(tmp_path, "gnss0") as receiver:
        serial = source(receiver.path, silent_after_s=0.2)
        async with items_of(serial) as items:
            await state(items, LinkState.OPEN)

            async def babble() -> None:
                while True:
                    receiver.write(b"\x00\xfe\x7f")
                    await asyncio.sleep(0)

            babbling = asyncio.ensure_future(babble())
            assert "0.2 s" in (await state(items, LinkState.LOST)).reason
            babbling.cancel()
        assert serial.noise_bytes > 0


async def test_absent_port_is_told_once_and_tried_again_for_ever(tmp_path):
    path = tmp_path / "later"
    serial = source(path)
    async with items_of(serial) as items:
        assert (await anext(items)).state is LinkState.ABSENT
        waiting = asyncio.ensure_future(anext(items))
        done, _ = await asyncio.wait({waiting}, timeout=0.7)
        assert not done  # several attempts, no second word
        with SerialReceiver(tmp_path, "later"):
            assert (await waiting).state is LinkState.OPEN


async def test_one_bad_port_leaves_the_others_alone(unit, tmp_path):
    good, bad = source(unit.path), source(tmp_path / "none")
    async with items_of(good) as goods, items_of(bad) as bads:
        assert (await anext(bads)).state is LinkState.ABSENT
        waiting = asyncio.ensure_future(anext(bads))
        await state(goods, LinkState.OPEN)
        unit.say(fix(1))
        assert (await next_of(goods, PositionReport)).seq == 1
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting


async def test_close_ends_the_iteration_in_every_state(unit, tmp_path):
    for path in (unit.path, tmp_path / "none"):
        serial = source(path)
        seen = []

        async def collect(serial: SerialSource = serial, seen: list[object] = seen) -> None:
            async for item in serial.items():
                seen.append(item)
                serial.close()

        await asyncio.wait_for(collect(), 5)
        assert len(seen) == 1


async def test_rounds_of_unplugging_leave_no_descriptor_behind(tmp_path):
    with SerialReceiver(tmp_path, "gnss0") as receiver:
        serial = source(receiver.path, spread=lambda: 0.0)
        serial_fds = None
        async with items_of(serial) as items:
            await state(items, LinkState.OPEN)
            for _ in range(6):
                receiver.unplug()
                receiver.replug()
                await state(items, LinkState.LOST)
                await state(items, LinkState.OPEN)
                now = len(list(Path("/proc/self/fd").iterdir()))
                serial_fds = serial_fds or now
                assert now == serial_fds


def null_modem(path: Path) -> subprocess.Popen[bytes]:
    ends = [f"pty,raw,echo=0,link={path.with_name(name)}" for name in ("unit", path.name)]
    process = subprocess.Popen(["socat", *ends], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 5
    while not (path.exists() and path.with_name("unit").exists()):
        assert time.monotonic() < deadline_s
        os.sched_yield()
    return process


async def test_null_modem_killed_and_started_again_under_the_same_name(tmp_path, require):
    require("socat")
    path = tmp_path / "gnss0"
    cable = null_modem(path)
    try:
        serial = source(path)
        async with items_of(serial) as items:
            await state(items, LinkState.OPEN)
            cable.kill()
            cable.wait()
            await state(items, LinkState.LOST)
            for link in (path, path.with_name("unit")):
                link.unlink(missing_ok=True)
            cable = null_modem(path)
            back_s = time.monotonic()
            await state(items, LinkState.OPEN)
            assert time.monotonic() - back_s < 1.0 + SLACK_S
            path.with_name("unit").write_bytes(fix(1))
            assert (await next_of(items, PositionReport)).seq == 1
    finally:
        cable.kill()
        cable.wait()


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_wait_grows_but_never_keeps_a_returned_port_waiting_for_a_second(attempt, spread):
    assert 0.16 <= reopen_wait_s(attempt, spread) <= 0.96
    assert reopen_wait_s(0, 0.5) == pytest.approx(0.2)
    assert reopen_wait_s(5, 0.5) == pytest.approx(0.8)
