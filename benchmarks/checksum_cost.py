"""What checksums on every page cost: the same commits with and without, in turns."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import apsw

from agent.journal import database
from agent.journal.store import Store
from tests.faults.workload import batch_of, open_store

COMMITS = 300
TURN = 10


@dataclass(frozen=True)
class Cost:
    """Median time of one commit, microseconds."""

    with_us: float
    without_us: float
    commits: int

    @property
    def share(self) -> float:
        """How much more."""
        return self.with_us / self.without_us - 1


def checksum_cost(commits: int = COMMITS) -> Cost:
    """Measure on this machine, on a real disk."""
    with tempfile.TemporaryDirectory(prefix="borderlane-checksums-") as folder:
        return asyncio.run(_measured(Path(folder), commits))


async def _measured(folder: Path, commits: int) -> Cost:
    stores = {True: open_store(folder / "with"), False: _without(folder / "without")}
    took_us: dict[bool, list[float]] = {True: [], False: []}
    for first in range(0, commits, TURN):
        for checked, store in stores.items():
            for number in range(first, first + TURN):
                began_s = time.perf_counter()
                await store.commit(batch_of(number))
                took_us[checked].append((time.perf_counter() - began_s) * 1e6)
    for store in stores.values():
        store.close()
    return Cost(statistics.median(took_us[True]), statistics.median(took_us[False]), commits)


def _without(folder: Path) -> Store:
    """A store that writes into a file of the same tables which keeps no room for checksums."""
    store = open_store(folder)
    plain = apsw.Connection(str(folder / "plain.db"), vfs="unix")
    plain.pragma("page_size", database.PAGE_BYTES)
    plain.execute(resources.files("agent.journal").joinpath("schema.sql").read_text("utf-8"))
    for name in ("synchronous", "foreign_keys", "secure_delete", "wal_autocheckpoint", "journal_mode"):
        plain.pragma(name, store._connection.pragma(name))
    store._connection.close()
    store._connection = plain
    return store


if __name__ == "__main__":
    print(checksum_cost())
