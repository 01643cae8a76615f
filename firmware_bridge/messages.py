"""PositionReport, what a unit says about where it is, and Refusal, what could not be read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import msgspec

UNIT_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a unit may be called (contract section 5)."""

MAX_TIME_MS = 253_402_300_799_999
"""31 December 9999, the last time RFC 3339 can write."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEGREE_DIGITS = 9
"""Digits kept in JSON: 1e-9 degrees is 0.1 mm, below what any receiver resolves."""


class PositionReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One position report (contract section 5). None = the unit did not say."""

    latitude: float
    longitude: float
    """WGS 84 degrees."""
    fix_time_ms: int | None
    """When the position was taken, UTC milliseconds since 1970; None where the protocol carries no time."""
    unit: str | None = None
    seq: int | None = None
    boot_id: str | None = None
    accuracy: float | None = None
    """Radius that holds the true position 95 % of the time, metres."""
    speed: float | None = None
    """Metres per second over ground."""
    heading: float | None = None
    """Course over ground, degrees true."""
    satellites: int | None = None
    hdop: float | None = None
    fix_type: str | None = None
    """`NONE`, `2D`, `3D`, `DGNSS`, `RTK`, `ESTIMATED` or `SIMULATED`."""
    authenticated: bool | None = None
    ais_type: int | None = None
    """AIS only: the message type."""
    utc_second: int | None = None
    """AIS only, whose reports have no other time: second of the minute; 60 to 63 say that there is none."""


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Input that was not taken: counted, named, never fatal."""

    reason: str
    """A word for counters, such as `bad_checksum`."""
    detail: str
    """What was wrong, where, and what was expected; holds no position, so it may be logged."""
    quote: bytes = b""
    """The refused bytes. They may hold a position: only `decode` shows them, nothing logs them."""


Event: TypeAlias = PositionReport | Refusal


def rfc3339(time_ms: int) -> str:
    """`2026-11-22T10:00:00.000Z`."""
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def to_json(report: PositionReport) -> bytes:
    """The report as one JSON object with the contract's names; fields the unit did not send are left out."""
    wire = {
        "unit": report.unit,
        "seq": report.seq,
        "bootId": report.boot_id,
        "fixTime": None if report.fix_time_ms is None else rfc3339(report.fix_time_ms),
        "latitude": round(report.latitude, _DEGREE_DIGITS),
        "longitude": round(report.longitude, _DEGREE_DIGITS),
        "accuracy": _rounded(report.accuracy, 3),
        "speed": _rounded(report.speed, 4),
        "heading": _rounded(report.heading, 4),
        "satellites": report.satellites,
        "hdop": report.hdop,
        "fixType": report.fix_type,
        "authenticated": report.authenticated,
        "type": report.ais_type,
        "utcSecond": report.utc_second,
    }
    return msgspec.json.encode({k: v for k, v in wire.items() if v is not None or k == "fixTime"})


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
