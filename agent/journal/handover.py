"""Handing tree heads to customs: what is said, when a head is refused, and what follows (C2SP tlog-witness).

Whoever hands over a head proves that it continues the one that is held (RFC 6962 consistency). An agent that
cannot do so has another journal than it had: a restored backup, or one rebuilt.
"""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.domain.declaration import Message
from agent.journal.merkle import verify_consistency
from agent.journal.verify import Checkpoint

MAX_PROOF = 128
"""Hashes of a consistency proof: two for each of at most 64 levels."""
CONFLICT = 409

Hash64 = Annotated[str, Meta(max_length=44)]


class HeadPosted(Message, frozen=True):
    """Body of `POST /v1/checkpoints`."""

    agent: Annotated[str, Meta(min_length=1, max_length=64)]
    checkpoint: Annotated[str, Meta(max_length=4_096)]
    """C2SP tlog-checkpoint."""
    old_size: Annotated[int, Meta(ge=0, le=2**62)] = 0
    """Size of the head that the proof begins with; 0 = none is known to be held."""
    proof: Annotated[tuple[Hash64, ...], Meta(max_length=MAX_PROOF)] = ()
    """Hashes in base64, as RFC 6962 orders them."""


class HeadConflict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Problem (RFC 9457) with which a head is refused."""

    detail: str
    held_size: int
    """Size of the head that is held: a proof must begin there."""
    title: str = "Conflict"
    status: int = CONFLICT


def proof_text(proof: tuple[bytes, ...]) -> tuple[str, ...]:
    """Hashes as they go over the wire."""
    return tuple(base64.b64encode(step).decode() for step in proof)


def fault_of(held: tuple[int, bytes] | None, new: Checkpoint, old_size: int, proof: tuple[str, ...]) -> str | None:
    """Why a head does not continue the one that is held, or None.

    Args:
        held: Size and root of the newest head; None = none.
        new: The head handed over; its signature is checked elsewhere.
        old_size: Where its proof begins.
        proof: Hashes in base64.
    """
    if held is None:
        return None
    size, root = held
    if new.size < size:
        return f"size {new.size}: a head of size {size} is held, so the journal has lost entries"
    if new.size == size:
        return None if new.root == root else f"size {size}: a head with another root is held"
    if old_size != size and size:
        return f"expected a proof from size {size}"
    try:
        steps = [base64.b64decode(step, validate=True) for step in proof]
    except ValueError as error:
        return f"proof: {error}"
    if not verify_consistency(size, root, new.size, new.root, steps):
        return f"does not continue the head of size {size} that is held"
    return None


def held_size(body: bytes) -> int | None:
    """Size of the held head that a refusal names."""
    try:
        return msgspec.json.decode(body, type=HeadConflict).held_size
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def prove_from(told_from: int, own_size: int, held: int | None) -> int | None:
    """Where the next proof must begin after a refusal, or None: the journals differ.

    Args:
        told_from: Where the refused proof began.
        own_size: Size of the refused head.
        held: Size that customs names.
    """
    if held is None or held > own_size or held in (told_from, 0):
        return None
    return held
