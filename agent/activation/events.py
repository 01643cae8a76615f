"""What has happened, in the past tense: what shells hand to `agent.decide`, and what the passage makes of it.

All times are UTC seconds. Whatever a shell had to check (signatures, form, rights at the HTTP interface) it
has checked before it builds one of these.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from agent.domain.declaration import ControlResult, FeedRow
from agent.domain.instruction import Action
from agent.domain.routing import Assessment, ConditionalAnswer
from zones.events import DetectionEvent, Direction, Kind, Notice


@dataclass(frozen=True)
class EntryFacts:
    """What was known when the fix that settled a zone event reached the agent."""

    arrived_s: float
    """When that fix reached the agent."""
    fix_age_s: float = 0.0
    """Age of the fix on arrival, seconds."""
    remaining_m: float | None = None
    """Way from the fix's position to the end of the activation zone, metres; None = not known."""
    speed_mps: float | None = None
    """The larger of reported and last measured speed; None = not known."""
    office_open: bool = True
    """Whether the customs office of the zone is open now (`zones.hours`)."""
    degraded: tuple[str, ...] = ()
    """Modes in force besides NORMAL (`agent.status.modes`)."""


@dataclass(frozen=True)
class Detected:
    """The detector said something about a unit and a zone."""

    what: DetectionEvent | Notice
    facts: EntryFacts


@dataclass(frozen=True)
class Progressed:
    """A further trusted fix of a unit whose instruction is pending; may only shorten the time budget."""

    unit: str
    facts: EntryFacts


@dataclass(frozen=True)
class FeedRowArrived:
    """A journey came or changed in the customs feed."""

    row: FeedRow
    raised: tuple[Assessment, ...] = ()
    """`row.raised`, verified; those with a bad signature are left out and counted in `refused`."""
    refused: int = 0
    tokens: tuple[str, ...] = ()
    """The JWS of each of `raised`, in its order."""
    conditional: tuple[ConditionalAnswer, ...] = ()
    """`row.conditional`, verified, each with its signature; bad ones count in `refused` too."""


@dataclass(frozen=True)
class ReferenceTaken:
    """Newer reference data of the authority are in force."""

    version: str
    revocations: int
    """Number of the revocation list."""
    issued_at: str | None


@dataclass(frozen=True)
class RiskAnswered:
    """Verified assessments came back for an `AskRisk`."""

    key: str
    """Key of the instruction that asked (`AskRisk.key`)."""
    request_id: str
    assessments: tuple[Assessment, ...]
    refused: int = 0
    """Assessments of the answer left out because their signature was bad."""
    tokens: tuple[str, ...] = ()
    """The JWS of each of `assessments`, in its order."""


@dataclass(frozen=True)
class ActivationAnswered:
    """Customs said what became of one activation report."""

    jrn: str
    activation_id: str
    result: str
    """ACCEPTED, ALREADY_ACTIVATED or REFUSED."""
    reason: str | None = None
    accepted_at: str | None = None


@dataclass(frozen=True)
class ControlResultArrived:
    """An officer's control result reached the agent by another way than the feed."""

    result: ControlResult


@dataclass(frozen=True)
class OfficerDecided:
    """An officer overrides the instruction of a journey, or of a unit without one."""

    key: str
    """jrn, or `unit:` + unit (`agent.instruction.lifecycle.instruction_key`)."""
    action: Action
    officer: str
    role: str
    reason: str
    lane: str | None = None
    customs_office: str | None = None


@dataclass(frozen=True)
class OfficerActivated:
    """An officer activates a LOCKED journey by hand."""

    jrn: str
    officer: str
    role: str
    reason: str


@dataclass(frozen=True)
class ReceiptArrived:
    """A unit said what became of an instruction."""

    unit: str
    instruction_id: str
    version: int
    delivered_s: float | None = None
    displayed_s: float | None = None
    acknowledged_s: float | None = None
    language: str | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class InstructionOut:
    """The broker acknowledged the instruction (PUBACK): it is out."""

    key: str
    version: int
    unit: str
    at_s: float


class IncidentKind(enum.Enum):
    """What a driver reports; the last four of design/domain.md section 8."""

    TRACTOR_CHANGE = "TRACTOR_CHANGE"
    TRAILER_CHANGE = "TRAILER_CHANGE"
    EXTRA_GOODS = "EXTRA_GOODS"
    BREAKDOWN = "BREAKDOWN"


@dataclass(frozen=True)
class IncidentReported:
    """A unit reported an incident on the way."""

    unit: str
    kind: IncidentKind
    text: str = ""


@dataclass(frozen=True)
class WitnessSeen:
    """A roadside reader saw a vehicle; recorded, since a camera never activates alone."""

    device: str
    kind: str
    seen_s: float
    lane: str | None = None
    confidence: float | None = None
    evidence_hash: str | None = None


@dataclass(frozen=True)
class DeadlinePassed:
    """The timer of the earliest `next_due_s` went off; everything due by `now_s` is handled."""

    now_s: float


@dataclass(frozen=True)
class ModeChanged:
    """The agent's mode changed (`agent.status.modes`)."""

    mode: str
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutputShown:
    """A roadside output was measured to show something else than before, or the same for another decision."""

    output: str
    crossing: str
    direction: str
    state: str
    """Measured: GO, GO_WITH_OBLIGATION, STOP, HOLD, OPEN, CLOSED or DEFAULT."""
    commanded: str
    decision_ref: int
    """What the device was given with the lease; 0 = it fell to its default."""
    jrn: str | None = None
    unit: str | None = None
    instruction_id: str | None = None
    version: int | None = None


@dataclass(frozen=True)
class OutputFaulted:
    """A roadside output cannot be trusted to show what it is told, or can again."""

    output: str
    crossing: str
    fault: str
    """LAMP, DOOR, POWER, LOST (no link) or NONE (it is over)."""


@dataclass(frozen=True)
class ReceiverDoubted:
    """Ten fixes in a row of a wired receiver were refused for their date, or it is believed again."""

    unit: str
    reason: str
    """`clock_disagrees`, `week_rollover`, `date_before_build`, or NONE (it is over)."""


@dataclass(frozen=True)
class UnitHeard:
    """A trusted fix came from a unit that was lost."""

    unit: str
    at_s: float


Event = (
    Detected
    | Progressed
    | FeedRowArrived
    | RiskAnswered
    | ActivationAnswered
    | ControlResultArrived
    | OfficerDecided
    | OfficerActivated
    | ReceiptArrived
    | InstructionOut
    | IncidentReported
    | WitnessSeen
    | DeadlinePassed
    | ModeChanged
    | ReferenceTaken
    | OutputShown
    | OutputFaulted
    | ReceiverDoubted
    | UnitHeard
)
"""Everything `agent.decide.decide` takes."""


@dataclass(frozen=True)
class ApproachSeen:
    """A unit entered the tracking zone of a crossing, travelling its way."""

    at_s: float


@dataclass(frozen=True)
class ActivationZoneEntered:
    """A unit is at the crossing: what activates."""

    entered_s: float
    """When the boundary was crossed, interpolated."""
    settled_s: float
    """Fix time of the fix that settled it."""
    kind: Kind
    direction: Direction
    """Direction of travel of the event; UNKNOWN if the fixes do not tell."""
    latitude: float | None = None
    longitude: float | None = None
    missed: bool = False
    """The activation zone itself was not seen; the unit turned up in the confirmation zone."""


@dataclass(frozen=True)
class TouchSeen:
    """A unit's fixes touched the activation zone within their accuracy: control room only."""

    at_s: float


@dataclass(frozen=True)
class ConfirmationEntered:
    """A unit entered the confirmation zone."""

    at_s: float


@dataclass(frozen=True)
class ConfirmationLeft:
    """A unit left the confirmation zone, or passed the crossing without being seen in it."""

    at_s: float
    side: Direction
    skipped: bool = False


@dataclass(frozen=True)
class TurnedBack:
    """A unit left against the direction of its zones."""

    at_s: float
    activated: bool


@dataclass(frozen=True)
class Bypassed:
    """A unit left the tracking zone onwards without the activation zone: a parallel road. Control room."""

    at_s: float


@dataclass(frozen=True)
class UnitLost:
    """No fix of the unit for `lost_after_s` while at a crossing."""

    at_s: float


@dataclass(frozen=True)
class UnitFound:
    """A lost unit is back."""

    at_s: float


PassageEvent = (
    ApproachSeen
    | ActivationZoneEntered
    | TouchSeen
    | ConfirmationEntered
    | ConfirmationLeft
    | TurnedBack
    | Bypassed
    | UnitLost
    | UnitFound
)
"""What machine C tells the other machines."""
