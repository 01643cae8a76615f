"""Whatever the risk service does, the lorry is told in time, and what comes late is never obeyed (F12).

A real pipeline, outbox, store and HTTP client against a service that fails in every way, all ways at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.clock import Clock
from agent.delivery.unit_channel import Publisher
from agent.domain.routing import Assessment
from agent.domain.times import rfc3339
from agent.instruction.lifecycle import InstructionState
from agent.journal.batch import Committed
from agent.keys import jwk_of
from agent.mqtt_link import BrokerAddress
from agent.outbox import RISK_PATH, Outbox, Performed
from agent.pipeline import Happened, Measured, Outlets, Pipeline
from agent.risk.client import CustomsClient
from agent.risk.exchange import RiskAnswer, RiskRequest, sign_assessment
from agent.status.live import Metrics
from tests.agent.far_side import Answer, customs_service, mqtt_broker, says
from tests.agent.roadside import KEY, HandClock, Roadside, drive, expected

AUTHORITY, STRANGER = jwk_of(KEY), jwk_of(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
BUDGET_S, AFTER_S = 8.0, 4.0
"""The longest budget there is, and how long late answers are waited for after it."""
WAIT_S = 30.0
LATER = 2
"""Fixes of the drive after the one that settles the entry."""
Make = Callable[[RiskRequest], Assessment]


def positive(request: RiskRequest, **changes: object) -> Assessment:
    (asked,) = request.declarations
    now_s = time.time()
    fields: dict[str, object] = {
        "activation_id": asked.activation_id, "mrn": asked.mrn, "version": asked.version, "jrn": request.jrn,
        "crossing": request.crossing, "direction": request.direction, "routing": "TO_ENTRY",
        "issued_at": rfc3339(now_s), "valid_until": rfc3339(now_s + 1_800.0), **changes,
    }  # fmt: skip
    return Assessment(**fields)  # type: ignore[arg-type]


def answers(make: Make = positive, after_s: float = 0.0, key: object = AUTHORITY) -> Answer:
    """A signed answer, after a while."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read(), type=RiskRequest)
        await asyncio.sleep(after_s)
        signed = sign_assessment(make(asked), key, "authority-1")  # type: ignore[arg-type]
        return web.Response(body=msgspec.json.encode(RiskAnswer(assessments=(signed,))))

    return answer


async def hangs_after_headers(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await asyncio.sleep(60.0)
    return response


async def is_cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"assessments":[{"activationId":"')
    assert request.transport is not None
    request.transport.close()
    return response


async def never_ends(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with suppress(ConnectionError):
        for _ in range(1_600):  # 100 MB
            await response.write(b" " * 65_536)
    return response


FAULTS: dict[str, tuple[Answer, str]] = {
    "well": (answers(), "GO RELEASED"),
    "slow 1 s": (answers(after_s=1.0), "GO RELEASED"),
    "slow 5 s": (answers(after_s=5.0), "HOLD NO_ANSWER"),
    "slow 30 s": (answers(after_s=30.0), "HOLD NO_ANSWER"),
    "500": (says(500), "HOLD NO_ANSWER"),
    "429": (says(429, Retry_After="3600"), "HOLD NO_ANSWER"),
    "hang after headers": (hangs_after_headers, "HOLD NO_ANSWER"),
    "cut JSON": (is_cut, "HOLD NO_ANSWER"),
    "no JSON": (says(200, b'{"assessments":['), "HOLD NO_ANSWER"),
    "wrong schema": (says(200, b'{"assessments":[{"routing":"TO_ENTRY"}]}'), "HOLD NO_ANSWER"),
    "100 MB": (never_ends, "HOLD NO_ANSWER"),
    "wrong signature": (answers(key=STRANGER), "HOLD NO_ANSWER"),
    "other declaration": (answers(lambda asked: positive(asked, version=9)), "HOLD NO_ANSWER"),
    "other crossing": (answers(lambda asked: positive(asked, crossing="bargen")), "HOLD NO_ANSWER"),
    "unknown word": (answers(lambda asked: positive(asked, routing="FREE")), "HOLD NO_ANSWER"),
    "expired": (answers(lambda asked: positive(asked, valid_until=rfc3339(1.0))), "HOLD NO_ANSWER"),
}
PLACES = {"down": "http://127.0.0.1:1", "DNS": "http://customs.invalid", "TLS": "https://{}"}
"""Where nobody answers: refused, no such name, and a server that does not speak TLS."""


@asynccontextmanager
async def at_work(folder: Path, url: str, broker_port: int) -> AsyncIterator[Pipeline]:
    clock = Clock()
    roadside = Roadside(folder, HandClock(hand=[clock.now_s()]))
    connected = asyncio.Event()
    address = BrokerAddress("127.0.0.1", broker_port, "3.1.1")
    publisher = Publisher(address, f"out-{folder.name}", on_connected=connected.set)
    async with CustomsClient(url) as client:

        async def report(outcome: Performed) -> None:
            await pipeline.submit(Happened(outcome.events, outcome.done, outcome.dropped, outcome.retried))

        def committed(what: Committed) -> None:
            outbox.add(what.outbox)

        outbox = Outbox(publisher, client, {"authority-1": AUTHORITY}, clock, report)
        outlets = Outlets(committed, lambda _unit, _boot, _up_to: None)
        pipeline = Pipeline(roadside.register, roadside.around, roadside.store, clock, Metrics(), outlets)
        publisher.start()
        await asyncio.wait_for(connected.wait(), WAIT_S)
        tasks = [asyncio.create_task(work) for work in (pipeline.run(), outbox.run())]
        try:
            yield pipeline
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await publisher.close()
            roadside.store.close()


async def cross(pipeline: Pipeline) -> InstructionState:
    """A lorry enters the activation zone now; its instruction when the budget and a while are over."""
    await pipeline.submit(Happened((expected(),)))
    way_s = drive()[-LATER - 1].time_s - drive()[0].time_s
    for fix in drive(start_s=time.time() - way_s)[:-LATER]:
        await pipeline.submit(Measured(fix, "test"))
    await asyncio.sleep(BUDGET_S + AFTER_S)
    return pipeline.register.instructions["JRN-1"]


def verdict_on(state: InstructionState) -> str:
    """What was told, and whether it was in time and once."""
    told = f"{state.instruction.action} {state.instruction.reason_code}" if state.instruction else "nothing"
    in_time = state.out_s is not None and state.limit_s is not None and state.out_s <= state.limit_s
    return f"{told}{'' if in_time else ', too late'}{'' if state.version == 1 else f', version {state.version}'}"


async def one_case(name: str, answer: Answer, folder: Path, broker_port: int) -> tuple[str, str]:
    async with customs_service() as customs:

        async def by_path(request: web.Request) -> web.StreamResponse:
            return await (answer if request.path == RISK_PATH else says(503))(request)

        customs.always = by_path
        url = PLACES.get(name, customs.url).format(customs.url.partition("//")[2])
        async with at_work(folder, url, broker_port) as pipeline:
            return name, verdict_on(await cross(pipeline))


@pytest.mark.timeout(120)
async def test_a_decision_or_hold_is_out_in_time_whatever_the_risk_service_does(tmp_path: Path) -> None:
    cases = {name: answer for name, (answer, _) in FAULTS.items()} | dict.fromkeys(PLACES, says(500))
    async with mqtt_broker() as broker:
        work: list[Awaitable[tuple[str, str]]] = [
            one_case(name, answer, tmp_path / str(number), broker.port)
            for number, (name, answer) in enumerate(cases.items())
        ]
        found = dict(await asyncio.gather(*work))
    wanted = {name: told for name, (_, told) in FAULTS.items()} | dict.fromkeys(PLACES, "HOLD NO_ANSWER")
    assert found == wanted
