"""Reads a journal, live or at rest, without ever writing to it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import apsw

from agent.journal.batch import (
    RECORD_TABLES,
    ActivationRow,
    Counts,
    CursorRow,
    Loaded,
    PaperRow,
    RecordTable,
    StoredEvent,
    StoredRefusal,
    StoredRow,
)
from agent.journal.database import close, open_reader
from agent.journal.entry import Entry
from agent.journal.evidence import KEY_LIFE_S, decrypt
from agent.journal.merkle import CompactRange
from agent.journal.papers import has_papers, read_papers

if TYPE_CHECKING:
    from agent.journal.telemetry import Observed

PAGE_ROWS = 1_000
"""Rows read in one go, so that a reader never holds the write-ahead log for long."""

_OUTBOX = "SELECT id, lane, target, key, body, due_ms, expires_ms, sealed, next_try_ms, tries, done_ms FROM outbox "
_ACTIVATION = (
    "SELECT activation_id, mrn, version, jrn, crossing, direction, unit, at_ms, received_ms, body FROM activation"
)
_ENTRY = "SELECT seq, body, sig, hash, activation_id FROM journal "


class Reader:
    """Queries over one connection; for one thread at a time."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, folder: Path, *, checked: bool = False) -> Reader:
        """Open the journal of a data folder for reading.

        Args:
            folder: Data folder, of an agent that runs or does not.
            checked: Refuse pages whose checksum does not fit, as the agent does; who examines a damaged
                journal wants to see what it says.

        Raises:
            JournalError: there is none, it is damaged, or of another version.
        """
        return cls(open_reader(folder, checked))

    def close(self) -> None:
        """Let go of the file."""
        close(self._connection)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(sql, values))

    def _value(self, sql: str, *values: Any) -> Any:
        rows = self._rows(sql, *values)
        return rows[0][0] if rows else None

    # The journal.

    def agent_id(self) -> str:
        """Whose journal it is."""
        return str(self._value("SELECT value FROM meta WHERE name = 'agent'") or "")

    def detection(self) -> str:
        """The detector's settings since the last start as JSON; empty if they were not kept."""
        return str(self._value("SELECT value FROM meta WHERE name = 'detection'") or "")

    def signing_keys(self) -> dict[str, bytes]:
        """Raw public keys by key id, as the journal itself names them: proof of who wrote it they are not."""
        return dict(self._rows("SELECT kid, public_key FROM signing_key ORDER BY since_seq"))

    def entries(self, after_seq: int = 0, limit: int | None = None) -> Iterator[Entry]:
        """Entries above a number, oldest first, in pages."""
        left = limit
        while left is None or left > 0:
            size = PAGE_ROWS if left is None else min(left, PAGE_ROWS)
            page = self._rows(_ENTRY + "WHERE seq > ? ORDER BY seq LIMIT ?", after_seq, size)
            for row in page:
                yield Entry(*row)
            if len(page) < size:
                return
            after_seq = page[-1][0]
            left = None if left is None else left - size

    def entries_of(self, activation_id: str) -> tuple[Entry, ...]:
        """Entries that name an activation, oldest first."""
        return tuple(Entry(*row) for row in self._rows(_ENTRY + "WHERE activation_id = ? ORDER BY seq", activation_id))

    def entries_naming(self, text: str, after_seq: int = 0) -> Iterator[Entry]:
        """Entries above a number whose body has this text as a JSON value, oldest first."""
        sql = _ENTRY + "WHERE seq > ? AND instr(body, CAST(? AS BLOB)) > 0 ORDER BY seq"
        for row in self._rows(sql, after_seq, json.dumps(text, ensure_ascii=False)):
            yield Entry(*row)

    def papers(self, owner: str) -> tuple[PaperRow, ...]:
        """Papers of a journey, or of `unit:` + unit, that are still there.

        Raises:
            ValueError: one was changed.
        """
        return tuple(read_papers(self._connection, owner)) if has_papers(self._connection) else ()

    def leaf_hashes(self, size: int, after: int = 0) -> list[bytes]:
        """Stored leaf hashes of the first `size` entries, without the first `after` of them."""
        sql = "SELECT hash FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq"
        return [row[0] for row in self._rows(sql, after, size)]

    def tree_at(self, size: int) -> CompactRange:
        """The tree of the first `size` entries, from their leaf hashes."""
        tree = CompactRange()
        while tree.size < size:
            leaves = self.leaf_hashes(min(size, tree.size + PAGE_ROWS), tree.size)
            if not leaves:
                raise ValueError(f"tree of {size} entries: there are {tree.size}")
            tree = tree.extend(leaves)
        return tree

    def size(self) -> int:
        """Number of the newest entry."""
        return int(self._value("SELECT max(seq) FROM journal") or 0)

    def tree(self) -> tuple[int, bytes]:
        """Size and peaks of the stored compact range."""
        rows = self._rows("SELECT size, peaks FROM tree")
        return rows[0] if rows else (0, b"")

    def checkpoint(self) -> str | None:
        """Newest signed tree head."""
        text = self._value("SELECT body FROM checkpoint")
        return None if text is None else str(text)

    def checkpoint_mark(self) -> tuple[int, int]:
        """Size and time (ms) of the newest signed tree head."""
        rows = self._rows("SELECT size, at_ms FROM checkpoint")
        return rows[0] if rows else (0, 0)

    def events(self, after_seq: int, limit: int) -> tuple[StoredEvent, ...]:
        """Events above a number, oldest first."""
        sql = "SELECT seq, kind, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
        return tuple(StoredEvent(*row) for row in self._rows(sql, after_seq, limit))

    # State.

    def activations(self) -> Iterator[ActivationRow]:
        """All activations, in no special order; their requests are papers."""
        for row in self._rows(_ACTIVATION):
            yield ActivationRow(*row)

    def activation_rows(self, activation_id: str) -> tuple[ActivationRow, ...]:
        """The activation of this id, if there is one."""
        return tuple(ActivationRow(*row) for row in self._rows(_ACTIVATION + " WHERE activation_id = ?", activation_id))

    def records(self, table: RecordTable) -> dict[str, bytes]:
        """Records of a state machine by key."""
        assert table in RECORD_TABLES, table
        return dict(self._rows(f"SELECT key, body FROM {table}"))  # noqa: S608 - one of three names

    def instructions(self) -> dict[str, bytes]:
        """Instruction records by key."""
        return self.records("instruction")

    def cursors(self) -> tuple[CursorRow, ...]:
        """How far each unit is processed."""
        rows = self._rows("SELECT unit, boot_id, highest, gaps, last_fix_ms FROM cursor")
        return tuple(
            CursorRow(unit, boot_id, highest, tuple(map(tuple, json.loads(gaps))), last_fix_ms)
            for unit, boot_id, highest, gaps, last_fix_ms in rows
        )

    def feed_marker(self) -> int:
        """How far the journey feed is read; 0 = not at all."""
        return int(self._value("SELECT marker FROM feed") or 0)

    def outbox_pending(self) -> tuple[StoredRow, ...]:
        """Effects not done yet, oldest first."""
        return tuple(_stored(row) for row in self._rows(_OUTBOX + "WHERE done_ms IS NULL ORDER BY id"))

    def retained(self) -> tuple[StoredRow, ...]:
        """The newest sealed row of each target."""
        newest = "WHERE id IN (SELECT max(id) FROM outbox WHERE sealed = 1 GROUP BY target) ORDER BY id"
        return tuple(_stored(row) for row in self._rows(_OUTBOX + newest))

    def damaged_outbox(self) -> list[int]:
        """Ids of outbox rows whose bytes are not those that were stored."""
        rows = self._rows("SELECT id, body, body_sha256 FROM outbox")
        return [row_id for row_id, body, digest in rows if hashlib.sha256(body).digest() != digest]

    def telemetry(self, unit: str, from_s: float = 0.0, to_s: float = math.inf) -> tuple[Observed, ...]:
        """What is still kept of a unit's fixes, as it was written between two times, UTC seconds; oldest first.

        Raises:
            ValueError: a row was changed, or is none.
        """
        from agent.journal.telemetry import decode  # the detector stands behind it: who verifies needs none of that

        found: list[Observed] = []
        life_ms = round(KEY_LIFE_S * 1000)
        keys = self._rows("SELECT id, key, opened_ms, closed_ms FROM evidence_key WHERE unit = ? ORDER BY id", unit)
        for key_id, key, opened_ms, closed_ms in keys:
            first_ms = max(opened_ms, from_s * 1000)
            last_ms = min(opened_ms + life_ms if closed_ms is None else closed_ms, to_s * 1000)
            rows = self._rows(
                "SELECT body FROM telemetry WHERE at_ms BETWEEN ? AND ? AND key_id = ? ORDER BY id",
                first_ms,
                last_ms,
                key_id,
            )
            found += [decode(decrypt(key, body, unit, key_id)) for (body,) in rows]
        return tuple(found)

    def telemetry_units(self) -> tuple[str, ...]:
        """Units of which fixes may still be kept."""
        return tuple(row[0] for row in self._rows("SELECT DISTINCT unit FROM evidence_key ORDER BY unit"))

    def refusals(self) -> tuple[StoredRefusal, ...]:
        """Refused messages, oldest first."""
        return tuple(
            StoredRefusal(*row)
            for row in self._rows(
                "SELECT source, topic, reason, sha256, length, first_ms, last_ms, count FROM refusal ORDER BY first_ms"
            )
        )

    def refusal_rows(self) -> int:
        """How many distinct refusals are kept."""
        return int(self._value("SELECT count(*) FROM refusal"))

    def counts(self) -> Counts:
        """How much is stored."""
        pending = self._rows("SELECT count(*), min(id) FROM outbox WHERE done_ms IS NULL")[0]
        refusals = self._value(
            "SELECT coalesce((SELECT sum(count) FROM refusal), 0) + "
            "coalesce((SELECT sum(count) FROM refusal_overflow), 0)"
        )
        activations = int(self._value("SELECT count(*) FROM activation"))
        return Counts(self.size(), activations, pending[0], pending[1], int(refusals))

    def load_state(self) -> Loaded:
        """Everything the pipeline goes on from."""
        return Loaded(
            cursors=self.cursors(),
            unit_states=dict(self._rows("SELECT key, body FROM unit_state")),
            frames=dict(self._rows("SELECT key, body FROM last_frame")),
            records={table: self.records(table) for table in RECORD_TABLES},
            feed_marker=self.feed_marker(),
            outbox=self.outbox_pending(),
            retained=self.retained(),
            checkpoint=self.checkpoint(),
            entries=self.size(),
        )

    def database_faults(self, quick: bool) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        rows = self._rows("PRAGMA quick_check(10)" if quick else "PRAGMA integrity_check(10)")
        return [str(row[0]) for row in rows if row[0] != "ok"]

    def unrecorded_activations(self) -> list[str]:
        """Activations without a journal entry (they are written together, so there is none)."""
        sql = "SELECT activation_id FROM activation EXCEPT SELECT activation_id FROM journal LIMIT 10"
        return [str(row[0]) for row in self._rows(sql)]


def _stored(row: tuple[Any, ...]) -> StoredRow:
    row_id, lane, target, key, body, due_ms, expires_ms, sealed, *rest = row
    return StoredRow(row_id, lane, target, key, body, due_ms, expires_ms, bool(sealed), *rest)
