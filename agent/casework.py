"""One case as officials ask for it over HTTP: why, and its proof; read from the folder beside the running store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.errors import JournalError
from agent.explain import Rules, detection_of, explain, open_case, report
from agent.journal.export import export_lines
from agent.journal.reader import Reader
from agent.status.api import Story
from agent.web import ProblemError

AT_ONCE = 2
"""Cases read at the same time; others wait, so that people who ask do not take the agent's processor."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Casework:
    """Reads in a thread; the loop goes on."""

    folder: Path
    """Data folder of the agent."""
    rules: Callable[[], Rules]
    """By what is decided now."""
    places: asyncio.Semaphore

    @classmethod
    def of(cls, folder: Path, rules: Callable[[], Rules]) -> Casework:
        """For one data folder."""
        return cls(folder, rules, asyncio.Semaphore(AT_ONCE))

    async def explain(self, name: str) -> Story | None:
        """Why a journey, plate or unit was or was not activated; None if nothing is known under the name."""
        rules = self.rules()
        return await self._read(lambda reader: _story(reader, name.removeprefix("unit:"), rules))

    async def proof(self, activation: str) -> bytes | None:
        """All that proves one activation, as JSON Lines; None if no entry names it."""
        return await self._read(lambda reader: _proof(reader, activation))

    async def _read(self, look: Callable[[Reader], Found]) -> Found:
        async with self.places:
            try:
                return await asyncio.to_thread(self._looked, look)
            except (JournalError, ValueError) as error:
                raise ProblemError(503, f"the journal cannot be read: {error}") from error

    def _looked(self, look: Callable[[Reader], Found]) -> Found:
        with Reader.open(self.folder) as reader:
            return look(reader)


def _story(reader: Reader, name: str, rules: Rules) -> Story | None:
    case = open_case(reader, name)
    if case is None:
        return None
    by = Rules(rules.index, rules.sha256, detection_of(reader), rules.close)
    explanation = explain(case, by)
    return Story(explanation.verdict, tuple(report(explanation)), msgspec.to_builtins(explanation))


def _proof(reader: Reader, activation: str) -> bytes | None:
    if not reader.entries_of(activation):
        return None
    lines = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in export_lines(reader, activation))
    return "".join(f"{line}\n" for line in lines).encode()
