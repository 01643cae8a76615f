"""Encrypted telemetry: one key for each stay of a unit in tracking zones, and retention by the clock.

Deleting a key shreds its stay, since the database overwrites what it deletes (`secure_delete`) and the log
is truncated afterwards. Rows are appended only and never sought by unit: a table sorted by unit would cost
a page of the log for each unit and commit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import apsw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from agent.journal.batch import TelemetryRow

RETENTION_S = 86_400.0
"""Telemetry is kept a day at most (design/reliability.md section 8, P5)."""
KEY_LIFE_S = 21_600.0
"""A longer stay, such as a night in the yard, goes on under another key, so that old ones can go."""
MAX_ROWS = 5_000_000
"""About 1 GB; above it the oldest go before their time."""
PURGED_AT_ONCE = 5_000
"""Rows of one purge: it shares the writing thread with commits that lorries wait for."""
KEY_BYTES = 32
_NONCE_BYTES = 12
_CONTEXT = "borderlane/telemetry/1"


def new_key() -> bytes:
    """A fresh secret."""
    return os.urandom(KEY_BYTES)


def encrypt(key: bytes, nonce: bytes, body: bytes, unit: str, key_id: int) -> bytes:
    """ChaCha20-Poly1305 (RFC 8439); bound to unit and key id, so that rows cannot be passed off as another's."""
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, body, _associated(unit, key_id))


def decrypt(key: bytes, sealed: bytes, unit: str, key_id: int) -> bytes:
    """The bytes that were encrypted.

    Raises:
        ValueError: another key, another unit, or changed bytes.
    """
    nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, body, _associated(unit, key_id))
    except (InvalidTag, ValueError) as error:
        raise ValueError(f"telemetry of {unit!r} under key {key_id}: changed, or another's") from error


def _associated(unit: str, key_id: int) -> bytes:
    return f"{_CONTEXT}\x1f{key_id}\x1f{unit}".encode()


@dataclass(frozen=True)
class OpenKey:
    """The key of a stay that goes on."""

    key_id: int
    key: bytes
    opened_ms: int


class KeyRing:
    """Keys of the stays that go on; changes count once the transaction is through (`keep` or `drop`)."""

    def __init__(self) -> None:
        self._open: dict[str, OpenKey] = {}
        self._changed: dict[str, OpenKey | None] = {}

    @classmethod
    def loaded(cls, connection: apsw.Connection) -> KeyRing:
        """From the database: a stay goes on over a restart."""
        ring = cls()
        rows = connection.execute("SELECT unit, id, key, opened_ms FROM evidence_key WHERE closed_ms IS NULL")
        ring._open = {unit: OpenKey(key_id, key, opened_ms) for unit, key_id, key, opened_ms in rows}
        return ring

    def __len__(self) -> int:
        return len(self._open)

    def get(self, unit: str) -> OpenKey | None:
        """The unit's key as it is by now."""
        return self._changed[unit] if unit in self._changed else self._open.get(unit)

    def put(self, unit: str, key: OpenKey | None) -> None:
        """Change a unit's key; None = its stay has ended."""
        self._changed[unit] = key

    def keep(self) -> None:
        """The transaction is through."""
        for unit, key in self._changed.items():
            if key is None:
                self._open.pop(unit, None)
            else:
                self._open[unit] = key
        self._changed.clear()

    def drop(self) -> None:
        """The transaction was rolled back."""
        self._changed.clear()

    def ended(self, now_ms: int) -> list[str]:
        """Units whose key has served its time."""
        return [unit for unit, key in self._open.items() if _is_worn(key, now_ms)]


def _is_worn(key: OpenKey, now_ms: int) -> bool:
    return now_ms - key.opened_ms >= KEY_LIFE_S * 1000


def write_telemetry(connection: apsw.Connection, ring: KeyRing, rows: Iterable[TelemetryRow], now_ms: int) -> None:
    """Encrypt and append; runs inside the transaction of `Store.commit`."""
    appended = []
    for row in rows:
        key = ring.get(row.unit)
        if row.body:
            if key is None or _is_worn(key, now_ms):
                key = _next_key(connection, ring, row.unit, key, now_ms)
            sealed = encrypt(key.key, os.urandom(_NONCE_BYTES), row.body, row.unit, key.key_id)
            appended.append((key.key_id, max(now_ms, key.opened_ms), sealed))
        if row.ends and key is not None:
            _close(connection, key, now_ms)
            ring.put(row.unit, None)
    connection.executemany("INSERT INTO telemetry (key_id, at_ms, body) VALUES (?, ?, ?)", appended)


def _next_key(connection: apsw.Connection, ring: KeyRing, unit: str, worn: OpenKey | None, now_ms: int) -> OpenKey:
    if worn is not None:
        _close(connection, worn, now_ms)
    secret = new_key()
    connection.execute("INSERT INTO evidence_key (unit, key, opened_ms) VALUES (?, ?, ?)", (unit, secret, now_ms))
    key = OpenKey(connection.last_insert_rowid(), secret, now_ms)
    ring.put(unit, key)
    return key


def _close(connection: apsw.Connection, key: OpenKey, now_ms: int) -> None:
    connection.execute("UPDATE evidence_key SET closed_ms = ? WHERE id = ?", (max(now_ms, key.opened_ms), key.key_id))


@dataclass(frozen=True)
class Purged:
    """What one purge deleted."""

    rows: int = 0
    keys: int = 0
    more: bool = False
    """There is more of age: purge again."""


def is_due(connection: apsw.Connection, ring: KeyRing, now_ms: int) -> bool:
    """Whether a purge has anything to do: a look costs no transaction."""
    oldest_ms = now_ms - round(RETENTION_S * 1000)
    over_age = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM telemetry WHERE at_ms < ?) OR "
        "EXISTS (SELECT 1 FROM evidence_key WHERE closed_ms < ?)",
        (oldest_ms, oldest_ms),
    )
    return bool(next(over_age)[0] or ring.ended(now_ms) or _surplus(connection) > 0)


def purge(connection: apsw.Connection, ring: KeyRing, now_ms: int) -> Purged:
    """Delete what is over age, keys first; runs inside a transaction.

    A stay whose unit fell silent is closed when its key has served its time.
    """
    for unit in ring.ended(now_ms):
        key = ring.get(unit)
        assert key is not None
        _close(connection, key, key.opened_ms + round(KEY_LIFE_S * 1000))
        ring.put(unit, None)
    oldest_ms = now_ms - round(RETENTION_S * 1000)
    connection.execute("DELETE FROM evidence_key WHERE closed_ms < ?", (oldest_ms,))
    keys = connection.changes()
    connection.execute(
        "DELETE FROM telemetry WHERE id IN (SELECT id FROM telemetry WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
        (oldest_ms, PURGED_AT_ONCE),
    )
    rows = connection.changes()
    rows += _purge_surplus(connection, PURGED_AT_ONCE - rows)
    return Purged(rows, keys, rows >= PURGED_AT_ONCE)


def _surplus(connection: apsw.Connection) -> int:
    """Rows above the bound."""
    found = connection.execute("SELECT coalesce(max(id) - min(id) + 1, 0) FROM telemetry")
    return int(next(found)[0]) - MAX_ROWS


def _purge_surplus(connection: apsw.Connection, at_most: int) -> int:
    """Rows above the bound, oldest first."""
    surplus = min(at_most, _surplus(connection))
    if surplus <= 0:
        return 0
    connection.execute("DELETE FROM telemetry WHERE id < (SELECT min(id) FROM telemetry) + ?", (surplus,))
    return int(connection.changes())
