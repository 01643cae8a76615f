"""Configuration of the simulated lorries; demo and report read the same file to make the same scenario."""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agent.config import ClockTable, LogTable, Port, Positive, Table, parse_tables, read_text

RunId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,12}$")]


class BrokerTable(Table, frozen=True):
    """The broker the units speak to."""

    host: str = "127.0.0.1"
    port: Port = 1883
    protocol: str = "auto"
    """auto, 5 or 3.1.1."""
    prefix: str = "borderlane/v1"
    connections: Annotated[int, Meta(ge=1, le=32)] = 32
    """At most so many; each carries several units."""


class IdentitiesTable(Table, frozen=True):
    """Certificates of whoever the lorries bring along."""

    folder: str = ""
    """A trial authority's, relative to this file; empty = no TLS."""


class ServicesTable(Table, frozen=True):
    """What traders and officers call."""

    customs_url: str = "http://127.0.0.1:8080"
    agent_url: str = "http://127.0.0.1:8081"
    agent_keys: dict[str, str] = msgspec.field(default_factory=lambda: {"box-1": "keys/agent.pub.pem"})
    """Key id to file of the Ed25519 public key that signs instructions, relative to this file."""


class AvlTable(Table, frozen=True):
    """The agent's listener for units that connect by themselves."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """0 = there is none, and no unit does."""


class RunTable(Table, frozen=True):
    """The run itself."""

    folder: str = "."
    """Where `lorry-log.jsonl` goes; relative to the configuration file."""
    run_id: RunId = "1"
    """Unlike that of any other run against the same customs service."""
    seed: int = 1
    lorries: Annotated[int, Meta(ge=1, le=20_000)] = 200
    seconds: Positive | None = None
    """Length in seconds of the run's clock; leave out for a run without end."""
    tracks: str | None = None
    """Folder of recorded tracks (.csv, .gpx) that drive the lorries instead."""
    zones: str = ""
    """Zone file; empty = the shipped set."""
    serial_folder: str = "serial"
    """Where the path of the serial receiver appears, named after its unit."""


class LorriesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    run: RunTable = RunTable()
    broker: BrokerTable = BrokerTable()
    avl: AvlTable = AvlTable()
    services: ServicesTable = ServicesTable()
    identities: IdentitiesTable = IdentitiesTable()
    clock: ClockTable = ClockTable()
    log: LogTable = LogTable()


CHOICES = {
    ("broker", "protocol"): ("auto", "5", "3.1.1"),
    ("log", "format"): ("auto", "console", "json"),
    ("log", "level"): ("debug", "info", "warning", "error"),
}


def load_lorries_config(path: Path) -> LorriesConfig:
    """Read and check the file.

    Raises:
        ConfigError: every fault of it: key, what is wrong, what was expected.
    """
    return parse_tables(read_text(path), str(path), LorriesConfig, CHOICES, {})


def to_toml(config: LorriesConfig) -> str:
    """The file that reads back as this configuration; what is None is left out."""
    lines = []
    for table, values in msgspec.to_builtins(config).items():
        lines += [
            f"[{table}]",
            *(f"{key} = {_value(value)}" for key, value in values.items() if value is not None),
        ]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """JSON text of scalars and strings is TOML too; tables are written inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)
