"""Cursor, duplicates, watermark: accept, repeat or refuse (design/reliability.md section 2).

The inbox is one small cursor for each unit and not a row for each fix, so positions outside every tracking
zone leave no trace on disk. The cursor survives restarts and is the guard against replay.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from zones.fix import Fix

MAX_GAPS = 64
"""Ranges remembered as not yet seen; then the oldest is given up. By time the two lowest become one instead: there
every fix leaves a gap, and giving gaps up would refuse a backlog sent after a minute of live fixes. What lay
between the two is then taken once more if it comes again, which detector and activationId make harmless."""
GAP_PATIENCE_S = 30.0
"""How long a gap holds the watermark back: units at QoS 0 never fill gaps."""
FUTURE_TOLERANCE_S = 5.0
"""As in detection (design/detection.md section 5): a later fix time does not move `last_fix_ms`."""
BY_TIME = ":fixTime"
"""Stands for the bootId of units that send no seq: fix time in ms is their seq. No valid bootId."""


class Verdict(enum.Enum):
    """What to do with a report."""

    ACCEPT = "accept"
    REPEAT = "repeat"
    """Processed before: acknowledge, do nothing, tell the unit the watermark again."""
    STALE_BOOT = "stale_boot"
    """From an earlier start of the unit, and no later than what is processed: refuse."""


class Gap(msgspec.Struct, frozen=True):
    """Sequence numbers below the highest that were not seen, both ends included."""

    first: int
    last: int
    since_ms: int
    """When it opened, UTC milliseconds."""


class Cursor(msgspec.Struct, frozen=True):
    """What of one unit has been processed."""

    unit: str
    boot_id: str | None
    highest: int
    gaps: tuple[Gap, ...]
    """By rising `first`; they do not touch."""
    last_fix_ms: int
    """Latest fix time processed, UTC milliseconds."""


def judge(cursor: Cursor | None, fix: Fix) -> tuple[Verdict, Cursor]:
    """Say whether a report is new, and the cursor once it is processed.

    Args:
        cursor: The unit's cursor, None for the first report of a unit.
        fix: The report; `received_s` is now.

    Returns:
        The verdict, and the cursor to commit with the report's effects: the same one unless ACCEPT.
    """
    boot_id, seq = (fix.boot_id, fix.seq) if fix.seq is not None else (BY_TIME, round(fix.time_s * 1000))
    fix_ms, now_ms = round(fix.time_s * 1000), round(fix.received_s * 1000)
    if cursor is None:
        return Verdict.ACCEPT, _started(fix.unit, boot_id, seq, _plausible(fix_ms, now_ms), now_ms)
    last_fix_ms = max(cursor.last_fix_ms, _plausible(fix_ms, now_ms))
    if boot_id != cursor.boot_id:
        if fix_ms <= cursor.last_fix_ms:
            return Verdict.STALE_BOOT, cursor
        return Verdict.ACCEPT, _started(fix.unit, boot_id, seq, last_fix_ms, now_ms)
    if boot_id is None and seq <= cursor.highest and fix_ms > cursor.last_fix_ms:  # restarted without bootId
        return Verdict.ACCEPT, _started(fix.unit, None, seq, last_fix_ms, now_ms)
    if seq > cursor.highest:
        return Verdict.ACCEPT, _advanced(cursor, seq, last_fix_ms, now_ms)
    gaps = _without(cursor.gaps, seq)
    if gaps is None:
        return Verdict.REPEAT, cursor
    return Verdict.ACCEPT, replace(cursor, gaps=_bounded(gaps, cursor.boot_id), last_fix_ms=last_fix_ms)


def watermark(cursor: Cursor, held_from_seq: int | None, now_s: float) -> int | None:
    """`upTo`: every seq up to it is processed and its effects are on disk, or None if nothing can be said.

    Args:
        cursor: The committed cursor.
        held_from_seq: Lowest seq whose fix is held only in memory (last fix outside every tracking zone,
            reorder window), so that the unit sends it again after a loss; None = nothing is held.
        now_s: UTC seconds.
    """
    if cursor.boot_id == BY_TIME:
        return None  # the unit counts nothing
    up_to = cursor.highest if held_from_seq is None else min(cursor.highest, held_from_seq - 1)
    young_since_ms = round((now_s - GAP_PATIENCE_S) * 1000)
    for gap in cursor.gaps:
        if gap.since_ms > young_since_ms:
            up_to = min(up_to, gap.first - 1)
            break  # the others lie higher
    return up_to if up_to >= 0 else None


def stored_gaps(cursor: Cursor) -> tuple[tuple[int, int, int], ...]:
    """The gaps as the journal keeps them: first, last, since when."""
    return tuple((gap.first, gap.last, gap.since_ms) for gap in cursor.gaps)


def restored(
    unit: str,
    boot_id: str | None,
    highest: int,
    gaps: Iterable[tuple[int, int, int]],
    last_fix_ms: int,
    now_s: float,
) -> Cursor:
    """A cursor from the journal.

    Its young gaps count as just opened, since units now send again. One that had held the watermark back for its time
    stays given up: what lay in it was said to be processed, no unit keeps it, and the watermark would go back.
    """
    now_ms = round(now_s * 1000)
    given_up_ms = last_fix_ms - round(GAP_PATIENCE_S * 1000)
    kept = tuple(Gap(first, last, at_ms if at_ms <= given_up_ms else now_ms) for first, last, at_ms in gaps)
    return Cursor(unit, boot_id, highest, kept, last_fix_ms)


def _plausible(fix_ms: int, now_ms: int) -> int:
    """A fix time from the future must not make a later restart of the unit look like a repeat."""
    return min(fix_ms, now_ms + round(FUTURE_TOLERANCE_S * 1000))


def _started(unit: str, boot_id: str | None, seq: int, last_fix_ms: int, now_ms: int) -> Cursor:
    """A new cursor; everything below the first seq is a gap, so a backlog sent after live fixes is new."""
    below = (Gap(0, seq - 1, now_ms),) if seq > 0 else ()
    return Cursor(unit, boot_id, seq, below, last_fix_ms)


def _advanced(cursor: Cursor, seq: int, last_fix_ms: int, now_ms: int) -> Cursor:
    gaps = cursor.gaps
    if seq > cursor.highest + 1:
        gaps = _bounded((*gaps, Gap(cursor.highest + 1, seq - 1, now_ms)), cursor.boot_id)
    return Cursor(cursor.unit, cursor.boot_id, seq, gaps, last_fix_ms)


def _without(gaps: tuple[Gap, ...], seq: int) -> tuple[Gap, ...] | None:
    """The gaps once `seq` is seen, or None if it lies in none."""
    for index, gap in enumerate(gaps):
        if gap.first <= seq <= gap.last:
            left = (replace(gap, last=seq - 1),) if gap.first < seq else ()
            right = (replace(gap, first=seq + 1),) if seq < gap.last else ()
            return gaps[:index] + left + right + gaps[index + 1 :]
    return None


def _bounded(gaps: tuple[Gap, ...], boot_id: str | None) -> tuple[Gap, ...]:
    if len(gaps) <= MAX_GAPS:
        return gaps
    if boot_id == BY_TIME:
        return (replace(gaps[1], first=gaps[0].first), *gaps[2:])
    oldest = min(range(len(gaps)), key=lambda index: gaps[index].since_ms)
    return gaps[:oldest] + gaps[oldest + 1 :]
