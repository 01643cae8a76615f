from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.times import epoch_s, rfc3339


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("2026-11-22T10:00:00.000Z", 1_795_341_600.0),
        ("2026-11-22T11:00:00+01:00", 1_795_341_600.0),
        (1_795_341_600_250, 1_795_341_600.25),
        (0, 0.0),
    ],
)
def test_either_form_is_read(value, expected_s):
    assert epoch_s(value) == expected_s


@pytest.mark.parametrize("value", ["2026-11-22T10:00:00", "soon", True, ""])
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError):
        epoch_s(value)


@given(st.integers(0, 4_000_000_000_000))
def test_milliseconds_survive(time_ms):
    assert round(epoch_s(rfc3339(time_ms / 1000)) * 1000) == time_ms
