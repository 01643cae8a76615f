"""Papers: the exact bytes behind the entries - requests, the authority's answers, instructions - encrypted.

Entries hold digests only, so a paper can be erased and the journal still verifies. Each journey has a key of
its own; deleting that shreds its papers, also in copies that hold no keys.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import apsw

from agent.journal.batch import PaperRow
from agent.journal.evidence import decrypt, encrypt, new_key

NONCE_BYTES = 12


def write_papers(connection: apsw.Connection, papers: Iterable[PaperRow], now_ms: int) -> None:
    """Encrypt and append; runs inside the transaction of `Store.commit`."""
    for paper in papers:
        key_id, key = _key_of(connection, paper.owner, now_ms)
        sealed = encrypt(key, os.urandom(NONCE_BYTES), paper.body, paper.owner, key_id)
        connection.execute(
            "INSERT INTO paper (key_id, kind, activation_id, at_ms, body) VALUES (?, ?, ?, ?, ?)",
            (key_id, paper.kind, paper.activation_id, now_ms, sealed),
        )


def _key_of(connection: apsw.Connection, owner: str, now_ms: int) -> tuple[int, bytes]:
    row = next(
        connection.execute(
            "INSERT INTO paper_key (owner, key, newest_ms) VALUES (?, ?, ?) "
            "ON CONFLICT (owner) DO UPDATE SET newest_ms = max(newest_ms, excluded.newest_ms) RETURNING id, key",
            (owner, new_key(), now_ms),
        )
    )
    return int(row[0]), bytes(row[1])


def read_papers(connection: apsw.Connection, owner: str) -> Iterator[PaperRow]:
    """Papers of a journey that are still there, oldest first.

    Raises:
        ValueError: one was changed.
    """
    rows: list[tuple[Any, ...]] = connection.execute(
        "SELECT paper_key.id, key, kind, activation_id, body FROM paper JOIN paper_key ON paper_key.id = key_id "
        "WHERE owner = ? ORDER BY paper.id",
        (owner,),
    ).fetchall()
    for key_id, key, kind, activation_id, sealed in rows:
        yield PaperRow(owner, kind, decrypt(key, sealed, owner, key_id), activation_id)


def has_papers(connection: apsw.Connection) -> bool:
    """Whether this journal has them at all; a folder that was not opened by this version has not."""
    return bool(next(connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'paper'"))[0])


def papers_over_age(connection: apsw.Connection, oldest_ms: int) -> bool:
    """Whether `purge_papers` has anything to do."""
    found = connection.execute("SELECT EXISTS (SELECT 1 FROM paper_key WHERE newest_ms < ?)", (oldest_ms,))
    return bool(next(found)[0])


def purge_papers(connection: apsw.Connection, oldest_ms: int, at_most: int) -> int:
    """Shred journeys whose newest paper is older than this, oldest first; how many rows went."""
    keys = [
        row[0]
        for row in connection.execute(
            "SELECT id FROM paper_key WHERE newest_ms < ? ORDER BY newest_ms LIMIT ?", (oldest_ms, at_most)
        )
    ]
    for key_id in keys:
        connection.execute("DELETE FROM paper WHERE key_id = ?", (key_id,))
        connection.execute("DELETE FROM paper_key WHERE id = ?", (key_id,))
    return len(keys)
