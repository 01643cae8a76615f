"""Party names compared as people write them: no case, accents or legal forms, words in any order, misspelt.

Very many listed names are searched through their words: a word is met by every listed word within one edit, found
through the words that are left when one letter is taken out of either (design/risk.md section 4). Only names that
share a rare word are then compared as a whole.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process
from rapidfuzz.distance import Levenshtein

LEGAL_FORMS = frozenset(
    (
        "ag", "gmbh", "sa", "sarl", "sagl", "srl", "spa", "sas", "eurl", "bv", "nv", "ltd", "llc", "inc",
        "plc", "co", "kg", "ohg", "ug", "se", "ab", "as", "oy", "aps", "doo", "kft", "zoo", "sro",
    )
)  # fmt: skip
MAX_NAME = 256
"""Characters of a name that are compared."""
MAX_WORDS = 16
MAX_KEPT = 4_096
"""Normal forms of names kept: a declaration asks for each of its names several times."""
MAX_POSTINGS = 4000
"""Listed names looked at for one name, those with the rarest words first."""
MAX_COMPARED = 60
"""Names compared as a whole, those with most words met first."""
SHORT_WORD = 3
"""A word up to this long is met only by itself: with one letter taken out nearly anything is like it."""


@lru_cache(MAX_KEPT)
def normal_name(name: str) -> str:
    """A name for comparing: no case, no accents, no legal form, words in order of the alphabet."""
    letters = without_accents(name[:MAX_NAME].casefold())
    words = re.findall(r"\w+", letters.replace(".", ""))
    return " ".join(sorted(word for word in words if word not in LEGAL_FORMS) or words)


def without_accents(text: str) -> str:
    """The text with accents taken off its letters."""
    if text.isascii():
        return text
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def shortened(word: str) -> Iterator[str]:
    """The word, and it with one letter taken out."""
    yield word
    if len(word) > SHORT_WORD:
        for at in range(len(word)):
            yield word[:at] + word[at + 1 :]


def text_hash(text: str) -> int:
    """64 bits of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class NameColumns:
    """A list of normal names, compiled; every array may be mapped from a file.

    Attributes:
        text, text_from: UTF-8 of all names one after another, and where each begins (one more than names).
        whole, whole_name: Hashes of the whole names, ascending, and whose each is.
        cut, cut_word: Hashes of the words and of what is left of them, ascending, and the word each is of.
        word, word_from: UTF-8 of all words, and where each begins.
        posting, posting_from: Names with each word, and where each word's begin.
    """

    text: NDArray[np.uint8]
    text_from: NDArray[np.uint32]
    whole: NDArray[np.uint64]
    whole_name: NDArray[np.uint32]
    cut: NDArray[np.uint64]
    cut_word: NDArray[np.uint32]
    word: NDArray[np.uint8]
    word_from: NDArray[np.uint32]
    posting: NDArray[np.uint32]
    posting_from: NDArray[np.uint32]


def compile_names(names: Sequence[str]) -> NameColumns:
    """Columns of a list of normal names without repeats; a name's number is its place in the list."""
    words = sorted({word for name in names for word in name.split()})
    number = {word: place for place, word in enumerate(words)}
    having: list[list[int]] = [[] for _ in words]
    for place, name in enumerate(names):
        for word in dict.fromkeys(name.split()[:MAX_WORDS]):
            having[number[word]].append(place)
    text, text_from = _packed(names)
    word_text, word_from = _packed(words)
    whole, whole_name = _hashed((text_hash(name), place) for place, name in enumerate(names))
    cut, cut_word = _hashed(
        (text_hash(left), place) for place, word in enumerate(words) for left in set(shortened(word))
    )
    posting_from = np.concatenate([[0], np.cumsum([len(one) for one in having])]).astype(np.uint32)
    posting = np.fromiter((name for one in having for name in one), np.uint32, int(posting_from[-1]))
    return NameColumns(
        text, text_from, whole, whole_name, cut, cut_word, word_text, word_from, posting, posting_from
    )  # fmt: skip


def _packed(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    encoded = [text.encode() for text in texts]
    begins = np.concatenate([[0], np.cumsum([len(one) for one in encoded])]).astype(np.uint32)
    return np.frombuffer(b"".join(encoded), np.uint8), begins


def _hashed(pairs: Iterable[tuple[int, int]]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    listed = list(pairs)
    keys = np.array([key for key, _ in listed], np.uint64)
    order = np.argsort(keys, kind="stable")
    return keys[order], np.array([place for _, place in listed], np.uint32)[order]


class NameIndex:
    """Finds the listed name that is most like a given one.

    Args:
        columns: The compiled list.
        match_at: Likeness in percent (`rapidfuzz.fuzz.ratio` of normal names) from which two names are one.
    """

    def __init__(self, columns: NameColumns, match_at: float) -> None:
        self._columns = columns
        self._text = np.ascontiguousarray(columns.text).data
        self._match_at = match_at

    def __len__(self) -> int:
        return len(self._columns.whole)

    def most_like(self, name: str) -> int | None:
        """Number of the listed name that is most like this one, the lowest of equals; None if none is like enough."""
        normal = normal_name(name)
        if not normal or not len(self):
            return None
        exact = _equal(self._columns.whole, self._columns.whole_name, text_hash(normal))
        for one in exact:
            if self._name(one) == normal:
                return one
        return self._fuzzy(normal)

    def _fuzzy(self, normal: str) -> int | None:
        candidates = sorted(self._candidates(normal))  # the first of equals is taken
        best = process.extractOne(
            normal, self._names(candidates), scorer=fuzz.ratio, processor=None, score_cutoff=self._match_at
        )
        return None if best is None else candidates[best[2]]

    def _candidates(self, normal: str) -> list[int]:
        """Names worth comparing: those with the most words met, found through the rarest words."""
        postings = sorted((self._posting(word) for word in self._words_like(normal)), key=len)
        total = np.cumsum([len(names) for names in postings])
        rare = postings[: max(1, int(np.searchsorted(total, MAX_POSTINGS, "right")))]
        if not rare:
            return []
        if len(rare[0]) > MAX_POSTINGS:  # only common words: names that share two of them
            names, count = _shared(postings), np.zeros(1, np.int64)
        else:
            names, count = np.unique(np.concatenate(rare), return_counts=True)
        begins = self._columns.text_from
        longer = np.abs((begins[names + 1] - begins[names]).astype(np.int64) - len(normal.encode()))
        worse = ((MAX_POSTINGS - np.broadcast_to(count, names.shape)) << 44) | (np.minimum(longer, 1 << 20) << 22)
        worse |= np.arange(len(names)) & ((1 << 22) - 1)
        best: list[int] = names[_lowest(worse, MAX_COMPARED)].tolist()
        return best

    def _words_like(self, normal: str) -> set[int]:
        """Listed words within one edit of a word of the name."""
        asked = [(left, word) for word in normal.split()[:MAX_WORDS] for left in shortened(word)]
        keys = np.array([text_hash(left) for left, _ in asked], np.uint64)
        cut = self._columns.cut
        first = cut.searchsorted(keys)
        last = cut.searchsorted(keys, "right")
        met = np.flatnonzero(last > first)
        like: set[int] = set()
        for at, begin, end in zip(met.tolist(), first[met].tolist(), last[met].tolist(), strict=True):
            for one in self._columns.cut_word[begin:end].tolist():
                if one not in like and self._near(asked[at][1], one):
                    like.add(one)
        return like

    def _near(self, word: str, one: int) -> bool:
        """At most one letter more, less or other; the list of cut words also meets words two letters apart."""
        listed = _text(self._columns.word, self._columns.word_from, one)
        return Levenshtein.distance(word, listed, score_cutoff=1) <= 1

    def _posting(self, word: int) -> NDArray[np.uint32]:
        begin, end = self._columns.posting_from[word : word + 2].tolist()
        return self._columns.posting[begin:end]

    def _names(self, some: list[int]) -> list[str]:
        at = np.array(some, np.int64)
        begins, ends = self._columns.text_from[at].tolist(), self._columns.text_from[at + 1].tolist()
        return [str(self._text[begin:end], "utf-8") for begin, end in zip(begins, ends, strict=True)]

    def _name(self, one: int) -> str:
        return _text(self._columns.text, self._columns.text_from, one)


def _lowest(values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Where the lowest values are, lowest first."""
    some = np.argpartition(values, count - 1)[:count] if len(values) > count else np.arange(len(values))
    found: NDArray[np.int64] = some[np.argsort(values[some])]
    return found


def _shared(postings: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    """Names of the rarest posting, of these only those in the next one if there is one."""
    if len(postings) == 1:
        return postings[0]
    return np.intersect1d(postings[0], postings[1], assume_unique=True)


def _text(packed: NDArray[np.uint8], begins: NDArray[np.uint32], one: int) -> str:
    begin, end = begins[one : one + 2].tolist()
    return packed[begin:end].tobytes().decode()


def _equal(keys: NDArray[np.uint64], values: NDArray[np.uint32], wanted: int) -> list[int]:
    """Values of all keys that equal the wanted one."""
    key = np.uint64(wanted)
    begin = int(np.searchsorted(keys, key, "left"))
    end = begin
    while end < len(keys) and keys[end] == key:
        end += 1
    return values[begin:end].tolist() if end > begin else []
