"""From activation to receipt: what became of a journey, or of a unit without one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agent.activation.journey import Journey, vehicle_of
from agent.domain.instruction import Delivery
from agent.domain.times import epoch_s, rfc3339
from agent.explain.case import Case
from agent.explain.story import Act, DeclarationStory, Handling, InstructionStory
from agent.explain.words import TRIGGER, clock
from agent.instruction.lifecycle import InstructionState, instruction_key
from agent.journal.entry import EntryBody

Facts = dict[str, Any]


def handlings(case: Case) -> list[Handling]:
    """One for each journey of the case, and one for each unit that was told something without a journey."""
    found = [_handling(case, jrn, None) for jrn in case.jrns]
    found += [_handling(case, None, unit) for unit in case.units]
    return [one for one in found if one.declarations or one.instructions or one.acts]


def _handling(case: Case, jrn: str | None, unit: str | None) -> Handling:
    own = [entry for entry in case.entries if _is_own(entry, jrn, unit)]
    journey = case.journeys.get(jrn) if jrn is not None else None
    state = case.instructions.get(instruction_key(jrn, unit or ""))
    vehicle = None if journey is None else vehicle_of(journey.declaration)
    return Handling(
        jrn=jrn,
        unit=unit,
        vehicle=None if vehicle is None else f"{vehicle.identification_number} ({vehicle.nationality})",
        direction=None if journey is None else journey.declaration.direction,
        planned_crossing=None if journey is None else journey.declaration.planned_crossing.crossing,
        stage=None if journey is None else journey.stage.value,
        faults=() if journey is None else tuple(f"{one.field}: {one.message}" for one in journey.failures),
        declarations=tuple(_declarations(own, journey)),
        instructions=tuple(_instructions(own, state)),
        acts=tuple(act for entry in own if (act := _act(entry)) is not None),
    )


def _is_own(entry: EntryBody, jrn: str | None, unit: str | None) -> bool:
    """Whether an entry is about this journey; for a unit without one, about what it was told for itself."""
    facts = entry.facts
    if jrn is not None:
        return jrn in (facts.get("jrn"), facts.get("key"))
    key = instruction_key(None, unit or "")
    return facts.get("key") == key or (facts.get("unit") == unit and "jrn" in facts and facts["jrn"] is None)


# --- declarations -----------------------------------------------------------------------------------


def _declarations(own: Sequence[EntryBody], journey: Journey | None) -> list[DeclarationStory]:
    ids = [entry.activation_id for entry in own if entry.activation_id is not None]
    if journey is not None:
        ids += [one.activation_id for one in journey.frozen]
    return [_declaration(own, activation_id, journey) for activation_id in dict.fromkeys(ids)]


def _declaration(own: Sequence[EntryBody], activation_id: str, journey: Journey | None) -> DeclarationStory:
    about = [entry for entry in own if entry.activation_id == activation_id]
    activated = _newest(about, "ACTIVATED")
    customs = _newest(about, "ACTIVATION_ANSWERED")
    risk = _newest(about, "RISK_ANSWERED")
    frozen = next((one for one in journey.frozen if one.activation_id == activation_id), None) if journey else None
    facts: Facts = activated.facts if activated else {}
    mrn = facts.get("mrn") if activated or frozen is None else frozen.mrn
    version = facts.get("version") if activated or frozen is None else frozen.version
    activated_at = None if activated is None else rfc3339(float(facts["activatedAt"]))
    result = None if customs is None else str(customs.facts.get("result"))
    routing: Facts = risk.facts if risk else {}
    return DeclarationStory(
        activation_id=activation_id,
        mrn=mrn,
        version=version,
        activated_at=activated_at,
        variant=facts.get("variant"),
        customs=result,
        routing=routing.get("routing"),
        control_location=routing.get("routingControlLocation"),
        channel=routing.get("channel"),
        answered_at=None if risk is None else risk.at,
        words=f"{_activation_words(facts, activated_at, customs)}; {_risk_words(risk)}",
    )


def _newest(entries: Iterable[EntryBody], kind: str) -> EntryBody | None:
    return next((entry for entry in reversed(list(entries)) if entry.kind == kind), None)


def _activation_words(facts: Facts, activated_at: str | None, customs: EntryBody | None) -> str:
    if activated_at is None:
        return "not activated"
    by = f" by officer {facts['officer']}" if facts.get("officer") else ""
    text = f"activated at {_clock(activated_at)} ({facts.get('variant')}{by})"
    if customs is None:
        return f"{text}, customs has not answered yet"
    reason = customs.facts.get("reason")
    return f"{text}, customs: {customs.facts.get('result')}{f' ({reason})' if reason else ''}"


def _risk_words(risk: EntryBody | None) -> str:
    if risk is None:
        return "no risk answer"
    facts = risk.facts
    where = f", {facts['routingControlLocation']}" if facts.get("routingControlLocation") else ""
    channel = f", channel {facts['channel']}" if facts.get("channel") else ""
    return f"risk: {facts.get('routing')}{where}{channel}, answered at {_clock(risk.at)}"


def _clock(text: str) -> str:
    return clock(epoch_s(text))


# --- instructions -----------------------------------------------------------------------------------


def _instructions(own: Sequence[EntryBody], state: InstructionState | None) -> list[InstructionStory]:
    out = {entry.facts["version"]: entry for entry in reversed(own) if entry.kind == "INSTRUCTION_OUT"}
    deliveries = {one.version: one for one in state.deliveries} if state is not None else {}
    receipts = {entry.facts["version"]: entry for entry in own if entry.kind == "RECEIPT"}
    return [
        _instruction(entry, out.get(version), deliveries.get(version), receipts.get(version))
        for entry in own
        if entry.kind == "INSTRUCTION_ISSUED" and (version := entry.facts["version"]) is not None
    ]


def _instruction(
    issued: EntryBody, out: EntryBody | None, delivery: Delivery | None, receipt: EntryBody | None
) -> InstructionStory:
    facts = issued.facts
    stage = delivery.stage.value if delivery else (receipt.facts.get("stage") if receipt else None)
    times = {name: _time(delivery, name) for name in ("delivered", "displayed", "acknowledged")}
    out_at = None if out is None else str(out.facts.get("outAt"))
    by = f" by officer {facts['officer']}" if facts.get("officer") else ""
    words = f"version {facts['version']}: {facts['action']} ({facts['reasonCode']}){by}, decided at {_clock(issued.at)}"
    words += f", out at {_clock(out_at)}" if out_at else ", not out yet"
    words += "".join(f", {name} at {_clock(at)}" for name, at in times.items() if at is not None)
    if not any(times.values()):
        words += f", {stage.lower()} by its receipt" if receipt is not None and stage else ", no receipt"
    return InstructionStory(
        version=facts["version"],
        action=facts["action"],
        reason_code=facts["reasonCode"],
        issued_at=issued.at,
        out_at=out_at,
        delivered_at=times["delivered"],
        displayed_at=times["displayed"],
        acknowledged_at=times["acknowledged"],
        stage=stage,
        officer=facts.get("officer"),
        words=words,
    )


def _time(delivery: Delivery | None, name: str) -> str | None:
    time_s = getattr(delivery, f"{name}_s") if delivery is not None else None
    return None if time_s is None else rfc3339(time_s)


# --- the rest ---------------------------------------------------------------------------------------


def _moved(facts: Facts) -> str:
    return f"journey is {facts['stage']}: {TRIGGER.get(facts['trigger'], facts['trigger'])}"


def _refused(facts: Facts) -> str:
    return f"refused: {facts.get('what')}: {facts.get('code')}"


_ACTS: dict[str, Callable[[Facts], str]] = {
    "JOURNEY_FED": lambda facts: f"customs sent version {facts['version']} of the journey: {facts['state']}",
    "JOURNEY_MOVED": _moved,
    "NOTICE_SENT": lambda facts: f"driver told: {facts['code']}{_in_field(facts)}",
    "RISK_ASKED": lambda facts: f"risk check asked for, {facts['declarations']} declarations",
    "LATE_ANSWER": lambda facts: (
        f"recorded only, changes nothing: {facts['what']} {facts.get('routing') or ''}".strip()
    ),
    "REFUSED": _refused,
    "SECOND_WITNESS": lambda facts: f"second unit {facts['unit']} at {facts['crossing']}",
    "REPEATED_ENTRY": lambda facts: f"entered again at {facts['crossing']}; the first answer stands",
    "OFFICER_DECIDED": lambda facts: f"officer {facts['officer']} decided {facts['action']}: {facts['reason']}",
    "OFFICER_ACTIVATED": lambda facts: f"officer {facts['officer']} activated by hand: {facts['reason']}",
    "CONTROL_RESULT": lambda facts: f"control by {facts['officer']}: {facts['result']}",
    "INCIDENT": lambda facts: f"driver reported {facts['incident']}",
    "RECEIVER_DOUBTED": lambda facts: (
        "the dates of its receiver are believed again"
        if facts["reason"] == "NONE"
        else f"the dates of its receiver are not believed: {facts['reason']}"
    ),
    "ALARM": lambda facts: f"alarm {facts['alarm']}",
    "INSTRUCTION_EXPIRED": lambda facts: f"version {facts['version']} of the instruction has expired",
    "JOURNEY_FORGOTTEN": lambda facts: "the agent let the journey go",
}
"""Entries that are told by themselves, with their words."""


def _in_field(facts: Facts) -> str:
    return f" in {facts['field']}" if facts.get("field") else ""


def _act(entry: EntryBody) -> Act | None:
    words = _ACTS.get(entry.kind)
    return None if words is None else Act(entry=entry.seq, time=entry.at, kind=entry.kind, words=words(entry.facts))
