"""GNSS date against the system clock: refused where they disagree, never repaired.

Receivers with an old week counter are off by k x 1,024 weeks, and gpsd 3.22 moved 7 of 15 recorded logs by
that much; a date that makes a declaration binding is not guessed (design/firmware-bridge.md section 5).
"""

from __future__ import annotations

import enum

from firmware_bridge.messages import Refusal

BUILD_TIME_S = 1_793_491_200
"""1 November 2026 00:00 UTC: this program is not older, so no fix it receives live can be."""
LIVE_LIMIT_S = 5.0
"""How far a live fix may be from the time of its reception [set]."""
WEEK_ROLLOVER_S = 619_315_200
"""1,024 GPS weeks."""
DAY_S = 86_400
_STEPS = ((DAY_S, "a day"), (3_600, "an hour"), (60, "a minute"), (0, f"{LIVE_LIMIT_S:g} s"))
ALARM_AFTER = 10
"""Refusals in a row that raise an alarm."""


class Arrival(enum.Enum):
    """How a report reaches us."""

    LIVE = "live"
    """Straight from a receiver on a port."""
    STORED = "stored"
    """Kept by the unit and sent later; how late is too late is the agent's decision."""


def clock_refusal(fix_time_ms: int, received_s: float, arrival: Arrival = Arrival.LIVE) -> Refusal | None:
    """Say why a fix time cannot be right, or None.

    Args:
        fix_time_ms: GNSS time of the fix, UTC milliseconds.
        received_s: System clock at reception, UTC seconds.

    Returns:
        `week_rollover`, `date_before_build`, `clock_disagrees`, or None.
    """
    ahead_s = fix_time_ms / 1000.0 - received_s
    weeks = round(ahead_s / WEEK_ROLLOVER_S)
    if weeks and abs(ahead_s - weeks * WEEK_ROLLOVER_S) <= DAY_S:
        return Refusal("week_rollover", f"fixTime: {weeks:+d} x 1,024 weeks from the system clock")
    if fix_time_ms / 1000.0 < BUILD_TIME_S:
        return Refusal("date_before_build", "fixTime: earlier than this program; expected the time of now")
    if ahead_s > LIVE_LIMIT_S or (arrival is Arrival.LIVE and -ahead_s > LIVE_LIMIT_S):
        expected = f"expected within {LIVE_LIMIT_S:g} s"
        return Refusal("clock_disagrees", f"fixTime: {_about(ahead_s)} the system clock; {expected}")
    return None


def _about(ahead_s: float) -> str:
    """In steps, since refusals with the same words are kept as one."""
    over = next(words for limit_s, words in _STEPS if abs(ahead_s) >= limit_s)
    return f"more than {over} {'ahead of' if ahead_s > 0 else 'behind'}"


class ClockWatch:
    """Counts refusals in a row: one is a hiccup, ten are a receiver (or a system clock) that is wrong."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self.reason = ""
        """Of the last refusal."""

    def check(self, fix_time_ms: int, received_s: float) -> Refusal | None:
        """`clock_refusal` of a live fix, counted."""
        refusal = clock_refusal(fix_time_ms, received_s)
        self.in_a_row = self.in_a_row + 1 if refusal else 0
        self.reason = refusal.reason if refusal else ""
        return refusal

    @property
    def alarm(self) -> bool:
        """True from the tenth refusal in a row until a fix passes."""
        return self.in_a_row >= ALARM_AFTER
