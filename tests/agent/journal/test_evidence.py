"""Telemetry under one key for each stay, and its end after a day; on real files."""

from __future__ import annotations

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import JournalError
from agent.journal import database, evidence
from agent.journal.entry import EntryDraft
from agent.journal.evidence import KEY_LIFE_S, RETENTION_S, decrypt, encrypt
from agent.journal.store import Commit, OutboxRow, Reader, TelemetryRow
from agent.journal.telemetry import FORM, FixSeen, Observed, encode
from agent.journal.verify import verify_entries

HOUR_S = 3_600.0


def body(number=0):
    seen = FixSeen(
        float(number), float(number), 47.7418, 8.7225, 5.0, 5.0, 22.0, 270.0, number, "b", 3, "accepted", "used", "", ()
    )
    return encode(Observed(FORM, "v1", ("thayngen/in/tracking",), (seen,)))


def row(unit="u1", number=0, ends=False):
    return TelemetryRow(unit, body(number), ends)


def seqs(folder, unit="u1", *between_s):
    with Reader.open(folder) as reader:
        return [fix.seq for observed in reader.telemetry(unit, *between_s) for fix in observed.fixes]


def keys(folder):
    with Reader.open(folder) as reader:
        return dict(reader._rows("SELECT id, key FROM evidence_key ORDER BY id"))


def on_disk(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# --- encryption -----------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.text(max_size=8), st.integers(1, 2**40))
def test_encryption_comes_back(plain, unit, key_id):
    key, nonce = bytes(range(32)), bytes(12)
    sealed = encrypt(key, nonce, plain, unit, key_id)
    assert decrypt(key, sealed, unit, key_id) == plain
    assert len(plain) < 4 or plain not in sealed


@given(st.integers(0, 43), st.integers(0, 7))
def test_no_changed_bit_goes_unseen(place, bit):
    sealed = bytearray(encrypt(bytes(32), bytes(12), b"where it was 123", "u1", 1))
    sealed[place] ^= 1 << bit
    with pytest.raises(ValueError, match="changed, or another's"):
        decrypt(bytes(32), bytes(sealed), "u1", 1)


@pytest.mark.parametrize(
    ("key", "unit", "key_id"), [(bytes([1]) * 32, "u1", 1), (bytes(32), "u2", 1), (bytes(32), "u1", 2)]
)
def test_a_row_cannot_be_passed_off_as_anothers(key, unit, key_id):
    sealed = encrypt(bytes(32), bytes(12), b"where it was", "u1", 1)
    with pytest.raises(ValueError, match="another's"):
        decrypt(key, sealed, unit, key_id)


@pytest.mark.parametrize("sealed", [b"", b"short"])
def test_what_is_too_short_is_refused(sealed):
    with pytest.raises(ValueError, match="telemetry of 'u1'"):
        decrypt(bytes(32), sealed, "u1", 1)


# --- in the store ---------------------------------------------------------------------------------


async def test_a_stay_has_one_key_and_the_next_another(open_store, tmp_path):
    store = open_store()
    await store.commit(Commit(telemetry=(row(number=1), row("u2", 7))))
    await store.commit(Commit(telemetry=(row(number=2), row(number=3, ends=True))))
    await store.commit(Commit(telemetry=(row(number=4),)))
    folder = tmp_path / "data"
    assert (seqs(folder), seqs(folder, "u2"), seqs(folder, "u3")) == ([1, 2, 3, 4], [7], [])
    assert len(keys(folder)) == 3
    assert len(set(keys(folder).values())) == 3


async def test_a_stay_goes_on_over_a_restart(open_store, tmp_path):
    for number in range(3):
        store = open_store()
        await store.commit(Commit(telemetry=(row(number=number),)))
        store.close()
    assert (seqs(tmp_path / "data"), len(keys(tmp_path / "data"))) == ([0, 1, 2], 1)


async def test_a_stay_may_end_without_a_fix_and_without_a_beginning(open_store, tmp_path):
    store = open_store()
    await store.commit(Commit(telemetry=(TelemetryRow("u1", b"", ends=True),)))
    await store.commit(Commit(telemetry=(row(number=1),)))
    await store.commit(Commit(telemetry=(TelemetryRow("u1", b"", ends=True),)))
    await store.commit(Commit(telemetry=(row(number=2),)))
    assert (seqs(tmp_path / "data"), len(keys(tmp_path / "data"))) == ([1, 2], 2)


async def test_a_long_stay_changes_its_key(open_store, tmp_path, clock):
    store = open_store()
    for number in range(4):
        await store.commit(Commit(telemetry=(row(number=number),)))
        type(clock).at_s += KEY_LIFE_S / 2
    assert (seqs(tmp_path / "data"), len(keys(tmp_path / "data"))) == ([0, 1, 2, 3], 2)


async def test_reading_between_two_times(open_store, tmp_path, clock):
    store, began_s = open_store(), clock.now_s()
    for number in range(5):
        await store.commit(Commit(telemetry=(row(number=number),)))
        type(clock).at_s += 10.0
    assert seqs(tmp_path / "data", "u1", began_s + 9.0, began_s + 31.0) == [1, 2, 3]


async def test_nothing_of_a_batch_that_failed_is_kept_in_mind(open_store, tmp_path):
    """A key that was rolled back with its batch must not encrypt what comes after."""
    store = open_store()
    unsealable = OutboxRow("instruction", "t", "k", b"", seal=True)
    with pytest.raises(ValueError, match="asks for a seal"):
        await store.commit(Commit(telemetry=(row(number=1),), effects=(unsealable,), entries=(EntryDraft("X"),)))
    await store.commit(Commit(telemetry=(row(number=2),)))
    assert (seqs(tmp_path / "data"), len(keys(tmp_path / "data"))) == ([2], 1)


async def test_positions_and_keys_are_only_where_they_belong(open_store, tmp_path):
    store = open_store()
    await store.commit(Commit(telemetry=(row(number=1),)))
    store.close()
    disk = on_disk(tmp_path / "data")
    assert body(1) not in disk
    assert disk.count(next(iter(keys(tmp_path / "data").values()))) == 1


# --- retention ------------------------------------------------------------------------------------


async def purge(store):
    while (await store.purge()).more:
        pass


async def test_nothing_is_older_than_a_day_on_any_simulated_day(open_store, tmp_path, clock):
    store, folder = open_store(), tmp_path / "data"
    secrets = {}
    for hour in range(24 * 4):
        ends = hour % 5 == 4  # stays of five hours; that of u2 never ends
        await store.commit(Commit(telemetry=(row(number=hour, ends=ends), row("u2", hour)), entries=(EntryDraft("X"),)))
        secrets |= keys(folder)
        type(clock).at_s += HOUR_S
        await purge(store)
        kept = range(max(0, hour - 23), hour + 1)
        assert seqs(folder) == list(kept)
        assert seqs(folder, "u2") == list(kept)
        if hour % 24 == 23:
            with Reader.open(folder) as reader:
                oldest_ms = reader._value("SELECT min(at_ms) FROM telemetry")
            assert oldest_ms >= round((clock.now_s() - RETENTION_S) * 1000)
    gone = set(secrets) - set(keys(folder))
    assert len(gone) > 10
    assert len(keys(folder)) <= 12
    disk = on_disk(folder)
    assert not [key_id for key_id in gone if secrets[key_id] in disk], "a deleted key is still on disk"
    assert (folder / f"{database.FILE_NAME}-wal").stat().st_size < 64_000


async def test_after_a_day_of_silence_nothing_is_left(open_store, tmp_path, clock):
    store, folder = open_store(), tmp_path / "data"
    await store.commit(Commit(telemetry=(row(), row("u2"), row("u3", ends=True))))
    type(clock).at_s += RETENTION_S + KEY_LIFE_S + 1.0
    await purge(store)
    with Reader.open(folder) as reader:
        assert reader._value("SELECT count(*) FROM telemetry") == 0
    assert keys(folder) == {}
    await store.commit(Commit(telemetry=(row(number=9),)))
    assert seqs(folder) == [9]


async def test_shredding_leaves_the_journal_whole(open_store, tmp_path, clock):
    store, folder = open_store(), tmp_path / "data"
    await store.commit(Commit(telemetry=(row(ends=True),), entries=(EntryDraft("X"), EntryDraft("Y"))))
    type(clock).at_s += RETENTION_S + 1.0
    purged = await store.purge()
    assert (purged.rows, purged.keys, purged.more) == (1, 1, False)
    with Reader.open(folder) as reader:
        public = [Ed25519PublicKey.from_public_bytes(raw) for raw in reader.signing_keys().values()]
        assert verify_entries([(entry.body, entry.signature) for entry in reader.entries()], public, []).verified


async def test_a_purge_takes_little_at_once(open_store, tmp_path, clock, monkeypatch):
    monkeypatch.setattr(evidence, "PURGED_AT_ONCE", 3)
    store = open_store()
    await store.commit(Commit(telemetry=tuple(row(number=number) for number in range(7))))
    type(clock).at_s += RETENTION_S + 1.0
    found = [await store.purge() for _ in range(4)]
    assert [(one.rows, one.more) for one in found] == [(3, True), (3, True), (1, False), (0, False)]


async def test_above_the_bound_the_oldest_go(open_store, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "MAX_ROWS", 4)
    store = open_store()
    await store.commit(Commit(telemetry=tuple(row(number=number) for number in range(10))))
    assert (await store.purge()).rows == 6
    assert seqs(tmp_path / "data") == [6, 7, 8, 9]


async def test_a_purge_that_meets_a_reader_of_the_log_goes_on(open_store, tmp_path, clock):
    """The log is truncated at the next purge that finds something."""
    store, folder = open_store(), tmp_path / "data"
    await store.commit(Commit(telemetry=(row(ends=True),)))
    type(clock).at_s += RETENTION_S + 1.0
    reader = apsw.Connection(str(folder / database.FILE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    list(reader.execute("SELECT count(*) FROM telemetry"))
    assert (await store.purge()).rows == 1
    reader.close()
    await store.commit(Commit(telemetry=(row(number=2),)))
    assert (store.failure, seqs(folder)) == (None, [2])


async def test_a_failed_store_purges_nothing(open_store, activation_batch):
    store = open_store()
    await store.commit(activation_batch("a"))
    with pytest.raises(JournalError):
        await store.commit(activation_batch("a"))
    with pytest.raises(JournalError, match="refused since an earlier failure"):
        await store.purge()
