from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.risk.schedule import (
    BREAKER_FAILURES,
    BREAKER_REST_S,
    HEDGE_AFTER_S,
    LAST_TRY_NEEDS_S,
    MAX_TRIES,
    REQUEST_LIMIT_S,
    Asking,
    Breaker,
    BreakerState,
    Do,
    allow,
    ended,
    failed,
    next_step,
    sent,
    succeeded,
)


def test_first_try_hedge_and_last_try_of_the_table():
    asking = Asking(deadline_s=7.0, started_s=2.1)
    first = next_step(asking, 2.1)
    assert (first.do, first.at_s) == (Do.SEND, 5.1)
    asking = sent(asking, 2.1)
    assert next_step(asking, 2.2) == next_step(asking, 3.0)
    assert (next_step(asking, 2.2).do, next_step(asking, 2.2).at_s) == (Do.WAIT, 3.6)
    assert next_step(asking, 3.6).do is Do.SEND
    asking = ended(sent(asking, 3.6), answered=False)
    last = next_step(asking, 5.9)
    assert last.do in (Do.SEND, Do.WAIT)
    assert next_step(asking, 6.1).do is not Do.SEND


def test_a_failed_request_is_followed_at_once():
    asking = ended(sent(Asking(7.0, 0.0), 0.0), answered=False)
    assert next_step(asking, 0.1).do is Do.SEND


def test_an_answer_ends_it():
    asking = ended(sent(Asking(7.0, 0.0), 0.0), answered=True)
    assert next_step(asking, 0.1).do is Do.GIVE_UP


@settings(max_examples=200)
@given(st.floats(0, 10), st.lists(st.sampled_from(["tick", "fail"]), max_size=60))
def test_tries_are_bounded_and_it_always_ends(budget_s, happenings):
    asking, now_s = Asking(deadline_s=budget_s, started_s=0.0), 0.0
    sends = []
    for happening in happenings:
        step = next_step(asking, now_s)
        if step.do is Do.SEND:
            sends.append(now_s)
            asking = sent(asking, now_s)
        elif happening == "fail" and asking.in_flight:
            asking = ended(asking, answered=False)
        else:
            assert step.do is Do.GIVE_UP or step.at_s > now_s
            now_s += 0.25
    assert len(sends) <= MAX_TRIES
    assert all(at_s == 0.0 or budget_s - at_s >= LAST_TRY_NEEDS_S for at_s in sends)
    assert next_step(asking, budget_s + REQUEST_LIMIT_S).do is not Do.WAIT


def test_hedge_waits_its_time():
    asking = sent(Asking(None, 0.0), 0.0)
    assert next_step(asking, HEDGE_AFTER_S - 0.01).do is Do.WAIT
    assert next_step(asking, HEDGE_AFTER_S).do is Do.SEND


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(BREAKER_FAILURES):
        breaker = failed(breaker, 10.0)
    return breaker


def test_breaker_opens_after_five_failures_in_a_row():
    breaker = Breaker()
    for _ in range(BREAKER_FAILURES - 1):
        breaker = failed(breaker, 1.0)
    assert not breaker.is_open
    assert not failed(succeeded(breaker, 1.0), 1.0).is_open
    assert failed(breaker, 1.0).is_open


def test_open_breaker_lets_one_probe_through():
    breaker = opened()
    assert allow(breaker, 10.1) == (breaker, False)
    half, allowed = allow(breaker, 10.0 + BREAKER_REST_S)
    assert (half.state, allowed) == (BreakerState.HALF_OPEN, True)
    assert allow(half, 10.1 + BREAKER_REST_S)[1] is False
    assert failed(half, 16.0).state is BreakerState.OPEN
    assert succeeded(half, 16.0) == Breaker(BreakerState.CLOSED, 0, 16.0)


def test_older_requests_that_still_fail_do_not_put_off_the_next_probe():
    breaker = opened()
    for late_s in (10.5, 11.0, 11.9):
        breaker = failed(breaker, late_s)
    half, allowed = allow(breaker, 10.0 + BREAKER_REST_S)
    assert allowed
    again = failed(half, 10.9 + BREAKER_REST_S)
    assert again.state is BreakerState.OPEN
    assert allow(again, 10.0 + 2 * BREAKER_REST_S)[1] is True, "counted from the beginning of the last probe"
    assert BREAKER_REST_S < 3.0, "invariant 8"


def test_a_lost_probe_does_not_block_for_ever_and_a_clock_step_back_neither():
    half, _ = allow(opened(), 10.0 + BREAKER_REST_S)
    assert allow(half, 10.0 + 2 * BREAKER_REST_S)[1] is True
    assert allow(opened(), 5.0)[1] is True


@pytest.mark.parametrize("state", [Breaker(), Asking(None, 1.0)])
def test_state_survives_a_restart(state):
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state)) == state
