"""`borderlane demo` as people start it: report, recorded tracks, Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from simulator.broker import NoBroker, choose
from tests.system.box import ports_in_a_row, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(170)]

TRACKS = Path(__file__).parent.parent / "corpus" / "tracks" / "transplanted"
FIRST_GO_S, FIRST_STOP_S = 20.0, 40.0
"""The contract says 10 and 30 s; a machine that runs other tests besides gets more."""
STOPPED_S = 12.0
OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
)
"""Makes the terminal on standard input the controlling one, so that Ctrl-C typed there becomes SIGINT."""


@dataclass
class Run:
    """A demo under way."""

    process: asyncio.subprocess.Process
    runs: Path
    """Where its run folder is made."""
    began_s: float
    lines: list[tuple[float, str]] = field(default_factory=list)
    """(seconds since the start, line) of standard output."""

    @property
    def children(self) -> list[psutil.Process]:
        """Its processes that live now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.process.pid).children(recursive=True))
        return []

    def first(self, pattern: str) -> tuple[float, str] | None:
        """The first line that matches."""
        return next((line for line in self.lines if re.search(pattern, line[1])), None)

    async def read(self) -> None:
        """Take standard output line by line."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append((time.monotonic() - self.began_s, line.decode().rstrip()))

    def broker_store(self) -> Path:
        """Where the broker keeps its messages."""
        (conf,) = self.runs.glob("borderlane-*/broker/*.conf")
        found = re.search(r'(?:store_dir:?|persistence_location) "?([^"\s]+)', conf.read_text())
        assert found is not None, conf.read_text()
        return Path(found[1])

    def leaves_nothing(self, children: list[psutil.Process]) -> None:
        """No process, no file."""
        alive = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert not alive, "left running"
        named = [process.pid for process in psutil.process_iter() if str(self.runs) in _command_line(process)]
        assert not named, "still at work in the run folder"
        assert list(self.runs.iterdir()) == [], "files left"


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@asynccontextmanager
async def demo(folder: Path, *arguments: str, **streams: Any) -> AsyncIterator[Run]:
    """Start `borderlane demo`; at the end it is killed if it still runs."""
    runs = folder / "runs"
    runs.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "simulator.cli", "demo", *arguments]
    if "stdin" in streams:
        words = [sys.executable, "-c", OWN_TERMINAL, *words]
    pipes: dict[str, Any] = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE, **streams}
    began_s = time.monotonic()
    environment = {**os.environ, "TMPDIR": str(runs), "TERM": "xterm", "COLUMNS": "120", "LINES": "50"}
    process = await asyncio.create_subprocess_exec(*words, env=environment, start_new_session=True, **pipes)
    run = Run(process, runs, began_s)
    try:
        yield run
    finally:
        left = run.children
        if process.returncode is None:
            process.kill()
            await process.wait()
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


async def checked(folder: Path, *arguments: str, patience_s: float = 150.0) -> dict[str, Any]:
    """The report of `demo --check --json`, which must end with 0 and leave nothing."""
    async with demo(folder, "--check", "--json", *arguments) as run:
        children: dict[int, psutil.Process] = {}
        talk = asyncio.create_task(run.process.communicate())
        async with asyncio.timeout(patience_s):
            while not talk.done():
                children |= {child.pid: child for child in run.children}
                await asyncio.wait({talk}, timeout=0.5)
        out, err = talk.result()
        assert run.process.returncode == 0, f"{run.process.returncode}\n{out.decode()}\n{err.decode()}"
        names = " ".join(map(str, children))
        assert len(children) >= 5, f"broker, customs, agent, lorries, control room: {names}"
        run.leaves_nothing(list(children.values()))
        return dict(json.loads(out))


SHAPE = {
    "ok": True,
    "seconds": 0,
    "seed": 0,
    "lorries": 0,
    "crossings": 0,
    "fixes": {"published": 0, "accepted": 0, "refused": 0, "duplicates": 0, "late": 0},
    "activations": {"expected": 0, "journal": 0, "customs": 0, "missing": 0, "unexpected": 0, "twice": 0},
    "instructions": {
        "GO": 0, "GO_WITH_OBLIGATION": 0, "STOP": 0, "HOLD": 0, "wrong": 0, "receipted": 0, "late": 0,
    },
    "latencyMs": {"fixToInstruction": {"p50": 0, "p99": 0, "max": 0}},
    "faults": [],
    "journal": {"entries": 0, "verified": True},
    "peakRssMb": {"agent": 0, "broker": 0, "customs": 0},
}  # fmt: skip
"""Contract section 8."""


def keys_of(value: Any) -> Any:
    """The shape of a document: its keys, all the way down."""
    return {key: keys_of(item) for key, item in value.items()} if isinstance(value, dict) else type(value) is list


def nothing_wrong(report: dict[str, Any]) -> None:
    """Every counter of contract section 8 that has to be 0 is, and the sums agree."""
    activations, instructions = report["activations"], report["instructions"]
    assert report["ok"] is True and report["journal"]["verified"] is True
    assert [activations[name] for name in ("missing", "unexpected", "twice")] == [0, 0, 0]
    assert [instructions[name] for name in ("wrong", "late")] == [0, 0]
    assert activations["expected"] == activations["journal"] == activations["customs"]
    told = sum(instructions[name] for name in ("GO", "GO_WITH_OBLIGATION", "STOP", "HOLD"))
    assert 0 < instructions["receipted"] <= told
    assert 0 < report["fixes"]["accepted"] <= report["fixes"]["published"]
    assert 0 < report["latencyMs"]["fixToInstruction"]["p50"] <= report["latencyMs"]["fixToInstruction"]["max"]


@pytest.mark.parametrize("kind", ["nats", "mosquitto"])
async def test_check_reports_what_happened_against_what_had_to(
    kind: str, tmp_path: Path, absent: Callable[[str], str]
) -> None:
    try:
        if choose(kind).kind != kind:
            absent(f"{kind} is not usable here")
    except NoBroker as error:
        absent(str(error))
    words = ["--seconds", "25", "--lorries", "60", "--seed", "1", "--broker", kind]
    report = await checked(tmp_path, *words)
    assert keys_of(report) == keys_of(SHAPE)
    nothing_wrong(report)
    assert (report["seed"], report["lorries"]) == (1, 60)
    assert 24 <= report["seconds"] <= 30 and report["crossings"] >= 40
    assert report["activations"]["expected"] >= 40
    assert report["instructions"]["GO"] >= 20
    assert report["instructions"]["STOP"] >= 2, "two planted ones"
    assert report["fixes"]["published"] > 400
    assert min(report["peakRssMb"].values()) > 5


async def test_with_certificates_everything_goes_as_without(tmp_path: Path) -> None:
    report = await checked(tmp_path, "--tls", "--seconds", "20", "--lorries", "25", "--seed", "1")
    nothing_wrong(report)
    assert report["activations"]["expected"] >= 10 and report["instructions"]["GO"] >= 5


@pytest.mark.nightly
@pytest.mark.parametrize("words", [("--broker", "mosquitto"), ("--chaos", "all")])
async def test_with_certificates_at_night(words: tuple[str, ...], tmp_path: Path) -> None:
    nothing_wrong(await checked(tmp_path, "--tls", "--seconds", "45", "--lorries", "60", *words))


async def follow_activations(customs_url: str, found: dict[str, dict[str, Any]]) -> None:
    """Collect customs' register until cancelled."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with session.get(f"{customs_url}/v1/activations", params={"marker": 0}) as answer:
                    for row in (await answer.json()).get("rows", ()):
                        found[row["activationId"]] = row
            await asyncio.sleep(0.3)


async def replayed(folder: Path, *arguments: str, patience_s: float) -> None:
    """Every transplanted track drives one lorry through its crossing, and no other."""
    crossings = sorted(row["crossing_id"] for row in json.loads((TRACKS / "munich_expected.json").read_text()))
    first_port = ports_in_a_row()
    at_customs: dict[str, dict[str, Any]] = {}
    watching = asyncio.create_task(follow_activations(f"http://127.0.0.1:{first_port + 2}", at_customs))
    try:
        words = ["--tracks", str(TRACKS), "--port", str(first_port), *arguments]
        report = await checked(folder, *words, patience_s=patience_s)
    finally:
        watching.cancel()
    nothing_wrong(report)
    assert (report["lorries"], report["crossings"]) == (len(crossings), len(crossings))
    assert len(at_customs) == report["activations"]["customs"] == report["activations"]["expected"]
    passages = {(row["jrn"], row["crossing"], row["direction"]) for row in at_customs.values()}
    assert sorted(crossing for _, crossing, _ in passages) == crossings, "each track its crossing, once"
    assert len({jrn for jrn, _, _ in passages}) == len(crossings)


async def test_recorded_tracks_activate_their_crossing_exactly_once(tmp_path: Path) -> None:
    await replayed(tmp_path, "--speedup", "10", patience_s=120.0)


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_recorded_tracks_in_their_own_time(tmp_path: Path) -> None:
    await replayed(tmp_path, patience_s=500.0)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["nats", "mosquitto"])
async def test_two_hundred_lorries_for_a_minute(kind: str, tmp_path: Path) -> None:
    words = ["--seconds", "60", "--lorries", "200", "--seed", "1", "--broker", kind]
    report = await checked(tmp_path, *words)
    nothing_wrong(report)
    assert report["activations"]["expected"] > 100


async def test_first_go_and_stop_come_soon_and_sigint_ends_clean(tmp_path: Path) -> None:
    async with demo(tmp_path) as run:
        reading = asyncio.create_task(run.read())
        room = await until(lambda: run.first(r"^control room: http://127"), "the address of the control room")
        go_s, _ = await until(lambda: run.first(r"^ *[0-9.]+ s  GO  "), "the first GO", FIRST_GO_S)
        stop_s, _ = await until(lambda: run.first(r"^ *[0-9.]+ s  STOP "), "the first STOP", FIRST_STOP_S)
        assert go_s < FIRST_GO_S and stop_s < FIRST_STOP_S, f"serving {room[0]}, GO {go_s}, STOP {stop_s} s"
        async with aiohttp.ClientSession() as session, session.get(room[1].removeprefix("control room: ")) as page:
            assert page.status == 200 and "text/html" in page.headers["Content-Type"]
        children, store = run.children, run.broker_store()
        assert len(children) >= 5 and store.exists()
        os.kill(run.process.pid, signal.SIGINT)
        async with asyncio.timeout(STOPPED_S):
            assert await run.process.wait() == 0
        await reading
        assert not store.exists(), "the broker's store may hold positions"
        run.leaves_nothing(children)


async def test_sigint_during_the_start_ends_clean_too(tmp_path: Path) -> None:
    async with demo(tmp_path, "--check") as run:
        await until(lambda: list(run.runs.glob("borderlane-*/agent.log")), "the agent is started", every_s=0.01)
        children = run.children
        os.kill(run.process.pid, signal.SIGINT)
        async with asyncio.timeout(STOPPED_S):
            await run.process.communicate()
        assert run.process.returncode == 130
        run.leaves_nothing(children)


async def test_a_terminal_shows_the_live_view_and_takes_ctrl_c(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, b"\x32\x00\x78\x00\x00\x00\x00\x00")  # 50 lines of 120
    screen = bytearray()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: screen.extend(os.read(ours, 65_536)))
    try:
        words = ["--lorries", "40", "--seconds", "120"]
        async with demo(tmp_path, *words, stdin=theirs, stdout=theirs, stderr=theirs) as run:
            await until(lambda: b"control room http://127.0.0.1:" in screen, "the address of the control room")
            await until(lambda: b"NORMAL" in screen and b"RELEASED" in screen, "mode and a decision")
            for word in ("crossing", "entered", "instructions", "fix to instruction p50"):
                assert word.encode() in screen
            children = run.children
            os.write(ours, b"\x03")
            async with asyncio.timeout(STOPPED_S):
                assert await run.process.wait() == 0
            run.leaves_nothing(children)
    finally:
        loop.remove_reader(ours)
        os.close(theirs)
        os.close(ours)
    assert b"Traceback" not in screen
    assert screen.rstrip().endswith(b"\x1b[?25h") or b"\x1b[?25h" in screen[-200:], "the cursor is shown again"


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    first = ports_in_a_row()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", first + 3)
    async with server, demo(tmp_path, "--check", "--port", str(first)) as run:
        _, err = await run.process.communicate()
        assert run.process.returncode == 3 and f":{first + 3} is in use" in err.decode()
