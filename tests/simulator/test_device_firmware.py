"""The Python device by itself; what it does on a line, beside the C one, is tests/firmware_bridge/test_link.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.link_messages import (
    Config,
    ConfigEnd,
    FrameReader,
    Hello,
    Lease,
    Message,
    NakMessage,
    ResetCause,
    Watchdog,
    config_crc,
    encode_frame,
)
from firmware_bridge.outputs import (
    PERMISSIVE,
    PERMISSIVE_AHEAD_MS,
    Nak,
    OutputKind,
    OutputSettings,
    OutputState,
    config_values,
)
from simulator.device_firmware import DeviceFirmware, Kept

SIGN = (OutputSettings(OutputKind.SIGN, OutputState.STOP), OutputSettings(OutputKind.WATCHDOG))
VALUES = config_values(SIGN)


def configured(uptime_ms: int = 0) -> DeviceFirmware:
    """As after its first conversation with a host."""
    device = DeviceFirmware(Kept(0, tuple(sorted(VALUES.items()))), uptime_ms=uptime_ms)
    device.feed(encode_frame(Hello(1, 1, 1, 0, config_crc(VALUES))), uptime_ms)
    assert device.ready
    device.to_send()
    return device


def naks(device: DeviceFirmware) -> list[int]:
    return [one.reason for one in FrameReader().feed(device.to_send()) if isinstance(one, NakMessage)]


def test_only_flash_outlives_a_restart() -> None:
    device = configured()
    device.feed(encode_frame(Lease(0, 0, OutputState.HOLD, 1, 30_000, 4)), 10)
    assert device.outputs[0].commanded is OutputState.HOLD
    after = device.restarted(ResetCause.WATCHDOG)
    assert after.kept == Kept(2, device.kept.config) and after.reset_cause is ResetCause.WATCHDOG
    assert after.outputs[0].commanded is OutputState.STOP and not after.ready and not after.greeted


def test_a_half_sent_configuration_counts_for_nothing() -> None:
    device = configured()
    device.feed(encode_frame(Config(0, 1, OutputState.DEFAULT)), 10)
    device.feed(encode_frame(ConfigEnd(1, 12345)), 10)
    assert naks(device) == [Nak.CONFIG_MISMATCH]
    assert device.outputs[0].settings == SIGN[0]


@pytest.mark.parametrize(
    "message",
    [
        Lease(0, 0, OutputState.STOP, 1, 3_000, 1),
        Watchdog(0, 1, 3_000),
        Config(0, 1, 3),
        ConfigEnd(0, 0),
    ],
)
def test_nothing_is_obeyed_before_hello(message: Message) -> None:
    device = DeviceFirmware(Kept(0, tuple(sorted(VALUES.items()))))
    device.feed(encode_frame(message), 10)
    assert naks(device) == [Nak.NO_HELLO]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(OutputState),
    st.integers(-70_000, 70_000),
    st.lists(st.integers(0, 4_000), max_size=6),
)
def test_no_lease_of_whatever_length_keeps_a_permissive_state_beyond_three_seconds(
    uptime_ms: int, state: OutputState, ahead_ms: int, steps: list[int]
) -> None:
    device = configured(uptime_ms)
    device.feed(encode_frame(Lease(0, 0, state, 1, (uptime_ms + ahead_ms) % 2**32, 1)), uptime_ms)
    passed_ms = 0
    for step in steps:
        passed_ms += step
        device.tick((uptime_ms + passed_ms) % 2**32)
        if passed_ms >= min(PERMISSIVE_AHEAD_MS, max(0, ahead_ms)):
            assert device.outputs[0].commanded not in PERMISSIVE
