"""Rehearsal: what a running demo may be told to do next, by the control room or anybody on this machine."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.web import Call, ProblemError, Route, Runner, application, run
from simulator import zone_orders
from simulator.faults import FaultProxy
from zones.border_zone import ZoneSet

ACTIONS = ("START", "ADD_LORRIES", "CUT_LINK", "MOVE_ZONE", "CLOSE_CROSSING", "OPEN_CROSSING")
FLEETS_MAX = 20
"""Fleets that may be added to one demo."""


class ScenarioOrder(msgspec.Struct, frozen=True):
    """What shall happen next."""

    action: str
    """START (as many lorries as at the start once more), ADD_LORRIES, CUT_LINK, MOVE_ZONE, CLOSE_CROSSING,
    OPEN_CROSSING."""
    crossing: Annotated[str, Meta(max_length=64)] = ""
    count: Annotated[int, Meta(ge=1, le=500)] = 20
    seconds: Annotated[float, Meta(ge=1, le=120)] = 15.0


class Done(msgspec.Struct, frozen=True, rename="camel"):
    """What came of it."""

    fleets: int
    """Fleets added so far."""
    zone_set: str
    """Version of the zones in force."""


@dataclass
class Rehearsal:
    """Takes orders over HTTP."""

    lorries: int
    """How many the demo began with."""
    add: Callable[[int, int], Awaitable[None]]
    """Number of the fleet, lorries: set out."""
    swap: Callable[[ZoneSet], None]
    """Put other zones in force."""
    line: FaultProxy
    """From the agent to customs."""
    shipped: ZoneSet
    zones: ZoneSet
    fleets: int = 0
    orders: int = 0
    _cut: asyncio.Task[None] | None = field(default=None, repr=False)

    async def serve(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> Runner:
        """Listen.

        Raises:
            LinkError: the port is taken.
        """
        routes = [
            Route("POST", "/v1/scenario", self._take, "What shall happen next", request=ScenarioOrder,
                  responses={200: Done})
        ]  # fmt: skip
        return await run(application(routes, title="borderlane rehearsal", version="1"), host, port, tls)

    async def _take(self, call: Call) -> Done:
        await self.obey(call.body)
        return Done(self.fleets, self.zones.version)

    async def obey(self, order: ScenarioOrder) -> None:
        """Do what is ordered.

        Raises:
            ProblemError: it cannot be done.
        """
        match order.action:
            case "START":
                await self._set_out(self.lorries)
            case "ADD_LORRIES":
                await self._set_out(order.count)
            case "CUT_LINK":
                self._cut_for(order.seconds)
            case "MOVE_ZONE" | "CLOSE_CROSSING" | "OPEN_CROSSING":
                self._change_zones(order)
            case other:
                raise ProblemError(422, f"action {other!r}: expected one of {', '.join(ACTIONS)}")

    async def _set_out(self, lorries: int) -> None:
        if self.fleets >= FLEETS_MAX:
            raise ProblemError(409, f"{FLEETS_MAX} fleets are under way: no more in one demo")
        self.fleets += 1
        await self.add(self.fleets, lorries)

    def _cut_for(self, seconds: float) -> None:
        if self._cut is not None and not self._cut.done():
            raise ProblemError(409, "the line is cut already")
        self.line.cut()
        self._cut = asyncio.create_task(self._join_after(seconds))

    async def _join_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.line.set()

    def _change_zones(self, order: ScenarioOrder) -> None:
        number, crossing = self.orders + 1, order.crossing
        try:
            if order.action == "MOVE_ZONE":
                changed = zone_orders.moved(self.zones, crossing, number)
            elif order.action == "CLOSE_CROSSING":
                changed = zone_orders.closed(self.zones, crossing, number)
            else:
                changed = zone_orders.opened(self.zones, crossing, number, self.shipped)
        except KeyError as error:
            raise ProblemError(422, f"crossing {crossing!r}: not one of the zones in force") from error
        self.orders, self.zones = number, changed
        self.swap(changed)

    async def close(self) -> None:
        """Nothing is cut any more when the demo ends."""
        if self._cut is not None:
            self._cut.cancel()
            await asyncio.gather(self._cut, return_exceptions=True)
