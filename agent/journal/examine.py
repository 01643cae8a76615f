"""Looks a journal over before it is written on: nothing is built upon damage (design/reliability.md, F8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

REHASH_ENTRIES = 20_000
"""Journals up to this size are hashed whole at start (about 0.1 s); of longer ones only the end is looked at then,
and the rest while the agent serves (`LookingOver`)."""
SIGNATURES_CHECKED = 256
"""Newest entries whose signatures are checked at start; `journal verify` checks all."""
PAGE_ENTRIES = 500
"""Hashed in one go while the agent serves, some 5 ms: a lorry that enters meanwhile waits no longer."""
QUICK_CHECK_BYTES = 64 << 20
"""Files up to this size get SQLite's own check at start, so that it stays under 3 s (I5)."""


def faults_at_start(folder: Path, reader: Reader) -> list[str]:
    """What is wrong, as far as a start has time to look; empty = nothing.

    Raises:
        apsw.Error: the disk cannot be read, which says nothing about what is on it.
    """
    suspect = (folder / SUSPECT_NAME).exists()
    try:
        faults = _log_faults(folder) or _page_faults(folder, reader, suspect)
        faults = faults or _journal_faults(folder, reader, suspect)
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


def _journal_faults(folder: Path, reader: Reader, suspect: bool) -> list[str]:
    size = reader.size()
    keys = [Ed25519PublicKey.from_public_bytes(raw) for raw in reader.signing_keys().values()]
    heads = _heads(folder, reader, keys)
    faults = [
        f"ends after {size} entries, but a checkpoint vouches for {head.size}" for head in heads if head.size > size
    ]
    if (before := promised(folder)) > size:
        faults.append(f"ends after {size} entries, but {before} were promised")
    if size <= REHASH_ENTRIES or suspect:
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
    try:
        tree = _followed(CompactRange(), reader.entries(), _roots(heads))
    except _Unlike as fault:
        return [str(fault)]
    return [] if reader.tree() == (size, tree.to_bytes()) else ["the stored tree head is not that of the entries"]


def _roots(heads: Iterable[Checkpoint]) -> dict[int, bytes]:
    return {head.size: head.root for head in heads}


class _Unlike(ValueError):  # noqa: N818 - reads as the fact it states
    """The entries are not those that were signed."""


def _followed(tree: CompactRange, entries: Iterable[Entry], roots: Mapping[int, bytes]) -> CompactRange:
    """The tree with further entries, each hashed anew."""
    for entry in entries:
        if entry.seq != tree.size + 1 or leaf_hash(entry.body) != entry.hash:
            raise _Unlike(f"entry {tree.size + 1} was changed or is missing")
        tree = tree.append(entry.hash)
        if tree.size in roots and roots[tree.size] != tree.root():
            raise _Unlike(f"the first {tree.size} entries are not those of the checkpoint")
    return tree


class LookingOver:
    """Hashes a long journal from its first entry on, a page at a time, while the agent serves.

    Args:
        reader: Of the journal.
        whole: The tree as it was when the journal was opened.
        heads: Signed tree heads to hold it against.
    """

    def __init__(self, reader: Reader, whole: CompactRange, heads: Iterable[Checkpoint]) -> None:
        self._reader, self._whole, self._roots = reader, whole, _roots(heads)
        self._tree = CompactRange()

    @property
    def ended(self) -> bool:
        """Whether all of it was looked at."""
        return self._tree.size >= self._whole.size

    def go_on(self) -> str:
        """Look at another page; what is wrong with it, or empty."""
        count = min(PAGE_ENTRIES, self._whole.size - self._tree.size)
        before = self._tree.size
        try:
            self._tree = _followed(self._tree, self._reader.entries(before, count), self._roots)
        except _Unlike as fault:
            return str(fault)
        if self._tree.size < before + count:
            return f"entry {self._tree.size + 1} was changed or is missing"
        if self.ended and self._tree != self._whole:
            return "the stored tree head is not that of the entries"
        return ""


def looking_over(folder: Path, reader: Reader, whole: CompactRange) -> LookingOver | None:
    """What the start had no time for; None if it has looked at everything."""
    if whole.size <= REHASH_ENTRIES:
        return None
    keys = [Ed25519PublicKey.from_public_bytes(raw) for raw in reader.signing_keys().values()]
    return LookingOver(reader, whole, _heads(folder, reader, keys))


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
