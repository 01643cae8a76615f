"""A client of MQTT 3.1.1 on the event loop itself, without a thread: for thousands of messages a second.

It does what paho's client does for us and no more: QoS 0 and 1, acknowledgement by hand, one connection. What it
is spared is the way of each packet through another thread, which waits for the interpreter's lock several
times a message (design/broker.md section 6).
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent import mqtt_packets as packets
from agent.mqtt_packets import Login, PacketError

SILENT_KEEPALIVES = 2
"""A connection on which nothing has come for so many times the keepalive is dead."""
WRITE_BUFFER_BYTES = 4 * 1024 * 1024
"""What waits for the socket; above it nothing more is taken to be published."""
FILTERS_AT_ONCE = 512
"""Of one SUBSCRIBE: some 40 kB."""


@dataclass(frozen=True)
class Handlers:
    """What the owner of a client is told; all on the event loop."""

    opened: Callable[[], None]
    refused: Callable[[int], None]
    """Return code of the CONNACK."""
    ended: Callable[[], None]
    message: Callable[[packets.Published], None] | None = None
    published: Callable[[int], None] | None = None
    """Message id of a PUBACK."""


class Code(enum.IntEnum):
    """What became of a publish, in paho's numbers."""

    SUCCESS = 0
    NO_CONNECTION = 4
    QUEUE_FULL = 15


@dataclass(frozen=True)
class Sent:
    """What became of a publish; names as paho's MQTTMessageInfo."""

    rc: Code
    mid: int


class StreamClient(asyncio.Protocol):
    """One connection from CONNECT to its end; answers the calls that MqttSource, Publisher and fleets make.

    Args:
        login: What CONNECT says.
        handlers: Who is told.
        window: Messages of QoS 1 in flight at once; as many may wait behind them.
    """

    def __init__(self, login: Login, handlers: Handlers, window: int) -> None:
        self.login, self.handlers, self.window = login, handlers, window
        self._loop = asyncio.get_running_loop()
        self._reader = packets.Reader()
        self._transport: asyncio.Transport | None = None
        self._open = False
        self._full = False
        self._out: list[bytes] = []
        self._acks: list[int] = []
        self._flushing = False
        self._mid = 0
        self._in_flight: set[int] = set()
        self._behind: deque[tuple[int, bytes]] = deque()
        self._heard_s = self._loop.time()
        self._pulse: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a transport."""
        return self._transport is not None

    # --- calls, named as paho's ---------------------------------------------------------------------------------

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        """Ask for topics; longer lists go in several packets."""
        for first in range(0, len(filters), FILTERS_AT_ONCE):
            self._send(packets.subscribe(self._next_mid(), filters[first : first + FILTERS_AT_ONCE]))

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Ask for topics no more."""
        self._send(packets.unsubscribe(self._next_mid(), filters))

    def publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False) -> Sent:
        """Send a message, or let it wait behind those in flight; refused while too much waits already."""
        if not self._open:
            return Sent(Code.NO_CONNECTION, 0)
        if self._full or len(self._behind) >= self.window:
            return Sent(Code.QUEUE_FULL, 0)
        mid = self._next_mid() if qos else 0
        packet = packets.publish(topic, payload, qos, retain, mid)
        if not qos:
            self._send(packet)
        elif len(self._in_flight) < self.window:
            self._in_flight.add(mid)
            self._send(packet)
        else:
            self._behind.append((mid, packet))
        return Sent(Code.SUCCESS, mid)

    def ack(self, mid: int, qos: int) -> None:
        """Let the broker forget a message; acknowledgements of one turn of the loop leave together, in order."""
        if qos:
            self._acks.append(mid)
            self._flush_soon()

    def disconnect(self) -> None:
        """End in order: the will is not sent."""
        self._send(packets.DISCONNECT)
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def cut(self) -> None:
        """End at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        transport.write(packets.connect(self.login))
        self._beat()

    def data_received(self, data: bytes) -> None:
        """Every packet that is whole, in order."""
        self._heard_s = self._loop.time()
        try:
            for packet in self._reader.feed(data):
                self._take(packet)
        except PacketError:
            self.cut()

    def pause_writing(self) -> None:
        """Too much waits for the socket."""
        self._full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._full = False

    def connection_lost(self, error: Exception | None) -> None:
        """It is over; what was in flight is the owner's to send again."""
        self._open, self._transport = False, None
        self._in_flight.clear()
        self._behind.clear()
        if self._pulse is not None:
            self._pulse.cancel()
        self.handlers.ended()

    # --- inside -------------------------------------------------------------------------------------------------

    def _take(self, packet: packets.Packet) -> None:
        match packet:
            case packets.Published():
                if self.handlers.message is not None:
                    self.handlers.message(packet)
            case packets.Puback(mid=mid):
                self._taken(mid)
            case packets.Connack(code=packets.ACCEPTED):
                self._open = True
                self.handlers.opened()
            case packets.Connack(code=code):
                self.handlers.refused(code)

    def _taken(self, mid: int) -> None:
        if mid not in self._in_flight:
            return  # a broker that says it twice opens no second place
        self._in_flight.discard(mid)
        if self._behind:
            following, packet = self._behind.popleft()
            self._in_flight.add(following)
            self._send(packet)
        if self.handlers.published is not None:
            self.handlers.published(mid)

    def _next_mid(self) -> int:
        """An id that no message in flight has; the window is far smaller than the number of ids."""
        while True:
            self._mid = self._mid % packets.MAX_MID + 1
            if self._mid not in self._in_flight:
                return self._mid

    def _send(self, packet: bytes) -> None:
        self._out.append(packet)
        self._flush_soon()

    def _flush_soon(self) -> None:
        """One write for all that one turn of the loop has to say."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        acks, out = self._acks, self._out
        self._acks, self._out = [], []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packets.puback(acks) + b"".join(out))

    def _beat(self) -> None:
        """Keep the connection alive, and end it if the other side says nothing any more."""
        keepalive_s = self.login.keepalive_s
        if self._loop.time() - self._heard_s > SILENT_KEEPALIVES * keepalive_s:
            self.cut()
            return
        if self._open:
            self._send(packets.PINGREQ)
        self._pulse = self._loop.call_later(keepalive_s / 2, self._beat)
