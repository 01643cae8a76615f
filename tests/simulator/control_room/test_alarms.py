"""simulator/control_room/alarms.py: what asks for an action, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.control_room import alarms
from simulator.control_room.alarms import SHELVED_MAX_S, AlarmBoard

NOW_S = 1_795_377_112.0


def row(key: str = "J-1", **more: Any) -> dict[str, Any]:
    return {
        "id": f"box-1 {key}", "agent": "box-1", "key": key, "jrn": key, "unit": "U-1", "plate": "ZH 1",
        "nationality": "CH", "crossing": "thayngen", "reasonCode": "CONTROL", **more,
    }  # fmt: skip


def told(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "jrn": "J-1", "unit": "U-1", "crossing": "thayngen", "text": "words", **more}


def names(board: AlarmBoard) -> list[str]:
    return sorted(alarm.name for alarm in board.alarms.values())


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"action": "GO"}, []),
        ({"action": "GO_WITH_OBLIGATION"}, []),
        ({"action": None, "waiting": True}, []),
        ({"action": "STOP"}, ["OPEN_STOP"]),
        ({"action": "HOLD"}, ["OPEN_HOLD"]),
        ({"action": "STOP", "officer": "Meier"}, []),
        ({"action": "HOLD", "closed": True}, []),
        ({"action": "STOP", "breach": True}, ["BREACH"]),
        ({"action": "STOP", "breach": True, "officer": "Meier"}, ["BREACH"]),
    ],
)
def test_a_go_is_no_alarm_and_an_open_stop_is(facts: dict[str, Any], expected: list[str]) -> None:
    board = AlarmBoard()
    board.see_rows([row(**facts)], (), NOW_S)
    assert names(board) == expected


def test_a_standing_alarm_ends_with_its_condition_even_when_noted() -> None:
    board = AlarmBoard()
    board.see_rows([row(action="HOLD")], (), NOW_S)
    (alarm,) = board.alarms.values()
    assert board.acknowledge([alarm.id, "nothing"], "Keller", NOW_S + 1) == ["nothing"]
    (noted,) = board.alarms.values()
    assert (noted.acknowledged_by, noted.plate, noted.priority) == ("Keller", "CH ZH 1", 2)
    board.see_rows([row(action="STOP")], (), NOW_S + 2)  # other condition, other alarm
    assert [one.acknowledged_by for one in board.alarms.values()] == [None]
    board.see_rows((), ["box-1 J-1"], NOW_S + 3)
    assert board.alarms == {}


def test_what_only_tells_ends_when_somebody_has_taken_note() -> None:
    board = AlarmBoard()
    for _ in range(3):
        board.see_event("box-1", "alarm", told("NOT_DISPLAYED"), NOW_S)
    (alarm,) = board.alarms.values()
    assert (alarm.key, alarm.standing, alarm.priority, alarm.text) == ("J-1", False, 1, "words")
    board.acknowledge([alarm.id], "Keller", NOW_S)
    assert board.alarms == {}


def test_a_task_that_an_open_hold_says_anyway_is_said_once() -> None:
    board = AlarmBoard()
    board.see_event("box-1", "alarm", told("OFFICER_TASK"), NOW_S)
    board.see_rows([row(action="HOLD")], (), NOW_S)
    board.see_event("box-1", "alarm", told("OFFICER_TASK"), NOW_S)
    assert names(board) == ["OPEN_HOLD"]


def test_agents_that_are_limited_or_lost() -> None:
    board = AlarmBoard()
    board.see_status([{"agent": "box-1", "mode": "UPLINK_LOST", "degraded": ["RISK_DEGRADED", "UPLINK_LOST"]}], NOW_S)
    assert names(board) == ["DEGRADED", "DEGRADED"]
    board.see_status([{"agent": "box-1", "mode": "OUT_OF_REACH", "degraded": ["OUT_OF_REACH"]}], NOW_S)
    assert names(board) == ["AGENT_LOST", "DEGRADED", "DEGRADED"]  # what it was last known to suffer from stands
    board.see_status([{"agent": "box-1", "mode": "NORMAL", "degraded": []}], NOW_S)
    assert names(board) == []


def test_silent_vehicles_are_one_alarm() -> None:
    board = AlarmBoard()
    board.see_silent("box-1", 3, NOW_S)
    board.changes()
    board.see_silent("box-1", 3, NOW_S)
    assert board.changes() == ([], [])
    board.see_silent("box-1", 4, NOW_S)
    assert [alarm.text for alarm in board.changes()[0]] == ["4"]
    board.see_silent("box-1", 0, NOW_S)
    assert board.changes() == ([], ["UNITS_SILENT box-1"])


def test_share_of_go_out_of_band() -> None:
    board = AlarmBoard((0.5, 0.95))
    for _ in range(40):
        board.see_event("box-1", "instruction", {"action": "GO"}, NOW_S)
    assert names(board) == ["GO_SHARE"]
    for _ in range(10):
        board.see_event("box-1", "instruction", {"action": "STOP"}, NOW_S)
    assert names(board) == []


def test_shelved_until_a_time_and_no_longer_than_a_shift() -> None:
    board = AlarmBoard()
    board.see_rows([row(action="STOP")], (), NOW_S)
    (alarm_id,) = board.alarms
    assert board.shelve(alarm_id, NOW_S + 1e9, "Keller", NOW_S)
    assert board.alarms[alarm_id].shelved_by == "Keller"
    board.tick(NOW_S + SHELVED_MAX_S - 1)
    assert board.alarms[alarm_id].shelved_until is not None
    board.tick(NOW_S + SHELVED_MAX_S)
    assert board.alarms[alarm_id].shelved_until is None
    assert not board.shelve("nothing", NOW_S + 1, "Keller", NOW_S) and not board.assign("nothing", "Keller")
    assert board.assign(alarm_id, "Keller") and board.alarms[alarm_id].assigned_to == "Keller"


def test_too_many_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "ALARMS_MAX", 3)
    board = AlarmBoard()
    board.see_rows([row(action="STOP")], (), NOW_S)
    for number in range(5):
        board.see_event("box-1", "alarm", told("NOT_DISPLAYED", jrn=f"J-{number + 2}"), NOW_S)
    assert len(board.alarms) == 3 and board.dropped == 3
    assert "OPEN_STOP" in names(board)  # a condition outlasts what only tells


acts = st.lists(
    st.one_of(
        st.tuples(st.just("row"), st.sampled_from("AB"), st.sampled_from(["GO", "STOP", "HOLD", None]), st.booleans()),
        st.tuples(st.just("alarm"), st.sampled_from("AB"), st.sampled_from(["BREACH", "OFFICER_TASK", "X"]), st.none()),
        st.tuples(st.just("note"), st.integers(0, 3), st.none(), st.none()),
        st.tuples(st.just("gone"), st.sampled_from("AB"), st.none(), st.none()),
    ),
    max_size=20,
)


@given(acts, st.lists(st.booleans(), max_size=20))
def test_changes_added_up_are_the_board(done: list[Any], asked: list[bool]) -> None:
    board, held = AlarmBoard(), {}
    for number, (what, who, value, flag) in enumerate(done):
        if what == "row":
            board.see_rows([row(who, action=value, breach=flag)], (), NOW_S)
        elif what == "alarm":
            board.see_event("box-1", "alarm", told(value, jrn=who), NOW_S)
        elif what == "gone":
            board.see_rows((), [f"box-1 {who}"], NOW_S)
        else:
            board.acknowledge(list(board.alarms)[who : who + 1], "Keller", NOW_S)
        if number < len(asked) and asked[number]:
            put, gone = board.changes()
            held = {key: one for key, one in held.items() if key not in gone} | {one.id: one for one in put}
    put, gone = board.changes()
    held = {key: one for key, one in held.items() if key not in gone} | {one.id: one for one in put}
    assert held == board.alarms
