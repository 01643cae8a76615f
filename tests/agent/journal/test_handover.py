from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.handover import HeadConflict, fault_of, held_size, proof_text, prove_from
from agent.journal.merkle import CompactRange, consistency_onward
from agent.journal.verify import Checkpoint, leaf_hash


def leaves(size, salt=""):
    return [leaf_hash(f"{salt}{number}".encode()) for number in range(size)]


def tree(size, salt=""):
    return CompactRange().extend(leaves(size, salt))


def head(size, salt=""):
    return Checkpoint("borderlane/box-1", size, tree(size, salt).root())


def held(size):
    return size, tree(size).root()


def proof(old_size, new_size, salt=""):
    return proof_text(consistency_onward(tree(old_size, salt), leaves(new_size, salt)[old_size:]))


@given(st.integers(1, 60), st.integers(0, 60))
def test_a_grown_journal_continues(old_size, added):
    new_size = old_size + added
    assert fault_of(held(old_size), head(new_size), old_size, proof(old_size, new_size)) is None


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 60))
def test_a_rebuilt_journal_never_does(old_size, added, begin):
    """Whatever proof it sends along: its own, a good journal's, or one from elsewhere."""
    new_size = old_size + added
    for steps in (proof(old_size, new_size, "x"), proof(old_size, new_size), ()):
        assert fault_of(held(old_size), head(new_size, "x"), old_size, steps) is not None
        assert fault_of(held(old_size), head(new_size, "x"), begin, steps) is not None


def test_the_first_head_is_taken_and_an_empty_one_binds_nobody():
    assert fault_of(None, head(7), 0, ()) is None
    assert fault_of(held(0), head(7), 0, ()) is None


@pytest.mark.parametrize(
    ("told_from", "own_size", "customs_holds", "next_from"),
    [
        (0, 9, 5, 5),  # the first time, or customs has taken more than was heard of
        (5, 9, 7, 7),
        (0, 9, 9, 9),
        (5, 9, 5, None),  # refused although the proof began where it should
        (0, 9, 12, None),  # a restored backup
        (0, 9, 0, None),
        (0, 9, None, None),  # a refusal that says nothing
    ],
)
def test_what_follows_a_refusal(told_from, own_size, customs_holds, next_from):
    assert prove_from(told_from, own_size, customs_holds) == next_from


def test_the_size_that_a_refusal_names():
    import msgspec

    assert held_size(msgspec.json.encode(HeadConflict(detail="x", held_size=7))) == 7
    for other in (b"", b"{}", b"[1]", b"\xff", b'{"heldSize":"7"}'):
        assert held_size(other) is None
