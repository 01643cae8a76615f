"""Damaged files, by the thousand (design/reliability.md, F8).

`python -m tests.faults.damage COUNT FOLDER` hurts the files of a journal that was killed at work: flipped bits,
overwritten and zeroed stretches, cut files, files of an earlier time, in the database and in its log. Each time the
store is opened again. Either it refuses and puts the damage aside, or it holds exactly what was promised; never less,
never something else, never a new journal in place of the old. Prints one JSON document.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from agent.errors import JournalError
from agent.journal import database
from tests.faults.crash_points import in_child
from tests.faults.power_cuts import Disk, put, read_disk
from tests.faults.workload import ENTRIES_A_COMMIT, START_S, SteppedClock, batch_of, open_store, picture_of

COMMITS = 30
DATABASE, LOG = database.FILE_NAME, f"{database.FILE_NAME}-wal"
FEW_BAD = 20
Hurt = Callable[[bytes, random.Random], bytes]


def flip(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, dice: random.Random) -> bytes:
    at, size = dice.randrange(len(data)), dice.choice((4, 64, 512, 4_096))
    return (data[:at] + dice.randbytes(size) + data[at + size :])[: len(data)]


def zero(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(0, len(data), 512)
    return (data[:at] + bytes(512) + data[at + 512 :])[: len(data)]


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


HURTS: dict[str, Hurt] = {"flip": flip, "overwrite": overwrite, "zero": zero, "cut": cut}


def killed_at_work(folder: Path) -> list[Disk]:
    """Files as a kill leaves them after each promised commit; the last are those that get hurt."""

    def work(_pipe: int) -> None:
        asyncio.run(commits(folder))
        os._exit(0)  # without closing

    in_child(work)
    kept = []
    for aside in sorted(folder.parent.glob("kept-*")):
        kept.append(read_disk(aside))
        shutil.rmtree(aside)
    return kept


async def commits(folder: Path) -> None:
    """Commits a second apart, without a purge, so that the log holds several; a copy after each."""
    store = open_store(folder)
    for number in range(COMMITS):
        SteppedClock.at_s = START_S + number
        await store.commit(batch_of(number))
        await store._run(store._writing, lambda: None)  # what follows the answer is done, too: nothing moves
        shutil.copytree(folder, folder.with_name(f"kept-{number:03d}"))


def opened(folder: Path) -> str | None:
    """What the store says against these files, or None if it takes them."""
    try:
        open_store(folder).close()
    except JournalError as error:
        return str(error)
    return None


def verdict(folder: Path, whole: dict[str, Any]) -> tuple[str, str | None]:
    """(what became of it, what is wrong with that)."""
    refusal = opened(folder)
    if refusal is None:
        try:
            seen = picture_of(folder)
        except apsw.IOError:  # the checksum of a page that the start had no need to read
            return "found on reading", None
        if seen == whole:
            return "harmless", None
        differ = [name for name in seen if seen[name] != whole[name]]
        if len(seen["entries"]) == len(whole["entries"]) - ENTRIES_A_COMMIT:
            return "lost", f"the last commit is gone: {differ}"
        return "lost", f"taken, but {differ} differ"
    aside = list(folder.glob("quarantine-*"))
    if not aside:
        return "refused", None if (folder / DATABASE).exists() else "refused, and the file is gone"
    if (folder / DATABASE).exists():
        return "refused", "put aside, and yet there"
    again = opened(folder)
    if again is None:
        return "fresh", "a second start begins a new journal"
    return "quarantined", None


def main(count: int, root: Path, seed: int = 1) -> dict[str, Any]:
    dice = random.Random(seed)
    SteppedClock.at_s = START_S
    kept = killed_at_work(root / "work")
    disk, folder = kept[-1], root / "data"
    folder.mkdir()
    put(folder, disk)
    assert len(kept) == COMMITS and opened(folder) is None
    whole = picture_of(folder)
    outcomes: Counter[str] = Counter()
    bad: list[str] = []
    for number in range(count):
        shutil.rmtree(folder)
        folder.mkdir()
        name, hurt = dice.choice((DATABASE, LOG)), dice.choice((*HURTS, "old"))
        changed = kept[dice.randrange(COMMITS // 2)][name] if hurt == "old" else HURTS[hurt](disk[name], dice)
        put(folder, disk | {name: changed})
        outcome, wrong = verdict(folder, whole)
        outcomes[f"{'log' if name == LOG else 'database'}: {outcome}"] += 1
        bad += [f"{number}: {hurt} in {name}: {wrong}"] if wrong else []
    return {"damaged": count, "outcomes": dict(sorted(outcomes.items())), "badCount": len(bad), "bad": bad[:FEW_BAD]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(int(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))))
