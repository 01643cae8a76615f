"""gpsd's own log player and socat on the line: the bridge says what `decode` says of the file, in the agent too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge.errors import PortLost
from firmware_bridge.framing import Frame, FrameKind, Framer, fletcher
from firmware_bridge.gnss import GnssDecoder
from firmware_bridge.messages import PositionReport
from firmware_bridge.port import open_port
from firmware_bridge.reopening import LinkState, PortState
from firmware_bridge.session import SerialSource
from tests.system.box import INSIDE, Box, command, until

GNSS = Path(__file__).parents[1] / "corpus" / "serial" / "gnss"
UBX_LOGS = ("ublox-neo-m8n.log", "ublox-zed-f9p-rtk.log", "ublox8-uniqid-monhw.log")
LOGS = (*UBX_LOGS, "nl2008u.log", "sl869.log", "bu303-moving.log")
M8N = GNSS / "ublox-neo-m8n.log"
SYSTEM_PYTHON = "/usr/bin/python3"
PLAYER = """
import sys
import gps.fake
load = gps.fake.TestLoad(open(sys.argv[1], "rb"))
line = gps.fake.FakePTY(load, speed=115200)
print(line.byname, flush=True)
sys.stdin.readline()
load = line.testload = gps.fake.TestLoad(open(sys.argv[1], "rb"))
for _ in load.sentences:
    line.feed()
line.drain()
print("fed", flush=True)
sys.stdin.readline()
"""
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def gps_fake(absent: Callable[[str], str]) -> None:
    """`python3-gps` belongs to the system's Python, not to ours."""
    import_it = [SYSTEM_PYTHON, "-c", "import gps.fake"]
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run(import_it, check=False, capture_output=True).returncode:
        absent("python3-gps is not installed")


class Player:
    """gpsd's FakePTY with a log, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, path: str) -> None:
        self._process, self.path = process, path

    async def feed(self) -> None:
        """The whole log once."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(b"go\n")
        assert await self._process.stdout.readline() == b"fed\n"


@contextlib.asynccontextmanager
async def player(log: Path) -> AsyncIterator[Player]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(SYSTEM_PYTHON, "-c", PLAYER, str(log), stdin=pipe, stdout=pipe)
    assert process.stdin and process.stdout
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield Player(process, (await process.stdout.readline()).decode().strip())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process.stdin.close()
        await asyncio.sleep(0)


def of_file(log: Path) -> list[PositionReport]:
    decoder = GnssDecoder(skip_header=True)
    return [one for one in decoder.feed(log.read_bytes()) + decoder.end() if isinstance(one, PositionReport)]


@pytest.mark.parametrize("name", LOGS)
async def test_the_line_says_what_the_file_says(name: str, gps_fake: None) -> None:
    async with player(GNSS / name) as line:
        port = await open_port(line.path, 115_200)
        decoder, found = GnssDecoder(), []
        try:
            feeding = asyncio.ensure_future(line.feed())
            while (data := await port.read(1.0)) is not None or not feeding.done():
                found += decoder.feed(data or b"")
            await feeding
        finally:
            port.close()
    found += decoder.end()
    assert [one for one in found if isinstance(one, PositionReport)] == of_file(GNSS / name)


async def test_dates_of_an_old_recording_are_refused_on_a_live_line(gps_fake: None) -> None:
    async with player(M8N) as line:
        serial = SerialSource(line.path, baud=115_200)
        feeding = None
        async for item in serial.items():
            feeding = feeding or asyncio.ensure_future(line.feed())
            assert not isinstance(item, PositionReport)
            if serial.refusals["date_before_build"] == len(of_file(M8N)):
                break
        serial.close()
        assert feeding is not None
        await feeding
        assert serial.clock.alarm and serial.clock.reason == "date_before_build"


def moved_to_now(log: Path, every_s: float = 0.125) -> bytes:
    """A log of NAV-PVT frames as if the receiver were at Thayngen and it were now."""
    framer = Framer(skip_header=True)
    bodies = [one.body for one in framer.feed(log.read_bytes()) if isinstance(one, Frame) and one.kind is FrameKind.UBX]
    pvt = [bytearray(body) for body in bodies if body[:2] == b"\x01\x07"]
    out = b""
    for n, body in enumerate(pvt):
        at_s = int(time.time()) + (n - len(pvt)) * every_s  # in eighths, which a float holds exactly
        moment = time.gmtime(at_s)
        struct.pack_into("<IH5B", body, 4, n * 100, moment.tm_year, *moment[1:6])
        struct.pack_into("<i", body, 4 + 16, round(at_s % 1 * 1e9))
        latitude, longitude = INSIDE[0] + n * 2e-7, INSIDE[1]
        struct.pack_into("<ii", body, 4 + 24, round(longitude * 1e7), round(latitude * 1e7))
        out += b"\xb5\x62" + bytes(body) + fletcher(bytes(body))
    return out


async def test_a_running_agent_takes_from_the_line_what_decode_reads_from_the_file(
    box: Box, tmp_path: Path, gps_fake: None
) -> None:
    log = tmp_path / "now.ubx"
    log.write_bytes(moved_to_now(M8N))  # the player wants a sound file at once; the times are set before it is fed
    path = tmp_path / "gnss0"
    box.configure({}, f'\n[[serial]]\nunit = "lorry-7"\npath = "{path}"\nbaud = 115200\n')
    await box.start_agent()
    async with player(log) as line:
        path.symlink_to(line.path)

        async def port() -> dict[str, object]:
            ports: dict[str, dict[str, object]] = (await box.get("/v1/status"))["ports"]
            return ports["lorry-7"]

        async def is_open() -> bool:
            return (await port())["state"] == "open"

        await until(is_open, "the port is open", every_s=0.02)
        log.write_bytes(moved_to_now(M8N))
        await line.feed()
        wanted = of_file(log)
        assert len(wanted) == 24

        async def all_read() -> bool:
            return (await port())["reports"] == len(wanted)

        await until(all_read, "every fix is read")
        assert (await port())["refusals"] == {}
        assert (await port())["path"] == str(path)
    status, out, err = await command("explain", "--data", str(box.data), "lorry-7", "--json")
    assert status == 0, err
    fixes = [fix for passage in json.loads(out)["passages"] for fix in passage["fixes"]]
    # Told once for each direction of the crossing.
    said = {(fix["time"], round(fix["latitude"], 7), round(fix["longitude"], 7)) for fix in fixes}
    assert said == {(one_time(one), round(one.latitude, 7), round(one.longitude, 7)) for one in wanted}


def one_time(report: PositionReport) -> str:
    assert report.fix_time_ms is not None
    whole_s, milliseconds = divmod(report.fix_time_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole_s)) + f".{milliseconds:03d}Z"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextlib.contextmanager
def cable(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A null modem of socat; its own standard output, or it would hold the test's."""
    ends = [f"pty,raw,echo=0,link={path.with_name(name)}" for name in ("unit", path.name)]
    process = subprocess.Popen(["socat", *ends], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 10
    while not (path.exists() and path.with_name("unit").exists()):
        assert time.monotonic() < deadline_s
        os.sched_yield()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for link in (path, path.with_name("unit")):
            link.unlink(missing_ok=True)


async def test_port_vanishes_and_returns_a_hundred_times(tmp_path: Path, require: Callable[[str], str]) -> None:
    """Opened, lost, opened: the port alone, so that the waits of the session do not add up to minutes."""
    require("socat")
    path, before = tmp_path / "gnss0", None
    for n in range(100):
        with cable(path) as process:
            port = await open_port(str(path))
            path.with_name("unit").write_bytes(b"hello")
            got = b""
            while len(got) < 5:
                got += await port.read(PATIENCE_S) or b""
            process.kill()
            with pytest.raises(PortLost):
                while True:
                    await port.read(PATIENCE_S)
        if n == 5:
            before = descriptors()
    assert descriptors() == before


@pytest.mark.nightly
async def test_session_survives_a_hundred_rounds(tmp_path: Path, require: Callable[[str], str]) -> None:
    require("socat")
    path, before = tmp_path / "gnss0", None
    serial = SerialSource(str(path), spread=lambda: 0.0)
    items = serial.items()

    async def state(wanted: LinkState) -> None:
        async for item in items:
            if isinstance(item, PortState) and item.state is wanted:
                return

    async with asyncio.timeout(600), contextlib.aclosing(items):
        for n in range(100):
            with cable(path):
                back_s = time.monotonic()
                await state(LinkState.OPEN)
                assert time.monotonic() - back_s < 1.0
            await state(LinkState.LOST)
            if n == 5:
                before = descriptors()
        assert descriptors() == before
        assert serial.reopens == 99
        serial.close()
