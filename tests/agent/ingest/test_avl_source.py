"""A listener's units on a real pipeline and store: answered after the commit, resends stored once, displays."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.certificates import TrialAuthority
from agent.domain.holder import Holder, Kind
from agent.errors import JournalError, LinkError
from agent.ingest.avl_source import AvlSource, Display, ListenerPlan
from agent.journal.reader import Reader
from agent.pipeline import Outlets, Pipeline
from agent.status.live import Metrics
from simulator.avl_unit import AvlUnit, encode_frame, encode_hello, encode_record, encode_reply, imei_of
from simulator.identities import Identities
from tests.agent.roadside import EAST, IN_TRACKING, HandClock, Roadside, drive, expected
from zones.fix import Fix

WAIT_S = 20.0
IMEI = imei_of(1)
Open = Callable[..., Roadside]


@dataclass
class Site:
    """A listener in front of a pipeline under way."""

    roadside: Roadside
    pipeline: Pipeline
    source: AvlSource
    display: Display | None = None
    shown: list[Display] = field(default_factory=list)

    @property
    def fixes(self) -> dict[str, int]:
        return self.pipeline.fixes_by_result()

    def telemetry(self) -> int:
        with Reader.open(self.roadside.folder) as reader:
            return len(list(reader._rows("SELECT id FROM telemetry")))


@asynccontextmanager
async def site_of(roadside: Roadside, units: dict[str, str] | None = None, **bounds: float) -> AsyncIterator[Site]:
    outlets = Outlets(lambda _: None, lambda *_: None)
    pipeline = Pipeline(roadside.register, roadside.around, roadside.store, roadside.clock, Metrics(), outlets)
    plan = ListenerPlan("teltonika", "127.0.0.1", 0, units or {IMEI: "u1"}, udp=True)
    site: Site
    source = AvlSource(
        plan,
        pipeline.submit,
        lambda _: site.display,
        lambda one: site.shown.append(one),
        roadside.clock.now_s,
        roadside.loaded.frames,
        **bounds,
    )
    site = Site(roadside, pipeline, source)
    task = asyncio.create_task(pipeline.run())
    await source.start()
    try:
        yield site
    finally:
        await source.close()
        task.cancel()
        with suppress(asyncio.CancelledError, JournalError):
            await task


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.005)


class Line:
    """A unit's end of the connection, byte by byte in the test's hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, fixes: list[Fix], count: int | None = None) -> None:
        """One frame, and its answer."""
        self.writer.write(encode_frame([encode_record(fix) for fix in fixes]))
        async with asyncio.timeout(WAIT_S):
            answer = await self.reader.readexactly(4)
        assert int.from_bytes(answer, "big") == (len(fixes) if count is None else count)


@asynccontextmanager
async def line_to(site: Site, imei: str = IMEI) -> AsyncIterator[Line]:
    line = Line(*await asyncio.open_connection("127.0.0.1", site.source.server.port))
    try:
        line.writer.write(encode_hello(imei))
        async with asyncio.timeout(WAIT_S):
            assert await line.reader.readexactly(1) == b"\x01"
        yield line
    finally:
        line.writer.close()
        with suppress(OSError):
            await line.writer.wait_closed()


def as_driven(clock: HandClock, **way: float) -> list[Fix]:
    """The drive into the zone; the clock then stands where it ends."""
    fixes = drive(**way)
    clock.move_to(fixes[-1].time_s)
    return fixes


async def test_a_drive_activates_once_however_often_its_frames_come(roadside: Roadside, hand_clock: HandClock) -> None:
    async with site_of(roadside) as site, line_to(site) as line:
        await site.pipeline.record(expected())
        fixes = as_driven(hand_clock)
        frames = [fixes[at : at + 20] for at in range(0, len(fixes), 20)]
        for frame in frames:
            for _ in range(3):
                await line.send(frame)
        assert (await roadside.store.counts()).activations == 1
        stored = site.telemetry()
        assert site.fixes == {"accepted": len(fixes), "duplicate": 2 * len(fixes)}
        await line.send(fixes[-20:])
        assert site.telemetry() == stored, "a resend leaves no row"


async def test_newest_first_and_a_backlog_after_live_fixes(roadside: Roadside, hand_clock: HandClock) -> None:
    async with site_of(roadside) as site, line_to(site) as line:
        await site.pipeline.record(expected())
        fixes = as_driven(hand_clock)
        await line.send(fixes[::-1])
        assert site.fixes == {"accepted": len(fixes)}
        assert (await roadside.store.counts()).activations == 1


async def test_after_a_restart_a_frame_sent_again_changes_nothing(open_roadside: Open, hand_clock: HandClock) -> None:
    fixes = as_driven(hand_clock)
    async with site_of(open_roadside()) as site, line_to(site) as line:
        await site.pipeline.record(expected())
        for at in range(0, len(fixes), 20):
            await line.send(fixes[at : at + 20])
        before = site.telemetry()
    async with site_of(open_roadside()) as site, line_to(site) as line:
        await line.send(fixes[-20:])
        assert (await site.roadside.store.counts()).activations == 1
        assert site.fixes == {"duplicate": 20} and site.telemetry() == before


async def test_a_backlog_is_known_after_a_restart_although_the_cursor_has_given_it_up(
    open_roadside: Open, hand_clock: HandClock
) -> None:
    """By time each fix leaves a gap, and a cursor remembers 64."""
    fixes = as_driven(hand_clock, step_s=1.0)[-120:]
    backlog, live = fixes[:20], fixes[20:]
    async with site_of(open_roadside()) as site, line_to(site) as line:
        await site.pipeline.record(expected())
        for at in range(0, len(live), 20):
            await line.send(live[at : at + 20])
        await line.send(backlog)
        assert site.fixes == {"accepted": 100, "late": 20}
    async with site_of(open_roadside()) as site, line_to(site) as line:
        await line.send(backlog)
        assert site.fixes == {"duplicate": 20}


async def test_outside_every_zone_is_counted_answered_and_leaves_no_trace(
    roadside: Roadside, hand_clock: HandClock
) -> None:
    fixes = as_driven(hand_clock, start=EAST + 0.02, end=EAST)
    async with site_of(roadside) as site, line_to(site) as line:
        await line.send(fixes)
        assert site.fixes == {"accepted": len(fixes)} and site.telemetry() == 0
        with Reader.open(roadside.folder) as reader:
            assert reader.cursors() == () and reader.load_state().frames == {}


async def test_a_commit_that_fails_answers_nothing(roadside: Roadside, hand_clock: HandClock) -> None:
    fixes = as_driven(hand_clock, start=IN_TRACKING, end=IN_TRACKING - 0.005)
    async with site_of(roadside, answer_s=1.0) as site, line_to(site) as line:
        roadside.store.close()
        line.writer.write(encode_frame([encode_record(fix) for fix in fixes]))
        async with asyncio.timeout(WAIT_S):
            assert await line.reader.read() == b""
        assert site.source.counts["unanswered"] == 1


async def test_dates_that_cannot_be_right_are_refused_and_the_frame_still_answered(
    roadside: Roadside, hand_clock: HandClock
) -> None:
    fix = as_driven(hand_clock)[-1]
    moved = [msgspec.structs.replace(fix, time_s=fix.time_s + by_s) for by_s in (60.0, -619_315_200.0, -90 * 86_400.0)]
    async with site_of(roadside) as site, line_to(site) as line:
        await line.send([*moved, fix])
        assert site.fixes == {"accepted": 1, "refused": 3}
        with Reader.open(roadside.folder) as reader:
            reasons = {one.reason.partition(":")[0] for one in reader.refusals()}
        assert reasons == {"clock_disagrees", "week_rollover", "date_before_build"}


async def test_unknown_units_are_turned_away_and_an_imei_may_be_the_name(
    roadside: Roadside, hand_clock: HandClock
) -> None:
    fixes = as_driven(hand_clock)[:3]
    async with site_of(roadside, {IMEI: "imei"}) as site:
        async with line_to(site) as line:
            await line.send(fixes)
        assert set(roadside.around.cursors) == {IMEI}
        reader, writer = await asyncio.open_connection("127.0.0.1", site.source.server.port)
        writer.write(encode_hello(imei_of(2)))
        async with asyncio.timeout(WAIT_S):
            assert await reader.read() == b"\x00"
        writer.close()
        await writer.wait_closed()


DISPLAY = Display("u1", "i-1", 1, "GO", "en")


async def test_the_text_is_sent_once_and_its_reply_is_the_receipt(roadside: Roadside) -> None:
    texts: list[str] = []
    async with site_of(roadside) as site:
        unit = AvlUnit("127.0.0.1", site.source.server.port, IMEI, texts.append)
        unit.start()
        try:
            await until(lambda: site.source.server.connected(IMEI))
            site.source.show("u1")
            assert site.shown == []
            site.display = DISPLAY
            for _ in range(3):
                site.source.show("u1")
            await until(lambda: site.shown)
            site.source.show("u1")
            site.display = Display("u1", "i-2", 2, "STOP", "en")
            site.source.show("u1")
            await until(lambda: len(site.shown) == 2)
        finally:
            await unit.close()
        assert texts == ["GO", "STOP"]
        assert [(one.instruction_id, one.version) for one in site.shown] == [("i-1", 1), ("i-2", 2)]
        site.source.show("nobody")


async def test_a_unit_that_comes_later_is_shown_what_is_in_force(roadside: Roadside) -> None:
    async with site_of(roadside) as site:
        site.display = DISPLAY
        site.source.show("u1")
        async with line_to(site) as line:
            async with asyncio.timeout(WAIT_S):
                command = await line.reader.readexactly(12 + 8 + len("GO"))
            assert command[15:17] == b"GO"
            line.writer.write(encode_reply(b"ok") + encode_reply(b"ok"))
            await until(lambda: site.source.counts["unasked_reply"] == 1)
        assert site.shown == [DISPLAY]


async def test_a_unit_keeps_what_is_not_confirmed_and_sends_it_again(roadside: Roadside, hand_clock: HandClock) -> None:
    fixes = as_driven(hand_clock)
    async with site_of(roadside) as site:
        await site.pipeline.record(expected())
        port = site.source.server.port
        unit = AvlUnit("127.0.0.1", port, IMEI, lambda _: None)
        for fix in fixes:
            unit.take(fix)
        unit.start()
        try:
            await until(lambda: unit.waiting == 0)
        finally:
            await unit.close()
        assert site.fixes["accepted"] == len(fixes)
        assert (await roadside.store.counts()).activations == 1


async def test_a_port_that_is_held_stops_the_start(roadside: Roadside) -> None:
    async with site_of(roadside) as site:
        plan = ListenerPlan("teltonika", "127.0.0.1", site.source.server.port, {IMEI: "u1"})
        second = AvlSource(plan, site.pipeline.submit, lambda _: None, lambda _: None, roadside.clock.now_s)
        with pytest.raises(LinkError, match="listener teltonika"):
            await second.start()


async def welcome(port: int, tls: ssl.SSLContext) -> bytes:
    """The listener's answer to the hello of the first unit; empty if it ends the connection."""
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        try:
            writer.write(encode_hello(IMEI))
            return await reader.read(1)
        except ConnectionError:
            return b""
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def test_a_unit_shows_a_certificate_in_its_own_name(tmp_path: Path) -> None:
    authority, identities = TrialAuthority(tmp_path / "tls"), Identities(tmp_path / "tls")
    agent = Holder("box-1", Kind.AGENT)
    for holder in (agent, Holder("u1"), Holder("u2")):
        authority.issue(holder)

    async def submit(_reported: object) -> None:
        raise AssertionError("nothing is sent")

    plan = ListenerPlan("teltonika", "127.0.0.1", 0, {IMEI: "u1"}, tls=identities.tls(agent).server, certified=True)
    source = AvlSource(plan, submit, lambda _: None, lambda _: None, lambda: 0.0)
    await source.start()
    try:
        port = source.server.port
        assert await welcome(port, identities.tls(Holder("u1")).client) == b"\x01"
        assert await welcome(port, identities.tls(Holder("u2")).client) == b"\x00"
        assert await welcome(port, ssl.create_default_context(cafile=str(authority.certificate))) == b"\x00"
        assert source.counts["unproved"] == 2
    finally:
        await source.close()
