"""Every disk that a power cut may leave holds all that was promised, once (design/reliability.md, F5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.machinery import enumerate_in

Count = Callable[[str], None]


def test_no_disk_that_a_power_cut_leaves_has_lost_a_promise(count: Count) -> None:
    found = enumerate_in("power_cuts", 8, "full", 15)
    assert found["bad"] == []
    assert found["states"] >= 5_000
    assert found["finished"] >= 90, "on some of them the store itself goes on"
    count(f"{found['states']} distinct power-cut disks over {found['calls']} file calls, 0 bad")


@pytest.mark.parametrize("control", ["normal", "off", "ack-first"])
def test_the_same_disks_show_up_less_careful_writers(control: str, count: Count) -> None:
    found = enumerate_in("power_cuts", 3, control, 14, 1)
    assert found["badStates"] >= 20
    count(f"control, {control}: bad after {found['states']} power-cut disks, as it must be")


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_fifty_thousand_disks(count: Count) -> None:
    found = enumerate_in("power_cuts", 30, "full", 50, timeout_s=3_500)
    assert found["bad"] == []
    assert found["states"] >= 50_000
    count(f"{found['states']} distinct power-cut disks over {found['calls']} file calls, 0 bad")


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("control", ["normal", "off", "ack-first"])
def test_how_often_less_careful_writers_lose(control: str, count: Count) -> None:
    found = enumerate_in("power_cuts", 8, control, 18, timeout_s=1_700)
    assert found["badStates"] >= found["states"] // 10
    count(f"control, {control}: {found['badStates']} of {found['states']} power-cut disks bad")
