"""A log that a crash has torn is not a damaged one, and a damaged one is not a torn one."""

from __future__ import annotations

import random
import struct

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.wal import FRAME_HEAD_BYTES, HEAD_BYTES, log_faults

FRAME_BYTES = FRAME_HEAD_BYTES + 4_096
TRANSACTIONS = 6


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """The log of six transactions as SQLite writes it."""
    path = tmp_path_factory.mktemp("wal") / "some.db"
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE t (body)")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    for number in range(TRANSACTIONS):
        connection.execute("INSERT INTO t VALUES (?)", (bytes([number]) * 5_000,))
    data = path.with_name("some.db-wal").read_bytes()
    connection.close()
    return data


def ends_of(log):
    """Where each transaction ends, in bytes."""
    starts = range(HEAD_BYTES, len(log), FRAME_BYTES)
    return [start + FRAME_BYTES for start in starts if struct.unpack_from(">I", log, start + 4)[0]]


def test_a_whole_log_is_good_and_so_is_none(log):
    assert len(ends_of(log)) == TRANSACTIONS
    assert log_faults(log) == log_faults(b"") == log_faults(log[:40]) == []


@given(seed=st.integers(0, 1 << 32), share=st.floats(0, 1))
def test_a_log_torn_in_its_last_transaction_is_no_damage(log, seed, share):
    """Whatever sectors of it came down, in whatever order."""
    *_, before, end = ends_of(log)
    torn, dice = bytearray(log), random.Random(seed)
    for sector in range(before // 512 + 1, (end - 1) // 512 + 1):
        if dice.random() < share:
            torn[sector * 512 : (sector + 1) * 512] = bytes(512)
    assert log_faults(bytes(torn)) == []


@given(share=st.floats(0, 1))
def test_a_log_cut_anywhere_has_an_end_and_no_damage(log, share):
    assert log_faults(log[: round(share * len(log))]) == []


@given(share=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_changed_bit_before_the_last_two_transactions_is_found(log, share, bit):
    """Head and frames are summed whole, their salts and sums against their neighbours'."""
    changed = bytearray(log)
    changed[round(share * (ends_of(log)[-3] - 1))] ^= 1 << bit
    assert log_faults(bytes(changed)) != []


@given(st.binary(max_size=20_000))
def test_any_bytes_are_answered(data):
    assert log_faults(data) == []


def test_frames_of_an_earlier_log_behind_the_end_are_no_damage(log):
    """A log begins anew at its start, over what is left of the one before."""
    first = ends_of(log)[0]
    older = bytearray(log)
    for start in range(first, len(log), FRAME_BYTES):
        older[start + 8 : start + 16] = b"otherslt"
    assert log_faults(bytes(older)) == []
