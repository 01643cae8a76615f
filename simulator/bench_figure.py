"""What a measurement gives."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

REPEATS = 3
"""Runs of which the best counts: a shared machine only ever makes a run slower."""


class Figure(msgspec.Struct, frozen=True):
    """One measured value and the same from others in the same run."""

    id: str
    value: float
    unit: str
    peers: dict[str, float] = {}


Tell = Callable[[str], None]
"""Is told what is being measured."""
