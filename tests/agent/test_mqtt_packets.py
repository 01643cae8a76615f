"""agent/mqtt_packets.py: bytes of MQTT 3.1.1, cut anywhere, and what paho makes of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import mqtt_packets as packets
from agent.mqtt_packets import Connack, Packet, PacketError, Pingresp, Puback, Published, Reader, Suback, Unsuback

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
MIDS = st.integers(1, packets.MAX_MID)


def encoded(packet: Packet) -> bytes:
    """As a broker sends it."""
    match packet:
        case Published():
            data = packets.publish(packet.topic, packet.payload, packet.qos, packet.retain, packet.mid)
            return bytes((data[0] | packet.dup << 3,)) + data[1:]
        case Puback():
            return packets.puback([packet.mid])
        case Connack():
            return bytes((0x20, 2, packet.session_present, packet.code))
        case Suback():
            return bytes((0x90, 2 + len(packet.granted))) + packet.mid.to_bytes(2, "big") + bytes(packet.granted)
        case Unsuback():
            return b"\xb0\x02" + packet.mid.to_bytes(2, "big")
        case Pingresp():
            return b"\xd0\x00"


@st.composite
def published(draw: st.DrawFn) -> Published:
    qos = draw(st.integers(0, 1))
    mid = draw(MIDS) if qos else 0
    return Published(
        draw(TEXT), draw(st.binary(max_size=300)), qos, draw(st.booleans()), qos > 0 and draw(st.booleans()), mid
    )


PACKETS = st.one_of(
    published(),
    st.builds(Puback, MIDS),
    st.builds(Connack, st.integers(0, 5), st.booleans()),
    st.builds(Suback, MIDS, st.lists(st.sampled_from((0, 1, 128)), min_size=1, max_size=5).map(tuple)),
    st.builds(Unsuback, MIDS),
    st.builds(Pingresp),
)


@given(st.lists(PACKETS, max_size=8), st.data())
def test_packets_come_out_whole_and_in_order_however_the_bytes_are_cut(sent: list[Packet], data: st.DataObject) -> None:
    stream = b"".join(map(encoded, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader, got = Reader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[start:end])
    assert got == sent


@given(st.binary(max_size=200))
def test_noise_is_refused_or_waited_for_and_never_raises_anything_else(noise: bytes) -> None:
    reader = Reader()
    try:
        for byte in noise:
            reader.feed(bytes((byte,)))
    except PacketError:
        return


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x10\x00", "packet type 1"),
        (b"\x34\x05\x00\x01a\x00\x01", "QoS 2"),
        (b"\x32\x03\x00\x01a", "ends inside"),
        (b"\x30\x01\x00", "ends inside"),
        (b"\x30\x04\x00\x09ab", "ends inside"),
        (b"\x40\x01\x00", "acknowledgement of 1"),
        (b"\x20\x03\x00\x00\x00", "CONNACK of 3"),
        (b"\x30\xff\xff\xff\xff", "four bytes"),
        (b"\x30\xff\xff\xff\x7f", "expected at most"),
    ],
)
def test_what_no_broker_says_is_named(data: bytes, words: str) -> None:
    with pytest.raises(PacketError, match=words):
        Reader().feed(data)


def test_a_topic_that_is_no_text_is_empty_and_the_message_stays() -> None:
    (message,) = Reader().feed(b"\x30\x05\x00\x01\xffhi")
    assert isinstance(message, Published) and (message.topic, message.payload) == ("", b"hi")


def test_connect_says_will_and_password() -> None:
    login = packets.Login(
        client_id="in-1", clean_session=False, keepalive_s=5, username="u", password="p",
        will_topic="w", will_payload=b"gone",
    )  # fmt: skip
    data = packets.connect(login)
    assert data[0] == 0x10 and data[2:9] == b"\x00\x04MQTT\x04"
    assert data[9] == 0x80 | 0x40 | 0x20 | 1 << 3 | 4 and data[10:12] == b"\x00\x05"
    assert data[12:] == b"\x00\x04in-1\x00\x01w\x00\x04gone\x00\x01u\x00\x01p"
    plain = packets.connect(packets.Login(client_id="x", clean_session=True, keepalive_s=60))
    assert plain[9] == 2 and plain.endswith(b"\x00\x01x")


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 200_000])
def test_lengths_of_every_width(size: int) -> None:
    (message,) = Reader().feed(packets.publish("t", b"x" * size, 1, False, 7))
    assert isinstance(message, Published) and len(message.payload) == size


def test_subscriptions_as_bytes() -> None:
    assert packets.subscribe(1, [("a/+", 1), ("b", 0)]) == b"\x82\x0c\x00\x01\x00\x03a/+\x01\x00\x01b\x00"
    assert packets.unsubscribe(2, ["b"]) == b"\xa2\x05\x00\x02\x00\x01b"


def test_what_cannot_be_said_is_refused() -> None:
    with pytest.raises(ValueError, match="65535"):
        packets.publish("t" * 70_000, b"", 0, False, 0)
