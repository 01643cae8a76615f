"""What is erased when: telemetry after a day, events and refusals after a month, papers by setting.

The journal itself stays: its entries hold digests of what was erased, so the proof outlives the data.
"""

from __future__ import annotations

from dataclasses import replace

import apsw

from agent.domain.times import epoch_s
from agent.journal import evidence
from agent.journal.batch import Retention
from agent.journal.entry import parse
from agent.journal.evidence import PURGED_AT_ONCE, KeyRing, Purged
from agent.journal.papers import papers_over_age, purge_papers


def is_due(connection: apsw.Connection, ring: KeyRing, now_ms: int, retention: Retention) -> bool:
    """Whether a purge has anything to do: a look costs no transaction."""
    return (
        evidence.is_due(connection, ring, now_ms)
        or papers_over_age(connection, _before(now_ms, retention.papers_s))
        or _refusals_over_age(connection, _before(now_ms, retention.events_s))
        or _first_young_event(connection, _before(now_ms, retention.events_s)) is not None
    )


def purge(connection: apsw.Connection, ring: KeyRing, now_ms: int, retention: Retention) -> Purged:
    """Delete what is over age, a bounded number of rows; runs inside a transaction."""
    purged = evidence.purge(connection, ring, now_ms)
    left = max(1, PURGED_AT_ONCE - purged.rows)
    shredded = purge_papers(connection, _before(now_ms, retention.papers_s), left)
    events_ms = _before(now_ms, retention.events_s)
    rows = purged.rows + _purge_events(connection, events_ms, left)
    connection.execute(
        "DELETE FROM refusal WHERE rowid IN (SELECT rowid FROM refusal WHERE last_ms < ? LIMIT ?)", (events_ms, left)
    )
    rows += connection.changes()
    return replace(purged, rows=rows, keys=purged.keys + shredded, more=purged.more or max(shredded, rows) >= left)


def _before(now_ms: int, age_s: float) -> int:
    return now_ms - round(age_s * 1000)


def _refusals_over_age(connection: apsw.Connection, oldest_ms: int) -> bool:
    return bool(next(connection.execute("SELECT EXISTS (SELECT 1 FROM refusal WHERE last_ms < ?)", (oldest_ms,)))[0])


def _purge_events(connection: apsw.Connection, oldest_ms: int, at_most: int) -> int:
    young = _first_young_event(connection, oldest_ms)
    if young is None:
        return 0
    connection.execute(
        "DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE seq < ? ORDER BY seq LIMIT ?)", (young, at_most)
    )
    return int(connection.changes())


def _first_young_event(connection: apsw.Connection, oldest_ms: int) -> int | None:
    """Number below which events are over age, or None if none is. Entries are in the order of their times."""
    low, high = next(connection.execute("SELECT min(seq), max(seq) FROM event"))
    if low is None or _written_ms(connection, low) >= oldest_ms:
        return None
    high += 1
    while high - low > 1:
        middle = (low + high) // 2
        if _written_ms(connection, middle) < oldest_ms:
            low = middle
        else:
            high = middle
    return int(high)


def _written_ms(connection: apsw.Connection, seq: int) -> float:
    """When an entry was written; the next one's time stands for a missing one's."""
    row = next(connection.execute("SELECT body FROM journal WHERE seq >= ? ORDER BY seq LIMIT 1", (seq,)), None)
    return float("inf") if row is None else epoch_s(parse(row[0]).at) * 1000
