"""One MQTT connection that comes back: a fresh paho client for every connection, 5 or 3.1.1.

paho keeps unsent messages and pending acknowledgements in its client and sends them on the next connection,
where message ids begin anew: a late acknowledgement then deletes a message that nobody has read
(design/reliability.md section 1, fact 4). A client that dies with its connection cannot do that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.errors import ConfigError

KEEPALIVE_S = 5
CONNECT_TIMEOUT_S = 3.0
"""For TCP, and again for the broker's CONNACK: a frozen broker accepts connections and says nothing."""
RETRY_MIN_S, RETRY_MAX_S = 0.2, 1.0
"""Doubling, with 20 % jitter: the agent serves again within 3 s of the broker's return (invariant 8)."""
SESSION_EXPIRY_S = 86_400
"""How long a broker of MQTT 5 keeps the queue of an absent agent."""
WRONG_VERSION = 132
"""Reason code "unsupported protocol version"; paho maps 3.1.1's return code 1 onto it."""
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


@dataclass(frozen=True)
class Callbacks:
    """What the owner of a link is told: `message` on the network thread, the others on the event loop."""

    connected: Callable[[Client, int], None]
    """Client and number of the connection, 1 for the first."""
    lost: Callable[[int], None]
    message: Callable[[int, MQTTMessage], None] | None = None
    published: Callable[[int, int, int], None] | None = None
    """Connection, message id, reason code of the PUBACK (0 in 3.1.1)."""


class _Connection:
    """One paho client from connect to loss. Its callbacks never raise: that would kill paho's thread."""

    def __init__(self, link: MqttLink, number: int, protocol: str) -> None:
        self.link = link
        self.number = number
        self.loop = asyncio.get_running_loop()
        self.opened = asyncio.Event()
        self.ended = asyncio.Event()
        self.refusal: int | None = None
        self.client = link._new_client(protocol)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        if link.callbacks.message:
            self.client.on_message = self._on_message
        if link.callbacks.published:
            self.client.on_publish = self._on_publish

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
        self._tell(self._answered, reason.value)

    def _answered(self, reason: int) -> None:
        if self.ended.is_set():
            return
        if reason == 0:
            self.opened.set()
        else:
            self.refusal = reason
            self.ended.set()

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
    ) -> None:
        self.address = address
        self.client_id = client_id
        self.name = "in" if manual_ack else "out"
        """For the log, where the client id must not stand."""
        self.callbacks = callbacks
        self.persistent = persistent
        self.manual_ack = manual_ack
        self.window = window
        self.will = will
        self.connection = 0
        """Number of the current or latest connection."""
        self.connected = False
        self.last_problem = ""
        """Why the last attempt failed, for people."""
        self._protocol = "5" if address.protocol == "auto" else address.protocol
        self._settled = address.protocol != "auto"
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
            _cut(self._current.client)
            self._current.ended.set()

    def _new_client(self, protocol: str) -> Client:
        five = protocol == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            clean_session=None if five else not self.persistent,
            protocol=PROTOCOLS[protocol],
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

    def _connect(self, client: Client, protocol: str) -> None:
        """Blocking. For 5 clean_start is said explicitly: paho's default drops the queue at first connect."""
        if protocol != "5":
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
        current = self._current = _Connection(self, self.connection, self._protocol)
        try:
            await asyncio.to_thread(self._connect, current.client, self._protocol)
        except (OSError, ValueError) as error:
            self._failed(f"{type(error).__name__}: {error}")
            return False
        current.client.loop_start()
        try:
            if not await _answer(current):
                self._refused(current)
                return False
            self._opened(current)
            await current.ended.wait()
            return True
        finally:
            self._ended(current)
            await asyncio.shield(asyncio.to_thread(_stop, current.client))

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


def _cut(client: Client) -> None:
    """Shut the socket from outside; paho's thread then ends by itself."""
    sock = client.socket()
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _stop(client: Client) -> None:
    """Blocking: end paho's thread. The socket goes first, else paho waits for PUBACKs that never come."""
    _cut(client)
    client.loop_stop()
