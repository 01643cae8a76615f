"""`make bench`: measures, and writes docs/benchmarks.md with the machine, the versions and the command.

Each group of figures has a section of its own between two markers; a run replaces the sections it measured.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from simulator.bench import GROUPS
from simulator.bench_figure import Figure

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/benchmarks.md"
PACKAGES = ("shapely", "numpy", "msgspec", "paho-mqtt", "apsw", "pynmeagps", "pynmea2")
HEAD = """# Benchmarks

Written by `make bench` and `make bench-peers`; do not edit by hand. Rates are for one core: fixes for each second
of processor time of one process, best of three runs. Run them again on your own machine before you rely on them:
on a shared machine they differ by half from one run to the next, while the ratios to the peers of the same run stay.
"""
NOTES = {
    "detection": """20,000 vehicles with 30 fixes each, 5 s apart, over the 384 zones that are shipped. *border*: all of
them drive within a few kilometres of a crossing, 9.35 % of the fixes lie in a zone. *inland*: one in ten does.
`engine.decode`: MessagePack rows of the inland mix in batches of 100, from bytes to events; `borderlane-maps` the
same as maps. `engine.zones…`: so many octagons of 150 m at random places of the country; above 2,000 the index is a
tree. Peers only look up which zones a position is in: no state, no accuracy, no segments, no direction.""",
    "journal": """What one entry into an activation zone leaves on disk: cursor, detector state, journey, activation,
signed and chained entry, request (encrypted) and outbox row, in one transaction with `synchronous=FULL`. Wall time:
one by one the disk is waited for each time; in groups of 32, as under load, once for each group.""",
    "start": """From the start of the process until `/readyz` says yes, with a broker and without customs; best of
three. `start.recoverS`: after `kill -9`, with 100,000 journeys of two declarations each in the data folder.""",
    "bridge": """Sentences of a receiver (RMC, GGA and GSA for each fix), processor time of one core. Ours goes all the
way: the byte stream is cut, sums and fields are checked, the sentences are joined to one report for each fix, and the
report passes the gate. pynmeagps and pynmea2 only read the fields of lines already cut; gpsd's `gpsdecode` (C) goes
the whole way to JSON. A full line at 115,200 baud is about 200 sentences/s. `bridge.frames`: a lease of the
microcontroller link to bytes (MessagePack, CRC-32, COBS) and back, both counted as one.""",
    "pages": """The control room with 20,000 vehicles that all move each second: Chromium without a graphics card at
1280 x 800. `page.tick…`: from the bytes of a frame to the picture, script time of one tick; target p95 below 20 ms.
`room.cpuMsPerS…`: processor time of `borderlane control-room` for each second, without a client and with 20 that pull
all positions (320 kB) each second and hold an event stream.""",
    "peers": """JSON positions one by one through the embedded broker, on QoS 0, to one subscriber at a time, which
publishes events back: borderlane's decoder and detector, Node-RED with a function node that asks turf for the zones
whose box holds the position, and Node-RED with one geofence node for each of the 64 inbound activation zones.""",
}


def write_section(group: str, figures: list[Figure], command: str) -> None:
    """Put the figures of one group into docs/benchmarks.md."""
    DOCUMENT.parent.mkdir(exist_ok=True)
    text = DOCUMENT.read_text() if DOCUMENT.exists() else HEAD
    body = "\n".join([f"<!-- {group} -->", *section(group, figures, command), f"<!-- end {group} -->"])
    pattern = re.compile(rf"<!-- {group} -->.*<!-- end {group} -->", re.DOTALL)
    text = pattern.sub(lambda _: body, text) if pattern.search(text) else f"{text.rstrip()}\n\n{body}\n"
    DOCUMENT.write_text(text)


def section(group: str, figures: list[Figure], command: str) -> list[str]:
    """Heading, machine and table, as lines."""
    lines = [
        f"## {group}",
        "",
        NOTES.get(group, ""),
        "",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {machine()}.",
        "",
    ]
    lines += ["| figure | value | unit | peers in the same run |", "| --- | ---: | --- | --- |"]
    for figure in figures:
        peers = ", ".join(f"{name} {amount(value)}{ratio(figure, value)}" for name, value in figure.peers.items())
        lines.append(f"| `{figure.id}` | {amount(figure.value)} | {figure.unit} | {peers} |")
    return [*lines, ""]


def amount(value: float) -> str:
    """Three digits are as many as a measurement has."""
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"


def ratio(figure: Figure, value: float) -> str:
    """How many times a peer's rate ours is."""
    return f" ({figure.value / value:.3g}x)" if figure.unit.endswith("/s") and value > 0.0 else ""


def machine() -> str:
    """Processor, cores, load, system and versions."""
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    load = os.getloadavg()[0]
    packages = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores (load {load:.1f}), "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {packages}, {_node()}"
    )


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _node() -> str:
    try:
        return (
            f"Node {subprocess.run(['node', '--version'], capture_output=True, text=True, check=True).stdout.strip()}"
        )
    except (OSError, subprocess.CalledProcessError):
        return "no Node"


def main() -> None:
    """Measure the groups named on the command line, or all."""
    for group in sys.argv[1:] or list(GROUPS):
        figures: list[Figure] = []
        for figure in GROUPS[group](lambda words: print(words, file=sys.stderr)):
            print(f"{figure.id}: {amount(figure.value)} {figure.unit}")
            figures.append(figure)
        write_section(group, figures, f"borderlane bench {group}")


if __name__ == "__main__":
    main()
