"""What a telematics protocol tells the listener: hello, frames, refused frames, replies to commands.

Every protocol is a decoder `frames(data) -> list[AvlItem]` without I/O (`AvlDecoder`); `avl_server` does what these
items ask for and knows no protocol. The unit repeats every frame whose answer it has not seen, so a frame's
answer goes out only once its effects are on disk.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import msgspec

from firmware_bridge.messages import Event, PositionReport, Refusal

IMEI = re.compile(r"[0-9]{15}")
FRAME_LIMIT = 4_096
"""Bytes of one frame; units send 1,280 at most (design/firmware-bridge.md section 6)."""


class Hello(msgspec.Struct, frozen=True):
    """The unit says who it is before its first frame."""

    imei: str
    welcome: bytes
    """Answer to a unit we know."""
    turn_away: bytes
    """Answer to one we do not know; the connection then ends."""


@runtime_checkable
class AvlFrame(Protocol):
    """One frame whose check sum is right; `RuptelaFrame` and `QueclinkFrame` are such frames as they are."""

    @property
    def imei(self) -> str | None:
        """None where only the hello says it."""
        ...

    @property
    def events(self) -> tuple[Event, ...]:
        """Reports, and refusals of single records: the unit need not send these again."""
        ...

    @property
    def answer(self) -> bytes:
        """What to send once the events are on disk; empty = nothing."""
        ...


class RefusedFrame(msgspec.Struct, frozen=True):
    """A frame that is refused whole, and what the unit is told."""

    refusal: Refusal
    """Its quote is the frame."""
    answer: bytes
    """Says that nothing of it was taken: the unit sends it again."""
    give_up: bytes
    """Says that it was taken, so that it does not come back for ever."""
    imei: str | None = None


class Reply(msgspec.Struct, frozen=True):
    """What the unit answers to a command of ours."""

    text: bytes


AvlItem: TypeAlias = Any
"""Hello, AvlFrame, RefusedFrame, Reply, or Refusal: bytes that belong to no frame. (Any: a Protocol among structs.)"""


class AvlDecoder(Protocol):
    """Bytes of one connection to items; no I/O, no clock, at most one frame buffered."""

    @property
    def buffered(self) -> int:
        """Bytes waiting for the rest of their frame."""
        ...

    def frames(self, data: bytes) -> Sequence[AvlItem]:
        """Items these bytes complete, in input order."""
        ...


def record_key(report: PositionReport) -> tuple[int, int]:
    """(fix time in ms, CRC-16 of what the record says): the same for a record sent again."""
    return report.fix_time_ms or 0, crc_hqx(msgspec.msgpack.encode(report), 0)


def events_of(items: Sequence[AvlItem]) -> list[Event]:
    """Reports and refusals alone, as `decode` writes them."""
    events: list[Event] = []
    for item in items:
        if isinstance(item, Refusal):
            events.append(item)
        elif isinstance(item, RefusedFrame):
            events.append(item.refusal)
        elif isinstance(item, AvlFrame):
            events += item.events
    return events
