"""Learns the predictive part of the score card from labelled lines, and says how good it is on later ones.

Needs scikit-learn (the extra `ml`), for training only: what comes out is a file of points (agent/risk/model.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError
from agent.risk.model import FORMAT, MILLI, POINTS_PER_LOG_ODDS, ModelFile, Tree
from simulator.customs.feedback import SMOOTHING
from simulator.customs.indicators import INDICATORS
from simulator.customs.labelled import CATEGORY_COLUMNS, Lines
from simulator.customs.models import CountsFile

Kind = Literal["default", "boosted"]
FOLDS = 5
"""Each training line is described by counts of the other folds, never by its own label."""
SEED = 20260101
SHARES = (2, 5, 10)
"""Percent of the lines, highest scores first, for which precision is said."""
SETTINGS: dict[Kind, dict[str, Any]] = {
    "default": {"max_iter": 300, "max_depth": 2, "learning_rate": 0.15, "max_leaf_nodes": None},
    "boosted": {"max_iter": 200, "max_leaf_nodes": 31, "learning_rate": 0.1},
}
"""The additive pair card, and the stronger model (design/risk.md section 6)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counted:
    """How often each value of one key was seen, and how often something was found."""

    seen: Mapping[str, int]
    found: Mapping[str, int]


@dataclass(frozen=True)
class Rates:
    """Counts of every key, and the base rate: what turns a line into indicators."""

    keys: Mapping[str, Counted]
    base: float


@dataclass(frozen=True)
class Quality:
    """How well scores order the lines: area under the ROC curve, and precision of the highest shares."""

    auc: float
    precision: Mapping[str, float]

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {"auc": round(self.auc, 4), "precision": {k: round(v, 4) for k, v in self.precision.items()}}


def count(lines: Lines, among: NDArray[np.bool_] | None = None) -> Rates:
    """Counts over the lines, or over some of them."""
    chosen = np.ones(len(lines), np.bool_) if among is None else among
    keys = {name: _counted(texts, lines.found, chosen) for name, texts in lines.categories.items()}
    return Rates(keys, float(lines.found[chosen].mean()))


def _counted(texts: Sequence[str], found: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> Counted:
    seen: dict[str, int] = {}
    hits: dict[str, int] = {}
    for text, hit, taken in zip(texts, found.tolist(), chosen.tolist(), strict=True):
        if taken and text:
            seen[text] = seen.get(text, 0) + 1
            if hit:
                hits[text] = hits.get(text, 0) + 1
    return Counted(seen, hits)


def describe(lines: Lines, rates: Rates) -> Floats:
    """Indicators of each line, shape (lines, 40); an undeclared number is 0 after the logarithm."""
    columns = [*_rate_columns(lines, rates), *_seen_columns(lines, rates), *_number_columns(lines)]
    return np.column_stack(columns)


def _rate_columns(lines: Lines, rates: Rates) -> Iterator[Floats]:
    for name, texts in lines.categories.items():
        known = rates.keys[name]
        table = {
            text: (known.found.get(text, 0) + SMOOTHING * rates.base) / (seen + SMOOTHING)
            for text, seen in known.seen.items()
        }
        rate = np.array([table.get(text, rates.base) for text in texts])
        yield np.log(rate / (1.0 - rate))


def _seen_columns(lines: Lines, rates: Rates) -> Iterator[Floats]:
    for name, texts in lines.categories.items():
        seen = rates.keys[name].seen
        yield np.log1p(np.array([seen.get(text, 0) for text in texts], np.float64))


def _number_columns(lines: Lines) -> Iterator[Floats]:
    tax, mass, price = (np.nan_to_num(lines.numbers[name]) for name in ("tax_rate", "mass", "price"))
    yield tax
    yield np.log1p(mass)
    yield np.log1p(price)
    yield np.log((price + 1.0) / (mass + 1.0))


def described_out_of_fold(lines: Lines) -> Floats:
    """Indicators of the training lines, each from the counts of the other folds."""
    fold = np.random.default_rng(SEED).permutation(len(lines)) % FOLDS
    table = np.empty((len(lines), len(INDICATORS)))
    for one in range(FOLDS):
        table[fold == one] = describe(lines, count(lines, fold != one))[fold == one]
    width = len(CATEGORY_COLUMNS)
    seen = table[:, width : 2 * width]  # later lines are described by counts of all folds: put these on that scale
    seen[:] = np.log1p(np.expm1(seen) * FOLDS / (FOLDS - 1))
    return table


def train(lines: Lines, kind: Kind, chf_of_price: float = 1.0) -> ModelFile:
    """A model learned from the lines, whose prices are in units of so many francs.

    Raises:
        ConfigError: scikit-learn is not there, or nothing (or everything) was found in the lines.
    """
    if lines.found.all() or not lines.found.any():
        raise ConfigError("training needs lines with and without a finding")
    fitted = _fitted(kind, lines)
    base = float(np.log(lines.found.mean() / (1.0 - lines.found.mean())))
    return ModelFile(
        format=FORMAT,
        name="pair-card" if kind == "default" else "boosted",
        indicators=INDICATORS,
        base=round((float(fitted._baseline_prediction[0, 0]) - base) * POINTS_PER_LOG_ODDS * MILLI),
        trees=tuple(_tree(stage[0].nodes) for stage in fitted._predictors),
        training_hash=lines_hash(lines),
        chf_of_price=chf_of_price,
    )


def _fitted(kind: Kind, lines: Lines) -> Any:
    """On one thread: threads that wait for each other are slower than none where other work runs beside them."""
    classifier = _classifier(kind)
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    with threadpool_limits(limits=1):
        return classifier.fit(described_out_of_fold(lines), lines.found)


def _classifier(kind: Kind) -> Any:
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError as error:
        raise ConfigError("training needs scikit-learn: pip install 'borderlane[ml]'") from error
    return HistGradientBoostingClassifier(early_stopping=False, random_state=SEED, **SETTINGS[kind])


def _tree(nodes: Any) -> Tree:
    """Nodes of a fitted tree as columns; a leaf's value becomes points."""
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        feature=tuple(int(one) for one in np.where(leaf, -1, nodes["feature_idx"])),
        threshold=tuple(float(one) for one in np.where(leaf, 0.0, nodes["num_threshold"])),
        left=tuple(int(one) for one in np.where(leaf, 0, nodes["left"])),
        right=tuple(int(one) for one in np.where(leaf, 0, nodes["right"])),
        points=tuple(round(float(one) * POINTS_PER_LOG_ODDS * MILLI) for one in np.where(leaf, nodes["value"], 0.0)),
    )


def counts_file(lines: Lines) -> CountsFile:
    """The counts of all lines, which a model starts from when it is put to work."""
    rates = count(lines)
    keys = {
        name: {text: (seen, known.found.get(text, 0)) for text, seen in sorted(known.seen.items())}
        for name, known in rates.keys.items()
    }
    return CountsFile(lines_hash(lines), len(lines), int(lines.found.sum()), keys)


def lines_hash(lines: Lines) -> str:
    """SHA-256 over everything in the lines."""
    digest = hashlib.sha256()
    for texts in lines.categories.values():
        digest.update(msgspec.msgpack.encode(list(texts)))
    for column in (lines.days, *lines.numbers.values(), lines.found):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def quality(scores: Floats, found: NDArray[np.bool_]) -> Quality:
    """How well the scores order the lines; equal scores count half for the area."""
    order = np.argsort(scores, kind="stable")[::-1]
    precision = {}
    for share in SHARES:
        taken = max(1, round(len(scores) * share / 100))
        precision[str(share)] = float(found[order[:taken]].mean())
    return Quality(_auc(scores, found), precision)


def _auc(scores: Floats, found: NDArray[np.bool_]) -> float:
    hits, misses = int(found.sum()), int((~found).sum())
    if not hits or not misses:
        raise ConfigError("evaluation needs lines with and without a finding")
    _, place, size = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(size) - (size - 1) / 2.0
    return float((rank[place][found].sum() - hits * (hits + 1) / 2.0) / (hits * misses))
