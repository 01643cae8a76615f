"""`borderlane agent`, `init`, `detect`, `explain`, `config`, `status`: thin commands over the agent."""

from __future__ import annotations

import asyncio
import importlib.resources
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from agent.config import Config, load_config
from agent.domain.times import epoch_s
from agent.errors import AlreadyRunning, ConfigError, JournalError, LinkError

NOT_GOOD, WRONG_USAGE, OUT_OF_REACH = 1, 2, 3
"""Exit status, contract section 2."""

ConfigFile = Annotated[Path, typer.Option("--config", help="Configuration file (TOML).", dir_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, or JSON Lines where it streams.")]
instruction_app = typer.Typer(help="Check a signed instruction.", no_args_is_help=True)
config_app = typer.Typer(help="Check or show a configuration.", no_args_is_help=True)


def _refuse(message: str, status: int) -> typer.Exit:
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(status)


def agent(config: ConfigFile) -> None:
    """Run the roadside agent until SIGTERM; SIGHUP reads the configuration and zones again."""
    from agent.app import run_agent  # imports broker, HTTP and database code

    try:
        asyncio.run(run_agent(config))
    except (ConfigError, AlreadyRunning) as error:
        raise _refuse(str(error), WRONG_USAGE) from error
    except JournalError as error:
        raise _refuse(str(error), NOT_GOOD) from error
    except LinkError as error:
        raise _refuse(str(error), OUT_OF_REACH) from error


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make.", file_okay=False)] = Path(),
) -> None:
    """Write a commented borderlane.toml, keys, an empty data folder, broker configuration and a systemd unit."""
    config_file = folder / "borderlane.toml"
    if config_file.exists():
        raise _refuse(f"{config_file} is there already: nothing is overwritten", WRONG_USAGE)
    try:
        _make_box(folder, config_file)
    except OSError as error:
        raise _refuse(f"{error.filename}: {error.strerror}", WRONG_USAGE) from error
    except ConfigError as error:
        raise _refuse(str(error), WRONG_USAGE) from error
    typer.echo(f"made {folder}: borderlane.toml, keys/, data/, broker/, borderlane-agent.service")
    typer.echo("next: put the authority's public key into keys/authority.pub.pem, then `borderlane config check`")


def _make_box(folder: Path, config_file: Path) -> None:
    """The configuration comes last: as long as it is missing, `init` can be called again."""
    from agent.broker_files import box_files
    from agent.config import parse_config
    from agent.keys import make_key

    template = importlib.resources.files("agent") / "templates"
    text = (template / "borderlane.toml").read_text("utf-8")
    config = parse_config(text, "borderlane.toml")
    folder.mkdir(parents=True, exist_ok=True)
    make_key(folder / "keys" / "agent.key.pem", folder / "keys" / "agent.pub.pem")
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    (folder / "broker").mkdir(exist_ok=True)
    for name, content in box_files(config.agent.id, config.mqtt.host, config.mqtt.port).items():
        (folder / "broker" / name).write_text(content, "utf-8")
    unit = _systemd_unit((template / "borderlane.service").read_text("utf-8"), folder, config_file)
    (folder / "borderlane-agent.service").write_text(unit, "utf-8")
    config_file.write_text(text, "utf-8")


def _systemd_unit(template: str, folder: Path, config_file: Path) -> str:
    command = shutil.which("borderlane") or f"{sys.executable} -m simulator.cli"
    for mark, value in (
        ("@COMMAND@", command),
        ("@CONFIG@", str(config_file.resolve())),
        ("@FOLDER@", str(folder.resolve())),
    ):
        template = template.replace(mark, value.replace("%", "%%"))
    return template


def detect(
    tracks: Annotated[list[Path], typer.Argument(help="Recorded tracks.", exists=True, dir_okay=False)],
    zones: Annotated[Path, typer.Option("--zones", help="Zone file (GeoJSON).", dir_okay=False)],
    format_: Annotated[str, typer.Option("--format", help="auto, csv, gpx, nmea, geojson or jsonl.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Run the agent's detector over recorded tracks; one event a line, each file a unit of its own."""
    from zones.catalogue import read_zone_file
    from zones.errors import ZoneError
    from zones.events import DetectionEvent, event_to_json
    from zones.index import compile_index

    try:
        index = compile_index(read_zone_file(zones))
        for track in tracks:
            for event in _detected(index, track, format_):
                if isinstance(event, DetectionEvent):
                    typer.echo(event_to_json(event) if as_json else _sentence(event))
    except BrokenPipeError:  # the reader of our output has gone
        raise
    except OSError as error:
        raise _refuse(f"{error.filename}: {error.strerror}", WRONG_USAGE) from error
    except ZoneError as error:
        raise _refuse(str(error), WRONG_USAGE) from error


def _detected(index: Any, track: Path, format_: str) -> Iterator[Any]:
    from zones.tracks import detect_track, read_track

    fixes = read_track(track.read_bytes(), track.name, format_, nmea_decoder=_nmea_fixes)
    yield from detect_track(index, fixes)


def _nmea_fixes(data: bytes, unit: str) -> list[Any]:
    """NMEA through the firmware bridge, which `zones` must not import."""
    from agent.ingest.wire import fix_of_report
    from firmware_bridge.messages import PositionReport
    from firmware_bridge.nmea import NmeaDecoder

    decoder = NmeaDecoder()
    events = decoder.feed(data) + decoder.end()
    found = [fix_of_report(event, unit, None) for event in events if isinstance(event, PositionReport)]
    return [fix for fix in found if fix is not None]


def _sentence(event: Any) -> str:
    from agent.domain.times import rfc3339

    return (
        f"{rfc3339(event.time)}  {event.unit}  {event.event.value:8}{event.zone_id}  "
        f"{event.kind.value} {event.direction.value}"
    )


def explain(
    name: Annotated[str, typer.Argument(help="jrn, number plate (ZH 123456 or ZH 123456/CH), or unit.")],
    data: Annotated[Path, typer.Option("--data", help="Data folder of an agent, which may be running.")],
    svg: Annotated[
        Path | None, typer.Option("--svg", help="Draw track, accuracy circles and zones here.", dir_okay=False)
    ] = None,
    zones: Annotated[
        Path | None, typer.Option("--zones", help="Zone file in force; without it the shipped set.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say why a vehicle was or was not activated, fix by fix. Exit status 1 if nothing is known under that name."""
    from agent.explain import Rules, detection_of, explain, open_case, report
    from agent.journal.reader import Reader

    rules = _rules(zones, Rules)
    try:
        with Reader.open(data) as reader:
            case = open_case(reader, name)
            rules = replace(rules, config=detection_of(reader))
    except (JournalError, ValueError) as error:
        raise _refuse(str(error), WRONG_USAGE) from error
    if case is None:
        raise _refuse(f"{name}: neither a journey nor a unit nor a plate that {data} knows", NOT_GOOD)
    explanation = explain(case, rules)
    if svg is not None:
        _draw(case, explanation, rules, svg)
    if as_json:
        typer.echo(msgspec.json.encode(explanation))
        return
    for line in report(explanation):
        typer.echo(line)


def _rules(file: Path | None, kind: Any) -> Any:
    """By what was decided, as far as the zone file tells."""
    from agent.activation.matching import CLOSE_PAIRS
    from zones.catalogue import parse_zone_set, read_zone_bytes, shipped_bytes, zone_set_digest
    from zones.errors import ZoneError
    from zones.index import compile_index

    try:
        read = shipped_bytes("border_zones.geojson") if file is None else read_zone_bytes(file)
        index = compile_index(parse_zone_set(read, "shipped zones" if file is None else str(file)))
    except ZoneError as error:
        raise _refuse(str(error), WRONG_USAGE) from error
    close = frozenset().union(*CLOSE_PAIRS)
    return kind(index, zone_set_digest(read), close=close.__contains__)


def _draw(case: Any, explanation: Any, rules: Any, svg: Path) -> None:
    from agent.explain import picture
    from zones.catalogue import shipped_border_lines, shipped_centre_lines

    drawing = picture(case, explanation, rules.index.zone_set, shipped_border_lines(), shipped_centre_lines())
    if drawing is None:
        typer.echo("nothing to draw: no pass at a crossing of this zone file is known", err=True)
        return
    try:
        svg.write_text(drawing, "utf-8")
    except OSError as error:
        raise _refuse(f"--svg {svg}: cannot be written: {error.strerror}", WRONG_USAGE) from error


@config_app.command("check")
def config_check(file: Annotated[Path, typer.Argument(dir_okay=False)], as_json: AsJson = False) -> None:
    """Say whether a configuration is good, or list every fault."""
    try:
        load_config(file, os.environ)
    except ConfigError as error:
        if as_json:
            typer.echo(msgspec.json.encode({"ok": False, "faults": str(error).splitlines()}))
        else:
            typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_USAGE) from error
    typer.echo(msgspec.json.encode({"ok": True}) if as_json else f"good: {file}")


@config_app.command("show")
def config_show(file: Annotated[Path, typer.Argument(dir_okay=False)], as_json: AsJson = False) -> None:
    """Show the values in force, with those that differ from the default marked."""
    try:
        config = load_config(file, os.environ)
    except ConfigError as error:
        raise _refuse(str(error), WRONG_USAGE) from error
    values, defaults = msgspec.to_builtins(config), msgspec.to_builtins(Config())
    if as_json:
        typer.echo(msgspec.json.encode(values))
        return
    for table, content in values.items():
        if not isinstance(content, dict):
            typer.echo(f"{table} = {content!r}")
            continue
        for key, value in content.items():
            changed = "" if value == defaults[table].get(key) else "   # not the default"
            typer.echo(f"{table}.{key} = {value!r}{changed}")


def status(
    url: Annotated[str, typer.Option("--url", help="Address of the agent.")] = "http://127.0.0.1:8081",
    as_json: AsJson = False,
) -> None:
    """Ask a running agent how it is: exit 0 serving, 1 degraded, 3 out of reach."""
    import http.client
    import urllib.error
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise _refuse(f"--url {url}: expected http:// or https://", WRONG_USAGE)
    try:
        with urllib.request.urlopen(f"{url}/v1/status", timeout=3) as answer:  # noqa: S310 - scheme checked above
            page = msgspec.json.decode(answer.read())
        mode = page["mode"]
    except urllib.error.HTTPError as error:
        error.close()
        raise _refuse(f"{url}: no agent answers: {error}", OUT_OF_REACH) from error
    except (OSError, ValueError, TypeError, KeyError, http.client.HTTPException) as error:
        raise _refuse(f"{url}: no agent answers: {error}", OUT_OF_REACH) from error
    if as_json:
        typer.echo(msgspec.json.encode(page))
    else:
        typer.echo(f"{page.get('agent')}: {mode} since {page.get('modeSince')}")
        for key, value in page.items():
            typer.echo(f"  {key}: {value}")
    raise typer.Exit(0 if mode == "NORMAL" else NOT_GOOD)


@instruction_app.callback()
def _instructions() -> None:
    """A group, so that `verify` is said."""


@instruction_app.command("verify")
def instruction_verify(
    source: Annotated[str, typer.Argument(help="File with the scanned code or the JWS; - = standard input.")],
    key: Annotated[Path, typer.Option("--key", help="The agent's public key (PEM).", dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """What an officer scans from a driver's phone: signed by this agent, for which lorry, and does it still hold."""
    from agent.delivery.pass_code import PREFIX, unpack
    from agent.domain.signed import BadSignature
    from agent.instruction.signing import verify_by_one_key
    from agent.keys import read_public_key

    try:
        text = (sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")).strip()
        public = read_public_key(key)
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        raise _refuse(str(error), WRONG_USAGE) from error
    try:
        instruction = verify_by_one_key(unpack(text) if text.startswith(PREFIX) else text, public)
    except ValueError as error:  # BadCode and BadSignature are
        kind = "signature" if isinstance(error, BadSignature) else "code"
        typer.echo(msgspec.json.encode({"ok": False, "fault": kind, "detail": str(error)}).decode() if as_json
                   else f"NOT GOOD: {kind}: {error}")  # fmt: skip
        raise typer.Exit(NOT_GOOD) from error
    expired = epoch_s(instruction.expires_at) <= time.time()
    if as_json:
        facts = {"ok": not expired, "expired": expired, "instruction": instruction}
        typer.echo(msgspec.json.encode(facts).decode())
    else:
        vehicle = instruction.vehicle
        lorry = f"{vehicle.identification_number} {vehicle.nationality}" if vehicle else f"unit {instruction.unit}"
        typer.echo(f"{'EXPIRED' if expired else 'GOOD'}: {instruction.action} for {lorry}")
        typer.echo(f"issued {instruction.issued_at}, until {instruction.expires_at}, version {instruction.version}")
        typer.echo(f"journey {instruction.jrn or '-'}, office {instruction.customs_office or '-'}, "
                   f"lane {instruction.lane or '-'}")  # fmt: skip
    if expired:
        raise typer.Exit(NOT_GOOD)
