"""One batch under way: what its messages come to, on top of what is committed.

Fixes go through cursor and detector, what they mean through `decide`; records, effects and entries pile up
here and become one `Commit`. Nothing here waits, writes or sends.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from agent.activation.events import (
    DeadlinePassed,
    Detected,
    EntryFacts,
    Event,
    IncidentKind,
    IncidentReported,
    Progressed,
    ReceiptArrived,
    UnitHeard,
    WitnessSeen,
)
from agent.decide import Site, decide
from agent.domain.instruction import Receipt
from agent.domain.times import epoch_s
from agent.ingest.intake import Cursor, Verdict, judge, stored_gaps
from agent.ingest.limits import MESSAGES_PER_S, RateLimits
from agent.ingest.topics import Kind
from agent.ingest.wire import (
    Inbound,
    Incident,
    Item,
    Refused,
    Topics,
    UnitIncident,
    UnitReceipt,
    Witness,
    WitnessReport,
    decode_message,
)
from agent.journal.batch import (
    ActivationRow,
    Commit,
    CursorRow,
    FrameRow,
    OutboxRow,
    PaperRow,
    RefusalRow,
    Retry,
    StateRow,
)
from agent.journal.entry import Circumstances, EntryDraft
from agent.postings import digest_of, draft_of, papers_of, postings, with_events
from agent.register import Draft, Register
from agent.sightings import Sightings
from zones.border_zone import ZoneKind
from zones.detector import Detector
from zones.detector import Verdict as Seen
from zones.events import Detected as Finding
from zones.events import DetectionEvent, EventName, Notice, NoticeName
from zones.fix import Fix
from zones.frame import metres_between
from zones.hours import OpeningHours

MQTT = "mqtt"
"""Source of what the broker hands over."""
TOO_FAST = f"more than {MESSAGES_PER_S:g} messages a second for long; a list of reports is one message"
AVL = "avl"
"""Source of what telematics units send that connect by themselves."""
FEED = "feed"
"""Source of what came with the journeys of customs."""
NO_REPORTS = frozenset({Kind.RECEIPT, Kind.INCIDENT, Kind.WITNESS})
"""Topics on which no positions come."""
MAX_KNOWN_UNITS = 200_000
"""Cursors kept in memory; above it those of units outside every zone go first."""


@dataclass(frozen=True)
class Surroundings:
    """What a batch needs besides the records; all of it lives as long as the agent."""

    site: Site
    topics: Topics
    inbound: Inbound
    detector: Detector
    limits: RateLimits
    cursors: dict[str, Cursor]
    """How far each unit's reports are processed; stored for units inside tracking zones."""
    last: dict[str, Fix]
    """Last fix of units inside tracking zones, for speed and way; of others none is kept here."""
    circumstances: Circumstances
    max_units: int = MAX_KNOWN_UNITS


class Gathering:
    """Takes items in order; `commit()` is what must be on disk before any of them is acknowledged."""

    def __init__(self, register: Register, around: Surroundings, now_s: float, degraded: tuple[str, ...] = ()) -> None:
        self.draft = Draft(register)
        self.around = around
        self.now_s = now_s
        self.degraded = degraded
        self.fixes: Counter[tuple[str, str]] = Counter()
        """Reports by source and result, for the metrics."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """Refused input by source and reason, reports or not."""
        self.repeats: set[str] = set()
        """Units that sent something processed before: they want the watermark again."""
        self.touched: dict[str, None] = {}
        """Units whose cursor and detector state have to be stored."""
        self.cursors: dict[str, Cursor] = {}
        self.clock_faults: set[str] = set()
        """Units whose fixes are from the future, by our clock."""
        self.jumps: set[str] = set()
        """Units whose positions were not believed."""
        self.sightings = Sightings(around.detector)
        self._activations: list[ActivationRow] = []
        self._outbox: list[OutboxRow] = []
        self._entries: list[EntryDraft] = []
        self._refusals: list[RefusalRow] = []
        self._papers: list[PaperRow] = []
        self._done: list[int] = []
        self._dropped: list[int] = []
        self._retried: list[Retry] = []
        self._marker: int | None = None
        self._frames: dict[str, bytes] = {}

    # --- input ------------------------------------------------------------------------------------------------

    def message(self, topic: str, payload: bytes, received_s: float) -> None:
        """One MQTT message; a source that floods is refused before its bytes are looked at."""
        if self.around.limits.allow(topic, received_s):
            self.items(decode_message(self.around.inbound, topic, payload, received_s), MQTT)
        else:
            self.refuse(Refused("too_fast", TOO_FAST, topic, "", len(payload)), MQTT)

    def items(self, items: Iterable[Item], source: str) -> None:
        """What one message said."""
        for item in items:
            match item:
                case Fix():
                    self.fix(item, source)
                case UnitReceipt(unit=unit, receipt=receipt):
                    self._receipt(unit, receipt)
                case UnitIncident(unit=unit, incident=incident):
                    self._incident(unit, incident)
                case WitnessReport(device=device, witness=witness):
                    self._witness(device, witness)
                case Refused():
                    self.refuse(item, source)

    def fix(self, fix: Fix, source: str) -> None:
        """One position report."""
        verdict, cursor = judge(self._cursor(fix.unit), fix)
        if verdict is not Verdict.ACCEPT:
            self.fixes[source, "duplicate" if verdict is Verdict.REPEAT else "refused"] += 1
            self.repeats.add(fix.unit)
            if verdict is Verdict.REPEAT:
                self.sightings.repeated(fix.unit)
            else:
                self.sightings.refused(fix, "from an earlier start of the unit than what is processed")
            return
        self.cursors[fix.unit] = cursor
        detector = self.around.detector
        was_inside = detector.in_tracking(fix.unit)
        findings = detector.feed(fix)
        self.sightings.judged(fix, was_inside or bool(findings))
        if detector.last_verdict is Seen.REFUSED:
            self.refuse(Refused("not_usable", detector.last_reason, f"{source}:{fix.unit}", "", 0), source)
            for notice in findings:  # a clock that runs ahead
                self._found(notice, None)
            return
        self.fixes[source, _RESULTS[detector.last_verdict]] += 1
        is_inside = detector.in_tracking(fix.unit)
        if was_inside or is_inside or findings:
            self.touched[fix.unit] = None
        self._tell(fix, findings)
        self._remember(fix, is_inside)

    def refuse(self, refused: Refused, source: str) -> None:
        """Something that cannot be read or used: kept as a dead letter without its bytes."""
        self.refused[source, refused.reason] += 1
        if self._is_report(refused, source):
            self.fixes[source, "refused"] += 1
        digest = bytes.fromhex(refused.sha256) if refused.sha256 else b""
        reason = f"{refused.reason}: {refused.detail}"
        self._refusals.append(RefusalRow(source, refused.source, reason, digest, refused.length))

    def _is_report(self, refused: Refused, source: str) -> bool:
        address = self.around.topics.parse(refused.source)
        return source != FEED and (address is None or address.kind not in NO_REPORTS)

    def tick(self, behind_s: float = 0.0) -> None:
        """Let the detector and the records know the time, and for how long reports may have been lying unread."""
        self.findings(self.around.detector.tick(self.now_s, behind_s))
        self.event(DeadlinePassed(self.now_s))

    def findings(self, findings: Iterable[Finding]) -> None:
        """What the detector found without a new fix: silence, held fixes, a swap of the zone set."""
        for finding in findings:
            self.touched[finding.unit] = None
            self._found(finding, self.around.last.get(finding.unit))

    def event(self, event: Event) -> None:
        """One event through the machines."""
        decision = decide(self.draft, event, self.around.site, self.now_s)
        self.draft.take(decision)
        posted = [
            postings(effect, self.around.site.agent_id, self.around.topics, self.now_s) for effect in decision.effects
        ]
        for one in posted:
            self._activations += one.activations
            self._outbox += one.outbox
        told = [fact for one in posted for fact in one.told]
        digests = {row.activation_id: digest_of(row.body) for one in posted for row in one.activations}
        self._entries += with_events([draft_of(entry, digests) for entry in decision.entries], told)
        self._papers += papers_of(event, [row for one in posted for row in one.activations])
        self._papers += decision.papers

    def outcome(self, done: Iterable[int], dropped: Iterable[int], retried: Iterable[Retry]) -> None:
        """What became of outbox rows."""
        self._done += done
        self._dropped += dropped
        self._retried += retried

    def marker(self, marker: int) -> None:
        """The feed is processed up to here."""
        self._marker = marker

    # --- output -----------------------------------------------------------------------------------------------

    def frame(self, unit: str, body: bytes) -> None:
        """Which records the unit's frame held; kept with its cursor, so of units inside tracking zones only."""
        self._frames[unit] = body

    def commit(self) -> Commit | None:
        """What must be written; None if nothing of this batch is durable."""
        batch = Commit(
            cursors=tuple(self._cursor_row(cursor) for unit in self.touched if (cursor := self._cursor(unit))),
            unit_states=tuple(StateRow(unit, self.around.detector.dump(unit)) for unit in self.touched),
            records=self.draft.rows(),
            activations=tuple(self._activations),
            entries=tuple(self._entries),
            effects=tuple(self._outbox),
            done=tuple(self._done),
            dropped=tuple(self._dropped),
            retried=tuple(self._retried),
            refusals=tuple(self._refusals),
            telemetry=tuple(self.sightings.rows(self.touched)),
            papers=tuple(self._papers),
            frames=tuple(FrameRow(unit, body) for unit, body in self._frames.items() if unit in self.touched),
            feed_marker=self._marker,
            circumstances=self.around.circumstances,
        )
        return None if batch == Commit(circumstances=self.around.circumstances) else batch

    def install(self) -> None:
        """The commit is on disk: memory follows."""
        self.draft.install()
        self.around.cursors.update(self.cursors)
        self._bound_cursors()

    def _bound_cursors(self) -> None:
        """Let the oldest units outside every zone go; those inside have their cursor on disk as well."""
        cursors, detector = self.around.cursors, self.around.detector
        excess = len(cursors) - self.around.max_units
        if excess <= 0:
            return
        outside = (unit for unit in cursors if not detector.in_tracking(unit))
        for unit in list(itertools.islice(outside, excess)):
            del cursors[unit]

    def _cursor(self, unit: str) -> Cursor | None:
        return self.cursors.get(unit) or self.around.cursors.get(unit)

    @staticmethod
    def _cursor_row(cursor: Cursor) -> CursorRow:
        return CursorRow(cursor.unit, cursor.boot_id, cursor.highest, stored_gaps(cursor), cursor.last_fix_ms)

    # --- fixes to events --------------------------------------------------------------------------------------

    def _tell(self, fix: Fix, findings: list[Finding]) -> None:
        if self.draft.is_lost(fix.unit):
            self.event(UnitHeard(fix.unit, fix.received_s))
        for finding in findings:
            self._found(finding, fix)
        for zone_id in self.draft.awaited_zones(fix.unit):
            self.event(Progressed(fix.unit, self._facts(zone_id, fix)))

    def _found(self, finding: Finding, fix: Fix | None) -> None:
        if isinstance(finding, Notice):
            self._sign(finding)
        zone_id = finding.zone_id
        zone = self.draft.zone(zone_id) if zone_id is not None else None
        if isinstance(finding, DetectionEvent) and zone is None:
            return  # the zone was retired between the fix and now
        is_entry = not isinstance(finding, DetectionEvent) or finding.event is EventName.ENTERED
        activates = zone is not None and zone.kind is ZoneKind.ACTIVATION and is_entry
        facts = self._facts(zone_id if activates else None, fix)
        if zone is not None and zone.opening_hours is not None:
            hours = OpeningHours.parse(zone.opening_hours)  # checked when the zone file was read; cached
            facts = replace(facts, office_open=hours.is_open(finding.time))
        self.event(Detected(finding, facts))

    def _sign(self, notice: Notice) -> None:
        if notice.notice is NoticeName.CLOCK_FAULT:
            self.clock_faults.add(notice.unit)
        elif notice.notice in (NoticeName.JUMP, NoticeName.SUSPECT_INSIDE):
            self.jumps.add(notice.unit)

    def _facts(self, zone_id: str | None, fix: Fix | None) -> EntryFacts:
        if fix is None:
            return EntryFacts(arrived_s=self.now_s, degraded=self.degraded)
        remaining_m = None
        if zone_id is not None:
            index = self.around.detector.index
            remaining_m = index.distance_to_exit_m(zone_id, fix.latitude, fix.longitude, fix.heading_deg)
        return EntryFacts(
            arrived_s=fix.received_s,
            fix_age_s=max(0.0, fix.received_s - fix.time_s),
            remaining_m=remaining_m,
            speed_mps=self._speed_mps(fix),
            degraded=self.degraded,
        )

    def _speed_mps(self, fix: Fix) -> float | None:
        """The larger of reported and last measured speed."""
        last = self.around.last.get(fix.unit)
        measured = None
        if last is not None and fix.time_s > last.time_s:
            way_m = metres_between(last.latitude, last.longitude, fix.latitude, fix.longitude)
            measured = way_m / (fix.time_s - last.time_s)
        return max((speed for speed in (fix.speed_mps, measured) if speed is not None), default=None)

    def _remember(self, fix: Fix, is_inside: bool) -> None:
        if not is_inside:
            self.around.last.pop(fix.unit, None)
            return
        last = self.around.last.get(fix.unit)
        if last is None or fix.time_s > last.time_s:
            self.around.last[fix.unit] = fix

    # --- other messages ---------------------------------------------------------------------------------------

    def _receipt(self, unit: str, receipt: Receipt) -> None:
        try:
            self.event(
                ReceiptArrived(
                    unit=unit,
                    instruction_id=receipt.instruction_id,
                    version=receipt.version,
                    delivered_s=_time(receipt.delivered),
                    displayed_s=_time(receipt.displayed),
                    acknowledged_s=_time(receipt.acknowledged),
                    language=receipt.language,
                    checkpoint=receipt.checkpoint,
                )
            )
        except ValueError as error:
            self.refuse(Refused("unreadable", str(error), self.around.topics.receipt(unit), "", 0), MQTT)

    def _incident(self, unit: str, incident: Incident) -> None:
        word = incident.kind or ""
        if word not in IncidentKind.__members__:
            known = ", ".join(IncidentKind.__members__)
            topic = self.around.topics.incident(unit)
            self.refuse(Refused("unknown_incident", f"kind: expected one of {known}", topic, "", 0), MQTT)
            return
        self.event(IncidentReported(unit, IncidentKind(word), incident.text))

    def _witness(self, device: str, witness: Witness) -> None:
        try:
            seen_s = epoch_s(witness.time)
        except ValueError as error:
            self.refuse(Refused("unreadable", str(error), self.around.topics.witness(device), "", 0), MQTT)
            return
        self.event(WitnessSeen(device, witness.kind, seen_s, witness.lane, witness.confidence, witness.evidence_hash))


def _time(value: str | int | None) -> float | None:
    return None if value is None else epoch_s(value)


_RESULTS = {Seen.ACCEPTED: "accepted", Seen.HELD: "accepted", Seen.DUPLICATE: "duplicate", Seen.LATE: "late"}
