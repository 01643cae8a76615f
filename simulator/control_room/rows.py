"""Rows of vehicles of all agents, kept as they were last heard, and what changed in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

HANDLE_BITS = 24
"""Of a handle in frames: below the agent's own number of a unit, above the number of the agent."""
ROWS_MAX = 200_000
"""Rows kept of all agents; more are not taken in, and counted."""
UNDER_WAY = frozenset({"TRACKING", "ACTIVATION", "CONFIRMATION"})
OPEN = frozenset({"STOP", "HOLD"})

Row = dict[str, Any]


def row_id(agent: str, key: str) -> str:
    """Key of a row among those of all agents."""
    return f"{agent} {key}"


def room_handle(agent_number: int, handle: int | None) -> int | None:
    """An agent's handle of a unit as the control room gives it."""
    return None if handle is None else agent_number << HANDLE_BITS | handle & (1 << HANDLE_BITS) - 1


def is_open(row: Mapping[str, Any]) -> bool:
    """Whether a STOP, HOLD or breach stands that nobody has closed."""
    return bool(row.get("breach")) or (row.get("action") in OPEN and not row.get("closed"))


@dataclass(frozen=True)
class Changed:
    """What became of rows."""

    put: tuple[Row, ...] = ()
    gone: tuple[str, ...] = ()
    """Ids of rows that are no more."""


@dataclass
class RowBook:
    """All rows, by place."""

    rows: dict[str, Row] = field(default_factory=dict)
    refused: int = 0
    """Rows not taken: without a key, or too many."""

    def __post_init__(self) -> None:
        self._named: defaultdict[str, set[str]] = defaultdict(set)
        self._agents: set[str] = set()

    def take(self, agent: str, number: int, found: Iterable[Row], asked: frozenset[str]) -> Changed:
        """Take what an agent answered.

        Args:
            agent: Its place.
            number: Its place among the agents.
            found: Its rows, as it serves them.
            asked: Keys, jrns or units it was asked for; empty = everything.
        """
        self._agents.add(agent)
        new = {place: row for row in found if (place := self._id(agent, row)) is not None}
        for place, row in new.items():
            row["agent"], row["id"] = agent, place
            row["handle"] = room_handle(number, row.get("handle"))
        gone = [place for place in self._concerned(agent, asked) if place not in new]
        put = [row for place, row in new.items() if self.rows.get(place) != row]
        for place in gone:
            self._drop(place)
        for row in put:
            self._drop(row["id"])
            self.rows[row["id"]] = row
            for name in _names_of(row):
                self._named[row_id(agent, name)].add(row["id"])
        return Changed(tuple(put), tuple(gone))

    def _concerned(self, agent: str, asked: frozenset[str]) -> set[str]:
        """Ids of the rows that an answer to these names speaks of."""
        if asked:
            return set().union(*(self._named.get(row_id(agent, name), ()) for name in asked))
        return {place for place, row in self.rows.items() if row["agent"] == agent}

    def _drop(self, place: str) -> None:
        row = self.rows.pop(place, None)
        for name in _names_of(row) if row else ():
            named = row_id(row["agent"], name) if row else ""
            self._named[named].discard(place)
            if not self._named[named]:
                del self._named[named]

    def _id(self, agent: str, row: Row) -> str | None:
        key = row.get("key")
        if not isinstance(key, str):
            self.refused += 1
            return None
        place = row_id(agent, key)
        if place not in self.rows and len(self.rows) >= ROWS_MAX:
            self.refused += 1
            return None
        return place

    def agent_of(self, key: str) -> str | None:
        """An agent that has a row under a key, jrn or unit; of several the one whose row changed last."""
        found = [self.rows[place] for agent in self._agents for place in self._named.get(row_id(agent, key), ())]
        newest = max(found, key=lambda row: row.get("changed") or "", default=None)
        return None if newest is None else str(newest["agent"])


def _names_of(row: Row) -> set[str]:
    return {str(row[name]) for name in ("key", "jrn", "unit") if row.get(name)}
