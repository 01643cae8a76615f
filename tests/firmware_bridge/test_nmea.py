"""Sentences behind the guard, and whole receiver logs against what gpsd found in them."""

from __future__ import annotations

import datetime
import json
import math
import random
from functools import reduce
from operator import xor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.epochs import Observation
from firmware_bridge.fix_gate import Evidence
from firmware_bridge.messages import Event, PositionReport, Refusal
from firmware_bridge.nmea import NmeaDecoder, read_sentence

GNSS = Path(__file__).parents[1] / "corpus" / "serial" / "gnss"
LOGS = sorted(path for path in GNSS.iterdir() if path.suffix in (".log", ".nmea"))
NMEA_LOGS = [path for path in LOGS if not path.stem.startswith(("bu303", "ublox8"))]
RENO = GNSS / "drive-reno-a.nmea"
BUFFER_LIMIT = 8 * 1024


def decode(data: bytes, chunk: int = 65_536) -> list[Event]:
    decoder, events = NmeaDecoder(skip_header=True), []
    for at in range(0, len(data), chunk):
        events += decoder.feed(data[at : at + chunk])
        assert decoder.buffered <= BUFFER_LIMIT
    return events + decoder.end()


def reports(events: list[Event]) -> list[PositionReport]:
    return [event for event in events if isinstance(event, PositionReport)]


def expected_epochs(path: Path) -> dict[int, dict[str, float]]:
    """Epochs by time in ms, from the file beside the log."""
    lines = path.with_suffix(".expected.jsonl").read_text().splitlines()
    return {
        round(datetime.datetime.fromisoformat(epoch["time"]).timestamp() * 1000): epoch
        for epoch in map(json.loads, lines)
    }


def is_fix(epoch: dict[str, float]) -> bool:
    return epoch["mode"] >= 2 and "lat" in epoch


def metres(report: PositionReport, epoch: dict[str, float]) -> float:
    north_m = (report.latitude - epoch["lat"]) * 111_195
    return math.hypot(north_m, (report.longitude - epoch["lon"]) * 111_195 * math.cos(math.radians(epoch["lat"])))


@pytest.mark.parametrize("path", NMEA_LOGS, ids=lambda path: path.stem)
def test_log_gives_every_fix_and_no_other(path):
    expected = expected_epochs(path)
    found = {report.fix_time_ms: report for report in reports(decode(path.read_bytes()))}
    for time_ms, epoch in expected.items():
        if not is_fix(epoch):
            assert time_ms not in found, epoch
            continue
        # Some receivers state two positions in one epoch, metres apart; the corpus has the last.
        assert metres(found[time_ms], epoch) < (0.25 if path == RENO else 10.0), epoch


def test_motion_agrees_with_the_receivers():
    speeds, headings = [], []
    for path in NMEA_LOGS:
        found = {report.fix_time_ms: report for report in reports(decode(path.read_bytes()))}
        for time_ms, epoch in expected_epochs(path).items():
            if not is_fix(epoch) or "speed" not in epoch:
                continue
            report = found[time_ms]
            speeds.append(abs((report.speed or 0.0) - epoch["speed"]) <= 0.06)
            if "course" in epoch and epoch["speed"] >= 1:
                turn = (report.heading - epoch["course"] + 180) % 360 - 180
                headings.append(abs(turn) <= 0.6)
    assert len(speeds) > 2_000 and sum(speeds) / len(speeds) >= 0.99
    assert len(headings) > 1_400 and sum(headings) / len(headings) >= 0.99


def test_every_epoch_is_reported_once():
    for path in NMEA_LOGS:
        times = [report.fix_time_ms for report in reports(decode(path.read_bytes()))]
        assert len(times) == len(set(times)), path


def test_simulating_receiver_is_refused_for_that_reason():
    events = decode((GNSS / "garmin-geko201.log").read_bytes())
    assert reports(events) == []
    assert [event.reason for event in events].count("simulated") == 18


@pytest.mark.parametrize("stem", ["bu303-moving", "bu303-nofix"])
def test_unknown_protocol_gives_silence_and_noise(stem):
    decoder = NmeaDecoder(skip_header=True)
    assert decoder.feed((GNSS / f"{stem}.log").read_bytes()) + decoder.end() == []
    assert decoder.noise_bytes > 3_000


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_chunks_make_no_difference(path):
    data = path.read_bytes()
    whole = decode(data)
    for chunk in (1, 7, 64):
        assert decode(data, chunk) == whole, chunk


def test_a_fifth_of_the_sentences_lost():
    lines = RENO.read_bytes().splitlines(keepends=True)
    dice = random.Random(1)
    found = reports(decode(b"".join(line for line in lines if dice.random() >= 0.2)))
    assert len(found) >= 1_600
    assert_on_track(found)


def test_bytes_lost_in_bursts():
    data, dice = bytearray(RENO.read_bytes()), random.Random(2)
    for at in sorted((dice.randrange(len(data)) for _ in range(len(data) // 250)), reverse=True):
        del data[at : at + 50]
    found = reports(decode(bytes(data)))
    assert len(found) >= 1_200
    assert_on_track(found)


def test_bits_flipped():
    data, dice = bytearray(RENO.read_bytes()), random.Random(3)
    for _ in range(len(data) // 1000):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    found = reports(decode(bytes(data)))
    assert len(found) >= 1_600
    assert_on_track(found)


def assert_on_track(found: list[PositionReport]) -> None:
    """Every fix at a time of the drive and where the vehicle was then."""
    expected = expected_epochs(RENO)
    for report in found:
        assert metres(report, expected[report.fix_time_ms]) < 30, report


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
        ("GPGSA,A,2,1,2,3,,,,,,,,,,2.0,1.0,1.5", {"nav_mode": 2}),
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
