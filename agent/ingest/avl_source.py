"""Telematics units that connect by themselves, seen as a source; the bytes are firmware_bridge's affair.

A frame goes to the pipeline whole and is answered once all of it is on disk. What a unit shows on its display
goes back the same way.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from agent.errors import LinkError
from agent.ingest.resends import Resends, encode_keys
from agent.ingest.wire import Refused, fix_of_position, refused
from firmware_bridge.avl import AvlFrame, record_key
from firmware_bridge.avl_server import AvlServer, Place
from firmware_bridge.clock_check import Arrival, clock_refusal
from firmware_bridge.errors import ListenerUnavailable
from firmware_bridge.messages import PositionReport, Refusal
from zones.fix import Fix

DISPLAY_AGAIN_S = 10.0
"""A text that the unit has not answered is sent again with its next frame after so long, wall seconds."""
OWN_NAME = "imei"
"""As a unit's name in the configuration: the IMEI itself is its name."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Reported:
    """What one frame said; `told` is set once all of it is on disk."""

    items: tuple[Fix | Refused, ...]
    """Fixes by rising time, then refusals."""
    repeats: int
    """Records that had been taken before."""
    told: asyncio.Future[None]
    unit: str = ""
    frame: bytes = b""
    """Which records the unit sent; empty if it was refused."""


@dataclass(frozen=True)
class Display:
    """One line for one unit's display."""

    unit: str
    instruction_id: str
    version: int
    text: str
    language: str


NO_FRAMES: Mapping[str, bytes] = {}
Submit = Callable[[Reported], Awaitable[None]]
"""Hands a frame to the pipeline; waits while its queue is full."""


@dataclass(frozen=True)
class ListenerPlan:
    """One listener as configured."""

    protocol: str
    host: str
    port: int
    units: Mapping[str, str]
    """IMEI to unit."""
    udp: bool = False
    tls: ssl.SSLContext | None = None
    certified: bool = False
    """Whether units show certificates, each in its own name."""


class AvlSource:
    """One listener with its units.

    Args:
        plan: Where and for whom.
        submit: Takes frames.
        shown: What a unit's display should show now; None = nothing, or it has none.
        on_shown: Called when a unit has confirmed a text.
        now_s: Clock of the run, UTC seconds; dates of the units are checked against it.
        frames: Newest frame of each unit before a restart, as stored.
        server: Bounds for `AvlServer`, where they are not its own.
    """

    def __init__(
        self,
        plan: ListenerPlan,
        submit: Submit,
        shown: Callable[[str], Display | None],
        on_shown: Callable[[Display], None],
        now_s: Callable[[], float],
        frames: Mapping[str, bytes] = NO_FRAMES,
        **server: float,
    ) -> None:
        self.plan, self._submit, self._now_s = plan, submit, now_s
        self._shown, self._on_shown = shown, on_shown
        self._units = {imei: imei if unit == OWN_NAME else unit for imei, unit in plan.units.items()}
        self._imeis = {unit: imei for imei, unit in self._units.items()}
        self._resends = Resends()
        self._resends.remember({unit: body for unit, body in frames.items() if unit in self._imeis})
        self._asked: dict[str, tuple[Display, float]] = {}
        """By unit: the text it was sent last and has not answered, and when, loop time."""
        self._confirmed: dict[str, tuple[str, int]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        proves = self._is_unit if plan.certified else None
        place = Place(plan.host, plan.port, plan.udp, plan.tls, proves)
        self.server = AvlServer(place, plan.protocol, self, **server)  # type: ignore[arg-type]

    def _is_unit(self, imei: str, name: str) -> bool:
        return self._units.get(imei) == name

    @property
    def name(self) -> str:
        """For logs, status and metrics."""
        return f"{self.plan.protocol}:{self.server.port}"

    @property
    def counts(self) -> Counter[str]:
        """Frames and connections by what became of them."""
        return self.server.counts

    async def start(self) -> None:
        """Listen.

        Raises:
            LinkError: the address cannot be had.
        """
        try:
            await self.server.start()
        except ListenerUnavailable as error:
            raise LinkError(f"listener {self.plan.protocol}: {error}") from error
        log.info("listening", protocol=self.plan.protocol, host=self.plan.host, port=self.server.port)

    async def close(self) -> None:
        """End every connection."""
        await self.server.close()
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    # --- from units -------------------------------------------------------------------------------------------

    def knows(self, imei: str) -> bool:
        """Whether it is one of ours."""
        return imei in self._units

    async def take(self, imei: str, frame: AvlFrame) -> None:
        """Returns when all of the frame is on disk."""
        unit = self._units[imei]
        reports = [event for event in frame.events if isinstance(event, PositionReport)]
        keys = [record_key(report) for report in reports]
        fresh = {key: report for key, report in zip(keys, reports, strict=True) if not self._resends.knows(unit, key)}
        items: list[Fix | Refused] = [self._item(unit, report) for report in fresh.values()]
        items += [self._refused(event) for event in frame.events if isinstance(event, Refusal)]
        await self._on_disk(items, len(reports) - len(fresh), unit, encode_keys(keys))
        self._resends.took(unit, keys)

    async def refuse(self, imei: str | None, refusal: Refusal) -> None:
        """Returns when the refusal is recorded."""
        log.info("frame_refused", listener=self.name, unit_id=self._units.get(imei or ""), reason=refusal.reason)
        await self._on_disk([self._refused(refusal)], 0)

    async def _on_disk(self, items: list[Fix | Refused], repeats: int, unit: str = "", frame: bytes = b"") -> None:
        if not items and not repeats:
            return
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._submit(Reported(tuple(sorted(items, key=_order)), repeats, told, unit, frame))
        await told

    def _item(self, unit: str, report: PositionReport) -> Fix | Refused:
        """A fix, unless its date cannot be right."""
        now_s, time_ms = self._now_s(), report.fix_time_ms
        if time_ms is not None and report.fix_type != "NONE":
            fault = clock_refusal(time_ms, now_s, Arrival.STORED)
            if fault is not None:
                return self._refused(fault)
        return fix_of_position(report, unit, now_s, self._source)

    def _refused(self, refusal: Refusal) -> Refused:
        return refused(refusal.reason, refusal.detail, self._source, refusal.quote)

    @property
    def _source(self) -> str:
        return f"listener/{self.plan.protocol}"

    # --- to units ---------------------------------------------------------------------------------------------

    def joined(self, imei: str) -> None:
        """The unit can be spoken to: what it has not confirmed is sent."""
        self.show(self._units[imei])

    def show(self, unit: str) -> None:
        """Send the unit what its display should show, unless it shows it."""
        imei = self._imeis.get(unit)
        if imei is None or not self.server.connected(imei):
            return
        display, now_s = self._shown(unit), asyncio.get_running_loop().time()
        if display is None or self._confirmed.get(unit) == (display.instruction_id, display.version):
            return
        asked = self._asked.get(unit)
        if asked is not None and asked[0] == display and now_s - asked[1] < DISPLAY_AGAIN_S:
            return
        self._asked[unit] = (display, now_s)
        task = asyncio.create_task(self._tell(imei, display))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _tell(self, imei: str, display: Display) -> None:
        sent = await self.server.command(imei, display.text.encode())
        log.info("display_sent", unit_id=display.unit, version=display.version, sent=sent)

    def replied(self, imei: str, text: bytes) -> None:
        """The unit has answered its last command."""
        asked = self._asked.pop(self._units[imei], None)
        if asked is None:
            self.counts["unasked_reply"] += 1
            return
        display = asked[0]
        self._confirmed[display.unit] = (display.instruction_id, display.version)
        self._on_shown(display)


def _order(item: Fix | Refused) -> tuple[bool, float]:
    return (False, item.time_s) if isinstance(item, Fix) else (True, 0.0)
