"""The position report as JSON."""

from __future__ import annotations

import datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.messages import MAX_TIME_MS, PositionReport, rfc3339, to_json


def test_all_fields_have_the_names_of_the_contract():
    report = PositionReport(
        unit="CH-1",
        seq=7,
        boot_id="b1",
        fix_time_ms=1_793_491_200_005,
        latitude=47.75,
        longitude=8.625,
        accuracy=7.2,
        speed=12.5,
        heading=90.0,
        satellites=9,
        hdop=0.9,
        fix_type="3D",
        authenticated=False,
    )
    assert to_json(report) == (
        b'{"unit":"CH-1","seq":7,"bootId":"b1","fixTime":"2026-11-01T00:00:00.005Z","latitude":47.75,'
        b'"longitude":8.625,"accuracy":7.2,"speed":12.5,"heading":90.0,"satellites":9,"hdop":0.9,'
        b'"fixType":"3D","authenticated":false}'
    )


def test_what_the_unit_did_not_send_is_left_out_but_a_missing_time_is_told():
    report = PositionReport(latitude=47.0, longitude=8.0, fix_time_ms=None)
    assert to_json(report) == b'{"fixTime":null,"latitude":47.0,"longitude":8.0}'


@given(st.integers(0, MAX_TIME_MS))
def test_time_comes_back_to_the_millisecond(time_ms):
    read = msgspec.json.decode(msgspec.json.encode(rfc3339(time_ms)), type=datetime.datetime)
    since = read - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert since // datetime.timedelta(milliseconds=1) == time_ms
    assert len(rfc3339(time_ms)) == len("2026-11-22T10:00:00.000Z")
