"""Damage that SQLite itself would read past is an error; files from before the checksums get them."""

from __future__ import annotations

import shutil
from importlib import resources

import apsw
import pytest

from agent.errors import JournalError
from agent.journal import database, page_check
from agent.journal.batch import RecordRow
from agent.journal.store import Commit, EntryDraft, Reader


async def fill(open_store, activation_batch, count=5):
    store = open_store()
    for number in range(count):
        await store.commit(activation_batch(f"id-{number}"))
    await store.commit(Commit(records=(RecordRow("journey", "J-1", b"planned for thayngen" * 300),)))
    return store


async def test_a_changed_state_row_is_found(open_store, activation_batch, tmp_path):
    """No structure of the file is hurt, no signature covers it: only the page's own checksum can tell."""
    (await fill(open_store, activation_batch)).close()
    path = tmp_path / "data" / database.FILE_NAME
    path.write_bytes(path.read_bytes().replace(b"planned for thayngen", b"planned for gaillard", 1))
    with pytest.raises(JournalError, match="a page does not fit its checksum"):
        open_store()
    aside = next((tmp_path / "data").glob("quarantine-*"))
    with Reader.open(aside) as reader:  # who examines it still sees what it says
        assert b"gaillard" in reader.records("journey")["J-1"]


async def test_damage_met_at_work_ends_the_work_and_the_next_start_reads_every_page(open_store, tmp_path, monkeypatch):
    monkeypatch.setattr("agent.journal.examine.QUICK_CHECK_BYTES", 0)  # as in a file too large to be read at start
    folder, path = tmp_path / "data", tmp_path / "data" / database.FILE_NAME
    store = open_store()
    told = EntryDraft("ACTIVATED", {}, event_kind="activation", event={"said": "thayngen"})
    await store.commit(Commit(entries=(told,)))
    store.close()
    path.write_bytes(path.read_bytes().replace(b'"said":"thayngen"', b'"said":"gaillard"'))
    store = open_store()
    with pytest.raises(JournalError, match="a page does not fit its checksum"):
        await store.read_events(0, 100)
    with pytest.raises(JournalError, match="earlier failure"):
        await store.commit(Commit(entries=(told,)))
    store.close()
    assert (folder / database.SUSPECT_NAME).exists()
    with pytest.raises(JournalError, match="quarantine"):
        open_store()
    assert not path.exists() and not (folder / database.SUSPECT_NAME).exists()


async def test_a_suspicion_that_proves_false_is_dropped(open_store, activation_batch, tmp_path):
    (await fill(open_store, activation_batch)).close()
    (tmp_path / "data" / database.SUSPECT_NAME).touch()
    open_store().close()
    assert not (tmp_path / "data" / database.SUSPECT_NAME).exists()


async def test_a_file_from_before_the_checksums_gets_them_and_keeps_everything(open_store, activation_batch, tmp_path):
    (await fill(open_store, activation_batch)).close()
    folder, path = tmp_path / "data", tmp_path / "data" / database.FILE_NAME
    with Reader.open(folder) as reader:
        before = [list(reader.entries()), reader.load_state(), reader.agent_id()]
    as_it_was(path)
    assert not page_check.has_room(path)
    store = open_store()
    assert page_check.has_room(path)
    assert [list(await store.read_entries(0, 1_000)), store.load_state()] == before[:2]
    await store.commit(activation_batch("after"))
    store.close()
    open_store().close()
    assert not list(folder.glob("*.new*"))


def as_it_was(path):
    """Copy a database into one without room for checksums, as earlier versions made them."""
    plain = path.with_name("plain.db")
    connection = apsw.Connection(str(plain), vfs="unix")
    connection.pragma("application_id", database.APPLICATION_ID)
    connection.pragma("user_version", database.SCHEMA_VERSION)
    connection.execute(resources.files("agent.journal").joinpath("schema.sql").read_text("utf-8"))
    connection.execute("ATTACH ? AS full", (str(path),))
    names = "SELECT name FROM full.sqlite_schema WHERE type = 'table' ORDER BY name = 'sqlite_sequence'"
    for (name,) in list(connection.execute(names)):
        connection.execute(f"DELETE FROM main.{name}; INSERT INTO main.{name} SELECT * FROM full.{name}")
    connection.close()
    plain.replace(path)


async def test_what_a_crash_left_of_an_unfinished_copy_does_not_matter(open_store, activation_batch, tmp_path):
    (await fill(open_store, activation_batch)).close()
    path = tmp_path / "data" / database.FILE_NAME
    as_it_was(path)
    for end in ("", "-journal"):
        path.with_name(f"{database.FILE_NAME}.new{end}").write_bytes(b"half of it")
    store = open_store()
    assert store.load_state().entries == 5
    store.close()


async def test_a_lost_end_of_the_log_is_found_by_the_count_beside_it(open_store, activation_batch, tmp_path):
    """Between two checkpoints nothing but the count of promised entries knows of the newest ones."""
    folder = tmp_path / "data"
    store = open_store()
    await store.commit(activation_batch("a"))
    kept = {name: (folder / name).read_bytes() for name in (database.FILE_NAME, f"{database.FILE_NAME}-wal")}
    await store.commit(activation_batch("b"))
    store.close()
    (folder / database.CHECKPOINT_NAME).unlink()
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    with pytest.raises(JournalError, match="ends after 1 entries, but 2 were promised"):
        open_store()


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 16])
async def test_a_count_that_cannot_be_read_says_nothing(open_store, activation_batch, tmp_path, content):
    (await fill(open_store, activation_batch)).close()
    (tmp_path / "data" / database.HEAD_NAME).write_bytes(content)
    open_store().close()


async def test_a_disk_that_cannot_be_read_is_no_damaged_journal(open_store, activation_batch, tmp_path):
    (await fill(open_store, activation_batch)).close()
    path = tmp_path / "data" / database.FILE_NAME
    kept = tmp_path / "kept.db"
    shutil.move(path, kept)
    path.mkdir()  # opening it fails, as on a disk that is gone
    with pytest.raises(JournalError, match="cannot be opened"):
        open_store()
    assert not list((tmp_path / "data").glob("quarantine-*"))
