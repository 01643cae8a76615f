"""Which of very many listed phrases stand in a text of goods, as whole words.

Texts are compared without case and accents, words divided by one space. A list is a few arrays that may be mapped
from files and answers at once; `warmed` puts an Aho-Corasick automaton over it (design/risk.md section 4), which
gives the same answers several times as fast.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ahocorasick_rs import AhoCorasick, Implementation, MatchKind
from numpy.typing import NDArray

from agent.risk.names import without_accents

MAX_TEXT = 512
"""Characters of one text that are looked at; goods texts are no longer."""
MAX_TEXTS = 999
"""Texts of one question: goods items of a declaration."""
MAX_PHRASE_WORDS = 8
"""Words of one phrase; more make it a text."""
BETWEEN = "|"
"""Stands between two texts: no phrase has it, so none is found across them."""


def normal_text(text: str) -> str:
    """Words of a text without case and accents, one space between two."""
    return " ".join(re.findall(r"\w+", without_accents(without_accents(text[:MAX_TEXT]).casefold())))


@dataclass(frozen=True)
class PhraseColumns:
    """A list of normal phrases, compiled; every array may be mapped from a file.

    Attributes:
        key, phrase: Hashes of the phrases, ascending, and whose each is.
        text, text_from: UTF-8 of all phrases one after another, and where each begins (one more than phrases).
        widths: How many words the phrases have: each number that occurs once.
    """

    key: NDArray[np.uint64]
    phrase: NDArray[np.uint32]
    text: NDArray[np.uint8]
    text_from: NDArray[np.uint32]
    widths: NDArray[np.uint8]


def compile_phrases(phrases: Sequence[str]) -> PhraseColumns:
    """Columns of a list of normal phrases without repeats; a phrase's number is its place in the list.

    Raises:
        ValueError: a phrase that is not normal, has no word, or has too many.
    """
    for one in phrases:
        if one != normal_text(one) or not 1 <= one.count(" ") + 1 <= MAX_PHRASE_WORDS or not one:
            raise ValueError(f"{one!r}: expected 1 to {MAX_PHRASE_WORDS} words as normal_text writes them")
    keys = np.fromiter(map(_hash, phrases), np.uint64, len(phrases))
    order = np.argsort(keys, kind="stable")
    encoded = [one.encode() for one in phrases]
    begins = np.concatenate([[0], np.cumsum([len(one) for one in encoded])]).astype(np.uint32)
    return PhraseColumns(
        keys[order],
        order.astype(np.uint32),
        np.frombuffer(b"".join(encoded), np.uint8),
        begins,
        np.unique(np.array([one.count(" ") + 1 for one in phrases], np.uint8)),
    )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class PhraseIndex:
    """Finds listed phrases in texts.

    Args:
        columns: The compiled list.
        automaton: Over the same list; None = the columns are searched.
    """

    def __init__(self, columns: PhraseColumns, automaton: AhoCorasick | None = None) -> None:
        self._columns = columns
        self._automaton = automaton

    def __len__(self) -> int:
        return len(self._columns.key)

    def warmed(self) -> PhraseIndex:
        """The same list behind an automaton: seconds to make for hundreds of thousands of phrases."""
        if not len(self):
            return self
        patterns = [f" {self._phrase(one)} " for one in range(len(self))]
        automaton = AhoCorasick(
            patterns,
            matchkind=MatchKind.Standard,
            store_patterns=False,
            implementation=Implementation.ContiguousNFA,
        )
        return PhraseIndex(self._columns, automaton)

    def found(self, texts: Iterable[str]) -> list[int]:
        """Numbers of the phrases that stand in any of the texts, ascending."""
        normal = dict.fromkeys(normal_text(text) for text, _ in zip(texts, range(MAX_TEXTS), strict=False))
        joined = f" {BETWEEN} ".join(one for one in normal if one)
        if not joined or not len(self):
            return []
        if self._automaton is not None:
            matches = self._automaton.find_matches_as_indexes(f" {joined} ", overlapping=True)
            return sorted({match[0] for match in matches})
        return self._searched(joined.split(" "))

    def _searched(self, words: list[str]) -> list[int]:
        """The same from the columns: every run of words as long as some phrase is looked up."""
        runs = list(dict.fromkeys(self._runs(words)))
        keys = np.fromiter(map(_hash, runs), np.uint64, len(runs))
        first = np.searchsorted(self._columns.key, keys)
        met = first < len(self)
        met[met] = self._columns.key[first[met]] == keys[met]
        return sorted({one for at in np.flatnonzero(met).tolist() for one in self._equal(runs[at], int(first[at]))})

    def _runs(self, words: list[str]) -> Iterator[str]:
        for width in self._columns.widths.tolist():
            for begin in range(len(words) - width + 1):
                run = words[begin : begin + width]
                if BETWEEN not in run:
                    yield " ".join(run)

    def _equal(self, run: str, at: int) -> Iterator[int]:
        """Phrases equal to the run among those with the hash that stands here."""
        key = self._columns.key[at]
        while at < len(self) and self._columns.key[at] == key:
            one = int(self._columns.phrase[at])
            if self._phrase(one) == run:
                yield one
            at += 1

    def _phrase(self, one: int) -> str:
        begin, end = self._columns.text_from[one : one + 2].tolist()
        return self._columns.text[begin:end].tobytes().decode()
