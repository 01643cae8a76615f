"""Sentences behind the guard."""

from __future__ import annotations

import datetime
from functools import reduce
from operator import xor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.epochs import Observation
from firmware_bridge.fix_gate import Evidence
from firmware_bridge.messages import Event, PositionReport, Refusal
from firmware_bridge.nmea import NmeaDecoder, read_sentence


def decode(data: bytes) -> list[Event]:
    decoder = NmeaDecoder(skip_header=True)
    return decoder.feed(data) + decoder.end()


def reports(events: list[Event]) -> list[PositionReport]:
    return [event for event in events if isinstance(event, PositionReport)]


RMC = "GPRMC,120000.00,A,4741.50000,N,00836.25000,E,10.0,90.0,011226,,,A"
GGA = "GPGGA,120000.00,4741.50000,N,00836.25000,E,1,08,0.9,400.0,M,48.0,M,,"


def test_rmc_in_our_units():
    seen = read_sentence(RMC.encode())
    assert seen == Observation(
        kind="RMC",
        time_of_day_ms=43_200_000,
        date=datetime.date(2026, 12, 1),
        latitude=pytest.approx(47.691666667),
        longitude=pytest.approx(8.604166667),
        speed_mps=pytest.approx(5.14444),
        heading_deg=90.0,
        evidence=Evidence.PLAIN,
    )


@pytest.mark.parametrize("talker", ["GP", "GL", "GA", "GB", "BD", "GQ", "GI", "GN"])
def test_talker_makes_no_difference(talker):
    assert read_sentence(RMC.replace("GP", talker, 1).encode()) == read_sentence(RMC.encode())


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (RMC.replace(",N,", ",S,"), {"latitude": pytest.approx(-47.691666667)}),
        (RMC.replace(",E,", ",W,"), {"longitude": pytest.approx(-8.604166667)}),
        (RMC.replace("120000.00", "235959.9996"), {"time_of_day_ms": 86_400_000}),
        (RMC.removesuffix(",,,A"), {"evidence": Evidence.VALID}),
        (RMC.replace(",A,4", ",V,4"), {"evidence": Evidence.NO_FIX}),
        (RMC.removesuffix("A") + "D", {"evidence": Evidence.DGNSS}),
        (RMC.removesuffix("A") + "S", {"evidence": Evidence.SIMULATED}),
        ("GPRMC,,V,,,,,,,,,,N", {"evidence": Evidence.NO_FIX, "latitude": None, "time_of_day_ms": None}),
        (GGA.replace(",1,08", ",4,00"), {"evidence": Evidence.RTK, "satellites": 0}),
        (
            "GNGNS,120000,4741.5,N,00836.2,E,AAN,12,0.8,400,48,,,V",
            {"evidence": Evidence.PLAIN, "satellites": 12},
        ),
        ("GNGNS,120000,4741.5,N,00836.2,E,NN,0,99,,,,,V", {"evidence": Evidence.NO_FIX}),
        ("GNGNS,120000,4741.5,N,00836.2,E,AS,9,1,,,,,V", {"evidence": Evidence.SIMULATED}),
        ("GPGLL,4741.5,N,00836.2,E,120000,A,E", {"kind": "GLL", "evidence": Evidence.ESTIMATED}),
        ("GPZDA,120000,01,12,2026,00,00", {"date": datetime.date(2026, 12, 1)}),
        ("GPGSA,A,2,1,2,3,,,,,,,,,,2.0,1.0,1.5", {"nav_mode": 2, "satellites": 3}),
        (
            "PUBX,04,073731.00,091202,113851.00,1196,15D,1930035,-2660.664,43,",
            {"kind": "ZDA", "time_of_day_ms": 27_451_000, "date": datetime.date(2002, 12, 9)},
        ),
        ("GPGST,120000,,,,,1.5,2.0,3", {"accuracy_m": pytest.approx(5.0)}),
        ("GPVTG,90.0,T,,M,10.0,N,18.5,K,A", {"speed_mps": pytest.approx(5.14444), "heading_deg": 90.0}),
        ("GPVTG,,T,,M,,N,36.0,K,A", {"speed_mps": pytest.approx(10.0)}),
        (
            "PUBX,00,120000.00,4741.5,N,00836.2,E,450.0,D3,2.0,3.0,36.0,90.0,0.0,,1.0,1.5,1.0,11,0,0",
            {"evidence": Evidence.DGNSS, "nav_mode": 3, "accuracy_m": 4.0, "speed_mps": pytest.approx(10.0)},
        ),
    ],
)
def test_sentence_read(sentence, expected):
    seen = read_sentence(sentence.encode())
    assert {name: getattr(seen, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("sentence", "word"),
    [
        (RMC.replace(",E,", ",V,"), "hemisphere"),
        (RMC.replace(",N,", ",X,"), "hemisphere"),
        (RMC.replace("4741.5", "4760.5"), "minutes"),
        (RMC.replace("4741.5", "9141.5"), "90"),
        (RMC.replace("00836.2", "18136.2"), "180"),
        (RMC.replace("00836.25000", ""), "position"),
        (RMC.replace("00836.2", "0836.2"), "position"),
        (RMC.replace(",A,4", ",B,4"), "status"),
        (RMC.removesuffix("A") + "X", "mode"),
        (RMC.replace("10.0,9", "500.0,9"), "spd"),
        (RMC.replace("90.0", "361"), "cog"),
        (RMC.replace("90.0", "nan"), "cog"),
        (RMC.replace("011226", "320126"), "ddmmyy"),
        (RMC.replace("120000.00", "126000.00"), "time"),
        (RMC.replace("120000.00", "12:00:00"), "letters"),
        (RMC.replace("10.0,9", "1_0.0,9"), "letters"),
        (GGA.replace(",1,08", ",9,08"), "quality"),
        (GGA.replace(",1,08", ",,08"), "quality"),
        (GGA.replace(",1,08", ",1,0x"), "field decoder"),
        (GGA.replace("0.9", "-1"), "HDOP"),
        ("GPZDA,120000,31,02,2026,00,00", "calendar"),
        ("GPZDA,120000,01,12,1970,00,00", "1980"),
        ("GPGSA,A,0,,,,,,,,,,,,,1,1,1", "mode"),
        ("GPGLL,4741.5,N,00836.2,E,120000", "status"),
        ("PUBX,00,120000.00,4741.5,N,00836.2,E,450.0,ZZ,2,3,36,90,0,,1,1,1,11,0,0", "navigation status"),
        ("PUBX,00,", "navigation status"),
        ("GPRMC,", "status"),
    ],
)
def test_damage_behind_a_right_checksum_is_refused_and_not_quoted(sentence, word):
    refusal = read_sentence(sentence.encode())
    assert isinstance(refusal, Refusal), refusal
    assert word in refusal.detail
    assert "4741" not in refusal.detail and "836" not in refusal.detail
    assert refusal.quote == b"$" + sentence.encode()


@pytest.mark.parametrize("body", [b"GPGSV,3,1,09", b"PGRME,15", b"AIVDM,1", b"", b"GPRMC"])
def test_other_sentences_say_nothing(body):
    assert read_sentence(body) is None


FIELD = st.one_of(
    st.sampled_from(["", "A", "V", "N", "E", "120000.00", "4741.5", "00836.2", "011226", "1", "-1", "1e9", "inf"]),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="$!*,"), max_size=8),
)
TYPES = st.sampled_from(["RMC", "GGA", "GNS", "GLL", "ZDA", "GSA", "GST", "VTG"]).map("GN{}".format)


@settings(max_examples=200, deadline=None)
@given(st.one_of(TYPES, st.just("PUBX,00")), st.lists(FIELD, max_size=20))
def test_nonsense_with_a_right_checksum_never_raises_and_gives_no_wild_value(kind, fields):
    seen = read_sentence(",".join([kind, *fields]).encode())
    if isinstance(seen, Observation):
        assert seen.latitude is None or abs(seen.latitude) <= 90
        assert seen.longitude is None or abs(seen.longitude) <= 180
        assert seen.speed_mps is None or 0 <= seen.speed_mps <= 150.1
        assert seen.time_of_day_ms is None or 0 <= seen.time_of_day_ms <= 86_400_000


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=10))
def test_garbage_gives_no_report(chunks):
    decoder = NmeaDecoder()
    for chunk in chunks:
        assert reports(decoder.feed(chunk)) == []
    assert reports(decoder.end()) == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_character_changed_is_refused(data):
    body = data.draw(st.sampled_from([RMC, GGA])).encode()
    at = data.draw(st.integers(0, len(body) - 1))
    line = bytearray(b"$" + body + b"*%02X\r\n" % reduce(xor, body, 0))
    line[at + 1] ^= data.draw(st.integers(1, 127))
    assert reports(decode(bytes(line))) == []


def test_live_decoder_reports_after_silence():
    decoder = NmeaDecoder(live=True)
    body = RMC.encode()
    assert decoder.feed(b"$" + body + b"*%02X\r\n" % reduce(xor, body, 0), 10.0) == []
    due_s = decoder.due_s()
    assert decoder.tick(due_s - 0.01) == []
    assert len(reports(decoder.tick(due_s))) == 1
