"""Reads a rule book folder and checks it whole: each fault with file, entry and the nearest known name."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

import msgspec

from agent.domain.identifiers import VehicleKey, vehicle_key
from agent.errors import ConfigError
from agent.risk.expression import Expression, ExpressionError
from agent.risk.names import normal_name
from agent.risk.phrases import MAX_PHRASE_WORDS, normal_text
from agent.risk.rule_index import Template, ordered
from simulator.customs.book import (
    MATCH_FIELDS,
    WHERE_FIELDS,
    Book,
    Dated,
    Inspection,
    Rule,
    WatchedName,
    WatchedPhrase,
    WatchedPlate,
    access_key,
    confused_plates,
    index_rules,
    list_names,
    list_phrases,
)
from zones.hours import OpeningHours

LANGUAGES = ("de", "fr", "it", "en")
OWN_TEXTS = (
    "drawn-by-lot", "empty-mrn-missing", "learned-rate", "papers-missing", "plate-alike",
    "released-by-control",
)  # fmt: skip
"""Texts that the service itself needs."""
MAX_FILE_BYTES = 16 << 20
MAX_FAN_OUT = 64
"""Rules that may share one access key; more would decide the slowest answers (design/risk.md section 3)."""
MAX_MATCH_FIELDS = 3
MAX_WHERE = 3

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


class BookFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`book.toml`."""

    book: BookHead
    shares: Shares
    thresholds: Thresholds
    names: Names
    answer: AnswerTable
    currency: dict[str, float]
    inspection: tuple[Inspection, ...] = ()


def shipped_rules() -> Traversable:
    """The folder of the built-in book."""
    return resources.files("simulator.customs").joinpath("rules")


def load_book(folder: Traversable) -> Book:
    """Read, check and index a rule book.

    Raises:
        ConfigError: any fault; all of them are listed, one a line.
    """
    reader = _Reader(folder)
    head = reader.struct("book.toml", BookFile)
    rules = [one for name in reader.names("rules", ".toml") for one in reader.entries(name, "rule", Rule)]
    plates, names, phrases = [], [], []
    for name in reader.names("lists", ".toml"):
        plates += reader.entries(name, "plate", WatchedPlate, others=("name", "phrase"))
        names += reader.entries(name, "name", WatchedName, others=("plate", "phrase"))
        phrases += reader.entries(name, "phrase", WatchedPhrase, others=("plate", "name"))
    texts = reader.texts()
    for one in head.inspection if head else ():
        try:
            OpeningHours.parse(one.hours)
        except ValueError as error:
            reader.faults.append(f"book.toml: inspection {one.id}: hours: {error}")
    entries: list[Dated] = [*rules, *plates, *names, *phrases]
    for entry in entries:
        reader.faults += _entry_faults(entry, texts)
    reader.faults += _book_faults(entries, rules, texts)
    if reader.faults or head is None:
        raise ConfigError("\n".join(f"{folder}/{fault}" for fault in dict.fromkeys(reader.faults)))
    return _book(head, rules, plates, names, phrases, texts, reader)


def _book(
    head: BookFile,
    rules: list[Rule],
    plates: list[WatchedPlate],
    names: list[WatchedName],
    phrases: list[WatchedPhrase],
    texts: Mapping[str, Mapping[str, str]],
    reader: _Reader,
) -> Book:
    watched: dict[VehicleKey, tuple[WatchedPlate, ...]] = {}
    alike: dict[VehicleKey, tuple[WatchedPlate, ...]] = {}
    for plate in plates:
        key = vehicle_key(plate.identification_number, plate.nationality)
        assert key is not None, "checked by _entry_faults"
        watched[key] = (*watched.get(key, ()), plate)
        for near in confused_plates(key):
            alike[near] = (*alike.get(near, ()), plate)
    return Book(
        version=f"{head.book.version}+{reader.digest('book.toml', 'rules', 'texts')}",
        lists_version=reader.digest("lists"),
        random_share=head.shares.random_share,
        red_share=head.shares.red_share,
        yellow_share=head.shares.yellow_share,
        frozen=head.thresholds.frozen,
        yellow_at=head.thresholds.yellow_at,
        red_at=head.thresholds.red_at,
        valid_s=head.answer.valid_s,
        obligation_s=head.answer.obligation_s,
        rates=head.currency,
        texts=texts,
        inspections=head.inspection,
        rules=index_rules(rules),
        plates=watched,
        alike_plates=alike,
        names=list_names(names, head.names.match_at),
        phrases=list_phrases(phrases),
    )


class _Reader:
    """Files of one folder; collects faults instead of stopping at the first."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._read: dict[str, bytes] = {}
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
        parts = (name.encode() + b"\0" + hashlib.sha256(data).digest() for name, data in taken)
        return hashlib.sha256(b"".join(parts)).hexdigest()[:12]

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

    def _bytes(self, name: str) -> bytes | None:
        if name not in self._read:
            try:
                data = self._folder.joinpath(*name.split("/")).read_bytes()
            except OSError as error:
                self.faults.append(f"{name}: cannot be read: {error.strerror}")
                return None
            if len(data) > MAX_FILE_BYTES:
                self.faults.append(f"{name}: over {MAX_FILE_BYTES} bytes")
                return None
            self._read[name] = data
        return self._read[name]

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


def nearest(word: str, known: Any) -> str:
    """A hint at what was meant."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f'did you mean "{close[0]}"?' if close else f"expected one of {', '.join(known)}"


def _entry_name(table: Any, number: int) -> str:
    """An entry by its id, or by its number in the file."""
    return str(table["id"]) if isinstance(table, dict) and "id" in table else f"entry {number + 1}"


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
    if rule.when is not None:
        try:
            Expression(rule.when)
        except ExpressionError as error:
            yield f"{rule.id}: when: {error}"
    if not 1 <= len(rule.match) <= MAX_MATCH_FIELDS:
        yield f"{rule.id}: match: expected 1 to {MAX_MATCH_FIELDS} fields"
    for name in rule.match:
        if name not in MATCH_FIELDS:
            yield f"{rule.id}: match.{name}: unknown field, {nearest(name, MATCH_FIELDS)}"
    if len(rule.where) > MAX_WHERE:
        yield f"{rule.id}: where: expected at most {MAX_WHERE}"
    for bound in rule.where:
        if bound.field not in WHERE_FIELDS:
            yield f"{rule.id}: where {bound.field}: unknown field, {nearest(bound.field, WHERE_FIELDS)}"
        if bound.above is None and bound.below is None:
            yield f"{rule.id}: where {bound.field}: expected above or below"
        elif bound.above is not None and bound.below is not None and bound.above >= bound.below:
            yield f"{rule.id}: where {bound.field}: nothing lies above {bound.above} and below {bound.below}"


def _book_faults(entries: list[Dated], rules: list[Rule], texts: Mapping[str, Any]) -> Iterator[str]:
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            yield f"{entry.id}: id used twice"
        seen.add(entry.id)
    yield from (f"texts: {key}: missing" for key in OWN_TEXTS if key not in texts)
    sharing: dict[tuple[Template, tuple[str, ...]], list[str]] = {}
    for rule in rules:
        sharing.setdefault((ordered(tuple(rule.match)), access_key(rule)), []).append(rule.id)
    for (_, key), ids in sharing.items():
        if len(ids) > MAX_FAN_OUT:
            yield f"{ids[0]}: {len(ids)} rules share the key {key}: at most {MAX_FAN_OUT}"
