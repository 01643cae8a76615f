"""agent/pipeline.py: read, detect, decide, commit, acknowledge - in that order, on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from agent.activation.events import ModeChanged, OfficerDecided
from agent.clock import Clock
from agent.domain.instruction import Action
from agent.errors import JournalError
from agent.ingest.intake import GAP_PATIENCE_S
from agent.ingest.mqtt_source import Batch, Message
from agent.ingest.wire import Refused
from agent.journal import database
from agent.journal.batch import Commit, Committed
from agent.journal.reader import Reader
from agent.pipeline import (
    BATCH_MESSAGES,
    LONGEST_WAIT_S,
    MOST_BEHIND_S,
    WATERMARK_EVERY_S,
    Happened,
    Measured,
    Outlets,
    Pipeline,
    Received,
)
from agent.postings import Lane
from agent.sheet import Site
from agent.status.live import Metrics
from tests.agent.border import T0
from tests.agent.roadside import (
    IN_ACTIVATION,
    IN_TRACKING,
    TOPICS,
    WEST,
    Roadside,
    drive,
    expected,
    report,
    shipped_index,
)
from zones.border_zone import ZoneSet
from zones.fix import Fix
from zones.index import compile_index

Open = Callable[..., Roadside]
WAIT_S = 10.0


@dataclass
class Bench:
    """A pipeline under way, and all that came out of it in its order."""

    roadside: Roadside
    pipeline: Pipeline
    metrics: Metrics
    order: list[tuple[str, Any]] = field(default_factory=list)
    """`committed`, `acknowledged` and `watermark`, as they happened."""
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    behind: bool = False
    """Whether the broker may be holding reports back."""

    async def note(self, kind: str, what: Any) -> None:
        async with self.heard:
            self.order.append((kind, what))
            self.heard.notify_all()

    def later(self, kind: str, what: Any) -> None:
        """Outlets do not wait: write it down at once, wake whoever waits afterwards."""
        self.order.append((kind, what))
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self._wake()))

    async def _wake(self) -> None:
        async with self.heard:
            self.heard.notify_all()

    def found(self, kind: str) -> list[Any]:
        return [what for one, what in self.order if one == kind]

    async def until(self, count: int, kind: str) -> list[Any]:
        async with asyncio.timeout(WAIT_S), self.heard:
            await self.heard.wait_for(lambda: len(self.found(kind)) >= count)
        return self.found(kind)

    async def send(self, *fixes: Fix) -> Batch:
        """One MQTT batch; returns when it is acknowledged."""
        for fix in fixes:
            self.roadside.clock.move_to(fix.received_s)
        batch = messages(*fixes)
        known = len(self.found("acknowledged"))
        await self.pipeline.submit(Received(batch, lambda one: self.later("acknowledged", one)))
        await self.until(known + 1, "acknowledged")
        return batch

    async def settled(self) -> None:
        """All that was handed in is on disk."""
        async with asyncio.timeout(WAIT_S):
            await self.pipeline.record()


def messages(*fixes: Fix) -> Batch:
    return Batch(
        tuple(
            Message(TOPICS.position(fix.unit), report(fix), 1, False, False, 1, n, fix.received_s)
            for n, fix in enumerate(fixes)
        )
    )


def bench_of(roadside: Roadside, clock: Clock | None = None) -> Bench:
    metrics = Metrics()
    outlets = Outlets(
        committed=lambda committed: bench.later("committed", committed),
        watermark=lambda unit, boot_id, up_to: bench.later("watermark", (unit, boot_id, up_to)),
        decided=lambda: bench.later("decided", None),
        behind=lambda: bench.behind,
    )
    pipeline = Pipeline(roadside.register, roadside.around, roadside.store, clock or roadside.clock, metrics, outlets)
    bench = Bench(roadside, pipeline, metrics)
    return bench


@asynccontextmanager
async def running(roadside: Roadside) -> AsyncIterator[Bench]:
    bench = bench_of(roadside)
    task = asyncio.create_task(bench.pipeline.run())
    try:
        yield bench
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def stored(bench: Bench) -> list[tuple[str, str]]:
    return [(row.lane, row.key) for one in bench.found("committed") for row in one.outbox]


async def test_nothing_is_acknowledged_before_it_is_on_disk(roadside: Roadside) -> None:
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        for fix in drive():
            entries = len(bench.order)
            await bench.send(fix)
            kinds = [kind for kind, _ in bench.order[entries:]]
            assert (
                kinds.index("acknowledged")
                == max([n for n, kind in enumerate(kinds) if kind == "committed"], default=-1) + 1
            ), "committed, then acknowledged, then all else"
            with Reader.open(roadside.folder) as reader:
                on_disk = reader.load_state()
            known = {one.unit: one.highest for one in on_disk.cursors}
            assert not roadside.around.detector.in_tracking("u1") or known["u1"] == fix.seq
    assert [lane for lane, _ in stored(bench)].count(Lane.ACTIVATION) == 1


async def test_an_entry_leaves_its_rows_once_even_if_the_batch_comes_again(roadside: Roadside) -> None:
    fixes = drive()
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        for _ in range(3):
            for n in range(0, len(fixes), 10):
                await bench.send(*fixes[n : n + 10])
        await bench.settled()
    lanes = [lane for lane, _ in stored(bench)]
    assert lanes.count(Lane.ACTIVATION) == 1 and lanes.count(Lane.RISK) == 1
    assert (await roadside.store.counts()).activations == 1
    assert bench.pipeline.fixes_by_result() == {"accepted": len(fixes), "duplicate": 2 * len(fixes)}


async def test_one_batch_with_the_same_message_twice_counts_it_once(roadside: Roadside) -> None:
    fixes = drive()
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        await bench.send(*(fix for fix in fixes for _ in range(2)))
    assert [lane for lane, _ in stored(bench)].count(Lane.ACTIVATION) == 1


async def test_roadside_outputs_are_renewed_after_each_turn_and_not_while_one_hangs(
    roadside: Roadside, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    real = roadside.store.commit

    async def hanging(batch: Commit) -> Committed:
        await go_on.wait()
        return await real(batch)

    async with running(roadside) as bench:
        await bench.until(2, "decided")  # nothing to do is a turn as well
        monkeypatch.setattr(roadside.store, "commit", hanging)
        before = len(bench.found("decided"))
        recorded = asyncio.ensure_future(bench.pipeline.record(expected()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5 * LONGEST_WAIT_S):
                await bench.until(before + 2, "decided")  # one turn may have been under way
        assert not recorded.done()
        go_on.set()
        await recorded
        await bench.until(before + 1, "decided")


async def test_a_commit_that_fails_acknowledges_nothing_and_ends_the_pipeline(
    roadside: Roadside, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(roadside)
    await_events = asyncio.get_running_loop().create_future()
    for fix in drive(end=IN_TRACKING):
        roadside.clock.move_to(fix.received_s)
    monkeypatch.setattr(database, "WAL_LIMIT_BYTES", -1)  # the store then says that its log cannot be emptied
    await bench.pipeline.submit(
        Received(messages(*drive(end=IN_TRACKING)), lambda one: bench.later("acknowledged", one))
    )
    await bench.pipeline.submit(Happened((ModeChanged("NORMAL"),), told=await_events))
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(JournalError):
            await bench.pipeline.run()
    assert bench.order == [] and not await_events.done()
    assert roadside.around.cursors == {} and roadside.register.passages == {}


async def test_a_store_that_another_hand_has_damaged_ends_the_pipeline(roadside: Roadside) -> None:
    """A real failure of the database: the table of journeys is gone."""
    bench = bench_of(roadside)
    other = apsw.Connection(str(next(roadside.folder.glob("*.db*"))))
    other.execute("DROP TABLE journey")
    other.close()
    await bench.pipeline.submit(Happened((expected(),)))
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(JournalError):
            await bench.pipeline.run()
    assert bench.order == [] and roadside.register.journeys == {}
    assert roadside.store.failure is not None


async def test_after_a_failed_commit_a_start_from_disk_does_all_of_it_once(
    open_roadside: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixes = drive()
    roadside = open_roadside()
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        for fix in fixes[:-5]:
            await bench.send(fix)
    failing = bench_of(roadside)
    roadside.clock.move_to(fixes[-1].received_s)
    with monkeypatch.context() as broken:
        broken.setattr(database, "WAL_LIMIT_BYTES", -1)
        await failing.pipeline.submit(Received(messages(*fixes[-5:]), lambda one: failing.later("acknowledged", one)))
        with pytest.raises(JournalError):
            await failing.pipeline.run()
    async with running(open_roadside()) as again:
        await again.send(*fixes[-8:])  # the broker sends again what was not acknowledged
        await again.settled()
    assert [lane for lane, _ in stored(again)].count(Lane.ACTIVATION) == 1
    assert failing.order == []


async def test_a_position_outside_is_acknowledged_without_a_commit(roadside: Roadside) -> None:
    async with running(roadside) as bench:
        await bench.send(*drive()[:1])
    assert [kind for kind, _ in bench.order if kind != "decided"] == ["acknowledged"]
    with Reader.open(roadside.folder) as reader:
        assert reader.load_state().cursors == ()


async def test_what_cannot_be_read_is_recorded_acknowledged_and_counted(roadside: Roadside) -> None:
    bad = Batch((Message(TOPICS.position("u1"), b"\xff", 1, False, False, 1, 1, T0),))
    async with running(roadside) as bench:
        await bench.pipeline.submit(Received(bad, lambda one: bench.later("acknowledged", one)))
        await bench.until(1, "acknowledged")
        await bench.pipeline.submit(Measured(Refused("checksum", "x", "serial:u1", "00" * 32, 9), "serial"))
        await bench.settled()
        assert bench.pipeline.fixes_by_result() == {"refused": 2}
    text = bench.metrics.text().decode()
    assert 'borderlane_refusals_total{reason="unreadable",source="mqtt"} 1.0' in text
    assert 'borderlane_fixes_total{result="refused",source="serial"} 1.0' in text
    with Reader.open(roadside.folder) as reader:
        assert {one.source for one in reader.refusals()} == {"mqtt", "serial"}


async def test_a_serial_fix_goes_the_same_way(roadside: Roadside) -> None:
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        for fix in drive():
            roadside.clock.move_to(fix.received_s)
            await bench.pipeline.submit(Measured(fix, "serial"))
            await bench.settled()
    assert [lane for lane, _ in stored(bench)].count(Lane.ACTIVATION) == 1


async def test_record_returns_when_it_is_on_disk(roadside: Roadside) -> None:
    async with running(roadside) as bench, asyncio.timeout(WAIT_S):
        await bench.pipeline.record(expected())
        with Reader.open(roadside.folder) as reader:
            assert set(reader.load_state().records["journey"]) == {"JRN-1"}
        await bench.pipeline.record(OfficerDecided("JRN-1", Action.HOLD, "Muster", "officer", "papers"))
        with Reader.open(roadside.folder) as reader:
            assert set(reader.load_state().records["instruction"]) == {"JRN-1"}


async def test_marker_and_outcomes_of_effects_are_stored_with_the_events(roadside: Roadside) -> None:
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        for fix in drive():
            await bench.send(fix)
        rows = [row.outbox_id for one in bench.found("committed") for row in one.outbox]
        await bench.pipeline.submit(Happened(marker=41, done=rows[:1], refusals=((REFUSED_ROW, "feed"),)))
        await bench.settled()
    with Reader.open(roadside.folder) as reader:
        loaded = reader.load_state()
        assert [one.reason for one in reader.refusals()] == ["unreadable_journey: x"]
    assert loaded.feed_marker == 41
    assert rows[0] not in {row.outbox_id for row in loaded.outbox}


REFUSED_ROW = Refused("unreadable_journey", "x", "/v1/transport-declarations", "00" * 32, 3)


async def test_a_deadline_is_met_without_any_input(roadside: Roadside) -> None:
    """The entry is settled, customs is silent: HOLD is decided when it is due, by the clock alone."""
    await roadside.take(events=(expected(),))
    for fix in drive():
        await roadside.drive([fix])
        if roadside.register.instructions:
            break
    entered = roadside.register.instructions["JRN-1"]
    assert entered.waiting and entered.due_s is not None and entered.action is None
    fast = RunningFrom(roadside.clock.now_s(), 50.0)
    bench = bench_of(roadside, fast)
    task = asyncio.create_task(bench.pipeline.run())
    try:
        await bench.until(1, "committed")
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    state = roadside.register.instructions["JRN-1"]
    assert state.action is Action.HOLD and state.decided_s is not None
    assert entered.due_s <= state.decided_s < entered.due_s + 25.0


def notices_of(folder: Path) -> list[str]:
    with Reader.open(folder) as reader:
        bodies = [msgspec.json.decode(entry.body) for entry in reader.entries()]
    return [body["facts"]["notice"] for body in bodies if body["kind"] == "NOTICED"]


@pytest.mark.parametrize("behind", [False, True])
async def test_a_unit_is_not_silent_because_its_reports_lie_unread(roadside: Roadside, behind: bool) -> None:
    async with running(roadside) as bench:
        await bench.send(*drive(end=IN_TRACKING))
        bench.behind = behind
        roadside.clock.move_to(roadside.clock.now_s() + 40.0)
        await bench.settled()
        assert notices_of(roadside.folder) == ([] if behind else ["STALE"])
        roadside.clock.move_to(roadside.clock.now_s() + MOST_BEHIND_S + 10.0)
        await bench.settled()
        assert "STALE" in notices_of(roadside.folder), "silence is put off for a bounded time"


async def test_a_batch_takes_no_more_items_once_it_has_its_messages(roadside: Roadside) -> None:
    bench = bench_of(roadside)
    fixes = [msgspec.structs.replace(fix, seq=n + 1) for n, fix in enumerate(drive() * 40)]
    batches = [messages(*fixes[first : first + 256]) for first in range(0, len(fixes), 256)]
    for batch in batches:
        await bench.pipeline.submit(Received(batch, lambda one: None))
    taken = await bench.pipeline._take()
    assert len(taken) == -(-BATCH_MESSAGES // 256) < len(batches)


class RunningFrom(Clock):
    """A fast clock that starts at a given time."""

    def __init__(self, start_s: float, speedup: float) -> None:
        super().__init__(speedup)
        object.__setattr__(self, "_start_s", start_s)
        object.__setattr__(self, "_begun_s", self.monotonic_s())

    def now_s(self) -> float:
        return self._start_s + self.monotonic_s() - self._begun_s  # type: ignore[attr-defined,no-any-return]


async def test_the_watermark_speaks_of_committed_fixes_of_units_with_a_journey(roadside: Roadside) -> None:
    fixes = drive(end=IN_TRACKING)
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        for fix in fixes:
            await bench.send(fix)
        for fix in drive(unit="stranger", start_s=roadside.clock.now_s(), end=IN_TRACKING):
            await bench.send(fix)
        said = bench.found("watermark")
        inside = [up_to for unit, boot_id, up_to in said]
        assert {(unit, boot_id) for unit, boot_id, _ in said} == {("u1", "boot-1")}
        assert inside == sorted(inside) and inside[-1] == fixes[-1].seq
        await bench.send(fixes[3])
        assert bench.found("watermark")[-1] == ("u1", "boot-1", fixes[-1].seq), "said again for a repeat"


async def test_the_watermark_stays_below_what_only_memory_holds(roadside: Roadside) -> None:
    """Outside every zone the last fix is in memory alone, so the unit must keep it."""
    first = drive()[0]
    later = replace_seq(first, 1, first.time_s + GAP_PATIENCE_S + 1.0)
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        for fix in (first, later, later):
            await bench.send(fix)
    assert bench.found("watermark") == [("u1", "boot-1", first.seq)]


async def test_the_watermark_is_said_at_most_once_a_second(roadside: Roadside) -> None:
    fixes = drive(end=IN_TRACKING, step_s=5.0)
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        for fix in fixes:
            await bench.send(fix)
        known = len(bench.found("watermark"))
        after = [replace_seq(fixes[-1], n, roadside.clock.now_s() + 0.1 * n) for n in range(1, 8)]
        for fix in after:
            await bench.send(fix)
        assert 0.8 < WATERMARK_EVERY_S <= 1.0
        assert len(bench.found("watermark")) - known <= 1
        await bench.send(replace_seq(fixes[-1], 8, roadside.clock.now_s() + 1.5))
        assert bench.found("watermark")[-1][2] == after[-1].seq + 1  # type: ignore[operator]


def replace_seq(fix: Fix, more: int, at_s: float) -> Fix:
    assert fix.seq is not None
    return msgspec.structs.replace(fix, seq=fix.seq + more, time_s=at_s, received_s=at_s, speed_mps=0.0)


async def test_a_zone_set_is_swapped_between_batches_without_an_entry(roadside: Roadside) -> None:
    shipped = shipped_index().zone_set
    smaller = ZoneSet("test.2", tuple(zone for zone in shipped.zones if zone.crossing == "thayngen"))
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        await bench.send(*drive(end=IN_TRACKING))
        before = len(stored(bench))
        bench.pipeline.swap(compile_index(smaller), "ab" * 32, Site("box-1"))
        await bench.settled()
        assert roadside.register.zone_set.version == "test.2"
        assert bench.pipeline.around.circumstances.zone_set_version == "test.2"
        assert len(stored(bench)) == before
        start_s = roadside.clock.now_s()
        onwards = drive(start=IN_TRACKING, end=IN_ACTIVATION, start_s=start_s)[1:]
        for n, fix in enumerate(onwards):
            await bench.send(replace_seq_only(fix, 1_000 + n))
    assert [lane for lane, _ in stored(bench)].count(Lane.ACTIVATION) == 1


def replace_seq_only(fix: Fix, seq: int) -> Fix:
    return msgspec.structs.replace(fix, seq=seq)


async def test_the_modes_in_force_go_with_what_is_decided(roadside: Roadside) -> None:
    async with running(roadside) as bench:
        bench.pipeline.degraded = ("RISK_DEGRADED",)
        await bench.pipeline.record(expected())
        for fix in drive():
            await bench.send(fix)
    state = roadside.register.instructions["JRN-1"]
    assert state.action is Action.HOLD, "no answer can come: HOLD without waiting"


async def test_a_full_queue_makes_the_sources_wait(roadside: Roadside) -> None:
    bench = bench_of(roadside)
    begun = asyncio.Event()

    async def flood() -> None:
        begun.set()
        for n in range(10_000):
            await bench.pipeline.submit(Happened(marker=n))

    flooding = asyncio.create_task(flood())
    await begun.wait()
    waiting = -1
    while waiting != bench.pipeline.waiting:
        waiting = bench.pipeline.waiting
        await asyncio.sleep(0)
    assert 0 < waiting < 10_000 and not flooding.done()
    flooding.cancel()
    with suppress(asyncio.CancelledError):
        await flooding


async def test_a_unit_that_has_left_everything_is_not_looked_up_for_ever(roadside: Roadside) -> None:
    async with running(roadside) as bench:
        await bench.pipeline.record(expected())
        for fix in drive(end=WEST):
            await bench.send(fix)
        bench.pipeline.mark("u1")
        bench.pipeline.mark("nobody")
    assert bench.found("watermark")[-1][0] == "u1"
    assert isinstance(bench.found("committed")[-1], Committed)
