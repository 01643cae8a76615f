"""Facts to the agent's mode (design/reliability.md section 5, modes)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

BROKER_SILENT_S = 3.0
"""No own heartbeat for so long: the broker is lost."""
CLOCK_STEP_S = 2.0
"""Time sources that differ by more are not trusted."""


class Mode(enum.IntEnum):
    """Modes from good to worst, in the order of contract section 5."""

    NORMAL = 0
    RISK_DEGRADED = 1
    UPLINK_LOST = 2
    BROKER_LOST = 3
    CLOCK_UNTRUSTED = 4
    GNSS_UNTRUSTED = 5
    ZONES_STALE = 6
    JOURNAL_READONLY = 7


@dataclass(frozen=True)
class ModeFacts:
    """What the shells know; the defaults are those of a healthy agent."""

    breaker_open: bool = False
    customs_reachable: bool = True
    heartbeat_age_s: float = 0.0
    """Since the last own heartbeat came back through the broker."""
    clock_difference_s: float = 0.0
    """Largest difference between time sources, or step of the clock."""
    clock_doubted: bool = False
    """Most units' fixes are from what the clock takes for the future, or it must be kept by a source and is not."""
    gnss_suspect: bool = False
    """Signs of spoofing or jamming."""
    zones_stale: bool = False
    """Metadata of the zone set has expired, or the set is past `validTo`."""
    journal_writable: bool = True


def degraded(facts: ModeFacts) -> tuple[Mode, ...]:
    """Every mode in force besides NORMAL, worst last."""
    signs = (
        (Mode.RISK_DEGRADED, facts.breaker_open),
        (Mode.UPLINK_LOST, not facts.customs_reachable),
        (Mode.BROKER_LOST, facts.heartbeat_age_s > BROKER_SILENT_S),
        (Mode.CLOCK_UNTRUSTED, facts.clock_doubted or abs(facts.clock_difference_s) > CLOCK_STEP_S),
        (Mode.GNSS_UNTRUSTED, facts.gnss_suspect),
        (Mode.ZONES_STALE, facts.zones_stale),
        (Mode.JOURNAL_READONLY, not facts.journal_writable),
    )
    return tuple(mode for mode, is_so in signs if is_so)


def worst(modes: tuple[Mode, ...]) -> Mode:
    """The mode of the agent status."""
    return max(modes, default=Mode.NORMAL)
