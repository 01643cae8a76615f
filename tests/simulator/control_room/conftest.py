"""Agents for the control room to listen to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.simulator.control_room.running_agent import RunningAgent, journey_row


@pytest.fixture
async def start_agent() -> AsyncIterator[Callable[[str], Awaitable[RunningAgent]]]:
    """`await start_agent("box-1")`: an agent that serves."""
    running: list[RunningAgent] = []

    async def start(name: str) -> RunningAgent:
        agent = RunningAgent(name, rows=(journey_row(f"JRN-{name}", f"U-{name}"),))
        await agent.start()
        running.append(agent)
        return agent

    yield start
    for agent in running:
        await agent.stop()
