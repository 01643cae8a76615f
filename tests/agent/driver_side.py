"""A driver's page over a real box without broker: store, register, detector and signing are the agent's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agent.activation.events import Event, FeedRowArrived, IncidentReported, OfficerDecided, RiskAnswered
from agent.config import DriverTable
from agent.delivery.driver_pages import DriverPages
from agent.delivery.driver_token import DriverTokens
from agent.domain.declaration import CrewMember, TransportMeans
from agent.domain.instruction import Action
from agent.domain.routing import ReportToLocation
from agent.driver_window import DriverWindow
from agent.keys import jwk_of
from agent.web import Runner, application, run
from tests.agent.border import T0, assessment, journey, row
from tests.agent.roadside import IN_TRACKING, KEY, TOPICS, HandClock, Roadside, drive
from zones.fix import Fix

JRN = "J-2026-00042"
UNIT = "lorry-7"
PLATE = "ZH 123456"
PHONE = "+41 58 462 11 11"
OFFICE = "CH001251"
LANE = "B 4"


@dataclass(frozen=True)
class RunningClock(HandClock):
    """Goes on by itself, and leaps where it is moved to."""

    started_s: float = field(default_factory=time.monotonic)

    def now_s(self) -> float:
        return self.hand[0] + time.monotonic() - self.started_s

    def move_to(self, at_s: float) -> None:
        self.hand[0] = max(self.hand[0], at_s - (time.monotonic() - self.started_s))


class Crossing:
    """One lorry that comes to Thayngen, and its driver's page."""

    def __init__(self, folder: Path, table: DriverTable | None = None, **crew: Any) -> None:
        self.clock = RunningClock()
        self.box = Roadside(folder, self.clock)
        self.crew = crew
        self.signed: dict[str, bytes] = {}
        self.incidents: list[str] = []
        self.tokens = DriverTokens(jwk_of(KEY))
        self.window = DriverWindow(
            register=self.box.register,
            tokens=self.tokens,
            table=table or DriverTable(phone=PHONE),
            clock=self.clock,
            last_fix=lambda unit: self.box.around.last.get(unit),
            signed=lambda unit: self.signed.get(TOPICS.instruction(unit)),
            record=self.record,
        )
        self.pages = DriverPages(self.window.desk(), 365.0)

    async def record(self, event: Event) -> None:
        """As the pipeline: on disk first, then told."""
        if isinstance(event, IncidentReported):
            self.incidents.append(event.kind.value)
        self._committed(await self.box.take(events=(event,)))

    def _committed(self, committed: Any) -> None:
        for one in committed.outbox if committed is not None else ():
            if one.sealed:
                self.signed[one.target] = one.body
        self.pages.news()

    async def announced(self, language: str | None = "de", plate: str = PLATE, state: str = "READY") -> None:
        """The journey is declared."""
        crew = (CrewMember(language=language),) if language else ()
        means = TransportMeans(identification_number=plate, nationality="CH")
        declared = journey(
            JRN, units=(UNIT,), crew=crew, active_border_transport_means=means, plan={"customs_office": OFFICE}
        )
        await self.record(FeedRowArrived(row(declared, state=state)))

    async def arrives(self, end: float = 8.7260) -> None:
        """Drives into the activation zone and stands there; nothing is decided yet."""
        for fix in drive(UNIT, start=IN_TRACKING - 0.015, end=end, start_s=self.clock.now_s(), step_s=2.0):
            self.clock.move_to(fix.received_s)
            self._committed(await self.box.take(fix))
        await self.moves(0.0)

    async def moves(self, speed_mps: float) -> None:
        """The next fix says how fast."""
        last = self.box.around.last[UNIT]
        at_s = max(self.clock.now_s(), last.time_s + 0.1)
        fix: Fix = msgspec.structs.replace(
            last, time_s=at_s, received_s=at_s, speed_mps=speed_mps, seq=(last.seq or 0) + 1
        )
        self._committed(await self.box.take(fix))

    async def answered(self, routing: str = "TO_ENTRY", **changes: Any) -> None:
        """The authority's answer for every declaration."""
        state = self.box.register.instructions[JRN]
        now_s = self.clock.now_s()
        answers = tuple(assessment(state, one.activation_id, routing, now_s, **changes) for one in state.required)
        await self.record(RiskAnswered(JRN, f"box-1/{JRN}/{state.ask}", answers))

    async def must_report(self) -> None:
        """GO with an obligation at two places."""
        places = (
            ReportToLocation("VET", ("Zollamt Thayngen, Rampe 2",), 1),
            ReportToLocation("PHYTO", ("Pflanzenschutz Schaffhausen",), 2),
        )
        await self.answered(
            "TO_CONTROL",
            routing_control_location="AFTER_ENTRY",
            report_to_locations=places,
            deadline="2027-01-15T12:00:00.000Z",
        )

    async def officer(self, action: Action, lane: str | None = LANE) -> None:
        """An officer decides."""
        await self.record(OfficerDecided(JRN, action, "Muster", "officer", "seen", lane, OFFICE))

    @property
    def delivery(self) -> Any:
        """How far the newest instruction got."""
        return self.box.register.instructions[JRN].deliveries[-1]

    async def _stay(self) -> None:
        """A fix a second as before, so that its speed is never too old to count."""
        while True:
            last = self.box.around.last.get(UNIT)
            if last is not None:
                self.box.around.last[UNIT] = msgspec.structs.replace(last, received_s=self.clock.now_s())
            await asyncio.sleep(1.0)


@dataclass(frozen=True)
class Place:
    """A crossing that is served."""

    crossing: Crossing
    runner: Runner
    url: str


@asynccontextmanager
async def serving(crossing: Crossing, port: int = 0) -> AsyncIterator[Place]:
    """Serve the pages on loopback."""
    app = application(
        [*crossing.pages.link_routes(), *crossing.pages.page_routes()], title="borderlane agent", version="0"
    )
    runner = await run(app, "127.0.0.1", port)
    staying = asyncio.create_task(crossing._stay())
    try:
        yield Place(crossing, runner, f"{runner.url}/driver/{crossing.tokens.token(JRN)}")
    finally:
        staying.cancel()
        await asyncio.gather(staying, return_exceptions=True)
        crossing.pages.close()
        await runner.stop()
        crossing.box.store.close()


async def until(true: Any, limit_s: float = 20.0) -> None:
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(limit_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


__all__ = ["JRN", "T0", "UNIT", "Crossing", "Place", "serving", "until"]
