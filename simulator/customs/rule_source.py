"""Reads a rule book folder and checks it whole: each fault with file, entry and the nearest known name."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

import msgspec

from agent.domain.identifiers import vehicle_key
from agent.errors import ConfigError
from agent.risk.book import LANGUAGES
from agent.risk.expression import Expression, ExpressionError
from agent.risk.names import normal_name
from agent.risk.phrases import MAX_PHRASE_WORDS, normal_text
from agent.risk.rule_index import MAX_BOUNDS, MAX_KEY_FIELDS, MAX_TEMPLATES, Template, ordered
from simulator.customs.book import (
    MATCH_FIELDS,
    WHERE_FIELDS,
    Dated,
    Inspection,
    Rule,
    WatchedName,
    WatchedPhrase,
    WatchedPlate,
)
from simulator.customs.rule_csv import Faults, no_template, read_rules_csv
from simulator.customs.rule_rows import LooseRules, Words, joined
from simulator.customs.suggest import nearest
from simulator.customs.watch_lists import KINDS, Entities, read_entities, read_list_csv
from zones.hours import OpeningHours

OWN_TEXTS = (
    "drawn-by-lot", "empty-mrn-missing", "learned-rate", "papers-missing", "plate-alike",
    "released-by-control",
)  # fmt: skip
"""Texts that the service itself needs."""
MAX_FILE_BYTES = 16 << 20
MAX_BULK_BYTES = 1 << 30
"""A CSV file or a file of entities."""
OPEN_SALT = b"borderlane"
"""For books that stay in memory."""
LIST_TABLES = ("plate", "name", "phrase", "entities")
DEFAULT_TEMPLATES: tuple[tuple[str, ...], ...] = (
    ("consignor",), ("consignee",), ("carrier",), ("plate",), ("consignor", "hs4"), ("consignee", "hs4"),
    ("consignor", "hs6", "origin"), ("consignee", "hs6", "origin"), ("hs8", "origin"), ("hs8", "origin", "office"),
    ("hs6", "origin", "dispatch"), ("hs4", "origin", "consignee"), ("declarant", "hs6"),
    ("declarant", "hs4", "origin"), ("plate", "consignee"), ("plate", "office"), ("consignor", "consignee"),
    ("carrier", "hs4"), ("carrier", "origin", "office"), ("consignor", "office"), ("consignee", "dispatch"),
    ("hs8", "declarant"), ("hs2", "origin", "office"), ("hs4", "dispatch", "office"),
    ("hs2",), ("hs4",), ("hs6",), ("hs4", "origin"), ("hs6", "origin"), ("procedure",), ("indicator",),
)  # fmt: skip
"""What rules may ask for where `book.toml` does not say (design/risk.md section 3; the last row is our own)."""

T = TypeVar("T", bound=msgspec.Struct)


class BookHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table `book`."""

    name: str
    version: str


class Shares(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table `shares`."""

    random_share: float
    red_share: float = 0.015
    yellow_share: float = 0.02


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table `thresholds`, points."""

    yellow_at: int
    red_at: int
    frozen: bool = False
    """They stand whatever recent declarations score."""


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table `names`, percent."""

    match_at: float


class AnswerTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table `answer`."""

    valid_s: float
    obligation_s: float


class IndexTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table `index`."""

    templates: tuple[tuple[str, ...], ...]
    """Sets of 1 to 3 fields that rules may ask for."""


class Validity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table `validity`."""

    longest_days: int = 366
    """How far ahead the last day of a rule may lie when the book is checked."""


class BookFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`book.toml`."""

    book: BookHead
    shares: Shares
    thresholds: Thresholds
    names: Names
    answer: AnswerTable
    currency: dict[str, float]
    inspection: tuple[Inspection, ...] = ()
    index: IndexTable | None = None
    validity: Validity = Validity()


def shipped_rules() -> Traversable:
    """The folder of the built-in book."""
    return resources.files("simulator.customs").joinpath("rules")


@dataclass(frozen=True)
class Source:
    """A rule book folder, read and checked.

    Attributes:
        rules: Rules by hand.
        bulk: Rules in bulk, in the order of their files.
        words: Numbers of texts, owners and conditions that `bulk` refers to.
        texts: Text key to language to words.
        version, lists_version: Name the contents.
        salt: With which keys in `bulk` are hashed.
    """

    head: BookFile
    templates: tuple[Template, ...]
    rules: tuple[Rule, ...]
    bulk: LooseRules
    plates: tuple[WatchedPlate, ...]
    names: tuple[WatchedName, ...]
    phrases: tuple[WatchedPhrase, ...]
    words: Words
    texts: Mapping[str, Mapping[str, str]]
    version: str
    lists_version: str
    salt: bytes


def read_source(folder: Traversable, salt: bytes = OPEN_SALT) -> Source:
    """Read and check a rule book folder.

    Args:
        salt: Keys are hashed with it.

    Raises:
        ConfigError: any fault; all of them are listed, one a line.
    """
    reader = _Reader(folder)
    head = reader.struct("book.toml", BookFile)
    templates = reader.templates(head)
    texts = reader.texts()
    words = Words({key: number for number, key in enumerate(sorted(texts))})
    rules = [one for name in reader.names("rules", ".toml") for one in reader.entries(name, "rule", Rule)]
    bulk = joined(reader.bulk(name, words, templates, salt) for name in reader.names("rules", ".csv"))
    lists = reader.lists()
    reader.faults += _inspection_faults(head)
    entries: list[Dated] = [*rules, *lists.plates, *lists.names, *lists.phrases]
    for entry in entries:
        reader.faults += _entry_faults(entry, texts)
    reader.faults += [fault for rule in rules for fault in _template_faults(rule, templates)]
    reader.faults += _repeated((*bulk.ids, *(one.id for one in entries)))
    reader.faults += [f"texts: {key}: missing" for key in OWN_TEXTS if key not in texts]
    if reader.faults or head is None:
        raise ConfigError("\n".join(f"{folder}/{fault}" for fault in dict.fromkeys(reader.faults)))
    return Source(
        head=head,
        templates=templates,
        rules=tuple(rules),
        bulk=bulk,
        plates=tuple(lists.plates),
        names=tuple(lists.names),
        phrases=tuple(lists.phrases),
        words=words,
        texts=texts,
        version=f"{head.book.version}+{reader.digest('book.toml', 'rules', 'texts')}",
        lists_version=reader.digest("lists"),
        salt=salt,
    )


def read_head(folder: Traversable) -> BookFile:
    """`book.toml` alone.

    Raises:
        ConfigError: any fault of it.
    """
    reader = _Reader(folder)
    head = reader.struct("book.toml", BookFile)
    if head is None:
        raise ConfigError("\n".join(f"{folder}/{fault}" for fault in reader.faults))
    return head


@dataclass
class Lists:
    """Watch lists as they are read."""

    plates: list[WatchedPlate] = field(default_factory=list)
    names: list[WatchedName] = field(default_factory=list)
    phrases: list[WatchedPhrase] = field(default_factory=list)

    def add(self, entry: Any) -> None:
        """Add an entry to its list."""
        kinds: dict[type[Any], list[Any]] = {
            WatchedPlate: self.plates, WatchedName: self.names, WatchedPhrase: self.phrases,
        }  # fmt: skip
        kinds[type(entry)].append(entry)


class _Reader:
    """Files of one folder; collects faults instead of stopping at the first."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._read: dict[str, bytes] = {}
        """SHA-256 of each file."""
        self._kept: dict[str, bytes] = {}
        """Contents of the small ones, which may be read again."""
        self.faults: list[str] = []

    def names(self, part: str, suffix: str) -> list[str]:
        """Files of a sub-folder, in order."""
        place = self._folder.joinpath(part)
        if not place.is_dir():
            return []
        return sorted(f"{part}/{one.name}" for one in place.iterdir() if one.name.endswith(suffix))

    def digest(self, *prefixes: str) -> str:
        """First 12 hex digits of SHA-256 over the files read that lie under one of the prefixes."""
        taken = sorted((name, data) for name, data in self._read.items() if name.startswith(prefixes))
        return hashlib.sha256(b"".join(name.encode() + b"\0" + digest for name, digest in taken)).hexdigest()[:12]

    def templates(self, head: BookFile | None) -> tuple[Template, ...]:
        """Sets of fields that rules may ask for, as `book.toml` lists them."""
        asked = DEFAULT_TEMPLATES if head is None or head.index is None else head.index.templates
        for one in asked:
            for name in one:
                if name not in MATCH_FIELDS:
                    self.faults.append(f"book.toml: index.templates: {name}: {nearest(name, MATCH_FIELDS)}")
            if not 1 <= len(set(one)) == len(one) <= MAX_KEY_FIELDS:
                self.faults.append(f"book.toml: index.templates: {'+'.join(one)}: expected 1 to 3 fields")
        known = [ordered(one) for one in asked if all(name in MATCH_FIELDS for name in one)]
        if len(known) > MAX_TEMPLATES - 1:
            self.faults.append(f"book.toml: index.templates: {len(known)}: at most {MAX_TEMPLATES - 1}")
        return tuple(dict.fromkeys(known))

    def bulk(self, name: str, words: Words, templates: tuple[Template, ...], salt: bytes) -> LooseRules:
        """Rules of a CSV file."""
        faults = Faults(name)
        found = read_rules_csv(self._bytes(name, MAX_BULK_BYTES) or b"", faults, words, templates, salt)
        self.faults += faults.listed()
        return found

    def lists(self) -> Lists:
        """Everything in the folder `lists`."""
        found = Lists()
        for name in self.names("lists", ".toml"):
            found.plates += self.entries(name, "plate", WatchedPlate, others=LIST_TABLES)
            found.names += self.entries(name, "name", WatchedName, others=LIST_TABLES)
            found.phrases += self.entries(name, "phrase", WatchedPhrase, others=LIST_TABLES)
            for about in self.entries(name, "entities", Entities, others=LIST_TABLES):
                self._entities(about, found)
        for name in self.names("lists", ".csv"):
            self._list_csv(name, found)
        return found

    def _list_csv(self, name: str, found: Lists) -> None:
        start = next((one for one in KINDS if name.removeprefix("lists/").startswith(one)), None)
        if start is None:
            self.faults.append(f"{name}: expected a name that begins with {', '.join(KINDS)}")
            return
        faults = Faults(name)
        for entry in read_list_csv(self._bytes(name, MAX_BULK_BYTES) or b"", KINDS[start], faults):
            found.add(entry)
        self.faults += faults.listed()

    def _entities(self, about: Entities, found: Lists) -> None:
        name = f"lists/{about.file}"
        if "/" in about.file:
            self.faults.append(f"{name}: expected a file in the folder lists")
            return
        faults = Faults(name)
        for entry in read_entities(self._bytes(name, MAX_BULK_BYTES) or b"", about, faults):
            found.add(entry)
        self.faults += faults.listed()

    def struct(self, name: str, kind: type[T]) -> T | None:
        """A whole TOML file as a struct."""
        table = self._toml(name)
        return None if table is None else self._convert(name, table, kind)

    def entries(self, name: str, key: str, kind: type[T], others: tuple[str, ...] = ()) -> list[T]:
        """The `[[key]]` tables of a TOML file."""
        table = self._toml(name)
        if table is None:
            return []
        for unknown in set(table) - {key, *others}:
            self.faults.append(f"{name}: {unknown}: unknown table, {nearest(unknown, (key, *others))}")
        raw = table.get(key, [])
        if not isinstance(raw, list):
            self.faults.append(f"{name}: {key}: expected [[{key}]] tables")
            return []
        made = (self._convert(f"{name}: {_entry_name(one, number)}", one, kind) for number, one in enumerate(raw))
        return [one for one in made if one is not None]

    def texts(self) -> dict[str, dict[str, str]]:
        """Text key to language to words; a key missing in a language is a fault."""
        words = {language: self._words(f"texts/{language}.json") for language in LANGUAGES}
        keys = {key for table in words.values() for key in table}
        for language, table in words.items():
            self.faults += [f"texts/{language}.json: {key}: missing" for key in sorted(keys - set(table))]
        return {key: {one: words[one].get(key, "") for one in LANGUAGES} for key in keys}

    def _words(self, name: str) -> dict[str, str]:
        data = self._bytes(name)
        try:
            return msgspec.json.decode(data, type=dict[str, str]) if data is not None else {}
        except msgspec.DecodeError as error:
            self.faults.append(f"{name}: {error}")
            return {}

    def _toml(self, name: str) -> dict[str, Any] | None:
        data = self._bytes(name)
        if data is None:
            return None
        try:
            return tomllib.loads(data.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self.faults.append(f"{name}: not TOML: {error}")
            return None

    def _bytes(self, name: str, most: int = MAX_FILE_BYTES) -> bytes | None:
        if name in self._kept:
            return self._kept[name]
        try:
            data = self._folder.joinpath(*name.split("/")).read_bytes()
        except OSError as error:
            self.faults.append(f"{name}: cannot be read: {error.strerror}")
            return None
        if len(data) > most:
            self.faults.append(f"{name}: over {most} bytes")
            return None
        self._read[name] = hashlib.sha256(data).digest()
        if most == MAX_FILE_BYTES:
            self._kept[name] = data
        return data

    def _convert(self, where: str, table: Any, kind: type[T]) -> T | None:
        known = [one.name for one in msgspec.structs.fields(kind)]
        unknown = [key for key in table if key not in known] if isinstance(table, dict) else []
        self.faults += [f"{where}: {key}: unknown key, {nearest(key, known)}" for key in unknown]
        if unknown:
            return None
        try:
            return msgspec.convert(table, kind)
        except msgspec.ValidationError as error:
            self.faults.append(f"{where}: {error}")
            return None


def _entry_name(table: Any, number: int) -> str:
    """An entry by its id, or by its number in the file."""
    return str(table["id"]) if isinstance(table, dict) and "id" in table else f"entry {number + 1}"


def _inspection_faults(head: BookFile | None) -> Iterator[str]:
    for one in head.inspection if head else ():
        try:
            OpeningHours.parse(one.hours)
        except ValueError as error:
            yield f"book.toml: inspection {one.id}: hours: {error}"


def _entry_faults(entry: Dated, texts: Mapping[str, Any]) -> Iterator[str]:
    if entry.valid_to < entry.valid_from:
        yield f"{entry.id}: valid_to {entry.valid_to} lies before valid_from {entry.valid_from}"
    if not entry.owner.strip():
        yield f"{entry.id}: owner: expected who answers for it"
    if entry.text not in texts:
        yield f"{entry.id}: text {entry.text!r}: {nearest(entry.text, sorted(texts))}"
    match entry:
        case Rule():
            yield from _rule_faults(entry)
        case WatchedPlate():
            if vehicle_key(entry.identification_number, entry.nationality) is None:
                yield f"{entry.id}: no plate and nationality"
        case WatchedName():
            if not normal_name(entry.name):
                yield f"{entry.id}: name {entry.name!r}: nothing left to compare"
        case WatchedPhrase():
            if not 1 <= len(normal_text(entry.phrase).split()) <= MAX_PHRASE_WORDS:
                yield f"{entry.id}: phrase {entry.phrase!r}: expected 1 to {MAX_PHRASE_WORDS} words"


def _rule_faults(rule: Rule) -> Iterator[str]:
    if not 1 <= len(rule.match) <= MAX_KEY_FIELDS:
        yield f"{rule.id}: match: expected 1 to {MAX_KEY_FIELDS} fields"
    for name in rule.match:
        if name not in MATCH_FIELDS:
            yield f"{rule.id}: match.{name}: unknown field, {nearest(name, MATCH_FIELDS)}"
    if len(rule.where) > MAX_BOUNDS:
        yield f"{rule.id}: where: expected at most {MAX_BOUNDS}"
    if rule.when is not None:
        try:
            Expression(rule.when)
        except ExpressionError as error:
            yield f"{rule.id}: when: {error}"
    for bound in rule.where:
        if bound.field not in WHERE_FIELDS:
            yield f"{rule.id}: where {bound.field}: unknown field, {nearest(bound.field, WHERE_FIELDS)}"
        if bound.above is None and bound.below is None:
            yield f"{rule.id}: where {bound.field}: expected above or below"
        elif bound.above is not None and bound.below is not None and bound.above >= bound.below:
            yield f"{rule.id}: where {bound.field}: nothing lies above {bound.above} and below {bound.below}"


def _template_faults(rule: Rule, templates: tuple[Template, ...]) -> Iterator[str]:
    known = 1 <= len(rule.match) <= MAX_KEY_FIELDS and all(name in MATCH_FIELDS for name in rule.match)
    if known and ordered(tuple(rule.match)) not in templates:
        yield f"{rule.id}: {no_template(rule.match, templates)}"


def _repeated(ids: Sequence[str]) -> Iterator[str]:
    """Faults of ids that occur twice."""
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            yield f"{one}: id used twice"
        seen.add(one)
