"""Guarded decoding of NMEA 0183 sentences.

The fields come from pynmeagps, but what it accepts silently is checked here: over 60,000 damaged sentences
with a right checksum it took a damaged W for east 6,776 times (design/firmware-bridge.md section 3).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

from pynmeagps import NMEAReader

from firmware_bridge.epochs import Observation
from firmware_bridge.fix_gate import GGA_QUALITIES, MAX_SPEED_MPS, NMEA_MODES, Evidence
from firmware_bridge.framing import FrameKind
from firmware_bridge.gps_time import FIRST_YEAR, LAST_YEAR
from firmware_bridge.messages import Refusal
from firmware_bridge.receiver import ReceiverDecoder

KNOT_MPS = 0.514444
KMH_MPS = 1 / 3.6
MAX_SATELLITES = 99

_WANTED = re.compile(rb"[A-Z]{2}(RMC|GGA|GNS|GLL|ZDA|GSA|GST|VTG),|PUBX,0[04],")
_STRANGE = re.compile(rb"[^0-9A-Za-z.,+\- ]")
_TIME = re.compile(r"\d{6}(\.\d{0,6})?")
_LATITUDE = re.compile(r"\d{2}[0-5]\d\.\d*")
_LONGITUDE = re.compile(r"\d{3}[0-5]\d\.\d*")
_NAV_STATUS = {
    "NF": (Evidence.NO_FIX, None),
    "DR": (Evidence.ESTIMATED, None),
    "G2": (Evidence.PLAIN, 2),
    "G3": (Evidence.PLAIN, 3),
    "D2": (Evidence.DGNSS, 2),
    "D3": (Evidence.DGNSS, 3),
    "RK": (Evidence.PLAIN, 3),
    "TT": (Evidence.ESTIMATED, None),
}
"""$PUBX,00: RK is GNSS with dead reckoning, TT time only."""


class _Unfit(Exception):  # noqa: N818 - never leaves this module
    """A field that cannot be true; the text says which, and what was expected."""


class NmeaDecoder(ReceiverDecoder):
    """A receiver that speaks NMEA; other protocols in its stream are passed over."""

    def __init__(self, *, live: bool = False, skip_header: bool = False) -> None:
        """As of `ReceiverDecoder`."""
        super().__init__({FrameKind.SENTENCE: read_sentence}, live=live, skip_header=skip_header)


def read_sentence(body: bytes) -> Observation | Refusal | None:
    """What one sentence says.

    Args:
        body: The bytes between `$` and `*`, their checksum already found right.

    Returns:
        The observation; a refusal (`decoder_fault`: the library could not read it, `bad_field`: it read
        something that cannot be true); None for types that say nothing about a position.
    """
    wanted = _WANTED.match(body)
    if wanted is None:
        return None
    kind = (wanted[1] or wanted[0][:-1]).decode()
    if _STRANGE.search(body):  # float() would read 1_0, and paired damage keeps the checksum right
        return Refusal("bad_field", f"{kind}: expected letters, digits and . , + - only", b"$" + body)
    try:
        # The checksum was checked by the framer; `*00` only satisfies the library's splitting.
        fields = NMEAReader.parse(b"$" + body + b"*00\r\n", validate=0)
    except Exception as error:  # its own kinds and whatever else damage brings about
        # Its words may quote the fields, and these hold the position: only the kind is told.
        return Refusal("decoder_fault", f"{kind}: {type(error).__name__} from the field decoder", b"$" + body)
    try:
        return _READERS[kind](fields.__dict__, fields.payload)
    except _Unfit as fault:
        return Refusal("bad_field", f"{kind}: {fault}", b"$" + body)


Fields = dict[str, Any]


def _read_rmc(fields: Fields, raw: list[str]) -> Observation:
    return Observation(
        kind="RMC",
        evidence=_status_and_mode(fields, "status"),
        time_of_day_ms=_time_of_day_ms(raw[0]),
        date=_date(fields, raw[8] if len(raw) > 8 else ""),
        speed_mps=_speed_mps(fields, "spd", KNOT_MPS),
        heading_deg=_heading_deg(fields, "cog"),
        **_position(fields, raw[2:6]),
    )


def _read_gga(fields: Fields, raw: list[str]) -> Observation:
    quality = _whole(fields, "quality", len(GGA_QUALITIES) - 1)
    if quality is None:
        raise _Unfit("quality is missing; expected 0 to 8")
    return Observation(
        kind="GGA",
        evidence=GGA_QUALITIES[quality],
        time_of_day_ms=_time_of_day_ms(raw[0]),
        satellites=_whole(fields, "numSV", MAX_SATELLITES),
        hdop=_hdop(fields),
        **_position(fields, raw[1:5]),
    )


def _read_gns(fields: Fields, raw: list[str]) -> Observation:
    modes = [_mode(letter) for letter in fields.get("posMode", "")]
    unreal = [mode for mode in modes if mode <= Evidence.MANUAL]
    return Observation(
        kind="GNS",
        # One letter for each constellation: one without a fix does not spoil the others.
        evidence=min(unreal) if unreal else max(modes, default=Evidence.NO_FIX),
        time_of_day_ms=_time_of_day_ms(raw[0]),
        satellites=_whole(fields, "numSV", MAX_SATELLITES),
        hdop=_hdop(fields),
        **_position(fields, raw[1:5]),
    )


def _read_gll(fields: Fields, raw: list[str]) -> Observation:
    return Observation(
        kind="GLL",
        evidence=_status_and_mode(fields, "status"),
        time_of_day_ms=_time_of_day_ms(raw[4] if len(raw) > 4 else ""),
        **_position(fields, raw[0:4]),
    )


def _read_zda(fields: Fields, raw: list[str]) -> Observation:
    parts = (fields.get("year", ""), fields.get("month", ""), fields.get("day", ""))
    time_of_day_ms = _time_of_day_ms(raw[0])
    if "" in parts or time_of_day_ms is None:
        return Observation(kind="ZDA")
    try:
        day = datetime.date(*parts)
    except ValueError:
        raise _Unfit("date: expected a day of the calendar") from None
    return Observation(kind="ZDA", time_of_day_ms=time_of_day_ms, date=_in_gnss_years(day))


def _read_gsa(fields: Fields, raw: list[str]) -> Observation:
    mode = _whole(fields, "navMode", 3)
    if mode == 0:
        raise _Unfit("mode is 0; expected 1 to 3")
    return Observation(kind="GSA", nav_mode=mode, satellites=sum(map(bool, raw[2:14])))


def _read_gst(fields: Fields, raw: list[str]) -> Observation:
    sigmas_m = [_number(fields, name, 0.0, 1e7) for name in ("stdLat", "stdLong")]
    radius_m = None if None in sigmas_m else 2.0 * sum(m * m for m in sigmas_m if m is not None) ** 0.5
    return Observation(kind="GST", time_of_day_ms=_time_of_day_ms(raw[0]), accuracy_m=radius_m)


def _read_vtg(fields: Fields, raw: list[str]) -> Observation:
    knots_mps = _speed_mps(fields, "sogn", KNOT_MPS)
    return Observation(
        kind="VTG",
        speed_mps=knots_mps if knots_mps is not None else _speed_mps(fields, "sogk", KMH_MPS),
        heading_deg=_heading_deg(fields, "cogt"),
    )


def _read_pubx(fields: Fields, raw: list[str]) -> Observation:
    status = _NAV_STATUS.get(fields.get("navStat", ""))
    if status is None:
        raise _Unfit(f"navigation status: expected one of {', '.join(_NAV_STATUS)}")
    sigma_m = _number(fields, "hAcc", 0.0, 1e7)
    return Observation(
        kind="PUBX",
        evidence=status[0],
        nav_mode=status[1],
        time_of_day_ms=_time_of_day_ms(raw[1]),
        speed_mps=_speed_mps(fields, "SOG", KMH_MPS),
        heading_deg=_heading_deg(fields, "COG"),
        satellites=_whole(fields, "numSVs", MAX_SATELLITES),
        hdop=_hdop(fields, "HDOP"),
        accuracy_m=None if sigma_m is None else 2.0 * sigma_m,
        **_position(fields, raw[2:6]),
    )


def _read_pubx_time(fields: Fields, raw: list[str]) -> Observation:
    time_of_day_ms = _time_of_day_ms(raw[1])
    day = _date(fields, raw[2] if len(raw) > 2 else "")
    return Observation(kind="ZDA", time_of_day_ms=time_of_day_ms, date=day)


_READERS: dict[str, Callable[[Fields, list[str]], Observation]] = {
    "RMC": _read_rmc,
    "GGA": _read_gga,
    "GNS": _read_gns,
    "GLL": _read_gll,
    "ZDA": _read_zda,
    "GSA": _read_gsa,
    "GST": _read_gst,
    "VTG": _read_vtg,
    "PUBX,00": _read_pubx,
    "PUBX,04": _read_pubx_time,
}


def _position(fields: Fields, raw: list[str]) -> dict[str, Any]:
    """Latitude and longitude, or nothing where all four fields are empty (a receiver without a fix)."""
    latitude_text, north_south, longitude_text, east_west = (raw + [""] * 4)[:4]
    if not latitude_text and not longitude_text:
        return {}
    if not _LATITUDE.fullmatch(latitude_text) or not _LONGITUDE.fullmatch(longitude_text):
        raise _Unfit("position: expected ddmm.mm and dddmm.mm, minutes below 60")
    if north_south not in ("N", "S") or east_west not in ("E", "W"):
        raise _Unfit("hemisphere: expected N or S, and E or W")
    latitude, longitude = fields["lat"], fields["lon"]
    if not (abs(latitude) <= 90.0 and abs(longitude) <= 180.0):
        raise _Unfit("position: expected at most 90 and 180 degrees")
    return {"latitude": latitude, "longitude": longitude}


def _time_of_day_ms(raw: str) -> int | None:
    """Milliseconds since midnight, rounded, never cut: NMEA and UBX must agree on an epoch."""
    if not raw:
        return None
    hour, minute = raw[:2], raw[2:4]
    if not _TIME.fullmatch(raw) or int(hour) > 23 or int(minute) > 59 or float(raw[4:]) >= 60.0:
        raise _Unfit("time: expected hhmmss.ss")
    return (int(hour) * 60 + int(minute)) * 60_000 + round(float(raw[4:]) * 1000)


def _date(fields: Fields, raw: str) -> datetime.date | None:
    if not raw:
        return None
    day = fields.get("date")
    if not isinstance(day, datetime.date) or len(raw) != 6:
        raise _Unfit("date: expected ddmmyy")
    return _in_gnss_years(day)


def _in_gnss_years(day: datetime.date) -> datetime.date:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise _Unfit(f"date: expected a year from {FIRST_YEAR} to {LAST_YEAR}")
    return day


def _status_and_mode(fields: Fields, status: str) -> Evidence:
    letter = fields.get(status, "")
    if letter not in ("A", "V"):
        raise _Unfit("status: expected A or V")
    mode = _mode(fields["posMode"]) if fields.get("posMode") else Evidence.VALID
    return min(mode, Evidence.VALID if letter == "A" else Evidence.NO_FIX)


def _mode(letter: str) -> Evidence:
    if letter not in NMEA_MODES:
        raise _Unfit(f"mode: expected one of {''.join(NMEA_MODES)}")
    return NMEA_MODES[letter]


def _number(fields: Fields, name: str, low: float, high: float) -> float | None:
    value = fields.get(name, "")
    if value == "":
        return None
    if not low <= value <= high:  # also what NaN fails
        raise _Unfit(f"{name}: expected {low:g} to {high:g}")
    return float(value)


def _whole(fields: Fields, name: str, high: int) -> int | None:
    value = _number(fields, name, 0, high)
    return None if value is None else int(value)


def _speed_mps(fields: Fields, name: str, to_mps: float) -> float | None:
    value = _number(fields, name, 0.0, MAX_SPEED_MPS / to_mps)
    return None if value is None else value * to_mps


def _heading_deg(fields: Fields, name: str) -> float | None:
    return _number(fields, name, 0.0, 360.0)


def _hdop(fields: Fields, name: str = "HDOP") -> float | None:
    return _number(fields, name, 0.0, 9_999.0)
