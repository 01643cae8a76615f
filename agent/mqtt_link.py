"""One MQTT connection that comes back: a fresh client for every connection, 5 or 3.1.1.

paho keeps unsent messages and pending acknowledgements in its client and sends them on the next connection,
where message ids begin anew: a late acknowledgement then deletes a message that nobody has read
(design/reliability.md section 1, fact 4). A client that dies with its connection cannot do that.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import re
import secrets
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.errors import ConfigError
from agent.mqtt_packets import Login
from agent.mqtt_stream import Handlers, StreamClient

KEEPALIVE_S = 5
CONNECT_TIMEOUT_S = 3.0
"""For TCP, and again for the broker's CONNACK: a frozen broker accepts connections and says nothing."""
RETRY_MIN_S, RETRY_MAX_S = 0.2, 1.0
"""Doubling, with 20 % jitter: the agent serves again within 3 s of the broker's return (invariant 8)."""
SESSION_EXPIRY_S = 86_400
"""How long a broker of MQTT 5 keeps the queue of an absent agent."""
WRONG_VERSION = 132
"""Reason code "unsupported protocol version"; paho maps 3.1.1's return code 1 onto it."""
UNSPECIFIED = 128
REFUSALS = {1: WRONG_VERSION, 2: 133, 3: 136, 4: 134, 5: 135}
"""Return codes of 3.1.1's CONNACK: version, client id, server unavailable, user or password, not authorised."""
SILENT_CLOSES = 3
"""Connections closed without CONNACK before 3.1.1 is tried (design/broker.md section 6)."""
STOP_TIMEOUT_S = 3.0

PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}

log = structlog.get_logger()


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker is and how to speak to it."""

    host: str
    port: int
    protocol: str = "auto"
    """`5`, `3.1.1`, or `auto`: 5, and 3.1.1 if the broker refuses it."""
    username: str = ""
    password: str | None = None
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class ClientIds:
    """Client ids of the agent's two connections: 128 random bits, never logged.

    Whoever connects with the id of a session takes it over, and an authenticated lorry could
    (design/broker.md section 3, trap 3).
    """

    incoming: str
    outgoing: str


def client_ids(folder: Path) -> ClientIds:
    """The ids kept in the data folder, made there at the first start.

    Raises:
        ConfigError: the file is there and holds no id.
    """
    path = folder / "mqtt-client-id"
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(16))
    secret = path.read_text("ascii", "replace").strip()
    if not re.fullmatch(r"[0-9a-f]{32}", secret):
        raise ConfigError(f"{path}: no client id: expected 32 hexadecimal digits; delete it to have a new one made")
    return ClientIds(f"in-{secret}", f"out-{secret}")


@dataclass(frozen=True)
class Will:
    """What the broker says for us when we vanish; retained, QoS 1."""

    topic: str
    payload: bytes


class Speaker(Protocol):
    """What owners do with a client: paho's, or the one on the event loop (`agent/mqtt_stream.py`)."""

    def subscribe(self, topics: Any, /) -> Any:
        """Ask for topics: (filter, QoS or options) each."""

    def unsubscribe(self, topics: Any, /) -> Any:
        """Ask for topics no more."""

    def publish(self, topic: str, payload: Any, qos: int, retain: bool) -> Any:
        """Send a message; says `rc` and `mid`."""

    def ack(self, mid: int, qos: int, /) -> Any:
        """Let the broker forget a message."""


class Arrived(Protocol):
    """A message as paho and our own client hand it over. Reading `topic` may raise UnicodeDecodeError."""

    @property
    def topic(self) -> str:
        """Where it was published."""

    payload: bytes
    qos: int
    retain: bool
    dup: bool
    mid: int


@dataclass(frozen=True)
class Callbacks:
    """What the owner of a link is told: `message` on paho's thread if it is paho's, all else on the event loop."""

    connected: Callable[[Any, int], None]
    """Client (`Speaker`) and number of the connection, 1 for the first."""
    lost: Callable[[int], None]
    message: Callable[[int, Any], None] | None = None
    """Connection and message (`Arrived`)."""
    published: Callable[[int, int, int], None] | None = None
    """Connection, message id, reason code of the PUBACK (0 in 3.1.1)."""


class _Connection(ABC):
    """One client from connect to loss; what the two kinds have in common."""

    client: Any

    def __init__(self, link: MqttLink, number: int) -> None:
        self.link = link
        self.number = number
        self.opened = asyncio.Event()
        self.ended = asyncio.Event()
        self.refusal: int | None = None

    @abstractmethod
    async def connect(self) -> None:
        """TCP and CONNECT; OSError or ValueError if that fails."""

    @abstractmethod
    def cut(self) -> None:
        """End it from outside."""

    @abstractmethod
    async def stop(self) -> None:
        """Leave nothing behind."""

    def answered(self, reason: int) -> None:
        """The broker's CONNACK."""
        if self.ended.is_set():
            return
        if reason == 0:
            self.opened.set()
        else:
            self.refusal = reason
            self.ended.set()


class _PahoConnection(_Connection):
    """Paho's client with its thread. Its callbacks never raise: that would kill the thread."""

    def __init__(self, link: MqttLink, number: int) -> None:
        super().__init__(link, number)
        self.loop = asyncio.get_running_loop()
        self.client: Client = link._new_client()
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        if link.callbacks.message:
            self.client.on_message = self._on_message
        if link.callbacks.published:
            self.client.on_publish = self._on_publish

    async def connect(self) -> None:
        """Blocking in paho, so on another thread."""
        await asyncio.to_thread(self.link._connect, self.client)
        self.client.loop_start()

    def cut(self) -> None:
        """Shut the socket from outside; paho's thread then ends by itself."""
        sock = self.client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                # Not SSLSocket's own: it drops the TLS layer first, and paho's thread would read what is left as plain.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    async def stop(self) -> None:
        """End paho's thread. The socket goes first, else paho waits for PUBACKs that never come."""
        self.cut()
        await asyncio.shield(asyncio.to_thread(self.client.loop_stop))

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self.loop.call_soon_threadsafe(call, *arguments)

    def _on_connect(
        self,
        _client: Client,
        _data: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._tell(self.answered, reason.value)

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        _reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._tell(self.ended.set)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        assert self.link.callbacks.message is not None
        self.link.callbacks.message(self.number, message)

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        assert self.link.callbacks.published is not None
        self._tell(self.link.callbacks.published, self.number, mid, reason.value)


class _StreamConnection(_Connection):
    """Our own client on the event loop; 3.1.1 only."""

    def __init__(self, link: MqttLink, number: int) -> None:
        super().__init__(link, number)
        callbacks = link.callbacks
        handlers = Handlers(
            opened=lambda: self.answered(0),
            refused=self._refused,
            ended=self.ended.set,
            message=None if callbacks.message is None else functools.partial(callbacks.message, number),
            published=None if callbacks.published is None else self._published,
        )
        self.client = StreamClient(link._login(), handlers, link.window)

    async def connect(self) -> None:
        """The transport; CONNECT goes out as it is made."""
        address = self.link.address
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await loop.create_connection(lambda: self.client, address.host, address.port, ssl=address.tls)

    def cut(self) -> None:
        """Abort the transport."""
        self.client.cut()

    async def stop(self) -> None:
        """Until the transport is gone."""
        self.cut()
        if self.client.connected:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), STOP_TIMEOUT_S)

    def _refused(self, code: int) -> None:
        """Return codes of 3.1.1 in the words of 5, as paho's client says them."""
        self.answered(REFUSALS.get(code, UNSPECIFIED))

    def _published(self, mid: int) -> None:
        assert self.link.callbacks.published is not None
        self.link.callbacks.published(self.number, mid, 0)


class MqttLink:
    """Keeps one connection to a broker: opens it, notices its end, opens it again."""

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        callbacks: Callbacks,
        *,
        persistent: bool = False,
        manual_ack: bool = False,
        window: int = 1_000,
        will: Will | None = None,
        stream: bool = False,
    ) -> None:
        """`stream`: our own client on the event loop instead of paho's; it speaks 3.1.1, whatever the address says."""
        self.address = address
        self.client_id = client_id
        self.name = "in" if manual_ack else "out"
        """For the log, where the client id must not stand."""
        self.callbacks = callbacks
        self.persistent = persistent
        self.manual_ack = manual_ack
        self.window = window
        self.will = will
        self.stream = stream
        self.connection = 0
        """Number of the current or latest connection."""
        self.connected = False
        self.last_problem = ""
        """Why the last attempt failed, for people."""
        wanted = "3.1.1" if stream else address.protocol
        self._protocol = "5" if wanted == "auto" else wanted
        self._settled = wanted != "auto"
        self._silent_closes = 0
        self._current: _Connection | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def protocol(self) -> str:
        """`5` or `3.1.1`; after the first success it stays, so a slow broker never flips it."""
        return self._protocol

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._task = asyncio.create_task(self._keep(), name=f"mqtt {self.name}")

    async def close(self) -> None:
        """Disconnect in order (no last will) and stop."""
        current = self._current
        if current and self.connected:
            current.client.disconnect()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(current.ended.wait(), STOP_TIMEOUT_S)
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def break_connection(self) -> None:
        """Give this connection up and open another: the broker or paho's thread says nothing any more."""
        if self._current:
            self._current.cut()
            self._current.ended.set()

    def _new_client(self) -> Client:
        five = self._protocol == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            clean_session=None if five else not self.persistent,
            protocol=PROTOCOLS[self._protocol],
            reconnect_on_failure=False,
            manual_ack=self.manual_ack,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(self.window)
        client.max_queued_messages_set(self.window)
        if self.address.username:
            client.username_pw_set(self.address.username, self.address.password)
        if self.address.tls:
            client.tls_set_context(self.address.tls)
        if self.will:
            client.will_set(self.will.topic, self.will.payload, qos=1, retain=True)
        return client

    def _login(self) -> Login:
        will = self.will or Will("", b"")
        return Login(
            client_id=self.client_id,
            clean_session=not self.persistent,
            keepalive_s=KEEPALIVE_S,
            username=self.address.username,
            password=self.address.password,
            will_topic=will.topic,
            will_payload=will.payload,
        )

    def _connect(self, client: Client) -> None:
        """Blocking. For 5 clean_start is said explicitly: paho's default drops the queue at first connect."""
        if self._protocol != "5":
            client.connect(self.address.host, self.address.port, keepalive=KEEPALIVE_S)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S if self.persistent else 0
        properties.ReceiveMaximum = self.window
        client.connect(
            self.address.host,
            self.address.port,
            keepalive=KEEPALIVE_S,
            clean_start=not self.persistent,
            properties=properties,
        )

    async def _keep(self) -> None:
        retry_s = RETRY_MIN_S
        while True:
            opened = await self._one_connection()
            retry_s = RETRY_MIN_S if opened else min(RETRY_MAX_S, retry_s * 2)
            await asyncio.sleep(retry_s * random.uniform(0.8, 1.2))

    async def _one_connection(self) -> bool:
        """Open a connection and stay with it until it ends; whether it was ever open."""
        self.connection += 1
        kind = _StreamConnection if self.stream else _PahoConnection
        current: _Connection = kind(self, self.connection)
        self._current = current
        try:
            await current.connect()
        except (OSError, ValueError) as error:
            self._failed(f"{type(error).__name__}: {error}")
            return False
        try:
            if not await _answer(current):
                self._refused(current)
                return False
            self._opened(current)
            await current.ended.wait()
            return True
        finally:
            self._ended(current)
            await current.stop()

    def _opened(self, current: _Connection) -> None:
        self._settled, self.connected, self.last_problem = True, True, ""
        log.info("broker_connected", client=self.name, connection=current.number, protocol=self._protocol)
        self.callbacks.connected(current.client, current.number)

    def _ended(self, current: _Connection) -> None:
        if not self.connected:
            return
        self.connected = False
        log.warning("broker_disconnected", client=self.name, connection=current.number)
        self.callbacks.lost(current.number)

    def _refused(self, current: _Connection) -> None:
        """No session: wrong version, other refusal, or silence."""
        if current.refusal is None:
            self._silent_closes += 1
            self._failed("closed or silent without CONNACK")
        else:
            reason = ReasonCode(PacketTypes.CONNACK, identifier=current.refusal)
            self._failed(f"the broker refuses the connection: {reason}")
        if not self._settled and (current.refusal == WRONG_VERSION or self._silent_closes >= SILENT_CLOSES):
            self._protocol, self._silent_closes = "3.1.1", 0
            log.info("broker_protocol", protocol=self._protocol)

    def _failed(self, problem: str) -> None:
        if problem != self.last_problem:  # once for each kind of trouble, not once for each try
            log.warning("broker_unreachable", host=self.address.host, port=self.address.port, problem=problem)
        self.last_problem = problem


async def _answer(current: _Connection) -> bool:
    """Whether the broker accepted the connection."""
    waits = [asyncio.ensure_future(current.opened.wait()), asyncio.ensure_future(current.ended.wait())]
    try:
        await asyncio.wait(waits, timeout=CONNECT_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return current.opened.is_set()
