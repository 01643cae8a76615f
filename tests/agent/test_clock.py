"""agent/clock.py: one pace for all parts."""

from __future__ import annotations

import asyncio
import time

import pytest

from agent.clock import Clock, SteadyClock, is_synchronised


def test_without_speedup_it_is_the_wall() -> None:
    before = time.time()
    assert before <= Clock().now_s() <= time.time()


def test_a_fast_clock_agrees_with_the_wall_at_its_origin_and_runs_on_from_there() -> None:
    origin_s = time.time() - 100.0
    clock = Clock(10.0, origin_s)
    wall_s = time.time()
    assert clock.now_s() == pytest.approx(origin_s + (wall_s - origin_s) * 10.0, abs=1.0)
    assert clock.now_s() - origin_s >= 1000.0


def test_two_parts_with_the_same_settings_agree() -> None:
    origin_s = time.time()
    assert Clock(50.0, origin_s).now_s() == pytest.approx(Clock(50.0, origin_s).now_s(), abs=0.5)


def test_monotonic_runs_at_the_same_pace() -> None:
    clock = Clock(1000.0, time.time())
    begun_s, wall_s = clock.monotonic_s(), time.monotonic()
    while time.monotonic() - wall_s < 0.001:
        pass
    assert clock.monotonic_s() - begun_s >= 1.0 - 1e-6


@pytest.mark.parametrize(("speedup", "wall_s"), [(1.0, 8.0), (4.0, 2.0), (1000.0, 0.008)])
def test_how_long_the_wall_takes(speedup: float, wall_s: float) -> None:
    assert Clock(speedup).wall_s(8.0) == wall_s


async def test_sleep_and_timeout_follow_the_pace() -> None:
    clock = Clock(1000.0, time.time())
    begun_s = time.monotonic()
    await clock.sleep(20.0)
    with pytest.raises(TimeoutError):
        async with clock.timeout(20.0):
            await asyncio.Event().wait()
    assert 0.03 <= time.monotonic() - begun_s < 5.0


async def test_a_time_that_has_passed_is_due_at_once() -> None:
    await asyncio.wait_for(Clock().sleep(-5.0), 1.0)
    with pytest.raises(TimeoutError):
        async with Clock().timeout(-5.0):
            await asyncio.Event().wait()


@pytest.mark.parametrize("step_s", [3_600.0, -3_600.0, 86_400.0, -1_800_000_000.0])
def test_a_step_of_the_systems_clock_moves_no_deadline(step_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, wall = SteadyClock(), time.time
    due_s = clock.now_s() + 8.0
    monkeypatch.setattr(time, "time", lambda: wall() + step_s)
    assert 6.0 < due_s - clock.now_s() <= 8.0
    assert clock.stepped_s() == pytest.approx(step_s, abs=1.0)
    clock.follow()
    assert clock.now_s() == pytest.approx(wall() + step_s, abs=1.0)
    assert clock.stepped_s() == pytest.approx(0.0, abs=0.1)


def test_a_steady_clock_runs_at_the_pace_of_the_others() -> None:
    origin_s = time.time() - 50.0
    assert SteadyClock(20.0, origin_s).now_s() == pytest.approx(Clock(20.0, origin_s).now_s(), abs=1.0)


def test_the_kernel_can_be_asked() -> None:
    assert is_synchronised() in (True, False, None)
