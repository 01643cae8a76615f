"""Real brokers for tests, on free ports of the loopback."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.mqtt_link import BrokerAddress
from simulator.broker import Broker, Choice, NoBroker, choose
from tests.system.box import Box, open_box

KINDS = ("nats", "mosquitto")


def usable(kind: str, absent: Callable[[str], str]) -> Choice:
    """A broker of exactly this kind; skips (or fails) where its program is missing."""
    try:
        choice = choose(kind)
    except NoBroker as error:
        absent(str(error))
        raise
    if choice.kind != kind:
        absent(f"{kind} is not usable here")
    return choice


@pytest.fixture(params=KINDS)
async def broker(request: pytest.FixtureRequest, tmp_path: Path, absent: Callable[[str], str]) -> AsyncIterator[Broker]:
    """A running broker, once for each kind."""
    running = Broker(usable(request.param, absent), tmp_path / "broker")
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture
def address(broker: Broker) -> BrokerAddress:
    """Where the broker is, in its own protocol."""
    return BrokerAddress(broker.host, broker.port, broker.protocol)


@pytest.fixture
def client_id() -> str:
    """A random client id, as an agent has."""
    return f"test-{secrets.token_hex(8)}"


@pytest.fixture
async def any_broker(tmp_path: Path, absent: Callable[[str], str]) -> AsyncIterator[Broker]:
    """A running broker of the kind that the demo would choose."""
    try:
        choice = choose("nats")
    except NoBroker as error:
        absent(str(error))
        raise
    running = Broker(choice, tmp_path / "broker")
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture
async def box(any_broker: Broker, tmp_path: Path) -> AsyncIterator[Box]:
    """A box with customs serving; the test starts the agent."""
    async with open_box(tmp_path, any_broker) as made:
        yield made
