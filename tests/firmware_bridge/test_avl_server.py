"""The listener for telematics units: who may speak, when a frame is answered, what ends a connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from firmware_bridge.avl import FRAME_LIMIT, AvlFrame
from firmware_bridge.avl_server import GIVE_UP_AT, REFUSALS_IN_A_ROW, AvlServer, Place
from firmware_bridge.errors import ListenerUnavailable
from firmware_bridge.messages import PositionReport, Refusal
from firmware_bridge.ruptela import RuptelaDecoder, answer, crc16_kermit
from firmware_bridge.teltonika import crc16_arc, encode_command
from simulator.avl_unit import encode_frame, encode_hello, encode_record, encode_reply
from zones.fix import Fix, FixType

IMEI, OTHER, STRANGER = "352093086403655", "352093086403663", "352093086403671"
WAIT_S = 20.0
TIME_S = 1_796_126_400.0


class Books:
    """Takes what units send; `open_` stays unset while nothing reaches the disk."""

    def __init__(self) -> None:
        self.open_ = asyncio.Event()
        self.open_.set()
        self.taken: list[tuple[str, int]] = []
        self.refused: list[tuple[str | None, str]] = []
        self.replies: list[bytes] = []
        self.joined_: list[str] = []

    def knows(self, imei: str) -> bool:
        return imei in (IMEI, OTHER, "869153042601309")

    async def take(self, imei: str, frame: AvlFrame) -> None:
        await self.open_.wait()
        self.taken.append((imei, sum(isinstance(event, PositionReport) for event in frame.events)))

    async def refuse(self, imei: str | None, refusal: Refusal) -> None:
        await self.open_.wait()
        self.refused.append((imei, refusal.reason))

    def joined(self, imei: str) -> None:
        self.joined_.append(imei)

    def replied(self, imei: str, text: bytes) -> None:
        self.replies.append(text)


@asynccontextmanager
async def serving(
    protocol: str = "teltonika", udp: bool = False, **bounds: Any
) -> AsyncIterator[tuple[AvlServer, Books]]:
    books = Books()
    server = AvlServer(Place("127.0.0.1", 0, udp), protocol, books, **bounds)
    await server.start()
    try:
        yield server, books
    finally:
        await server.close()


class Client:
    """A unit's end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self, count: int) -> bytes:
        async with asyncio.timeout(WAIT_S):
            return await self.reader.readexactly(count)

    async def ended(self) -> bytes:
        """What came until the other side closed."""
        async with asyncio.timeout(WAIT_S):
            with suppress(ConnectionError):
                return await self.reader.read()
        return b""


@asynccontextmanager
async def unit(server: AvlServer, imei: str | None = IMEI) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", server.port))
    try:
        if imei is not None:
            await client.say(encode_hello(imei))
            assert await client.hear(1) == b"\x01"
        yield client
    finally:
        client.writer.close()
        with suppress(OSError):
            await client.writer.wait_closed()


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.005)


def frame(count: int = 1, first: int = 0) -> bytes:
    fixes = [
        Fix("u", TIME_S + first + n, 47.7416, 8.7240, TIME_S, accuracy_m=5.0, speed_mps=17.0, fix_type=FixType.THREE_D)
        for n in range(count)
    ]
    return encode_frame([encode_record(fix) for fix in fixes])


def wrong_count() -> bytes:
    content = bytearray(frame(3)[8:-4])
    content[-1] = 9
    return bytes(4) + len(content).to_bytes(4, "big") + bytes(content) + crc16_arc(bytes(content)).to_bytes(4, "big")


async def test_answered_with_the_count_once_it_is_on_disk() -> None:
    async with serving() as (server, books), unit(server) as client:
        books.open_.clear()
        await client.say(frame(3))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.reader.readexactly(1)
        books.open_.set()
        assert await client.hear(4) == b"\x00\x00\x00\x03"
        assert books.taken == [(IMEI, 3)]
        assert server.counts["accepted"] == 1 and server.connected(IMEI)


async def test_not_on_disk_in_time_ends_without_an_answer_and_the_resend_is_taken() -> None:
    async with serving(answer_s=0.2) as (server, books):
        books.open_.clear()
        async with unit(server) as client:
            await client.say(frame(2))
            assert await client.ended() == b""
        assert server.counts["unanswered"] == 1 and books.taken == []
        books.open_.set()
        async with unit(server) as client:
            await client.say(frame(2))
            assert await client.hear(4) == b"\x00\x00\x00\x02"


async def test_an_unknown_unit_is_turned_away() -> None:
    async with serving() as (server, books), unit(server, None) as client:
        await client.say(encode_hello(STRANGER) + frame())
        assert await client.ended() == b"\x00"
        assert server.counts["unknown_unit"] == 1 and (books.taken, server.connections) == ([], 0)


@pytest.mark.parametrize(
    "data", [frame(), b"GET / HTTP/1.1\r\n\r\n" + bytes(FRAME_LIMIT), encode_hello("35209308640365x")]
)
async def test_who_does_not_say_who_he_is_is_not_answered(data: bytes) -> None:
    async with serving(hello_s=1.0) as (server, books), unit(server, None) as client:
        await client.say(data)
        assert await client.ended() == b""
        assert books.taken == []
        await until(lambda: server.connections == 0)


async def test_a_byte_at_a_time_and_two_frames_at_once() -> None:
    async with serving() as (server, books), unit(server, None) as client:
        for at in range(17):
            await client.say(encode_hello(IMEI)[at : at + 1])
        assert await client.hear(1) == b"\x01"
        for byte in frame(2):
            await client.say(bytes((byte,)))
        assert await client.hear(4) == b"\x00\x00\x00\x02"
        await client.say(frame(1, 10) + frame(2, 20))
        assert await client.hear(8) == b"\x00\x00\x00\x01\x00\x00\x00\x02"
        assert [count for _, count in books.taken] == [2, 1, 2]


async def test_the_third_identical_refused_frame_is_acknowledged_and_all_are_recorded() -> None:
    async with serving() as (server, books), unit(server) as client:
        for _ in range(GIVE_UP_AT - 1):
            await client.say(wrong_count())
            assert await client.hear(4) == bytes(4)
        await client.say(wrong_count())
        assert await client.hear(4) == b"\x00\x00\x00\x03", "or it would come back for ever"
        assert books.refused == [(IMEI, "bad_count")] * GIVE_UP_AT
        assert (server.counts["bad_count"], server.counts["given_up"]) == (GIVE_UP_AT, 1)
        await client.say(wrong_count())
        assert await client.hear(4) == bytes(4), "counted anew"
        await client.say(frame(1))
        assert await client.hear(4) == b"\x00\x00\x00\x01"
        assert books.taken == [(IMEI, 1)]


async def test_a_refused_frame_is_remembered_across_connections() -> None:
    async with serving() as (server, _books):
        for expected in (bytes(4), bytes(4), b"\x00\x00\x00\x03"):
            async with unit(server) as client:
                await client.say(wrong_count())
                assert await client.hear(4) == expected


async def test_a_line_of_nothing_but_garbage_ends() -> None:
    async with serving() as (server, books), unit(server) as client:
        with suppress(ConnectionError):
            for _ in range(40):
                await client.say(b"\x01" * FRAME_LIMIT)
        await client.ended()
        await until(lambda: server.connections == 0)
        assert 1 <= len(books.refused) <= REFUSALS_IN_A_ROW


async def test_clients_that_drip_bytes_end_and_take_no_more_than_their_bound() -> None:
    """What one byte a second does in minutes, here in tenths of a second."""
    async with serving(hello_s=0.5, idle_s=0.6) as (server, books):
        async with unit(server, None) as silent, unit(server) as dripping:

            async def drip() -> None:
                with suppress(OSError):
                    for byte in frame(30):
                        await dripping.say(bytes((byte,)))
                        await asyncio.sleep(0.05)  # the client's pace, not a wait of ours

            dripper = asyncio.create_task(drip())
            assert await silent.ended() == b""
            await dripping.ended()
            await until(lambda: server.connections == 0)
            dripper.cancel()
            await asyncio.gather(dripper, return_exceptions=True)
        assert server.counts["idle"] == 2 and books.taken == []


async def test_a_full_house_lets_the_silent_go_first() -> None:
    async with (
        serving(max_connections=3) as (server, _books),
        unit(server, IMEI),
        unit(server, None) as silent,
        unit(server, OTHER),
    ):
        await until(lambda: server.connections == 3)
        async with unit(server, None) as newcomer:
            assert await silent.ended() == b""
            await newcomer.say(encode_hello("869153042601309"))
            assert await newcomer.hear(1) == b"\x01"
            async with unit(server, None) as refused:
                assert await refused.ended() == b"", "all of them have said who they are"
            assert server.connections == 3 and server.counts["full"] == 2


async def test_a_unit_that_comes_again_replaces_its_dead_connection() -> None:
    async with serving() as (server, _books), unit(server) as old, unit(server) as new:
        assert await old.ended() == b""
        assert server.connections == 1 and server.connected(IMEI)
        await new.say(frame(1))
        assert await new.hear(4) == b"\x00\x00\x00\x01"


async def test_commands_go_to_the_connected_and_replies_come_back() -> None:
    async with serving() as (server, books), unit(server) as client:
        assert await server.command(IMEI, b"GO") and not await server.command(OTHER, b"GO")
        expected = encode_command(b"GO")
        assert await client.hear(len(expected)) == expected
        await client.say(encode_reply(b"shown") + frame(1))
        assert await client.hear(4) == b"\x00\x00\x00\x01"
        assert books.replies == [b"shown"] and books.joined_[0] == IMEI


async def test_a_unit_that_takes_no_answers_costs_only_itself() -> None:
    async with serving() as (server, books), unit(server, None) as slow, unit(server, OTHER) as other:
        sock: socket.socket = slow.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await slow.say(encode_hello(IMEI) + b"".join(frame(1, n) for n in range(50)))
        await other.say(frame(1))
        assert await other.hear(4) == b"\x00\x00\x00\x01"
        await until(lambda: len(books.taken) == 51)


async def test_the_other_protocols_hang_on_it() -> None:
    imei = 869_153_042_601_309
    content = imei.to_bytes(8, "big") + b"\x01\x00\x00"
    data = len(content).to_bytes(2, "big") + content + crc16_kermit(content).to_bytes(2, "big")
    assert RuptelaDecoder().frames(data)
    async with serving("ruptela") as (server, books), unit(server, None) as client:
        await client.say(data)
        assert await client.hear(6) == answer(1)
        assert books.taken == [(str(imei), 0)] and server.connected(str(imei))
    place = b"1,4.3,92,70.0,8.724000,47.741600,20261122170000"
    text = b"+RESP:GTFRI,1A0102,135790246811220,,0,0,1," + place + b",0228,0001,18d8,6141,00,,20261122170001,11F0$"
    async with serving("queclink") as (server, books), unit(server, None) as client:
        await client.say(text)
        assert await client.ended() == b"", "an IMEI that is none of ours"
        assert server.counts["unknown_unit"] == 1
    async with serving("queclink") as (server, books), unit(server, None) as client:
        await client.say(text.replace(b"135790246811220", IMEI.encode()))
        assert await client.hear(11) == b"+SACK:11F0$"
        assert books.taken == [(IMEI, 1)]


def packet(content: bytes, imei: str = IMEI, number: bytes = b"\xca\xfe") -> bytes:
    inner = number + b"\x01\x07" + encode_hello(imei) + content
    return len(inner).to_bytes(2, "big") + inner


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.append(data)


async def test_packets_are_answered_after_the_disk_and_strangers_are_not() -> None:
    async with serving(udp=True, answer_s=0.5) as (server, books):
        loop = asyncio.get_running_loop()
        transport, ours = await loop.create_datagram_endpoint(Datagrams, remote_addr=("127.0.0.1", server.port))
        try:
            good, wrong = frame(2)[8:-4], wrong_count()[8:-4]
            transport.sendto(packet(good))
            await until(lambda: ours.heard == [b"\x00\x05\xca\xfe\x01\x07\x02"])
            assert books.taken == [(IMEI, 2)]
            for count in range(1, GIVE_UP_AT + 1):
                transport.sendto(packet(wrong, number=b"\x00\x09"))
                await until(lambda count=count: len(ours.heard) == 1 + count)  # type: ignore[misc]
            assert [data[-1] for data in ours.heard[1:]] == [0, 0, 3]
            transport.sendto(packet(good, imei=STRANGER))
            transport.sendto(b"\x00\x09\x02")
            await until(lambda: server.counts["unknown_unit"] == 1 and server.counts["bad_length"] == 1)
            books.open_.clear()
            transport.sendto(packet(good))
            await until(lambda: server.counts["unanswered"] == 1)
            assert len(ours.heard) == 1 + GIVE_UP_AT
        finally:
            transport.close()


async def test_a_port_that_is_held_is_named() -> None:
    async with serving() as (server, books):
        second = AvlServer(Place("127.0.0.1", server.port), "teltonika", books)
        with pytest.raises(ListenerUnavailable, match=str(server.port)):
            await second.start()
