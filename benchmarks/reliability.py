"""Runs every enumeration of tests/faults and writes what it found to docs/reliability.md.

`python -m benchmarks.reliability [--full] [--only WORD] [--out FILE]`; without `--full` as far as `make test` goes.
With `--only` the lines that have the word are measured, and the others stay what benchmarks/reliability.json has.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw
import psutil

from benchmarks.checksum_cost import Cost, checksum_cost
from tests.faults.machinery import enumerate_in

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
KEPT = ROOT / "benchmarks" / "reliability.json"
"""What was found last, by line."""
HOURS_S = 4 * 3_600.0

Words = Callable[[dict[str, Any]], str]


@dataclass(frozen=True)
class Enumeration:
    """One line of the page."""

    what: str
    module: str
    short: tuple[object, ...]
    full: tuple[object, ...]
    counted: str
    bad: str = "bad"
    control: bool = False
    """Must be found out."""


ENUMERATIONS = (
    Enumeration("killed at each file call, then finished by a second process", "crash_points",
                (6, "kill", 3), (12, "kill", 1), "points"),
    Enumeration("killed, and killed again at each of the first calls of the recovery", "crash_points",
                (6, "again", 70), (8, "again", 5), "points"),
    Enumeration("EIO and ENOSPC at each file call, once and for ever", "crash_points",
                (6, "errors", 31), (8, "errors", 1), "points"),
    Enumeration("distinct disks after a power cut", "power_cuts", (8, "full", 15), (30, "full", 50), "states",
                "badStates"),
    Enumeration("damaged files: flipped bits, overwritten, zeroed, cut, old", "damage", (1_000,), (20_000, 2),
                "damaged", "badCount"),
    Enumeration("activations held while customs was away, handed over in order when it came back", "outage",
                (200, 2.4, 10), (6_000, 72, 300), "atCustoms"),
    Enumeration("control: kills of a writer that promises before it commits", "crash_points",
                (6, "ack-first", 10), (6, "ack-first", 1), "points", control=True),
    Enumeration("control: power cuts, promise before commit", "power_cuts", (8, "ack-first", 15),
                (8, "ack-first", 18), "states", "badStates", control=True),
    Enumeration("control: power cuts, synchronous = NORMAL", "power_cuts", (8, "normal", 15), (8, "normal", 18),
                "states", "badStates", control=True),
    Enumeration("control: power cuts, synchronous = OFF", "power_cuts", (8, "off", 15), (8, "off", 18), "states",
                "badStates", control=True),
)  # fmt: skip
STRACE = Enumeration("killed by strace at each system call on the data folder, one loop for each call",
                     "strace_points", (), (5,), "points")  # fmt: skip


@dataclass(frozen=True)
class Line:
    """What one enumeration found."""

    what: str
    count: int
    bad: int
    control: bool
    seconds: float
    more: str = ""
    full: bool = False
    """As far as `make nightly` goes."""
    on: str = ""
    """Day of the run."""


def found(one: Enumeration, full: bool) -> Line:
    """Run it."""
    began_s = time.monotonic()
    result = enumerate_in(one.module, *(one.full if full else one.short), timeout_s=HOURS_S)
    bad = result[one.bad]
    more = result.get("each") or result.get("outcomes") or _outage_words(result)
    return Line(
        one.what, result[one.counted], bad if isinstance(bad, int) else len(bad), one.control,
        time.monotonic() - began_s, ", ".join(f"{name} {count:,}" for name, count in more.items()), full, today(),
    )  # fmt: skip


def _outage_words(result: dict[str, Any]) -> dict[str, float]:
    """Figures of an outage beside its count."""
    if "drainS" not in result:
        return {}
    return {
        "largest data folder, MB": round(result["largestBytes"] / 1e6),
        "started again with all of it, s": result["restartS"],
        "handed over in, s": result["drainS"],
        "lost": result["lost"], "twice": result["twice"], "out of order": result["outOfOrder"],
    }  # fmt: skip


def today() -> str:
    """The day, UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def kept() -> dict[str, Line]:
    """Lines of earlier runs, by what was tried."""
    if not KEPT.is_file():
        return {}
    return {fields["what"]: Line(**fields) for fields in json.loads(KEPT.read_text("utf-8"))}


def is_right(line: Line) -> bool:
    """No enumeration finds anything, and each control does."""
    return (line.bad > 0) is line.control


def page(lines: list[Line], cost: Cost, full: bool) -> str:
    """The page, in Markdown."""
    command = f"python -m benchmarks.reliability{' --full' if full else ''}"
    rows = [
        f"| {line.what} | {line.count:,} | {line.bad:,}{', as it must be' if line.control else ''} "
        f"| {line.seconds:.0f} s | {'full' if line.full else 'short'}, {line.on} |"
        for line in lines
    ]
    details = [f"- {line.what}: {line.more}" for line in lines if line.more]
    head = HEAD.format(command=command, reach=REACH[full])
    return "\n".join([head, MACHINE.format(**machine()), TABLE, *rows, "", *details, "", BODY.format(cost=cost)])


def machine() -> dict[str, object]:
    """Where it was measured."""
    return {
        "date": today(),
        "system": platform.platform(terse=True),
        "cores": psutil.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "apsw": apsw.apsw_version(),
        "version": version("borderlane"),
    }


REACH = {
    False: "as far as every run of `make test` goes, which takes each third call for kills,\neach 70th before a second "
    "kill, each 31st for failing calls; `make nightly` and `--full` take all of them.",
    True: "as far as `make nightly` goes; every run of `make test` does a part of it.",
}
HEAD = """# Reliability: what was tried, and what came of it

Printed by `{command}`: {reach}
What is claimed: after any crash, cut or restart at any point nothing that was promised is lost, and nothing happens
twice. A step counts as promised once the store has said so to its caller, which acknowledges, publishes and shows only
then.
"""
MACHINE = """borderlane {version}, SQLite {sqlite}, apsw {apsw}, Python {python}; {system}, {cores} cores, {memory} GB;
{date}. Times depend on what else the machine does.
"""
TABLE = """| tried | how many | bad | took | as far as, on |
| --- | ---: | ---: | ---: | --- |"""
BODY = """## What is run

A run of the real store on the real schema (`tests/faults/workload.py`): commits as the pipeline makes them - cursors,
detector state, records, activations, entries, outbox rows that come, are tried again, done, dropped and sealed,
refusals, telemetry - and a purge after each, so that rows are deleted, keys shredded, and the log moved into the
database every few steps. After each fault the store is opened again and compared with an undisturbed run, table by
table; signatures, chain, tree head and SQLite's own check must agree; then the run is finished by a new process.

- **Crash points** (`crash_points`): `kill -9` of the process before its n-th write, sync, truncation or deletion, for
  each n, from the making of the file to its closing. `strace_points` does the same from the kernel's side.
- **Failing calls**: the same calls answer EIO or ENOSPC. After EIO the store refuses everything until it is opened
  anew, since nobody knows what is on disk; after ENOSPC the same store goes on once there is room.
- **Power cuts** (`power_cuts`): all calls of a run are traced. At each of them the disk may hold what was synced and
  any part of the rest: none, all, without the last, only the last, by file, any subset, with single sectors of 512
  bytes, with and without changes of size. Files beside the database are never synced and may be of any earlier time.
- **Damage** (`damage`): a journal killed at work is hurt and opened. It is refused and put aside, or it is whole.
- **Outage** (`outage`): agent, broker and customs as processes. Customs goes; under a clock that runs fast, lorries
  with five declarations each enter the activation zones of 33 crossings; at the end the agent is killed and started
  again under an ordinary clock, and customs comes back. Customs' register is then compared with the journal.
- **Controls**: what must not pass. If one of them found nothing, the enumeration itself would be worth nothing.

## How damage is found

Every page of the database carries a checksum (SQLite's `cksumvfs`), checked whenever the page is read; files of earlier
versions get it at their first start. SQLite ends a write-ahead log silently at the first frame that does not fit; the
agent tells a torn end from damage by the frames behind it (`agent/journal/wal.py`), and a file beside the database says
how many entries were promised. Damage met at the start puts everything into `quarantine-…`; the agent ends with an
error and does not begin a new journal until an operator has moved it away. Damage met at work ends the writing
(JOURNAL_READONLY), and the next start reads every page before it goes on.

The checksums cost {cost.share:.0%} of an activation: {cost.with_us:.0f} µs with and {cost.without_us:.0f} µs without
(median of {cost.commits} commits each, in turns, one at a time, synchronous FULL).

## When the disk is full

64 MB are put aside (`agent.ballast_mb`). The first write that finds no room gives them up: crossings under way can be
closed with HOLD or their answer. From then on nothing new is taken or acknowledged (JOURNAL_READONLY); the same batch
is tried until there is room, the ballast is made again, and work goes on. A warning comes at 80 %.

## With everything running

- `borderlane demo --check --chaos all --seconds 120`: agent and broker killed (the broker's store lost), the line to
  customs cut and silent, the risk service slow, hanging, failing and cut short, a receiver unplugged. The report names
  each fault and how long the agent took to serve again.
- `tests/system/test_kills.py`: 20 agent kills and 5 broker kills over 10,000 messages in `make test`, 200 and 50 over
  100,000 in `make nightly`, with NATS and Mosquitto.

## What is not claimed

Media that say they have written what they have not defeat any database; power cuts of real flash were not tried. A
whole data folder that is replaced by an older one agrees with itself; customs, which holds the newest signed tree head,
finds it. A damaged last transaction that brought no journal entry cannot be told from a torn one; units send it again.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="as far as `make nightly` goes; an hour or more")
    parser.add_argument("--only", default="", help="measure only the lines that have this word")
    parser.add_argument("--out", type=Path, default=PAGE)
    wanted = parser.parse_args()
    lines = kept()
    for one in (*ENUMERATIONS, *((STRACE,) if wanted.full else ())):
        if wanted.only in one.what:
            line = lines[one.what] = found(one, wanted.full)
            print(f"{line.what}: {line.count:,}, bad {line.bad:,}, {line.seconds:.0f} s", flush=True)
            KEPT.write_text(json.dumps([asdict(kept_line) for kept_line in lines.values()], indent=1) + "\n", "utf-8")
    shown = [lines[one.what] for one in (*ENUMERATIONS, STRACE) if one.what in lines]
    wanted.out.write_text(page(shown, checksum_cost(), wanted.full), "utf-8")
    return 0 if all(map(is_right, shown)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
