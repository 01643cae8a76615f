"""Guarded decoding of u-blox UBX frames.

The fields come from pyubx2, behind length and range checks: it raised 210 `IndexError` over 60,000 damaged
frames with a right checksum and took a NAV-PVT of 0 bytes (design/firmware-bridge.md section 3).
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import Any

import msgspec
from pyubx2 import UBXReader

from firmware_bridge.epochs import Observation
from firmware_bridge.fix_gate import MAX_SPEED_MPS, Evidence
from firmware_bridge.framing import SHORT_UBX_LIMIT
from firmware_bridge.gps_time import FIRST_YEAR, LAST_YEAR, WEEK_MS, utc_ms
from firmware_bridge.messages import Refusal

MAX_ACCURACY_M = 100_000.0
"""A worse accuracy says nothing: receivers without a fix state 2^32 - 1, in millimetres or tenths of them."""
MIN_RADIUS_M, MAX_RADIUS_M = 6_346_000.0, 6_400_000.0
"""From the centre of the earth: 10 km below the poles to 20 km above the equator."""

_SEMI_MAJOR_M = 6_378_137.0
_FLATTENING = 1.0 / 298.257223563
_E2 = _FLATTENING * (2.0 - _FLATTENING)
_FIX_TYPES = {
    0: (Evidence.NO_FIX, None),
    1: (Evidence.ESTIMATED, None),
    2: (Evidence.PLAIN, 2),
    3: (Evidence.PLAIN, 3),
    4: (Evidence.PLAIN, 3),
    5: (Evidence.ESTIMATED, None),
}
"""gpsFix and fixType: 1 dead reckoning, 4 GNSS with dead reckoning, 5 time only."""


class _Unfit(Exception):  # noqa: N818 - never leaves this module
    """A field that cannot be true; the text says which, and what was expected."""


Fields = dict[str, Any]


class _Wanted(msgspec.Struct, frozen=True):
    name: str
    length: int
    """Shortest payload, bytes. NAV-PVT of a u-blox 7 has 84, later ones 92 and may grow."""
    read: Callable[[Fields], Observation]


def read_frame(body: bytes) -> Observation | Refusal | None:
    """What one frame says.

    Args:
        body: Class, id, length and payload, their checksum already found right.

    Returns:
        The observation; a refusal (`bad_length`, `decoder_fault`: the library could not read it, `bad_field`: it
        read something that cannot be true); None for frames that say nothing about a position or time.
    """
    wanted, length = _WANTED.get(body[:2]), len(body) - 4
    if wanted is None or length == 0:  # without a payload it is a question to the receiver
        return None
    if not _length_fits(wanted, length):
        expected = f"expected {wanted.length} to {SHORT_UBX_LIMIT}"
        return Refusal("bad_length", f"{wanted.name}: payload of {length} bytes; {expected}", body)
    try:
        # Padded, so that a u-blox 7 frame has the fields which later ones added; the framer checked the checksum.
        fields = UBXReader.parse(b"\xb5\x62" + body + b"\0" * (_PVT_LENGTH - length) + b"\0\0", validate=0)
    except Exception as error:  # its own kinds and whatever else damage brings about
        return Refusal("decoder_fault", f"{wanted.name}: {type(error).__name__} from the field decoder", body)
    try:
        return wanted.read(fields.__dict__)
    except _Unfit as fault:
        return Refusal("bad_field", f"{wanted.name}: {fault}", body)


def _length_fits(wanted: _Wanted, length: int) -> bool:
    if wanted.name == "NAV-PVT" and wanted.length < length < _PVT_LENGTH:
        return False
    return wanted.length <= length <= SHORT_UBX_LIMIT


def _read_pvt(fields: Fields) -> Observation:
    evidence, nav_mode = _fix(fields["fixType"], fields["gnssFixOk"], fields["diffSoln"], fields["carrSoln"])
    return Observation(
        kind="NAV-PVT",
        itow_ms=_itow_ms(fields),
        utc_ms=_utc_ms(fields, "second") if fields["validDate"] and fields["validTime"] else None,
        evidence=Evidence.NO_FIX if fields["invalidLlh"] else evidence,
        nav_mode=nav_mode,
        satellites=fields["numSV"],
        accuracy_m=_radius_m(fields["hAcc"], 1e-3),
        speed_mps=_speed_mps(fields["gSpeed"] * 1e-3),
        heading_deg=_heading_deg(fields["headMot"]),
        **_position(fields),
    )


def _read_hnr(fields: Fields) -> Observation:
    evidence, nav_mode = _fix(fields["gpsFix"], fields["GPSfixOK"], fields["DiffSoln"])
    return Observation(
        kind="HNR-PVT",
        itow_ms=_itow_ms(fields),
        utc_ms=_utc_ms(fields, "second") if fields["validDate"] and fields["validTime"] else None,
        evidence=evidence,
        nav_mode=nav_mode,
        accuracy_m=_radius_m(fields["hAcc"], 1e-3),
        speed_mps=_speed_mps(fields["gSpeed"] * 1e-3),
        heading_deg=_heading_deg(fields["headMot"]),
        **_position(fields),
    )


def _read_posllh(fields: Fields) -> Observation:
    return Observation(
        kind="NAV-POSLLH",
        itow_ms=_itow_ms(fields),
        accuracy_m=_radius_m(fields["hAcc"], 1e-3),
        **_position(fields),
    )


def _read_hpposllh(fields: Fields) -> Observation:
    invalid = bool(fields["invalidLlh"])
    return Observation(
        kind="NAV-HPPOSLLH",
        itow_ms=_itow_ms(fields),
        evidence=Evidence.NO_FIX if invalid else None,
        accuracy_m=None if invalid else _radius_m(fields["hAcc"], 1e-3),
        **({} if invalid else _position(fields)),
    )


def _read_velned(fields: Fields) -> Observation:
    return Observation(
        kind="NAV-VELNED",
        itow_ms=_itow_ms(fields),
        speed_mps=_speed_mps(fields["gSpeed"] * 1e-2),
        heading_deg=_heading_deg(fields["heading"]),
    )


def _read_sol(fields: Fields) -> Observation:
    evidence, nav_mode = _fix(fields["gpsFix"], fields["gpsfixOK"], fields["diffSoln"])
    place_m = tuple(fields[name] * 1e-2 for name in ("ecefX", "ecefY", "ecefZ"))
    position = _ecef_position(place_m)
    week_known = fields["wknSet"] and fields["towSet"]
    return Observation(
        kind="NAV-SOL",
        itow_ms=_itow_ms(fields),
        week=_week(fields) if week_known else None,
        evidence=evidence,
        nav_mode=nav_mode,
        satellites=fields["numSV"],
        accuracy_m=_radius_m(fields["pAcc"], 1e-2),
        **position,
        **_ecef_motion(fields, position),
    )


def _read_posecef(fields: Fields) -> Observation:
    place_m = tuple(fields[name] * 1e-2 for name in ("ecefX", "ecefY", "ecefZ"))
    return Observation(
        kind="NAV-POSECEF",
        itow_ms=_itow_ms(fields),
        accuracy_m=_radius_m(fields["pAcc"], 1e-2),
        **_ecef_position(place_m),
    )


def _read_status(fields: Fields) -> Observation:
    evidence, nav_mode = _fix(fields["gpsFix"], fields["gpsFixOk"], fields["diffSoln"], fields["carrSoln"])
    return Observation(kind="NAV-STATUS", itow_ms=_itow_ms(fields), evidence=evidence, nav_mode=nav_mode)


def _read_timeutc(fields: Fields) -> Observation:
    stated_ms = _utc_ms(fields, "sec") if fields["validUTC"] else None
    return Observation(kind="NAV-TIMEUTC", itow_ms=_itow_ms(fields), utc_ms=stated_ms)


def _read_timegps(fields: Fields) -> Observation:
    return Observation(
        kind="NAV-TIMEGPS",
        itow_ms=_itow_ms(fields),
        week=_week(fields) if fields["towValid"] and fields["weekValid"] else None,
        leap_s=fields["leapS"] if fields["leapSValid"] else None,
    )


def _read_eoe(fields: Fields) -> Observation:
    return Observation(kind="NAV-EOE", itow_ms=_itow_ms(fields))


_PVT_LENGTH = 92
_WANTED = {
    b"\x01\x01": _Wanted("NAV-POSECEF", 20, _read_posecef),
    b"\x01\x02": _Wanted("NAV-POSLLH", 28, _read_posllh),
    b"\x01\x03": _Wanted("NAV-STATUS", 16, _read_status),
    b"\x01\x06": _Wanted("NAV-SOL", 52, _read_sol),
    b"\x01\x07": _Wanted("NAV-PVT", 84, _read_pvt),
    b"\x01\x12": _Wanted("NAV-VELNED", 36, _read_velned),
    b"\x01\x14": _Wanted("NAV-HPPOSLLH", 36, _read_hpposllh),
    b"\x01\x20": _Wanted("NAV-TIMEGPS", 16, _read_timegps),
    b"\x01\x21": _Wanted("NAV-TIMEUTC", 20, _read_timeutc),
    b"\x01\x61": _Wanted("NAV-EOE", 4, _read_eoe),
    b"\x28\x00": _Wanted("HNR-PVT", 72, _read_hnr),
}


def _fix(gps_fix: int, is_ok: int, differential: int, carrier: int = 0) -> tuple[Evidence, int | None]:
    """Evidence and navigation mode; a fix outside the receiver's own limits is none."""
    if gps_fix not in _FIX_TYPES:
        raise _Unfit("fix type: expected 0 to 5")
    evidence, nav_mode = _FIX_TYPES[gps_fix]
    if not is_ok:
        return Evidence.NO_FIX, nav_mode
    if evidence is Evidence.PLAIN and carrier in (1, 2):  # float and fixed
        return Evidence.RTK, nav_mode
    return (Evidence.DGNSS if evidence is Evidence.PLAIN and differential else evidence), nav_mode


def _itow_ms(fields: Fields) -> int:
    itow_ms = int(fields["iTOW"])
    if itow_ms >= WEEK_MS:
        raise _Unfit(f"iTOW: expected less than {WEEK_MS} ms")
    return itow_ms


def _week(fields: Fields) -> int:
    week = int(fields["week"])
    if week < 0:
        raise _Unfit("week: expected 0 or more")
    return week


def _utc_ms(fields: Fields, second: str) -> int:
    """The stated UTC, rounded to the millisecond, never cut: `nano` may be negative."""
    if not FIRST_YEAR <= fields["year"] <= LAST_YEAR:
        raise _Unfit(f"date: expected a year from {FIRST_YEAR} to {LAST_YEAR}")
    try:
        day = datetime.date(fields["year"], fields["month"], fields["day"])
    except ValueError:
        raise _Unfit("date: expected a day of the calendar") from None
    hour, minute, seconds, nano = fields["hour"], fields["min"], fields[second], fields["nano"]
    if hour > 23 or minute > 59 or seconds > 59 or abs(nano) > 1_000_000_000:
        raise _Unfit("time: expected a time of day; a leap second has no place in UTC milliseconds")
    return utc_ms(day, (hour * 3600 + minute * 60 + seconds) * 1000 + round(nano / 1e6))


def _position(fields: Fields) -> Fields:
    latitude, longitude = fields["lat"], fields["lon"]
    if not (abs(latitude) <= 90.0 and abs(longitude) <= 180.0):
        raise _Unfit("position: expected at most 90 and 180 degrees")
    return {"latitude": latitude, "longitude": longitude}


def _radius_m(stated: float, to_m: float) -> float | None:
    """95 % radius of a stated accuracy, which is one sigma."""
    return 2.0 * stated * to_m if 0.0 < stated * to_m <= MAX_ACCURACY_M else None


def _speed_mps(speed_mps: float) -> float:
    if not 0.0 <= speed_mps <= MAX_SPEED_MPS:
        raise _Unfit(f"speed: expected 0 to {MAX_SPEED_MPS:g} m/s")
    return speed_mps


def _heading_deg(heading_deg: float) -> float:
    if not -180.0 <= heading_deg <= 360.0:
        raise _Unfit("heading: expected -180 to 360 degrees")
    return heading_deg % 360.0


def _ecef_position(place_m: tuple[float, ...]) -> Fields:
    """Latitude and longitude of earth-centred metres; nothing at the centre, where a receiver without a fix is."""
    x_m, y_m, z_m = place_m
    radius_m = math.hypot(x_m, y_m, z_m)
    if radius_m == 0.0:
        return {}
    if not MIN_RADIUS_M <= radius_m <= MAX_RADIUS_M:
        raise _Unfit("ECEF position: expected one near the surface of the earth")
    return {"latitude": _latitude_deg(math.hypot(x_m, y_m), z_m), "longitude": math.degrees(math.atan2(y_m, x_m))}


def _latitude_deg(axis_m: float, z_m: float) -> float:
    """Bowring's formula: within 1e-11 degrees near the surface.

    Args:
        axis_m: Distance from the axis of the earth.
        z_m: Height above the plane of the equator.
    """
    semi_minor_m = _SEMI_MAJOR_M * (1.0 - _FLATTENING)
    reduced = math.atan2(z_m * _SEMI_MAJOR_M, axis_m * semi_minor_m)
    north_m = z_m + _E2 / (1.0 - _E2) * semi_minor_m * math.sin(reduced) ** 3
    return math.degrees(math.atan2(north_m, axis_m - _E2 * _SEMI_MAJOR_M * math.cos(reduced) ** 3))


def _ecef_motion(fields: Fields, position: Fields) -> Fields:
    """Speed and course over ground of an earth-centred velocity, cm/s, at a position."""
    if not position:
        return {}
    vx_mps, vy_mps, vz_mps = (fields[name] * 1e-2 for name in ("ecefVX", "ecefVY", "ecefVZ"))
    latitude, longitude = math.radians(position["latitude"]), math.radians(position["longitude"])
    outward_mps = math.cos(longitude) * vx_mps + math.sin(longitude) * vy_mps
    north_mps = math.cos(latitude) * vz_mps - math.sin(latitude) * outward_mps
    east_mps = math.cos(longitude) * vy_mps - math.sin(longitude) * vx_mps
    return {
        "speed_mps": _speed_mps(math.hypot(north_mps, east_mps)),
        "heading_deg": math.degrees(math.atan2(east_mps, north_mps)) % 360.0,
    }
