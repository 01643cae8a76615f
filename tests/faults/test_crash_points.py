"""Killed, or failed, at every file call: every promise is kept, once (design/reliability.md, F1 to F3, F6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.machinery import enumerate_in

Count = Callable[[str], None]
EVERY = 3
"""`make test` takes each n-th call of the run, `make nightly` all of them."""


def test_killed_at_any_file_call_nothing_promised_is_lost_or_twice(count: Count) -> None:
    found = enumerate_in("crash_points", 6, "kill", EVERY)
    assert found["bad"] == []
    assert found["points"] >= 180
    count(f"{found['points']} crash points, 0 bad")


def test_the_same_kills_show_up_a_writer_that_promises_too_early(count: Count) -> None:
    found = enumerate_in("crash_points", 3, "ack-first", 10)
    assert len(found["bad"]) >= 5
    count(f"control, promise before commit: {len(found['bad'])} of {found['points']} crash points bad, as they must be")


def test_killed_again_while_it_recovers(count: Count) -> None:
    found = enumerate_in("crash_points", 6, "again", 70)
    assert found["bad"] == []
    assert found["points"] >= 80
    count(f"{found['points']} crash points during recovery, 0 bad")


def test_a_failing_call_is_never_taken_for_a_promise(count: Count) -> None:
    found = enumerate_in("crash_points", 6, "errors", 31)
    assert found["bad"] == []
    assert min(found["each"].values()) >= 15
    count(f"{found['points']} failing calls (EIO, ENOSPC, once and for ever), 0 bad")


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(("mode", "commits", "every", "at_least"), [
    ("kill", 12, 1, 900), ("again", 8, 5, 1_400), ("errors", 8, 1, 2_000),
])  # fmt: skip
def test_every_single_call(mode: str, commits: int, every: int, at_least: int, count: Count) -> None:
    found = enumerate_in("crash_points", commits, mode, every, timeout_s=3_500)
    assert found["bad"] == []
    assert found["points"] >= at_least
    count(f"{mode}: {found['points']} points, 0 bad {found.get('each', '')}")
