"""`borderlane rules build`, `generate`: rule books compiled and made up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from agent.errors import ConfigError

EXIT_BAD, EXIT_USAGE = 1, 2
KID = "book-1"
"""Key id in the signature of a book built here."""

_FOLDER = "Folder of the rule book: book.toml, rules/, lists/, texts/, tests/."


def register(app: typer.Typer) -> None:
    """Add the commands to `borderlane rules`."""
    app.command("build")(build)
    app.command("generate")(generate)


def build(
    folder: Annotated[Path, typer.Argument(help=_FOLDER)],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the compiled book; replaced whole.")],
    local: Annotated[bool, typer.Option("--local", help="Only what devices at the roadside hold.")] = False,
    key: Annotated[
        Path | None, typer.Option(help="Ed25519 key (PEM) that signs; default OUT.key.pem, made when missing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Compile a rule book folder: mapped columns, texts and a signed manifest.

    The public key is written beside the book as OUT.pub.pem. Exit status 1: the folder has faults; all are listed.
    """
    from agent.keys import jwk_of, make_key, read_private_key
    from simulator.customs.rule_build import build_book

    started = time.perf_counter()
    key_path, public = key or beside(out, "key.pem"), beside(out, "pub.pem")
    try:
        make_key(key_path, public)
        secret = read_private_key(key_path)
        manifest = build_book(folder, out, secret, jwk_of(secret), KID, round(time.time() * 1000), local=local)
    except ConfigError as error:
        _bad(str(error))
    except OSError as error:
        _usage(f"{out}: cannot be written: {error.strerror}")
    size = sum(one.size for one in manifest.files.values())
    facts = {
        "book": str(out), "kind": manifest.kind, "version": manifest.version, "listsVersion": manifest.lists_version,
        "counts": manifest.counts, "bytes": size, "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    counts = ", ".join(f"{value} {name}" for name, value in manifest.counts.items() if value)
    say(facts, f"{out}: {manifest.kind} book {manifest.version}: {counts}; {size / 1e6:.1f} MB, {facts['seconds']} s",
        as_json)  # fmt: skip


def generate(
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; must not exist, or be empty.")],
    rules: Annotated[int, typer.Option(min=0, max=20_000_000)] = 1_500_000,
    names: Annotated[int, typer.Option(min=0, max=2_000_000)] = 300_000,
    phrases: Annotated[int, typer.Option(min=0, max=2_000_000)] = 200_000,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """Make up a rule book folder of any size around the shipped one; PLANTED.md says what the demo will meet."""
    from simulator.customs.reference import places_of, read_crossings
    from simulator.customs.rule_generate import Sizes, generate_book
    from zones.catalogue import shipped_bytes

    if out.exists() and any(out.iterdir()):
        _usage(f"{out}: not empty")
    known = places_of(read_crossings(shipped_bytes("geo/crossings.geojson"))).crossings.values()
    offices = sorted({one for one in known if one is not None})
    try:
        generate_book(out, Sizes(rules, names, phrases), seed, offices)
    except OSError as error:
        _usage(f"{out}: cannot be written: {error.strerror}")
    typer.echo(f"{out}: {rules} rules, {names} names, {phrases} phrases; see {out / 'PLANTED.md'}")


def beside(book: Path, suffix: str) -> Path:
    """The file of a key that lies beside a book."""
    return book.with_name(f"{book.name}.{suffix}")


def say(facts: Any, text: str, as_json: bool) -> None:
    """Print facts as JSON or as text."""
    typer.echo(msgspec.json.format(msgspec.json.encode(facts), indent=1).decode() if as_json else text)


def _bad(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_BAD)


def _usage(message: str) -> NoReturn:
    typer.echo(f"borderlane rules: {message}", err=True)
    raise typer.Exit(EXIT_USAGE)
