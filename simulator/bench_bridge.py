"""`borderlane bench bridge`: sentences of receivers and frames of microcontrollers that one core takes.

The load of sentences is a drive as a receiver speaks it: RMC, GGA and GSA for each fix. Ours cuts the byte
stream, checks sums and fields, and joins the sentences to one report for each fix; pynmeagps and pynmea2 read the
fields of lines already cut; gpsd's `gpsdecode` does the whole way to JSON in C.
"""

from __future__ import annotations

import importlib
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable

from pynmeagps import NMEAReader

from firmware_bridge.link_messages import FrameReader, Lease, encode_frame
from firmware_bridge.messages import PositionReport
from firmware_bridge.nmea import NmeaDecoder
from simulator.bench_figure import REPEATS, Figure, Tell
from simulator.serial_unit import nmea_sentences

FIXES = 30_000
SENTENCES_A_FIX = 3
CHUNK_BYTES = 4_096
"""As much as a busy port gives at a time."""
PEER_SENTENCES = 30_000
FRAMES = 100_000
START_MS = 1_796_126_400_000


def bridge(tell: Tell, *, scale: float = 1.0, repeats: int = REPEATS) -> Iterable[Figure]:
    """Figures `bridge.*`.

    Args:
        tell: Is told what is being measured.
        scale: Share of the load to measure with.
        repeats: Runs of which the best counts.
    """
    fixes = max(20, round(FIXES * scale))
    tell(f"NMEA: {fixes} fixes, {SENTENCES_A_FIX} sentences each")
    data = drive(fixes)
    ours = max(_decoder_rate(data, fixes) for _ in range(repeats))
    yield Figure("bridge.nmea", ours, "sentences/s", _peer_rates(data, scale, repeats))
    frames = max(20, round(FRAMES * scale))
    tell(f"microcontroller link: {frames} leases, encoded, read again a port's read at a time")
    yield Figure("bridge.frames", max(_frame_rate(frames) for _ in range(repeats)), "frames/s")


def drive(fixes: int) -> bytes:
    """One fix a second on the way north at 20 m/s, as a receiver speaks it."""
    return b"".join(
        nmea_sentences(
            PositionReport(
                latitude=46.0 + number * 0.00018 % 1.5,
                longitude=8.5,
                fix_time_ms=START_MS + number * 1_000,
                speed=20.0,
                heading=0.5,
                fix_type="3D",
            )
        )
        for number in range(fixes)
    )


def _decoder_rate(data: bytes, fixes: int) -> float:
    decoder, reports = NmeaDecoder(), 0
    begun_s = time.process_time()
    for at in range(0, len(data), CHUNK_BYTES):
        reports += len(decoder.feed(data[at : at + CHUNK_BYTES]))
    reports += len(decoder.end())
    spent_s = time.process_time() - begun_s
    assert reports == fixes, f"{reports} reports of {fixes} fixes"
    return fixes * SENTENCES_A_FIX / spent_s


def _frame_rate(frames: int) -> float:
    """Both ways: a message to bytes, and the bytes to a message checked field by field."""
    reader, read = FrameReader(), 0
    begun_s = time.process_time()
    data = b"".join(
        encode_frame(Lease(seq=number & 255, output=1, state=1, boot=7, expires_uptime_ms=number, text="LANE 2"))
        for number in range(frames)
    )
    for at in range(0, len(data), CHUNK_BYTES):
        read += sum(isinstance(message, Lease) for message in reader.feed(data[at : at + CHUNK_BYTES]))
    spent_s = time.process_time() - begun_s
    assert read == frames, f"{read} of {frames} frames came back"
    return frames / spent_s


def _peer_rates(data: bytes, scale: float, repeats: int) -> dict[str, float]:
    """Those that are installed; pynmea2 comes with the development dependencies, gpsdecode with Debian's gpsd."""
    lines = data.splitlines(keepends=True)[: max(20, round(PEER_SENTENCES * scale))]
    rates = {"pynmeagps": max(_rate(NMEAReader.parse, lines) for _ in range(repeats))}
    try:
        parse = importlib.import_module("pynmea2").parse
    except ImportError:
        pass
    else:
        texts = [line.decode() for line in lines]
        rates["pynmea2"] = max(_rate(parse, texts) for _ in range(repeats))
    if (program := shutil.which("gpsdecode")) is not None:
        rates["gpsd"] = max(_gpsd_rate(program, data) for _ in range(repeats))
    return rates


def _rate(parse: Callable[[str | bytes], object], lines: list[str] | list[bytes]) -> float:
    begun_s = time.process_time()
    for line in lines:
        parse(line)
    return len(lines) / (time.process_time() - begun_s)


def _gpsd_rate(program: str, data: bytes) -> float:
    """Processor time of the child; its start is part of it, which the load makes small."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([program, "-j"], input=data, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return data.count(b"\n") / max(spent_s, 1e-3)
