"""simulator/customs/training.py: what is learned is what the library learned, from counts of other lines."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.risk.model import MILLI, POINTS_PER_LOG_ODDS, Model, load_model
from simulator.customs import training
from simulator.customs.feedback_loop import hit_rates
from simulator.customs.indicators import INDICATORS
from simulator.customs.labelled import Lines, read_lines
from simulator.customs.training import (
    count,
    describe,
    described_out_of_fold,
    lines_hash,
    quality,
    train,
)
from tests.simulator.customs.labelled_lines import made_lines, written

KINDS: tuple[training.Kind, ...] = ("default", "boosted")


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    return read_lines(written(tmp_path_factory.mktemp("lines") / "past.csv", made_lines(3_000, 1)))


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    return read_lines(written(tmp_path_factory.mktemp("lines") / "later.csv", made_lines(1_000, 2, first_day=60)))


@pytest.fixture(scope="module")
def pair_card(past: Lines) -> Model:
    return load_model(msgspec.json.encode(train(past, "default")))


@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_model_scores_as_the_fitted_one(past: Lines, later: Lines, kind: training.Kind) -> None:
    model = load_model(msgspec.json.encode(train(past, kind)))
    fitted = training._fitted(kind, past)
    table = describe(later, count(past))
    base = np.log(past.found.mean() / (1.0 - past.found.mean()))
    wanted = (fitted.decision_function(table) - base) * POINTS_PER_LOG_ODDS
    given_ = np.array([model.milli_points(row) for row in table.tolist()]) / MILLI
    assert np.abs(given_ - wanted).max() < 0.301, "at most half a thousandth of a point of rounding for each tree"


def test_the_pair_card_finds_what_only_two_indicators_together_show(
    past: Lines, later: Lines, pair_card: Model
) -> None:
    rows = describe(later, count(past)).tolist()
    found = quality(np.array([pair_card.milli_points(row) for row in rows], np.float64), later.found)
    assert found.auc > 0.7
    assert found.precision["2"] > 2 * later.found.mean()
    terms = [term for row in rows[:50] for term in pair_card.predict(row).terms]
    assert all(len(term.indicators) <= 2 for term in terms)


def test_no_line_is_described_by_its_own_label(past: Lines) -> None:
    table = described_out_of_fold(past)
    turned = described_out_of_fold(Lines(past.days, past.categories, past.numbers, _flipped(past.found, 7)))
    assert np.array_equal(table[7], turned[7])
    assert not np.array_equal(table, turned), "other lines see it"


def _flipped(found: np.ndarray, at: int) -> np.ndarray:
    changed = found.copy()
    changed[at] = not changed[at]
    return changed


def test_a_value_never_seen_has_the_base_rate(past: Lines) -> None:
    rates = count(past)
    stranger = {name: ["never seen"] for name in past.categories}
    one = Lines(past.days[:1], stranger, {name: values[:1] for name, values in past.numbers.items()}, past.found[:1])
    row = dict(zip(INDICATORS, describe(one, rates)[0], strict=True))
    assert row["rate:importer"] == pytest.approx(np.log(rates.base / (1.0 - rates.base)))
    assert row["seen:importer"] == 0.0


def test_same_lines_make_the_same_model(past: Lines) -> None:
    assert train(past, "default") == train(past, "default")
    changed = Lines(past.days, past.categories, past.numbers, _flipped(past.found, 0))
    assert lines_hash(past) != lines_hash(changed)


def test_lines_without_a_finding_teach_nothing(past: Lines) -> None:
    nothing = Lines(past.days, past.categories, past.numbers, np.zeros(len(past), np.bool_))
    with pytest.raises(ConfigError, match="with and without a finding"):
        train(nothing, "default")
    with pytest.raises(ConfigError, match="with and without a finding"):
        quality(np.zeros(len(past)), nothing.found)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=60))
def test_the_area_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, bool]]) -> None:
    hits = [score for score, found in pairs if found]
    misses = [score for score, found in pairs if not found]
    if not hits or not misses:
        return
    wanted = sum((a > b) + 0.5 * (a == b) for a in hits for b in misses) / (len(hits) * len(misses))
    scores = np.array([score for score, _ in pairs], np.float64)
    assert quality(scores, np.array([found for _, found in pairs])).auc == pytest.approx(wanted)


def test_learning_from_each_day_beats_choice_by_lot(past: Lines) -> None:
    rates = hit_rates(past)
    assert set(rates) == {"random", "static", "learning", "learningWithExploration"}
    assert rates["learning"] > 1.3 * rates["random"]


def test_a_month_of_lines_is_all_warm_up(past: Lines) -> None:
    early = past.days < past.days.min() + 30
    picked = np.flatnonzero(early)
    month = Lines(
        past.days[picked],
        {name: [texts[at] for at in picked] for name, texts in past.categories.items()},
        {name: values[picked] for name, values in past.numbers.items()},
        past.found[picked],
    )
    assert hit_rates(month) == {}
