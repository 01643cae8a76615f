"""A ferry with an inland AIS transponder: which plan is a vessel's, and what its transponder sends."""

from __future__ import annotations

import hashlib
from typing import Any

from zones.fix import Fix

FERRY, FERRY_CROSSING = 4, "romanshorn"
"""Number of the plan that is a ferry, and where it lands."""
FERRY_FROM_PLANS = 20
"""From so many simulated lorries on, one of them comes by ship."""
CRUISE_MPS = 5.5
"""About 20 km/h, as the car ferries between Friedrichshafen and Romanshorn."""
REPORT_EVERY_S = 2.0
"""Inland transponders may be set to report every 2 s (Vessel Tracking and Tracing Standard, table 2.6)."""
KNOT_MPS = 0.514444
SWISS_MMSI = 269_000_000
PARTICULARS_EVERY_S = 30
"""From one message with the particulars to the next; real ones wait 6 minutes (ITU-R M.1371-5)."""
HIGH_ACCURACY_M = 10.0
"""The accuracy flag says that it is this or better."""
SHIP = {"shipname": "EUREGIA", "callsign": "HB7001", "ship_type": 69}
INLAND = {"dac": 200, "fid": 10, "vin": "07000123", "length": 71.4, "beam": 13.4, "loaded": 1, "hazard": 0}
"""Dimensions as of a car ferry on Lake Constance; names and numbers are made up."""


def mmsi(run_id: str) -> str:
    """Identity of the ferry; runs do not share units."""
    return str(SWISS_MMSI + int(hashlib.sha256(run_id.encode()).hexdigest(), 16) % 1_000_000)


def ais_sentences(fix: Fix) -> bytes:
    """What a receiver ashore hears: a class A position report, at times with the particulars.

    The fix's time is a whole second, its unit the MMSI.
    """
    import pyais  # the demo makes its scenario without it

    whole_s = int(fix.time_s)
    report = {
        "msg_type": 1,
        "mmsi": fix.unit,
        "lat": fix.latitude,
        "lon": fix.longitude,
        "speed": 102.3 if fix.speed_mps is None else round(fix.speed_mps / KNOT_MPS, 1),
        "course": 360.0 if fix.heading_deg is None else fix.heading_deg % 360.0,
        "heading": 511,
        "accuracy": int(0.0 < fix.accuracy_m <= HIGH_ACCURACY_M),
        "second": whole_s % 60,
    }
    messages: list[dict[str, Any]] = [report]
    if whole_s % PARTICULARS_EVERY_S < REPORT_EVERY_S:
        messages += [{"msg_type": 5, "mmsi": fix.unit, **SHIP}, {"msg_type": 8, "mmsi": fix.unit, **INLAND}]
    lines = [line for message in messages for line in pyais.encode_dict(message, talker_id="AI", seq_id=whole_s % 10)]
    return "".join(line + "\r\n" for line in lines).encode()
