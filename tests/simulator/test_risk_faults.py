"""A risk service that fails in every way, while the rest of customs goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from simulator import risk_faults
from simulator.risk_faults import RISK_PATH, RiskFault, RiskFaults

ANSWER = {"assessments": ["x" * 2_000]}
HEADER = "Idempotency-Key"


@pytest.fixture
async def faults() -> AsyncIterator[RiskFaults]:
    """Risk faults before a customs service that says what it was asked."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == RISK_PATH:
            return web.json_response(ANSWER)
        words = [request.method, str(request.rel_url), (await request.read()).decode(), request.headers.get(HEADER)]
        return web.json_response(words, status=202, headers={"X-Said": "yes"})

    customs = web.Application()
    customs.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(customs)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    before = RiskFaults(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    await before.start()
    try:
        yield before
    finally:
        await before.stop()
        await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as opened:
        yield opened


async def ask(session: aiohttp.ClientSession, faults: RiskFaults) -> tuple[int, object]:
    async with session.post(faults.url + RISK_PATH, data=b"{}") as answer:
        return answer.status, await answer.json()


async def test_a_well_service_is_passed_on_whole(session: aiohttp.ClientSession, faults: RiskFaults) -> None:
    assert await ask(session, faults) == (200, ANSWER)
    assert faults.answered_s is not None
    async with session.post(f"{faults.url}/v1/activations?a=b%20c", data=b"body", headers={HEADER: "k"}) as answer:
        assert (answer.status, answer.headers["X-Said"]) == (202, "yes")
        assert await answer.json() == ["POST", "/v1/activations?a=b%20c", "body", "k"]


@pytest.mark.parametrize("fault", RiskFault)
async def test_each_fault_hurts_the_risk_call_alone(
    session: aiohttp.ClientSession, faults: RiskFaults, fault: RiskFault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(risk_faults, "SLOW_S", 0.5)
    faults.fault = fault
    async with session.get(f"{faults.url}/v1/transport-declarations?marker=0") as answer:
        assert answer.status == 202
    with pytest.raises((aiohttp.ClientError, TimeoutError, AssertionError, ValueError)):
        async with asyncio.timeout(0.3):
            assert await ask(session, faults) == (200, ANSWER)
    assert faults.answered_s is None
    faults.fault = None
    assert await ask(session, faults) == (200, ANSWER)


@pytest.mark.parametrize(("fault", "status"), [(RiskFault.ERROR_500, 500), (RiskFault.ERROR_429, 429)])
async def test_errors_are_said_as_such(
    session: aiohttp.ClientSession, faults: RiskFaults, fault: RiskFault, status: int
) -> None:
    faults.fault = fault
    async with session.post(faults.url + RISK_PATH, data=b"{}") as answer:
        assert answer.status == status
        assert answer.headers.get("Retry-After") == ("1" if status == 429 else None)


async def test_customs_away_is_a_bad_gateway(session: aiohttp.ClientSession) -> None:
    faults = RiskFaults("http://127.0.0.1:1")
    await faults.start()
    try:
        async with session.get(f"{faults.url}/healthz") as answer:
            assert answer.status == 502
    finally:
        await faults.stop()
