"""agent/delivery/driver_pages.py: tokens, bounds, receipts and reports over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from agent.activation.journey import JourneyStage
from agent.delivery.driver_pages import MAX_PAGES_OF_ONE, POSTS_A_MINUTE
from agent.delivery.pass_code import unpack
from agent.domain.instruction import Action, DeliveryStage
from agent.instruction.signing import verify_instruction
from agent.keys import jwk_of
from tests.agent.driver_side import JRN, Crossing, Place, serving
from tests.agent.roadside import KEY


@asynccontextmanager
async def stopped(folder: Path) -> AsyncIterator[tuple[Place, aiohttp.ClientSession]]:
    """A lorry under STOP."""
    crossing = Crossing(folder)
    await crossing.announced()
    await crossing.arrives()
    await crossing.officer(Action.STOP)
    async with serving(crossing) as place, aiohttp.ClientSession() as session:
        yield place, session


async def message(stream: Any) -> dict[str, Any]:
    async for line in stream.content:
        if line.startswith(b"data: {"):
            return dict(msgspec.json.decode(line[6:]))
    raise AssertionError("the stream ended")


async def test_the_word_stands_in_every_message_and_the_view_only_when_it_changes(tmp_path: Path) -> None:
    async with stopped(tmp_path) as (place, session), session.get(f"{place.url}/events") as stream:
        first = await message(stream)
        assert (first["view"]["show"], first["view"]["lane"]) == ("STOP", "B 4")
        assert first["pulse"]["standing"] is True and first["pulse"]["endsInS"] > 0
        second = await message(stream)
        assert second["view"] is None and second["pulse"]["serverMs"] > first["pulse"]["serverMs"]
        await place.crossing.officer(Action.GO, lane=None)
        changed = await message(stream)
        assert changed["view"]["show"] == "GO"
        text = msgspec.json.encode([first, changed])
        assert not any(word in text for word in (b"reason", b"OFFICER", b"Muster", b"score"))


async def test_forged_is_404_and_over_is_410_on_every_call(tmp_path: Path) -> None:
    async with stopped(tmp_path) as (place, session):
        calls = ("", "/events", "/code", "/recorded")
        for path in calls:
            async with session.get(place.url[:-5] + "AAAAA" + path) as answer:
                assert answer.status == 404, path
        register = place.crossing.box.register
        register.put(msgspec.structs.replace(register.journeys[JRN], stage=JourneyStage.COMPLETED))
        for path in calls:
            async with session.get(place.url + path) as answer:
                assert answer.status == 410, path
        async with session.post(f"{place.url}/incident", json={"kind": "BREAKDOWN"}) as answer:
            assert answer.status == 410


async def test_receipts_move_the_delivery_and_strange_ones_do_not(tmp_path: Path) -> None:
    async with stopped(tmp_path) as (place, session):
        told = place.crossing.box.register.instructions[JRN].instruction
        assert told is not None
        good = {"instructionId": told.instruction_id, "version": told.version, "deliveredMs": 1.0, "language": "pl"}
        async with session.post(f"{place.url}/receipt", json=good) as answer:
            assert answer.status == 204
        assert place.crossing.delivery.stage is DeliveryStage.DELIVERED and place.crossing.delivery.language == "pl"
        assert place.crossing.delivery.delivered_s >= place.crossing.clock.now_s() - 86_401, "a day ago at most"
        for bad, status in (
            ({**good, "instructionId": "another"}, 409),
            ({**good, "version": 0}, 422),
            ({**good, "displayedMs": "now"}, 422),
        ):
            async with session.post(f"{place.url}/receipt", json=bad) as answer:
                assert answer.status == status, bad
        async with session.post(f"{place.url}/receipt", data=b"x=1") as answer:
            assert answer.status in (400, 415)


async def test_the_code_is_the_signed_instruction(tmp_path: Path) -> None:
    async with stopped(tmp_path) as (place, session):
        async with session.get(f"{place.url}/code") as answer:
            code = await answer.json()
        instruction = verify_instruction(unpack(code["text"]), {"box-1": jwk_of(KEY)})
        assert (instruction.action, instruction.instruction_id) == ("STOP", code["instructionId"])


async def test_pages_and_reports_are_bounded(tmp_path: Path) -> None:
    async with stopped(tmp_path) as (place, session):
        streams = [await session.get(f"{place.url}/events") for _ in range(MAX_PAGES_OF_ONE)]
        for stream in streams:
            await message(stream)
        async with session.get(f"{place.url}/events") as answer:
            assert answer.status == 503
        for stream in streams:
            stream.close()
        statuses = []
        for _ in range(POSTS_A_MINUTE + 1):
            async with session.post(f"{place.url}/receipt", json={"instructionId": "x", "version": 1}) as answer:
                statuses.append(answer.status)
        assert statuses[-1] == 429 and set(statuses[:-1]) == {409}


async def test_what_is_recorded_can_be_taken_along(tmp_path: Path) -> None:
    async with stopped(tmp_path) as (place, session):
        async with session.get(f"{place.url}/recorded") as answer:
            told = await answer.json(content_type=None)
            assert "attachment" in answer.headers["Content-Disposition"]
        assert (told["plate"], told["language"], told["papersKeptDays"]) == ("ZH 123456", "de", 365.0)
        assert "latitude" not in str(told) and "reason" not in str(told)


async def test_the_link_as_address_and_as_picture(tmp_path: Path) -> None:
    async with stopped(tmp_path) as (place, session):
        root = place.runner.url
        async with session.get(f"{root}/v1/journeys/{JRN}/driver-link") as answer:
            assert (await answer.json())["url"] == place.url
        async with session.get(f"{root}/v1/journeys/{JRN}/driver-link.svg") as answer:
            assert answer.content_type == "image/svg+xml" and b"<svg" in await answer.read()
        async with session.get(f"{root}/v1/journeys/J-NONE/driver-link") as answer:
            assert answer.status == 404


async def test_headers_keep_the_secret_of_the_address(tmp_path: Path) -> None:
    async with stopped(tmp_path) as (place, session):
        async with session.get(place.url) as answer:
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        async with session.get(f"{place.runner.url}/driver/static/worker.js") as answer:
            assert answer.headers["Service-Worker-Allowed"] == "/driver/" and b"@STAMP@" not in await answer.read()
        async with session.get(f"{place.runner.url}/driver/static/nothing.js") as answer:
            assert answer.status == 404
