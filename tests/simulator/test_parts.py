from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest

from simulator.parts import TAIL_BYTES, Part, free_ports


def customs(folder: Path) -> tuple[Part, str]:
    """A part that serves until it is stopped."""
    (port,) = free_ports(1)
    words = ["customs", "--listen", f"127.0.0.1:{port}", "--data", str(folder / "data")]
    return Part("customs", words, folder / "customs.log"), f"http://127.0.0.1:{port}/healthz"


async def serving(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        while True:
            try:
                async with session.get(url) as answer:
                    assert answer.status == 200
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))


def test_from_a_first_port_on_they_follow() -> None:
    assert free_ports(4, 8090) == [8090, 8091, 8092, 8093]


@pytest.mark.system
async def test_a_part_that_ends_by_itself_tells_its_status_and_its_log(tmp_path: Path) -> None:
    part = Part("agent", ["agent", "--config", "nowhere.toml"], tmp_path / "agent.log")
    assert (part.exit_status, part.running, part.tail()) == (None, False, "")
    await part.start()
    assert part.process is not None
    assert await part.process.wait() == 2
    assert (part.exit_status, part.running) == (2, False)
    assert "nowhere.toml: cannot be read" in part.tail()
    assert not await part.stop(), "it had ended with a fault before"


@pytest.mark.system
async def test_a_serving_part_is_measured_and_stops_in_order(tmp_path: Path) -> None:
    part, url = customs(tmp_path)
    await part.start()
    await serving(url)
    part.measure()
    assert part.peak_rss_mb > 10
    peak_mb = part.peak_rss_mb
    assert await part.stop()
    assert part.exit_status == 0 and part.stopping
    part.measure()
    assert part.peak_rss_mb == peak_mb, "the peak stays when it has gone"
    assert "customs_stopped" in part.tail()


@pytest.mark.system
async def test_a_killed_part_starts_again(tmp_path: Path) -> None:
    part, url = customs(tmp_path)
    await part.start()
    await serving(url)
    part.kill()
    assert part.process is not None and await part.process.wait() == -9
    await part.start()
    assert part.starts == 2 and not part.stopping
    await serving(url)
    assert await part.stop()


@pytest.mark.system
async def test_a_part_told_to_stop_before_it_listens_is_no_fault(tmp_path: Path) -> None:
    part, _ = customs(tmp_path)
    await part.start()
    assert await part.stop()


async def test_a_part_that_was_never_started_stops(tmp_path: Path) -> None:
    assert await Part("agent", [], tmp_path / "agent.log").stop()


def test_the_tail_is_bounded_and_readable(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    log.write_bytes("ä".encode() * TAIL_BYTES + b"\xff last words")
    tail = Part("agent", [], log).tail()
    assert len(tail) <= TAIL_BYTES and tail.endswith("last words")
