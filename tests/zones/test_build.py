"""The shipped crossings by the rules of design/detection.md section 2, and data that must be refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import combinations

import pytest
import shapely

from zones.border_zone import Confidence, ZoneKind
from zones.build import build_zone_set, centre_lines, true_bearing
from zones.catalogue import shipped_border_lines, shipped_bytes, shipped_centre_lines, shipped_zone_set
from zones.errors import BuildError
from zones.events import Direction
from zones.frame import lv95
from zones.ribbon import chainage_of, length_m, passes, point_at

ACTIVATION_M = {600: 13, 400: 33, 300: 18}
CLOSE_PAIRS = [  # smallest gaps between activation zones, metres
    ("bardonnex", "perly", 31),
    ("moillesulaz", "thonex-vallard", 191),
    ("basel-hiltalingerstrasse", "basel-weil-am-rhein-autobahn", 264),
]


def source_files() -> dict[str, bytes]:
    names = ("crossings", "approach_roads", "approach_roads_osm", "border")
    return {name: shipped_bytes(f"geo/{name}.geojson") for name in names}


def build(**changed: bytes):
    files = source_files() | changed
    return build_zone_set(
        files["crossings"],
        files["approach_roads"],
        files["approach_roads_osm"],
        files["border"],
        "2026-11-22.1",
    )


def edited(name: str, edit) -> bytes:
    document = json.loads(shipped_bytes(f"geo/{name}.geojson"))
    edit(document["features"])
    return json.dumps(document).encode()


def shape(zone) -> shapely.Polygon:
    return shapely.Polygon([lv95(latitude, longitude) for longitude, latitude in zone.polygons[0][0]])


@pytest.fixture(scope="module")
def shapes():
    return {zone.id: shape(zone) for zone in shipped_zone_set().zones}


def zones_of(kind: ZoneKind):
    return [zone for zone in shipped_zone_set().zones if zone.kind is kind]


def test_shipped_file_is_what_the_builder_makes():
    assert build() == shipped_zone_set()


def test_centre_lines_come_from_the_best_source():
    lines = shipped_centre_lines()
    assert Counter(line.kind for line in lines.values()) == {
        "straight line": 40,
        "approach line": 22,
        "OSM road": 2,
    }
    plazas = {f["properties"]["id"]: f for f in json.loads(shipped_bytes("geo/crossings.geojson"))["features"]}
    for key, line in lines.items():
        longitude, latitude = plazas[key]["geometry"]["coordinates"]
        assert math.dist(point_at(line.points_m, line.plaza_m), lv95(latitude, longitude)) < 51.0, key
        bearing = plazas[key]["properties"]["inbound_bearing_deg"]
        if line.kind == "straight line" and bearing is not None:
            off = true_bearing(line.points_m[0], line.points_m[-1]) - bearing
            assert abs((off + 180.0) % 360.0 - 180.0) < 0.5, key


@pytest.mark.parametrize(("key", "bearing"), [("romanshorn", 206), ("la-drossa", 354), ("brig-gamsen", 310)])
def test_missing_bearings_come_from_the_border_or_the_neighbour(key, bearing):
    line = shipped_centre_lines()[key]
    assert true_bearing(line.points_m[0], line.points_m[-1]) == pytest.approx(bearing, abs=2.5)


def test_all_shapes_are_valid_in_metres(shapes):
    assert all(outline.is_valid for outline in shapes.values())


def test_activation_lengths_follow_the_road(shapes):
    lengths = []
    for zone in zones_of(ZoneKind.ACTIVATION):
        line = shipped_centre_lines()[zone.crossing].in_direction(zone.direction)
        (run,) = passes(line.points_m, shapes[zone.id])
        assert run[1] == pytest.approx(line.plaza_m, abs=0.1)  # ends at the plaza
        lengths.append(round(run[1] - run[0]))
    assert Counter(lengths) == {length: 2 * count for length, count in ACTIVATION_M.items()}


def test_each_centre_line_passes_each_own_zone_once(shapes):
    for zone in shipped_zone_set().zones:
        line = shipped_centre_lines()[zone.crossing].in_direction(zone.direction)
        assert len(passes(line.points_m, shapes[zone.id])) == 1, zone.id


def test_activation_and_confirmation_are_nested_and_share_a_gate(shapes):
    for crossing in shipped_zone_set().crossings:
        for direction in (Direction.IN, Direction.OUT):
            zones = {kind: shapes[zone.id] for kind, zone in shipped_zone_set().of(crossing, direction).items()}
            around = zones[ZoneKind.TRACKING].buffer(1.0)
            assert around.covers(zones[ZoneKind.ACTIVATION]), crossing
            assert around.covers(zones[ZoneKind.CONFIRMATION]), crossing
            overlap = zones[ZoneKind.ACTIVATION].intersection(zones[ZoneKind.CONFIRMATION])
            assert overlap.area < 10.0, crossing  # rounding to 1 cm along the gate


def test_activation_zones_of_different_crossings_do_not_overlap(shapes):
    gaps: dict[tuple[str, str], float] = {}
    for left, right in combinations(zones_of(ZoneKind.ACTIVATION), 2):
        if left.crossing != right.crossing:
            pair = tuple(sorted((left.crossing, right.crossing)))
            gaps[pair] = min(gaps.get(pair, math.inf), shapes[left.id].distance(shapes[right.id]))
    nearest = sorted((gap_m, pair) for pair, gap_m in gaps.items())[: len(CLOSE_PAIRS)]
    assert [pair for _, pair in nearest] == [(left, right) for left, right, _ in CLOSE_PAIRS]
    assert [gap_m for gap_m, _ in nearest] == pytest.approx([gap_m for *_, gap_m in CLOSE_PAIRS], abs=5.0)


def test_bearing_is_the_chord_in_that_zone(shapes):
    for zone in shipped_zone_set().zones:
        line = shipped_centre_lines()[zone.crossing].in_direction(zone.direction)
        ((start_m, end_m),) = passes(line.points_m, shapes[zone.id])
        chord = true_bearing(point_at(line.points_m, start_m), point_at(line.points_m, end_m))
        assert abs((chord - zone.bearing + 180.0) % 360.0 - 180.0) <= 0.3, zone.id
        assert 0.0 <= zone.bearing < 360.0


def test_bearings_turn_with_the_road_at_the_plaza():
    au = shipped_zone_set().of("au", Direction.IN)
    assert au[ZoneKind.ACTIVATION].bearing == pytest.approx(300, abs=3)
    assert au[ZoneKind.CONFIRMATION].bearing == pytest.approx(190, abs=3)


def test_guessed_roads_are_never_of_high_confidence():
    guessed = [zone for zone in shipped_zone_set().zones if "boundary normal" in zone.source]
    assert guessed
    assert all(zone.confidence is not Confidence.HIGH for zone in guessed)


def test_low_confidence_gets_a_wider_corridor(shapes):
    widths: dict[Confidence, set[int]] = {}
    for zone in zones_of(ZoneKind.ACTIVATION):
        line = shipped_centre_lines()[zone.crossing].in_direction(zone.direction)
        if line.kind == "straight line":
            (run,) = passes(line.points_m, shapes[zone.id])
            widths.setdefault(zone.confidence, set()).add(round(shapes[zone.id].area / (run[1] - run[0])))
    assert widths[Confidence.LOW] == {300}
    assert widths[Confidence.MEDIUM] == {120, 200}  # 120: the plaza is well known, only the course is a guess


def test_transit_competence_follows_the_table():
    def transit(direction):
        zones = zones_of(ZoneKind.ACTIVATION)
        return {z.crossing for z in zones if z.direction is direction and "TRANSIT" in z.competences}

    only_in = {"basel-st-louis-autobahn", "chiasso-strada", "kreuzlingen-autobahn", "koblenz", "gondo"}
    assert transit(Direction.IN) - transit(Direction.OUT) == only_in
    assert transit(Direction.OUT) - transit(Direction.IN) == {"brig-gamsen"}


def test_out_is_the_reverse():
    line = shipped_centre_lines()["thayngen"]
    back = line.in_direction(Direction.OUT)
    assert back.points_m == line.points_m[::-1]
    assert back.plaza_m + line.plaza_m == pytest.approx(length_m(line.points_m))
    assert back.in_direction(Direction.OUT).points_m == line.points_m


def test_approach_lines_hold_their_stated_chainage():
    for feature in json.loads(shipped_bytes("geo/approach_roads.geojson"))["features"]:
        line = shipped_centre_lines()[feature["properties"]["crossing_id"]]
        assert line.plaza_m == pytest.approx(1_000.0 * feature["properties"]["plaza_at_km"], abs=50.0)


def test_border_lines_are_long_and_near_the_crossings():
    line = shapely.MultiLineString([[lv95(lat, lon) for lon, lat in part] for part in shipped_border_lines()])
    assert 1_800_000.0 < line.length < 2_000_000.0
    bargen = shipped_centre_lines()["bargen"]
    assert chainage_of(bargen.points_m, point_at(bargen.points_m, 6_800.0)) == pytest.approx(6_800.0)
    assert line.distance(shapely.Point(point_at(bargen.points_m, 6_800.0))) < 60.0


def shifted_plaza(features):
    """Perly's plaza onto Bardonnex's: both would activate there."""
    perly, bardonnex = (next(f for f in features if f["id"] == key) for key in ("perly", "bardonnex"))
    perly["geometry"] = bardonnex["geometry"]


def knotted_road(features):
    """The approach to Thayngen runs to its plaza, back, and there again."""
    road = next(f for f in features if f["properties"]["crossing_id"] == "thayngen")["geometry"]
    points = road["coordinates"]
    road["coordinates"] = [*points, *points[::-1], *points]


def road_at_home(features):
    road = next(f for f in features if f["properties"]["crossing_id"] == "thayngen")["geometry"]
    road["coordinates"] = [[8.6, 47.5], [8.7, 47.5], [8.8, 47.5]]


def no_bearing(features):
    first = next(f for f in features if f["id"] == "perly")
    first["properties"] |= {"inbound_bearing_deg": None, "border_point": first["geometry"]["coordinates"]}


BAD = [
    ("crossings", shifted_plaza, r"(bardonnex|perly)/\w+/activation: overlaps activation zone"),
    ("approach_roads", knotted_road, "thayngen/in/tracking: the centre line passes it"),
    (
        "approach_roads",
        road_at_home,
        "thayngen: foreign end of the centre line lies in the customs territory",
    ),
    ("crossings", no_bearing, "perly: no inbound bearing"),
    ("border", lambda features: features.clear(), "customs-territory"),
]


@pytest.mark.parametrize(("name", "edit", "words"), BAD, ids=[edit.__name__ for _, edit, _ in BAD])
def test_data_that_give_no_sound_zones_are_refused(name, edit, words):
    with pytest.raises(BuildError, match=words):
        build(**{name: edited(name, edit)})


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"features": [{"type": "Feature"}]}', b'{"features": [{"properties": {}}]}']
)
def test_files_that_cannot_be_read_are_refused(data):
    files = source_files()
    with pytest.raises(BuildError, match="crossings: expected GeoJSON features with property 'id'"):
        centre_lines(data, files["approach_roads"], files["approach_roads_osm"])
