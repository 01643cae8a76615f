"""BorderZone and ZoneSet: one polygon with its place in the crossing, and the set that is taken whole."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property

from zones.events import Direction


class ZoneKind(enum.Enum):
    """Which of the three zones of a crossing and direction (contract section 3)."""

    TRACKING = "TRACKING"
    ACTIVATION = "ACTIVATION"
    CONFIRMATION = "CONFIRMATION"


class Confidence(enum.Enum):
    """How well the place is known."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


Ring = tuple[tuple[float, float], ...]
"""Closed ring of (longitude, latitude), first position repeated at the end, as in RFC 7946."""


@dataclass(frozen=True)
class BorderZone:
    """One geofence of a border crossing."""

    id: str
    polygons: tuple[tuple[Ring, ...], ...]
    """Polygons, each an outer ring and its holes."""
    kind: ZoneKind = ZoneKind.ACTIVATION
    crossing: str | None = None
    customs_office: str | None = None
    direction: Direction | None = None
    """IN or OUT; None = either."""
    bearing: float | None = None
    """Direction of travel through the zone, degrees true; None = not known."""
    lane: str | None = None
    unmanned: bool = False
    opening_hours: str | None = None
    competences: frozenset[str] = frozenset()
    source: str = ""
    confidence: Confidence = Confidence.HIGH

    @property
    def crossing_key(self) -> str:
        """Crossing, or if absent the part of the id before the first `/` (design/domain.md section 4)."""
        return self.crossing if self.crossing is not None else self.id.split("/", 1)[0]


@dataclass(frozen=True)
class ZoneSet:
    """Every zone in force, under one version; valid by construction (see `zones.catalogue`)."""

    version: str
    zones: tuple[BorderZone, ...]
    valid_from_s: float | None = None
    valid_to_s: float | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What was repaired while reading (ring winding), for the author."""

    @cached_property
    def by_id(self) -> dict[str, BorderZone]:
        """Zone id to zone."""
        return {zone.id: zone for zone in self.zones}

    @cached_property
    def crossings(self) -> tuple[str, ...]:
        """Keys of the crossings, in order of first appearance."""
        return tuple(dict.fromkeys(zone.crossing_key for zone in self.zones))

    def of(self, crossing: str, direction: Direction) -> dict[ZoneKind, BorderZone]:
        """The zones of one crossing that serve this direction of travel."""
        return {
            zone.kind: zone
            for zone in self.zones
            if zone.crossing_key == crossing and zone.direction in (None, direction)
        }
