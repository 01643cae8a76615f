"""One lorry and its unit: measures, keeps what is not confirmed, reads instructions, obeys or not.

No I/O here: the fleet (`simulator.fleet`) owns broker, clock and timers and does what a lorry says.
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
from joserfc.jwk import OKPKey

from agent.domain.instruction import Action, Instruction, Receipt
from agent.domain.signed import BadSignature
from agent.domain.times import rfc3339
from agent.instruction.signing import verify_instruction, why_not_shown
from simulator.dice import Dice
from simulator.equipment import Payload
from simulator.gnss_error import GnssError, Observation, Truth
from simulator.routes import Drive
from simulator.scenario import ROOF_M, Behaviour, LorryPlan
from zones.fix import Fix, FixType

OUTBOX_FIXES = 3_600
"""Fixes a unit keeps until the watermark covers them: an hour at 1 Hz; then the oldest are given up."""
AGAIN_MIN_S, AGAIN_MAX_S = 2.0, 60.0
"""Between two resends of a unit; doubled each time, and back to the first as soon as a watermark confirms something.
An agent that comes back after a cut has a backlog to work off, and longer the more of it comes twice (choice)."""
REACTION_S = 0.8
"""From the display to the driver's foot (choice)."""
DISPLAY_S = 0.25
"""From arrival to display (choice)."""
ACKNOWLEDGE_S = 2.0
"""From standstill to the driver's confirmation; there is no input while moving."""
DRIVE_ON_MPS = 11.0
PARKED_MAX_S = 300.0
"""A lorry nobody has released for so long in the bay ends its part in the run."""
PAST_BAY_M = 130.0
"""So far beyond the bay the confirmation zone is behind the lorry (250 m zone, bay at 100 m)."""


class Told(enum.Enum):
    """What a unit made of a message on its instruction topic."""

    NEW = "NEW"
    REPEATED = "REPEATED"
    REFUSED = "REFUSED"
    """Signature, unit, expiry or version is not good: the driver sees nothing of it."""
    CLEARED = "CLEARED"


@dataclass(frozen=True)
class Verdict:
    """What a unit made of a message, and why."""

    told: Told
    instruction: Instruction | None = None
    reason: str = ""


class Lorry:
    """State of one lorry; times are UTC seconds of the run's clock."""

    def __init__(self, plan: LorryPlan, seed: int, boot_id: str) -> None:
        self.plan = plan
        self.drive: Drive = plan.drive
        self.instruction: Instruction | None = None
        self.dropped = 0
        """Fixes given up because the outbox was full."""
        self._boot_id = boot_id if plan.payload in _WITH_BOOT_ID else None
        self._error = GnssError(plan.receiver, Dice(seed, "gnss", plan.number))
        self._sequence = -1
        """Number of the newest fix. The first is 0: below another first number the agent would wait for those that
        are missing, half a minute without a watermark."""
        self._outbox: OrderedDict[int, Fix] = OrderedDict()
        self._missed_to: int | None = None
        """Up to here fixes may be lost and are to be sent again."""
        self._again_s, self._pause_s = -math.inf, AGAIN_MIN_S
        self._shown: dict[str | None, Instruction] = {}
        self._passed_bay = False
        self._seen_at: tuple[Drive, float, tuple[float, float]] | None = None

    @property
    def keeps_outbox(self) -> bool:
        """Whether its protocol has sequence numbers and a watermark."""
        return self.plan.payload not in (Payload.OWNTRACKS, Payload.SERIAL, Payload.AIS, Payload.TELTONIKA)

    def measure(self, time_s: float) -> tuple[Observation, Fix] | None:
        """The fix of this moment, numbered and kept, or None where there is none."""
        observation = self._error.observe(self._truth(time_s))
        if observation is None:
            return None
        fix = self._fix(observation)
        return observation, fix

    def recorded(self, fix: Fix) -> Fix:
        """A fix of the recorded track, kept like a measured one."""
        kept = msgspec.structs.replace(fix, boot_id=self._boot_id)
        self._keep(kept)
        return kept

    def confirmed(self, boot_id: str | None, up_to: int) -> None:
        """The agent's watermark: everything up to here is processed."""
        if boot_id is not None and boot_id != self._boot_id:
            return
        while self._outbox and next(iter(self._outbox)) <= up_to:
            self._outbox.popitem(last=False)
            self._pause_s = AGAIN_MIN_S

    def unconfirmed(self) -> list[Fix]:
        """What no watermark covers yet, oldest first."""
        return list(self._outbox.values())

    def missed(self) -> None:
        """The connection or the agent is a new one: what was sent so far may not have arrived."""
        self._missed_to = next(reversed(self._outbox), None)

    def again(self, now_s: float) -> tuple[list[Fix], float | None]:
        """What is to be sent again now, oldest first; or when to ask next, because the last resend is too fresh."""
        if self._missed_to is None:
            return [], None
        if now_s < self._again_s:
            return [], self._again_s
        fixes = [fix for seq, fix in self._outbox.items() if seq <= self._missed_to]
        self._missed_to = None
        if fixes:
            self._again_s, self._pause_s = now_s + self._pause_s, min(2 * self._pause_s, AGAIN_MAX_S)
        return fixes, None

    def gone(self, time_s: float) -> bool:
        """Whether it has left the scene, or its recorded track has ended."""
        if self.plan.road is None:
            return time_s >= self.plan.ends_s
        chainage_m, speed_mps = self._at(time_s)
        parked = speed_mps == 0.0 and time_s - self.drive.stages[-1].time_s > PARKED_MAX_S
        return parked or chainage_m >= self.plan.road.length_m - 1.0

    def read(self, token: bytes, now_s: float, keys: Mapping[str, OKPKey]) -> Verdict:
        """Check a message on the instruction topic as a unit must before the driver sees anything."""
        if not token:
            return Verdict(Told.CLEARED)
        try:
            instruction = verify_instruction(token, dict(keys))
        except BadSignature as error:
            return Verdict(Told.REFUSED, reason=str(error))
        shown = self._shown.get(instruction.jrn)
        reason = why_not_shown(instruction, self.plan.unit, now_s, shown)
        if reason is not None:
            return Verdict(Told.REFUSED, reason=reason)
        if shown is not None and instruction.version == shown.version:
            return Verdict(Told.REPEATED, instruction)
        self._shown[instruction.jrn] = instruction
        self.instruction = instruction
        return Verdict(Told.NEW, instruction)

    def receipt(self, instruction: Instruction, arrived_s: float, acknowledged_s: float | None) -> Receipt:
        """What the unit tells the agent once the driver sees the instruction."""
        return Receipt(
            instruction_id=instruction.instruction_id,
            version=instruction.version,
            delivered=rfc3339(arrived_s),
            displayed=rfc3339(arrived_s + DISPLAY_S),
            acknowledged=None if acknowledged_s is None else rfc3339(acknowledged_s),
            language=self.plan.papers.language,
            checkpoint=instruction.checkpoint,
        )

    def react(self, now_s: float) -> str:
        """The driver acts on what is shown: `drove_on`, `halted`, `ignored`, or `nothing` left to do."""
        if self.instruction is None or self.plan.road is None or self.plan.activation is None:
            return "nothing"
        chainage_m, speed_mps = self.drive.at(now_s)
        if Action[self.instruction.action] <= Action.GO_WITH_OBLIGATION:
            self.drive = self.drive.going(now_s, max(speed_mps, DRIVE_ON_MPS))
            return "drove_on"
        if self.plan.runs:
            return "ignored"
        if chainage_m > self.plan.bay_m + PAST_BAY_M:
            return "nothing"
        self.drive = self.drive.halting(now_s, self.plan.bay_m)
        return "halted"

    def standstill_s(self) -> float:
        """When it stands in the bay; infinite while it is driving on."""
        last = self.drive.stages[-1]
        if last.acceleration_mps2 < 0.0:
            return last.time_s - last.speed_mps / last.acceleration_mps2
        return last.time_s if last.speed_mps == 0.0 else math.inf

    def passes_bay(self, time_s: float) -> bool:
        """True once: when it has passed the bay although it was told to stop."""
        if self._passed_bay or self.plan.road is None or self._at(time_s)[0] < self.plan.bay_m + 20.0:
            return False
        self._passed_bay = True
        return self.instruction is not None and Action[self.instruction.action] > Action.GO_WITH_OBLIGATION

    @property
    def reports_goods_s(self) -> float | None:
        """When the driver reports extra goods: soon after setting out, before the zone."""
        return self.plan.departs_s + 2.0 if self.plan.behaviour is Behaviour.SELF_REPORTS else None

    def sampling(self) -> Iterator[float]:
        """Times at which the receiver measures, from setting out on."""
        receiver = self.plan.receiver
        first = self.plan.departs_s
        if receiver.whole_seconds:
            first = math.ceil(first)
        else:  # units do not all measure at the same moment
            first += Dice("phase", self.plan.unit).between(0.0, min(1.0, receiver.interval_s))
        count = 0
        while True:
            yield first + count * receiver.interval_s
            count += 1

    def _at(self, time_s: float) -> tuple[float, float]:
        """(chainage_m, speed_mps); asked several times for each fix."""
        seen = self._seen_at
        if seen is None or seen[0] is not self.drive or seen[1] != time_s:
            seen = self._seen_at = (self.drive, time_s, self.drive.at(time_s))
        return seen[2]

    def _truth(self, time_s: float) -> Truth:
        plan = self.plan
        assert plan.road is not None, "a recorded track is not measured"
        chainage_m, speed_mps = self._at(time_s)
        place = plan.road.at(chainage_m)
        from_plaza_m = chainage_m - plan.plaza_m
        tunnel = plan.tunnel_m is not None and plan.tunnel_m[0] <= chainage_m <= plan.tunnel_m[1]
        return Truth(
            time_s=time_s,
            latitude=place.latitude,
            longitude=place.longitude,
            speed_mps=speed_mps,
            heading_deg=place.heading_deg,
            covered=plan.activation is not None and ROOF_M[0] <= from_plaza_m <= ROOF_M[1],
            tunnel=tunnel,
        )

    def _fix(self, observation: Observation) -> Fix:
        self._sequence += 1
        numbered = self.keeps_outbox
        fix = Fix(
            unit=self.plan.unit,
            time_s=round(observation.time_s, 3),
            latitude=round(observation.latitude, 7),
            longitude=round(observation.longitude, 7),
            received_s=observation.emit_s,
            seq=self._sequence if numbered else None,
            boot_id=self._boot_id,
            accuracy_m=observation.accuracy_m,
            speed_mps=None if observation.speed_mps is None else round(observation.speed_mps, 2),
            heading_deg=None if observation.heading_deg is None else round(observation.heading_deg, 1),
            fix_type=FixType.THREE_D,
        )
        if numbered:
            self._keep(fix)
        return fix

    def _keep(self, fix: Fix) -> None:
        assert fix.seq is not None
        self._outbox[fix.seq] = fix
        if len(self._outbox) > OUTBOX_FIXES:
            self._outbox.popitem(last=False)
            self.dropped += 1


_WITH_BOOT_ID = (Payload.JSON, Payload.JSON_LIST, Payload.MSGPACK, Payload.OPERATOR_JSON)
"""Compact rows, OwnTracks, NMEA and AIS have no place for it."""
