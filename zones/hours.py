"""Opening hours of a crossing: open or closed at a UTC time, by the local clock and the Swiss holidays.

Syntax: OpenStreetMap's `opening_hours`, read by the library of that name. Its own holiday calendar is not
used (for Switzerland it knows four days), so `PH` is resolved here, day by day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import opening_hours

LOCAL = ZoneInfo("Europe/Zurich")
"""Clock of every office of the customs territory; the neighbours' clocks show the same."""
ALWAYS = "24/7"
HORIZON_DAYS = 400
"""How far ahead a change is looked for: an office that opens on one day a year is found."""
MAX_CACHED = 4_096
"""Texts kept read; a text with `PH` takes up to 14 more places, one for each run of holidays."""

_DAY_S = 86_400.0
_CLOCK_CHANGE_S = 3_600.0
"""Clocks change at 01:00 UTC in all of Europe (Directive 2000/84/EC, followed by Switzerland)."""
_WEEKDAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LONGEST = dict(zip(_MONTHS, (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))

_COMMENT = re.compile(r'"[^"]*"')
_PH = re.compile(r'"[^"]*"|\bPH\b')
_MONTH_DAYS = re.compile(rf"\b({'|'.join(_MONTHS)})\s*(\d\d?)(?![\d:])(?:\s*-\s*(\d\d?)(?![\d:]))?", re.I)
_WEEKDAY = rf"(?:{'|'.join(_WEEKDAYS)})"
_NOT_READ = (
    (re.compile(r"\bPH\s*[+-]\s*\d"), "PH with an offset is not read: write the date"),
    (
        re.compile(rf"\bPH\s+{_WEEKDAY}\b|(?:\b{_WEEKDAY}|\])\s+PH\b", re.I),
        "PH beside a weekday is ambiguous: join them by a comma, e.g. Sa,PH",
    ),
    (re.compile(r"\bSH\b"), "there is no calendar of school holidays (SH): write the dates"),
    (re.compile(r"\b(?:dawn|sunrise|sunset|dusk)\b", re.I), "hours by the sun are not read: write times"),
)
"""What the library would take without a word and then answer wrongly."""


@dataclass(frozen=True)
class OpeningHours:
    """When an office is open. Built by `parse`."""

    text: str
    """As in the zone file."""

    @staticmethod
    def parse(text: str | None) -> OpeningHours:
        """Read an `opening_hours` text; None is always open.

        `PH` stands for `swiss_holidays`. A canton's own holidays are written as dates, e.g. `PH off;
        Mar 19 off; easter +60 days off`, and a holiday it does not keep as an exception, e.g. `PH off;
        easter +1 day 07:00-17:00`.

        Raises:
            ValueError: The text is wrong or says something that cannot be answered here; says what and where.
        """
        return _parsed(ALWAYS if text is None else text)

    def is_open(self, at_s: float) -> bool:
        """True if open at a UTC time (seconds since 1970), by what a wall clock shows at that moment.

        In the hour that October has twice, both passes count the same. `PH off` closes a holiday from midnight
        to midnight, as `off` does any day. `unknown` is not open.
        """
        local = _local(at_s)
        return _reader(self.text, local.date()).is_open(local)

    def next_change_s(self, at_s: float) -> float | None:
        """UTC time (seconds since 1970) of the next opening or closing after `at_s`.

        None: none within HORIZON_DAYS.
        """
        was_open = self.is_open(at_s)
        from_s = at_s
        while from_s < at_s + HORIZON_DAYS * _DAY_S:
            to_s = _end_of_stretch_s(from_s)
            change_s = self._change_s(from_s, to_s, was_open)
            if change_s is not None:
                return change_s
            from_s = to_s
        return None

    def _change_s(self, from_s: float, to_s: float, was_open: bool) -> float | None:
        """First moment of a stretch at which it is not as it was."""
        local = _local(from_s)
        reader = _reader(self.text, local.date())
        for start, _, state, _ in reader.intervals(local, local + timedelta(seconds=to_s - from_s)):
            if (state == opening_hours.State.OPEN) is not was_open:
                return float(round(from_s + max(0.0, (start - local).total_seconds())))  # whole minutes all
        return None


def swiss_holidays(year: int) -> frozenset[date]:
    """The eight holidays of the Sunday ban on lorries (road traffic rules VRV, article 91).

    26 December counts in every year, as most border cantons keep it; the ban leaves it out after a Christmas
    on a Monday or Friday. Cantons add holidays of their own, and a few do not keep all of these.
    """
    return _holidays(year)


@lru_cache(maxsize=256)
def _holidays(year: int) -> frozenset[date]:
    easter = easter_sunday(year)
    moving = (-2, 1, 39, 50)  # Good Friday, Easter Monday, Ascension, Whit Monday
    fixed = ((1, 1), (8, 1), (12, 25), (12, 26))
    return frozenset(
        [easter + timedelta(days=days) for days in moving] + [date(year, month, day) for month, day in fixed]
    )


def easter_sunday(year: int) -> date:
    """Easter of the Gregorian calendar (Meeus, Astronomical Algorithms, chapter 8)."""
    century, of_century = divmod(year, 100)
    golden = year % 19
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - century // 4 - correction + 15) % 30
    to_sunday = (32 + 2 * (century % 4) + 2 * (of_century // 4) - epact - of_century % 4) % 7
    late = (golden + 11 * epact + 22 * to_sunday) // 451
    month, day = divmod(epact + to_sunday - 7 * late + 114, 31)
    return date(year, month, day + 1)


@lru_cache(maxsize=MAX_CACHED)
def _parsed(text: str) -> OpeningHours:
    plain = _COMMENT.sub(lambda found: " " * len(found[0]), text)
    for pattern, reason in _NOT_READ:
        if found := pattern.search(plain):
            raise ValueError(f"{reason} (character {found.start() + 1}: {found[0]!r})")
    for found in _MONTH_DAYS.finditer(plain):
        _check_days(found)
    if not text.strip():
        raise ValueError("nothing is there: expected e.g. Mo-Fr 05:00-22:00; PH off")
    try:
        _read(text)
    except opening_hours.ParserError as error:  # type: ignore[attr-defined]  # missing in its stubs
        raise ValueError(_words(str(error), text)) from None
    return OpeningHours(text)


def _check_days(found: re.Match[str]) -> None:
    """The library takes 30 February and then opens on every day."""
    month, days = found[1].capitalize(), [int(day) for day in found.groups()[1:] if day]
    if not all(1 <= day <= _LONGEST[month] for day in days):
        raise ValueError(f"there is no such day (character {found.start() + 1}: {found[0]!r})")


def _words(message: str, text: str) -> str:
    """The library's message without its grammar: where it stopped, or its own sentence."""
    at = re.search(r"--> \d+:(\d+)", message)
    if at is None:
        return message.removeprefix("Failed to parse expression:").strip()
    rest = text[int(at[1]) - 1 :]
    what = f"cannot be read from {rest[:20]!r} on" if rest else "ends too early"
    return f"{what} (character {at[1]}): expected e.g. Mo-Fr 05:00-22:00; PH off"


def _local(at_s: float) -> datetime:
    """What a wall clock shows; without offset, as the library is to read it."""
    return datetime.fromtimestamp(at_s, LOCAL).replace(tzinfo=None)


def _end_of_stretch_s(from_s: float) -> float:
    """End of the stretch in which the local clock runs evenly and one reader holds: midnight, or 01:00 UTC."""
    tomorrow = datetime.fromtimestamp(from_s, LOCAL).date() + timedelta(days=1)
    midnight_s = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=LOCAL).timestamp()
    clock_change_s = ((from_s - _CLOCK_CHANGE_S) // _DAY_S + 1.0) * _DAY_S + _CLOCK_CHANGE_S
    return min(midnight_s, clock_change_s)


def _reader(text: str, day: date) -> opening_hours.OpeningHours:
    """The library's reading of a text, right for one day.

    Hours of a day may reach into the next, so the day before counts as well. `PH` stands where a weekday may
    stand: it becomes the weekdays of those of the two days that are holidays, and matches nothing if none is.
    """
    if "PH" not in text:
        return _read(text)
    both = (day - timedelta(days=1), day)
    names = [_WEEKDAYS[each.weekday()] for each in both if each in _holidays(each.year)]
    return _read_with(text, ",".join(names)) if names else _read(text)


@lru_cache(maxsize=MAX_CACHED)
def _read_with(text: str, holidays: str) -> opening_hours.OpeningHours:
    return _read(_PH.sub(lambda found: found[0] if found[0].startswith('"') else holidays, text))


@lru_cache(maxsize=MAX_CACHED)
def _read(text: str) -> opening_hours.OpeningHours:
    """Without country or place: no calendar of the library's, and the times as on a wall clock."""
    return opening_hours.OpeningHours(text, auto_country=False, auto_timezone=False)


__all__ = ["ALWAYS", "LOCAL", "OpeningHours", "easter_sunday", "swiss_holidays"]
