"""docs/serial-link.md is printed from the code: the message table, the numbers, and frames to test firmware with.

Print it anew with `BORDERLANE_WRITE_DOCS=1 pytest tests/architecture/test_serial_link.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from firmware_bridge import link, link_messages, outputs
from firmware_bridge.link_messages import (
    TABLE,
    Ack,
    Capability,
    Config,
    FaultCode,
    Heartbeat,
    Hello,
    Lease,
    Message,
    Output,
    ResetCause,
    Row,
    SightingKind,
    config_crc,
    encode_frame,
)
from firmware_bridge.outputs import (
    ALLOWED,
    DEFAULTS,
    PERMISSIVE,
    Nak,
    OutputKind,
    OutputSettings,
    OutputState,
    config_values,
)
from simulator import device_firmware

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "serial-link.md"
HEADER = ROOT / "firmware_bridge" / "reference" / "link_device.h"
HEAD = """# The serial link to roadside microcontrollers

Printed from the code by tests/architecture/test_serial_link.py, which fails when code and page differ. The device's
side is there in C, ready to be ported, under `firmware_bridge/reference/`.

A frame is `COBS(body + CRC-32 of the body, little endian)` and one byte `00`. The CRC is the one of zlib and Ethernet
(ISO-HDLC). The body is one MessagePack array `[type, seq, ...]` of at most {body} bytes that holds integers, text and
bytes only: no floats, no maps, no nil. A receiver drops more than {frame} bytes without `00` up to the next `00`. After
opening the port the host sends one `00`.

A device whose outputs are configured as the site wants them obeys leases. What it shows without one is the site's
default: dark or STOP, a barrier closed. A lease ends in the device's own uptime, so one that was delayed is dead when
it arrives; nothing permissive ({permissive}) ends further ahead than {ahead} ms.
"""
NUMBERED = """## Numbers, answers, repeats

- Messages acknowledged `yes` or `after commit` are numbered by `seq` from 0 after each HELLO, in each direction apart.
  In all others `seq` is 0, but HELLO has a number of its own that HELLO_REPLY gives back.
- One numbered message is outstanding at a time. Who gets a number twice running acts once and answers again.
- Agent: no answer within {ack} ms, again with the same number, {repeats} times; then the link is down. A new decision
  about the same output goes out at once under the next number.
- Device: repeats every {again} ms until it is answered, for ever; that never takes the link down. OUTPUT is sent when
  anything in it changes, and every {every} ms.
- Both: HEARTBEAT every {beat} ms; {silent} ms without one and the link is down. The device then drops what is
  permissive and answers leases with NAK NO_HELLO until the next HELLO.
- HELLO makes the device drop what is permissive, whatever host said it. Nothing is kept over a HELLO.
- Fields after those listed are ignored: a later version may add some. An unknown type is answered by NAK UNKNOWN_TYPE.
- Uptimes are u32 milliseconds and wrap after 49.7 days: compare them modulo 2^32.
"""
CONFIGURATION = """## Configuration

If `config_crc` of HELLO_REPLY is not the host's, it sends every value by CONFIG and then CONFIG_END. The device takes
all or nothing, keeps it over restarts, and stands at the new defaults. Key = output number x {items} + item; item
{kind} is the kind, item {default} the default. `config_crc` is the CRC-32 over key (u16) and value (u32) of each pair,
little endian, by rising key; at most {keys} pairs, {outputs} outputs, numbered from 0 without a gap.
"""
FIELD_TYPES = {
    (0, 0xFF): "u8",
    (0, 0xFFFF): "u16",
    (0, 0xFFFF_FFFF): "u32",
    (-0x8000_0000, 0x7FFF_FFFF): "i32",
    (0, 253_402_300_799_999): "UTC ms",
}


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _type_of(annotation: Any) -> str:
    base, meta = get_args(annotation)[:2]
    if base is int:
        return FIELD_TYPES[meta.ge, meta.le]
    return f"{'text' if base is str else 'bytes'} ≤ {meta.max_length}"


def _fields(row: Row) -> str:
    hints = get_type_hints(row.kind, include_extras=True)
    names = [name for name in row.kind.__struct_fields__ if name != "seq"]
    words = [f"{name} {_type_of(hints[name])}" for name in names]
    return ", ".join(word if number < row.required else f"[{word}]" for number, word in enumerate(words))


def message_rows() -> list[list[str]]:
    return [[str(row.number), row.name, row.way, row.acked, _fields(row)] for row in TABLE]


def meaning_rows() -> list[list[str]]:
    return [[row.name, " ".join((row.kind.__doc__ or "").split())] for row in TABLE]


def _words(kind: type[IntEnum]) -> str:
    return ", ".join(f"{one.value} {one.name}" for one in kind)


def kind_rows() -> list[list[str]]:
    rows = []
    for kind in OutputKind:
        can = ", ".join(state.name for state in sorted(ALLOWED[kind])) or "nothing"
        rests = ", ".join(state.name for state in sorted(DEFAULTS[kind]))
        rows.append([str(kind.value), kind.name, can, rests])
    return rows


SIGN = (OutputSettings(OutputKind.SIGN, OutputState.STOP),)
EXAMPLES: tuple[Message, ...] = (
    Heartbeat(0, 61_000, 7, 0, 0, 0),
    Ack(0, 5),
    Hello(1, 1, 1, 1_800_000_000_000, config_crc(config_values(SIGN))),
    Config(0, 1, OutputState.STOP),
    Lease(5, 0, OutputState.GO, 7, 63_800, 421, "LANE 2"),
    Output(0, 0, OutputState.GO, OutputState.GO, 421, 2_790, 350),
)


def _spaced(data: bytes) -> str:
    return data.hex(" ")


def example_rows() -> list[list[str]]:
    return [
        [f"`{msgspec.json.encode(message).decode()}`", f"`{_spaced(encode_frame(message))}`"] for message in EXAMPLES
    ]


def printed() -> str:
    """The whole page."""
    permissive = ", ".join(state.name for state in sorted(PERMISSIVE))
    parts = (
        HEAD.format(
            body=link_messages.MAX_BODY_BYTES,
            frame=link_messages.MAX_FRAME_BYTES,
            permissive=permissive,
            ahead=f"{outputs.PERMISSIVE_AHEAD_MS:,}",
        ),
        "## Messages\n",
        "a = agent, d = device; fields after `type` and `seq`, those in brackets may be missing.\n",
        _table(("type", "name", "way", "acked", "fields"), message_rows()),
        _table(("name", "says"), meaning_rows()),
        NUMBERED.format(
            ack=round(link.ACK_WITHIN_S * 1000),
            repeats=link.REPEATS,
            again=device_firmware.REPORT_AGAIN_MS,
            every=f"{device_firmware.REPORT_EVERY_MS:,}",
            beat=round(link.HEARTBEAT_EVERY_S * 1000),
            silent=f"{round(link.SILENT_AFTER_S * 1000):,}",
        ),
        "## Words\n",
        _table(
            ("field", "values"),
            [
                ["state, commanded, measured", _words(OutputState)],
                ["reason of NAK", _words(Nak)],
                ["reset_cause", _words(ResetCause)],
                ["kind of SIGHTING", _words(SightingKind)],
                ["code of FAULT", _words(FaultCode) + "; output 255 is the whole device"],
                [
                    "capabilities",
                    ", ".join(f"bit {one.value.bit_length() - 1} {one.name}" for one in Capability)
                    + f"; bits {link_messages.OUTPUTS_SHIFT} to {link_messages.OUTPUTS_SHIFT + 3} number of outputs",
                ],
            ],
        ),
        CONFIGURATION.format(
            items=outputs.CONFIG_ITEMS,
            kind=outputs.ITEM_KIND,
            default=outputs.ITEM_DEFAULT,
            keys=link_messages.MAX_CONFIG_KEYS,
            outputs=outputs.MAX_OUTPUTS,
        ),
        _table(("kind", "name", "can show", "rests at"), kind_rows()),
        "DEFAULT in a LEASE means the site's default; as a default it means dark.\n",
        "## Frames to test with\n",
        _table(("array", "on the line"), example_rows()),
    )
    return "\n".join(parts)


def test_page_is_what_the_code_says() -> None:
    if os.environ.get("BORDERLANE_WRITE_DOCS") == "1":
        FILE.write_text(printed(), "utf-8")
    assert FILE.read_text("utf-8") == printed()


def test_the_c_header_has_the_same_numbers() -> None:
    text = HEADER.read_text("utf-8")
    found = {name: int(value) for name, value in re.findall(r"(LINK_\w+) = (\d+)", text)}
    assert (
        found
        | {
            "LINK_PROTOCOL": link_messages.PROTOCOL,
            "LINK_MAX_BODY": link_messages.MAX_BODY_BYTES,
            "LINK_MAX_FRAME": link_messages.MAX_FRAME_BYTES,
            "LINK_MAX_OUTPUTS": outputs.MAX_OUTPUTS,
            "LINK_MAX_CONFIG": link_messages.MAX_CONFIG_KEYS,
            "LINK_MAX_SIGHTINGS": device_firmware.MAX_SIGHTINGS,
            "LINK_HEARTBEAT_MS": device_firmware.HEARTBEAT_EVERY_MS,
            "LINK_HOST_SILENT_MS": device_firmware.HOST_SILENT_MS,
            "LINK_REPORT_AGAIN_MS": device_firmware.REPORT_AGAIN_MS,
            "LINK_REPORT_EVERY_MS": device_firmware.REPORT_EVERY_MS,
            "LINK_MISMATCH_MS": outputs.MISMATCH_MS,
            "LINK_PERMISSIVE_AHEAD_MS": outputs.PERMISSIVE_AHEAD_MS,
            "LINK_RESTRICTIVE_AHEAD_MS": outputs.RESTRICTIVE_AHEAD_MS,
        }
        == found
    )
    (states,) = re.findall(r"enum link_state \{(.*?)\}", text)
    assert [word.strip() for word in states.split(",")] == [f"LINK_{state.name}" for state in OutputState]


def test_both_sides_wait_equally_long() -> None:
    assert device_firmware.HOST_SILENT_MS == link.SILENT_AFTER_S * 1000
    assert device_firmware.HEARTBEAT_EVERY_MS == link.HEARTBEAT_EVERY_S * 1000
