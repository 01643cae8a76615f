"""Counts of what was enumerated, in the summary of a test run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

COUNTS = pytest.StashKey[list[str]]()


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`count("320 crash points, 0 bad")` is printed at the end of the run."""

    def note(words: str) -> None:
        request.config.stash.setdefault(COUNTS, []).append(words)

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line for each enumeration."""
    for words in config.stash.get(COUNTS, []):
        terminalreporter.write_line(f"reliability: {words}")
