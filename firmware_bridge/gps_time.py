"""GPS time of week to UTC, from whatever a stream says about weeks, dates and leap seconds.

Older u-blox messages carry only milliseconds of the week. What they lack comes from other messages of the
same stream, leap seconds at last from a table by date (design/firmware-bridge.md section 3).
"""

from __future__ import annotations

import datetime

WEEK_MS = 604_800_000
DAY_MS = 86_400_000
GPS_START_MS = 315_964_800_000
"""6 January 1980, when GPS time and UTC agreed, UTC milliseconds since 1970."""
FIRST_YEAR, LAST_YEAR = 1980, 2068
"""Years a GNSS date can have: GPS time began in 1980, and the two digits of RMC are read as 1969 to 2068."""
MAX_LEAP_S = 60
"""More than GPS and UTC can differ by in the life of this program; now it is 18 s."""

_UNIX_DAY = datetime.date(1970, 1, 1)
_LEAP_DATES = (
    *((1981, 7), (1982, 7), (1983, 7), (1985, 7), (1988, 1), (1990, 1), (1991, 1), (1992, 7), (1993, 7)),
    *((1994, 7), (1996, 1), (1997, 7), (1999, 1), (2006, 1), (2009, 1), (2012, 7), (2015, 7), (2017, 1)),
)
"""Months that began one second late since GPS time began (IERS Bulletin C)."""


def utc_ms(day: datetime.date, time_of_day_ms: int) -> int:
    """UTC milliseconds since 1970."""
    return (day - _UNIX_DAY).days * DAY_MS + time_of_day_ms


_LEAPS_MS = tuple(utc_ms(datetime.date(year, month, 1), 0) for year, month in _LEAP_DATES)


def leap_s_at(moment_ms: int) -> int:
    """Seconds by which GPS time is ahead of UTC at a moment, UTC milliseconds."""
    return sum(moment_ms >= leap_ms for leap_ms in _LEAPS_MS)


def gps_to_utc_ms(week: int, itow_ms: int, leap_s: int | None = None) -> int:
    """UTC of a GPS week and time of week; without `leap_s` the leap seconds are those of the date."""
    gps_ms = GPS_START_MS + week * WEEK_MS + itow_ms
    if leap_s is None:
        leap_s = leap_s_at(gps_ms)
        leap_s = leap_s_at(gps_ms - leap_s * 1000)  # the last seconds before a leap second
    return gps_ms - leap_s * 1000


class GpsClock:
    """Turns times of week into UTC with what was learned last; the best source wins.

    A frame that states UTC beside its time of week settles it for good. Else a week number, else any UTC of the
    same stream from which the week is known, with leap seconds as stated, or by date.
    """

    def __init__(self) -> None:
        self._shift_ms: int | None = None
        self._leap_s: int | None = None
        self._near_ms: int | None = None

    def learn_pair(self, itow_ms: int, stated_utc_ms: int) -> None:
        """A frame stated both."""
        self._shift_ms = stated_utc_ms - itow_ms
        self._near_ms = stated_utc_ms

    def learn_leap(self, leap_s: int) -> None:
        """The receiver stated by how much GPS is ahead."""
        if 0 <= leap_s <= MAX_LEAP_S:
            self._leap_s = leap_s

    def learn_week(self, week: int, itow_ms: int) -> None:
        """A frame stated its week."""
        if self._shift_ms is None:
            self._near_ms = gps_to_utc_ms(week, itow_ms, self._leap_s)

    def learn_utc(self, near_ms: int) -> None:
        """Some UTC of this stream, within three days of what comes next."""
        if self._shift_ms is None:
            self._near_ms = near_ms

    def utc_ms(self, itow_ms: int) -> int | None:
        """UTC milliseconds of a time of week; None as long as the week is unknown."""
        if self._near_ms is None:
            return None
        if self._shift_ms is not None:
            found_ms = _nearest(itow_ms + self._shift_ms, self._near_ms)
        else:
            leap_s = leap_s_at(self._near_ms) if self._leap_s is None else self._leap_s
            found_ms = _nearest(GPS_START_MS + itow_ms - leap_s * 1000, self._near_ms)
        self._near_ms = found_ms
        return found_ms


def _nearest(moment_ms: int, near_ms: int) -> int:
    """The moment, moved by whole weeks, that is nearest to another."""
    return moment_ms + round((near_ms - moment_ms) / WEEK_MS) * WEEK_MS
