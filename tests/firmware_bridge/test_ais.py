"""AIS lines to position reports and particulars of vessels."""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import reduce
from operator import xor
from pathlib import Path

import pyais
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.ais import (
    OPEN_LIMIT,
    PARTS_LIMIT_LINES,
    PARTS_LIMIT_S,
    VESSELS_LIMIT,
    AisDecoder,
    fix_time_ms,
)
from firmware_bridge.lines import LINE_LIMIT
from firmware_bridge.messages import Event, PositionReport, Refusal, to_json

CORPUS = Path(__file__).parents[1] / "corpus" / "serial" / "ais"
LOGS = ["ais-raw-messages.log", "ais_unpack_sixbit.log", "sample.aivdm"]
NOON_S = 1_796_126_400
BUFFER_LIMIT = 10 * LINE_LIMIT
MMSI = 211_234_560
PLACE = {"lat": 47.5667, "lon": 9.3833, "accuracy": 1, "second": 40}


def said(kind: int, **fields: object) -> bytes:
    """Sentences of one message, as a receiver writes them."""
    lines = pyais.encode_dict({"msg_type": kind, "mmsi": MMSI, **fields}, talker_id="AI", seq_id=3)
    return "".join(line + "\r\n" for line in lines).encode()


def sentence(body: bytes) -> bytes:
    return b"!" + body + b"*%02X\r\n" % reduce(xor, body, 0)


def tagged(line: bytes, fields: bytes) -> bytes:
    return b"\\" + fields + b"*%02X\\" % reduce(xor, fields, 0) + line


def decode(data: bytes, chunk: int = 1 << 20) -> list[Event]:
    decoder = AisDecoder()
    events: list[Event] = []
    for at in range(0, len(data), chunk):
        events += decoder.feed(data[at : at + chunk])
        assert decoder.buffered <= BUFFER_LIMIT
    return events + decoder.end()


def reasons(events: list[Event]) -> list[str]:
    return [event.reason if isinstance(event, Refusal) else "report" for event in events]


@pytest.mark.parametrize("name", LOGS)
def test_corpus_position_for_position(name):
    expected_file = (CORPUS / name).with_suffix(".expected.jsonl")
    expected = Counter()
    for line in expected_file.read_text().splitlines():
        message = json.loads(line)
        if message.get("lat") is not None:
            speed = message.get("speed_mps")
            place = round(message["lat"], 4), round(message["lon"], 4)
            expected[message["type"], message["mmsi"], *place, None if speed is None else round(speed, 1)] += 1
    found = Counter(
        (
            report.ais_type,
            int(report.unit),
            round(report.latitude, 4),
            round(report.longitude, 4),
            None if report.speed is None else round(report.speed, 1),
        )
        for report in decode((CORPUS / name).read_bytes())
        if isinstance(report, PositionReport)
    )
    assert sum(expected.values()) > 4
    assert found == expected


@pytest.mark.parametrize("name", LOGS)
def test_chunks_make_no_difference(name):
    data = (CORPUS / name).read_bytes()
    whole = decode(data)
    for chunk in (1, 7, 64):
        assert decode(data, chunk) == whole


def test_report_has_no_time_but_the_second():
    [report] = decode(said(1, speed=8.4, course=271.5, heading=268, **PLACE))
    assert report == PositionReport(
        unit="211234560",
        latitude=47.5667,
        longitude=9.3833,
        fix_time_ms=None,
        accuracy=10.0,
        speed=pytest.approx(4.3213, abs=0.001),
        heading=271.5,
        authenticated=False,
        ais_type=1,
        utc_second=40,
    )
    written = json.loads(to_json(report))
    assert (written["fixTime"], written["type"], written["utcSecond"]) == (None, 1, 40)
    assert written["authenticated"] is False


@pytest.mark.parametrize("kind", [1, 2, 3, 9, 18, 19, 21, 27])
def test_each_position_type(kind):
    [report] = [event for event in decode(said(kind, **PLACE)) if isinstance(event, PositionReport)]
    assert report.ais_type == kind
    assert (report.latitude, report.longitude) == pytest.approx((47.5667, 9.3833), abs=0.002)


@pytest.mark.parametrize("kind", [4, 11])
def test_base_station_has_its_own_date(kind):
    date = {"year": 2026, "month": 12, "day": 1, "hour": 12, "minute": 0, "second": 7}
    [report] = decode(said(kind, **PLACE | date))
    assert report.fix_time_ms == (NOON_S + 7) * 1000
    [dateless] = decode(said(kind, **PLACE | date | {"month": 0}))
    assert dateless.fix_time_ms is None


@pytest.mark.parametrize(
    ("fields", "speed", "heading"),
    [
        ({"speed": 102.3, "course": 90, "heading": 90}, None, None),
        ({"speed": 10, "course": 360, "heading": 33}, 5.14444, 33),
        ({"speed": 10, "course": 360, "heading": 511}, 5.14444, None),
        ({"speed": 0.1, "course": 90, "heading": 90}, 0.0514444, None),
    ],
)
def test_values_for_not_available(fields, speed, heading):
    [report] = decode(said(1, **PLACE | fields))
    assert report.speed == (None if speed is None else pytest.approx(speed))
    assert report.heading == heading


def test_not_available_position_is_neither_report_nor_refusal():
    assert decode(said(1, lat=91, lon=181)) == []


@pytest.mark.parametrize(
    ("data", "reason", "word"),
    [
        (said(1, **PLACE | {"lat": 95}), "bad_position", "latitude"),
        (said(1, **PLACE | {"lat": 0, "lon": 0}), "bad_position", "0/0"),
        (said(1, **PLACE).replace(b",A,", b",B,"), "bad_checksum", "XOR"),
        (said(1, **PLACE).partition(b"*")[0], "cut_short", "hex digits"),
        (sentence(b"AIVDM,1,1,,A,13U4vF0P001d<UnE,0"), "cut_short", "96 bits"),
        (sentence(b"AIVDM,1,1,,A,13U4~F0P001d<UnEeSmQ>gv`04hd,0"), "bad_field", "payload"),
        (sentence(b"AIVDM,1,2,,A,13U4vF0P001d<UnEeSmQ>gv`04hd,0"), "bad_field", "count"),
        (sentence(b"AIVDM,1,1,,A,13U4vF0P001d<UnEeSmQ>gv`04hd,9"), "bad_field", "fill bits"),
        (b"!AIVDM,1,1,,A," + b"1" * LINE_LIMIT + b"\r\n", "too_long", "1024"),
        (said(1, **PLACE, mmsi=1_040_000_000), "bad_field", "MMSI"),
    ],
)
def test_refused_with_what_and_where(data, reason, word):
    [refusal] = decode(data)
    assert (refusal.reason, word in refusal.detail) == (reason, True), refusal


def test_finds_its_feet_after_garbage():
    good = said(1, **PLACE)
    events = decode(b"\x00\xff!!$GPGGA,,*\\" + good[:20] + good[:-2] + b"\x80noise" + good + b"!AIVDM,1,1,,A,1")
    assert reasons(events) == ["cut_short", "report", "report", "cut_short"]


def test_other_sentences_pass_in_silence():
    assert decode(sentence(b"AIABK,x,y,1,2,3") + b"# comment !AIVDM,1,1,,A,x,0*00\r\n$GPZDA,*00\r\n") == []


PARTS = said(
    5, shipname="RHEINGOLD", callsign="DA1234", to_bow=80, to_stern=30, to_port=5, to_starboard=6, ship_type=70
)
FIRST, SECOND = PARTS.splitlines(keepends=True)


def test_two_parts_make_the_particulars():
    decoder = AisDecoder()
    assert decoder.feed(FIRST) == [] and not decoder.vessels
    assert decoder.feed(SECOND) == []
    [vessel] = decoder.vessels.values()
    assert (vessel.name, vessel.call_sign, vessel.ship_type) == ("RHEINGOLD", "DA1234", 70)
    assert (vessel.length_m, vessel.beam_m) == (110.0, 11.0)


def test_inland_vessel_adds_its_number_and_load():
    decoder = AisDecoder()
    fields = {"dac": 200, "fid": 10, "vin": "02103547", "length": 110.0, "beam": 11.4, "hazard": 1, "loaded": 1}
    decoder.feed(PARTS + said(8, **fields))
    [vessel] = decoder.vessels.values()
    assert (vessel.name, vessel.eni, vessel.length_m, vessel.blue_cones, vessel.loaded) == (
        "RHEINGOLD",
        "02103547",
        110.0,
        1,
        True,
    )


def test_both_parts_of_a_class_b_vessel():
    decoder = AisDecoder()
    decoder.feed(said(24, partno=0, shipname="SWAN") + said(24, partno=1, callsign="HB5", ship_type=37))
    [vessel] = decoder.vessels.values()
    assert (vessel.name, vessel.call_sign, vessel.ship_type) == ("SWAN", "HB5", 37)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (FIRST, ["parts_missing"]),
        (SECOND, ["parts_missing"]),
        (SECOND + FIRST, ["parts_missing", "parts_missing"]),
        (FIRST + FIRST + SECOND, ["parts_missing"]),
        (FIRST + sentence(b"AIVDM,1,1,,A,x,0") * (PARTS_LIMIT_LINES + 1) + SECOND, ["parts_missing", "parts_missing"]),
    ],
)
def test_parts_that_do_not_belong_together(data, expected):
    assert reasons([event for event in decode(data) if event.reason == "parts_missing"]) == expected


def test_parts_of_two_vessels_between_each_other():
    other = said(5, mmsi=244_660_390, shipname="WILJO").replace(b",3,A,", b",4,A,")
    lines = [line for line in other.split(b"\r\n") if line]
    fixed = [sentence(line[1:].partition(b"*")[0]) for line in lines]
    decoder = AisDecoder()
    decoder.feed(FIRST + fixed[0] + SECOND + fixed[1])
    assert sorted(vessel.name for vessel in decoder.vessels.values()) == ["RHEINGOLD", "WILJO"]


def test_old_parts_are_given_up_by_time():
    decoder = AisDecoder()
    decoder.feed(FIRST, now_s=100.0)
    assert decoder.tick(100.0 + PARTS_LIMIT_S) == []
    assert reasons(decoder.tick(100.1 + PARTS_LIMIT_S)) == ["parts_missing"]
    assert decoder.buffered == 0


def test_what_is_kept_is_bounded():
    decoder = AisDecoder()
    for number in range(OPEN_LIMIT + 5):
        decoder.feed(sentence(b"AIVDM,2,1,%d,%d,55Mf@6P00001MUS;7GQL4hh61L4hh6222222220t41H,0" % (number % 10, number)))
    assert len(decoder._open) == OPEN_LIMIT
    decoder.end()
    for number in range(VESSELS_LIMIT + 3):
        decoder._know(next(iter(_known(number))))
    assert len(decoder.vessels) == VESSELS_LIMIT
    assert f"{2:09d}" not in decoder.vessels


def _known(number: int):
    from firmware_bridge.ais import Vessel

    yield Vessel(mmsi=f"{number:09d}")


@pytest.mark.parametrize(
    ("fields", "expected_s"),
    [
        (b"s:r1,c:%d" % (NOON_S + 41), NOON_S + 40),
        (b"c:%d000,s:r1" % (NOON_S + 41), NOON_S + 40),
        (b"c:%d" % (NOON_S + 5), NOON_S - 20),
        (b"s:r1", None),
        (b"c:%d" % 12, None),
    ],
)
def test_tag_block_dates_a_recording(fields, expected_s):
    [report] = decode(tagged(said(1, **PLACE), fields))
    assert report.fix_time_ms == (None if expected_s is None else expected_s * 1000)


def test_damaged_tag_block_dates_nothing():
    line = tagged(said(1, **PLACE), b"c:%d" % NOON_S).replace(b"c:17", b"c:18")
    assert [report.fix_time_ms for report in decode(line)] == [None]


@pytest.mark.parametrize("second", [60, 61, 62, 63])
def test_second_that_says_there_is_none(second):
    [report] = decode(tagged(said(1, **PLACE | {"second": second}), b"c:%d" % NOON_S))
    assert (report.fix_time_ms, report.utc_second) == (None, second)


@pytest.mark.parametrize(
    ("received_s", "second", "expected_s"),
    [
        (NOON_S + 40.2, 40, NOON_S + 40),
        (NOON_S + 40.2, 38, NOON_S + 38),
        (NOON_S + 0.2, 59, NOON_S - 1),
        (NOON_S + 39.9, 40, NOON_S + 40),  # the second is rounded, clocks differ
        (NOON_S + 37.9, 40, NOON_S - 20),
    ],
)
def test_latest_time_with_that_second(received_s, second, expected_s):
    assert fix_time_ms(received_s, second) == expected_s * 1000


@given(st.floats(NOON_S, NOON_S + 10_000), st.integers(0, 59))
def test_time_has_the_second_and_is_at_most_a_minute_old(received_s, second):
    time_s = fix_time_ms(received_s, second) / 1000
    assert time_s % 60 == second
    assert -60 < time_s - received_s <= 1


@settings(deadline=None)
@given(
    st.sampled_from([1, 2, 3, 18, 19]),
    st.floats(-89.9, 89.9).filter(lambda degrees: abs(degrees) > 0.001),
    st.floats(-179.9, 179.9),
    st.integers(0, 1022),
    st.integers(0, 3599),
    st.integers(0, 63),
)
def test_values_come_through(kind, latitude, longitude, tenths_kn, tenths_deg, second):
    fields = {"lat": latitude, "lon": longitude, "speed": tenths_kn / 10, "course": tenths_deg / 10, "second": second}
    [report] = [event for event in decode(said(kind, **fields), 7) if isinstance(event, PositionReport)]
    assert (report.latitude, report.longitude) == pytest.approx((latitude, longitude), abs=2e-6)
    assert report.speed == pytest.approx(tenths_kn * 0.0514444)
    assert report.heading is None or report.heading == pytest.approx(tenths_deg / 10)
    assert (report.unit, report.utc_second) == (str(MMSI), second)


def test_damaged_log_gives_no_wrong_position():
    """One character of each sentence changed: the checksum finds every one."""
    data = (CORPUS / "ais-raw-messages.log").read_bytes()
    spoilt, dice = bytearray(data), random.Random(4)
    at = 0
    while (at := data.find(b"!AIVD", at + 1)) >= 0:
        spoilt[at + dice.randrange(7, data.index(b"*", at) - at)] ^= 1 << dice.randrange(6)
    assert not [event for event in decode(bytes(spoilt)) if isinstance(event, PositionReport)]


def test_lost_lines_give_no_wrong_position():
    dice = random.Random(5)
    for name in LOGS:
        lines = (CORPUS / name).read_bytes().splitlines(keepends=True)
        whole = Counter(event for event in decode(b"".join(lines)) if isinstance(event, PositionReport))
        left = [line for line in lines if dice.random() < 0.8]
        found = Counter(event for event in decode(b"".join(left)) if isinstance(event, PositionReport))
        assert not found - whole
