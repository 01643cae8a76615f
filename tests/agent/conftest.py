"""A roadside box on a real folder, opened again if asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.roadside import HandClock, Roadside


@pytest.fixture
def hand_clock() -> HandClock:
    return HandClock()


@pytest.fixture
def open_roadside(tmp_path: Path, hand_clock: HandClock) -> Iterator[Callable[..., Roadside]]:
    """Opens the box of the test's folder; opening it again is a restart."""
    opened: list[Roadside] = []

    def open_again(**options: int) -> Roadside:
        for one in opened:
            one.store.close()
        opened.append(Roadside(tmp_path / "data", hand_clock, **options))
        return opened[-1]

    yield open_again
    for one in opened:
        one.store.close()


@pytest.fixture
def roadside(open_roadside: Callable[..., Roadside]) -> Roadside:
    return open_roadside()
