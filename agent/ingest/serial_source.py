"""A receiver on a serial port seen as a source of fixes; the port itself is firmware_bridge's affair."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import structlog

from agent.activation.events import ReceiverDoubted
from agent.ingest.wire import Refused, fix_of_position
from firmware_bridge.capture import Recorder
from firmware_bridge.messages import PositionReport
from firmware_bridge.reopening import LinkState, PortState
from firmware_bridge.session import SerialSource
from zones.fix import Fix

SerialItem: TypeAlias = Fix | Refused

log = structlog.get_logger()


class SerialUnit:
    """One unit on one port.

    Args:
        unit: Whose receiver it is.
        path, baud, reset_on_open: The port, as configured.
        recorder: Keeps its raw bytes.
        now_s: Wall clock, UTC seconds; dates of the receiver are checked against it.
    """

    kind = "serial"
    """Source in the metrics."""

    def __init__(
        self,
        unit: str,
        path: str,
        *,
        baud: int,
        reset_on_open: bool = False,
        recorder: Recorder | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.unit = unit
        self.source = f"serial:{unit}"
        self.session = SerialSource(
            path, baud=baud, unit=unit, reset_on_open=reset_on_open, recorder=recorder, wall_s=now_s
        )
        self._now_s = now_s
        self._is_doubted = False

    @property
    def state(self) -> LinkState:
        """Open, lost or absent."""
        return self.session.state

    async def items(self) -> AsyncIterator[SerialItem]:
        """Fixes and refusals for ever; a lost port is opened again. Ends when closed."""
        async for item in self.session.items():
            if isinstance(item, PortState):
                log_port_state(self.unit, item)
            elif isinstance(item, PositionReport):
                yield fix_of_position(item, self.unit, self._now_s(), self.source)
            else:
                yield Refused(item.reason, item.detail, self.source, "", 0)

    def doubt(self) -> ReceiverDoubted | None:
        """That its dates are not believed any more, or are again; each is told once."""
        reason = self.session.clock.reason if self.session.clock.alarm else ""
        if bool(reason) == self._is_doubted:
            return None
        self._is_doubted = bool(reason)
        return ReceiverDoubted(self.unit, reason or "NONE")

    def close(self) -> None:
        """End `items` and give the port back."""
        self.session.close()


def log_port_state(unit: str, change: PortState) -> None:
    """One line for each change of a port."""
    log.info("serial_port", unit_id=unit, path=change.path, state=change.state.value, reason=change.reason)
