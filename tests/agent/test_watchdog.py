"""A stand-in for systemd's notify socket: words come while all parts are fresh, and stop when one hangs (F24)."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.clock import Clock
from agent.ingest.mqtt_source import MqttSource
from agent.journal.store import Store
from agent.mqtt_link import BrokerAddress
from agent.watchdog import Watchdog, Watched, is_deaf
from tests.agent.far_side import mqtt_broker

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
EVERY_S, SILENCE_S, WAIT_S = 0.02, 1.0, 20.0
FED = b"WATCHDOG=1\n"


class Systemd:
    """Takes the words on a thread of its own, so that a blocked loop does not blind it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.words: list[tuple[float, bytes]] = []
        self._came = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while word := self._socket.recv(100):
            with self._came:
                self.words.append((time.monotonic(), word))
                self._came.notify_all()

    def fed(self) -> int:
        return sum(word == FED for _, word in self.words)

    def next_word(self, timeout_s: float) -> bool:
        """Whether systemd is fed once more within so long."""
        with self._came:
            before = self.fed()
            return self._came.wait_for(lambda: self.fed() > before, timeout_s)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.path)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd(tmp_path / "notify")
    yield listening
    listening.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "data", "box-1", KEY, "box-1", "0.1.0", Clock())
    yield opened
    opened.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.01)


@asynccontextmanager
async def receiving() -> AsyncIterator[MqttSource]:
    """A source at a broker that passes no heartbeat on."""
    async with mqtt_broker() as broker:
        source = MqttSource(BrokerAddress("127.0.0.1", broker.port, "3.1.1"), "in", (), heartbeat_topic="heart")
        source.start()
        await until(lambda: source.connected)
        try:
            yield source
        finally:
            await source.close()


@asynccontextmanager
async def feeding(watched: Watched, systemd: Systemd, silent_s: float = 60.0) -> AsyncIterator[None]:
    dog = Watchdog(watched, systemd.path, EVERY_S, silent_s)
    task = asyncio.create_task(dog.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        dog.close()


async def is_fed(systemd: Systemd, timeout_s: float = WAIT_S) -> bool:
    return await asyncio.to_thread(systemd.next_word, timeout_s)


async def test_it_says_ready_once_and_then_feeds(systemd: Systemd, store: Store) -> None:
    async with receiving() as source, feeding(Watched(source, store.come_round), systemd):
        assert await is_fed(systemd) and await is_fed(systemd)
    words = [word for _, word in systemd.words]
    assert words[0] == b"READY=1\n" and set(words[1:]) == {FED}


async def test_a_stuck_writer_starves_it(systemd: Systemd, store: Store) -> None:
    stuck = threading.Event()
    async with receiving() as source, feeding(Watched(source, store.come_round), systemd):
        assert await is_fed(systemd)
        store._writing.submit(stuck.wait)
        await is_fed(systemd, SILENCE_S)  # what was on its way already
        assert not await is_fed(systemd, SILENCE_S)
        stuck.set()
        assert await is_fed(systemd)


async def test_a_blocked_loop_starves_it(systemd: Systemd, store: Store) -> None:
    async with receiving() as source, feeding(Watched(source, store.come_round), systemd):
        assert await is_fed(systemd)
        systemd.next_word(SILENCE_S)  # blocks this very loop; a word on its way may still come
        assert not systemd.next_word(SILENCE_S)
        assert await is_fed(systemd)


async def test_a_dead_mqtt_thread_starves_it(systemd: Systemd, store: Store) -> None:
    async with receiving() as source, feeding(Watched(source, store.come_round), systemd, silent_s=0.3):
        assert source._watcher is not None and source._client is not None
        source._watcher.cancel()  # what would mend it is dead as well
        source._client.loop_stop()
        await until(lambda: is_deaf(source, 0.3))
        await is_fed(systemd, SILENCE_S)
        assert not await is_fed(systemd, SILENCE_S)
        source._heard_s = time.monotonic() + WAIT_S  # as if a heartbeat came
        assert await is_fed(systemd)


async def test_a_broker_that_is_away_makes_nobody_deaf(systemd: Systemd, store: Store) -> None:
    source = MqttSource(BrokerAddress("127.0.0.1", 1, "3.1.1"), "in", (), heartbeat_topic="heart")
    async with feeding(Watched(source, store.come_round), systemd, silent_s=0.0):
        assert await is_fed(systemd) and await is_fed(systemd)


async def test_without_systemd_it_does_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    source = MqttSource(BrokerAddress("127.0.0.1", 1), "in", ())
    dog = Watchdog(Watched(source, store.come_round))
    await dog.run()
    dog.close()
