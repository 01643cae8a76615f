"""A compiled rule book as values: what its columns hold, and what stands behind a rule or list entry that fits.

Columns are arrays that may be mapped from files (`agent/risk/book_file.py`), so that a book of millions of rules is
ready at once and shared between processes. Rules lie in the order of `RuleIndex`, list entries in the order of the
name, phrase or plate that they are about.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.risk.names import NameColumns, NameIndex
from agent.risk.phrases import PhraseColumns, PhraseIndex
from agent.risk.rule_index import DENY, LATE, RED, YELLOW, RuleIndex, Template, key_hash

FORMAT = 1
LANGUAGES = ("de", "fr", "it", "en")
ROLES = ("consignor", "consignee", "declarant", "carrier")
"""Parties a watched name may be; a bit each in `ENTRY`."""
NOTHING = 0xFFFF
"""No text, no owner, no condition."""
MAX_TEXTS = NOTHING
"""Texts, and owners, of one book."""
PLATE_TEMPLATE = 255
"""Number under which plates are hashed; templates have smaller ones."""

ABOUT = np.dtype([("template", "u1"), ("text", "<u2"), ("owner", "<u2"), ("condition", "<u2")])
"""What is only read when a rule fits: its template, and the numbers of its text, owner and CEL condition."""
ENTRY = np.dtype(
    [
        ("of", "<u4"),
        ("points", "<i2"),
        ("flags", "u1"),
        ("roles", "u1"),
        ("from_day", "<u2"),
        ("to_day", "<u2"),
        ("text", "<u2"),
        ("owner", "<u2"),
    ]
)
"""A list entry: number of the name or phrase it is about (plates: 0), then as a rule; `flags` of the rule index."""

Floor = Literal["yellow", "red"]
T = TypeVar("T")
_EPOCH = datetime.date(1970, 1, 1)


@dataclass(frozen=True)
class TextColumn:
    """Very many short texts.

    Attributes:
        text, text_from: UTF-8 of all one after another, and where each begins (one more than texts).
    """

    text: NDArray[np.uint8]
    text_from: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.text_from) - 1

    def __getitem__(self, one: int) -> str:
        begin, end = self.text_from[one : one + 2].tolist()
        return self.text[begin:end].tobytes().decode()


def text_column(texts: Sequence[str]) -> TextColumn:
    """Texts as a column."""
    encoded = [one.encode() for one in texts]
    sizes = np.fromiter(map(len, encoded), np.uint32, len(encoded))
    begins = np.zeros(len(encoded) + 1, np.uint32)
    np.cumsum(sizes, out=begins[1:])
    return TextColumn(np.frombuffer(b"".join(encoded), np.uint8), begins)


@dataclass(frozen=True)
class RuleColumns:
    """Rules in ascending order of their keys, of equal keys in the order of their ids.

    Attributes:
        keys, rows: As `RuleIndex` takes them.
        about: `ABOUT`.
        ids: Their ids.
    """

    keys: NDArray[np.uint64]
    rows: NDArray[Any]
    about: NDArray[Any]
    ids: TextColumn


@dataclass(frozen=True)
class ListColumns:
    """Entries of one list, ascending by what they are about.

    Attributes:
        keys: Plates: hash of plate and nationality, one an entry; else empty.
        entries: `ENTRY`.
        ids: Their ids.
    """

    keys: NDArray[np.uint64]
    entries: NDArray[Any]
    ids: TextColumn


@dataclass(frozen=True)
class BookColumns:
    """Everything of a book that is an array."""

    rules: RuleColumns
    plates: ListColumns
    named: ListColumns
    names: NameColumns
    phrased: ListColumns
    phrases: PhraseColumns


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a compiled book."""

    size: int
    """Bytes."""
    sha256: str
    """Hex."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a compiled book is, and the hash of each of its files; this is what is signed."""

    format: int = FORMAT
    kind: Literal["full", "local"]
    """`local`: the part that devices at the roadside hold (design/risk.md section 9)."""
    name: str
    version: str
    lists_version: str
    issued_ms: int
    """When it was built, milliseconds since 1970; a book does not replace a later one of its name."""
    salt: str
    """Hex; keys are hashed with it."""
    templates: tuple[Template, ...]
    counts: dict[str, int]
    match_at: float
    """Likeness in percent from which two names are one."""
    settings: dict[str, Any]
    """Shares, thresholds and the rest of `book.toml`; a local book has none."""
    files: dict[str, FileEntry] = {}


class BookWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Everything of a book that is text and not an array.

    Attributes:
        keys: Keys of texts, by number.
        words: Key to language to words; empty in a local book.
        owners: Who answers for rules, by number.
        conditions: CEL, by number.
    """

    keys: tuple[str, ...]
    words: dict[str, dict[str, str]]
    owners: tuple[str, ...]
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A rule or list entry that fits.

    Attributes:
        roles: Parties that a watched name may be.
        condition: CEL that must hold as well.
        match: Fields that the rule asks for.
        late: Certain only at the border.
    """

    id: str
    owner: str
    valid_from: datetime.date
    valid_to: datetime.date
    points: int
    text: str
    floor: Floor | None
    deny: bool = False
    late: bool = False
    roles: tuple[str, ...] = ()
    condition: str | None = None
    match: Template = ()


class CompiledBook:
    """A compiled book.

    Args:
        manifest: What it is.
        columns: Its arrays.
        words: Its texts.

    Attributes:
        rules: Which rules fit a question; numbers are those of `rule`.
        names: Which watched name is most like a given one; numbers are those of `names_entries`.
        phrases: Which phrases stand in goods texts; numbers are those of `phrase_entries`.
    """

    def __init__(
        self,
        manifest: Manifest,
        columns: BookColumns,
        words: BookWords,
        *,
        rules: RuleIndex | None = None,
        phrases: PhraseIndex | None = None,
    ) -> None:
        self.manifest, self.columns, self.words = manifest, columns, words
        salt = bytes.fromhex(manifest.salt)
        self.salt = salt
        self.rules = rules or RuleIndex(manifest.templates, columns.rules.keys, columns.rules.rows, salt)
        self.names = NameIndex(columns.names, manifest.match_at)
        self.phrases = phrases or PhraseIndex(columns.phrases)

    @property
    def texts(self) -> Mapping[str, Mapping[str, str]]:
        """Text key to language to words."""
        return self.words.words

    def rule(self, row: int) -> Entry:
        """The rule of a row of the index."""
        columns = self.columns.rules
        about = columns.about[row]
        condition = int(about["condition"])
        return self._entry(
            columns.rows[row],
            about,
            columns.ids[row],
            condition=None if condition == NOTHING else self.words.conditions[condition],
            match=self.manifest.templates[int(about["template"])],
        )

    def name_entries(self, name: int) -> tuple[Entry, ...]:
        """Entries about a watched name."""
        return tuple(self._listed(self.columns.named, name))

    def phrase_entries(self, phrase: int) -> tuple[Entry, ...]:
        """Entries about a phrase."""
        return tuple(self._listed(self.columns.phrased, phrase))

    def plate_entries(self, plate: str) -> tuple[Entry, ...]:
        """Entries about a plate, `ZH123456/CH`."""
        columns = self.columns.plates
        key = np.uint64(key_hash(self.salt, PLATE_TEMPLATE, (plate,)))
        first, last = (int(np.searchsorted(columns.keys, key, side)) for side in ("left", "right"))
        return tuple(self._of_list(columns, one) for one in range(first, last))

    def _listed(self, columns: ListColumns, of: int) -> Iterator[Entry]:
        about = columns.entries["of"]
        first, last = (int(np.searchsorted(about, np.uint32(of), side)) for side in ("left", "right"))
        return (self._of_list(columns, one) for one in range(first, last))

    def _of_list(self, columns: ListColumns, one: int) -> Entry:
        entry = columns.entries[one]
        roles = tuple(role for bit, role in enumerate(ROLES) if int(entry["roles"]) >> bit & 1)
        return self._entry(entry, entry, columns.ids[one], roles=roles)

    def _entry(self, row: Any, about: Any, id_: str, **more: Any) -> Entry:
        flags = int(row["flags"])
        return Entry(
            id=id_,
            owner=_numbered(self.words.owners, int(about["owner"])),
            valid_from=_day(int(row["from_day"])),
            valid_to=_day(int(row["to_day"])),
            points=int(row["points"]),
            text=_numbered(self.words.keys, int(about["text"])),
            floor="red" if flags & RED else "yellow" if flags & YELLOW else None,
            deny=bool(flags & DENY),
            late=bool(flags & LATE),
            **more,
        )


def _numbered(texts: Sequence[str], number: int) -> str:
    return texts[number] if number < len(texts) else ""  # none given, or left out of a local book


def _day(days: int) -> datetime.date:
    return _EPOCH + datetime.timedelta(days=days)


class Decoded(Sequence[T]):
    """Things by number, each made when it is asked for."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        if isinstance(at, slice):
            return [self._make(one) for one in range(self._count)[at]]
        return self._make(range(self._count)[at])
