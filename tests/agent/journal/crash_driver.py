"""Kills writers of real files and looks at what is left; a process of its own, as it forks.

`crash_driver.py FOLDER points` kills at every file call of five commits in turn; `ack-first` does so to a
writer that promises too early, which must show; `load` kills writers under load, five times over one journal.
Prints one JSON document; `bad` lists everything that should not be.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.clock import Clock
from agent.journal.store import ActivationRow, Commit, EntryDraft, OutboxRow, Reader, Store
from agent.journal.verify import verify_entries
from tests.agent.journal.fault_vfs import FaultVFS

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
COMMITS = 5


def open_store(folder: Path, vfs: str | None = None) -> Store:
    return Store.open(
        folder, "box-1", KEY, "k1", "0.1.0", Clock(), seal=lambda body, head: body + head.encode(), vfs=vfs
    )


def batch_of(number: int) -> Commit:
    name = f"id-{number}"
    return Commit(
        activations=(ActivationRow(name, "M", 1, "J", "c", "IN", "u", 1, 2, b"x" * 500),),
        entries=(EntryDraft("ACTIVATED", {"n": number}, name),),
        effects=(
            OutboxRow("activation", "/a", name, b"y" * 500),
            OutboxRow("i", f"t{number}", name, b"z", seal=True),
        ),
    )


async def write(folder: Path, numbers: range, acks: int, vfs: str | None = None, ack_first: bool = False) -> None:
    """Commit what is not there yet; tell each number only after it is promised to be on disk."""
    store = open_store(folder, vfs)
    there = store.load_state().entries
    for number in numbers[there:]:
        if ack_first:
            os.write(acks, b"%d\n" % number)
        await store.commit(batch_of(number))
        if not ack_first:
            os.write(acks, b"%d\n" % number)
    store.close()


def killed_at(folder: Path, point: int, ack_first: bool) -> tuple[list[int], bool]:
    """Acknowledged numbers of a writer that dies at its n-th file call, and whether it got to its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        left = point

        def count_down(call: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        dying = FaultVFS("dying", count_down)
        asyncio.run(write(folder, range(COMMITS), writing, "dying", ack_first))
        del dying  # SQLite needed it until here
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        acked = [int(line) for line in lines if line.endswith("\n")]
    return acked, os.waitpid(child, 0)[1] == 0


def killed_after(folder: Path, acks: int) -> list[int]:
    """Acknowledged numbers of a writer under load that is killed after so many."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        asyncio.run(write(folder, range(100_000), writing))
        os._exit(0)
    os.close(writing)
    acked = []
    with os.fdopen(reading) as lines:
        for line in lines:
            if line.endswith("\n"):
                acked.append(int(line))
            if len(acked) == acks:
                os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return acked


def look(folder: Path, acked: list[int]) -> list[str]:
    """What is wrong after a crash: the store opens, holds every promise once, and agrees with itself."""
    open_store(folder).close()
    with Reader.open(folder) as reader:
        entries = list(reader.entries())
        numbers = [json.loads(entry.body)["facts"]["n"] for entry in entries]
        activations = sorted(int(row.activation_id[3:]) for row in reader.activations())
        sent = sorted(int(row.key[3:]) for row in reader.outbox_pending() if not row.sealed)
        heads = [text] if (text := reader.checkpoint()) else []
        result = verify_entries([(entry.body, entry.signature) for entry in entries], [KEY.public_key()], heads)
    bad = [finding.what for finding in result.findings]
    if numbers != list(range(len(numbers))) or len(numbers) not in (len(acked), len(acked) + 1):
        bad.append(f"acknowledged {acked}, stored {numbers}")
    if not numbers == activations == sent:
        bad.append(f"entries {numbers}, activations {activations}, outbox {sent}")
    return bad


def every_point(root: Path, ack_first: bool = False) -> dict[str, object]:
    bad: list[str] = []
    for point in range(1, 1_000):
        folder = root / "data"
        shutil.rmtree(folder, ignore_errors=True)
        acked, ended = killed_at(folder, point, ack_first)
        bad += [f"point {point}: {fault}" for fault in look(folder, acked)]
        sink = os.open(os.devnull, os.O_WRONLY)
        asyncio.run(write(folder, range(COMMITS), sink))
        os.close(sink)
        bad += [f"point {point}, rerun: {fault}" for fault in look(folder, list(range(COMMITS)))]
        if ended or (bad and ack_first):
            return {"points": point - 1, "bad": bad}
    return {"points": 1_000, "bad": [*bad, "never got to the end"]}


def under_load(root: Path) -> dict[str, object]:
    bad: list[str] = []
    acked: list[int] = []
    for _ in range(5):
        with_unheard = len(acked)  # the one commit whose answer was not heard may be there, too
        acked_now = killed_after(root / "data", 40)
        first = acked_now[0]
        if first not in (with_unheard, with_unheard + 1):
            bad.append(f"went on at {first} after {with_unheard}")
        acked = list(range(first)) + acked_now
        bad += look(root / "data", acked)
    return {"acked": len(acked), "bad": bad}


if __name__ == "__main__":
    root, mode = Path(sys.argv[1]), sys.argv[2]
    report = under_load(root) if mode == "load" else every_point(root, mode == "ack-first")
    sys.stdout.write(json.dumps(report))
