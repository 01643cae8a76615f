"""agent/condition.py: figures and words about the agent; the modes themselves are tested with agent/app.py."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.activation.events import ActivationAnswered, InstructionOut
from agent.condition import LATENCIES, Condition, quantiles_ms
from agent.instruction.lifecycle import InstructionState
from agent.journal.batch import Committed, StoredEvent
from agent.register import Register
from agent.status.live import Metrics
from agent.status.modes import Mode
from tests.agent.border import T0, ZONES
from tests.agent.roadside import HandClock


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=300))
def test_quantiles_are_values_that_were_measured_in_order(seconds: list[float]) -> None:
    found = quantiles_ms(seconds)
    assert found["p50"] <= found["p99"] <= found["max"] == round(max(seconds) * 1000, 1)
    assert set(found.values()) <= {round(one * 1000, 1) for one in seconds}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        assert sum(round(one * 1000, 1) <= found[name] for one in seconds) >= share * len(seconds)


def test_without_a_value_there_are_none() -> None:
    assert quantiles_ms([]) == {}


@pytest.fixture
def condition() -> Condition:
    register = Register(ZONES)
    register.put(InstructionState(key="JRN-1", jrn="JRN-1", unit="u1", arrived_s=T0))
    register.put(InstructionState(key="JRN-2", jrn="JRN-2", unit="u2", arrived_s=T0, out_s=T0 + 1.0))
    return Condition("box-1", "0.1.0", HandClock(2.0), register, Metrics())


def exposed(condition: Condition) -> str:
    return condition._metrics.text().decode()


def test_the_first_instruction_of_a_round_is_timed_by_the_wall_and_only_that(condition: Condition) -> None:
    condition.performed([InstructionOut("JRN-1", 1, "u1", T0 + 3.0)])
    condition.performed([InstructionOut("JRN-2", 2, "u2", T0 + 9.0), InstructionOut("JRN-9", 1, "u9", T0 + 9.0)])
    text = exposed(condition)
    assert "borderlane_fix_to_instruction_seconds_count 1.0" in text
    assert "borderlane_fix_to_instruction_seconds_sum 1.5" in text, "the clock runs twice as fast as the wall"


def test_answers_of_customs_are_counted(condition: Condition) -> None:
    condition.performed(
        [ActivationAnswered("JRN-1", "a", "ACCEPTED"), ActivationAnswered("JRN-1", "b", "REFUSED", "x")]
    )
    text = exposed(condition)
    assert 'borderlane_activations_total{result="ACCEPTED"} 1.0' in text
    assert 'borderlane_activations_total{result="REFUSED"} 1.0' in text


def test_what_is_on_disk_is_counted(condition: Condition) -> None:
    events = (
        StoredEvent(1, "instruction", b'{"action":"STOP"}'),
        StoredEvent(2, "alarm", b'{"name":"BREACH"}'),
        StoredEvent(3, "journey", b"{}"),
    )
    condition.committed(Committed(seqs=(1, 2, 3), events=events))
    condition.committed(Committed())
    assert condition.entries == 3
    text = exposed(condition)
    assert 'borderlane_instructions_total{action="STOP"} 1.0' in text
    assert 'borderlane_alarms_total{name="BREACH"} 1.0' in text


def test_latencies_are_bounded(condition: Condition) -> None:
    for n in range(LATENCIES + 10):
        condition.performed([InstructionOut("JRN-1", 1, "u1", T0 + n)])
    assert len(condition._latencies) == LATENCIES


def test_what_is_said_at_the_end_is_not_taken_for_being_there(condition: Condition) -> None:
    here, gone = msgspec.json.decode(condition.message()), msgspec.json.decode(condition.last_message())
    assert (here["online"], here["mode"], here["degraded"]) == (True, "NORMAL", [])
    assert (gone["online"], gone["mode"], gone["degraded"]) == (False, "BROKER_LOST", ["BROKER_LOST"])
    assert here["since"] == gone["since"] and here["zoneSet"] == gone["zoneSet"] == "test.1"


def test_the_mode_is_the_worst_of_those_in_force(condition: Condition) -> None:
    condition.degraded = (Mode.RISK_DEGRADED, Mode.UPLINK_LOST)
    said = msgspec.json.decode(condition.message())
    assert (said["mode"], said["degraded"]) == ("UPLINK_LOST", ["RISK_DEGRADED", "UPLINK_LOST"])
