"""zones/tracks.py: each format, each fault with file, place and what was expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zones.border_zone import BorderZone, ZoneSet
from zones.errors import TrackError
from zones.events import DetectionEvent
from zones.fix import Fix, FixType
from zones.index import compile_index
from zones.tracks import FORMATS, detect_track, parse_time_s, read_track

TRACKS = Path(__file__).parents[1] / "corpus/tracks"
T0 = 1_790_000_000.0


def only(fixes):
    assert len(fixes) == 1
    return fixes[0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-09-21T14:13:20.500Z", 1_790_000_000.5),
        ("2026-09-21T16:13:20.5+02:00", 1_790_000_000.5),
        ("2026-09-21 14:13:20.5", 1_790_000_000.5),
        ("1790000000500", 1_790_000_000.5),
        (1_790_000_000_500, 1_790_000_000.5),
        ("yesterday", None),
        ("nan", None),
        (True, None),
        (None, None),
        (float("inf"), None),
    ],
)
def test_times(value, expected):
    assert parse_time_s(value) == expected


@pytest.mark.parametrize("header", ["time,lat,lon", "utc,latitude,longitude", " time , lat , lon "])
def test_csv_columns_by_either_name(header):
    fix = only(read_track(f"{header}\n2026-09-21T14:13:20Z,47.5,8.5\n".encode(), "folder/a.csv"))
    assert fix == Fix("a.csv", T0, 47.5, 8.5, T0)


def test_csv_extras_are_used_where_present():
    text = "boot_s,utc,lat,lon,accuracy_m,speed_mps,course_deg\n1,2026-09-21T14:13:20Z,47.5,8.5,4,12.5,\n\n"
    fix = only(read_track(text.encode("utf-8-sig"), "a.csv"))
    assert (fix.accuracy_m, fix.speed_mps, fix.heading_deg) == (4.0, 12.5, None)


def test_order_of_the_file_is_kept():
    text = "time,lat,lon\n2026-09-21T14:13:21Z,47.5,8.5\n2026-09-21T14:13:20Z,47.5,8.5\n"
    assert [one.time_s for one in read_track(text.encode(), "a.csv")] == [T0 + 1, T0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a.csv:1: header has nothing, expected a column time or utc"),
        ("time,lat\n", "a.csv:1: header has time, lat, expected a column lon or longitude"),
        ("time,lat,lon\n2026-09-21T14:13:20Z,47.5,8.5\nnoon,47,8\n", "a.csv:3: time 'noon', expected RFC 3339"),
        ("time,lat,lon\n2026-09-21T14:13:20Z,47.5\n", "a.csv:2: 2 values, expected at least 3"),
        ("time,lat,lon\n2026-09-21T14:13:20Z,x,8\n", "a.csv:2: latitude 'x', expected a number"),
        ("time,lat,lon\n2026-09-21T14:13:20Z,97,8\n", "a.csv:2: latitude 97.0: expected -90 to 90"),
        ("time,lat,lon,speed_mps\n2026-09-21T14:13:20Z,47,8,-3\n", "a.csv:2: speed -3.0: expected 0 to 1000"),
    ],
)
def test_csv_faults_say_where_and_what(text, said):
    with pytest.raises(TrackError) as raised:
        read_track(text.encode(), "a.csv")
    assert said in str(raised.value)


def gpx(points, head=""):
    return f'<?xml version="1.0"?>{head}<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{points}</trkseg></trk></gpx>'


def test_gpx_points():
    points = (
        '<trkpt lat="47.5" lon="8.5"><time>2026-09-21T14:13:20Z</time><speed>3.5</speed><hdop>1.2</hdop>'
        "<extensions><course>370</course></extensions></trkpt><trkpt lat='47' lon='8'/>"
    )
    fix = only(read_track(gpx(points).encode(), "a.gpx"))
    assert (fix.time_s, fix.latitude, fix.speed_mps, fix.hdop, fix.heading_deg) == (T0, 47.5, 3.5, 1.2, 10.0)


def test_a_real_gpx_file():
    fixes = read_track((TRACKS / "istria_car.gpx").read_bytes(), "istria_car.gpx")
    assert len(fixes) > 100
    assert all(45.0 < one.latitude < 46.0 for one in fixes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (gpx("", '\n<!DOCTYPE gpx [<!ENTITY a "aaaa">]>'), "a.gpx:2: <!DOCTYPE is refused"),
        (gpx("<trkpt>"), "a.gpx:1: mismatched tag"),
        ("<kml/>", "a.gpx:1: <kml>, expected <gpx>"),
        (gpx('<trkpt lat="x" lon="8"><time>2026-09-21T14:13:20Z</time></trkpt>'), "track point 1: lat 'x'"),
        (gpx('<trkpt lat="4" lon="8"><time>now</time></trkpt>'), "track point 1: time 'now'"),
    ],
)
def test_gpx_faults(text, said):
    with pytest.raises(TrackError) as raised:
        read_track(text.encode(), "a.gpx")
    assert said in str(raised.value)


def test_position_reports_one_a_line_or_in_lists():
    one = {"fixTime": "2026-09-21T14:13:20Z", "latitude": 47.5, "longitude": 8.5, "seq": 7, "bootId": "b"}
    two = {**one, "seq": 8, "fixTime": 1_790_000_001_000, "accuracy": 3, "fixType": "DGNSS", "heading": 90}
    text = f'{json.dumps(one)}\n{json.dumps([two])}\n\n{{"summary":{{"accepted":2,"refused":0}}}}\n'
    first, second = read_track(text.encode(), "a.jsonl")
    assert (first.seq, first.boot_id, first.unit) == (7, "b", "a.jsonl")
    assert (second.time_s, second.accuracy_m, second.fix_type, second.heading_deg) == (T0 + 1, 3.0, FixType.DGNSS, 90.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}\n", "a.jsonl:1: fixTime None, expected RFC 3339"),
        ("\n{\n", "a.jsonl:2: Expecting"),
        ("3\n", "a.jsonl:1: 3, expected a position report"),
        ('{"fixTime":0,"latitude":true,"longitude":8}\n', "a.jsonl:1: latitude True, expected a number"),
    ],
)
def test_jsonl_faults(text, said):
    with pytest.raises(TrackError) as raised:
        read_track(text.encode(), "a.jsonl")
    assert said in str(raised.value)


def test_geojson_points_and_lines():
    point = {
        "type": "Feature",
        "properties": {"time": "2026-09-21T14:13:20Z", "accuracy_m": 5},
        "geometry": {"type": "Point", "coordinates": [8.5, 47.5, 400]},
    }
    line = {
        "type": "Feature",
        "properties": {"coordTimes": ["2026-09-21T14:13:21Z", 1_790_000_002_000]},
        "geometry": {"type": "LineString", "coordinates": [[8.5, 47.5], [8.6, 47.6]]},
    }
    text = json.dumps({"type": "FeatureCollection", "features": [point, line]})
    fixes = read_track(text.encode(), "a.geojson")
    assert [one.time_s for one in fixes] == [T0, T0 + 1, T0 + 2]
    assert (fixes[0].accuracy_m, fixes[2].latitude) == (5.0, 47.6)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "expected a GeoJSON object"),
        ({"type": "FeatureCollection", "features": [{}]}, "feature 1: no geometry"),
        ({"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[8, 47]]}}, "expected `coordTimes`"),
        ({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": []}}, "geometry 'Polygon'"),
        ({"type": "Feature", "properties": {"time": 5}, "geometry": {"type": "Point", "coordinates": 3}}, "position 3"),
    ],
)
def test_geojson_faults(document, said):
    with pytest.raises(TrackError) as raised:
        read_track(json.dumps(document).encode(), "a.geojson")
    assert said in str(raised.value)


def test_the_format_is_told_by_name_then_by_content():
    report = b'{"fixTime":1790000000000,"latitude":47.5,"longitude":8.5}'
    assert only(read_track(report, "upload")).time_s == T0
    assert only(read_track(report, "odd.csv", "jsonl")).time_s == T0
    assert only(read_track(b"time,lat,lon\n1790000000000,47.5,8.5", "upload")).time_s == T0
    assert read_track(gpx("").encode(), "upload") == []
    with pytest.raises(TrackError, match="expected auto or one of csv"):
        read_track(report, "a", "kml")
    with pytest.raises(TrackError, match="expected UTF-8"):
        read_track(b"time\n\xff", "a.csv")


def test_receiver_logs_go_through_the_decoder_that_is_handed_in():
    handed = []

    def decoder(data, unit):
        handed.append((data, unit))
        return [Fix(unit, T0, 47.0, 8.0, T0)]

    assert only(read_track(b"$GPRMC", "logs/x.nmea", nmea_decoder=decoder)).unit == "x.nmea"
    assert handed == [(b"$GPRMC", "x.nmea")]
    with pytest.raises(TrackError, match="needs a decoder"):
        read_track(b"$GPRMC", "x.log")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.sampled_from([*FORMATS, "auto"]))
def test_whatever_the_bytes_it_is_fixes_or_a_track_error(data, kind):
    try:
        fixes = read_track(data, "t", kind, nmea_decoder=lambda _data, _unit: [])
    except TrackError as error:
        assert str(error).startswith("t")
    else:
        assert isinstance(fixes, list)


def test_the_end_of_a_file_invents_no_exit():
    ring = ((8.4, 47.4), (8.6, 47.4), (8.6, 47.6), (8.4, 47.6), (8.4, 47.4))
    index = compile_index(ZoneSet("1", (BorderZone(id="z", polygons=((ring,),)),)))
    fixes = [Fix("u", T0 + k, 47.5, 8.5 + k * 1e-4, T0 + k, seq=k) for k in (0, 1, 5)]
    found = [e for e in detect_track(index, fixes) if isinstance(e, DetectionEvent)]
    assert [(e.event.value, e.kind.value) for e in found] == [("ENTERED", "FOUND_INSIDE")]
