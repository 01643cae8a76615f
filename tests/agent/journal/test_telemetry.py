"""What is kept of a fix, and its form on disk."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.telemetry import FORM, FixSeen, Observed, decode, encode, state_codes
from zones.fix import Fix, FixType
from zones.unit_state import Phase

FINITE = st.floats(-1e9, 1e9)
SEEN = st.builds(
    FixSeen,
    time_s=FINITE,
    received_s=FINITE,
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    accuracy_m=st.floats(0, 1e4),
    decided_m=st.floats(3, 1e4),
    speed_mps=st.none() | st.floats(0, 90),
    heading_deg=st.none() | st.floats(0, 360),
    seq=st.none() | st.integers(0, 2**53),
    boot_id=st.none() | st.text(max_size=8),
    fix_type=st.sampled_from([one.value for one in FixType]),
    verdict=st.sampled_from(["accepted", "held", "refused", "late", "duplicate"]),
    outcome=st.none() | st.sampled_from(["used", "frozen", "suspect"]),
    reason=st.text(max_size=30),
    states=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("OCILcil")), max_size=3).map(tuple),
)
ROWS = st.builds(
    Observed,
    form=st.just(FORM),
    zone_set=st.text(max_size=12),
    zones=st.just(("a/in/tracking", "a/in/activation", "a/in/confirmation")),
    fixes=st.lists(SEEN, max_size=5).map(tuple),
    outside=st.integers(0, 9),
    repeated=st.integers(0, 9),
)


@given(ROWS)
def test_a_row_comes_back_as_it_was(observed):
    assert decode(encode(observed)) == observed


@given(SEEN)
def test_the_fix_can_be_fed_again_exactly(seen):
    fix = Fix(
        "u1",
        seen.time_s,
        seen.latitude,
        seen.longitude,
        seen.received_s,
        seq=seen.seq,
        boot_id=seen.boot_id,
        accuracy_m=seen.accuracy_m or seen.decided_m,  # an unknown one as it was decided on
        speed_mps=seen.speed_mps,
        heading_deg=seen.heading_deg,
        fix_type=FixType(seen.fix_type),
    )
    assert seen.fix("u1") == fix


@pytest.mark.parametrize(
    ("inside", "phases", "codes"),
    [
        ((), {}, {}),
        (("a",), {}, {"a": "O"}),
        (("a",), {"a": Phase.IN}, {"a": "I"}),
        ((), {"a": Phase.IN}, {"a": "i"}),
        (("a",), {"a": Phase.CANDIDATE, "b": Phase.LEAVING}, {"a": "C", "b": "l"}),
        (("b", "a"), {"b": Phase.LEAVING}, {"a": "O", "b": "L"}),
    ],
)
def test_a_code_says_the_state_and_whether_the_fix_is_inside(inside, phases, codes):
    assert dict(state_codes(inside, phases)) == codes


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no telemetry"),
        (b"\x93\x01\x02\x03", "no telemetry"),
        (msgspec.msgpack.encode((FORM + 1, "z", (), (), 0, 0)), f"of form {FORM + 1}: expected {FORM}"),
    ],
)
def test_what_is_no_row_is_refused(body, words):
    with pytest.raises(ValueError, match=words):
        decode(body)
