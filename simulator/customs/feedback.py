"""What control results teach: counts of seen and found under each key (design/risk.md section 8).

Counts enter scoring at the next counter version, so that a score card can be recomputed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONTROL_RESULT_CODES = ("CONFORM", "FINDING", "NOT_RELEASED")
FOUND_CODES = frozenset({"FINDING", "NOT_RELEASED"})
"""Results that count as a find."""
RELEASING_CODES = frozenset({"CONFORM", "FINDING"})
"""Results after which the goods may go on."""
SMOOTHING = 20.0
"""A rate counts as if the base rate had been seen so often before (design/risk.md section 6)."""
VERSION_EVERY = 100
VERSION_EVERY_S = 900.0
"""A new counter version after so many results or so long (design/risk.md section 8)."""

Key = tuple[str, str]
"""Kind and value: a rule id, a party, an origin with its goods."""


@dataclass(frozen=True)
class Count:
    """Controls of declarations with one key, and how many of them found something."""

    seen: int = 0
    found: int = 0


@dataclass(frozen=True)
class Counters:
    """One counter version: fixed, whatever results arrive later."""

    counts: Mapping[Key, Count]
    total: Count
    up_to: int = 0
    """Number of the last control result that counts."""


NO_COUNTERS = Counters({}, Count())


def counted(count: Count, found: bool) -> Count:
    """The count after one more control."""
    return Count(count.seen + 1, count.found + found)


def is_due(counters: Counters, results: int, age_s: float) -> bool:
    """Whether a new counter version should be drawn, given results so far and the age of this version."""
    return results - counters.up_to >= VERSION_EVERY or (results > counters.up_to and age_s >= VERSION_EVERY_S)


@dataclass(frozen=True)
class Thresholds:
    """Points at which a card turns yellow and red."""

    yellow_at: int
    red_at: int


MIN_RECENT = 1_000
"""Recent declarations from which thresholds are taken; with fewer the book's stand."""
MAX_RECENT = 10_000
"""The newest so many count."""


def thresholds(scores: Sequence[int], red_share: float, yellow_share: float) -> Thresholds | None:
    """The lowest points at which no more than these shares of the scores turn red, and yellow besides.

    None with fewer than `MIN_RECENT` scores.
    """
    if len(scores) < MIN_RECENT:
        return None
    falling = sorted(scores, reverse=True)
    red, both = (int(len(falling) * share + 1e-9) for share in (red_share, red_share + yellow_share))
    return Thresholds(falling[both] + 1, falling[red] + 1)
