"""The decoder of a receiver's whole byte stream: frames, what they say, one report for each time stamp."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from firmware_bridge.epochs import Epochs, Observation
from firmware_bridge.framing import Frame, FrameKind, Framer
from firmware_bridge.messages import Event, Refusal

Reader: TypeAlias = Callable[[bytes], Observation | Refusal | None]
"""What one frame's body says; None = nothing about a position or time."""


class ReceiverDecoder:
    """Bytes of one receiver to position reports; never raises for what the bytes hold."""

    def __init__(self, readers: Mapping[FrameKind, Reader], *, live: bool = False, skip_header: bool = False) -> None:
        """`live` reports an epoch as soon as it is complete; `skip_header` is for recorded logs.

        Frames of kinds without a reader are passed over.
        """
        self._readers = readers
        self._framer = Framer(skip_header=skip_header)
        self._epochs = Epochs(live=live)

    @property
    def frames(self) -> int:
        """Frames with a right checksum so far."""
        return self._framer.frames

    @property
    def noise_bytes(self) -> int:
        """Bytes so far that belonged to no frame."""
        return self._framer.noise_bytes

    @property
    def buffered(self) -> int:
        """Bytes waiting for the rest of their frame."""
        return self._framer.buffered

    def feed(self, data: bytes, now_s: float = 0.0) -> list[Event]:
        """Reports and refusals these bytes complete; `now_s` (monotonic) matters for a live stream only."""
        if data:
            self._epochs.heard(now_s)
        return self._events(self._framer.feed(data), now_s)

    def due_s(self) -> float | None:
        """When `tick` is next needed, monotonic; None = not before more bytes have come."""
        return self._epochs.due_s()

    def tick(self, now_s: float) -> list[Event]:
        """Report the last epoch of a live stream once the line has fallen silent."""
        return self._epochs.tick(now_s)

    def end(self) -> list[Event]:
        """What is still open when the stream ends."""
        return self._events(self._framer.end(), 0.0) + self._epochs.end()

    def _events(self, frames: list[Frame | Refusal], now_s: float) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            match frame if isinstance(frame, Refusal) else self._read(frame):
                case Observation() as seen:
                    events += self._epochs.add(seen, now_s)
                case Refusal() as refusal:
                    events.append(refusal)
        return events

    def _read(self, frame: Frame) -> Observation | Refusal | None:
        read = self._readers.get(frame.kind)
        return None if read is None else read(frame.body)
