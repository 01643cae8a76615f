"""Which of very many rules fit a declaration: rules sorted by the hash of what they ask for.

A rule asks for the exact values of one to three fields (its access key) and may bound up to three numbers. The
index holds one row for each rule, sorted by key, in two arrays that may be mapped from files; the cost of a
question follows the goods items of the declaration, not the number of rules (design/risk.md section 3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

ITEM_FIELDS = ("hs2", "hs4", "hs6", "hs8", "origin", "dispatch", "document")
"""Fields of a goods item; `document` may have several values."""
HEADER_FIELDS = (
    "procedure",
    "office",
    "crossing",
    "consignor",
    "consignee",
    "declarant",
    "carrier",
    "plate",
    "indicator",
)
"""Fields of the declaration and its journey; `indicator` may have several values."""
LATE_FIELDS = frozenset({"office", "crossing", "plate", "indicator"})
"""Known for certain only at the border; rules that ask for them are matched again there (section 7)."""
NUMBER_FIELDS = (
    "value_per_mass_chf_kg",
    "statistical_value_chf",
    "net_mass_kg",
    "gross_mass_kg",
    "stop_before_border_s",
    "hour",
)
"""Numbers that a rule may bound, in the order of a row of `Question.numbers`."""
LATE_NUMBERS = frozenset({"stop_before_border_s", "hour"})
JOURNEY_FIELDS = frozenset({"carrier", "plate", "office", "crossing"})
"""Known when a journey references the goods."""
GOODS, JOURNEY, BORDER = range(3)
"""Stages at which a template can be matched: goods are lodged, a journey references them, they are at the border."""
MAX_BOUNDS = 3
MAX_KEY_FIELDS = 3
MAX_TEMPLATES = 255
WARMED_AT_ONCE = 20_000
"""Keys put into the hash table without a pause: some 5 ms."""
COUNT_BITS = 24
"""Of a hash table's value: how many rows have the key; the bits above say where they begin."""
_COUNT_MASK = (1 << COUNT_BITS) - 1
NO_FIELD = 255

ROW = np.dtype(
    [
        ("points", "<i2"),
        ("flags", "u1"),
        ("field", "u1", (MAX_BOUNDS,)),
        ("from_day", "<u2"),
        ("to_day", "<u2"),
        ("low", "<f8", (MAX_BOUNDS,)),
        ("high", "<f8", (MAX_BOUNDS,)),
    ]
)
"""One rule: points, flags, up to three bounds (both ends exclusive), first and last day since 1970."""
ONLY_IN, ONLY_OUT, YELLOW, RED, DENY, EXPRESSION, LATE = (1 << bit for bit in range(7))
"""Flags of a row; EXPRESSION = a condition beside the row must hold as well."""

_LATE_PLACES = tuple(NUMBER_FIELDS.index(name) for name in sorted(LATE_NUMBERS))

Template = tuple[str, ...]
Values = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Question:
    """What is asked about: one declaration at one crossing, in canonical values.

    Attributes:
        header: Field to value, of the declaration and its journey.
        items: The same for each goods item.
        numbers: `NUMBER_FIELDS` of the declaration without items (row 0) and of each item; NaN = not known.
        day: Days since 1970.
        direction: IN or OUT.
    """

    header: Values
    items: Sequence[Values]
    numbers: NDArray[np.float64]
    day: int
    direction: str


@dataclass(frozen=True)
class _Asked:
    """A template with its fields told apart, and what its keys begin with."""

    number: bytes
    header: Template
    items: Template
    stage: int


@dataclass(frozen=True)
class Met:
    """Rules whose keys are met, whatever their days and direction.

    Attributes:
        rows: Those whose bounds hold, ascending, each once.
        open: Row and goods item (0 = none, then from 1) of those that wait for a number known only at the border,
            their other bounds holding.
    """

    rows: tuple[int, ...] = ()
    open: tuple[tuple[int, int], ...] = ()


def key_hash(salt: bytes, number: int, values: Sequence[str]) -> int:
    """The 64-bit access key: template number and canonical values, hashed with the salt of the book."""
    text = "\x1f".join(values).encode()
    return int.from_bytes(hashlib.blake2b(bytes([number]) + text, digest_size=8, key=salt).digest(), "little")


def ordered(fields: Sequence[str]) -> Template:
    """The fields of a template in the order in which their values are hashed: header first."""
    return tuple(sorted(fields, key=lambda name: (name in ITEM_FIELDS, name)))


class RuleIndex:
    """Rules by access key.

    Args:
        templates: Sets of fields that rules ask for, each as `ordered` gives it; their place is their number.
        keys: uint64, ascending, one for each rule.
        rows: `ROW`, in the same order.
        salt: At most 64 bytes, of the book.
    """

    def __init__(
        self, templates: Sequence[Template], keys: NDArray[np.uint64], rows: NDArray[Any], salt: bytes
    ) -> None:
        if len(keys) != len(rows) or len(templates) > MAX_TEMPLATES:
            raise ValueError(f"{len(keys)} keys, {len(rows)} rows, {len(templates)} templates")
        self.keys, self.rows = np.asarray(keys), np.asarray(rows)  # plain views: a memmap pays for each look
        self._salt = salt
        self._asked = tuple(_asked(number, fields) for number, fields in enumerate(templates))
        self._places: dict[int, int] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def fitting(self, question: Question, late: bool | None = None) -> list[int]:
        """Numbers of the rows that fit, ascending, each once however many goods items it fits.

        Args:
            late: Only rules that are matched again at the border, or only the others; None = all.
        """
        rows, items = self._candidates(question)
        if not rows:
            return []
        at = np.array(rows, np.int64)
        found = self.rows[at]
        fits = _fits(found, question, np.array(items, np.int64))
        if late is not None:
            fits &= ((found["flags"] & LATE) != 0) == late
        return sorted(set(at[fits].tolist()))

    def met(self, question: Question, stage: int) -> Met:
        """Rules met by the templates of one stage; numbers known only at the border are left open."""
        rows, items = self._candidates(question, stage)
        if not rows:
            return Met()
        at, of = np.array(rows, np.int64), np.array(items, np.int64)
        found = self.rows[at]
        late = np.isin(found["field"], _LATE_PLACES).any(axis=1)
        within = _within(found, question.numbers, of, skip=_LATE_PLACES)
        waiting = within & late
        return Met(
            tuple(sorted(set(at[within & ~late].tolist()))),
            tuple(sorted(set(zip(at[waiting].tolist(), of[waiting].tolist(), strict=True)))),
        )

    def closed(self, waiting: Sequence[tuple[int, int]], numbers: NDArray[np.float64]) -> tuple[int, ...]:
        """Those of `Met.open` whose bounds all hold now, ascending, each once."""
        if not waiting:
            return ()
        at, of = np.array(waiting, np.int64).T
        fits = _within(self.rows[at], numbers, of)
        return tuple(sorted(set(at[fits].tolist())))

    def _candidates(self, question: Question, stage: int | None = None) -> tuple[list[int], list[int]]:
        """Rows whose key is met, with the goods item that meets it (0 = none, then from 1)."""
        asked = list(self._keys(question, stage))
        rows: list[int] = []
        items: list[int] = []
        everywhere = range(len(question.items) + 1)
        for place, first, last in self._found([key for key, _ in asked]):
            item = asked[place][1]
            for row in range(first, last):
                if item:
                    rows.append(row)
                    items.append(item)
                else:  # asks for nothing of an item: its bounds may hold for any of them
                    rows += [row] * len(everywhere)
                    items += everywhere
        return rows, items

    def _found(self, wanted: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """Place among the wanted keys of each one that there is, and where its rows begin and end."""
        if self._places is not None:
            get = self._places.get
            for place, key in enumerate(wanted):
                packed = get(key)
                if packed is not None:
                    first = packed >> COUNT_BITS
                    yield place, first, first + (packed & _COUNT_MASK)
            return
        keys = np.array(wanted, np.uint64)
        first_rows = np.searchsorted(self.keys, keys, "left")
        known = first_rows < len(self.keys)
        known[known] = self.keys[first_rows[known]] == keys[known]
        for place in np.flatnonzero(known).tolist():
            yield place, int(first_rows[place]), int(np.searchsorted(self.keys, keys[place], "right"))

    def warming(self) -> Iterator[RuleIndex | None]:
        """The same index with its keys in a hash table: searched twice as fast, for 130 bytes a key.

        Made in pieces, so that whoever answers in between need not wait: None until the last, which is the index.
        """
        begins = np.flatnonzero(np.concatenate([[True], self.keys[1:] != self.keys[:-1]])[: len(self.keys)])
        counts = np.diff(np.concatenate([begins, [len(self.keys)]]))
        places: dict[int, int] = {}
        for at in range(0, len(begins), WARMED_AT_ONCE):
            some = begins[at : at + WARMED_AT_ONCE]
            packed = (some << COUNT_BITS) | counts[at : at + WARMED_AT_ONCE]
            places.update(zip(self.keys[some].tolist(), packed.tolist(), strict=True))
            yield None
        warmed = copy(self)
        warmed._places = places
        yield warmed

    def _keys(self, question: Question, stage: int | None) -> Iterator[tuple[int, int]]:
        """Keys of the question with the item they are of; 0 = of the declaration itself."""
        salt, blake2b = self._salt, hashlib.blake2b
        tails: dict[Template, list[Sequence[str]]] = {}  # many templates ask for the same of an item
        for asked in self._asked:
            if stage is not None and asked.stage != stage:
                continue
            heads = _joined(question.header, asked.header)
            if not heads:
                continue
            if asked.items and asked.items not in tails:
                tails[asked.items] = [_joined(values, asked.items) for values in question.items]
            for item, ends in enumerate(tails[asked.items] if asked.items else (), start=1):
                for head, tail in product(heads, ends):
                    text = f"{head}\x1f{tail}" if asked.header else tail
                    digest = blake2b(asked.number + text.encode(), digest_size=8, key=salt).digest()
                    yield int.from_bytes(digest, "little"), item
            if not asked.items:
                for head in heads:
                    digest = blake2b(asked.number + head.encode(), digest_size=8, key=salt).digest()
                    yield int.from_bytes(digest, "little"), 0


def _asked(number: int, fields: Template) -> _Asked:
    header = tuple(name for name in fields if name in HEADER_FIELDS)
    items = tuple(name for name in fields if name in ITEM_FIELDS)
    if fields != ordered(fields) or len(header) + len(items) != len(fields) or not fields:
        raise ValueError(f"template {fields}: expected known fields, header fields first")
    stage = BORDER if "indicator" in fields else GOODS if JOURNEY_FIELDS.isdisjoint(fields) else JOURNEY
    return _Asked(bytes([number]), header, items, stage)


def _joined(values: Values, fields: Template) -> Sequence[str]:
    """The texts to hash: one, several where a field has several values, none where a field is not known."""
    if len(fields) == 1:
        only = values.get(fields[0])
        return () if only is None else (only,) if isinstance(only, str) else only
    parts: list[Sequence[str]] = []
    for name in fields:
        value = values.get(name)
        if value is None:
            return ()
        parts.append((value,) if isinstance(value, str) else value)
    return ["\x1f".join(one) for one in product(*parts)]


def _fits(found: NDArray[Any], question: Question, items: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each candidate is in force, of this direction, and within its bounds."""
    other = ONLY_OUT if question.direction == "IN" else ONLY_IN
    fits: NDArray[np.bool_] = (found["flags"] & other) == 0
    fits &= (found["from_day"] <= question.day) & (question.day <= found["to_day"])
    fits &= _within(found, question.numbers, items)
    return fits


def _within(
    found: NDArray[Any], numbers: NDArray[np.float64], items: NDArray[np.int64], skip: Sequence[int] = ()
) -> NDArray[np.bool_]:
    """Whether each candidate is within its bounds, but for those on numbers that are skipped."""
    field = found["field"]
    bounded = field != NO_FIELD
    if len(skip):
        bounded &= ~np.isin(field, skip)
    if not bounded.any():
        return np.ones(len(found), np.bool_)
    value = numbers[items[:, None], np.where(bounded, field, 0)]
    within = (value > found["low"]) & (value < found["high"])  # false for NaN: what is not known meets no bound
    fits: NDArray[np.bool_] = (within | ~bounded).all(axis=1)
    return fits
