"""The receiver on a pseudo-terminal says what the decoder understands."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.messages import MAX_TIME_MS, PositionReport
from firmware_bridge.nmea import NmeaDecoder
from simulator.serial_unit import SerialReceiver, nmea_sentences

FIX_TYPES = ["2D", "3D", "DGNSS", "RTK", "ESTIMATED"]
FIRST_MS, LAST_MS = 315_964_800_000, 3_124_223_999_000  # 1980 to 2068, the years of a GNSS date


def decoded(data: bytes) -> list[PositionReport]:
    decoder = NmeaDecoder()
    return decoder.feed(data) + decoder.end()


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.integers(FIRST_MS, LAST_MS),
    st.floats(0.6, 100),
    st.floats(0, 359.99),
    st.integers(1, 12),
    st.sampled_from(FIX_TYPES),
)
def test_decoder_reads_back_what_was_sent(latitude, longitude, time_ms, speed, heading, satellites, fix_type):
    sent = PositionReport(
        latitude=latitude,
        longitude=longitude,
        fix_time_ms=time_ms,
        speed=speed,
        heading=heading,
        satellites=satellites,
        fix_type=fix_type,
    )
    if abs(latitude) < 1e-7 and abs(longitude) < 1e-7:
        return  # 0/0 is refused on purpose
    [got] = decoded(nmea_sentences(sent))
    assert got.latitude == pytest.approx(latitude, abs=1e-7)
    assert got.longitude == pytest.approx(longitude, abs=1e-7)
    assert got.fix_time_ms == time_ms
    assert got.speed == pytest.approx(speed, abs=0.001)
    assert got.heading == pytest.approx(heading, abs=0.006)
    assert (got.satellites, got.fix_type) == (satellites, fix_type)


def test_sentences_as_a_receiver_writes_them():
    report = PositionReport(
        latitude=47.75,
        longitude=-8.625,
        fix_time_ms=1_793_491_200_250,
        speed=10.0,
        heading=90.0,
        satellites=3,
    )
    assert nmea_sentences(report).split(b"\r\n") == [
        b"$GNRMC,000000.250,A,4745.00000,N,00837.50000,W,19.438,90.00,011126,,,A*55",
        b"$GNGGA,000000.250,4745.00000,N,00837.50000,W,1,03,0.90,,M,,M,,*56",
        b"$GNGSA,A,3,01,02,03,,,,,,,,,,0.90,0.90,0.90*15",
        b"",
    ]


@pytest.mark.parametrize("fix_type", ["NONE", "SIMULATED"])
def test_no_fix_and_simulated_are_no_reports(fix_type):
    report = PositionReport(latitude=47.7, longitude=8.6, fix_time_ms=MAX_TIME_MS // 200, fix_type=fix_type)
    events = decoded(nmea_sentences(report))
    assert [event.reason for event in events] == ([] if fix_type == "NONE" else ["simulated"])
    if fix_type == "NONE":
        assert b"47" not in nmea_sentences(report)


def test_minutes_never_reach_sixty():
    assert b",4800.00000,N," in nmea_sentences(PositionReport(latitude=47.99999999, longitude=8, fix_time_ms=10**12))


def test_fix_without_a_time_cannot_be_said():
    with pytest.raises(ValueError, match="fix_time_ms"):
        nmea_sentences(PositionReport(latitude=47, longitude=8, fix_time_ms=None))


def test_path_comes_and_goes_with_the_plug(tmp_path):
    with SerialReceiver(tmp_path / "ports", "gnss0") as receiver:
        assert receiver.plugged and receiver.path.exists()
        receiver.unplug()
        receiver.unplug()
        assert not receiver.plugged and not receiver.path.is_symlink()
        receiver.write(b"nobody hears this")
        assert receiver.lost_bytes == 17
        receiver.replug()
        receiver.replug()
        assert receiver.path.exists()
    assert not receiver.path.is_symlink()


def test_bytes_reach_the_path_unchanged_and_a_full_line_loses_them(tmp_path):
    with SerialReceiver(tmp_path, "gnss0") as receiver:
        reader = os.open(receiver.path, os.O_RDONLY | os.O_NOCTTY)
        receiver.write(b"\x03\x04\r\n\x11\xff")
        assert os.read(reader, 100) == b"\x03\x04\r\n\x11\xff"
        for _ in range(200):
            receiver.write(b"x" * 1024)
        assert receiver.lost_bytes > 0
        os.close(reader)


async def test_line_takes_as_long_as_its_baud_rate_says(tmp_path):
    report = PositionReport(latitude=47.7, longitude=8.6, fix_time_ms=1_793_491_200_000)
    with SerialReceiver(tmp_path, "gnss0", baud=9_600) as receiver:
        started_s = time.monotonic()
        await receiver.send(report)
        assert time.monotonic() - started_s >= len(nmea_sentences(report)) * 10 / 9_600
