"""One transaction for all of a batch, or none of it; on real files."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import replace

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AlreadyRunning, ConfigError, JournalError
from agent.journal import database, tables
from agent.journal.entry import parse
from agent.journal.merkle import CHECKPOINT_EVERY_ENTRIES, CHECKPOINT_EVERY_S
from agent.journal.store import (
    ActivationRow,
    Circumstances,
    Commit,
    CursorRow,
    EntryDraft,
    JournalContradiction,
    OutboxRow,
    Reader,
    RecordRow,
    RefusalRow,
    Retry,
    StateRow,
)
from agent.journal.verify import parse_checkpoint, verify_checkpoint, verify_entries


async def test_all_of_a_batch_is_there_after_reopening(open_store):
    store = open_store()
    cursor = CursorRow("unit-1", "boot-a", 17, ((3, 5, 100), (9, 9, 200)), 1_795_341_599_000)
    committed = await store.commit(
        Commit(
            cursors=(cursor,),
            unit_states=(StateRow("unit-1", b"\x81"),),
            records=(
                RecordRow("crossing", "c", b"C"),
                RecordRow("journey", "j", b"J"),
                RecordRow("instruction", "i", b"I"),
            ),
            activations=(ActivationRow("a" * 26, "26CH1", 1, "JRN-1", "thayngen", "IN", "unit-1", 5, 6, b"{}"),),
            entries=(EntryDraft("ENTERED"), EntryDraft("ACTIVATED", {"n": 1}, "a" * 26)),
            effects=(OutboxRow("activation", "/v1/activations", "a" * 26, b"exact", due_ms=7),),
            feed_marker=41,
        )
    )
    store.close()
    again = open_store()
    loaded = again.load_state()
    assert loaded.cursors == (cursor,)
    assert loaded.unit_states == {"unit-1": b"\x81"}
    assert loaded.records == {"crossing": {"c": b"C"}, "journey": {"j": b"J"}, "instruction": {"i": b"I"}}
    assert loaded.feed_marker == 41
    assert loaded.outbox == committed.outbox
    assert (loaded.outbox[0].body, loaded.outbox[0].due_ms, loaded.outbox[0].sealed) == (b"exact", 7, False)
    assert loaded.entries == 2
    assert committed.seqs == (1, 2)


async def test_records_and_states_change_and_go(open_store):
    store = open_store()
    await store.commit(Commit(records=(RecordRow("journey", "j", b"1"),), unit_states=(StateRow("u", b"1"),)))
    await store.commit(Commit(records=(RecordRow("journey", "j", b"2"),), cursors=(CursorRow("u", None, 1, (), 1),)))
    assert store.load_state().records["journey"] == {"j": b"2"}
    await store.commit(
        Commit(
            records=(RecordRow("journey", "j", None),),
            unit_states=(StateRow("u", None),),
            cursors=(CursorRow("u", None, 2, (), 2),),
        )
    )
    loaded = store.load_state()
    assert (loaded.records["journey"], loaded.unit_states) == ({}, {})
    assert loaded.cursors == (CursorRow("u", None, 2, (), 2),)


async def test_the_journal_goes_on_over_restarts_and_verifies(open_store, tmp_path, activation_batch):
    for run in range(3):
        store = open_store()
        for number in range(4):
            await store.commit(activation_batch(f"{run}-{number}"))
        store.close()
    with Reader.open(tmp_path / "data") as reader:
        entries = list(reader.entries())
        checkpoint = reader.checkpoint()
    keys = [Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()]
    result = verify_entries([(entry.body, entry.signature) for entry in entries], keys, [checkpoint])
    assert (result.verified, result.entries, result.covered) == (True, 12, 12)
    assert len({parse(entry.body).boot_id for entry in entries}) == 3
    assert [entry.seq for entry in entries] == list(range(1, 13))


async def test_entries_say_under_which_circumstances(open_store):
    store = open_store()
    await store.commit(Commit(entries=(EntryDraft("X"),), circumstances=Circumstances("2026.1", "ab", 30)))
    body = parse((await store.read_entries(0, 10))[0].body)
    assert (body.zone_set_version, body.zone_set_sha256, body.at_bound_ms) == ("2026.1", "ab", 30)
    assert (body.at, body.boot_id) == ("2026-11-22T10:00:00.000Z", store.boot_id)


async def test_watchers_get_events_by_number_also_after_a_restart(open_store):
    store = open_store()
    first = await store.commit(
        Commit(entries=(EntryDraft("A"), EntryDraft("B", event_kind="alarm", event={"name": "BREACH"})))
    )
    store.close()
    store = open_store()
    second = await store.commit(Commit(entries=(EntryDraft("C", event_kind="mode", event={}),)))
    assert [event.seq for event in (*first.events, *second.events)] == [2, 3]
    assert await store.read_events(0, 10) == (*first.events, *second.events)
    assert await store.read_events(2, 10) == second.events
    assert first.events[0].body == b'{"name":"BREACH"}'


async def test_events_are_bounded(open_store, monkeypatch):
    monkeypatch.setattr(tables, "MAX_EVENTS", 5)
    store = open_store()
    for number in range(4):
        drafts = tuple(EntryDraft("E", event_kind="mode", event={"n": number}) for _ in range(3))
        await store.commit(Commit(entries=drafts))
    assert [event.seq for event in await store.read_events(0, 100)] == [8, 9, 10, 11, 12]


# Outbox.


async def test_an_outbox_row_stays_until_the_yes(open_store):
    store = open_store()
    rows = (
        await store.commit(Commit(effects=(OutboxRow("risk", "/r", "k1", b"1"), OutboxRow("risk", "/r", "k2", b"2"))))
    ).outbox
    await store.commit(Commit(retried=(Retry(rows[0].outbox_id, 99_000, 3),)))
    store.close()
    store = open_store()
    assert store.load_state().outbox == (replace(rows[0], next_try_ms=99_000, tries=3), rows[1])
    await store.commit(Commit(done=(rows[0].outbox_id,)))
    assert store.load_state().outbox == (rows[1],)
    await store.commit(Commit(dropped=(rows[1].outbox_id,)))
    assert (await store.counts()).outbox_pending == 0


async def test_outbox_ids_are_never_given_twice(open_store):
    store = open_store()
    seen = []
    for _ in range(3):
        row = (await store.commit(Commit(effects=(OutboxRow("l", "t", "k", b""),)))).outbox[0]
        await store.commit(Commit(done=(row.outbox_id,)))
        seen.append(row.outbox_id)
        store.close()
        store = open_store()
    assert len(set(seen)) == 3


def seal(body, checkpoint):
    return b"signed(" + body + b"," + str(parse_checkpoint(checkpoint).size).encode() + b")"


async def test_a_sealed_row_carries_a_head_over_its_own_entries(open_store):
    store = open_store(seal=seal)
    batch = Commit(
        entries=(EntryDraft("A"), EntryDraft("B")),
        effects=(OutboxRow("instruction", "t", "k", b"GO", seal=True),),
    )
    committed = await store.commit(batch)
    assert committed.outbox[0].body == b"signed(GO,2)"
    assert parse_checkpoint(committed.checkpoint).size == 2
    assert store.load_state().outbox[0].body == b"signed(GO,2)"


async def test_without_new_entries_the_newest_head_serves_again(open_store):
    store = open_store(seal=seal)
    first = await store.commit(Commit(entries=(EntryDraft("A"),), effects=(OutboxRow("i", "t", "k", b"1", seal=True),)))
    second = await store.commit(Commit(effects=(OutboxRow("i", "t", "k", b"2", seal=True),)))
    assert second.outbox[0].body == b"signed(2,1)"
    assert (first.checkpoint, second.checkpoint) == (store.checkpoint, None)


async def test_the_newest_sealed_row_of_a_target_can_be_published_again(open_store):
    store = open_store(seal=seal)

    async def put(target, body):
        return (await store.commit(Commit(effects=(OutboxRow("i", target, "k", body, seal=True),)))).outbox[0]

    a1, b1 = await put("a", b"a1"), await put("b", b"b1")
    await store.commit(Commit(done=(a1.outbox_id,)))
    store.close()
    store = open_store(seal=seal)
    loaded = store.load_state()
    assert loaded.outbox == (b1,)
    assert [row.outbox_id for row in loaded.retained] == [a1.outbox_id, b1.outbox_id]
    assert loaded.retained[0].done_ms == 1_795_341_600_000
    a2 = await put("a", b"a2")
    b2 = await put("b", b"b2")
    await store.commit(Commit(done=(b1.outbox_id,)))
    loaded = store.load_state()
    assert [row.outbox_id for row in loaded.retained] == [a2.outbox_id, b2.outbox_id]
    assert [row.outbox_id for row in loaded.outbox] == [a2.outbox_id, b2.outbox_id]
    await store.commit(Commit(dropped=(a2.outbox_id,)))
    assert [row.outbox_id for row in store.load_state().retained] == [b2.outbox_id]


async def test_a_seal_that_was_not_given_is_a_caller_bug(open_store):
    store = open_store()
    with pytest.raises(ValueError, match="expected `seal` at open"):
        await store.commit(Commit(entries=(EntryDraft("A"),), effects=(OutboxRow("i", "t", "k", b"", seal=True),)))
    assert (await store.counts()).entries == 0
    assert (await store.commit(Commit(entries=(EntryDraft("A"),)))).seqs == (1,)


# Checkpoints.


async def test_a_head_is_signed_every_10_s_or_100_entries(open_store, clock, tmp_path):
    store = open_store()
    assert (await store.commit(Commit(entries=(EntryDraft("A"),)))).checkpoint is not None  # none so far
    type(clock).at_s += CHECKPOINT_EVERY_S - 0.1
    assert (await store.commit(Commit(entries=(EntryDraft("A"),)))).checkpoint is None
    type(clock).at_s += 0.1
    by_time = (await store.commit(Commit(entries=(EntryDraft("A"),)))).checkpoint
    assert parse_checkpoint(by_time).size == 3
    by_number = (await store.commit(Commit(entries=(EntryDraft("A"),) * CHECKPOINT_EVERY_ENTRIES))).checkpoint
    assert parse_checkpoint(by_number).size == 103
    await store.commit(Commit(entries=(EntryDraft("last"),)))
    store.close()
    copy = (tmp_path / "data" / database.CHECKPOINT_NAME).read_text("utf-8")
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    assert verify_checkpoint(copy, [key]).size == 104  # closing signs the rest


# Refusals.


def refusal(number, reason="NOT_READABLE", topic="t"):
    return RefusalRow("mqtt", topic, reason, bytes([number]) * 32, 10)


async def test_a_refusal_is_kept_once_and_counted(open_store, clock, tmp_path):
    store = open_store()
    await store.commit(Commit(refusals=(refusal(1), refusal(2), refusal(1))))
    type(clock).at_s += 1
    await store.commit(Commit(refusals=(refusal(1, topic="x" * 9_000), refusal(1))))
    with Reader.open(tmp_path / "data") as reader:
        rows = {(row.sha256[0], len(row.topic)): row for row in reader.refusals()}
    assert {key: row.count for key, row in rows.items()} == {(1, 1): 3, (2, 1): 1, (1, 256): 1}
    assert rows[1, 1].last_ms - rows[1, 1].first_ms == 1_000
    assert (await store.counts()).refusals == 5


async def test_refusals_are_bounded_and_still_counted(open_store, monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "MAX_REFUSALS", 4)
    monkeypatch.setattr(tables, "MAX_REFUSAL_REASONS", 2)
    for _ in range(2):  # the bound holds over a restart
        store = open_store()
        await store.commit(Commit(refusals=tuple(refusal(number, f"R{number}") for number in range(9))))
        store.close()
    with Reader.open(tmp_path / "data") as reader:
        assert (reader.refusal_rows(), reader.counts().refusals) == (4, 18)


# All or nothing.


async def test_a_second_activation_under_one_id_is_a_contradiction(open_store, activation_batch):
    store = open_store()
    await store.commit(activation_batch("x"))
    with pytest.raises(JournalContradiction, match="activation_id"):
        await store.commit(activation_batch("x"))
    with pytest.raises(JournalError, match="earlier failure"):
        await store.commit(activation_batch("y"))
    assert isinstance(store.failure, JournalContradiction)
    counts = await store.counts()
    assert (counts.entries, counts.activations, counts.outbox_pending) == (1, 1, 1)


async def test_no_entry_no_activation(open_store, activation_batch):
    store = open_store()
    with pytest.raises(ValueError, match="without an entry that names them"):
        await store.commit(replace(activation_batch("x"), entries=(EntryDraft("ACTIVATED"),)))
    assert (await store.counts()).activations == 0


async def test_facts_that_are_no_json_leave_nothing_behind(open_store, activation_batch):
    store = open_store()
    batch = activation_batch("x")
    bad = EntryDraft("BAD", {"x": object()})
    with pytest.raises(TypeError):
        await store.commit(replace(batch, entries=(*batch.entries, bad)))
    assert (await store.counts()).entries == 0
    assert (await store.commit(batch)).seqs == (1,)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sizes=st.lists(st.integers(0, 4), max_size=8), bad=st.integers(0, 8))
async def test_numbers_have_no_holes_whatever_fails_in_between(open_store, sizes, bad):
    store = open_store()
    start = (await store.counts()).entries
    for number, size in enumerate(sizes):
        if number == bad:
            with pytest.raises(TypeError):
                await store.commit(Commit(entries=(EntryDraft("A"), EntryDraft("BAD", {"x": object()}))))
        committed = await store.commit(Commit(entries=(EntryDraft("A"),) * size))
        assert committed.seqs == tuple(range(start + 1, start + 1 + size))
        start += size
    store.close()


async def test_commits_at_once_are_each_whole(open_store, activation_batch):
    store = open_store()
    done = await asyncio.gather(*(store.commit(activation_batch(str(number))) for number in range(40)))
    assert sorted(seq for committed in done for seq in committed.seqs) == list(range(1, 41))


async def test_after_closing_nothing_is_accepted(open_store):
    store = open_store()
    store.close()
    store.close()
    with pytest.raises(JournalError, match="closed"):
        await store.commit(Commit())


async def test_the_log_is_moved_into_the_database_and_stays_small(open_store, tmp_path):
    store = open_store()
    for number in range(60):
        await store.commit(Commit(records=(RecordRow("journey", str(number % 5), os.urandom(200_000)),)))
    assert database.wal_bytes(tmp_path / "data") < 12 << 20
    store.close()
    assert database.wal_bytes(tmp_path / "data") == 0


async def test_a_log_that_a_reader_holds_stops_the_work_before_it_grows_without_end(
    open_store, tmp_path, monkeypatch, activation_batch
):
    monkeypatch.setattr(database, "WAL_LIMIT_BYTES", 1 << 20)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 50)
    store = open_store()
    await store.commit(activation_batch("first"))
    reader = apsw.Connection(str(tmp_path / "data" / database.FILE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    held = reader.execute("SELECT * FROM journal UNION ALL SELECT * FROM journal")
    next(held)
    with pytest.raises(JournalError, match="a reader holds it"):
        for number in range(60):
            await store.commit(Commit(records=(RecordRow("journey", str(number), os.urandom(60_000)),)))
    held.close()
    reader.close()
    await store.commit(activation_batch("second"))


# Opening.


def test_the_folder_is_ours_alone(open_store, tmp_path):
    open_store()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()} == {0o600}
    with pytest.raises(AlreadyRunning, match="another agent holds"):
        open_store()


def test_after_a_failed_opening_the_folder_is_free(open_store):
    open_store().close()
    with pytest.raises(ConfigError):
        open_store(agent_id="box-2")
    open_store()


def test_every_setting_is_the_one_that_durability_needs(tmp_path):
    (tmp_path / "data").mkdir()
    database.create_if_absent(tmp_path / "data")
    connection = database.open_writer(tmp_path / "data")
    names = ["journal_mode", "synchronous", "foreign_keys", "trusted_schema", "mmap_size", "secure_delete"]
    assert [connection.pragma(name) for name in names] == ["wal", 2, 1, 0, 0, 1]
    assert connection.pragma("journal_size_limit") == 64 << 20
    ours = "schema = 'main' AND name NOT LIKE 'sqlite_%'"
    count, strict = next(connection.execute(f"SELECT count(*), sum(strict) FROM pragma_table_list WHERE {ours}"))
    assert count == strict > 10
    connection.close()


def test_readers_cannot_write(open_store, tmp_path):
    open_store()
    connection = database.open_reader(tmp_path / "data")
    with pytest.raises(apsw.ReadOnlyError):
        connection.execute("DELETE FROM meta")
    connection.close()


@pytest.mark.parametrize(("found", "good"), [("3.40.1", False), ("3.51.2", False), ("3.51.3", True), ("3.54.1", True)])
def test_an_sqlite_that_loses_data_is_refused(found, good):
    if good:
        database.require_sqlite(found)
    else:
        with pytest.raises(JournalError, match=r"expected 3\.51\.3 or newer"):
            database.require_sqlite(found)


def test_a_folder_of_another_agent_or_key_is_refused(open_store):
    open_store().close()
    with pytest.raises(ConfigError, match="expected 'box-1'"):
        open_store(agent_id="box-2")
    with pytest.raises(ConfigError, match="expected a new id for a new key"):
        open_store(signing_key=Ed25519PrivateKey.generate())


async def test_a_new_key_under_a_new_id_goes_on(open_store, tmp_path, activation_batch):
    store = open_store()
    await store.commit(activation_batch("old"))
    store.close()
    key = Ed25519PrivateKey.generate()
    store = open_store(signing_key=key, kid="box-1.2")
    await store.commit(activation_batch("new"))
    store.close()
    open_store(signing_key=key, kid="box-1.2").close()
    with Reader.open(tmp_path / "data") as reader:
        assert list(reader.signing_keys()) == ["box-1.1", "box-1.2"]
        assert [parse(entry.body).kid for entry in reader.entries()] == ["box-1.1", "box-1.2"]


def test_a_newer_or_foreign_file_is_refused(open_store, tmp_path):
    open_store().close()
    path = tmp_path / "data" / database.FILE_NAME
    for name, value, words in (("user_version", 99, "version 99"), ("application_id", 1, "not a journal")):
        connection = apsw.Connection(str(path))
        connection.pragma(name, value)
        connection.close()
        with pytest.raises(JournalError, match=words):
            open_store()
        connection = apsw.Connection(str(path))
        connection.pragma("user_version", database.SCHEMA_VERSION)
        connection.close()
    assert path.exists()


def test_a_half_made_database_is_made_anew(open_store, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"{database.FILE_NAME}.new").write_bytes(b"SQLite format 3\x00 half")
    assert open_store().load_state().entries == 0


def test_there_is_nothing_to_read_where_no_agent_was(tmp_path):
    with pytest.raises(JournalError, match="expected the data folder of an agent"):
        Reader.open(tmp_path)
