"""Accuracy, speed gate, frozen fixes, suspect branch (design/detection.md sections 5 and 6)."""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import Meta, Struct

from zones.fix import Fix, FixType


class DetectionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a unit counts as inside a border zone: the `[detection]` table (design/detection.md section 5)."""

    accuracy_default_m: Annotated[float, Meta(gt=0, le=100)] = 15.0
    """Assumed 95 % radius where a fix reports none: parked vans p99 8.9 m, parked u-blox p95 11.6 m."""
    accuracy_phone_m: Annotated[float, Meta(gt=0, le=100)] = 30.0
    """The same for a phone: a phone in a train was off by 32 m half of the time."""
    accuracy_floor_m: Annotated[float, Meta(gt=0, le=100)] = 3.0
    """No report is believed to be better: 1.7-1.9 m were reported 198 m off."""
    accuracy_usable_m: Annotated[float, Meta(gt=0, le=100)] = 100.0
    """Above this a fix changes no state; the index knows clearances up to here."""
    hdop_m: Annotated[float, Meta(gt=0, le=100)] = 8.0
    """Metres for each unit of hdop where no accuracy is reported."""
    hdop_dgnss_m: Annotated[float, Meta(gt=0, le=100)] = 4.0
    """The same with DGNSS or RTK."""
    inside_factor: Annotated[float, Meta(ge=0, le=10)] = 1.0
    """INSIDE needs this many accuracies of clearance; accuracy is already 95 %."""
    exit_margin_m: Annotated[float, Meta(ge=0, le=100)] = 20.0
    """Hysteresis on leaving: 20 m gave no flip in 20.7 h of parked vans, 15 m 0.06 an hour."""
    exit_moving_m: Annotated[float, Meta(ge=0, le=100)] = 5.0
    exit_moving_mps: Annotated[float, Meta(gt=0, le=100)] = 3.0
    """A unit that drives away faster than this exits at `exit_moving_m` already."""
    confirm_fixes: Annotated[int, Meta(ge=1, le=8)] = 2
    """Successive different positions inside that confirm an entry in the accuracy band."""
    dwell_s: Annotated[float, Meta(ge=0, le=60)] = 5.0
    """Time inside that confirms an entry in the accuracy band."""
    speed_gate_mps: Annotated[float, Meta(gt=0, le=1000)] = 45.0
    """Faster is no vehicle: lorries 25, cars in the recordings to 31.6, jumps 100 to 3,000."""
    accel_mps2: Annotated[float, Meta(gt=0, le=100)] = 3.0
    accel_gain_mps: Annotated[float, Meta(gt=0, le=1000)] = 12.0
    """Speed gained since the last step is believed up to `accel_mps2`, and up to this much."""
    reported_slack_mps: Annotated[float, Meta(ge=0, le=100)] = 5.0
    reported_slack_share: Annotated[float, Meta(ge=0, le=10)] = 0.3
    """A step may be faster than the reported speed by the greater of the two."""
    suspect_fixes: Annotated[int, Meta(ge=1, le=8)] = 3
    uncorroborated_fixes: Annotated[int, Meta(ge=1, le=8)] = 2
    """Fixes that must agree before a suspect, or only uncorroborated, position is believed."""
    direction_min_m: Annotated[float, Meta(ge=0, le=1000)] = 25.0
    bearing_tolerance_deg: Annotated[float, Meta(gt=0, lt=90)] = 60.0
    segment_max_gap_s: Annotated[float, Meta(gt=0, le=3600)] = 300.0
    segment_max_length_m: Annotated[float, Meta(gt=0, le=20000)] = 7_000.0
    """A 6 km tunnel at 80 km/h; longer lines cut across foreign crossings."""
    future_tolerance_s: Annotated[float, Meta(ge=0, le=3600)] = 5.0
    reorder_window_s: Annotated[float, Meta(ge=0, le=60)] = 3.0
    late_settle_s: Annotated[float, Meta(ge=0, le=60)] = 5.0
    """Late fixes of one gap are judged together once none has come for this long."""
    late_gap_s: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    """A longer silence inside a zone is a gap, even where no `seq` is missing."""
    late_horizon_s: Annotated[float, Meta(ge=0, le=86400)] = 900.0
    merge_gap_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    """A late passage this close to a known one is the same."""
    stale_after_s: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    lost_after_s: Annotated[float, Meta(gt=0, le=86400)] = 60.0
    """Without a fix for this long; 1.5 and 3 usual intervals of the unit where that is longer."""
    accept_simulated: bool = False


class Trust(enum.Enum):
    """How far a step is believed by itself."""

    TRUSTED = "TRUSTED"
    UNCORROBORATED = "UNCORROBORATED"
    SUSPECT = "SUSPECT"


class BranchVerdict(enum.Enum):
    """What the next fix says about a suspect branch."""

    GROWS = "GROWS"
    DROPPED = "DROPPED"
    RESTARTS = "RESTARTS"


def effective_accuracy_m(fix: Fix, config: DetectionConfig) -> float:
    """95 % radius to decide with: 0 is unknown, not perfect, and tiny values are not believed."""
    accuracy_m = fix.accuracy_m
    if accuracy_m <= 0.0:
        if fix.hdop is None or not 0.0 < fix.hdop < 1_000.0:
            return config.accuracy_phone_m if fix.phone else config.accuracy_default_m
        better = fix.fix_type is FixType.DGNSS or fix.fix_type is FixType.RTK
        accuracy_m = fix.hdop * (config.hdop_dgnss_m if better else config.hdop_m)
    floor_m = config.accuracy_floor_m
    return accuracy_m if accuracy_m > floor_m else floor_m


def usable(fix: Fix, accuracy_m: float, config: DetectionConfig) -> bool:
    """Whether a fix may change the state of a zone."""
    return accuracy_m <= config.accuracy_usable_m and fix.fix_type is not FixType.ESTIMATED


def step_speed_mps(distance_m: float, accuracy_m: float, other_accuracy_m: float, dt_s: float) -> float:
    """Least speed that explains a step, given how far off both ends may be; infinite if no time passed."""
    excess_m = distance_m - accuracy_m - other_accuracy_m
    if excess_m <= 0.0:
        return 0.0
    return excess_m / dt_s if dt_s > 0.0 else float("inf")


def grade_step(
    speed_mps: float,
    dt_s: float,
    reported_mps: float | None,
    previous_mps: float | None,
    config: DetectionConfig,
) -> Trust:
    """How far to believe a step.

    Args:
        speed_mps: From `step_speed_mps`.
        dt_s: Time the step took.
        reported_mps: The faster of the speeds reported at its ends, None if neither has one.
        previous_mps: Speed of the step before, None if there is none.
    """
    if speed_mps > config.speed_gate_mps:
        return Trust.SUSPECT
    if reported_mps is not None:
        slack_mps = max(config.reported_slack_mps, config.reported_slack_share * reported_mps)
        return Trust.UNCORROBORATED if speed_mps > reported_mps + slack_mps else Trust.TRUSTED
    if previous_mps is None:
        return Trust.TRUSTED
    gain_mps = min(config.accel_gain_mps, config.accel_mps2 * max(0.0, dt_s))
    return Trust.UNCORROBORATED if speed_mps > previous_mps + gain_mps else Trust.TRUSTED


def faster_reported_mps(one: Fix, other: Fix) -> float | None:
    """The faster of two reported speeds, None if neither is given."""
    if one.speed_mps is None:
        return other.speed_mps
    return one.speed_mps if other.speed_mps is None else max(one.speed_mps, other.speed_mps)


def judge_branch(
    *,
    branch_to_fix_ok: bool,
    anchor_to_fix_ok: bool | None,
    anchor_to_branch_m: float,
    branch_to_fix_m: float,
    anchor_to_fix_m: float,
    accuracies_m: float,
) -> BranchVerdict:
    """Does a new fix C agree with the branch B beside the anchor A?

    Args:
        branch_to_fix_ok: B to C passes the speed gate.
        anchor_to_fix_ok: A to C passes it; None if the position of A was dropped (privacy).
        anchor_to_branch_m, branch_to_fix_m, anchor_to_fix_m: Distances; those from a dropped A are not read.
        accuracies_m: Sum of the accuracies of the three.
    """
    if branch_to_fix_ok:
        onward = anchor_to_branch_m + branch_to_fix_m <= 1.3 * anchor_to_fix_m + accuracies_m
        if not anchor_to_fix_ok or onward or branch_to_fix_m < anchor_to_fix_m:
            return BranchVerdict.GROWS
    return BranchVerdict.DROPPED if anchor_to_fix_ok else BranchVerdict.RESTARTS
