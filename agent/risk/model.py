"""The predictive part of a score card: a sum of small trees, evaluated in plain Python from a table of points.

In the default model every path of a tree tests at most two indicators, so that its answer splits into terms
such as "importer's hit rate with value per mass: +31 points" (design/risk.md section 6). A deeper model is
evaluated the same way; its terms then name all indicators of the path.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

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


@dataclass(frozen=True)
class Term:
    """What some indicators together add to the score, in thousandths of a point."""

    indicators: tuple[str, ...]
    milli_points: int

    @property
    def inductive(self) -> bool:
        """All of it was learned from control results."""
        return bool(self.indicators) and all(name.startswith(LEARNED) for name in self.indicators)


@dataclass(frozen=True)
class Prediction:
    """Terms that add up exactly to `milli_points`, strongest first."""

    milli_points: int
    terms: tuple[Term, ...]


class Model:
    """A model ready to answer.

    Args:
        file: A checked model file.
        version: Name and the first 12 hex digits of the file's SHA-256; stands on every card.
    """

    def __init__(self, file: ModelFile, version: str) -> None:
        self.indicators = file.indicators
        self.version = version
        self._base = file.base
        self._trees = tuple(
            tuple(zip(tree.feature, tree.threshold, tree.left, tree.right, tree.points, strict=True))
            for tree in file.trees
        )

    def milli_points(self, values: Sequence[float]) -> int:
        """The score alone, thousandths of a point; `values` in the order of `indicators`."""
        total = self._base
        for nodes in self._trees:
            feature, threshold, left, right, points = nodes[0]
            while feature >= 0:
                feature, threshold, left, right, points = nodes[left if values[feature] <= threshold else right]
            total += points
        return total

    def predict(self, values: Sequence[float]) -> Prediction:
        """The score and where it comes from."""
        sums: dict[tuple[int, ...], int] = {}
        for nodes in self._trees:
            feature, threshold, left, right, points = nodes[0]
            path: set[int] = set()
            while feature >= 0:
                path.add(feature)
                feature, threshold, left, right, points = nodes[left if values[feature] <= threshold else right]
            key = tuple(sorted(path))
            sums[key] = sums.get(key, 0) + points
        terms = [Term(tuple(self.indicators[one] for one in key), points) for key, points in sums.items()]
        if self._base:
            terms.append(Term((), self._base))
        terms.sort(key=lambda term: (-abs(term.milli_points), term.indicators))
        return Prediction(sum(term.milli_points for term in terms), tuple(terms))

    def arranged(self, named: Mapping[str, float]) -> list[float]:
        """Values by name in the order the model wants them.

        Raises:
            ModelError: an indicator is missing.
        """
        missing = [name for name in self.indicators if name not in named]
        if missing:
            raise ModelError(f"indicators missing: {', '.join(missing)}")
        return [named[name] for name in self.indicators]


def load_model(data: bytes) -> Model:
    """A model from the bytes of its file.

    Raises:
        ModelError: not a model file, or trees that lead nowhere.
    """
    try:
        file = msgspec.json.decode(data, type=ModelFile)
    except msgspec.DecodeError as error:
        raise ModelError(f"not a model file: {error}") from error
    _check(file)
    return Model(file, f"{file.name}+{hashlib.sha256(data).hexdigest()[:12]}")


def _check(file: ModelFile) -> None:
    if file.format != FORMAT:
        raise ModelError(f"format {file.format}; expected {FORMAT}")
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
