"""An AIS receiver seen as a source of fixes: vessels that have a journey, each a unit named by its MMSI."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable

import msgspec

from agent.ingest.serial_source import SerialItem, log_port_state
from agent.ingest.wire import Refused, fix_of_position
from firmware_bridge.ais import VESSEL_TYPES, AisDecoder, Vessel, fix_time_ms
from firmware_bridge.capture import Recorder
from firmware_bridge.messages import PositionReport
from firmware_bridge.reopening import LinkState, PortState
from firmware_bridge.session import SerialSource

SILENT_AFTER_S = 900.0
"""No vessel may be near for long: only then is the port opened again."""
NO_SECOND = 60
"""From here on the second of a report says why it has none: not available, manual, estimated, broken."""


class AisVessels:
    """All vessels heard on one port.

    AIS is not authenticated and heard from far away: vessels without a journey are left out at once, so that
    no ship under a bridge becomes an unknown vehicle at the crossing.

    Args:
        unit: Name of the port, for logs and the status.
        path, baud, reset_on_open: The port, as configured.
        recorder: Keeps its raw bytes.
        has_journey: Whether a unit is expected.
        now_s: Wall clock, UTC seconds; it dates the reports, which carry only a second.
    """

    kind = "ais"
    """Source in the metrics."""

    def __init__(
        self,
        unit: str,
        path: str,
        *,
        baud: int,
        has_journey: Callable[[str], bool],
        reset_on_open: bool = False,
        recorder: Recorder | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.unit = unit
        self.source = f"ais:{unit}"
        self.vessels: OrderedDict[str, Vessel] = OrderedDict()
        """What vessels say about themselves, by MMSI; outlasts the port."""
        self.left_out: Counter[str] = Counter()
        """Reports that are no business of ours, by why."""
        self.session = SerialSource(
            path,
            baud=baud,
            reset_on_open=reset_on_open,
            silent_after_s=SILENT_AFTER_S,
            decoder=lambda: AisDecoder(self.vessels),
            recorder=recorder,
            wall_s=now_s,
        )
        self._has_journey = has_journey
        self._now_s = now_s

    @property
    def state(self) -> LinkState:
        """Open, lost or absent."""
        return self.session.state

    async def items(self) -> AsyncIterator[SerialItem]:
        """Fixes and refusals for ever; a lost port is opened again. Ends when closed."""
        async for item in self.session.items():
            if isinstance(item, PortState):
                log_port_state(self.unit, item)
            elif not isinstance(item, PositionReport):
                yield Refused(item.reason, item.detail, self.source, "", 0)
            elif fix := self._fix(item):
                yield fix

    def _fix(self, report: PositionReport) -> SerialItem | None:
        """The report as a fix of its vessel, dated by its reception."""
        unit, second = report.unit, report.utc_second
        if report.ais_type not in VESSEL_TYPES or unit is None:
            self.left_out["no_vessel"] += 1
            return None
        if not self._has_journey(unit):
            self.left_out["no_journey"] += 1
            return None
        if second is None or second >= NO_SECOND:
            return Refused("no_time", "AIS second: expected 0 to 59; the vessel has no live fix", self.source, "", 0)
        received_s = self._now_s()
        dated = msgspec.structs.replace(report, seq=None, fix_time_ms=fix_time_ms(received_s, second))
        return fix_of_position(dated, unit, received_s, self.source)

    def close(self) -> None:
        """End `items` and give the port back."""
        self.session.close()
