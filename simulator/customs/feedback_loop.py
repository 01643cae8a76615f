"""What learning from control results day by day is worth: three ways to choose whom to inspect, side by side.

Only inspected lines are labelled, as at a border. Each day's choice uses what the days before have shown
(design/risk.md section 8).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulator.customs.feedback import SMOOTHING
from simulator.customs.labelled import Lines
from simulator.customs.training import SEED

WARM_UP_DAYS = 30
"""All lines of the first days are labelled: what an office knows before the service learns."""
INSPECTED_SHARE = 0.05
EXPLORED_SHARE = 0.1
"""Part of the inspections drawn by lot: the control group that keeps the estimate of the base rate honest."""


@dataclass
class _Counts:
    """Seen and found for each value of each key."""

    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    found: dict[tuple[str, str], int] = field(default_factory=dict)
    lines: int = 0
    hits: int = 0

    def learn(self, keys: list[tuple[str, str]], found: bool) -> None:
        self.lines += 1
        self.hits += found
        for key in keys:
            self.seen[key] = self.seen.get(key, 0) + 1
            self.found[key] = self.found.get(key, 0) + found

    def score(self, keys: list[tuple[str, str]]) -> float:
        """Mean log-odds of the smoothed hit rates."""
        base = (self.hits + 1.0) / (self.lines + 5.0)
        rates = [(self.found.get(key, 0) + SMOOTHING * base) / (self.seen.get(key, 0) + SMOOTHING) for key in keys] or [
            base
        ]
        return float(np.mean([np.log(rate / (1.0 - rate)) for rate in rates]))


@dataclass
class _Way:
    """One way to choose, and what it has found so far."""

    name: str
    counts: _Counts
    learns: bool
    explored: float
    inspected: int = 0
    found: int = 0

    def inspect(
        self, day: list[int], keys: list[list[tuple[str, str]]], lines: Lines, dice: np.random.Generator
    ) -> None:
        size = max(1, round(len(day) * INSPECTED_SHARE))
        by_lot = min(size, int(dice.binomial(size, self.explored)))
        drawn = [int(one) for one in dice.choice(day, by_lot, replace=False)]
        left = [one for one in day if one not in set(drawn)]
        best = sorted(left, key=lambda one: self.counts.score(keys[one]), reverse=True)[: size - by_lot]
        for one in (*drawn, *best):
            hit = bool(lines.found[one])
            self.inspected += 1
            self.found += hit
            if self.learns:
                self.counts.learn(keys[one], hit)


def hit_rates(lines: Lines) -> dict[str, float]:
    """Share of inspections that found something: by lot, by a card that never learns, by one that does.

    Lines must span more than the warm-up; with fewer days the answer is empty.
    """
    days = list(_days(lines))
    if len(days) <= WARM_UP_DAYS:
        return {}
    keys = [[(name, texts[at]) for name, texts in lines.categories.items() if texts[at]] for at in range(len(lines))]
    ways = [_way("random", False, 1.0), _way("static", False, 0.0), _way("learning", True, 0.0)]
    ways.append(_way("learningWithExploration", True, EXPLORED_SHARE))
    for way in ways:
        _run(way, days, keys, lines)
    return {way.name: round(way.found / way.inspected, 4) for way in ways}


def _way(name: str, learns: bool, explored: float) -> _Way:
    return _Way(name, _Counts(), learns, explored)


def _run(way: _Way, days: list[list[int]], keys: list[list[tuple[str, str]]], lines: Lines) -> None:
    dice = np.random.default_rng(SEED)
    for day in days[:WARM_UP_DAYS]:
        for one in day:
            way.counts.learn(keys[one], bool(lines.found[one]))
    for day in days[WARM_UP_DAYS:]:
        way.inspect(day, keys, lines, dice)


def _days(lines: Lines) -> Iterator[list[int]]:
    """Line numbers of each day that has lines, in order of the days."""
    order: NDArray[np.int64] = np.argsort(lines.days, kind="stable")
    for day in np.unique(lines.days):
        yield [int(one) for one in order[lines.days[order] == day]]
