"""agent/risk/model.py: a score is the exact sum of its terms, and a file that leads nowhere is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.risk.model import FORMAT, MAX_TREES, Model, ModelError, ModelFile, Term, Tree, load_model

NAMES = ("rate:importer", "rate:origin", "log_mass", "tax_rate")
LEAF = Tree((-1,), (0.0,), (0,), (0,), (1_500,))


def pair_tree(root: int, below: tuple[int, int], points: tuple[int, int, int, int]) -> Tree:
    """A tree of depth two: the root's indicator, then one on each side."""
    return Tree(
        feature=(root, below[0], -1, -1, below[1], -1, -1),
        threshold=(0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
        left=(1, 2, 0, 0, 5, 0, 0),
        right=(4, 3, 0, 0, 6, 0, 0),
        points=(0, 0, points[0], points[1], 0, points[2], points[3]),
    )


TREES = st.builds(
    pair_tree,
    st.integers(0, 3),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(*[st.integers(-60_000, 60_000)] * 4),
)
VALUES = st.lists(st.floats(-3.0, 3.0), min_size=4, max_size=4)


def file_of(trees: tuple[Tree, ...], base: int = 0) -> ModelFile:
    return ModelFile(FORMAT, "pair-card", NAMES, base, trees, "00")


@given(st.lists(TREES, max_size=20).map(tuple), st.integers(-9_000, 9_000), VALUES)
def test_terms_add_up_exactly_and_look_at_two_indicators_at_most(
    trees: tuple[Tree, ...], base: int, values: list[float]
) -> None:
    model = load_model(msgspec.json.encode(file_of(trees, base)))
    prediction = model.predict(values)
    assert prediction.milli_points == model.milli_points(values) == sum(t.milli_points for t in prediction.terms)
    assert all(len(term.indicators) <= 2 for term in prediction.terms)
    assert [abs(t.milli_points) for t in prediction.terms] == sorted(
        (abs(t.milli_points) for t in prediction.terms), reverse=True
    )


def test_each_side_of_a_threshold_reaches_its_leaf() -> None:
    model = Model(file_of((pair_tree(2, (0, 1), (1, 20, 300, 4_000)),)), "x")
    reached = {
        model.milli_points([rate, origin, mass, 0.0])
        for mass in (0.0, 0.1)
        for rate in (-1.0, -0.9)
        for origin in (1.0, 1.1)
    }
    assert reached == {1, 20, 300, 4_000}
    assert model.milli_points([-1.0, 9.0, 0.0, 0.0]) == 1, "a value on the threshold goes left"


def test_terms_of_hit_rates_alone_are_inductive() -> None:
    assert Term(("rate:importer", "rate:origin"), 1).inductive
    assert not Term(("rate:importer", "log_mass"), 1).inductive
    assert not Term((), 1).inductive


def test_values_by_name_are_put_in_order_and_a_missing_one_is_named() -> None:
    model = Model(file_of(()), "x")
    assert model.arranged({"tax_rate": 4.0, "log_mass": 3.0, "rate:origin": 2.0, "rate:importer": 1.0}) == [1, 2, 3, 4]
    with pytest.raises(ModelError, match="missing: log_mass, tax_rate"):
        model.arranged({"rate:origin": 2.0, "rate:importer": 1.0})


def test_the_version_changes_with_the_file() -> None:
    one, other = (load_model(msgspec.json.encode(file_of((LEAF,), base))) for base in (0, 1))
    assert one.version.startswith("pair-card+") and one.version != other.version


def replaced(**changes: object) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(file_of((LEAF,)), **changes))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a model file"),
        (b"{}", "not a model file"),
        (replaced(format=2), "format 2; expected 1"),
        (replaced(trees=(LEAF,) * (MAX_TREES + 1)), "at most 2000"),
        (replaced(trees=(Tree((), (), (), (), ()),)), r"trees\[0\]: expected 1 to"),
        (replaced(trees=(Tree((-1,), (), (0,), (0,), (1,)),)), r"trees\[0\]: expected 1 to"),
        (replaced(trees=(LEAF, Tree((4,), (0.0,), (0,), (0,), (1,)))), r"trees\[1\]: node 0: no indicator 4"),
        (replaced(trees=(Tree((0,), (0.0,), (0,), (0,), (1,)),)), "leads to 0 and 0; expected later nodes"),
        (replaced(trees=(Tree((0, -1), (0.0, 0.0), (1, 0), (2, 0), (0, 1)),)), "leads to 1 and 2"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load_model(data)
