from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.outputs import (
    ALLOWED,
    DEFAULTS,
    MAX_OUTPUTS,
    PERMISSIVE,
    PERMISSIVE_AHEAD_MS,
    PERMISSIVE_LEASE_MS,
    RENEW_EVERY_S,
    DeviceClock,
    Nak,
    OutputKind,
    OutputSettings,
    OutputState,
    ahead_ms,
    config_values,
    lease_refusal,
    longest_ms,
    outputs_of,
    uptime_ms,
)

U32 = st.integers(0, 2**32 - 1)
SETTINGS = st.sampled_from([OutputSettings(kind, default) for kind in OutputKind for default in sorted(DEFAULTS[kind])])


@pytest.mark.parametrize(
    ("later", "now", "ahead"),
    [
        (5_000, 2_000, 3_000),
        (2_000, 5_000, -3_000),
        (1_000, 2**32 - 1_000, 2_000),
        (2**32 - 1_000, 1_000, -2_000),
        (7, 7, 0),
        (2**31, 0, -(2**31)),
    ],
)
def test_ahead_is_right_across_the_wrap(later: int, now: int, ahead: int) -> None:
    assert ahead_ms(later, now) == ahead


@given(U32, st.integers(-(2**31), 2**31 - 1))
def test_ahead_undoes_adding(now: int, ahead: int) -> None:
    assert ahead_ms((now + ahead) % 2**32, now) == ahead


def test_uptime_wraps() -> None:
    assert uptime_ms(4_294_967.296) == 0 and uptime_ms(1.5) == 1_500


@given(U32, st.floats(0, 1e6), st.floats(0, 5), st.floats(0, 5))
def test_a_lease_counted_from_what_we_heard_never_ends_later(
    uptime: int, heard_s: float, way_s: float, since_s: float
) -> None:
    """The heartbeat was on its way for `way_s`: by then the device is older than we think, so the lease is shorter."""
    clock = DeviceClock(uptime, heard_s)
    end_ms = clock.lease_end_ms(heard_s + since_s, PERMISSIVE_LEASE_MS)
    device_now_ms = (uptime + int((way_s + since_s) * 1000) + 1) % 2**32
    assert ahead_ms(end_ms, device_now_ms) <= PERMISSIVE_LEASE_MS


def test_no_default_lets_a_vehicle_go() -> None:
    assert not PERMISSIVE & set().union(*DEFAULTS.values())
    for kind, state in ((kind, state) for kind in OutputKind for state in OutputState):
        if state in DEFAULTS[kind]:
            OutputSettings(kind, state)
        else:
            with pytest.raises(ValueError, match="expected"):
                OutputSettings(kind, state)


def test_a_lease_survives_a_missed_renewal_and_ends_within_three_seconds() -> None:
    assert 2 * RENEW_EVERY_S * 1000 < PERMISSIVE_LEASE_MS < PERMISSIVE_AHEAD_MS == 3_000


@given(st.sampled_from(OutputKind), st.sampled_from(OutputState), st.integers(-70_000, 70_000))
def test_granted_is_only_what_the_kind_can_show_and_what_ends_in_time(
    kind: OutputKind, state: OutputState, ahead: int
) -> None:
    refusal = lease_refusal(kind, state, ahead)
    granted = state in ALLOWED[kind] and 0 < ahead <= longest_ms(state)
    assert (refusal is None) == granted
    if granted and state in PERMISSIVE:
        assert ahead <= 3_000
    if state not in ALLOWED[kind]:
        assert refusal is Nak.STATE_NOT_ALLOWED


@given(st.lists(SETTINGS, max_size=MAX_OUTPUTS))
def test_a_configuration_says_what_it_was_made_from(outputs: list[OutputSettings]) -> None:
    values = config_values(tuple(outputs))
    assert outputs_of(values) == tuple(outputs)
    assert outputs_of({**values, 14: 9} if outputs else values) == tuple(outputs), "items of later versions"


@pytest.mark.parametrize(
    "values",
    [{16: 1}, {0: 9}, {1: 3}, {0: 1, 1: 1}, {0: 3, 1: 0}, {16 * n: 1 for n in range(9)}],
    ids=["gap", "kind", "no kind", "GO by default", "barrier open by default", "too many"],
)
def test_a_configuration_that_is_none_is_refused(values: dict[int, int]) -> None:
    with pytest.raises(ValueError):
        outputs_of(values)
