"""The database file: made, locked, opened with every setting named, put aside when damaged.

Rules and their reasons in design/reliability.md section 3.
"""

from __future__ import annotations

import fcntl
import os
from importlib import resources
from pathlib import Path

import apsw

from agent.errors import AlreadyRunning, JournalError

FILE_NAME = "journal.db"
CHECKPOINT_NAME = "checkpoint"
"""Newest signed tree head beside the database: finds a cut write-ahead log at the next start."""
MIN_SQLITE = (3, 51, 3)
"""Before it, two connections could corrupt a write-ahead log (WAL-reset bug)."""
APPLICATION_ID = 0x426F4C61  # "BoLa"
SCHEMA_VERSION = 2
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
    new = folder / f"{FILE_NAME}.new"
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = apsw.Connection(str(new))
    connection.pragma("page_size", PAGE_BYTES)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", SCHEMA_VERSION)
    connection.pragma("synchronous", "full")
    connection.execute(f"BEGIN;{resources.files(__package__).joinpath('schema.sql').read_text('utf-8')};COMMIT")
    connection.close()
    _sync(new)
    new.rename(path)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_writer(folder: Path, vfs: str | None = None) -> apsw.Connection:
    """The one writing connection.

    Args:
        folder: Data folder, locked.
        vfs: SQLite file system to go through; None = the usual one. Fault tests give their own.

    Raises:
        JournalError: a setting that durability needs was not taken, or the file is of another version.
        apsw.Error: damaged or unreadable.
    """
    connection = apsw.Connection(str(folder / FILE_NAME), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
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
    }
    for name, value in settings.items():
        connection.pragma(name, value)
        if name != "mmap_size" and (found := connection.pragma(name)) != value:
            connection.close()
            raise JournalError(f"{folder / FILE_NAME}: {name} is {found!r}: expected {value!r}")
    _require_version(connection, folder)
    return connection


def open_reader(folder: Path) -> apsw.Connection:
    """A connection that only reads.

    Raises:
        JournalError: there is no journal, it is damaged, or of another version.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise JournalError(f"{path}: no journal: expected the data folder of an agent")
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("query_only", 1)
        connection.pragma("trusted_schema", 0)
        _require_version(connection, folder)
    except apsw.Error as error:
        raise JournalError(f"{path}: cannot be read: {error}") from error
    return connection


def _require_version(connection: apsw.Connection, folder: Path) -> None:
    if connection.pragma("application_id") != APPLICATION_ID:
        raise JournalError(f"{folder / FILE_NAME}: not a journal of ours")
    if (found := connection.pragma("user_version")) != SCHEMA_VERSION:
        raise JournalError(f"{folder / FILE_NAME}: version {found}: expected {SCHEMA_VERSION}")


def quarantine(folder: Path, now_ms: int) -> Path:
    """Move the database and its log aside, so that nothing writes on over the damage."""
    aside = folder / f"quarantine-{now_ms}"
    aside.mkdir(mode=0o700)
    for name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", CHECKPOINT_NAME):
        if (folder / name).exists():
            (folder / name).rename(aside / name)
    _sync(folder)
    return aside


def wal_bytes(folder: Path) -> int:
    """Size of the write-ahead log."""
    try:
        return (folder / f"{FILE_NAME}-wal").stat().st_size
    except FileNotFoundError:
        return 0
