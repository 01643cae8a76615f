"""What one batch saw of units inside tracking zones: telemetry for `borderlane explain`.

A position that lies in no zone is never recorded (design/reliability.md section 8, P1): of such fixes only
the number is kept, and only while the unit's stay goes on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator

from agent.journal.batch import TelemetryRow
from agent.journal.telemetry import FORM, MAX_FIXES, FixSeen, Observed, encode, state_codes
from zones.detector import Detector, Verdict
from zones.fix import Fix, checked_fix
from zones.plausibility import effective_accuracy_m

MAX_REFUSED = MAX_FIXES
"""Refused fixes kept of one unit and batch: one row, however many somebody sends."""


class Sightings:
    """Takes every fix of a batch after the detector has; `rows` is what the store encrypts and keeps."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._seen: dict[str, list[FixSeen]] = defaultdict(list)
        self._zones: dict[str, dict[str, int]] = defaultdict(dict)
        self._outside: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._repeated: Counter[str] = Counter()

    def judged(self, fix: Fix, was_open: bool) -> None:
        """A fix the detector has just been fed, used or not.

        Args:
            fix: As it was fed.
            was_open: Whether a stay of the unit went on before it.
        """
        detector = self._detector
        verdict = detector.last_verdict
        if verdict is Verdict.REFUSED:
            self.refused(fix, detector.last_reason)
            return
        phases = detector.phases(fix.unit)
        inside = detector.index.containing(fix.latitude, fix.longitude)
        if not inside:
            if was_open or phases:
                self._outside[fix.unit] += 1
            return
        outcome = detector.last_outcome
        codes = state_codes(inside, phases)
        self._keep(fix, verdict.value, None if outcome is None else outcome.value, "", codes)

    def refused(self, fix: Fix, reason: str) -> None:
        """A fix that was not used at all."""
        if checked_fix(fix) is not None:
            return  # no position to speak of
        inside = self._detector.index.containing(fix.latitude, fix.longitude)
        self._refused[fix.unit] += 1
        if inside and self._refused[fix.unit] <= MAX_REFUSED:
            codes = state_codes(inside, self._detector.phases(fix.unit))
            self._keep(fix, Verdict.REFUSED.value, None, reason, codes)
        else:
            self._outside[fix.unit] += 1

    def repeated(self, unit: str) -> None:
        """A report that had been processed before."""
        self._repeated[unit] += 1

    def _keep(
        self, fix: Fix, verdict: str, outcome: str | None, reason: str, codes: tuple[tuple[str, str], ...]
    ) -> None:
        places = self._zones[fix.unit]
        seen = FixSeen(
            fix.time_s,
            fix.received_s,
            fix.latitude,
            fix.longitude,
            fix.accuracy_m,
            effective_accuracy_m(fix, self._detector.config),
            fix.speed_mps,
            fix.heading_deg,
            fix.seq,
            fix.boot_id,
            fix.fix_type.value,
            verdict,
            outcome,
            reason,
            tuple((places.setdefault(zone_id, len(places)), code) for zone_id, code in codes),
        )
        self._seen[fix.unit].append(seen)

    def rows(self, touched: Collection[str]) -> Iterator[TelemetryRow]:
        """The rows of this batch.

        Args:
            touched: Units whose state in the detector changed: one of these that is in no zone any more has
                ended its stay.
        """
        for unit in dict.fromkeys((*self._seen, *touched)):
            still = self._detector.in_tracking(unit) or bool(self._detector.phases(unit))
            ends = unit in touched and not still
            bodies = [encode(observed) for observed in self._observed(unit)]
            yield from (TelemetryRow(unit, body) for body in bodies[:-1])
            if bodies or ends:
                yield TelemetryRow(unit, bodies[-1] if bodies else b"", ends)

    def _observed(self, unit: str) -> Iterator[Observed]:
        seen, outside, repeated = self._seen.get(unit, []), self._outside[unit], self._repeated[unit]
        version, zones = self._detector.index.version, tuple(self._zones.get(unit, ()))
        for first in range(0, len(seen) or int(outside > 0), MAX_FIXES):
            yield Observed(FORM, version, zones, tuple(seen[first : first + MAX_FIXES]), outside, repeated)
            outside = repeated = 0
