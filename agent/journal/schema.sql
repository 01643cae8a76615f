-- Tables of the agent (design/reliability.md section 2). All STRICT; times are UTC milliseconds.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Public keys that signed this journal, by key id; a rotation adds a row.
CREATE TABLE signing_key (
    kid        TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,
    since_seq  INTEGER NOT NULL
) STRICT;

-- The journal: signed entries, the tree over them, its newest signed head. Never updated, never deleted.
CREATE TABLE journal (
    seq           INTEGER PRIMARY KEY,
    body          BLOB NOT NULL,
    sig           BLOB NOT NULL,
    hash          BLOB NOT NULL,
    activation_id TEXT
) STRICT;
CREATE INDEX journal_by_activation ON journal (activation_id) WHERE activation_id IS NOT NULL;
CREATE TABLE tree (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    size  INTEGER NOT NULL,
    peaks BLOB NOT NULL
) STRICT;
CREATE TABLE checkpoint (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    size  INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    body  TEXT NOT NULL
) STRICT;

-- What watchers are told, by number of the entry it belongs to.
CREATE TABLE event (
    seq  INTEGER PRIMARY KEY REFERENCES journal (seq),
    kind TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Inbox: one cursor for each unit instead of a row for each fix.
CREATE TABLE cursor (
    unit        TEXT PRIMARY KEY,
    boot_id     TEXT,
    highest     INTEGER NOT NULL,
    gaps        TEXT NOT NULL,
    last_fix_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE unit_state (
    key  TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- State of the machines.
CREATE TABLE feed (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    marker INTEGER NOT NULL
) STRICT;
CREATE TABLE journey (
    key  TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE crossing (
    key  TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE instruction (
    key  TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- Business key: nothing is activated twice (invariant 1).
CREATE TABLE activation (
    activation_id TEXT PRIMARY KEY,
    mrn           TEXT NOT NULL,
    version       INTEGER NOT NULL,
    jrn           TEXT NOT NULL,
    crossing      TEXT NOT NULL,
    direction     TEXT NOT NULL,
    unit          TEXT NOT NULL,
    at_ms         INTEGER NOT NULL,
    received_ms   INTEGER NOT NULL,
    body          BLOB NOT NULL
) STRICT;

-- Fixes inside tracking zones, encrypted, for `explain`; kept a day at most. One key for each stay in the
-- tracking zones of a crossing: deleting it shreds the stay. `at_ms` is when the rows were written, so the
-- index over it only ever grows at its end.
CREATE TABLE evidence_key (
    id        INTEGER PRIMARY KEY,
    unit      TEXT NOT NULL,
    key       BLOB NOT NULL,
    opened_ms INTEGER NOT NULL,
    closed_ms INTEGER
) STRICT;
CREATE TABLE telemetry (
    id     INTEGER PRIMARY KEY,
    key_id INTEGER NOT NULL,
    at_ms  INTEGER NOT NULL,
    body   BLOB NOT NULL
) STRICT;
CREATE INDEX telemetry_by_time ON telemetry (at_ms);

-- Effects still to be performed, as exact bytes. Done ones leave, but the newest sealed one of a target stays.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    lane        TEXT NOT NULL,
    target      TEXT NOT NULL,
    key         TEXT NOT NULL,
    body        BLOB NOT NULL,
    body_sha256 BLOB NOT NULL,
    sealed      INTEGER NOT NULL,
    due_ms      INTEGER,
    expires_ms  INTEGER,
    next_try_ms INTEGER NOT NULL DEFAULT 0,
    tries       INTEGER NOT NULL DEFAULT 0,
    done_ms     INTEGER
) STRICT;
CREATE INDEX outbox_pending ON outbox (id) WHERE done_ms IS NULL;
CREATE INDEX outbox_sealed ON outbox (target, id) WHERE sealed = 1;

-- Dead letters without their bytes, which may hold a position outside every zone.
CREATE TABLE refusal (
    source   TEXT NOT NULL,
    topic    TEXT NOT NULL,
    reason   TEXT NOT NULL,
    sha256   BLOB NOT NULL,
    length   INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms  INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (source, topic, reason, sha256)
) STRICT;
CREATE TABLE refusal_overflow (
    reason TEXT PRIMARY KEY,
    count  INTEGER NOT NULL
) STRICT;

-- Younger than the first data folders: made when a folder without them is opened (`database.YOUNGER`).

-- Exact bytes behind the entries, encrypted, one key for each journey; see papers.py.
CREATE TABLE IF NOT EXISTS paper_key (
    id        INTEGER PRIMARY KEY,
    owner     TEXT NOT NULL UNIQUE,
    key       BLOB NOT NULL,
    newest_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS paper (
    id            INTEGER PRIMARY KEY,
    key_id        INTEGER NOT NULL,
    kind          TEXT NOT NULL,
    activation_id TEXT,
    at_ms         INTEGER NOT NULL,
    body          BLOB NOT NULL
) STRICT;
-- The newest frame of a unit that connects by itself, by keys of its records: it sends one again until it is answered.
CREATE TABLE IF NOT EXISTS last_frame (
    key  TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS paper_by_key ON paper (key_id);
CREATE INDEX IF NOT EXISTS paper_key_by_age ON paper_key (newest_ms);
