"""Relay boards on one Modbus RTU line, through pymodbus: written, read back, compared; renewed by the deciding task.

Nothing here renews by itself: each `lease` is one write. When a lease ends the coils go to the site's default, and
where this program is dead the board does that by itself (`firmware_bridge.relay.FailSafe`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from pymodbus.client import AsyncModbusSerialClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from firmware_bridge.device_session import DeviceEvent
from firmware_bridge.link import LeaseRefused, LinkDown, LinkUp
from firmware_bridge.link_messages import Capability, Fault, FaultCode, Output
from firmware_bridge.outputs import ALLOWED, Nak, OutputState, longest_ms
from firmware_bridge.relay import FailSafe, RelayOutput
from firmware_bridge.reopening import LinkState, PortState, reopen_wait_s

TIMEOUT_S = 0.3
RETRIES = 2
FAILURES = 3
"""Exchanges that fail in a row before an output counts as silent."""
RETRY_FIRST_S, RETRY_MOST_S = 1.0, 8.0
"""Pause before a silent board is tried again, doubling: it must not starve the others on the line."""
IDLE_S = 1.0
_PARITY = {"none": "N", "even": "E", "odd": "O"}


class _Silent(Exception):  # noqa: N818 - reads as the fact it states
    """No answer, or a refusal."""


@dataclass
class _Relay:
    output: RelayOutput
    state: OutputState = OutputState.DEFAULT
    ends_s: float | None = None
    decision_ref: int = 0
    is_due: bool = True
    """Something is to be written."""
    is_armed: bool = False
    """The board's own time-out is set, and was read back."""
    failures: int = 0
    try_again_s: float = 0.0
    wait_s: float = RETRY_FIRST_S


class RelayBoards:
    """Every board on one line. Iterate `events()` once; `close()` ends it."""

    def __init__(
        self,
        path: str,
        relays: tuple[RelayOutput, ...],
        *,
        baud: int = 19_200,
        parity: str = "even",
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`parity` is none, even or odd; without parity there are two stop bits, as the standard wants."""
        self.path = path
        self.state = LinkState.ABSENT
        self.reason = "not opened yet"
        self.reopens = 0
        """Times the line was opened again after it had been lost."""
        self._relays = [_Relay(relay) for relay in relays]
        self._now_s = now_s
        self._closed = False
        self._wake = asyncio.Event()
        self._events: list[DeviceEvent] = []
        self._settings = {"baudrate": baud, "parity": _PARITY[parity], "stopbits": 2 if parity == "none" else 1}
        self._client: AsyncModbusSerialClient | None = None
        # Every time-out is told as a fault here; pymodbus would say it again on standard error.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

    @property
    def is_up(self) -> bool:
        """Whether the line is open; a board on it may be silent all the same."""
        return self.state is LinkState.OPEN

    def lease(self, output: int, state: OutputState, lease_ms: int, *, decision_ref: int = 0, text: str = "") -> bool:
        """Let an output show a state for so long from now; False without a line. Relays show no text."""
        if not self.is_up:
            return False
        relay = self._relays[output]
        assert 0 < lease_ms <= longest_ms(state), "longer than a board may show it"
        if state not in ALLOWED[relay.output.settings.kind] or not relay.output.may_show(state):
            self._events.append(LeaseRefused(output, Nak.STATE_NOT_ALLOWED.name))
            state, decision_ref = OutputState.DEFAULT, 0
        relay.state, relay.ends_s = state, self._now_s() + lease_ms / 1000
        relay.decision_ref, relay.is_due = decision_ref, True
        self._wake.set()
        return True

    def watchdog(self, lease_ms: int, *, armed: bool = True) -> bool:
        """No relay board restarts a host."""
        return False

    def acknowledge(self, seq: int) -> None:
        """Boards do not wait for this."""

    def close(self) -> None:
        """End `events()`; safe to call twice. What is lit goes out with the board's own time-out."""
        self._closed = True
        self.state, self.reason = LinkState.ABSENT, "closed"
        if self._client is not None:
            self._client.close()
        self._wake.set()

    # --- the line ------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """What the boards say, for ever; no error of the line ends it."""
        attempt, opened_before = 0, False
        while not self._closed:
            client = AsyncModbusSerialClient(
                self.path,
                **self._settings,  # type: ignore[arg-type]
                timeout=TIMEOUT_S,
                retries=RETRIES,
                reconnect_delay=0,  # opened again below, where it is told
            )
            self._client = client
            if await client.connect():
                self.reopens += opened_before
                opened_before, attempt = True, 0
                for event in self._opened():
                    yield event
                while client.connected and not self._closed:
                    for event in await self._turn(client):
                        yield event
                for event in self._lost():
                    yield event
            elif change := self._changed(LinkState.ABSENT, f"{self.path}: cannot be opened"):
                yield change
            client.close()
            self._wake.clear()
            await self._pause(reopen_wait_s(attempt, 0.5))
            attempt += 1

    def _opened(self) -> list[DeviceEvent]:
        for relay in self._relays:
            relay.state, relay.ends_s, relay.is_due, relay.is_armed = OutputState.DEFAULT, None, True, False
            relay.failures, relay.try_again_s, relay.wait_s = 0, 0.0, RETRY_FIRST_S
        change = self._changed(LinkState.OPEN, "")
        up = LinkUp("relay boards", "modbus", 0, 0, Capability(0), len(self._relays), configured=False)
        return [*([change] if change else []), up]

    def _lost(self) -> list[DeviceEvent]:
        if self._closed:
            return []
        change = self._changed(LinkState.LOST, f"{self.path}: the line is gone")
        return [LinkDown("line_lost", closed=True), *([change] if change else [])]

    def _changed(self, state: LinkState, reason: str) -> PortState | None:
        if self._closed or (state, reason) == (self.state, self.reason):
            return None
        self.state, self.reason = state, reason
        return PortState(self.path, state, reason)

    # --- the boards ----------------------------------------------------------------------------------------------

    async def _turn(self, client: AsyncModbusSerialClient) -> list[DeviceEvent]:
        """Wait until something is due, and do it: one output after the other, silent ones in their turn."""
        await self._pause(self._wait_s())
        self._wake.clear()
        for number, relay in enumerate(self._relays):
            now_s = self._now_s()
            if relay.ends_s is not None and now_s >= relay.ends_s:
                relay.state, relay.ends_s, relay.decision_ref, relay.is_due = OutputState.DEFAULT, None, 0, True
            if relay.is_due and now_s >= relay.try_again_s and client.connected:
                await self._serve(client, number, relay)
        told, self._events = self._events, []
        return told

    def _wait_s(self) -> float:
        now_s = self._now_s()
        dues = [now_s + IDLE_S]
        for relay in self._relays:
            dues += [max(relay.try_again_s, now_s)] if relay.is_due else []
            dues += [relay.ends_s] if relay.ends_s is not None else []
        return max(0.0, min(dues) - now_s)

    async def _serve(self, client: AsyncModbusSerialClient, number: int, relay: _Relay) -> None:
        shown, ref = relay.output.shown_for(relay.state), relay.decision_ref
        relay.is_due = False
        try:
            await self._arm(client, relay)
            await self._write(client, relay.output, shown)
            measured = relay.output.measured(await self._read(client, relay.output))
        except (ModbusException, _Silent, OSError):
            self._failed(number, relay)
            return
        if relay.failures >= FAILURES:
            self._events.append(Fault(0, number, FaultCode.NONE))
        relay.failures, relay.try_again_s, relay.wait_s = 0, 0.0, RETRY_FIRST_S
        self._events.append(self._report(number, relay, shown, measured, ref))

    def _report(self, number: int, relay: _Relay, shown: OutputState, measured: OutputState | None, ref: int) -> Output:
        if measured is None:  # two coils at once: told as anything but what was written
            measured = OutputState.DEFAULT if shown is not OutputState.DEFAULT else OutputState.HOLD
        left_s = 0.0 if relay.ends_s is None else max(0.0, relay.ends_s - self._now_s())
        return Output(0, number, shown, measured, ref, int(left_s * 1000), 0)

    def _failed(self, number: int, relay: _Relay) -> None:
        """Due again; once it counts as silent, only after a pause."""
        relay.failures += 1
        relay.is_due, relay.is_armed = True, False
        if relay.failures == FAILURES:
            self._events.append(Fault(0, number, FaultCode.SILENT))
        if relay.failures >= FAILURES:
            relay.try_again_s = self._now_s() + relay.wait_s
            relay.wait_s = min(RETRY_MOST_S, relay.wait_s * 2)

    async def _arm(self, client: AsyncModbusSerialClient, relay: _Relay) -> None:
        """Set the board's own time-out: once and read back, or with each renewal."""
        output = relay.output
        if output.fail_safe is FailSafe.RESTRICTIVE_ONLY:
            return
        if output.fail_safe is FailSafe.BOARD_WATCHDOG and relay.is_armed:
            return
        register, counts = output.timer_register, output.timer_counts
        _checked(await client.write_register(register, counts, device_id=output.unit))
        found = _checked(await client.read_holding_registers(register, count=1, device_id=output.unit))
        if found.registers[:1] != [counts]:
            raise _Silent(f"time-out register {register}: {found.registers}, expected {counts}")
        relay.is_armed = True

    @staticmethod
    async def _write(client: AsyncModbusSerialClient, output: RelayOutput, shown: OutputState) -> None:
        """What has to go dark first, then what is lit: never two at once."""
        wanted = output.coils_for(shown)
        for address, is_lit in sorted(wanted.items(), key=lambda item: item[1]):
            _checked(await client.write_coil(address, is_lit, device_id=output.unit))

    @staticmethod
    async def _read(client: AsyncModbusSerialClient, output: RelayOutput) -> dict[int, bool]:
        found: dict[int, bool] = {}
        for address in output.addresses:
            answer = _checked(await client.read_coils(address, count=1, device_id=output.unit))
            found[address] = bool(answer.bits[0])
        return found

    async def _pause(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass


def _checked(answer: ModbusPDU) -> ModbusPDU:
    if answer.isError():
        raise _Silent(str(answer))
    return answer
