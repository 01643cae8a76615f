"""One report for each time stamp out of several sentences.

A receiver spreads one fix over several sentences; `Epochs` joins those of the same time, lets the worse
evidence win, puts the date to the time of day, and passes the fix gate.
"""

from __future__ import annotations

import datetime
from collections import deque
from typing import Any

import msgspec

from firmware_bridge.fix_gate import (
    Evidence,
    Verdict,
    accuracy_m,
    judge,
    position_fault,
    usable_heading_deg,
)
from firmware_bridge.messages import Event, PositionReport, Refusal

SILENCE_S = 0.1
"""A live epoch is complete after this silence: waiting for the next one would cost a second of the budget."""
DAY_MS = 86_400_000
ROLLOVER_MS = DAY_MS // 2
"""Time of day that falls back by more than this without a new date has passed midnight."""
MAX_SENTENCES = 32
"""Sentences kept for one epoch; a full multi-constellation cycle has about 20."""
RECENT_EPOCHS = 4
"""Emitted times remembered, so that a late sentence makes no second report."""

_UNIX_DAY = datetime.date(1970, 1, 1)
_POSITION_RANK = {"GGA": 0, "GNS": 1, "RMC": 2, "PUBX": 3, "GLL": 4}
_SPEED_RANK = {"RMC": 0, "PUBX": 1, "VTG": 2}
_FOLLOWERS = frozenset({"GST"})  # carries a time, but never opens an epoch: it holds no position


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one sentence says; None = it does not say."""

    kind: str
    """Sentence type without talker, such as `RMC`."""
    time_of_day_ms: int | None = None
    date: datetime.date | None = None
    latitude: float | None = None
    longitude: float | None = None
    """WGS 84 degrees; both or none."""
    speed_mps: float | None = None
    heading_deg: float | None = None
    evidence: Evidence | None = None
    nav_mode: int | None = None
    """1 no fix, 2 two-dimensional, 3 three-dimensional."""
    satellites: int | None = None
    hdop: float | None = None
    accuracy_m: float | None = None
    """95 % radius."""


class Epochs:
    """Joins observations to reports.

    A file is closed by the next time stamp only. A live stream (`live`) also by `SILENCE_S` without bytes
    and by the sentence that closed the last two cycles.
    """

    def __init__(self, *, live: bool = False) -> None:
        self._live = live
        self._open: list[Observation] = []
        self._waiting: list[Observation] = []
        self._open_time_ms: int | None = None
        self._open_date: tuple[datetime.date, int] | None = None
        self._date: tuple[datetime.date, int] | None = None
        self._recent: deque[int] = deque(maxlen=RECENT_EPOCHS)
        self._last_closers: deque[tuple[str, int]] = deque(maxlen=2)
        self._heard_s = float("-inf")
        self._after_pause = False
        self.late = 0
        """Sentences that came after their epoch was reported; dropped."""

    def add(self, seen: Observation, now_s: float = 0.0) -> list[Event]:
        """Take one observation; `now_s` (monotonic) matters for a live stream only."""
        self.heard(now_s)
        if seen.kind == "ZDA":
            self._note_date(seen)
            return []
        if seen.time_of_day_ms is None:
            return self._add_untimed(seen)
        if seen.time_of_day_ms == self._open_time_ms:
            return self._merge(seen)
        if seen.time_of_day_ms in self._recent:
            self._drop_late()
            return []
        if seen.kind in _FOLLOWERS:
            return []
        closed = self._close(learn=True)
        self._open_time_ms, self._open_date = seen.time_of_day_ms, self._date
        self._open, self._waiting, self._after_pause = self._waiting, [], False
        return closed + self._merge(seen)

    def heard(self, now_s: float) -> None:
        """Bytes arrived, whatever they were: the line is not silent."""
        self._after_pause |= now_s - self._heard_s >= SILENCE_S
        self._heard_s = now_s

    def due_s(self) -> float | None:
        """When `tick` has something to do, monotonic; None = nothing is waiting."""
        return None if self._open_time_ms is None or not self._live else self._heard_s + SILENCE_S

    def tick(self, now_s: float) -> list[Event]:
        """Close the open epoch of a live stream once the line has fallen silent."""
        due_s = self.due_s()
        return self._close(learn=True) if due_s is not None and now_s >= due_s else []

    def end(self) -> list[Event]:
        """Close what is open: the stream has ended."""
        return self._close(learn=False)

    def _add_untimed(self, seen: Observation) -> list[Event]:
        """VTG and GSA carry no time: they belong to the open epoch, else to the one that follows a pause."""
        if self._open_time_ms is not None:
            return self._merge(seen)
        if self._live and self._recent and not self._after_pause:
            self._drop_late()
        elif len(self._waiting) < MAX_SENTENCES:
            self._waiting.append(seen)
        return []

    def _merge(self, seen: Observation) -> list[Event]:
        if len(self._open) < MAX_SENTENCES:
            self._open.append(seen)
        if self._live and self._closes_cycle():
            return self._close(learn=True)
        return []

    def _closes_cycle(self) -> bool:
        return (
            len(self._last_closers) == 2
            and self._last_closers[0] == self._last_closers[1]
            and self._closer() == self._last_closers[0]
        )

    def _closer(self) -> tuple[str, int]:
        """The last sentence and its number among its kind: with several GSA only the last one closes."""
        kind = self._open[-1].kind
        return kind, sum(seen.kind == kind for seen in self._open)

    def _drop_late(self) -> None:
        self.late += 1
        self._last_closers.clear()  # the cycle is longer than learned: learn it anew

    def _note_date(self, seen: Observation) -> None:
        if seen.date is None or seen.time_of_day_ms is None:
            return
        self._date = (seen.date, seen.time_of_day_ms)
        if seen.time_of_day_ms == self._open_time_ms:
            self._open_date = self._date

    def _close(self, *, learn: bool) -> list[Event]:
        if self._open_time_ms is None:
            return []
        if learn and self._open:
            self._last_closers.append(self._closer())
        time_of_day_ms, seen = self._open_time_ms, self._open
        self._recent.append(time_of_day_ms)
        self._open_time_ms, self._open = None, []
        own_date = _last(seen, "date")
        day = own_date or _carried_date(self._open_date, time_of_day_ms)
        if day is not None and (own_date or self._date is self._open_date):
            self._date = (day, time_of_day_ms)
        event = join(seen, None if day is None else _utc_ms(day, time_of_day_ms))
        return [event] if event else []


def join(seen: list[Observation], fix_time_ms: int | None) -> Event | None:
    """One report out of the observations of one time stamp, in the order they came.

    Returns:
        The report; a refusal (`simulated`, `manual`, `zero_satellites`, `no_date`, `bad_position`); or None
        where the receiver claims no fix or gave no position.
    """
    position = _best(seen, _POSITION_RANK, "latitude")
    evidence = [one.evidence for one in seen if one.evidence is not None]
    nav_modes = [one.nav_mode for one in seen if one.nav_mode is not None]
    satellites = _last(seen, "satellites")
    verdict = judge(evidence, max(nav_modes, default=None), satellites)
    if verdict is Verdict.NO_FIX or (position is None and verdict.is_fix):
        return None
    if not verdict.is_fix:
        return Refusal(verdict.value, f"epoch: {_WHY[verdict]}")
    assert position is not None and position.latitude is not None and position.longitude is not None
    if fault := position_fault(position.latitude, position.longitude):
        return Refusal("bad_position", fault)
    if fix_time_ms is None:
        return Refusal("no_date", "epoch: expected a date from RMC or ZDA before or with the first position")
    motion = _best(seen, _SPEED_RANK, "speed_mps")
    speed_mps = motion.speed_mps if motion else None
    heading_deg = motion.heading_deg if motion else None
    hdop = _last(seen, "hdop")
    return PositionReport(
        latitude=position.latitude,
        longitude=position.longitude,
        fix_time_ms=fix_time_ms,
        accuracy=accuracy_m(_last(seen, "accuracy_m"), hdop, verdict.value),
        speed=speed_mps,
        heading=usable_heading_deg(heading_deg, speed_mps),
        satellites=satellites,
        hdop=hdop,
        fix_type=verdict.value,
    )


_WHY = {
    Verdict.SIMULATED: "the receiver simulates its position; expected a real one",
    Verdict.MANUAL: "the position was typed in; expected a measured one",
    Verdict.ZERO_SATELLITES: "a fix from 0 satellites; expected at least one",
}


def _last(seen: list[Observation], field: str) -> Any:
    """Value of the field in the last observation that has it."""
    return next((value for one in reversed(seen) if (value := getattr(one, field)) is not None), None)


def _best(seen: list[Observation], rank: dict[str, int], field: str) -> Observation | None:
    """The observation of the highest-ranking kind that has the field; the last one of that kind."""
    having = [one for one in reversed(seen) if one.kind in rank and getattr(one, field) is not None]
    return min(having, key=lambda one: rank[one.kind], default=None)


def _carried_date(known: tuple[datetime.date, int] | None, time_of_day_ms: int) -> datetime.date | None:
    if known is None:
        return None
    day, at_ms = known
    return day + datetime.timedelta(days=1) if at_ms - time_of_day_ms > ROLLOVER_MS else day


def _utc_ms(day: datetime.date, time_of_day_ms: int) -> int:
    return (day - _UNIX_DAY).days * DAY_MS + time_of_day_ms
