from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zones.frame import SWISS, LocalFrame, frame_for, lv95, lv95_to_degrees

# Origin and worked example of swisstopo's formula sheet, which promises better than 1 m.
REFERENCE = [
    ((46.951082877, 7.438632495), (2_600_000.0, 1_200_000.0)),
    ((46.0441311, 8.7304946), (2_700_000.0, 1_100_000.0)),
]


@pytest.mark.parametrize(("degrees", "metres"), REFERENCE)
def test_lv95_agrees_with_swisstopo(degrees, metres):
    assert math.dist(lv95(*degrees), metres) < 1.0


@given(st.floats(45.0, 48.5), st.floats(5.0, 11.5))
def test_lv95_is_undone_by_its_inverse(latitude, longitude):
    back = lv95_to_degrees(*lv95(latitude, longitude))
    assert back == pytest.approx((latitude, longitude), abs=1e-8)


@given(st.floats(-80, 80), st.floats(-180, 180), st.floats(-20_000, 20_000), st.floats(-20_000, 20_000))
def test_local_frame_is_undone_by_its_inverse(latitude, longitude, east_m, north_m):
    frame = LocalFrame(latitude, longitude)
    assert frame.to_metres(*frame.to_degrees(east_m, north_m)) == pytest.approx((east_m, north_m), abs=1e-3)


def test_local_frame_is_true_to_scale_within_20_km():
    frame = LocalFrame(52.0, 23.5)
    quarter_m = 10_001_965.7  # WGS 84 equator to pole
    _, north_m = frame.to_metres(52.1, 23.5)
    assert north_m == pytest.approx(quarter_m / 900.0, rel=0.003)


@pytest.mark.parametrize(
    ("positions", "swiss"),
    [([(47.0, 8.0), (46.0, 9.0)], True), ([(47.0, 8.0), (52.0, 9.0)], False), ([(-17.0, 179.9)], False)],
)
def test_frame_follows_the_place(positions, swiss):
    assert (frame_for(positions) is SWISS) is swiss


def test_frame_spans_the_antimeridian():
    frame = frame_for([(-17.0, 179.9), (-17.0, -179.9)])
    west, east = frame.to_metres(-17.0, 179.9)[0], frame.to_metres(-17.0, -179.9)[0]
    assert 0.0 < east - west < 25_000.0
