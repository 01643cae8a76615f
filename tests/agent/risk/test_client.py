"""agent/risk/client.py: the exact bytes out, one `Reply` or `LinkError` back."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import LinkError
from agent.risk.client import (
    MAX_ANSWER_BYTES,
    MAX_RETRY_AFTER_S,
    CustomsClient,
    Reply,
    Verdict,
    verdict,
)
from tests.agent.far_side import Answer, Held, customs_service, cuts, says


async def reply_to(answer: Answer, timeout_s: float = 5.0) -> Reply:
    async with customs_service() as customs:
        customs.always = answer
        async with CustomsClient(customs.url) as client:
            return await client.post("/v1/activations", b"{}", timeout_s)


async def test_the_bytes_and_the_key_go_out_as_they_are() -> None:
    body = b'{"a" :  1.50, "b":"\xc3\xa4"}\n'
    async with customs_service() as customs, CustomsClient(customs.url + "/") as client:
        assert await client.post("/v1/activations", body, 5.0, "key-1") == Reply(200, b"{}")
        assert await client.post("/v1/risk-assessments", body, 5.0) == Reply(200, b"{}")
    first, second = customs.asked
    assert (first.path, first.key, first.body) == ("/v1/activations", "key-1", body)
    assert (second.path, second.key, second.body) == ("/v1/risk-assessments", None, body)
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [200, 201, 302, 401, 409, 422, 429, 500, 503])
async def test_every_status_comes_back_as_it_is(status: int) -> None:
    assert await reply_to(says(status, b'{"x":1}')) == Reply(status, b'{"x":1}')


async def test_a_redirect_is_not_followed() -> None:
    """After a 302 the request would go out again as a GET, and its 200 would count as a yes."""
    async with customs_service() as customs, CustomsClient(customs.url) as client:
        customs.then.append(says(302, b"", Location="/elsewhere"))
        assert (await client.post("/v1/activations", b"{}", 5.0)).status == 302
    assert [one.path for one in customs.asked] == ["/v1/activations"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("9" * 400, MAX_RETRY_AFTER_S),
        ("²", None),
        ("-1", None),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
async def test_retry_after_is_read_and_bounded(header: str, seconds: float | None) -> None:
    assert (await reply_to(says(429, Retry_After=header))).retry_after_s == seconds


async def test_a_cut_is_a_link_error() -> None:
    with pytest.raises(LinkError, match="POST /v1/activations"):
        await reply_to(cuts)


async def test_silence_is_a_link_error_in_time() -> None:
    begun_s = time.monotonic()
    with pytest.raises(LinkError, match="Timeout"):
        await reply_to(Held(), timeout_s=0.1)
    assert time.monotonic() - begun_s < 9.0


async def test_nobody_there_is_a_link_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with CustomsClient(f"http://127.0.0.1:{unused.getsockname()[1]}") as client:
            with pytest.raises(LinkError, match="POST /v1/activations"):
                await client.post("/v1/activations", b"{}", 2.0)


async def test_an_answer_beyond_every_bound_is_refused_unread() -> None:
    assert len((await reply_to(says(200, b"x" * MAX_ANSWER_BYTES))).body) == MAX_ANSWER_BYTES
    with pytest.raises(LinkError, match="answer over"):
        await reply_to(says(200, b"x" * (MAX_ANSWER_BYTES + 1)))


async def test_half_an_answer_is_no_answer() -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"results":[]')
        assert request.transport is not None
        request.transport.close()
        return response

    with pytest.raises(LinkError):
        await reply_to(half)


async def test_a_packed_answer_is_handed_on_as_it_is() -> None:
    """We never ask for one; what cannot be read is then said where the answer is decoded."""
    packed = gzip.compress(b"{}")
    assert (await reply_to(says(200, packed, Content_Encoding="gzip"))).body == packed


async def test_many_requests_do_not_wait_for_one_that_hangs() -> None:
    async with customs_service() as customs, CustomsClient(customs.url) as client:
        hanging = Held()
        customs.then.extend([hanging] * 150)
        waiting = [asyncio.create_task(client.post("/v1/activations", b"{}", 30.0)) for _ in range(150)]
        await customs.until(150)
        assert (await client.post("/v1/risk-assessments", b"{}", 5.0)).status == 200
        hanging.let_go()
        assert {reply.status for reply in await asyncio.gather(*waiting)} == {200}


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        ([200, 201, 204, 299], Verdict.DONE),
        ([401, 403], Verdict.NOT_ALLOWED),
        ([408, 409, 425, 429, 500, 502, 503, 504, 599, 302, 304, 100], Verdict.KEEP),
        ([400, 404, 405, 410, 413, 415, 422], Verdict.OUR_FAULT),
    ],
)
def test_what_a_status_means_for_the_stored_request(statuses: list[int], meaning: Verdict) -> None:
    assert {verdict(status) for status in statuses} == {meaning}


@given(st.integers(100, 599))
def test_only_a_yes_is_done_and_only_our_own_fault_ends_without_one(status: int) -> None:
    assert (verdict(status) is Verdict.DONE) == (200 <= status <= 299)
    assert verdict(status) is not Verdict.OUR_FAULT or 400 <= status <= 499
