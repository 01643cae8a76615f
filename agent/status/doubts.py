"""What many units together say of our clock and of GNSS: one that is off is its own trouble, most of them are ours.

Times are monotonic seconds: a wall clock that is doubted cannot say how old a sign is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

WINDOW_S = 30.0
"""Signs count for so long (choice: several fixes of every unit at the border)."""
MIN_UNITS = 3
"""Fewer units that agree are no majority of anything (choice)."""
RECEIVER_FIXES = 3
"""Fixes of a wired receiver that must all show a difference."""
SHARE = 0.5
"""Share of the units heard near a border that must show the same sign (choice)."""
MAX_UNITS = 10_000
"""Units remembered; far more than stand at the borders of a country at once."""


class Doubts:
    """Remembers, for each unit, when it was last heard and when it last showed a sign."""

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}
        self._clock_faults: dict[str, float] = {}
        self._jumps: dict[str, float] = {}
        self._receivers: dict[str, deque[tuple[float, float]]] = {}

    def heard(self, units: Iterable[str], now_s: float) -> None:
        """Units inside tracking zones sent positions."""
        _note(self._heard, units, now_s)

    def clock_faults(self, units: Iterable[str], now_s: float) -> None:
        """Their fixes are from the future, by our clock."""
        _note(self._clock_faults, units, now_s)

    def jumps(self, units: Iterable[str], now_s: float) -> None:
        """Their positions are not believed: they leapt, or are inside a zone that they cannot have reached."""
        _note(self._jumps, units, now_s)

    def receiver(self, unit: str, behind_s: float, now_s: float) -> None:
        """A receiver wired to this box says how far its time is behind ours, wall seconds."""
        self._receivers.setdefault(unit, deque(maxlen=RECEIVER_FIXES)).append((now_s, behind_s))

    def receiver_difference_s(self, now_s: float) -> float:
        """Smallest difference of the last few fixes of wired receivers: one late sentence is no clock that is off."""
        lately = [
            behind_s
            for fixes in self._receivers.values()
            if len(fixes) == RECEIVER_FIXES and now_s - fixes[0][0] <= WINDOW_S
            for _, behind_s in fixes
        ]
        return min(lately, key=abs, default=0.0)

    def units_doubt_clock(self, now_s: float) -> bool:
        """Whether most units near a border send fixes from what we take for the future."""
        return self._most(self._clock_faults, now_s)

    def gnss_suspect(self, now_s: float) -> bool:
        """Whether most units near a border jump: spoofing or jamming rather than so many bad receivers."""
        return self._most(self._jumps, now_s)

    def _most(self, signs: dict[str, float], now_s: float) -> bool:
        shown = {unit for unit, at_s in signs.items() if now_s - at_s <= WINDOW_S}
        heard = {unit for unit, at_s in self._heard.items() if now_s - at_s <= WINDOW_S}
        return len(shown) >= MIN_UNITS and len(shown) > SHARE * len(heard | shown)


def _note(signs: dict[str, float], units: Iterable[str], now_s: float) -> None:
    """Newest last, so that the oldest go first when there are too many."""
    for unit in units:
        signs.pop(unit, None)
        signs[unit] = now_s
    while len(signs) > MAX_UNITS or (signs and now_s - next(iter(signs.values())) > WINDOW_S):
        del signs[next(iter(signs))]
