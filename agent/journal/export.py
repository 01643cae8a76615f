"""The journal, or the whole proof of one activation, as JSON Lines for `borderlane journal verify`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

from agent.domain.times import epoch_s
from agent.journal import verify as checks
from agent.journal.batch import ActivationRow
from agent.journal.entry import Entry
from agent.journal.merkle import inclusion_proof
from agent.journal.reader import Reader

PASSAGE_MS = 7_200_000
"""Detections so near to an activation, before or after, belong to its drive."""


def export_lines(reader: Reader, activation: str | None) -> Iterator[dict[str, Any]]:
    """Header, then entries. The checkpoint is read first, so it never vouches for more than follows."""
    stored = reader.checkpoint()
    keys = {kid: base64.b64encode(raw).decode() for kid, raw in reader.signing_keys().items()}
    yield {
        "export": checks.EXPORT_FORM,
        "agent": reader.agent_id(),
        "activation": activation,
        "keys": keys,
        "checkpoint": stored,
    }
    if activation is None:
        yield from (_export_line(entry) for entry in reader.entries())
        return
    size = 0 if stored is None else checks.parse_checkpoint(stored).size
    leaves = reader.leaf_hashes(size)
    entries = case_entries(reader, activation)
    for entry in entries:
        proof = inclusion_proof(leaves, entry.seq - 1) if entry.seq <= size else ()
        yield _export_line(entry) | {"proof": [base64.b64encode(step).decode() for step in proof]}
    yield from _papers(reader, entries)


def case_entries(reader: Reader, activation: str) -> list[Entry]:
    """Entries of an activation and those of its journey, oldest first: detections of its unit are among them."""
    own = reader.entries_of(activation)
    facts = json.loads(own[0].body).get("facts", {})
    found = {entry.seq: entry for entry in own}
    for name in filter(None, (activation, facts.get("jrn"))):
        found |= {entry.seq: entry for entry in reader.entries_naming(name)}
    for row in reader.activation_rows(activation):
        near = reader.entries_naming(row.unit)
        found |= {entry.seq: entry for entry in near if _is_of_this_passage(entry, row)}
    return [found[seq] for seq in sorted(found)]


def _is_of_this_passage(entry: Entry, row: ActivationRow) -> bool:
    """Whether a detection of the unit belongs to the drive that activated."""
    fields = json.loads(entry.body)
    near = abs(epoch_s(fields["at"]) * 1000 - row.received_ms) <= PASSAGE_MS
    return near and fields["kind"] in ("DETECTED", "NOTICED") and fields["facts"].get("unit") == row.unit


def _papers(reader: Reader, entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """Exact bytes behind the entries, as far as they are not erased yet."""
    bodies = [json.loads(entry.body) for entry in entries]
    owners = dict.fromkeys(str(body["facts"]["jrn"]) for body in bodies if body.get("facts", {}).get("jrn"))
    for paper in (paper for owner in owners for paper in reader.papers(owner)):
        yield {"paper": paper.kind, "activation": paper.activation_id, "body": paper.body.decode()}
    for body in bodies:
        for event in reader.events(body["seq"] - 1, 1) if body.get("evidenceSha256") else ():
            if event.seq == body["seq"]:
                yield {"paper": "DETECTION", "seq": event.seq, "body": event.body.decode()}


def _export_line(entry: Entry) -> dict[str, Any]:
    return {"seq": entry.seq, "body": entry.body.decode(), "sig": base64.b64encode(entry.signature).decode()}
