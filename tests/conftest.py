"""What all tests may use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
import structlog


def require(binary: str) -> str:
    """Path of a program that comes from Debian or a wheel.

    Without it the test is skipped with the reason; with BORDERLANE_REQUIRE_ALL=1 it fails instead.
    """
    path = shutil.which(binary, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return path or absent(f"{binary} is not installed")


def absent(reason: str) -> str:
    """Something outside is missing: skip, or fail where everything has to be there."""
    if os.environ.get("BORDERLANE_REQUIRE_ALL") == "1":
        pytest.fail(f"BORDERLANE_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(name="require", scope="session")
def require_fixture() -> Callable[[str], str]:
    """`require(binary)` as a fixture, since test files do not import one another."""
    return require


@pytest.fixture(name="absent", scope="session")
def absent_fixture() -> Callable[[str], str]:
    """`absent(reason)` as a fixture."""
    return absent


@pytest.fixture(autouse=True)
def _logging_as_at_the_start() -> Iterator[None]:
    """Commands set up logging for their process; the next test gets it as it was."""
    yield
    structlog.reset_defaults()


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
