"""What `borderlane explain` says, as values: times UTC, metres, positions only of fixes inside zones."""

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all parts; `words` are for a customs officer."""


class Place(Part, frozen=True):
    """One fix against one zone."""

    zone_id: str
    zone: str | None
    """TRACKING, ACTIVATION or CONFIRMATION; None if the zone is not in the zone file."""
    state: str
    """State of the unit there after the fix: OUT, CANDIDATE, IN or LEAVING."""
    inside: bool
    """Whether the reported position lies in the zone."""
    clearance_m: float | None
    """How far from the edge; None if the zone file is not the one it was judged by."""


class FixStory(Part, frozen=True):
    """One fix and what became of it."""

    time: str
    seq: int | None
    latitude: float
    longitude: float
    accuracy_m: float
    """95 % radius that was decided with."""
    speed_mps: float | None
    verdict: str
    outcome: str | None
    places: tuple[Place, ...]
    words: str


class EventStory(Part, frozen=True):
    """One edge crossed, or a notice, and the rule behind it."""

    entry: int
    """Number of the journal entry."""
    time: str
    what: str
    """ENTERED, EXITED, or the name of the notice."""
    zone_id: str | None
    zone: str | None
    kind: str | None
    direction: str | None
    settled_at: str | None
    """Fix time of the fix that settled it."""
    settled_by: int | None
    """Its `seq`."""
    rule: str | None
    """WHOLE_CIRCLE, TWO_FIXES, DWELL, PASSED, FIRST_FIX, TOUCH, OUTSIDE."""
    ignored: str | None
    words: str


class PassageStory(Part, frozen=True):
    """One unit at one crossing in one direction, once."""

    unit: str
    crossing: str
    direction: str | None
    """None: its fixes made no event at all."""
    begins: str
    activated: bool
    activations: tuple[str, ...]
    """activationIds."""
    verdict: str
    """One sentence: activated, or the first reason against it."""
    events: tuple[EventStory, ...]
    fixes: tuple[FixStory, ...]
    not_kept: int
    """Fixes outside every zone meanwhile, whose positions are not kept."""
    repeated: int
    decided_again: bool | None
    """Whether the kept fixes, decided again, give the same entry; None if that cannot be tried."""


class DeclarationStory(Part, frozen=True):
    """One declaration: its activation and what the authority answered."""

    activation_id: str
    mrn: str | None
    version: int | None
    activated_at: str | None
    variant: str | None
    customs: str | None
    """What customs said to the activation; None = no answer yet."""
    routing: str | None
    control_location: str | None
    channel: str | None
    answered_at: str | None
    words: str


class InstructionStory(Part, frozen=True):
    """One version of the instruction and its way to the driver."""

    version: int
    action: str
    reason_code: str
    issued_at: str
    out_at: str | None
    delivered_at: str | None
    displayed_at: str | None
    acknowledged_at: str | None
    stage: str | None
    officer: str | None
    words: str


class Act(Part, frozen=True):
    """Anything else that the journal holds about it."""

    entry: int
    time: str
    kind: str
    words: str


class Handling(Part, frozen=True):
    """One journey, or a unit without one, from declaration to receipt."""

    jrn: str | None
    unit: str | None
    vehicle: str | None
    direction: str | None
    planned_crossing: str | None
    stage: str | None
    faults: tuple[str, ...]
    """What customs found wrong with it: field and message."""
    declarations: tuple[DeclarationStory, ...]
    instructions: tuple[InstructionStory, ...]
    acts: tuple[Act, ...]


class RefusalStory(Part, frozen=True):
    """Input of a unit that was not taken, and how often it came."""

    unit: str
    source: str
    """`mqtt`, `serial`, ..."""
    reason: str
    first: str
    last: str
    count: int
    words: str


class Explanation(Part, frozen=True):
    """Why a vehicle was or was not activated."""

    name: str
    known_as: str
    units: tuple[str, ...]
    activated: bool
    verdict: str
    passages: tuple[PassageStory, ...]
    """Oldest first."""
    handlings: tuple[Handling, ...]
    refusals: tuple[RefusalStory, ...]
    """Newest last."""
    notes: tuple[str, ...]
