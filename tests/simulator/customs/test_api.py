"""simulator/customs/api.py over a real socket, with the service stopped and started again."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from openapi_spec_validator import validate

from agent.domain.declaration import FeedPage
from agent.domain.identifiers import activation_id
from agent.domain.instruction import REFERENCE_TYPE
from agent.domain.signed import verify
from agent.keys import read_public_key
from agent.risk.exchange import RiskAnswer, verified_assessment
from simulator.customs.commands import PUBLIC_FILE, CustomsConfig, CustomsService, RiskTable

Make = Callable[..., Any]
METHODS = ("post", "put", "delete")
JSON = {"Content-Type": "application/json"}
NO_LOT = CustomsConfig(risk=RiskTable(random_share=0.0))


@asynccontextmanager
async def serving(data: Path, config: CustomsConfig = NO_LOT) -> AsyncIterator[aiohttp.ClientSession]:
    service = CustomsService(data, config)
    try:
        runner = await service.start("127.0.0.1", 0)
        async with aiohttp.ClientSession(runner.url) as session:
            yield session
    finally:
        await service.stop()


async def call(session: aiohttp.ClientSession, method: str, path: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
    async with session.request(method, path, data=data, headers=JSON | headers) as answer:
        return answer.status, json.loads(await answer.read())


def activation(mrn: str, jrn: str = "J", **changes: Any) -> tuple[str, dict[str, Any]]:
    key = activation_id(mrn, 1, jrn, "thayngen", "IN")
    body = {
        "jrn": jrn, "crossing": "thayngen", "customsOffice": None, "direction": "IN",
        "activationDateTime": "2026-11-22T10:00:00.000Z", "variant": "AUTOMATIC",
        "location": {"gnss": {"latitude": 47.7, "longitude": 8.7}},
        "declarations": [{"mrn": mrn, "version": 1, "activationId": key}],
    }  # fmt: skip
    return key, body | changes


def risk(mrn: str, request_id: str = "r1", plate: str = "ZH123") -> dict[str, Any]:
    _, body = activation(mrn)
    kept = {name: body[name] for name in ("jrn", "crossing", "customsOffice", "direction", "activationDateTime")}
    vehicle = {"identificationNumber": plate, "nationality": "CH"}
    return kept | {"requestId": request_id, "vehicle": vehicle, "declarations": body["declarations"]}


async def seed(session: aiohttp.ClientSession, goods: Make, journey: Make, mrn: Make) -> None:
    await call(session, "POST", "/v1/goods-declarations", goods(1))
    status, answer = await call(session, "POST", "/v1/transport-declarations", journey("J", mrn(1)))
    assert (status, answer["state"], answer["ruleFailures"]) == (200, "READY", [])


async def test_answers_outlive_a_restart(tmp_path: Path, goods: Make, journey: Make, mrn: Make) -> None:
    key, body = activation(mrn(1))
    async with serving(tmp_path) as session:
        await seed(session, goods, journey, mrn)
        first = await call(session, "POST", "/v1/activations", body, **{"Idempotency-Key": key})
        assessed = await call(session, "POST", "/v1/risk-assessments", risk(mrn(1)))
        assert first[1]["results"][0]["result"] == "ACCEPTED"
    async with serving(tmp_path) as session:
        assert await call(session, "POST", "/v1/activations", body, **{"Idempotency-Key": key}) == first
        assert await call(session, "POST", "/v1/risk-assessments", risk(mrn(1))) == assessed
        other = activation(mrn(1), evidenceDigest="x")[1]
        status, problem = await call(session, "POST", "/v1/activations", other, **{"Idempotency-Key": key})
        assert (status, problem["errors"][0]["field"]) == (422, "header Idempotency-Key")
        status, problem = await call(session, "POST", "/v1/activations", body)
        assert (status, problem["errors"][0]["field"]) == (400, "header Idempotency-Key")
        status, stored = await call(session, "GET", "/v1/activations?marker=0")
        assert [row["result"] for row in stored["rows"]] == ["ACCEPTED"]
        status, stored = await call(session, "GET", "/v1/risk-assessments")
        assert [row["signature"] for row in stored["rows"]] == [assessed[1]["assessments"][0]["signature"]]


async def test_what_is_signed_verifies_with_the_published_key(
    tmp_path: Path, goods: Make, journey: Make, mrn: Make
) -> None:
    async with serving(tmp_path) as session:
        await seed(session, goods, journey, mrn)
        _, answer = await call(session, "POST", "/v1/risk-assessments", risk(mrn(1), plate="zh 999-001"))
        _, reference = await call(session, "GET", "/v1/reference-data")
    keys = {"authority-1": read_public_key(tmp_path / PUBLIC_FILE)}
    (assessment,) = msgspec.convert(answer, RiskAnswer).assessments
    verified = verified_assessment(assessment, keys)
    assert (verified.routing, verified.routing_control_location) == ("TO_CONTROL", "ON_ENTRY")
    signature = reference.pop("signature")
    assert json.loads(verify(signature, keys, REFERENCE_TYPE)) == reference
    assert len(reference["crossings"]) == 64
    assert (tmp_path / "authority.key.pem").stat().st_mode & 0o777 == 0o600


async def test_a_list_is_answered_one_by_one(tmp_path: Path, goods: Make, journey: Make, mrn: Make) -> None:
    async with serving(tmp_path) as session:
        bad = msgspec.to_builtins(goods(2)) | {"goodsItems": [{"goodsItemNumber": 0, "commodityCode": "3926"}]}
        status, answers = await call(session, "POST", "/v1/goods-declarations", [goods(1), bad, goods(3)])
        assert (status, [one["state"] for one in answers]) == (200, ["READY", "NOT_READY", "READY"])
        (failure,) = answers[1]["ruleFailures"]
        assert (failure["code"], failure["field"]) == ("MALFORMED", "$.goodsItems[0].goodsItemNumber")
        assert answers[2]["mrn"] == mrn(3)
        status, answers = await call(
            session, "POST", "/v1/transport-declarations", [journey("J 1", mrn(1)), journey("J2", mrn(1))]
        )
        assert [one["state"] for one in answers] == ["NOT_READY", "READY"]
        assert answers[0]["ruleFailures"][0]["code"] == "JRN_FORM"
        status, problem = await call(session, "POST", "/v1/transport-declarations", journey("J 1", mrn(1)))
        assert (status, problem["errors"][0]["field"]) == (422, "$.jrn")
        status, problem = await call(session, "POST", "/v1/goods-declarations", bad)
        assert (status, problem["errors"][0]["field"]) == (422, "$.goodsItems[0].goodsItemNumber")
        status, problem = await call(session, "POST", "/v1/goods-declarations", b"[" + b"{}," * 1000 + b"{}]")
        assert (status, problem["detail"]) == (422, "$: 1001 declarations: at most 1000 at once")


async def test_amending_and_cancelling(tmp_path: Path, goods: Make, journey: Make, mrn: Make) -> None:
    async with serving(tmp_path) as session:
        await seed(session, goods, journey, mrn)
        amended = goods(1, consignee=None)
        assert (await call(session, "PUT", "/v1/goods-declarations", amended))[1]["version"] == 2
        status, view = await call(session, "GET", "/v1/transport-declarations/J")
        assert view["declaration"]["references"] == [{"referenceNumber": mrn(1), "version": 2}]
        assert view["goods"] == [{"jrn": "J", "mrn": mrn(1), "direction": "IN", "state": "REFERENCED"}]
        assert (await call(session, "DELETE", "/v1/transport-declarations", {"jrn": "J"}))[1]["state"] == "CANCELLED"
        status, view = await call(session, "GET", f"/v1/goods-declarations/{mrn(1).lower()}")
        assert (status, view["state"], view.get("journeys")) == (200, "ACCEPTED", None)
        assert (await call(session, "DELETE", "/v1/goods-declarations", [{"mrn": mrn(1)}]))[1][0][
            "state"
        ] == "CANCELLED"
        for path in ("/v1/goods-declarations/none", "/v1/transport-declarations/none"):
            assert (await call(session, "GET", path))[0] == 404


async def test_the_feed_pages_and_shows_each_journey_once(
    tmp_path: Path, goods: Make, journey: Make, mrn: Make
) -> None:
    async with serving(tmp_path) as session:
        await call(session, "POST", "/v1/goods-declarations", [goods(number) for number in range(5)])
        journeys = [journey(f"J{number}", mrn(number)) for number in range(5)]
        await call(session, "POST", "/v1/transport-declarations", journeys)
        await call(session, "PUT", "/v1/transport-declarations", journey("J0", mrn(0), plate="ZH 9"))
        marker, seen, pages = 0, [], 0
        while True:
            _, page = await call(session, "GET", f"/v1/transport-declarations?marker={marker}&limit=2")
            rows = msgspec.convert(page, FeedPage).rows
            if not rows:
                break
            assert len(rows) <= 2
            assert page["marker"] == rows[-1].marker > marker
            marker, pages = page["marker"], pages + 1
            seen += [row.jrn for row in rows]
        assert (seen, pages) == (["J1", "J2", "J3", "J4", "J0"], 3)


async def test_control_results_and_checkpoints(tmp_path: Path, goods: Make, journey: Make, mrn: Make) -> None:
    async with serving(tmp_path) as session:
        await seed(session, goods, journey, mrn)
        result = {
            "controlResultId": "c1", "mrn": mrn(1), "version": 1, "jrn": "J", "officer": "Meier",
            "controlResultCode": "CONFORM",
        }  # fmt: skip
        first = await call(session, "POST", "/v1/control-results", result)
        assert first == (200, {"controlResultId": "c1", "state": "RELEASED"})
        assert await call(session, "POST", "/v1/control-results", result) == first
        assert (await call(session, "POST", "/v1/control-results", result | {"officer": "K"}))[0] == 422
        _, page = await call(session, "GET", "/v1/transport-declarations")
        assert page["rows"][-1]["controlResults"][0]["officer"] == "Meier"
        _, routing = await call(session, "GET", "/v1/routing")
        assert [row["routing"] for row in routing["rows"]] == ["TO_ENTRY"]
        head = {"agent": "box-1", "checkpoint": f"borderlane/box-1\n7\n{'A' * 43}=\n\n— box-1 c2ln\n"}
        assert (await call(session, "POST", "/v1/checkpoints", head)) == (200, {"status": "ok"})
        head["checkpoint"] = head["checkpoint"].replace("7", "6", 1)
        status, conflict = await call(session, "POST", "/v1/checkpoints", head)
        assert (status, conflict["heldSize"], conflict["status"]) == (409, 7, 409)
        word = {"agent": "box-1", "officer": "Muster", "reason": "disk replaced"}
        assert (await call(session, "POST", "/v1/checkpoints/reconciliations", word))[0] == 200
        assert (await call(session, "POST", "/v1/checkpoints", head))[0] == 200


async def test_the_description_is_valid_and_names_every_call_of_the_contract(tmp_path: Path) -> None:
    async with serving(tmp_path) as session:
        _, document = await call(session, "GET", "/openapi.json")
        async with session.get("/docs") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
        assert (await call(session, "GET", "/healthz"))[1] == {"status": "ok"}
        assert (await call(session, "GET", "/readyz"))[0] == 200
    validate(document)
    assert document["openapi"].startswith("3.1")
    calls = {f"{method} {path}" for path, one in document["paths"].items() for method in one}
    declared = {f"{method} /v1/{kind}-declarations" for method in METHODS for kind in ("goods", "transport")}
    assert declared | {
        "get /v1/transport-declarations", "post /v1/activations", "post /v1/risk-assessments",
        "post /v1/control-results", "get /v1/routing", "get /v1/reference-data", "post /v1/checkpoints",
    } <= calls  # fmt: skip


async def test_a_morning_is_declared_in_two_requests(tmp_path: Path, goods: Make, journey: Make, mrn: Make) -> None:
    declared = [goods(number) for number in range(1_000)]
    journeys = [journey(f"J{one}", *(mrn(one * 5 + more) for more in range(5))) for one in range(200)]
    async with serving(tmp_path) as session:
        _, first = await call(session, "POST", "/v1/goods-declarations", declared)
        _, second = await call(session, "POST", "/v1/transport-declarations", journeys)
    assert {one["state"] for one in first + second} == {"READY"}


BODIES = (b"", b"null", b"[]", b"{}", b"{", b"1e999", b'"x"', b"\xff", b"[" * 10_000, b'{"jrn":1}', b'{"agent":null}')


@pytest.mark.parametrize("path", ["/v1/activations", "/v1/risk-assessments", "/v1/control-results", "/v1/checkpoints"])
async def test_no_body_breaks_the_service(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as session:
        for body in BODIES:
            status, problem = await call(session, "POST", path, body, **{"Idempotency-Key": "k"})
            assert status in (400, 422), body
            assert problem["title"]
        assert (await call(session, "GET", "/readyz"))[0] == 200
