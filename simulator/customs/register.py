"""The register: declarations taken, linked, amended, cancelled and expired, each change a row of the feed.

Runs on the store's thread, inside a transaction; the rules themselves are pure (`declarations`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from agent.activation.goods import GoodsState
from agent.domain.declaration import (
    DeclarationReference,
    FeedRow,
    GoodsDeclaration,
    RuleFailure,
    TransportDeclaration,
)
from agent.domain.identifiers import normal_mrn
from simulator.customs.declarations import (
    GoodsFacts,
    JourneyVerdict,
    Places,
    ValidationAnswer,
    assigned_mrn,
    check_goods,
    check_journey,
    normal_goods,
    normal_reference,
    storable_goods_key,
    time_s,
)
from simulator.customs.store import GoodsRow, JourneyRow, LinkRow, Store

DAY_S = 86_400.0
UNLINKED_LIFE_S = 30 * DAY_S
"""A declaration that nobody activates ends so long after its last change (design/domain.md G18, T20)."""
AFTER_ARRIVAL_S = 3 * DAY_S
"""A journey ends so long after its estimated arrival (T20; as in Norway's Digitoll)."""
MAX_SWEEP = 500
"""Declarations that expire in one transaction."""
MAX_REVALIDATED = 1_000
"""Journeys judged anew because of one change."""
LIVE = ("READY", "NOT_READY")


Conditional = Callable[[JourneyRow, float], tuple[dict[str, Any], ...]]
Lodged = Callable[[GoodsDeclaration, float], None]
Referenced = Callable[[JourneyRow, float], None]


def _not_scored(_goods: GoodsDeclaration, _now_s: float) -> None:
    pass


def _not_linked(_row: JourneyRow, _now_s: float) -> None:
    pass


def _no_conditional(_row: JourneyRow, _now_s: float) -> tuple[dict[str, Any], ...]:
    return ()


@dataclass(frozen=True)
class Register:
    """What the trade declares."""

    store: Store
    places: Places
    conditional: Conditional = _no_conditional
    """Makes the conditional answers of a journey whose row of the feed is written; inside its transaction."""
    lodged: Lodged = _not_scored
    """Is told of every declaration that is accepted; inside its transaction."""
    referenced: Referenced = _not_linked
    """Is told of every journey that is written; inside its transaction."""

    # --- goods declarations ---

    def submit_goods(self, batch: Sequence[GoodsDeclaration], now_s: float, *, amend: bool) -> list[ValidationAnswer]:
        """Declare or amend; one answer for each."""
        return [self._submit_one_goods(normal_goods(goods), now_s, amend) for goods in batch]

    def _submit_one_goods(self, goods: GoodsDeclaration, now_s: float, amend: bool) -> ValidationAnswer:
        if goods.mrn is None and not amend and goods.procedure != "PERIODIC":
            goods = msgspec.structs.replace(goods, mrn=self._new_mrn(goods.procedure, now_s))
        known = self.store.goods(goods.mrn) if goods.mrn else None
        version = known.declaration.version + 1 if known and known.state != "DRAFT" else 1
        goods = msgspec.structs.replace(goods, version=version)
        refusal = self._goods_refusal(goods, known, amend)
        if refusal is not None:
            return _goods_answer(goods, known, (refusal,), ())
        if known is not None and not amend and _same_goods(goods, known):
            return _goods_answer(known.declaration, known, (), ())
        found = check_goods(goods, self.places)
        failures = tuple(found.failures)
        holders = self._holders(goods.mrn) if goods.mrn else []
        if not storable_goods_key(goods) or (failures and holders):
            return _goods_answer(goods, known, failures, tuple(found.warnings))
        row = GoodsRow(goods, "DRAFT" if failures else "ACCEPTED")
        self.store.put_goods(goods, row.state, now_s)
        if row.state == "ACCEPTED":
            self.lodged(goods, now_s)
        self._goods_changed(goods, now_s)
        return _goods_answer(goods, row, failures, tuple(found.warnings))

    def _new_mrn(self, procedure: str, now_s: float) -> str:
        """The next free number of the register."""
        year = datetime.fromtimestamp(now_s, UTC).year
        while True:
            mrn = assigned_mrn(self.store.next_number("mrn"), year, procedure)
            if self.store.goods(mrn) is None:
                return mrn

    def _goods_refusal(self, goods: GoodsDeclaration, known: GoodsRow | None, amend: bool) -> RuleFailure | None:
        """Why the register does not take it at all, whatever it says."""
        if known is None:
            if not amend:
                return None
            return _failure("UNKNOWN_MRN", "$.mrn", goods.mrn, "not in the register: declare it with POST")
        if known.state in ("CANCELLED", "EXPIRED"):
            return _failure(known.state, "$.mrn", goods.mrn, f"it is {known.state}: declare anew")
        if not amend and known.state == "ACCEPTED" and not _same_goods(goods, known):
            return _failure("MRN_TAKEN", "$.mrn", goods.mrn, "declared already: amend it with PUT")
        if amend and goods.mrn and self._is_locked(goods.mrn):
            return _failure("LOCKED", "$.mrn", goods.mrn, "activated: it is binding now")
        return None

    def _is_locked(self, number: str) -> bool:
        rows = (self.store.journey(link.jrn) for link in self._holders(number))
        return any(row is not None and row.locked for row in rows)

    def _holders(self, number: str) -> list[LinkRow]:
        """References to a number that hold."""
        return [link for link in self.store.links_to(number) if link.state != "WANTED"]

    def _goods_changed(self, goods: GoodsDeclaration, now_s: float) -> None:
        """Put the new version into journeys that hold the old one (G4), then judge all that want it."""
        assert goods.mrn is not None
        for link in self._holders(goods.mrn):
            row = self.store.journey(link.jrn)
            if row is not None and not row.locked:
                self._judge(_with_version(row.declaration, goods), now_s)
        self._revalidate([goods.mrn], now_s)

    def cancel_goods(self, numbers: Sequence[str], now_s: float) -> list[ValidationAnswer]:
        """Cancel before activation (G15)."""
        return [self._cancel_one_goods(number, now_s) for number in numbers]

    def _cancel_one_goods(self, number: str, now_s: float) -> ValidationAnswer:
        known = self.store.goods(number) or self.store.goods(normal_mrn(number))
        if known is None:
            failure = _failure("UNKNOWN_MRN", "$.mrn", number, "not in the register")
            return ValidationAnswer(state="NOT_READY", mrn=number, rule_failures=(failure,))
        mrn = known.declaration.mrn or number
        if self._is_locked(mrn):
            failure = _failure("LOCKED", "$.mrn", mrn, "activated: ask for withdrawal")
            return _goods_answer(known.declaration, known, (failure,), ())
        self.store.put_goods(known.declaration, "CANCELLED", now_s)
        self._revalidate([mrn], now_s)
        return ValidationAnswer(state="CANCELLED", mrn=mrn, version=known.declaration.version)

    # --- transport declarations ---

    def submit_journeys(
        self, batch: Sequence[TransportDeclaration], now_s: float, *, amend: bool
    ) -> list[ValidationAnswer]:
        """Declare or amend; one answer for each."""
        return [self._submit_one_journey(_normal_journey(journey), now_s, amend) for journey in batch]

    def _submit_one_journey(self, journey: TransportDeclaration, now_s: float, amend: bool) -> ValidationAnswer:
        known = self.store.journey(journey.jrn)
        refusal = _journey_refusal(journey, known, amend)
        if refusal is not None:
            return _journey_answer(journey, known, (refusal,), ())
        if known is not None and not amend:
            return _journey_answer(known.declaration, known, known.failures, ())
        version = known.declaration.version + 1 if known else 1
        before = [link.number for link in self.store.links_of(journey.jrn)]
        verdict = self._judge(msgspec.structs.replace(journey, version=version), now_s)
        self._revalidate(before, now_s, but=journey.jrn)
        row = self.store.journey(journey.jrn)
        return _journey_answer(journey, row, verdict.failures, verdict.warnings)

    def cancel_journeys(self, jrns: Sequence[str], now_s: float) -> list[ValidationAnswer]:
        """Cancel before activation (T20); what they referenced is free again."""
        return [self._cancel_one_journey(jrn, now_s) for jrn in jrns]

    def _cancel_one_journey(self, jrn: str, now_s: float) -> ValidationAnswer:
        known = self.store.journey(jrn)
        if known is None:
            failure = _failure("UNKNOWN_JRN", "$.jrn", jrn, "not in the register")
            return ValidationAnswer(state="NOT_READY", jrn=jrn, rule_failures=(failure,))
        if known.locked:
            failure = _failure("LOCKED", "$.jrn", jrn, "activated: ask for withdrawal")
            return _journey_answer(known.declaration, known, (failure,), ())
        self._end_journey(known, "CANCELLED", now_s)
        return ValidationAnswer(state="CANCELLED", jrn=jrn, version=known.declaration.version)

    def _end_journey(self, row: JourneyRow, state: str, now_s: float) -> None:
        jrn = row.declaration.jrn
        freed = [link.number for link in self.store.links_of(jrn)]
        self.store.drop_links(jrn)
        self.put_journey(replace(row, state=state, failures=()), now_s, self.store.expires_s(jrn))
        self._revalidate(freed, now_s, but=jrn)

    def _judge(self, journey: TransportDeclaration, now_s: float) -> JourneyVerdict:
        """Apply the rules, write links, state and feed row; nothing is written if nothing has changed."""
        facts = {
            reference.reference_number: found
            for reference in journey.references
            if (found := self._facts(reference.reference_number, journey)) is not None
        }
        verdict = check_journey(journey, self.places, facts)
        known = self.store.journey(journey.jrn)
        row = JourneyRow(journey, verdict.state, False, verdict.failures)
        links = _links(journey, verdict)
        if row != known or links != self.store.links_of(journey.jrn):
            self.store.drop_links(journey.jrn)
            for link in links:
                self.store.put_link(link)
            self.put_journey(row, now_s, _expires_s(journey, now_s))
        return verdict

    def _facts(self, number: str, journey: TransportDeclaration) -> GoodsFacts | None:
        known = self.store.goods(number)
        if known is None:
            return None
        first = self.store.first_activation(number, journey.direction)
        return GoodsFacts(
            known.declaration,
            known.state,
            self.store.other_holders(number, journey.direction, journey.jrn),
            first[1] if first is not None and first[1] != journey.jrn else None,
        )

    def _revalidate(self, numbers: Sequence[str], now_s: float, but: str | None = None) -> None:
        """Judge anew the journeys that reference these numbers and are not activated yet."""
        jrns = dict.fromkeys(link.jrn for number in numbers for link in self.store.links_to(number) if link.jrn != but)
        for jrn in list(jrns)[:MAX_REVALIDATED]:
            row = self.store.journey(jrn)
            if row is not None and row.state in LIVE and not row.locked:
                self._judge(row.declaration, now_s)

    def put_journey(self, row: JourneyRow, now_s: float, expires_s: float) -> None:
        """Write a journey with its newest row of the feed."""
        journey = row.declaration
        held = [link.number for link in self.store.links_of(journey.jrn) if link.state != "WANTED"]
        goods = (self.store.goods(number) for number in held)
        feed_row = FeedRow(
            marker=self.store.next_number("marker"),
            jrn=journey.jrn,
            version=journey.version,
            state=row.state,
            declaration=journey,
            goods=tuple(one.declaration for one in goods if one is not None),
            rule_failures=row.failures,
            control_results=self.store.control_results(journey.jrn),
            conditional=self.conditional(row, now_s),
        )
        self.store.put_journey(row, feed_row, now_s, expires_s)
        self.referenced(row, now_s)

    def expire(self, now_s: float) -> int:
        """End what nobody activated in time (G18, T20); how many."""
        jrns = self.store.overdue_journeys(now_s, MAX_SWEEP)
        for jrn in jrns:
            row = self.store.journey(jrn)
            assert row is not None, "just read in this transaction"
            self._end_journey(row, "EXPIRED", now_s)
        numbers = self.store.unlinked_goods(now_s - UNLINKED_LIFE_S, MAX_SWEEP)
        for number in numbers:
            known = self.store.goods(number)
            assert known is not None, "just read in this transaction"
            self.store.put_goods(known.declaration, "EXPIRED", now_s)
        self.store.forget_ahead(now_s - UNLINKED_LIFE_S)
        return len(jrns) + len(numbers)


def _failure(code: str, field: str, value: str | None, message: str) -> RuleFailure:
    return RuleFailure(code=code, field=field, value=value, message=message)


def _same_goods(goods: GoodsDeclaration, known: GoodsRow) -> bool:
    """The same declaration sent again, whatever version number it carries."""
    return msgspec.structs.replace(goods, version=known.declaration.version) == known.declaration


def _goods_answer(
    goods: GoodsDeclaration,
    row: GoodsRow | None,
    failures: tuple[RuleFailure, ...],
    warnings: tuple[RuleFailure, ...],
) -> ValidationAnswer:
    return ValidationAnswer(
        state="NOT_READY" if failures else "READY",
        mrn=goods.mrn,
        lrn=goods.lrn,
        version=row.declaration.version if row else None,
        rule_failures=failures,
        warnings=warnings,
    )


def _normal_journey(journey: TransportDeclaration) -> TransportDeclaration:
    return msgspec.structs.replace(journey, references=tuple(map(normal_reference, journey.references)))


def _journey_refusal(journey: TransportDeclaration, known: JourneyRow | None, amend: bool) -> RuleFailure | None:
    """Why the register does not take it at all, whatever it says."""
    if known is None:
        if not amend:
            return None
        return _failure("UNKNOWN_JRN", "$.jrn", journey.jrn, "not in the register: declare it with POST")
    if known.state not in LIVE:
        return _failure(known.state, "$.jrn", journey.jrn, f"it is {known.state}: a reference is used once")
    if known.locked and amend:
        return _failure("LOCKED", "$.jrn", journey.jrn, "activated: its contents are frozen")
    # The register may have put newer versions of goods into the journey; the author did not change those.
    if not amend and _without_versions(journey) != _without_versions(known.declaration):
        return _failure("JRN_TAKEN", "$.jrn", journey.jrn, "declared already: amend it with PUT")
    return None


def _without_versions(journey: TransportDeclaration) -> TransportDeclaration:
    plain = tuple(msgspec.structs.replace(one, version=1) for one in journey.references)
    return msgspec.structs.replace(journey, version=1, references=plain)


def _journey_answer(
    journey: TransportDeclaration,
    row: JourneyRow | None,
    failures: tuple[RuleFailure, ...],
    warnings: tuple[RuleFailure, ...],
) -> ValidationAnswer:
    return ValidationAnswer(
        state="NOT_READY" if failures else "READY",
        jrn=journey.jrn,
        lrn=journey.lrn,
        version=row.declaration.version if row else None,
        rule_failures=failures,
        warnings=warnings,
    )


def _links(journey: TransportDeclaration, verdict: JourneyVerdict) -> list[LinkRow]:
    """References in order of their numbers, as the register keeps them."""
    held = {reference.reference_number for reference in verdict.linked}
    numbers = sorted({reference.reference_number for reference in journey.references})
    return [
        LinkRow(
            journey.jrn,
            number,
            journey.direction,
            GoodsState.REFERENCED.value if number in held else "WANTED",
        )
        for number in numbers
    ]


def _with_version(journey: TransportDeclaration, goods: GoodsDeclaration) -> TransportDeclaration:
    """The journey with the newest version of one of its declarations."""

    def newer(reference: DeclarationReference) -> DeclarationReference:
        if reference.reference_number != goods.mrn:
            return reference
        return msgspec.structs.replace(reference, version=goods.version)

    references = tuple(map(newer, journey.references))
    return msgspec.structs.replace(journey, version=journey.version + 1, references=references)


def _expires_s(journey: TransportDeclaration, now_s: float) -> float:
    planned = journey.planned_crossing.estimated_date_time
    arrival_s = time_s(planned) if planned is not None else None
    return now_s + UNLINKED_LIFE_S if arrival_s is None else max(now_s, arrival_s) + AFTER_ARRIVAL_S
