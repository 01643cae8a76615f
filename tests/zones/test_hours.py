"""Open or closed by the local clock: what an office's sign says, on the days on which clocks and lists err."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zones.hours import LOCAL, OpeningHours, easter_sunday, swiss_holidays

WORKDAYS = "Mo-Fr 05:00-22:00; PH off"
NIGHT_BAN = "Mo-Sa 05:00-22:00; Su,PH off"
OVERNIGHT = "Mo-Fr 22:00-05:00; PH off"


def utc_s(text: str) -> float:
    """Seconds of a moment given as UTC, `2026-10-25 00:30`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def local_s(text: str) -> float:
    """Seconds of a moment given by the local clock; the first of two."""
    return datetime.fromisoformat(text).replace(tzinfo=LOCAL).timestamp()


@pytest.mark.parametrize(
    ("text", "at", "is_open"),
    [
        (None, "2026-01-01 03:00", True),
        ("24/7", "2026-12-25 12:00", True),
        ("off", "2026-06-02 12:00", False),
        # edges: open from the first minute on, closed from the last
        (WORKDAYS, "2026-06-02 04:59:59", False),
        (WORKDAYS, "2026-06-02 05:00", True),
        (WORKDAYS, "2026-06-02 21:59:59", True),
        (WORKDAYS, "2026-06-02 22:00", False),
        (WORKDAYS, "2026-06-06 12:00", False),
        # the night ban, 22 to 5, and Sundays
        (NIGHT_BAN, "2026-06-06 12:00", True),
        (NIGHT_BAN, "2026-06-07 12:00", False),
        (NIGHT_BAN, "2026-06-08 04:59", False),
        (NIGHT_BAN, "2026-06-08 05:00", True),
        # the eight holidays, and their neighbours
        (WORKDAYS, "2026-01-01 12:00", False),
        (WORKDAYS, "2026-01-02 12:00", True),
        (WORKDAYS, "2026-04-02 12:00", True),
        (WORKDAYS, "2026-04-03 12:00", False),
        (WORKDAYS, "2026-04-06 12:00", False),
        (WORKDAYS, "2026-04-07 05:00", True),
        (WORKDAYS, "2026-05-14 12:00", False),
        (WORKDAYS, "2026-05-25 12:00", False),
        (NIGHT_BAN, "2026-08-01 12:00", False),
        (WORKDAYS, "2025-08-01 12:00", False),
        (WORKDAYS, "2025-12-25 12:00", False),
        (WORKDAYS, "2025-12-26 12:00", False),
        (WORKDAYS, "2026-05-01 12:00", True),
        (WORKDAYS, "2025-10-03 12:00", True),
        # holidays with hours of their own, alone and with weekdays
        ("Mo-Fr 05:00-22:00; Sa,PH 08:00-12:00", "2026-04-06 11:59", True),
        ("Mo-Fr 05:00-22:00; Sa,PH 08:00-12:00", "2026-04-06 12:00", False),
        ("Mo-Fr 05:00-22:00; PH,Sa 08:00-12:00", "2026-04-11 09:00", True),
        ("Mo-Fr 05:00-22:00; PH,Sa 08:00-12:00", "2026-04-07 13:00", True),
        ("PH 10:00-12:00", "2026-04-07 11:00", False),
        ("Mo-Fr 05:00-22:00; Dec PH off", "2025-12-25 12:00", False),
        ("Mo-Fr 05:00-22:00; Dec PH off", "2026-01-01 12:00", True),
        # over midnight, into and out of a holiday
        (OVERNIGHT, "2026-06-02 23:00", True),
        (OVERNIGHT, "2026-06-03 04:59", True),
        (OVERNIGHT, "2026-06-06 04:59", True),
        (OVERNIGHT, "2026-06-06 23:00", False),
        (OVERNIGHT, "2026-05-14 23:00", False),
        (OVERNIGHT, "2026-05-14 03:00", False),
        (OVERNIGHT, "2026-05-15 03:00", True),
        (OVERNIGHT, "2026-05-15 23:00", True),
        ("PH 22:00-05:00", "2026-04-07 03:00", True),
        ("PH 22:00-05:00", "2026-04-06 03:00", False),
        ("PH 22:00-05:00", "2025-12-26 03:00", True),
        ("PH 22:00-05:00", "2025-12-27 03:00", True),
        # a canton's own holidays: Basel's 1 May, Ticino's St Joseph and Corpus Christi, Valais on Easter Monday
        ("Mo-Fr 05:00-22:00; PH off; May 1 off", "2026-05-01 12:00", False),
        ("Mo-Fr 05:00-22:00; PH off; Mar 19 off; easter +60 days off", "2026-03-19 12:00", False),
        ("Mo-Fr 05:00-22:00; PH off; Mar 19 off; easter +60 days off", "2026-06-04 12:00", False),
        ("Mo-Fr 05:00-22:00; PH off; easter +1 day 05:00-22:00", "2026-04-06 12:00", True),
        # what is not known is not open
        ("Mo-Fr 05:00-22:00 unknown", "2026-06-02 12:00", False),
        ('Mo-Fr 05:00-22:00 "not on PH, ask"', "2026-04-06 12:00", True),
    ],
)
def test_open_or_closed(text, at, is_open):
    assert OpeningHours.parse(text).is_open(local_s(at)) is is_open


@pytest.mark.parametrize(
    ("text", "at_utc", "is_open"),
    [
        # winter and summer: 05:00 is 04:00 or 03:00 UTC
        (WORKDAYS, "2026-01-05 03:59", False),
        (WORKDAYS, "2026-01-05 04:00", True),
        (WORKDAYS, "2026-07-06 02:59", False),
        (WORKDAYS, "2026-07-06 03:00", True),
        # 25 October 2026: 02:00 to 03:00 comes twice, 00:00 to 01:00 and 01:00 to 02:00 UTC
        ("02:15-02:45", "2026-10-25 00:14", False),
        ("02:15-02:45", "2026-10-25 00:15", True),
        ("02:15-02:45", "2026-10-25 00:45", False),
        ("02:15-02:45", "2026-10-25 01:15", True),
        ("02:15-02:45", "2026-10-25 01:45", False),
        ("22:00-05:00", "2026-10-25 03:59", True),
        ("22:00-05:00", "2026-10-25 04:00", False),
        # 29 March 2026: 02:00 to 03:00 is missing, 03:00 is 01:00 UTC
        ("02:15-02:45", "2026-03-29 00:59", False),
        ("02:15-02:45", "2026-03-29 01:00", False),
        ("02:15-05:00", "2026-03-29 00:59", False),
        ("02:15-05:00", "2026-03-29 01:00", True),
        ("02:15-05:00", "2026-03-29 03:00", False),
        ("22:00-05:00", "2026-03-29 02:59", True),
        ("22:00-05:00", "2026-03-29 03:00", False),
    ],
)
def test_the_clock_changes(text, at_utc, is_open):
    assert OpeningHours.parse(text).is_open(utc_s(at_utc)) is is_open


@pytest.mark.parametrize(
    ("text", "at_utc", "change_utc"),
    [
        (WORKDAYS, "2026-04-02 10:00", "2026-04-02 20:00"),
        (WORKDAYS, "2026-04-02 20:00", "2026-04-07 03:00"),
        (WORKDAYS, "2026-04-07 03:00", "2026-04-07 20:00"),
        ("02:15-02:45", "2026-10-25 00:20", "2026-10-25 00:45"),
        ("02:15-02:45", "2026-10-25 00:45", "2026-10-25 01:15"),
        ("01:00-02:30", "2026-10-25 00:40", "2026-10-25 01:00"),
        ("02:15-05:00", "2026-03-28 12:00", "2026-03-29 01:00"),
        ("02:15-02:45", "2026-03-29 00:30", "2026-03-30 00:15"),
        ("Dec 24 08:00-12:00", "2026-12-24 11:00", "2027-12-24 07:00"),
        ("Mo-Fr 22:00-05:00; Fr off", "2026-06-04 20:30", "2026-06-04 22:00"),
        ("24/7", "2026-06-02 12:00", None),
        ("2020-2021 Mo-Fr 05:00-22:00", "2026-06-02 12:00", None),
    ],
)
def test_next_change(text, at_utc, change_utc):
    expected = None if change_utc is None else utc_s(change_utc)
    assert OpeningHours.parse(text).next_change_s(utc_s(at_utc)) == expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Mo-Fr 25:00-26:00", r"cannot be read from '25:00-26:00' on \(character 7\)"),
        ("Mo-Fr 05:00", r"ends too early \(character 12\)"),
        ("Mon-Fri 05:00-22:00", r"from 'n-Fri 05:00-22:00' on \(character 3\)"),
        ("Mo-Fr 05:00–22:00", "cannot be read from"),
        ("closed on Sundays", "cannot be read from"),
        ("Mo-Fr 05:00-22:00;PH,Dec 24 off", "cannot be read from"),
        ("", "nothing is there"),
        ("   ", "nothing is there"),
        ("2026-2020 off", "Inverted year"),
        ("Feb 30 off", r"no such day \(character 1: 'Feb 30'\)"),
        ("24/7; apr 28-31 off", r"no such day \(character 7"),
        ("PH +1 day off", "offset"),
        ("Mo-Fr 08:00-12:00; Sa PH off", r"by a comma, e\.g\. Sa,PH \(character 20: 'Sa PH'\)"),
        ("PH Mo-Fr off", "by a comma"),
        ("Mo-Fr 08:00-12:00; SH off", "school holidays"),
        ("sunrise-sunset", "by the sun"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_what_and_where(text, what):
    with pytest.raises(ValueError, match=what):
        OpeningHours.parse(text)


@pytest.mark.parametrize("text", ["Feb 29 off", "Jan-Mar 10:00-12:00", "Jan 10:00-12:00", "2026 Feb 20 off"])
def test_days_that_are_none_or_rare_are_read(text):
    assert OpeningHours.parse(text).text == text


@pytest.mark.parametrize(
    ("year", "day"),
    [(1818, "03-22"), (1943, "04-25"), (2008, "03-23"), (2024, "03-31"), (2026, "04-05"), (2038, "04-25")],
)
def test_easter(year, day):
    assert easter_sunday(year).isoformat() == f"{year}-{day}"


@given(st.integers(1900, 2999))
def test_easter_is_a_sunday_in_its_five_weeks_and_the_holidays_are_eight(year):
    easter = easter_sunday(year)
    assert easter.weekday() == 6
    assert date(year, 3, 22) <= easter <= date(year, 4, 25)
    assert len(swiss_holidays(year)) == 8
    assert all(day.year == year for day in swiss_holidays(year))


moments = st.floats(utc_s("2000-01-01"), utc_s("2080-01-01"))
clock = st.integers(0, 24 * 4).map(lambda quarters: f"{quarters // 4:02}:{quarters % 4 * 15:02}")
spans = st.tuples(clock, clock).map("-".join).filter(lambda span: not span.startswith("24"))
days = st.sampled_from(["Mo-Fr", "Mo-Sa", "Su", "PH", "Sa,PH", "PH,Su", "Mo,We", "Dec 24", "Jun-Aug", "Fr-Mo"])
rules = st.one_of(st.builds("{} {}".format, days, spans), st.builds("{} off".format, days), spans)
texts = st.lists(rules, min_size=1, max_size=4).map("; ".join)


@settings(max_examples=150)
@given(texts, moments)
def test_until_the_next_change_nothing_changes(text, at_s):
    hours = OpeningHours.parse(text)
    change_s = hours.next_change_s(at_s)
    end_s = at_s + 30 * 86_400.0 if change_s is None else change_s
    now = hours.is_open(at_s)
    for share in (0.0, 0.1, 0.37, 0.5, 0.78, 0.99):
        assert hours.is_open(at_s + share * (end_s - at_s)) is now
    if change_s is not None:
        assert change_s > at_s
        assert hours.is_open(change_s) is not now
        assert change_s % 60.0 == 0.0


def sign(text_rules, local: datetime) -> bool:
    """What the sign at the door says of a weekly timetable, holidays closed: (first, last weekday, from, to)."""
    if local.date() in swiss_holidays(local.year):
        return False
    minute = local.hour * 60 + local.minute
    return any(first <= local.weekday() <= last and start <= minute < end for first, last, start, end in text_rules)


WEEK = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
timetables = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 719), st.integers(720, 1440)),
    min_size=1,
    max_size=3,
).map(lambda rows: [(min(a, b), max(a, b), start, end) for a, b, start, end in rows])


@settings(max_examples=150)
@given(timetables, moments)
def test_a_weekly_timetable_says_what_its_sign_says(timetable, at_s):
    parts = [
        f"{WEEK[first]}-{WEEK[last]} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
        for first, last, start, end in timetable
    ]
    local = datetime.fromtimestamp(at_s, LOCAL)
    assert OpeningHours.parse(", ".join(parts) + "; PH off").is_open(at_s) is sign(timetable, local)


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(["Mo", "-", "Fr", " ", "05:00", "22:00", ";", "PH", "off", ",", "Feb", "31", "[1]", '"']),
        max_size=10,
    ).map("".join)
    | st.text(max_size=30)
)
def test_any_text_is_read_or_refused(text):
    try:
        hours = OpeningHours.parse(text)
    except ValueError as error:
        assert str(error)
    else:
        moment = datetime(2026, 4, 6, 12, tzinfo=UTC)
        assert hours.is_open(moment.timestamp()) in (True, False)
        assert hours.is_open((moment + timedelta(days=1)).timestamp()) in (True, False)
