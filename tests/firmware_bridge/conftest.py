"""A terminal pair: the unit's end and the path we open."""

from __future__ import annotations

import os
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest


@dataclass
class Pair:
    """The far end of a serial line."""

    path: str
    ends: list[int] = field(default_factory=list)

    def say(self, data: bytes) -> None:
        """Bytes from the unit."""
        while data:
            data = data[os.write(self.ends[0], data) :]

    def hear(self) -> bytes:
        """What the agent wrote, at least one byte."""
        return os.read(self.ends[0], 65_536)

    def hang_up(self) -> None:
        """The unit goes away."""
        while self.ends:
            os.close(self.ends.pop(0))


@pytest.fixture
def unit() -> Iterator[Pair]:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    pair = Pair(os.ttyname(theirs), [ours])
    os.close(theirs)
    yield pair
    pair.hang_up()
