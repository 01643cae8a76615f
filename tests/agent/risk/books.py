"""Small compiled books for tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from joserfc.jwk import OKPKey

from agent.risk.book import (
    ABOUT,
    ENTRY,
    NOTHING,
    PLATE_TEMPLATE,
    BookColumns,
    BookWords,
    ListColumns,
    Manifest,
    RuleColumns,
    text_column,
)
from agent.risk.names import compile_names
from agent.risk.phrases import compile_phrases
from agent.risk.rule_index import MAX_BOUNDS, NO_FIELD, ROW, key_hash

SALT = b"salt of the book"
KEY, OTHER_KEY = OKPKey.generate_key("Ed25519"), OKPKey.generate_key("Ed25519")
KID = "office-1"
KEYS = {KID: KEY}
TEMPLATES = (("consignor",), ("hs4", "origin"))
WORDS = BookWords(
    keys=("low", "watched"),
    words={"low": {"de": "tief", "en": "low"}, "watched": {"de": "beobachtet", "en": "watched"}},
    owners=("cell-north", "cell-south"),
    conditions=("declaration.parts > 1",),
)


def rule_columns(rules: Sequence[tuple[str, int, tuple[str, ...], int]]) -> RuleColumns:
    """Rules of (id, template, values, points)."""
    keyed = sorted((key_hash(SALT, number, values), id_, number, points) for id_, number, values, points in rules)
    spare = [NO_FIELD] * MAX_BOUNDS, [-math.inf] * MAX_BOUNDS, [math.inf] * MAX_BOUNDS
    rows = [(points, 0, spare[0], 0, 65_535, spare[1], spare[2]) for _, _, _, points in keyed]
    return RuleColumns(
        np.array([one[0] for one in keyed], np.uint64),
        np.array(rows, ROW),
        np.array([(number, 0, 1, NOTHING) for _, _, number, _ in keyed], ABOUT),
        text_column([one[1] for one in keyed]),
    )


def list_columns(ids: Sequence[str], of: Sequence[int] | None = None, plates: Sequence[str] = ()) -> ListColumns:
    """Entries of a list, each worth 40 points and red."""
    keys = sorted(key_hash(SALT, PLATE_TEMPLATE, (plate,)) for plate in plates)
    rows = [(number, 40, 8, 0b0101, 20_000, 21_000, 1, 0) for number in of or [0] * len(ids)]
    return ListColumns(np.array(keys, np.uint64), np.array(rows, ENTRY), text_column(ids))


def small_columns(**changed: Any) -> BookColumns:
    """One rule, one plate, a name listed twice, two phrases."""
    parts: dict[str, Any] = {
        "rules": rule_columns([("R-1", 1, ("2402", "UA"), 34)]),
        "plates": list_columns(["P-1"], plates=["ZH1/CH"]),
        "named": list_columns(["N-1", "N-2"], [0, 0]),
        "names": compile_names(["dunkel handel"]),
        "phrased": list_columns(["T-1", "T-2"], [0, 1]),
        "phrases": compile_phrases(["gold bars", "ivory"]),
    }
    return BookColumns(**parts | changed)


def manifest_of(columns: BookColumns, **changed: Any) -> Manifest:
    """A manifest that fits the columns."""
    parts: dict[str, Any] = {
        "kind": "full",
        "name": "test",
        "version": "1+abc",
        "lists_version": "def",
        "issued_ms": 1_000,
        "salt": SALT.hex(),
        "templates": TEMPLATES,
        "counts": {
            "rules": len(columns.rules.keys),
            "plates": len(columns.plates.entries),
            "named": len(columns.named.entries),
            "phrased": len(columns.phrased.entries),
        },
        "match_at": 90.0,
        "settings": {},
    }
    return Manifest(**parts | changed)
