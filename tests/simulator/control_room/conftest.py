"""An agent's own HTTP application on a real port, which can be stopped and started again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from agent.status.api import AgentStatus, Desk, JourneyRow, agent_application
from agent.status.live import Metrics
from agent.web import EventStream, Runner, StreamEvent, run


def _row(key: str, unit: str) -> JourneyRow:
    return JourneyRow(
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
        desk = Desk(self._status, self._chosen, lambda _key: None, dict, self._override, self.stream, Metrics())
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

    @staticmethod
    async def _override(*_: Any) -> bool:
        return False

    def _status(self) -> AgentStatus:
        return AgentStatus(
            agent=self.name,
            mode="NORMAL",
            degraded=(),
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


@pytest.fixture
async def start_agent() -> AsyncIterator[Callable[[str], Awaitable[RunningAgent]]]:
    """`await start_agent("box-1")`: an agent that serves."""
    running: list[RunningAgent] = []

    async def start(name: str) -> RunningAgent:
        agent = RunningAgent(name, rows=(_row(f"JRN-{name}", f"U-{name}"),))
        await agent.start()
        running.append(agent)
        return agent

    yield start
    for agent in running:
        await agent.stop()
