"""Back half: performs stored effects, at least once, in order for each target; what comes back is an event again."""

from __future__ import annotations

import asyncio
import enum
import itertools
import random
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import msgspec
import structlog
from joserfc.jwk import OKPKey

from agent.activation.effects import AskRisk
from agent.activation.events import ActivationAnswered, Event, InstructionOut, RiskAnswered
from agent.clock import Clock
from agent.delivery.unit_channel import Publisher
from agent.domain.routing import Assessment
from agent.domain.signed import BadSignature
from agent.errors import LinkError, PeerError
from agent.journal.batch import Retry, StoredRow
from agent.postings import PRIORITY, Lane, risk_request, split_row_key
from agent.risk.client import CustomsClient, Reply, Verdict, verdict
from agent.risk.exchange import ActivationAnswer, RiskAnswer, verified_assessment
from agent.risk.schedule import Asking, Breaker, Do, allow, ended, failed, next_step, sent, succeeded

CUSTOMS_LANES = frozenset({Lane.ACTIVATION, Lane.RISK})
TOLD_LANES = frozenset({Lane.EVENT, Lane.ALARM})
TOLD_AT_ONCE = 64
"""Events on their way to the broker at once; below the publisher's window, so that an instruction finds room."""
REQUEST_MIN_S = 0.05
"""A request that must end at once still gets so long; its answer may come in time."""
RETRY_MIN_S, RETRY_MAX_S = 0.5, 60.0
"""Exponential with jitter (design/reliability.md section 2)."""
PENDING_AGAIN_S = 0.5
"""A question about declarations that customs is still at is asked again after so long."""
ACTIVATIONS_PATH, RISK_PATH = "/v1/activations", "/v1/risk-assessments"
LOG = structlog.get_logger()


class Crew(enum.Enum):
    """Who performs: what hangs at customs must never hold up an instruction, nor old questions a new one."""

    BROKER = "BROKER"
    AWAITED = "AWAITED"
    """Risk questions whose lorry waits."""
    ACTIVATION = "ACTIVATION"
    LATE = "LATE"
    """Risk questions asked for the record only."""


STRENGTH = {Crew.BROKER: 32, Crew.AWAITED: 128, Crew.ACTIVATION: 32, Crew.LATE: 16}
"""Chains under way at once. 128 lorries that wait are several times the country's peak; all of them with their
hedges are fewer than the customs client's connections."""


@dataclass(frozen=True)
class Answered:
    """What one request of a risk question came to."""

    event: RiskAnswered
    whole: bool
    """Customs is at none of its declarations any more."""


@dataclass(frozen=True)
class Performed:
    """What one try came to: done, to be tried again, or dropped; and what has happened, if anything."""

    done: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    retried: tuple[Retry, ...] = ()
    events: tuple[Event, ...] = ()


Chain = tuple[str, str]
"""Lane and target: what is performed in order, one after the other."""
Ready = asyncio.PriorityQueue[tuple[int, int, Chain]]
"""Chains that a crew may perform: by lane, then by age."""
Flight = asyncio.Task["Answered | None"]
"""One request of a risk question under way."""
Report = Callable[[Performed], Awaitable[None]]
"""Hands what happened to the pipeline; waits while the pipeline's queue is full."""


class Outbox:
    """Performs rows until they are done.

    Args:
        publisher: The `out` connection to the broker.
        client: The customs service.
        authority_keys: Whose assessments are believed, by key id.
        clock: Pace of deadlines and retries.
        report: Where outcomes go.
    """

    def __init__(
        self,
        publisher: Publisher,
        client: CustomsClient,
        authority_keys: dict[str, OKPKey],
        clock: Clock,
        report: Report,
        request_timeout_s: float = 3.0,
    ) -> None:
        self._publisher, self._client, self._keys = publisher, client, authority_keys
        self._clock, self._report, self._timeout_s = clock, report, request_timeout_s
        self._chains: dict[Chain, deque[StoredRow]] = defaultdict(deque)
        self._ready: dict[Crew, Ready] = {crew: asyncio.PriorityQueue() for crew in Crew}
        self._waiting: dict[int, float] = {}
        self._late: set[asyncio.Task[None]] = set()
        self._asleep: dict[Chain, asyncio.TimerHandle] = {}
        """Chains whose head waits for its next try."""
        self._retained: dict[str, StoredRow] = {}
        self.breaker = Breaker()
        self.customs_reachable = True
        self._denied: set[str] = set()
        self.risk_seconds: Callable[[float], None] = lambda _seconds: None

    @property
    def pending(self) -> int:
        """Effects stored and not yet done."""
        return len(self._waiting)

    @property
    def denied(self) -> bool:
        """Whether customs says that we may not ask (401, 403): nothing passes until an operator acts."""
        return bool(self._denied)

    def oldest_s(self) -> float | None:
        """When the oldest effect not yet done was taken, UTC seconds."""
        return next(iter(self._waiting.values()), None)  # they lie in the order in which they came

    def retain(self, rows: Iterable[StoredRow]) -> None:
        """Instructions that the broker should hold, as far as it was told before a restart."""
        self._retained.update((row.target, row) for row in rows)

    def live_instructions(self) -> list[StoredRow]:
        """Newest unexpired instruction of each unit that is out, to be published again after a connect."""
        now_ms = self._clock.now_s() * 1000
        return [
            row
            for row in self._retained.values()
            if row.outbox_id not in self._waiting and (row.expires_ms is None or row.expires_ms > now_ms)
        ]

    def live_instruction(self, target: str) -> StoredRow | None:
        """The newest instruction of this target that is out and has not expired."""
        row = self._retained.get(target)
        if row is None or row.outbox_id in self._waiting:
            return None
        return row if row.expires_ms is None or row.expires_ms > self._clock.now_s() * 1000 else None

    def add(self, rows: Iterable[StoredRow]) -> None:
        """Take rows that are on disk."""
        now_s = self._clock.now_s()
        for row in rows:
            if row.sealed:
                self._retained[row.target] = row
            self._waiting[row.outbox_id] = now_s
            chain = (row.lane, row.target)
            self._chains[chain].append(row)
            if len(self._chains[chain]) == 1:
                self._offer(chain)

    async def run(self) -> None:
        """Perform for ever."""
        async with asyncio.TaskGroup() as group:
            for crew, strength in STRENGTH.items():
                for _ in range(strength):
                    group.create_task(self._work(self._ready[crew]))

    def _offer(self, chain: Chain) -> None:
        """Let the head of a chain be performed: now, or when its next try is due."""
        wait_s = self._chains[chain][0].next_try_ms / 1000 - self._clock.now_s()
        if wait_s > 0:
            later = asyncio.get_running_loop().call_later(self._clock.wall_s(wait_s), self._offer_now, chain)
            self._asleep[chain] = later
        else:
            self._offer_now(chain)

    def customs_back(self) -> None:
        """Customs answers again: what waits for it goes at once, and not up to a minute later."""
        for chain in [chain for chain in self._asleep if chain[0] in CUSTOMS_LANES]:
            self._asleep[chain].cancel()
            self._offer_now(chain)

    def _offer_now(self, chain: Chain) -> None:
        self._asleep.pop(chain, None)
        head = self._chains[chain][0]
        crew = _crew_of(head, self._clock.now_s())
        self._ready[crew].put_nowait((PRIORITY[head.lane], head.outbox_id, chain))

    async def _work(self, ready: Ready) -> None:
        while True:
            chain = (await ready.get())[2]
            outcome = await self._perform_head(chain)
            await self._report(outcome)
            self._settle(chain, outcome)

    async def _perform_head(self, chain: Chain) -> Performed:
        """The first row of a chain; of what is only told, a run of rows at once, since one connection keeps order."""
        rows = list(itertools.islice(self._chains[chain], TOLD_AT_ONCE if chain[0] in TOLD_LANES else 1))
        if len(rows) == 1:
            return await self._perform(rows[0])
        taken = await self._publisher.publish_run(chain[1], [row.body for row in rows])
        return Performed(
            done=tuple(row.outbox_id for row in rows[:taken]),
            retried=self._again(rows[taken]).retried if taken < len(rows) else (),
        )

    def _settle(self, chain: Chain, outcome: Performed) -> None:
        """Take what is done off the chain; a row to be tried again stays at its head."""
        rows = self._chains[chain]
        finished = {*outcome.done, *outcome.dropped}
        while rows and rows[0].outbox_id in finished:
            self._waiting.pop(rows.popleft().outbox_id, None)
        if outcome.retried:
            rows[0] = _tried(rows[0], outcome.retried[0])
        if rows:
            self._offer(chain)
        else:
            del self._chains[chain]

    async def _perform(self, row: StoredRow) -> Performed:
        now_s = self._clock.now_s()
        if row.expires_ms is not None and row.expires_ms <= now_s * 1000:
            return Performed(dropped=(row.outbox_id,))
        try:
            if row.lane == Lane.ACTIVATION:
                return await self._activate(row)
            if row.lane == Lane.RISK:
                return await self._ask(row)
            return await self._publish(row)
        except (LinkError, PeerError) as error:
            LOG.debug("effect_kept", lane=row.lane, outbox_id=row.outbox_id, reason=str(error))
            return self._again(row)

    def _again(self, row: StoredRow, wait_s: float | None = None) -> Performed:
        tries = row.tries + 1
        backoff_s = min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(row.tries, 8))
        if row.lane in (Lane.INSTRUCTION, Lane.CLEAR, Lane.EVENT, Lane.ALARM):
            backoff_s = RETRY_MIN_S  # the broker is next door; what is told must be out as soon as it is back
        pause_s = wait_s if wait_s is not None else backoff_s * random.uniform(0.8, 1.2)
        next_try_ms = round((self._clock.now_s() + pause_s) * 1000)
        return Performed(retried=(Retry(row.outbox_id, next_try_ms, tries),))

    # --- broker -----------------------------------------------------------------------------------------------

    async def _publish(self, row: StoredRow) -> Performed:
        if row.lane == Lane.CLEAR:
            return await self._clear(row)
        await self._publisher.publish(row.target, row.body, qos=1, retain=row.lane == Lane.INSTRUCTION)
        if row.lane != Lane.INSTRUCTION:
            return Performed(done=(row.outbox_id,))
        key, version = split_row_key(row.key)
        unit = row.target.rsplit("/", 2)[-2]
        out = InstructionOut(key=key, version=version, unit=unit, at_s=self._clock.now_s())
        return Performed(done=(row.outbox_id,), events=(out,))

    async def _clear(self, row: StoredRow) -> Performed:
        """Clear an expired instruction at the broker, unless a newer one of this unit has taken its place."""
        held = self._retained.get(row.target)
        if held is not None and held.key != row.key:
            return Performed(done=(row.outbox_id,))
        await self._publisher.publish(row.target, b"", qos=1, retain=True)
        self._retained.pop(row.target, None)
        return Performed(done=(row.outbox_id,), dropped=() if held is None else (held.outbox_id,))

    # --- customs ----------------------------------------------------------------------------------------------

    async def _post(self, path: str, body: bytes, timeout_s: float, key: str | None = None) -> Reply:
        try:
            reply = await self._client.post(path, body, self._clock.wall_s(timeout_s), key)
        except LinkError:
            self.customs_reachable = False
            raise
        self.customs_reachable = True
        if verdict(reply.status) is Verdict.NOT_ALLOWED:
            LOG.error("customs_denies_access", path=path, status=reply.status)
            self._denied.add(path)
        else:
            self._denied.discard(path)
        return reply

    async def _activate(self, row: StoredRow) -> Performed:
        reply = await self._post(ACTIVATIONS_PATH, row.body, self._timeout_s, row.key)
        match verdict(reply.status):
            case Verdict.DONE:
                return Performed(done=(row.outbox_id,), events=_activation_events(row, reply.body))
            case Verdict.OUR_FAULT:
                LOG.error("activation_not_understood", status=reply.status, activation_id=row.key)
                reason = f"HTTP_{reply.status}"
                return Performed(done=(row.outbox_id,), events=(_refused(row, reason),))
            case Verdict.KEEP | Verdict.NOT_ALLOWED:
                return self._again(row, reply.retry_after_s)

    async def _ask(self, row: StoredRow) -> Performed:
        """One question with its hedge; an answer that comes after the first is still handed on, to tighten."""
        effect = msgspec.json.decode(row.body, type=AskRisk)
        body = msgspec.json.encode(risk_request(effect))
        asking = Asking(deadline_s=self._awaited_until(effect), started_s=self._clock.now_s())
        flights: set[Flight] = set()
        answers: list[Answered] = []
        while not answers:
            step = next_step(asking, self._clock.now_s())
            if step.do is Do.GIVE_UP or (step.do is Do.SEND and not self._allowed()):
                break
            if step.do is Do.SEND:
                flights.add(asyncio.create_task(self._one_question(effect, body, step.at_s - self._clock.now_s())))
                asking = sent(asking, self._clock.now_s())
                continue
            pause_s = self._clock.wall_s(max(0.0, step.at_s - self._clock.now_s()))
            done, flights = await asyncio.wait(flights, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            for answer in (flight.result() for flight in done):
                asking = ended(asking, answer is not None)
                answers += [] if answer is None else [answer]
        self._let_finish(flights)
        return self._answered(row, answers) if answers else self._again(row)

    def _awaited_until(self, effect: AskRisk) -> float | None:
        """When HOLD is decided without an answer; None if that has passed and nobody waits."""
        due_s = effect.deadline_s
        return due_s if due_s is not None and due_s > self._clock.now_s() else None

    def _answered(self, row: StoredRow, answers: list[Answered]) -> Performed:
        """Done, unless customs is still at some of the declarations: then the same question is asked again."""
        events = tuple(answer.event for answer in answers)
        if any(answer.whole for answer in answers):
            return Performed(done=(row.outbox_id,), events=events)
        return Performed(retried=self._again(row, PENDING_AGAIN_S).retried, events=events)

    def _allowed(self) -> bool:
        self.breaker, allowed = allow(self.breaker, self._clock.now_s())
        return allowed

    async def _one_question(self, effect: AskRisk, body: bytes, limit_s: float) -> Answered | None:
        started_s = self._clock.now_s()
        try:
            reply = await self._post(RISK_PATH, body, max(REQUEST_MIN_S, limit_s))
        except LinkError as error:
            LOG.info("risk_unanswered", jrn=effect.jrn, reason=str(error))
            self.breaker = failed(self.breaker, self._clock.now_s())
            return None
        if verdict(reply.status) is not Verdict.DONE:
            LOG.warning("risk_refused", jrn=effect.jrn, status=reply.status)
            self.breaker = failed(self.breaker, self._clock.now_s())
            return None
        self.breaker = succeeded(self.breaker, self._clock.now_s())
        self.risk_seconds(self._clock.now_s() - started_s)
        return _risk_answered(effect, reply.body, self._keys)

    def _let_finish(self, flights: set[Flight]) -> None:
        for flight in flights:
            task = asyncio.create_task(self._hand_on(flight))
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def _hand_on(self, flight: Flight) -> None:
        answer = await flight
        if answer is not None:
            await self._report(Performed(events=(answer.event,)))


def _crew_of(row: StoredRow, now_s: float) -> Crew:
    if row.lane == Lane.ACTIVATION:
        return Crew.ACTIVATION
    if row.lane != Lane.RISK:
        return Crew.BROKER
    return Crew.AWAITED if row.due_ms is not None and row.due_ms > now_s * 1000 else Crew.LATE


def _tried(row: StoredRow, retry: Retry) -> StoredRow:
    return StoredRow(
        row.outbox_id, row.lane, row.target, row.key, row.body, row.due_ms, row.expires_ms, row.sealed,
        retry.next_try_ms, retry.tries,
    )  # fmt: skip


def _activation_events(row: StoredRow, body: bytes) -> tuple[Event, ...]:
    """What customs made of one activation; an answer that cannot be read is no refusal, and no acceptance."""
    try:
        answer = msgspec.json.decode(body, type=ActivationAnswer)
    except msgspec.MsgspecError as error:
        raise PeerError(f"{ACTIVATIONS_PATH}: answer cannot be read: {error}") from error
    mine = [result for result in answer.results if result.activation_id == row.key]
    if not mine:
        raise PeerError(f"{ACTIVATIONS_PATH}: no result for {row.key}")
    result = mine[0]
    jrn = _jrn_of(row)
    return (ActivationAnswered(jrn, row.key, result.result, result.reason, result.acceptance_date_time),)


def _refused(row: StoredRow, reason: str) -> ActivationAnswered:
    return ActivationAnswered(_jrn_of(row), row.key, "REFUSED", reason)


def _jrn_of(row: StoredRow) -> str:
    return str(msgspec.json.decode(row.body)["jrn"])


def _risk_answered(effect: AskRisk, body: bytes, keys: dict[str, OKPKey]) -> Answered | None:
    """What an answer says; None if it says nothing yet, or cannot be read."""
    try:
        answer = msgspec.json.decode(body, type=RiskAnswer)
    except msgspec.MsgspecError as error:
        LOG.warning("risk_unreadable", jrn=effect.jrn, reason=str(error))
        return None
    good: list[Assessment] = []
    tokens: list[str] = []
    refused = 0
    for assessment in answer.assessments:
        try:
            good.append(verified_assessment(assessment, keys))
            tokens.append(assessment.signature or "")
        except BadSignature as error:
            LOG.warning("risk_signature_bad", jrn=effect.jrn, reason=str(error))
            refused += 1
    if answer.pending and not good:
        return None
    event = RiskAnswered(effect.key, effect.request_id, tuple(good), refused, tuple(tokens))
    return Answered(event, whole=not answer.pending)
