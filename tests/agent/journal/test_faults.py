"""Disks that fail, and files that were damaged (design/reliability.md, F2, F3 and F8 in small)."""

from __future__ import annotations

import random
import shutil

import apsw
import pytest

from agent.errors import JournalError
from agent.journal import database
from agent.journal import store as store_module
from agent.journal.store import Commit, Reader
from tests.faults.vfs import FaultVFS


class Disk:
    """Fails from the n-th call on, once or for ever, with one error."""

    def __init__(self) -> None:
        self.left, self.error, self.sticky = 0, None, False

    def fail(self, point, error, sticky):
        self.left, self.error, self.sticky = point, error, sticky

    def before(self, call, _file, _offset, _data):
        if self.error is None:
            return
        self.left -= 1
        if self.left == 0 or (self.sticky and self.left < 0):
            raise self.error(f"{call} failed")


@pytest.fixture
def disk():
    """Comes before the stores that are opened on it, and goes after them."""
    disk = Disk()
    vfs = FaultVFS(disk.before)
    yield disk
    vfs.remove()


def stored(folder):
    with Reader.open(folder) as reader:
        assert reader.database_faults(quick=False) == []
        return [entry.activation_id for entry in reader.entries()]


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "sticky"])
@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
async def test_a_failing_disk_is_never_called_durable(disk, open_store, activation_batch, tmp_path, error, sticky):
    """At every file call of three commits in turn."""
    failures = 0
    for point in range(1, 200):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        store, promised, refused = open_store(), [], []
        await store.commit(activation_batch("before"))
        disk.fail(point, error, sticky)
        for number in range(3):
            try:
                await store.commit(activation_batch(f"b-{number}"))
                promised.append(f"b-{number}")
            except JournalError:
                refused.append(f"b-{number}")
                assert stored(tmp_path / "data") == ["before", *promised]
        disk.fail(0, None, False)
        if refused and error is apsw.FullError:  # space has come back: the same store goes on
            await store.commit(activation_batch("after"))
            promised.append("after")
        store.close()
        open_store().close()
        there = stored(tmp_path / "data")
        assert [name for name in there if name not in refused] == ["before", *promised]
        failures += bool(refused)
        if not refused:
            break
    assert failures >= 6  # each commit writes and syncs


async def test_after_an_io_error_nothing_is_built_on_what_nobody_knows(disk, open_store, activation_batch):
    store = open_store()
    disk.fail(1, apsw.IOError, False)
    with pytest.raises(JournalError, match="write failed"):
        await store.commit(activation_batch("a"))
    with pytest.raises(JournalError, match="earlier failure"):
        await store.commit(activation_batch("b"))
    assert store.failure is not None


async def test_a_log_that_cannot_be_moved_breaks_no_promise(disk, open_store, activation_batch, tmp_path, monkeypatch):
    """What was answered stays, whatever happens to the work after the answer; the next commit is refused."""
    monkeypatch.setattr(store_module, "SPILL_PAGES", 1)
    failed_later = 0
    for point in range(1, 40):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        store = open_store()
        disk.fail(point, apsw.IOError, False)
        promised = True
        try:
            await store.commit(activation_batch("a"))
            await store.counts()  # the reading thread; the writing one may still be busy with the log
        except JournalError:
            promised = False
        store.close()
        failed_later += promised and store.failure is not None
        disk.fail(0, None, False)
        assert not promised or stored(tmp_path / "data") == ["a"]
    assert failed_later >= 2


# Damage.


async def fill(open_store, activation_batch, count=30):
    store = open_store()
    for number in range(count):
        await store.commit(activation_batch(f"id-{number}"))
    return store


def entries_of(folder):
    with Reader.open(folder) as reader:
        return [(entry.seq, entry.body, entry.signature, entry.hash) for entry in reader.entries()]


async def test_no_flipped_byte_changes_the_journal_unseen(open_store, activation_batch, tmp_path):
    (await fill(open_store, activation_batch, 60)).close()
    folder = tmp_path / "data"
    good, kept = (folder / database.FILE_NAME).read_bytes(), entries_of(folder)
    chance, found = random.Random(1), 0
    for _ in range(120):
        flipped = bytearray(good)
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        (folder / database.FILE_NAME).write_bytes(flipped)
        try:
            open_store().close()
        except JournalError:
            found += 1
            for aside in folder.glob("quarantine-*"):
                shutil.rmtree(aside)
        else:
            assert entries_of(folder) == kept
        (folder / database.FILE_NAME).unlink(missing_ok=True)
    assert found >= 20


async def test_damage_is_put_aside_and_never_silently_replaced(open_store, activation_batch, tmp_path):
    (await fill(open_store, activation_batch)).close()
    path = tmp_path / "data" / database.FILE_NAME
    damaged = path.read_bytes().replace(b'"kind":"ACTIVATED"', b'"kind":"ACTIVATEE"', 1)
    path.write_bytes(damaged)
    with pytest.raises(JournalError, match=r"damaged and was put into quarantine-\d+: a page does not fit"):
        open_store()
    assert not path.exists()
    with pytest.raises(JournalError, match="expected a restored"):
        open_store()
    aside = next((tmp_path / "data").glob("quarantine-*"))
    assert (aside / database.FILE_NAME).read_bytes() == damaged
    shutil.rmtree(aside)  # the operator has decided
    assert open_store().load_state().entries == 0


async def test_a_cut_log_is_found_by_the_head_beside_it(open_store, activation_batch, tmp_path):
    folder = tmp_path / "data"
    store = open_store(seal=lambda body, head: body)
    await store.commit(activation_batch("a"))
    kept = {name: (folder / name).read_bytes() for name in (database.FILE_NAME, f"{database.FILE_NAME}-wal")}
    for number in range(120):
        await store.commit(activation_batch(f"id-{number}"))
    store.close()
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    with pytest.raises(JournalError, match="ends after 1 entries, but a checkpoint vouches for 121"):
        open_store()


@pytest.mark.parametrize("content", [b"", b"no database at all" * 300])
async def test_what_is_no_database_is_put_aside(open_store, tmp_path, content):
    open_store().close()
    (tmp_path / "data" / database.FILE_NAME).write_bytes(content)
    with pytest.raises(JournalError):
        open_store()


async def test_an_empty_commit_costs_nothing_but_is_allowed(open_store):
    committed = await open_store().commit(Commit())
    assert (committed.seqs, committed.outbox, committed.checkpoint) == ((), (), None)


async def test_only_entries_that_cannot_be_written_stop_everything_else_too(open_store, activation_batch):
    """F7: no journal, no activation, nothing for the outbox."""
    store = open_store()
    await store.commit(activation_batch("before"))
    store._connection.execute(
        "CREATE TEMP TRIGGER broken BEFORE INSERT ON main.journal BEGIN SELECT RAISE(ABORT, 'cannot be written'); END"
    )
    for name in ("a", "b"):
        with pytest.raises(JournalError, match="cannot be written"):
            await store.commit(activation_batch(name))
    assert store.readonly
    store.close()
    loaded = open_store().load_state()
    assert [row.key for row in loaded.outbox] == ["before"] and loaded.entries == 1
    assert [row.unit for row in loaded.cursors] == ["unit-before"]
