"""Officers at the booths: what they do with a lorry that stands in the control bay.

`choose` decides, `Officers` does it by the same calls that people's screens use.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from agent.domain.declaration import ControlResult
from agent.domain.identifiers import activation_id
from agent.domain.instruction import Action, Instruction, ReasonCode
from agent.domain.times import rfc3339
from simulator.dice import Dice
from simulator.scenario import LorryPlan

FOUND = "FINDING"
"""Result of a control of a declaration whose label says that there is something; the goods go on all the same."""
OFFICER_NAMES = ("M. Keller", "S. Rossi", "A. Favre", "L. Brunner", "C. Bernasconi")
WALK_UP_S = (4.0, 9.0)
"""From standstill until the officer is done, seconds (choice: a demo is short)."""
REQUEST_TIMEOUT_S = 5.0
TRIES = 3
AT_ONCE = 8
CONTROL_REASONS = frozenset({ReasonCode.CONTROL.value, ReasonCode.CORRECT_NOW.value, ReasonCode.LOCAL_RULE.value})
"""STOP reasons that a control of the goods answers; others need the officer's decision."""


class ActKind(enum.Enum):
    """How an officer deals with a lorry."""

    CONTROL_RESULT = "CONTROL_RESULT"
    OVERRIDE = "OVERRIDE"


@dataclass(frozen=True)
class Act:
    """One thing an officer does."""

    kind: ActKind
    key: str
    """jrn, or `unit:` + unit where there is no journey."""
    officer: str
    code: str
    """Control result code, or the action decided."""
    mrns: tuple[tuple[str, int], ...] = ()
    reason: str = ""


def choose(plan: LorryPlan, instruction: Instruction, dice: Dice) -> Act | None:
    """What the officer does about a STOP or HOLD, or None if the lorry stays where it is.

    The two planted lorries are never released: they must end in STOP.
    """
    if plan.planted or Action[instruction.action] < Action.HOLD:
        return None
    officer = dice.choice(OFFICER_NAMES)
    key = instruction.jrn or f"unit:{instruction.unit}"
    if instruction.reason_code in CONTROL_REASONS and plan.papers.valid:
        return Act(ActKind.CONTROL_RESULT, key, officer, "CONFORM", plan.papers.valid)
    return Act(ActKind.OVERRIDE, key, officer, Action.GO.name, reason="papers and goods seen at the booth")


def control_result(act: Act, mrn: str, version: int, plan: LorryPlan, begun_s: float, ended_s: float) -> ControlResult:
    """The control result of one declaration; the id is the same however often it is sent."""
    means = plan.journey.active_border_transport_means if plan.journey else None
    return ControlResult(
        control_result_id=f"{act.key}.{mrn}.{version}"[:70],
        mrn=mrn,
        version=version,
        jrn=act.key,
        officer=act.officer,
        control_result_code=FOUND if mrn in plan.papers.findings else act.code,
        started_at=rfc3339(begun_s),
        ended_at=rfc3339(ended_s),
        activation_id=activation_id(mrn, version, act.key, plan.crossing, plan.direction.value),
        customs_office=means.customs_office_at_border_reference_number if means else None,
    )


class Officers:
    """Does acts over HTTP, a few at a time; every act and its answer goes to the lorry log."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        customs_url: str,
        agent_url: str,
        log: Callable[..., None],
    ) -> None:
        self._session = session
        self._customs = customs_url.rstrip("/")
        self._agent = agent_url.rstrip("/")
        self._log = log
        self._booths = asyncio.Semaphore(AT_ONCE)

    async def perform(self, act: Act, plan: LorryPlan, begun_s: float, now_s: float) -> bool:
        """Do it; True if every call was accepted."""
        async with self._booths:
            if act.kind is ActKind.OVERRIDE:
                done = await self._override(act)
            else:
                done = await self._control(act, plan, begun_s, now_s)
        return done

    async def _override(self, act: Act) -> bool:
        body = {"action": act.code, "officer": act.officer, "role": "officer", "reason": act.reason}
        status = await self._post(f"{self._agent}/v1/journeys/{act.key}/override", msgspec.json.encode(body))
        self._log("officer", kind=act.kind.value, key=act.key, code=act.code, officer=act.officer, status=status)
        return 200 <= status < 300

    async def _control(self, act: Act, plan: LorryPlan, begun_s: float, now_s: float) -> bool:
        statuses = []
        for mrn, version in act.mrns:
            result = control_result(act, mrn, version, plan, begun_s, now_s)
            status = await self._post(f"{self._customs}/v1/control-results", msgspec.json.encode(result))
            statuses.append(status)
            self._log(
                "officer",
                kind=act.kind.value,
                key=act.key,
                mrn=mrn,
                version=version,
                code=result.control_result_code,
                officer=act.officer,
                status=status,
            )
        return any(200 <= status < 300 for status in statuses)

    async def _post(self, url: str, body: bytes) -> int:
        """HTTP status; 0 if nobody answered. Sending again is harmless: acts carry their ids."""
        headers: dict[str, Any] = {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        for attempt in range(1, TRIES + 1):
            try:
                async with self._session.post(url, data=body, headers=headers, timeout=timeout) as answer:
                    await answer.read()
                    if answer.status < 500:
                        return answer.status
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.5 * attempt)
        return 0
