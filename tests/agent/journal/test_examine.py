"""agent/journal/examine.py: what a start has no time for is looked at while the agent serves."""

from __future__ import annotations

import apsw
import pytest

from agent.errors import JournalError
from agent.journal import database, examine, page_check
from agent.journal.store import Commit, EntryDraft

ENTRIES = 1_200


async def journal_of(open_store, count=ENTRIES):
    store = open_store()
    for first in range(0, count, 400):
        await store.commit(Commit(entries=tuple(EntryDraft("X", {"n": first + n}) for n in range(400))))
    store.close()


def edit(folder, sql, *values):
    """Change the file as somebody with its tools would: the pages' checksums fit afterwards."""
    page_check.load()
    connection = apsw.Connection(str(folder / database.FILE_NAME))
    connection.execute(sql, values)
    connection.close()


@pytest.fixture
def long(monkeypatch):
    """What counts as a long journal, and as its end, at the size of a test."""
    monkeypatch.setattr(examine, "REHASH_ENTRIES", 1_000)


async def test_a_long_journal_is_looked_over_whole_while_it_serves(open_store, long):
    await journal_of(open_store)
    store = open_store()
    await store.commit(Commit(entries=(EntryDraft("X"),)))  # it may grow meanwhile
    assert await store.look_over(0.0) == ENTRIES
    assert store.failure is None


async def test_a_short_one_was_looked_at_by_the_start(open_store):
    await journal_of(open_store, 400)
    assert await open_store().look_over(0.0) == 0


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        (
            "UPDATE journal SET body = CAST(replace(body, '\"n\":70', '\"n\":71') AS BLOB) WHERE seq = 71",
            "entry 71 was changed",
        ),
        ("DELETE FROM journal WHERE seq = 600", "entry 600 was changed or is missing"),
        ("UPDATE tree SET peaks = zeroblob(length(peaks))", "stored tree head"),
    ],
)
async def test_what_does_not_fit_ends_the_writing_and_the_next_start_puts_it_aside(
    open_store, tmp_path, long, sql, found
):
    await journal_of(open_store)
    edit(tmp_path / "data", sql)
    store = open_store()
    assert await store.look_over(0.0) == 0
    assert found in store.readonly
    with pytest.raises(JournalError, match="damaged"):
        await store.commit(Commit(entries=(EntryDraft("X"),)))
    store.close()
    with pytest.raises(JournalError, match="quarantine"):
        open_store()
