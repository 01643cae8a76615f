"""Broker subscription, acknowledging by hand: nothing is acknowledged before it is on disk.

paho's thread only appends to a bounded deque and wakes the event loop; no decoding there, no exception. Where
paho is what limits (design/broker.md section 6) our own client takes its place: same messages, no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.mqtt_link import Arrived, BrokerAddress, Callbacks, MqttLink, Speaker

BATCH_MESSAGES = 256
BATCH_BYTES = 1024 * 1024
LINGER_S = 0.005
"""A batch: so many messages, so many bytes, or so long after its first (design/broker.md section 7)."""
WINDOW = 1_000
"""Unacknowledged QoS 1 messages at once."""
HEARTBEAT_LOST_S = 3.0
"""Own heartbeat, one a second through the broker, missing for so long = broker lost."""
WATCH_S = 0.5
FULL_SHARE = 0.9
"""Of the window: with so much unacknowledged the broker may be holding more back."""

log = structlog.get_logger()


class Message(msgspec.Struct, frozen=True, gc=False):
    """One MQTT message as it came."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    duplicate: bool
    connection: int
    """Counts reconnects; message ids mean something only within one."""
    mid: int
    received_s: float
    """UTC seconds."""


@dataclass(frozen=True)
class Batch:
    """Messages in the order received, to be committed together."""

    messages: tuple[Message, ...]


class MqttSource:
    """Subscribed topics as batches, over reconnects, until closed.

    Args:
        address: The broker.
        client_id: Random and secret: who connects with it takes the session over (design/broker.md trap 3).
        filters: Topic filters and QoS; disjoint.
        heartbeat_topic: Own heartbeats; heard here and not handed on. Empty = none is expected.
        now_s: Wall clock, UTC seconds.
        window: Bound of what is held unacknowledged, and of QoS 0 messages that wait.
        stream: Our own client on the event loop instead of paho's.
        on_lost, on_found: Told on the event loop when the heartbeat stops and when it is back.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        filters: Sequence[tuple[str, int]],
        *,
        heartbeat_topic: str = "",
        now_s: Callable[[], float] = time.time,
        window: int = WINDOW,
        batch_messages: int = BATCH_MESSAGES,
        linger_s: float = LINGER_S,
        stream: bool = False,
        on_lost: Callable[[], None] | None = None,
        on_found: Callable[[], None] | None = None,
    ) -> None:
        self.filters = tuple(filters)
        self.heartbeat_topic = heartbeat_topic
        self.window = window
        self.batch_messages = batch_messages
        self.linger_s = linger_s
        self.dropped_qos0 = 0
        """QoS 0 messages dropped because too many waited; the broker does the same."""
        self.dropped_stale = 0
        """QoS 1 messages of earlier connections let go unread: the broker sends them again."""
        self.acks_skipped = 0
        """Acknowledgements not sent because their connection has gone."""
        self.repeated = 0
        """Messages that the broker sent again although the first copy is in our hands and not yet acknowledged."""
        self._now_s = now_s
        self._on_lost, self._on_found = on_lost, on_found
        self._lock = threading.Lock()
        self._waiting: deque[Message] = deque()
        self._waiting_qos0 = 0
        self._unacknowledged: set[int] = set()
        """Message ids of this connection; NATS sends a message under its old id again after 2 s, and an agent that is
        slow for a moment would otherwise have everything twice and be slower still."""
        self._most_in_hand = 0
        """Messages unacknowledged at once since `was_full` was asked."""
        self._wake = asyncio.Event()
        self._wake_pending = False
        self._closed = False
        self._alive = False
        self._heard_s = 0.0
        self._heard_on = 0
        """Connection of the newest message."""
        self._client: Speaker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._link = MqttLink(
            address,
            client_id,
            Callbacks(self._connected, self._lost, self._received),
            persistent=True,
            manual_ack=True,
            window=window,
            stream=stream,
        )

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        return self._link.connected

    @property
    def alive(self) -> bool:
        """Connected, and the own heartbeat (if one is expected) came through lately."""
        return self._alive

    @property
    def connection(self) -> int:
        """Number of the current or latest connection."""
        return self._link.connection

    @property
    def protocol(self) -> str:
        """`5` or `3.1.1`."""
        return self._link.protocol

    @property
    def last_problem(self) -> str:
        """Why there is no connection, for people; empty if there is."""
        return self._link.last_problem

    @property
    def waiting(self) -> int:
        """Messages received and not yet handed out."""
        return len(self._waiting)

    def was_full(self) -> bool:
        """Whether the window was as good as used up at any time since this was asked: the broker may hold more."""
        most, self._most_in_hand = self._most_in_hand, len(self._unacknowledged)
        return most >= FULL_SHARE * self.window

    def heartbeat_age_s(self) -> float:
        """Seconds since the own heartbeat was last heard, on the monotonic clock."""
        return time.monotonic() - self._heard_s

    def start(self) -> None:
        """Begin to connect and listen."""
        self._loop = asyncio.get_running_loop()
        self._link.start()
        self._watcher = asyncio.create_task(self._watch(), name="mqtt heartbeat")

    async def batches(self) -> AsyncIterator[Batch]:
        """Batches in the order received; survives reconnects, ends only when closed."""
        if self._loop is None:
            self.start()
        while not self._closed:
            if not self._waiting:
                self._wake.clear()
                if not self._waiting:
                    await self._wake.wait()
                continue
            if len(self._waiting) < self.batch_messages and self.linger_s:
                await asyncio.sleep(self.linger_s)
            messages = self._take()
            if messages:
                yield Batch(messages)

    def acknowledge(self, batch: Batch) -> None:
        """Let the broker forget a batch, in the order received; skips messages of an older connection."""
        client, connection = self._client, self.connection
        for message in batch.messages:
            if message.qos == 0:
                continue
            if client is None or message.connection != connection:
                self.acks_skipped += 1
                continue
            self._unacknowledged.discard(message.mid)
            client.ack(message.mid, message.qos)

    async def close(self) -> None:
        """End `batches` and disconnect; the session stays at the broker."""
        self._closed = True
        self._wake.set()
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await self._link.close()

    def _take(self) -> tuple[Message, ...]:
        taken: list[Message] = []
        size = 0
        with self._lock:
            while self._waiting and len(taken) < self.batch_messages and size < BATCH_BYTES:
                message = self._waiting.popleft()
                self._waiting_qos0 -= message.qos == 0
                size += len(message.payload)
                taken.append(message)
        return tuple(taken)

    def _connected(self, client: Speaker, _connection: int) -> None:
        """Subscribe on every connect, whatever "session present" says: the broker may have lost its store."""
        self._client = client
        self._heard_s = time.monotonic()
        wanted = [*self.filters, *([(self.heartbeat_topic, 0)] if self.heartbeat_topic else [])]
        if self._link.protocol == "5":
            client.subscribe([(topic, SubscribeOptions(qos=qos)) for topic, qos in wanted])
        else:
            client.subscribe(wanted)
        self._set_alive(True)

    def _lost(self, _connection: int) -> None:
        self._client = None
        self._set_alive(False)

    def _set_alive(self, alive: bool) -> None:
        if alive == self._alive:
            return
        self._alive = alive
        tell = self._on_found if alive else self._on_lost
        if tell:
            tell()

    async def _watch(self) -> None:
        """Keepalive notices a frozen broker after 9.5 s; the heartbeat does after 3."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self.heartbeat_topic and self.connected and self.heartbeat_age_s() > HEARTBEAT_LOST_S:
                log.warning("broker_silent", heartbeat_age_s=round(self.heartbeat_age_s(), 1))
                self._set_alive(False)
                self._link.break_connection()

    def _received(self, connection: int, message: Arrived) -> None:
        """On paho's thread, if it is paho's."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # refused as an unknown topic, acknowledged and counted like any other
        if topic == self.heartbeat_topic and topic:
            self._heard_s = time.monotonic()
            return
        if message.qos and self._is_in_hand(connection, message):
            return
        received = Message(
            topic, bytes(message.payload), message.qos, message.retain, message.dup, connection, message.mid,
            self._now_s(),
        )  # fmt: skip
        with self._lock:
            self._waiting.append(received)
            self._bound(received)
        if not self._wake_pending and self._loop is not None:
            self._wake_pending = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._wake_up)

    def _is_in_hand(self, connection: int, message: Arrived) -> bool:
        """Whether this is another copy of a message that waits for its commit; its acknowledgement settles both."""
        if connection != self._heard_on:
            self._heard_on = connection
            self._unacknowledged.clear()
        if message.dup and message.mid in self._unacknowledged:
            self.repeated += 1
            return True
        self._unacknowledged.add(message.mid)
        self._most_in_hand = max(self._most_in_hand, len(self._unacknowledged))
        return False

    def _wake_up(self) -> None:
        self._wake_pending = False
        self._wake.set()

    def _bound(self, newest: Message) -> None:
        """QoS 1 is bounded by the broker's window on one connection, QoS 0 by dropping its oldest."""
        if newest.qos == 0:
            self._waiting_qos0 += 1
            if self._waiting_qos0 > self.window:
                self._drop_first(lambda old: old.qos == 0)
                self._waiting_qos0 -= 1
                self.dropped_qos0 += 1
        elif len(self._waiting) > 3 * self.window:
            self.dropped_stale += self._drop_first(lambda old: old.qos > 0 and old.connection < newest.connection)

    def _drop_first(self, unwanted: Callable[[Message], bool]) -> bool:
        """Remove the oldest waiting message of a kind, if there is one."""
        for index, message in enumerate(self._waiting):
            if unwanted(message):
                del self._waiting[index]
                return True
        return False
