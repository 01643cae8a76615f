"""An SQLite file system that calls a hook before every write, sync, truncation and deletion."""

from __future__ import annotations

from collections.abc import Callable

import apsw


class FaultVFS(apsw.VFS):
    """The usual file system; `before(call)` may raise, or end the process."""

    def __init__(self, name: str, before: Callable[[str], None]) -> None:
        self.before = before
        super().__init__(name, "unix")

    def xOpen(self, name, flags):
        return FaultFile(name, flags, self.before)

    def xDelete(self, name, sync):
        self.before("delete")
        super().xDelete(name, sync)


class FaultFile(apsw.VFSFile):
    """One file of it."""

    def __init__(self, name, flags, before):
        self._before = before
        super().__init__("unix", name, flags)

    def xWrite(self, data, offset):
        self._before("write")
        super().xWrite(data, offset)

    def xSync(self, flags):
        self._before("sync")
        super().xSync(flags)

    def xTruncate(self, size):
        self._before("truncate")
        super().xTruncate(size)
