"""A stored score card computed again from the versions that stand on it, and told term by term."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from agent.domain.routing import Assessment
from agent.errors import ConfigError
from agent.keys import read_private_key
from simulator.customs.assessment import Grounds, assess
from simulator.customs.book import Book
from simulator.customs.models import SHIPPED, Learned, load_learned, shipped
from simulator.customs.rule_build import book_of
from simulator.customs.score import Learning
from simulator.customs.shelf import Shelf
from simulator.customs.store import Store, reading

AUTHORITY_KEY = "authority.key.pem"
MEASURED = "latencyUs"
"""The one thing on a card that is measured and not computed."""


@dataclass(frozen=True)
class Again:
    """A card as it was given and as it comes out now.

    Attributes:
        stored, computed: JSON of the cards without what was measured; equal to the bit, or something is wrong.
    """

    answer: Assessment
    stored: bytes
    computed: bytes

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.stored == self.computed


def again(data: Path, mrn: str, jrn: str | None, model: Path | None) -> Again:
    """The newest card of a declaration, computed again.

    Args:
        data: Data folder of the customs service, which may be running.
        model: Folder written by `rules train`, where the service used one; None = a shipped model.

    Raises:
        ConfigError: no such card, or a version that is not held any more.
        JournalError: no register in the folder.
    """
    with reading(data) as store:
        answers = store.explained(mrn, jrn)
        if not answers:
            raise ConfigError(f"{data}: no card of {mrn}" + (f" in journey {jrn}" if jrn else ""))
        *before, (answer, grounds) = answers
        if grounds is None:
            raise ConfigError(f"{data}: the card of {mrn} was given by an older version, which kept no grounds")
        card = dict(answer.score_card or {})
        book = _book(Shelf(data, read_private_key(data / AUTHORITY_KEY)), card)
        learning = _learning(store, card, model)
        computed = _assess(grounds, book, learning, before[-1][0] if before else None)
    return Again(answer, _plain(card), _plain(dict(computed.score_card or {})))


def _plain(card: dict[str, Any]) -> bytes:
    return msgspec.json.encode({name: value for name, value in card.items() if name != MEASURED}, order="sorted")


def _assess(grounds: Grounds, book: Book, learning: Learning, previous: Assessment | None) -> Assessment:
    return assess(
        grounds.subject,
        book,
        learning,
        grounds.now_s,
        drawn=grounds.drawn,
        released=grounds.released,
        previous=previous,
        bays=grounds.bays,
    )


def _book(shelf: Shelf, card: dict[str, Any]) -> Book:
    """The book of a card, with the thresholds of its counter version."""
    version, lists = str(card.get("ruleBookVersion")), str(card.get("listsVersion"))
    found = shelf.version(version, lists)
    if found is None:
        raise ConfigError(f"rule book {version} with lists {lists} is not held any more")
    at = card["thresholds"]
    return replace(book_of(found), yellow_at=at["yellowAt"], red_at=at["redAt"])


def _learning(store: Store, card: dict[str, Any], folder: Path | None) -> Learning:
    learned = _model(str(card.get("modelVersion")), folder)
    return Learning.of(learned.model, learned.prior, store.counters(int(card["countersUpTo"])))


def _model(version: str, folder: Path | None) -> Learned:
    known = [load_learned(folder, one) for one in SHIPPED.values() if (folder / one).is_file()] if folder else []
    for one in (*known, *map(shipped, SHIPPED)):
        if one.model.version == version:
            return one
    raise ConfigError(f"model {version} is not among those shipped with this version; name its folder with --model")
