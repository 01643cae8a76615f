"""The sign at the booth, driven by the agent over the C reference device: whatever dies, GO ends within 3 s."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from simulator.broker import Broker
from tests.system.box import Box, open_box, until
from tests.system.conftest import usable

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

WITHIN_S = 3.0 + 0.5
"""Contract section 9; the half second is for a busy machine, on which the device does not run each 10 ms."""
REFERENCE = Path(__file__).parents[2] / "firmware_bridge" / "reference"
OUTPUTS = """
[[serial]]
role = "microcontroller"
unit = "booth-1"
path = "{path}"
baud = 115200

[[output]]
id = "sign-1"
device = "booth-1"
crossing = "thayngen"
direction = "IN"
default = "stop"
"""


class Device:
    """The C program: what its lamps showed when, by its own clock (CLOCK_MONOTONIC, as `time.monotonic`)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.shown: list[tuple[float, str]] = [(0.0, "DEFAULT")]

    async def listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            fact: dict[str, Any] = json.loads(line)
            if fact["event"] == "output":
                self.shown.append((fact["at_ms"] / 1000, fact["measured"]))

    async def fault(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()

    async def until_shows(self, state: str) -> float:
        """When it began to."""
        await until(lambda: self.shown[-1][1] == state, f"the sign shows {state}: {self.shown[-3:]}", every_s=0.01)
        return self.shown[-1][0]

    async def leaves_go(self, since_s: float) -> None:
        """GO has ended in time."""
        left_s = await self.until_shows("STOP")
        assert left_s - since_s <= WITHIN_S


@asynccontextmanager
async def running(program: Path, path: Path) -> AsyncIterator[Device]:
    process = await asyncio.create_subprocess_exec(
        str(program), str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    device = Device(process)
    listening = asyncio.create_task(device.listen())
    try:
        yield device
    finally:
        with contextlib.suppress(ConnectionError):
            await device.fault("quit")
        async with asyncio.timeout(20):
            await process.wait()
            await listening


@pytest.fixture
def program(require: Callable[[str], str], tmp_path: Path) -> Path:
    made = tmp_path / "roadside_device"
    sources = [str(REFERENCE / name) for name in ("link_device.c", "roadside_device.c")]
    command = [require("cc"), "-std=c99", "-O2", *sources, "-o", str(made)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return made


@pytest.fixture
async def nats(tmp_path: Path, absent: Callable[[str], str]) -> AsyncIterator[Broker]:
    broker = Broker(usable("nats", absent), tmp_path / "broker")
    await broker.start()
    yield broker
    await broker.stop()


async def output(box: Box) -> dict[str, Any]:
    return dict((await box.get("/v1/status"))["outputs"]["sign-1"])


async def test_the_sign_follows_the_decision_and_whatever_dies_takes_go_with_it(
    nats: Broker, program: Path, tmp_path: Path
) -> None:
    path = tmp_path / "serial" / "booth"
    path.parent.mkdir()
    async with running(program, path) as device, open_box(tmp_path, nats) as box, box.unit("lorry-1") as lorry:
        box.configure({}, OUTPUTS.format(path=path))
        await box.start_agent()
        await device.until_shows("STOP")  # the site's default, as configured over the link
        papers = await box.expected("lorry-1")
        assert papers.journey is not None
        lorry.stand()
        told = await lorry.told()
        assert told.action == "GO"
        await device.until_shows("GO")

        async def measured() -> bool:
            seen = await output(box)
            return seen["measured"] == seen["wanted"] == "GO" and seen["jrn"] == told.jrn and seen["fault"] == "NONE"

        await until(measured, "the measurement comes back")
        await until(lambda: any(one["state"] == "GO" for one in box.journal("OUTPUT_SHOWN")), "it is in the journal")
        (entry,) = [one for one in box.journal("OUTPUT_SHOWN") if one["state"] == "GO"]
        assert (entry["jrn"], entry["instructionId"], entry["version"]) == (told.jrn, told.instruction_id, 1)

        for _ in range(2):  # the task that decides hangs, and with it the whole process
            broken_s = time.monotonic()
            box.signal_agent(signal.SIGSTOP)
            await device.leaves_go(broken_s)
            box.signal_agent(signal.SIGCONT)
            await device.until_shows("GO")

        broken_s = time.monotonic()
        await device.fault("unplug")
        await device.leaves_go(broken_s)
        await device.fault("replug")
        await device.until_shows("GO")

        broken_s = time.monotonic()
        await device.fault("stall on")
        await device.leaves_go(broken_s)
        await device.fault("stall off")
        await device.until_shows("GO")

        broken_s = time.monotonic()
        nats.freeze()  # connected, and nothing comes through
        await device.leaves_go(broken_s)
        nats.thaw()
        await device.until_shows("GO")

        broken_s = time.monotonic()
        await nats.kill()
        await device.leaves_go(broken_s)
        await nats.start()
        await device.until_shows("GO")

        broken_s = time.monotonic()
        await box.kill_agent()
        await device.leaves_go(broken_s)
        await box.start_agent()
        await device.until_shows("GO")

        await box.agent.stop()
        await device.until_shows("STOP")
        assert (await box.verify_journal())["verified"] is True


async def test_a_stopped_lorry_is_shown_stop_and_a_broken_lamp_is_an_alarm(
    nats: Broker, program: Path, tmp_path: Path
) -> None:
    path = tmp_path / "serial" / "booth"
    path.parent.mkdir()
    async with running(program, path) as device, open_box(tmp_path, nats) as box, box.unit("nobody") as lorry:
        box.configure({}, OUTPUTS.format(path=path).replace('"stop"', '"blank"'))
        await box.start_agent()
        lorry.stand()
        assert (await lorry.told()).action == "HOLD"
        await device.until_shows("HOLD")
        await device.fault("stuck 0 1")
        await until(lambda: box.journal("OUTPUT_FAULT"), "the fault is in the journal")
        assert box.journal("OUTPUT_FAULT")[0] == {"output": "sign-1", "crossing": "thayngen", "fault": "LAMP"}
        seen = await output(box)
        assert (seen["commanded"], seen["measured"], seen["fault"]) == ("HOLD", "GO", "LAMP")
