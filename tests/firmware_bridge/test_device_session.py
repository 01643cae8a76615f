"""The link over real pseudo-terminals: against the C program and the Python device, with every fault switch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.device_session import DeviceEvent, DeviceSession
from firmware_bridge.link import LinkDown, LinkUp
from firmware_bridge.link_messages import Fault, FaultCode, Output, Sighting
from firmware_bridge.outputs import OutputKind, OutputSettings, OutputState
from firmware_bridge.reopening import LinkState, PortState
from simulator.serial_unit import SerialDevice
from tests.firmware_bridge.link_world import SOURCE, STRICT

SIGN = (OutputSettings(OutputKind.SIGN),)
LIMIT_S = 20.0
"""Of every wait: a machine five times slower is no failure."""
WITHIN_S = 3.0 + 1.0
"""The second is for a machine too busy to run the device each 10 ms; test_link.py is exact, in simulated time."""
GO, STOP, DEFAULT = OutputState.GO, OutputState.STOP, OutputState.DEFAULT


async def until(said: Callable[[], bool]) -> None:
    for _ in range(round(LIMIT_S / 0.01)):
        if said():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"not within {LIMIT_S:g} s")


class Fake:
    """A running device: its path, its faults, and what its lamps showed when."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown: list[tuple[float, str, str]] = []
        """Monotonic seconds, commanded, measured."""

    async def fault(self, command: str) -> None:
        raise NotImplementedError

    def shows(self) -> str:
        return self.shown[-1][1] if self.shown else "DEFAULT"

    async def until_shows(self, state: str) -> None:
        await until(lambda: self.shows() == state)


class Emulated(Fake):
    """`simulator.serial_unit.SerialDevice`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.device = SerialDevice(path, shown=self._note)

    def _note(self, output: int, commanded: OutputState, measured: OutputState) -> None:
        self.shown.append((time.monotonic(), commanded.name, measured.name))

    async def fault(self, command: str) -> None:
        self.device.obey(command)


class Compiled(Fake):
    """`firmware_bridge/reference/roadside_device.c`."""

    def __init__(self, path: Path, process: asyncio.subprocess.Process) -> None:
        super().__init__(path)
        self.process = process
        self.said: list[dict[str, Any]] = []

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            fact = json.loads(line)
            self.said.append(fact)
            if fact["event"] == "output":
                self.shown.append((fact["at_ms"] / 1000, fact["commanded"], fact["measured"]))
            elif fact["event"] == "started":
                self.shown.append((fact["at_ms"] / 1000, "DEFAULT", "DEFAULT"))

    async def fault(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        await self.process.stdin.drain()


@pytest.fixture(scope="module")
def program(require: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference program, compiled with every warning an error."""
    made = tmp_path_factory.mktemp("device") / "roadside_device"
    sources = [str(SOURCE / name) for name in ("link_device.c", "roadside_device.c")]
    command = [require("cc"), *STRICT[:-1], "-O2", *sources, "-o", str(made)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return made


@pytest.fixture(params=["python", "c"])
async def device(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fake]:
    path = tmp_path / "serial" / "sign"
    if request.param == "python":
        emulated = Emulated(path)
        task = asyncio.create_task(emulated.device.run())
        yield emulated
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return
    path.parent.mkdir()
    made = request.getfixturevalue("program")
    process = await asyncio.create_subprocess_exec(
        str(made), str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    compiled = Compiled(path, process)
    listening = asyncio.create_task(compiled.listen())
    await until(path.exists)
    yield compiled
    with contextlib.suppress(ConnectionError):
        await compiled.fault("quit")
    async with asyncio.timeout(LIMIT_S):
        assert await process.wait() == 0
        await listening


class Host:
    """A session, and what it said."""

    def __init__(self, session: DeviceSession) -> None:
        self.session = session
        self.events: list[DeviceEvent] = []

    async def run(self) -> None:
        async for event in self.session.events():
            self.events.append(event)
            if isinstance(event, Output | Fault | Sighting):
                self.session.acknowledge(event.seq)

    def told(self, kind: type[Any], **facts: object) -> bool:
        """Whether an event of this kind with these facts was there."""
        return any(
            isinstance(one, kind) and all(getattr(one, name) == value for name, value in facts.items())
            for one in self.events
        )

    async def renewing(self, state: OutputState) -> None:
        """As the deciding task does."""
        while True:
            lease_ms = 2_800 if state is GO else 60_000
            self.session.lease(0, state, lease_ms, decision_ref=7)
            await asyncio.sleep(0.5)


@pytest.fixture
async def host(device: Fake) -> AsyncIterator[Host]:
    made = Host(DeviceSession(str(device.path), SIGN))
    task = asyncio.create_task(made.run())
    yield made
    made.session.close()
    async with asyncio.timeout(LIMIT_S):
        await task


@contextlib.asynccontextmanager
async def deciding(host: Host, state: OutputState) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(host.renewing(state))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_decision_reaches_the_lamp_and_the_measurement_comes_back(host: Host, device: Fake) -> None:
    await until(lambda: host.session.is_up)
    async with deciding(host, GO):
        await device.until_shows("GO")
        await until(lambda: host.told(Output, measured=GO, decision_ref=7))
    (up,) = (one for one in host.events if isinstance(one, LinkUp))
    assert up.configured and up.firmware.startswith("reference")


@pytest.mark.parametrize(
    "faults",
    [["mute on"], ["deaf on"], ["mute on", "deaf on"], ["stall on"], ["reboot"], ["hang 5000"], ["flip 5"]],
    ids=" ".join,
)
@pytest.mark.parametrize("device", ["c"], indirect=True)  # the Python machine in simulated time: test_link.py
async def test_go_ends_within_three_seconds_whatever_breaks(host: Host, device: Fake, faults: list[str]) -> None:
    await until(lambda: host.session.is_up)
    async with deciding(host, GO) as decider:
        await device.until_shows("GO")
        for fault in faults:
            await device.fault(fault)
        broken_s = time.monotonic()
        decider.cancel()
        await device.until_shows("DEFAULT")
        assert device.shown[-1][0] - broken_s <= WITHIN_S


@pytest.mark.parametrize("device", ["c"], indirect=True)
async def test_the_deciding_task_alone_keeps_go_alive(host: Host, device: Fake) -> None:
    await until(lambda: host.session.is_up)
    async with deciding(host, GO):
        await device.until_shows("GO")
    decided_s = time.monotonic()
    await device.until_shows("DEFAULT")
    assert device.shown[-1][0] - decided_s <= WITHIN_S
    assert host.session.is_up, "the link itself is well"


async def test_unplugged_and_back_the_decision_is_said_again(host: Host, device: Fake) -> None:
    await until(lambda: host.session.is_up)
    async with deciding(host, GO):
        await device.until_shows("GO")
        await device.fault("unplug")
        await until(lambda: not host.session.is_up)
        await device.until_shows("DEFAULT")
        await device.fault("replug")
        await device.until_shows("GO")
    states = [one.state for one in host.events if isinstance(one, PortState)]
    assert states[0] is LinkState.OPEN and states[-1] is LinkState.OPEN and LinkState.LOST in states
    assert host.session.reopens >= 1


async def test_a_stuck_lamp_is_told(host: Host, device: Fake) -> None:
    await until(lambda: host.session.is_up)
    await device.fault("stuck 0 1")
    await until(lambda: host.told(Fault, code=FaultCode.LAMP))
    await device.fault("stuck 0 -1")
    async with deciding(host, STOP):
        await until(lambda: host.told(Fault, code=FaultCode.NONE))


async def test_a_device_that_keeps_no_configuration_is_never_used(host: Host, device: Fake) -> None:
    await until(lambda: host.session.is_up)
    await device.fault("wrong-config on")
    await device.fault("reboot")
    async with deciding(host, GO):
        await until(lambda: host.told(LinkDown, reason="config_refused"))
        assert device.shows() == "DEFAULT"
        await device.fault("wrong-config off")
        await device.until_shows("GO")


async def test_a_brown_out_and_a_sighting_are_told(host: Host, device: Fake) -> None:
    await until(lambda: host.session.is_up)
    await device.fault("power low")
    await until(lambda: host.told(Fault, code=FaultCode.POWER))
    await device.fault("power good")
    await device.fault("sight 1 TG 123456")
    await until(lambda: host.told(Sighting, value="TG 123456"))


async def test_an_absent_port_is_said_with_its_reason_and_tried_again(tmp_path: Path) -> None:
    host = Host(DeviceSession(str(tmp_path / "nowhere"), SIGN))
    task = asyncio.create_task(host.run())
    await until(lambda: bool(host.events))
    (state,) = host.events
    assert isinstance(state, PortState) and state.state is LinkState.ABSENT and "no such port" in state.reason
    assert not host.session.lease(0, STOP, 1_000)
    emulated = SerialDevice(tmp_path / "nowhere")
    running = asyncio.create_task(emulated.run())
    await until(lambda: host.session.is_up)
    host.session.close()
    running.cancel()
    await asyncio.gather(task, running, return_exceptions=True)


def test_an_unknown_fault_is_refused(tmp_path: Path) -> None:
    emulated = SerialDevice(tmp_path / "sign")
    with pytest.raises(ValueError, match="no such fault"):
        emulated.obey("explode")
    emulated.unplug()
