"""A lorry at the border while customs cannot be asked."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.activation.events import FeedRowArrived, ModeChanged
from agent.domain.identifiers import activation_id
from agent.domain.routing import ConditionalAnswer
from agent.domain.times import rfc3339
from agent.journal.batch import RISK_ANSWER
from agent.risk.conditional import WhenCut
from tests.agent.border import MRN, MRN_2, T0, Border, journey, row

TRACKING, ACTIVATION, CONFIRMATION = (f"thayngen/in/{kind}" for kind in ("tracking", "activation", "confirmation"))
CUT = WhenCut(frozenset({"thayngen"}), 3, T0, frozenset(), "v1")


def conditional(mrn: str = MRN, **changes: object) -> ConditionalAnswer:
    fields: dict[str, object] = {
        "activation_id": activation_id(mrn, 1, "JRN-1", "thayngen", "IN"),
        "mrn": mrn, "version": 1, "jrn": "JRN-1", "crossing": "thayngen", "direction": "IN", "routing": "TO_ENTRY",
        "issued_at": rfc3339(T0 - 60), "not_before": rfc3339(T0 - 60), "not_after": rfc3339(T0 + 7_200),
        "list_number": 3, "list_max_age_s": 3_600.0, "signature": "header.payload.signature",
        **changes,
    }  # fmt: skip
    return ConditionalAnswer(**fields)  # type: ignore[arg-type]


def near(*answers: ConditionalAnswer, cut: WhenCut = CUT, **changes: object) -> Border:
    """A lorry in the tracking zone, its journey fed with conditional answers."""
    border = Border()
    border.site = replace(border.site, cut=cut)
    border.take(FeedRowArrived(row(journey(**changes)), conditional=answers))
    border.cross(TRACKING)
    return border


def test_without_a_live_answer_the_conditional_one_lets_it_go_when_the_budget_ends() -> None:
    border = near(conditional())
    border.cross(ACTIVATION)
    assert border.told is None, "while the budget runs the live answer is waited for"
    decision = border.clock(9.0)
    assert border.told == "GO CONDITIONAL"
    (used,) = [entry for entry in decision.entries if entry.kind == "CONDITIONAL_USED"]
    assert used.facts["listNumber"] == 3 and used.activation_id == conditional().activation_id
    assert [(paper.kind, paper.body) for paper in decision.papers] == [(RISK_ANSWER, b"header.payload.signature")]


@pytest.mark.parametrize("mode", ["UPLINK_LOST", "RISK_DEGRADED"])
def test_where_nobody_waits_it_counts_at_once(mode: str) -> None:
    border = near(conditional())
    border.cross(ACTIVATION, facts={"degraded": (mode,)})
    assert border.told == "GO CONDITIONAL"
    running = near(conditional())
    running.cross(ACTIVATION)
    running.take(ModeChanged(mode, (mode,)), after_s=0.5)
    assert running.told == "GO CONDITIONAL"


def test_a_live_answer_in_time_is_what_counts() -> None:
    border = near(conditional())
    border.cross(ACTIVATION)
    border.answer()
    assert border.told == "GO RELEASED"
    stopped = near(conditional())
    stopped.cross(ACTIVATION)
    stopped.answer("TO_CONTROL")
    assert stopped.told == "STOP CONTROL"


def test_a_stricter_live_answer_that_comes_late_tightens_and_a_mild_one_changes_nothing() -> None:
    for routing, told in (("TO_ENTRY", "GO CONDITIONAL"), ("TO_CONTROL", "STOP CONTROL")):
        border = near(conditional())
        border.cross(ACTIVATION)
        border.clock(9.0)
        decision = border.answer(routing)
        assert border.told == told
        assert "RISK_ANSWERED" in [entry.kind for entry in decision.entries], "the live answer is recorded beside it"


@pytest.mark.parametrize(
    ("answers", "cut"),
    [
        ((), CUT),
        ((conditional(),), WhenCut()),  # switched off, as everywhere by default
        ((conditional(),), replace(CUT, revoked=frozenset({conditional().activation_id}))),
        ((conditional(),), replace(CUT, list_issued_s=T0 - 4_000.0)),
        ((conditional(),), replace(CUT, list_number=2)),
        ((conditional(version=2),), CUT),
        ((conditional(not_after=rfc3339(T0 + 1)),), CUT),
        ((conditional(routing="TO_CONTROL"),), CUT),
        ((conditional(MRN_2),), CUT),
    ],
)
def test_anything_unclear_is_hold(answers: tuple[ConditionalAnswer, ...], cut: WhenCut) -> None:
    border = near(*answers, cut=cut)
    border.cross(ACTIVATION)
    border.clock(9.0)
    assert border.told == "HOLD NO_ANSWER"


def test_every_declaration_needs_an_answer_live_or_conditional() -> None:
    both = near(conditional(), conditional(MRN_2), mrns=(MRN, MRN_2))
    both.cross(ACTIVATION)
    both.clock(9.0)
    assert both.told == "GO CONDITIONAL"
    one = near(conditional(), mrns=(MRN, MRN_2))
    one.cross(ACTIVATION)
    one.clock(9.0)
    assert one.told == "HOLD NO_ANSWER"


@pytest.mark.parametrize("mode", ["CLOCK_UNTRUSTED", "GNSS_UNTRUSTED", "ZONES_STALE"])
def test_local_doubts_hold_all_the_same(mode: str) -> None:
    border = near(conditional())
    border.cross(ACTIVATION, facts={"degraded": (mode, "UPLINK_LOST")})
    border.clock(9.0)
    assert border.told is not None and border.told.startswith("HOLD")
    running = near(conditional())
    running.cross(ACTIVATION)
    running.take(ModeChanged("CLOCK_UNTRUSTED", ("CLOCK_UNTRUSTED",)), after_s=0.5)
    assert running.told == "HOLD CLOCK_UNTRUSTED"


def test_a_go_that_rests_on_it_ends_with_it() -> None:
    border = near(conditional(not_after=rfc3339(T0 + 300)))
    border.cross(ACTIVATION)
    border.clock(9.0)
    state = border.instruction("JRN-1")
    assert state is not None and state.expires_s == pytest.approx(T0 + 300, abs=1.0)
    border.clock(400.0)
    assert border.told == "HOLD ANSWER_EXPIRED"


ANSWERS = st.lists(
    st.builds(
        conditional,
        st.sampled_from((MRN, MRN_2)),
        routing=st.sampled_from(("TO_ENTRY", "TO_CONTROL", "x")),
        version=st.integers(1, 2),
        crossing=st.sampled_from(("thayngen", "bargen")),
        list_number=st.integers(0, 5),
        not_after=st.sampled_from((rfc3339(T0 - 1), rfc3339(T0 + 7_200))),
    ),
    max_size=3,
)


@given(ANSWERS, st.booleans(), st.integers(-1, 5), st.booleans())
def test_no_go_without_a_usable_answer_for_each(
    answers: list[ConditionalAnswer], is_on: bool, number: int, revoked: bool
) -> None:
    """Invariant 3, end to end: whatever came with the feed and whatever list is held."""
    gone = frozenset(one.activation_id for one in answers) if revoked else frozenset[str]()
    cut = WhenCut(frozenset({"thayngen"}) if is_on else frozenset(), number, T0, gone)
    border = near(*answers, cut=cut, mrns=(MRN, MRN_2))
    border.cross(ACTIVATION)
    border.clock(9.0)
    good = {
        one.mrn
        for one in answers
        if one.routing == "TO_ENTRY" and one.version == 1 and one.crossing == "thayngen"
        and one.list_number <= number and one.not_after == rfc3339(T0 + 7_200)
    }  # fmt: skip
    may = is_on and not revoked and good == {MRN, MRN_2}
    if border.told == "GO CONDITIONAL":
        assert may
    else:
        assert border.told == "HOLD NO_ANSWER"
    assert msgspec.json.encode(border.told)
