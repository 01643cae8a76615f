"""Instruction to the unit by broker: the agent's `out` connection, apart from the one that receives.

A refused publish closes the connection on NATS, and instructions must not queue behind positions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from paho.mqtt.enums import MQTTErrorCode

from agent.errors import LinkError, PeerError
from agent.mqtt_link import BrokerAddress, Callbacks, MqttLink, Speaker, Will

WINDOW = 100
"""Publishes in flight; the outbox is the store, not paho's queue."""
RUN = WINDOW // 2
"""Messages of a run in flight at once, so that an instruction finds room."""
PUBACK_TIMEOUT_S = 3.0
"""Longer than any broker that still serves; the outbox then tries again."""
HEARTBEAT_S = 1.0
FIRST_FAILURE = 128
"""Reason codes of MQTT 5 from here on are refusals."""


class Publisher:
    """Publishes, and returns only when the broker has taken the message.

    Args:
        address: The broker.
        client_id: Random and secret, another than that of the source.
        will: Status that the broker publishes for us when we vanish.
        heartbeat_topic: Own topic to which a heartbeat goes every second; empty = none.
        on_connected: Called on the event loop after each connect, so that retained messages (status,
            unexpired instructions) are published again: they die with an unsaved broker.
        on_lost: Called when a connection ends.
        stream: Our own client on the event loop instead of paho's.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        *,
        will: Will | None = None,
        heartbeat_topic: str = "",
        on_connected: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        puback_timeout_s: float = PUBACK_TIMEOUT_S,
        stream: bool = False,
    ) -> None:
        self.heartbeat_topic = heartbeat_topic
        self.puback_timeout_s = puback_timeout_s
        self._on_connected, self._on_lost = on_connected, on_lost
        self._client: Speaker | None = None
        self._in_flight: dict[int, asyncio.Future[int]] = {}
        self._window = asyncio.Semaphore(WINDOW)
        self._heart: asyncio.Task[None] | None = None
        self._link = MqttLink(
            address,
            client_id,
            Callbacks(self._connected, self._lost, published=self._published),
            window=WINDOW,
            will=will,
            stream=stream,
        )

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._client is not None

    @property
    def connection(self) -> int:
        """Number of the current or latest connection."""
        return self._link.connection

    @property
    def last_problem(self) -> str:
        """Why there is no connection, for people; empty if there is."""
        return self._link.last_problem

    def start(self) -> None:
        """Begin to connect."""
        self._link.start()
        if self.heartbeat_topic:
            self._heart = asyncio.create_task(self._beat(), name="mqtt heart")

    def reconnect(self) -> None:
        """Give the connection up and open another, as the heartbeat does not come through."""
        self._link.break_connection()

    async def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        """Publish one message; QoS 1 returns after the broker's PUBACK, QoS 0 once it is on its way.

        A PUBACK never means "done": the broker may still lose the message; the receipt says.

        Raises:
            LinkError: not connected, connection lost before the PUBACK, or none in time. The message may have
                arrived all the same.
            PeerError: the broker refuses it (MQTT 5 only).
        """
        async with self._window:
            client = self._client
            if client is None:
                raise LinkError(f"{topic}: not connected to the broker")
            info = client.publish(topic, payload, qos=qos, retain=retain)
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise LinkError(f"{topic}: not sent: {info.rc.name}")
            if qos:
                await self._puback(topic, info.mid)

    async def publish_run(self, topic: str, payloads: Sequence[bytes]) -> int:
        """Publish messages of one topic at QoS 1, in order, and say how many of them the broker has taken.

        What comes after the first that was not sent, not taken in time or refused is not counted: it may have
        arrived all the same. Half a window goes at once, under one time-out: at hundreds of events a second a
        time-out for each is felt.
        """
        taken = 0
        for first in range(0, len(payloads), RUN):
            part = payloads[first : first + RUN]
            taken += (now := await self._publish_part(topic, part))
            if now < len(part):
                break
        return taken

    async def _publish_part(self, topic: str, payloads: Sequence[bytes]) -> int:
        sent: dict[int, asyncio.Future[int]] = {}
        places = taken = 0
        try:
            async with asyncio.timeout(self.puback_timeout_s):
                for payload in payloads:
                    await self._window.acquire()
                    places += 1
                    if not self._send_one(topic, payload, sent):
                        break
                for answer in sent.values():
                    if await answer >= FIRST_FAILURE:
                        break
                    taken += 1
        except (TimeoutError, LinkError):
            return taken
        finally:
            self._let_go(sent)
            for _ in range(places):
                self._window.release()
        return taken

    def _send_one(self, topic: str, payload: bytes, sent: dict[int, asyncio.Future[int]]) -> bool:
        if self._client is None:
            return False
        info = self._client.publish(topic, payload, 1, False)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        self._in_flight[info.mid] = sent[info.mid] = asyncio.get_running_loop().create_future()
        return True

    def _let_go(self, sent: dict[int, asyncio.Future[int]]) -> None:
        for mid, answer in sent.items():
            self._in_flight.pop(mid, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen: asyncio would else complain of each behind the first

    def say(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0 if there is a connection: for what is said again at the next occasion anyway."""
        if self._client is not None:
            self._client.publish(topic, payload, 0, False)

    async def close(self) -> None:
        """Disconnect in order: the last will is not sent."""
        if self._heart:
            self._heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heart
        await self._link.close()

    async def _puback(self, topic: str, mid: int) -> None:
        """The handler of PUBACKs runs on this loop, so it cannot come before the future is there."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._in_flight[mid] = answer
        try:
            async with asyncio.timeout(self.puback_timeout_s):
                reason = await answer
        except TimeoutError:
            raise LinkError(f"{topic}: no PUBACK within {self.puback_timeout_s:g} s") from None
        finally:
            self._in_flight.pop(mid, None)
        if reason >= FIRST_FAILURE:
            raise PeerError(f"{topic}: the broker refuses it, reason code {reason}")

    def _connected(self, client: Speaker, _connection: int) -> None:
        self._client = client
        if self._on_connected:
            self._on_connected()

    def _lost(self, _connection: int) -> None:
        self._client = None
        for answer in self._in_flight.values():
            if not answer.done():
                answer.set_exception(LinkError("connection lost before the PUBACK"))
        if self._on_lost:
            self._on_lost()

    def _published(self, connection: int, mid: int, reason: int) -> None:
        answer = self._in_flight.get(mid)
        if connection == self._link.connection and answer and not answer.done():
            answer.set_result(reason)

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(LinkError):
                await self.publish(self.heartbeat_topic, b"1", qos=0)
            await asyncio.sleep(HEARTBEAT_S)
