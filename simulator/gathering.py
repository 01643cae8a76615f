"""Gathers what the report is made of: agent's store, customs' register, lorry log, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from agent.domain.instruction import DeliveryStage
from agent.errors import LinkError
from agent.instruction.lifecycle import InstructionState
from agent.journal.reader import Reader
from agent.journal.verify import load_key, verify_entries
from simulator.identities import http_session
from simulator.report import ActivationFact, AssessmentFact, Facts, FaultFact, InstructionFact, OfficerFact

TIMEOUT_S = 10.0
PATIENCE_S, AGAIN_S = 15.0, 0.5
"""A part that does not answer, say because it is starting again, is asked for so long, with such pauses."""
RECEIPTED = frozenset({DeliveryStage.DELIVERED, DeliveryStage.DISPLAYED, DeliveryStage.ACKNOWLEDGED})
FIXES_METRIC = "borderlane_fixes"


@dataclass(frozen=True)
class StoreFacts:
    """What the agent has on disk."""

    activations: tuple[ActivationFact, ...]
    instructions: tuple[InstructionFact, ...]
    entries: int
    verified: bool


async def gather(
    *,
    lorry_log: Path,
    agent_data: Path,
    agent_key: Path,
    customs_url: str,
    agent_url: str,
    end_s: float,
    wall_seconds: float,
    speedup: float = 1.0,
    faults: Sequence[FaultFact] = (),
    peak_rss_mb: Mapping[str, float] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Facts:
    """Everything a report needs; customs and agent must still serve.

    Args:
        lorry_log: `lorry-log.jsonl` of the run.
        agent_data: Data folder of the agent; read only.
        agent_key: Public key of the journal, PEM.
        customs_url, agent_url: Base URLs.
        end_s: When the run ended, UTC seconds of its clock.
        wall_seconds: How long it took, wall.
        speedup: Of the run's clock.
        faults: Faults played.
        peak_rss_mb: Largest resident set of each part.
        tls: An auditor's identity, to ask customs and agent with.

    Raises:
        LinkError: customs or agent does not answer; says what is missing.
        JournalError: the agent's store cannot be read.
    """
    lines = read_log(lorry_log)
    customs = customs_url.rstrip("/")
    async with http_session(tls, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
        with _missing(f"activations and assessments of customs at {customs}"):
            activations = await _all_rows(session, f"{customs}/v1/activations")
            assessments = await _all_rows(session, f"{customs}/v1/risk-assessments")
        with _missing(f"counts of fixes of the agent at {agent_url}"):
            async with session.get(f"{agent_url.rstrip('/')}/metrics", raise_for_status=True) as answer:
                fixes = fix_counts(await answer.text())
    store = read_store(agent_data, agent_key)
    return Facts(
        end_s=end_s,
        wall_seconds=wall_seconds,
        speedup=speedup,
        published=published(lines),
        accepted=fixes["accepted"],
        refused=fixes["refused"],
        duplicates=fixes["duplicate"],
        late=fixes["late"],
        journal=store.activations,
        customs=customs_activations(activations),
        instructions=store.instructions,
        assessments=assessment_facts(assessments),
        officers=officer_facts(lines),
        faults=tuple(faults),
        journal_entries=store.entries,
        journal_verified=store.verified,
        peak_rss_mb=peak_rss_mb or {},
    )


async def patiently(
    gathering: Callable[[], Awaitable[Facts]],
    look: Callable[[], None],
    *,
    patience_s: float = PATIENCE_S,
    again_s: float = AGAIN_S,
) -> Facts:
    """Gather, again and again while somebody does not answer.

    Args:
        gathering: One try.
        look: Raises if waiting is no use.
        patience_s: How long.
        again_s: Pause between two tries.

    Raises:
        LinkError: somebody did not answer all the time; says what is missing.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return await gathering()
        except LinkError as error:
            if time.monotonic() >= deadline_s:
                raise LinkError(f"no report: {error}, in {patience_s:g} s of asking") from error
        look()
        await asyncio.sleep(again_s)


@contextlib.contextmanager
def _missing(what: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError) as error:
        raise LinkError(f"{what}: not to be had: {type(error).__name__} {error}".rstrip()) from error


def with_fixes(facts: Facts, more: Mapping[str, int]) -> Facts:
    """Facts with the fixes that earlier processes of the agent had counted."""
    return replace(
        facts,
        accepted=facts.accepted + more.get("accepted", 0),
        refused=facts.refused + more.get("refused", 0),
        duplicates=facts.duplicates + more.get("duplicate", 0),
        late=facts.late + more.get("late", 0),
    )


def read_log(file: Path) -> list[dict[str, Any]]:
    """Lines of the lorry log; a last line cut off by a kill is left out."""
    lines = []
    for text in file.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def started_s(lines: Iterable[Mapping[str, Any]]) -> float | None:
    """When the lorries of the newest run set out, UTC seconds of its clock; None if they have not."""
    starts = [float(line["startS"]) for line in lines if line.get("event") == "started"]
    return starts[-1] if starts else None


def ended_s(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """When the lorries stopped driving: their own word, else the last sign of them; None if there is none."""
    ends = [float(line["at"]) for line in lines if line.get("event") == "ended"]
    return ends[-1] if ends else max((float(line["at"]) for line in lines), default=None)


def published(lines: Iterable[Mapping[str, Any]]) -> int:
    """Fixes that the lorries have sent, by their newest count."""
    return max((int(line["published"]) for line in lines if "published" in line), default=0)


def officer_facts(lines: Iterable[Mapping[str, Any]]) -> tuple[OfficerFact, ...]:
    """Acts of officers that were accepted."""
    return tuple(
        OfficerFact(line["key"], float(line["at"]), line["code"], line.get("mrn"))
        for line in lines
        if line.get("event") == "officer" and 200 <= int(line["status"]) < 300
    )


def customs_activations(rows: Iterable[Mapping[str, Any]]) -> tuple[ActivationFact, ...]:
    """Activations that customs has taken; refused ones activated nothing."""
    return tuple(
        ActivationFact(row["activationId"], row.get("mrn") or "", row["jrn"], row["crossing"], row["direction"])
        for row in rows
        if row["result"] != "REFUSED"
    )


def assessment_facts(rows: Iterable[Mapping[str, Any]]) -> tuple[AssessmentFact, ...]:
    """Answers that customs gave."""
    return tuple(
        AssessmentFact(row["jrn"], row.get("mrn"), row["routing"], row.get("routingControlLocation")) for row in rows
    )


def fix_counts(exposition: str) -> Counter[str]:
    """Position reports by result, over all sources, from the agent's metrics."""
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(exposition):
        if family.name == FIXES_METRIC:
            for sample in family.samples:
                if sample.name == f"{FIXES_METRIC}_total":
                    counts[sample.labels["result"]] += int(sample.value)
    return counts


def read_store(data: Path, public_key: Path) -> StoreFacts:
    """Activations, last instructions and the verified journal of an agent, live or at rest.

    Raises:
        JournalError: there is no store, or it is damaged.
    """
    with Reader.open(data) as reader:
        activations = tuple(
            ActivationFact(row.activation_id, row.mrn, row.jrn, row.crossing, row.direction)
            for row in reader.activations()
        )
        states = [msgspec.msgpack.decode(body, type=InstructionState) for body in reader.instructions().values()]
        checkpoint = reader.checkpoint()
        entries = ((entry.body, entry.signature) for entry in reader.entries())
        key = load_key(public_key.read_bytes())
        result = verify_entries(entries, [key], [] if checkpoint is None else [checkpoint])
    instructions = tuple(fact for fact in map(instruction_fact, states) if fact is not None)
    return StoreFacts(activations, instructions, result.entries, result.verified)


def instruction_fact(state: InstructionState) -> InstructionFact | None:
    """The last instruction of a record, or None if none was issued yet."""
    last = state.instruction
    if last is None:
        return None
    receipts = {one.version for one in state.deliveries if one.stage in RECEIPTED or one.delivered_s is not None}
    return InstructionFact(
        key=state.key,
        unit=state.unit,
        action=last.action,
        reason=last.reason_code,
        version=last.version,
        issued_s=state.issued_s or 0.0,
        arrived_s=state.arrived_s,
        first_out_s=state.out_s,
        receipted=last.version in receipts,
    )


async def _all_rows(session: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    """Every row of a feed, page by page."""
    rows: list[dict[str, Any]] = []
    marker = 0
    while True:
        async with session.get(url, params={"marker": marker}, raise_for_status=True) as answer:
            page = await answer.json()
        rows += page.get("rows", ())  # an empty page leaves them out
        if page["marker"] == marker:
            return rows
        marker = page["marker"]
