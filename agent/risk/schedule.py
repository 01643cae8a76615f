"""When to ask, ask again, stop asking: hedge, breaker and give-up as state (design/reliability.md section 5).

No clock, no waiting: the shell calls `next_step` with the time, does what it says, and calls again at the
time it was given. The state is plain data and survives a restart.
"""

from __future__ import annotations

import enum

import msgspec

HEDGE_AFTER_S = 1.5
"""A second request with the same body goes out if the first is silent so long."""
REQUEST_LIMIT_S = 3.0
"""Hard limit of one request."""
LAST_TRY_NEEDS_S = 1.0
"""A last try is made only if so much time is left."""
MAX_TRIES = 3
"""First request, hedge, last try."""
BREAKER_FAILURES = 5
"""Failures in a row that open the breaker."""
BREAKER_REST_S = 2.0
"""An open breaker lets a probe through so long after the last one began: a service that is well again is to be
used within 3 s (invariant 8), even while older requests to it are still running into their limit."""


class BreakerState(enum.Enum):
    """Whether requests may leave."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"
    """One probe is under way."""


class Breaker(msgspec.Struct, frozen=True):
    """State of the breaker towards the risk service."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    since_s: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the mode is RISK_DEGRADED: HOLD without waiting, only probes leave."""
        return self.state is not BreakerState.CLOSED


def allow(breaker: Breaker, now_s: float) -> tuple[Breaker, bool]:
    """Whether a request may leave now; an open breaker becomes half-open for one probe after its rest.

    A probe whose outcome was never told (the process died) is given up after another rest.
    """
    if breaker.state is BreakerState.CLOSED:
        return breaker, True
    if now_s - breaker.since_s >= BREAKER_REST_S or now_s < breaker.since_s:
        return Breaker(BreakerState.HALF_OPEN, breaker.failures, now_s), True
    return breaker, False


def succeeded(breaker: Breaker, now_s: float) -> Breaker:
    """An answer came, whatever it said."""
    since_s = breaker.since_s if breaker.state is BreakerState.CLOSED else now_s
    return Breaker(BreakerState.CLOSED, 0, since_s)


def failed(breaker: Breaker, now_s: float) -> Breaker:
    """A request timed out, was cut, or was answered by a server error.

    Once the breaker is open, a failure tells of a request that began before: it does not put off the next probe.
    """
    failures = breaker.failures + 1
    if breaker.state is not BreakerState.CLOSED:
        return Breaker(BreakerState.OPEN, failures, breaker.since_s)
    if failures < BREAKER_FAILURES:
        return Breaker(BreakerState.CLOSED, failures, breaker.since_s)
    return Breaker(BreakerState.OPEN, failures, now_s)


class Asking(msgspec.Struct, frozen=True):
    """One question on its way: same request id and bytes in every try."""

    deadline_s: float | None
    """When HOLD is decided; None = nobody waits, the outbox tries at its own pace."""
    started_s: float
    tries: int = 0
    """Requests sent so far."""
    in_flight: int = 0
    last_sent_s: float | None = None
    answered: bool = False


class Do(enum.Enum):
    """What the shell must do now."""

    SEND = "SEND"
    WAIT = "WAIT"
    GIVE_UP = "GIVE_UP"
    """No further try can be answered in time; a late answer is still taken."""


class Next(msgspec.Struct, frozen=True):
    """What to do, and when to ask again."""

    do: Do
    at_s: float
    """WAIT: when to call again. SEND: when this request must end."""


def next_step(asking: Asking, now_s: float) -> Next:
    """What to do about a question now."""
    if asking.answered:
        return Next(Do.GIVE_UP, now_s)
    left_s = float("inf") if asking.deadline_s is None else asking.deadline_s - now_s
    if asking.tries == 0:
        return Next(Do.SEND, _ends_s(asking, now_s))
    due_s = _next_try_s(asking)
    if asking.tries >= MAX_TRIES or left_s < LAST_TRY_NEEDS_S or due_s is None:
        if asking.in_flight and asking.last_sent_s is not None and left_s > 0:
            ends_s = asking.last_sent_s + REQUEST_LIMIT_S
            return Next(Do.WAIT, min(ends_s, now_s + left_s)) if ends_s > now_s else Next(Do.GIVE_UP, now_s)
        return Next(Do.GIVE_UP, now_s)
    if due_s <= now_s:
        return Next(Do.SEND, _ends_s(asking, now_s))
    return Next(Do.WAIT, due_s)


def _next_try_s(asking: Asking) -> float | None:
    """When the hedge or the last try may leave; a failed request is followed at once, a silent one hedged."""
    if asking.last_sent_s is None:
        return None
    if asking.in_flight == 0:
        return asking.last_sent_s
    if asking.tries == 1:
        return asking.last_sent_s + HEDGE_AFTER_S
    return asking.last_sent_s + REQUEST_LIMIT_S


def _ends_s(asking: Asking, now_s: float) -> float:
    limit_s = now_s + REQUEST_LIMIT_S
    return limit_s if asking.deadline_s is None else min(limit_s, max(now_s, asking.deadline_s))


def sent(asking: Asking, now_s: float) -> Asking:
    """A request left."""
    return msgspec.structs.replace(asking, tries=asking.tries + 1, in_flight=asking.in_flight + 1, last_sent_s=now_s)


def ended(asking: Asking, answered: bool) -> Asking:
    """A request ended: answered, or failed."""
    return msgspec.structs.replace(asking, in_flight=max(0, asking.in_flight - 1), answered=asking.answered or answered)
