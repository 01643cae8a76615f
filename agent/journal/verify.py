"""Checks a journal with nothing but a public key; needs only the standard library and `cryptography`.

This one file can be handed to an auditor: `python verify.py EXPORT --key PUB.pem [--checkpoint FILE]`.
It finds an entry edited, deleted, inserted or moved by signature, number and chain; a cut tail and a rebuilt
journal by checkpoints, best ones that were held elsewhere (design/reliability.md section 4).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ENTRY_CONTEXT = b"borderlane/journal/1\n"
"""Signed before each body, so that no other signed text passes for an entry."""
EXPORT_FORM = "borderlane/journal/1"
FIRST_PREV = "00" * 32
"""`prev` of the first entry."""
EMPTY_ROOT = hashlib.sha256(b"").digest()
MAX_FINDINGS = 100
"""Findings kept; the rest are counted only."""
_NOTE_KEY_TYPE = b"\n\x01"  # C2SP signed-note: Ed25519


def leaf_hash(body: bytes) -> bytes:
    """RFC 6962 leaf hash; it serves the chain and the tree."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def origin_of(agent: str) -> str:
    """Origin line of an agent's checkpoints, and the name of its key."""
    return f"borderlane/{agent}"


class BadCheckpoint(ValueError):  # noqa: N818 - reads as the fact it states
    """The text is no checkpoint, or none of our keys signed it."""


@dataclass(frozen=True)
class Checkpoint:
    """A signed tree head: so many entries had this root."""

    origin: str
    size: int
    root: bytes


def key_id(name: str, raw_public_key: bytes) -> bytes:
    """C2SP signed-note key id: 4 bytes."""
    return hashlib.sha256(name.encode() + _NOTE_KEY_TYPE + raw_public_key).digest()[:4]


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a C2SP tlog-checkpoint without looking at its signature.

    Raises:
        BadCheckpoint: it has another form.
    """
    note, blank, _ = text.partition("\n\n")
    lines = note.split("\n")
    if not blank or len(lines) < 3 or not lines[1].isascii() or not lines[1].isdigit():
        raise BadCheckpoint("no checkpoint: expected origin, size and root, then a blank line and a signature")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except ValueError as error:
        raise BadCheckpoint(f"root {lines[2]!r}: {error}") from error
    if len(root) != 32 or len(lines[1]) > 18:
        raise BadCheckpoint("no checkpoint: expected a size below 10^18 and a root of 32 bytes")
    return Checkpoint(lines[0], int(lines[1]), root)


def verify_checkpoint(text: str, keys: Sequence[Ed25519PublicKey]) -> Checkpoint:
    """The checkpoint, if one of these keys signed it; signatures of witnesses beside it do no harm.

    Raises:
        BadCheckpoint: another form, or no signature of ours.
    """
    checkpoint = parse_checkpoint(text)
    note, _, signatures = text.partition("\n\n")
    for line in signatures.splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash == "—" and name == checkpoint.origin and _note_signed(note + "\n", name, encoded, keys):
            return checkpoint
    raise BadCheckpoint(f"checkpoint of {checkpoint.origin!r} at {checkpoint.size}: not signed by this key")


def _note_signed(note: str, name: str, encoded: str, keys: Sequence[Ed25519PublicKey]) -> bool:
    try:
        blob, message = base64.b64decode(encoded, validate=True), note.encode()
        ours = [key for key in keys if blob[:4] == key_id(name, key.public_bytes_raw())]
    except ValueError:  # no base64, or half a surrogate pair out of JSON
        return False
    return _signed_by(ours, blob[4:], message)


def _signed_by(keys: Sequence[Ed25519PublicKey], signature: bytes, message: bytes) -> bool:
    for key in keys:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            continue
        return True
    return False


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf hash is number `index` (from 0) of `size` leaves (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, value = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            value = node_hash(step, value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, step)
        node, last = node >> 1, last >> 1
    return last == 0 and value == root


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `where` is the entry's place counted from 1, or 0 for the whole."""

    where: int
    what: str


@dataclass
class Verification:
    """What was read, what it proves, what is wrong."""

    entries: int = 0
    root: bytes = EMPTY_ROOT
    covered: int = 0
    """Entries that a good checkpoint vouches for; a tail cut above it would not be found."""
    papers: int = 0
    """Papers of an export for which its entries stand."""
    findings: list[Finding] = field(default_factory=list)
    found: int = 0
    """Findings in all, also those above `MAX_FINDINGS`."""

    @property
    def verified(self) -> bool:
        """Nothing is wrong."""
        return self.found == 0

    def add(self, where: int, what: str) -> None:
        """Note a finding."""
        self.found += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(where, what))


class _Peaks:
    """Root of a growing tree: one hash for each whole subtree, the largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        size, value = self.size, leaf
        while size & 1:
            value, size = node_hash(self._peaks.pop(), value), size >> 1
        self._peaks.append(value)
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        value = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            value = node_hash(peak, value)
        return value


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


class _ChainCheck:
    """Goes along the entries once; keeps the roots at the sizes that checkpoints name."""

    def __init__(self, keys: Sequence[Ed25519PublicKey], sizes: set[int], result: Verification) -> None:
        self._keys, self._sizes, self._result = keys, sizes, result
        self._seq, self._prev, self._peaks = 0, FIRST_PREV, _Peaks()
        self.roots = {0: EMPTY_ROOT}
        self.agents: set[str] = set()

    def take(self, body: bytes, signature: bytes) -> None:
        result, fields = self._result, _fields(body)
        result.entries += 1
        where, seq = result.entries, fields.get("seq")
        if not _signed_by(self._keys, signature, ENTRY_CONTEXT + body):
            result.add(where, "signature does not fit: the entry was changed, or another key signed it")
        if seq != self._seq + 1:
            result.add(where, f"number {seq!r}: expected {self._seq + 1}, an entry was removed, added or moved")
        elif fields.get("prev") != self._prev:
            result.add(where, "does not continue the entry before it: one of the two was changed")
        self._seq = seq if isinstance(seq, int) else self._seq + 1
        leaf = leaf_hash(body)
        self._prev = leaf.hex()
        self._peaks.append(leaf)
        if self._peaks.size in self._sizes:
            self.roots[self._peaks.size] = self._peaks.root()
        self.agents.add(str(fields.get("agent")))

    def finish(self) -> None:
        self._result.root = self._peaks.root()
        if len(self.agents) > 1:
            self._result.add(0, f"entries of several agents: {', '.join(sorted(self.agents))}")


def verify_entries(
    entries: Iterable[tuple[bytes, bytes]],
    keys: Sequence[Ed25519PublicKey],
    checkpoints: Iterable[str] = (),
) -> Verification:
    """Check a whole journal from its first entry on.

    Args:
        entries: (body, signature), oldest first.
        keys: Public keys of the agent; more than one after a rotation.
        checkpoints: Texts of signed tree heads, from the journal itself or held elsewhere.
    """
    result = Verification()
    heads = _good_checkpoints(checkpoints, keys, result)
    check = _ChainCheck(keys, {head.size for head in heads}, result)
    for body, signature in entries:
        check.take(body, signature)
    check.finish()
    for head in heads:
        _compare(head, check, result)
    return result


def _good_checkpoints(texts: Iterable[str], keys: Sequence[Ed25519PublicKey], result: Verification) -> list[Checkpoint]:
    heads = []
    for text in texts:
        try:
            heads.append(verify_checkpoint(text, keys))
        except BadCheckpoint as error:
            result.add(0, str(error))
    return heads


def _compare(head: Checkpoint, check: _ChainCheck, result: Verification) -> None:
    if head.size > result.entries:
        what = f"ends after {result.entries} entries, but a checkpoint vouches for {head.size}: the tail was cut"
        result.add(0, what)
    elif check.roots[head.size] != head.root:
        result.add(0, f"the first {head.size} entries are not those of the checkpoint: the journal was rebuilt")
    elif check.agents and check.agents != {head.origin.removeprefix("borderlane/")}:
        result.add(0, f"checkpoint of {head.origin!r} is of another agent than the entries")
    else:
        result.covered = max(result.covered, head.size)


# Exports: JSON Lines. First line {"export": …, "agent": …, "activation": …|null, "checkpoint": …|null}, then
# one {"body": …, "sig": base64, "proof": [base64]?} for each entry; the body is a string, exactly as signed.
# One activation's export has papers besides: {"paper": kind, "body": …}, the exact bytes behind the entries.


def verify_export(
    lines: Iterable[bytes],
    keys: Sequence[Ed25519PublicKey],
    checkpoints: Iterable[str] = (),
    authority: Sequence[Ed25519PublicKey] = (),
) -> Verification:
    """Check an export: of a whole journal, or of one activation with proofs of inclusion and papers.

    Args:
        lines: The file.
        keys: Public keys of the agent; more than one after a rotation.
        checkpoints: Signed tree heads held elsewhere.
        authority: Keys of the authority; without them its answers are checked by digest only.
    """
    source = iter(lines)
    header = _fields(next(source, b""))
    bad = Verification()
    if header.get("export") != EXPORT_FORM:
        bad.add(0, f'line 1: expected the header {{"export": "{EXPORT_FORM}", …}}')
        return bad
    own = header.get("checkpoint")
    texts = chain([own] if isinstance(own, str) else [], checkpoints)
    papers = _Papers(keys, authority)
    rows = _read_rows(source, bad, papers)
    if header.get("activation") is None:
        result = verify_entries(((body, signature) for body, signature, _ in rows), keys, texts)
    else:
        result = _verify_proofs(rows, keys, own, list(texts))
    for finding in bad.findings:
        result.add(finding.where, finding.what)
    papers.check(result)
    return result


def _read_rows(
    lines: Iterator[bytes], bad: Verification, papers: _Papers
) -> Iterator[tuple[bytes, bytes, list[bytes]]]:
    for number, line in enumerate(lines, start=2):
        fields = _fields(line)
        if "paper" in fields:
            papers.lines.append((number, str(fields["paper"]), fields.get("body")))
            continue
        try:
            proof = [base64.b64decode(step, validate=True) for step in fields.get("proof", ())]
            body = fields["body"].encode()
            yield body, base64.b64decode(fields["sig"], validate=True), proof
        except (KeyError, TypeError, AttributeError, ValueError):
            bad.add(0, f'line {number}: expected {{"body": text, "sig": base64}}')
            continue
        papers.named(_fields(body))


class _Papers:
    """The papers of an export against what its entries say of them."""

    def __init__(self, keys: Sequence[Ed25519PublicKey], authority: Sequence[Ed25519PublicKey]) -> None:
        self.lines: list[tuple[int, str, object]] = []
        self._keys, self._authority = keys, authority
        self._digests: set[object] = set()
        self._instructions: set[object] = set()

    def named(self, entry: dict[str, Any]) -> None:
        """Take the digests and the instruction that an entry names."""
        facts = entry.get("facts")
        facts = facts if isinstance(facts, dict) else {}
        names = ("requestSha256", "assessmentSha256")
        self._digests.update([str(facts.get(name)) for name in names] + [str(entry.get("evidenceSha256"))])
        if entry.get("kind") == "INSTRUCTION_ISSUED":
            self._instructions.add(str(facts.get("instructionId")))

    def check(self, result: Verification) -> None:
        """Note each paper that no entry stands for."""
        for number, kind, body in self.lines:
            fault = self._fault(kind, body) if isinstance(body, str) else "expected text as body"
            if fault:
                result.add(0, f"line {number}: {kind}: {fault}")
            else:
                result.papers += 1

    def _fault(self, kind: str, body: str) -> str:
        if kind in ("REQUEST", "DETECTION"):
            named = hashlib.sha256(body.encode("utf-8", "replace")).hexdigest() in self._digests
            return "" if named else "no entry names these bytes: they were changed"
        if kind == "RISK_ANSWER":
            payload = jws_payload(body, self._authority) if self._authority else jws_payload(body)
            if payload is None:
                return "not signed by the authority's key"
            named = hashlib.sha256(payload).hexdigest() in self._digests
            return "" if named else "no entry names this answer"
        if kind == "INSTRUCTION":
            payload = jws_payload(body, self._keys)
            if payload is None:
                return "not signed by the agent's key"
            return "" if _fields(payload).get("instructionId") in self._instructions else "no entry issued it"
        return "a kind of paper that is not known"


def jws_payload(token: str, keys: Sequence[Ed25519PublicKey] | None = None) -> bytes | None:
    """Payload of a JWS in compact form, signed with Ed25519 by one of the keys; None if it is not.

    Args:
        token: The JWS.
        keys: None = the signature is not looked at.
    """
    try:
        header, payload, signature = (_base64url(part) for part in token.split("."))
        signed = token.rpartition(".")[0].encode("ascii")
    except ValueError:
        return None
    if _fields(header).get("alg") not in ("Ed25519", "EdDSA"):
        return None
    return payload if keys is None or _signed_by(keys, signature, signed) else None


def _base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _verify_proofs(
    rows: Iterable[tuple[bytes, bytes, list[bytes]]],
    keys: Sequence[Ed25519PublicKey],
    own: object,
    texts: list[str],
) -> Verification:
    """Proofs lead to the export's own checkpoint; another of the same size must have the same root."""
    result = Verification()
    heads = _good_checkpoints(texts, keys, result)
    if not isinstance(own, str) or not heads:
        result.add(0, "no good checkpoint: expected the signed tree head that the proofs lead to")
        return result
    head = heads[0]
    for other in heads[1:]:
        if other.size == head.size and other.root != head.root:
            result.add(0, f"checkpoints of {head.size} entries with two roots: the journal was rebuilt")
    for body, signature, proof in rows:
        _take_proof(body, signature, proof, head, keys, result)
    result.root = head.root
    return result


def _take_proof(
    body: bytes,
    signature: bytes,
    proof: list[bytes],
    head: Checkpoint,
    keys: Sequence[Ed25519PublicKey],
    result: Verification,
) -> None:
    result.entries += 1
    seq = _fields(body).get("seq")
    if not _signed_by(keys, signature, ENTRY_CONTEXT + body):
        result.add(result.entries, "signature does not fit: the entry was changed, or another key signed it")
    if not isinstance(seq, int) or seq < 1:
        result.add(result.entries, f"number {seq!r}: expected 1 or more")
    elif seq > head.size:  # younger than the newest checkpoint: its signature is all the proof there is yet
        return
    elif not verify_inclusion(leaf_hash(body), seq - 1, head.size, proof, head.root):
        result.add(result.entries, f"entry {seq} is not in the tree of the checkpoint at {head.size}")
    else:
        result.covered += 1


def load_key(pem: bytes) -> Ed25519PublicKey:
    """Ed25519 public key from PEM.

    Raises:
        ValueError: it is something else.
    """
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{type(key).__name__}: expected an Ed25519 public key")
    return key


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one export from the command line; 0 good, 1 not."""
    parser = argparse.ArgumentParser(description="Checks an export of a borderlane journal.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--key", type=Path, action="append", required=True, help="public key, PEM")
    parser.add_argument("--checkpoint", type=Path, action="append", default=[])
    parser.add_argument("--authority-key", type=Path, action="append", default=[], help="of the risk answers, PEM")
    options = parser.parse_args(arguments)
    keys = [load_key(path.read_bytes()) for path in options.key]
    texts = [path.read_text("utf-8") for path in options.checkpoint]
    with options.export.open("rb") as lines:
        result = verify_export(lines, keys, texts, [load_key(path.read_bytes()) for path in options.authority_key])
    for finding in result.findings:
        sys.stdout.write(f"entry {finding.where}: {finding.what}\n" if finding.where else f"{finding.what}\n")
    word = "verified" if result.verified else "NOT verified"
    papers = f", {result.papers} papers" if result.papers else ""
    sys.stdout.write(f"{word}: {result.entries} entries, {result.covered} under a checkpoint{papers}\n")
    return 0 if result.verified else 1


if __name__ == "__main__":
    sys.exit(main())
