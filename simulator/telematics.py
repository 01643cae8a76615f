"""How fixes travel: single reports, lists, a platform's batches, phones. Bytes and topics, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.ingest.wire import Topics, encode_list, encode_owntracks, encode_report, encode_rows
from firmware_bridge.messages import PositionReport
from simulator.equipment import Payload
from simulator.scenario import LorryPlan
from zones.fix import Fix

LIST_FIXES = 2
"""A unit that sends lists waits for so many fixes."""
BATCH_FIXES = 100
"""At most so many reports in one message; the agent refuses more than 500."""
BATCH_EVERY_S = 0.5
"""A platform forwards what has come in so often (choice)."""


@dataclass(frozen=True)
class Message:
    """One publication: topic, payload, how many fixes it carries."""

    topic: str
    payload: bytes
    fixes: int


class Outgoing:
    """Fixes on their way out; lists and batches wait here until they are full or due."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._lists: dict[str, list[Fix]] = {}
        self._batches: dict[tuple[str, Payload], list[Fix]] = {}

    def add(self, plan: LorryPlan, fix: Fix) -> list[Message]:
        """Messages that must go now because of this fix."""
        if plan.operator is not None:
            batch = self._batches.setdefault((plan.operator, plan.payload), [])
            batch.append(fix)
            return [self._batch(plan.operator, plan.payload)] if len(batch) >= BATCH_FIXES else []
        if plan.payload is Payload.JSON_LIST and plan.receiver.interval_s <= 2.0:
            waiting = self._lists.setdefault(plan.unit, [])
            waiting.append(fix)
            return [self._list(plan.unit)] if len(waiting) >= LIST_FIXES else []
        return [self._single(plan, fix)]

    def flush_batches(self) -> list[Message]:
        """What the platforms have gathered; called every BATCH_EVERY_S."""
        return [self._batch(operator, payload) for operator, payload in list(self._batches)]

    def flush_unit(self, unit: str) -> list[Message]:
        """What one unit still holds in its list, at the end of its way."""
        return [self._list(unit)] if unit in self._lists else []

    def again(self, plan: LorryPlan, fixes: Sequence[Fix]) -> list[Message]:
        """Fixes that the agent has not confirmed, in the unit's own format, oldest first."""
        messages = []
        for start in range(0, len(fixes), BATCH_FIXES):
            part = fixes[start : start + BATCH_FIXES]
            if plan.operator is not None:
                messages.append(self._operator(plan.operator, plan.payload, part))
            else:
                packed = plan.payload is Payload.MSGPACK
                topic = self._topics.position(plan.unit)
                messages.append(Message(topic, encode_list(part, packed=packed), len(part)))
        return messages

    def _single(self, plan: LorryPlan, fix: Fix) -> Message:
        if plan.payload is Payload.OWNTRACKS:
            return Message(self._topics.owntracks(plan.unit), encode_owntracks(fix), 1)
        packed = plan.payload is Payload.MSGPACK
        return Message(self._topics.position(plan.unit), encode_report(fix, packed=packed), 1)

    def _list(self, unit: str) -> Message:
        """Newest first, as Teltonika units send a backlog."""
        fixes = self._lists.pop(unit)
        return Message(self._topics.position(unit), encode_list(fixes[::-1]), len(fixes))

    def _batch(self, operator: str, payload: Payload) -> Message:
        return self._operator(operator, payload, self._batches.pop((operator, payload)))

    def _operator(self, operator: str, payload: Payload, fixes: Sequence[Fix]) -> Message:
        encoded = encode_rows(fixes) if payload is Payload.ROWS else encode_list(fixes, with_unit=True)
        return Message(self._topics.positions(operator), encoded, len(fixes))


def serial_report(fix: Fix) -> PositionReport:
    """The fix as the receiver on the serial line speaks it."""
    return PositionReport(
        fix_time_ms=round(fix.time_s * 1_000),
        latitude=fix.latitude,
        longitude=fix.longitude,
        speed=fix.speed_mps,
        heading=fix.heading_deg,
        fix_type="3D",
    )
