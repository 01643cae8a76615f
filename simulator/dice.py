"""Seeded chance for pure modules: the same seed gives the same run on every machine and Python version."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_GAMMA = 0x9E37_79B9_7F4A_7C15
_TO_UNIT = 1.0 / (1 << 53)


class Dice:
    """SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).

    Not for secrets. Each lorry has dice of its own, named by run and purpose, so that one more draw in one
    place changes nothing elsewhere.
    """

    __slots__ = ("_spare", "_state")

    def __init__(self, *seed: object) -> None:
        digest = hashlib.sha256("\x1f".join(map(str, seed)).encode()).digest()
        self._state = int.from_bytes(digest[:8], "big")
        self._spare: float | None = None

    def bits(self) -> int:
        """64 random bits."""
        self._state = z = (self._state + _GAMMA) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
        return z ^ (z >> 31)

    def unit(self) -> float:
        """Uniform in [0, 1)."""
        return (self.bits() >> 11) * _TO_UNIT

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """Whole number, both ends included."""
        return low + self.bits() % (high - low + 1)

    def chance(self, share: float) -> bool:
        """True in this share of cases."""
        return self.unit() < share

    def normal(self, sigma: float = 1.0) -> float:
        """Normal about 0 (Box and Muller, both values used)."""
        if self._spare is not None:
            value, self._spare = self._spare, None
            return value * sigma
        radius = math.sqrt(-2.0 * math.log(1.0 - self.unit()))
        angle = math.tau * self.unit()
        self._spare = radius * math.sin(angle)
        return radius * math.cos(angle) * sigma

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.bits() % len(items)]

    def weighted(self, items: Sequence[tuple[T, float]]) -> T:
        """One of the items by weight."""
        left = self.unit() * sum(weight for _, weight in items)
        for item, weight in items:
            left -= weight
            if left < 0.0:
                return item
        return items[-1][0]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order (Fisher and Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.bits() % (last + 1)
            order[last], order[other] = order[other], order[last]
        return order
