"""The register's database: one SQLite file, one writer thread, every answer on disk before it is given."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from agent.domain.declaration import (
    ControlResult,
    FeedRow,
    GoodsDeclaration,
    RuleFailure,
    TransportDeclaration,
)
from agent.domain.routing import Assessment
from agent.errors import AlreadyRunning, JournalError
from simulator.customs.assessment import Grounds
from simulator.customs.feedback import Count, Counters, Key, Thresholds
from simulator.customs.score import Ahead

T = TypeVar("T")
Pending = tuple[Callable[[], Any], "asyncio.Future[Any]"]
"""Work that waits for its transaction, and who waits for it."""
Outcome = tuple[Any, Exception | None]
"""What a work has given, or why it failed."""

SCHEMA_VERSION = 1
WAL_PAGES = 1_000
"""Pages in the write-ahead log before it is folded in: 4 MB."""
BUSY_MS = 5_000
WORKS_AT_ONCE = 64
"""Requests that share one transaction, and so one wait for the disk."""
MAX_PAGE = 1_000
"""Rows of one page of any feed."""

SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE goods(
  number TEXT PRIMARY KEY, version INTEGER NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL,
  changed_ms INTEGER NOT NULL) STRICT;
CREATE INDEX goods_age ON goods(state, changed_ms);
CREATE TABLE journey(
  jrn TEXT PRIMARY KEY, version INTEGER NOT NULL, state TEXT NOT NULL, locked INTEGER NOT NULL,
  body BLOB NOT NULL, failures BLOB NOT NULL, changed_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
  marker INTEGER NOT NULL UNIQUE, feed_row BLOB NOT NULL) STRICT;
CREATE INDEX journey_age ON journey(state, expires_ms);
CREATE TABLE link(
  jrn TEXT NOT NULL, number TEXT NOT NULL, direction TEXT NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY(jrn, number)) STRICT, WITHOUT ROWID;
CREATE INDEX link_number ON link(number, direction);
CREATE TABLE activation(
  activation_id TEXT PRIMARY KEY, marker INTEGER NOT NULL UNIQUE, number TEXT, version INTEGER NOT NULL,
  jrn TEXT NOT NULL, crossing TEXT NOT NULL, direction TEXT NOT NULL, variant TEXT NOT NULL, officer TEXT,
  activated_at TEXT NOT NULL, answered_at TEXT NOT NULL, result TEXT NOT NULL, reason TEXT,
  first_id TEXT, repeats INTEGER NOT NULL) STRICT;
CREATE INDEX activation_number ON activation(number, direction, result);
CREATE TABLE answered(
  kind TEXT NOT NULL, key TEXT NOT NULL, body_sha256 BLOB NOT NULL, answer BLOB NOT NULL,
  PRIMARY KEY(kind, key)) STRICT;
CREATE TABLE assessment(
  marker INTEGER PRIMARY KEY, activation_id TEXT NOT NULL, draw_day TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX assessment_activation ON assessment(activation_id, marker);
CREATE TABLE routing(marker INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE control_result(
  number INTEGER PRIMARY KEY, jrn TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX control_result_jrn ON control_result(jrn, number);
CREATE TABLE counter(
  kind TEXT NOT NULL, value TEXT NOT NULL, seen INTEGER NOT NULL, found INTEGER NOT NULL,
  PRIMARY KEY(kind, value)) STRICT, WITHOUT ROWID;
CREATE TABLE day_secret(day TEXT PRIMARY KEY, secret BLOB NOT NULL) STRICT;
CREATE TABLE checkpoint(
  agent TEXT PRIMARY KEY, size INTEGER NOT NULL, root TEXT NOT NULL, body TEXT NOT NULL,
  received_at TEXT NOT NULL) STRICT;
"""
ADDED = """
CREATE TABLE IF NOT EXISTS superseded_checkpoint(
  agent TEXT NOT NULL, size INTEGER NOT NULL, root TEXT NOT NULL, body TEXT NOT NULL, received_at TEXT NOT NULL,
  officer TEXT NOT NULL, reason TEXT NOT NULL, superseded_at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS conditional(
  activation_id TEXT PRIMARY KEY, jrn TEXT NOT NULL, until_ms INTEGER NOT NULL, revoked INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS conditional_jrn ON conditional(jrn);
CREATE TABLE IF NOT EXISTS ahead(
  number TEXT NOT NULL, jrn TEXT NOT NULL, version INTEGER NOT NULL, direction TEXT NOT NULL, crossing TEXT NOT NULL,
  hour INTEGER NOT NULL, score INTEGER NOT NULL, selected TEXT NOT NULL, changed_ms INTEGER NOT NULL,
  body BLOB NOT NULL, PRIMARY KEY(number, jrn)) STRICT;
CREATE INDEX IF NOT EXISTS ahead_recent ON ahead(jrn, direction, changed_ms);
CREATE INDEX IF NOT EXISTS ahead_hour ON ahead(crossing, hour, selected, score);
CREATE TABLE IF NOT EXISTS bay(
  activation_id TEXT PRIMARY KEY, crossing TEXT NOT NULL, hour INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bay_hour ON bay(crossing, hour);
CREATE TABLE IF NOT EXISTS counted(
  number INTEGER NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, found INTEGER NOT NULL,
  PRIMARY KEY(number, kind, value)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter_version(
  up_to INTEGER PRIMARY KEY, drawn_ms INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS grounds(marker INTEGER PRIMARY KEY, number TEXT, body BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS grounds_number ON grounds(number, marker);
CREATE TABLE IF NOT EXISTS draw_commitment(
  day TEXT PRIMARY KEY, sha256 TEXT NOT NULL, committed_ms INTEGER NOT NULL) STRICT;
"""
"""Tables that came later; older registers get them when they are opened."""


_ACTIVATION_COLUMNS = (
    "marker, activation_id, number, version, jrn, crossing, direction, variant, officer, activated_at,"
    " answered_at, result, reason, first_id, repeats"
)


@dataclass(frozen=True)
class GoodsRow:
    """A goods declaration in the register."""

    declaration: GoodsDeclaration
    state: str
    """DRAFT, ACCEPTED, CANCELLED or EXPIRED; what a journey does with it stands in its link."""


@dataclass(frozen=True)
class JourneyRow:
    """A transport declaration in the register."""

    declaration: TransportDeclaration
    state: str
    """READY, NOT_READY, CANCELLED or EXPIRED."""
    locked: bool
    """Activated: its contents are frozen."""
    failures: tuple[RuleFailure, ...]


@dataclass(frozen=True)
class LinkRow:
    """A journey's reference to a goods declaration."""

    jrn: str
    number: str
    direction: str
    state: str
    """WANTED (does not hold), REFERENCED, ACTIVATED, a routing word, or a control's outcome (machine G)."""


@dataclass(frozen=True)
class AheadRow:
    """What was found of a declaration before the border, and what the cap of the bays asks of it.

    Attributes:
        jrn: The journey that references it; empty = what was found when it was lodged.
        hour: UTC hours since 1970 in which it is expected; 0 = not known.
        score: Points of the card if it were at the border now.
        selected: Selection kind of that card if it is red, else empty.
    """

    number: str
    jrn: str
    version: int
    direction: str
    crossing: str
    hour: int
    score: int
    selected: str
    ahead: Ahead


class ActivationRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An activation as stored; what auditors read."""

    marker: int
    activation_id: str
    mrn: str | None
    version: int
    jrn: str
    crossing: str
    direction: str
    variant: str
    officer: str | None = None
    activation_date_time: str
    answered_date_time: str
    result: str
    reason: str | None = None
    first_activation_id: str | None = None
    repeats: int = 0
    """How often the same activation came again under another key."""


@dataclass(frozen=True)
class Answered:
    """A stored answer and the hash of the body that it answers."""

    body_sha256: bytes
    answer: bytes


class Store:
    """The database. Its methods run on the writer thread, inside `read` or `write`."""

    def __init__(self, folder: Path) -> None:
        """Open, or create, `customs.sqlite` in a folder that nobody else uses.

        Raises:
            AlreadyRunning: another service holds the folder.
            JournalError: the file cannot be opened or is of another version.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(folder)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="customs-db")
        self._pending: deque[Pending] = deque()
        try:
            self._db = _opened(folder / "customs.sqlite")
        except apsw.Error as error:
            os.close(self._lock)
            raise JournalError(f"{folder}/customs.sqlite: cannot be opened: {error}") from error

    async def write(self, work: Callable[[], T]) -> T:
        """Run work in a transaction, which it may share with others; it is on disk when this returns.

        Raises:
            JournalError: the database refused; nothing of the work has happened.
        """
        loop = asyncio.get_running_loop()
        told: asyncio.Future[T] = loop.create_future()
        self._pending.append((work, told))
        self._thread.submit(self._write_pending, loop)
        return await told

    def _write_pending(self, loop: asyncio.AbstractEventLoop) -> None:
        """What has come together while the disk was busy, in one transaction; later turns may find nothing left."""
        group = [self._pending.popleft() for _ in range(min(WORKS_AT_ONCE, len(self._pending)))]
        if not group:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes = [self._apart(work) for work, _ in group]
            self._db.execute("COMMIT")
        except apsw.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            outcomes = [(None, JournalError(f"customs.sqlite: {error}"))] * len(group)
        loop.call_soon_threadsafe(_tell, [told for _, told in group], outcomes)

    def _apart(self, work: Callable[[], Any]) -> Outcome:
        """One work of a group: if it fails, nothing of it stays and the others go on."""
        self._db.execute("SAVEPOINT work")
        try:
            outcome: Outcome = work(), None
        except apsw.Error as error:
            if not self._db.in_transaction:  # a full disk, say, has undone the whole group
                raise
            outcome = None, JournalError(f"customs.sqlite: {error}")
        except Exception as error:
            outcome = None, error
        if outcome[1] is not None:
            self._db.execute("ROLLBACK TO work")
        self._db.execute("RELEASE work")
        return outcome

    async def read(self, work: Callable[[], T]) -> T:
        """Run work that only reads, in turn with the writes."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Finish what is under way and close."""
        self._thread.shutdown(wait=True)
        self._db.close()
        os.close(self._lock)

    # --- numbers ---

    def next_number(self, name: str) -> int:
        """The next of a rising series: marker, mrn, result."""
        sql = "INSERT INTO meta VALUES(?, 1) ON CONFLICT(name) DO UPDATE SET value = value + 1 RETURNING value"
        return int(self._one(sql, name)[0])

    def number(self, name: str) -> int:
        """The newest of a series; 0 before the first."""
        row = self._first("SELECT value FROM meta WHERE name = ?", name)
        return int(row[0]) if row else 0

    # --- goods ---

    def goods(self, number: str) -> GoodsRow | None:
        """A goods declaration by MRN or permit number."""
        row = self._first("SELECT body, state FROM goods WHERE number = ?", number)
        return GoodsRow(msgspec.msgpack.decode(row[0], type=GoodsDeclaration), row[1]) if row else None

    def put_goods(self, goods: GoodsDeclaration, state: str, now_s: float) -> None:
        """Write a goods declaration over whatever stood under its number."""
        self._db.execute(
            "INSERT OR REPLACE INTO goods VALUES(?, ?, ?, ?, ?)",
            (goods.mrn, goods.version, state, msgspec.msgpack.encode(goods), _ms(now_s)),
        )

    def unlinked_goods(self, before_s: float, limit: int) -> list[str]:
        """Numbers of drafts and accepted goods that did not change since and that no live journey holds."""
        sql = (
            "SELECT number FROM goods WHERE state IN ('DRAFT', 'ACCEPTED') AND changed_ms < ? AND NOT EXISTS"
            " (SELECT 1 FROM link WHERE link.number = goods.number) LIMIT ?"
        )
        return [str(row[0]) for row in self._db.execute(sql, (_ms(before_s), limit))]

    # --- journeys ---

    def journey(self, jrn: str) -> JourneyRow | None:
        """A transport declaration."""
        row = self._first("SELECT body, state, locked, failures FROM journey WHERE jrn = ?", jrn)
        if row is None:
            return None
        return JourneyRow(
            msgspec.msgpack.decode(row[0], type=TransportDeclaration),
            row[1],
            bool(row[2]),
            msgspec.msgpack.decode(row[3], type=tuple[RuleFailure, ...]),
        )

    def put_journey(self, row: JourneyRow, feed_row: FeedRow, now_s: float, expires_s: float) -> None:
        """Write a transport declaration and its newest row of the feed."""
        journey = row.declaration
        self._db.execute(
            "INSERT OR REPLACE INTO journey VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                journey.jrn, journey.version, row.state, int(row.locked), msgspec.msgpack.encode(journey),
                msgspec.msgpack.encode(row.failures), _ms(now_s), _ms(expires_s), feed_row.marker,
                msgspec.json.encode(feed_row),
            ),
        )  # fmt: skip

    def lock_journey(self, jrn: str) -> None:
        """Freeze a journey: it is being activated."""
        self._db.execute("UPDATE journey SET locked = 1 WHERE jrn = ?", (jrn,))

    def expires_s(self, jrn: str) -> float:
        """When a journey that was never activated ends, UTC seconds."""
        return float(self._one("SELECT expires_ms FROM journey WHERE jrn = ?", jrn)[0]) / 1000.0

    def overdue_journeys(self, now_s: float, limit: int) -> list[str]:
        """Journeys that were never activated and whose time is over."""
        sql = "SELECT jrn FROM journey WHERE state IN ('READY', 'NOT_READY') AND expires_ms < ? AND locked = 0 LIMIT ?"
        return [str(row[0]) for row in self._db.execute(sql, (_ms(now_s), limit))]

    def feed(self, marker: int, limit: int) -> list[tuple[int, bytes]]:
        """Marker and row (JSON) of journeys that changed after the marker, oldest change first."""
        sql = "SELECT marker, feed_row FROM journey WHERE marker > ? ORDER BY marker LIMIT ?"
        return [(int(row[0]), bytes(row[1])) for row in self._db.execute(sql, (marker, limit))]

    # --- links ---

    def links_of(self, jrn: str) -> list[LinkRow]:
        """References of a journey."""
        return self._links("WHERE jrn = ?", jrn)

    def links_to(self, number: str) -> list[LinkRow]:
        """Journeys that reference a number."""
        return self._links("WHERE number = ? ORDER BY jrn", number)

    def link(self, jrn: str, number: str) -> LinkRow | None:
        """One reference."""
        found = self._links("WHERE jrn = ? AND number = ?", jrn, number)
        return found[0] if found else None

    def put_link(self, link: LinkRow) -> None:
        """Write a reference."""
        self._db.execute(
            "INSERT OR REPLACE INTO link VALUES(?, ?, ?, ?)",
            (link.jrn, link.number, link.direction, link.state),
        )

    def drop_links(self, jrn: str) -> None:
        """Forget the references of a journey."""
        self._db.execute("DELETE FROM link WHERE jrn = ?", (jrn,))

    def other_holders(self, number: str, direction: str, jrn: str) -> tuple[str, ...]:
        """Other live journeys of a direction whose reference to a number holds."""
        sql = (
            "SELECT link.jrn FROM link JOIN journey USING(jrn) WHERE number = ? AND direction = ?"
            " AND link.jrn != ? AND link.state != 'WANTED' AND journey.state IN ('READY', 'NOT_READY')"
            " ORDER BY link.jrn LIMIT 1000"
        )
        return tuple(str(row[0]) for row in self._db.execute(sql, (number, direction, jrn)))

    def _links(self, where: str, *values: str) -> list[LinkRow]:
        sql = f"SELECT jrn, number, direction, state FROM link {where}"  # noqa: S608 - fixed texts above
        return [LinkRow(*row) for row in self._db.execute(sql, values)]

    # --- activations ---

    def activation(self, activation_id: str) -> ActivationRecord | None:
        """What was answered to an activation."""
        found = self._activations("WHERE activation_id = ?", activation_id)
        return found[0] if found else None

    def first_activation(self, number: str, direction: str) -> tuple[str, str] | None:
        """activationId and journey of the first accepted activation of a number in a direction."""
        row = self._first(
            "SELECT activation_id, jrn FROM activation WHERE number = ? AND direction = ?"
            " AND result = 'ACCEPTED' ORDER BY marker LIMIT 1",
            number,
            direction,
        )
        return (str(row[0]), str(row[1])) if row else None

    def put_activation(self, record: ActivationRecord) -> None:
        """Write an activation."""
        self._db.execute(
            "INSERT OR REPLACE INTO activation VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.activation_id, record.marker, record.mrn, record.version, record.jrn, record.crossing,
                record.direction, record.variant, record.officer, record.activation_date_time,
                record.answered_date_time, record.result, record.reason, record.first_activation_id,
                record.repeats,
            ),
        )  # fmt: skip

    def activations(self, marker: int, limit: int) -> list[ActivationRecord]:
        """Activations after a marker, oldest first."""
        return self._activations("WHERE marker > ? ORDER BY marker LIMIT ?", marker, limit)

    def _activations(self, where: str, *values: str | int) -> list[ActivationRecord]:
        sql = f"SELECT {_ACTIVATION_COLUMNS} FROM activation {where}"  # noqa: S608 - fixed texts above
        fields = [field.name for field in msgspec.structs.fields(ActivationRecord)]
        return [ActivationRecord(**dict(zip(fields, row, strict=True))) for row in self._db.execute(sql, values)]

    # --- answers that must repeat byte for byte ---

    def answered(self, kind: str, key: str) -> Answered | None:
        """The answer given under an idempotency key. Keys never expire."""
        row = self._first("SELECT body_sha256, answer FROM answered WHERE kind = ? AND key = ?", kind, key)
        return Answered(bytes(row[0]), bytes(row[1])) if row else None

    def put_answered(self, kind: str, key: str, body: bytes, answer: bytes) -> None:
        """Keep an answer for as long as the register lives."""
        digest = hashlib.sha256(body).digest()
        self._db.execute("INSERT INTO answered VALUES(?, ?, ?, ?)", (kind, key, digest, answer))

    # --- assessments ---

    def newest_assessment(self, activation_id: str) -> tuple[Assessment, str] | None:
        """Newest answer for an activation, and the day whose secret drew its lot."""
        row = self._first(
            "SELECT body, draw_day FROM assessment WHERE activation_id = ? ORDER BY marker DESC LIMIT 1",
            activation_id,
        )
        return (msgspec.json.decode(row[0], type=Assessment), str(row[1])) if row else None

    def put_assessment(self, marker: int, assessment: Assessment, draw_day: str, grounds: Grounds) -> None:
        """Write a signed answer and what it rests on."""
        body = msgspec.json.encode(assessment)
        self._db.execute(
            "INSERT INTO assessment VALUES(?, ?, ?, ?)", (marker, assessment.activation_id, draw_day, body)
        )
        self._db.execute(
            "INSERT INTO grounds VALUES(?, ?, ?)", (marker, assessment.mrn, msgspec.msgpack.encode(grounds))
        )

    def explained(self, mrn: str, jrn: str | None = None) -> list[tuple[Assessment, Grounds | None]]:
        """Answers for the activation of a declaration that was assessed last, oldest first, and what each rests on.

        Args:
            jrn: Only in this journey.
        """
        newest = self._first(
            "SELECT assessment.activation_id FROM grounds JOIN assessment USING(marker) WHERE number = ?"
            " AND (? = '' OR json_extract(assessment.body, '$.jrn') = ?) ORDER BY marker DESC LIMIT 1",
            mrn, jrn or "", jrn or "",
        )  # fmt: skip
        sql = (
            "SELECT assessment.body, grounds.body FROM assessment LEFT JOIN grounds USING(marker)"
            " WHERE activation_id = ? ORDER BY marker"
        )
        rows = self._db.execute(sql, (newest[0],)) if newest else ()
        return [
            (
                msgspec.json.decode(row[0], type=Assessment),
                msgspec.msgpack.decode(row[1], type=Grounds) if row[1] is not None else None,
            )
            for row in rows
        ]

    def assessments(self, marker: int, limit: int) -> list[tuple[int, bytes]]:
        """Marker and assessment (JSON) after a marker, oldest first."""
        sql = "SELECT marker, body FROM assessment WHERE marker > ? ORDER BY marker LIMIT ?"
        return [(int(row[0]), bytes(row[1])) for row in self._db.execute(sql, (marker, limit))]

    def put_routing(self, marker: int, body: bytes) -> None:
        """Write a row of the routing feed for the trade."""
        self._db.execute("INSERT INTO routing VALUES(?, ?)", (marker, body))

    def routing(self, marker: int, limit: int) -> list[tuple[int, bytes]]:
        """Marker and row (JSON) of the routing feed."""
        sql = "SELECT marker, body FROM routing WHERE marker > ? ORDER BY marker LIMIT ?"
        return [(int(row[0]), bytes(row[1])) for row in self._db.execute(sql, (marker, limit))]

    def day_secret(self, day: str) -> bytes:
        """The secret of a day, made when it is first asked for."""
        self._db.execute("INSERT OR IGNORE INTO day_secret VALUES(?, ?)", (day, os.urandom(32)))
        return bytes(self._one("SELECT secret FROM day_secret WHERE day = ?", day)[0])

    # --- control results and what they teach ---

    def put_control_result(self, result: ControlResult) -> None:
        """Write a control result."""
        body = msgspec.json.encode(result)
        self._db.execute("INSERT INTO control_result VALUES(?, ?, ?)", (self.next_number("result"), result.jrn, body))

    def control_results(self, jrn: str) -> tuple[ControlResult, ...]:
        """Results for a journey, oldest first."""
        sql = "SELECT body FROM control_result WHERE jrn = ? ORDER BY number LIMIT 1000"
        return tuple(msgspec.json.decode(row[0], type=ControlResult) for row in self._db.execute(sql, (jrn,)))

    def count_controls(self, keys: Iterable[Key], found: bool) -> None:
        """Count the newest control under each key, and keep what was counted, so that any version can be had again."""
        number = self.number("result")
        rows = [(kind, value, int(found)) for kind, value in keys]
        self._db.executemany("INSERT OR IGNORE INTO counted VALUES(?, ?, ?, ?)", [(number, *row) for row in rows])
        self._db.executemany(
            "INSERT INTO counter VALUES(?, ?, 1, ?) ON CONFLICT DO UPDATE SET seen = seen + 1,"
            " found = found + excluded.found",
            rows,
        )

    def counters(self, up_to: int | None = None) -> Counters:
        """The counts as they are now, or as they were after the control result of a number."""
        sql = "SELECT kind, value, seen, found FROM counter"
        values: tuple[int, ...] = ()
        if up_to is not None:
            sql = "SELECT kind, value, count(*), sum(found) FROM counted WHERE number <= ? GROUP BY kind, value"
            values = (up_to,)
        counts = {
            (str(kind), str(value)): Count(int(seen), int(found))
            for kind, value, seen, found in self._db.execute(sql, values)
        }
        newest = self.number("result") if up_to is None else up_to
        return Counters(counts, counts.get(("", "all"), Count()), newest)

    def put_counter_version(self, up_to: int, drawn_s: float, by_direction: Mapping[str, Thresholds]) -> None:
        """Keep which thresholds go with a counter version."""
        body = msgspec.json.encode(by_direction)
        self._db.execute("INSERT OR REPLACE INTO counter_version VALUES(?, ?, ?)", (up_to, _ms(drawn_s), body))

    def counter_version(self, up_to: int | None = None) -> tuple[int, float, dict[str, Thresholds]] | None:
        """Number of its last result, when it was drawn (UTC seconds), thresholds; the newest, or that of a number."""
        row = self._first(
            "SELECT up_to, drawn_ms, body FROM counter_version WHERE up_to <= ? ORDER BY up_to DESC LIMIT 1",
            2**62 if up_to is None else up_to,
        )
        if row is None:
            return None
        return int(row[0]), row[1] / 1000.0, msgspec.json.decode(row[2], type=dict[str, Thresholds])

    # --- what was found before the border ---

    def put_ahead(self, row: AheadRow, now_s: float) -> None:
        """Keep what was found of a declaration, by itself (jrn empty) or in a journey."""
        self._db.execute(
            "INSERT OR REPLACE INTO ahead VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.number, row.jrn, row.version, row.direction, row.crossing, row.hour, row.score, row.selected,
                _ms(now_s), msgspec.msgpack.encode(row.ahead),
            ),
        )  # fmt: skip

    def ahead(self, number: str, jrn: str, version: int) -> Ahead | None:
        """What was found of this version of a declaration in this journey, or at least by itself."""
        sql = "SELECT body FROM ahead WHERE number = ? AND jrn IN (?, '') AND version = ? ORDER BY jrn DESC LIMIT 1"
        row = self._first(sql, number, jrn, version)
        return msgspec.msgpack.decode(row[0], type=Ahead) if row else None

    def drop_ahead(self, number: str, jrn: str) -> None:
        """Forget a journey's part: it is at the border."""
        self._db.execute("DELETE FROM ahead WHERE number = ? AND jrn = ? AND jrn != ''", (number, jrn))

    def forget_ahead(self, before_s: float) -> None:
        """Forget what did not change since."""
        self._db.execute("DELETE FROM ahead WHERE changed_ms < ?", (_ms(before_s),))

    def recent_scores(self, direction: str, limit: int) -> list[int]:
        """Scores of the declarations of a direction that were lodged last."""
        sql = "SELECT score FROM ahead WHERE jrn = '' AND direction = ? ORDER BY changed_ms DESC LIMIT ?"
        return [int(row[0]) for row in self._db.execute(sql, (direction, limit))]

    def bays_wanted(self, crossing: str, hour: int, score: int, activation_id: str) -> int:
        """Control bays of an hour that are taken, or that expected lorries with a higher score would take."""
        taken = "SELECT count(*) FROM bay WHERE crossing = ? AND hour = ? AND activation_id != ?"
        better = "SELECT count(*) FROM ahead WHERE crossing = ? AND hour = ? AND selected = 'MODEL' AND score > ?"
        return int(self._one(taken, crossing, hour, activation_id)[0]) + int(
            self._one(better, crossing, hour, score)[0]
        )

    def take_bay(self, activation_id: str, crossing: str, hour: int) -> None:
        """A lorry is stopped for a control in this hour."""
        self._db.execute("INSERT OR IGNORE INTO bay VALUES(?, ?, ?)", (activation_id, crossing, hour))

    # --- the lot ---

    def commit_draw(self, day: str, now_s: float) -> None:
        """Fix the secret of a day to come by its hash."""
        digest = hashlib.sha256(self.day_secret(day)).hexdigest()
        self._db.execute("INSERT OR IGNORE INTO draw_commitment VALUES(?, ?, ?)", (day, digest, _ms(now_s)))

    def draws(self) -> list[tuple[str, str, float, bytes]]:
        """Day, hash of its secret, when that was fixed (UTC seconds), secret; newest day first."""
        sql = (
            "SELECT day, sha256, committed_ms, secret FROM draw_commitment JOIN day_secret USING(day)"
            " ORDER BY day DESC LIMIT ?"
        )
        return [(row[0], row[1], row[2] / 1000.0, bytes(row[3])) for row in self._db.execute(sql, (MAX_PAGE,))]

    # --- conditional answers ---

    def put_conditional(self, activation_id: str, jrn: str, until_s: float) -> None:
        """Note that a conditional answer was given; one that was revoked holds again."""
        self._db.execute("INSERT OR REPLACE INTO conditional VALUES(?, ?, ?, 0)", (activation_id, jrn, _ms(until_s)))

    def revoke_conditional(self, jrn: str | None, now_s: float, but: Iterable[str] = ()) -> int:
        """Revoke what was given for a journey (None = for all) and has not run out; how many."""
        kept = set(but)
        given = self._db.execute(
            "SELECT activation_id FROM conditional WHERE revoked = 0 AND until_ms > ? AND (? IS NULL OR jrn = ?)",
            (_ms(now_s), jrn, jrn),
        ).fetchall()
        gone = [(str(row[0]),) for row in given if row[0] not in kept]
        self._db.executemany("UPDATE conditional SET revoked = 1 WHERE activation_id = ?", gone)
        return len(gone)

    def revoked(self, now_s: float) -> tuple[str, ...]:
        """Ids of revoked conditional answers that have not run out; what has is forgotten."""
        self._db.execute("DELETE FROM conditional WHERE until_ms <= ?", (_ms(now_s),))
        rows = self._db.execute("SELECT activation_id FROM conditional WHERE revoked = 1 ORDER BY activation_id")
        return tuple(str(row[0]) for row in rows)

    # --- checkpoints ---

    def checkpoint(self, agent: str) -> tuple[int, bytes] | None:
        """Size and root of the newest checkpoint of an agent."""
        row = self._first("SELECT size, root FROM checkpoint WHERE agent = ?", agent)
        return (int(row[0]), base64.b64decode(row[1])) if row else None

    def put_checkpoint(self, agent: str, size: int, root: bytes, body: str, received_at: str) -> None:
        """Keep the newest checkpoint of an agent."""
        self._db.execute(
            "INSERT OR REPLACE INTO checkpoint VALUES(?, ?, ?, ?, ?)",
            (agent, size, base64.b64encode(root).decode(), body, received_at),
        )

    def supersede_checkpoint(self, agent: str, officer: str, reason: str, at: str) -> None:
        """Put the newest checkpoint of an agent among the superseded ones, with who said so."""
        self._db.execute(
            "INSERT INTO superseded_checkpoint SELECT agent, size, root, body, received_at, ?, ?, ? "
            "FROM checkpoint WHERE agent = ?",
            (officer, reason, at, agent),
        )
        self._db.execute("DELETE FROM checkpoint WHERE agent = ?", (agent,))

    # --- below ---

    def _first(self, sql: str, *values: str | int) -> tuple[Any, ...] | None:
        return next(iter(self._db.execute(sql, values)), None)

    def _one(self, sql: str, *values: str | int) -> tuple[Any, ...]:
        return next(iter(self._db.execute(sql, values)))


@contextmanager
def reading(folder: Path) -> Iterator[Store]:
    """A register that may be in use, to be read only.

    Raises:
        JournalError: no register, or it cannot be read.
    """
    path = folder / "customs.sqlite"
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            db.set_busy_timeout(BUSY_MS)
            store = Store.__new__(Store)
            store._db = db
            yield store
        finally:
            db.close()
    except apsw.Error as error:
        raise JournalError(f"{path}: cannot be read: {error}") from error


def read_counters(folder: Path, but_newest: int) -> tuple[Counters, Counters]:
    """Counts of a register that may be in use: all, and all but those of the newest control results.

    Raises:
        JournalError: no register, or it cannot be read.
    """
    with reading(folder) as store:
        now = store.counters()
        return now, store.counters(max(0, now.up_to - but_newest))


def _tell(waiting: Sequence[asyncio.Future[Any]], outcomes: Sequence[Outcome]) -> None:
    for told, (done, error) in zip(waiting, outcomes, strict=True):
        if told.done():  # who waited has gone
            continue
        if error is None:
            told.set_result(done)
        else:
            told.set_exception(error)


def _ms(time_s: float) -> int:
    return round(time_s * 1000)


def _locked(folder: Path) -> int:
    handle = os.open(folder / "customs.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise AlreadyRunning(f"{folder}: another customs service holds this data folder") from error
    return handle


def _opened(path: Path) -> apsw.Connection:
    db = apsw.Connection(str(path))
    db.set_busy_timeout(BUSY_MS)
    for pragma in (
        "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "trusted_schema = OFF",
        "mmap_size = 0", "secure_delete = ON", f"wal_autocheckpoint = {WAL_PAGES}",
    ):  # fmt: skip
        db.execute(f"PRAGMA {pragma}")
    version = int(next(iter(db.execute("PRAGMA user_version")))[0])
    if version == 0:
        with db:
            db.execute(SCHEMA)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        _fsync_folder(path.parent)
    elif version != SCHEMA_VERSION:
        db.close()
        raise JournalError(f"{path}: schema version {version}: expected {SCHEMA_VERSION}")
    db.execute(ADDED)
    return db


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
