"""simulator/rehearsal.py: orders over HTTP, what they do, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from simulator import rehearsal
from simulator.faults import FaultProxy
from simulator.rehearsal import Rehearsal
from zones.border_zone import ZoneSet
from zones.catalogue import shipped_zone_set

WAIT_S = 10.0


@dataclass
class Told:
    """What the rehearsal had done."""

    fleets: list[tuple[int, int]] = field(default_factory=list)
    zones: list[ZoneSet] = field(default_factory=list)

    async def add(self, number: int, lorries: int) -> None:
        self.fleets.append((number, lorries))


@pytest.fixture
async def staged() -> AsyncIterator[tuple[Rehearsal, Told, str]]:
    told, shipped = Told(), shipped_zone_set()
    line = FaultProxy(("127.0.0.1", 9))
    await line.start()
    running = Rehearsal(40, told.add, told.zones.append, line, shipped, shipped)
    runner = await running.serve("127.0.0.1", 0)
    try:
        yield running, told, runner.url
    finally:
        await running.close()
        await runner.stop()
        await line.stop()


async def order(url: str, **body: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/scenario", json=body) as answer:
        return answer.status, await answer.json()


async def test_lorries_set_out_and_are_bounded(staged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "FLEETS_MAX", 2)
    _, told, url = staged
    assert (await order(url, action="ADD_LORRIES", count=7))[1]["fleets"] == 1
    assert (await order(url, action="START"))[0] == 200
    assert (await order(url, action="START"))[0] == 409
    assert told.fleets == [(1, 7), (2, 40)]


async def test_the_line_is_cut_and_comes_back(staged: Any) -> None:
    running, _, url = staged
    assert (await order(url, action="CUT_LINK", seconds=1))[0] == 200
    assert running.line.line.refuse
    assert (await order(url, action="CUT_LINK", seconds=1))[0] == 409
    async with asyncio.timeout(WAIT_S):
        await running._cut
    assert not running.line.line.refuse


async def test_zones_change_from_order_to_order(staged: Any) -> None:
    running, told, url = staged
    for action in ("MOVE_ZONE", "CLOSE_CROSSING", "OPEN_CROSSING"):
        assert (await order(url, action=action, crossing="thayngen"))[0] == 200
    assert [zones.version.partition("+")[2] for zones in told.zones] == ["rehearsal.1", "rehearsal.2", "rehearsal.3"]
    assert running.zones is told.zones[-1]


@pytest.mark.parametrize("body", [
    {"action": "FLY"}, {"action": "MOVE_ZONE", "crossing": "atlantis"}, {"action": "ADD_LORRIES", "count": 0},
    {"action": "CUT_LINK", "seconds": 1e9}, {},
])  # fmt: skip
async def test_orders_that_cannot_be_are_refused(staged: Any, body: dict[str, Any]) -> None:
    status, problem = await order(staged[2], **body)
    assert status == 422 and problem["detail"]
