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
HANDSHAKE_S = 5
"""Who has not shown a certificate by then is let go; NATS's own 2 s is short for a unit on a slow line."""
NATS_STORE_CALLS, NATS_ANSWERS = "$JS.API.>", "_INBOX.>"
"""What it takes to bound the store."""


@dataclass(frozen=True)
class Listener:
    """Where units connect."""

    host: str
    port: int


@dataclass(frozen=True)
class BrokerUser:
    """What one certificate's holder may do: topics with `+` for one level."""

    name: str
    """Common name of the certificate."""
    publish: tuple[str, ...] = ()
    hear: tuple[str, ...] = ()
    admin: bool = False
    """NATS only: may bound the store, and do nothing else."""


@dataclass(frozen=True)
class BrokerTls:
    """Mutual TLS: certificates in, certificates out, rights by their names. Paths as the broker reads them."""

    ca: str
    crl: str
    """NATS reads none: there a revoked name is simply not among the users."""
    certificate: str
    key: str
    users: tuple[BrokerUser, ...]
    every_unit: BrokerUser
    """Mosquitto only: rights of all units, with `%u` for the name."""
    acl_file: str
    """Mosquitto only."""
    revoked: tuple[str, ...] = ()
    """Mosquitto only: names whose open sessions fall silent."""


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
    tls: BrokerTls | None = None
    """None = no TLS and no rights: for loopback only."""


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
    lines = [
        f"server_name: {_quoted('borderlane-' + settings.name)}  # required for MQTT with JetStream",
        f'listen: "127.0.0.1:{settings.admin_port}"',
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        _block("jetstream", store),
    ]
    if settings.tls:
        secured = _nats_tls(settings.tls)
        mqtt.append(secured.replace("\n", "\n  "))
        lines += [secured, _nats_users(settings.tls.users)]
    return "\n".join([*lines, _block("mqtt", mqtt), ""])


def _nats_tls(tls: BrokerTls) -> str:
    """`verify_and_map`: the certificate's subject is the user; without a user there is no connection."""
    return _block(
        "tls",
        [
            f"cert_file: {_quoted(tls.certificate)}",
            f"key_file: {_quoted(tls.key)}",
            f"ca_file: {_quoted(tls.ca)}",
            "verify_and_map: true",
            'min_version: "1.3"',
            f"timeout: {HANDSHAKE_S}",
        ],
    )


def _nats_users(users: tuple[BrokerUser, ...]) -> str:
    return _block("authorization", ["users: [", *(f"  {_nats_user(user)}" for user in users), "]"])


def _nats_user(user: BrokerUser) -> str:
    publish, hear = (list(map(subject, topics)) for topics in (user.publish, user.hear))
    kinds = ["MQTT"]
    if user.admin:  # it also looks whether MQTT is served, and its first MQTT connection makes the store
        kinds, publish, hear = ["MQTT", "STANDARD"], [NATS_STORE_CALLS], [NATS_ANSWERS]
    rights = f"permissions: {{publish: {_allowed(publish)}, subscribe: {_allowed(hear)}}}"
    return f"{{user: {_quoted('CN=' + user.name)}, allowed_connection_types: {json.dumps(kinds)}, {rights}}}"


def _allowed(subjects: list[str]) -> str:
    """An empty list would be no restriction at all."""
    return f"{{allow: {json.dumps(subjects)}}}" if subjects else '{deny: [">"]}'


def mosquitto_conf(settings: BrokerSettings) -> str:
    """Configuration of mosquitto 2. Its parser takes no comments behind a setting."""
    lines = [
        f"# Broker of the agent {settings.name}",
        "per_listener_settings true",
        f"listener {settings.units.port} {settings.units.host}",
        *(_mosquitto_tls(settings.tls) if settings.tls else ["allow_anonymous true"]),
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


def _mosquitto_tls(tls: BrokerTls) -> list[str]:
    """The certificate's name is the user and, so that nobody displaces another, the client id too."""
    return [
        "allow_anonymous false",
        f"cafile {tls.ca}",
        f"crlfile {tls.crl}",
        f"certfile {tls.certificate}",
        f"keyfile {tls.key}",
        "tls_version tlsv1.3",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        f"acl_file {tls.acl_file}",
    ]


def mosquitto_acl(tls: BrokerTls) -> str:
    """Rights by name. Patterns hold for every user, so they say only what a name may do with its own topics."""
    lines = ["# Every unit, by the name in its certificate"]
    lines += _acl_lines("pattern", tls.every_unit)
    lines.append("# Revoked: what is still connected hears and says nothing")
    for name in tls.revoked:
        lines += [f"user {name}", "topic deny #"]
    lines.append("# Everybody else, and units with further topics")
    for user in tls.users:
        known = _acl_lines("topic", _named(tls, user))
        further = [line for line in _acl_lines("topic", user) if line not in known]
        if further and not user.admin:
            lines += [f"user {user.name}", *further]
    return "\n".join([*lines, ""])


def _named(tls: BrokerTls, user: BrokerUser) -> BrokerUser:
    """What the patterns let a user do already."""
    publish, hear = (
        tuple(topic.replace("%u", user.name) for topic in topics)
        for topics in (tls.every_unit.publish, tls.every_unit.hear)
    )
    return BrokerUser(user.name, publish, hear)


def _acl_lines(word: str, user: BrokerUser) -> list[str]:
    lines = [f"{word} write {topic}" for topic in user.publish]
    return lines + [f"{word} read {topic}" for topic in user.hear]


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


def box_files(agent: str, host: str, port: int, tls: BrokerTls | None = None) -> dict[str, str]:
    """Broker configuration of one box, by file name: NATS as the default, Mosquitto as the other choice."""
    settings = BrokerSettings(agent, Listener(host, port), "/run/borderlane-broker", admin_port=4222, tls=tls)
    files = {"nats.conf": nats_conf(settings), "mosquitto.conf": mosquitto_conf(settings)}
    return files | ({"mosquitto.acl": mosquitto_acl(tls)} if tls else {})
