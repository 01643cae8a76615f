"""`borderlane rules build`, `lint`, `test`, `explain`, `generate`: rule books from folder to card."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

from agent.errors import ConfigError
from simulator.customs.book_keys import KID, beside

if TYPE_CHECKING:
    from simulator.customs.book import Book

EXIT_BAD, EXIT_USAGE = 1, 2

_FOLDER = "Folder of the rule book: book.toml, rules/, lists/, texts/, tests/."


def register(app: typer.Typer) -> None:
    """Add the commands to `borderlane rules`."""
    app.command("build")(build)
    app.command("lint")(lint)
    app.command("test")(test)
    app.command("explain")(explain)
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


def lint(
    folder: Annotated[Path, typer.Argument(help=_FOLDER)],
    sample: Annotated[Path | None, typer.Option(help="Declarations as JSON Lines: which rules hit too many.")] = None,
    usage: Annotated[Path | None, typer.Option(help="Data folder of customs: which rules find less than lots.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Find what is wrong with a rule book: expired, dead, contradictory or too broad rules, too many on one key.

    Exit status 1: something is. Rules that find less than chance are told, and count as no fault.
    """
    from agent.errors import JournalError

    try:
        findings, weak = _linted(folder, sample, usage)
    except ConfigError as error:
        _bad(str(error))
    except JournalError as error:
        _usage(str(error))
    lines = [f"{one['rule'] or 'book'}: {one['kind']}: {one['text']}" for one in (*findings, *weak)]
    say({"findings": findings, "usage": weak}, "\n".join(lines or ["nothing found"]), as_json)
    if findings:
        raise typer.Exit(EXIT_BAD)


def _linted(folder: Path, sample: Path | None, data: Path | None) -> tuple[list[Any], list[Any]]:
    from simulator.customs.book import question_of
    from simulator.customs.rule_build import DAY_MS, book_of, compiled
    from simulator.customs.rule_cases import Case, read_replay, subject_of
    from simulator.customs.rule_lint import lint as findings_of
    from simulator.customs.rule_source import read_source

    now_ms = round(time.time() * 1000)
    source = read_source(folder)
    book = compiled(source, now_ms)
    rates, day = book_of(book).rates, now_ms // DAY_MS
    now = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)
    replayed = read_replay(sample) if sample else ()
    questions = [question_of(subject_of(Case(declaration=one.declaration), now), rates, day) for one in replayed]
    findings = [msgspec.to_builtins(one) for one in findings_of(source, book, day, questions)]
    return findings, _weak(data) if data else []


def _weak(data: Path) -> list[Any]:
    """Rules whose controls find less than those drawn by lot."""
    from simulator.customs.store import read_counters
    from simulator.customs.usage import RECENT, usage

    return [
        {"rule": one.id, "kind": "usage", "text": f"{one.finds} finds in {one.hits} hits, less than by lot"}
        for one in usage(*read_counters(data, RECENT)).rules
        if one.below_random
    ]


def test(
    folder: Annotated[Path, typer.Argument(help=_FOLDER)],
    against: Annotated[Path | None, typer.Option(help="Another book, sources or compiled, to compare with.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Declarations as JSON Lines, with `found` where known.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Run the cases in tests/, and see what a book would select of declarations, before it goes live.

    Exit status 1: a case fails.
    """
    try:
        facts = _tested(folder, against, replay)
    except ConfigError as error:
        _bad(str(error))
    say(facts, _test_text(facts), as_json)
    if facts["failures"]:
        raise typer.Exit(EXIT_BAD)


def _tested(folder: Path, against: Path | None, replayed: Path | None) -> dict[str, Any]:
    from simulator.customs.models import shipped
    from simulator.customs.rule_cases import Replay, failures, read_cases, read_replay
    from simulator.customs.rule_cases import replay as run

    now = datetime.datetime.now(datetime.UTC)
    books = {"book": any_book(folder)} | ({"against": any_book(against)} if against else {})
    cases, learned = read_cases(folder), shipped("default")
    failed = list(failures(cases, books["book"], learned, now))
    facts: dict[str, Any] = {"cases": len(cases), "failures": failed}
    if replayed is not None:
        declarations = read_replay(replayed)
        done: dict[str, Replay] = {name: run(declarations, book, learned, now) for name, book in books.items()}
        facts["replay"] = {
            name: {"version": books[name].version, "declarations": one.declarations, "selected": one.selected,
                   "controlRate": one.share, "hitRate": one.hit_rate}
            for name, one in done.items()
        }  # fmt: skip
    return facts


def _test_text(facts: dict[str, Any]) -> str:
    lines = [*facts["failures"], f"{facts['cases']} cases, {len(facts['failures'])} failures"]
    for name, one in facts.get("replay", {}).items():
        rate = "unknown" if one["hitRate"] is None else f"{one['hitRate']:.1%}"
        lines.append(
            f"{name} {one['version']}: selects {one['selected']} of {one['declarations']} declarations"
            f" ({one['controlRate']:.2%}); finds in {rate} of those"
        )
    return "\n".join(lines)


def explain(
    what: Annotated[list[str], typer.Argument(help="BOOK DECLARATION, or with --data an MRN.")],
    data: Annotated[Path | None, typer.Option(help="Data folder of customs: compute a stored card again.")] = None,
    journey: Annotated[str | None, typer.Option(help="With --data: the card in this journey.")] = None,
    model: Annotated[Path | None, typer.Option(help="With --data: folder of a model trained here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Tell a score card term by term: of a declaration (JSON) under a book, or the stored one of an MRN.

    A stored card is computed again from the versions that stand on it. Exit status 1: it comes out differently.
    """
    from agent.errors import JournalError

    if len(what) != (1 if data else 2):
        _usage("explain: expected BOOK DECLARATION, or --data DIR MRN")
    try:
        facts, text, same = _again(data, what[0], journey, model) if data else _explained(Path(what[0]), Path(what[1]))
    except ConfigError as error:
        _usage(str(error))
    except JournalError as error:
        _usage(str(error))
    say(facts, text, as_json)
    if not same:
        raise typer.Exit(EXIT_BAD)


def _explained(place: Path, declaration: Path) -> tuple[Any, str, bool]:
    from simulator.customs.models import shipped
    from simulator.customs.rule_cases import read_case, scored_case

    now = datetime.datetime.now(datetime.UTC)
    card = scored_case(read_case(declaration), any_book(place), shipped("default"), now).card
    facts = msgspec.to_builtins(card)
    return facts, card_text(facts), True


def _again(data: Path, mrn: str, journey: str | None, model: Path | None) -> tuple[Any, str, bool]:
    from simulator.customs.card_again import again

    found = again(data, mrn, journey, model)
    card = dict(found.answer.score_card or {})
    lines = [f"{mrn} in journey {found.answer.jrn} at {found.answer.crossing}: {found.answer.routing}", card_text(card)]
    lines.append("computed again: equal to the bit" if found.same else "computed again: DIFFERENT")
    facts = {"stored": msgspec.json.decode(found.stored), "computed": msgspec.json.decode(found.computed)}
    if not found.same:
        lines += [f"  {name}: stored {facts['stored'].get(name)!r}, computed {facts['computed'].get(name)!r}"
                  for name in sorted(set(facts["stored"]) | set(facts["computed"]))
                  if facts["stored"].get(name) != facts["computed"].get(name)]  # fmt: skip
    return {"same": found.same, **facts}, "\n".join(lines), found.same


def card_text(card: Any) -> str:
    """A card for people, strongest reasons first."""
    parts = ", ".join(f"{name} {points:+d}" for name, points in card["parts"].items())
    lines = [f"{card['channel']}, {card['score']} points ({parts}), selected by {card['selectionKind']}"]
    for one in card["reasons"]:
        text = (one.get("text") or {}).get("en", "")
        lines.append(f"  {one['points']:+5d}  {one['kind']} {one['id']}" + (f": {text}" if text else ""))
    return "\n".join([*lines, f"book {card['ruleBookVersion']}, model {card['modelVersion']}"])


def any_book(place: Path) -> Book:
    """A book from a folder of sources, or a compiled one signed with the key beside it.

    Raises:
        ConfigError: any fault.
    """
    from agent.keys import read_public_key
    from agent.risk.book_file import is_book, open_book
    from simulator.customs.rule_build import book_of, load_book

    if is_book(place):
        return book_of(open_book(place, {KID: read_public_key(beside(place, "pub.pem"))}))
    return load_book(place)


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


def say(facts: Any, text: str, as_json: bool) -> None:
    """Print facts as JSON or as text."""
    typer.echo(msgspec.json.format(msgspec.json.encode(facts), indent=1).decode() if as_json else text)


def _bad(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_BAD)


def _usage(message: str) -> NoReturn:
    typer.echo(f"borderlane rules: {message}", err=True)
    raise typer.Exit(EXIT_USAGE)
