"""Raw bytes recorded with their timing, and decoded again."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.ais import AisDecoder
from firmware_bridge.capture import LINE_LIMIT, MAGIC, VERSION, CaptureError, Header, Recorder, Replay
from firmware_bridge.messages import Event, Refusal
from firmware_bridge.nmea import NmeaDecoder
from firmware_bridge.reopening import LinkState, PortState
from firmware_bridge.session import SerialSource

CORPUS = Path(__file__).parents[1] / "corpus" / "serial"
HEADER = Header(VERSION, "/dev/gnss", 9_600, "2026-12-01T12:00:00.000Z")


class Echo:
    def __init__(self) -> None:
        self.data = b""

    def feed(self, data: bytes) -> list[Event]:
        self.data += data
        return []

    def end(self) -> list[Event]:
        return [Refusal("end", "", self.data)]


def replayed(capture: bytes, decoder, size: int, **options) -> list[Event]:
    replay = Replay(decoder, **options)
    events = [event for at in range(0, len(capture), size) for event in replay.feed(capture[at : at + size])]
    return events + replay.end()


def record(path: Path, chunks: list[bytes], **options) -> Recorder:
    recorder = Recorder(path, HEADER, **options)
    for number, chunk in enumerate(chunks):
        recorder.record("in", chunk, 50.0 + number * 0.5)
    return recorder


def test_file_is_the_owners_and_reads_as_json_lines(tmp_path):
    recorder = record(tmp_path / "a.blcap", [b"one", b"\xff"])
    recorder.record("out", b"GO", 51.2)
    recorder.close()
    assert stat.S_IMODE(recorder.path.stat().st_mode) == 0o600
    assert recorder.path.read_bytes().startswith(MAGIC)
    header, *chunks = map(json.loads, recorder.path.read_text().splitlines())
    assert header == {
        "borderlaneCapture": 1,
        "port": "/dev/gnss",
        "baud": 9_600,
        "startedAt": "2026-12-01T12:00:00.000Z",
    }
    assert [(chunk["t_ms"], chunk["d"]) for chunk in chunks] == [(0, "in"), (500, "in"), (1200, "out")]
    with pytest.raises(FileExistsError):
        Recorder(recorder.path, HEADER)


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 200))
def test_what_came_in_comes_again(tmp_path_factory, chunks, size):
    recorder = record(tmp_path_factory.mktemp("c") / "a.blcap", chunks)
    recorder.record("out", b"never replayed", 99.0)
    recorder.close()
    [end] = replayed(recorder.path.read_bytes(), Echo(), size)
    assert end.quote == b"".join(chunks)


@pytest.mark.parametrize(
    ("name", "decoder"),
    [("gnss/nl2008u.log", lambda: NmeaDecoder(skip_header=True)), ("ais/ais-raw-messages.log", AisDecoder)],
)
def test_replay_gives_the_reports_of_the_line(tmp_path, name, decoder):
    data = (CORPUS / name).read_bytes()
    live = decoder()
    expected = live.feed(data) + live.end()
    recorder = record(tmp_path / "a.blcap", [data[at : at + 100] for at in range(0, len(data), 100)])
    recorder.close()
    capture = recorder.path.read_bytes()
    assert len(expected) > 5
    for size in (1, 1000, len(capture)):
        assert replayed(capture, decoder(), size) == expected


@pytest.mark.parametrize(("speed", "waited"), [(0.0, []), (1.0, [0.5, 0.5]), (10.0, [0.05, 0.05])])
def test_timing_as_recorded(tmp_path, speed, waited):
    recorder = record(tmp_path / "a.blcap", [b"a", b"b", b"c"])
    recorder.close()
    slept: list[float] = []
    replayed(recorder.path.read_bytes(), Echo(), 10, speed=speed, sleep=slept.append)
    assert slept == pytest.approx(waited)


def test_recording_ends_at_its_bounds(tmp_path):
    by_time = record(tmp_path / "a.blcap", [b"a"] * 10, limit_s=2.0)
    assert (by_time.state, by_time.path.read_bytes().count(b"\n")) == ("full", 6)
    by_size = record(tmp_path / "b.blcap", [b"x" * 1000] * 10, limit_bytes=4_000)
    assert by_size.state == "full"
    assert by_size.path.stat().st_size == by_size.bytes <= 4_000


def test_full_disk_stops_the_recording_and_nothing_else(tmp_path, monkeypatch, absent):
    if not Path("/dev/full").exists():
        absent("there is no /dev/full, a disk without room")
    open_file = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode: open_file("/dev/full", os.O_WRONLY))
    recorder = Recorder(tmp_path / "a.blcap", HEADER)
    recorder.record("in", b"a", 1.0)
    assert recorder.state == "failed"
    recorder.close()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b'{"t_ms":-1,"d":"in","b":""}',
        b'{"t_ms":1,"d":"up","b":""}',
        b'{"t_ms":1,"d":"in","b":"\xff"}',
        b'{"t_ms":1,"d":"in","b":"%%%"}',
        b"x" * (LINE_LIMIT + 1),
    ],
)
def test_damaged_line_is_refused_and_the_next_one_read(tmp_path, line):
    recorder = record(tmp_path / "a.blcap", [b"a"])
    recorder.close()
    capture = recorder.path.read_bytes() + line + b'\n{"t_ms":9,"d":"in","b":"Yg=="}\n'
    *refused, end = replayed(capture, Echo(), 4096)
    assert end.quote == b"ab"
    assert [refusal.reason for refusal in refused] == ([] if not line else [refused[0].reason])
    assert all(refusal.reason in ("bad_capture", "too_long") for refusal in refused)


@pytest.mark.parametrize("header", [b"{}\n", b"[]\n", b'{"borderlaneCapture":2,"port":"","baud":1,"startedAt":""}\n'])
def test_other_files_are_no_captures(header):
    with pytest.raises(CaptureError):
        Replay(Echo()).feed(header)


async def test_serial_port_is_recorded_as_read(unit, tmp_path):
    recorder = Recorder(tmp_path / "a.blcap", HEADER)
    source = SerialSource(unit.path, recorder=recorder)
    sentence = b"$GPZDA,120000,01,12,2026,00,00*4B\r\nnoise"
    async for item in source.items():
        if isinstance(item, PortState) and item.state is LinkState.OPEN:
            unit.say(sentence + b"$GPGLL,1*00\r\n")
        elif isinstance(item, Refusal):
            break
    source.close()
    [end] = replayed(recorder.path.read_bytes(), Echo(), 64)
    assert recorder.state == "closed"
    assert end.quote == sentence + b"$GPGLL,1*00\r\n"
