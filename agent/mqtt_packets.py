"""MQTT 3.1.1 packets to bytes and back (OASIS MQTT 3.1.1): what a client of QoS 0 and 1 needs, no I/O.

paho reads a packet byte by byte; at thousands of messages a second that is most of the cost of receiving
(design/broker.md section 6). Here whatever the socket gave is cut into packets at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

LEVEL = 4
"""Protocol level of 3.1.1."""
MAX_PACKET_BYTES = 1024 * 1024
"""Above what the brokers we start let through (256 kB); a longer packet ends the connection."""
MAX_MID = 65_535
MAX_STRING_BYTES = 65_535
ACCEPTED = 0
FAILED_QOS = 0x80
"""In a SUBACK: the broker does not subscribe us."""

_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _UNSUBACK, _PINGRESP = 2, 3, 4, 9, 11, 13
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


class PacketError(ValueError):
    """The other side broke the protocol: the connection must end."""


class Connack(msgspec.Struct, frozen=True):
    """Answer to CONNECT."""

    code: int
    """0 = accepted."""
    session_present: bool


class Published(msgspec.Struct, frozen=True, gc=False):
    """A message; its names are those of paho's MQTTMessage."""

    topic: str
    """Empty if its bytes are no UTF-8."""
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    mid: int
    """0 at QoS 0."""


class Puback(msgspec.Struct, frozen=True, gc=False):
    """The broker has taken a message of QoS 1."""

    mid: int


class Suback(msgspec.Struct, frozen=True):
    """Answer to SUBSCRIBE: the QoS granted for each filter, FAILED_QOS = none."""

    mid: int
    granted: tuple[int, ...]


class Unsuback(msgspec.Struct, frozen=True):
    """Answer to UNSUBSCRIBE."""

    mid: int


class Pingresp(msgspec.Struct, frozen=True):
    """Answer to PINGREQ."""


Packet: TypeAlias = Connack | Published | Puback | Suback | Unsuback | Pingresp


class Reader:
    """Cuts a stream of bytes into packets; `feed` takes them in any pieces."""

    def __init__(self, max_packet_bytes: int = MAX_PACKET_BYTES) -> None:
        self._max_bytes = max_packet_bytes
        self._rest = b""
        """The beginning of a packet that is not whole yet."""

    def feed(self, data: bytes) -> list[Packet]:
        """Every packet that is whole now, in order.

        Raises:
            PacketError: a packet that no broker sends to a client of QoS 0 and 1, or that is too long.
        """
        if self._rest:
            data = self._rest + data
        packets: list[Packet] = []
        at, size = 0, len(data)
        while size - at >= 2:
            length, body = _length(data, at + 1, size)
            if length > self._max_bytes:
                raise PacketError(f"a packet of {length} bytes: expected at most {self._max_bytes}")
            if body < 0 or body + length > size:
                break
            packets.append(_packet(data[at], data, body, body + length))
            at = body + length
        self._rest = data[at:]
        return packets


def _length(data: bytes, at: int, size: int) -> tuple[int, int]:
    """(remaining length, where the body begins); the place is -1 while the length itself is not whole."""
    length = shift = 0
    for place in range(at, min(at + 4, size)):
        byte = data[place]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length, place + 1
        shift += 7
    if size - at >= 4:
        raise PacketError("remaining length of more than four bytes")
    return 0, -1


def _packet(first: int, data: bytes, start: int, end: int) -> Packet:
    kind = first >> 4
    if kind == _PUBLISH:
        return _published(first, data, start, end)
    if kind == _PUBACK:
        return Puback(_mid(data, start, end))
    if kind == _CONNACK:
        if end - start != 2:
            raise PacketError(f"CONNACK of {end - start} bytes: expected 2")
        return Connack(data[start + 1], bool(data[start] & 1))
    if kind == _SUBACK:
        return Suback(_mid(data, start, end), tuple(data[start + 2 : end]))
    if kind == _UNSUBACK:
        return Unsuback(_mid(data, start, end))
    if kind == _PINGRESP:
        return Pingresp()
    raise PacketError(f"packet type {kind}: not one that a broker sends to a client of QoS 0 and 1")


def _mid(data: bytes, start: int, end: int) -> int:
    if end - start < 2:
        raise PacketError(f"acknowledgement of {end - start} bytes: expected 2 or more")
    return data[start] << 8 | data[start + 1]


def _published(first: int, data: bytes, start: int, end: int) -> Published:
    qos = first >> 1 & 3
    if qos > 1:
        raise PacketError(f"QoS {qos}: nothing is subscribed above 1")
    topic_end = start + 2 + (data[start] << 8 | data[start + 1]) if end - start >= 2 else end + 1
    body = topic_end + 2 * qos
    if body > end:
        raise PacketError("PUBLISH ends inside its header")
    mid = data[topic_end] << 8 | data[topic_end + 1] if qos else 0
    try:
        topic = data[start + 2 : topic_end].decode()
    except UnicodeDecodeError:
        topic = ""
    return Published(topic, data[body:end], qos, bool(first & 1), bool(first & 8), mid)


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What CONNECT says."""

    client_id: str
    clean_session: bool
    keepalive_s: int
    username: str = ""
    password: str | None = None
    will_topic: str = ""
    """Empty = no will."""
    will_payload: bytes = b""
    will_qos: int = 1
    will_retain: bool = True


def connect(login: Login) -> bytes:
    """CONNECT."""
    flags = 2 if login.clean_session else 0
    body = _string(login.client_id.encode())
    if login.will_topic:
        flags |= 4 | login.will_qos << 3 | (0x20 if login.will_retain else 0)
        body += _string(login.will_topic.encode()) + _string(login.will_payload)
    if login.username:
        flags |= 0x80
        body += _string(login.username.encode())
        if login.password is not None:
            flags |= 0x40
            body += _string(login.password.encode())
    head = b"\x00\x04MQTT" + bytes((LEVEL, flags)) + login.keepalive_s.to_bytes(2, "big")
    return _framed(0x10, head + body)


def publish(topic: str, payload: bytes, qos: int, retain: bool, mid: int) -> bytes:
    """PUBLISH of QoS 0 or 1; `mid` is not used at QoS 0.

    Raises:
        ValueError: the topic is longer than the protocol can say, or the packet is.
    """
    name = topic.encode()
    head = _string(name) + (mid.to_bytes(2, "big") if qos else b"")
    return _framed(0x30 | qos << 1 | retain, head + payload)


def puback(mids: Iterable[int]) -> bytes:
    """A PUBACK for each message, in order."""
    return b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids])


def subscribe(mid: int, filters: Sequence[tuple[str, int]]) -> bytes:
    """SUBSCRIBE: filters and the QoS wanted."""
    body = b"".join(_string(topic.encode()) + bytes((qos,)) for topic, qos in filters)
    return _framed(0x82, mid.to_bytes(2, "big") + body)


def unsubscribe(mid: int, filters: Sequence[str]) -> bytes:
    """UNSUBSCRIBE."""
    return _framed(0xA2, mid.to_bytes(2, "big") + b"".join(_string(topic.encode()) for topic in filters))


def _string(data: bytes) -> bytes:
    if len(data) > MAX_STRING_BYTES:
        raise ValueError(f"a string of {len(data)} bytes: expected at most {MAX_STRING_BYTES}")
    return len(data).to_bytes(2, "big") + data


def _framed(first: int, body: bytes) -> bytes:
    length = len(body)
    if length < 0x80:
        return bytes((first, length)) + body
    if length >= 1 << 28:
        raise ValueError(f"a packet of {length} bytes: expected less than {1 << 28}")
    head = bytearray((first,))
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + body
