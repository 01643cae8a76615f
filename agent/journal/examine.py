"""Looks a journal over before it is written on: nothing is built upon damage (design/reliability.md, F8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import apsw
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.journal import page_check
from agent.journal.database import CHECKPOINT_NAME, FILE_NAME, SUSPECT_NAME, promised
from agent.journal.entry import Entry, parse
from agent.journal.merkle import CompactRange
from agent.journal.reader import Reader
from agent.journal.verify import ENTRY_CONTEXT, BadCheckpoint, Checkpoint, leaf_hash, verify_checkpoint
from agent.journal.wal import log_faults

REHASH_ENTRIES = 50_000
"""Journals up to this size are hashed whole at start (about 0.2 s), longer ones only at their end."""
SIGNATURES_CHECKED = 256
"""Newest entries whose signatures are checked at start; `journal verify` checks all."""
QUICK_CHECK_BYTES = 64 << 20
"""Files up to this size get SQLite's own check at start, so that it stays under 3 s (I5)."""


def faults_at_start(folder: Path, reader: Reader) -> list[str]:
    """What is wrong, as far as a start has time to look; empty = nothing.

    Raises:
        apsw.Error: the disk cannot be read, which says nothing about what is on it.
    """
    suspect = (folder / SUSPECT_NAME).exists()
    try:
        faults = _log_faults(folder) or _page_faults(folder, reader, suspect) or _journal_faults(folder, reader)
    except apsw.Error as error:
        if not page_check.is_damage(error):
            raise
        return [page_check.words_of(error)]
    except (ValueError, TypeError) as error:
        return [f"{type(error).__name__}: {error}"]
    if suspect and not faults:
        (folder / SUSPECT_NAME).unlink()
    return faults


def _log_faults(folder: Path) -> list[str]:
    try:
        log = (folder / f"{FILE_NAME}-wal").read_bytes()
    except FileNotFoundError:
        return []
    return [f"write-ahead log: {fault}" for fault in log_faults(log)]


def _page_faults(folder: Path, reader: Reader, suspect: bool) -> list[str]:
    quick = (folder / FILE_NAME).stat().st_size <= QUICK_CHECK_BYTES
    return reader.database_faults(quick=not suspect) if quick or suspect else []


def _journal_faults(folder: Path, reader: Reader) -> list[str]:
    size = reader.size()
    keys = [Ed25519PublicKey.from_public_bytes(raw) for raw in reader.signing_keys().values()]
    heads = _heads(folder, reader, keys)
    faults = [
        f"ends after {size} entries, but a checkpoint vouches for {head.size}" for head in heads if head.size > size
    ]
    if (before := promised(folder)) > size:
        faults.append(f"ends after {size} entries, but {before} were promised")
    if size <= REHASH_ENTRIES:
        faults += _tree_faults(reader, size, heads)
    faults += _tail_faults(reader.entries(max(0, size - SIGNATURES_CHECKED - 1)), keys)
    faults += [f"outbox row {row_id} was changed" for row_id in reader.damaged_outbox()]
    faults += [f"activation {missing} has no entry" for missing in reader.unrecorded_activations()]
    return faults


def _heads(folder: Path, reader: Reader, keys: Sequence[Ed25519PublicKey]) -> list[Checkpoint]:
    stored = reader.checkpoint()
    heads = [] if stored is None else [verify_checkpoint(stored, keys)]
    # The copy is written without sync: a power cut may have torn it, so a bad one says nothing.
    with suppress(OSError, BadCheckpoint, UnicodeDecodeError):
        heads.append(verify_checkpoint((folder / CHECKPOINT_NAME).read_text("utf-8"), keys))
    return heads


def _tree_faults(reader: Reader, size: int, heads: Iterable[Checkpoint]) -> list[str]:
    faults, tree, roots = [], CompactRange(), {head.size: head.root for head in heads}
    for place, entry in enumerate(reader.entries(), start=1):
        if entry.seq != place or leaf_hash(entry.body) != entry.hash:
            return [f"entry {place} was changed or is missing"]
        tree = tree.append(entry.hash)
        if roots.get(tree.size, b"") not in (b"", tree.root()):
            faults.append(f"the first {tree.size} entries are not those of the checkpoint")
    if reader.tree() != (size, tree.to_bytes()):
        faults.append("the stored tree head is not that of the entries")
    return faults


def _tail_faults(entries: Iterable[Entry], keys: Sequence[Ed25519PublicKey]) -> list[str]:
    before: Entry | None = None
    for entry in entries:
        body = parse(entry.body)
        if body.seq != entry.seq or (before is not None and body.prev != before.hash.hex()):
            return [f"entry {entry.seq} does not continue the chain"]
        if not any(_signed(key, entry) for key in keys):
            return [f"entry {entry.seq}: signature does not fit"]
        before = entry
    return []


def _signed(key: Ed25519PublicKey, entry: Entry) -> bool:
    try:
        key.verify(entry.signature, ENTRY_CONTEXT + entry.body)
    except InvalidSignature:
        return False
    return True
