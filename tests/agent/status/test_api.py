"""agent/status/api.py: the calls over a real socket, with a real register and pipeline behind them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from openapi_spec_validator import validate

from agent import desk
from agent.activation.events import OfficerDecided
from agent.domain.instruction import Action
from agent.pipeline import Outlets, Pipeline
from agent.status.api import AgentStatus, Desk, OverrideRequest, agent_application
from agent.status.live import Metrics
from agent.web import Access, EventStream, Identity, StreamEvent, bearer_access
from tests.agent.roadside import IN_ACTIVATION, Roadside, drive, expected

OVERRIDE = "/v1/journeys/JRN-1/override"
GO = {"action": "GO", "officer": "Muster", "reason": "papers seen"}
STATUS = AgentStatus(
    agent="box-1", mode="UPLINK_LOST", degraded=("RISK_DEGRADED", "UPLINK_LOST"),
    mode_since="2026-11-22T10:00:00.000Z", since="2026-11-22T09:00:00.000Z", version="0.1.0", zone_set="1", zones=384,
    broker_connected=True, customs_reachable=False, feed_marker=7, journeys=1, units=1, waiting=0, outbox_pending=2,
    outbox_oldest_s=1.5, journal_entries=9, fixes={"accepted": 3}, instructions={"GO": 1},
    fix_to_instruction_ms={"p50": 20.0}, serial={},
)  # fmt: skip


class Service:
    """The agent's HTTP over a roadside box."""

    def __init__(self, roadside: Roadside) -> None:
        self.roadside = roadside
        self.metrics = Metrics()
        self.stream = EventStream()
        self.parts = {"journal": True, "broker": True}
        outlets = Outlets(lambda _committed: None, lambda *_watermark: None)
        self.pipeline = Pipeline(
            roadside.register, roadside.around, roadside.store, roadside.clock, self.metrics, outlets
        )
        register = roadside.register
        self.desk = Desk(
            status=lambda: STATUS,
            rows=lambda keys: desk.rows(register, keys),
            detail=lambda key: desk.detail(register, key),
            ready=lambda: self.parts,
            override=self.override,
            stream=self.stream,
            metrics=self.metrics,
        )

    async def override(self, key: str, request: OverrideRequest, action: Action, role: str) -> bool:
        register = self.roadside.register
        if key not in register.journeys and key not in register.instructions:
            return False
        await self.pipeline.record(OfficerDecided(key, action, request.officer, role, request.reason, request.lane))
        return True


@asynccontextmanager
async def serving(
    roadside: Roadside, access: Access | None = None
) -> AsyncIterator[tuple[TestClient[Any, Any], Service]]:
    service = Service(roadside)
    task = asyncio.create_task(service.pipeline.run())
    server = TestServer(agent_application(service.desk, "0.1.0", access))
    client: TestClient[Any, Any] = TestClient(server)
    await client.start_server()
    try:
        yield client, service
    finally:
        service.stream.close()
        await client.close()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def held(roadside: Roadside) -> Roadside:
    """JRN-1 stands in the activation zone under HOLD."""
    await roadside.take(events=(expected(),))
    await roadside.drive(drive(end=IN_ACTIVATION))
    assert roadside.register.instructions["JRN-1"].action is Action.HOLD
    return roadside


async def test_it_lives_and_says_what_it_is_not_ready_for(roadside: Roadside) -> None:
    async with serving(roadside) as (client, service):
        assert await (await client.get("/healthz")).json() == {"ok": True, "parts": {}}
        assert (await client.get("/readyz")).status == 200
        service.parts = {"journal": True, "broker": False}
        answer = await client.get("/readyz")
        assert answer.status == 503
        assert await answer.json() == {"ok": False, "parts": {"journal": True, "broker": False}}


async def test_status_and_metrics(roadside: Roadside) -> None:
    async with serving(roadside) as (client, service):
        page = await (await client.get("/v1/status")).json()
        assert (page["mode"], page["modeSince"], page["outboxOldestS"]) == (
            "UPLINK_LOST", "2026-11-22T10:00:00.000Z", 1.5,
        )  # fmt: skip
        assert page["degraded"] == ["RISK_DEGRADED", "UPLINK_LOST"] and page["fixToInstructionMs"] == {"p50": 20.0}
        service.metrics.units.set(5)
        metrics = await client.get("/metrics")
        assert metrics.content_type == "text/plain" and "borderlane_units 5.0" in await metrics.text()


async def test_journeys_all_some_and_one(held: Roadside) -> None:
    async with serving(held) as (client, _service):
        (row,) = (await (await client.get("/v1/journeys")).json())["journeys"]
        assert (row["key"], row["action"], row["reasonCode"]) == ("JRN-1", "HOLD", "NO_ANSWER")
        for keys in ("JRN-1", "u1", "u1,nobody,"):
            page = await (await client.get("/v1/journeys", params={"keys": keys})).json()
            assert page["journeys"] == [row], keys
        assert (await (await client.get("/v1/journeys?keys=nobody")).json())["journeys"] == []
        whole = await (await client.get("/v1/journeys/JRN-1")).json()
        assert whole["row"] == row and whole["instruction"]["action"] == "HOLD"


async def test_what_is_not_known_is_a_problem(roadside: Roadside) -> None:
    async with serving(roadside) as (client, _service):
        for answer in (
            await client.get("/v1/journeys/JRN-9"),
            await client.post("/v1/journeys/JRN-9/override", json=GO),
            await client.get("/v1/nothing"),
        ):
            assert answer.status == 404 and answer.content_type == "application/problem+json"
            problem = await answer.json()
            assert (problem["status"], problem["title"]) == (404, "Not Found")
        assert "JRN-9" in (await (await client.get("/v1/journeys/JRN-9")).json())["detail"]


async def test_an_officer_turns_hold_into_go_and_it_is_on_disk_by_then(held: Roadside) -> None:
    async with serving(held) as (client, _service):
        answer = await client.post(OVERRIDE, json=GO)
        assert answer.status == 200
        whole = await answer.json()
        assert (whole["row"]["action"], whole["row"]["reasonCode"]) == ("GO", "OFFICER")
        stored = held.store.load_state().records["instruction"]["JRN-1"]
        assert b"Muster" in stored
    entries = await held.store.read_entries(0, 10_000)
    assert any(b"Muster" in entry.body for entry in entries), "the officer is named in the journal"


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"action": "MAYBE"}, 422, "expected one of GO, GO_WITH_OBLIGATION, HOLD, STOP"),
        ({"action": "go"}, 422, "expected one of"),
        ({"officer": ""}, 422, "$.officer"),
        ({"reason": ""}, 422, "$.reason"),
        ({"reason": "x" * 513}, 422, "$.reason"),
        ({"officer": None}, 422, "$.officer"),
        ({"role": "carrier"}, 403, "expected officer or supervisor"),
        ({"role": "auditor"}, 403, "expected officer or supervisor"),
        ({"role": "operator"}, 403, "expected officer or supervisor"),
    ],
)
async def test_an_override_that_is_not_good_changes_nothing(
    held: Roadside, change: dict[str, Any], status: int, said: str
) -> None:
    async with serving(held) as (client, _service):
        answer = await client.post(OVERRIDE, json={**GO, **change})
        assert answer.status == status and answer.content_type == "application/problem+json"
        assert said in json.dumps(await answer.json())
    assert held.register.instructions["JRN-1"].action is Action.HOLD


async def test_what_a_browser_can_send_across_origins_is_not_taken(held: Roadside) -> None:
    async with serving(held) as (client, _service):
        answer = await client.post(OVERRIDE, data=json.dumps(GO), headers={"Content-Type": "text/plain"})
        assert answer.status == 415
        assert (await client.post(OVERRIDE, data=b"{", headers={"Content-Type": "application/json"})).status == 400
    assert held.register.instructions["JRN-1"].action is Action.HOLD


ROLES = ("operator", "officer", "supervisor", "auditor", "carrier")
TOKENS = {role: Identity(f"{role}-1", role) for role in ROLES}


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {role}"}


@pytest.mark.parametrize("role", ROLES)
async def test_where_access_is_checked_the_role_is_that_of_the_token(held: Roadside, role: str) -> None:
    """What the body says of its role is then not believed."""
    may = role in ("officer", "supervisor")
    async with serving(held, bearer_access(TOKENS)) as (client, _service):
        said = "carrier" if may else "supervisor"
        answer = await client.post(OVERRIDE, json={**GO, "role": said}, headers=bearer(role))
        assert answer.status == (200 if may else 403)
        seen = await client.get("/v1/journeys", headers=bearer(role))
        assert seen.status == (403 if role == "carrier" else 200)
    assert held.register.instructions["JRN-1"].action is (Action.GO if may else Action.HOLD)


async def test_without_a_token_only_health_and_the_description_are_open(held: Roadside) -> None:
    async with serving(held, bearer_access(TOKENS)) as (client, _service):
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert (await client.get(path)).status == 200, path
        for path in ("/v1/journeys", "/v1/journeys/JRN-1", "/v1/events"):
            assert (await client.get(path)).status == 401, path
        assert (await client.post(OVERRIDE, json=GO)).status == 401


async def lines(answer: Any, count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(5.0):
        while len(found) < count:
            line = (await answer.content.readline()).decode().strip()
            found += [line] if line.startswith(("id:", "event:", "data:")) else []
    return found


async def test_events_come_and_resume(roadside: Roadside) -> None:
    async with serving(roadside) as (client, service):
        service.stream.publish(StreamEvent(1, "mode", b'{"mode":"NORMAL"}'))
        service.stream.publish(StreamEvent(2, "alarm", b'{"name":"BREACH"}'))
        answer = await client.get("/v1/events", headers={"Last-Event-ID": "1"})
        assert answer.content_type == "text/event-stream"
        assert await lines(answer, 3) == ["id: 2", "event: alarm", 'data: {"name":"BREACH"}']
        service.stream.publish(StreamEvent(3, "mode", b"{}"))
        assert await lines(answer, 3) == ["id: 3", "event: mode", "data: {}"]
        answer.close()


@pytest.mark.parametrize("access", [None, bearer_access(TOKENS)])
async def test_the_description_is_valid_and_names_every_call(roadside: Roadside, access: Access | None) -> None:
    async with serving(roadside, access) as (client, _service):
        document = await (await client.get("/openapi.json")).json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/healthz", "/readyz", "/metrics", "/v1/status", "/v1/journeys", "/v1/journeys/{jrn}", "/v1/events",
        "/v1/journeys/{jrn}/override", "/v1/journeys/{jrn}/explain", "/v1/declarations", "/v1/positions.bin",
        "/v1/zones", "/v1/journal/export",
    }  # fmt: skip
    request = document["paths"]["/v1/journeys/{jrn}/override"]["post"]["requestBody"]
    assert "OverrideRequest" in json.dumps(request)
