"""Machine T: transport declaration, key `jrn` (design/domain.md section 5, rows T1 to T21).

Customs owns it up to READY, the agent from APPROACHING on. Guards are decided by the caller and named by the
`Trigger`; `TABLE` says where each leads, and what is not in it is OUT_OF_SEQUENCE.
"""

from __future__ import annotations

import enum
import re

import msgspec

from agent.activation.goods import GoodsState
from agent.domain.declaration import (
    DeclarationReference,
    FeedRow,
    GoodsDeclaration,
    RuleFailure,
    TransportDeclaration,
)
from agent.domain.identifiers import normal_mrn, vehicle_key
from agent.domain.instruction import Vehicle
from agent.domain.routing import ConditionalAnswer
from agent.domain.times import epoch_s

WITHOUT_ETA_EXPIRY_S = 30 * 86_400.0
"""Life of a journey without an expected time (30 days, design/domain.md row T20)."""
LOCKED_KEPT_S = 30 * 86_400.0
"""How long a journey that never ended stays in memory; the journal keeps it for good (choice)."""
LOST_LIMIT_S = 1_800.0
"""T21: lost so long after confirmation."""
MAX_RESULTS = 256
"""Control results remembered by id for one journey: twice the references, and more."""


class JourneyStage(enum.Enum):
    """How far a journey is."""

    READY = "READY"
    NOT_READY = "NOT_READY"
    UNDER_WAY = "UNDER_WAY"
    APPROACHING = "APPROACHING"
    TURNED_BACK = "TURNED_BACK"
    DIVERTED = "DIVERTED"
    LOCKED = "LOCKED"
    ACTIVATED = "ACTIVATED"
    ROUTED = "ROUTED"
    CONFIRMED = "CONFIRMED"
    BREACH = "BREACH"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class Trigger(enum.Enum):
    """What moves a journey, guards included."""

    FEED_READY = "FEED_READY"
    FEED_NOT_READY = "FEED_NOT_READY"
    FEED_CANCELLED = "FEED_CANCELLED"
    TIME_LIMIT_PASSED = "TIME_LIMIT_PASSED"
    DEPARTED = "DEPARTED"
    APPROACHED = "APPROACHED"
    APPROACHED_ELSEWHERE = "APPROACHED_ELSEWHERE"
    ENTERED = "ENTERED"
    ENTERED_UNSERVED = "ENTERED_UNSERVED"
    """Office closed or not competent, or goods reported by the driver."""
    ENTERED_ELSEWHERE = "ENTERED_ELSEWHERE"
    ENTERED_PARTLY_FAULTY = "ENTERED_PARTLY_FAULTY"
    ENTERED_FAULTY = "ENTERED_FAULTY"
    ENTERED_MISSED = "ENTERED_MISSED"
    INSTRUCTED = "INSTRUCTED"
    OFFICER_ACTIVATED = "OFFICER_ACTIVATED"
    TURNED_BACK = "TURNED_BACK"
    CONFIRMATION_ENTERED = "CONFIRMATION_ENTERED"
    LEFT_CLEAR = "LEFT_CLEAR"
    LEFT_UNDER_STOP = "LEFT_UNDER_STOP"
    LEFT_OPEN = "LEFT_OPEN"
    """HOLD or an obligation is open."""
    LAST_CAUSE_CLOSED = "LAST_CAUSE_CLOSED"
    LOST_CLEAR = "LOST_CLEAR"


S, T = JourneyStage, Trigger
LATER_BEFORE_LOCK = (S.UNDER_WAY, S.APPROACHING, S.TURNED_BACK, S.DIVERTED)
ENTERABLE = (S.READY, *LATER_BEFORE_LOCK)
BEFORE_LOCK = frozenset({S.NOT_READY, *ENTERABLE})
AT_THE_BORDER = frozenset({S.LOCKED, S.ACTIVATED, S.ROUTED, S.CONFIRMED, S.BREACH})
FINAL = frozenset({S.COMPLETED, S.CANCELLED, S.EXPIRED})

TABLE: dict[tuple[JourneyStage | None, Trigger], JourneyStage] = {
    **{(stage, T.FEED_READY): S.READY for stage in (None, S.NOT_READY, S.READY)},  # T1
    **{(stage, T.FEED_NOT_READY): S.NOT_READY for stage in (None, S.NOT_READY, S.READY)},
    **{(stage, T.FEED_READY): stage for stage in LATER_BEFORE_LOCK},  # T2
    **{(stage, T.FEED_NOT_READY): S.NOT_READY for stage in LATER_BEFORE_LOCK},
    (S.READY, T.DEPARTED): S.UNDER_WAY,  # T3
    **{(stage, T.APPROACHED): S.APPROACHING for stage in ENTERABLE},  # T4
    (S.NOT_READY, T.APPROACHED): S.NOT_READY,
    **{(stage, T.ENTERED): S.ACTIVATED for stage in ENTERABLE},  # T5, through LOCKED
    **{(stage, T.ENTERED_UNSERVED): S.LOCKED for stage in (S.NOT_READY, *ENTERABLE)},  # T6
    (S.NOT_READY, T.ENTERED_PARTLY_FAULTY): S.ACTIVATED,  # T7
    (S.NOT_READY, T.ENTERED_FAULTY): S.LOCKED,
    (S.ACTIVATED, T.INSTRUCTED): S.ROUTED,  # T8
    **{(stage, T.ENTERED_MISSED): S.ROUTED for stage in (S.NOT_READY, *ENTERABLE)},  # T9
    (S.LOCKED, T.OFFICER_ACTIVATED): S.ACTIVATED,  # T10
    **{(stage, T.APPROACHED_ELSEWHERE): S.DIVERTED for stage in ENTERABLE},  # T11
    **{(stage, T.ENTERED_ELSEWHERE): S.DIVERTED for stage in ENTERABLE},
    (S.NOT_READY, T.APPROACHED_ELSEWHERE): S.NOT_READY,
    (S.NOT_READY, T.ENTERED_ELSEWHERE): S.NOT_READY,
    (S.APPROACHING, T.TURNED_BACK): S.TURNED_BACK,  # T12
    **{(stage, T.TURNED_BACK): stage for stage in (S.ACTIVATED, S.ROUTED, S.LOCKED)},  # T13
    **{(stage, T.CONFIRMATION_ENTERED): S.CONFIRMED for stage in (S.LOCKED, S.ACTIVATED, S.ROUTED)},  # T14
    (S.CONFIRMED, T.LEFT_CLEAR): S.COMPLETED,  # T15
    (S.CONFIRMED, T.LEFT_UNDER_STOP): S.BREACH,  # T16
    (S.CONFIRMED, T.LEFT_OPEN): S.CONFIRMED,  # T17; T19 changes nothing
    (S.CONFIRMED, T.LAST_CAUSE_CLOSED): S.COMPLETED,  # T18
    (S.BREACH, T.LAST_CAUSE_CLOSED): S.COMPLETED,
    **{(stage, T.FEED_CANCELLED): S.CANCELLED for stage in (S.NOT_READY, *ENTERABLE)},  # T20
    **{(stage, T.TIME_LIMIT_PASSED): S.EXPIRED for stage in (S.NOT_READY, *ENTERABLE)},
    (S.CONFIRMED, T.LOST_CLEAR): S.COMPLETED,  # T21
}
"""Stage and trigger to the next stage; what is not here is OUT_OF_SEQUENCE."""


def next_stage(stage: JourneyStage | None, trigger: Trigger) -> JourneyStage | None:
    """Where a trigger leads, or None if it fits no row."""
    return TABLE.get((stage, trigger))


class FrozenDeclaration(msgspec.Struct, frozen=True, kw_only=True):
    """One declaration as it was when the journey was locked; `mrn` None = the light check of an empty run."""

    mrn: str | None
    version: int
    activation_id: str
    state: GoodsState = GoodsState.SELECTING
    """The agent's copy of machine G."""
    confirmed: bool = False
    """Customs accepted the activation report."""


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """State of machine T, and the agent's copy of the declarations."""

    key: str
    """jrn."""
    stage: JourneyStage
    declaration: TransportDeclaration
    goods: tuple[GoodsDeclaration, ...] = ()
    failures: tuple[RuleFailure, ...] = ()
    marker: int = 0
    instruction_version: int = 0
    """Highest version another agent reported; ours go on from there."""
    first_seen_s: float = 0.0
    conditional: tuple[ConditionalAnswer, ...] = ()
    """The authority's conditional answers, their signatures good, for the case that it cannot be asked."""
    self_reported: bool = False
    """The driver reported extra goods before the activation zone."""
    unit: str | None = None
    """Unit whose entry locked it."""
    crossing: str | None = None
    customs_office: str | None = None
    zone_id: str | None = None
    entered_s: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    """Where it was activated, inside the activation zone."""
    frozen: tuple[FrozenDeclaration, ...] = ()
    turned_back: bool = False
    """Turned back after activation; the next entry asks afresh (T13)."""
    left: bool = False
    """The vehicle has left the confirmation zone."""
    lost_s: float | None = None
    """Lost since, after confirmation."""
    results: tuple[str, ...] = ()
    """Ids of control results taken already, newest last."""
    expires_s: float | None = None
    forget_s: float | None = None

    @property
    def vehicle(self) -> str | None:
        """Vehicle key as text, or None if plate or nationality cannot be read."""
        means = self.declaration.active_border_transport_means
        return vehicle_text(means.identification_number, means.nationality)

    @property
    def next_due_s(self) -> float | None:
        """Earliest of expiry, T21's limit and being forgotten."""
        return due_s(self.stage, self.lost_s, self.expires_s, self.forget_s)


def vehicle_text(plate: str, nationality: str) -> str | None:
    """Vehicle key as text, or None if plate or nationality cannot be read."""
    key = vehicle_key(plate, nationality)
    return str(key) if key else None


def due_s(stage: JourneyStage, lost_s: float | None, expires_s: float | None, forget_s: float | None) -> float | None:
    """When a journey of these times falls due next, UTC seconds; None = never."""
    lost_due_s = lost_s + LOST_LIMIT_S if lost_s is not None and stage is JourneyStage.CONFIRMED else None
    open_until_s = expires_s if stage in BEFORE_LOCK else None
    return min((due for due in (open_until_s, lost_due_s, forget_s) if due is not None), default=None)


def vehicle_of(declaration: TransportDeclaration) -> Vehicle:
    """The vehicle as an instruction or a risk request names it: as declared."""
    means = declaration.active_border_transport_means
    return Vehicle(means.identification_number, means.nationality)


def eta_s(declaration: TransportDeclaration) -> float | None:
    """Expected time at the border, UTC seconds, or None if there is none that can be read."""
    text = declaration.planned_crossing.estimated_date_time
    if text is None:
        return None
    try:
        return epoch_s(text)
    except ValueError:
        return None


def from_row(
    known: Journey | None,
    row: FeedRow,
    now_s: float,
    expiry_s: float,
    conditional: tuple[ConditionalAnswer, ...] = (),
) -> Journey | None:
    """The journey as the feed row leaves it, or None if the row fits no line of the table (T1 to T3, T20).

    Args:
        known: What the agent has, if anything.
        row: The row; its declaration replaces ours as long as nothing is locked.
        now_s: UTC seconds.
        expiry_s: Life after the expected time, seconds.
        conditional: The row's conditional answers, verified; they replace those held.
    """
    trigger = _ROW_TRIGGERS.get(row.state)
    if trigger is None:
        return None
    if known is None and trigger in (Trigger.FEED_CANCELLED, Trigger.TIME_LIMIT_PASSED):
        stage: JourneyStage | None = JourneyStage(row.state)
    else:
        stage = next_stage(known.stage if known else None, trigger)
    if stage is None:
        return None
    if stage is JourneyStage.READY and row.declaration.departed:
        stage = JourneyStage.UNDER_WAY
    first_seen_s = known.first_seen_s if known else now_s
    expected_s = eta_s(row.declaration)
    expires_s = first_seen_s + WITHOUT_ETA_EXPIRY_S if expected_s is None else expected_s + expiry_s
    return Journey(
        key=row.jrn,
        stage=stage,
        declaration=row.declaration,
        goods=row.goods,
        failures=row.rule_failures,
        marker=row.marker,
        instruction_version=max(row.instruction_version, known.instruction_version if known else 0),
        first_seen_s=first_seen_s,
        conditional=conditional,
        self_reported=known.self_reported if known else False,
        results=known.results if known else (),
        expires_s=expires_s,
        forget_s=now_s + expiry_s if stage in FINAL else None,
    )


_ROW_TRIGGERS = {
    "READY": Trigger.FEED_READY,
    "NOT_READY": Trigger.FEED_NOT_READY,
    "CANCELLED": Trigger.FEED_CANCELLED,
    "EXPIRED": Trigger.TIME_LIMIT_PASSED,
}

_REFERENCE_FIELD = re.compile(r"^\$\.references\[(\d+)\]")


def faulty_references(journey: Journey) -> tuple[frozenset[int], bool]:
    """Which references have a blocking failure, and whether the journey itself has one."""
    fields = [failure.field for failure in journey.failures if failure.blocking]
    matches = [_REFERENCE_FIELD.match(field) for field in fields]
    singles = frozenset(int(match.group(1)) for match in matches if match)
    return singles, not fields or any(match is None for match in matches)


def sound_references(journey: Journey) -> tuple[DeclarationReference, ...]:
    """The declarations that may be activated: all of a READY journey; of a NOT_READY one those without fault,
    or none if the journey itself is at fault or its carrier wants all or nothing (T7)."""
    references = journey.declaration.references
    if journey.stage is not JourneyStage.NOT_READY:
        return references
    singles, whole = faulty_references(journey)
    if whole or journey.declaration.all_or_nothing:
        return ()
    return tuple(reference for index, reference in enumerate(references) if index not in singles)


def reference_mrn(reference: DeclarationReference) -> str:
    """MRN in normal form; a permit number stays as it is."""
    number = reference.reference_number
    return number if reference.type_of_reference == "PERMIT" else normal_mrn(number)
