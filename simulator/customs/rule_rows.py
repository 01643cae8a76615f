"""Rules on their way into a book: rows of the index in the order in which they were read, whatever they were read from.

Rules by hand come one by one, rules in bulk column by column; both end here (design/risk.md sections 3 and 10).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.risk.book import ABOUT, NOTHING, RuleColumns, text_column
from agent.risk.rule_index import MAX_BOUNDS, NO_FIELD, ROW, Template


class Numbers(dict[str, int]):
    """Texts by number, in the order in which they were first met."""

    def __missing__(self, text: str) -> int:
        self[text] = number = len(self)
        return number


@dataclass
class Words:
    """What the rows of a book refer to by number."""

    texts: Mapping[str, int]
    """Text keys; a rule with another is refused."""
    owners: Numbers = field(default_factory=Numbers)
    conditions: Numbers = field(default_factory=Numbers)
    """CEL."""


@dataclass(frozen=True)
class LooseRules:
    """Rules in the order in which they were read.

    Attributes:
        ids: Their ids.
        keys: uint64, hashes of their access keys.
        rows, about: As in a compiled book.
    """

    ids: list[str]
    keys: NDArray[np.uint64]
    rows: NDArray[Any]
    about: NDArray[Any]

    def __len__(self) -> int:
        return len(self.ids)


NO_RULES = LooseRules([], np.zeros(0, np.uint64), np.zeros(0, ROW), np.zeros(0, ABOUT))


def joined(parts: Iterable[LooseRules]) -> LooseRules:
    """Rules of several files one after another."""
    listed = [NO_RULES, *parts]
    return LooseRules(
        [id_ for one in listed for id_ in one.ids],
        np.concatenate([one.keys for one in listed]),
        np.concatenate([one.rows for one in listed]),
        np.concatenate([one.about for one in listed]),
    )


def chosen(rules: LooseRules, which: NDArray[np.bool_]) -> LooseRules:
    """Those of the rules that are marked."""
    places = np.flatnonzero(which)
    return LooseRules([rules.ids[one] for one in places.tolist()], rules.keys[places], rules.rows[places],
                      rules.about[places])  # fmt: skip


def ordered_rules(rules: LooseRules) -> RuleColumns:
    """Rules in the order of the index: by key, of equal keys by id."""
    order = np.argsort(rules.keys, kind="stable")
    keys = rules.keys[order]
    for first, last in shared_keys(keys, 1):
        order[first:last] = sorted(order[first:last].tolist(), key=lambda one: rules.ids[one])
    return RuleColumns(
        keys, rules.rows[order], rules.about[order], text_column([rules.ids[one] for one in order.tolist()])
    )


def shared_keys(keys: NDArray[np.uint64], more_than: int) -> list[tuple[int, int]]:
    """Where runs of more than so many equal keys begin and end, in ascending keys."""
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    ends = np.concatenate([begins[1:], [len(keys)]])
    wide = ends - begins > more_than
    return list(zip(begins[wide].tolist(), ends[wide].tolist(), strict=True))


def empty_rows(count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows and what is about them, without bounds, texts and conditions."""
    rows, about = np.zeros(count, ROW), np.zeros(count, ABOUT)
    rows["field"] = NO_FIELD
    about["text"] = about["owner"] = about["condition"] = NOTHING
    return rows, about


def put_bounds(
    rows: NDArray[Any], bounds: Sequence[tuple[int, NDArray[np.float64], NDArray[np.float64]]]
) -> NDArray[np.bool_]:
    """Put bounds into rows; which rows have more than they can hold.

    Args:
        bounds: Number of the field, low and high end of each row; -inf and inf = not bounded.
    """
    taken = np.zeros(len(rows), np.int64)
    for number, low, high in bounds:
        bounded = np.flatnonzero(np.isfinite(low) | np.isfinite(high))
        fits = bounded[taken[bounded] < MAX_BOUNDS]
        slot = taken[fits]
        rows["field"][fits, slot], rows["low"][fits, slot], rows["high"][fits, slot] = number, low[fits], high[fits]
        taken[bounded] += 1
    return taken > MAX_BOUNDS


def hashed(
    templates: Sequence[Template], number: int, values: Iterable[Sequence[str]], salt: bytes
) -> NDArray[np.uint64]:
    """Access keys of rules of one template: `key_hash` of very many."""
    prefix, blake2b = bytes([number]), hashlib.blake2b
    assert number < len(templates)
    digests = [blake2b(prefix + "\x1f".join(one).encode(), digest_size=8, key=salt).digest() for one in values]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
