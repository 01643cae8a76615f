"""Wall and monotonic time, handed to shells; pure modules get times as arguments.

One clock for all parts of a demo may run faster than the wall (`--speedup`): fix times, budgets, expiries
and leases then follow it together.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from dataclasses import dataclass, field

_TIMEX_BYTES = 512
"""More than `struct timex` has on any machine; all zero = only read."""
_TIME_ERROR = 5
"""What adjtimex(2) returns while the clock is not synchronised."""


@dataclass(frozen=True)
class Clock:
    """Time that runs `speedup` times as fast as the wall since `origin_s`."""

    speedup: float = 1.0
    origin_s: float = 0.0
    """Wall time, UTC seconds, at which this clock and the wall agree; 0 with speedup 1."""

    def now_s(self) -> float:
        """UTC seconds since 1970."""
        wall_s = self._read_wall_s()
        if self.speedup == 1.0:
            return wall_s
        return self.origin_s + (wall_s - self.origin_s) * self.speedup

    def _read_wall_s(self) -> float:
        return time.time()

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


def _wall_over_monotonic_s() -> float:
    return time.time() - time.monotonic()


@dataclass(frozen=True)
class SteadyClock(Clock):
    """A clock that no step of the system's moves: wall time as it was at the start, plus what has passed since.

    So a step neither brings a deadline near nor puts it off. It is noticed (`stepped_s`), and taken over only when
    somebody says so (`follow`). What NTP slews, this clock follows, as the monotonic clock does.
    """

    _anchor: list[float] = field(default_factory=lambda: [_wall_over_monotonic_s()])

    def _read_wall_s(self) -> float:
        return time.monotonic() + self._anchor[0]

    def stepped_s(self) -> float:
        """How far the system's clock has moved ahead of this one, wall seconds; negative = back."""
        return _wall_over_monotonic_s() - self._anchor[0]

    def follow(self) -> None:
        """Take the system's clock over as it is now."""
        self._anchor[0] = _wall_over_monotonic_s()


def is_synchronised() -> bool | None:
    """Whether the kernel says that its clock is kept by a time source; None = it cannot be asked."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        state = libc.adjtimex(buffer)
    except AttributeError:
        return None
    if state < 0:
        return None
    return bool(state != _TIME_ERROR)
