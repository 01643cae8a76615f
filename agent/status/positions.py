"""`positions.bin`: vehicles inside tracking zones as one binary frame, aligned so that a browser reads it as arrays.

Header of 16 bytes: `BLP1`, u32 count, u64 epoch milliseconds; then 16 bytes for each vehicle, little endian:
u32 handle, i32 longitude and i32 latitude in 1e-7 degrees, u8 heading x 256/360, u8 state, u16 fix age in 0.1 s
(design/experience.md section 3). The low nibble of the state says what holds for the vehicle; two bits are flags.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

MAGIC = b"BLP1"
HEADER = struct.Struct("<4sIQ")
ROW = np.dtype(
    [
        ("handle", "<u4"),
        ("longitude_e7", "<i4"),
        ("latitude_e7", "<i4"),
        ("heading", "u1"),
        ("state", "u1"),
        ("age_ds", "<u2"),
    ]
)
AGE_MAX_DS = 65_535
GONE_KEPT_MS = 60_000
"""How long a frame of changes still names a vehicle that is gone; who last asked before that asks for everything."""

Rows = npt.NDArray[np.void]


class VehicleState(enum.IntEnum):
    """What holds for a vehicle; the worse the larger, but for GONE."""

    TRACKING = 0
    WAITING = 1
    GO = 2
    OBLIGATION = 3
    HOLD = 4
    STOP = 5
    BREACH = 6
    GONE = 15
    """Only in a frame of changes: no longer inside a tracking zone."""


STATE_BITS = 0x0F
NO_HEADING = 0x40
"""Flag: the heading is not known."""
SILENT = 0x80
"""Flag: no position comes any more."""


class FrameError(ValueError):
    """Bytes that are no frame."""


def row(
    handle: int,
    longitude: float,
    latitude: float,
    heading_deg: float | None,
    state: int,
    age_s: float,
) -> tuple[int, int, int, int, int, int]:
    """One row of a frame; WGS 84 degrees, true heading."""
    flags = NO_HEADING if heading_deg is None else 0
    return (
        handle,
        round(longitude * 1e7),
        round(latitude * 1e7),
        round((heading_deg or 0.0) % 360.0 * 256 / 360) % 256,
        state | flags,
        min(max(round(age_s * 10), 0), AGE_MAX_DS),
    )


def rows_of(found: Iterable[tuple[int, int, int, int, int, int]]) -> Rows:
    """Rows as one array, by rising handle."""
    rows = np.array(list(found), dtype=ROW)
    return rows[np.argsort(rows["handle"], kind="stable")]


def encode_frame(rows: Rows, now_ms: int) -> bytes:
    """The bytes of a frame."""
    return HEADER.pack(MAGIC, len(rows), now_ms) + rows.tobytes()


def decode_frame(frame: bytes) -> tuple[Rows, int]:
    """Rows and epoch milliseconds of a frame.

    Raises:
        FrameError: it is none, or of another length than it says.
    """
    if len(frame) < HEADER.size:
        raise FrameError(f"{len(frame)} bytes: expected at least {HEADER.size}")
    magic, count, now_ms = HEADER.unpack_from(frame)
    if magic != MAGIC:
        raise FrameError(f"begins with {magic!r}: expected {MAGIC!r}")
    expected = HEADER.size + count * ROW.itemsize
    if len(frame) != expected:
        raise FrameError(f"{len(frame)} bytes: expected {expected} for {count} vehicles")
    return np.frombuffer(frame, dtype=ROW, offset=HEADER.size), now_ms


class Changes:
    """Remembers when each vehicle last changed, so that a watcher may ask for what changed since."""

    def __init__(self) -> None:
        self.rows: Rows = np.zeros(0, ROW)
        self._changed_ms: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._gone: dict[int, int] = {}

    def take(self, rows: Rows, now_ms: int) -> None:
        """All vehicles as they are now, by rising handle."""
        before, known = self.rows, np.zeros(len(rows), bool)
        changed = np.full(len(rows), now_ms, np.int64)
        if len(before) and len(rows):
            at = np.minimum(np.searchsorted(before["handle"], rows["handle"]), len(before) - 1)
            known = before["handle"][at] == rows["handle"]
            same = known & (_but_age(before)[at] == _but_age(rows)).all(axis=1)
            changed[same] = self._changed_ms[at][same]
        gone = np.setdiff1d(before["handle"], rows["handle"], assume_unique=True)
        self._gone |= dict.fromkeys(gone.tolist(), now_ms)
        here = set(rows["handle"].tolist()) if self._gone else set()
        self._gone = {
            handle: at_ms
            for handle, at_ms in self._gone.items()
            if at_ms >= now_ms - GONE_KEPT_MS and handle not in here
        }
        self.rows, self._changed_ms = rows, changed

    def frame(self, now_ms: int, since_ms: int = 0) -> bytes:
        """Everything, or what changed after `since_ms` of the frame the watcher had before."""
        if not since_ms or since_ms < now_ms - GONE_KEPT_MS:
            return encode_frame(self.rows, now_ms)
        gone = [(handle, 0, 0, 0, int(VehicleState.GONE), 0) for handle, at in self._gone.items() if at > since_ms]
        rows = self.rows[self._changed_ms > since_ms]
        return encode_frame(np.concatenate([rows, np.array(gone, dtype=ROW)]), now_ms)


def _but_age(rows: Rows) -> npt.NDArray[np.uint8]:
    """The bytes of each row without the age, which always changes."""
    whole = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), ROW.itemsize)
    return whole[:, : ROW.itemsize - 2]
