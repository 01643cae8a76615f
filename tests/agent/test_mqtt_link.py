from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from paho.mqtt.client import Client

from agent.errors import ConfigError
from agent.mqtt_link import SILENT_CLOSES, BrokerAddress, Callbacks, MqttLink, client_ids

Answer = Callable[[bytes, asyncio.StreamWriter], None]


def test_client_ids_are_made_once_kept_private_and_differ(tmp_path: Path) -> None:
    ids = client_ids(tmp_path)
    assert client_ids(tmp_path) == ids and ids.incoming != ids.outgoing
    assert (tmp_path / "mqtt-client-id").stat().st_mode & 0o777 == 0o600
    other = tmp_path / "other"
    other.mkdir()
    assert client_ids(other).incoming != ids.incoming


@pytest.mark.parametrize("text", ["", "lorry-7", "zz" * 16])
def test_a_damaged_client_id_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "mqtt-client-id").write_text(text)
    with pytest.raises(ConfigError, match="32 hexadecimal"):
        client_ids(tmp_path)


@asynccontextmanager
async def peer(answer: Answer) -> AsyncIterator[tuple[int, list[int]]]:
    """A TCP server that answers a CONNECT as told; the protocol levels it was asked for."""
    levels: list[int] = []
    open_now: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(handle(reader, writer))
        open_now.add(task)
        task.add_done_callback(open_now.discard)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = await reader.read(1024)
        if packet:
            levels.append(packet[packet.index(b"MQTT") + 4])
            answer(packet, writer)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], levels
    finally:
        server.close()
        if open_now:
            await asyncio.wait(open_now)  # whatever stays open would warn in a later test


async def levels_until_connected(answer: Answer, protocol: str = "auto") -> tuple[list[int], str]:
    opened = asyncio.Event()

    def connected(_client: Client, _number: int) -> None:
        opened.set()

    async with peer(answer) as (port, levels):
        callbacks = Callbacks(connected, lambda _number: None)
        link = MqttLink(BrokerAddress("127.0.0.1", port, protocol), "x", callbacks)
        link.start()
        try:
            await asyncio.wait_for(opened.wait(), 10)
            return levels, link.protocol
        finally:
            await link.close()


def is_5(packet: bytes) -> bool:
    return packet[packet.index(b"MQTT") + 4] == 5


def refuses_5(packet: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x20\x02\x00\x01" if is_5(packet) else b"\x20\x02\x00\x00")


def closes_on_5(packet: bytes, writer: asyncio.StreamWriter) -> None:
    if is_5(packet):
        writer.close()
    else:
        writer.write(b"\x20\x02\x00\x00")


async def test_auto_takes_3_1_1_at_once_where_5_is_refused() -> None:
    assert await levels_until_connected(refuses_5) == ([5, 4], "3.1.1")


async def test_auto_takes_3_1_1_after_silent_closes() -> None:
    assert await levels_until_connected(closes_on_5) == ([5] * SILENT_CLOSES + [4], "3.1.1")


async def test_a_slow_broker_does_not_flip_a_settled_protocol() -> None:
    tries = 0

    def late(packet: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        if tries <= SILENT_CLOSES + 1:
            writer.close()
        else:
            writer.write(b"\x20\x03\x00\x00\x00")

    levels, protocol = await levels_until_connected(late, "5")
    assert set(levels) == {5} and protocol == "5"


async def test_what_keeps_us_out_is_said_for_people() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        link = MqttLink(BrokerAddress("127.0.0.1", port), "x", Callbacks(lambda *_: None, lambda _n: None))
        link.start()
        async with asyncio.timeout(5):
            while not link.last_problem:  # noqa: ASYNC110 - the state has no event
                await asyncio.sleep(0)
        await link.close()
    assert "refused" in link.last_problem and not link.connected


async def test_bad_password_is_named() -> None:
    def denies(_packet: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x20\x02\x00\x05")

    async with peer(denies) as (port, _levels):
        callbacks = Callbacks(lambda *_: None, lambda _n: None)
        link = MqttLink(BrokerAddress("127.0.0.1", port, "3.1.1"), "x", callbacks)
        link.start()
        async with asyncio.timeout(5):
            while not link.last_problem:  # noqa: ASYNC110 - the state has no event
                await asyncio.sleep(0)
        await link.close()
    assert "Not authorized" in link.last_problem


@pytest.mark.parametrize(("code", "said"), [(1, "protocol version"), (5, "Not authorized"), (77, "Unspecified")])
async def test_a_refusal_is_said_and_the_link_goes_on_trying(code: int, said: str) -> None:
    """By our own client, whose broker speaks in the return codes of 3.1.1."""
    refusals = 0

    def refuse(_packet: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal refusals
        refusals += 1
        writer.write(bytes((0x20, 2, 0, code)))

    async with peer(refuse) as (port, _levels):
        callbacks = Callbacks(lambda _client, _number: None, lambda _number: None)
        link = MqttLink(BrokerAddress("127.0.0.1", port), "x", callbacks, stream=True)
        link.start()
        try:
            async with asyncio.timeout(20):
                while refusals < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert said in link.last_problem
        finally:
            await link.close()
