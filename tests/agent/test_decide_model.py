"""One lorry with two declarations against a model of sixty lines: any order, repeats, crashes, restarts (F20)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from agent.activation.effects import ReportActivation, SendInstruction
from agent.activation.events import ActivationAnswered, Event, FeedRowArrived, ModeChanged, OfficerDecided, RiskAnswered
from agent.domain.identifiers import activation_id
from agent.domain.instruction import Action
from agent.domain.routing import ConditionalAnswer
from agent.domain.times import rfc3339
from agent.risk.conditional import WhenCut
from tests.agent.border import MRN, MRN_2, T0, Border, assessment, journey, row

TRACKING, ACTIVATION = "thayngen/in/tracking", "thayngen/in/activation"
IDS = tuple(activation_id(mrn, 1, "JRN-1", "thayngen", "IN") for mrn in (MRN, MRN_2))
BUDGET_S = 6.0
"""The boundary was crossed a second before the fix that settled it, 8 s are left from there, one is needed to tell."""
ROUTINGS = {"TO_ENTRY": Action.GO, "AFTER": Action.GO_WITH_OBLIGATION, "TO_CONTROL": Action.STOP}
MILD = (Action.GO, Action.GO_WITH_OBLIGATION)
WHICH = st.sampled_from((0, 1))


class Model:
    """What the tables of design/domain.md come to for this lorry."""

    def __init__(self) -> None:
        self.due_s: float | None = None
        self.answers: dict[int, Action] = {}
        self.conditional: frozenset[int] = frozenset()
        self.open: set[Action] = set()
        """Causes besides the answers."""
        self.officer = False
        self.told: Action | None = None

    def enter(self, now_s: float, *, at_once: bool) -> None:
        self.due_s = now_s if at_once else now_s + BUDGET_S
        self.settle()

    def answer(self, which: int, action: Action) -> None:
        if self.due_s is None or self.officer:
            return
        self.answers[which] = max(action, self.answers.get(which, action))
        self.settle()

    def time(self, now_s: float, usable: frozenset[int]) -> None:
        if self.due_s is None or now_s < self.due_s or self.told is not None:
            return
        missing = {0, 1} - set(self.answers)
        if missing <= usable:
            self.answers |= dict.fromkeys(missing, Action.GO)
        elif missing:
            self.open.add(Action.HOLD)
        self.settle()

    def hold(self) -> None:
        if self.due_s is not None:
            self.open.add(Action.HOLD)
            self.settle()

    def override(self, action: Action) -> None:
        self.officer, self.answers = True, {}
        self.open = {action} - {Action.GO}
        self.told = action

    def settle(self) -> None:
        worst = max([*self.answers.values(), *self.open], default=Action.GO)
        complete = len(self.answers) == 2 or self.officer
        if worst in MILD and (self.told is None or worst < self.told) and not complete:
            return
        self.told = worst if self.told is None else max(self.told, worst)


class OneLorry(RuleBasedStateMachine):
    """Events as they may come; after each the instruction is the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.border, self.model = Border(), Model()
        self.last: Event | None = None
        self.revoked = False
        self.degraded: tuple[str, ...] = ()
        self.border.site = replace(self.border.site, cut=self.cut())
        answers = tuple(self.beforehand(mrn) for mrn in (MRN, MRN_2))
        self.border.take(FeedRowArrived(row(journey(mrns=(MRN, MRN_2))), conditional=answers))
        self.border.cross(TRACKING)

    @staticmethod
    def beforehand(mrn: str) -> ConditionalAnswer:
        return ConditionalAnswer(
            activation_id=activation_id(mrn, 1, "JRN-1", "thayngen", "IN"), mrn=mrn, version=1, jrn="JRN-1",
            crossing="thayngen", direction="IN", routing="TO_ENTRY", issued_at=rfc3339(T0), not_before=rfc3339(T0 - 60),
            not_after=rfc3339(T0 + 80_000), list_number=1, list_max_age_s=80_000.0,
        )  # fmt: skip

    def cut(self) -> WhenCut:
        return WhenCut(frozenset({"thayngen"}), 1, T0, frozenset(IDS if self.revoked else ()), "v1")

    def usable(self) -> frozenset[int]:
        return frozenset() if self.revoked else frozenset({0, 1})

    def take(self, event: Event, after_s: float = 0.0) -> None:
        """A crash before the commit loses the decision, and the event comes again: nothing else may change."""
        self.border.take(event, after_s)
        self.last = event

    @precondition(lambda self: self.model.due_s is None)
    @rule()
    def enter(self) -> None:
        cut = not {"RISK_DEGRADED", "UPLINK_LOST"}.isdisjoint(self.degraded)
        self.border.cross(ACTIVATION, facts={"degraded": self.degraded})
        self.model.enter(self.border.now_s, at_once=cut)
        self.model.time(self.border.now_s, self.usable())

    @rule(which=WHICH, word=st.sampled_from(sorted(ROUTINGS)))
    def answer(self, which: int, word: str) -> None:
        state = self.border.instruction("JRN-1")
        if state is None or not state.required:
            return
        after = {"routing_control_location": "AFTER_ENTRY", "deadline": rfc3339(T0 + 90_000)} if word == "AFTER" else {}
        routing = "TO_CONTROL" if word == "AFTER" else word
        said = assessment(state, IDS[which], routing, self.border.now_s, life_s=80_000.0, **after)
        self.take(RiskAnswered("JRN-1", "r", (said,)))
        self.model.answer(which, ROUTINGS[word])

    @rule(which=WHICH, changes=st.sampled_from(({"version": 9}, {"crossing": "bargen"}, {"jrn": "X"}, {"mrn": "Y"})))
    def answer_for_another(self, which: int, changes: dict[str, object]) -> None:
        state = self.border.instruction("JRN-1")
        if state is not None and state.required:
            said = assessment(state, IDS[which], "TO_ENTRY", self.border.now_s, **changes)
            self.take(RiskAnswered("JRN-1", "r", (said,)))

    @precondition(lambda self: isinstance(self.last, RiskAnswered | OfficerDecided))
    @rule()
    def the_last_comes_again(self) -> None:
        assert self.last is not None
        self.border.take(self.last)
        if isinstance(self.last, OfficerDecided):  # who says it again decides again
            self.model.override(self.last.action)

    @rule(wait_s=st.sampled_from((0.5, 3.0, 8.0, 60.0)))
    def time_passes(self, wait_s: float) -> None:
        self.border.clock(wait_s)
        self.model.time(self.border.now_s, self.usable())

    @rule(mode=st.sampled_from(("NORMAL", "RISK_DEGRADED", "UPLINK_LOST")))
    def mode_changes(self, mode: str) -> None:
        self.degraded = () if mode == "NORMAL" else (mode,)
        self.take(ModeChanged(mode, self.degraded))
        if self.degraded and self.model.due_s is not None and self.model.told is None:
            self.model.due_s = min(self.model.due_s, self.border.now_s)
            self.model.time(self.border.now_s, self.usable())

    @rule(is_revoked=st.booleans())
    def revocation_list_changes(self, is_revoked: bool) -> None:
        self.revoked = is_revoked
        self.border.site = replace(self.border.site, cut=self.cut())

    @rule(which=WHICH)
    def customs_refuses_the_activation(self, which: int) -> None:
        self.border.take(ActivationAnswered("JRN-1", IDS[which], "REFUSED", "UNKNOWN_MRN"))
        self.model.hold()

    @precondition(lambda self: self.model.due_s is not None)
    @rule(action=st.sampled_from(list(Action)))
    def officer(self, action: Action) -> None:
        self.take(OfficerDecided("JRN-1", action, "A. Muster", "officer", "seen"))
        self.model.override(action)

    @rule(role=st.sampled_from(("operator", "carrier", "auditor")))
    def somebody_else_tries(self, role: str) -> None:
        self.border.take(OfficerDecided("JRN-1", Action.GO, "X", role, "please"))

    @rule()
    def restart(self) -> None:
        """From what is stored; the order in which records are read says nothing."""
        after = Border()
        after.now_s, after.site = self.border.now_s, self.border.site
        after.records = dict(reversed(self.border.records.items()))
        after.effects = self.border.effects
        self.border = after

    @rule()
    def zone_set_changes(self) -> None:
        self.border.zones = replace(self.border.zones, version=f"{self.border.zones.version}+")

    @invariant()
    def it_is_told_what_the_model_says(self) -> None:
        state = self.border.instruction("JRN-1")
        assert (state.action if state is not None else None) == self.model.told

    @invariant()
    def nothing_is_activated_twice_and_versions_rise_by_one(self) -> None:
        activated = [one.activation_id for one in self.border.effects if isinstance(one, ReportActivation)]
        assert len(activated) == len(set(activated))
        versions = [one.instruction.version for one in self.border.effects if isinstance(one, SendInstruction)]
        assert versions == list(range(1, len(versions) + 1))


QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck))


def test_the_lorry_is_told_what_the_model_says() -> None:
    run_state_machine_as_test(OneLorry, settings=settings(QUIET, max_examples=60, stateful_step_count=30))


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(20))
def test_the_lorry_is_told_what_the_model_says_in_20_000_programs(part: int) -> None:
    mine = type(f"Part{part}", (OneLorry,), {})
    run_state_machine_as_test(
        mine, settings=settings(QUIET, max_examples=1_000, stateful_step_count=40, derandomize=False, database=None)
    )
