"""Token buckets and bounds: a unit that floods must not slow the others (design/reliability.md S17, S18)."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

MESSAGES_PER_S = 20.0
"""Sustained messages of one unit; a batch is one."""
BURST = 3_600.0
"""One hour of buffered 1 Hz fixes: a tighter bucket refuses honest resends."""
MAX_SOURCES = 10_000
"""Sources remembered at once; the one unheard longest is forgotten."""


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """A token bucket as it stood at a time."""

    tokens: float
    at_s: float


def take(bucket: Bucket, now_s: float, rate_per_s: float = MESSAGES_PER_S, burst: float = BURST) -> Bucket | None:
    """The bucket after one message, or None if it is empty. Time that goes back fills nothing."""
    tokens = min(burst, bucket.tokens + max(0.0, now_s - bucket.at_s) * rate_per_s)
    return Bucket(tokens - 1.0, max(now_s, bucket.at_s)) if tokens >= 1.0 else None


class RateLimits:
    """One bucket for each source (unit, operator, device), known or not, in bounded memory.

    A source pushed out starts with a full bucket when it comes back, so a flood of invented names can only
    buy bursts, and each of them needs a topic that the broker lets it use.
    """

    def __init__(
        self, rate_per_s: float = MESSAGES_PER_S, burst: float = BURST, max_sources: int = MAX_SOURCES
    ) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self.max_sources = max_sources
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def allow(self, source: str, now_s: float) -> bool:
        """Whether one more message of this source is taken now; `now_s` on any steady clock."""
        bucket = self._buckets.get(source) or Bucket(self.burst, now_s)
        after = take(bucket, now_s, self.rate_per_s, self.burst)
        self._buckets[source] = after or bucket
        self._buckets.move_to_end(source)
        if len(self._buckets) > self.max_sources:
            self._buckets.popitem(last=False)
        return after is not None

    def __len__(self) -> int:
        return len(self._buckets)
