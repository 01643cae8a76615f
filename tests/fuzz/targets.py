"""What must hold for every decoder, whatever bytes it is given. Used by hypothesis in CI and by atheris at night."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from firmware_bridge.capture import LINE_LIMIT, MAGIC, CaptureError, Replay
from firmware_bridge.commands import DECODERS, Format
from firmware_bridge.messages import Event, PositionReport, Refusal, to_json

CORPUS = Path(__file__).parents[1] / "corpus" / "serial"
BUFFER_LIMIT = {"owntracks": 260_000, "traccar": 260_000, "flespi": 260_000, "capture": LINE_LIMIT}
"""Bytes a decoder may keep between two calls: one document or one line of a capture; others at most
`USUAL_LIMIT`."""
USUAL_LIMIT = 17_000
"""16 messages of AIS of which one part is missing; frames of the other formats have 8 KB at most."""
SEED_BYTES = 4_000
_SEEDS = {
    "nmea": ["gnss/nmea-fuzzy-cases.log", "gnss/nl2008u.log", "gnss/tcp-torture.log"],
    "ubx": ["gnss/ublox-lea-5h.log", "gnss/ublox-zed-f9p-rtk.log"],
    "gnss": ["gnss/ublox-neo-m8n.log", "gnss/ublox8-uniqid-monhw.log"],
    "ais": ["ais/ais_unpack_sixbit.log", "ais/ais-raw-messages.log"],
    "ruptela": ["telematics/ruptela.jsonl"],
    "teltonika": ["telematics/teltonika.jsonl", "telematics/teltonika-vectors.jsonl"],
    "queclink": ["telematics/queclink-text.jsonl"],
    "owntracks": ["telematics/owntracks.jsonl"],
}
_CAPTURE = MAGIC + b'1,"port":"p","baud":9600,"startedAt":""}\n{"t_ms":5,"d":"in","b":"JEdQUk1DLA=="}\n'


def _capture() -> Any:
    return Replay(DECODERS[Format.NMEA]())


TARGETS: dict[str, Callable[[], Any]] = {format_.value: make for format_, make in DECODERS.items()}
TARGETS["capture"] = _capture


def seeds(name: str) -> list[bytes]:
    """Real input of a format; formats without any begin with other formats' input."""
    if name == "capture":
        return [_CAPTURE]
    files = _SEEDS.get(name) or [file for known in _SEEDS.values() for file in known]
    return [seed for file in files for seed in _inputs(CORPUS / file)]


def _inputs(path: Path) -> list[bytes]:
    """The beginning of a log, or each frame of a file of frames."""
    if path.suffix != ".jsonl":
        return [path.read_bytes()[:SEED_BYTES]]
    frames = map(json.loads, path.read_text().splitlines())
    return [_frame_bytes(frame)[:SEED_BYTES] for frame in frames]


def _frame_bytes(frame: dict[str, Any]) -> bytes:
    match frame["encoding"], frame["data"]:
        case "hex", data:
            return bytes.fromhex(data)
        case "text", data:
            return data.encode()
        case _, data:
            return json.dumps(data).encode()


def check(name: str, data: bytes) -> None:
    """Feed these bytes; raises what the decoder raises, or AssertionError for a broken promise.

    Whole and in chunks (their size from the first byte) must give the same, events must be printable, and
    what is kept between two calls is bounded.
    """
    size = 1 + data[0] % 80 if data else 1
    try:
        whole = list(_events(name, data, max(1, len(data))))
    except CaptureError:  # the file is no capture: told before anything is decoded
        assert name == "capture"
        return
    assert list(_events(name, data, size)) == whole
    for event in whole:
        assert isinstance(event, PositionReport | Refusal)
        if isinstance(event, PositionReport):
            to_json(event)
        else:
            assert event.reason and event.detail


def _events(name: str, data: bytes, size: int) -> Iterator[Event]:
    decoder = TARGETS[name]()
    for at in range(0, len(data), size):
        yield from decoder.feed(data[at : at + size])
        assert decoder.buffered <= BUFFER_LIMIT.get(name, USUAL_LIMIT), f"{name} keeps {decoder.buffered} bytes"
    yield from decoder.end()
