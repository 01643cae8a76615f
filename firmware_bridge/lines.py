"""Text protocols: a byte stream cut at its line ends, however it arrives, with a bound on what waits."""

from __future__ import annotations

import re

from firmware_bridge.messages import Refusal

LINE_LIMIT = 1_024
"""Bytes of one line. A sentence has 82, Quectel's longest 134: the limit only stops endless lines."""

CONTROL = re.compile(rb"[\x00-\x1f\x7f-\xff]")
"""What no line of text holds; noise of a bad cable ends a line as well as a line feed does."""


class Lines:
    """Cuts at every single byte that matches `ends`; at most `limit` bytes wait for the end of their line."""

    def __init__(self, ends: re.Pattern[bytes] = CONTROL, limit: int = LINE_LIMIT) -> None:
        """`ends` matches exactly one byte."""
        self._ends = ends
        self._limit = limit
        self._waiting = bytearray()
        self._overlong = False

    @property
    def buffered(self) -> int:
        """Bytes waiting for their line's end."""
        return len(self._waiting)

    def feed(self, data: bytes) -> list[bytes | Refusal]:
        """Lines that these bytes end, without their ends and without empty ones."""
        *ended, rest = self._ends.split(data)
        out: list[bytes | Refusal] = []
        for piece in ended:
            self._keep(piece)
            out += self.end()
        self._keep(rest)
        return out

    def end(self) -> list[bytes | Refusal]:
        """The last line, where the stream breaks off without a line end."""
        line, self._waiting = bytes(self._waiting), bytearray()
        overlong, self._overlong = self._overlong, False
        if overlong:
            return [Refusal("too_long", f"line: expected at most {self._limit} bytes", line)]
        return [line] if line else []

    def _keep(self, piece: bytes) -> None:
        self._overlong |= len(self._waiting) + len(piece) > self._limit
        self._waiting += piece[: self._limit - len(self._waiting)]
