"""The database file: made, locked, opened with every setting named, put aside when damaged.

Rules and their reasons in design/reliability.md section 3.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
from importlib import resources
from pathlib import Path

import apsw

from agent.errors import AlreadyRunning, JournalError
from agent.journal import page_check

FILE_NAME = "journal.db"
CHECKPOINT_NAME = "checkpoint"
"""Newest signed tree head beside the database: finds a cut write-ahead log at the next start."""
HEAD_NAME = "head"
"""How many entries were promised, beside the database: finds a log that lost its end. Never synced, and always
written after the sync of what it counts, so it can only say too little."""
SUSPECT_NAME = "suspect"
"""Lies there when damage was met at work: the next start then reads every page before it goes on."""
MIN_SQLITE = (3, 51, 3)
"""Before it, two connections could corrupt a write-ahead log (WAL-reset bug)."""
APPLICATION_ID = 0x426F4C61  # "BoLa"
SCHEMA_VERSION = 2
YOUNGER = "(`database.YOUNGER`).\n"
"""Ends the comment in schema.sql below which every statement says IF NOT EXISTS."""
CACHE_KB = 32 * 1024
"""Pages that the writer remembers. With SQLite's 2 MB it reads those of the units on the road again in each commit."""
BUSY_TIMEOUT_MS = 5_000
WAL_LIMIT_BYTES = 64 << 20
PAGE_BYTES = 4_096


def require_sqlite(found: str) -> None:
    """Refuse an SQLite that loses data.

    Raises:
        JournalError: older than `MIN_SQLITE`.
    """
    if tuple(int(part) for part in found.split(".")) < MIN_SQLITE:
        raise JournalError(f"SQLite {found}: expected {'.'.join(map(str, MIN_SQLITE))} or newer")


def lock_folder(folder: Path) -> int:
    """Make the data folder if need be and hold it alone; the returned descriptor is the lock.

    Raises:
        AlreadyRunning: another process holds it.
        JournalError: it cannot be made or opened.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise JournalError(f"{folder}: data folder cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise AlreadyRunning(f"{folder}: another agent holds this data folder") from error
    return lock


def younger_tables() -> str:
    """Statements that make what the first data folders did not have, if it is missing."""
    return resources.files(__package__).joinpath("schema.sql").read_text("utf-8").partition(YOUNGER)[2]


def create_if_absent(folder: Path) -> None:
    """Make an empty database in one step: built aside, synced, renamed, folder synced.

    Raises:
        JournalError: a damaged journal lies in quarantine and nobody has said what to do about it.
    """
    path = folder / FILE_NAME
    if path.exists():
        return
    if quarantined := sorted(folder.glob("quarantine-*")):
        raise JournalError(
            f"{quarantined[-1]}: a damaged journal was put aside: expected a restored {FILE_NAME} "
            f"in {folder}, or the quarantine folder moved away to begin a new journal"
        )
    new = _empty_file(folder)
    page_check.load()
    connection = apsw.Connection(str(new))
    connection.pragma("page_size", PAGE_BYTES)
    page_check.reserve(connection)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", SCHEMA_VERSION)
    connection.pragma("synchronous", "full")
    connection.execute(f"BEGIN;{resources.files(__package__).joinpath('schema.sql').read_text('utf-8')};COMMIT")
    connection.close()
    _put_in_place(new, path)


def _empty_file(folder: Path) -> Path:
    """Where a database is built before it takes its name; what a crash left there goes."""
    new = folder / f"{FILE_NAME}.new"
    for name in (new.name, f"{new.name}-journal", f"{new.name}-wal", f"{new.name}-shm"):
        (folder / name).unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return new


def _put_in_place(new: Path, path: Path) -> None:
    _sync(new)
    new.rename(path)
    _sync(path.parent)


def add_checksums(folder: Path) -> bool:
    """Copy a database made before its pages had checksums into one that has them, in one step; False if it has.

    The copy takes as long as reading and writing the file once, at the first start of this version.

    Raises:
        apsw.Error: the file is damaged, or there is no room for a copy.
    """
    path = folder / FILE_NAME
    if page_check.has_room(path):
        return False
    new = _empty_file(folder)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        _require_version(connection, folder)
        if faults := [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]:
            raise apsw.CorruptError("; ".join(faults))
        # An emptied log cannot be taken for the log of the copy, whichever of the two files a crash leaves.
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        page_check.reserve(connection)
        new.unlink()
        connection.execute("VACUUM INTO ?", (str(new),))
    finally:
        connection.close()
    new.chmod(0o600)
    _put_in_place(new, path)
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_writer(folder: Path) -> apsw.Connection:
    """The one writing connection to the database of a locked data folder.

    Raises:
        JournalError: a setting that durability needs was not taken, or the file is of another version.
        apsw.Error: damaged or unreadable.
    """
    page_check.load()
    add_checksums(folder)
    connection = apsw.Connection(str(folder / FILE_NAME), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    settings = {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "trusted_schema": 0,
        "mmap_size": 0,
        "cache_size": -CACHE_KB,
        "secure_delete": 1,
        "journal_size_limit": WAL_LIMIT_BYTES,
        "wal_autocheckpoint": 0,  # the store checkpoints by itself, after it has answered
        "checksum_verification": 1,
    }
    for name, value in settings.items():
        connection.pragma(name, value)
        if name != "mmap_size" and (found := connection.pragma(name)) not in (value, str(value)):
            connection.close()
            raise JournalError(f"{folder / FILE_NAME}: {name} is {found!r}: expected {value!r}")
    _require_version(connection, folder)
    return connection


def open_reader(folder: Path, checked: bool = False) -> apsw.Connection:
    """A connection that only reads; `checked` refuses pages whose checksum does not fit.

    Raises:
        JournalError: there is no journal, it is damaged, or of another version.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise JournalError(f"{path}: no journal: expected the data folder of an agent")
    page_check.load()
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("query_only", 1)
        connection.pragma("checksum_verification", int(checked))
        connection.pragma("trusted_schema", 0)
        _require_version(connection, folder)
    except apsw.Error as error:
        raise JournalError(f"{path}: cannot be read: {error}") from error
    return connection


def close(connection: apsw.Connection) -> None:
    """Close; what fails while the log is tidied up is no loss: what was promised is on disk before."""
    with contextlib.suppress(apsw.Error):
        connection.close()


def _require_version(connection: apsw.Connection, folder: Path) -> None:
    if connection.pragma("application_id") != APPLICATION_ID:
        raise JournalError(f"{folder / FILE_NAME}: not a journal of ours")
    if (found := connection.pragma("user_version")) != SCHEMA_VERSION:
        raise JournalError(f"{folder / FILE_NAME}: version {found}: expected {SCHEMA_VERSION}")


def quarantine(folder: Path, now_ms: int) -> Path:
    """Move the database and its log aside, so that nothing writes on over the damage."""
    aside = folder / f"quarantine-{now_ms}"
    aside.mkdir(mode=0o700)
    (folder / SUSPECT_NAME).unlink(missing_ok=True)
    for name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", CHECKPOINT_NAME, HEAD_NAME):
        if (folder / name).exists():
            (folder / name).rename(aside / name)
    _sync(folder)
    return aside


def open_head(folder: Path) -> int:
    """Descriptor for `note_promised`."""
    return os.open(folder / HEAD_NAME, os.O_RDWR | os.O_CREAT, 0o600)


def note_promised(head: int, entries: int) -> None:
    """Write down how many entries are promised; without a sync, so it costs no wait."""
    size = struct.pack(">Q", entries)
    os.pwrite(head, size + hashlib.sha256(size).digest()[:8], 0)


def promised(folder: Path) -> int:
    """How many entries were promised at least; 0 if nobody knows."""
    try:
        data = (folder / HEAD_NAME).read_bytes()
    except OSError:
        return 0
    size, digest = data[:8], data[8:16]
    if len(size) < 8 or hashlib.sha256(size).digest()[:8] != digest:
        return 0
    return int(struct.unpack(">Q", size)[0])


def wal_bytes(folder: Path) -> int:
    """Size of the write-ahead log."""
    try:
        return (folder / f"{FILE_NAME}-wal").stat().st_size
    except FileNotFoundError:
        return 0
