from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.broker_files import BrokerSettings, Listener, client_id_part, mosquitto_conf, nats_conf, subject
from agent.domain.identifiers import UNIT_FORM

SETTINGS = BrokerSettings("box-1", Listener("127.0.0.1", 1883), "/run/store", admin_port=4222)
UNITS = st.from_regex(UNIT_FORM, fullmatch=True)


def test_nats_conf_says_what_the_design_asks_for() -> None:
    conf = nats_conf(SETTINGS)
    for line in (
        'server_name: "borderlane-box-1"', 'listen: "127.0.0.1:4222"', 'listen: "127.0.0.1:1883"',
        'store_dir: "/run/store"', "sync_interval: always", 'ack_wait: "2s"', "max_ack_pending: 3000",
        "max_payload: 262144",
    ):  # fmt: skip
        assert line in conf
    assert "trace" not in conf and "http" not in conf and "cipher" not in conf


def test_a_store_on_disk_is_encrypted() -> None:
    conf = nats_conf(BrokerSettings("b", SETTINGS.units, "/var/x", 4222, store_key='k"ey'))
    assert 'cipher: "chachapoly"' in conf and 'key: "k\\"ey"' in conf


def test_mosquitto_conf_has_no_trailing_comments_and_the_limits_that_drop_silently() -> None:
    lines = mosquitto_conf(BrokerSettings("b", SETTINGS.units, "/run/store", run_as="root")).splitlines()
    assert not any("#" in line and not line.startswith("#") for line in lines)
    for line in (
        "listener 1883 127.0.0.1", "persistence true", "persistence_location /run/store/", "user root",
        "set_tcp_nodelay true", "max_inflight_messages 1000", "max_queued_messages 250000",
        "max_queued_bytes 67108864", "max_packet_size 262144",
    ):  # fmt: skip
        assert line in lines
    assert not any(line.startswith("user") for line in mosquitto_conf(SETTINGS).splitlines())


def test_ipv6_is_bracketed_for_nats() -> None:
    assert 'listen: "[::1]:1883"' in nats_conf(BrokerSettings("b", Listener("::1", 1883), "/run/x", 4222))


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("borderlane/v1/units/a.b/position", "borderlane.v1.units.a//b.position"),
        ("borderlane/v1/units/+/position", "borderlane.v1.units.*.position"),
        ("x/.a", "x.//a"),
    ],
)
def test_subjects_by_example(topic: str, name: str) -> None:
    assert subject(topic) == name


@given(UNITS, UNITS)
@settings(max_examples=200)
def test_subjects_of_different_units_differ_and_keep_their_levels(one: str, other: str) -> None:
    def name(unit: str) -> str:
        return subject(f"borderlane/v1/units/{unit}/position")

    assert (name(one) == name(other)) == (one == other)
    assert "*" not in name(one) and ">" not in name(one)


@pytest.mark.parametrize("topic", ["a b", "a/#", "#", "a//b", "/a", ""])
def test_topics_nats_does_not_carry_are_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="topic"):
        subject(topic)


@given(UNITS)
@settings(max_examples=100)
def test_client_ids_hold_no_dot(unit: str) -> None:
    assert "." not in client_id_part(unit) and client_id_part(unit).replace("%2E", ".") == unit
