from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.modes import Mode, ModeFacts, degraded, worst


@pytest.mark.parametrize(
    ("facts", "modes"),
    [
        (ModeFacts(), ()),
        (ModeFacts(breaker_open=True), (Mode.RISK_DEGRADED,)),
        (ModeFacts(customs_reachable=False, breaker_open=True), (Mode.RISK_DEGRADED, Mode.UPLINK_LOST)),
        (ModeFacts(heartbeat_age_s=3.0), ()),
        (ModeFacts(heartbeat_age_s=3.1), (Mode.BROKER_LOST,)),
        (ModeFacts(clock_difference_s=-2.5), (Mode.CLOCK_UNTRUSTED,)),
        (ModeFacts(clock_doubted=True), (Mode.CLOCK_UNTRUSTED,)),
        (ModeFacts(gnss_suspect=True), (Mode.GNSS_UNTRUSTED,)),
        (ModeFacts(zones_stale=True), (Mode.ZONES_STALE,)),
        (ModeFacts(journal_writable=False), (Mode.JOURNAL_READONLY,)),
    ],
)
def test_facts_to_modes(facts, modes):
    assert degraded(facts) == modes


FACTS = st.builds(
    ModeFacts,
    *[st.booleans()] * 2,
    st.floats(0, 10),
    st.floats(-5, 5),
    *[st.booleans()] * 4,
)


@given(FACTS)
def test_the_mode_is_the_worst_of_the_list(facts):
    modes = degraded(facts)
    assert Mode.NORMAL not in modes
    assert worst(modes) is (modes[-1] if modes else Mode.NORMAL)
    assert list(modes) == sorted(set(modes))
