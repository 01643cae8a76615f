from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.activation.journey import Journey, JourneyStage
from agent.activation.matching import (
    Ambiguous,
    AtTheBorder,
    Elsewhere,
    Matched,
    Opposite,
    Taken,
    Unknown,
    clones,
    competent,
    match,
)
from agent.domain.declaration import GoodsDeclaration
from agent.domain.times import rfc3339
from tests.agent.border import T0, journey

S = JourneyStage


def held(
    jrn: str, stage: JourneyStage = S.READY, eta_s: float | None = T0, marker: int = 1, **changes: object
) -> Journey:
    plan = {"estimated_date_time": None if eta_s is None else rfc3339(eta_s), **changes.pop("plan", {})}
    state = {name: changes.pop(name) for name in ("crossing", "left", "unit", "entered_s") if name in changes}
    return Journey(key=jrn, stage=stage, declaration=journey(jrn, plan=plan, **changes), marker=marker, **state)


def found(*journeys: Journey, crossing: str = "thayngen", direction: str | None = "IN") -> object:
    return match(journeys, crossing, direction, frozenset(), T0)


def test_none():
    assert found() == Unknown()


def test_the_nearest_expected_time_wins():
    near, far = held("near", eta_s=T0 + 60), held("far", eta_s=T0 + 7_200)
    assert found(far, near) == Matched(near)


def test_under_way_wins_over_the_nearer():
    near, moving = held("near"), held("moving", S.UNDER_WAY, T0 + 600)
    assert found(near, moving) == Matched(moving)


@pytest.mark.parametrize(("apart_s", "clear"), [(1_799, False), (1_800, False), (1_801, True)])
def test_ambiguous_within_half_an_hour(apart_s, clear):
    verdict = found(held("a"), held("b", eta_s=T0 + apart_s))
    assert isinstance(verdict, Matched if clear else Ambiguous)


def test_without_expected_time_two_cannot_be_told_apart():
    assert isinstance(found(held("a"), held("b", eta_s=None)), Ambiguous)


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        ({}, Elsewhere),
        ({"alternatives": "ANY_COMPETENT"}, Matched),
        ({"alternatives": "LISTED", "list": ("bargen",)}, Matched),
        ({"alternatives": "LISTED", "list": ("au",)}, Elsewhere),
    ],
)
def test_other_crossings(plan, kind):
    assert isinstance(found(held("a", plan=plan), crossing="bargen"), kind)


def test_locked_journeys():
    locked = held("a", S.ROUTED, crossing="thayngen")
    assert found(locked, held("b", eta_s=T0 + 9_000)) == AtTheBorder(locked)
    assert found(locked, crossing="bargen") == Taken(locked)
    gone = msgspec.structs.replace(locked, left=True)
    assert found(gone) == Unknown()


def test_direction():
    outward = held("a", direction="OUT")
    assert found(outward) == Opposite(outward)
    assert found(outward, direction=None) == Matched(outward)


@pytest.mark.parametrize("stage", [S.COMPLETED, S.CANCELLED, S.EXPIRED])
def test_what_is_over_is_not_matched(stage):
    assert found(held("a", stage)) == Unknown()


@pytest.mark.parametrize(
    ("competences", "procedures", "ok"),
    [
        ((), ("IMPORT",), True),
        (("TRANSIT",), ("TRANSIT_CLOSE", "TRANSIT"), True),
        (("TRANSIT",), ("TRANSIT", "IMPORT"), False),
        (("EXPORT",), (), True),
        (("TRANSIT",), ("PERIODIC",), True),
    ],
)
def test_competence(competences, procedures, ok):
    goods = [GoodsDeclaration(procedure=one, direction="IN") for one in procedures]
    assert competent(frozenset(competences), goods) is ok


def test_clones_are_other_units_elsewhere_at_the_same_time():
    mine = held("mine")
    other = held("other", S.ROUTED, crossing="bargen", unit="u9", entered_s=T0 - 60)
    assert clones(mine, [mine, other], "thayngen", "u1", T0) == [other]
    assert clones(mine, [other], "bargen", "u1", T0) == []
    assert clones(mine, [other], "thayngen", "u9", T0) == []
    assert clones(mine, [other], "thayngen", "u1", T0 + 7_200) == []


STAGES = st.sampled_from(list(S))
JOURNEYS = st.lists(
    st.builds(
        held,
        st.sampled_from("abcdef"),
        STAGES,
        st.sampled_from([None, T0, T0 + 900, T0 + 9_000]),
        st.integers(1, 3),
        crossing=st.sampled_from([None, "thayngen", "bargen"]),
        direction=st.sampled_from(["IN", "OUT"]),
    ),
    max_size=4,
    unique_by=lambda one: one.key,
)


@given(JOURNEYS, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_matches_are_live(journeys, random):
    first = found(*journeys)
    shuffled = list(journeys)
    random.shuffle(shuffled)
    assert found(*shuffled) == first
    if isinstance(first, Matched):
        assert first.journey.declaration.direction == "IN"
        assert first.journey.stage in (S.READY, S.NOT_READY, S.UNDER_WAY, S.APPROACHING, S.TURNED_BACK, S.DIVERTED)
