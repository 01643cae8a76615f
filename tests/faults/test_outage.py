"""Customs is away for hours: all of it is held, then handed over in order, once (design/reliability.md, F13)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.machinery import enumerate_in

Count = Callable[[str], None]
FULL_BYTES_EACH = 12_000
"""On disk for each activation, with its journey, entries and papers, beside what is put aside (measured: 10,000)."""
FIXED_BYTES = 140 << 20
"""Ballast and the longest write-ahead log."""


def outage(count: Count, lorries: int, hours: float, seconds: float, patience_s: float) -> None:
    found = enumerate_in("outage", lorries, hours, seconds, timeout_s=patience_s)
    assert found["bad"] == 0, found
    assert found["held"] == found["atCustoms"] == lorries * 5, found
    assert found["verified"], found["said"]
    assert found["largestBytes"] < FIXED_BYTES + found["held"] * FULL_BYTES_EACH
    count(
        f"customs away for {hours:g} h: {found['held']} activations held in {found['largestBytes'] / 1e6:.0f} MB, "
        f"0 lost, 0 twice, 0 out of order; started again in {found['restartS']} s, handed over in {found['drainS']} s"
    )


@pytest.mark.timeout(300)
def test_an_outage_of_two_hours(count: Count) -> None:
    outage(count, 200, 2.4, 10.0, 280.0)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_an_outage_of_72_hours(count: Count) -> None:
    outage(count, 6_000, 72.0, 300.0, 3_500.0)
