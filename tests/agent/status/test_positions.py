"""agent/status/positions.py: the binary frame, and what of it changed since."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.positions import (
    AGE_MAX_DS,
    GONE_KEPT_MS,
    NO_HEADING,
    ROW,
    Changes,
    FrameError,
    VehicleState,
    decode_frame,
    encode_frame,
    row,
    rows_of,
)

vehicles = st.lists(
    st.tuples(
        st.integers(1, 2**32 - 1),
        st.floats(-180, 180),
        st.floats(-90, 90),
        st.none() | st.floats(0, 360),
        st.sampled_from([0, 1, 2, 3, 4, 5, 6]),
        st.floats(0, 10_000),
    ),
    max_size=20,
    unique_by=lambda one: one[0],
)


def test_bytes_are_those_of_the_design() -> None:
    frame = encode_frame(rows_of([row(7, 8.5, 47.25, 90.0, VehicleState.STOP, 1.26)]), 1_795_377_112_000)
    assert frame[:16] == b"BLP1" + struct.pack("<IQ", 1, 1_795_377_112_000)
    assert frame[16:] == struct.pack("<IiiBBH", 7, 85_000_000, 472_500_000, 64, 5, 13)
    assert len(frame) == 32 and ROW.itemsize == 16


@given(vehicles, st.integers(0, 2**53))
def test_a_frame_comes_out_again(found: list[Any], now_ms: int) -> None:
    rows, at_ms = decode_frame(encode_frame(rows_of(row(*one) for one in found), now_ms))
    assert at_ms == now_ms
    assert rows["handle"].tolist() == sorted(one[0] for one in found)
    by_handle = {one[0]: one for one in found}
    for read in rows:
        handle, longitude, latitude, heading, state, age_s = by_handle[int(read["handle"])]
        assert abs(read["longitude_e7"] / 1e7 - longitude) < 1e-7 and abs(read["latitude_e7"] / 1e7 - latitude) < 1e-7
        assert int(read["state"]) == state | (NO_HEADING if heading is None else 0)
        assert int(read["age_ds"]) == min(round(age_s * 10), AGE_MAX_DS)
        assert handle


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (b"", "0 bytes"),
        (b"BLP2" + bytes(12), "BLP2"),
        (encode_frame(rows_of([row(1, 8.0, 47.0, None, 0, 0.0)]), 1)[:-1], "expected 32"),
        (b"BLP1" + struct.pack("<IQ", 2**32 - 1, 0), "4294967295"),
    ],
)
def test_bytes_that_are_no_frame_are_refused(frame: bytes, said: str) -> None:
    with pytest.raises(FrameError, match=said):
        decode_frame(frame)


@given(st.binary(max_size=80))
def test_noise_is_refused_or_read_but_never_anything_else(noise: bytes) -> None:
    try:
        rows, _ = decode_frame(noise)
    except FrameError:
        return
    assert len(rows) * 16 + 16 == len(noise)


def test_what_changed_and_who_is_gone_is_told_and_nothing_else() -> None:
    changes = Changes()
    still, moving, leaving = (
        row(1, 8.0, 47.0, 0.0, 0, 1.0),
        row(2, 8.1, 47.0, 0.0, 0, 1.0),
        row(3, 8.2, 47.0, 0.0, 0, 1.0),
    )
    changes.take(rows_of([still, moving, leaving]), 1_000)
    older = (*still[:5], 99)
    changes.take(rows_of([older, row(2, 8.11, 47.0, 0.0, 2, 0.0)]), 2_000)
    whole, _ = decode_frame(changes.frame(2_000))
    assert whole["handle"].tolist() == [1, 2]
    rows, _ = decode_frame(changes.frame(2_000, since_ms=1_500))
    assert dict(zip(rows["handle"].tolist(), rows["state"].tolist(), strict=True)) == {2: 2, 3: VehicleState.GONE}
    changes.take(rows_of([older]), 1_990 + GONE_KEPT_MS)
    assert 3 in decode_frame(changes.frame(1_990 + GONE_KEPT_MS, since_ms=1_999))[0]["handle"]
    changes.take(rows_of([older]), 2_001 + 2 * GONE_KEPT_MS)
    assert decode_frame(changes.frame(2_001 + 2 * GONE_KEPT_MS, since_ms=1))[0]["handle"].tolist() == [1]


@given(st.lists(vehicles, min_size=1, max_size=6))
def test_changes_added_up_are_everything(ticks: list[list[Any]]) -> None:
    changes, held, asked_ms = Changes(), {}, 0
    for number, found in enumerate(ticks, 1):
        now_ms = number * 1_000
        changes.take(rows_of(row(*one) for one in found), now_ms)
        rows, asked_ms = decode_frame(changes.frame(now_ms, asked_ms))
        for read in rows:
            if read["state"] == VehicleState.GONE:
                held.pop(int(read["handle"]), None)
            else:
                held[int(read["handle"])] = read
    assert sorted(held) == changes.rows["handle"].tolist()
    assert all(np.array_equal(held[int(one["handle"])]["longitude_e7"], one["longitude_e7"]) for one in changes.rows)
