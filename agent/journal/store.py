"""The agent's store: one SQLite file, one writing thread, one transaction for each batch.

Entries, state, effects and cursors of a batch are on disk together or not at all, and `commit` returns only
after the sync. What it cannot promise it says by `JournalError`: the caller then acknowledges nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.clock import Clock
from agent.domain.times import epoch_s
from agent.errors import ConfigError, JournalError, JournalFull
from agent.journal import database, page_check, tables
from agent.journal.ballast import Ballast, used_share
from agent.journal.batch import (
    INSTRUCTION,
    ActivationRow,
    Commit,
    Committed,
    Counts,
    CursorRow,
    Loaded,
    OutboxRow,
    PaperRow,
    RecordRow,
    RefusalRow,
    Retention,
    Retry,
    StateRow,
    StoredEvent,
    StoredRow,
    TelemetryRow,
)
from agent.journal.entry import Circumstances, Entry, EntryDraft, Link, Writer, build, follow, parse, seal
from agent.journal.evidence import KeyRing, Purged, write_telemetry
from agent.journal.examine import LookingOver, faults_at_start, looking_over
from agent.journal.merkle import CompactRange, checkpoint_due, sign_checkpoint
from agent.journal.papers import write_papers
from agent.journal.reader import Reader
from agent.journal.retention import is_due, purge

__all__ = [
    "ActivationRow",
    "Circumstances",
    "Commit",
    "Committed",
    "Counts",
    "CursorRow",
    "EntryDraft",
    "JournalContradiction",
    "Loaded",
    "OutboxRow",
    "PaperRow",
    "Purged",
    "Reader",
    "RecordRow",
    "RefusalRow",
    "Retry",
    "Seal",
    "StateRow",
    "Store",
    "StoredEvent",
    "StoredRow",
    "TelemetryRow",
]

T = TypeVar("T")
Seal = Callable[[bytes, str], bytes]
"""(body of an outbox row, newest checkpoint) to the signed bytes that go out; runs in the writing thread."""

DEFAULT_RETENTION = Retention()
SPILL_PAGES = 4_000
"""Pages in the write-ahead log, 16 MB, from which they are moved into the database. SQLite's usual 1,000 are full
several times a second under load, and each time the same pages of the units on the road would be written again."""
TRUNCATE_PATIENCE_MS = 50
"""How long a purge waits for readers of the log; commits wait behind it, and there is a next purge."""


class JournalContradiction(JournalError):  # noqa: N818 - reads as the fact it states
    """The batch says what the journal says otherwise, such as a second activation under one id.

    Memory and disk disagree, and only a start from disk reconciles them: so it is no assertion, which would
    look like any other bug, and is not passed over, which would hide an activation that came twice.
    """


@dataclass(frozen=True)
class _Head:
    """Where the journal stands; replaced only after a commit."""

    link: Link
    tree: CompactRange
    checkpoint: str | None
    checkpoint_size: int
    checkpoint_s: float
    refusals: int
    newest_s: float
    """When the newest entry of earlier runs was written, by the clock of then."""


@dataclass(frozen=True)
class _Signing:
    """Who signs, with what, when."""

    key: Ed25519PrivateKey
    writer: Writer
    clock: Clock
    seal_row: Seal | None


@dataclass(frozen=True)
class _Files:
    """The one connection that writes, one that reads, and what lies beside the database."""

    connection: apsw.Connection
    reader: Reader
    promised: int
    """Descriptor of the file that says how many entries were promised."""

    def close(self) -> None:
        self.reader.close()
        database.close(self.connection)
        os.close(self.promised)


class Store:
    """The journal and all state beside it; open one for each data folder."""

    def __init__(
        self,
        folder: Path,
        lock: int,
        files: _Files,
        signing: _Signing,
        head: _Head,
        keys: KeyRing,
        ballast: Ballast,
        retention: Retention,
    ) -> None:
        self._folder, self._lock = folder, lock
        self._ballast = ballast
        self._short = "" if ballast.keep() else f"{folder}: disk is nearly full: no room to put aside"
        self._connection, self._reader, self._promised = files.connection, files.reader, files.promised
        self._signing, self._clock, self._writer = signing, signing.clock, signing.writer
        self._head = head
        self._found = head.tree
        """As it was when the journal was opened."""
        self._keys = keys
        self._retention = retention
        self._failure: JournalError | None = None
        self._wal_pages = 0
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="journal-writer")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")
        self._connection.set_wal_hook(self._note_wal)

    @classmethod
    def open(
        cls,
        folder: Path,
        agent_id: str,
        signing_key: Ed25519PrivateKey,
        kid: str,
        software_version: str,
        clock: Clock,
        *,
        detection: str = "",
        seal: Seal | None = None,
        retention: Retention = DEFAULT_RETENTION,
        ballast_bytes: int = 0,
    ) -> Store:
        """Open the data folder alone, look it over, and make it if there is none. Blocking; for start-up.

        Args:
            folder: Data folder; made with mode 0700.
            agent_id: Whose journal it is.
            signing_key, kid: Key that signs entries and checkpoints from now on, and its id; a new key
                needs a new id.
            software_version: Named in each entry.
            clock: Times of entries and checkpoints.
            detection: Settings of the detector as JSON, kept for those who explain what it found.
            seal: Signs outbox rows that ask for it together with the newest checkpoint.
            retention: How long what can be erased is kept.
            ballast_bytes: Room put aside for when the disk is full.

        Raises:
            AlreadyRunning: another process holds the folder.
            ConfigError: the folder is another agent's, or the key id was another key's.
            JournalError: damaged (then it is put into quarantine first), or durability cannot be had.
        """
        database.require_sqlite(apsw.sqlite_lib_version())
        lock = database.lock_folder(folder)
        writer = Writer(agent_id, kid, uuid.uuid4().hex, software_version)
        signing = _Signing(signing_key, writer, clock, seal)
        try:
            files = _open_sound(folder, clock)
            try:
                _claim(files, signing)
                _note_detection(files.connection, detection)
                head = _read_head(files.reader)
                keys = _reading(lambda: KeyRing.loaded(files.connection))
            except BaseException:
                files.close()
                raise
        except BaseException:
            os.close(lock)
            raise
        return cls(folder, lock, files, signing, head, keys, Ballast(folder, ballast_bytes), retention)

    @property
    def boot_id(self) -> str:
        """Id of this run, named in each entry."""
        return self._writer.boot_id

    @property
    def failure(self) -> JournalError | None:
        """Why nothing is accepted any more, or None."""
        return self._failure

    @property
    def newest_s(self) -> float:
        """When the newest entry of earlier runs was written, UTC seconds of the clock of then; 0 = there is none."""
        return self._head.newest_s

    @property
    def short(self) -> str:
        """Why nothing new may be begun for want of room, or empty; what is under way may still be closed."""
        return self._short

    @property
    def disk_used(self) -> float:
        """How full the disk of the data folder is, 0 to 1."""
        return used_share(self._folder)

    @property
    def readonly(self) -> str:
        """Why nothing is accepted any more, or nothing new; empty if all is well."""
        return str(self._failure) if self._failure is not None else self._short

    @property
    def checkpoint(self) -> str | None:
        """Newest signed tree head."""
        return self._head.checkpoint

    def load_state(self) -> Loaded:
        """Everything to go on from. Blocking; for start-up, before the first commit.

        Raises:
            JournalError: it cannot be read.
        """
        return _reading(self._reader.load_state)

    async def commit(self, batch: Commit) -> Committed:
        """Write a batch in one transaction; when this returns it is on disk.

        Raises:
            JournalFull: the disk is full, and what was put aside for that as well; try again.
            JournalError: it is not promised to be on disk, and nothing of it is visible; the store refuses
                until opened anew.
            ValueError, TypeError: the batch breaks a rule of `Commit` (a caller bug); nothing is visible.
        """
        return await self._run(self._writing, lambda: self._commit(batch))

    async def regain(self) -> bool:
        """Put room aside again if there is some by now; whether the store is short of nothing any more."""
        return await self._run(self._writing, self._regain)

    async def purge(self) -> Purged:
        """Delete what is over age, and what the log still holds of it; call it every minute.

        Raises:
            JournalError: nothing was deleted, and as for `commit`.
        """
        return await self._run(self._writing, self._purge)

    async def sign_head(self, *, at_once: bool = False) -> str | None:
        """Sign the tree head if it is time and the tree has grown, or at once; the newest signed head.

        Raises:
            JournalError: as for `commit`.
        """
        return await self._run(self._writing, lambda: self._sign_due(at_once))

    async def look_over(self, pause_s: float) -> int:
        """Hash all of a long journal, as a start has no time to; returns how many entries. Call it once.

        What does not fit the signed tree head ends the writing, and the next start puts the journal aside.

        Args:
            pause_s: Between one page and the next.

        Raises:
            JournalError: it cannot be read.
        """
        task = await self._run(self._reading, lambda: self._read(self._looking_over))
        while task is not None and not task.ended:
            if fault := await self._run(self._reading, lambda: self._read(task.go_on)):
                self._failure = self._failure or JournalError(f"{self._folder}: journal is damaged: {fault}")
                self._suspect()
                return 0
            await asyncio.sleep(pause_s)
        return self._found.size if task is not None else 0

    def _looking_over(self) -> LookingOver | None:
        return looking_over(self._folder, self._reader, self._found)

    async def come_round(self) -> None:
        """Return once the writing thread has done all it had to: it lives, and no sync hangs."""
        await self._run(self._writing, lambda: None)

    async def leaf_hashes(self, size: int, after: int) -> list[bytes]:
        """Leaf hashes of the first `size` entries, without the first `after`."""
        return await self._run(self._reading, lambda: self._read(lambda: self._reader.leaf_hashes(size, after)))

    async def tree_at(self, size: int) -> CompactRange:
        """The tree of the first `size` entries."""
        return await self._run(self._reading, lambda: self._read(lambda: self._reader.tree_at(size)))

    async def read_events(self, after_seq: int, limit: int) -> tuple[StoredEvent, ...]:
        """Events above a number, oldest first."""
        return await self._run(self._reading, lambda: self._read(lambda: self._reader.events(after_seq, limit)))

    async def read_entries(self, after_seq: int, limit: int) -> tuple[Entry, ...]:
        """Journal entries above a number, oldest first."""
        return await self._run(self._reading, lambda: self._read(lambda: tuple(self._reader.entries(after_seq, limit))))

    async def counts(self) -> Counts:
        """How much is stored."""
        return await self._run(self._reading, lambda: self._read(self._reader.counts))

    def _read(self, query: Callable[[], T]) -> T:
        """In the reading thread; damage that it meets ends the writing too."""
        try:
            return query()
        except apsw.Error as error:
            failure = JournalError(f"the journal cannot be read: {page_check.words_of(error)}")
            if page_check.is_damage(error):
                self._failure = self._failure or failure
                self._suspect_if_damaged(error)
            raise failure from error

    async def _run(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            future = asyncio.get_running_loop().run_in_executor(thread, work)
        except RuntimeError as error:
            raise JournalError("the journal is closed") from error
        return await future

    def close(self) -> None:
        """Sign a last tree head, finish the log, let go of the folder. Blocking; twice is harmless."""
        if self._lock < 0:
            return
        self._writing.submit(self._finish).result()
        self._writing.shutdown()
        self._reading.shutdown()
        self._reader.close()
        os.close(self._promised)
        os.close(self._lock)
        self._lock = -1

    # From here on: in the writing thread.

    def _commit(self, batch: Commit) -> Committed:
        _require_whole(batch)
        try:
            return self._commit_once(batch)
        except JournalFull as error:
            self._short = str(error)
            if not self._ballast.release():
                raise
        return self._commit_once(batch)

    def _regain(self) -> bool:
        if self._short and self._ballast.keep():
            self._short = ""
        return not self._short

    def _commit_once(self, batch: Commit) -> Committed:
        self._refuse_if_failed()
        now_s = self._clock.now_s()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            head, committed = self._write(batch, now_s)
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            raise self._failed(error) from error
        except BaseException:
            self._roll_back()
            raise
        self._head = head
        self._keys.keep()
        self._note_promised(committed)
        self._follow_up(committed.checkpoint)
        return committed

    def _note_promised(self, committed: Committed) -> None:
        if committed.seqs:
            with contextlib.suppress(OSError):  # a hint only; the database has it
                database.note_promised(self._promised, committed.seqs[-1])

    def _purge(self) -> Purged:
        self._refuse_if_failed()
        now_ms = round(self._clock.now_s() * 1000)
        try:
            if not is_due(self._connection, self._keys, now_ms, self._retention):
                return Purged()
            self._connection.execute("BEGIN IMMEDIATE")
            purged = purge(self._connection, self._keys, now_ms, self._retention)
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            raise self._failed(error) from error
        self._keys.keep()
        if (purged.rows or purged.keys) and not purged.more:
            self._connection.set_busy_timeout(TRUNCATE_PATIENCE_MS)
            self._spill(apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._connection.set_busy_timeout(database.BUSY_TIMEOUT_MS)
        return purged

    def _sign_due(self, at_once: bool) -> str | None:
        head, now_s = self._head, self._clock.now_s()
        due = checkpoint_due(head.tree.size, now_s, head.checkpoint_size, head.checkpoint_s)
        if not (due or (at_once and (head.checkpoint is None or head.tree.size > head.checkpoint_size))):
            return head.checkpoint
        self._refuse_if_failed()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            signed = self._sign_head(head, now_s)
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            raise self._failed(error) from error
        self._head = signed
        self._follow_up(signed.checkpoint)
        return signed.checkpoint

    def _write(self, batch: Commit, now_s: float) -> tuple[_Head, Committed]:
        database_, now_ms = self._connection, round(now_s * 1000)
        link, tree, entries = self._chain(batch, now_s)
        head = replace(self._head, link=link, tree=tree)
        events = tables.write_entries(database_, entries, batch.entries)
        if entries:
            database_.execute(
                "INSERT OR REPLACE INTO tree (id, size, peaks) VALUES (1, ?, ?)", (tree.size, tree.to_bytes())
            )
        tables.write_state(database_, batch)
        write_telemetry(database_, self._keys, batch.telemetry, now_ms)
        tables.settle_outbox(database_, batch, now_ms)
        due = checkpoint_due(tree.size, now_s, head.checkpoint_size, head.checkpoint_s)
        sealing = any(row.seal for row in batch.effects)  # whoever gets it shall hold proof of its entries
        if due or (sealing and (head.checkpoint is None or head.checkpoint_size != tree.size)):
            head = self._sign_head(head, now_s)
        stored = tuple(self._write_effect(row, head) for row in batch.effects)
        signed = tuple(
            PaperRow(row.owner, INSTRUCTION, effect.body)
            for row, effect in zip(batch.effects, stored, strict=True)
            if row.seal and row.owner is not None
        )
        write_papers(database_, (*batch.papers, *signed), now_ms)
        head = replace(head, refusals=tables.write_refusals(database_, batch.refusals, head.refusals, now_ms))
        new = head.checkpoint if head.checkpoint is not self._head.checkpoint else None
        return head, Committed(tuple(entry.seq for entry in entries), stored, events, new, now_ms)

    def _chain(self, batch: Commit, now_s: float) -> tuple[Link, CompactRange, list[Entry]]:
        link, tree, entries = self._head.link, self._head.tree, []
        monotonic_s = self._clock.monotonic_s()
        for draft in batch.entries:
            body = build(draft, link, self._writer, batch.circumstances, now_s, monotonic_s)
            entry = seal(body, link, self._signing.key, draft.activation_id)
            link, tree = follow(entry), tree.append(entry.hash)
            entries.append(entry)
        return link, tree, entries

    def _sign_head(self, head: _Head, now_s: float) -> _Head:
        text = sign_checkpoint(self._writer.agent, head.tree, self._signing.key)
        self._connection.execute(
            "INSERT OR REPLACE INTO checkpoint (id, size, at_ms, body) VALUES (1, ?, ?, ?)",
            (head.tree.size, round(now_s * 1000), text),
        )
        return replace(head, checkpoint=text, checkpoint_size=head.tree.size, checkpoint_s=now_s)

    def _write_effect(self, row: OutboxRow, head: _Head) -> StoredRow:
        body = row.body
        if row.seal:
            assert head.checkpoint is not None
            if self._signing.seal_row is None:
                raise ValueError(f"outbox row for {row.target} asks for a seal: expected `seal` at open")
            body = self._signing.seal_row(body, head.checkpoint)
            self._connection.execute(
                "DELETE FROM outbox WHERE target = ? AND sealed = 1 AND done_ms IS NOT NULL", (row.target,)
            )
        return tables.insert_effect(self._connection, row, body)

    def _refuse_if_failed(self) -> None:
        if self._failure is not None:
            raise JournalError(f"refused since an earlier failure: {self._failure}")
        if database.wal_bytes(self._folder) > database.WAL_LIMIT_BYTES:
            self._spill(apsw.SQLITE_CHECKPOINT_TRUNCATE)
            if (size := database.wal_bytes(self._folder)) > database.WAL_LIMIT_BYTES:
                raise JournalError(f"write-ahead log of {size} bytes: a reader holds it, or the disk is full")

    def _failed(self, error: apsw.Error) -> JournalError:
        """What to raise; only a full disk leaves the store usable (after a failed sync nobody knows what is
        on disk, so nothing may be built upon it in this process)."""
        self._roll_back()
        if isinstance(error, apsw.FullError):
            return JournalFull(f"{self._folder}: disk is full: {error}")
        kind = JournalContradiction if isinstance(error, apsw.ConstraintError) else JournalError
        self._failure = kind(f"{self._folder}: {page_check.words_of(error)}")
        self._suspect_if_damaged(error)
        return self._failure

    def _suspect_if_damaged(self, error: apsw.Error) -> None:
        """Leave word for the next start, which then reads every page."""
        if page_check.is_damage(error):
            self._suspect()

    def _suspect(self) -> None:
        with contextlib.suppress(OSError):
            (self._folder / database.SUSPECT_NAME).touch()

    def _roll_back(self) -> None:
        self._keys.drop()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            self._failure = JournalError(f"{self._folder}: cannot roll back: {error}")

    def _note_wal(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _follow_up(self, checkpoint: str | None) -> None:
        """Work that need not be done before the answer: it waits its turn in this same thread."""
        if checkpoint is not None:
            self._later(lambda: self._copy_checkpoint(checkpoint))
        if self._wal_pages >= SPILL_PAGES:
            self._later(lambda: self._spill(apsw.SQLITE_CHECKPOINT_PASSIVE))

    def _later(self, work: Callable[[], None]) -> None:
        try:
            self._writing.submit(work)
        except RuntimeError:
            return  # closing: `_finish` does both

    def _spill(self, mode: int) -> None:
        """Move the write-ahead log into the database; on a full disk the log still holds everything."""
        try:
            self._connection.wal_checkpoint(mode=mode)
        except (apsw.FullError, apsw.BusyError, apsw.LockedError):
            return
        except apsw.Error as error:
            self._failure = JournalError(
                f"{self._folder}: cannot move the write-ahead log: {page_check.words_of(error)}"
            )
            self._suspect_if_damaged(error)

    def _copy_checkpoint(self, text: str) -> None:
        path = self._folder / database.CHECKPOINT_NAME
        try:
            path.with_suffix(".new").write_text(text, "utf-8")
            path.with_suffix(".new").rename(path)
        except OSError:
            return  # a copy only; the database has it

    def _finish(self) -> None:
        try:
            if self._failure is None and self._head.tree.size > self._head.checkpoint_size:
                self._connection.execute("BEGIN IMMEDIATE")
                head = self._sign_head(self._head, self._clock.now_s())
                self._connection.execute("COMMIT")
                self._head = head
                self._copy_checkpoint(head.checkpoint or "")
            if self._failure is None:
                self._spill(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error:
            self._roll_back()  # everything promised is on disk; the next start signs the head
        finally:
            database.close(self._connection)


def _open_sound(folder: Path, clock: Clock) -> _Files:
    """Both connections to a database that was looked over; a damaged one is put aside, unchanged."""
    connection, reader = None, None
    try:
        database.create_if_absent(folder)
        connection = database.open_writer(folder)
        reader = Reader.open(folder, checked=True)
        faults = faults_at_start(folder, reader)
        if not faults:
            return _Files(connection, reader, database.open_head(folder))
    except (apsw.Error, OSError) as error:
        _close_as_it_is(connection, reader)
        if not (isinstance(error, apsw.Error) and page_check.is_damage(error)):
            raise JournalError(f"{folder}: journal cannot be opened: {error}") from error
        faults = [page_check.words_of(error)]
    except JournalError:
        _close_as_it_is(connection, reader)
        raise
    _close_as_it_is(connection, reader)
    aside = database.quarantine(folder, round(clock.now_s() * 1000))
    raise JournalError(f"{folder}: journal is damaged and was put into {aside.name}: {'; '.join(faults[:5])}")


def _close_as_it_is(connection: apsw.Connection | None, reader: Reader | None) -> None:
    """Close without moving the log into the database: what is damaged stays as it was found."""
    if reader is not None:
        reader.close()
    if connection is not None:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        database.close(connection)


def _claim(files: _Files, signing: _Signing) -> None:
    """Write down whose journal it is and the key in use, or refuse."""
    connection, reader = files.connection, files.reader
    _made_by_now(connection)
    agent_id, kid = signing.writer.agent, signing.writer.kid
    raw, keys = signing.key.public_key().public_bytes_raw(), reader.signing_keys()
    owner = reader.agent_id()
    if owner not in ("", agent_id):
        raise ConfigError(f"agent.id {agent_id!r}: expected {owner!r}, whose journal is in this data folder")
    if keys.get(kid, raw) != raw:
        raise ConfigError(f"key id {kid!r}: was another key in this data folder: expected a new id for a new key")
    if keys.get(kid) == raw:
        return
    try:
        with connection:
            connection.execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('agent', ?)", (agent_id,))
            connection.execute("INSERT INTO signing_key VALUES (?, ?, ?)", (kid, raw, reader.size() + 1))
    except apsw.Error as error:
        raise JournalError(f"the journal cannot be written: {error}") from error


def _made_by_now(connection: apsw.Connection) -> None:
    """Tables that are younger than the folder."""
    try:
        with connection:
            connection.execute(database.younger_tables())
    except apsw.Error as error:
        raise JournalError(f"the journal cannot be written: {error}") from error


def _note_detection(connection: apsw.Connection, detection: str) -> None:
    if not detection:
        return
    try:
        connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('detection', ?)", (detection,))
    except apsw.Error as error:
        raise JournalError(f"the journal cannot be written: {error}") from error


def _read_head(reader: Reader) -> _Head:
    size, peaks = reader.tree()
    newest = next(reader.entries(size - 1), None) if size else None
    checkpoint_size, checkpoint_ms = reader.checkpoint_mark()
    return _Head(
        link=Link() if newest is None else follow(newest),
        tree=CompactRange.from_bytes(size, peaks),
        checkpoint=reader.checkpoint(),
        checkpoint_size=checkpoint_size,
        checkpoint_s=checkpoint_ms / 1000,
        refusals=reader.refusal_rows(),
        newest_s=0.0 if newest is None else epoch_s(parse(newest.body).at),
    )


def _reading(query: Callable[[], T]) -> T:
    try:
        return query()
    except apsw.Error as error:
        raise JournalError(f"the journal cannot be read: {page_check.words_of(error)}") from error


def _require_whole(batch: Commit) -> None:
    recorded = {draft.activation_id for draft in batch.entries}
    if missing := [row.activation_id for row in batch.activations if row.activation_id not in recorded]:
        raise ValueError(f"activations {missing} without an entry that names them: no entry, no activation")
