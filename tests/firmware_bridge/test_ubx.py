"""Frames behind the guard."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.epochs import Observation
from firmware_bridge.fix_gate import Evidence
from firmware_bridge.messages import Refusal
from firmware_bridge.ubx import read_frame
from tests.firmware_bridge import receivers as say
from tests.firmware_bridge.receivers import Moment

AT = Moment(1_796_126_400_250, 47.6916667, -8.6041667, 12.345, 271.25)


def read(frame: bytes) -> Observation | Refusal | None:
    return read_frame(frame[2:-2])


def put(frame: bytes, offset: int, layout: str, value: int) -> bytes:
    """The frame with one field of its payload changed; the checksum plays no part here."""
    changed = bytearray(frame)
    struct.pack_into(f"<{layout}", changed, 6 + offset, value)
    return bytes(changed)


@pytest.mark.parametrize("length", [84, 92, 128])
def test_pvt_in_our_units(length):
    assert read(say.pvt(AT, length=length)) == Observation(
        kind="NAV-PVT",
        itow_ms=AT.week_and_itow[1],
        utc_ms=AT.time_ms,
        evidence=Evidence.PLAIN,
        nav_mode=3,
        satellites=9,
        accuracy_m=pytest.approx(3.0),
        speed_mps=pytest.approx(12.345),
        heading_deg=pytest.approx(271.25),
        latitude=pytest.approx(47.6916667),
        longitude=pytest.approx(-8.6041667),
    )


@pytest.mark.parametrize(("nano", "apart_ms"), [(-200_000, 0), (-600_000, -1), (799_999_600, 800), (499_999, 0)])
def test_time_is_rounded_to_the_millisecond_never_cut(nano, apart_ms):
    whole = Moment(1_796_126_400_000, 47.0, 8.0, 1.0, 0.0)
    assert read(put(say.pvt(whole), 16, "i", nano)).utc_ms == whole.time_ms + apart_ms


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (say.sol(AT), {"week": AT.week_and_itow[0], "satellites": 9, "accuracy_m": pytest.approx(6.0)}),
        (say.sol(AT, flags=5), {"week": None}),
        (say.posllh(AT), {"latitude": pytest.approx(47.6916667), "accuracy_m": pytest.approx(3.0), "evidence": None}),
        (put(say.posllh(AT), 20, "I", 0xFFFFFFFF), {"accuracy_m": None}),
        (say.hpposllh(AT), {"longitude": pytest.approx(-8.6041667, abs=1e-9), "accuracy_m": pytest.approx(0.04)}),
        (say.hpposllh(AT, invalid=1), {"latitude": None, "evidence": Evidence.NO_FIX}),
        (say.velned(AT), {"speed_mps": pytest.approx(12.345, abs=0.006), "heading_deg": pytest.approx(271.25)}),
        (put(say.velned(AT), 24, "i", -9_000_000), {"heading_deg": pytest.approx(270.0)}),
        (say.status(AT, gps_fix=2), {"evidence": Evidence.PLAIN, "nav_mode": 2}),
        (put(say.status(AT), 7, "B", 0x80), {"evidence": Evidence.RTK}),
        (say.timeutc(AT), {"utc_ms": AT.time_ms}),
        (say.timeutc(AT, valid=3), {"utc_ms": None}),
        (say.timegps(AT), {"leap_s": 18, "week": AT.week_and_itow[0]}),
        (say.timegps(AT, valid=3), {"leap_s": None}),
        (say.timegps(AT, valid=1), {"week": None}),
        (say.eoe(AT), {"kind": "NAV-EOE", "itow_ms": AT.week_and_itow[1]}),
        (say.hnr(AT), {"speed_mps": pytest.approx(12.345), "utc_ms": AT.time_ms}),
        (say.pvt(AT, valid=1), {"utc_ms": None}),
    ],
)
def test_frame_read(frame, expected):
    seen = read(frame)
    assert isinstance(seen, Observation) or not expected
    assert {name: getattr(seen, name) for name in expected} == expected


def test_receiver_at_the_centre_of_the_earth_has_no_position():
    frame = say.posecef(AT)
    for offset in (4, 8, 12):
        frame = put(frame, offset, "i", 0)
    assert read(frame).latitude is None


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_earth_centred_position_becomes_latitude_and_longitude(latitude, longitude):
    seen = read(say.posecef(Moment(0, latitude, longitude, 0.0, 0.0)))
    assert seen.latitude == pytest.approx(latitude, abs=1e-7)
    away = (seen.longitude - longitude + 180) % 360 - 180
    assert abs(away) < 1e-7 / max(1e-6, abs(1 - abs(latitude) / 90)) or abs(latitude) > 89.999


@pytest.mark.parametrize(
    ("frame", "reason", "word"),
    [
        (say.pvt(AT, length=0) + b"", None, ""),
        (say.pvt(AT, length=83), "bad_length", "83 bytes"),
        (say.pvt(AT, length=91), "bad_length", "91 bytes"),
        (say.ubx(1, 6, bytes(51)), "bad_length", "NAV-SOL"),
        (say.ubx(1, 0x61, bytes(129)), "bad_length", "129"),
        (put(say.pvt(AT), 0, "I", 604_800_000), "bad_field", "iTOW"),
        (put(say.pvt(AT), 4, "H", 1970), "bad_field", "year"),
        (put(say.pvt(AT), 6, "B", 13), "bad_field", "calendar"),
        (put(say.pvt(AT), 8, "B", 24), "bad_field", "time of day"),
        (put(say.pvt(AT), 10, "B", 60), "bad_field", "leap second"),
        (put(say.pvt(AT), 20, "B", 6), "bad_field", "fix type"),
        (put(say.pvt(AT), 24, "i", 1_800_000_001), "bad_field", "180"),
        (put(say.pvt(AT), 28, "i", 900_000_001), "bad_field", "90"),
        (put(say.pvt(AT), 60, "i", 150_001), "bad_field", "150"),
        (put(say.pvt(AT), 60, "i", -1), "bad_field", "speed"),
        (put(say.pvt(AT), 64, "i", 36_000_001), "bad_field", "heading"),
        (put(say.sol(AT), 8, "h", -1), "bad_field", "week"),
        (put(say.sol(AT), 12, "i", 2_000_000_000), "bad_field", "surface"),
        (put(say.sol(AT), 28, "i", 2_000_000_000), "bad_field", "speed"),
    ],
)
def test_damage_behind_a_right_checksum_is_refused_and_not_told(frame, reason, word):
    refusal = read(frame)
    assert (refusal and refusal.reason) == reason
    if refusal:
        assert word in refusal.detail
        assert "47" not in refusal.detail
        assert refusal.quote == frame[2:-2]


@pytest.mark.parametrize("frame", [say.ubx(5, 1, b"\x06\x01"), say.ubx(1, 0x35, bytes(660)), say.ubx(1, 7, b"")])
def test_other_frames_and_questions_say_nothing(frame):
    assert read(frame) is None


KINDS = st.sampled_from([(1, n) for n in (1, 2, 3, 6, 7, 0x12, 0x14, 0x20, 0x21, 0x61)] + [(0x28, 0)])


@settings(max_examples=200, deadline=None)
@given(KINDS, st.binary(max_size=140))
def test_nonsense_never_raises_and_gives_no_wild_value(kind, payload):
    seen = read(say.ubx(*kind, payload))
    if isinstance(seen, Observation):
        assert 0 <= seen.itow_ms < 604_800_000
        assert seen.latitude is None or abs(seen.latitude) <= 90
        assert seen.speed_mps is None or 0 <= seen.speed_mps <= 150
