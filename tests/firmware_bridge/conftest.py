"""A terminal pair: the unit's end and the path we open; the device at the end of a microcontroller link."""

from __future__ import annotations

import ctypes
import os
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.firmware_bridge.link_world import CDevice, Device, PythonDevice, compile_library


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


@pytest.fixture(scope="session")
def reference_library(require: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The C reference machine, compiled here."""
    return compile_library(tmp_path_factory.mktemp("reference"), require("cc"))


@pytest.fixture(params=("python", "c"), scope="module")
def new_device(request: pytest.FixtureRequest) -> Callable[[], Device]:
    """Makes a device that was never configured: the Python machine, and the C one."""
    if request.param == "python":
        return PythonDevice
    library = request.getfixturevalue("reference_library")
    return lambda: CDevice(library)
