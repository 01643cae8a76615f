"""Where a driver's page meets the agent: the records it is shown, and the pipeline that takes what it says."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agent.activation.events import Event, IncidentKind, IncidentReported, ReceiptArrived
from agent.clock import Clock
from agent.config import DriverTable
from agent.delivery.driver_pages import DriverDesk, Look
from agent.delivery.driver_token import DriverTokens
from agent.delivery.driver_view import (
    LATE_MAX_S,
    DriverIncident,
    DriverLink,
    DriverReceipt,
    PassCode,
    Pulse,
    is_standing,
)
from agent.delivery.pass_code import pack, qr_path
from agent.driver_desk import Case, case_of, recorded_of, view_of
from agent.register import Register
from zones.fix import Fix

CODES_KEPT = 128
"""QR codes kept for pages that ask again."""


@dataclass
class DriverWindow:
    """One agent's answers to drivers' pages."""

    register: Register
    tokens: DriverTokens
    table: DriverTable
    clock: Clock
    last_fix: Callable[[str], Fix | None]
    """The newest fix of a unit inside a tracking zone."""
    signed: Callable[[str], bytes | None]
    """The newest signed instruction of a unit, once it is on disk."""
    record: Callable[[Event], Awaitable[None]]
    """Returns once the event is on disk."""
    _codes: OrderedDict[bytes, tuple[str, int, str]] = field(default_factory=OrderedDict)

    def desk(self) -> DriverDesk:
        """What the pages ask and tell."""
        return DriverDesk(
            jrn=self.tokens.jrn,
            records=lambda jrn: case_of(self.register, jrn),
            look=self._look,
            receipt=self._receipt,
            incident=self._incident,
            code=self._code,
            recorded=self._recorded,
            link=self._link,
        )

    def _link(self, jrn: str, asked_under: str) -> DriverLink | None:
        if case_of(self.register, jrn) is None:
            return None
        root = (self.table.public_url or asked_under).rstrip("/")
        return DriverLink(jrn, f"{root}/driver/{self.tokens.token(jrn)}")

    def _look(self, case: Case) -> Look:
        now_s = self.clock.now_s()
        ends_s = case.expires_s
        pulse = Pulse(
            server_ms=time.monotonic() * 1000,
            ends_in_s=None if ends_s is None else self.clock.wall_s(max(0.0, ends_s - now_s)),
            standing=self._standing(case, now_s),
        )
        return Look(case, view_of(case, self.table, now_s), pulse)

    def _standing(self, case: Case, now_s: float) -> bool | None:
        fix = self.last_fix(case.unit) if case.unit else None
        return None if fix is None else is_standing(fix.speed_mps, now_s - fix.received_s)

    async def _receipt(self, jrn: str, receipt: DriverReceipt) -> bool:
        case = case_of(self.register, jrn)
        sent = case.state.deliveries if case is not None and case.state is not None else ()
        if case is None or not case.unit or all(one.instruction_id != receipt.instruction_id for one in sent):
            return False
        now_s = self.clock.now_s()

        def at_s(server_ms: float | None) -> float | None:
            if server_ms is None:
                return None
            ago_s = min(max(0.0, time.monotonic() - server_ms / 1000), LATE_MAX_S)
            return now_s - ago_s * self.clock.speedup

        await self.record(
            ReceiptArrived(
                unit=case.unit,
                instruction_id=receipt.instruction_id,
                version=receipt.version,
                delivered_s=at_s(receipt.delivered_ms),
                displayed_s=at_s(receipt.displayed_ms),
                acknowledged_s=at_s(receipt.acknowledged_ms),
                language=receipt.language,
            )
        )
        return True

    async def _incident(self, jrn: str, incident: DriverIncident) -> bool:
        case = case_of(self.register, jrn)
        if case is None or not case.unit:
            return False
        await self.record(IncidentReported(case.unit, IncidentKind(incident.kind), "driver page"))
        return True

    async def _code(self, jrn: str) -> PassCode | None:
        case = case_of(self.register, jrn)
        told = case.state.instruction if case is not None and case.state is not None else None
        token = self.signed(case.unit) if case is not None and told is not None and case.unit else None
        if told is None or token is None:
            return None
        drawn = self._codes.get(token)
        if drawn is None:
            drawn = self._codes[token] = await asyncio.to_thread(_drawn, token)
        while len(self._codes) > CODES_KEPT:
            self._codes.popitem(last=False)
        return PassCode(told.instruction_id, told.version, *drawn)

    def _recorded(self, jrn: str) -> dict[str, object]:
        case = case_of(self.register, jrn)
        return {} if case is None else recorded_of(case)


def _drawn(token: bytes) -> tuple[str, int, str]:
    """The code of a signed instruction; tens of milliseconds, so not on the loop."""
    text = pack(token)
    size, path = qr_path(text)
    return text, size, path
