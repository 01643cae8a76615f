"""agent/outbox.py: stored effects are performed at least once, with the same bytes, in their order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.activation.effects import AskedDeclaration, AskRisk, ReportActivation
from agent.activation.events import ActivationAnswered, InstructionOut, RiskAnswered
from agent.clock import Clock
from agent.delivery.unit_channel import Publisher
from agent.domain.instruction import Vehicle
from agent.domain.routing import Assessment
from agent.domain.times import rfc3339
from agent.journal.batch import OutboxRow, StoredRow
from agent.keys import jwk_of
from agent.mqtt_link import BrokerAddress
from agent.outbox import ACTIVATIONS_PATH, RETRY_MAX_S, RISK_PATH, STRENGTH, Crew, Outbox, Performed
from agent.postings import Lane, postings, row_key
from agent.risk.client import CustomsClient
from agent.risk.exchange import ActivationAnswer, ActivationResult, Pending, RiskAnswer, sign_assessment
from agent.risk.schedule import BREAKER_FAILURES, BREAKER_REST_S, HEDGE_AFTER_S
from tests.agent.far_side import Answer, Broker, Customs, Held, customs_service, cuts, mqtt_broker, says
from tests.agent.roadside import KEY, TOPICS

SPEEDUP = 5.0
"""Half a second of back-off is 0.1 s of the wall, the hedge leaves after 0.3 s."""
WAIT_S = 10.0
AUTHORITY = jwk_of(KEY)
STRANGER = jwk_of(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))


@dataclass
class Back:
    """An outbox under way between a customs service and a broker, and what it reported."""

    outbox: Outbox
    customs: Customs
    broker: Broker
    clock: Clock
    reported: list[Performed] = field(default_factory=list)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    numbers: int = 0

    async def report(self, outcome: Performed) -> None:
        async with self.heard:
            self.reported.append(outcome)
            self.heard.notify_all()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S), self.heard:
            await self.heard.wait_for(true)

    async def all_done(self, *rows: StoredRow) -> None:
        await self.until(lambda: {row.outbox_id for row in rows} <= self.done | self.dropped)

    @property
    def done(self) -> set[int]:
        return {one for outcome in self.reported for one in outcome.done}

    @property
    def dropped(self) -> set[int]:
        return {one for outcome in self.reported for one in outcome.dropped}

    @property
    def retried(self) -> list[Any]:
        return [one for outcome in self.reported for one in outcome.retried]

    @property
    def events(self) -> list[Any]:
        return [event for outcome in self.reported for event in outcome.events]

    def row(self, new: OutboxRow, **changes: Any) -> StoredRow:
        self.numbers += 1
        fields: dict[str, Any] = {
            "outbox_id": self.numbers, "lane": new.lane, "target": new.target, "key": new.key, "body": new.body,
            "due_ms": new.due_ms, "expires_ms": new.expires_ms, "sealed": new.seal, **changes,
        }  # fmt: skip
        return StoredRow(**fields)

    def activation(self, name: str = "a1", crossing: str = "thayngen", **changes: Any) -> StoredRow:
        effect = ReportActivation(
            activation_id=name, mrn=f"mrn-{name}", version=1, jrn="JRN-1", crossing=crossing, customs_office=None,
            direction="IN", unit="u1", activated_s=self.clock.now_s(), received_s=self.clock.now_s(),
            latitude=47.0, longitude=8.0, variant="AUTOMATIC",
        )  # fmt: skip
        return self.row(postings(effect, "box-1", TOPICS, 0.0).outbox[0], **changes)

    def question(self, name: str = "q1", in_s: float | None = 7.0, **changes: Any) -> StoredRow:
        """A risk question whose HOLD is due in so many seconds; None = nobody waits."""
        effect = AskRisk(
            key="JRN-1", request_id=name, jrn="JRN-1", crossing="thayngen", customs_office=None, direction="IN",
            activated_s=self.clock.now_s(), vehicle=Vehicle("ZH 1", "CH"),
            declarations=(AskedDeclaration("mrn-a1", 1, "a1"),),
            deadline_s=None if in_s is None else self.clock.now_s() + in_s,
        )  # fmt: skip
        return self.row(postings(effect, "box-1", TOPICS, 0.0).outbox[0], **changes)

    def instruction(self, version: int = 1, unit: str = "u1", **changes: Any) -> StoredRow:
        new = OutboxRow(
            Lane.INSTRUCTION, TOPICS.instruction(unit), row_key("JRN-1", version), b"v%d" % version, seal=True
        )
        return self.row(new, **changes)

    def clear(self, version: int = 1) -> StoredRow:
        return self.row(OutboxRow(Lane.CLEAR, TOPICS.instruction("u1"), row_key("JRN-1", version), b""))

    def event(self, n: int) -> StoredRow:
        return self.row(OutboxRow(Lane.EVENT, TOPICS.events("box-1"), "DETECTION", b"%d" % n))


@asynccontextmanager
async def working(
    run: bool = True, online: bool = True, request_timeout_s: float = 3.0, speedup: float = SPEEDUP
) -> AsyncIterator[Back]:
    clock = Clock(speedup, time.time())
    async with customs_service() as customs, mqtt_broker() as broker, CustomsClient(customs.url) as client:
        connected = asyncio.Event()
        address = BrokerAddress("127.0.0.1", broker.port, "3.1.1")
        publisher = Publisher(address, "box-1-out", on_connected=connected.set, puback_timeout_s=0.2)

        async def report(outcome: Performed) -> None:
            await back.report(outcome)

        outbox = Outbox(publisher, client, {"authority-1": AUTHORITY}, clock, report, request_timeout_s)
        back = Back(outbox, customs, broker, clock)
        if online:
            publisher.start()
            await asyncio.wait_for(connected.wait(), WAIT_S)
        task = asyncio.create_task(outbox.run() if run else asyncio.Event().wait())
        try:
            yield back
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await publisher.close()


async def accepts(request: web.Request) -> web.StreamResponse:
    """Customs takes every activation."""
    return await answer_activation(request, "ACCEPTED")


async def answer_activation(request: web.Request, result: str, reason: str | None = None) -> web.StreamResponse:
    asked = msgspec.json.decode(await request.read())["declarations"]
    results = tuple(
        ActivationResult(
            mrn=one["mrn"], version=one["version"], activation_id=one["activationId"], result=result, reason=reason
        )
        for one in asked
    )
    return web.Response(body=msgspec.json.encode(ActivationAnswer(results)), content_type="application/json")


def assessed(routing: str = "TO_ENTRY", key: Any = AUTHORITY, pending: bool = False) -> Answer:
    """A signed answer for the declaration asked about."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read())
        given = []
        for one in asked["declarations"]:
            assessment = Assessment(
                activation_id=one["activationId"], mrn=one["mrn"], version=one["version"], jrn=asked["jrn"],
                crossing=asked["crossing"], direction=asked["direction"], routing=routing,
                issued_at=rfc3339(time.time()), valid_until=rfc3339(time.time() + 1_800),
            )  # fmt: skip
            given.append(sign_assessment(assessment, key, "authority-1"))
        waiting = (Pending("another"),) if pending else ()
        body = msgspec.json.encode(RiskAnswer(tuple(given), waiting))
        return web.Response(body=body, content_type="application/json")

    return answer


# --- activations ---


@pytest.mark.parametrize(
    ("result", "reason"), [("ACCEPTED", None), ("ALREADY_ACTIVATED", None), ("REFUSED", "OLD_VERSION")]
)
async def test_a_yes_of_customs_ends_the_row_and_says_what_became_of_it(result: str, reason: str | None) -> None:
    async with working() as back:
        back.customs.always = lambda request: answer_activation(request, result, reason)
        row = back.activation()
        back.outbox.add([row])
        await back.all_done(row)
        assert back.events == [ActivationAnswered("JRN-1", "a1", result, reason)]
        assert back.outbox.pending == 0 and back.outbox.customs_reachable
    (asked,) = back.customs.asked
    assert (asked.path, asked.key, asked.body) == (ACTIVATIONS_PATH, "a1", row.body)


@pytest.mark.parametrize(
    "first",
    [
        *(pytest.param(says(status), id=str(status)) for status in (302, 401, 403, 408, 409, 429, 500, 502, 503)),
        pytest.param(cuts, id="cut"),
        pytest.param(says(200, b"<html>"), id="no JSON"),
        pytest.param(says(200, b'{"results":[]}'), id="nothing about ours"),
        pytest.param(Held(), id="silence"),
    ],
)
async def test_what_is_no_answer_is_tried_again_with_the_same_bytes_and_key(first: Answer) -> None:
    async with working(request_timeout_s=2.0) as back:
        back.customs.then.extend([first, first])
        back.customs.always = accepts
        row = back.activation()
        back.outbox.add([row])
        await back.all_done(row)
        assert [one.tries for one in back.retried] == [1, 2]
        assert [event.result for event in back.events] == ["ACCEPTED"]
    assert {(one.key, one.body) for one in back.customs.asked} == {("a1", row.body)}
    assert len(back.customs.asked) == 3


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_what_customs_does_not_understand_is_our_fault_and_never_tried_again(status: int) -> None:
    async with working() as back:
        back.customs.always = says(status)
        row, other = back.activation(), back.activation("a2", "bargen")
        back.outbox.add([row])
        await back.all_done(row)
        back.outbox.add([other])
        await back.all_done(other)
        assert back.events[0] == ActivationAnswered("JRN-1", "a1", "REFUSED", f"HTTP_{status}")
        assert back.retried == []
    assert [one.key for one in back.customs.asked] == ["a1", "a2"]


async def test_retry_after_is_honoured() -> None:
    async with working() as back:
        back.customs.then.append(says(429, Retry_After="6"))
        back.customs.always = accepts
        row = back.activation()
        begun_s = back.clock.now_s()
        back.outbox.add([row])
        await back.all_done(row)
        assert back.retried[0].next_try_ms / 1000 >= begun_s + 6.0
        assert back.clock.now_s() >= begun_s + 6.0


async def test_the_pauses_grow_to_their_bound() -> None:
    async with working(run=False) as back:
        row = back.activation()
        pauses = []
        for tries in range(20):
            outcome = back.outbox._again(replace(row, tries=tries))
            pauses.append(outcome.retried[0].next_try_ms / 1000 - back.clock.now_s())
        assert 0.3 < pauses[0] < 0.7 and max(pauses) <= RETRY_MAX_S * 1.2
        assert pauses[-1] >= RETRY_MAX_S * 0.75


async def test_the_next_try_is_kept_over_a_restart() -> None:
    async with working() as back:
        back.customs.always = accepts
        now_s = back.clock.now_s()
        late = back.activation("late", "bargen", next_try_ms=round((now_s + 5.0) * 1000), tries=4)
        back.outbox.add([late, back.activation("now")])
        await back.all_done(late)
        assert back.clock.now_s() >= now_s + 5.0
    assert [one.key for one in back.customs.asked] == ["now", "late"]


async def test_order_is_kept_for_each_crossing_and_only_there() -> None:
    async with working() as back:
        held = Held(accepts)
        back.customs.then.append(held)
        back.customs.always = accepts
        rows = [back.activation("a1"), back.activation("a2"), back.activation("b1", "bargen")]
        back.outbox.add(rows)
        await back.all_done(rows[2])
        assert {one.key for one in back.customs.asked} == {"a1", "b1"}
        held.let_go()
        await back.all_done(*rows)
    assert [one.key for one in back.customs.asked if one.key != "b1"] == ["a1", "a2"]


@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), st.integers(0, 2)), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None)
def test_whatever_fails_every_activation_arrives_and_each_crossing_in_its_order(plan: list[tuple[str, int]]) -> None:
    asyncio.run(_arrives(plan))


async def _arrives(plan: list[tuple[str, int]]) -> None:
    async with working() as back:
        left = {f"a{n}": fails for n, (_, fails) in enumerate(plan)}
        accepted: list[str] = []

        async def flaky(request: web.Request) -> web.StreamResponse:
            name = request.headers["Idempotency-Key"]
            if left[name] > 0:
                left[name] -= 1
                return await says(503, Retry_After="0")(request)
            accepted.append(name)
            return await accepts(request)

        back.customs.always = flaky
        rows = [back.activation(f"a{n}", crossing) for n, (crossing, _) in enumerate(plan)]
        back.outbox.add(rows)
        await back.all_done(*rows)
    for crossing in ("x", "y"):
        expected = [f"a{n}" for n, (one, _) in enumerate(plan) if one == crossing]
        assert [name for name in accepted if name in expected] == expected
    assert len(accepted) == len(plan) == len({event.activation_id for event in back.events})


async def test_being_denied_is_known_until_access_is_back() -> None:
    async with working() as back:
        back.customs.then.append(says(403))
        back.customs.always = accepts
        row = back.activation()
        back.outbox.add([row])
        await back.until(lambda: bool(back.retried))
        assert back.outbox.denied
        await back.all_done(row)
        assert not back.outbox.denied


# --- one hangs, the others do not ---


async def test_an_instruction_goes_out_while_customs_hangs_for_everybody() -> None:
    """HOLD must be out in time just when customs is silent."""
    async with working(request_timeout_s=100.0, speedup=1.0) as back:
        back.customs.always = Held()
        count = sum(STRENGTH.values())
        back.outbox.add([back.activation(f"a{n}", f"crossing-{n}") for n in range(count)])
        back.outbox.add([back.question(f"q{n}", in_s=100.0) for n in range(count)])
        await back.customs.until(STRENGTH[Crew.ACTIVATION] + STRENGTH[Crew.AWAITED])
        row = back.instruction()
        back.outbox.add([row])
        await back.all_done(row)
        assert [one.payload for one in back.broker.published] == [b"v1"]


async def test_a_lorry_that_waits_is_asked_for_while_old_questions_hang() -> None:
    async with working(request_timeout_s=100.0, speedup=1.0) as back:
        hanging = Held()
        back.customs.then.extend([hanging] * STRENGTH[Crew.LATE])
        back.outbox.add([back.question(f"old-{n}", in_s=None) for n in range(STRENGTH[Crew.LATE])])
        await back.customs.until(STRENGTH[Crew.LATE])
        back.customs.then.clear()
        back.customs.always = assessed()
        row = back.question("new")
        back.outbox.add([row])
        await back.all_done(row)
        assert [event.request_id for event in back.events] == ["new"]


# --- risk questions ---


async def test_a_signed_answer_comes_back_as_an_event() -> None:
    async with working() as back:
        back.customs.always = assessed()
        seconds: list[float] = []
        back.outbox.risk_seconds = seconds.append
        row = back.question()
        back.outbox.add([row])
        await back.all_done(row)
        (event,) = back.events
        assert isinstance(event, RiskAnswered) and (event.key, event.request_id) == ("JRN-1", "q1")
        assert [one.routing for one in event.assessments] == ["TO_ENTRY"] and event.refused == 0
        assert len(seconds) == 1 and seconds[0] > 0


async def test_a_bad_signature_is_counted_and_not_believed() -> None:
    async with working() as back:
        back.customs.always = assessed(key=STRANGER)
        row = back.question()
        back.outbox.add([row])
        await back.all_done(row)
        assert back.events == [RiskAnswered("JRN-1", "q1", (), 1)]


async def test_the_hedge_leaves_after_its_time_with_the_same_bytes_and_its_answer_counts() -> None:
    async with working() as back:
        first = Held(assessed("TO_CONTROL"))
        back.customs.then.append(first)
        back.customs.always = assessed()
        row = back.question()
        begun_s = back.clock.now_s()
        back.outbox.add([row])
        await back.customs.until(2)
        assert HEDGE_AFTER_S <= back.clock.now_s() - begun_s < 7.0
        await back.all_done(row)
        assert [one.routing for one in back.events[0].assessments] == ["TO_ENTRY"]
        first.let_go()  # the slower answer is stricter: it is handed on all the same
        await back.until(lambda: len(back.events) == 2)
        assert [one.routing for one in back.events[1].assessments] == ["TO_CONTROL"]
    assert len({one.body for one in back.customs.asked}) == 1 and back.customs.asked[0].path == RISK_PATH


async def test_two_answers_at_once_both_count() -> None:
    async with working() as back:
        both = asyncio.Barrier(2)

        def at_once(routing: str) -> Answer:
            async def answer(request: web.Request) -> web.StreamResponse:
                await both.wait()
                return await assessed(routing)(request)

            return answer

        back.customs.then.extend([at_once("TO_ENTRY"), at_once("TO_CONTROL")])
        row = back.question()
        back.outbox.add([row])
        await back.until(lambda: len(back.events) == 2)
        found = {one.routing for event in back.events for one in event.assessments}
        assert found == {"TO_ENTRY", "TO_CONTROL"}


async def test_a_question_without_an_answer_in_time_is_asked_on_for_the_record() -> None:
    async with working() as back:
        back.customs.then.extend([says(500)] * 3)
        back.customs.always = assessed()
        row = back.question()
        back.outbox.add([row])
        await back.all_done(row)
        assert [one.tries for one in back.retried] == [1]
    assert len({one.body for one in back.customs.asked}) == 1


async def test_a_part_of_the_answer_is_told_and_the_rest_asked_again() -> None:
    async with working() as back:
        back.customs.then.append(assessed(pending=True))
        back.customs.always = assessed()
        row = back.question()
        back.outbox.add([row])
        await back.all_done(row)
        assert len(back.events) == 2 and len(back.retried) == 1
    assert [one.path for one in back.customs.asked] == [RISK_PATH] * 2


@pytest.mark.parametrize("failure", [pytest.param(says(503), id="503"), pytest.param(cuts, id="cut")])
async def test_the_breaker_opens_after_its_failures_lets_one_probe_through_and_closes(failure: Answer) -> None:
    async with working() as back:
        back.customs.always = failure
        rows = [back.question(f"q{n}", in_s=60.0) for n in range(4)]
        back.outbox.add(rows)
        await back.until(lambda: back.outbox.breaker.is_open)
        await back.until(lambda: len({one.outbox_id for one in back.retried}) == len(rows))
        opened_s, asked = back.outbox.breaker.since_s, len(back.customs.asked)
        assert asked >= BREAKER_FAILURES
        back.customs.always = assessed()
        await back.all_done(*rows)
        assert not back.outbox.breaker.is_open
        assert back.clock.now_s() >= opened_s + BREAKER_REST_S


async def test_a_question_nobody_needs_any_more_is_dropped() -> None:
    async with working() as back:
        row = back.question(expires_ms=round(back.clock.now_s() * 1000) - 1)
        back.outbox.add([row])
        await back.all_done(row)
        assert back.dropped == {row.outbox_id} and back.customs.asked == []


# --- broker ---


async def test_an_instruction_is_retained_and_out_after_the_puback() -> None:
    async with working() as back:
        row = back.instruction(3)
        begun_s = back.clock.now_s()
        back.outbox.add([row])
        await back.all_done(row)
        (message,) = back.broker.published
        assert (message.topic, message.payload, message.qos, message.retain) == (row.target, b"v3", 1, True)
        (event,) = back.events
        assert isinstance(event, InstructionOut) and (event.key, event.version, event.unit) == ("JRN-1", 3, "u1")
        assert event.at_s >= begun_s


async def test_without_a_puback_it_goes_out_again_with_the_same_bytes() -> None:
    async with working() as back:
        back.broker.silent = True
        row = back.instruction()
        back.outbox.add([row])
        await back.until(lambda: bool(back.retried))
        assert back.events == [] and back.outbox.pending == 1
        back.broker.silent = False
        await back.all_done(row)
    assert {one.payload for one in back.broker.published} == {b"v1"} and len(back.broker.published) >= 2


async def test_while_the_broker_is_away_nothing_is_lost_and_nothing_is_done() -> None:
    async with working(online=False) as back:
        rows = [back.instruction(), back.event(1)]
        back.outbox.add(rows)
        await back.until(lambda: len(back.retried) >= 4)
        assert back.done == set() and back.outbox.pending == 2


async def test_events_leave_in_their_order() -> None:
    async with working() as back:
        rows = [back.event(n) for n in range(200)]
        for n in range(0, 200, 50):
            back.outbox.add(rows[n : n + 50])
        await back.all_done(*rows)
    assert [int(one.payload) for one in back.broker.published] == list(range(200))
    assert not any(one.retain for one in back.broker.published)


async def test_events_stay_in_order_over_a_lost_connection() -> None:
    async with working() as back:
        rows = [back.event(n) for n in range(30)]
        back.broker.silent = True
        back.outbox.add(rows)
        await back.until(lambda: bool(back.retried))
        back.broker.silent = False
        await back.all_done(*rows)
    last = {int(one.payload): n for n, one in enumerate(back.broker.published)}
    assert sorted(last, key=last.__getitem__) == list(range(30))


async def test_what_the_broker_should_hold_is_the_newest_unexpired_that_is_out() -> None:
    async with working() as back:
        now_ms = round(back.clock.now_s() * 1000)
        first, second = back.instruction(1), back.instruction(2)
        expired = back.instruction(1, "u2", expires_ms=now_ms - 1)
        waiting = back.instruction(1, "u3", next_try_ms=now_ms + 3_600_000)
        earlier = back.instruction(7, "u4")
        back.outbox.retain([earlier, expired])
        back.outbox.add([first, second, waiting])
        await back.all_done(first, second)
        live = back.outbox.live_instructions()
        assert {(row.target, row.body) for row in live} == {
            (TOPICS.instruction("u1"), b"v2"),
            (TOPICS.instruction("u4"), b"v7"),
        }


async def test_an_expired_instruction_is_cleared_at_the_broker_and_let_go() -> None:
    async with working() as back:
        row = back.instruction(1)
        back.outbox.add([row])
        await back.all_done(row)
        clear = back.clear(1)
        back.outbox.add([clear])
        await back.all_done(clear)
        assert row.outbox_id in back.dropped and back.outbox.live_instructions() == []
        last = back.broker.published[-1]
        assert (last.topic, last.payload, last.retain) == (row.target, b"", True)


async def test_a_newer_instruction_is_never_cleared_by_an_older_ones_end() -> None:
    async with working() as back:
        rows = [back.instruction(1), back.instruction(2)]
        back.outbox.add(rows)
        await back.all_done(*rows)
        clear = back.clear(1)
        back.outbox.add([clear])
        await back.all_done(clear)
        assert [row.body for row in back.outbox.live_instructions()] == [b"v2"]
    assert [one.payload for one in back.broker.published] == [b"v1", b"v2"]


async def test_an_instruction_that_has_expired_on_the_way_is_not_sent() -> None:
    async with working() as back:
        row = back.instruction(expires_ms=round(back.clock.now_s() * 1000) - 1)
        back.outbox.add([row])
        await back.all_done(row)
        assert back.dropped == {row.outbox_id} and back.broker.published == []


async def test_the_oldest_effect_and_the_number_are_known() -> None:
    async with working(online=False) as back:
        assert (back.outbox.pending, back.outbox.oldest_s()) == (0, None)
        begun_s = back.clock.now_s()
        back.outbox.add([back.instruction(), back.event(1)])
        oldest_s = back.outbox.oldest_s()
        assert back.outbox.pending == 2 and oldest_s is not None and oldest_s >= begun_s


async def test_what_waits_for_customs_goes_as_soon_as_it_answers_again() -> None:
    async with working() as back:
        back.customs.always = accepts
        later_ms = round((back.clock.now_s() + 3_000.0) * 1000)
        rows = [
            back.activation("a1", "thayngen", next_try_ms=later_ms, tries=9),
            back.activation("a2", "bargen", next_try_ms=later_ms, tries=9),
        ]
        message = back.row(
            OutboxRow(Lane.EVENT, TOPICS.events("box-1"), "DETECTION", b"later"), next_try_ms=later_ms, tries=1
        )
        back.outbox.add([*rows, message])
        back.outbox.customs_back()
        await back.all_done(*rows)
        assert message.outbox_id not in back.done, "what waits for the broker waits on"
