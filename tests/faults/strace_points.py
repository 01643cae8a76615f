"""The crash points again, seen from the kernel: a cross-check of the shim by `strace` (design/reliability.md, F1).

`python -m tests.faults.strace_points COMMITS FOLDER [EVERY]` kills a run at its n-th call of one system call on the
files of the data folder, for each n in turn, one loop for each system call: a set of calls skips points silently.
First runs that make the database, then runs on one that is there. Prints one JSON document.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from agent.journal import database
from tests.faults.crash_points import finished, look
from tests.faults.workload import Reference, open_store

CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "rename", "write")
NAMES = (database.FILE_NAME, f"{database.FILE_NAME}.new", database.CHECKPOINT_NAME, database.HEAD_NAME)
MOST_POINTS = 5_000


def files_of(folder: Path) -> list[str]:
    names = [f"{name}{end}" for name in NAMES for end in ("", "-wal", "-journal")]
    return [str(folder), *(str(folder / name) for name in (*names, f"{database.CHECKPOINT_NAME}.new"))]


def killed_by_kernel(folder: Path, commits: int, call: str, point: int) -> tuple[int, bool]:
    """Steps promised by a run that dies at its n-th such call, and whether it got to its end."""
    words = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"]
    words += ["-e", f"inject={call}:signal=SIGKILL:when={point}"]
    words += [word for file in files_of(folder) for word in ("-P", file)]
    words += [sys.executable, "-m", "tests.faults.workload", str(folder), str(commits)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    told = [int(line) for line in done.stdout.splitlines()]
    if done.returncode not in (0, -9, 137):
        raise RuntimeError(f"{call} {point}: {done.returncode}: {done.stderr[-2_000:]}")
    return (told[-1] + 1 if told else 0), done.returncode == 0


def loop(root: Path, commits: int, call: str, start: Path | None, every: int, reference: Reference) -> tuple[int, list]:
    bad: list[str] = []
    count = 0
    for point in range(1, MOST_POINTS, every):
        folder = root / "data"
        shutil.rmtree(folder, ignore_errors=True)
        if start is not None:
            shutil.copytree(start, folder)
        promised, ended = killed_by_kernel(folder, commits, call, point)
        if ended:
            break
        count += 1
        faults = look(folder, reference, promised) + finished(folder, reference, commits)
        bad += [f"{call} {point}: {fault}" for fault in faults]
    return count, bad


def main(commits: int, root: Path, every: int = 1) -> dict[str, Any]:
    reference = Reference()
    asyncio.run(reference.make(root / "reference", commits))
    made = root / "made"
    open_store(made).close()
    counts: Counter[str] = Counter()
    bad: list[str] = []
    for call in CALLS:
        for start in (None, made):
            count, faults = loop(root, commits, call, start, every, reference)
            counts[call] += count
            bad += faults
    return {"points": counts.total(), "each": dict(counts), "bad": bad}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(int(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))))
