"""The report of `demo --check` (contract section 8): what came out of a run against what had to.

Pure: the facts were gathered before (`simulator.gathering`). The combination rule and the time limit are
written here a second time, small, so that the agent is not judged by its own code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.domain.identifiers import activation_id
from simulator.scenario import Behaviour, LorryPlan, Scenario, expected_activations
from simulator.truth import Expected

ACTIONS = ("GO", "GO_WITH_OBLIGATION", "HOLD", "STOP")
"""In order of severity."""
BUDGET_SHARE, BUDGET_MAX_S, PASSED_S = 0.6, 8.0, 2.0
"""Invariant 4 of contract section 6, and the limit where the vehicle is already past the zone."""
POSITION_DOUBT_S = 1.0
"""Within this of the zone's end a fix cannot tell 'still inside' from 'past': error 10-20 m at 15 m/s."""
TIGHT_S = 3.0
"""With a shorter limit HOLD is a right answer: the agent decides 1 s before it, and answers take time."""
GRACE_S = 4.0
"""An officer's act so shortly before the end of a run may not have reached the lorry yet."""
FAULT_REACH_S = 10.0
"""A fault explains a HOLD for lorries that entered up to so long after it had ended."""


@dataclass(frozen=True)
class ActivationFact:
    """One stored activation."""

    activation_id: str
    mrn: str
    jrn: str
    crossing: str
    direction: str


@dataclass(frozen=True)
class InstructionFact:
    """Last instruction of one journey, or of a unit without one; times are UTC seconds of the run's clock."""

    key: str
    unit: str
    action: str
    reason: str
    version: int
    issued_s: float
    arrived_s: float | None
    """When the fix that settled the entry reached the agent; None: no entry ran a limit."""
    first_out_s: float | None
    """When the first instruction after that entry was out."""
    receipted: bool


@dataclass(frozen=True)
class AssessmentFact:
    """What customs answered for one declaration; `mrn` None = the light check of an empty run."""

    jrn: str
    mrn: str | None
    routing: str
    location: str | None


@dataclass(frozen=True)
class OfficerFact:
    """One act of an officer that was accepted."""

    key: str
    at_s: float
    code: str
    """Action decided, or control result code."""
    mrn: str | None = None
    """Set for a control result."""


@dataclass(frozen=True)
class FaultFact:
    """One fault played, on the run's clock."""

    kind: str
    at_s: float
    until_s: float
    recovered_after_ms: float | None


@dataclass(frozen=True)
class Facts:
    """Everything the report is made of."""

    end_s: float
    """When the run ended, on its clock."""
    wall_seconds: float
    speedup: float = 1.0
    published: int = 0
    accepted: int = 0
    refused: int = 0
    duplicates: int = 0
    late: int = 0
    journal: tuple[ActivationFact, ...] = ()
    customs: tuple[ActivationFact, ...] = ()
    instructions: tuple[InstructionFact, ...] = ()
    assessments: tuple[AssessmentFact, ...] = ()
    officers: tuple[OfficerFact, ...] = ()
    faults: tuple[FaultFact, ...] = ()
    journal_entries: int = 0
    journal_verified: bool = False
    peak_rss_mb: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it had to be, for people."""

    what: str
    """missing, unexpected, twice, wrong or late."""
    key: str
    detail: str


def make_report(scenario: Scenario, facts: Facts) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """The report as plain JSON values, and every single finding behind its counters."""
    expected = [item for plan in scenario.lorries for item in expected_activations(plan, facts.end_s)]
    findings = [
        *_activation_findings(expected, facts),
        *_wrong_findings(scenario, facts),
        *_late_findings(scenario, facts),
    ]
    counts = Counter(finding.what for finding in findings)
    held = {fact.activation_id for fact in facts.journal}
    actions = Counter(fact.action for fact in facts.instructions)
    report = {
        "ok": not findings and facts.journal_verified,
        "seconds": round(facts.wall_seconds, 1),
        "seed": scenario.seed,
        "lorries": len(scenario.lorries),
        "crossings": len({plan.crossing for plan in scenario.lorries if plan.crossing}),
        "fixes": {
            "published": facts.published,
            "accepted": facts.accepted,
            "refused": facts.refused,
            "duplicates": facts.duplicates,
            "late": facts.late,
        },
        "activations": {
            "expected": sum(item.must or expected_id(item) in held for item in expected),
            "journal": len(facts.journal),
            "customs": len(facts.customs),
            **{what: counts[what] for what in ("missing", "unexpected", "twice")},
        },
        "instructions": {
            **{action: actions[action] for action in ("GO", "GO_WITH_OBLIGATION", "STOP", "HOLD")},
            "wrong": counts["wrong"],
            "receipted": sum(fact.receipted for fact in facts.instructions),
            "late": counts["late"],
        },
        "latencyMs": {"fixToInstruction": _latency(facts)},
        "faults": [
            {
                "kind": fault.kind,
                "at": round((fault.at_s - scenario.start_s) / facts.speedup, 1),
                "recoveredAfterMs": fault.recovered_after_ms,
            }
            for fault in facts.faults
        ],
        "journal": {"entries": facts.journal_entries, "verified": facts.journal_verified},
        "peakRssMb": {name: round(size_mb, 1) for name, size_mb in facts.peak_rss_mb.items()},
    }
    return report, tuple(findings)


def expected_id(item: Expected) -> str:
    """The activationId that this activation must have."""
    return activation_id(item.mrn, item.version, item.jrn, item.crossing, item.direction)


def _activation_findings(expected: Sequence[Expected], facts: Facts) -> list[Finding]:
    journal = Counter(fact.activation_id for fact in facts.journal)
    customs = Counter(fact.activation_id for fact in facts.customs)
    known = {expected_id(item): item for item in expected}
    findings = []
    for one, item in known.items():
        absent = [name for name, held in (("journal", journal), ("customs", customs)) if one not in held]
        if item.must and absent:
            findings.append(Finding("missing", item.jrn, f"{item.mrn} not in {' and '.join(absent)}"))
        elif absent == ["journal"]:
            findings.append(Finding("missing", item.jrn, f"{item.mrn} at customs, not in the journal"))
    stored = {fact.activation_id: fact for fact in (*facts.journal, *facts.customs)}
    unexpected = [fact for one, fact in stored.items() if one not in known]
    twice = [one for one in stored if max(journal[one], customs[one]) > 1]
    return [
        *findings,
        *(Finding("unexpected", fact.jrn, f"{fact.mrn} at {fact.crossing} {fact.direction}") for fact in unexpected),
        *(Finding("twice", one, f"{journal[one]} in the journal, {customs[one]} at customs") for one in twice),
    ]


# Instructions.


def _wrong_findings(scenario: Scenario, facts: Facts) -> list[Finding]:
    last = {fact.key: fact for fact in facts.instructions}
    findings = []
    for plan in scenario.lorries:
        key = key_of(plan)
        fact = last.get(key)
        entry_s = plan.entry_s
        demanded = entry_s is not None and entry_s + plan.settle_s + BUDGET_MAX_S <= facts.end_s
        if fact is None:
            if demanded:
                findings.append(Finding("wrong", key, "no instruction"))
            continue
        allowed = allowed_actions(plan, fact, facts)
        if fact.action not in allowed:
            wanted = " or ".join(sorted(allowed)) or "no instruction"
            findings.append(Finding("wrong", key, f"{fact.action} {fact.reason}: expected {wanted}"))
    known = {key_of(plan) for plan in scenario.lorries}
    stray = [fact for fact in facts.instructions if fact.key not in known]
    return findings + [
        Finding("wrong", fact.key, f"{fact.action} {fact.reason}: expected none under this key") for fact in stray
    ]


def key_of(plan: LorryPlan) -> str:
    """Key of a lorry's instructions: its journey, or its unit."""
    return plan.journey.jrn if plan.journey is not None else f"unit:{plan.unit}"


def allowed_actions(plan: LorryPlan, fact: InstructionFact, facts: Facts) -> frozenset[str]:
    """Last instructions that would be right (design/domain.md section 6) after what was answered and done."""
    if plan.behaviour in (Behaviour.TURNS_BACK, Behaviour.PARALLEL):
        return frozenset()
    if plan.planted:
        return frozenset({"STOP"})
    acts = sorted((act for act in facts.officers if act.key == fact.key), key=lambda act: act.at_s)
    settled = [act for act in acts if act.at_s < facts.end_s - GRACE_S]
    allowed = {_after(plan, facts, settled), _after(plan, facts, acts)}
    if not any(act.mrn is None for act in settled) and _hold_explained(plan, fact, facts):
        allowed.add("HOLD")
    return frozenset(allowed)


def _after(plan: LorryPlan, facts: Facts, acts: Sequence[OfficerFact]) -> str:
    """The action that the rule gives after these acts: the officer's last word, else the worst open cause."""
    words = [act.code for act in acts if act.mrn is None]
    if words:
        return words[-1]
    own = {
        Behaviour.UNKNOWN: "HOLD",
        Behaviour.NOT_READY: "HOLD",
        Behaviour.PARTLY_READY: "HOLD",
        Behaviour.WRONG_CROSSING: "HOLD",
        Behaviour.SELF_REPORTS: "STOP",
    }.get(plan.behaviour, "GO")
    if plan.behaviour not in (Behaviour.REGULAR, Behaviour.PARTLY_READY):
        return own
    cleared = {act.mrn for act in acts if act.mrn is not None and act.code in ("CONFORM", "FINDING")}
    causes = [own, *(_cause(plan, mrn, facts.assessments, cleared) for mrn, _ in plan.papers.valid)]
    if plan.journey is not None and plan.journey.empty:
        causes.append(_cause(plan, None, facts.assessments, cleared))
    return worst(causes)


def _cause(plan: LorryPlan, mrn: str | None, assessments: Iterable[AssessmentFact], cleared: set[str]) -> str:
    """Action that one declaration asks for; the strictest of its answers counts."""
    assert plan.journey is not None
    answers = [fact for fact in assessments if fact.jrn == plan.journey.jrn and fact.mrn == mrn]
    if not answers:
        return "HOLD"
    denied = any(fact.routing == "ENTRY_DENIED" for fact in answers)
    if mrn is not None and mrn in cleared and not denied:
        return "GO"
    return worst(action_of(fact.routing, fact.location, plan.direction.value) for fact in answers)


def action_of(routing: str, location: str | None, direction: str) -> str:
    """What one answer asks of the lorry (table of design/domain.md section 6)."""
    if routing == "TO_ENTRY":
        return "GO"
    if routing in ("TO_CONTROL", "ENTRY_PENDING"):
        return "GO_WITH_OBLIGATION" if location == "AFTER_ENTRY" and direction == "IN" else "STOP"
    return "STOP" if routing == "ENTRY_DENIED" else "HOLD"


def worst(actions: Iterable[str]) -> str:
    """The most severe action; GO if there is none."""
    return max(actions, key=ACTIONS.index, default="GO")


def _hold_explained(plan: LorryPlan, fact: InstructionFact, facts: Facts) -> bool:
    """HOLD is right where no answer could come in time: too little way left, or a fault in between.

    Without an explanation a HOLD for want of an answer is wrong, although the driver is only held up by it.
    """
    if fact.arrived_s is None:
        return False
    limit_s = limit_of(plan, fact.arrived_s)
    if limit_s is not None and (limit_s < TIGHT_S or _was_past(plan, fact.arrived_s)):
        return True
    return any(fault.at_s <= fact.arrived_s <= fault.until_s + FAULT_REACH_S for fault in facts.faults)


# Time.


def limit_of(plan: LorryPlan, arrived_s: float) -> float | None:
    """How long after the arrival of the settling fix an instruction must be out, seconds of the run's clock.

    None if the true path never enters the activation zone (then no limit can be derived from it).
    """
    if plan.exit_s is None:
        return None
    if _was_past(plan, arrived_s):
        return PASSED_S
    return min(BUDGET_SHARE * (plan.exit_s - arrived_s), BUDGET_MAX_S)


def _was_past(plan: LorryPlan, arrived_s: float) -> bool:
    return plan.exit_s is not None and plan.exit_s - arrived_s < POSITION_DOUBT_S


def _late_findings(scenario: Scenario, facts: Facts) -> list[Finding]:
    last = {fact.key: fact for fact in facts.instructions}
    findings = []
    for plan in scenario.lorries:
        fact = last.get(key_of(plan))
        if fact is None or fact.arrived_s is None:
            continue
        limit_s = limit_of(plan, fact.arrived_s)
        if limit_s is None:
            continue
        out_s = facts.end_s if fact.first_out_s is None else fact.first_out_s
        took_s = (out_s - fact.arrived_s) / facts.speedup
        if took_s > limit_s:
            words = "not out" if fact.first_out_s is None else "out"
            findings.append(Finding("late", fact.key, f"{words} after {took_s:.2f} s: limit {limit_s:.2f} s"))
    return findings


def _latency(facts: Facts) -> dict[str, float]:
    took_ms = sorted(
        (fact.first_out_s - fact.arrived_s) / facts.speedup * 1_000
        for fact in facts.instructions
        if fact.first_out_s is not None and fact.arrived_s is not None and fact.first_out_s >= fact.arrived_s
    )
    return {
        "p50": round(quantile(took_ms, 0.5), 1),
        "p99": round(quantile(took_ms, 0.99), 1),
        "max": round(took_ms[-1], 1) if took_ms else 0.0,
    }


def quantile(ordered: Sequence[float], share: float) -> float:
    """Nearest-rank quantile of ordered values; 0 if there are none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
