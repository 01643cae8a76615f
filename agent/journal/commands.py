"""`borderlane journal`: show, verify, export. Reads only; the agent may be running."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import apsw
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.errors import JournalError
from agent.journal import verify as checks
from agent.journal.database import FILE_NAME
from agent.journal.entry import Entry
from agent.journal.export import export_lines
from agent.journal.reader import Reader

app = typer.Typer(no_args_is_help=True, help="The activation journal: show it, verify it, export it.")

EXIT_NOT_GOOD, EXIT_USAGE = 1, 2
SQLITE_HEADER = b"SQLite format 3\x00"

Data = Annotated[Path, typer.Option("--data", help="Data folder of an agent.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Activation = Annotated[str | None, typer.Option("--activation", help="Only what concerns this activation id.")]


@app.callback()
def journal() -> None:
    """The activation journal: show it, verify it, export it."""


@app.command()
def show(
    data: Data = Path("data"),
    activation: Activation = None,
    after: Annotated[int | None, typer.Option(min=0, help="Only entries above this number.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many; without --after the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Print entries: number, time, kind, facts."""
    with _reader(data) as reader:
        if activation is not None:
            entries: Sequence[Entry] | Iterator[Entry] = reader.entries_of(activation)[-limit:]
        else:
            start = max(0, reader.size() - limit) if after is None else after
            entries = reader.entries(start, limit)
        for entry in entries:
            typer.echo(entry.body if as_json else _line(entry))


def _line(entry: Entry) -> str:
    fields = json.loads(entry.body)
    facts = " ".join(f"{name}={_plain(value)}" for name, value in fields.get("facts", {}).items())
    named = f" {entry.activation_id}" if entry.activation_id else ""
    return f"{entry.seq:>8}  {fields['at']}  {fields['kind']}{named}  {facts}".rstrip()


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="Export to check; without it the journal in --data.")] = None,
    key: Annotated[
        list[Path] | None, typer.Option(help="Public key of the agent, PEM; again after a rotation.")
    ] = None,
    checkpoint: Annotated[list[Path] | None, typer.Option(help="Tree head that was held elsewhere.")] = None,
    authority_key: Annotated[
        list[Path] | None, typer.Option(help="Public key of the authority, PEM, for the answers in an export.")
    ] = None,
    data: Data = Path("data"),
    as_json: AsJson = False,
) -> None:
    """Check signatures, chain and tree heads; exit status 1 if anything is wrong."""
    keys = [_read_key(path) for path in key or ()]
    heads = [_read_text(path) for path in checkpoint or ()]
    if file is not None and file.name != FILE_NAME and _is_database(file):
        _refuse(f"{file}: a database: expected --data with the folder that holds it as {FILE_NAME}")
    if file is None or file.name == FILE_NAME:
        result, own_key = _verify_journal(data if file is None else file.parent, keys, heads)
    else:
        authority = [_read_key(path) for path in authority_key or ()]
        result, own_key = _verify_file(file, keys, heads, authority), False
    _report(result, own_key, as_json)
    if not result.verified:
        raise typer.Exit(EXIT_NOT_GOOD)


def _verify_journal(data: Path, keys: list[Ed25519PublicKey], heads: list[str]) -> tuple[checks.Verification, bool]:
    with _reader(data) as reader:
        faults: list[str] = []
        try:
            faults = reader.database_faults(quick=False)
            own = [Ed25519PublicKey.from_public_bytes(raw) for raw in reader.signing_keys().values()]
            stored = reader.checkpoint()
            texts = [*heads, *([stored] if stored is not None else [])]
            pairs = ((entry.body, entry.signature) for entry in reader.entries())
            result = checks.verify_entries(pairs, keys or own, texts)
            faults += [f"activation {missing} has no entry" for missing in reader.unrecorded_activations()]
            faults += [f"outbox row {row_id} was changed" for row_id in reader.damaged_outbox()]
        except (apsw.Error, ValueError) as error:
            result = checks.Verification()
            faults.append(f"{type(error).__name__}: {error}")
    for fault in faults:
        result.add(0, fault)
    return result, not keys


def _verify_file(
    file: Path, keys: list[Ed25519PublicKey], heads: list[str], authority: list[Ed25519PublicKey]
) -> checks.Verification:
    if not keys:
        _refuse(f"{file}: an export is checked with the agent's public key: expected --key PUB.pem")
    try:
        with file.open("rb") as lines:
            return checks.verify_export(lines, keys, heads, authority)
    except OSError as error:
        _refuse(f"{file}: cannot be read: {error.strerror}")


def _report(result: checks.Verification, own_key: bool, as_json: bool) -> None:
    notes = []
    if own_key:
        notes.append("checked with the key that the journal itself names; --key proves who wrote it")
    if result.verified and result.covered < result.entries:
        left = result.entries - result.covered
        notes.append(f"{left} entries under no checkpoint: had any after them been cut off, it would not show")
    if as_json:
        findings = [{"entry": finding.where or None, "what": finding.what} for finding in result.findings]
        document: dict[str, Any] = {
            "verified": result.verified,
            "entries": result.entries,
            "covered": result.covered,
        }
        document |= {"papers": result.papers, "root": base64.b64encode(result.root).decode(), "found": result.found}
        typer.echo(json.dumps(document | {"findings": findings, "notes": notes}, ensure_ascii=False))
        return
    for finding in result.findings:
        typer.echo(f"entry {finding.where}: {finding.what}" if finding.where else finding.what)
    word = "verified" if result.verified else f"NOT verified, {result.found} findings"
    papers = f", {result.papers} papers" if result.papers else ""
    typer.echo(f"{word}: {result.entries} entries, {result.covered} of them under a checkpoint{papers}")
    for note in notes:
        typer.echo(f"note: {note}")


@app.command()
def export(
    data: Data = Path("data"),
    activation: Activation = None,
    out: Annotated[Path | None, typer.Option(help="File to write; without it standard output.")] = None,
) -> None:
    """Write the journal, or the whole proof of one activation, as JSON Lines for `verify`."""
    with _reader(data) as reader:
        if activation is not None and not reader.entries_of(activation):
            _refuse(f"{data}: no entry names activation {activation!r}", EXIT_NOT_GOOD)
        with _output(out) as file:
            for line in export_lines(reader, activation):
                file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def _output(out: Path | None) -> AbstractContextManager[TextIO]:
    if out is None:
        return nullcontext(typer.get_text_stream("stdout", encoding="utf-8"))
    try:
        return out.open("w", encoding="utf-8")
    except OSError as error:
        _refuse(f"{out}: cannot be written: {error.strerror}")


def _reader(data: Path) -> Reader:
    try:
        return Reader.open(data)
    except JournalError as error:
        _refuse(str(error))


def _is_database(file: Path) -> bool:
    try:
        with file.open("rb") as handle:
            return handle.read(len(SQLITE_HEADER)) == SQLITE_HEADER
    except OSError as error:
        _refuse(f"{file}: cannot be read: {error.strerror}")


def _read_key(path: Path) -> Ed25519PublicKey:
    try:
        return checks.load_key(path.read_bytes())
    except (OSError, ValueError) as error:
        _refuse(f"{path}: no Ed25519 public key in PEM: {error}")


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        _refuse(f"{path}: checkpoint cannot be read: {error}")


def _refuse(message: str, status: int = EXIT_USAGE) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(status)
