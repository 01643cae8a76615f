"""Is this position a fix, and of what type? Worse evidence always wins (design/firmware-bridge.md section 5).

Real units send simulator mode, quality 1 with no satellites, and cached positions; a position is not a fix.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

ACCURACY_FLOOR_M = 3.0
"""No stand-alone receiver is better than this 19 times out of 20, whatever its HDOP says [set]."""
HDOP_TO_ACCURACY_M = 8.0
HDOP_TO_ACCURACY_DGNSS_M = 4.0
"""Metres of 95 % radius for each unit of HDOP, plain and differential [set]."""
HEADING_FROM_MPS = 0.5
"""Below this speed a course over ground is noise [set]."""
MAX_SPEED_MPS = 150.0
"""Faster than any vehicle on a road or a river: a damaged speed [set]."""


class Evidence(enum.IntEnum):
    """What one sentence or frame says about its position, the worst first."""

    SIMULATED = 0
    MANUAL = 1
    NO_FIX = 2
    ESTIMATED = 3
    PLAIN = 4
    DGNSS = 5
    RTK = 6
    VALID = 7
    """The sentence calls the position valid and says no more."""


NMEA_MODES = {
    "A": Evidence.PLAIN,
    "D": Evidence.DGNSS,
    "E": Evidence.ESTIMATED,
    "F": Evidence.RTK,
    "M": Evidence.MANUAL,
    "N": Evidence.NO_FIX,
    "P": Evidence.PLAIN,
    "R": Evidence.RTK,
    "S": Evidence.SIMULATED,
}
"""Mode letters of RMC, GLL and GNS; P is the precise service."""

GGA_QUALITIES = (
    Evidence.NO_FIX,
    Evidence.PLAIN,
    Evidence.DGNSS,
    Evidence.PLAIN,
    Evidence.RTK,
    Evidence.RTK,
    Evidence.ESTIMATED,
    Evidence.MANUAL,
    Evidence.SIMULATED,
)
"""Quality of GGA by its number; 3 is the precise service, 5 RTK float."""


class Verdict(enum.Enum):
    """What becomes of a position: a fix type, silence, or a refusal."""

    NO_FIX = "no_fix"
    """The receiver says itself that it has none: no line, nothing to count."""
    SIMULATED = "simulated"
    MANUAL = "manual"
    ZERO_SATELLITES = "zero_satellites"
    ESTIMATED = "ESTIMATED"
    TWO_D = "2D"
    THREE_D = "3D"
    DGNSS = "DGNSS"
    RTK = "RTK"

    @property
    def is_fix(self) -> bool:
        """The value is then the `fixType` of the report."""
        return self.value.isupper()


_BY_EVIDENCE = {
    Evidence.SIMULATED: Verdict.SIMULATED,
    Evidence.MANUAL: Verdict.MANUAL,
    Evidence.NO_FIX: Verdict.NO_FIX,
    Evidence.ESTIMATED: Verdict.ESTIMATED,
    Evidence.DGNSS: Verdict.DGNSS,
    Evidence.RTK: Verdict.RTK,
}


def judge(evidence: Iterable[Evidence], nav_mode: int | None, satellites: int | None) -> Verdict:
    """Say what the position of one epoch is worth.

    Args:
        evidence: What each sentence with the position said; the worst counts. None at all is no fix.
        nav_mode: Best mode of the GSA sentences (1 none, 2 two-, 3 three-dimensional), None = no GSA.
        satellites: Satellites used, None = not said.
    """
    worst = min(evidence, default=Evidence.NO_FIX)
    if worst > Evidence.MANUAL and nav_mode == 1:
        return Verdict.NO_FIX
    if worst > Evidence.ESTIMATED and satellites == 0:
        return Verdict.ZERO_SATELLITES
    if worst in _BY_EVIDENCE:
        return _BY_EVIDENCE[worst]
    return Verdict.THREE_D if nav_mode == 3 else Verdict.TWO_D


def accuracy_m(stated_m: float | None, hdop: float | None, fix_type: str) -> float | None:
    """95 % radius in metres: what the receiver states, else from HDOP, else unknown."""
    if stated_m is not None and stated_m > 0.0:
        return stated_m
    if hdop is None or hdop <= 0.0:
        return None
    differential = fix_type in (Verdict.DGNSS.value, Verdict.RTK.value)
    per_hdop_m = HDOP_TO_ACCURACY_DGNSS_M if differential else HDOP_TO_ACCURACY_M
    return max(ACCURACY_FLOOR_M, per_hdop_m * hdop)


def usable_heading_deg(heading_deg: float | None, speed_mps: float | None) -> float | None:
    """The heading as sent, or None where the unit is too slow for it, or its speed is unknown."""
    return heading_deg if speed_mps is not None and speed_mps >= HEADING_FROM_MPS else None


def position_fault(latitude: float, longitude: float) -> str | None:
    """What is wrong with a position, in words that do not repeat it; None if it is in range.

    0/0 is refused: units without a position send it, and no border lies in the Gulf of Guinea.
    """
    if not (math.isfinite(latitude) and abs(latitude) <= 90.0):
        return "latitude: expected -90 to 90 degrees"
    if not (math.isfinite(longitude) and abs(longitude) <= 180.0):
        return "longitude: expected -180 to 180 degrees"
    if latitude == 0.0 and longitude == 0.0:
        return "position 0/0: expected a real one; a unit without a fix sends this"
    return None
