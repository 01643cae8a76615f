"""Tells a damaged write-ahead log from one that a crash has torn.

SQLite reads a log up to the first frame that does not fit and forgets the rest: right after a crash, where only
the last, never promised transaction can be torn; wrong after damage, where promised transactions follow. Each
frame carries the checksum up to itself, so frames behind a bad one can still be known as good. The next
transaction is written only after the one before is on disk, hence: a good frame behind a whole transaction that
lies behind a bad frame is damage. Format: sqlite.org/fileformat2.html section 4.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

HEAD_BYTES, FRAME_HEAD_BYTES = 32, 24
_MAGIC = {0x377F0682: "<u4", 0x377F0683: ">u4"}
"""Magic number to byte order of the words that are summed."""
Words = npt.NDArray[np.uint32]


def log_faults(log: bytes) -> list[str]:
    """What is wrong with a write-ahead log besides a torn end; empty = nothing."""
    if len(log) < HEAD_BYTES + FRAME_HEAD_BYTES:
        return []
    magic, _, page_bytes, _, salt_1, salt_2, sum_1, sum_2 = struct.unpack(">8I", log[:HEAD_BYTES])
    order = _MAGIC.get(magic, "<u4")
    head_good = magic in _MAGIC and _head_sums(log, order) == (sum_1, sum_2)
    if not head_good:
        page_bytes = 4_096  # ours, whatever a damaged head says
    frames = _frames(log, page_bytes)
    if not len(frames):
        return []
    good = _good(frames, order, (sum_1, sum_2))
    if head_good:
        good &= (_big(frames, 8) == salt_1) & (_big(frames, 12) == salt_2)
        return _gaps(good, _big(frames, 4) != 0)
    return ["its head was changed, but its frames are whole"] if good[1:].any() else []


def _gaps(good: npt.NDArray[np.bool_], commits: npt.NDArray[np.bool_]) -> list[str]:
    """Frames behind a whole transaction behind the first bad one."""
    if good.all():
        return []
    first_bad = int(np.argmin(good))
    ends = np.flatnonzero((good & commits)[first_bad + 1 :])
    if not len(ends) or not good[first_bad + 2 + int(ends[0]) :].any():
        return []
    return [f"frame {first_bad + 1} was changed, but later transactions are there"]


def _frames(log: bytes, page_bytes: int) -> npt.NDArray[np.uint8]:
    """Whole frames, one a row."""
    frame_bytes = FRAME_HEAD_BYTES + page_bytes
    count = (len(log) - HEAD_BYTES) // frame_bytes
    return np.frombuffer(log, np.uint8, count * frame_bytes, HEAD_BYTES).reshape(count, frame_bytes)


def _big(frames: npt.NDArray[np.uint8], at: int) -> Words:
    """The big-endian word at an offset of each frame."""
    return np.ascontiguousarray(frames[:, at : at + 4]).view(">u4")[:, 0].astype(np.uint32)


def _good(frames: npt.NDArray[np.uint8], order: str, seed: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which frames fit the checksum that the frame before them carries."""
    stored_1, stored_2 = _big(frames, 16), _big(frames, 20)
    sum_1 = np.concatenate(([np.uint32(seed[0])], stored_1[:-1])).astype(np.uint32)
    sum_2 = np.concatenate(([np.uint32(seed[1])], stored_2[:-1])).astype(np.uint32)
    summed = np.concatenate((frames[:, :8], frames[:, FRAME_HEAD_BYTES:]), axis=1)
    words = np.ascontiguousarray(summed).view(order).astype(np.uint32)
    _add(words, sum_1, sum_2)
    good: npt.NDArray[np.bool_] = (sum_1 == stored_1) & (sum_2 == stored_2)
    return good


def _add(words: Words, sum_1: Words, sum_2: Words) -> None:
    """Carry both sums over each row, in place; all frames at once, modulo 2 to the 32nd."""
    for column in range(0, words.shape[1], 2):
        sum_1 += words[:, column] + sum_2
        sum_2 += words[:, column + 1] + sum_1


def _head_sums(log: bytes, order: str) -> tuple[int, int]:
    sum_1, sum_2 = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
    _add(np.frombuffer(log, order, 6).astype(np.uint32).reshape(1, 6), sum_1, sum_2)
    return int(sum_1[0]), int(sum_2[0])
