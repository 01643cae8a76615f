"""`borderlane agent`, `init`, `detect`, `explain`, `config`, `status`: thin commands over the agent."""

from __future__ import annotations

import asyncio
import importlib.resources
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from agent.config import Config, load_config
from agent.domain.times import epoch_s
from agent.errors import AlreadyRunning, ConfigError, JournalError, LinkError

if TYPE_CHECKING:
    from agent.certificates import TrialAuthority
    from agent.domain.holder import Holder

EVERYWHERE = "0.0.0.0"  # noqa: S104 - the broker asks for certificates there
NOT_GOOD, WRONG_USAGE, OUT_OF_REACH = 1, 2, 3
"""Exit status, contract section 2."""

ConfigFile = Annotated[Path, typer.Option("--config", help="Configuration file (TOML).", dir_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, or JSON Lines where it streams.")]
instruction_app = typer.Typer(help="Check a signed instruction.", no_args_is_help=True)
identity_app = typer.Typer(help="Certificates of the test CA that `init --tls` makes.", no_args_is_help=True)
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
    tls: Annotated[
        bool, typer.Option("--tls", help="Besides: a test CA, certificates, topic rights by certificate.")
    ] = False,
) -> None:
    """Write a commented borderlane.toml, keys, an empty data folder, broker configuration and a systemd unit."""
    config_file = folder / "borderlane.toml"
    if config_file.exists():
        raise _refuse(f"{config_file} is there already: nothing is overwritten", WRONG_USAGE)
    try:
        _make_box(folder, config_file, tls)
    except OSError as error:
        raise _refuse(f"{error.filename}: {error.strerror}", WRONG_USAGE) from error
    except ConfigError as error:
        raise _refuse(str(error), WRONG_USAGE) from error
    certificates = "tls/, " if tls else ""
    typer.echo(f"made {folder}: borderlane.toml, keys/, {certificates}data/, broker/, borderlane-agent.service")
    if tls:
        typer.echo("the CA in tls/ is for trials; `borderlane identity issue UNIT` makes a unit's certificate")
    typer.echo("next: put the authority's public key into keys/authority.pub.pem, then `borderlane config check`")


def _make_box(folder: Path, config_file: Path, tls: bool) -> None:
    """The configuration comes last: as long as it is missing, `init` can be called again."""
    from agent.broker_files import box_files
    from agent.config import parse_config
    from agent.keys import make_key

    template = importlib.resources.files("agent") / "templates"
    text = (template / "borderlane.toml").read_text("utf-8")
    text = _with_tls(text) if tls else text
    config = parse_config(text, "borderlane.toml")
    folder.mkdir(parents=True, exist_ok=True)
    make_key(folder / "keys" / "agent.key.pem", folder / "keys" / "agent.pub.pem")
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    (folder / "broker").mkdir(exist_ok=True)
    if tls:
        _make_identities(folder, config)
    else:
        for name, content in box_files(config.agent.id, config.mqtt.host, config.mqtt.port).items():
            (folder / "broker" / name).write_text(content, "utf-8")
    unit = _systemd_unit((template / "borderlane.service").read_text("utf-8"), folder, config_file)
    (folder / "borderlane-agent.service").write_text(unit, "utf-8")
    config_file.write_text(text, "utf-8")


def _with_tls(text: str) -> str:
    """The template with certificates in it: each default that changes is there once."""
    for old, new in (
        ('ca = ""', 'ca = "tls/ca.cert.pem"'),
        ('crl = ""', 'crl = "tls/ca.crl.pem"'),
        ('certificate = ""', 'certificate = "tls/agent/box-1.cert.pem"'),
        ('key = ""', 'key = "tls/agent/box-1.key.pem"'),
        ("tls = false", "tls = true"),
        ('receiver_certificate = ""', 'receiver_certificate = "tls/agent-in/box-1.cert.pem"'),
        ('receiver_key = ""', 'receiver_key = "tls/agent-in/box-1.key.pem"'),
        ("port = 1883", "port = 8883"),
        ('url = "http://127.0.0.1:8080"', 'url = "https://127.0.0.1:8080"'),
    ):
        line = re.search(rf"^{re.escape(old)} *(#.*)?$", text, re.MULTILINE)
        assert line is not None, f"template: no line with {old}"
        text = text[: line.start()] + f"{new:<39} {line[1] or ''}".rstrip() + text[line.end() :]
    return text


def _make_identities(folder: Path, config: Config) -> None:
    """The test CA and whoever speaks at one box, and the broker's files with their rights."""
    from agent.certificates import TrialAuthority
    from agent.domain.holder import Holder, Kind

    authority, name = TrialAuthority(folder / "tls"), config.agent.id
    for kind in (Kind.AGENT, Kind.RECEIVER, Kind.BROKER):
        authority.issue(Holder(name, kind))
    for kind in (Kind.CUSTOMS, Kind.CONTROL_ROOM):
        authority.issue(Holder(f"{kind.value}-1", kind))
    _write_rights(folder, config, authority)


def _write_rights(folder: Path, config: Config, authority: TrialAuthority) -> None:
    """Broker configuration by the certificates that are good now; units may connect from everywhere."""
    from agent.broker_files import box_files
    from agent.domain.holder import Holder, Kind
    from agent.ingest.rights import RightsTable, broker_tls, inbound_of

    own = authority.pair(Holder(config.agent.id, Kind.BROKER))
    tls = broker_tls(
        RightsTable(inbound_of(config)),
        authority.holders(),
        authority.revoked_names(),
        ca=str(authority.certificate.resolve()),
        crl=str(authority.crl.resolve()),
        certificate=str(own.certificate.resolve()),
        key=str(own.key.resolve()),
        acl_file=str((folder / "broker" / "mosquitto.acl").resolve()),
    )
    for name, content in box_files(config.agent.id, EVERYWHERE, config.mqtt.port, tls).items():
        (folder / "broker" / name).write_text(content, "utf-8")


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


Folder = Annotated[Path, typer.Option("--folder", help="Folder that `init --tls` made.", file_okay=False)]
KindOf = Annotated[str, typer.Option("--kind", help="unit, agent, platform, witness, officer and so on.")]


@identity_app.command("issue")
def identity_issue(
    names: Annotated[list[str], typer.Argument(help="Whom the certificates name; of units their ids.")],
    kind: KindOf = "unit",
    host: Annotated[list[str] | None, typer.Option("--host", help="Address at which a serving kind is found.")] = None,
    folder: Folder = Path(),
) -> None:
    """Make keys and certificates by the test CA; a new one beside an old one renews it without a gap."""
    config, authority = _trial_box(folder)
    for holder in _holders(names, kind):
        pair = authority.issue(holder, host or ())
        typer.echo(f"{holder.common_name}: {pair.certificate}, {pair.key}")
    _write_rights(folder, config, authority)
    typer.echo("broker/ written anew: reload the broker (SIGHUP), and the agent if its own certificate changed")


@identity_app.command("revoke")
def identity_revoke(
    names: Annotated[list[str], typer.Argument(help="Whose certificates are no longer good.")],
    kind: KindOf = "unit",
    folder: Folder = Path(),
) -> None:
    """Take every certificate of a holder back. Exit status 1 if one of them has none."""
    config, authority = _trial_box(folder)
    counts = {holder.common_name: authority.revoke(holder) for holder in _holders(names, kind)}
    _write_rights(folder, config, authority)
    for name, count in counts.items():
        typer.echo(f"{name}: {count} revoked")
    typer.echo("broker/ and tls/ca.crl.pem written anew: reload the broker and the agent (SIGHUP)")
    if not all(counts.values()):
        raise typer.Exit(NOT_GOOD)


@identity_app.command("list")
def identity_list(folder: Folder = Path(), as_json: AsJson = False) -> None:
    """Who has a certificate of the test CA that is good, by its common name."""
    _, authority = _trial_box(folder)
    names = [holder.common_name for holder in authority.holders()]
    typer.echo(msgspec.json.encode(names) if as_json else "\n".join(names))


def _trial_box(folder: Path) -> tuple[Config, TrialAuthority]:
    from agent.certificates import TrialAuthority

    try:
        config = load_config(folder / "borderlane.toml", os.environ)
        if not (folder / "tls" / "ca.key.pem").exists():
            raise ConfigError(f"{folder / 'tls'}: no test CA: expected a folder that `borderlane init --tls` made")
        return config, TrialAuthority(folder / "tls")
    except ConfigError as error:
        raise _refuse(str(error), WRONG_USAGE) from error


def _holders(names: list[str], kind: str) -> list[Holder]:
    from agent.domain.holder import Holder, Kind

    try:
        return [Holder(name, Kind(kind)) for name in names]
    except ValueError as error:
        raise _refuse(str(error), WRONG_USAGE) from error


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
    ca: Annotated[Path | None, typer.Option("--ca", help="Whom to believe, for https (PEM).", dir_okay=False)] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="Who asks, for https (PEM).", dir_okay=False)
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Its private key (PEM).", dir_okay=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a running agent how it is: exit 0 serving, 1 degraded, 3 out of reach."""
    import http.client
    import ssl
    import urllib.error
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise _refuse(f"--url {url}: expected http:// or https://", WRONG_USAGE)
    try:
        context = ssl.create_default_context(cafile=ca) if url.startswith("https") else None
        if context is not None and certificate is not None:
            context.load_cert_chain(certificate, key)
        address = f"{url}/v1/status"
        with urllib.request.urlopen(address, timeout=3, context=context) as answer:  # noqa: S310 - scheme checked above
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
