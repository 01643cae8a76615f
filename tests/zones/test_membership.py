"""zones/membership.py: three values, and the geometry below them against shapely."""

from __future__ import annotations

import itertools
import math

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from zones.membership import Membership, classify, clearance_m, moves_away, ray_inside

SQUARE = ((0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0), (0.0, 0.0))
EDGES = tuple((*a, *b) for a, b in itertools.pairwise(SQUARE))


@pytest.mark.parametrize(
    ("inside", "clearance", "accuracy", "expected"),
    [
        (True, 15.0, 15.0, Membership.INSIDE),
        (True, 14.9, 15.0, Membership.EDGE),
        (True, 50.0, 17_000.0, Membership.EDGE),
        (False, 20.0, 3.0, Membership.OUTSIDE),
        (False, 19.9, 3.0, Membership.EDGE),
        (False, 20.0, 30.0, Membership.EDGE),
        (False, 100.0, 17_000.0, Membership.EDGE),
    ],
)
def test_only_a_whole_accuracy_disc_decides(inside, clearance, accuracy, expected):
    assert classify(inside, clearance, accuracy, inside_factor=1.0, exit_margin_m=20.0) is expected


@pytest.mark.parametrize("accuracy", [0.0, -1.0, math.nan])
def test_unknown_accuracy_is_the_callers_to_replace(accuracy):
    with pytest.raises(ValueError, match="accuracy_m"):
        classify(True, 5.0, accuracy, inside_factor=1.0, exit_margin_m=20.0)


@pytest.mark.parametrize(
    ("before", "now", "step", "dt", "expected"),
    [
        (1.0, 8.0, 8.0, 1.0, True),
        (-6.0, 2.0, 8.0, 1.0, True),  # from inside
        (5.0, 8.0, 8.0, 1.0, False),  # along the edge
        (1.0, 8.0, 8.0, 4.0, False),  # crawling
        (1.0, 8.0, 8.0, 0.0, False),  # no time passed
    ],
)
def test_a_step_leads_away_if_it_is_fast_and_half_of_it_outwards(before, now, step, dt, expected):
    assert moves_away(before, now, step, dt, least_mps=3.0) is expected


@given(st.floats(-300, 400), st.floats(-300, 400))
def test_clearance_is_the_distance_to_the_boundary(x, y):
    expected = min(1_000.0, shapely.distance(shapely.LinearRing(SQUARE), shapely.Point(x, y)))
    assert clearance_m(EDGES, x, y, 1_000.0) == pytest.approx(expected, abs=1e-6)


@given(st.floats(-50, 150), st.floats(-50, 150))
def test_the_ray_agrees_with_shapely_off_the_boundary(x, y):
    if shapely.distance(shapely.LinearRing(SQUARE), shapely.Point(x, y)) > 1e-9:
        assert ray_inside(EDGES, x, y) is bool(shapely.contains_xy(shapely.Polygon(SQUARE), x, y))
