"""What each roadside output shows: the decision of the vehicle that is next at the booth, and nothing if in doubt.

A sign speaks to whoever stands before it, so it follows one vehicle at a time. Where it cannot be told which of
several vehicles that is and their decisions differ, the strictest of them is shown, at least HOLD; where there is no
vehicle or no decision, the site's default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from agent.domain.instruction import Action
from firmware_bridge.outputs import PERMISSIVE, PERMISSIVE_LEASE_MS, OutputKind, OutputState

LENGTH_M = 18.75
"""The longest road train (Directive 96/53/EC)."""
ABREAST_M = LENGTH_M + 10.0
"""Vehicles nearer to one another than this cannot be told apart at the booth: a length, and the error of two fixes."""
PAST_M = 30.0
"""A vehicle so far past the gate has passed; the sign is for the next [set]."""
POSITION_AGE_S = 10.0
"""An older position does not say who is first [set]."""
RESTRICTIVE_LEASE_MS = 55_000
SHORTEST_LEASE_MS = 300
"""A permissive lease below this would end before it is seen."""
TEXT_LENGTH = 16
PERMITTED_IN = frozenset({"RISK_DEGRADED", "UPLINK_LOST", "ZONES_STALE"})
"""Modes in which a GO that stands may still be shown; in every other one signs go to their default
(design/reliability.md section 5)."""

_SHOWN = {
    OutputKind.SIGN: {
        Action.GO: OutputState.GO,
        Action.GO_WITH_OBLIGATION: OutputState.GO_WITH_OBLIGATION,
        Action.HOLD: OutputState.HOLD,
        Action.STOP: OutputState.STOP,
    },
    OutputKind.SIGNAL_HEAD: {
        Action.GO: OutputState.GO,
        Action.GO_WITH_OBLIGATION: OutputState.GO,
        Action.HOLD: OutputState.STOP,
        Action.STOP: OutputState.STOP,
    },
    OutputKind.BARRIER: {
        Action.GO: OutputState.OPEN,
        Action.GO_WITH_OBLIGATION: OutputState.OPEN,
        Action.HOLD: OutputState.CLOSED,
        Action.STOP: OutputState.CLOSED,
    },
}


@dataclass(frozen=True)
class Place:
    """One output and where it stands."""

    output: str
    kind: OutputKind
    crossing: str
    direction: str
    """IN or OUT."""
    lane: str = ""


@dataclass(frozen=True)
class Waiting:
    """One vehicle between the begin of the activation zone and the booth, or just past it."""

    unit: str
    along_m: float | None
    """Metres past the gate between activation and confirmation zone; negative before it; None = not known."""
    jrn: str | None = None
    instruction_id: str | None = None
    version: int = 0
    action: Action | None = None
    """None = not decided yet."""
    expires_s: float = 0.0
    lane: str | None = None


@dataclass(frozen=True)
class Showing:
    """What an output shows, and whose decision it is; `waiting` None = nobody's alone."""

    state: OutputState = OutputState.DEFAULT
    waiting: Waiting | None = None
    text: str = ""

    @property
    def ref(self) -> int:
        """The decision as the device knows it, u32, never 0 for a decision: journal and device name the same."""
        if self.waiting is None or self.waiting.instruction_id is None:
            return 0
        name = f"{self.waiting.instruction_id}:{self.waiting.version}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") or 1


NOTHING = Showing()


def showing(place: Place, waiting: Sequence[Waiting], now_s: float, may_permit: bool) -> Showing:
    """What an output shows now.

    Args:
        waiting: Every vehicle at this crossing and direction that may stand before it.
        now_s: UTC seconds, what instructions expire by.
        may_permit: Whether the agent is fit to let anybody go (`permissive_lease_ms`).
    """
    first = _at_the_booth([one for one in waiting if _is_for(place, one)])
    if not first:
        return NOTHING
    actions = [_action(one, now_s) for one in first]
    if len(set(actions)) == 1:
        nearest, action = first[0], actions[0]
        if action is None:
            return NOTHING
        found = Showing(_SHOWN[place.kind][action], nearest, _text(nearest, action))
    else:
        worst = max((action for action in actions if action is not None), default=Action.HOLD)
        found = Showing(_SHOWN[place.kind][max(worst, Action.HOLD)])
    return NOTHING if found.state in PERMISSIVE and not may_permit else found


def _is_for(place: Place, one: Waiting) -> bool:
    """Vehicles sent to another lane than the output's do not stand before it."""
    return not place.lane or not one.lane or one.lane == place.lane


def _at_the_booth(waiting: list[Waiting]) -> list[Waiting]:
    """The vehicle next at the booth, and all that cannot be told from it; the nearest first."""
    placed = [(one, abs(one.along_m)) for one in waiting if one.along_m is not None and one.along_m <= PAST_M]
    placed.sort(key=lambda pair: (pair[1], pair[0].unit))
    nowhere = [one for one in waiting if one.along_m is None]
    if not placed:
        return nowhere
    first = placed[0][0]
    return [one for one, _ in placed if _gap_m(one, first) < ABREAST_M] + nowhere


def _gap_m(one: Waiting, other: Waiting) -> float:
    assert one.along_m is not None and other.along_m is not None
    return abs(one.along_m - other.along_m)


def _action(one: Waiting, now_s: float) -> Action | None:
    """The decision that stands; an expired GO is HOLD, and nothing expires into anything better."""
    if one.action is None or one.expires_s > now_s:
        return one.action
    return max(one.action, Action.HOLD)


def _text(one: Waiting, action: Action) -> str:
    """The lane, where the vehicle is sent to one, in what a sign can write."""
    if action is Action.GO or not one.lane:
        return ""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in one.lane)[:TEXT_LENGTH]


def permissive_lease_ms(modes: Sequence[str], broker_age_s: float) -> int:
    """How long a permissive lease may be now; 0 = none.

    It is counted from the last sign of life of the broker, so that a broker which dies takes GO away within the
    same 3 s as a device that is cut off.

    Args:
        modes: Names of the modes in force.
        broker_age_s: Seconds since the agent's own heartbeat last came back through the broker; infinite without.
    """
    if not PERMITTED_IN.issuperset(modes):
        return 0
    left_ms = PERMISSIVE_LEASE_MS - min(broker_age_s, 10.0) * 1000
    return int(left_ms) if left_ms >= SHORTEST_LEASE_MS else 0
