"""What the tests of sources share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agent.ingest.ports import pseudo_terminal


@pytest.fixture
def port() -> Iterator[tuple[int, str]]:
    """The far end of a serial line, and the path of the port."""
    with pseudo_terminal() as both:
        yield both
