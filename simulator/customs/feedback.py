"""What control results teach: counts of seen and found, and the hit rate they give (design/risk.md 6, 8).

Counts enter scoring at the next counter version, so that a score card can be recomputed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CONTROL_RESULT_CODES = ("CONFORM", "FINDING", "NOT_RELEASED")
FOUND_CODES = frozenset({"FINDING", "NOT_RELEASED"})
"""Results that count as a find."""
RELEASING_CODES = frozenset({"CONFORM", "FINDING"})
"""Results after which the goods may go on."""
SMOOTHING = 20.0
"""A rate counts as if the base rate had been seen so often before (design/risk.md section 6)."""
POINTS_PER_LOG_ODDS = 20.0 / math.log(2.0)
"""20 points double the odds of a finding (design/risk.md section 1)."""
MAX_LEARNED_POINTS = 40
"""What learned rates may add or take (choice: like a rule without a floor)."""
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

    @property
    def base_rate(self) -> float:
        """Share of finds among all controls, kept inside (0, 1) while little is known."""
        return (self.total.found + 1.0) / (self.total.seen + 5.0)


NO_COUNTERS = Counters({}, Count())


def counted(count: Count, found: bool) -> Count:
    """The count after one more control."""
    return Count(count.seen + 1, count.found + found)


def is_due(counters: Counters, results: int, age_s: float) -> bool:
    """Whether a new counter version should be drawn, given results so far and the age of this version."""
    return results - counters.up_to >= VERSION_EVERY or (results > counters.up_to and age_s >= VERSION_EVERY_S)


def learned_points(counters: Counters, keys: Iterable[Key]) -> float:
    """Points from learned hit rates: mean log-odds of the keys that were ever controlled, against the base.

    The mean, not the sum: the keys of one declaration say much the same thing.
    """
    base = counters.base_rate
    known = [count for key in keys if (count := counters.counts.get(key)) is not None]
    if not known:
        return 0.0
    rates = ((count.found + SMOOTHING * base) / (count.seen + SMOOTHING) for count in known)
    mean = sum(_log_odds(rate) - _log_odds(base) for rate in rates) / len(known)
    return max(-MAX_LEARNED_POINTS, min(MAX_LEARNED_POINTS, mean * POINTS_PER_LOG_ODDS))


def _log_odds(rate: float) -> float:
    return math.log(rate / (1.0 - rate))
