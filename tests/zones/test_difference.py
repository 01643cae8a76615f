from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from zones.border_zone import ZoneSet
from zones.catalogue import shipped_zone_set
from zones.difference import difference

ZONES = shipped_zone_set().zones[:12]
picked = st.lists(st.sampled_from(ZONES), unique_by=lambda zone: zone.id)


@given(picked, picked)
def test_turning_round_swaps_added_and_removed(left, right):
    old, new = ZoneSet("1", tuple(left)), ZoneSet("2", tuple(right))
    there, back = difference(old, new), difference(new, old)
    assert (there.added, there.removed, there.changed) == (back.removed, back.added, {})
    assert there.same == (set(old.by_id) == set(new.by_id))
    assert set(old.by_id) - set(there.removed) | set(there.added) == set(new.by_id)


@given(st.sampled_from(ZONES), st.floats(0, 359))
def test_a_changed_field_is_named(zone, bearing):
    old = ZoneSet("1", ZONES)
    new = ZoneSet("1", tuple(replace(z, bearing=bearing, lane="2") if z is zone else z for z in ZONES))
    found = difference(old, new)
    assert found.changed == {zone.id: ("bearing", "lane") if bearing != zone.bearing else ("lane",)}
