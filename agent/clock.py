"""Wall and monotonic time, handed to shells; pure modules get times as arguments.

One clock for all parts of a demo may run faster than the wall (`--speedup`): fix times, budgets, expiries
and leases then follow it together.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Time that runs `speedup` times as fast as the wall since `origin_s`."""

    speedup: float = 1.0
    origin_s: float = 0.0
    """Wall time, UTC seconds, at which this clock and the wall agree; 0 with speedup 1."""

    def now_s(self) -> float:
        """UTC seconds since 1970."""
        wall_s = time.time()
        if self.speedup == 1.0:
            return wall_s
        return self.origin_s + (wall_s - self.origin_s) * self.speedup

    def monotonic_s(self) -> float:
        """Seconds that never go back, at this clock's pace."""
        return time.monotonic() * self.speedup

    def wall_s(self, duration_s: float) -> float:
        """How long the wall takes for a duration of this clock, seconds."""
        return duration_s / self.speedup

    async def sleep(self, duration_s: float) -> None:
        """Sleep for a duration of this clock."""
        await asyncio.sleep(max(0.0, duration_s / self.speedup))

    def timeout(self, duration_s: float) -> asyncio.Timeout:
        """`asyncio.timeout` for a duration of this clock."""
        return asyncio.timeout(max(0.0, duration_s / self.speedup))
