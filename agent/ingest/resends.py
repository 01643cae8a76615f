"""Which records of a telematics unit were taken before: it sends a frame again until its answer arrives.

In memory, in front of the stored cursor (`intake`), which remembers fewer of a unit without seq. A restart brings back
the newest frame of each unit inside a tracking zone, the one that a unit may not have heard an answer to. What slips
through both is harmless by `activationId` (design/firmware-bridge.md section 6).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec

Key = tuple[int, int]
"""Fix time in milliseconds and check sum of a record."""
MAX_RECORDS = 1_024
"""Remembered of one unit: four full frames."""
MAX_UNITS = 4_096
"""Units remembered, twice as many as may be connected to a listener; the one unheard of longest goes first."""


def encode_keys(keys: Iterable[Key]) -> bytes:
    """Keys of a frame as they are stored: a time and a check sum of 16 bits each, no position."""
    return msgspec.msgpack.encode(tuple(keys))


def decode_keys(body: bytes) -> tuple[Key, ...]:
    """The keys of a stored frame.

    Raises:
        ValueError: these are none.
    """
    return msgspec.msgpack.decode(body, type=tuple[Key, ...])


class Resends:
    """A ring of record keys for each unit."""

    def __init__(self, max_units: int = MAX_UNITS, max_records: int = MAX_RECORDS) -> None:
        self._max_units, self._max_records = max_units, max_records
        self._units: OrderedDict[str, OrderedDict[Key, None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._units)

    def remember(self, frames: Mapping[str, bytes]) -> None:
        """Take stored frames, by unit, as at a start; one that cannot be read is one that was not seen.

        It is then taken once more, which detector and activationId make harmless.
        """
        for unit, body in frames.items():
            with suppress(ValueError):
                self.took(unit, decode_keys(body))

    def knows(self, unit: str, key: Key) -> bool:
        """Whether this record was taken, as far as is remembered."""
        return key in self._units.get(unit, ())

    def took(self, unit: str, keys: Iterable[Key]) -> None:
        """These records are on disk."""
        ring = self._units.pop(unit, None) or OrderedDict()
        self._units[unit] = ring
        for key in keys:
            ring[key] = None
            ring.move_to_end(key)
        while len(ring) > self._max_records:
            ring.popitem(last=False)
        while len(self._units) > self._max_units:
            self._units.popitem(last=False)
