"""Kills, and failing calls, at every file call of a store's run in turn (design/reliability.md, F1, F2, F3, F6).

A process of its own, as it forks: `python -m tests.faults.crash_points COMMITS FOLDER MODE [EVERY]` with mode

kill       `kill -9` at each call; then the run is finished by a second process
ack-first  the same for a writer that promises before it commits: it must be found out
again      a kill, and a second one at each of the first calls of the second start
errors     EIO and ENOSPC, once and for ever, at each call

`EVERY` takes only each n-th point. Prints one JSON document; `bad` lists everything that should not be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from agent.errors import JournalError
from tests.faults.vfs import FaultVFS
from tests.faults.workload import (
    START_S,
    STEP_S,
    Reference,
    SteppedClock,
    batch_of,
    integrity_faults,
    open_store,
    picture_of,
    run,
)

MOST_POINTS = 100_000
AGAIN_POINTS = 12
"""Calls of the second start at which it is killed too: that is well past the recovery."""
ERRORS: dict[str, type[apsw.Error]] = {"EIO": apsw.IOError, "ENOSPC": apsw.FullError}
WAIT_KILLED = signal.SIGKILL.value


def in_child(work: Callable[[int], None]) -> tuple[list[int], int]:
    """Run a function in a fork; the numbers that it wrote to its descriptor, and how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            work(writing)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as lines:
        told = [int(line) for line in lines if line.endswith("\n")]
    return told, os.waitpid(child, 0)[1]


def killed_at(folder: Path, commits: int, point: int, ack_first: bool = False) -> tuple[int, bool]:
    """Steps promised by a run that dies at its n-th file call, and whether it got to its end."""

    def work(pipe: int) -> None:
        left = point

        def count_down(*_call: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        vfs = FaultVFS(count_down)

        def tell(step: int) -> None:
            os.write(pipe, b"%d\n" % step)

        def silent(_step: int) -> None:
            return

        asyncio.run(run(folder, commits, silent if ack_first else tell, before=tell if ack_first else None))
        del vfs  # SQLite needed it until here

    told, status = in_child(work)
    assert status in (0, WAIT_KILLED), f"the run ended with {status} at point {point}"
    return (told[-1] + 1 if told else 0), status == 0


def look(folder: Path, reference: Reference, promised: int, killed: int = 1) -> list[str]:
    """What is wrong after a crash; the folder may not even be a journal yet."""

    def work(pipe: int) -> None:
        open_store(folder).close()  # recovers, and looks everything over
        fault = reference.fault(picture_of(folder), promised, killed)
        faults = [*integrity_faults(folder), *([fault] if fault else [])]
        os.write(pipe, f"{len(faults)}\n".encode())
        if faults:
            sys.stderr.write(f"{faults}\n")

    told, status = in_child(work)
    if status != 0:
        return ["does not open"]
    return [] if told == [0] else ["is not what was promised"]


def finished(folder: Path, reference: Reference, commits: int) -> list[str]:
    """What is wrong once the rest was done by a second process."""
    _, status = in_child(lambda _pipe: asyncio.run(run(folder, commits, lambda _step: None)))
    return look(folder, reference, 2 * commits) if status == 0 else ["cannot be finished"]


def points(limit: int, every: int) -> Iterator[int]:
    return iter(range(1, limit, every))


def kills(root: Path, commits: int, every: int, reference: Reference, ack_first: bool = False) -> dict[str, Any]:
    bad: list[str] = []
    count = 0
    for point in points(MOST_POINTS, every):
        shutil.rmtree(root / "data", ignore_errors=True)
        promised, ended = killed_at(root / "data", commits, point, ack_first)
        if ended:
            break
        count += 1
        bad += [f"point {point}: {fault}" for fault in look(root / "data", reference, promised)]
        if not ack_first:
            bad += [f"point {point}, finished: {fault}" for fault in finished(root / "data", reference, commits)]
    return {"points": count, "bad": bad}


def kills_again(root: Path, commits: int, every: int, reference: Reference) -> dict[str, Any]:
    bad: list[str] = []
    count = 0
    first, kept = root / "first", root / "data"
    for point in points(MOST_POINTS, every):
        shutil.rmtree(first, ignore_errors=True)
        promised, ended = killed_at(first, commits, point)
        if ended:
            break
        for second in range(1, AGAIN_POINTS + 1):
            shutil.rmtree(kept, ignore_errors=True)
            if first.exists():
                shutil.copytree(first, kept)
            more, _ = killed_at(kept, commits, second)
            count += 1
            faults = look(kept, reference, max(promised, more), killed=2)
            bad += [f"points {point} and {second}: {fault}" for fault in faults]
    return {"points": count, "bad": bad}


# Calls that fail.


class Failing:
    """A disk whose n-th call fails, once or from then on."""

    def __init__(self, error: type[apsw.Error], point: int, sticky: bool) -> None:
        self._error, self._left, self._sticky = error, point, sticky
        self.hit = False

    def before(self, call: str, *_rest: object) -> None:
        self._left -= 1
        if self._left == 0 or (self._sticky and self._left < 0):
            self.hit = True
            raise self._error(f"{call} failed")


async def run_on_bad_disk(folder: Path, commits: int, pipe: int, disk: Failing) -> None:
    """As the agent does: stop at a failure that is final, try again after a full disk."""
    store = open_store(folder)
    try:
        there = store.load_state().entries // 2
        for step in range(max(0, 2 * there - 1), 2 * commits):
            SteppedClock.at_s = START_S + step // 2 * STEP_S
            for _ in range(3):
                try:
                    await (store.purge() if step % 2 else store.commit(batch_of(step // 2)))
                    break
                except JournalError:
                    if store.failure is not None:
                        return
            else:
                return
            os.write(pipe, b"%d\n" % step)
    finally:
        store.close()


def failed_at(folder: Path, commits: int, error: str, point: int, sticky: bool) -> tuple[int, bool]:
    """Steps promised on a disk that fails, and whether its point was beyond the end of the run."""

    def work(pipe: int) -> None:
        disk = Failing(ERRORS[error], point, sticky)
        vfs = FaultVFS(disk.before)
        with contextlib.suppress(JournalError):  # it does not even start
            asyncio.run(run_on_bad_disk(folder, commits, pipe, disk))
        os.write(pipe, b"-%d\n" % (2 if disk.hit else 1))
        del vfs

    told, status = in_child(work)
    assert status == 0, f"{error} at point {point}: the run ended with {status}"
    return (told[-2] + 1 if len(told) > 1 else 0), told[-1] == -1


def errors(root: Path, commits: int, every: int, reference: Reference) -> dict[str, Any]:
    bad: list[str] = []
    counts: dict[str, int] = {}
    for error in ERRORS:
        for sticky in (False, True):
            name = f"{error} {'for ever' if sticky else 'once'}"
            counts[name] = 0
            for point in points(MOST_POINTS, every):
                shutil.rmtree(root / "data", ignore_errors=True)
                promised, ended = failed_at(root / "data", commits, error, point, sticky)
                if ended:
                    break
                counts[name] += 1
                faults = look(root / "data", reference, promised) + finished(root / "data", reference, commits)
                bad += [f"{name} at {point}: {fault}" for fault in faults]
    return {"points": sum(counts.values()), "each": counts, "bad": bad}


def main(commits: int, root: Path, mode: str, every: int = 1) -> dict[str, Any]:
    reference = Reference()
    asyncio.run(reference.make(root / "reference", commits))
    if mode == "again":
        return kills_again(root, commits, every, reference)
    if mode == "errors":
        return errors(root, commits, every, reference)
    return kills(root, commits, every, reference, ack_first=mode == "ack-first")


if __name__ == "__main__":
    made = main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
    sys.stdout.write(json.dumps(made))
