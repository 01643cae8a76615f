"""Units that connect by TCP or send UDP packets: handshake, frames, answers. Knows no protocol's bytes.

A frame is answered only once its recipient says that it is on disk; whoever gets no answer sends it again. Every
connection has a limit that only whole frames move on, so a client that drips bytes ends like a silent one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, cast

from firmware_bridge.avl import FRAME_LIMIT, AvlDecoder, AvlFrame, AvlItem, Hello, RefusedFrame, Reply
from firmware_bridge.errors import ListenerUnavailable
from firmware_bridge.messages import Refusal
from firmware_bridge.queclink import QueclinkDecoder
from firmware_bridge.ruptela import RuptelaDecoder
from firmware_bridge.teltonika import TeltonikaDecoder, encode_command, read_packet

MAX_CONNECTIONS = 2_000
HELLO_S = 30.0
"""From the connection to the IMEI."""
IDLE_S = 600.0
"""From one whole frame to the next (both: design/firmware-bridge.md section 6)."""
ANSWER_S = 5.0
"""A frame not on disk by then is not answered: the connection ends and the unit sends it again."""
SEND_S = 5.0
"""A unit that does not take its answer for so long is let go."""
HANDSHAKE_S = 10.0
"""For TLS."""
GIVE_UP_AT = 3
"""The so manyth identical refused frame is acknowledged, or it would come back for ever."""
REFUSALS_IN_A_ROW = 10
"""Then the connection ends: its bytes will not get better."""
REMEMBERED_REFUSALS = 1_024
MAX_PACKETS = 256
"""UDP packets being processed; more are dropped, their units send them again."""


class Recipient(Protocol):
    """Who takes what units send."""

    def knows(self, imei: str) -> bool:
        """Whether this unit may speak."""
        ...

    async def take(self, imei: str, frame: AvlFrame) -> None:
        """Returns when all of the frame is on disk."""
        ...

    async def refuse(self, imei: str | None, refusal: Refusal) -> None:
        """Returns when the refusal is recorded."""
        ...

    def joined(self, imei: str) -> None:
        """The unit can be spoken to: after its hello, and after every frame."""
        ...

    def replied(self, imei: str, text: bytes) -> None:
        """The unit has answered a command."""
        ...


@dataclass(frozen=True)
class Spoken:
    """What a protocol brings."""

    decoder: Callable[[], AvlDecoder]
    packet: Callable[[bytes], AvlItem] | None = None
    """Reads one UDP packet; None = the protocol has none."""
    command: Callable[[bytes], bytes] | None = None
    """A command as bytes; None = it takes none."""


PROTOCOLS = {
    "teltonika": Spoken(TeltonikaDecoder, read_packet, encode_command),
    "ruptela": Spoken(RuptelaDecoder),
    "queclink": Spoken(QueclinkDecoder),
}


@dataclass(frozen=True)
class Place:
    """Where to listen."""

    host: str
    port: int
    """0 = a free one."""
    udp: bool = False
    """Take UDP packets on the same port as well."""
    tls: ssl.SSLContext | None = None
    proves: Callable[[str, str], bool] | None = None
    """IMEI and name in the certificate, empty without one: whether that is the unit; None = nobody is asked."""


class _Line:
    """One connection."""

    def __init__(self, writer: asyncio.StreamWriter, decoder: AvlDecoder, task: asyncio.Task[None]) -> None:
        self.writer, self.decoder, self.task = writer, decoder, task
        self.imei: str | None = None
        self.refusals = 0
        """In a row."""


class AvlServer:
    """One listener.

    Args:
        place: Host, port, TLS.
        protocol: A name in `PROTOCOLS`.
        recipient: Takes frames; says when they are on disk.
        hello_s, idle_s, answer_s, max_connections: Bounds, as the constants; tests take shorter ones.
    """

    def __init__(
        self,
        place: Place,
        protocol: str,
        recipient: Recipient,
        *,
        hello_s: float = HELLO_S,
        idle_s: float = IDLE_S,
        answer_s: float = ANSWER_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.place, self._spoken, self._to = place, PROTOCOLS[protocol], recipient
        self._hello_s, self._idle_s, self._answer_s = hello_s, idle_s, answer_s
        self._max_connections = max_connections
        self.counts: Counter[str] = Counter()
        """Frames and connections by what became of them."""
        self._lines: dict[_Line, None] = {}
        self._by_imei: dict[str, _Line] = {}
        self._seen_refused: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self._server: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self._packets: set[asyncio.Task[None]] = set()
        self.port = place.port
        """The real one, once it listens."""

    @property
    def connections(self) -> int:
        """Open TCP connections."""
        return len(self._lines)

    def connected(self, imei: str) -> bool:
        """Whether the unit can be spoken to now."""
        return imei in self._by_imei

    async def start(self) -> None:
        """Listen.

        Raises:
            ListenerUnavailable: the address cannot be had.
        """
        place = self.place
        handshake_s = HANDSHAKE_S if place.tls else None
        try:
            self._server = await asyncio.start_server(
                self._serve, place.host, place.port, limit=FRAME_LIMIT, ssl=place.tls, ssl_handshake_timeout=handshake_s
            )
            self.port = self._server.sockets[0].getsockname()[1]
            if place.udp:
                loop = asyncio.get_running_loop()
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self._packet_came), local_addr=(place.host, self.port)
                )
        except OSError as error:
            await self.close()
            raise ListenerUnavailable(f"{place.host}:{place.port}: {error.strerror or error}") from error

    async def close(self) -> None:
        """End every connection and give the port back."""
        if self._server is not None:
            self._server.close()
        if self._udp is not None:
            self._udp.close()
        tasks = [*(line.task for line in self._lines), *self._packets]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def command(self, imei: str, text: bytes) -> bool:
        """Send a command to a unit; False if it is not connected, does not take it, or its protocol has none."""
        line = self._by_imei.get(imei)
        if line is None or self._spoken.command is None:
            return False
        return await self._send(line, self._spoken.command(text))

    # --- TCP --------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        line = _Line(writer, self._spoken.decoder(), task)
        try:
            if self._has_room():
                self._lines[line] = None
                await self._read(line, reader)
        except TimeoutError:
            self.counts["idle"] += 1
        except (OSError, asyncio.CancelledError):
            pass  # gone, or told to go: nothing after this point needs to run on
        finally:
            self._forget(line)
            await _closed(writer)

    async def _read(self, line: _Line, reader: asyncio.StreamReader) -> None:
        now_s = asyncio.get_running_loop().time
        async with asyncio.timeout(self._hello_s) as limit:
            while data := await reader.read(FRAME_LIMIT):
                for item in line.decoder.frames(data):
                    if not await self._handle(line, item):
                        return
                    if line.imei is not None and not isinstance(item, Refusal):
                        limit.reschedule(now_s() + self._idle_s)

    def _has_room(self) -> bool:
        """Make room if need be: the oldest that has not said who it is goes first."""
        if len(self._lines) < self._max_connections:
            return True
        self.counts["full"] += 1
        stranger = next((line for line in self._lines if line.imei is None), None)
        if stranger is None:
            return False
        self._forget(stranger)
        stranger.task.cancel()
        return True

    def _forget(self, line: _Line) -> None:
        self._lines.pop(line, None)
        if line.imei is not None and self._by_imei.get(line.imei) is line:
            del self._by_imei[line.imei]

    async def _handle(self, line: _Line, item: AvlItem) -> bool:
        """Whether the connection goes on."""
        match item:
            case Hello():
                return await self._introduce(line, item.imei) and await self._send(line, item.welcome)
            case Reply():
                if line.imei is not None:
                    self._to.replied(line.imei, item.text)
                return line.imei is not None
            case Refusal() | RefusedFrame():
                return await self._refused(line, item)
            case _:
                return await self._frame(line, item)

    async def _introduce(self, line: _Line, imei: str, turn_away: bytes = b"\x00") -> bool:
        """Whether this unit may speak here; its older connection ends, which is usually a dead one."""
        known = self._to.knows(imei)
        if not known or not self._proved(line, imei):
            self.counts["unproved" if known else "unknown_unit"] += 1
            await self._send(line, turn_away)
            return False
        older = self._by_imei.get(imei)
        if older is not None and older is not line:
            self._forget(older)
            older.task.cancel()
        line.imei = imei
        self._by_imei[imei] = line
        self._to.joined(imei)
        return True

    def _proved(self, line: _Line, imei: str) -> bool:
        """Whether the connection's certificate is the unit's, where that is asked for."""
        proves = self.place.proves
        if proves is None:
            return True
        subject = (line.writer.get_extra_info("peercert") or {}).get("subject", ())
        names = [value for part in subject for key, value in part if key == "commonName"]
        return proves(imei, names[0] if len(names) == 1 else "")

    async def _frame(self, line: _Line, frame: AvlFrame) -> bool:
        imei = frame.imei or line.imei
        if imei is None or (line.imei is not None and imei != line.imei):
            self.counts["no_hello"] += 1
            return False
        if line.imei is None and not await self._introduce(line, imei, turn_away=b""):
            return False
        line.refusals = 0
        if not await self._on_disk(self._to.take(imei, frame)):
            return False
        self.counts["accepted"] += 1
        went_out = await self._send(line, frame.answer)
        self._to.joined(imei)
        return went_out

    async def _refused(self, line: _Line, item: Refusal | RefusedFrame) -> bool:
        """Record it; the connection goes on unless nobody knows whose it is, or nothing else comes."""
        refusal = item if isinstance(item, Refusal) else item.refusal
        self.counts[refusal.reason] += 1
        line.refusals += 1
        if not await self._on_disk(self._to.refuse(line.imei, refusal)):
            return False
        if line.imei is None or line.refusals >= REFUSALS_IN_A_ROW:
            return False
        return isinstance(item, Refusal) or await self._send(line, self._answer_to(line.imei, item))

    def _answer_to(self, who: str, frame: RefusedFrame) -> bytes:
        """That nothing was taken; the third time that all was, although it was not."""
        key = (who, hashlib.sha256(frame.refusal.quote).digest())
        times = self._seen_refused.pop(key, 0) + 1
        if times >= GIVE_UP_AT:
            self.counts["given_up"] += 1
            return frame.give_up
        self._seen_refused[key] = times
        if len(self._seen_refused) > REMEMBERED_REFUSALS:
            self._seen_refused.popitem(last=False)
        return frame.answer

    async def _on_disk(self, work: Awaitable[None]) -> bool:
        """Whether it was on disk in time."""
        try:
            async with asyncio.timeout(self._answer_s):
                await work
        except TimeoutError:
            self.counts["unanswered"] += 1
            return False
        return True

    async def _send(self, line: _Line, data: bytes) -> bool:
        """Whether the unit takes it."""
        if not data:
            return True
        try:
            async with asyncio.timeout(SEND_S):
                line.writer.write(data)
                await line.writer.drain()
        except (TimeoutError, OSError):
            self.counts["not_taken"] += 1
            return False
        return True

    # --- UDP --------------------------------------------------------------------------------------------------

    def _packet_came(self, data: bytes, answer: Callable[[bytes], None]) -> None:
        if len(self._packets) >= MAX_PACKETS or self._spoken.packet is None:
            self.counts["dropped_packets"] += 1
            return
        task = asyncio.create_task(self._packet(self._spoken.packet(data), answer))
        self._packets.add(task)
        task.add_done_callback(self._packets.discard)

    async def _packet(self, item: AvlItem, answer: Callable[[bytes], None]) -> None:
        imei = item.imei
        if isinstance(item, RefusedFrame):
            self.counts[item.refusal.reason] += 1
            known = imei is not None and self._to.knows(imei)
            if await self._on_disk(self._to.refuse(imei if known else None, item.refusal)) and known:
                answer(self._answer_to(imei, item))
        elif imei is None or not self._to.knows(imei):
            self.counts["unknown_unit"] += 1
        elif await self._on_disk(self._to.take(imei, item)):
            self.counts["accepted"] += 1
            answer(item.answer)


class _Datagrams(asyncio.DatagramProtocol):
    """Hands packets on, each with a way to answer it."""

    def __init__(self, came: Callable[[bytes, Callable[[bytes], None]], None]) -> None:
        self._came = came
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is none by its bases

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        def answer(reply: bytes) -> None:
            if self._transport is not None and reply and not self._transport.is_closing():
                self._transport.sendto(reply, addr)

        self._came(data, answer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """A peer that does not say goodbye is not waited for."""
    writer.close()
    with contextlib.suppress(TimeoutError, OSError, asyncio.CancelledError):
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
    writer.transport.abort()
