"""An agent's own HTTP application on a real port, with rows, positions and events that a test lays in."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agent.domain.instruction import Action
from agent.status.api import (
    AgentStatus,
    DeclarationRow,
    Desk,
    JourneyDetail,
    JourneyRow,
    OverrideRequest,
    Story,
    agent_application,
)
from agent.status.live import Metrics
from agent.status.positions import encode_frame, rows_of
from agent.web import EventStream, Runner, StreamEvent, run
from zones.catalogue import shipped_bytes


def journey_row(key: str, unit: str, **more: Any) -> JourneyRow:
    """A vehicle under GO in the activation zone of Thayngen, but for what is said."""
    plain = JourneyRow(
        key=key,
        jrn=key,
        unit=unit,
        plate="ZH123",
        nationality="CH",
        crossing="thayngen",
        direction="IN",
        stage="ACTIVATION",
        state="ROUTED",
        action="GO",
        reason_code="RELEASED",
        version=1,
        declarations=2,
        waiting=False,
        breach=False,
        closed=False,
        changed="2026-11-22T10:00:00.000Z",
    )
    return msgspec.structs.replace(plain, **more)


@functools.cache
def shipped_zones() -> bytes:
    """The zone file in force."""
    return shipped_bytes("border_zones.geojson")


@dataclass
class RunningAgent:
    """The calls of an agent with rows and events that the test lays in."""

    name: str
    rows: tuple[JourneyRow, ...] = ()
    kept: list[StreamEvent] = field(default_factory=list)
    port: int = 0
    stream: EventStream = field(default_factory=EventStream)
    runner: Runner | None = None
    asked: list[frozenset[str]] = field(default_factory=list)
    positions: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    declarations: tuple[DeclarationRow, ...] = ()
    assessments: tuple[dict[str, Any], ...] = ()
    overridden: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    mode: str = "NORMAL"

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def tell(self, number: int, kind: str, fact: dict[str, Any]) -> None:
        """An event, kept as the journal keeps it, and told to whoever listens."""
        self.tell_raw(number, kind, msgspec.json.encode(fact))

    def tell_raw(self, number: int, kind: str, data: bytes) -> None:
        """The same with bytes that need not be a fact."""
        event = StreamEvent(number, kind, data)
        self.kept.append(event)
        self.stream.publish(event)

    async def start(self) -> None:
        """Serve, on the same port as before."""
        self.stream = EventStream(self._history)
        desk = Desk(
            self._status, self._chosen, self._detail, dict, self._override, self.stream, Metrics(),
            positions=lambda _since: encode_frame(rows_of(self.positions), 1_000),
            declarations=lambda: self.declarations,
            zones=shipped_zones,
            explain=self._explain,
            proof=self._proof,
        )  # fmt: skip
        self.runner = await run(agent_application(desk, "0"), "127.0.0.1", self.port)
        self.port = self.runner.port

    async def stop(self) -> None:
        """Go away, as a process that ends."""
        if self.runner is not None:
            self.stream.close()
            await self.runner.stop()
            self.runner = None

    async def _history(self, above: int) -> list[StreamEvent]:
        return [event for event in self.kept if event.id > above]

    def _chosen(self, keys: frozenset[str]) -> tuple[JourneyRow, ...]:
        self.asked.append(keys)
        return tuple(row for row in self.rows if not keys or {row.key, row.unit} & keys)

    async def _override(self, key: str, request: OverrideRequest, action: Action, role: str) -> bool:
        known = [row for row in self.rows if row.key == key]
        self.overridden += [(key, action.name, request.officer, role, request.reason)] if known else []
        return bool(known)

    def _detail(self, key: str) -> JourneyDetail | None:
        row = next((row for row in self.rows if row.key == key), None)
        if row is None:
            return None
        return JourneyDetail(
            row=row, causes=(), deliveries=(), declarations=(), instruction=None, entered_at=None, decide_by=None,
            assessments=self.assessments,
        )  # fmt: skip

    async def _explain(self, name: str) -> Story | None:
        return Story("activated", (f"Journey {name}",), {}) if any(row.key == name for row in self.rows) else None

    async def _proof(self, activation: str) -> bytes | None:
        return b'{"export":1}\n' if activation == "a1" else None

    def _status(self) -> AgentStatus:
        return AgentStatus(
            agent=self.name,
            mode=self.mode,
            degraded=() if self.mode == "NORMAL" else (self.mode,),
            mode_since="2026-11-22T10:00:00.000Z",
            since="2026-11-22T10:00:00.000Z",
            version="0",
            zone_set="1",
            zones=384,
            broker_connected=True,
            customs_reachable=True,
            feed_marker=0,
            journeys=len(self.rows),
            units=0,
            waiting=0,
            outbox_pending=0,
            outbox_oldest_s=None,
            journal_entries=0,
            fixes={},
            instructions={},
            fix_to_instruction_ms={},
            serial={},
        )
