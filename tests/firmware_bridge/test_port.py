"""A real terminal pair: what a port does when the line is noisy, silent, taken or gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from firmware_bridge.errors import PortLost, PortUnavailable
from firmware_bridge.port import WRITE_LIMIT, SerialPort, open_port


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def read_until(port, wanted: bytes) -> bytes:
    got = b""
    async with asyncio.timeout(5):
        while not got.endswith(wanted):
            got += await port.read() or b""
    return got


async def test_bytes_come_as_they_were_sent_and_stale_ones_do_not(unit):
    unit.say(b"stale")
    port = await open_port(unit.path)
    sent = b"".join(number.to_bytes(4, "big") for number in range(2_560)) + bytes(range(256))
    writing = asyncio.to_thread(unit.say, sent)
    got, _ = await asyncio.gather(read_until(port, sent[-256:]), writing)
    assert got[-len(sent) :] == sent
    port.close()


async def test_silence_is_told_after_the_time_out_and_the_port_stays(unit):
    port = await open_port(unit.path)
    started_s = time.monotonic()
    assert await port.read(0.05) is None
    assert 0.04 < time.monotonic() - started_s < 5.0
    unit.say(b"still here")
    assert await port.read(2) == b"still here"
    port.close()


async def test_hang_up_is_told_at_once_and_does_not_spin(unit):
    port = await open_port(unit.path)
    reading = asyncio.ensure_future(port.read())
    await asyncio.sleep(0)
    unit.hang_up()
    started_s = time.monotonic()
    with pytest.raises(PortLost, match=r"hung up|Input/output error"):
        await asyncio.wait_for(reading, 2)
    assert time.monotonic() - started_s < 2.0, "at once, were the machine not starved"
    spent_s = time.process_time()
    for _ in range(1000):  # rounds of the loop in which a left-over watcher would be called each time
        await asyncio.sleep(0)
    assert time.process_time() - spent_s < 0.5
    with pytest.raises(PortLost, match="closed"):
        await port.read()
    with pytest.raises(PortLost, match="closed"):
        port.write(b"x")


async def test_writing_reaches_the_unit_and_a_unit_that_takes_nothing_is_lost(unit):
    port = await open_port(unit.path)
    port.write(b"hello\x00\x03\n")
    assert await asyncio.to_thread(unit.hear) == b"hello\x00\x03\n"
    with pytest.raises(PortLost, match=f"more than {WRITE_LIMIT}"):
        for _ in range(1000):
            port.write(b"x" * 1024)


async def test_what_the_port_did_not_take_at_once_follows(unit):
    port = await open_port(unit.path)
    block = b"a" * 512
    sent = 0
    while not port._unsent:
        port.write(block)
        sent += len(block)
    got = 0
    while got < sent:
        got += len(await asyncio.to_thread(unit.hear))
    assert got == sent
    port.close()


async def test_close_ends_a_waiting_reader_and_may_be_repeated(unit):
    port = await open_port(unit.path)
    reading = asyncio.ensure_future(port.read())
    await asyncio.sleep(0)
    port.close()
    port.close()
    with pytest.raises(PortLost):
        await asyncio.wait_for(reading, 2)


async def test_second_opener_is_told_the_port_is_held(unit):
    port = await open_port(unit.path)
    with pytest.raises(PortUnavailable) as refused:
        await open_port(unit.path)
    assert refused.value.reason == "held"
    port.close()
    (await open_port(unit.path)).close()


@pytest.mark.parametrize(
    ("path", "baud", "reason"),
    [
        ("/dev/borderlane-no-such-port", 9600, "absent"),
        ("/dev/null", 9600, "not_a_port"),
        (__file__, 9600, "not_a_port"),
        ("/tmp", 9600, "not_a_port"),
        (None, -1, "bad_settings"),
    ],
)
async def test_port_that_cannot_be_opened_says_why(unit, path, baud, reason):
    before = open_descriptors()
    with pytest.raises(PortUnavailable) as refused:
        await open_port(path or unit.path, baud)
    assert refused.value.reason == reason, refused.value
    assert str(refused.value).startswith(path or unit.path)
    assert open_descriptors() == before


async def test_port_without_permission_says_so(tmp_path):
    path = tmp_path / "port"
    path.touch(mode=0)
    with as_ordinary_user(), pytest.raises(PortUnavailable) as refused:
        await open_port(str(path))
    assert refused.value.reason == "no_permission"
    assert "dialout" in str(refused.value)


@contextlib.contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Root may open everything, so it steps down for a moment."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


async def test_hundred_rounds_leave_no_descriptor_behind(unit):
    (await open_port(unit.path)).close()
    before = open_descriptors()
    for n in range(100):
        port = await open_port(unit.path)
        unit.say(b"x")
        assert await port.read(2) == b"x", n
        port.close()
    assert open_descriptors() == before


async def test_opening_that_is_cancelled_leaves_no_descriptor_behind(unit):
    # One thread, so that the second opening comes after the first.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    (await open_port(unit.path)).close()
    before = open_descriptors()
    opening = asyncio.ensure_future(open_port(unit.path))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with asyncio.timeout(5):
        while (port := await opened_or_none(unit.path)) is None:
            pass  # held until the loop has closed what nobody wanted
    port.close()
    assert open_descriptors() == before


async def opened_or_none(path: str) -> SerialPort | None:
    try:
        return await open_port(path)
    except PortUnavailable:
        return None
