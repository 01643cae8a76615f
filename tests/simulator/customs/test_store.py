"""simulator/customs/store.py: requests that share a transaction stay apart in what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from agent.errors import JournalError
from simulator.customs.store import WORKS_AT_ONCE, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def committed(folder: Path, name: str) -> int:
    """As another connection sees it."""
    with apsw.Connection(str(folder / "customs.sqlite")) as connection:
        return int(next(connection.execute("SELECT coalesce(max(value), 0) FROM meta WHERE name = ?", (name,)))[0])


async def test_what_is_answered_is_on_disk_however_many_ask_at_once(store: Store, tmp_path: Path) -> None:
    asked = 3 * WORKS_AT_ONCE + 1
    numbers = await asyncio.gather(*(store.write(lambda: store.next_number("mrn")) for _ in range(asked)))
    assert sorted(numbers) == list(range(1, asked + 1))
    assert committed(tmp_path, "mrn") == asked


@pytest.mark.parametrize("error", [ValueError("not like this"), apsw.ConstraintError("twice")], ids=["ours", "sqlite"])
async def test_a_work_that_fails_leaves_nothing_and_the_others_go_on(
    store: Store, tmp_path: Path, error: Exception
) -> None:
    def fails() -> int:
        store.next_number("mrn")
        raise error

    works = [fails if n % 5 == 2 else lambda: store.next_number("mrn") for n in range(40)]
    outcomes = await asyncio.gather(*(store.write(work) for work in works), return_exceptions=True)
    bad = [one for one in outcomes if isinstance(one, Exception)]
    good = [one for one in outcomes if isinstance(one, int)]
    expected = JournalError if isinstance(error, apsw.Error) else ValueError
    assert len(bad) == 8 and all(isinstance(one, expected) for one in bad)
    assert good == list(range(1, 33)), "in the order they were asked, without a number lost"
    assert committed(tmp_path, "mrn") == 32


async def test_a_group_that_is_not_committed_is_refused_whole(store: Store, tmp_path: Path) -> None:
    store._db.set_commit_hook(lambda: True)  # SQLite then rolls back
    outcomes = await asyncio.gather(
        *(store.write(lambda: store.next_number("mrn")) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(one, JournalError) for one in outcomes)
    store._db.set_commit_hook(None)
    assert committed(tmp_path, "mrn") == 0
    assert await store.write(lambda: store.next_number("mrn")) == 1


async def test_who_gives_up_waiting_disturbs_nobody(store: Store) -> None:
    waiting = [asyncio.ensure_future(store.write(lambda: store.next_number("mrn"))) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[2].cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [int, int, asyncio.CancelledError, int, int]
