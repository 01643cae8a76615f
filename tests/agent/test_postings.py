"""agent/postings.py: the same effect gives the same bytes, and every event has its entry."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.activation.effects import (
    AskedDeclaration,
    AskRisk,
    ClearInstruction,
    Effect,
    EmitEvent,
    Entry,
    RaiseAlarm,
    ReportActivation,
    SendInstruction,
    SendNotice,
)
from agent.domain.instruction import Instruction, Vehicle
from agent.domain.routing import ReportToLocation
from agent.domain.signed import BadSignature
from agent.ingest.wire import Topics
from agent.instruction.signing import verify_instruction
from agent.journal.entry import EntryDraft
from agent.keys import jwk_of
from agent.postings import (
    PRIORITY,
    Lane,
    Told,
    draft_of,
    postings,
    risk_request,
    row_key,
    sealer,
    split_row_key,
    with_events,
)
from agent.risk.exchange import ActivationRequest
from tests.agent.border import T0
from tests.agent.roadside import KEY

TOPICS = Topics()
WORDS = st.text(min_size=1, max_size=12)
TIMES = st.floats(T0 - 1e6, T0 + 1e6)
OPTIONAL_TIMES = st.one_of(st.none(), TIMES)
DEGREES = st.one_of(st.none(), st.floats(-90, 90))
ASKED = st.builds(AskedDeclaration, mrn=st.one_of(st.none(), WORDS), version=st.integers(1, 9), activation_id=WORDS)
JSON = st.dictionaries(WORDS, st.one_of(WORDS, st.integers(-9, 9), st.none(), st.lists(st.integers(0, 9))), max_size=3)
VEHICLES = st.builds(Vehicle, WORDS, st.just("CH"))
PLACES = st.builds(ReportToLocation, WORDS, st.lists(WORDS, max_size=2).map(tuple), st.integers(0, 9_999))
INSTRUCTIONS = st.builds(
    Instruction,
    instruction_id=WORDS,
    jrn=st.one_of(st.none(), WORDS),
    version=st.integers(1, 99),
    unit=st.just("u1"),
    vehicle=st.one_of(st.none(), VEHICLES),
    action=st.just("GO"),
    reason_code=st.just("RELEASED"),
    issued_at=st.just("2026-11-22T10:00:00.000Z"),
    expires_at=st.just("2026-11-22T10:30:00.000Z"),
    report_to_locations=st.lists(PLACES, max_size=2).map(tuple),
)
REPORTS = st.builds(
    ReportActivation,
    activation_id=WORDS, mrn=WORDS, version=st.integers(1, 9), jrn=WORDS, crossing=WORDS,
    customs_office=st.one_of(st.none(), WORDS), direction=st.just("IN"), unit=WORDS, activated_s=TIMES,
    received_s=TIMES, latitude=DEGREES, longitude=DEGREES, variant=st.just("AUTOMATIC"),
)  # fmt: skip
QUESTIONS = st.builds(
    AskRisk,
    key=WORDS, request_id=WORDS, jrn=WORDS, crossing=WORDS, customs_office=st.none(), direction=st.just("IN"),
    activated_s=TIMES, vehicle=VEHICLES, declarations=st.lists(ASKED, max_size=3).map(tuple), indicators=JSON,
    deadline_s=OPTIONAL_TIMES,
)  # fmt: skip
SENDINGS = st.builds(
    SendInstruction, key=WORDS, unit=st.just("u1"), instruction=INSTRUCTIONS, expires_s=TIMES, due_s=OPTIONAL_TIMES
)
EVENTS = st.builds(EmitEvent, kind=st.sampled_from(["DETECTION", "JOURNEY"]), body=JSON)
ALARMS = st.builds(RaiseAlarm, name=WORDS, jrn=st.none(), unit=WORDS, crossing=st.none(), text=WORDS)
NOTICES = st.builds(SendNotice, jrn=WORDS, unit=WORDS, code=WORDS, field=st.one_of(st.none(), WORDS))
CLEARINGS = st.builds(ClearInstruction, key=WORDS, unit=st.just("u1"), version=st.integers(1, 9))
EFFECTS = st.one_of(REPORTS, QUESTIONS, SENDINGS, EVENTS, ALARMS, NOTICES, CLEARINGS)


def post(effect: Effect) -> Any:
    return postings(effect, "box-1", TOPICS, T0)


@given(EFFECTS)
def test_the_same_effect_gives_the_same_bytes_in_every_try(effect: Effect) -> None:
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(effect), type=Effect)
    assert post(effect) == post(again)


@given(EFFECTS)
def test_every_effect_leaves_one_row_on_a_known_lane(effect: Effect) -> None:
    (row,) = post(effect).outbox
    assert row.lane in PRIORITY and row.target
    if row.lane in (Lane.EVENT, Lane.ALARM):
        assert msgspec.json.decode(row.body)["type"] == row.key


@given(REPORTS)
def test_an_activation_is_stored_with_the_very_bytes_that_customs_gets(effect: ReportActivation) -> None:
    posted = post(effect)
    (stored,), (row,) = posted.activations, posted.outbox
    assert stored.body == row.body and row.key == stored.activation_id == effect.activation_id
    assert row.target == effect.crossing, "order is kept for each crossing"
    request = msgspec.json.decode(row.body, type=ActivationRequest)
    assert [(one.mrn, one.activation_id) for one in request.declarations] == [(effect.mrn, effect.activation_id)]
    assert (request.location is None) == (effect.latitude is None or effect.longitude is None)


@given(QUESTIONS)
def test_a_question_comes_back_whole_from_its_row(effect: AskRisk) -> None:
    (row,) = post(effect).outbox
    stored = msgspec.json.decode(row.body, type=AskRisk)
    assert msgspec.json.encode(risk_request(stored)) == msgspec.json.encode(risk_request(effect))
    assert row.key == effect.request_id
    assert row.due_ms == (None if effect.deadline_s is None else round(effect.deadline_s * 1000))
    assert row.expires_ms is not None and (row.due_ms is None or row.expires_ms > row.due_ms)


@given(SENDINGS, st.text(min_size=1, max_size=40))
def test_an_instruction_is_sealed_with_the_tree_head_and_verifies(effect: SendInstruction, head: str) -> None:
    (row,) = post(effect).outbox
    assert row.seal and row.target == "borderlane/v1/units/u1/instruction"
    token = sealer(jwk_of(KEY), "box-1")(row.body, head)
    read = verify_instruction(token, {"box-1": jwk_of(KEY)})
    assert read == msgspec.structs.replace(effect.instruction, checkpoint=head)
    with pytest.raises(BadSignature):
        verify_instruction(token, {"box-2": jwk_of(KEY)})
    assert token == sealer(jwk_of(KEY), "box-1")(row.body, head), "Ed25519 signs alike each time"


@given(st.text(max_size=20), st.integers(0, 10**6))
def test_the_key_of_an_instruction_row_comes_apart_again(key: str, version: int) -> None:
    assert split_row_key(row_key(key, version)) == (key, version)


@given(ALARMS, NOTICES)
def test_alarms_go_before_notices_and_both_are_told(alarm: RaiseAlarm, notice: SendNotice) -> None:
    raised, noticed = post(alarm), post(notice)
    assert (raised.outbox[0].lane, noticed.outbox[0].lane) == (Lane.ALARM, Lane.EVENT)
    assert (raised.told[0].kind, noticed.told[0].kind) == ("ALARM", "NOTICE")
    assert raised.told[0].fact["name"] == alarm.name and "do" not in raised.told[0].fact


def test_instructions_go_first_and_events_last() -> None:
    assert sorted(PRIORITY, key=PRIORITY.__getitem__) == [
        Lane.INSTRUCTION, Lane.RISK, Lane.ACTIVATION, Lane.CLEAR, Lane.ALARM, Lane.EVENT,
    ]  # fmt: skip


DRAFTS = st.lists(st.builds(EntryDraft, kind=WORDS, facts=JSON), max_size=5)
TELLINGS = st.lists(st.builds(Told, kind=st.sampled_from(["DETECTION", "ALARM"]), fact=JSON), max_size=5)


@given(DRAFTS, TELLINGS)
def test_every_event_has_an_entry_of_its_own_in_order_and_no_entry_is_lost(
    entries: list[EntryDraft], told: list[Told]
) -> None:
    drafts = with_events(entries, told)
    assert [(one.kind, one.facts) for one in drafts[: len(entries)]] == [(one.kind, one.facts) for one in entries]
    paired = [one for one in drafts if one.event_kind is not None]
    assert [(one.event_kind, one.event) for one in paired] == [(one.kind.lower(), one.fact) for one in told]
    assert len(drafts) == max(len(entries), len(told))


@given(st.builds(Entry, kind=WORDS, facts=JSON, activation_id=st.one_of(st.none(), WORDS)))
def test_an_entry_of_a_decision_goes_to_the_journal_as_it_is(entry: Entry) -> None:
    draft = draft_of(entry)
    assert (draft.kind, draft.facts, draft.activation_id) == (entry.kind, entry.facts, entry.activation_id)
    assert draft.event_kind is None
