"""Space put aside for the day the disk is full: given up then, so that crossings under way can still be closed."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

FILE_NAME = "ballast"
FREE_TIMES = 2
"""The ballast is made where so many times its size are free: it shall not itself fill the disk."""
ROOM_BYTES = 1 << 20
"""Without a ballast the disk has room if so much is free."""
NEARLY_FULL = 0.8
"""Share of the disk from which it is worth a warning (design/reliability.md section 3)."""


class Ballast:
    """A file that takes up room and holds nothing.

    Args:
        folder: Data folder.
        size_bytes: How much to put aside; 0 = nothing.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._file, self._size = folder / FILE_NAME, size_bytes

    @property
    def there(self) -> bool:
        """Whether the room is put aside."""
        return self._size > 0 and self._file_bytes() == self._size

    def keep(self) -> bool:
        """Put the room aside if there is enough; whether the disk has room."""
        if self.there:
            return True
        if self._size == 0:
            return free_bytes(self._file.parent) >= ROOM_BYTES
        missing = self._size - self._file_bytes()
        if free_bytes(self._file.parent) < missing + (FREE_TIMES - 1) * self._size:
            return False
        try:
            with self._file.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError:
            self.release()
        return self.there

    def release(self) -> bool:
        """Give the room up; False if there was none."""
        if self._file_bytes() == 0:
            return False
        with contextlib.suppress(OSError):
            self._file.unlink()
        return True

    def _file_bytes(self) -> int:
        try:
            return self._file.stat().st_size
        except OSError:
            return 0


def free_bytes(folder: Path) -> int:
    """Room on the folder's disk for us; 0 if nobody can say."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def used_share(folder: Path) -> float:
    """How full the folder's disk is, 0 to 1, of what we may use."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return 0.0
    ours = usage.used + usage.free  # the rest is kept for root
    return usage.used / ours if ours else 0.0
