"""The tree against the definition of RFC 6962, computed naively."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.merkle import (
    CHECKPOINT_EVERY_ENTRIES,
    CHECKPOINT_EVERY_S,
    CompactRange,
    checkpoint_due,
    consistency_onward,
    consistency_proof,
    inclusion_proof,
    sign_checkpoint,
    verify_consistency,
)
from agent.journal.verify import (
    BadCheckpoint,
    Checkpoint,
    key_id,
    leaf_hash,
    parse_checkpoint,
    verify_checkpoint,
    verify_inclusion,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word, from leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:half]) + naive_root(leaves[half:])).digest()


def leaves_of(count: int) -> list[bytes]:
    return [leaf_hash(b"entry %d" % number) for number in range(count)]


def tree_of(leaves: list[bytes]) -> CompactRange:
    tree = CompactRange()
    for leaf in leaves:
        tree = tree.append(leaf)
    return tree


def test_known_roots_of_rfc_6962_test_vectors():
    """Inputs and roots from the certificate-transparency project's reference tests."""
    inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    leaves = [leaf_hash(bytes.fromhex(text)) for text in inputs]
    assert tree_of(leaves[:1]).root().hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree_of(leaves[:2]).root().hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert tree_of(leaves).root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(st.lists(st.binary(max_size=8), max_size=130))
def test_appending_gives_the_root_by_definition(bodies):
    leaves = [leaf_hash(body) for body in bodies]
    assert tree_of(leaves).root() == naive_root(leaves)


@given(st.integers(0, 300))
def test_range_survives_storing(count):
    tree = tree_of(leaves_of(count))
    assert CompactRange.from_bytes(tree.size, tree.to_bytes()) == tree
    with pytest.raises(ValueError, match="expected 32 for each bit"):
        CompactRange.from_bytes(tree.size, tree.to_bytes() + bytes(32))


@given(st.data())
def test_every_leaf_is_provably_in_and_nothing_else_is(data):
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    proof, root = inclusion_proof(leaves, index), naive_root(leaves)
    assert verify_inclusion(leaves[index], index, size, proof, root)
    other = data.draw(st.integers(0, size).filter(lambda number: number != index))
    assert not verify_inclusion(leaves[index], other, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"another"), index, size, proof, root)
    assert not verify_inclusion(leaves[index], index, size, (*proof, root), root)
    if proof:
        assert not verify_inclusion(leaves[index], index, size, proof[:-1], root)


@given(st.data())
def test_a_grown_tree_is_provably_the_old_one_grown(data):
    new_size = data.draw(st.integers(1, 70))
    old_size = data.draw(st.integers(1, new_size))
    leaves = leaves_of(new_size)
    old_root, new_root = naive_root(leaves[:old_size]), naive_root(leaves)
    proof = consistency_proof(leaves, old_size)
    assert verify_consistency(old_size, old_root, new_size, new_root, proof)
    rewritten = [leaf_hash(b"rewritten"), *leaves[1:]]
    assert not verify_consistency(old_size, old_root, new_size, naive_root(rewritten), proof)
    if old_size < new_size:
        forged = consistency_proof(rewritten, old_size)
        assert not verify_consistency(old_size, old_root, new_size, naive_root(rewritten), forged)
        assert not verify_consistency(new_size, new_root, old_size, old_root, proof)


def test_the_empty_tree_is_the_beginning_of_every_tree():
    leaves = leaves_of(5)
    empty = naive_root([])
    assert verify_consistency(0, empty, 5, naive_root(leaves), ())
    assert not verify_consistency(0, leaves[0], 5, naive_root(leaves), ())


@pytest.mark.parametrize(
    ("grown", "waited_s", "due"),
    [
        (0, 1_000.0, False),
        (1, CHECKPOINT_EVERY_S - 0.01, False),
        (1, CHECKPOINT_EVERY_S, True),
        (CHECKPOINT_EVERY_ENTRIES - 1, 0.0, False),
        (CHECKPOINT_EVERY_ENTRIES, 0.0, True),
        (1, -5.0, True),
    ],
    ids=["not grown", "soon", "10 s", "99 entries", "100 entries", "clock set back"],
)
def test_a_head_is_due_every_10_s_or_100_entries(grown, waited_s, due):
    assert checkpoint_due(500 + grown, 1_000.0 + waited_s, 500, 1_000.0) is due


def test_checkpoint_has_the_form_of_c2sp():
    tree = tree_of(leaves_of(3))
    text = sign_checkpoint("box-1", tree, KEY)
    note, signature = text.split("\n\n")
    assert note.split("\n")[:2] == ["borderlane/box-1", "3"]
    assert signature.startswith("— borderlane/box-1 ")
    assert signature.endswith("\n")
    raw = KEY.public_key().public_bytes_raw()
    assert key_id("borderlane/box-1", raw) == hashlib.sha256(b"borderlane/box-1\n\x01" + raw).digest()[:4]
    assert verify_checkpoint(text, [KEY.public_key()]) == Checkpoint("borderlane/box-1", 3, tree.root())


def test_signatures_of_witnesses_beside_ours_do_no_harm():
    text = sign_checkpoint("box-1", tree_of(leaves_of(3)), KEY)
    witnessed = text + "— witness.example/w1 AAAAAAAA\n"
    assert verify_checkpoint(witnessed, [KEY.public_key()]).size == 3


@given(st.data())
def test_no_changed_checkpoint_is_believed(data):
    text = sign_checkpoint("box-1", tree_of(leaves_of(7)), KEY)
    place = data.draw(st.integers(0, len(text) - 2))  # the last line end says nothing
    char = data.draw(st.sampled_from("0A=\n —z").filter(lambda other: other != text[place]))
    changed = text[:place] + char + text[place + 1 :]
    try:
        assert verify_checkpoint(changed, [KEY.public_key()]) == parse_checkpoint(text)
    except BadCheckpoint:
        return
    assert changed.partition("\n\n")[0] == text.partition("\n\n")[0]  # only slack of base64 was touched


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        "a\nx\nAAAA\n\n",
        "a\n-1\nAAAA\n\n",
        "a\n1\nAAAA\n\n",
        "a\n1\n***\n\n",
        "a\n1" + "0" * 20 + "\n\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(BadCheckpoint):
        parse_checkpoint(text)


def test_another_key_is_not_believed():
    text = sign_checkpoint("box-1", tree_of(leaves_of(3)), Ed25519PrivateKey.generate())
    with pytest.raises(BadCheckpoint, match="not signed by this key"):
        verify_checkpoint(text, [KEY.public_key()])


@given(st.integers(1, 130), st.integers(0, 130))
def test_the_proof_from_the_peaks_is_the_proof_from_all_leaves(old_size, added):
    hashes = [leaf_hash(str(number).encode()) for number in range(old_size + added)]
    old = CompactRange().extend(hashes[:old_size])
    proof = consistency_onward(old, hashes[old_size:])
    assert proof == consistency_proof(hashes, old_size)
    new = old.extend(hashes[old_size:])
    assert verify_consistency(old.size, old.root(), new.size, new.root(), proof)


def test_no_proof_begins_with_nothing():
    with pytest.raises(ValueError, match="old size 0"):
        consistency_onward(CompactRange(), [])
