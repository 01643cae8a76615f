"""Fix: one position report, checked when built (WGS 84 degrees, metres, UTC seconds)."""

from __future__ import annotations

import enum
import math

import msgspec


class FixType(enum.IntEnum):
    """How the receiver got the position; the value is the code of the compact row (contract section 5)."""

    UNKNOWN = 0
    NONE = 1
    TWO_D = 2
    THREE_D = 3
    DGNSS = 4
    RTK = 5
    ESTIMATED = 6
    SIMULATED = 7


FIX_TYPE_WORDS = {
    "NONE": FixType.NONE,
    "2D": FixType.TWO_D,
    "3D": FixType.THREE_D,
    "DGNSS": FixType.DGNSS,
    "RTK": FixType.RTK,
    "ESTIMATED": FixType.ESTIMATED,
    "SIMULATED": FixType.SIMULATED,
}
"""Words of the position report (contract section 5)."""


LAST_S = 253_402_300_800.0
"""End of the year 9999, UTC seconds."""


class Fix(msgspec.Struct, frozen=True, gc=False):
    """One position report as the detector sees it.

    Build it with `checked_fix`; the constructor itself checks nothing, because the detector makes fixes
    of its own (stored anchors) from values that were checked before.
    """

    unit: str
    time_s: float
    """When the position was taken, UTC seconds since 1970."""
    latitude: float
    longitude: float
    """WGS 84 degrees."""
    received_s: float
    """When the agent received it, UTC seconds; only for clock tests and timers."""
    seq: int | None = None
    boot_id: str | None = None
    accuracy_m: float = 0.0
    """Radius that holds the true position 95 % of the time; 0 = unknown."""
    speed_mps: float | None = None
    heading_deg: float | None = None
    """True heading, 0 to 360."""
    fix_type: FixType = FixType.UNKNOWN
    satellites: int | None = None
    hdop: float | None = None
    authenticated: bool = False
    phone: bool = False
    """From a phone: less accurate than a fitted receiver, where it does not say how accurate."""


def checked_fix(fix: Fix) -> str | None:
    """Say why a fix cannot be used, or None if every value is in range.

    Returns words for people: what, the value, and what was expected. 0/0 is refused because receivers
    without a position send it.
    """
    if (
        -90.0 <= fix.latitude <= 90.0
        and -180.0 <= fix.longitude <= 180.0
        and (fix.latitude != 0.0 or fix.longitude != 0.0)
        and 0.0 < fix.time_s < LAST_S
        and 0.0 <= fix.accuracy_m < math.inf
        and (fix.speed_mps is None or 0.0 <= fix.speed_mps <= 1_000.0)
        and (fix.heading_deg is None or 0.0 <= fix.heading_deg <= 360.0)
        and fix.fix_type is not FixType.NONE
    ):  # every comparison is false for NaN
        return None
    return _fault_of(fix)


def _fault_of(fix: Fix) -> str | None:
    if not (math.isfinite(fix.latitude) and -90.0 <= fix.latitude <= 90.0):
        return f"latitude {fix.latitude!r}: expected -90 to 90"
    if not (math.isfinite(fix.longitude) and -180.0 <= fix.longitude <= 180.0):
        return f"longitude {fix.longitude!r}: expected -180 to 180"
    if fix.latitude == 0.0 and fix.longitude == 0.0:
        return "position 0/0: a receiver without a fix sends this"
    if not (math.isfinite(fix.time_s) and 0.0 < fix.time_s < LAST_S):
        return f"fixTime {fix.time_s!r}: expected a UTC time from 1970 to 9999"
    if not (math.isfinite(fix.accuracy_m) and fix.accuracy_m >= 0.0):
        return f"accuracy {fix.accuracy_m!r}: expected metres, 0 = unknown"
    if fix.speed_mps is not None and not (math.isfinite(fix.speed_mps) and 0.0 <= fix.speed_mps <= 1_000.0):
        return f"speed {fix.speed_mps!r}: expected 0 to 1000 m/s"
    if fix.heading_deg is not None and not (math.isfinite(fix.heading_deg) and 0.0 <= fix.heading_deg <= 360.0):
        return f"heading {fix.heading_deg!r}: expected 0 to 360 degrees"
    if fix.fix_type is FixType.NONE:
        return "fixType NONE: no position"
    return None
