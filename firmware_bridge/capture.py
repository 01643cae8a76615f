"""Raw bytes of a port with their timing: recorded to a `.blcap` file, and fed to the decoders again.

A capture is JSON Lines: a header, then one object for each chunk as it was read or written
(design/firmware-bridge.md section 11). Raw bytes of vehicles are positions, so who may record what is the
configuration's affair.
"""

from __future__ import annotations

import os
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from firmware_bridge.errors import BridgeError
from firmware_bridge.lines import Lines
from firmware_bridge.messages import Event, Refusal

MAGIC = b'{"borderlaneCapture":'
"""Every capture begins so."""
VERSION = 1
LIMIT_S = 900.0
LIMIT_BYTES = 64 * 1024 * 1024
"""A recording ends after 15 minutes or 64 MB of file, whichever comes first."""
LINE_LIMIT = 256 * 1024
"""Bytes of one line; a chunk as read has 64 KB at most, 88 KB in base64."""
SUFFIX = ".blcap"

Direction = Literal["in", "out"]


class CaptureError(BridgeError):
    """The file is no capture, or one of another version."""


class Header(msgspec.Struct, frozen=True, rename="camel"):
    """First line."""

    borderlane_capture: int
    port: str
    baud: int
    started_at: str
    """RFC 3339, UTC."""


class Chunk(msgspec.Struct, frozen=True):
    """Bytes as they were read from the line (`in`) or written to it (`out`)."""

    t_ms: Annotated[int, Meta(ge=0)]
    """Milliseconds since the start of the recording."""
    d: Direction
    b: str
    """Base64."""


class Recorder:
    """Writes one capture; at its bounds or a fault of the disk it stops, and the port goes on."""

    def __init__(self, path: Path, header: Header, *, limit_s: float = LIMIT_S, limit_bytes: int = LIMIT_BYTES) -> None:
        """Begin a file that only its owner may read.

        Raises:
            OSError: the file exists or cannot be made.
        """
        self.path = path
        self.state = "recording"
        """`recording`, `full` (a bound is reached), `failed` or `closed`."""
        self.bytes = 0
        """Of the file so far."""
        self._limit_s, self._limit_bytes = limit_s, min(limit_bytes, LIMIT_BYTES)
        self._started_s: float | None = None
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(handle, "wb")
        self._put(msgspec.json.encode(header))

    def record(self, direction: Direction, data: bytes, now_s: float) -> None:
        """Keep these bytes; `now_s` is monotonic."""
        if self.state != "recording":
            return
        if self._started_s is None:
            self._started_s = now_s
        age_s = now_s - self._started_s
        line = msgspec.json.encode(Chunk(round(age_s * 1000), direction, b64encode(data).decode()))
        if age_s > self._limit_s or self.bytes + len(line) + 1 > self._limit_bytes:
            self._stop("full")
        else:
            self._put(line)

    def close(self) -> None:
        """End the file; safe to call twice."""
        if self.state == "recording":
            self._stop("closed")

    def _put(self, line: bytes) -> None:
        try:
            self._file.write(line + b"\n")
            self._file.flush()
        except OSError:
            self._stop("failed")
        else:
            self.bytes += len(line) + 1

    def _stop(self, state: str) -> None:
        self.state = state
        try:
            self._file.close()
        except OSError:
            self.state = "failed"


class Decoder(Protocol):
    """What takes the replayed bytes."""

    def feed(self, data: bytes) -> list[Event]:
        """Events these bytes complete."""
        ...

    def end(self) -> list[Event]:
        """Events still open at the end."""
        ...


class Replay:
    """A decoder of captures: what came in on the line, given to the decoder of its protocol.

    Args:
        decoder: Of the protocol.
        speed: 1 waits as long as the recording did, n is n times as fast, 0 does not wait.
        sleep: Waits so many seconds.
    """

    def __init__(self, decoder: Decoder, *, speed: float = 0.0, sleep: Callable[[float], None] = time.sleep) -> None:
        self.header: Header | None = None
        self._decoder = decoder
        self._lines = Lines(re.compile(rb"\n"), LINE_LIMIT)
        self._speed, self._sleep = speed, sleep
        self._at_ms = 0

    @property
    def buffered(self) -> int:
        """Bytes waiting for the end of their line."""
        return self._lines.buffered

    def feed(self, data: bytes) -> list[Event]:
        """Events of the chunks these bytes of the file complete.

        Raises:
            CaptureError: the header is not that of a capture.
        """
        return [event for line in self._lines.feed(data) for event in self._line(line)]

    def end(self) -> list[Event]:
        """What is still open at the end of the file."""
        last = [event for line in self._lines.end() for event in self._line(line)]
        return last + self._decoder.end()

    def _line(self, line: bytes | Refusal) -> list[Event]:
        if isinstance(line, Refusal):
            return [line]
        if self.header is None:
            self.header = _header(line)
            return []
        try:
            chunk = msgspec.json.decode(line, type=Chunk)
            data = b64decode(chunk.b, validate=True)
        except (msgspec.DecodeError, ValueError):
            return [Refusal("bad_capture", "line: expected t_ms, d (in or out) and b (base64)", line)]
        if chunk.d != "in":
            return []
        self._wait_until(chunk.t_ms)
        return self._decoder.feed(data)

    def _wait_until(self, at_ms: int) -> None:
        left_ms = min(at_ms, round(LIMIT_S * 1000)) - self._at_ms
        if self._speed > 0 and left_ms > 0:
            self._sleep(left_ms / 1000 / self._speed)
        self._at_ms = max(self._at_ms, at_ms)


def _header(line: bytes) -> Header:
    try:
        header = msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CaptureError(f"capture: header: {error}") from error
    if header.borderlane_capture != VERSION:
        raise CaptureError(f"capture: version {header.borderlane_capture}; expected {VERSION}")
    return header
