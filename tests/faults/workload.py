"""A realistic run of the store, step by step, and what must be on disk after each step.

Commits as the pipeline makes them (cursors, detector state, records, activations, entries, outbox rows that come,
are tried again, done, dropped and sealed, refusals, telemetry, the feed marker), eight hours apart, with a purge
after each: so telemetry is deleted, keys are shredded, and the log is moved into the database every few steps.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.clock import Clock
from agent.journal import database
from agent.journal import store as store_module
from agent.journal.batch import (
    ActivationRow,
    Commit,
    CursorRow,
    FrameRow,
    OutboxRow,
    PaperRow,
    RecordRow,
    RefusalRow,
    Retention,
    Retry,
    StateRow,
    TelemetryRow,
)
from agent.journal.entry import EntryDraft
from agent.journal.store import Reader, Store
from agent.journal.verify import verify_entries

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
START_S, STEP_S = 1_795_341_600.0, 28_800.0
RETENTION = Retention(events_s=86_400.0, papers_s=86_400.0)
"""A day for everything, so that a short run deletes some of it."""
ROWS_A_COMMIT = 2
"""Outbox rows of one commit: their ids follow from its number."""
Tell = Callable[[int], None]


class SteppedClock(Clock):
    """Stands still inside a step: its time is a class attribute, as `Clock` is frozen."""

    at_s = START_S

    def now_s(self) -> float:
        return type(self).at_s

    def monotonic_s(self) -> float:
        return type(self).at_s


def open_store(folder: Path) -> Store:
    """The store of the run; the log moves after a few commits instead of after 1,000 pages."""
    store_module.SPILL_PAGES = 40
    return Store.open(
        folder, "box-1", KEY, "k1", "0.1.0", SteppedClock(), seal=_sealed, retention=RETENTION,
    )  # fmt: skip


def _sealed(body: bytes, head: str) -> bytes:
    """A signed row as far as a disk is concerned: the same body with the newest tree head."""
    return body + head.encode()


def batch_of(number: int) -> Commit:
    """The n-th commit, counted from 0."""
    name, unit, jrn = f"id-{number}", f"unit-{number % 3}", f"J-{number % 4}"
    first_row = ROWS_A_COMMIT * number + 1
    before = first_row - ROWS_A_COMMIT
    return Commit(
        cursors=(CursorRow(unit, "boot", number, ((0, number, 5),) if number else (), number * 1000),),
        unit_states=(StateRow(unit, None if number % 5 == 4 else bytes([number % 256]) * 300),),
        records=(
            RecordRow("crossing", f"thayngen/{number % 2}", b"c" * (100 + number)),
            RecordRow("journey", jrn, None if number % 7 == 6 else b"j" * 900),
            RecordRow("instruction", jrn, b"i" * 400 + b"%d" % number),
        ),
        activations=(ActivationRow(name, "M", 1, jrn, "thayngen", "IN", unit, 1, 2, b"x" * 500),),
        entries=(
            EntryDraft("ACTIVATED", {"n": number}, name, event_kind="activation", event={"n": number}),
            EntryDraft("DETECTED", {"n": number}),
        ),
        effects=(
            OutboxRow("activation", "/v1/activations", name, b"y" * 600),
            OutboxRow("instruction", f"units/{unit}/instruction", name, b"z" * 200, seal=True),
        ),
        done=(before, before + 1) if number % 3 == 1 else (),
        retried=(Retry(first_row - 2 * ROWS_A_COMMIT, number, number),) if number % 3 == 2 else (),
        dropped=(first_row - 3 * ROWS_A_COMMIT,) if number % 6 == 5 else (),
        refusals=(RefusalRow("mqtt", "t", "BAD", b"%02d" % (number % 3), 9),),
        papers=(PaperRow(jrn, "RISK_REQUEST", b"r" * 300, name),),
        frames=(FrameRow(unit, b"f" * (10 + number)),),
        telemetry=(TelemetryRow(unit, b"fix" * 50, ends=number % 4 == 3),),
        feed_marker=number,
    )


ENTRIES_A_COMMIT = len(batch_of(0).entries)


async def run(folder: Path, commits: int, tell: Tell, *, before: Tell | None = None) -> None:
    """Do what is not there yet of so many commits; step 2n is the n-th commit, step 2n + 1 the purge after it.

    `tell` hears a step once it is promised to be on disk, `before` before it is begun.
    """
    store = open_store(folder)
    there = store.load_state().entries // ENTRIES_A_COMMIT
    for step in range(max(0, 2 * there - 1), 2 * commits):
        if before is not None:
            before(step)
        SteppedClock.at_s = START_S + step // 2 * STEP_S
        if step % 2:
            await store.purge()
        else:
            await store.commit(batch_of(step // 2))
        tell(step)
    store.close()


_PICTURE = {
    "entries": "SELECT seq, activation_id FROM journal ORDER BY seq",
    "events": "SELECT seq, kind, body FROM event ORDER BY seq",
    "activations": "SELECT activation_id, jrn, unit FROM activation ORDER BY activation_id",
    "cursors": "SELECT * FROM cursor ORDER BY unit",
    "states": "SELECT * FROM unit_state ORDER BY key",
    "frames": "SELECT * FROM last_frame ORDER BY key",
    "journeys": "SELECT * FROM journey ORDER BY key",
    "crossings": "SELECT * FROM crossing ORDER BY key",
    "instructions": "SELECT * FROM instruction ORDER BY key",
    "outbox": "SELECT id, lane, target, key, sealed, next_try_ms, tries, done_ms, "
    "CASE sealed WHEN 0 THEN body END FROM outbox ORDER BY id",
    "refusals": "SELECT sha256, count, first_ms, last_ms FROM refusal ORDER BY sha256",
    "feed": "SELECT * FROM feed",
    "keys": "SELECT id, unit, opened_ms, closed_ms FROM evidence_key ORDER BY id",
    "telemetry": "SELECT id, key_id, at_ms, length(body) FROM telemetry ORDER BY id",
    "paper_keys": "SELECT count(*) FROM paper_key",
    "papers": "SELECT count(*), sum(length(body)) FROM paper",
    "tree": "SELECT size FROM tree",
}
"""Everything that does not hang on the run's random id and keys."""


def picture(connection: apsw.Connection) -> dict[str, Any]:
    """What the database says, comparable between runs."""
    return {name: [tuple(row) for row in connection.execute(sql)] for name, sql in _PICTURE.items()}


def picture_of(folder: Path) -> dict[str, Any]:
    """The same of a data folder."""
    connection = database.open_reader(folder, checked=True)
    try:
        return picture(connection)
    finally:
        connection.close()


def integrity_faults(folder: Path) -> list[str]:
    """What SQLite, the signatures, the chain and the newest signed tree head say against a data folder."""
    with Reader.open(folder, checked=True) as reader:
        faults = reader.database_faults(quick=False)
        heads = [text] if (text := reader.checkpoint()) else []
        pairs = ((entry.body, entry.signature) for entry in reader.entries())
        result = verify_entries(pairs, [KEY.public_key()], heads)
        numbers = [json.loads(entry.body)["facts"]["n"] for entry in reader.entries()]
    faults += [finding.what for finding in result.findings]
    if numbers != [place // ENTRIES_A_COMMIT for place in range(len(numbers))]:
        faults.append(f"entries of the commits {numbers}")
    return faults


class Reference:
    """Pictures of an undisturbed run, after each step."""

    def __init__(self) -> None:
        self.pictures: list[dict[str, Any]] = []
        self.started: dict[str, Any] = {}

    async def make(self, folder: Path, commits: int) -> None:
        """Run it once."""
        self.pictures = []
        open_store(folder).close()
        self.started = picture_of(folder)
        await run(folder, commits, lambda _step: self.pictures.append(picture_of(folder)))

    def after(self, steps: int) -> dict[str, Any]:
        """What is on disk when so many steps are done."""
        return self.pictures[steps - 1] if steps else self.started

    def fault(self, seen: dict[str, Any], steps: int, unheard: int = 1) -> str | None:
        """What is wrong with a picture after so many promised steps.

        A step may be on disk whose promise was not heard any more: one for each process that was killed.
        """
        wanted = [self.after(steps), *self.pictures[steps : steps + unheard]]
        if seen in wanted:
            return None
        differ = [name for name in seen if seen[name] != wanted[0][name]]
        return f"after {steps} promised steps {', '.join(differ)} differ, {len(seen['entries'])} entries"


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), lambda step: print(step, flush=True)))  # noqa: T201
