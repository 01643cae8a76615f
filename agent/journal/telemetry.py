"""What is kept of the fixes inside tracking zones, so that `explain` need not guess.

A record has the fix as it came, what the detector made of it, and the state of each zone it touched. Only
fixes that lie in a zone are recorded with their position; the others of a stay are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from zones.fix import Fix, FixType
from zones.unit_state import Phase

FORM = 1
MAX_FIXES = 512
"""Fixes of one row; a larger batch of one unit gets several."""

OUT, CANDIDATE, IN, LEAVING = "O", "C", "I", "L"
"""State of a zone after the fix; in lower case where the fix itself lies outside that zone."""
_CODES = {Phase.CANDIDATE: CANDIDATE, Phase.IN: IN, Phase.LEAVING: LEAVING}


class FixSeen(msgspec.Struct, frozen=True, array_like=True):
    """One fix inside a zone and what became of it; the figures are exact, so that it can be decided again."""

    time_s: float
    received_s: float
    latitude: float
    longitude: float
    accuracy_m: float
    """As reported; 0 = unknown."""
    decided_m: float
    """As decided on: the default where it is unknown, the floor where it is not believed."""
    speed_mps: float | None
    heading_deg: float | None
    seq: int | None
    boot_id: str | None
    fix_type: int
    verdict: str
    """`zones.detector.Verdict`."""
    outcome: str | None
    """`zones.step.Outcome`; None if the fix was not used, or not at once."""
    reason: str
    """Why it was refused; empty otherwise."""
    states: tuple[tuple[int, str], ...]
    """Zone by its place in the row's `zones`, and its code."""

    def fix(self, unit: str) -> Fix:
        """The fix as the detector got it; where the accuracy was unknown, with the one decided on."""
        return Fix(
            unit,
            self.time_s,
            self.latitude,
            self.longitude,
            self.received_s,
            seq=self.seq,
            boot_id=self.boot_id,
            accuracy_m=self.accuracy_m or self.decided_m,
            speed_mps=self.speed_mps,
            heading_deg=self.heading_deg,
            fix_type=FixType(self.fix_type),
        )


class Observed(msgspec.Struct, frozen=True, array_like=True):
    """Fixes of one unit in one batch, in the order in which they came."""

    form: int
    zone_set: str
    """Version of the zone set they were judged by."""
    zones: tuple[str, ...]
    fixes: tuple[FixSeen, ...]
    outside: int = 0
    """Fixes of the same stay outside every zone; their positions are not kept."""
    repeated: int = 0
    """Reports that had been processed before."""

    def states_of(self, seen: FixSeen) -> dict[str, str]:
        """Zone id to code after one of these fixes."""
        return {self.zones[place]: code for place, code in seen.states}


def state_codes(inside: Iterable[str], phases: Mapping[str, Phase]) -> tuple[tuple[str, str], ...]:
    """(zone id, code) of each zone that a fix lies in, or whose state is open.

    Args:
        inside: Ids of the zones the fix lies in.
        phases: Open states after the fix.
    """
    return _codes_of(frozenset(inside), tuple(phases.items()))


@lru_cache(maxsize=4_096)
def _codes_of(inside: frozenset[str], phases: tuple[tuple[str, Phase], ...]) -> tuple[tuple[str, str], ...]:
    """From fix to fix a unit mostly stays in the same zones, and so do the units behind it."""
    codes = {zone_id: _CODES[phase] for zone_id, phase in phases}
    return tuple(
        (zone_id, codes.get(zone_id, OUT) if zone_id in inside else codes[zone_id].lower())
        for zone_id in sorted(inside | codes.keys())
    )


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Observed)


def encode(observed: Observed) -> bytes:
    """Bytes of a row, before they are encrypted."""
    return _ENCODER.encode(observed)


def decode(body: bytes) -> Observed:
    """Read a row.

    Raises:
        ValueError: no such row, or one of another form; what is wrong, and where.
    """
    try:
        observed = _DECODER.decode(body)
    except msgspec.MsgspecError as error:
        raise ValueError(f"no telemetry: {error}") from error
    if observed.form != FORM:
        raise ValueError(f"telemetry of form {observed.form}: expected {FORM}")
    return observed
