#!/usr/bin/env python3
"""Checks the proof of one activation (`borderlane journal export --activation ID`), apart from the product.

    python check_proof.py PROOF AGENT_KEY.pem [AUTHORITY_KEY.pem]

Needs Python and `cryptography`, nothing of borderlane: short enough to be read whole by whoever must believe it.
Prints what it checked; exit status 0 = every entry is signed and in the signed tree, every paper fits an entry.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def sha256(data):
    return hashlib.sha256(data).digest()


def require(is_so, otherwise):
    if not is_so:
        raise ValueError(otherwise)


def signed(key, signature, message):
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def tree_head(checkpoint, key):
    """Size and root of a C2SP checkpoint that our key signed: text, blank line, "— name base64(4 bytes, signature)"."""
    text, _, signatures = checkpoint.partition("\n\n")
    blobs = [base64.b64decode(line.split()[2]) for line in signatures.splitlines() if line.startswith("— ")]
    require(any(signed(key, blob[4:], (text + "\n").encode()) for blob in blobs), "checkpoint: signature")
    lines = text.split("\n")
    return int(lines[1]), base64.b64decode(lines[2])


def root_over(leaf, index, size, path):
    """RFC 6962: the root that a leaf and its audit path lead to."""
    if size == 1:
        return leaf
    half = 1 << ((size - 1).bit_length() - 1)
    if index < half:
        return sha256(b"\x01" + root_over(leaf, index, half, path[:-1]) + path[-1])
    return sha256(b"\x01" + path[-1] + root_over(leaf, index - half, size - half, path[:-1]))


def unpack(token):
    """Message, payload and signature of a JWS."""
    head, payload, signature = token.split(".")
    return f"{head}.{payload}".encode(), base64url(payload), base64url(signature)


def base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def check_entry(line, key, size, root):
    body = line["body"].encode()
    entry = json.loads(body)
    message = b"borderlane/journal/1\n" + body
    require(signed(key, base64.b64decode(line["sig"]), message), f"entry {entry['seq']}: signature")
    if entry["seq"] <= size:
        path = [base64.b64decode(step) for step in line["proof"]]
        found = root_over(sha256(b"\x00" + body), entry["seq"] - 1, size, path)
        require(found == root, f"entry {entry['seq']}: not in the signed tree")
    return entry


def check_paper(line, entries, key, authority):
    facts = [entry.get("facts", {}) for entry in entries]
    digests = {entry.get("evidenceSha256") for entry in entries}
    digests |= {one.get(name) for one in facts for name in ("requestSha256", "assessmentSha256")}
    content = line["body"].encode()
    if line["paper"] in ("RISK_ANSWER", "INSTRUCTION"):
        message, content, signature = unpack(line["body"])
        signer = authority if line["paper"] == "RISK_ANSWER" else key
        require(signer is None or signed(signer, signature, message), f"{line['paper']}: signature")
    if line["paper"] == "INSTRUCTION":
        issued = {one.get("instructionId") for one in facts}
        require(json.loads(content)["instructionId"] in issued, "INSTRUCTION: no entry issued it")
    else:
        require(sha256(content).hex() in digests, f"{line['paper']}: no entry names these bytes")


def main(proof, agent_key, authority_key=None):
    key = load_pem_public_key(Path(agent_key).read_bytes())
    authority = load_pem_public_key(Path(authority_key).read_bytes()) if authority_key else None
    header, *lines = (json.loads(line) for line in Path(proof).read_text("utf-8").splitlines())
    size, root = tree_head(header["checkpoint"], key)
    entries = [check_entry(line, key, size, root) for line in lines if "paper" not in line]
    papers = [line for line in lines if "paper" in line]
    for line in papers:
        check_paper(line, entries, key, authority)
    activated = [one.get("activationId") for one in entries if one["kind"] == "ACTIVATED"]
    require(header["activation"] in activated, "no entry activates it")
    for entry in entries:
        print(entry["seq"], entry["at"], entry["kind"])
    kinds = ", ".join(line["paper"] for line in papers)
    print(f"proved: {len(entries)} entries under a tree of {size}, {len(papers)} papers: {kinds}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        sys.exit(f"NOT proved: {error}")
