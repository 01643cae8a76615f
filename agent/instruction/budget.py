"""When HOLD is due: a vehicle gets no answer after it can act on one (design/domain.md section 6)."""

from __future__ import annotations

from dataclasses import dataclass

from agent.config import PolicyConfig

PASSED_LIMIT_S = 2.0
"""What is allowed where the fix came too late for any limit (contract section 8, `late`)."""
STANDING_MPS = 0.1
"""Below this a vehicle stands: it does not reach the end of the zone."""
FRESH_FIX_S = 8.0
"""A passed deciding fix younger than this is worth the grace (design/domain.md section 6)."""


@dataclass(frozen=True)
class Budget:
    """Two moments, UTC seconds."""

    limit_s: float
    """When an instruction must be out (PUBACK)."""
    due_s: float
    """When HOLD is decided if there is no answer: `decide_margin_s` earlier, to commit, sign and publish."""


def hold_due_s(remaining_m: float, speed_mps: float, now_s: float, entry_s: float, policy: PolicyConfig) -> float:
    """`min(now + 0.6 * remaining / speed, entry time + 8 s)`.

    Args:
        remaining_m: Way from where the vehicle is now to the end of the activation zone; <= 0 = past it.
        speed_mps: The larger of reported and last measured speed.
        now_s: Arrival of the deciding fix.
        entry_s: When the boundary was crossed.
        policy: Share and maximum.
    """
    latest_s = entry_s + policy.budget_max_s
    if remaining_m <= 0.0:
        return min(now_s, latest_s)
    if speed_mps <= STANDING_MPS:
        return latest_s
    return min(now_s + policy.budget_share * remaining_m / speed_mps, latest_s)


def budget(
    *,
    remaining_m: float | None,
    speed_mps: float | None,
    fix_age_s: float,
    arrived_s: float,
    entry_s: float,
    policy: PolicyConfig,
) -> Budget:
    """Limit and decision time for an entry.

    Args:
        remaining_m: Way from the deciding fix to the end of the activation zone, metres; None = not known,
            then only the 8 s count.
        speed_mps: The larger of reported and last measured speed; None = not known.
        fix_age_s: Age of that fix when it reached the agent; the vehicle has moved on since.
        arrived_s: When it reached the agent.
        entry_s: When the boundary was crossed.
        policy: Share, maximum, margin and grace.
    """
    speed = max(0.0, speed_mps or 0.0)
    age_s = max(0.0, fix_age_s)
    left_m = float("inf") if remaining_m is None else remaining_m - speed * age_s
    if left_m == float("inf"):
        limit_s = min(entry_s, arrived_s) + policy.budget_max_s
    else:
        limit_s = hold_due_s(left_m, speed, arrived_s, min(entry_s, arrived_s), policy)
    if limit_s <= arrived_s:
        grace_s = policy.passed_grace_s if age_s < FRESH_FIX_S else 0.0
        return Budget(arrived_s + PASSED_LIMIT_S, arrived_s + grace_s)
    return Budget(limit_s, max(arrived_s, limit_s - policy.decide_margin_s))
