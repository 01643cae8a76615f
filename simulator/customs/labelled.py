"""Declaration lines with what the control found: columns of one CSV file, refused whole with every fault by line.

The columns are those of the labelled customs declarations published by the Institute for Basic Science and
the Korea Customs Service (design/risk.md section 6); other files with these columns serve as well.
"""

from __future__ import annotations

import csv
import datetime
import gzip
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError

CATEGORY_COLUMNS = {
    "office": ("Office ID",),
    "process": ("Process Type",),
    "import_type": ("Import Type",),
    "import_use": ("Import Use",),
    "payment": ("Payment Type",),
    "transport_mode": ("Mode of Transport",),
    "declarant": ("Declarant ID",),
    "importer": ("Importer ID",),
    "seller": ("Seller ID",),
    "courier": ("Courier ID",),
    "hs6": ("HS6 Code",),
    "hs4": ("HS6 Code",),
    "hs2": ("HS6 Code",),
    "origin_hs4": ("Country of Origin", "HS6 Code"),
    "departure": ("Country of Departure",),
    "origin": ("Country of Origin",),
    "tax_type": ("Tax Type",),
    "origin_mark": ("Country of Origin Indicator",),
}
"""The 18 keys for which hits are counted, and the columns they are made of (design/risk.md section 6)."""
HS_DIGITS = {"hs6": 6, "hs4": 4, "hs2": 2, "origin_hs4": 4}
NUMBER_COLUMNS = {"tax_rate": "Tax Rate", "mass": "Net Mass", "price": "Item Price"}
DATE_COLUMN = "Date"
LABEL_COLUMN = "Fraud"
MAX_LINES = 2_000_000
MAX_BYTES = 1 << 30
T = TypeVar("T")

MAX_FAULTS = 20
"""Faults listed before the rest is only counted."""


@dataclass(frozen=True)
class Lines:
    """Labelled declaration lines, column by column, in the order of the file.

    Attributes:
        days: Day of each line, days since 1970.
        categories: Key name to one text for each line; empty text = not declared.
        numbers: `tax_rate` (percent), `mass` (kg) and `price` to float64; NaN = not declared.
        found: Whether the control found something.
    """

    days: NDArray[np.int64]
    categories: Mapping[str, Sequence[str]]
    numbers: Mapping[str, NDArray[np.float64]]
    found: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.found)


def read_lines(path: Path) -> Lines:
    """Read a CSV file, also one compressed with gzip.

    Raises:
        ConfigError: it cannot be read, a column is missing or a line is wrong; every fault is named by its line.
    """
    rows, header = _rows(path)
    needed = {DATE_COLUMN, LABEL_COLUMN, *NUMBER_COLUMNS.values(), *(c for cs in CATEGORY_COLUMNS.values() for c in cs)}
    missing = sorted(needed - set(header))
    if missing:
        raise ConfigError(f"{path}: line 1: columns missing: {', '.join(missing)}")
    if not rows:
        raise ConfigError(f"{path}: no lines; expected labelled declarations after the header")
    column = {name: [row[at] for row in rows] for at, name in enumerate(header) if name in needed}
    faults = _Faults(path)
    days = faults.column(column[DATE_COLUMN], _day, f"{DATE_COLUMN}: expected a date such as 2026-11-22")
    found = faults.column(column[LABEL_COLUMN], _label, f"{LABEL_COLUMN}: expected 0 or 1")
    numbers = {
        name: np.array(faults.column(column[source], _number, f"{source}: expected a number of at least 0 or nothing"))
        for name, source in NUMBER_COLUMNS.items()
    }
    faults.raise_any()
    return Lines(np.array(days, np.int64), _categories(column), numbers, np.array(found, np.bool_))


def _rows(path: Path) -> tuple[list[list[str]], list[str]]:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; expected CSV in UTF-8, plain or gzip") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: over {MAX_BYTES} bytes")
    try:
        header, *rows = csv.reader(io.StringIO(text), strict=True)
    except (csv.Error, ValueError) as error:
        raise ConfigError(f"{path}: not CSV: {error}") from error
    if len(rows) > MAX_LINES:
        raise ConfigError(f"{path}: {len(rows)} lines; at most {MAX_LINES}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ConfigError(f"{path}: line {number}: {len(row)} fields; expected {len(header)}")
    return rows, [name.strip() for name in header]


class _Faults:
    """What is wrong with the lines of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[str] = []
        self._count = 0

    def column(self, texts: Iterable[str], read: Callable[[str], T], expected: str) -> list[T]:
        """Every text read; a text that cannot be read is a fault."""
        values: list[T] = []
        for number, text in enumerate(texts, start=2):
            try:
                values.append(read(text))
            except ValueError:
                self._add(f"line {number}: {expected}, got {text[:40]!r}")
        return values

    def _add(self, fault: str) -> None:
        self._count += 1
        if len(self._found) < MAX_FAULTS:
            self._found.append(f"{self._path}: {fault}")

    def raise_any(self) -> None:
        """Raise all of them, if there are any."""
        if self._count:
            further = [f"and {self._count - len(self._found)} more"] if self._count > len(self._found) else []
            raise ConfigError("\n".join(self._found + further))


def _day(text: str) -> int:
    return datetime.date.fromisoformat(text.strip()).toordinal() - datetime.date(1970, 1, 1).toordinal()


def _label(text: str) -> bool:
    if text.strip() not in ("0", "1"):
        raise ValueError(text)
    return text.strip() == "1"


def _number(text: str) -> float:
    if not text.strip():
        return float("nan")
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise ValueError(text)
    return value


def _categories(column: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: _texts(name, [column[one] for one in columns]) for name, columns in CATEGORY_COLUMNS.items()}


def _texts(name: str, parts: list[list[str]]) -> list[str]:
    digits = HS_DIGITS.get(name)
    *before, last = parts
    ends = last if digits is None else [code.strip().rjust(6, "0")[:digits] if code.strip() else "" for code in last]
    if not before:
        return [text.strip() for text in ends]
    return [
        f"{first.strip()} {end}" if first.strip() and end else "" for first, end in zip(before[0], ends, strict=True)
    ]
