"""One journal entry: built, chained and signed, and read again (design/reliability.md section 4).

The body is UTF-8 JSON, signed as stored and never serialised again. It holds no plate, no coordinate and no
person except the officer who decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.domain.times import rfc3339
from agent.journal.verify import ENTRY_CONTEXT, FIRST_PREV, leaf_hash

MAX_BODY_BYTES = 1_000_000
"""Far above the largest decision (100 declarations); more is a programming mistake."""


@dataclass(frozen=True)
class EntryDraft:
    """What is to be recorded; number, chain, times and signature are added by the commit."""

    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    activation_id: str | None = None
    evidence_sha256: str | None = None
    """Hex digest of the encrypted evidence that belongs to it."""
    event_kind: str | None = None
    """`detection`, `activation`, `instruction`, `receipt`, `alarm` or `mode` if watchers are told."""
    event: dict[str, Any] | None = None
    """What watchers are told; its id is the entry's number."""


@dataclass(frozen=True)
class Circumstances:
    """What held while the entries of one commit were decided."""

    zone_set_version: str | None = None
    zone_set_sha256: str | None = None
    clock_bound_ms: int | None = None
    """How far the wall clock may be off; None = not known."""


@dataclass(frozen=True)
class Writer:
    """Who writes: constant for one run of the agent."""

    agent: str
    kid: str
    boot_id: str
    software_version: str


@dataclass(frozen=True)
class Link:
    """Where the next entry continues the chain."""

    seq: int = 0
    """Number of the newest entry."""
    prev: str = FIRST_PREV
    """Its leaf hash in hex."""


class EntryBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The signed body; absent fields were not known."""

    seq: int
    prev: str
    agent: str
    kid: str
    boot_id: str
    kind: str
    at: str
    monotonic_ms: int
    software_version: str
    activation_id: str | None = None
    at_bound_ms: int | None = None
    zone_set_version: str | None = None
    zone_set_sha256: str | None = msgspec.field(name="zoneSetSha256", default=None)
    evidence_sha256: str | None = msgspec.field(name="evidenceSha256", default=None)
    facts: dict[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A chained, signed entry."""

    seq: int
    body: bytes
    signature: bytes
    hash: bytes
    activation_id: str | None = None


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(EntryBody)


def build(
    draft: EntryDraft, link: Link, writer: Writer, held: Circumstances, now_s: float, monotonic_s: float
) -> bytes:
    """Body of the entry that follows `link`.

    Raises:
        TypeError, ValueError: facts that are no JSON, or too many of them (a caller bug).
    """
    body = _ENCODER.encode(
        EntryBody(
            seq=link.seq + 1,
            prev=link.prev,
            agent=writer.agent,
            kid=writer.kid,
            boot_id=writer.boot_id,
            kind=draft.kind,
            at=rfc3339(now_s),
            monotonic_ms=round(monotonic_s * 1000),
            software_version=writer.software_version,
            activation_id=draft.activation_id,
            at_bound_ms=held.clock_bound_ms,
            zone_set_version=held.zone_set_version,
            zone_set_sha256=held.zone_set_sha256,
            evidence_sha256=draft.evidence_sha256,
            facts=draft.facts,
        )
    )
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"entry {draft.kind} of {len(body)} bytes: expected at most {MAX_BODY_BYTES}")
    return body


def seal(body: bytes, link: Link, key: Ed25519PrivateKey, activation_id: str | None = None) -> Entry:
    """Sign a body built for this link."""
    signature = key.sign(ENTRY_CONTEXT + body)
    return Entry(link.seq + 1, body, signature, leaf_hash(body), activation_id)


def follow(entry: Entry) -> Link:
    """Where the chain continues after an entry."""
    return Link(entry.seq, entry.hash.hex())


def parse(body: bytes) -> EntryBody:
    """Read a body.

    Raises:
        ValueError: it is no entry; what is wrong, and where.
    """
    try:
        return _DECODER.decode(body)
    except msgspec.MsgspecError as error:
        raise ValueError(f"no journal entry: {error}") from error
