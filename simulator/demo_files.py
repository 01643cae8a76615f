"""Folder and configuration files of one demo: every part gets a file, as on a real box."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.config import ClockTable
from agent.domain.holder import Holder, Kind
from simulator.avl_unit import imei_of
from simulator.customs.reference import read_crossings
from simulator.identities import DEMO, Identities
from simulator.lorry_config import (
    AvlTable,
    BrokerTable,
    IdentitiesTable,
    LorriesConfig,
    RunTable,
    ServicesTable,
    to_toml,
)
from simulator.papers import CARRIERS
from zones.catalogue import shipped_bytes

AGENT_ID = "box-1"
HOST = "127.0.0.1"
BAUD = {"receiver": 9_600, "ais": 38_400}
"""Of the simulated serial lines, by role."""


STREAM_FROM = 1_000
"""Lorries times speedup from which the agent speaks MQTT without paho: well below what limits paho on two cores that
carry all parts (design/broker.md section 6)."""


@dataclass(frozen=True)
class Ports:
    """Where the parts listen, all on loopback."""

    room: int
    agent: int
    customs: int
    broker: int
    avl: int = 0
    """The agent's listener for units that connect by themselves; 0 = none."""
    scenario: int = 0
    """Where the demo takes orders for a rehearsal; 0 = nowhere."""


@dataclass(frozen=True)
class BrokerPlace:
    """Where the units' broker is."""

    host: str
    port: int
    protocol: str


@dataclass(frozen=True)
class Layout:
    """Files of the run folder."""

    folder: Path
    ports: Ports
    tls: bool = False
    """Every part has a certificate and asks for one."""

    @property
    def scheme(self) -> str:
        """Of every address over HTTP."""
        return "https" if self.tls else "http"

    @property
    def identities(self) -> Identities | None:
        """Certificates of this run."""
        return Identities(self.folder / "tls") if self.tls else None

    @property
    def agent_url(self) -> str:
        """The agent's HTTP."""
        return f"{self.scheme}://{HOST}:{self.ports.agent}"

    @property
    def customs_url(self) -> str:
        """The customs service."""
        return f"{self.scheme}://{HOST}:{self.ports.customs}"

    @property
    def room_url(self) -> str:
        """The control room."""
        return f"{self.scheme}://{HOST}:{self.ports.room}/"

    @property
    def scenario_url(self) -> str:
        """Where the demo takes orders; empty = nowhere."""
        return f"{self.scheme}://{HOST}:{self.ports.scenario}" if self.ports.scenario else ""

    @property
    def zone_file(self) -> Path:
        """The zones in force, where a rehearsal may change them."""
        return self.folder / "zones.geojson"

    @property
    def agent_data(self) -> Path:
        """Data folder of the agent."""
        return self.folder / "agent-data"

    @property
    def customs_data(self) -> Path:
        """Data folder of the customs service."""
        return self.folder / "customs-data"

    @property
    def agent_key(self) -> Path:
        """Public key of journal and instructions."""
        return self.folder / "keys" / "agent.pub.pem"

    def file(self, part: str) -> Path:
        """Configuration file of a part."""
        return self.folder / f"{part}.toml"


def agent_toml(
    layout: Layout,
    broker: BrokerPlace,
    clock: ClockTable,
    ports: tuple[tuple[str, str], ...],
    customs_url: str,
    lorries: int = 1,
) -> str:
    """Configuration of the agent.

    Args:
        layout: Files of the run.
        broker: Where the broker is.
        clock: The run's clock.
        ports: Role and unit of what is on its serial lines.
        customs_url: The customs service, or a line to it that is played with.
        lorries: How many there are; with so many at this pace that paho would limit it, it speaks MQTT without paho.
    """
    client = "stream" if lorries * clock.speedup >= STREAM_FROM else "paho"
    serial = "".join(
        f'\n[[serial]]\nunit = "{unit}"\npath = "{layout.folder / "serial" / unit}"\nrole = "{role}"\n'
        f"baud = {BAUD[role]}\n"
        for role, unit in ports
    )
    return f"""[agent]
id = "{AGENT_ID}"
data_dir = "agent-data"
signing_key = "keys/agent.key.pem"

[mqtt]
host = "{broker.host}"
port = {broker.port}
protocol = "{broker.protocol}"
client = "{client}"
{_receiver_toml(layout)}
[customs]
url = "{customs_url}"
feed_interval_s = 0.5
authority_keys = {{ "authority-1" = "customs-data/authority.pub.pem" }}

[http]
port = {layout.ports.agent}

[zones]
file = "{layout.zone_file.name if layout.scenario_url else ""}"

[clock]
speedup = {clock.speedup!r}
origin_s = {clock.origin_s!r}

[log]
format = "json"
{tls_toml(layout, Holder(AGENT_ID, Kind.AGENT))}{serial}"""


def tls_toml(layout: Layout, holder: Holder) -> str:
    """Who a part is, in its configuration; nothing without certificates."""
    if layout.identities is None:
        return ""
    table = layout.identities.table(holder)
    return "\n[tls]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in msgspec.to_builtins(table).items())


def _receiver_toml(layout: Layout) -> str:
    """The agent's second certificate, for the connection by which it receives."""
    if layout.identities is None:
        return ""
    own = layout.identities.table(Holder(AGENT_ID, Kind.RECEIVER))
    return f'tls = true\nreceiver_certificate = "{own.certificate}"\nreceiver_key = "{own.key}"\n'


def listener_toml(layout: Layout, units: Mapping[int, str]) -> str:
    """The agent's listener and the units it knows, by number; nothing if there are none."""
    if not units or not layout.ports.avl:
        return ""
    known = ", ".join(f'"{imei_of(number)}" = "{unit}"' for number, unit in units.items())
    return f"""
[[listener]]
port = {layout.ports.avl}
{"certificates" if layout.tls else "private_network"} = true
display = "{{text}}"
language = "de"
units = {{ {known} }}
"""


SIGN = "booth-1"
"""Name of the microcontroller with the demo's sign, and of its port."""


def sign_toml(layout: Layout, crossing: str, direction: str) -> str:
    """What the agent's configuration says of a sign at one crossing."""
    return f"""
[[serial]]
unit = "{SIGN}"
path = "{layout.folder / "serial" / SIGN}"
role = "microcontroller"
baud = 115200

[[output]]
id = "sign-{crossing}"
device = "{SIGN}"
kind = "sign"
crossing = "{crossing}"
direction = "{direction}"
default = "blank"
"""


def every_second_crossing() -> tuple[str, ...]:
    """Crossings at which `--chaos` lets conditional answers count: every second one by id (contract section 2)."""
    return tuple(one.id for one in read_crossings(shipped_bytes("geo/crossings.geojson"))[::2])


def customs_toml(clock: ClockTable, conditional_crossings: tuple[str, ...] = ()) -> str:
    """Configuration of the customs service.

    Args:
        clock: The run's.
        conditional_crossings: Where conditional answers count while the agent is cut off.
    """
    conditional = ", ".join(f'"{one}"' for one in conditional_crossings)
    return f"""[agents]
"{AGENT_ID}" = "keys/agent.pub.pem"

[risk]
conditional_crossings = [{conditional}]

[clock]
speedup = {clock.speedup!r}
origin_s = {clock.origin_s!r}

[log]
format = "json"
"""


def room_toml(layout: Layout, clock: ClockTable, carrier_token: str = "") -> str:
    """Configuration of the control room; with a token, one of the simulated carriers may look at its journeys."""
    trade = f"""
[trade]
customs_url = "{layout.customs_url}"

[[trade.carriers]]
name = "{CARRIERS[0]}"
token_sha256 = "{hashlib.sha256(carrier_token.encode()).hexdigest()}"
"""
    return f"""[http]
port = {layout.ports.room}

[clock]
speedup = {clock.speedup!r}
origin_s = {clock.origin_s!r}

[log]
format = "json"

[scenario]
url = "{layout.scenario_url}"
{tls_toml(layout, Holder(DEMO, Kind.CONTROL_ROOM))}
[[agents]]
id = "{AGENT_ID}"
url = "{layout.agent_url}"
{trade if carrier_token else ""}"""


def lorries_config(
    layout: Layout, broker: BrokerPlace, clock: ClockTable, run: RunTable, connections: int = 32
) -> LorriesConfig:
    """Configuration of the lorries; the report makes the same scenario of it."""
    return LorriesConfig(
        run=run,
        broker=BrokerTable(host=broker.host, port=broker.port, protocol=broker.protocol, connections=connections),
        avl=AvlTable(host=HOST, port=layout.ports.avl),
        services=ServicesTable(
            customs_url=layout.customs_url,
            agent_url=layout.agent_url,
            agent_keys={AGENT_ID: "keys/agent.pub.pem"},
        ),
        identities=IdentitiesTable(folder="tls" if layout.tls else ""),
        clock=clock,
    )


def write_lorries(layout: Layout, config: LorriesConfig, name: str = "lorries") -> None:
    """Put the lorries' file into the folder."""
    as_json = msgspec.structs.replace(config, log=msgspec.structs.replace(config.log, format="json"))
    layout.file(name).write_text(to_toml(as_json), "utf-8")
