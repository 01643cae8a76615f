"""nats.conf and mosquitto.conf from our configuration (design/broker.md sections 3 and 4)."""

from __future__ import annotations

import json
from dataclasses import dataclass

MAX_PAYLOAD_BYTES = 256 * 1024
NATS_STORE_BYTES = 96 * 1024 * 1024
NATS_MEMORY_BYTES = 16 * 1024 * 1024
QUEUE_BYTES = 64 * 1024 * 1024
"""Messages that wait for an absent agent: `$MQTT_msgs` of NATS, below its store; mosquitto's queue."""
QUEUE_MESSAGES = 250_000
"""Mosquitto's default of 1,000 drops silently; 64 MB hold about as many 200-byte messages."""
WINDOW = 1_000
"""Mosquitto: unacknowledged messages in flight; what comes above waits in its queue, in order."""
NATS_WINDOW = 3_000
"""NATS: unacknowledged QoS 1 messages for one subscription, and at the same time for a session as a whole. A consumer
that meets the session's bound before its own loses the delivery until `ACK_WAIT_S` has passed: with 1,000 a stall of
0.2 s at 5,000 messages/s was enough to bring fixes out of order and 2 s late (measured). More would only move a backlog
from the broker into the agent, where answers of customs wait behind it. NATS allows a session 65,535 over all
subscriptions, so a connection may hold 21 QoS 1 filters; the agent has eight at most."""
ACK_WAIT_S = 2
"""NATS: unacknowledged messages return so long after a crash of the subscriber; its default is 30 s."""
AUTOSAVE_S = 60


@dataclass(frozen=True)
class Listener:
    """Where units connect."""

    host: str
    port: int


@dataclass(frozen=True)
class BrokerSettings:
    """What a broker of ours needs to know."""

    name: str
    """Of the agent it serves."""
    units: Listener
    store_dir: str
    """Memory-backed: positions outside tracking zones must not reach a disk."""
    admin_port: int = 0
    """NATS's own protocol, loopback only: limits of the store are set there. Not used by mosquitto."""
    store_key: str = ""
    """NATS only: encrypts the store; required where `store_dir` is on a disk."""
    run_as: str = ""
    """Mosquitto only: started as root it becomes this user, and then must be able to write its store."""


def nats_conf(settings: BrokerSettings) -> str:
    """Configuration of nats-server with MQTT 3.1.1.

    Trace logging prints payloads, so it is never set; the monitoring port stays off.
    """
    store = [f"store_dir: {_quoted(settings.store_dir)}", "sync_interval: always"]
    store += [f"max_file: {NATS_STORE_BYTES}", f"max_mem: {NATS_MEMORY_BYTES}"]
    if settings.store_key:
        store += ['cipher: "chachapoly"', f"key: {_quoted(settings.store_key)}"]
    mqtt = [f"listen: {_quoted(_endpoint(settings.units))}", f'ack_wait: "{ACK_WAIT_S}s"']
    mqtt.append(f"max_ack_pending: {NATS_WINDOW}")
    return "\n".join(
        [
            f"server_name: {_quoted('borderlane-' + settings.name)}  # required for MQTT with JetStream",
            f'listen: "127.0.0.1:{settings.admin_port}"',
            f"max_payload: {MAX_PAYLOAD_BYTES}",
            _block("jetstream", store),
            _block("mqtt", mqtt),
            "",
        ]
    )


def mosquitto_conf(settings: BrokerSettings) -> str:
    """Configuration of mosquitto 2. Its parser takes no comments behind a setting."""
    lines = [
        f"# Broker of the agent {settings.name}",
        "per_listener_settings true",
        f"listener {settings.units.port} {settings.units.host}",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {settings.store_dir.rstrip('/')}/",
        f"autosave_interval {AUTOSAVE_S}",
        "set_tcp_nodelay true",
        f"max_inflight_messages {WINDOW}",
        f"max_queued_messages {QUEUE_MESSAGES}",
        f"max_queued_bytes {QUEUE_BYTES}",
        f"max_packet_size {MAX_PAYLOAD_BYTES}",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
    ]
    if settings.run_as:
        lines.append(f"user {settings.run_as}")
    return "\n".join([*lines, ""])


def subject(topic: str) -> str:
    """NATS's name for an MQTT topic: `/` is `.`, and `.` is `//`; `+` is `*`.

    Raises:
        ValueError: a space, an empty level, or `#`: NATS refuses them or reads them as two subscriptions.
    """
    if " " in topic or "#" in topic or not all(topic.split("/")):
        raise ValueError(f"topic {topic!r}: no space, no '#', no empty level")
    levels = topic.split("/")
    return ".".join("*" if level == "+" else level.replace(".", "//") for level in levels)


def client_id_part(unit: str) -> str:
    """A unit id as part of a client id: NATS refuses `.` there."""
    return unit.replace(".", "%2E")


def _endpoint(listener: Listener) -> str:
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    return f"{host}:{listener.port}"


def _quoted(text: str) -> str:
    return json.dumps(text)


def _block(name: str, lines: list[str]) -> str:
    return "\n".join([f"{name} {{", *(f"  {line}" for line in lines), "}"])


def box_files(agent: str, host: str, port: int) -> dict[str, str]:
    """Broker configuration of one box, by file name: NATS as the default, Mosquitto as the other choice."""
    settings = BrokerSettings(agent, Listener(host, port), "/run/borderlane-broker", admin_port=4222)
    return {"nats.conf": nats_conf(settings), "mosquitto.conf": mosquitto_conf(settings)}
