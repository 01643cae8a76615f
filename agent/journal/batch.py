"""What one transaction takes and gives: plain rows, all or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from agent.journal.entry import Circumstances, EntryDraft

RecordTable = Literal["crossing", "journey", "instruction"]
RECORD_TABLES: tuple[RecordTable, ...] = ("crossing", "journey", "instruction")

REQUEST, RISK_ANSWER, INSTRUCTION = "REQUEST", "RISK_ANSWER", "INSTRUCTION"
"""Kinds of papers: the bytes sent to customs, the authority's signed answer (JWS), the signed instruction (JWS)."""


class CursorRow(msgspec.Struct, frozen=True):
    """How far the reports of a unit are processed."""

    unit: str
    boot_id: str | None
    highest: int
    gaps: tuple[tuple[int, int, int], ...]
    """Ranges below `highest` not yet seen: first, last, and when the gap opened, UTC milliseconds."""
    last_fix_ms: int


class StateRow(msgspec.Struct, frozen=True, gc=False):
    """Detector state of a unit; None = forget it."""

    unit: str
    body: bytes | None


@dataclass(frozen=True)
class RecordRow:
    """One record of a state machine; None = forget it."""

    table: RecordTable
    key: str
    body: bytes | None


@dataclass(frozen=True)
class ActivationRow:
    """An activated declaration; the id is unique for ever (invariant 1)."""

    activation_id: str
    mrn: str
    version: int
    jrn: str
    crossing: str
    direction: str
    unit: str
    at_ms: int
    """When the boundary was crossed."""
    received_ms: int
    """When the fix that settled it arrived."""
    body: bytes
    """Exact bytes of the request to customs."""


@dataclass(frozen=True)
class OutboxRow:
    """An effect to perform, at least once, as exact bytes."""

    lane: str
    target: str
    """MQTT topic, or URL path."""
    key: str
    """What makes doing it twice harmless: activationId, instructionId."""
    body: bytes
    due_ms: int | None = None
    """Live deadline; such rows go first."""
    expires_ms: int | None = None
    owner: str | None = None
    """Journey among whose papers the sealed bytes are kept."""
    seal: bool = False
    """Signed at the commit together with the newest tree head. Once done it is kept, to be published again,
    until its target has a newer one or it is dropped."""


@dataclass(frozen=True)
class Retry:
    """When to try an outbox row again."""

    outbox_id: int
    next_try_ms: int
    tries: int


@dataclass(frozen=True)
class RefusalRow:
    """A message that could not be used; its bytes are not kept."""

    source: str
    topic: str
    reason: str
    sha256: bytes
    length: int


class FrameRow(msgspec.Struct, frozen=True, gc=False):
    """Which records the newest frame of a unit held: it sends the frame again until it hears an answer."""

    unit: str
    body: bytes
    """`agent.ingest.resends.encode_keys`."""


class TelemetryRow(msgspec.Struct, frozen=True, gc=False):
    """What one batch brought of one unit inside tracking zones; encrypted by the store as it is written."""

    unit: str
    body: bytes
    """`agent.journal.telemetry.encode`; empty = nothing was seen, only the stay ends."""
    ends: bool = False
    """The unit has left every zone: its next stay gets another key."""


@dataclass(frozen=True)
class PaperRow:
    """Exact bytes that an entry names by digest, or that are signed themselves; kept encrypted, can be erased."""

    owner: str
    """Journey, or `unit:` + unit: its papers share a key."""
    kind: str
    body: bytes
    activation_id: str | None = None


@dataclass(frozen=True)
class Commit:
    """One batch of the pipeline: written in one transaction, or not at all."""

    cursors: tuple[CursorRow, ...] = ()
    unit_states: tuple[StateRow, ...] = ()
    records: tuple[RecordRow, ...] = ()
    activations: tuple[ActivationRow, ...] = ()
    entries: tuple[EntryDraft, ...] = ()
    effects: tuple[OutboxRow, ...] = ()
    done: tuple[int, ...] = ()
    """Outbox ids that the other side has said yes to."""
    dropped: tuple[int, ...] = ()
    """Outbox ids to forget without a yes: superseded, or expired and cleared at the broker."""
    retried: tuple[Retry, ...] = ()
    refusals: tuple[RefusalRow, ...] = ()
    telemetry: tuple[TelemetryRow, ...] = ()
    papers: tuple[PaperRow, ...] = ()
    frames: tuple[FrameRow, ...] = ()
    feed_marker: int | None = None
    circumstances: Circumstances = field(default_factory=Circumstances)


@dataclass(frozen=True)
class StoredRow:
    """An outbox row as stored; `body` is what goes out, signed if `sealed`."""

    outbox_id: int
    lane: str
    target: str
    key: str
    body: bytes
    due_ms: int | None
    expires_ms: int | None
    sealed: bool
    next_try_ms: int = 0
    tries: int = 0
    done_ms: int | None = None


@dataclass(frozen=True)
class StoredEvent:
    """What watchers are told; `seq` rises and survives restarts."""

    seq: int
    kind: str
    body: bytes
    """JSON."""


@dataclass(frozen=True)
class StoredRefusal:
    """A refusal and how often it came."""

    source: str
    topic: str
    reason: str
    sha256: bytes
    length: int
    first_ms: int
    last_ms: int
    count: int


@dataclass(frozen=True)
class Committed:
    """What is on disk now."""

    seqs: tuple[int, ...] = ()
    """Numbers of the entries, in the order of the drafts."""
    outbox: tuple[StoredRow, ...] = ()
    """The new outbox rows, in the order of the effects."""
    events: tuple[StoredEvent, ...] = ()
    checkpoint: str | None = None
    """A newly signed tree head, to be sent on."""
    at_ms: int = 0


@dataclass(frozen=True)
class Retention:
    """How long what can be erased is kept, seconds; telemetry goes after a day whatever is set
    (design/reliability.md section 8, P5)."""

    events_s: float = 30 * 86_400.0
    papers_s: float = 365 * 86_400.0


@dataclass(frozen=True)
class Counts:
    """How much is stored."""

    entries: int
    activations: int
    outbox_pending: int
    outbox_oldest_id: int | None
    refusals: int
    """Refused messages, also those beyond the rows kept."""


@dataclass(frozen=True)
class Loaded:
    """All state, as the pipeline needs it at start."""

    cursors: tuple[CursorRow, ...]
    unit_states: Mapping[str, bytes]
    frames: Mapping[str, bytes]
    """Keys of the newest frame of a unit."""
    records: Mapping[RecordTable, Mapping[str, bytes]]
    feed_marker: int
    outbox: tuple[StoredRow, ...]
    """Not done yet, oldest first."""
    retained: tuple[StoredRow, ...]
    """The newest sealed row of each target, done or not."""
    checkpoint: str | None
    entries: int
