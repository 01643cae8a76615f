"""Which vehicles a roadside output may be meant for, from what is committed: who is how far from the gate."""

from __future__ import annotations

from collections.abc import Mapping

from agent.activation.passage import EITHER, Passage, PassageStage
from agent.delivery.sign_plan import POSITION_AGE_S, Place, Waiting
from agent.register import Register
from zones.border_zone import ZoneKind
from zones.events import Direction
from zones.fix import Fix
from zones.index import ZoneIndex


class Booth:
    """Who is at the gates, under one zone set."""

    def __init__(self, register: Register, index: ZoneIndex) -> None:
        self._register, self.index = register, index
        self._rows: dict[tuple[str, str], dict[ZoneKind, str]] = {}

    def waiting(self, place: Place, last: Mapping[str, Fix], now_s: float) -> list[Waiting]:
        """Vehicles in the activation or confirmation zone of an output's crossing and direction.

        Args:
            last: Newest fix of each unit inside tracking zones.
            now_s: UTC seconds, what the age of a position counts by.
        """
        found = []
        for direction in (place.direction, EITHER):
            for key in sorted(self._register.at_booth.get((place.crossing, direction), ())):
                passage = self._register.passages[key]
                one = self._waiting(passage, self._along_m(passage, last.get(passage.unit), now_s))
                found += [one] if one is not None else []
        return _each_once(found)

    def _waiting(self, passage: Passage, along_m: float | None) -> Waiting | None:
        state = self._register.instructions.get(passage.instruction_key or "")
        if state is None:
            return Waiting(passage.unit, along_m)
        if state.closed:
            return None
        issued = state.instruction
        return Waiting(
            unit=passage.unit,
            along_m=along_m,
            jrn=state.jrn,
            instruction_id=None if issued is None else issued.instruction_id,
            version=state.version,
            action=None if issued is None else state.action,
            expires_s=state.expires_s or 0.0,
            lane=None if issued is None else issued.lane,
        )

    def _along_m(self, passage: Passage, fix: Fix | None, now_s: float) -> float | None:
        """Metres past the gate; None where the position is too old or the zones do not tell."""
        if fix is None or passage.lost_s is not None or now_s - fix.time_s > POSITION_AGE_S:
            return None
        zones = self._row(passage.crossing, passage.direction)
        if passage.stage is PassageStage.CONFIRMATION:
            zone_id = zones.get(ZoneKind.CONFIRMATION)
            return None if zone_id is None else self.index.distance_from_entry_m(zone_id, fix.latitude, fix.longitude)
        zone_id = zones.get(ZoneKind.ACTIVATION)
        if zone_id is None:
            return None
        return -self.index.distance_to_exit_m(zone_id, fix.latitude, fix.longitude, fix.heading_deg)

    def _row(self, crossing: str, direction: str) -> dict[ZoneKind, str]:
        """Zone ids by kind; of several of a kind none, since it is not known which one a vehicle is in."""
        if (crossing, direction) not in self._rows:
            way = None if direction == EITHER else Direction(direction)
            found: dict[ZoneKind, list[str]] = {}
            for zone in self.index.zone_set.zones:
                if zone.crossing_key == crossing and zone.direction in (None, way):
                    found.setdefault(zone.kind, []).append(zone.id)
            self._rows[crossing, direction] = {kind: ids[0] for kind, ids in found.items() if len(ids) == 1}
        return self._rows[crossing, direction]


def _each_once(waiting: list[Waiting]) -> list[Waiting]:
    """Tractor and trailer with a unit each are one vehicle: the better placed of them."""
    found: dict[str, Waiting] = {}
    for one in waiting:
        name = f"{one.jrn}:{one.instruction_id}" if one.instruction_id else f"unit:{one.unit}"
        other = found.get(name)
        if other is None or _is_better(one, other):
            found[name] = one
    return list(found.values())


def _is_better(one: Waiting, other: Waiting) -> bool:
    if one.along_m is None or other.along_m is None:
        return one.along_m is not None
    return one.along_m > other.along_m
