"""simulator/customs/office.py on a real database: activation, assessment, control, checkpoint."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.domain.declaration import ControlResult, DeclarationReference, FeedRow, PlannedCrossing
from agent.domain.identifiers import activation_id
from agent.domain.routing import Assessment
from agent.journal.handover import HeadPosted, proof_text
from agent.journal.merkle import CompactRange, consistency_onward, sign_checkpoint
from agent.journal.verify import leaf_hash
from agent.risk.conditional import verified_conditional
from agent.risk.exchange import (
    ActivatedDeclaration,
    ActivationAnswer,
    ActivationRequest,
    Gnss,
    Location,
    RiskAnswer,
    RiskRequest,
    Vehicle,
    verified_assessment,
)
from simulator.customs.office import HeadRefused, Office, Reconciliation, Refused

NOW_S = 1_795_342_500.0
AT = "2026-11-22T10:15:00.000Z"
Make = Callable[..., Any]


def one(mrn: str | None, jrn: str = "J", version: int = 1, crossing: str = "thayngen", direction: str = "IN") -> Any:
    key = activation_id(mrn or "", version, jrn, crossing, direction)
    return ActivatedDeclaration(mrn=mrn, version=version, activation_id=key)


def request_of(*declarations: Any, jrn: str = "J", **changes: Any) -> ActivationRequest:
    fields = {
        "jrn": jrn, "crossing": "thayngen", "customs_office": "CH002471", "direction": "IN",
        "activation_date_time": AT, "location": Location(gnss=Gnss(latitude=47.7, longitude=8.7)),
        "variant": "AUTOMATIC", "declarations": declarations,
    }  # fmt: skip
    return ActivationRequest(**(fields | changes))


def activate(office: Office, request: ActivationRequest, key: str | None = None) -> list[tuple[str, str | None]]:
    body = msgspec.json.encode(request)
    answer = office.activate(key or request.declarations[0].activation_id, body, request, NOW_S)
    results = msgspec.json.decode(answer, type=ActivationAnswer).results
    return [(result.result, result.reason) for result in results]


def risk_of(*declarations: Any, request_id: str = "r1", plate: str = "ZH123", **changes: Any) -> RiskRequest:
    fields = {
        "request_id": request_id, "jrn": "J", "crossing": "thayngen", "customs_office": None, "direction": "IN",
        "activation_date_time": AT, "vehicle": Vehicle(identification_number=plate, nationality="CH"),
        "declarations": declarations,
    }  # fmt: skip
    return RiskRequest(**(fields | changes))


def assess(office: Office, request: RiskRequest, now_s: float = NOW_S) -> tuple[Assessment, ...]:
    answer = office.assess(msgspec.json.encode(request), request, now_s)
    return msgspec.json.decode(answer, type=RiskAnswer).assessments


@pytest.fixture
def ready(office: Office, goods: Make, journey: Make, mrn: Make) -> Office:
    """An office with journey J, ready, with declarations 1 and 2; nothing is drawn by lot."""
    office.book = replace(office.book, random_share=0.0)
    office.register.submit_goods([goods(1), goods(2)], NOW_S, amend=False)
    office.register.submit_journeys([journey("J", mrn(1), mrn(2))], NOW_S, amend=False)
    return office


# --- activation ---


def test_activation_is_accepted_once_and_binds(ready: Office, goods: Make, journey: Make, mrn: Make) -> None:
    assert activate(ready, request_of(one(mrn(1)))) == [("ACCEPTED", None)]
    assert activate(ready, request_of(one(mrn(1))), key="another") == [("ACCEPTED", None)]  # first answer again
    (record,) = ready.store.activations(0, 10)
    assert (record.result, record.repeats) == ("ACCEPTED", 1)
    register = ready.register
    for answer in (
        register.submit_goods([goods(1, consignee=None)], NOW_S, amend=True)[0],
        register.cancel_goods([mrn(1)], NOW_S)[0],
        register.submit_journeys([journey("J", mrn(1))], NOW_S, amend=True)[0],
        register.cancel_journeys(["J"], NOW_S)[0],
    ):
        assert [failure.code for failure in answer.rule_failures] == ["LOCKED"]


@pytest.mark.parametrize(
    ("prepare", "declaration", "changes", "expected"),
    [
        (None, (99, 1), {}, ("REFUSED", "UNKNOWN_MRN")),
        (None, (1, 2), {}, ("REFUSED", "OLD_VERSION")),
        (None, (3, 1), {}, ("REFUSED", "NOT_REFERENCED")),
        (None, (3, 1), {"variant": "MANUAL", "officer": "Meier"}, ("ACCEPTED", None)),
        (None, (1, 1), {"variant": "FALLBACK"}, ("ACCEPTED", None)),
        ("cancel-goods", (1, 1), {}, ("REFUSED", "CANCELLED")),
        ("cancel-journey", (1, 1), {}, ("REFUSED", "CANCELLED")),
        ("expire", (1, 1), {}, ("REFUSED", "EXPIRED")),
    ],
)
def test_outcomes(
    ready: Office, goods: Make, mrn: Make, prepare: str | None, declaration: tuple[int, int],
    changes: dict[str, Any], expected: tuple[str, str | None],
) -> None:  # fmt: skip
    ready.register.submit_goods([goods(3)], NOW_S, amend=False)
    if prepare == "cancel-goods":
        ready.register.cancel_goods([mrn(1)], NOW_S)
    elif prepare == "cancel-journey":
        ready.register.cancel_journeys(["J"], NOW_S)
    elif prepare == "expire":
        ready.register.expire(NOW_S + 1e8)
    number, version = declaration
    assert activate(ready, request_of(one(mrn(number), version=version), **changes)) == [expected]


def test_a_second_lorry_with_the_same_goods(office: Office, goods: Make, journey: Make, mrn: Make) -> None:
    register = office.register
    register.submit_goods([goods(1, parts=2), goods(2)], NOW_S, amend=False)
    register.submit_journeys([journey("J", mrn(1), mrn(2)), journey("K", mrn(1))], NOW_S, amend=False)
    assert activate(office, request_of(one(mrn(1)), one(mrn(2)))) == [("ACCEPTED", None)] * 2
    second = request_of(one(mrn(1), jrn="K"), jrn="K")
    body = msgspec.json.encode(second)
    answer = msgspec.json.decode(office.activate("k", body, second, NOW_S), type=ActivationAnswer).results[0]
    assert (answer.result, answer.activation_id) == ("ALREADY_ACTIVATED", one(mrn(1)).activation_id)
    stolen = request_of(one(mrn(2), jrn="K"), jrn="K")
    assert activate(office, stolen) == [("REFUSED", "ACTIVATED_ELSEWHERE")]


def test_a_permit_is_activated_by_each_journey_anew(office: Office, goods: Make, journey: Make) -> None:
    register = office.register
    permit = goods(mrn="P-7", procedure="PERIODIC", customs_office="CH002471")
    register.submit_goods([permit], NOW_S, amend=False)
    links = (DeclarationReference(reference_number="P-7", type_of_reference="PERMIT"),)
    register.submit_journeys([journey(jrn, references=links) for jrn in ("J", "K")], NOW_S, amend=False)
    assert activate(office, request_of(one("P-7"))) == [("ACCEPTED", None)]
    assert activate(office, request_of(one("P-7", jrn="K"), jrn="K")) == [("ACCEPTED", None)]
    assert activate(office, request_of(one("P-7", jrn="L"), jrn="L")) == [("REFUSED", "NOT_REFERENCED")]


def test_the_same_key_gives_the_same_bytes_and_another_body_is_refused(ready: Office, mrn: Make) -> None:
    request = request_of(one(mrn(1)))
    body = msgspec.json.encode(request)
    first = ready.activate("k", body, request, NOW_S)
    assert ready.activate("k", body, request, NOW_S + 60) == first
    other = request_of(one(mrn(1)), evidence_digest="x")
    with pytest.raises(Refused) as refused:
        ready.activate("k", msgspec.json.encode(other), other, NOW_S)
    assert (refused.value.status, refused.value.field) == (422, "header Idempotency-Key")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"variant": "MAYBE"}, "$.variant"),
        ({"variant": "MANUAL"}, "$.officer"),
        ({"activation_date_time": "noon"}, "$.activationDateTime"),
        ({"declarations": ()}, "$.declarations"),
        ({"direction": "OUT"}, "$.declarations[0].activationId"),
    ],
)
def test_activations_that_cannot_be_read(ready: Office, mrn: Make, changes: dict[str, Any], field: str) -> None:
    request = request_of(one(mrn(1)), **changes) if "declarations" not in changes else request_of()
    with pytest.raises(Refused) as refused:
        ready.activate("k", msgspec.json.encode(request), request, NOW_S)
    assert (refused.value.status, refused.value.field) == (422, field)


# --- risk ---


def test_answers_are_signed_for_exactly_what_was_asked(ready: Office, mrn: Make) -> None:
    activate(ready, request_of(one(mrn(1))))
    (answer,) = assess(ready, risk_of(one(mrn(1))))
    verified = verified_assessment(answer, {"authority-1": ready.key})
    assert (verified.mrn, verified.version, verified.jrn) == (mrn(1), 1, "J")
    assert (verified.crossing, verified.direction, verified.routing) == ("thayngen", "IN", "TO_ENTRY")
    assert ready.store.link("J", mrn(1)).state == "TO_ENTRY"  # type: ignore[union-attr]


def test_a_risk_answer_may_come_before_the_activation(ready: Office, mrn: Make) -> None:
    assess(ready, risk_of(one(mrn(1)), plate="ZH999001"))
    assert activate(ready, request_of(one(mrn(1)))) == [("ACCEPTED", None)]
    assert ready.store.link("J", mrn(1)).state == "TO_CONTROL"  # type: ignore[union-attr]


def test_the_same_request_id_gives_the_same_bytes(ready: Office, mrn: Make) -> None:
    request = risk_of(one(mrn(1)))
    body = msgspec.json.encode(request)
    assert ready.assess(body, request, NOW_S) == ready.assess(body, request, NOW_S + 60)
    other = risk_of(one(mrn(2)))
    with pytest.raises(Refused, match="requestId"):
        ready.assess(msgspec.json.encode(other), other, NOW_S)


def test_asking_again_never_loosens_until_a_control_result_releases(ready: Office, mrn: Make) -> None:
    stopped = assess(ready, risk_of(one(mrn(1)), plate="ZH999001"))[0]
    again = assess(ready, risk_of(one(mrn(1)), request_id="r2"), NOW_S + 60)[0]
    assert stopped.routing == again.routing == "TO_CONTROL"
    assert again.valid_until > stopped.valid_until
    result = ControlResult(
        control_result_id="c1", mrn=mrn(1), version=1, jrn="J", officer="Meier", control_result_code="CONFORM",
        activation_id=one(mrn(1)).activation_id,
    )  # fmt: skip
    ready.record_control(msgspec.json.encode(result), result, NOW_S)
    freed = assess(ready, risk_of(one(mrn(1)), request_id="r3", plate="ZH999001"))[0]
    assert freed.routing == "TO_ENTRY"
    held = msgspec.structs.replace(result, control_result_id="c2", control_result_code="NOT_RELEASED")
    ready.record_control(msgspec.json.encode(held), held, NOW_S)
    assert assess(ready, risk_of(one(mrn(1)), request_id="r4", plate="ZH999001"))[0].routing == "TO_CONTROL"


@pytest.mark.parametrize(
    ("declaration", "changes", "why"),
    [
        ((99, 1), {}, "UNKNOWN_MRN"),
        ((1, 7), {}, "OLD_VERSION"),
        ((3, 1), {}, "NOT_REFERENCED"),
        ((1, 1), {"jrn": "X"}, "UNKNOWN_JRN"),
        ((1, 1), {"direction": "OUT"}, "DIRECTION_MISMATCH"),
    ],
)
def test_what_the_register_cannot_vouch_for_is_never_entry(
    ready: Office, goods: Make, mrn: Make, declaration: tuple[int, int], changes: dict[str, Any], why: str
) -> None:
    ready.register.submit_goods([goods(3)], NOW_S, amend=False)
    (answer,) = assess(ready, risk_of(one(mrn(declaration[0]), version=declaration[1]), **changes))
    assert (answer.routing, answer.routing_control_location) == ("ENTRY_PENDING", "ON_ENTRY")
    assert why in [reason["id"] for reason in answer.score_card["reasons"]]  # type: ignore[index]


def test_an_empty_run_is_assessed_once_and_then_locked(office: Office, journey: Make) -> None:
    office.book = replace(office.book, random_share=0.0)
    office.register.submit_journeys([journey("J", empty=True)], NOW_S, amend=False)
    (answer,) = assess(office, risk_of(one(None)))
    assert (answer.mrn, answer.routing) == (None, "TO_ENTRY")
    assert office.register.cancel_journeys(["J"], NOW_S)[0].rule_failures[0].code == "LOCKED"


def test_the_lot_falls_the_same_on_every_request(ready: Office, mrn: Make) -> None:
    ready.book = replace(ready.book, random_share=0.5)
    drawn = {
        tuple(bool(answer.score_card["random"]) for answer in answers)  # type: ignore[index]
        for number in range(5)
        if (answers := assess(ready, risk_of(one(mrn(1)), one(mrn(2)), request_id=f"r{number}"), NOW_S + number))
    }
    assert len(drawn) == 1


def test_the_trade_never_learns_why(ready: Office, mrn: Make) -> None:
    assess(ready, risk_of(one(mrn(1)), plate="ZH999001"))
    ((_, body),) = ready.store.routing(0, 10)
    row = msgspec.json.decode(body)
    assert set(row) == {"id", "mrn", "jrn", "routing", "routingControlLocation", "time"}


# --- control results, checkpoints ---


def test_a_control_result_reaches_agents_counters_and_trade(ready: Office, mrn: Make) -> None:
    activate(ready, request_of(one(mrn(1))))
    assess(ready, risk_of(one(mrn(1)), plate="ZH999001"))
    marker = ready.store.number("marker")
    result = ControlResult(
        control_result_id="c1", mrn=mrn(1), version=1, jrn="J", officer="Meier", control_result_code="FINDING",
        activation_id=one(mrn(1)).activation_id,
    )  # fmt: skip
    body = msgspec.json.encode(result)
    first = ready.record_control(body, result, NOW_S)
    assert ready.record_control(body, result, NOW_S + 5) == first
    assert msgspec.json.decode(first)["state"] == "RELEASED_WITH_FINDING"
    ((_, row),) = ready.store.feed(marker, 10)
    assert msgspec.json.decode(row, type=FeedRow).control_results == (result,)
    counts = ready.store.counters()
    assert (counts.total.seen, counts.total.found, counts.up_to) == (1, 1, 1)
    assert counts.counts["rule", "WATCH-P-0001"].found == 1
    assert counts.counts["importer", "muster"].found == 1
    other = msgspec.structs.replace(result, officer="Keller")
    with pytest.raises(Refused, match="controlResultId"):
        ready.record_control(msgspec.json.encode(other), other, NOW_S)


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"control_result_code": "FINE"}, 422, "$.controlResultCode"),
        ({"jrn": "X"}, 404, "$.jrn"),
        ({"mrn": "X"}, 404, "$.mrn"),
    ],
)
def test_control_results_that_fit_nothing(
    ready: Office, mrn: Make, changes: dict[str, Any], status: int, field: str
) -> None:
    fields = {
        "control_result_id": "c", "mrn": mrn(1), "version": 1, "jrn": "J", "officer": "M",
        "control_result_code": "CONFORM",
    }  # fmt: skip
    result = ControlResult(**(fields | changes))
    with pytest.raises(Refused) as refused:
        ready.record_control(msgspec.json.encode(result), result, NOW_S)
    assert (refused.value.status, refused.value.field) == (status, field)


AGENT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def journal(size: int, salt: str = "") -> CompactRange:
    return CompactRange().extend(leaves(size, salt))


def leaves(size: int, salt: str = "") -> list[bytes]:
    return [leaf_hash(f"{salt}{number}".encode()) for number in range(size)]


def head(size: int, old_size: int = 0, salt: str = "", key: Ed25519PrivateKey = AGENT_KEY) -> HeadPosted:
    tree = journal(size, salt)
    proof = consistency_onward(journal(old_size, salt), leaves(size, salt)[old_size:]) if old_size else ()
    text = sign_checkpoint("box-1", tree, key)
    return HeadPosted(agent="box-1", checkpoint=text, old_size=old_size, proof=proof_text(proof))


def test_a_journal_hands_over_heads_that_continue_each_other(office: Office) -> None:
    for good in (head(5), head(5), head(9, 5), head(300, 9)):
        office.record_checkpoint(good, NOW_S)
    assert office.store.checkpoint("box-1") == (300, journal(300).root())


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (head(8), "has lost entries"),  # a restored backup
        (head(9, salt="x"), "another root"),
        (head(12), "a proof from size 9"),
        (head(12, 5), "a proof from size 9"),
        (head(12, 9, salt="x"), "does not continue"),  # rebuilt, with a proof that fits itself
        (HeadPosted(agent="box-1", checkpoint=head(12).checkpoint, old_size=9, proof=("!",)), "proof"),
        (HeadPosted(agent="box-1", checkpoint=head(12).checkpoint, old_size=9), "does not continue"),
    ],
)
def test_a_head_that_does_not_continue_the_held_one_is_refused(office: Office, bad: HeadPosted, why: str) -> None:
    office.record_checkpoint(head(9), NOW_S)
    with pytest.raises(HeadRefused, match=why) as refused:
        office.record_checkpoint(bad, NOW_S)
    assert (refused.value.status, refused.value.held_size) == (409, 9)
    assert office.store.checkpoint("box-1") == (9, journal(9).root())


def test_heads_of_a_known_agent_are_signed_by_its_key(office: Office) -> None:
    office.agent_keys = {"box-1": [AGENT_KEY.public_key()]}
    office.record_checkpoint(head(5), NOW_S)
    with pytest.raises(Refused, match="not signed by this key") as refused:
        office.record_checkpoint(head(6, 5, key=Ed25519PrivateKey.generate()), NOW_S)
    assert refused.value.status == 422


def test_a_supervisor_lets_a_journal_begin_anew(office: Office) -> None:
    word = Reconciliation(agent="box-1", officer="Muster", reason="disk replaced, backup of 14:00")
    with pytest.raises(Refused, match="no head"):
        office.reconcile(word, NOW_S)
    office.record_checkpoint(head(9), NOW_S)
    office.reconcile(word, NOW_S)
    office.record_checkpoint(head(4), NOW_S)
    assert office.store.checkpoint("box-1") == (4, journal(4).root())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\nb\nc\nd\n",
        "a\n5\n!!\n\nx",
        "a\n5\nYQ==\n\nx",
        "a\n-1\n" + "YQ==" * 8 + "\n\nx",
        f"o\n5\n{'A' * 43}=\n\nx",
    ],
)
def test_what_is_no_checkpoint(office: Office, text: str) -> None:
    with pytest.raises(Refused) as refused:
        office.record_checkpoint(HeadPosted(agent="a", checkpoint=text), NOW_S)
    assert (refused.value.status, refused.value.field) == (422, "$.checkpoint")


# --- conditional answers ---


@pytest.fixture
def linked(office: Office, goods: Make, journey: Make, mrn: Make) -> Callable[..., list[dict[str, Any]]]:
    """Declares goods and a journey with them; the conditional answers in its newest row of the feed."""
    office.conditional = frozenset({"thayngen"})
    office.book = replace(office.book, random_share=0.0)
    office.register = replace(office.register, conditional=office.conditional_answers)

    def link(number: int = 1, jrn: str = "J", amend: bool = False, **changes: Any) -> list[dict[str, Any]]:
        office.register.submit_goods([goods(number)], NOW_S, amend=False)
        office.register.submit_journeys([journey(jrn, mrn(number), **changes)], NOW_S, amend=amend)
        return rows_of(office)[jrn]

    return link


def rows_of(office: Office) -> dict[str, list[dict[str, Any]]]:
    rows = [msgspec.json.decode(body, type=FeedRow) for _, body in office.store.feed(0, 100)]
    return {row.jrn: list(row.conditional) for row in rows}


def test_a_journey_that_is_in_order_gets_a_conditional_answer(office: Office, linked: Make, mrn: Make) -> None:
    (fields,) = linked()
    answer = verified_conditional(fields, {"authority-1": office.key})
    key = activation_id(mrn(1), 1, "J", "thayngen", "IN")
    assert (answer.activation_id, answer.routing, answer.list_number) == (key, "TO_ENTRY", 0)
    assert office.revocations(NOW_S).activation_ids == ()


def test_by_default_nobody_gets_one(office: Office, goods: Make, journey: Make, mrn: Make) -> None:
    office.register.submit_goods([goods(1)], NOW_S, amend=False)
    office.register.submit_journeys([journey("J", mrn(1))], NOW_S, amend=False)
    assert rows_of(office) == {"J": []}


def test_who_would_be_controlled_gets_none(office: Office, linked: Make) -> None:
    office.book = replace(office.book, random_share=1.0)  # the lot falls on everybody
    assert linked() == []


def test_elsewhere_nobody_gets_one(linked: Make) -> None:
    assert linked(planned_crossing=PlannedCrossing(crossing="bargen")) == []


def test_what_is_no_longer_given_is_revoked(office: Office, linked: Make) -> None:
    (first,) = linked()
    assert linked(amend=True, planned_crossing=PlannedCrossing(crossing="bargen")) == []
    newest = office.revocations(NOW_S)
    assert (newest.number, newest.activation_ids) == (1, (first["activationId"],))
    (again,) = linked(amend=True)
    assert again["listNumber"] == 1 and office.revocations(NOW_S).activation_ids == (), "given anew, under the new list"


def test_a_cancelled_journey_and_other_rules_revoke(office: Office, linked: Make) -> None:
    (one,), (two,) = linked(1, "J1"), linked(2, "J2", plate="ZH 9")
    office.register.cancel_journeys(["J1"], NOW_S)
    assert office.revocations(NOW_S).activation_ids == (one["activationId"],)
    assert office.revoke_all(NOW_S) == 1
    assert set(office.revocations(NOW_S).activation_ids) == {one["activationId"], two["activationId"]}
    assert office.revocations(NOW_S + 86_401.0).activation_ids == (), "what has run out needs no word any more"
    assert office.revocations(NOW_S).number == 2


# --- before the border, counters, the lot ---


def test_what_is_lodged_and_referenced_is_scored_ahead(office: Office, goods: Make, journey: Make, mrn: Make) -> None:
    office.register = office.scoring_register()
    office.register.submit_goods([goods(1)], NOW_S, amend=False)
    lodged = office.store.ahead(mrn(1), "J", 1)
    assert lodged is not None and lodged.referenced is None
    office.register.submit_journeys([journey("J", mrn(1))], NOW_S, amend=False)
    found = office.store.ahead(mrn(1), "J", 1)
    assert found is not None and found.referenced is not None
    assert office.store.ahead(mrn(1), "J", 2) is None, "another version says something else"
    assess(office, risk_of(one(mrn(1))))
    at_border = office.store.ahead(mrn(1), "J", 1)
    assert at_border is not None and at_border.referenced is None, "used up"


def result_of(mrn: str, number: int, code: str = "CONFORM") -> ControlResult:
    return ControlResult(
        control_result_id=f"c{number}", mrn=mrn, version=1, jrn="J", officer="Meier", control_result_code=code,
        activation_id=one(mrn).activation_id,
    )  # fmt: skip


def test_any_counter_version_can_be_had_again(ready: Office, mrn: Make) -> None:
    assess(ready, risk_of(one(mrn(1)), plate="ZH999001"))
    for number, code in enumerate(("CONFORM", "FINDING", "FINDING"), start=1):
        result = result_of(mrn(1), number, code)
        ready.record_control(msgspec.json.encode(result), result, NOW_S)
    assert ready.store.counters() == ready.store.counters(3)
    first = ready.store.counters(1)
    assert (first.up_to, first.total.seen, first.total.found) == (1, 1, 0)
    assert ready.store.counters(2).counts["rule", "WATCH-P-0001"].found == 1


def test_a_restart_goes_on_with_the_counter_version_in_force(ready: Office, mrn: Make) -> None:
    assess(ready, risk_of(one(mrn(1))))
    result = result_of(mrn(1), 1)
    ready.record_control(msgspec.json.encode(result), result, NOW_S)
    again = replace(ready, _learning=None, _thresholds={})
    assert again._counter_version(NOW_S + 1).counters.up_to == 0
    assert again._counter_version(NOW_S + 901).counters.up_to == 1


def test_the_secret_of_the_lot_is_fixed_the_day_before(ready: Office) -> None:
    ready.commit_draws(NOW_S)
    ready.commit_draws(NOW_S + 5)
    (tomorrow, digest, committed_s, secret), (today, *_) = ready.store.draws()
    assert (today, tomorrow) == ("2026-11-22", "2026-11-23")
    assert digest == hashlib.sha256(secret).hexdigest()
    assert committed_s == NOW_S
    assert ready.store.day_secret(tomorrow) == secret


def test_lorries_with_a_higher_score_have_the_bays_before_others(ready: Office) -> None:
    ready.store.take_bay("a", "thayngen", 7)
    assert ready.store.bays_wanted("thayngen", 7, 50, "b") == 1
    assert ready.store.bays_wanted("thayngen", 7, 50, "a") == 0, "its own"
    assert ready.store.bays_wanted("thayngen", 8, 50, "b") == 0
