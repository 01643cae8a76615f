"""Front half: read, detect, decide, commit, acknowledge - in that order, one batch at a time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from agent.activation.events import Event, FeedRowArrived
from agent.batch import AVL, Gathering, Surroundings
from agent.clock import Clock
from agent.errors import JournalError, JournalFull
from agent.ingest.avl_source import Reported
from agent.ingest.intake import Cursor, watermark
from agent.ingest.mqtt_source import Batch
from agent.ingest.wire import Refused
from agent.journal.batch import Commit, Committed, Retry
from agent.journal.entry import Circumstances
from agent.journal.store import Store
from agent.register import Register
from agent.risk.conditional import WhenCut
from agent.sheet import Site
from agent.status.doubts import Doubts
from agent.status.live import Metrics
from zones.fix import Fix
from zones.index import ZoneIndex

QUEUE = 2_000
"""Items that may wait for the next batch; the sources then wait themselves."""
BATCH_ITEMS = 64
"""Items of one batch; an item of MQTT is itself a batch of up to 256 messages."""
BATCH_MESSAGES = 1_000
"""A batch takes no further item once it has so many messages: what comes with the next one, such as an answer that a
lorry waits for, must not wait for long."""
LONGEST_WAIT_S = 1.0
"""The pipeline looks at the deadlines at least so often, wall seconds, in case the clock was set."""
WATERMARK_EVERY_S = 1.0
"""At most one watermark a second for each unit, wall time (design/reliability.md section 2): it spares the line,
and lines do not run faster with the clock."""
FULL_AGAIN_S = 0.25
"""A commit for which there is no room is tried again after so long."""
MOST_BEHIND_S = 60.0
"""Silence of a unit is put off by so long at most while reports may be lying unread at the broker (choice)."""
PARKED = 10_000
"""New work set aside while there is no room; only serial lines, which cannot be stopped, ever reach it."""
LOG = structlog.get_logger()


@dataclass(frozen=True)
class Received:
    """Messages of the broker; `acknowledge` lets the broker forget them."""

    batch: Batch
    acknowledge: Callable[[Batch], None]


@dataclass(frozen=True)
class Measured:
    """What a serial receiver said."""

    item: Fix | Refused
    source: str


@dataclass(frozen=True)
class Happened:
    """Events of other shells, with what became of outbox rows and the marker of the feed.

    `told` is set once all of it is on disk.
    """

    events: Sequence[Event] = ()
    done: Sequence[int] = ()
    dropped: Sequence[int] = ()
    retried: Sequence[Retry] = ()
    refusals: Sequence[tuple[Refused, str]] = ()
    marker: int | None = None
    told: asyncio.Future[None] | None = None


Input = Received | Measured | Reported | Happened


@dataclass(frozen=True)
class Swap:
    """A zone set and settings that are to come into force."""

    index: ZoneIndex
    digest: str
    """SHA-256 of the zone file, hex."""
    site: Site


@dataclass(frozen=True)
class Outlets:
    """Where committed things go; none of these waits."""

    committed: Callable[[Committed], None]
    watermark: Callable[[str, str | None, int], None]
    """Unit, bootId, `upTo`."""
    decided: Callable[[], None] = lambda: None
    """After each turn, at least once a second: what the roadside outputs show is renewed here and nowhere else."""
    behind: Callable[[], bool] = lambda: False
    """Whether reports may have been lying unread at the broker since this was asked."""


class Pipeline:
    """Takes input one batch at a time; the only writer of register, cursors, detector and store."""

    def __init__(
        self,
        register: Register,
        around: Surroundings,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        outlets: Outlets,
        may_write: asyncio.Event | None = None,
    ) -> None:
        """`may_write`: while it is not set nothing is taken, so nothing is acknowledged, decided or issued."""
        self.register, self.around = register, around
        self._store, self._clock, self._metrics, self._outlets = store, clock, metrics, outlets
        self._queue: asyncio.Queue[Input] = asyncio.Queue(QUEUE)
        self._marked: dict[str, float] = {}
        self.degraded: tuple[str, ...] = ()
        """Modes in force; the app keeps it."""
        self._fixes: Counter[str] = Counter()
        self._swap: Swap | None = None
        self._may_write = may_write
        self.doubts = Doubts()
        self._cut: WhenCut | None = None
        self._parked: deque[Input] = deque()
        self._abreast_s = clock.now_s()
        """When all reports had been read for the last time."""

    @property
    def waiting(self) -> int:
        """Items that wait for the next batch."""
        return self._queue.qsize()

    async def submit(self, item: Input) -> None:
        """Hand in an item; waits while the queue is full."""
        await self._queue.put(item)

    async def record(self, *events: Event) -> None:
        """Hand in events and return when they are on disk."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._queue.put(Happened(events, told=told))
        await told

    def fixes_by_result(self) -> dict[str, int]:
        """Position reports so far: accepted, refused, duplicate, late."""
        return dict(self._fixes)

    def mark(self, unit: str) -> None:
        """Say the watermark of a unit again."""
        cursor = self.around.cursors.get(unit)
        if cursor is not None:
            self._say_watermark(unit, cursor, self._clock.now_s())

    def swap(self, index: ZoneIndex, digest: str, site: Site) -> None:
        """Put another zone set and other settings in force before the next batch."""
        self._swap = Swap(index, digest, site)

    def line_cut(self, cut: WhenCut) -> None:
        """Put other rules for a cut line in force before the next batch."""
        self._cut = cut

    async def run(self) -> None:
        """Batch after batch, for ever.

        Raises:
            JournalError: a commit failed. Nothing of the batch is acknowledged, and detector and disk may differ:
                only a start from disk reconciles them.
        """
        while True:
            items = self._admitted(await self._take())
            if self._may_write is not None:
                await self._may_write.wait()
            await self._batch(items)
            self._outlets.decided()

    def _admitted(self, items: list[Input]) -> list[Input]:
        """What may be dealt with now: all of it, or without room on the disk only what closes what is open.

        New work waits unacknowledged. Readings of a serial line are lost beyond `PARKED`: nobody sends them again
        anyway, and the newest says where the vehicle is.
        """
        if not self._store.short:
            parked, self._parked = self._parked, deque()
            return [*parked, *items]
        new = [item for item in items if _begins_something(item)]
        self._parked.extend(new)
        readings = len(self._parked) - PARKED
        if readings > 0:
            self._parked = _without_oldest_readings(self._parked, readings)
        return [item for item in items if not _begins_something(item)]

    async def _take(self) -> list[Input]:
        try:
            async with asyncio.timeout(self._wait_s()):
                items = [await self._queue.get()]
        except TimeoutError:
            return []
        messages = _messages_of(items[0])
        while len(items) < BATCH_ITEMS and messages < BATCH_MESSAGES and not self._queue.empty():
            items.append(self._queue.get_nowait())
            messages += _messages_of(items[-1])
        return items

    def _wait_s(self) -> float:
        """Wall seconds until something falls due."""
        dues = [due for due in (self.register.due_s(), self.around.detector.due_s()) if due is not None]
        if not dues:
            return LONGEST_WAIT_S
        return min(LONGEST_WAIT_S, max(0.0, self._clock.wall_s(min(dues) - self._clock.now_s())))

    async def _batch(self, items: Sequence[Input]) -> None:
        gathering = self._begin()
        for item in items:
            self._absorb(gathering, item)
        gathering.tick(self._behind_s(gathering.now_s))
        await self._commit(gathering)
        for item in items:
            if isinstance(item, Received):
                item.acknowledge(item.batch)
            elif isinstance(item, Happened | Reported) and item.told is not None and not item.told.done():
                item.told.set_result(None)
        self._count(gathering)
        self._mark(gathering)

    def _behind_s(self, now_s: float) -> float:
        """How long reports may have been lying unread. A unit is not silent because we are slow: without this, notices
        of silence would cost the time that reading what the units have said takes."""
        if not self._outlets.behind():
            self._abreast_s = now_s
        return min(MOST_BEHIND_S, max(0.0, now_s - self._abreast_s))

    def _begin(self) -> Gathering:
        """A batch, under the new zone set if one has come."""
        if self._cut is not None:
            self.around, self._cut = replace(self.around, site=replace(self.around.site, cut=self._cut)), None
        swap, self._swap = self._swap, None
        if swap is None:
            return Gathering(self.register, self.around, self._clock.now_s(), self.degraded)
        report = self.around.detector.swap(swap.index, self._clock.now_s())
        self.register.swap(swap.index.zone_set)
        circumstances = Circumstances(swap.index.zone_set.version, swap.digest)
        self.around = replace(self.around, site=swap.site, circumstances=circumstances)
        gathering = Gathering(self.register, self.around, self._clock.now_s(), self.degraded)
        gathering.findings(report.detected)
        LOG.info(
            "zone_set_swapped",
            zone_set=report.version,
            index=swap.index.kind,
            adopted=report.adopted,
            retired=report.retired,
        )
        return gathering

    def _absorb(self, gathering: Gathering, item: Input) -> None:
        match item:
            case Received(batch=batch):
                for message in batch.messages:
                    gathering.message(message.topic, message.payload, message.received_s)
            case Measured(item=Fix() as fix, source=source):
                self.doubts.receiver(fix.unit, self._clock.wall_s(fix.received_s - fix.time_s), time.monotonic())
                gathering.fix(fix, source)
            case Measured(item=Refused() as refused, source=source):
                gathering.refuse(refused, source)
            case Reported(items=reports, repeats=repeats, unit=unit, frame=frame):
                gathering.items(reports, AVL)
                if frame:
                    gathering.frame(unit, frame)
                if repeats:
                    gathering.fixes[AVL, "duplicate"] += repeats
            case Happened():
                gathering.outcome(item.done, item.dropped, item.retried)
                for refused, source in item.refusals:
                    gathering.refuse(refused, source)
                for event in item.events:
                    gathering.event(event)
                if item.marker is not None:
                    gathering.marker(item.marker)

    async def _commit(self, gathering: Gathering) -> None:
        batch = gathering.commit()
        if batch is None:  # nothing durable: positions outside the zones leave no trace on disk
            gathering.install()
            return
        started_s = time.perf_counter()
        try:
            committed = await self._store_when_there_is_room(batch)
        except JournalError:
            LOG.exception("commit_failed", entries=len(batch.entries), effects=len(batch.effects))
            raise
        self._metrics.commit.observe(time.perf_counter() - started_s)
        gathering.install()
        self._outlets.committed(committed)

    async def _store_when_there_is_room(self, batch: Commit) -> Committed:
        """Commit; on a full disk the same batch again and again, and nothing else meanwhile."""
        while True:
            try:
                return await self._store.commit(batch)
            except JournalFull:
                await asyncio.sleep(FULL_AGAIN_S)
                await self._store.regain()

    def _count(self, gathering: Gathering) -> None:
        for (source, result), number in gathering.fixes.items():
            self._metrics.fixes.labels(source, result).inc(number)
            self._fixes[result] += number
        for (source, reason), number in gathering.refused.items():
            self._metrics.refusals.labels(source, reason).inc(number)
        now_s = time.monotonic()
        self.doubts.heard(gathering.touched, now_s)
        self.doubts.clock_faults(gathering.clock_faults, now_s)
        self.doubts.jumps(gathering.jumps, now_s)

    def _mark(self, gathering: Gathering) -> None:
        """Watermarks of units with a journey, from what is committed."""
        now_s = self._clock.now_s()
        for unit in {*gathering.touched, *gathering.repeats}:
            cursor = self.around.cursors.get(unit)
            if cursor is None or unit not in self.register.jrns_of_unit:
                continue
            since_s = self._clock.wall_s(now_s - self._marked.get(unit, 0.0))
            if unit in gathering.repeats or since_s >= WATERMARK_EVERY_S:
                self._say_watermark(unit, cursor, now_s)

    def _say_watermark(self, unit: str, cursor: Cursor, now_s: float) -> None:
        up_to = watermark(cursor, self._held_from(unit), now_s)
        if up_to is not None:
            self._marked[unit] = now_s
            self._outlets.watermark(unit, cursor.boot_id, up_to)

    def _held_from(self, unit: str) -> int | None:
        """Lowest seq that only memory holds: all that a unit outside the tracking zones has sent last."""
        cursor = self.around.cursors[unit]
        return None if self.around.detector.in_tracking(unit) else cursor.highest


def _messages_of(item: Input) -> int:
    return len(item.batch.messages) if isinstance(item, Received) else 1


def _begins_something(item: Input) -> bool:
    """Whether an item may begin a crossing or a journey; outcomes, answers, officers and modes only go on with one."""
    match item:
        case Happened(events=events, marker=marker):
            return marker is not None or any(isinstance(event, FeedRowArrived) for event in events)
        case _:
            return True


def _without_oldest_readings(parked: Iterable[Input], count: int) -> deque[Input]:
    kept: deque[Input] = deque()
    for item in parked:
        if count > 0 and isinstance(item, Measured):
            count -= 1
        else:
            kept.append(item)
    return kept
