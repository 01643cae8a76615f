"""Which transport declaration an entry activates (design/domain.md section 5, matching)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.activation.journey import BEFORE_LOCK, Journey, JourneyStage, eta_s
from agent.domain.declaration import GoodsDeclaration

AMBIGUOUS_WITHIN_S = 1_800.0
"""Two journeys not under way with expected times so close cannot be told apart."""

CLOSE_PAIRS = frozenset(
    frozenset(pair)
    for pair in (
        ("moillesulaz", "thonex-vallard"),
        ("basel-hiltalingerstrasse", "basel-weil-am-rhein-autobahn"),
        ("bardonnex", "perly"),
        ("basel-freiburgerstrasse", "basel-weil-am-rhein-autobahn"),
        ("basel-burgfelderstrasse", "basel-st-louis-autobahn"),
        ("au", "st-margrethen"),
    )
)
"""Crossings under 2 km apart among the shipped 64 (design/detection.md section 2)."""

CLONE_WITHIN_S = 1_800.0
"""A vehicle held at one crossing cannot enter another so soon (choice)."""

OPEN_AT_BORDER = frozenset({JourneyStage.LOCKED, JourneyStage.ACTIVATED, JourneyStage.ROUTED, JourneyStage.CONFIRMED})
"""Stages between the entry and the end of a journey."""

COMPETENCE_OF = {
    "EXPORT": "EXPORT",
    "IMPORT": "IMPORT",
    "TRANSIT": "TRANSIT",
    "TRANSIT_OPEN": "TRANSIT",
    "TRANSIT_CLOSE": "TRANSIT",
}
"""Competence that a procedure needs; PERIODIC needs none but its own office."""


@dataclass(frozen=True)
class Matched:
    """The journey that is meant."""

    journey: Journey


@dataclass(frozen=True)
class AtTheBorder:
    """The journey is locked here already: a repeat, a second witness, or a return after turning back."""

    journey: Journey


@dataclass(frozen=True)
class Taken:
    """The unit's journey is locked at another crossing."""

    journey: Journey


@dataclass(frozen=True)
class Ambiguous:
    """Two journeys could be meant."""

    journeys: tuple[Journey, Journey]


@dataclass(frozen=True)
class Elsewhere:
    """Only a journey for another crossing."""

    journey: Journey


@dataclass(frozen=True)
class Opposite:
    """Only journeys of the other direction."""

    journey: Journey


@dataclass(frozen=True)
class Unknown:
    """No live journey."""


Match = Matched | AtTheBorder | Taken | Ambiguous | Elsewhere | Opposite | Unknown


def competent(competences: frozenset[str], goods: Iterable[GoodsDeclaration]) -> bool:
    """Whether an office may handle all procedures of a journey; none stated = all."""
    if not competences:
        return True
    needed = {COMPETENCE_OF[item.procedure] for item in goods if item.procedure in COMPETENCE_OF}
    return needed <= competences


def allowed_here(journey: Journey, crossing: str, is_competent: bool) -> bool:
    """Whether a journey may cross here: as planned, or by its alternatives."""
    planned = journey.declaration.planned_crossing
    if planned.crossing == crossing:
        return True
    if planned.alternatives == "ANY_COMPETENT":
        return is_competent
    return planned.alternatives == "LISTED" and crossing in planned.list


def match(
    journeys: Iterable[Journey],
    crossing: str,
    direction: str | None,
    competences: frozenset[str],
    now_s: float,
) -> Match:
    """Say which of a unit's journeys is meant at this crossing.

    Args:
        journeys: Journeys of the unit.
        crossing, direction: Where it is; direction None = the zones serve both and the fixes do not tell.
        competences: Of the office there.
        now_s: UTC seconds, to compare with expected times.
    """
    all_of_unit = sorted(journeys, key=lambda journey: (journey.marker, journey.key))
    ours = [journey for journey in all_of_unit if direction in (None, journey.declaration.direction)]
    open_here = [journey for journey in ours if _is_locked_here(journey, crossing)]
    if open_here:
        return AtTheBorder(open_here[0])
    live = [journey for journey in ours if journey.stage in BEFORE_LOCK]
    here = [journey for journey in live if allowed_here(journey, crossing, competent(competences, journey.goods))]
    if here:
        return _best(here, now_s)
    if live:
        return Elsewhere(min(live, key=lambda journey: _rank(journey, now_s)))
    if taken := [journey for journey in ours if _is_live(journey)]:
        return Taken(taken[0])
    if opposite := [journey for journey in all_of_unit if _is_live(journey)]:
        return Opposite(opposite[0])
    return Unknown()


def _is_locked_here(journey: Journey, crossing: str) -> bool:
    return journey.stage in OPEN_AT_BORDER and journey.crossing == crossing and not journey.left


def _is_live(journey: Journey) -> bool:
    return journey.stage in BEFORE_LOCK or (journey.stage in OPEN_AT_BORDER and not journey.left)


def _rank(journey: Journey, now_s: float) -> tuple[bool, float, int]:
    """UNDER_WAY first, then expected time nearest to now, then oldest."""
    expected_s = eta_s(journey.declaration)
    away_s = float("inf") if expected_s is None else abs(expected_s - now_s)
    return journey.stage is not JourneyStage.UNDER_WAY, away_s, journey.marker


def _best(here: list[Journey], now_s: float) -> Matched | Ambiguous:
    ranked = sorted(here, key=lambda journey: _rank(journey, now_s))
    if len(ranked) > 1 and _alike(ranked[0], ranked[1]):
        return Ambiguous((ranked[0], ranked[1]))
    return Matched(ranked[0])


def _alike(first: Journey, second: Journey) -> bool:
    if first.stage is JourneyStage.UNDER_WAY:
        return False
    first_s, second_s = eta_s(first.declaration), eta_s(second.declaration)
    return first_s is None or second_s is None or abs(first_s - second_s) <= AMBIGUOUS_WITHIN_S


def clones(journey: Journey, of_vehicle: Iterable[Journey], crossing: str, unit: str, now_s: float) -> list[Journey]:
    """Other journeys of the same vehicle that another unit holds at another crossing just now."""
    return [
        other
        for other in of_vehicle
        if other.key != journey.key
        and other.stage in OPEN_AT_BORDER
        and not (other.left or other.turned_back)
        and other.crossing != crossing
        and other.unit != unit
        and other.entered_s is not None
        and abs(now_s - other.entered_s) <= CLONE_WITHIN_S
    ]
