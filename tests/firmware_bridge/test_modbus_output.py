"""Relay boards over a pair of pseudo-terminals; the boards are pymodbus's own server."""

from __future__ import annotations

import asyncio
import os
import time
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from firmware_bridge.device_session import DeviceEvent
from firmware_bridge.link import LeaseRefused, LinkDown, LinkUp
from firmware_bridge.link_messages import Fault, FaultCode, Output
from firmware_bridge.modbus_output import RelayBoards
from firmware_bridge.outputs import OutputKind, OutputSettings, OutputState
from firmware_bridge.relay import FailSafe, RelayOutput

LIMIT_S = 20.0
GO, STOP, HOLD, DEFAULT = OutputState.GO, OutputState.STOP, OutputState.HOLD, OutputState.DEFAULT
SIGN = OutputSettings(OutputKind.SIGN)
TIMER = 100
COILS = {GO: 0, STOP: 1}
READ_COILS, WRITE_COIL, WRITE_REGISTER = 1, 5, 6


async def until(said: Callable[[], bool]) -> None:
    for _ in range(round(LIMIT_S / 0.01)):
        if said():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"not within {LIMIT_S:g} s")


class NullModem:
    """Two pseudo-terminals back to back; `path` vanishes and returns with its terminal."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "relays"
        self._board = os.openpty()
        self._ours: tuple[int, int] | None = None
        for end in self._board:
            tty.setraw(end)
        self.board_path = os.ttyname(self._board[1])
        self.plug()

    def plug(self) -> None:
        self._ours = os.openpty()
        tty.setraw(self._ours[1])
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self._ours[1]))
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ours[0], self._copy, self._ours[0], self._board[0])
        loop.add_reader(self._board[0], self._copy, self._board[0], self._ours[0])

    def unplug(self) -> None:
        if self._ours is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._ours[0])
        loop.remove_reader(self._board[0])
        self.path.unlink()
        for end in self._ours:
            os.close(end)
        self._ours = None

    def close(self) -> None:
        self.unplug()
        for end in self._board:
            os.close(end)

    @staticmethod
    def _copy(source: int, target: int) -> None:
        os.write(target, os.read(source, 4_096))


class Board:
    """A relay board that drops its coils by itself when its timer register says so."""

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self.written: list[tuple[int, bool]] = []
        self.timer_writes = 0
        self.timer_sticks = True
        """Whether the time-out register keeps what is written."""
        self.stuck_off = False
        self.coils = [False] * 8
        self._timer = 0
        self._written_s = 0.0

    def device(self) -> SimDevice:
        blocks = (
            [SimData(0, count=8, datatype=DataType.BITS)],
            [SimData(0, count=8, datatype=DataType.BITS)],
            [SimData(TIMER, count=1, datatype=DataType.REGISTERS)],
            [SimData(TIMER, count=1, datatype=DataType.REGISTERS)],
        )
        return SimDevice(self.unit, blocks, action=self._asked)

    def states(self) -> list[bool]:
        if self._timer and time.monotonic() - self._written_s > self._timer * 0.1:
            self.coils = [False] * 8
        return [lit and not self.stuck_off for lit in self.coils]

    async def _asked(
        self, function: int, start: int, address: int, count: int, current: list[Any], values: list[Any] | None
    ) -> None:
        if values is not None and function == WRITE_COIL:
            self.states()
            self.written.append((address, bool(values[0])))
            self.coils[address] = bool(values[0])
            self._written_s = time.monotonic()
        elif values is not None and function == WRITE_REGISTER:
            self.timer_writes += 1
            self._timer = int(values[0])
            if not self.timer_sticks:
                values[0] = 0
        elif function == READ_COILS:
            current[0] = sum(lit << number for number, lit in enumerate(self.states()))


class Line:
    """The boards on a line, the line, and what our side says of them."""

    def __init__(self, modem: NullModem, boards: dict[int, Board]) -> None:
        self.modem, self.boards = modem, boards
        self.events: list[DeviceEvent] = []
        self.muted: set[int] = set()
        self._server: ModbusSerialServer | None = None
        self._task: asyncio.Task[None] | None = None
        self.ours: RelayBoards | None = None

    async def serve(self) -> None:
        self._server = ModbusSerialServer(
            [board.device() for board in self.boards.values()],
            port=self.modem.board_path,
            baudrate=19_200,
            ignore_missing_devices=True,
            trace_packet=self._pass,
        )
        await self._server.serve_forever(background=True)

    def _pass(self, sending: bool, data: bytes) -> bytes:
        return b"" if sending and data and data[0] in self.muted else data

    async def open(self, *relays: RelayOutput) -> RelayBoards:
        self.ours = RelayBoards(str(self.modem.path), relays, parity="none")
        self._task = asyncio.create_task(self._listen(self.ours))
        await until(lambda: self.told(LinkUp))
        return self.ours

    async def _listen(self, ours: RelayBoards) -> None:
        async for event in ours.events():
            self.events.append(event)

    def told(self, kind: type[Any], **facts: object) -> bool:
        return any(
            isinstance(one, kind) and all(getattr(one, name) == value for name, value in facts.items())
            for one in self.events
        )

    async def close(self) -> None:
        if self.ours is not None:
            self.ours.close()
        if self._task is not None:
            async with asyncio.timeout(LIMIT_S):
                await self._task
        if self._server is not None:
            await self._server.shutdown()
        self.modem.close()
        await asyncio.sleep(0)


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    made = Line(NullModem(tmp_path), {1: Board(1), 2: Board(2)})
    await made.serve()
    yield made
    await made.close()


def relay(fail_safe: FailSafe = FailSafe.BOARD_WATCHDOG, **more: Any) -> RelayOutput:
    return RelayOutput(
        **({"settings": SIGN, "unit": 1, "coils": COILS, "timer_register": TIMER} | more), fail_safe=fail_safe
    )


async def test_a_lease_is_written_read_back_and_ends_by_itself(line: Line) -> None:
    ours = await line.open(relay())
    assert ours.lease(0, GO, 600, decision_ref=7)
    await until(lambda: line.told(Output, commanded=GO, measured=GO, decision_ref=7))
    assert line.boards[1].timer_writes == 1, "the board's own time-out was set, once"
    await until(lambda: (0, False) in line.boards[1].written[-2:])
    await until(lambda: isinstance(line.events[-1], Output) and line.events[-1].measured == DEFAULT)


async def test_what_goes_dark_goes_first_and_stop_replaces_go(line: Line) -> None:
    ours = await line.open(relay())
    ours.lease(0, GO, 2_000)
    await until(lambda: line.told(Output, measured=GO))
    line.boards[1].written.clear()
    ours.lease(0, STOP, 2_000)
    await until(lambda: line.told(Output, measured=STOP))
    assert line.boards[1].written == [(0, False), (1, True)]


async def test_without_renewal_the_board_drops_it_even_where_we_are_dead(line: Line) -> None:
    ours = await line.open(relay(FailSafe.TIMED_COIL, timer_unit_ms=100))
    ours.lease(0, GO, 2_800)
    await until(lambda: line.told(Output, measured=GO))
    shown_s = time.monotonic()
    line.modem.unplug()
    await until(lambda: not any(line.boards[1].states()))
    assert time.monotonic() - shown_s <= 3.0 + 3.0, "3 s, and as much for a starved machine"


async def test_a_timed_board_is_told_the_time_with_each_renewal(line: Line) -> None:
    ours = await line.open(relay(FailSafe.TIMED_COIL))
    for number in range(3):
        ours.lease(0, GO, 1_000, decision_ref=number + 1)
        await until(lambda number=number: line.told(Output, decision_ref=number + 1))
    assert line.boards[1].timer_writes >= 3


async def test_a_board_without_a_time_out_never_shows_go(line: Line) -> None:
    line.boards[1].timer_sticks = False
    ours = await line.open(relay())
    ours.lease(0, GO, 2_800)
    await until(lambda: line.told(Fault, output=0, code=FaultCode.SILENT))
    assert (0, True) not in line.boards[1].written


async def test_restrictive_only_refuses_go_and_shows_stop(line: Line) -> None:
    ours = await line.open(relay(FailSafe.RESTRICTIVE_ONLY, coils={STOP: 1}))
    ours.lease(0, GO, 1_000)
    await until(lambda: line.told(LeaseRefused, output=0))
    ours.lease(0, STOP, 30_000)
    await until(lambda: line.told(Output, measured=STOP))
    ours.lease(0, HOLD, 30_000)
    await until(lambda: isinstance(line.events[-1], Output) and line.events[-1].commanded == STOP)


async def test_a_coil_that_does_not_follow_is_measured(line: Line) -> None:
    line.boards[1].stuck_off = True
    ours = await line.open(relay())
    ours.lease(0, STOP, 5_000)
    await until(lambda: line.told(Output, commanded=STOP, measured=DEFAULT))


async def test_a_silent_board_does_not_starve_the_others(line: Line) -> None:
    line.muted.add(2)
    ours = await line.open(relay(unit=2), relay(unit=1))
    await until(lambda: line.told(Fault, output=0, code=FaultCode.SILENT))
    ours.lease(1, GO, 2_500, decision_ref=5)
    await until(lambda: line.told(Output, output=1, measured=GO, decision_ref=5))
    line.muted.clear()
    await until(lambda: line.told(Fault, output=0, code=FaultCode.NONE))


async def test_the_line_goes_and_comes_back(line: Line) -> None:
    ours = await line.open(relay())
    line.modem.unplug()
    ours.lease(0, STOP, 5_000)
    await until(lambda: line.told(LinkDown))
    assert not ours.is_up and not ours.lease(0, STOP, 5_000)
    line.modem.plug()
    await until(lambda: ours.is_up)
    ours.lease(0, STOP, 5_000)
    await until(lambda: line.told(Output, measured=STOP))
    assert ours.reopens == 1


async def test_a_line_that_is_not_there_is_said_and_tried_again(tmp_path: Path) -> None:
    modem = NullModem(tmp_path)
    modem.unplug()
    line = Line(modem, {1: Board(1)})
    ours = RelayBoards(str(modem.path), (relay(),), parity="none")
    task = asyncio.create_task(line._listen(ours))
    await until(lambda: len(line.events) == 1 and "cannot be opened" in ours.reason)
    modem.plug()
    await until(lambda: ours.is_up)
    ours.close()
    async with asyncio.timeout(LIMIT_S):
        await task
    modem.close()
