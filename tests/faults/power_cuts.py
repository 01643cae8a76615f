"""Every disk that a power cut may leave behind (design/reliability.md, F5).

A run of the store is traced: what it writes, cuts and syncs, and what it promises, in order. At each point of the
trace a disk may hold everything that was synced, and of the rest anything: nothing, all, any part of it, later writes
without earlier ones, sectors of 512 bytes of one write without the others, with and without changes of the file's
size. Each distinct disk is opened again: it has to hold all that was promised until then, once, and be sound; and it
must not be taken for a damaged one.

A process of its own, as the file system shim is process-wide:
`python -m tests.faults.power_cuts COMMITS FOLDER MODE [VARIANTS [STOP]]` with mode `full`, or a control that must be
found out: `normal` and `off` (SQLite's `synchronous`), `ack-first`; STOP = 1 ends a control after a few bad disks.
Prints one JSON document.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from agent.errors import JournalError
from agent.journal import database
from agent.journal.examine import faults_at_start
from agent.journal.store import Reader, Store
from tests.faults import workload
from tests.faults.vfs import FaultVFS
from tests.faults.workload import ENTRIES_A_COMMIT, Reference, integrity_faults, picture

SECTOR_BYTES = 512
VARIANTS = 14
"""Disks tried at each point of the trace; many are alike, and distinct ones count."""
REOPEN_EVERY = 50
"""Of so many states one is opened by the store itself and the run is finished on it."""
BESIDE = (database.CHECKPOINT_NAME, database.HEAD_NAME)
"""Files beside the database, which are never synced."""
FEW_BAD = 20
SYNCHRONOUS = {"normal": 1, "off": 0}
Disk = dict[str, bytes]


@dataclass(frozen=True)
class Op:
    """One call of the trace."""

    kind: str
    file: str
    offset: int = 0
    data: bytes = b""
    synced: bool = False
    """Of a deletion: the folder is synced with it."""


@dataclass
class Trace:
    """What a run did, after the first picture of its disk."""

    start: Disk = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    promised: list[int] = field(default_factory=list)
    """Steps promised before each call of `ops`, and at the end."""
    beside: list[Disk] = field(default_factory=list)
    """The files beside the database at each call, and at the end."""


class Tracer:
    """Writes down the calls of one run."""

    def __init__(self, folder: Path) -> None:
        self.trace = Trace()
        self.on = False
        self._folder, self._steps = folder, 0

    def before(self, call: str, file: str, offset: int, data: bytes) -> None:
        if self.on and not file.endswith("-shm"):
            self._note()
            self.trace.ops.append(Op(call, file, offset, data, call == "delete" and offset == 1))

    def tell(self, step: int) -> None:
        self._steps = step + 1

    def begin(self) -> None:
        self.trace.start = read_disk(self._folder)
        self.on = True

    def end(self) -> Trace:
        self._note()
        return self.trace

    def _note(self) -> None:
        self.trace.promised.append(self._steps)
        self.trace.beside.append(read_disk(self._folder, BESIDE))


def read_disk(folder: Path, names: Iterable[str] = (database.FILE_NAME, f"{database.FILE_NAME}-wal", *BESIDE)) -> Disk:
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


async def traced(folder: Path, commits: int, mode: str, reference: Reference) -> Trace:
    """Run with the shim below; `reference` gets its pictures from the very same run, for the same random keys."""
    tracer = Tracer(folder)
    vfs = FaultVFS(tracer.before)
    store = workload.open_store(folder)
    reader = Reader.open(folder)
    if mode in SYNCHRONOUS:
        store._connection.pragma("synchronous", SYNCHRONOUS[mode])  # a control: no option of ours does this
    reference.started = picture(reader._connection)
    tracer.begin()
    await steps(store, reader, commits, tracer, mode == "ack-first", reference)
    trace = tracer.end()
    tracer.on = False
    reader.close()
    store.close()
    vfs.remove()
    return trace


async def steps(
    store: Store, reader: Reader, commits: int, tracer: Tracer, ack_first: bool, reference: Reference
) -> None:
    for step in range(2 * commits):
        workload.SteppedClock.at_s = workload.START_S + step // 2 * workload.STEP_S
        if ack_first:
            tracer.tell(step)
        await (store.purge() if step % 2 else store.commit(workload.batch_of(step // 2)))
        tracer.tell(step)
        reference.pictures.append(picture(reader._connection))


# From the trace to disks.


@dataclass
class Wet:
    """What a disk holds for certain, and what was written since without a sync, in order."""

    durable: dict[str, bytearray]
    pending: list[Op] = field(default_factory=list)

    def take(self, op: Op) -> None:
        """One more call."""
        if op.kind == "sync":
            mine = [one for one in self.pending if one.file == op.file]
            self.pending = [one for one in self.pending if one.file != op.file]
            for one in mine:
                apply(self.durable, one)
        elif op.kind == "delete" and op.synced:
            self.pending = [one for one in self.pending if one.file != op.file]
            self.durable.pop(op.file, None)
        else:
            self.pending.append(op)


def apply(files: dict[str, bytearray], op: Op, sectors: range | list[int] | None = None) -> None:
    """One call on files; with `sectors` only those of a write."""
    if op.kind == "delete":
        files.pop(op.file, None)
        return
    content = files.setdefault(op.file, bytearray())
    if op.kind == "truncate":
        del content[op.offset :]
        return
    size = op.offset + len(op.data)
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if sectors is None:
        content[op.offset : size] = op.data
        return
    for sector in sectors:
        first = sector * SECTOR_BYTES
        part = op.data[first : first + SECTOR_BYTES]
        content[op.offset + first : op.offset + first + len(part)] = part


Choice = list[tuple[Op, list[int] | None]]
"""Calls that reached the disk, some only by some of their sectors."""


def choices(pending: list[Op], dice: random.Random, count: int) -> Iterator[Choice]:
    """Parts of the unsynced calls that may have reached the disk."""
    whole: Choice = [(op, None) for op in pending]
    yield []
    if not pending:
        return
    yield whole
    yield whole[:-1]
    yield whole[-1:]
    yield whole[: len(whole) // 2]
    yield whole[len(whole) // 2 :]
    yield [(op, None) for op in pending if op.kind == "write"]
    yield [(op, None) for op in pending if op.kind != "write"]
    for name in sorted({op.file for op in pending}):
        yield [(op, None) for op in pending if op.file == name]
    yield [*whole[:-1], *torn(pending[-1], dice)]
    for _ in range(count - 10):
        kept = [op for op in pending if dice.random() < 0.5]
        at = dice.randrange(len(kept)) if kept else -1
        yield [one for place, op in enumerate(kept) for one in (torn(op, dice) if place == at else [(op, None)])]


def torn(op: Op, dice: random.Random) -> Choice:
    """One call of which only some sectors came down."""
    if op.kind != "write":
        return []
    sectors = -(-len(op.data) // SECTOR_BYTES)
    if sectors < 2:
        return [(op, None)] if dice.random() < 0.5 else []
    return [(op, sorted(dice.sample(range(sectors), dice.randrange(1, sectors))))]


def disks(trace: Trace, variants: int, seed: int = 1) -> Iterator[tuple[int, int, Disk]]:
    """(place in the trace, steps promised, files) of every disk to look at; some are alike."""
    dice = random.Random(seed)
    durable = {name: bytearray(data) for name, data in trace.start.items() if name not in BESIDE}
    wet = Wet(durable)
    for place in range(len(trace.ops) + 1):
        for choice in choices(wet.pending, dice, variants):
            files = {name: bytearray(data) for name, data in wet.durable.items()}
            for op, sectors in choice:
                apply(files, op, sectors)
            beside = trace.beside[dice.randrange(place + 1)] if dice.random() < 0.3 else trace.beside[place]
            yield place, trace.promised[place], {**{name: bytes(data) for name, data in files.items()}, **beside}
        if place < len(trace.ops):
            wet.take(trace.ops[place])


# Looking at a disk.


def put(folder: Path, disk: Disk) -> None:
    for file in folder.iterdir():
        file.unlink()
    for name, data in disk.items():
        (folder / name).write_bytes(data)


def faults_of(folder: Path, promised: int, reference: Reference) -> list[str]:
    """What is wrong with a disk, opened as the agent opens it."""
    connection, reader = None, None
    try:
        connection = database.open_writer(folder)
        reader = Reader.open(folder, checked=True)
        faults = faults_at_start(folder, reader)
        seen = picture(reader._connection)
        faults += reader.database_faults(quick=False)
    except (apsw.Error, JournalError) as error:
        return [f"{type(error).__name__}: {error}"]
    finally:
        for one in (reader, connection):
            if one is not None:
                one.close()
    wrong = reference.fault(seen, promised)
    return [*faults, *([wrong] if wrong else [])]


async def goes_on(folder: Path, commits: int, reference: Reference) -> list[str]:
    """What is wrong once the store has finished the run on this disk."""
    try:
        await workload.run(folder, commits, lambda _step: None)
    except JournalError as error:
        return [str(error)]
    wrong = reference.fault(workload.picture_of(folder), 2 * commits)
    return [*integrity_faults(folder), *([wrong] if wrong else [])]


def examine(
    trace: Trace, commits: int, folder: Path, reference: Reference, variants: int, stop_at_bad: bool = False
) -> dict[str, Any]:
    """Look at every distinct disk, or at so many until a few bad ones have shown a control up."""
    folder.mkdir(exist_ok=True)
    known: set[int] = set()
    bad: list[str] = []
    kinds: dict[str, int] = defaultdict(int)
    number = finished = 0
    for place, promised, disk in disks(trace, variants):
        kind = hash((promised, *sorted((name, hash(data)) for name, data in disk.items())))
        if kind in known:
            continue
        known.add(kind)
        put(folder, disk)
        faults = faults_of(folder, promised, reference)
        if not faults and len(known) % REOPEN_EVERY == 0:
            faults = asyncio.run(goes_on(folder, commits, reference))
            finished += 1
        if faults:
            number += 1
            kinds[faults[0][:60]] += 1
            bad += [f"place {place}, {promised} promised: {faults}"] if len(bad) < FEW_BAD else []
            if stop_at_bad and number == FEW_BAD:
                break
    return {
        "states": len(known), "calls": len(trace.ops), "finished": finished, "badStates": number,
        "bad": bad, "kinds": dict(kinds),
    }  # fmt: skip


def main(commits: int, root: Path, mode: str, variants: int = VARIANTS, stop_at_bad: int = 0) -> dict[str, Any]:
    reference = Reference()
    trace = asyncio.run(traced(root / "traced", commits, mode, reference))
    assert len(reference.pictures[-1]["entries"]) == commits * ENTRIES_A_COMMIT
    found = examine(trace, commits, root / "disk", reference, variants, bool(stop_at_bad))
    shutil.rmtree(root / "disk")
    return found


if __name__ == "__main__":
    made = main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
    sys.stdout.write(json.dumps(made))
