"""The control room's page and server under 20,000 moving vehicles; writes docs/benchmarks.md. `make bench-pages`.

An agent's own HTTP application, fed with made-up vehicles, a real `borderlane control-room`, a real Chromium that
renders in software, and 20 clients that pull positions each second and hold an event stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from playwright.async_api import async_playwright

from agent.status.api import AgentStatus, Desk, JourneyRow, agent_application
from agent.status.live import Metrics
from agent.status.positions import encode_frame, row, rows_of
from agent.web import EventStream, run
from benchmarks.report import write_section
from simulator.bench_figure import Figure
from simulator.parts import free_ports
from zones.catalogue import shipped_bytes, shipped_zone_set

VEHICLES = 20_000
CLIENTS = 20
TICKS = 15
SETTLE_S = 8.0
ARGUMENTS = ["--disable-gpu", "--enable-unsafe-swiftshader"]
START_LIMIT_S = 60.0
ACTIONS = ("GO", "GO", "GO", "GO_WITH_OBLIGATION", "STOP", "HOLD", None)
FRAMES = """seconds => new Promise((done) => {
  const times = [];
  const next = (now) => { times.push(now); if (now - times[0] < seconds * 1000) requestAnimationFrame(next); else done(times); };
  requestAnimationFrame(next);
})"""
TICK = """() => ['tick', 'tick-draw'].map((name) => performance.getEntriesByName(name).at(-1))
  .map((one) => [one?.startTime ?? 0, one?.duration ?? 0])"""


def _vehicle(number: int) -> JourneyRow:
    action = ACTIONS[number % len(ACTIONS)]
    return JourneyRow(
        key=f"J-{number}", jrn=f"J-{number}", unit=f"U-{number}", plate=f"ZH{number}", nationality="CH",
        crossing="thayngen", direction="IN", stage="ACTIVATION", state="ROUTED", action=action,
        reason_code="RELEASED" if action else None, version=1, declarations=2, waiting=action is None, breach=False,
        closed=False, changed="2026-11-22T10:00:00.000Z", handle=number + 1,
    )  # fmt: skip


def _positions(centres: list[tuple[float, float]], now_s: float) -> bytes:
    """Every vehicle drives a circle of its own about a crossing; all of them move each second."""
    found = []
    for number in range(VEHICLES):
        longitude, latitude = centres[number % len(centres)]
        angle, radius = now_s / 30 + number, 0.002 + (number % 97) / 2_000
        at = (longitude + radius * math.cos(angle), latitude + radius * math.sin(angle) * 0.7)
        found.append(row(number + 1, *at, math.degrees(angle) % 360, number % 6, 0.5))
    return encode_frame(rows_of(found), round(now_s * 1000))


def _status() -> AgentStatus:
    return AgentStatus(
        agent="box-1", mode="NORMAL", degraded=(), mode_since="", since="2026-11-22T10:00:00.000Z", version="0",
        zone_set="1", zones=384, broker_connected=True, customs_reachable=True, feed_marker=0, journeys=VEHICLES,
        units=VEHICLES, waiting=0, outbox_pending=0, outbox_oldest_s=None, journal_entries=0, fixes={},
        instructions={}, fix_to_instruction_ms={}, serial={},
    )  # fmt: skip


@contextlib.asynccontextmanager
async def _agent() -> Any:
    zones = [zone.polygons[0][0][0] for zone in shipped_zone_set().zones if zone.id.endswith("/in/activation")]
    centres = [(float(point[0]), float(point[1])) for point in zones]
    rows = tuple(_vehicle(number) for number in range(VEHICLES))
    frames = [_positions(centres, 1_795_377_112.0 + second) for second in range(30)]
    stream = EventStream()

    async def nobody(*_: Any) -> bool:
        return False

    desk = Desk(
        status=_status, rows=lambda keys: rows if not keys else (), detail=lambda _key: None, ready=dict,
        override=nobody, stream=stream, metrics=Metrics(), positions=lambda _since: frames[int(time.time()) % 30],
        zones=lambda: shipped_bytes("border_zones.geojson"),
    )  # fmt: skip
    runner = await run(agent_application(desk, "0"), "127.0.0.1", 0)
    try:
        yield runner.url
    finally:
        stream.close()
        await runner.stop()


@contextlib.asynccontextmanager
async def _room(agent_url: str, folder: Path) -> Any:
    (port,) = free_ports(1)
    file = folder / "room.toml"
    file.write_text(f'[http]\nport = {port}\n[[agents]]\nid = "box-1"\nurl = "{agent_url}"\n')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator.cli", "control-room", "--config", str(file), stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(START_LIMIT_S), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"{url}/v1/journeys") as answer:
                        if len((await answer.json())["journeys"]) == VEHICLES:
                            break
                await asyncio.sleep(0.5)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _page(url: str) -> list[Figure]:
    """Ticks of a page that shows the whole country, and how it keeps up."""
    async with async_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(START_LIMIT_S * 1000)
        await page.goto(url)
        await page.locator("#map[data-ready]").wait_for()
        await page.locator("#vehicles-bar .count", has_text=f"{VEHICLES} of").wait_for()
        await page.wait_for_timeout(SETTLE_S * 1000)
        ticks: dict[float, float] = {}
        while len(ticks) < TICKS:
            (begun, shown), (_, drawn) = await page.evaluate(TICK)
            ticks[begun] = shown + drawn
            await page.wait_for_timeout(400)
        times = await page.evaluate(FRAMES, 10)
        await browser.close()
    gaps = [after - before for before, after in itertools.pairwise(times)]
    spent = sorted(ticks.values())
    return [
        Figure("page.tickP50Ms", round(statistics.median(spent), 1), "ms"),
        Figure("page.tickP95Ms", round(spent[max(0, math.ceil(0.95 * len(spent)) - 1)], 1), "ms"),
        Figure("page.framesPerS", round(1000 / statistics.mean(gaps), 1), "1/s"),
    ]


async def _client(session: aiohttp.ClientSession, url: str, end_s: float) -> int:
    pulled = 0
    async with session.get(f"{url}/v1/events"):
        while time.monotonic() < end_s:
            async with session.get(f"{url}/v1/positions.bin") as answer:
                pulled += len(await answer.read())
            await asyncio.sleep(1.0)
    return pulled


async def _server(url: str, process: psutil.Process) -> list[Figure]:
    """Processor time of the control room with no client and with many."""
    spent = []
    for clients in (0, CLIENTS):
        before, began_s = sum(process.cpu_times()[:2]), time.monotonic()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            work = [_client(session, url, began_s + SETTLE_S) for _ in range(clients)]
            await asyncio.gather(asyncio.sleep(SETTLE_S), *work)
        spent.append(1000 * (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began_s))
    return [
        Figure("room.cpuMsPerS", round(spent[0], 1), "ms/s"),
        Figure("room.cpuMsPerS20Clients", round(spent[1], 1), "ms/s"),
        Figure("room.rssMb", round(process.memory_info().rss / 1e6), "MB"),
    ]


async def measure() -> list[Figure]:
    """All figures of the pages."""
    with tempfile.TemporaryDirectory() as folder:
        async with _agent() as agent_url, _room(agent_url, Path(folder)) as (url, process):
            return [*await _page(url), *await _server(url, process)]


if __name__ == "__main__":
    figures = asyncio.run(measure())
    for figure in figures:
        print(figure.id, figure.value, figure.unit)
    write_section("pages", figures, "make bench-pages")
