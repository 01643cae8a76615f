"""docs/state-machines.md is printed from the code: the tables of G and T as they stand, C and I by trying each case.

Print it anew with `BORDERLANE_WRITE_DOCS=1 pytest tests/architecture/test_state_machines.py`.
"""

from __future__ import annotations

import enum
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.activation import goods, journey
from agent.activation.effects import AskedDeclaration
from agent.activation.passage import Passage, PassageStage, advance
from agent.domain.instruction import Action, ReasonCode
from agent.domain.routing import Assessment, Routing
from agent.domain.times import rfc3339
from agent.instruction.budget import Budget
from agent.instruction.combination import Cause
from agent.instruction.deadlines import deadline
from agent.instruction.lifecycle import (
    InstructionState,
    Issuer,
    Place,
    Turn,
    add_causes,
    answer,
    begin,
    confirm,
    officer_decides,
)
from zones.border_zone import BorderZone, ZoneKind
from zones.events import DetectionEvent, Direction, EventName, Kind

FILE = Path(__file__).parents[2] / "docs" / "state-machines.md"
HEAD = """# The state machines, as the code has them

Printed from the code by tests/architecture/test_state_machines.py, which fails when code and page differ; the rules
and their reasons are in ARCHITECTURE.md and the modules named. A pair that is in no table is `OUT_OF_SEQUENCE`: it is
recorded as a refusal and changes nothing. `-` stands for what does not exist yet.
"""
NOW_S = 1_800_000_000.0
ISSUER = Issuer("box-1")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def moves(table: Mapping[tuple[enum.Enum | None, enum.Enum], enum.Enum]) -> list[tuple[str, str, str]]:
    """Rows trigger, from, to: one for each trigger and goal, the states that lead there together."""
    found: dict[tuple[str, str], list[str]] = {}
    for (state, trigger), following in table.items():
        same = state is following
        goal = "unchanged" if same else following.value
        found.setdefault((trigger.value, goal), []).append(state.value if state else "-")
    return [(trigger, ", ".join(states), goal) for (trigger, goal), states in sorted(found.items())]


# --- C -------------------------------------------------------------------------------------------------------------


def _zone(kind: ZoneKind) -> BorderZone:
    square = (((8.0, 47.0), (8.1, 47.0), (8.1, 47.1), (8.0, 47.1), (8.0, 47.0)),)
    name = f"x/in/{kind.value.lower()}"
    return BorderZone(id=name, polygons=(square,), crossing="x", direction=Direction.IN, kind=kind)


def _passage_in(stage: PassageStage) -> Passage:
    """As a unit comes to this stage that drives straight through."""
    inside = {
        PassageStage.TRACKING: {ZoneKind.TRACKING},
        PassageStage.ACTIVATION: {ZoneKind.TRACKING, ZoneKind.ACTIVATION},
        PassageStage.CONFIRMATION: {ZoneKind.TRACKING, ZoneKind.CONFIRMATION},
    }.get(stage, set())
    activated = stage in (PassageStage.ACTIVATION, PassageStage.CONFIRMATION, PassageStage.PASSED)
    return Passage(
        key="u|x|IN", unit="u", crossing="x", direction="IN", stage=stage, inside=frozenset(inside), activated=activated
    )


def passage_rows() -> list[tuple[str, str, str, str]]:
    """What each detection event does in each stage, with all three zones there, whatever the event's direction."""
    rows = []
    for name, kind, ahead in itertools.product(EventName, ZoneKind, (True, False)):
        event = DetectionEvent(
            event=name,
            zone_id=_zone(kind).id,
            unit="u",
            time=NOW_S,
            detected_at=NOW_S,
            kind=Kind.FIX,
            direction=Direction.IN if ahead else Direction.OUT,
            latitude=47.0,
            longitude=8.0,
            zone_set_version="1",
        )
        for stage in PassageStage:
            before = _passage_in(stage)
            step = advance(before, event, _zone(kind), frozenset(ZoneKind), close_pair=False)
            said = ", ".join(type(one).__name__ for one in step.events)
            if step.passage.stage is stage and not said:
                continue
            what = f"{name.value} {kind.value.lower()}{'' if ahead else ', contrary'}"
            rows.append((what, stage.value, step.passage.stage.value, said))
    return rows


# --- I -------------------------------------------------------------------------------------------------------------


def _said(activation: str, routing: str, location: str) -> Assessment:
    return Assessment(
        activation_id=activation,
        mrn=activation.replace("a", "m"),
        version=1,
        jrn="JRN-1",
        crossing="x",
        direction="IN",
        routing=routing,
        issued_at=rfc3339(NOW_S),
        valid_until=rfc3339(NOW_S + 600),
        routing_control_location=location,
    )


def _pending() -> InstructionState:
    state = InstructionState(key="JRN-1", jrn="JRN-1", unit="u1", crossing="x", direction="IN")
    asked = (AskedDeclaration("m1", 1, "a1"), AskedDeclaration("m2", 1, "a2"))
    return begin(state, asked, (), NOW_S - 1, NOW_S, NOW_S, Budget(NOW_S + 7, NOW_S + 6))


def _answers(first: str, second: str = "TO_ENTRY", location: str = "ON_ENTRY") -> Callable[[InstructionState], Turn]:
    both = (_said("a1", first, location), _said("a2", second, location))
    return lambda state: answer(state, both, ISSUER, NOW_S + 1)


def _caused(action: Action) -> Callable[[InstructionState], Turn]:
    cause = Cause(action=action, reason=ReasonCode.PLATE_MISMATCH)
    return lambda state: add_causes(state, (cause,), ISSUER, NOW_S + 1)


def _officer(action: Action) -> Callable[[InstructionState], Turn]:
    return lambda state: officer_decides(state, action, "A. Muster", "seen", Place(), ISSUER, NOW_S + 1)


def _states() -> dict[str, InstructionState]:
    states = {
        "PENDING": _pending(),
        "GO": _answers("TO_ENTRY")(_pending()).state,
        "GO_WITH_OBLIGATION": _answers("TO_CONTROL", location="AFTER_ENTRY")(_pending()).state,
        "HOLD": deadline(_pending(), ISSUER, NOW_S + 6).state,
        "STOP": _answers("ENTRY_DENIED")(_pending()).state,
    }
    past = {f"{name}, confirmed": confirm(state, ISSUER, NOW_S + 1).state for name, state in states.items()}
    return states | {name: state for name, state in past.items() if not name.startswith("PENDING")}


INPUTS: dict[str, Callable[[InstructionState], Turn]] = {
    "all released": _answers("TO_ENTRY"),
    "control after entry": _answers("TO_CONTROL", location="AFTER_ENTRY"),
    "control on entry": _answers("TO_CONTROL"),
    "a HOLD reason": _caused(Action.HOLD),
    "budget ends": lambda state: deadline(state, ISSUER, NOW_S + 6),
    "officer: GO": _officer(Action.GO),
    "officer: STOP": _officer(Action.STOP),
}


def instruction_rows() -> list[list[str]]:
    """What is in force after each input, in bold where a new version went out."""
    rows = []
    for name, state in _states().items():
        row = [name]
        for give in INPUTS.values():
            after = give(state).state
            word = after.action.name if after.action is not None else "-"
            row.append(f"**{word}**" if after.version > state.version else word)
        rows.append(row)
    return rows


def printed() -> str:
    """The whole page."""
    parts = (
        HEAD,
        "## C - crossing passage (agent/activation/passage.py)\n",
        "One unit, one crossing, one direction, all three zones there; what changes nothing is left out. `contrary`:\n"
        "the direction of travel is known and is not the zone's.\n",
        _table(("event", "from", "to", "tells"), passage_rows()),
        "## T - transport declaration (agent/activation/journey.py)\n",
        _table(("trigger", "from", "to"), moves(journey.TABLE)),
        "## G - goods declaration (agent/activation/goods.py)\n",
        "Routings (assessed, raised, lowered) are not in the table but in `routed`: stricter is taken, milder only\n"
        "from an officer or a control result.\n",
        _table(("event", "from", "to"), moves(goods.TABLE)),
        "## I - instruction (agent/instruction/lifecycle.py)\n",
        "In force after each input; bold where a new version goes out. Two declarations; answers fresh and signed.\n",
        _table(("in force", *INPUTS), instruction_rows()),
    )
    return "\n".join(parts)


def test_page_is_what_the_code_does() -> None:
    if os.environ.get("BORDERLANE_WRITE_DOCS") == "1":
        FILE.write_text(printed(), "utf-8")
    assert FILE.read_text("utf-8") == printed()


def test_every_stage_and_state_can_be_reached() -> None:
    for table, states in ((journey.TABLE, journey.JourneyStage), (goods.TABLE, goods.GoodsState)):
        reached = set(table.values())
        routed = {state for state in states if state.value in Routing.__members__}
        assert set(states) - reached - routed == set()


def test_final_stages_are_not_left() -> None:
    assert {stage for stage, _ in journey.TABLE} & journey.FINAL == set()


def test_nothing_but_an_officer_makes_a_stop_or_hold_milder() -> None:
    for row in instruction_rows():
        current = row[0].partition(",")[0]
        if current not in ("HOLD", "STOP"):
            continue
        for name, cell in zip(INPUTS, row[1:], strict=True):
            if not name.startswith("officer"):
                assert Action[cell.strip("*")] >= Action[current], (row[0], name)
