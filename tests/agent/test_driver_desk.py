"""agent/driver_desk.py: the word never better than what stands, and nothing about why."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import DriverTable
from agent.domain.instruction import Action, ReasonCode
from agent.driver_desk import Case, case_of, recorded_of, view_of
from agent.instruction.lifecycle import InstructionState
from agent.register import Register
from tests.agent.border import T0, ZONES, Border, journey
from tests.agent.driver_side import JRN, Crossing

TABLE = DriverTable(phone="+41 58 000 00 00", phones={"CH001251": "+41 58 111 11 11"})


def case_with(state: InstructionState | None) -> Case:
    border = Border()
    border.feed(journey())
    register = Register(ZONES)
    for record in border.records.values():
        register.put(record)
    found = case_of(register, "JRN-1")
    assert found is not None
    return Case(found.journey, found.passage, state)


@given(st.sampled_from(Action), st.integers(-100, 100))
def test_an_expired_word_is_never_mild(action: Action, left_s: int) -> None:
    state = InstructionState(key="JRN-1", jrn="JRN-1", unit="u1", action=action, reason=ReasonCode.RELEASED,
                             expires_s=T0 + left_s)  # fmt: skip
    shown = view_of(case_with(state), TABLE, T0).show
    if left_s > 0:
        assert shown == action.name
    else:
        assert Action[shown] >= Action.HOLD


def test_nothing_decided_is_wait() -> None:
    undecided = InstructionState(key="JRN-1", jrn="JRN-1", unit="u1", waiting=True)
    for state in (None, undecided):
        assert view_of(case_with(state), TABLE, T0).show == "WAIT"


def test_a_journey_that_is_over_or_unknown_has_no_page() -> None:
    assert case_of(Register(ZONES), "JRN-1") is None


@pytest.mark.parametrize(("office", "number"), [("CH001251", "+41 58 111 11 11"), ("CH009999", "+41 58 000 00 00")])
async def test_the_offices_own_number_first(tmp_path: Path, office: str, number: str) -> None:
    crossing = Crossing(tmp_path, TABLE)
    await crossing.announced()
    await crossing.arrives()
    await crossing.officer(Action.STOP)
    case = case_of(crossing.box.register, JRN)
    assert case is not None and case.state is not None and case.state.instruction is not None
    told = msgspec.structs.replace(case.state.instruction, customs_office=office)
    state = msgspec.structs.replace(case.state, instruction=told)
    view = view_of(Case(case.journey, case.passage, state), TABLE, crossing.clock.now_s())
    assert (view.phone, view.at_border, view.crossing, view.language) == (number, True, "thayngen", "de")
    assert b"reason" not in msgspec.json.encode(view)
    assert "reason" not in str(recorded_of(case))
    crossing.box.store.close()


async def test_a_declaration_that_is_not_ready_is_said_before_the_border(tmp_path: Path) -> None:
    crossing = Crossing(tmp_path)
    await crossing.announced(state="NOT_READY")
    case = case_of(crossing.box.register, JRN)
    assert case is not None
    view = view_of(case, TABLE, crossing.clock.now_s())
    assert (view.show, view.notices, view.at_border) == ("WAIT", ("NOT_READY",), False)
    crossing.box.store.close()
