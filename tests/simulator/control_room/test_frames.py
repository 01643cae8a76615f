"""simulator/control_room/frames.py and figures.py: many agents' positions, and what is kept of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.positions import SILENT, FrameError, Rows, decode_frame, encode_frame, row, rows_of
from simulator.control_room.figures import EVERY_S, POINTS, Figures
from simulator.control_room.frames import LOST_AFTER_MS, FrameHistory, merged, read_agent_frame, silent_count


def rows(*handles: int) -> Rows:
    return rows_of(row(handle, 8.0 + handle / 100, 47.0, None, 2, 1.0) for handle in handles)


def test_agents_keep_apart_and_age() -> None:
    first = read_agent_frame(encode_frame(rows(1, 2), 0), 1, 10_000)
    second = read_agent_frame(encode_frame(rows(1), 0), 2, 10_000 - LOST_AFTER_MS)
    found = merged({"box-1": first, "box-2": second}, 11_000)
    assert len(set(found["handle"].tolist())) == 3 and sorted(found["handle"].tolist()) == found["handle"].tolist()
    assert found["age_ds"].tolist() == [20, 20, 10 + (1_000 + LOST_AFTER_MS) // 100]
    assert [bool(state & SILENT) for state in found["state"]] == [False, False, True]
    assert silent_count(first) == 0
    assert len(merged({}, 0)) == 0
    with pytest.raises(FrameError):
        read_agent_frame(b"noise", 1, 0)


def test_history_is_bounded_in_time_and_bytes() -> None:
    history = FrameHistory(kept_ms=10_000, max_bytes=10 * 48)
    for number in range(30):
        history.add(rows(1, 2), number * 1_000)
    assert len(history.times_ms) == 10 and history.bytes == 480
    assert history.at(25_400) == encode_frame(rows(1, 2), 25_000)
    assert history.at(history.times_ms[0] - 1) is None
    history.add(rows(), 100_000)
    assert history.times_ms == [100_000]


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(0, 2_000))
def test_the_frame_of_a_time_is_the_newest_not_after_it(steps: list[int], asked_ms: int) -> None:
    history, at_ms = FrameHistory(kept_ms=500), 0
    for step in steps:
        at_ms += step
        history.add(rows(1), at_ms)
    before = [one for one in history.times_ms if one <= asked_ms]
    found = history.at(asked_ms)
    assert (None if found is None else decode_frame(found)[1]) == (before[-1] if before else None)
    assert all(one >= at_ms - 500 for one in history.times_ms)


def test_figures_count_between_points() -> None:
    figures = Figures()
    figures.see_instruction("GO")
    figures.see_instruction("NOTHING")
    agents = [
        {"mode": "NORMAL", "waiting": 2, "outboxPending": 1, "fixToInstructionMs": {"p99": 40.0}},
        {"mode": "NORMAL", "waiting": 1, "outboxPending": 0, "fixToInstructionMs": {}},
        {"mode": "OUT_OF_REACH"},
    ]
    point = figures.take(agents, 9, 1_000)
    assert point is not None and point.instructions["GO"] == 1 and point.waiting == 3 and point.p99_ms == 40.0
    assert figures.take(agents, 9, 1_001) is None
    later = figures.take([], 0, 1_000 + round(EVERY_S * 1000))
    assert later is not None and later.instructions["GO"] == 0 and later.p99_ms is None
    for number in range(2 * POINTS):
        figures.take([], 0, (number + 2) * 10_000)
    assert len(figures.points) == POINTS
