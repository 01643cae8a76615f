"""Writes the rows of a batch; each function runs inside the transaction of `Store.commit`."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, replace

import apsw
import msgspec

from agent.journal.batch import RECORD_TABLES, Commit, OutboxRow, RefusalRow, StoredEvent, StoredRow
from agent.journal.entry import Entry, EntryDraft

MAX_EVENTS = 100_000
"""Events kept for watchers that come back; far more than one misses in a day."""
MAX_REFUSALS = 10_000
"""Distinct refusals kept; above it they are only counted (design/reliability.md section 2)."""
MAX_REFUSAL_REASONS = 1_000
"""Reasons counted apart above `MAX_REFUSALS`."""
MAX_REFUSAL_TEXT = 256
"""Characters kept of a refused message's source, topic and reason, which a stranger chose."""


def write_entries(
    connection: apsw.Connection, entries: list[Entry], drafts: tuple[EntryDraft, ...]
) -> tuple[StoredEvent, ...]:
    """Entries, and what watchers are told of them."""
    connection.executemany(
        "INSERT INTO journal (seq, body, sig, hash, activation_id) VALUES (?, ?, ?, ?, ?)",
        [(entry.seq, entry.body, entry.signature, entry.hash, entry.activation_id) for entry in entries],
    )
    events = tuple(
        StoredEvent(entry.seq, draft.event_kind, msgspec.json.encode(draft.event or {}))
        for entry, draft in zip(entries, drafts, strict=True)
        if draft.event_kind is not None
    )
    connection.executemany(
        "INSERT INTO event (seq, kind, body) VALUES (?, ?, ?)",
        [(event.seq, event.kind, event.body) for event in events],
    )
    if events:
        connection.execute(
            "DELETE FROM event WHERE seq <= (SELECT seq FROM event ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (MAX_EVENTS,),
        )
    return events


def write_state(connection: apsw.Connection, batch: Commit) -> None:
    """Cursors, states, records, activations and the feed marker."""
    connection.executemany(
        "INSERT OR REPLACE INTO cursor (unit, boot_id, highest, gaps, last_fix_ms) VALUES (?, ?, ?, ?, ?)",
        [(row.unit, row.boot_id, row.highest, _json(row.gaps), row.last_fix_ms) for row in batch.cursors],
    )
    _put_all(connection, "unit_state", [(state.unit, state.body) for state in batch.unit_states])
    _put_all(connection, "last_frame", [(frame.unit, frame.body) for frame in batch.frames])
    for table in RECORD_TABLES:
        _put_all(connection, table, [(record.key, record.body) for record in batch.records if record.table == table])
    connection.executemany(
        "INSERT INTO activation (activation_id, mrn, version, jrn, crossing, direction, unit, at_ms, "
        "received_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [astuple(replace(row, body=b"")) for row in batch.activations],  # its bytes are a paper, and can be erased
    )
    if batch.feed_marker is not None:
        connection.execute("INSERT OR REPLACE INTO feed (id, marker) VALUES (1, ?)", (batch.feed_marker,))


_PUT = "INSERT INTO {} (key, body) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET body = excluded.body"
_FORGET = "DELETE FROM {} WHERE key = ?"
_KEYED_TABLES = ("unit_state", "last_frame", *RECORD_TABLES)


def _put_all(connection: apsw.Connection, table: str, rows: list[tuple[str, bytes | None]]) -> None:
    """Each key comes once in a batch, so it does not matter what goes first."""
    assert table in _KEYED_TABLES, table
    connection.executemany(_FORGET.format(table), [(key,) for key, body in rows if body is None])
    connection.executemany(_PUT.format(table), [row for row in rows if row[1] is not None])


def _json(gaps: tuple[tuple[int, int, int], ...]) -> str:
    return msgspec.json.encode(gaps).decode() if gaps else "[]"


def settle_outbox(connection: apsw.Connection, batch: Commit, now_ms: int) -> None:
    """Done rows leave; sealed ones stay, marked, while they are the newest of their target."""
    done = [(outbox_id,) for outbox_id in batch.done]
    connection.executemany("DELETE FROM outbox WHERE id = ? AND sealed = 0", done)
    connection.executemany(
        "DELETE FROM outbox WHERE id = ? AND EXISTS (SELECT 1 FROM outbox AS newer "
        "WHERE newer.target = outbox.target AND newer.sealed = 1 AND newer.id > outbox.id)",
        done,
    )
    connection.executemany(
        "UPDATE outbox SET done_ms = ? WHERE id = ? AND done_ms IS NULL",
        [(now_ms, outbox_id) for outbox_id in batch.done],
    )
    connection.executemany("DELETE FROM outbox WHERE id = ?", [(outbox_id,) for outbox_id in batch.dropped])
    connection.executemany(
        "UPDATE outbox SET next_try_ms = ?, tries = ? WHERE id = ?",
        [(row.next_try_ms, row.tries, row.outbox_id) for row in batch.retried],
    )


def insert_effect(connection: apsw.Connection, row: OutboxRow, body: bytes) -> StoredRow:
    """One outbox row with the bytes that go out."""
    digest = hashlib.sha256(body).digest()
    connection.execute(
        "INSERT INTO outbox (lane, target, key, body, body_sha256, sealed, due_ms, expires_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (row.lane, row.target, row.key, body, digest, int(row.seal), row.due_ms, row.expires_ms),
    )
    outbox_id = connection.last_insert_rowid()
    return StoredRow(outbox_id, row.lane, row.target, row.key, body, row.due_ms, row.expires_ms, row.seal)


def write_refusals(connection: apsw.Connection, refusals: tuple[RefusalRow, ...], rows: int, now_ms: int) -> int:
    """Count each message; a new distinct one gets a row while there is room. Returns the rows kept now."""
    for refusal in refusals:
        topic, reason = refusal.topic[:MAX_REFUSAL_TEXT], refusal.reason[:MAX_REFUSAL_TEXT]
        key = (refusal.source[:MAX_REFUSAL_TEXT], topic, reason, refusal.sha256)
        connection.execute(
            "UPDATE refusal SET count = count + 1, last_ms = ? "
            "WHERE source = ? AND topic = ? AND reason = ? AND sha256 = ?",
            (now_ms, *key),
        )
        if connection.changes():
            continue
        if rows < MAX_REFUSALS:
            connection.execute(
                "INSERT INTO refusal VALUES (?, ?, ?, ?, ?, ?, ?, 1)", (*key, refusal.length, now_ms, now_ms)
            )
            rows += 1
        else:
            _count_overflow(connection, reason)
    return rows


def _count_overflow(connection: apsw.Connection, reason: str) -> None:
    """Reasons are few, but a stranger's text may be part of one: those beyond the bound share a counter."""
    known = "SELECT 1 FROM refusal_overflow WHERE reason = ?"
    crowded = "SELECT count(*) >= ? FROM refusal_overflow"
    if (
        not list(connection.execute(known, (reason,)))
        and next(iter(connection.execute(crowded, (MAX_REFUSAL_REASONS,))))[0]
    ):
        reason = "OTHER"
    connection.execute(
        "INSERT INTO refusal_overflow VALUES (?, 1) ON CONFLICT (reason) DO UPDATE SET count = count + 1",
        (reason,),
    )
