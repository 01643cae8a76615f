from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.activation.passage import Passage, PassageStage, passage_key
from agent.booth import Booth
from agent.delivery.sign_plan import POSITION_AGE_S, Place, Waiting
from agent.domain.instruction import Action, Instruction
from agent.instruction.lifecycle import InstructionState
from agent.register import Register
from firmware_bridge.outputs import OutputKind
from tests.agent.border import T0
from tests.agent.roadside import IN_ACTIVATION, LATITUDE, METRES_PER_DEGREE, shipped_index
from zones.fix import Fix

PLACE = Place("sign-1", OutputKind.SIGN, "thayngen", "IN")
GATE = 8.7188
"""Longitude of the gate between activation and confirmation zone on the road of the tests, about."""


def passage(unit: str, stage: PassageStage = PassageStage.ACTIVATION, **more: object) -> Passage:
    key = passage_key(unit, "thayngen", "IN")
    plain = Passage(key=key, unit=unit, crossing="thayngen", direction="IN", stage=stage, instruction_key=f"JRN-{unit}")
    return msgspec.structs.replace(plain, **more)


def decided(unit: str, jrn: str, action: Action | None = Action.GO, **more: object) -> InstructionState:
    issued = Instruction(
        instruction_id=f"I-{jrn}", jrn=jrn, version=2, unit=unit, vehicle=None, action="GO", customs_office=None,
        lane="2", report_to_locations=(), deadline=None, reason_code="RELEASED", issued_at="", expires_at="",
        supersedes=None, activations=(), checkpoint=None,
    )  # fmt: skip
    state = InstructionState(
        key=jrn, jrn=jrn, unit=unit, crossing="thayngen", version=2, action=action, instruction=issued,
        expires_s=T0 + 60,
    )  # fmt: skip
    return msgspec.structs.replace(state, **more)


def fix(unit: str, longitude: float, time_s: float = T0) -> Fix:
    return Fix(unit=unit, time_s=time_s, latitude=LATITUDE, longitude=longitude, received_s=time_s, heading_deg=270.0)


@pytest.fixture
def booth() -> Booth:
    return Booth(Register(shipped_index().zone_set), shipped_index())


def waiting(booth: Booth, *fixes: Fix, now_s: float = T0) -> list[Waiting]:
    return booth.waiting(PLACE, {one.unit: one for one in fixes}, now_s)


def test_who_is_how_far_from_the_gate(booth: Booth) -> None:
    register = booth._register
    for unit in ("a", "b"):
        register.put(decided(unit, f"JRN-{unit}"))
    register.put(passage("a"))
    register.put(passage("b", PassageStage.CONFIRMATION))
    before, past = GATE + 100 / METRES_PER_DEGREE, GATE - 50 / METRES_PER_DEGREE
    found = {one.unit: one for one in waiting(booth, fix("a", before), fix("b", past))}
    assert found["a"].along_m == pytest.approx(-100, abs=25) and found["b"].along_m == pytest.approx(50, abs=25)
    assert found["a"].instruction_id == "I-JRN-a" and found["a"].lane == "2" and found["a"].version == 2


@pytest.mark.parametrize(
    "stage", [PassageStage.OUTSIDE, PassageStage.TRACKING, PassageStage.PASSED, PassageStage.ABORTED]
)
def test_others_are_not_at_the_booth(booth: Booth, stage: PassageStage) -> None:
    booth._register.put(passage("a"))
    booth._register.put(passage("a", stage))
    assert waiting(booth, fix("a", IN_ACTIVATION)) == []
    assert booth._register.at_booth == {}


def test_without_a_fresh_position_nobody_knows_where_it_stands(booth: Booth) -> None:
    booth._register.put(passage("a"))
    assert [one.along_m for one in waiting(booth)] == [None]
    old = fix("a", IN_ACTIVATION, T0 - POSITION_AGE_S - 1)
    assert [one.along_m for one in waiting(booth, old)] == [None]
    booth._register.put(passage("a", lost_s=T0))
    assert [one.along_m for one in waiting(booth, fix("a", IN_ACTIVATION))] == [None]


def test_an_undecided_vehicle_is_there_and_one_whose_journey_is_over_is_not(booth: Booth) -> None:
    booth._register.put(passage("a"))
    assert [one.action for one in waiting(booth)] == [None]
    booth._register.put(decided("a", "JRN-a", None))
    assert [one.action for one in waiting(booth)] == [None], "a new round is undecided, whatever the last one said"
    booth._register.put(decided("a", "JRN-a", closed=True))
    assert waiting(booth) == []


def test_tractor_and_trailer_are_one_vehicle(booth: Booth) -> None:
    booth._register.put(decided("a", "JRN-1"))
    booth._register.put(passage("a", instruction_key="JRN-1"))
    booth._register.put(passage("t", instruction_key="JRN-1"))
    (one,) = waiting(booth, fix("a", IN_ACTIVATION - 0.0004), fix("t", IN_ACTIVATION))
    assert one.unit == "a", "the one in front"


def test_a_sign_for_the_other_direction_sees_nobody(booth: Booth) -> None:
    booth._register.put(passage("a"))
    other = Place("sign-2", OutputKind.SIGN, "thayngen", "OUT")
    assert booth.waiting(other, {}, T0) == []


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(PassageStage)), max_size=30))
def test_the_index_of_the_register_is_what_a_search_would_find(steps: list[tuple[int, PassageStage]]) -> None:
    register = Register(shipped_index().zone_set)
    for number, stage in steps:
        register.put(passage(f"u{number}", stage))
    at_booth = (PassageStage.ACTIVATION, PassageStage.CONFIRMATION)
    found = {key for keys in register.at_booth.values() for key in keys}
    assert found == {key for key, one in register.passages.items() if one.stage in at_booth}
    for key in list(register.passages):
        register.forget(Passage, key)
    assert register.at_booth == {}
