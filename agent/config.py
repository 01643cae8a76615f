"""One frozen struct for each table of `borderlane.toml`; refuses what it does not know and names the key."""

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from agent.errors import ConfigError
from firmware_bridge.outputs import MAX_OUTPUTS, PERMISSIVE, OutputState
from zones.plausibility import DetectionConfig

Positive = Annotated[float, Meta(gt=0, le=31_536_000)]
"""Seconds above 0, at most a year: TOML can also say `inf`."""
NotNegative = Annotated[float, Meta(ge=0, le=1e12)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Imei = Annotated[str, Meta(pattern=r"^[0-9]{15}$")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Share = Annotated[float, Meta(ge=0, le=1)]


LOOPBACK = ("127.0.0.1", "::1", "localhost")
PHONE_FORM = re.compile(r"\+?[0-9][0-9 ]{2,24}")
LISTENER_PROTOCOLS = ("teltonika", "ruptela", "queclink")
DISPLAY_LANGUAGES = ("de", "en", "fr", "it", "pl")


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tables."""


class AgentTable(Table, frozen=True):
    """Who this agent is and where it keeps its record."""

    id: Name = "box-1"
    data_dir: str = "data"
    """Folder of the journal and state; relative to the configuration file."""
    signing_key: str = "keys/agent.key.pem"
    """Ed25519 private key (PEM, mode 0600) that signs journal and instructions."""
    ballast_mb: Annotated[int, Meta(ge=0, le=4_096)] = 64
    """Disk put aside, so that crossings under way can be closed when the disk is full; 0 = none."""


class TlsTable(Table, frozen=True):
    """Certificates with which this program proves who it is; PEM files, relative to the configuration file."""

    ca: str = ""
    """Whom it believes; empty = no TLS."""
    crl: str = ""
    """Certificates that are revoked; empty = none are."""
    certificate: str = ""
    key: str = ""
    """Mode 0600, or `credential:NAME` for one that systemd hands over."""

    def __post_init__(self) -> None:
        """Raises ValueError where the keys do not fit together."""
        if bool(self.ca) != bool(self.certificate and self.key):
            raise ValueError("ca, certificate, key: expected all three or none")


class MqttTable(Table, frozen=True):
    """The broker that units, readers and control rooms speak to."""

    host: str = "127.0.0.1"
    port: Port = 1883
    protocol: str = "auto"
    """auto, 5 or 3.1.1."""
    prefix: str = "borderlane/v1"
    username: str = ""
    password_file: str = ""
    """File that holds the password; never the password itself."""
    client: str = "paho"
    """paho, or stream: our own client of MQTT 3.1.1 without a thread, for thousands of messages a second."""
    tls: bool = False
    """Speak TLS with the certificates of [tls]; where certificates rule, a broker lets nobody in without."""
    receiver_certificate: str = ""
    receiver_key: str = ""
    """Of the receiving connection; empty = as the sending one. Brokers that take the certificate's name for the
    client id would else have the two displace each other."""
    window: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    """Unacknowledged QoS 1 messages at once (design/broker.md section 6)."""
    owntracks: bool = True
    """Also listen to owntracks/{user}/{device}."""
    traccar_topic: str = ""
    flespi_topic: str = ""
    """Topics of Traccar's and flespi's JSON; empty = not used."""


class CustomsTable(Table, frozen=True):
    """The customs service: feed, activation, risk."""

    url: str = "http://127.0.0.1:8080"
    authority_keys: dict[str, str] = msgspec.field(default_factory=lambda: {"authority-1": "keys/authority.pub.pem"})
    """Key id to file of the Ed25519 public key whose risk answers are believed."""
    feed_interval_s: Positive = 1.0
    request_timeout_s: Positive = 3.0


class HttpTable(Table, frozen=True):
    """The agent's own HTTP interface."""

    host: str = "127.0.0.1"
    """Another address than loopback needs [tls]: without it nobody is asked who he is."""
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8_081


class DriverTable(Table, frozen=True):
    """The driver's page, `/driver/{token}`: on the agent's own interface, and on one for phones."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """Of a listener that serves nothing but these pages; 0 = none. It alone may leave loopback, and then needs TLS."""
    tls_certificate: str = ""
    tls_key: str = ""
    """PEM files, relative to the configuration file."""
    public_url: str = ""
    """Address under which phones reach it, for links; empty = the address the agent is asked under."""
    phone: str = ""
    """Number to call where an office has none of its own; empty = no call button."""
    phones: dict[str, str] = {}
    """Number by customs office."""

    def __post_init__(self) -> None:
        """Raises ValueError where the keys do not fit together."""
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key: expected both or neither")
        if self.port and self.host not in LOOPBACK and not self.tls_key:
            raise ValueError("host: beyond loopback, expected tls_certificate and tls_key")
        if self.public_url and not self.public_url.startswith(("https://", "http://")):
            raise ValueError("public_url: expected https://HOST or http://HOST")
        for number in (self.phone, *self.phones.values()):
            if number and not PHONE_FORM.fullmatch(number):
                raise ValueError(f"phone {number!r}: expected + and digits")


class ZonesTable(Table, frozen=True):
    """The geofences in force."""

    file: str = ""
    """Zone file; empty = the shipped 64 crossings."""


class SerialTable(Table, frozen=True):
    """One device on a serial port."""

    unit: Name
    """Unit whose receiver it is; for other roles the name that `[[output]]` says."""
    path: str
    role: Literal["receiver", "microcontroller", "modbus", "ais"] = "receiver"
    """What is on the line; vessels of an AIS receiver are units named by their MMSI."""
    baud: Annotated[int, Meta(ge=300, le=4_000_000)] = 9_600
    parity: str = "none"
    """none, even or odd; Modbus boards mostly come with even."""
    reset_on_open: bool = False


class OutputTable(Table, frozen=True):
    """One sign, signal head, barrier or watchdog relay at the roadside (design/firmware-bridge.md sections 8, 10)."""

    id: Name
    device: Name
    """`unit` of the serial port it is behind; outputs of one device are numbered in the order of the file."""
    kind: str = "sign"
    """sign, signal_head, barrier or watchdog."""
    crossing: str = ""
    direction: str = "IN"
    """IN or OUT."""
    lane: str = ""
    """Only vehicles sent to this lane, and those sent to none; empty = all."""
    default: str = ""
    """What it falls to: blank or stop; a barrier is closed. Empty = blank, or closed."""
    modbus_unit: Annotated[int, Meta(ge=1, le=247)] = 1
    fail_safe: str = ""
    """Modbus, must be said: board_watchdog, timed_coil, or restrictive_only (never GO, never open)."""
    coils: dict[str, Annotated[int, Meta(ge=0, le=65_535)]] = {}
    """Modbus: coil of each state, such as { GO = 0, STOP = 1 }; a state without one is dark."""
    timer_register: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """Modbus: register with the time after which the board drops its coils by itself."""
    timer_unit_ms: Annotated[int, Meta(ge=1, le=1_000)] = 100
    """Modbus: what one count of that register is."""


class CaptureTable(Table, frozen=True):
    """Raw bytes of serial ports, recorded for fault finding; off unless ports are named."""

    ports: tuple[str, ...] = ()
    """`unit` of the [[serial]] tables to record."""
    folder: str = "captures"
    minutes: Annotated[float, Meta(gt=0, le=15)] = 15.0
    megabytes: Annotated[int, Meta(ge=1, le=64)] = 64
    allow_vehicle_positions: bool = False
    """Receivers and AIS say where vehicles are: they are recorded only with this, on test rigs."""


class ListenerTable(Table, frozen=True):
    """Telematics units that connect to us by themselves. Nothing proves who they are: the line must be trusted."""

    port: Port
    units: dict[Imei, Name]
    """IMEI to unit; "imei" = the IMEI itself is the unit's name. Others are turned away."""
    protocol: str = "teltonika"
    """teltonika, ruptela or queclink."""
    host: str = "127.0.0.1"
    udp: bool = False
    """Take UDP packets on the same port as well (teltonika)."""
    private_network: bool = False
    """The line is private (APN, VPN, loopback); else a TLS certificate is required."""
    certificates: bool = False
    """TLS with the certificates of [tls], and each unit shows one in its own name."""
    tls_certificate: str = ""
    tls_key: str = ""
    """PEM files for TLS on the TCP port, relative to the configuration file."""
    display: str = ""
    """Command that shows a text to the driver, with {text} for the text (teltonika); empty = no display."""
    language: str = "en"
    """Of the text: de, en, fr, it or pl."""

    def __post_init__(self) -> None:
        """Raises ValueError where the keys do not fit together."""
        fault = next((words for wrong, words in self._faults() if wrong), None)
        if fault:
            raise ValueError(fault)

    def _faults(self) -> list[tuple[bool, str]]:
        has_tls = bool(self.tls_certificate and self.tls_key)
        named = [imei if unit == "imei" else unit for imei, unit in self.units.items()]
        teltonika = self.protocol == "teltonika"
        return [
            (self.protocol not in LISTENER_PROTOCOLS, f"protocol: expected one of {', '.join(LISTENER_PROTOCOLS)}"),
            (
                not (self.private_network or has_tls or self.certificates),
                "units are not authenticated: expected private_network = true, certificates = true,"
                " or tls_certificate and tls_key",
            ),
            (
                bool(self.tls_certificate) != bool(self.tls_key),
                "tls_certificate and tls_key: expected both or neither",
            ),
            (self.udp and not teltonika, "udp: only teltonika has UDP packets"),
            (self.certificates and has_tls, "certificates: takes those of [tls], expected no tls_certificate besides"),
            (self.udp and not self.private_network, "udp: not encrypted, expected private_network = true"),
            (bool(self.display) and not teltonika, "display: only teltonika takes commands"),
            (bool(self.display) and "{text}" not in self.display, "display: expected {text} in it"),
            (self.language not in DISPLAY_LANGUAGES, f"language: expected one of {', '.join(DISPLAY_LANGUAGES)}"),
            (len(set(named)) < len(named), "units: two IMEIs for one unit, expected one for each"),
        ]


class OperatorTable(Table, frozen=True):
    """A telematics platform and the units for which it may report."""

    units: tuple[str, ...] = ()
    """Unit ids; empty = any unit that has a journey."""
    phones: bool = False
    """Its units are phones: where they do not say how accurate a fix is, `detection.accuracy_phone_m` is assumed."""


class PolicyConfig(Table, frozen=True):
    """When HOLD is due, when an instruction ends (design/domain.md section 6, defaults)."""

    budget_share: Annotated[float, Meta(gt=0, le=0.9)] = 0.6
    budget_max_s: Annotated[float, Meta(gt=0, le=8)] = 8.0
    decide_margin_s: Annotated[float, Meta(ge=0, le=4)] = 1.0
    """HOLD is decided so long before it must be out: commit, sign, publish (reliability.md section 5)."""
    passed_grace_s: NotNegative = 1.0
    display_due_s: Positive = 5.0
    lost_after_s: Positive = 60.0
    instruction_life_s: Annotated[float, Meta(ge=60, le=86_400)] = 1_800.0
    hold_life_s: Positive = 86_400.0
    renew_before_s: Positive = 60.0
    journey_expiry_s: Positive = 259_200.0
    found_inside_holds: bool = False
    random_stop_share: Share = 0.0
    clock_must_be_kept: bool = False
    """Whether the kernel must say that a time source keeps its clock (adjtimex); if not, CLOCK_UNTRUSTED."""


class RetentionTable(Table, frozen=True):
    """How long what can be erased is kept; the journal holds its digests for good. Telemetry: 24 h at most."""

    events_days: Annotated[float, Meta(gt=0, le=30)] = 30.0
    """What watchers are told, by pseudonyms (design/reliability.md section 8, P5)."""
    papers_days: Annotated[float, Meta(gt=0, le=2_192)] = 365.0
    """Requests, signed answers and instructions; six years at most, as the Swiss customs' own app has it."""


class CommitTable(Table, frozen=True):
    """Group commit (design/broker.md section 7)."""

    messages: Annotated[int, Meta(ge=1, le=2_000)] = 256
    linger_ms: Annotated[float, Meta(ge=0, le=50)] = 5.0


class ClockTable(Table, frozen=True):
    """A clock that runs faster than the wall, for demos."""

    speedup: Annotated[float, Meta(gt=0, le=1_000)] = 1.0
    origin_s: NotNegative = 0.0


class LogTable(Table, frozen=True):
    """Log for people or machines."""

    format: str = "auto"
    """auto, console or json; auto = console on a terminal."""
    level: str = "info"


class Config(Table, frozen=True):
    """The whole file."""

    agent: AgentTable = AgentTable()
    tls: TlsTable = TlsTable()
    mqtt: MqttTable = MqttTable()
    customs: CustomsTable = CustomsTable()
    http: HttpTable = HttpTable()
    driver: DriverTable = DriverTable()
    zones: ZonesTable = ZonesTable()
    detection: DetectionConfig = DetectionConfig()
    policy: PolicyConfig = PolicyConfig()
    commit: CommitTable = CommitTable()
    retention: RetentionTable = RetentionTable()
    clock: ClockTable = ClockTable()
    log: LogTable = LogTable()
    serial: tuple[SerialTable, ...] = ()
    output: tuple[OutputTable, ...] = ()
    capture: CaptureTable = CaptureTable()
    listener: tuple[ListenerTable, ...] = ()
    operators: dict[str, OperatorTable] = {}


def capture_faults(config: Config) -> list[str]:
    """Why these ports may not be recorded: raw bytes of vehicles are positions, which are never stored."""
    roles = {port.unit: port.role for port in config.serial}
    faults = []
    for name in config.capture.ports:
        if name not in roles:
            known = ", ".join(roles) or "none is configured"
            faults.append(f"capture.ports: {name}: expected the unit of a [[serial]] table ({known})")
        elif roles[name] in ("receiver", "ais") and not config.capture.allow_vehicle_positions:
            faults.append(
                f"capture.ports: {name}: carries positions of vehicles;"
                " expected capture.allow_vehicle_positions = true (test rigs only)"
            )
    return faults


CHOICES = {
    ("mqtt", "protocol"): ("auto", "5", "3.1.1"),
    ("mqtt", "client"): ("paho", "stream"),
    ("log", "format"): ("auto", "console", "json"),
    ("log", "level"): ("debug", "info", "warning", "error"),
}
DRIVING = ("microcontroller", "modbus")
"""Roles of serial ports with outputs behind them."""
PARITIES = ("none", "even", "odd")
FAIL_SAFES = ("board_watchdog", "timed_coil", "restrictive_only")
OUTPUT_DEFAULTS = {
    "sign": ("blank", "stop"),
    "signal_head": ("blank", "stop"),
    "barrier": ("closed",),
    "watchdog": (),
}
"""What each kind of output may fall to."""
ENVIRONMENT_PREFIX = "BORDERLANE_"


C = TypeVar("C", bound=msgspec.Struct)


def parse_config(text: str, source: str, environment: Mapping[str, str] | None = None) -> Config:
    """Configuration from TOML text; environment `BORDERLANE_SECTION__KEY` overrides single values.

    Raises:
        ConfigError: every fault of the file, section by section: key, what is wrong, what was expected.
    """
    config = parse_tables(text, source, Config, CHOICES, environment or {})
    faults = [*_port_faults(config.serial), *_output_faults(config), *capture_faults(config)]
    faults += [*http_faults(config.http, config.tls), *_mqtt_faults(config), *_listener_faults(config)]
    if faults:
        raise ConfigError("\n".join(f"{source}: {fault}" for fault in faults))
    return config


def http_faults(http: HttpTable, tls: TlsTable) -> Iterator[str]:
    """Where nobody is asked who he is, only this machine may reach the service."""
    if http.host not in LOOPBACK and not tls.ca:
        yield f"http.host: {http.host!r} without [tls], expected one of {', '.join(LOOPBACK)}"


def _listener_faults(config: Config) -> Iterator[str]:
    for number, listener in enumerate(config.listener):
        if listener.certificates and not config.tls.ca:
            yield f"listener[{number}].certificates: true without [tls], expected ca, certificate and key there"


def _mqtt_faults(config: Config) -> Iterator[str]:
    mqtt = config.mqtt
    if mqtt.tls and not config.tls.ca:
        yield "mqtt.tls: true without [tls], expected ca, certificate and key there"
    if bool(mqtt.receiver_certificate) != bool(mqtt.receiver_key):
        yield "mqtt.receiver_certificate, mqtt.receiver_key: expected both or neither"
    if mqtt.receiver_certificate and not mqtt.tls:
        yield "mqtt.receiver_certificate: expected mqtt.tls = true with it"


def _port_faults(ports: tuple[SerialTable, ...]) -> Iterator[str]:
    for number, port in enumerate(ports):
        yield from _wrong_word(f"serial[{number}].parity", port.parity, PARITIES)


def _output_faults(config: Config) -> Iterator[str]:
    """What is wrong between outputs, and between an output and its device."""
    roles = {port.unit: port.role for port in config.serial if port.role in DRIVING}
    known: set[str] = set()
    for number, output in enumerate(config.output):
        place = f"output[{number}]"
        if output.id in known:
            yield f"{place}.id: {output.id!r} is there twice"
        known.add(output.id)
        if output.device not in roles:
            words = ", ".join(sorted(roles)) or "a [[serial]] with role microcontroller or modbus"
            yield f"{place}.device: {output.device!r}, expected one of {words}"
        yield from _wrong_word(f"{place}.kind", output.kind, tuple(OUTPUT_DEFAULTS))
        yield from _wrong_word(f"{place}.direction", output.direction, ("IN", "OUT"))
        yield from _wrong_word(f"{place}.default", output.default, ("", *OUTPUT_DEFAULTS.get(output.kind, ())))
        if not output.crossing and output.kind != "watchdog":
            yield f"{place}.crossing: missing, expected the key of a crossing"
        if roles.get(output.device) == "modbus":
            yield from _modbus_faults(place, output)
    counts = Counter(output.device for output in config.output)
    for device, count in counts.items():
        if count > MAX_OUTPUTS:
            yield f"output: {count} at {device!r}, expected at most {MAX_OUTPUTS}"


def _modbus_faults(place: str, output: OutputTable) -> Iterator[str]:
    """A relay board knows no lease: how it fails has to be said, there is no default."""
    yield from _wrong_word(f"{place}.fail_safe", output.fail_safe, FAIL_SAFES)
    states = [state.name for state in OutputState if state is not OutputState.DEFAULT]
    for name in output.coils:
        yield from _wrong_word(f"{place}.coils", name, tuple(states))
    lit = [name for name in output.coils if name in states and OutputState[name] in PERMISSIVE]
    if lit and output.fail_safe == "restrictive_only":
        yield f"{place}.coils: {', '.join(lit)} with restrictive_only, expected no state that lets a vehicle go"
    if output.default == "stop" and "STOP" not in output.coils:
        yield f"{place}.coils: none for STOP, expected one for the default"
    if output.kind == "watchdog":
        yield f"{place}.kind: a relay board restarts nothing, expected sign, signal_head or barrier"


def _wrong_word(place: str, word: str, words: tuple[str, ...]) -> Iterator[str]:
    if word not in words:
        yield f"{place}: {word!r}, expected one of {', '.join(filter(None, words))}"


def parse_tables(
    text: str,
    source: str,
    kind: type[C],
    choices: Mapping[tuple[str, str], tuple[str, ...]],
    environment: Mapping[str, str],
) -> C:
    """Decode a TOML file into a struct of tables; every part that has a configuration uses this.

    msgspec stops at its first fault, so each value is decoded by itself and all faults are listed.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not TOML: {error}") from error
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    faults = [f"{source}: {name}: unknown table, {_nearest(name, list(known))}" for name in tables if name not in known]
    values: dict[str, Any] = {}
    for name, field in known.items():
        table = _overridden(tables.get(name), name, field.type, environment)
        if table is None:
            continue
        found = _table_faults(name, table, field.type, choices)
        faults += [f"{source}: {fault}" for fault in found]
        if not found:
            values[name] = msgspec.convert(table, field.type)
    if faults:
        raise ConfigError("\n".join(faults))
    try:
        return kind(**values)
    except TypeError as error:  # a table that has no default is missing
        raise ConfigError(f"{source}: {error}") from error


def load_config(path: Path, environment: Mapping[str, str]) -> Config:
    """Read and decode a configuration file.

    Raises:
        ConfigError: the file cannot be read, or `parse_config`'s reasons.
    """
    return parse_config(read_text(path), str(path), environment)


def read_text(path: Path) -> str:
    """Text of a configuration file, or ConfigError that names it."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _overridden(table: Any, name: str, kind: Any, environment: Mapping[str, str]) -> Any:
    """The table with values from the environment put over those of the file."""
    prefix = f"{ENVIRONMENT_PREFIX}{name.upper()}__"
    over = {key[len(prefix) :].lower(): text for key, text in environment.items() if key.startswith(prefix)}
    if not over or not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return table
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    changed = dict(table or {})
    for key, text in over.items():
        try:
            changed[key] = msgspec.convert(text, types[key], strict=False) if key in types else text
        except msgspec.ValidationError:
            changed[key] = _as_toml(text)  # decoded again with the table, where the fault is named
    return changed


def _as_toml(text: str) -> Any:
    """A value as a file would say it; a bare word stays text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _table_faults(name: str, table: Any, kind: Any, choices: Mapping[tuple[str, str], tuple[str, ...]]) -> list[str]:
    """Every fault of one table: unknown keys with the nearest known one, values out of range, wrong choices."""
    if not (isinstance(table, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return _faults(name, table, kind)
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    found = [f"{name}.{key}: unknown key, {_nearest(key, list(types))}" for key in table if key not in types]
    for key, value in table.items():
        if key not in types:
            continue
        words = choices.get((name, key), ())
        if words and isinstance(value, str) and value not in words:
            found.append(f"{name}.{key}: {value!r}, expected one of {', '.join(words)}")
        found += _faults(f"{name}.{key}", value, types[key])
    return found or _faults(name, table, kind)


def _faults(place: str, value: Any, kind: Any) -> list[str]:
    """What msgspec says about a value, under the name that people know it by."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        words, _, path = str(error).partition(" - at `$")
        return [f"{place}{path.removesuffix('`')}: {words}"]
    return []


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"expected one of {', '.join(known)}"
