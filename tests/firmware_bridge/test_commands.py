"""`decode` as a person calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_bridge.capture import VERSION, Header, Recorder

CORPUS = Path(__file__).parents[1] / "corpus" / "serial"
COMMAND = [sys.executable, "-m", "firmware_bridge.commands", "decode", "--format"]


def decode(*arguments: object, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_file_and_standard_input_give_the_same_lines():
    log = CORPUS / "gnss" / "nl2008u.log"
    done = decode("nmea", log, "--json")
    assert done.returncode == 0
    assert decode("nmea", "-", data=log.read_bytes()).stdout == done.stdout
    assert decode("nmea", data=log.read_bytes()).stdout == done.stdout
    *reports, last = lines(done)
    assert last == {"summary": {"accepted": 9, "refused": 0}}
    assert [report["seq"] for report in reports] == list(range(1, 10))
    assert reports[0]["fixTime"] == "2015-10-10T09:12:32.000Z"


def test_ubx_log_as_bytes_and_as_hex_text_and_found_out_by_itself():
    log = CORPUS / "gnss" / "ublox-neo-m8n.log"
    done = decode("ubx", log)
    *reports, last = lines(done)
    assert last == {"summary": {"accepted": 24, "refused": 0}}
    assert reports[1]["fixTime"] == "2017-07-19T08:50:01.000Z"
    assert decode("gnss", log).stdout == done.stdout
    frames = log.read_bytes()[log.read_bytes().index(b"\xb5\x62") :]
    assert decode("ubx", data=frames.hex(" ").encode()).stdout == done.stdout


def test_refused_input_is_told_on_standard_error_and_counted():
    done = decode("nmea", data=b"$GPGGA,1,2*00\r\n$GPZDA,120000,31,02,2026,00,00*4D\r\n")
    assert done.returncode == 0
    assert lines(done) == [{"summary": {"accepted": 0, "refused": 2}}]
    first, second = done.stderr.decode().splitlines()
    assert first == "refused bad_checksum: sentence: expected the XOR of its bytes after `*`: '$GPGGA,1,2*00'"
    assert second.startswith("refused bad_field: ZDA: date: expected a day of the calendar")


def test_json_document_over_several_lines(tmp_path):
    document = {"_type": "location", "lat": 47.7, "lon": 8.6, "tst": 1_796_126_400}
    path = tmp_path / "one.json"
    path.write_text(json.dumps(document, indent=2))
    report, summary = lines(decode("owntracks", path))
    assert (report["latitude"], report["fixTime"]) == (47.7, "2026-12-01T12:00:00.000Z")
    assert summary == {"summary": {"accepted": 1, "refused": 0}}


def test_damaged_json_is_refused(tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(b'{"_type":"location"')
    done = decode("owntracks", path)
    assert lines(done) == [{"summary": {"accepted": 0, "refused": 1}}]
    assert b"not_json" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nmea", "/no/such/file"], ["/no/such/file", "No such file", "expected"]),
        (["nmea", "/tmp"], ["/tmp", "directory"]),
        (["morse"], ["morse"]),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_was_expected(arguments, words):
    done = decode(*arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    for word in words:
        assert word in done.stderr.decode()


def test_reader_that_goes_away_ends_it_quietly():
    process = subprocess.Popen(
        [*COMMAND, "nmea", str(CORPUS / "gnss" / "drive-reno-a.nmea")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout and process.stderr
    assert process.stdout.readline().startswith(b'{"seq":1,')
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0
    process.stderr.close()


def test_each_report_comes_as_soon_as_its_bytes_do():
    log = (CORPUS / "gnss" / "nl2008u.log").read_bytes()
    process = subprocess.Popen(
        [*COMMAND, "nmea"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdin and process.stdout
    process.stdin.write(log[:4000])
    process.stdin.flush()
    assert process.stdout.readline().startswith(b'{"seq":1,')  # standard input is still open
    process.stdin.close()
    assert b"summary" in process.stdout.read()
    process.stdout.close()
    assert process.wait(60) == 0


def test_capture_is_known_by_its_first_bytes(tmp_path):
    header = Header(VERSION, "/dev/gnss", 9_600, "2026-12-01T12:00:00.000Z")
    recorder = Recorder(tmp_path / "a.blcap", header)
    log = (CORPUS / "gnss" / "nl2008u.log").read_bytes()
    for at in range(0, len(log), 500):
        recorder.record("in", log[at : at + 500], at / 1000)
    recorder.close()
    done = decode("nmea", recorder.path)
    assert done.stdout == decode("nmea", data=log).stdout
    assert decode("nmea", "--speed", "1000", data=recorder.path.read_bytes()).stdout == done.stdout


def test_capture_of_another_version_is_wrong_usage():
    done = decode("nmea", data=b'{"borderlaneCapture":7,"port":"","baud":1,"startedAt":""}\n')
    assert done.returncode == 2
    assert b"version 7; expected 1" in done.stderr


@pytest.mark.parametrize(
    ("name", "reports"),
    [("ais", 102), ("ruptela", 1), ("queclink", 1)],
)
def test_other_formats(name, reports):
    if name == "ais":
        data = (CORPUS / "ais" / "ais-raw-messages.log").read_bytes()
    else:
        file = {"ruptela": "ruptela.jsonl", "queclink": "queclink-text.jsonl"}[name]
        data = json.loads((CORPUS / "telematics" / file).read_text().splitlines()[0])["data"].encode()
    *found, last = lines(decode(name, data=data))
    assert len(found) == reports
    assert last == {"summary": {"accepted": reports, "refused": 0}}
