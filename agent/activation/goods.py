"""Machine G: one goods declaration, key mrn + version (design/domain.md section 5, rows G1 to G18).

Customs runs it as owner; the agent runs it on its copy of what it activated. `advance` is total: a row that
does not exist gives OUT_OF_SEQUENCE and leaves the state as it was.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from agent.domain.routing import ROUTING_ORDER, ControlLocation, Routing


class GoodsState(enum.Enum):
    """State of a goods declaration."""

    DRAFT = "DRAFT"
    ACCEPTED = "ACCEPTED"
    REFERENCED = "REFERENCED"
    ACTIVATED = "ACTIVATED"
    SELECTING = "SELECTING"
    TO_ENTRY = "TO_ENTRY"
    ENTRY_PENDING = "ENTRY_PENDING"
    TO_CONTROL = "TO_CONTROL"
    ENTRY_DENIED = "ENTRY_DENIED"
    UNDER_INTERVENTION = "UNDER_INTERVENTION"
    RELEASED = "RELEASED"
    RELEASED_WITH_FINDING = "RELEASED_WITH_FINDING"
    NOT_RELEASED = "NOT_RELEASED"
    ASSESSED = "ASSESSED"
    WITHDRAWAL_REQUESTED = "WITHDRAWAL_REQUESTED"
    WITHDRAWN = "WITHDRAWN"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class GoodsEvent(enum.Enum):
    """What can happen to it; guards that need more than the state are facts of `advance`."""

    SUBMITTED_GOOD = "SUBMITTED_GOOD"
    SUBMITTED_BAD = "SUBMITTED_BAD"
    REFERENCED = "REFERENCED"
    DEREFERENCED = "DEREFERENCED"
    AMENDED = "AMENDED"
    ACTIVATED = "ACTIVATED"
    ACTIVATED_BY_OFFICER = "ACTIVATED_BY_OFFICER"
    RISK_ASKED = "RISK_ASKED"
    CONTROL_STARTED = "CONTROL_STARTED"
    CONFIRMED = "CONFIRMED"
    FOUND_CONFORM = "FOUND_CONFORM"
    FOUND_FINDING = "FOUND_FINDING"
    FOUND_NOT_RELEASED = "FOUND_NOT_RELEASED"
    ASSESSMENT_ISSUED = "ASSESSMENT_ISSUED"
    CANCELLED = "CANCELLED"
    WITHDRAWAL_ASKED = "WITHDRAWAL_ASKED"
    WITHDRAWAL_AGREED = "WITHDRAWAL_AGREED"
    WITHDRAWAL_REFUSED = "WITHDRAWAL_REFUSED"
    TIME_LIMIT_PASSED = "TIME_LIMIT_PASSED"
    JOURNEY_COMPLETED = "JOURNEY_COMPLETED"


S, E = GoodsState, GoodsEvent
BEFORE_REFERENCE = (S.DRAFT, S.ACCEPTED)
INTERVENED = (S.ENTRY_PENDING, S.TO_CONTROL, S.ENTRY_DENIED)
ANSWERED = (S.RELEASED, S.RELEASED_WITH_FINDING, S.NOT_RELEASED)
WITHDRAWABLE = (S.ACTIVATED, S.SELECTING, S.TO_ENTRY, S.ENTRY_PENDING, S.TO_CONTROL)

TABLE: dict[tuple[GoodsState | None, GoodsEvent], GoodsState] = {
    **{(state, E.SUBMITTED_GOOD): S.ACCEPTED for state in (None, *BEFORE_REFERENCE)},  # G1
    **{(state, E.SUBMITTED_BAD): S.DRAFT for state in (None, *BEFORE_REFERENCE)},
    (S.ACCEPTED, E.REFERENCED): S.REFERENCED,  # G2
    (S.REFERENCED, E.DEREFERENCED): S.ACCEPTED,  # G3
    (S.REFERENCED, E.AMENDED): S.REFERENCED,  # G4
    (S.REFERENCED, E.ACTIVATED): S.ACTIVATED,  # G5
    (S.ACCEPTED, E.ACTIVATED_BY_OFFICER): S.ACTIVATED,  # G6
    (S.REFERENCED, E.ACTIVATED_BY_OFFICER): S.ACTIVATED,
    (S.ACTIVATED, E.RISK_ASKED): S.SELECTING,  # G7; G8 to G10 are `routed`
    (S.TO_ENTRY, E.CONFIRMED): S.RELEASED,  # G11
    **{(state, E.CONTROL_STARTED): S.UNDER_INTERVENTION for state in INTERVENED},  # G12
    (S.UNDER_INTERVENTION, E.FOUND_CONFORM): S.RELEASED,  # G13
    (S.UNDER_INTERVENTION, E.FOUND_FINDING): S.RELEASED_WITH_FINDING,
    (S.UNDER_INTERVENTION, E.FOUND_NOT_RELEASED): S.NOT_RELEASED,
    **{(state, E.ASSESSMENT_ISSUED): S.ASSESSED for state in ANSWERED},  # G14
    **{(state, E.CANCELLED): S.CANCELLED for state in (*BEFORE_REFERENCE, S.REFERENCED)},  # G15
    **{(state, E.WITHDRAWAL_ASKED): S.WITHDRAWAL_REQUESTED for state in WITHDRAWABLE},  # G16
    (S.WITHDRAWAL_REQUESTED, E.WITHDRAWAL_AGREED): S.WITHDRAWN,  # G17; refused: `advance`
    (S.ACCEPTED, E.TIME_LIMIT_PASSED): S.EXPIRED,  # G18
    (S.REFERENCED, E.TIME_LIMIT_PASSED): S.EXPIRED,
}
"""State and event to the next state; what is not here is OUT_OF_SEQUENCE."""

BEFORE_LOCK_ONLY = frozenset({E.DEREFERENCED, E.AMENDED, E.CANCELLED})
"""Events that are refused once the journey is LOCKED."""


@dataclass(frozen=True)
class GoodsStep:
    """Next state, or the old one and why not."""

    state: GoodsState | None
    refusal: str | None = None


def advance(
    state: GoodsState | None,
    event: GoodsEvent,
    *,
    locked: bool = False,
    former: GoodsState | None = None,
    periodic: bool = False,
) -> GoodsStep:
    """Take one event other than a routing (see `routed`).

    Args:
        state: State now; None = never submitted.
        event: What happened.
        locked: The journey that references it is LOCKED or later.
        former: State before the withdrawal was asked, for its refusal.
        periodic: The permit of a periodic declaration: it may be activated again.
    """
    if locked and event in BEFORE_LOCK_ONLY:
        return GoodsStep(state, "LOCKED")
    if event is E.WITHDRAWAL_REFUSED and state is S.WITHDRAWAL_REQUESTED and former in WITHDRAWABLE:
        return GoodsStep(former)
    if event is E.JOURNEY_COMPLETED and periodic and state not in (None, S.WITHDRAWN, S.CANCELLED, S.EXPIRED):
        return GoodsStep(S.ACCEPTED)
    following = TABLE.get((state, event))
    if following is None:
        return GoodsStep(state, "OUT_OF_SEQUENCE")
    return GoodsStep(following)


def strictness(routing: Routing, location: ControlLocation | None) -> tuple[int, int]:
    """Order of G9: by routing, then AFTER_ENTRY before ON_ENTRY; a missing place counts as ON_ENTRY."""
    return ROUTING_ORDER.index(routing), 0 if location is ControlLocation.AFTER_ENTRY else 1


def routed(
    state: GoodsState | None,
    routing: Routing,
    location: ControlLocation | None = None,
    *,
    held: ControlLocation | None = None,
    confirmed: bool = False,
    by_officer: bool = False,
) -> GoodsStep:
    """Assessed (G8), raised (G9) or lowered (G10).

    Args:
        state: State now.
        routing: The new routing.
        location: Where a control takes place under the new routing.
        held: Where it takes place under the routing in force.
        confirmed: The vehicle is past the confirmation line: only AFTER_ENTRY may still be raised.
        by_officer: An officer or a control result says so; nothing else lowers.
    """
    following = GoodsState(routing.value)
    if state is S.SELECTING:
        return GoodsStep(following)
    if state is None or state.value not in Routing.__members__:
        return GoodsStep(state, "OUT_OF_SEQUENCE")
    now, new = strictness(Routing(state.value), held), strictness(routing, location)
    if by_officer or new == now:
        return GoodsStep(following)
    if new < now:
        return GoodsStep(state, "NOT_LOWERED")
    if confirmed and location is not ControlLocation.AFTER_ENTRY:
        return GoodsStep(state, "CONFIRMED")
    return GoodsStep(following)


@dataclass(frozen=True)
class ActivationFacts:
    """What customs knows when an activation of one declaration arrives (G5, G6)."""

    state: GoodsState | None
    """None = no such MRN."""
    version: int = 1
    """Newest version of the declaration."""
    referenced_by: str | None = None
    """jrn of the live journey that references it."""
    first_activation_id: str | None = None
    """activationId of an earlier activation in this direction, by this journey or by another part."""
    activated_by: str | None = None
    """jrn of that activation."""
    parts: int = 1
    periodic: bool = False


@dataclass(frozen=True)
class ActivationVerdict:
    """Answer for one declaration: `result` ACCEPTED, ALREADY_ACTIVATED or REFUSED, and the reason."""

    result: str
    reason: str | None = None
    activation_id: str | None = None
    """The first one, where it was activated already."""


def judge_activation(
    facts: ActivationFacts, jrn: str, version: int, activation_id: str, by_officer: bool
) -> ActivationVerdict:
    """G5, G6 and their outcomes; a repeated activation gets the first answer again."""
    if facts.state is None:
        return ActivationVerdict("REFUSED", "UNKNOWN_MRN")
    if facts.first_activation_id is not None and not facts.periodic:
        if facts.first_activation_id == activation_id or facts.parts > 1 or facts.activated_by == jrn:
            return ActivationVerdict("ALREADY_ACTIVATED", None, facts.first_activation_id)
        return ActivationVerdict("REFUSED", "ACTIVATED_ELSEWHERE")
    if facts.state in (S.CANCELLED, S.WITHDRAWN):
        return ActivationVerdict("REFUSED", "CANCELLED")
    if facts.state is S.EXPIRED:
        return ActivationVerdict("REFUSED", "EXPIRED")
    if version != facts.version:
        return ActivationVerdict("REFUSED", "OLD_VERSION")
    if not by_officer and not facts.periodic and facts.referenced_by != jrn:
        return ActivationVerdict("REFUSED", "NOT_REFERENCED")
    if not facts.periodic and facts.state not in (S.ACCEPTED, S.REFERENCED):
        return ActivationVerdict("REFUSED", "NOT_REFERENCED")
    return ActivationVerdict("ACCEPTED", None, activation_id)
