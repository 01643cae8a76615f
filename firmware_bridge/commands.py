"""`borderlane decode`: bytes of telematics hardware in, position reports out, one JSON line each."""

from __future__ import annotations

import enum
import itertools
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from typing import Annotated, NoReturn, Protocol

import msgspec
import typer

from firmware_bridge.capture import MAGIC, CaptureError, Replay
from firmware_bridge.messages import Event, Refusal, to_json

READ_BYTES = 65_536
ONE_DOCUMENT_LIMIT = 256 * 1024
"""A JSON file up to this size may be one document over several lines."""
QUOTE_LIMIT = 120
"""Bytes of refused input shown."""

app = typer.Typer(no_args_is_help=True, add_completion=False)


class Format(enum.StrEnum):
    """Formats the command knows by name."""

    NMEA = "nmea"
    UBX = "ubx"
    GNSS = "gnss"
    AIS = "ais"
    TELTONIKA = "teltonika"
    OWNTRACKS = "owntracks"
    TRACCAR = "traccar"
    FLESPI = "flespi"
    RUPTELA = "ruptela"
    QUECLINK = "queclink"


@dataclass
class Counts:
    """Of the summary line."""

    accepted: int = 0
    refused: int = 0


class Decoder(Protocol):
    """What every decoder offers: no I/O, no clock."""

    def feed(self, data: bytes) -> list[Event]:
        """Events these bytes complete."""
        ...

    def end(self) -> list[Event]:
        """Events still open at the end."""
        ...


@app.callback()
def _bridge() -> None:
    """Bytes from telematics hardware."""


@app.command()
def decode(
    input_format: Annotated[Format, typer.Option("--format", help="What the bytes are.")],
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Input; - is standard input.")] = "-",
    json: Annotated[bool, typer.Option("--json", help="JSON Lines, which this command always writes.")] = False,
    speed: Annotated[
        float, typer.Option(min=0.0, help="Of a capture: 1 as recorded, n times as fast, 0 without waiting.")
    ] = 0.0,
) -> None:
    """Decode recorded or piped bytes to position reports, one JSON line each.

    A capture of the agent (.blcap) is known by its first bytes, and what came in on the line is decoded.
    The last line is the summary. Refused input goes to standard error with its reason, and the exit status is
    0 all the same.
    """
    try:
        with _opened(file) as source:
            chunks = _chunks(source, one_document=input_format in JSON_FORMATS)
            first = _first_bytes(chunks)
            decoder = DECODERS[input_format]()
            if first.startswith(MAGIC):
                decoder = Replay(decoder, speed=speed)
            _run(decoder, itertools.chain([first], chunks))
    except CaptureError as error:
        _usage(f"{file}: {error}")
    except BrokenPipeError:
        # The reader has gone (`| head`); without this the interpreter complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _usage(message: str) -> NoReturn:
    typer.echo(f"borderlane decode: {message}", err=True)
    raise typer.Exit(2)


def _opened(file: str) -> FileIO:
    if file == "-":
        return FileIO(os.dup(0), "rb")
    try:
        return FileIO(file, "rb")
    except OSError as error:
        _usage(f"{file}: {error.strerror}; expected a file that can be read, or - for standard input")


def _nmea() -> Decoder:
    from firmware_bridge.nmea import NmeaDecoder

    return NmeaDecoder(skip_header=True)


def _gnss() -> Decoder:
    from firmware_bridge.gnss import GnssDecoder

    return GnssDecoder(skip_header=True)


def _ubx() -> Decoder:
    from firmware_bridge.gnss import GnssDecoder
    from firmware_bridge.hex_text import HexText

    return HexText(GnssDecoder(skip_header=True))  # a receiver that speaks UBX may also speak NMEA


def _ais() -> Decoder:
    from firmware_bridge.ais import AisDecoder

    return AisDecoder()


def _ruptela() -> Decoder:
    from firmware_bridge.hex_text import HexText
    from firmware_bridge.ruptela import RuptelaDecoder

    return HexText(RuptelaDecoder())


def _teltonika() -> Decoder:
    from firmware_bridge.hex_text import HexText
    from firmware_bridge.teltonika import TeltonikaDecoder

    return HexText(TeltonikaDecoder(udp=True))


def _queclink() -> Decoder:
    from firmware_bridge.queclink import QueclinkDecoder

    return QueclinkDecoder()


def _owntracks() -> Decoder:
    from firmware_bridge.platform_json import JsonLines, decode_owntracks

    return JsonLines(decode_owntracks)


def _traccar() -> Decoder:
    from firmware_bridge.platform_json import JsonLines, decode_traccar

    return JsonLines(decode_traccar)


def _flespi() -> Decoder:
    from firmware_bridge.platform_json import JsonLines, decode_flespi

    return JsonLines(decode_flespi)


DECODERS: dict[Format, Callable[[], Decoder]] = {
    Format.NMEA: _nmea,
    Format.UBX: _ubx,
    Format.GNSS: _gnss,
    Format.AIS: _ais,
    Format.TELTONIKA: _teltonika,
    Format.RUPTELA: _ruptela,
    Format.QUECLINK: _queclink,
    Format.OWNTRACKS: _owntracks,
    Format.TRACCAR: _traccar,
    Format.FLESPI: _flespi,
}
"""Each imports its decoder when called: the others' libraries cost start-up time."""
JSON_FORMATS = (Format.OWNTRACKS, Format.TRACCAR, Format.FLESPI)


def _chunks(source: FileIO, *, one_document: bool) -> Iterator[bytes]:
    """The input as it arrives; a small JSON file that is one document over several lines, as one line."""
    if one_document and stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        yield _on_one_line(source.read(ONE_DOCUMENT_LIMIT))
    while chunk := os.read(source.fileno(), READ_BYTES):
        yield chunk


def _first_bytes(chunks: Iterator[bytes]) -> bytes:
    """Enough of the input to know a capture, or all of it."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= len(MAGIC) or not MAGIC.startswith(first):
            break
    return first


def _on_one_line(data: bytes) -> bytes:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data
    return data.replace(b"\n", b" ")  # between the tokens only: inside a JSON string it would be an escape


def _run(decoder: Decoder, chunks: Iterator[bytes]) -> None:
    counts = Counts()
    for chunk in chunks:
        _write(decoder.feed(chunk), counts)
    _write(decoder.end(), counts)
    summary = {"summary": {"accepted": counts.accepted, "refused": counts.refused}}
    sys.stdout.buffer.write(msgspec.json.encode(summary) + b"\n")
    sys.stdout.buffer.flush()


def _write(events: list[Event], counts: Counts) -> None:
    """Whole lines, flushed for each chunk read: a reader behind a pipe sees every report at once."""
    for event in events:
        if isinstance(event, Refusal):
            counts.refused += 1
            sys.stderr.write(refusal_line(event) + "\n")
        else:
            counts.accepted += 1
            numbered = msgspec.structs.replace(event, seq=counts.accepted)
            sys.stdout.buffer.write(to_json(numbered) + b"\n")
    sys.stdout.buffer.flush()


def refusal_line(refusal: Refusal) -> str:
    """Reason, what was expected, and the refused bytes; the file is the user's, so they may be shown."""
    quote = repr(refusal.quote[:QUOTE_LIMIT])[1:] if refusal.quote else ""
    return f"refused {refusal.reason}: {refusal.detail}" + (f": {quote}" if quote else "")


if __name__ == "__main__":
    app()
