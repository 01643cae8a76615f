from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.outputs import PERMISSIVE, OutputKind, OutputSettings, OutputState
from firmware_bridge.relay import BOARD_TIMEOUT_MS, FailSafe, RelayOutput

GO, STOP, HOLD, DEFAULT = OutputState.GO, OutputState.STOP, OutputState.HOLD, OutputState.DEFAULT
OPEN, CLOSED = OutputState.OPEN, OutputState.CLOSED
SIGN = OutputSettings(OutputKind.SIGN)
BARRIER = OutputSettings(OutputKind.BARRIER, CLOSED)


def relay(
    settings: OutputSettings, coils: dict[OutputState, int], fail_safe: FailSafe = FailSafe.TIMED_COIL
) -> RelayOutput:
    return RelayOutput(settings, 1, fail_safe, coils)


@pytest.mark.parametrize(
    ("output", "asked", "shown"),
    [
        (relay(SIGN, {GO: 0, STOP: 1}), GO, GO),
        (relay(SIGN, {GO: 0, STOP: 1}), HOLD, STOP),
        (relay(SIGN, {GO: 0}), HOLD, DEFAULT),
        (relay(SIGN, {GO: 0, STOP: 1}), DEFAULT, DEFAULT),
        (relay(OutputSettings(OutputKind.SIGN, STOP), {GO: 0, STOP: 1}), DEFAULT, STOP),
        (relay(BARRIER, {OPEN: 0}), CLOSED, CLOSED),
        (relay(BARRIER, {OPEN: 0}), DEFAULT, CLOSED),
        (relay(BARRIER, {OPEN: 0, CLOSED: 1}), DEFAULT, CLOSED),
    ],
)
def test_what_coils_show_and_read_back_as(output: RelayOutput, asked: OutputState, shown: OutputState) -> None:
    assert output.shown_for(asked) is shown
    assert output.measured(output.coils_for(shown)) is shown


def test_two_coils_at_once_are_no_state() -> None:
    assert relay(SIGN, {GO: 0, STOP: 1}).measured({0: True, 1: True}) is None


def test_what_could_not_be_taken_back_is_refused_when_configured() -> None:
    with pytest.raises(ValueError, match="restrictive_only"):
        relay(SIGN, {GO: 0}, FailSafe.RESTRICTIVE_ONLY)
    with pytest.raises(ValueError, match="expected a coil"):
        relay(OutputSettings(OutputKind.SIGN, STOP), {GO: 0})


@given(
    st.dictionaries(st.sampled_from(list(OutputState)[1:]), st.integers(0, 7)),
    st.sampled_from(OutputState),
    st.sampled_from(FailSafe),
)
def test_nothing_permissive_is_lit_for_anything_else(
    coils: dict[OutputState, int], asked: OutputState, fail_safe: FailSafe
) -> None:
    one_each = {state: number for number, state in enumerate(coils)}
    if fail_safe is FailSafe.RESTRICTIVE_ONLY:
        one_each = {state: coil for state, coil in one_each.items() if state not in PERMISSIVE}
    output = relay(SIGN, one_each, fail_safe)
    shown = output.shown_for(asked)
    assert shown not in PERMISSIVE or shown is asked
    lit = [address for address, is_lit in output.coils_for(shown).items() if is_lit]
    assert len(lit) <= 1
    if asked in PERMISSIVE and output.may_show(asked):
        assert fail_safe is not FailSafe.RESTRICTIVE_ONLY and lit == [one_each[asked]]


@given(st.integers(1, 5_000))
def test_a_boards_time_out_is_never_longer_than_a_lease(timer_unit_ms: int) -> None:
    output = RelayOutput(SIGN, 1, FailSafe.BOARD_WATCHDOG, {GO: 0}, 0, timer_unit_ms)
    assert output.timer_counts * timer_unit_ms <= max(BOARD_TIMEOUT_MS, timer_unit_ms)
