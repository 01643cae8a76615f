"""A checksum on every page of the database, checked whenever a page is read.

SQLite notices damage to the structure of its file, not to what the rows say. Its own `cksumvfs`, which comes
with apsw, keeps eight bytes at the end of each page for a checksum over the rest; a page that does not fit is an
I/O error instead of a false state. Cost and figures: docs/reliability.md.
"""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import apsw.sqlite_extra

from agent.errors import JournalError

CHECK_BYTES = 8
"""Bytes at the end of each page that the checksum takes; the file says so in byte 20 of its head."""
LAYER = "cksmvfs"
_RESERVE_AT = 20
_LOADING = threading.Lock()


def load() -> None:
    """Put the checking layer over SQLite's file system of this process, once.

    It lies over whatever file system is the default at that moment, and becomes the default itself; files
    that keep no room for checksums pass through it unchanged.

    Raises:
        JournalError: this build of apsw comes without it.
    """
    with _LOADING:
        if LAYER in apsw.vfs_names():
            return
        if not apsw.sqlite_extra.has("cksumvfs"):
            raise JournalError("apsw without cksumvfs: expected the apsw of the package index, as in pyproject.toml")
        connection = apsw.Connection(":memory:")
        try:
            apsw.sqlite_extra.load(connection, "cksumvfs")
        finally:
            connection.close()


def reserve(connection: apsw.Connection) -> None:
    """Keep room for checksums in a database that has no page yet, or is about to be copied."""
    connection.reserve_bytes(reserve=CHECK_BYTES)


def has_room(path: Path) -> bool:
    """Whether the file's pages hold checksums."""
    with path.open("rb") as file:
        head = file.read(_RESERVE_AT + 1)
    return len(head) > _RESERVE_AT and head[_RESERVE_AT] == CHECK_BYTES


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is not what was written."""
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return True
    return isinstance(error, apsw.Error) and _is_false_page(error)


def _is_false_page(error: apsw.Error) -> bool:
    return getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA  # no code where the error was raised in Python


def words_of(error: apsw.Error) -> str:
    """What SQLite met, for people."""
    return "a page does not fit its checksum" if _is_false_page(error) else f"{type(error).__name__}: {error}"
