"""Damage is found at the start and put aside; it never passes for a journal (design/reliability.md, F8)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.machinery import enumerate_in

Count = Callable[[str], None]


def test_a_thousand_damaged_files(count: Count) -> None:
    found = enumerate_in("damage", 1_000)
    assert found["badCount"] == 0, found["bad"]
    assert found["outcomes"]["database: quarantined"] >= 200
    assert found["outcomes"]["log: quarantined"] >= 200
    count(f"{found['damaged']} damaged files, none taken for good: {found['outcomes']}")


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
def test_twenty_thousand_damaged_files(count: Count) -> None:
    found = enumerate_in("damage", 20_000, 2, timeout_s=1_700)
    assert found["badCount"] == 0, found["bad"]
    count(f"{found['damaged']} damaged files, none taken for good: {found['outcomes']}")
