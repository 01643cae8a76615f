"""An SQLite file system below the page checksums that calls a hook before every write, sync, truncation, deletion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from agent.journal import page_check

Before = Callable[[str, str, int, bytes], None]
"""(call, file name, offset, data) of what is about to be done; for a truncation the offset is the new size,
for a deletion 1 if the folder is to be synced too."""


class FaultVFS(apsw.VFS):
    """SQLite's usual file system; `before` may raise, or end the process.

    While it stands it is the process's default, with the page checksums over it; no connection may be open
    when it comes and when it goes.
    """

    def __init__(self, before: Before) -> None:
        self.before = before
        if page_check.LAYER in apsw.vfs_names():
            apsw.unregister_vfs(page_check.LAYER)
        super().__init__("faulty", "unix", makedefault=True)

    def remove(self) -> None:
        """Take it away, and the checksums with it: the next database puts them over the usual file system."""
        if page_check.LAYER in apsw.vfs_names():
            apsw.unregister_vfs(page_check.LAYER)
        self.unregister()

    def xOpen(self, name, flags):
        return FaultFile(name, flags, self.before)

    def xDelete(self, name, sync):
        self.before("delete", Path(name).name, int(sync), b"")
        super().xDelete(name, sync)


class FaultFile(apsw.VFSFile):
    """One file of it."""

    def __init__(self, name, flags, before):
        self._before = before
        self._name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "temporary").name
        super().__init__("unix", name, flags)

    def xWrite(self, data, offset):
        self._before("write", self._name, offset, bytes(data))
        super().xWrite(data, offset)

    def xSync(self, flags):
        self._before("sync", self._name, 0, b"")
        super().xSync(flags)

    def xTruncate(self, size):
        self._before("truncate", self._name, size, b"")
        super().xTruncate(size)

    def xLock(self, level):
        """A reader that closes last asks in vain for an exclusive lock; SQLite expects that, Python would raise it."""
        try:
            super().xLock(level)
        except apsw.IOError as error:
            raise apsw.BusyError("a file open for reading only") from error
