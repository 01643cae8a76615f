"""Rules in bulk: a CSV file read column by column, each distinct cell once.

Header: `id, owner, valid_from, valid_to, direction, points, floor, deny, text, when`, one column `match.FIELD` for
each field that a rule may ask for and `where.FIELD.above`, `where.FIELD.below` for each bound; an empty cell says
nothing. Every fault is named by its line.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.risk.expression import Expression, ExpressionError
from agent.risk.rule_index import (
    DENY,
    EXPRESSION,
    LATE,
    LATE_FIELDS,
    LATE_NUMBERS,
    NUMBER_FIELDS,
    ONLY_IN,
    ONLY_OUT,
    RED,
    YELLOW,
    Template,
    ordered,
)
from simulator.customs.book import MATCH_FIELDS, WHERE_FIELDS, canonical
from simulator.customs.rule_rows import LooseRules, Words, empty_rows, hashed, joined, put_bounds
from simulator.customs.suggest import nearest

CHUNK_ROWS = 100_000
MAX_FAULTS = 20
"""Faults of one file that are listed; the rest is counted."""
MAX_ID = 64
MAX_POINTS = 1_000
PLAIN = ("id", "owner", "valid_from", "valid_to", "direction", "points", "floor", "deny", "text", "when")
NEEDED = ("id", "owner", "valid_from", "valid_to", "points", "text")
KNOWN = (
    *PLAIN,
    *(f"match.{name}" for name in MATCH_FIELDS),
    *(f"where.{name}.{end}" for name in WHERE_FIELDS for end in ("above", "below")),
)
"""Columns there may be."""
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
_DIRECTIONS = {"": 0, "IN": ONLY_IN, "OUT": ONLY_OUT}
_FLOORS = {"": 0, "yellow": YELLOW, "red": RED}
_DENY = {"": 0, "false": 0, "true": DENY}


class Faults:
    """Faults of one file by line; only the first are kept."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kept: dict[str, None] = {}
        self._more = 0

    def add(self, line: int, text: str) -> None:
        """Note a fault."""
        if len(self._kept) < MAX_FAULTS:
            self._kept[f"{self._name}:{line}: {text}"] = None
        else:
            self._more += 1

    def listed(self) -> list[str]:
        """Those that are kept, and how many more there are."""
        return [*self._kept, *([f"{self._name}: {self._more} more faults"] if self._more else [])]


class _Cells(dict[str, Any]):
    """What each distinct cell of a column means; one that means nothing is remembered with its reason."""

    def __init__(self, read: Callable[[str], Any], instead: Any) -> None:
        super().__init__()
        self._read, self._instead = read, instead
        self.bad: dict[str, str] = {}

    def __missing__(self, cell: str) -> Any:
        try:
            value = self._read(cell)
        except ValueError as error:
            self.bad[cell] = str(error)
            value = self._instead
        self[cell] = value
        return value


class _Reader:
    """One file under way."""

    def __init__(self, header: Sequence[str], words: Words, templates: Sequence[Template], salt: bytes) -> None:
        self.words, self.templates, self.salt = words, templates, salt
        self.by_fields = {frozenset(one): number for number, one in enumerate(templates)}
        self.header = header
        self.cells = {name: _Cells(*self._meaning(name)) for name in header if name != "id"}
        self.late: dict[str, bool] = {}

    def _meaning(self, name: str) -> tuple[Callable[[str], Any], Any]:
        if name.startswith("match."):
            field = name.removeprefix("match.")
            return lambda cell: _match(field, cell), ""
        if name.startswith("where."):
            instead = -math.inf if name.endswith(".above") else math.inf
            return lambda cell: _number(cell, instead), instead
        return {
            "owner": (self._owner, 0),
            "valid_from": (_days, 0),
            "valid_to": (_days, 0),
            "direction": (lambda cell: _one_of(cell, _DIRECTIONS), 0),
            "floor": (lambda cell: _one_of(cell, _FLOORS), 0),
            "deny": (lambda cell: _one_of(cell, _DENY), 0),
            "points": (_points, 0),
            "text": (self._text, 0),
            "when": (self._condition, 0),
        }[name]

    def _owner(self, cell: str) -> int:
        if not cell.strip():
            raise ValueError("expected who answers for it")
        return self.words.owners[cell.strip()]

    def _text(self, cell: str) -> int:
        if cell not in self.words.texts:
            raise ValueError(f"{cell!r}: {nearest(cell, sorted(self.words.texts))}")
        return self.words.texts[cell]

    def _condition(self, cell: str) -> int:
        if not cell.strip():
            return -1
        try:
            self.late[cell] = Expression(cell).late
        except ExpressionError as error:
            raise ValueError(str(error)) from error
        return self.words.conditions[cell]

    def chunk(self, rows: list[list[str]], first_line: int, faults: Faults) -> LooseRules:
        """Rules of some lines.

        Args:
            rows: Cells, each row as long as the header.
        """
        columns = dict(zip(self.header, zip(*rows, strict=True), strict=True))
        read = {name: self._read(name, cells, first_line, faults) for name, cells in columns.items() if name != "id"}
        made, about = empty_rows(len(rows))
        made["points"], about["owner"], about["text"] = read["points"], read["owner"], read["text"]
        made["from_day"], made["to_day"] = read["valid_from"], read["valid_to"]
        _each(made["from_day"] > made["to_day"], first_line, faults, "valid_to lies before valid_from")
        flags = np.zeros(len(rows), np.uint8)
        for name in ("direction", "floor", "deny"):
            if name in read:
                flags |= np.array(read[name], np.uint8)
        flags |= self._bounds(made, read, first_line, faults)
        flags |= self._conditions(about, columns, read)
        keys, late = self._keys(about, read, first_line, faults)
        made["flags"] = flags | late
        return LooseRules(list(columns["id"]), keys, made, about)

    def _read(self, name: str, cells: Sequence[str], first_line: int, faults: Faults) -> list[Any]:
        known = self.cells[name]
        read = [known[cell] for cell in cells]
        if known.bad:
            for line, cell in enumerate(cells, first_line):
                if cell in known.bad:
                    faults.add(line, f"{name}: {known.bad[cell]}")
        return read

    def _bounds(
        self, made: NDArray[Any], read: Mapping[str, list[Any]], first_line: int, faults: Faults
    ) -> NDArray[np.uint8]:
        """Put the bounds into the rows; LATE where one is known only at the border."""
        late = np.zeros(len(made), np.uint8)
        bounds = []
        for field in WHERE_FIELDS:
            above, below = (read.get(f"where.{field}.{end}") for end in ("above", "below"))
            if above is None and below is None:
                continue
            low = np.full(len(made), -np.inf) if above is None else np.array(above, np.float64)
            high = np.full(len(made), np.inf) if below is None else np.array(below, np.float64)
            _each(low >= high, first_line, faults, f"where.{field}: nothing lies above and below")
            bounds.append((NUMBER_FIELDS.index(field), low, high))
            if field in LATE_NUMBERS:
                late[np.isfinite(low) | np.isfinite(high)] = LATE
        _each(put_bounds(made, bounds), first_line, faults, "where: expected at most 3 bounds")
        return late

    def _conditions(
        self, about: NDArray[Any], columns: Mapping[str, Sequence[str]], read: Mapping[str, list[Any]]
    ) -> NDArray[np.uint8]:
        flags = np.zeros(len(about), np.uint8)
        if "when" not in read:
            return flags
        numbers = np.array(read["when"], np.int64)
        having = numbers >= 0
        about["condition"][having] = numbers[having]
        flags[having] = EXPRESSION
        late = [self.late.get(columns["when"][one], False) for one in np.flatnonzero(having).tolist()]
        flags[having] |= np.where(np.array(late, np.bool_), np.uint8(LATE), np.uint8(0))
        return flags

    def _keys(
        self, about: NDArray[Any], read: Mapping[str, list[Any]], first_line: int, faults: Faults
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Access keys by what each row asks for; LATE where a field is known only at the border."""
        asked = [name.removeprefix("match.") for name in read if name.startswith("match.")]
        code = np.zeros(len(about), np.int64)
        for bit, name in enumerate(asked):
            code |= np.fromiter(map(bool, read[f"match.{name}"]), np.int64, len(about)) << bit
        keys, late = np.zeros(len(about), np.uint64), np.zeros(len(about), np.uint8)
        for one in np.unique(code).tolist():
            rows = np.flatnonzero(code == one)
            fields = [name for bit, name in enumerate(asked) if one >> bit & 1]
            number = self.by_fields.get(frozenset(fields))
            if number is None:
                _each(code == one, first_line, faults, no_template(fields, self.templates))
                continue
            columns = [read[f"match.{name}"] for name in ordered(fields)]
            places = rows.tolist()
            values = zip(*([column[place] for place in places] for column in columns), strict=True)
            keys[rows] = hashed(self.templates, number, values, self.salt)
            about["template"][rows] = number
            late[rows] = 0 if LATE_FIELDS.isdisjoint(fields) else LATE
        return keys, late


def no_template(fields: Iterable[str], templates: Sequence[Template]) -> str:
    """What is wrong with asking for these fields together."""
    listed = list(fields)
    if not listed:
        return "match: expected 1 to 3 fields"
    near = max(templates, key=lambda one: (len(set(one) & set(listed)), -len(one)), default=())
    hint = f"nearest: {'+'.join(near)}" if near else "book.toml has none"
    return f"match: {'+'.join(ordered(listed))} is no template of book.toml; {hint}"


def _each(wrong: NDArray[np.bool_], first_line: int, faults: Faults, text: str) -> None:
    for place in np.flatnonzero(wrong).tolist():
        faults.add(first_line + place, text)


def read_rules_csv(data: bytes, faults: Faults, words: Words, templates: Sequence[Template], salt: bytes) -> LooseRules:
    """Rules of a CSV file; what is wrong is noted, and what is returned then is of no use.

    Args:
        data: UTF-8.
        words: Texts that there are; owners and conditions are added.
        templates: Sets of fields that rules may ask for.
        salt: Of the book's keys.
    """
    try:
        lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        header = next(lines, [])
        if not _good_header(header, faults):
            return joined(())
        reader = _Reader(header, words, templates, salt)
        return joined(reader.chunk(rows, first, faults) for first, rows in _chunks(lines, header, faults))
    except UnicodeDecodeError as error:
        faults.add(1 + data[: error.start].count(b"\n"), f"not UTF-8: {error.reason}")
    except csv.Error as error:
        faults.add(1, f"not CSV: {error}")
    return joined(())


def _good_header(header: Sequence[str], faults: Faults) -> bool:
    wrong = [f"{name!r}: unknown column, {nearest(name, KNOWN)}" for name in header if name not in KNOWN]
    wrong += [f"{name}: column missing" for name in NEEDED if name not in header]
    wrong += [f"{name}: column there twice" for name in sorted({one for one in header if header.count(one) > 1})]
    for text in wrong:
        faults.add(1, text)
    return not wrong


def _chunks(lines: Iterator[list[str]], header: Sequence[str], faults: Faults) -> Iterator[tuple[int, list[list[str]]]]:
    """Number of the first line, and so many rows."""
    first, width, id_at = 2, len(header), header.index("id")
    while rows := list(islice(lines, CHUNK_ROWS)):
        for place, row in enumerate(rows):
            if len(row) != width:
                faults.add(first + place, f"{len(row)} cells: expected {width}")
                rows[place] = (row + [""] * width)[:width]
            if not 0 < len(rows[place][id_at]) <= MAX_ID:
                faults.add(first + place, f"id: expected 1 to {MAX_ID} characters")
        yield first, rows
        first += len(rows)


def _match(field: str, cell: str) -> str:
    if not cell:
        return ""
    value = canonical(field, cell)
    if not value:
        raise ValueError(f"{cell!r}: nothing left to compare")
    if field.startswith("hs") and not (value.isascii() and value.isdigit() and len(value) == int(field[2:])):
        raise ValueError(f"{cell!r}: expected {field[2:]} digits")
    return value


def _number(cell: str, instead: float) -> float:
    if not cell:
        return instead
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(f"{cell!r}: expected a number")
    return value


def _points(cell: str) -> int:
    points = int(cell)
    if abs(points) > MAX_POINTS:
        raise ValueError(f"{cell}: expected -{MAX_POINTS} to {MAX_POINTS}")
    return points


def _days(cell: str) -> int:
    days = datetime.date.fromisoformat(cell).toordinal() - _EPOCH_DAY
    if not 0 <= days < 1 << 16:
        raise ValueError(f"{cell}: expected a day from 1970 to 2149")
    return days


def _one_of(cell: str, known: Mapping[str, int]) -> int:
    if cell not in known:
        raise ValueError(f"{cell!r}: {nearest(cell, [one for one in known if one])}")
    return known[cell]
