"""The predictive part of a score card: a sum of small trees, evaluated from a table of points.

In the default model every path of a tree tests at most two indicators, so that its answer splits into terms
such as "importer's hit rate with value per mass: +31 points" (design/risk.md section 6). A deeper model is
evaluated the same way; its terms then name all indicators of the path. Trees are walked side by side, for all goods
items of a declaration at once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

FORMAT = 1
MAX_TREES = 2_000
MAX_NODES = 1_000
POINTS_PER_LOG_ODDS = 20.0 / math.log(2.0)
"""20 points double the odds of a finding (design/risk.md section 1)."""
MILLI = 1_000
"""Leaves are whole thousandths of a point: sums are exact, in whatever order they are added."""

LEARNED = "rate:"
"""Indicators with this prefix are hit rates learned from control results; terms of only these are `inductive`."""


class ModelError(ValueError):
    """A model file that cannot be used: what, where, what was expected."""


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Nodes side by side; node 0 is the root.

    A node tests `indicators[feature] <= threshold` and goes to `left` or `right`; `feature` -1 is a leaf with
    `points` (thousandths).
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    points: tuple[int, ...]


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The JSON file of a model."""

    format: int
    name: str
    indicators: tuple[str, ...]
    base: int
    """Thousandths of a point of a line that no tree moves, against the base rate."""
    trees: tuple[Tree, ...]
    training_hash: str
    """SHA-256 of the lines it was trained on."""
    chf_of_price: float = 1.0
    """Francs in one unit of the prices it was trained on."""


@dataclass(frozen=True)
class Term:
    """What some indicators together add to the score, in thousandths of a point."""

    indicators: tuple[str, ...]
    milli_points: int

    @property
    def inductive(self) -> bool:
        """All of it was learned from control results."""
        return _learned(self.indicators)


def _learned(indicators: Sequence[str]) -> bool:
    return bool(indicators) and all(name.startswith(LEARNED) for name in indicators)


@dataclass(frozen=True)
class Prediction:
    """A score and the terms that add up exactly to it.

    Attributes:
        milli_points: All of it, thousandths of a point.
        inductive: What terms of only learned rates add.
        base: What stands before any term.
        sums: What each of the model's terms adds, in their order there.
    """

    milli_points: int
    inductive: int
    base: int
    sums: NDArray[np.int64]
    model: Model

    def strongest(self, count: int, *, inductive: bool) -> list[Term]:
        """So many of the terms of one part, strongest first; of equals the first of the model."""
        own = self.model.inductive if inductive else ~self.model.inductive
        weight = np.where(own, np.abs(self.sums), 0)
        some = np.argsort(-weight, kind="stable")[:count].tolist()
        return [Term(self.model.terms[one], int(self.sums[one])) for one in some if weight[one]]

    @property
    def terms(self) -> tuple[Term, ...]:
        """Terms that add anything, strongest first; the base is a term without indicators."""
        told = zip(self.model.terms, self.sums.tolist(), strict=True)
        terms = [Term(names, milli) for names, milli in told if milli]
        if self.base:
            terms.append(Term((), self.base))
        return tuple(sorted(terms, key=lambda term: (-abs(term.milli_points), term.indicators)))


@dataclass(frozen=True)
class _Nodes:
    """All trees side by side; a leaf leads to itself, so that every tree can be walked equally deep."""

    root: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    points: NDArray[np.int64]
    term: NDArray[np.int32]
    """Of a leaf, the place in `keys` of the indicators tested on the way to it."""
    keys: tuple[tuple[int, ...], ...]
    depth: int


def _joined(trees: Sequence[Tree]) -> _Nodes:
    root = np.cumsum([0, *(len(tree.feature) for tree in trees)])[:-1]
    feature = np.concatenate([np.array(tree.feature) for tree in trees] or [np.zeros(0, np.int64)])
    own = np.arange(len(feature))
    begin = np.repeat(root, [len(tree.feature) for tree in trees])
    left = np.concatenate([np.array(tree.left) for tree in trees] or [own]) + begin
    right = np.concatenate([np.array(tree.right) for tree in trees] or [own]) + begin
    leaf = feature < 0
    paths = [path for tree in trees for path in _paths(tree)]
    keys = tuple(sorted({tuple(sorted(set(path))) for path in paths}))
    place = {key: number for number, key in enumerate(keys)}
    return _Nodes(
        root.astype(np.int32),
        np.where(leaf, 0, feature).astype(np.int32),
        np.concatenate([np.array(tree.threshold) for tree in trees] or [np.zeros(0)]),
        np.where(leaf, own, left).astype(np.int32),
        np.where(leaf, own, right).astype(np.int32),
        np.concatenate([np.array(tree.points, np.int64) for tree in trees] or [np.zeros(0, np.int64)]),
        np.array([place[tuple(sorted(set(path)))] for path in paths], np.int32),
        keys,
        max((len(path) for path in paths), default=0),
    )


def _paths(tree: Tree) -> list[tuple[int, ...]]:
    """Indicators tested on the way to each node; parents stand before their children."""
    paths: list[tuple[int, ...]] = [()] * len(tree.feature)
    for node, (feature, left, right) in enumerate(zip(tree.feature, tree.left, tree.right, strict=True)):
        if feature >= 0:
            paths[left] = paths[right] = (*paths[node], feature)
    return paths


class Model:
    """A model ready to answer.

    Args:
        file: A checked model file.
        version: Name and the first 12 hex digits of the file's SHA-256; stands on every card.
    """

    def __init__(self, file: ModelFile, version: str) -> None:
        self.indicators = file.indicators
        self.version = version
        self.training_hash = file.training_hash
        self.chf_of_price = file.chf_of_price
        self._base = file.base
        self._nodes = _joined(file.trees)
        self.terms = tuple(tuple(file.indicators[one] for one in key) for key in self._nodes.keys)
        """Sets of indicators that some path tests together; a term is known by its place here."""
        self.inductive = np.array([_learned(names) for names in self.terms], np.bool_)
        """Which of them are only of learned rates."""

    def milli_points(self, values: Sequence[float]) -> int:
        """The score alone, thousandths of a point; `values` in the order of `indicators`."""
        return int(self.milli_points_of(np.array([values], np.float64))[0])

    def milli_points_of(self, rows: NDArray[np.float64]) -> NDArray[np.int64]:
        """The score of each row of indicators, thousandths of a point; shape (rows,)."""
        total: NDArray[np.int64] = self._nodes.points[self._leaves(rows)].sum(axis=1) + self._base
        return total

    def predict(self, values: Sequence[float]) -> Prediction:
        """The score and where it comes from."""
        return self.highest(np.array([values], np.float64))

    def highest(self, rows: NDArray[np.float64]) -> Prediction:
        """The prediction of the row with the highest score, the first of equals; at least one row.

        The sum of all that is `inductive` and the sum of the rest are exact; the terms are strongest first.
        """
        leaves = self._leaves(rows)
        total = self._nodes.points[leaves].sum(axis=1)
        best = leaves[int(np.argmax(total))] if len(leaves) > 1 else leaves[0]
        term, points = self._nodes.term[best], self._nodes.points[best]
        sums = np.bincount(term, points, len(self.terms)).astype(np.int64)  # exact: far below 2 ** 53
        inductive = int(sums[self.inductive].sum())
        return Prediction(int(total.max()) + self._base, inductive, self._base, sums, self)

    def _leaves(self, rows: NDArray[np.float64]) -> NDArray[np.int32]:
        """Leaf of each row in each tree, as numbers of nodes; shape (rows, trees)."""
        nodes = self._nodes
        at = np.broadcast_to(nodes.root, (len(rows), len(nodes.root)))
        row = np.arange(len(rows))[:, None]
        for _ in range(nodes.depth):
            low = rows[row, nodes.feature[at]] <= nodes.threshold[at]
            at = np.where(low, nodes.left[at], nodes.right[at])
        return at

    def arranged(self, named: Mapping[str, float]) -> list[float]:
        """Values by name in the order the model wants them.

        Raises:
            ModelError: an indicator is missing.
        """
        missing = [name for name in self.indicators if name not in named]
        if missing:
            raise ModelError(f"indicators missing: {', '.join(missing)}")
        return [named[name] for name in self.indicators]


def load_model(data: bytes, counts: bytes = b"") -> Model:
    """A model from the bytes of its file; the counts it starts from are part of its version.

    Raises:
        ModelError: not a model file, or trees that lead nowhere.
    """
    try:
        file = msgspec.json.decode(data, type=ModelFile)
    except msgspec.DecodeError as error:
        raise ModelError(f"not a model file: {error}") from error
    _check(file)
    return Model(file, f"{file.name}+{hashlib.sha256(data + counts).hexdigest()[:12]}")


def _check(file: ModelFile) -> None:
    if file.format != FORMAT:
        raise ModelError(f"format {file.format}; expected {FORMAT}")
    if not file.chf_of_price > 0.0:
        raise ModelError(f"chfOfPrice {file.chf_of_price}; expected francs, above 0")
    if len(file.trees) > MAX_TREES:
        raise ModelError(f"{len(file.trees)} trees; at most {MAX_TREES}")
    for number, tree in enumerate(file.trees):
        _check_tree(f"trees[{number}]", tree, len(file.indicators))


def _check_tree(where: str, tree: Tree, indicators: int) -> None:
    size = len(tree.feature)
    if not 1 <= size <= MAX_NODES or any(
        len(one) != size for one in (tree.threshold, tree.left, tree.right, tree.points)
    ):
        raise ModelError(f"{where}: expected 1 to {MAX_NODES} nodes, every column as long as the others")
    for node, (feature, left, right) in enumerate(zip(tree.feature, tree.left, tree.right, strict=True)):
        if feature < -1 or feature >= indicators:
            raise ModelError(f"{where}: node {node}: no indicator {feature}")
        if feature >= 0 and not (node < left < size and node < right < size):  # onwards only: no tree runs in a circle
            raise ModelError(f"{where}: node {node}: leads to {left} and {right}; expected later nodes")
