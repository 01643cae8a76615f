"""A rule book folder compiled: sources to the columns of a book, and a compiled book to what declarations meet."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey
from numpy.typing import NDArray

from agent.domain.identifiers import vehicle_key
from agent.errors import ConfigError
from agent.risk.book import (
    ENTRY,
    NOTHING,
    PLATE_TEMPLATE,
    ROLES,
    BookColumns,
    BookWords,
    CompiledBook,
    Decoded,
    ListColumns,
    Manifest,
    text_column,
)
from agent.risk.book_file import write_book
from agent.risk.names import compile_names, normal_name
from agent.risk.phrases import compile_phrases, normal_text
from agent.risk.rule_index import (
    DENY,
    LATE,
    RED,
    YELLOW,
    Template,
    key_hash,
    ordered,
)
from simulator.customs.book import (
    Book,
    NameList,
    PhraseList,
    PlateList,
    Rule,
    RuleTable,
    WatchedName,
    WatchedPhrase,
    WatchedPlate,
    access_key,
    days,
    rule_row,
)
from simulator.customs.rule_lint import lint
from simulator.customs.rule_rows import (
    LooseRules,
    Numbers,
    Words,
    chosen,
    empty_rows,
    hashed,
    joined,
    ordered_rules,
)
from simulator.customs.rule_source import BookFile, Source, read_head, read_source

DAY_MS = 86_400_000
SALT_BYTES = 32
_FLOORS = {None: 0, "yellow": YELLOW, "red": RED}


def load_book(folder: Traversable) -> Book:
    """Read, check and compile a rule book folder in memory.

    Raises:
        ConfigError: any fault; all of them are listed, one a line.
    """
    source = read_source(folder)
    return book_of(checked(source, compiled(source, issued_ms=0), None))


def build_book(
    folder: Path,
    out: Path,
    secret: Ed25519PrivateKey,
    key: OKPKey,
    kid: str,
    issued_ms: int,
    *,
    local: bool = False,
) -> Manifest:
    """Compile a folder to a signed book on disk; what the book is.

    Args:
        secret, key: The same key, for the salt and for signing.

    Raises:
        ConfigError: any fault of the folder; all of them are listed, one a line.
        OSError: the book cannot be written.
    """
    kind: Literal["full", "local"] = "local" if local else "full"
    raw = secret.private_bytes_raw()
    name = read_head(folder).book.name
    source = read_source(folder, book_salt(raw, name, kind))
    book = checked(source, compiled(source, issued_ms, kind), issued_ms // DAY_MS)
    return write_book(out, book.manifest, book.columns, book.words, key, kid)


def checked(source: Source, book: CompiledBook, today: int | None) -> CompiledBook:
    """The book, if there is nothing to find fault with.

    Args:
        today: Days since 1970; None = whatever the day.

    Raises:
        ConfigError: every finding of `lint`, one a line.
    """
    found = lint(source, book, 0 if today is None else today)
    found = [one for one in found if today is not None or one.kind not in ("expired", "validity")]
    if found:
        raise ConfigError("\n".join(f"{source.head.book.name}: {one.rule}: {one.kind}: {one.text}" for one in found))
    return book


def book_salt(secret: bytes, name: str, kind: str) -> bytes:
    """The salt of a book: the same for every version, not to be guessed without the secret."""
    return hmac.new(secret, f"borderlane rule book|{name}|{kind}".encode(), hashlib.sha256).digest()[:SALT_BYTES]


def compiled(source: Source, issued_ms: int, kind: Literal["full", "local"] = "full") -> CompiledBook:
    """A book in memory.

    Args:
        source: Read with the salt of this book.
        kind: `local` leaves out what devices at the roadside must not hold (design/risk.md section 9).
    """
    words, local = source.words, kind == "local"
    rules = joined([source.bulk, hand_rules(source.rules, words, source.templates, source.salt)])
    names: Sequence[WatchedName] = source.names
    templates = source.templates
    if local:
        templates = tuple(dict.fromkeys((*templates, *((role,) for role in ROLES))))
        rules = joined([chosen(rules, _for_devices(rules)), exact_names(names, words, templates, source.salt)])
        rules, words = _own_conditions(rules, words)
        names = ()
    columns = BookColumns(
        ordered_rules(rules),
        _plates(source.plates, words, source.salt),
        *_named(names, words),
        *_phrased(() if local else source.phrases, words),
    )
    manifest = _manifest(source, columns, templates, issued_ms, kind, len(words.conditions))
    return CompiledBook(manifest, columns, _words(source.texts, words, local))


def _manifest(
    source: Source,
    columns: BookColumns,
    templates: tuple[Template, ...],
    issued_ms: int,
    kind: Literal["full", "local"],
    conditions: int,
) -> Manifest:
    return Manifest(
        kind=kind,
        name=source.head.book.name,
        version=source.version,
        lists_version=source.lists_version,
        issued_ms=issued_ms,
        salt=source.salt.hex(),
        templates=templates,
        counts={
            "rules": len(columns.rules.keys),
            "plates": len(columns.plates.entries),
            "named": len(columns.named.entries),
            "names": len(columns.names.whole),
            "phrased": len(columns.phrased.entries),
            "phrases": len(columns.phrases.key),
            "conditions": conditions,
        },
        match_at=source.head.names.match_at,
        settings={} if kind == "local" else msgspec.to_builtins(source.head),
    )


def _words(texts: Mapping[str, Mapping[str, str]], words: Words, local: bool) -> BookWords:
    said = {} if local else {key: dict(one) for key, one in texts.items()}
    owners = () if local else tuple(words.owners)
    return BookWords(tuple(words.texts), said, owners, tuple(words.conditions))


def hand_rules(rules: Sequence[Rule], words: Words, templates: Sequence[Template], salt: bytes) -> LooseRules:
    """Rules by hand as rows."""
    number = {template: place for place, template in enumerate(templates)}
    asked = [number[ordered(tuple(rule.match))] for rule in rules]
    rows, about = empty_rows(len(rules))
    for place, rule in enumerate(rules):
        rows[place] = rule_row(rule)
        about[place] = (
            asked[place], words.texts[rule.text], words.owners[rule.owner.strip()],
            about["condition"][place] if rule.when is None else words.conditions[rule.when],
        )  # fmt: skip
    keys = [key_hash(salt, one, access_key(rule)) for one, rule in zip(asked, rules, strict=True)]
    return LooseRules([rule.id for rule in rules], np.array(keys, np.uint64), rows, about)


def exact_names(names: Sequence[WatchedName], words: Words, templates: Sequence[Template], salt: bytes) -> LooseRules:
    """Watched names with a floor as rules that ask for exactly that name: nobody can read them back."""
    asked = [(one, role) for one in names if one.floor is not None for role in one.roles]
    rows, about = empty_rows(len(asked))
    keys = np.zeros(len(asked), np.uint64)
    for role in ROLES:
        places = [place for place, (_, of) in enumerate(asked) if of == role]
        number = templates.index((role,))
        keys[places] = hashed(templates, number, ((normal_name(asked[one][0].name),) for one in places), salt)
        about["template"][places] = number
    for place, (one, _) in enumerate(asked):
        rows[place]["points"], rows[place]["flags"] = one.points, _FLOORS[one.floor]
        rows[place]["from_day"], rows[place]["to_day"] = days(one.valid_from), days(one.valid_to)
        about[place]["text"] = words.texts[one.text]
    return LooseRules([f"{one.id}.{role}" for one, role in asked], keys, rows, about)


def _for_devices(rules: LooseRules) -> NDArray[np.bool_]:
    """Rules that raise a colour by themselves, and those that are matched again at the border."""
    marked: NDArray[np.bool_] = (rules.rows["flags"] & (YELLOW | RED | DENY | LATE)) != 0
    return marked


def _own_conditions(rules: LooseRules, words: Words) -> tuple[LooseRules, Words]:
    """The rules with the conditions that they have, and no others."""
    texts, mine = list(words.conditions), Numbers()
    about = rules.about.copy()
    having = about["condition"] != NOTHING
    about["condition"][having] = [mine[texts[one]] for one in about["condition"][having].tolist()]
    return replace(rules, about=about), replace(words, conditions=mine)


# --- lists ---


def _plates(plates: Iterable[WatchedPlate], words: Words, salt: bytes) -> ListColumns:
    keyed = []
    for one in plates:
        key = vehicle_key(one.identification_number, one.nationality)
        assert key is not None, "checked when it was read"
        keyed.append((key_hash(salt, PLATE_TEMPLATE, (str(key),)), one.id, one))
    keyed.sort(key=lambda one: one[:2])
    rows = [(0, one.points, RED | LATE, 0, *_common(one, words)) for _, _, one in keyed]
    keys = np.array([key for key, _, _ in keyed], np.uint64)
    return ListColumns(keys, np.array(rows, ENTRY), text_column([id_ for _, id_, _ in keyed]))


def _named(names: Sequence[WatchedName], words: Words) -> tuple[ListColumns, Any]:
    normal = [normal_name(one.name) for one in names]
    distinct = sorted(set(normal))
    number = {name: place for place, name in enumerate(distinct)}
    rows = [
        (number[name], one.points, _FLOORS[one.floor], _roles(one), *_common(one, words))
        for name, one in zip(normal, names, strict=True)
    ]
    return _list([one.id for one in names], rows), compile_names(distinct)


def _phrased(phrases: Sequence[WatchedPhrase], words: Words) -> tuple[ListColumns, Any]:
    normal = [normal_text(one.phrase) for one in phrases]
    distinct = sorted(set(normal))
    number = {phrase: place for place, phrase in enumerate(distinct)}
    rows = [
        (number[phrase], one.points, _FLOORS[one.floor], 0, *_common(one, words))
        for phrase, one in zip(normal, phrases, strict=True)
    ]
    return _list([one.id for one in phrases], rows), compile_phrases(distinct)


def _list(ids: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> ListColumns:
    """Entries in the order of what they are about, of equals in the order of their ids."""
    order = sorted(range(len(ids)), key=lambda one: (rows[one][0], ids[one]))
    return ListColumns(
        np.zeros(0, np.uint64), np.array([rows[one] for one in order], ENTRY), text_column([ids[one] for one in order])
    )


def _roles(entry: WatchedName) -> int:
    return sum(1 << ROLES.index(role) for role in set(entry.roles))


def _common(entry: WatchedPlate | WatchedName | WatchedPhrase, words: Words) -> tuple[int, int, int, int]:
    owner = words.owners[entry.owner.strip()]
    return days(entry.valid_from), days(entry.valid_to), words.texts[entry.text], owner


# --- what declarations meet ---


def book_of(book: CompiledBook) -> Book:
    """A compiled book as the assessment asks it.

    Raises:
        ConfigError: a local book, which has no settings.
    """
    try:
        head = msgspec.convert(book.manifest.settings, BookFile)
    except msgspec.ValidationError as error:
        raise ConfigError(f"book {book.manifest.name} {book.manifest.version}: settings: {error}") from error
    return Book(
        version=book.manifest.version,
        lists_version=book.manifest.lists_version,
        random_share=head.shares.random_share,
        red_share=head.shares.red_share,
        yellow_share=head.shares.yellow_share,
        frozen=head.thresholds.frozen,
        yellow_at=head.thresholds.yellow_at,
        red_at=head.thresholds.red_at,
        valid_s=head.answer.valid_s,
        obligation_s=head.answer.obligation_s,
        rates=head.currency,
        texts=book.texts,
        inspections=head.inspection,
        rules=RuleTable(book.rules, Decoded(len(book.rules), book.rule)),
        plates=PlateList(book.plate_entries),
        alike_plates=PlateList(book.plate_entries, alike=True),
        names=NameList(book.names, Decoded(len(book.names), book.name_entries)),
        phrases=PhraseList(book.phrases, Decoded(len(book.phrases), book.phrase_entries)),
    )
