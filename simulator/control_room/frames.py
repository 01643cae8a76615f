"""Frames of positions of many agents as one, and what of them is kept for replay."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agent.status.positions import AGE_MAX_DS, ROW, SILENT, Rows, decode_frame, encode_frame
from simulator.control_room.rows import HANDLE_BITS

FRAMES_BYTES_MAX = 64 << 20
"""Of frames kept for replay: an hour of 1,100 vehicles."""
LOST_AFTER_MS = 5_000
"""An agent whose positions are older is out of reach: its vehicles are shown as silent."""


@dataclass(frozen=True)
class AgentFrame:
    """The newest frame of one agent."""

    rows: Rows
    heard_ms: int
    """Epoch milliseconds of the control room."""


def read_agent_frame(frame: bytes, agent_number: int, heard_ms: int) -> AgentFrame:
    """An agent's frame, under the control room's handles.

    Raises:
        FrameError: it is none.
    """
    rows = decode_frame(frame)[0].copy()
    rows["handle"] = (rows["handle"] & ((1 << HANDLE_BITS) - 1)) | np.uint32(agent_number << HANDLE_BITS)
    return AgentFrame(rows, heard_ms)


def merged(frames: Mapping[str, AgentFrame], now_ms: int) -> Rows:
    """All vehicles by rising handle, aged to now; those of an agent out of reach as silent."""
    aged = [_aged(frame, now_ms - frame.heard_ms) for frame in frames.values()]
    rows = np.concatenate(aged) if aged else np.zeros(0, ROW)
    return rows[np.argsort(rows["handle"], kind="stable")]


def _aged(frame: AgentFrame, since_ms: int) -> Rows:
    rows = frame.rows.copy()
    age = rows["age_ds"].astype(np.int64) + max(since_ms, 0) // 100
    rows["age_ds"] = np.minimum(age, AGE_MAX_DS)
    if since_ms > LOST_AFTER_MS:
        rows["state"] |= SILENT
    return rows


def silent_count(frame: AgentFrame) -> int:
    """Vehicles of an agent that send no position any more."""
    return int(np.count_nonzero(frame.rows["state"] & SILENT))


class FrameHistory:
    """Frames of the last while, oldest first, bounded in time and bytes."""

    def __init__(self, kept_ms: int, max_bytes: int = FRAMES_BYTES_MAX) -> None:
        self._kept_ms, self._max_bytes = kept_ms, max_bytes
        self._frames: deque[tuple[int, bytes]] = deque()
        self.bytes = 0

    def add(self, rows: Rows, now_ms: int) -> None:
        """Keep a frame; times rise."""
        frame = encode_frame(rows, now_ms)
        self._frames.append((now_ms, frame))
        self.bytes += len(frame)
        while self._frames and (self._frames[0][0] < now_ms - self._kept_ms or self.bytes > self._max_bytes):
            self.bytes -= len(self._frames.popleft()[1])

    @property
    def times_ms(self) -> list[int]:
        """When each frame was taken."""
        return [at_ms for at_ms, _ in self._frames]

    def at(self, time_ms: int) -> bytes | None:
        """The frame that held at a time; None before the first."""
        found = None
        for at_ms, frame in self._frames:
            if at_ms > time_ms:
                break
            found = frame
        return found
