"""The trade side: declarations of the simulated lorries go to customs, earliest arrivals first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import aiohttp
import msgspec
import structlog

from agent.domain.declaration import GoodsDeclaration, TransportDeclaration
from simulator.scenario import LorryPlan

LIST_SIZE = 200
"""Declarations in one request; the service takes 1,000."""
REQUEST_TIMEOUT_S = 10.0
TRIES = 100
RETRY_S = 0.1

_LOG = structlog.get_logger()


class CustomsUnreachable(Exception):  # noqa: N818 - reads as the fact it states
    """Declarations could not be handed in."""


def goods_of(plans: Iterable[LorryPlan]) -> list[GoodsDeclaration]:
    """Goods declarations in order of arrival, each number once (lorries share permits)."""
    return list({goods.mrn: goods for plan in plans for goods in plan.goods}.values())


def by_arrival(plans: Iterable[LorryPlan]) -> list[LorryPlan]:
    """Earliest arrivals first."""
    return sorted(plans, key=lambda plan: plan.entry_s or plan.departs_s)


async def hand_in(session: aiohttp.ClientSession, customs_url: str, plans: Iterable[LorryPlan]) -> int:
    """Hand in goods, then transport declarations; how many declarations went in.

    Handing in the same again changes nothing, so a lost answer is simply asked for again.

    Raises:
        CustomsUnreachable: no answer, or one that says the request itself is wrong.
    """
    ordered = by_arrival(plans)
    journeys = [plan.journey for plan in ordered if plan.journey is not None]
    sent = 0
    for path, declarations in (
        ("goods-declarations", goods_of(ordered)),
        ("transport-declarations", journeys),
    ):
        items: Sequence[GoodsDeclaration | TransportDeclaration] = declarations
        for start in range(0, len(items), LIST_SIZE):
            part = items[start : start + LIST_SIZE]
            await _post(session, f"{customs_url.rstrip('/')}/v1/{path}", msgspec.json.encode(part))
            sent += len(part)
    return sent


async def _post(session: aiohttp.ClientSession, url: str, body: bytes) -> None:
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    problem = ""
    for _ in range(TRIES):
        try:
            async with session.post(
                url, data=body, headers={"Content-Type": "application/json"}, timeout=timeout
            ) as answer:
                text = await answer.text()
                if answer.status < 300:
                    return
                problem = f"{answer.status} {text[:300]}"
                if 400 <= answer.status < 500 and answer.status != 429:
                    break
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = f"{type(error).__name__}: {error}"
        _LOG.debug("customs_not_ready", url=url, problem=problem)
        await asyncio.sleep(RETRY_S)
    raise CustomsUnreachable(f"{url}: {problem}")
