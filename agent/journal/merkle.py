"""RFC 6962 tree over the journal: head by appending, proofs, and checkpoints in C2SP's form.

A tree that grows needs only one hash for each of its whole subtrees (at most 64): the compact range.
Appending costs O(log n), and the range is small enough to be stored with every commit.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.journal.verify import EMPTY_ROOT, key_id, node_hash, origin_of

CHECKPOINT_EVERY_S = 10.0
CHECKPOINT_EVERY_ENTRIES = 100
"""A signed head at least so often (design/reliability.md section 4)."""
HASH_BYTES = 32


@dataclass(frozen=True)
class CompactRange:
    """The tree of the first `size` leaves, as the roots of its whole subtrees, largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> CompactRange:
        """The tree with one leaf hash more."""
        peaks, size, value = self.peaks, self.size, leaf
        while size & 1:  # two subtrees of one height become one
            value, peaks, size = node_hash(peaks[-1], value), peaks[:-1], size >> 1
        return CompactRange(self.size + 1, (*peaks, value))

    def extend(self, leaves: Iterable[bytes]) -> CompactRange:
        """The tree with these leaf hashes more."""
        tree = self
        for leaf in leaves:
            tree = tree.append(leaf)
        return tree

    def root(self) -> bytes:
        """RFC 6962 tree head."""
        if not self.peaks:
            return EMPTY_ROOT
        value = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            value = node_hash(peak, value)
        return value

    def to_bytes(self) -> bytes:
        """All peaks, one after the other; the size is kept beside them."""
        return b"".join(self.peaks)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> CompactRange:
        """Back from `to_bytes`.

        Raises:
            ValueError: the length does not fit the size.
        """
        if size < 0 or len(data) != HASH_BYTES * size.bit_count():
            raise ValueError(f"{len(data)} bytes of hashes: expected {HASH_BYTES} for each bit set in {size}")
        return cls(size, tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)))


def _split(size: int) -> int:
    """Largest power of two below size (size > 1)."""
    return 1 << ((size - 1).bit_length() - 1)


def _root(leaves: Sequence[bytes]) -> bytes:
    return CompactRange().extend(leaves).root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Audit path of leaf `index` (from 0) in the tree of all these leaf hashes, lowest step first.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index}: expected one below {len(leaves)}")
    steps: list[bytes] = []
    while len(leaves) > 1:
        half = _split(len(leaves))
        if index < half:
            steps.append(_root(leaves[half:]))
            leaves = leaves[:half]
        else:
            steps.append(_root(leaves[:half]))
            leaves, index = leaves[half:], index - half
    return tuple(reversed(steps))


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Proof that the tree of the first `old_size` leaf hashes is the beginning of the tree of all of them.

    Raises:
        ValueError: `old_size` is not between 1 and the number of leaves.
    """
    if not 1 <= old_size <= len(leaves):
        raise ValueError(f"old size {old_size}: expected 1 to {len(leaves)}")
    steps: list[bytes] = []
    whole = True  # the old tree is a whole subtree so far, so its root is known to the asker
    while old_size != len(leaves):
        half = _split(len(leaves))
        if old_size <= half:
            steps.append(_root(leaves[half:]))
            leaves = leaves[:half]
        else:
            steps.append(_root(leaves[:half]))
            leaves, old_size, whole = leaves[half:], old_size - half, False
    if not whole:
        steps.append(_root(leaves))
    return tuple(reversed(steps))


def consistency_onward(old: CompactRange, added: Sequence[bytes]) -> tuple[bytes, ...]:
    """`consistency_proof` from the old tree's peaks and the leaf hashes after it, however large the old tree is.

    Raises:
        ValueError: the old tree is empty.
    """
    if old.size < 1:
        raise ValueError("old size 0: expected 1 or more")
    first, last, peaks = 0, old.size + len(added), list(old.peaks)
    steps: list[bytes] = []
    while last != old.size:
        middle = first + _split(last - first)
        if old.size <= middle:
            steps.append(_root(added[middle - old.size : last - old.size]))
            last = middle
        else:
            steps.append(peaks.pop(0))
            first = middle
    if first:  # at the left edge the old tree is a whole subtree: its root is known to the asker
        steps.append(peaks.pop(0))
    return tuple(reversed(steps))


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the new tree begins with the old one (RFC 9162 section 2.1.4.2)."""
    if not 0 <= old_size <= new_size:
        return False
    if old_size in (0, new_size):
        return not proof and (old_root == new_root if old_size == new_size else old_root == EMPTY_ROOT)
    steps = list(proof)
    if old_size & (old_size - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_value = new_value = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_value, new_value = node_hash(step, old_value), node_hash(step, new_value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_value = node_hash(new_value, step)
        node, last = node >> 1, last >> 1
    return last == 0 and old_value == old_root and new_value == new_root


def checkpoint_due(size: int, now_s: float, last_size: int, last_s: float) -> bool:
    """Whether a tree head must be signed now; a tree that has not grown needs none."""
    grown = size - last_size
    waited_s = now_s - last_s
    return grown >= CHECKPOINT_EVERY_ENTRIES or (grown > 0 and not 0 <= waited_s < CHECKPOINT_EVERY_S)


def sign_checkpoint(agent: str, tree: CompactRange, key: Ed25519PrivateKey) -> str:
    """C2SP tlog-checkpoint of this tree: origin, size, root, and one signed-note line that ends it."""
    name = origin_of(agent)
    note = f"{name}\n{tree.size}\n{base64.b64encode(tree.root()).decode()}\n"
    blob = key_id(name, key.public_key().public_bytes_raw()) + key.sign(note.encode())
    return f"{note}\n— {name} {base64.b64encode(blob).decode()}\n"
