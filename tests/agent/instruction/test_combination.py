from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.instruction import Action, ReasonCode
from agent.domain.routing import Assessment, ReportToLocation
from agent.instruction.combination import Cause, cause_of, combine, readable, union_of_locations

A = Action


def answer(routing: str, **changes: object) -> Assessment:
    fields: dict[str, object] = {
        "activation_id": "a",
        "mrn": "m",
        "version": 1,
        "jrn": "j",
        "crossing": "c",
        "direction": "IN",
        "routing": routing,
        "issued_at": "2026-11-22T10:00:00.000Z",
        "valid_until": "2026-11-22T10:30:00.000Z",
        **changes,
    }
    return Assessment(**fields)


@pytest.mark.parametrize(
    ("routing", "location", "direction", "action"),
    [
        ("TO_ENTRY", None, "IN", None),
        ("TO_CONTROL", "AFTER_ENTRY", "IN", A.GO_WITH_OBLIGATION),
        ("TO_CONTROL", "AFTER_ENTRY", "OUT", A.STOP),
        ("TO_CONTROL", "ON_ENTRY", "IN", A.STOP),
        ("TO_CONTROL", None, "IN", A.STOP),
        ("TO_CONTROL", "SOMEWHERE", "IN", A.STOP),
        ("ENTRY_PENDING", "AFTER_ENTRY", "IN", A.GO_WITH_OBLIGATION),
        ("ENTRY_PENDING", None, "IN", A.STOP),
        ("ENTRY_DENIED", "AFTER_ENTRY", "IN", A.STOP),
    ],
)
def test_cause_of_a_routing(routing, location, direction, action):
    cause = cause_of(answer(routing, routing_control_location=location, direction=direction), 0.0)
    assert (cause.action if cause else None) == action


def test_an_obligation_always_names_a_place_if_the_office_is_known():
    cause = cause_of(answer("TO_CONTROL", routing_control_location="AFTER_ENTRY", customs_office="CH001661"), 0.0)
    assert cause.report_to_locations == (ReportToLocation("DOCUMENTS", ("CH001661",)),)


@pytest.mark.parametrize(
    "changes", [{"routing": "GREEN"}, {"valid_until": "soon"}, {"issued_at": ""}, {"valid_until": "2026-11-22T10:00"}]
)
def test_unreadable(changes):
    assert readable(answer("TO_ENTRY"))
    assert not readable(answer(**{"routing": "TO_ENTRY", **changes}))


def cause(action: Action, **changes: object) -> Cause:
    return Cause(**{"action": action, "reason": ReasonCode.CONTROL, **changes})


def test_no_cause_is_go():
    assert combine([], empty=False, unmanned=False).reason is ReasonCode.RELEASED
    assert combine([], empty=True, unmanned=False).reason is ReasonCode.EMPTY_RELEASED


def test_office_and_lane_come_from_the_worst_by_routing_then_mrn():
    causes = [
        cause(A.STOP, routing="ENTRY_PENDING", mrn="a", lane="1"),
        cause(A.STOP, routing="TO_CONTROL", mrn="c", lane="2"),
        cause(A.STOP, routing="TO_CONTROL", mrn="b", lane="3", customs_office="CH001661"),
        cause(A.GO_WITH_OBLIGATION, routing="TO_CONTROL", mrn="0", lane="4", deadline_s=5.0),
        cause(A.HOLD, reason=ReasonCode.NO_ANSWER, deadline_s=9.0),
    ]
    worst = combine(causes, empty=False, unmanned=False)
    assert (worst.action, worst.lane, worst.customs_office, worst.deadline_s) == (A.STOP, "3", "CH001661", 5.0)


def test_unmanned_stop_is_a_call_but_the_officer_is_named():
    assert combine([cause(A.STOP)], empty=False, unmanned=True).reason is ReasonCode.CALL_OFFICE
    by_officer = cause(A.STOP, reason=ReasonCode.OFFICER)
    assert combine([by_officer], empty=False, unmanned=True).reason is ReasonCode.OFFICER


def places(*items: tuple) -> Cause:
    return cause(A.GO_WITH_OBLIGATION, report_to_locations=tuple(ReportToLocation(*item) for item in items))


def test_locations_intersect_by_type_and_keep_their_order():
    merged = union_of_locations(
        [places(("SCAN", ("x", "y"), 2), ("WEIGHT", ("z",), 1)), places(("SCAN", ("y", "w"), 2))]
    )
    assert merged == (ReportToLocation("WEIGHT", ("z",), 1), ReportToLocation("SCAN", ("y",), 2))


def test_locations_without_common_place_are_joined():
    merged = union_of_locations([places(("SCAN", ("x",), 2)), places(("SCAN", ("y",), 1))])
    assert merged == (ReportToLocation("SCAN", ("x", "y"), 1),)


CAUSES = st.lists(
    st.builds(
        cause,
        st.sampled_from([A.GO_WITH_OBLIGATION, A.HOLD, A.STOP]),
        mrn=st.sampled_from([None, "a", "b"]),
        routing=st.sampled_from([None, "TO_CONTROL", "ENTRY_DENIED"]),
        deadline_s=st.sampled_from([None, 1.0, 2.0]),
    ),
    max_size=5,
)


@given(CAUSES, CAUSES)
def test_more_causes_never_make_it_milder(few, more):
    before = combine(few, empty=False, unmanned=False)
    after = combine([*few, *more], empty=False, unmanned=False)
    assert after.action >= before.action
    assert after.action == max((one.action for one in [*few, *more]), default=A.GO)


@given(CAUSES, st.randoms(use_true_random=False))
def test_order_of_causes_does_not_change_the_action_or_reason(causes, random):
    shuffled = list(causes)
    random.shuffle(shuffled)
    first, second = (combine(some, empty=False, unmanned=False) for some in (causes, shuffled))
    assert (first.action, first.reason, first.deadline_s) == (second.action, second.reason, second.deadline_s)
