"""Tree heads to a real customs service: taken, refused, reconciled."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.checkpoints import Checkpoints
from agent.clock import Clock
from agent.journal.store import Commit, EntryDraft, Store
from agent.risk.client import CustomsClient
from simulator.customs.commands import CustomsConfig, CustomsService
from simulator.customs.office import Reconciliation

WAIT_S = 20.0
CLOCK = Clock()
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


async def until(true: Callable[[], bool], limit_s: float = WAIT_S) -> None:
    async with asyncio.timeout(limit_s):
        while not true():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.01)


@asynccontextmanager
async def customs(folder: Path) -> AsyncIterator[tuple[CustomsService, str]]:
    service = CustomsService(folder, CustomsConfig())
    runner = await service.start("127.0.0.1", 0)
    try:
        yield service, runner.url
    finally:
        await service.stop()


@asynccontextmanager
async def handing_over(folder: Path, url: str, clock: Clock = CLOCK) -> AsyncIterator[tuple[Store, Checkpoints]]:
    store = Store.open(folder, "box-1", KEY, "box-1", "0.1.0", clock)
    async with CustomsClient(url) as client:
        checkpoints = Checkpoints("box-1", store, client)
        task = asyncio.create_task(checkpoints.run())
        try:
            yield store, checkpoints
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            store.close()


async def write(store: Store, entries: int) -> None:
    await store.commit(Commit(entries=tuple(EntryDraft("ANY", {"number": n}) for n in range(entries))))


async def test_heads_are_taken_one_after_the_other_and_after_a_restart(tmp_path: Path) -> None:
    async with customs(tmp_path / "customs") as (service, url):
        async with handing_over(tmp_path / "box", url) as (store, checkpoints):
            for size in (130, 260):
                await write(store, 130)
                checkpoints.news()
                await until(lambda size=size: checkpoints.held == size)
            await write(store, 3)  # the last head is signed as the journal closes: customs has not seen it
        async with handing_over(tmp_path / "box", url) as (store, checkpoints):
            await until(lambda: checkpoints.held == 263)
            await write(store, 120)
            checkpoints.news()
            await until(lambda: checkpoints.held == 383)
            assert not checkpoints.refusal and checkpoints.settled.is_set()
        held = await service._store.read(lambda: service._store.checkpoint("box-1"))
        assert held is not None and held[0] == 383


async def test_a_head_is_signed_although_nothing_more_is_written(tmp_path: Path) -> None:
    fast = Clock(20.0, time.time())
    async with (
        customs(tmp_path / "customs") as (_service, url),
        handing_over(tmp_path / "box", url, fast) as (store, checkpoints),
    ):
        await until(lambda: checkpoints.held == 0)
        await write(store, 3)
        await until(lambda: checkpoints.held == 3)


@pytest.mark.parametrize("rebuilt", [False, True])
async def test_a_restored_or_rebuilt_journal_is_refused_until_somebody_says_so(tmp_path: Path, rebuilt: bool) -> None:
    async with customs(tmp_path / "customs") as (service, url):
        async with handing_over(tmp_path / "box", url) as (store, checkpoints):
            await write(store, 5)
            store.close()
        shutil.copytree(tmp_path / "box", tmp_path / "backup")
        async with handing_over(tmp_path / "box", url) as (store, checkpoints):
            await write(store, 200)
            checkpoints.news()
            await until(lambda: checkpoints.held == 205)
        async with handing_over(tmp_path / "backup", url) as (store, checkpoints):
            if rebuilt:
                await write(store, 400)
            await until(lambda: not checkpoints.settled.is_set(), 5.0)  # S16: found within 5 s
            assert "205" in checkpoints.refusal
            word = Reconciliation(agent="box-1", officer="Muster", reason="disk replaced")
            await service._store.write(lambda: service._office.reconcile(word, 0.0))
            await asyncio.wait_for(checkpoints.settled.wait(), WAIT_S)
            assert not checkpoints.refusal


async def test_while_customs_is_away_nothing_is_refused(tmp_path: Path) -> None:
    async with handing_over(tmp_path / "box", "http://127.0.0.1:1") as (store, checkpoints):
        await write(store, 150)
        await until(lambda: store.checkpoint is not None and "\n150\n" in store.checkpoint)
        assert checkpoints.settled.is_set() and checkpoints.held is None
