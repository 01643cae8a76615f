"""One figure of `borderlane bench`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One measured value and the same from others in the same run."""

    id: str
    value: float
    unit: str
    peers: dict[str, float] = {}


Tell = Callable[[str], None]
"""Is told what is being measured."""
