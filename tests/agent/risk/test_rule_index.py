"""agent/risk/rule_index.py: the index finds what a naive scan of all rules finds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.risk.rule_index import (
    ITEM_FIELDS,
    LATE,
    LATE_FIELDS,
    MAX_BOUNDS,
    NO_FIELD,
    NUMBER_FIELDS,
    ONLY_IN,
    ONLY_OUT,
    ROW,
    Question,
    RuleIndex,
    Values,
    key_hash,
    ordered,
)

SALT = b"salt of the book"
FIELDS = ("hs4", "origin", "document", "consignor", "office", "indicator")
WORDS = ("a", "b", "ab")


@dataclass(frozen=True)
class Asked:
    """A rule as the test knows it."""

    match: tuple[tuple[str, str], ...]
    bounds: tuple[tuple[int, float, float], ...]
    flags: int
    days: tuple[int, int]


def index_of(rules: list[Asked]) -> tuple[RuleIndex, list[Asked]]:
    """The index, and the rules in the order of its rows."""
    templates = sorted({ordered([name for name, _ in rule.match]) for rule in rules})
    keyed = []
    for rule in rules:
        fields = ordered([name for name, _ in rule.match])
        values = dict(rule.match)
        keyed.append((key_hash(SALT, templates.index(fields), [values[name] for name in fields]), rule))
    keyed.sort(key=lambda one: one[0])
    keys = np.array([key for key, _ in keyed], np.uint64)
    return RuleIndex(templates, keys, np.array([row(rule) for _, rule in keyed], ROW), SALT), [r for _, r in keyed]


def row(rule: Asked) -> tuple[object, ...]:
    spare = [(NO_FIELD, 0.0, 0.0)] * (MAX_BOUNDS - len(rule.bounds))
    field, low, high = zip(*rule.bounds, *spare, strict=True) if rule.bounds or spare else ((), (), ())
    return (1, rule.flags, field, *rule.days, low, high)


def holds(rule: Asked, question: Question) -> bool:
    """The same asked of one rule, item by item."""
    other = ONLY_OUT if question.direction == "IN" else ONLY_IN
    if rule.flags & other or not rule.days[0] <= question.day <= rule.days[1]:
        return False
    return any(
        all(met(name, wanted, question, item) for name, wanted in rule.match)
        and all(low < question.numbers[item][number] < high for number, low, high in rule.bounds)
        for item in range(len(question.items) + 1)
    )


def met(name: str, wanted: str, question: Question, item: int) -> bool:
    if name in ITEM_FIELDS and item == 0:
        return False
    value = (question.items[item - 1] if name in ITEM_FIELDS else question.header).get(name)
    return value is not None and (value == wanted if isinstance(value, str) else wanted in value)


def values(fields: tuple[str, ...]) -> st.SearchStrategy[Values]:
    one = st.sampled_from(WORDS)
    several = st.lists(one, unique=True, max_size=3)
    return st.fixed_dictionaries(
        {}, optional={name: several if name in ("document", "indicator") else one for name in fields}
    )


BOUND = st.tuples(
    st.integers(0, len(NUMBER_FIELDS) - 1), st.sampled_from([-math.inf, 0.0, 2.0]), st.sampled_from([3.0, math.inf])
)
RULES = st.builds(
    Asked,
    match=st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(WORDS), min_size=1, max_size=3).map(
        lambda match: tuple(match.items())
    ),
    bounds=st.lists(BOUND, max_size=MAX_BOUNDS).map(tuple),
    flags=st.sampled_from([0, ONLY_IN, ONLY_OUT]),
    days=st.sampled_from([(0, 65_535), (100, 200), (150, 150), (200, 100)]),
)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    items = draw(st.lists(values(("hs4", "origin", "document")), max_size=4))
    number = st.sampled_from([math.nan, -1.0, 1.0, 2.5, 3.0, 10.0])
    shape = (len(items) + 1, len(NUMBER_FIELDS))
    numbers = np.array(draw(st.lists(number, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])))
    return Question(
        draw(values(("consignor", "office", "indicator"))), items, numbers.reshape(shape),
        draw(st.sampled_from([99, 100, 150, 201])), draw(st.sampled_from(["IN", "OUT"])),
    )  # fmt: skip


@given(st.lists(RULES, max_size=40), questions())
def test_the_index_finds_what_a_naive_scan_finds(rules: list[Asked], question: Question) -> None:
    index, in_order = index_of(rules)
    assert index.fitting(question) == [at for at, rule in enumerate(in_order) if holds(rule, question)]


@pytest.mark.nightly
@settings(max_examples=10_000, deadline=None)
@given(st.lists(RULES, max_size=40), questions())
def test_the_index_finds_what_a_naive_scan_finds_at_length(rules: list[Asked], question: Question) -> None:
    index, in_order = index_of(rules)
    assert index.fitting(question) == [at for at, rule in enumerate(in_order) if holds(rule, question)]


@given(st.lists(RULES, max_size=40), questions())
def test_a_warmed_index_answers_as_the_mapped_one(rules: list[Asked], question: Question) -> None:
    index, _ = index_of(rules)
    *waits, warmed = index.warming()
    assert warmed is not None and not any(waits)
    assert warmed.fitting(question) == index.fitting(question)


@given(st.lists(RULES, max_size=30), questions())
def test_late_rules_and_the_others_together_are_all(rules: list[Asked], question: Question) -> None:
    marked = [
        replace(rule, flags=rule.flags | (LATE if LATE_FIELDS & {name for name, _ in rule.match} else 0))
        for rule in rules
    ]
    index, in_order = index_of(marked)
    late, early = index.fitting(question, late=True), index.fitting(question, late=False)
    assert sorted(late + early) == index.fitting(question)
    assert all(in_order[at].flags & LATE for at in late) and not any(in_order[at].flags & LATE for at in early)


def test_values_cannot_run_together() -> None:
    rules = [Asked((("hs4", one), ("origin", other)), (), 0, (0, 65_535)) for one, other in product(WORDS, WORDS)]
    index, in_order = index_of(rules)
    question = Question({}, [{"hs4": "a", "origin": "b"}], np.zeros((2, len(NUMBER_FIELDS))), 1, "IN")
    assert [dict(in_order[at].match) for at in index.fitting(question)] == [{"hs4": "a", "origin": "b"}]


def test_another_salt_is_another_book() -> None:
    assert key_hash(b"one", 0, ["a"]) != key_hash(b"two", 0, ["a"])
    assert key_hash(b"one", 0, ["a"]) != key_hash(b"one", 1, ["a"])


@pytest.mark.parametrize("fields", [(), ("colour",), ("hs4", "consignor"), ("origin", "hs4")])
def test_a_template_that_cannot_be_asked_is_refused(fields: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="template"):
        RuleIndex([fields], np.array([], np.uint64), np.array([], ROW), SALT)


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 keys, 0 rows"):
        RuleIndex([], np.array([1], np.uint64), np.array([], ROW), SALT)
