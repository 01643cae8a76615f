from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from zones.border_zone import BorderZone, ZoneSet
from zones.catalogue import shipped_border_lines, shipped_centre_lines, shipped_zone_set
from zones.drawing import MAP_PX, Surroundings, draw_all, draw_crossing
from zones.errors import ZoneError
from zones.fix import Fix

SVG = "{http://www.w3.org/2000/svg}"


def page(text: str) -> ET.Element:
    return ET.fromstring(text)


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def titles(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}title")]


def test_one_crossing_shows_its_zones_in_both_panels():
    road = shipped_centre_lines()["thayngen"]
    around = Surroundings(border=shipped_border_lines(), roads=(road,))
    root = page(draw_crossing(shipped_zone_set(), "thayngen", around))
    drawn = [title for title in titles(root) if title.startswith("thayngen/")]
    assert len(drawn) == 12
    assert not any(title.startswith("bargen/") for title in titles(root))
    words = texts(root)
    assert {"thayngen", "IN", "OUT", "activation zone", "customs line"} <= set(words)
    assert sum(bool(re.fullmatch(r"[125]0*(\.\d)? k?m", word)) for word in words) == 2  # scale bars


def test_the_map_names_every_crossing_once_inside_the_page():
    root = page(draw_all(shipped_zone_set(), Surroundings(border=shipped_border_lines())))
    names = [element for element in root.iter(f"{SVG}text") if element.text in shipped_zone_set().crossings]
    assert sorted(element.text for element in names) == sorted(shipped_zone_set().crossings)
    assert all(0.0 <= float(element.get("x")) <= MAP_PX for element in names)
    assert len([title for title in titles(root) if "/activation" in title]) == 128


def test_a_track_shows_each_fix_with_its_accuracy_to_scale():
    zone = shipped_zone_set().by_id["thayngen/in/activation"]
    fixes = tuple(
        Fix("u", 1.0 + at, latitude, longitude, 1.0 + at, accuracy_m=accuracy_m)
        for at, ((longitude, latitude), accuracy_m) in enumerate(
            zip(zone.polygons[0][0][:3], (10.0, 20.0, 0.0), strict=True)
        )
    )
    plain = page(draw_crossing(shipped_zone_set(), "thayngen"))
    root = page(draw_crossing(shipped_zone_set(), "thayngen", Surroundings(tracks=(fixes,))))

    def circles(of):
        return [float(element.get("r")) for element in of.iter(f"{SVG}circle")]

    added = sorted(circles(root))
    for radius in circles(plain):
        added.remove(radius)
    assert added.count(2.0) == 6  # a dot for each fix in each panel
    small, large = (sorted(r for r in added if r != 2.0)[at::2] for at in (0, 1))
    assert len(small) == len(large) == 2  # no circle where the accuracy is unknown
    assert sorted(added)[-1] == pytest.approx(2.0 * sorted(added)[-2], rel=0.02)
    assert "track, 95 % circle" in texts(root)


def test_a_fix_far_away_leaves_no_mark():
    far = Fix("u", 1.0, 46.0, 6.0, 1.0, accuracy_m=10.0)
    drawn = draw_crossing(shipped_zone_set(), "thayngen", Surroundings(tracks=((far,),)))
    assert drawn.count("<circle") == draw_crossing(shipped_zone_set(), "thayngen").count("<circle")


def test_names_from_a_file_are_escaped():
    ring = ((23.0, 52.0), (23.01, 52.0), (23.01, 52.01), (23.0, 52.01), (23.0, 52.0))
    zones = ZoneSet("<v&1>", (BorderZone(id='<a href="x">&', polygons=((ring,),)),))
    for text in (draw_all(zones), draw_crossing(zones, '<a href="x">&')):
        assert any('<a href="x">&' in title for title in titles(page(text)))


def test_an_unknown_crossing_is_an_error():
    with pytest.raises(ZoneError, match="'nowhere' is not in zone set"):
        draw_crossing(shipped_zone_set(), "nowhere")
