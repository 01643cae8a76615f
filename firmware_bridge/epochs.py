"""One report for each time stamp out of several sentences and frames.

A receiver spreads one fix over several sentences, and over two protocols where it speaks both; `Epochs` joins
what belongs to one time, lets the worse evidence win, puts the date to it, and passes the fix gate.
"""

from __future__ import annotations

import datetime
from collections import deque
from dataclasses import dataclass, field
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
from firmware_bridge.gps_time import DAY_MS, GpsClock, utc_ms
from firmware_bridge.messages import Event, PositionReport, Refusal

SILENCE_S = 0.1
"""A live epoch is complete after this silence: waiting for the next one would cost a second of the budget."""
ROLLOVER_MS = DAY_MS // 2
"""Time of day that falls back by more than this without a new date has passed midnight."""
SAME_MS = 10
"""NMEA and UBX times that are not further apart are one epoch."""
SAME_SENTENCES_MS = 9
"""The same within NMEA: a Magellan 315 writes 24.758 in one sentence and 24.76 in the next, whereas the 43.990 and
44.000 of an SL869 are two epochs. No receiver is faster than 100 Hz."""
MAX_SENTENCES = 32
"""Sentences kept for one epoch; a full multi-constellation cycle has about 20."""
RECENT_EPOCHS = 4
"""Emitted times remembered, so that a late sentence makes no second report."""

_UBX = ("NAV-HPPOSLLH", "NAV-PVT", "HNR-PVT", "NAV-POSLLH", "NAV-SOL", "NAV-POSECEF")
_POSITION_RANK = {kind: rank for rank, kind in enumerate((*_UBX, "GGA", "GNS", "RMC", "PUBX", "GLL"))}
_SPEEDS = ("NAV-PVT", "HNR-PVT", "NAV-VELNED", "NAV-SOL", "RMC", "PUBX", "VTG")
_SPEED_RANK = {kind: rank for rank, kind in enumerate(_SPEEDS)}
_FOLLOWERS = frozenset({"GST"})
"""Carry a time, but never open an epoch: they hold no position."""
_NOTES = frozenset({"ZDA", "NAV-TIMEUTC", "NAV-TIMEGPS", "NAV-EOE"})
"""Say only what time it is, or that the epoch is over."""


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one sentence or frame says; None = it does not say."""

    kind: str
    """Sentence type without talker, such as `RMC`, or name of the frame, such as `NAV-PVT`."""
    time_of_day_ms: int | None = None
    """Of a sentence, UTC."""
    date: datetime.date | None = None
    itow_ms: int | None = None
    """Of every frame: GPS time of week."""
    utc_ms: int | None = None
    """UTC that a frame states beside its time of week, milliseconds since 1970."""
    week: int | None = None
    """GPS week."""
    leap_s: int | None = None
    """Seconds by which GPS is ahead of UTC."""
    latitude: float | None = None
    longitude: float | None = None
    """WGS 84 degrees; both or none."""
    speed_mps: float | None = None
    heading_deg: float | None = None
    evidence: Evidence | None = None
    nav_mode: int | None = None
    """1 no fix, 2 two-dimensional, 3 three-dimensional."""
    satellites: int | None = None
    """Used for the fix."""
    hdop: float | None = None
    accuracy_m: float | None = None
    """95 % radius."""


@dataclass
class _Epoch:
    """One time stamp, of sentences, of frames or of both."""

    nmea_ms: int | None = None
    """Time of day of its sentences."""
    itow_ms: int | None = None
    """Time of week of its frames."""
    gps_utc_ms: int | None = None
    """The same as UTC, as was known when its own frames came; None = not known yet."""
    date: tuple[datetime.date, int] | None = None
    """Newest date and its time of day when the epoch began."""
    seen: list[Observation] = field(default_factory=list)

    def takes(self, seen: Observation, gps_utc_ms: int | None) -> bool:
        """Whether the observation belongs here.

        Args:
            seen: With a time.
            gps_utc_ms: UTC of its time of week.
        """
        if seen.itow_ms is None:
            if self.nmea_ms is not None:
                return _near(seen.time_of_day_ms, self.nmea_ms, SAME_SENTENCES_MS)
            return _near(seen.time_of_day_ms, self.gps_utc_ms)
        return seen.itow_ms == self.itow_ms or (self.itow_ms is None and _near(gps_utc_ms, self.nmea_ms))

    def stamp(self, seen: Observation, gps_utc_ms: int | None) -> None:
        """Note the time of an observation it takes."""
        if seen.itow_ms is None:
            self.nmea_ms = seen.time_of_day_ms if self.nmea_ms is None else self.nmea_ms
        else:
            self.itow_ms, self.gps_utc_ms = seen.itow_ms, gps_utc_ms


class Epochs:
    """Joins observations to reports.

    A file is closed by the next time stamp only. A live stream (`live`) also by `SILENCE_S` without bytes, by
    the sentence that closed the last two cycles, and by the end-of-epoch frame of a receiver without sentences.
    """

    def __init__(self, *, live: bool = False) -> None:
        self._live = live
        self._open: _Epoch | None = None
        self._waiting: list[Observation] = []
        self._date: tuple[datetime.date, int] | None = None
        self._gps = GpsClock()
        self._has_sentences = False
        self._recent: deque[_Epoch] = deque(maxlen=RECENT_EPOCHS)
        self._reported_ms: deque[int] = deque(maxlen=RECENT_EPOCHS)
        self._last_closers: deque[tuple[str, int]] = deque(maxlen=2)
        self._heard_s = float("-inf")
        self._after_pause = False
        self.late = 0
        """Sentences and frames that came after their epoch was reported; dropped."""

    def add(self, seen: Observation, now_s: float = 0.0) -> list[Event]:
        """Take one observation; `now_s` (monotonic) matters for a live stream only."""
        self.heard(now_s)
        self._learn(seen)
        if seen.kind in _NOTES:
            return self._note(seen)
        if seen.time_of_day_ms is None and seen.itow_ms is None:
            return self._add_untimed(seen)
        gps_utc_ms = None if seen.itow_ms is None else self._gps.utc_ms(seen.itow_ms)
        if self._open is not None and self._open.takes(seen, gps_utc_ms):
            self._open.stamp(seen, gps_utc_ms)
            return self._merge(seen)
        if any(past.takes(seen, gps_utc_ms) for past in self._recent):
            self._drop_late()
            return []
        if seen.kind in _FOLLOWERS:
            return []
        closed = self._close(learn=True)
        self._open = _Epoch(date=self._date, seen=self._waiting)
        self._open.stamp(seen, gps_utc_ms)
        self._waiting, self._after_pause = [], False
        return closed + self._merge(seen)

    def heard(self, now_s: float) -> None:
        """Bytes arrived, whatever they were: the line is not silent."""
        self._after_pause |= now_s - self._heard_s >= SILENCE_S
        self._heard_s = now_s

    def due_s(self) -> float | None:
        """When `tick` has something to do, monotonic; None = nothing is waiting."""
        return None if self._open is None or not self._live else self._heard_s + SILENCE_S

    def tick(self, now_s: float) -> list[Event]:
        """Close the open epoch of a live stream once the line has fallen silent."""
        due_s = self.due_s()
        return self._close(learn=True) if due_s is not None and now_s >= due_s else []

    def end(self) -> list[Event]:
        """Close what is open: the stream has ended."""
        return self._close(learn=False)

    def _learn(self, seen: Observation) -> None:
        """What it says about the time of all that follows."""
        if seen.leap_s is not None:
            self._gps.learn_leap(seen.leap_s)
        if seen.itow_ms is None:
            self._has_sentences = True
            if seen.date is not None and seen.time_of_day_ms is not None:
                self._gps.learn_utc(utc_ms(seen.date, seen.time_of_day_ms))
        elif seen.utc_ms is not None:
            self._gps.learn_pair(seen.itow_ms, seen.utc_ms)
        elif seen.week is not None:
            self._gps.learn_week(seen.week, seen.itow_ms)
        opened = self._open
        if opened is None or opened.itow_ms is None:
            return
        # What a later epoch states changes nothing here, unless nothing at all was known.
        if opened.itow_ms == seen.itow_ms or opened.gps_utc_ms is None:
            opened.gps_utc_ms = self._gps.utc_ms(opened.itow_ms)

    def _note(self, seen: Observation) -> list[Event]:
        if seen.kind == "ZDA" and seen.date is not None and seen.time_of_day_ms is not None:
            self._date = (seen.date, seen.time_of_day_ms)
            if self._open is not None and _near(seen.time_of_day_ms, self._open.nmea_ms, SAME_SENTENCES_MS):
                self._open.date = self._date
        is_over = seen.kind == "NAV-EOE" and self._open is not None and self._open.itow_ms == seen.itow_ms
        # Sentences of the same epoch may come behind: these are waited for, as they may say that it is no fix.
        return self._close(learn=False) if is_over and self._live and not self._has_sentences else []

    def _add_untimed(self, seen: Observation) -> list[Event]:
        """VTG and GSA carry no time: they belong to the open epoch, else to the one that follows a pause."""
        if self._open is not None:
            return self._merge(seen)
        if self._live and self._recent and not self._after_pause:
            self._drop_late()
        elif len(self._waiting) < MAX_SENTENCES:
            self._waiting.append(seen)
        return []

    def _merge(self, seen: Observation) -> list[Event]:
        assert self._open is not None
        if len(self._open.seen) < MAX_SENTENCES:
            self._open.seen.append(seen)
        if self._live and self._closes_cycle(self._open):
            return self._close(learn=True)
        return []

    def _closes_cycle(self, opened: _Epoch) -> bool:
        return (
            len(self._last_closers) == 2
            and self._last_closers[0] == self._last_closers[1]
            and _closer(opened.seen) == self._last_closers[0]
        )

    def _drop_late(self) -> None:
        self.late += 1
        self._last_closers.clear()  # the cycle is longer than learned: learn it anew

    def _close(self, *, learn: bool) -> list[Event]:
        opened, self._open = self._open, None
        if opened is None:
            return []
        if learn and opened.seen:
            self._last_closers.append(_closer(opened.seen))
        seen, opened.seen = opened.seen, []
        self._recent.append(opened)
        event = join(seen, self._dated_ms(opened, seen))
        if isinstance(event, PositionReport):
            assert event.fix_time_ms is not None
            if event.fix_time_ms in self._reported_ms:  # the second after a leap second has the same name
                self._drop_late()
                return []
            self._reported_ms.append(event.fix_time_ms)
        return [event] if event else []

    def _dated_ms(self, opened: _Epoch, seen: list[Observation]) -> int | None:
        """UTC of an epoch that is closed; its date is remembered."""
        stated_ms = opened.gps_utc_ms
        if stated_ms is not None:
            self._date = (datetime.date(1970, 1, 1) + datetime.timedelta(stated_ms // DAY_MS), stated_ms % DAY_MS)
            return stated_ms
        own_date = _last(seen, "date")
        if opened.nmea_ms is None:
            return None
        day = own_date or _carried_date(opened.date, opened.nmea_ms)
        if day is None:
            return None
        if own_date or self._date is opened.date:
            self._date = (day, opened.nmea_ms)
        self._gps.learn_utc(utc_ms(day, opened.nmea_ms))
        return utc_ms(day, opened.nmea_ms)


def join(seen: list[Observation], fix_time_ms: int | None) -> Event | None:
    """One report out of the observations of one time stamp, in the order they came.

    Returns:
        The report; a refusal (`simulated`, `manual`, `zero_satellites`, `no_date`, `bad_position`); or None
        where the receiver claims no fix or gave no position.
    """
    position = _best(seen, _POSITION_RANK, "latitude")
    evidence = [one.evidence for one in seen if one.evidence is not None]
    # The most: a GGA of a Furuno GT-88 counts those of GPS only, which may be none, and the GNS beside it all.
    satellites = max((one.satellites for one in seen if one.satellites is not None), default=None)
    verdict = judge(evidence, _nav_mode(seen), satellites)
    if verdict is Verdict.NO_FIX or (position is None and verdict.is_fix):
        return None
    if not verdict.is_fix:
        return Refusal(verdict.value, f"epoch: {_WHY[verdict]}")
    assert position is not None and position.latitude is not None and position.longitude is not None
    if fault := position_fault(position.latitude, position.longitude):
        return Refusal("bad_position", fault)
    if fix_time_ms is None:
        return Refusal("no_date", "epoch: expected a date before or with the first position, from RMC, ZDA or a frame")
    motion = _best(seen, _SPEED_RANK, "speed_mps")
    speed_mps = motion.speed_mps if motion else None
    heading_deg = motion.heading_deg if motion else None
    hdop = _last(seen, "hdop")
    return PositionReport(
        latitude=position.latitude,
        longitude=position.longitude,
        fix_time_ms=fix_time_ms,
        accuracy=accuracy_m(_stated_accuracy_m(position, seen), hdop, verdict.value),
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


def _nav_mode(seen: list[Observation]) -> int | None:
    """The worse of sentences and frames; of the sentences the best, as each speaks for one constellation."""
    of_sentences = [one.nav_mode for one in seen if one.nav_mode is not None and one.itow_ms is None]
    of_frames = [one.nav_mode for one in seen if one.nav_mode is not None and one.itow_ms is not None]
    return min([max(of_sentences), *of_frames] if of_sentences else of_frames, default=None)


def _stated_accuracy_m(position: Observation, seen: list[Observation]) -> float | None:
    """Of the position itself, else the last one stated."""
    stated_m: float | None = _last(seen, "accuracy_m") if position.accuracy_m is None else position.accuracy_m
    return stated_m


def _closer(seen: list[Observation]) -> tuple[str, int]:
    """The last sentence and its number among its kind: with several GSA only the last one closes."""
    kind = seen[-1].kind
    return kind, sum(one.kind == kind for one in seen)


def _near(first_ms: int | None, second_ms: int | None, same_ms: int = SAME_MS) -> bool:
    """Whether two times are one epoch by their time of day; midnight may lie between."""
    if first_ms is None or second_ms is None:
        return False
    apart_ms = (first_ms - second_ms) % DAY_MS
    return min(apart_ms, DAY_MS - apart_ms) <= same_ms


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
