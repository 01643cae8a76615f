"""What differs between two zone sets, zone by zone."""

from __future__ import annotations

from dataclasses import dataclass, fields

from zones.border_zone import BorderZone, ZoneSet


@dataclass(frozen=True)
class Difference:
    """Zone ids by what happened to them from the old set to the new one."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: dict[str, tuple[str, ...]]
    """Zone id to the names of the fields that differ."""

    @property
    def same(self) -> bool:
        """True if no zone differs; versions may."""
        return not (self.added or self.removed or self.changed)


def difference(old: ZoneSet, new: ZoneSet) -> Difference:
    """Compare two sets by zone id; order, version and validity do not count."""
    both = [zone.id for zone in old.zones if zone.id in new.by_id]
    changed = {key: _changed(old.by_id[key], new.by_id[key]) for key in both}
    return Difference(
        added=tuple(zone.id for zone in new.zones if zone.id not in old.by_id),
        removed=tuple(zone.id for zone in old.zones if zone.id not in new.by_id),
        changed={key: what for key, what in changed.items() if what},
    )


def _changed(old: BorderZone, new: BorderZone) -> tuple[str, ...]:
    return tuple(item.name for item in fields(old) if getattr(old, item.name) != getattr(new, item.name))
