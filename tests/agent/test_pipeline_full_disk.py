"""agent/pipeline.py on a full disk: nothing is acknowledged or activated, nothing is lost, and it goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from agent.journal import ballast
from agent.journal.reader import Reader
from agent.pipeline import Received
from agent.postings import Lane
from tests.agent.roadside import IN_TRACKING, Roadside, drive, expected
from tests.agent.test_pipeline import messages, running, stored
from tests.faults.vfs import FaultVFS

Open = Callable[..., Roadside]
BALLAST_BYTES = 1 << 20
HELD_BACK_S = 0.6
"""What has not happened after so long is held back; the pipeline tries again four times a second."""


class Disk:
    """Full on demand; the ballast of a folder is all that can be freed on it."""

    def __init__(self, folder: Path) -> None:
        self.full, self._ballast = False, folder / ballast.FILE_NAME
        self.refused = 0

    def before(self, call: str, *_rest: object) -> None:
        if self.full and call == "write" and (self._ballast.exists() or not self.freed):
            self.refused += 1
            raise apsw.FullError("no space left")

    freed = False
    """Whether a ballast was there to give up: then its room is enough for what is open."""


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Comes before the stores that are opened on it, and goes after them."""
    made = Disk(tmp_path / "data")
    usual = ballast.free_bytes
    monkeypatch.setattr(ballast, "free_bytes", lambda folder: 0 if made.full else usual(folder))
    vfs = FaultVFS(made.before)
    yield made
    vfs.remove()


async def seen(look: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not look():  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.02)


async def test_without_room_everything_waits_and_then_happens_once(disk: Disk, open_roadside: Open) -> None:
    fixes = drive()
    async with running(open_roadside()) as bench:
        await bench.pipeline.record(expected())
        await bench.send(*fixes[:-5])
        known = len(bench.order)
        disk.full = True
        bench.roadside.clock.move_to(fixes[-1].received_s)
        await bench.pipeline.submit(Received(messages(*fixes[-5:]), lambda one: bench.later("acknowledged", one)))
        await seen(lambda: bench.roadside.store.short)
        await asyncio.sleep(HELD_BACK_S)
        assert len(bench.order) == known, "nothing acknowledged, published or shown"
        assert disk.refused >= 2, "it tried again"
        assert "disk is full" in bench.roadside.store.readonly
        disk.full = False
        await bench.until(2, "acknowledged")
        await bench.settled()
        assert bench.roadside.store.readonly == ""
    assert [lane for lane, _ in stored(bench)].count(Lane.ACTIVATION) == 1


async def test_the_ballast_lets_open_crossings_be_closed_and_no_new_one_begin(disk: Disk, open_roadside: Open) -> None:
    fixes, others = drive(), drive("u2")
    async with running(open_roadside(ballast_bytes=BALLAST_BYTES)) as bench:
        store = bench.roadside.store
        await bench.pipeline.record(expected(), expected("JRN-2", "u2"))
        await bench.send(*others[: len(drive(end=IN_TRACKING))])
        await bench.send(*fixes)
        assert [lane for lane, _ in stored(bench)].count(Lane.ACTIVATION) == 1
        disk.full = disk.freed = True
        known = len(bench.found("acknowledged"))
        later = messages(*others[len(drive(end=IN_TRACKING)) :])
        await bench.pipeline.submit(Received(later, lambda one: bench.later("acknowledged", one)))
        await seen(lambda: bench.roadside.store.short)
        await bench.until(known + 1, "acknowledged")  # the batch that met the full disk is on the ballast's room
        bench.roadside.clock.move_to(bench.roadside.clock.now_s() + 10.0)
        await seen(lambda: Lane.INSTRUCTION in [lane for lane, _ in stored(bench)])
        last = drive("u3")
        await bench.pipeline.submit(Received(messages(*last), lambda one: bench.later("acknowledged", one)))
        await asyncio.sleep(HELD_BACK_S)
        assert len(bench.found("acknowledged")) == known + 1, "new work waits"
        disk.full = False
        assert await store.regain() and store.readonly == ""
        await bench.until(known + 2, "acknowledged")
    with Reader.open(bench.roadside.folder) as reader:
        assert {row.unit for row in reader.activations()} == {"u1", "u2"}
        assert "u3" in {row.unit for row in reader.cursors()}
