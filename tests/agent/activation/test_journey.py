from __future__ import annotations

import itertools

import pytest

from agent.activation.journey import (
    AT_THE_BORDER,
    BEFORE_LOCK,
    FINAL,
    TABLE,
    Journey,
    JourneyStage,
    Trigger,
    eta_s,
    faulty_references,
    from_row,
    next_stage,
    sound_references,
)
from tests.agent.border import MRN, MRN_2, T0, fault, journey, row

S, T = JourneyStage, Trigger


def test_every_stage_is_of_one_kind():
    assert set(S) == BEFORE_LOCK | AT_THE_BORDER | FINAL
    assert not BEFORE_LOCK & AT_THE_BORDER


@pytest.mark.parametrize(("stage", "trigger"), list(itertools.product(FINAL, T)))
def test_final_stages_stay(stage, trigger):
    assert next_stage(stage, trigger) is None


@pytest.mark.parametrize(("stage", "trigger"), [place for place in TABLE if place[0] in AT_THE_BORDER])
def test_nothing_leads_back_before_the_lock(stage, trigger):
    assert TABLE[stage, trigger] in AT_THE_BORDER | {S.COMPLETED}


@pytest.mark.parametrize(
    ("known", "state", "stage"),
    [
        (None, "READY", S.READY),
        (None, "NOT_READY", S.NOT_READY),
        (None, "CANCELLED", S.CANCELLED),
        (S.NOT_READY, "READY", S.READY),
        (S.APPROACHING, "READY", S.APPROACHING),
        (S.APPROACHING, "NOT_READY", S.NOT_READY),
        (S.DIVERTED, "CANCELLED", S.CANCELLED),
        (S.READY, "EXPIRED", S.EXPIRED),
    ],
)
def test_feed_rows(known, state, stage):
    had = Journey(key="JRN-1", stage=known, declaration=journey()) if known else None
    assert from_row(had, row(journey(), state), T0, 60.0).stage is stage


@pytest.mark.parametrize("stage", sorted(AT_THE_BORDER | FINAL, key=lambda one: one.value))
@pytest.mark.parametrize("state", ["READY", "NOT_READY", "CANCELLED", "EXPIRED", "NONSENSE"])
def test_feed_changes_nothing_once_locked(stage, state):
    had = Journey(key="JRN-1", stage=stage, declaration=journey())
    assert from_row(had, row(journey(), state), T0, 60.0) is None


def test_departed_is_under_way():
    assert from_row(None, row(journey(departed=True)), T0, 60.0).stage is S.UNDER_WAY


def test_expiry_follows_the_expected_time_or_the_month():
    assert from_row(None, row(journey()), T0, 60.0).next_due_s == T0 + 60.0
    open_end = journey(plan={"estimated_date_time": None})
    assert from_row(None, row(open_end), T0, 60.0).next_due_s == T0 + 30 * 86_400
    assert eta_s(journey(plan={"estimated_date_time": "some day"})) is None


@pytest.mark.parametrize(
    ("failures", "all_or_nothing", "sound"),
    [
        ((fault("$.references[0].referenceNumber"),), False, [MRN_2]),
        ((fault("$.references[0]"), fault("$.references[1]")), False, []),
        ((fault("$.references[0]"),), True, []),
        ((fault("$.plannedCrossing.crossing"), fault("$.references[0]")), False, []),
        ((), False, []),
    ],
)
def test_what_may_be_activated_of_a_faulty_journey(failures, all_or_nothing, sound):
    declared = journey(mrns=(MRN, MRN_2), all_or_nothing=all_or_nothing)
    faulty = Journey(key="JRN-1", stage=S.NOT_READY, declaration=declared, failures=failures)
    assert [one.reference_number for one in sound_references(faulty)] == sound
    ready = Journey(key="JRN-1", stage=S.READY, declaration=declared, failures=failures)
    assert len(sound_references(ready)) == 2


def test_faults_of_references_are_told_from_faults_of_the_journey():
    declared = Journey(key="JRN-1", stage=S.NOT_READY, declaration=journey(), failures=(fault("$.references[3].x"),))
    assert faulty_references(declared) == (frozenset({3}), False)
