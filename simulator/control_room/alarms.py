"""What asks a person for an action, and what people have done about it (ISA-18.2; design/experience.md section 3).

An alarm either stands for a condition - an open STOP, a lost agent - and ends with it, or tells of something that
happened, and then ends when somebody has taken note. A GO is no alarm.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agent.domain.times import rfc3339
from simulator.control_room.rows import Row, is_open

ALARMS_MAX = 2_000
"""Alarms kept; of more the oldest that only tell go first, and are counted."""
SHELVED_MAX_S = 28_800.0
"""Nobody shelves an alarm for longer than a shift."""
DECISIONS = 60
"""Latest instructions by which the share of GO is judged."""
DECISIONS_MIN = 30
"""Fewer say nothing about a share."""


class Priority(enum.IntEnum):
    """How soon somebody has to act."""

    NOW = 1
    SOON = 2
    WHEN_DUE = 3


PRIORITY = {
    "BREACH": Priority.NOW,
    "HOLD_LEFT": Priority.NOW,
    "LOST_UNDER_STOP": Priority.NOW,
    "AGENT_LOST": Priority.NOW,
    "NOT_DISPLAYED": Priority.NOW,
    "OUTPUT_FAULT": Priority.NOW,
    "OPEN_HOLD": Priority.SOON,
    "OFFICER_TASK": Priority.SOON,
    "DEGRADED": Priority.SOON,
    "RECEIVER_DOUBTED": Priority.SOON,
    "GO_SHARE": Priority.SOON,
}
"""Everything else is WHEN_DUE."""
STANDING = ("OPEN_STOP", "OPEN_HOLD", "BREACH")
"""What a row of a vehicle may stand for."""
TASK = "OFFICER_TASK"
"""An agent tells so of vehicles whose STOP or HOLD then stands anyway."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One alarm."""

    id: str
    name: str
    priority: int
    agent: str
    since: str
    text: str = ""
    """Details, as the agent worded them; the page words the name."""
    key: str | None = None
    """Key of the journey or unit it is about."""
    plate: str | None = None
    crossing: str | None = None
    standing: bool = False
    """Ends by itself with its condition."""
    acknowledged_by: str | None = None
    acknowledged_at: str | None = None
    assigned_to: str | None = None
    shelved_until: str | None = None
    shelved_by: str | None = None


class AlarmBoard:
    """All alarms, and which of them changed since somebody last asked."""

    def __init__(self, go_share: tuple[float, float] = (0.0, 1.0)) -> None:
        """`go_share`: below and above which the share of GO among instructions is an alarm."""
        self.alarms: dict[str, Alarm] = {}
        self.dropped = 0
        """Alarms let go because there were too many."""
        self._go_share = go_share
        self._shelved: dict[str, float] = {}
        self._decisions: deque[bool] = deque(maxlen=DECISIONS)
        self._touched: set[str] = set()

    # --- what is seen -----------------------------------------------------------------------------------------

    def see_rows(self, put: Iterable[Row], gone: Iterable[str], now_s: float) -> None:
        """Rows that changed, and ids of those that are no more."""
        for row in put:
            wanted = _standing_of(row)
            if wanted is not None:  # says the same, and ends by itself
                self._end(f"{TASK} {row['id']}")
            for name in STANDING:
                self._stand(f"{name} {row['id']}", name == wanted, name, now_s, **_about(row))
        for alarm_id in gone:
            for name in STANDING:
                self._end(f"{name} {alarm_id}")

    def see_event(self, agent: str, kind: str, fact: Mapping[str, Any], now_s: float) -> None:
        """An event of an agent; alarms and instructions count."""
        if kind == "instruction":
            self._see_decision(fact, now_s)
        if kind != "alarm" or not isinstance(fact.get("name"), str):
            return
        name, key = str(fact["name"]), _key_of(fact)
        alarm_id = f"{name} {agent} {key or fact.get('crossing') or ''}".rstrip()
        is_said = name == TASK and any(f"{one} {agent} {key}" in self.alarms for one in STANDING)
        if alarm_id not in self.alarms and not is_said:
            text, crossing = str(fact.get("text") or ""), fact.get("crossing")
            self._raise(_alarm(alarm_id, name, agent, now_s, key=key, crossing=crossing, text=text))

    def see_status(self, agents: Iterable[Mapping[str, Any]], now_s: float) -> None:
        """How every agent is."""
        for one in agents:
            agent, modes = str(one.get("agent")), one.get("degraded") or ()
            lost = one.get("mode") == "OUT_OF_REACH"
            self._stand(f"AGENT_LOST {agent}", lost, "AGENT_LOST", now_s, agent=agent)
            if not lost:
                self._see_modes(agent, [str(mode) for mode in modes], now_s)

    def see_silent(self, agent: str, count: int, now_s: float) -> None:
        """How many vehicles at an agent's crossings send no position any more: one alarm for all of them."""
        self._stand(f"UNITS_SILENT {agent}", count > 0, "UNITS_SILENT", now_s, agent=agent, text=str(count))

    def _see_modes(self, agent: str, modes: list[str], now_s: float) -> None:
        for mode in modes:
            self._stand(f"DEGRADED {agent} {mode}", True, "DEGRADED", now_s, agent=agent, text=mode)
        prefix = f"DEGRADED {agent} "
        for alarm_id in [
            alarm_id
            for alarm_id in self.alarms
            if alarm_id.startswith(prefix) and alarm_id.removeprefix(prefix) not in modes
        ]:
            self._end(alarm_id)

    def _see_decision(self, fact: Mapping[str, Any], now_s: float) -> None:
        self._decisions.append(fact.get("action") == "GO")
        share = sum(self._decisions) / len(self._decisions)
        low, high = self._go_share
        is_odd = len(self._decisions) >= DECISIONS_MIN and not low <= share <= high
        self._stand("GO_SHARE", is_odd, "GO_SHARE", now_s, agent="", text=f"{share:.0%}")

    # --- what is done -----------------------------------------------------------------------------------------

    def acknowledge(self, ids: Iterable[str], by: str, now_s: float) -> list[str]:
        """Somebody has taken note; ids that name no alarm are given back."""
        unknown = []
        for alarm_id in dict.fromkeys(ids):
            alarm = self.alarms.get(alarm_id)
            if alarm is None:
                unknown.append(alarm_id)
            elif not alarm.standing:
                self._end(alarm_id)
            elif alarm.acknowledged_by is None:
                self._put(msgspec.structs.replace(alarm, acknowledged_by=by, acknowledged_at=rfc3339(now_s)))
        return unknown

    def shelve(self, alarm_id: str, until_s: float, by: str, now_s: float) -> bool:
        """Out of the way until a time, at most `SHELVED_MAX_S` from now; False if there is no such alarm."""
        alarm = self.alarms.get(alarm_id)
        if alarm is None:
            return False
        until_s = min(until_s, now_s + SHELVED_MAX_S)
        self._shelved[alarm_id] = until_s
        self._put(msgspec.structs.replace(alarm, shelved_until=rfc3339(until_s), shelved_by=by))
        return True

    def assign(self, alarm_id: str, to: str) -> bool:
        """Whose it is, empty = nobody's; False if there is no such alarm."""
        alarm = self.alarms.get(alarm_id)
        if alarm is None:
            return False
        self._put(msgspec.structs.replace(alarm, assigned_to=to or None))
        return True

    def tick(self, now_s: float) -> None:
        """What was shelved until now comes back."""
        for alarm_id in [alarm_id for alarm_id, until_s in self._shelved.items() if until_s <= now_s]:
            del self._shelved[alarm_id]
            if alarm_id in self.alarms:
                self._put(msgspec.structs.replace(self.alarms[alarm_id], shelved_until=None, shelved_by=None))

    def changes(self) -> tuple[list[Alarm], list[str]]:
        """Alarms that are new or changed, and ids of those that ended, since the last call."""
        touched, self._touched = sorted(self._touched), set()
        put = [self.alarms[alarm_id] for alarm_id in touched if alarm_id in self.alarms]
        return put, [alarm_id for alarm_id in touched if alarm_id not in self.alarms]

    # --- keeping ----------------------------------------------------------------------------------------------

    def _stand(self, alarm_id: str, stands: bool, name: str, now_s: float, *, agent: str, **facts: Any) -> None:
        alarm = self.alarms.get(alarm_id)
        if not stands:
            self._end(alarm_id)
        elif alarm is None:
            self._raise(_alarm(alarm_id, name, agent, now_s, standing=True, **facts))
        else:
            now = msgspec.structs.replace(alarm, standing=True, **facts)
            if now != alarm:
                self._put(now)

    def _raise(self, alarm: Alarm) -> None:
        if len(self.alarms) >= ALARMS_MAX:
            old = next((alarm_id for alarm_id, one in self.alarms.items() if not one.standing), next(iter(self.alarms)))
            self._end(old)
            self.dropped += 1
        self._put(alarm)

    def _put(self, alarm: Alarm) -> None:
        self.alarms[alarm.id] = alarm
        self._touched.add(alarm.id)

    def _end(self, alarm_id: str) -> None:
        if self.alarms.pop(alarm_id, None) is not None:
            self._shelved.pop(alarm_id, None)
            self._touched.add(alarm_id)


def _standing_of(row: Row) -> str | None:
    if row.get("breach"):
        return "BREACH"
    if not is_open(row) or row.get("officer"):
        return None
    return f"OPEN_{row['action']}"


def _about(row: Row) -> dict[str, Any]:
    plate = f"{row.get('nationality') or ''} {row.get('plate') or ''}".strip()
    return {
        "agent": str(row["agent"]),
        "key": row["key"],
        "plate": plate or row.get("unit"),
        "crossing": row.get("crossing"),
        "text": str(row.get("reasonCode") or ""),
    }


def _key_of(fact: Mapping[str, Any]) -> str | None:
    if fact.get("jrn"):
        return str(fact["jrn"])
    return f"unit:{fact['unit']}" if fact.get("unit") else None


def _alarm(alarm_id: str, name: str, agent: str, now_s: float, **facts: Any) -> Alarm:
    priority = PRIORITY.get(name, Priority.WHEN_DUE)
    return Alarm(id=alarm_id, name=name, priority=int(priority), agent=agent, since=rfc3339(now_s), **facts)
