"""True position to seeded fix: drift, yard roof, freeze, duplicates, disorder, gaps, jumps, tunnels.

Numbers: design/detection.md section 10 (measured on recorded tracks) unless marked as a choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulator.dice import Dice

METRES_PER_DEGREE = 111_320.0
"""Of latitude; 0.3 % off is nothing beside the errors added here."""

FAST_SIGMA_M, FAST_TAU_S = 0.8, 6.0
SLOW_SIGMA_M, SLOW_TAU_S = 2.0, 60.0
YARD_SIGMA_M = 7.0
STEP_EVERY_S = 90.0
"""Mean time between multipath steps under a roof (choice)."""
STEP_M = (8.0, 15.0)
STEP_LASTS_S = (10.0, 60.0)
JUMP_SHARE = 1.0 / 2_000.0
JUMP_M = (100.0, 3_000.0)
FREEZE_BELOW_MPS = 0.3
STICK_SHARE = 1.0 / 60.0
"""Of fixes while driving at which a unit that sticks does so (choice; few units do)."""
STICK_S = (10.0, 40.0)
GAP_SHARE = 1.0 / 500.0
"""Of fixes after which a unit with gaps is silent for a while (p99.9 of van intervals is 88 s)."""
GAP_S = (5.0, 20.0)
FIRST_FIXES = 3
"""Fixes before the first gap, so that a lorry is seen at all before it drives on unseen (choice)."""
LAG_S = (0.08, 0.5)
TRANSPORT_S = (0.04, 0.25)
"""From fix to broker over mobile data (choice)."""
DISORDER_DELAY_S = 1.3
"""A fix held up for so long is overtaken by the next one of a 1 s unit (choice)."""
PORTAL_ERROR_M = (20.0, 50.0)
PORTAL_DECAY_S = 10.0
TO_95_PERCENT = 2.45
"""Radius that holds 95 % of a circular normal error, in sigmas of one axis."""


@dataclass(frozen=True)
class Receiver:
    """What one unit's receiver is like."""

    interval_s: float = 1.0
    reports_accuracy: bool = True
    reports_speed: bool = True
    freezes: bool = False
    """Standing, it repeats its position."""
    sticks: bool = False
    """Now and then it repeats its position while driving, then leaps."""
    duplicates: bool = False
    disorder: bool = False
    gaps: bool = False
    whole_seconds: bool = False
    """Fix times are whole seconds (OwnTracks `tst`)."""

    @property
    def settle_s(self) -> float:
        """After this time at the latest an entry has been reported twice, whatever this receiver does."""
        silent_s = (GAP_S[1] if self.gaps else 0.0) + (STICK_S[1] if self.sticks else 0.0)
        return 4.0 + 2.0 * self.interval_s + silent_s


@dataclass(frozen=True)
class Truth:
    """Where the lorry really is."""

    time_s: float
    latitude: float
    longitude: float
    speed_mps: float
    heading_deg: float
    covered: bool = False
    """Under the roof of a customs yard."""
    tunnel: bool = False


@dataclass(frozen=True)
class Observation:
    """One fix as the receiver gives it."""

    emit_s: float
    """When it leaves the unit, UTC seconds."""
    time_s: float
    latitude: float
    longitude: float
    accuracy_m: float
    """95 %; 0 = not reported."""
    speed_mps: float | None
    heading_deg: float | None
    copies: int = 1


class GnssError:
    """Errors of one receiver; `observe` is called in order of time."""

    def __init__(self, receiver: Receiver, dice: Dice) -> None:
        self.receiver = receiver
        self._dice = dice
        self._fast = [dice.normal(FAST_SIGMA_M), dice.normal(FAST_SIGMA_M)]
        self._slow = [dice.normal(SLOW_SIGMA_M), dice.normal(SLOW_SIGMA_M)]
        self._lag_s = dice.between(*LAG_S)
        self._spread = math.exp(dice.normal(0.25))
        self._time_s: float | None = None
        self._step = (0.0, 0.0, 0.0)  # east_m, north_m, until_s
        self._portal = (0.0, 0.0, -math.inf)  # east_m, north_m, left at_s
        self._was_tunnel = False
        self._seen = 0
        self._silent_until_s = -math.inf
        self._frozen: tuple[float, float] | None = None
        self._frozen_until_s = -math.inf

    def observe(self, truth: Truth) -> Observation | None:
        """The fix for this moment, or None where there is none (tunnel, gap)."""
        self._advance(truth)
        if truth.tunnel:
            self._was_tunnel = True
            return None
        if self._was_tunnel:
            self._was_tunnel = False
            self._portal = (*self._leap(PORTAL_ERROR_M), truth.time_s)
        if truth.time_s < self._silent_until_s:
            return None
        self._seen += 1
        if self.receiver.gaps and self._seen > FIRST_FIXES and self._dice.chance(GAP_SHARE):
            self._silent_until_s = truth.time_s + self._dice.between(*GAP_S)
            return None
        return self._observed(truth, *self._position(truth))

    def _position(self, truth: Truth) -> tuple[float, float]:
        """(latitude, longitude) with every error; the jump comes last and is never frozen."""
        latitude, longitude = self._frozen_or(truth, self._erred(truth))
        if self._dice.chance(JUMP_SHARE):
            east_m, north_m = self._leap(JUMP_M)
            return _moved(latitude, longitude, east_m, north_m)
        return latitude, longitude

    def _erred(self, truth: Truth) -> tuple[float, float]:
        """Drift, lag along the track, multipath step and what is left of the portal's error."""
        roof = YARD_SIGMA_M / SLOW_SIGMA_M if truth.covered else 1.0
        heading = math.radians(truth.heading_deg)
        lag_m = truth.speed_mps * self._lag_s
        fade = math.exp(-(truth.time_s - self._portal[2]) * 3.0 / PORTAL_DECAY_S)
        step = self._step if truth.time_s < self._step[2] else (0.0, 0.0, 0.0)
        east_m = self._fast[0] + self._slow[0] * roof + step[0] + self._portal[0] * fade
        north_m = self._fast[1] + self._slow[1] * roof + step[1] + self._portal[1] * fade
        return _moved(
            truth.latitude,
            truth.longitude,
            east_m - lag_m * math.sin(heading),
            north_m - lag_m * math.cos(heading),
        )

    def _frozen_or(self, truth: Truth, position: tuple[float, float]) -> tuple[float, float]:
        """The last position again while the receiver sticks."""
        standing = self.receiver.freezes and truth.speed_mps < FREEZE_BELOW_MPS
        if not standing and self.receiver.sticks and self._dice.chance(STICK_SHARE):
            self._frozen_until_s = truth.time_s + self._dice.between(*STICK_S)
        if not (standing or truth.time_s < self._frozen_until_s):
            self._frozen = None
            return position
        if self._frozen is None:
            self._frozen = position
        return self._frozen

    def _observed(self, truth: Truth, latitude: float, longitude: float) -> Observation:
        dice, receiver = self._dice, self.receiver
        late_s = DISORDER_DELAY_S if receiver.disorder and dice.chance(0.05) else 0.0
        return Observation(
            emit_s=truth.time_s + dice.between(*TRANSPORT_S) + late_s,
            time_s=truth.time_s,
            latitude=latitude,
            longitude=longitude,
            accuracy_m=self._accuracy(truth) if receiver.reports_accuracy else 0.0,
            speed_mps=max(0.0, truth.speed_mps + dice.normal(0.15)) if receiver.reports_speed else None,
            heading_deg=(truth.heading_deg + dice.normal(2.0)) % 360.0 if receiver.reports_speed else None,
            copies=dice.whole(2, 4) if receiver.duplicates and dice.chance(0.2) else 1,
        )

    def _accuracy(self, truth: Truth) -> float:
        """95 % radius that the receiver believes in: a multipath step does not show in it."""
        slow = YARD_SIGMA_M if truth.covered else SLOW_SIGMA_M
        return round(TO_95_PERCENT * math.hypot(FAST_SIGMA_M, slow) * self._spread, 1)

    def _advance(self, truth: Truth) -> None:
        """Move the drift on (Ornstein-Uhlenbeck, exact for any step) and let multipath steps come and go."""
        if self._time_s is not None:
            dt_s = max(0.0, truth.time_s - self._time_s)
            self._drift(self._fast, FAST_SIGMA_M, dt_s / FAST_TAU_S)
            self._drift(self._slow, SLOW_SIGMA_M, dt_s / SLOW_TAU_S)
            if truth.covered and truth.time_s >= self._step[2] and self._dice.chance(dt_s / STEP_EVERY_S):
                self._step = (*self._leap(STEP_M), truth.time_s + self._dice.between(*STEP_LASTS_S))
        self._time_s = truth.time_s

    def _drift(self, axes: list[float], sigma_m: float, steps: float) -> None:
        keep = math.exp(-steps)
        new_m = sigma_m * math.sqrt(1.0 - keep * keep)
        axes[0] = axes[0] * keep + self._dice.normal(new_m)
        axes[1] = axes[1] * keep + self._dice.normal(new_m)

    def _leap(self, size_m: tuple[float, float]) -> tuple[float, float]:
        """(east_m, north_m) of a random length in a random direction."""
        length_m, angle = self._dice.between(*size_m), self._dice.between(0.0, math.tau)
        return length_m * math.cos(angle), length_m * math.sin(angle)


def _moved(latitude: float, longitude: float, east_m: float, north_m: float) -> tuple[float, float]:
    return (
        latitude + north_m / METRES_PER_DEGREE,
        longitude + east_m / (METRES_PER_DEGREE * math.cos(math.radians(latitude))),
    )
