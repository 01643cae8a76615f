"""The register as people see it: rows of vehicles, one journey whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import Any

import msgspec

from agent.activation.journey import FrozenDeclaration, Journey, JourneyStage
from agent.activation.passage import UNDER_WAY, Passage, PassageStage
from agent.domain.routing import Assessment
from agent.domain.times import rfc3339
from agent.instruction.lifecycle import InstructionState, instruction_key
from agent.register import Register
from agent.status.api import DeclarationRow, JourneyDetail, JourneyRow

EXPECTED = "EXPECTED"
"""Stage of a row without a passage: the vehicle has not been seen at a crossing."""


CHANNELS = ("green", "yellow", "red")
"""From mild to worst (design/risk.md section 11)."""
Handle = Callable[[str], int | None]


def rows(register: Register, keys: frozenset[str], handle: Handle | None = None) -> tuple[JourneyRow, ...]:
    """One row for each vehicle at a crossing or under an instruction.

    With `keys` (instruction keys, jrns or units) only those, and then journeys too that are only expected.
    `handle` gives the number of a unit on the map.
    """
    found: dict[str, JourneyRow] = {}
    for passage in _passages(register, keys):
        if passage.stage is PassageStage.OUTSIDE:
            continue
        row = _row_of(register, passage, handle)
        shown = found.get(row.key)
        if shown is None or (row.changed or "") >= (shown.changed or ""):
            found[row.key] = row
    for key in _without_passage(register, keys) - found.keys():
        state = register.instructions.get(key)
        jrn = state.jrn if state else key
        found[key] = _row(key, register.journeys.get(jrn) if jrn else None, state, None)
    return tuple(found.values())


def _without_passage(register: Register, keys: Set[str]) -> Set[str]:
    if keys:
        return keys & (register.instructions.keys() | register.journeys.keys())
    return {key for key, state in register.instructions.items() if not state.closed}


def _passages(register: Register, keys: frozenset[str]) -> Iterable[Passage]:
    if not keys:
        return register.passages.values()
    units = {unit for key in keys for unit in _units_of(register, key)}
    return [register.passages[key] for unit in units for key in register.passages_of_unit.get(unit, ())]


def _units_of(register: Register, key: str) -> tuple[str, ...]:
    if key in register.passages_of_unit:
        return (key,)
    if key.startswith("unit:"):
        return (key.removeprefix("unit:"),)
    journey = register.journeys.get(key)
    return journey.declaration.units if journey else ()


def _row_of(register: Register, passage: Passage, handle: Handle | None) -> JourneyRow:
    jrn = passage.jrn or _only_jrn(register, passage.unit)
    journey = register.journeys.get(jrn) if jrn else None
    key = passage.instruction_key or instruction_key(jrn, passage.unit)
    state = register.instructions.get(key)
    row = _row(key, journey, state, passage)
    if handle is None or passage.stage not in UNDER_WAY:
        return row
    return msgspec.structs.replace(row, handle=handle(passage.unit))


def _only_jrn(register: Register, unit: str) -> str | None:
    jrns = register.jrns_of_unit.get(unit, set())
    return next(iter(jrns)) if len(jrns) == 1 else None


def _row(key: str, journey: Journey | None, state: InstructionState | None, passage: Passage | None) -> JourneyRow:
    means = journey.declaration.active_border_transport_means if journey else None
    changed_s = max(
        (at for at in (state.issued_s if state else None, passage.last_s if passage else None) if at), default=0.0
    )
    return JourneyRow(
        key=key,
        jrn=journey.key if journey else None,
        unit=passage.unit if passage else (state.unit if state else None),
        plate=means.identification_number if means else None,
        nationality=means.nationality if means else None,
        crossing=passage.crossing if passage else (state.crossing if state else None),
        direction=passage.direction if passage else (state.direction if state else None),
        stage=passage.stage.value if passage else EXPECTED,
        state=journey.stage.value if journey else None,
        action=state.action.name if state and state.action is not None else None,
        reason_code=state.reason.value if state and state.reason else None,
        version=state.version if state else 0,
        declarations=len(journey.frozen or journey.goods) if journey else 0,
        waiting=bool(state and state.waiting),
        breach=bool(journey and journey.stage is JourneyStage.BREACH),
        closed=bool(state and state.closed),
        changed=rfc3339(changed_s) if changed_s else None,
        officer=state.released_by if state else None,
        decide_by=rfc3339(state.due_s) if state and state.waiting and state.due_s else None,
        **_risk_of(state),
    )


def _risk_of(state: InstructionState | None) -> dict[str, Any]:
    """Worst channel and highest score of the answers in force."""
    cards = [one.assessment.score_card or {} for one in state.standings] if state else []
    channels = [str(card["channel"]) for card in cards if card.get("channel") in CHANNELS]
    scores = [card["score"] for card in cards if isinstance(card.get("score"), int)]
    return {"channel": max(channels, key=CHANNELS.index, default=None), "score": max(scores, default=None)}


def declarations(register: Register) -> tuple[DeclarationRow, ...]:
    """One row for each declaration of a journey that is locked, as long as the journey is known."""
    return tuple(
        _declaration(journey, one, register.instructions.get(journey.key))
        for journey in register.journeys.values()
        for one in journey.frozen
    )


def _declaration(journey: Journey, one: FrozenDeclaration, state: InstructionState | None) -> DeclarationRow:
    means = journey.declaration.active_border_transport_means
    standings = state.standings if state else ()
    answer = next((by.assessment for by in standings if by.assessment.activation_id == one.activation_id), None)
    card = (answer.score_card if answer else None) or {}
    return DeclarationRow(
        mrn=one.mrn,
        version=one.version,
        activation_id=one.activation_id,
        state=one.state.value,
        jrn=journey.key,
        plate=means.identification_number if means else None,
        crossing=state.crossing if state else journey.crossing,
        direction=state.direction if state else None,
        action=state.action.name if state and state.action is not None else None,
        routing=answer.routing if answer else None,
        channel=card.get("channel"),
        score=card.get("score"),
        selection_kind=card.get("selectionKind"),
    )


def detail(register: Register, key: str, handle: Handle | None = None) -> JourneyDetail | None:
    """One journey, or one unit without a journey, whole; None if nothing is known under the key."""
    journey, state = register.journeys.get(key), register.instructions.get(key)
    if journey is None and state is None:
        return None
    found = rows(register, frozenset({key}), handle)
    row = next((one for one in found if one.key == key), None) or _row(key, journey, state, None)
    return JourneyDetail(
        row=row,
        causes=tuple(_plain(cause) for cause in state.causes) if state else (),
        deliveries=tuple(_plain(one) for one in state.deliveries) if state else (),
        declarations=tuple(_plain(one) for one in journey.frozen) if journey else (),
        instruction=_plain(state.instruction) if state and state.instruction else None,
        entered_at=rfc3339(state.entered_s) if state and state.entered_s else None,
        decide_by=rfc3339(state.due_s) if state and state.due_s else None,
        assessments=tuple(_answer(one.assessment) for one in state.standings) if state else (),
    )


def _answer(assessment: Assessment) -> dict[str, object]:
    """Without its signature, which the journal keeps."""
    return {name: value for name, value in _plain(assessment).items() if name != "signature"}


def _plain(value: msgspec.Struct) -> dict[str, object]:
    return dict(msgspec.to_builtins(value, str_keys=True))
