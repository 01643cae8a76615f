"""Figures over time for the small charts: flow, latency, selection, queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

EVERY_S = 5.0
"""One point so often."""
POINTS = 720
"""Points kept: an hour."""
ACTIONS = ("GO", "GO_WITH_OBLIGATION", "STOP", "HOLD")


class Point(msgspec.Struct, frozen=True, rename="camel"):
    """What happened in the seconds up to a moment, over all agents."""

    time_ms: int
    instructions: dict[str, int]
    """Issued since the point before, by action."""
    p99_ms: float | None
    """Fix to instruction, the worst agent's, over its latest instructions."""
    waiting: int
    """Vehicles whose time budget runs."""
    outbox: int
    """Effects stored and not yet done."""
    vehicles: int
    """Inside tracking zones."""


class Figures:
    """Takes what is seen, gives a point every `EVERY_S`."""

    def __init__(self) -> None:
        self.points: deque[Point] = deque(maxlen=POINTS)
        self._counted: dict[str, int] = dict.fromkeys(ACTIONS, 0)

    def see_instruction(self, action: str) -> None:
        """An instruction was issued."""
        if action in self._counted:
            self._counted[action] += 1

    def take(self, agents: Iterable[Mapping[str, Any]], vehicles: int, now_ms: int) -> Point | None:
        """The next point, if it is time for one."""
        if self.points and now_ms - self.points[-1].time_ms < EVERY_S * 1000:
            return None
        known = [one for one in agents if one.get("mode") != "OUT_OF_REACH"]
        latencies = [value for one in known if (value := (one.get("fixToInstructionMs") or {}).get("p99")) is not None]
        point = Point(
            now_ms,
            self._counted,
            max(latencies, default=None),
            sum(_number(one, "waiting") for one in known),
            sum(_number(one, "outboxPending") for one in known),
            vehicles,
        )
        self._counted = dict.fromkeys(ACTIONS, 0)
        self.points.append(point)
        return point


def _number(fact: Mapping[str, Any], name: str) -> int:
    value = fact.get(name)
    return value if isinstance(value, int) else 0
