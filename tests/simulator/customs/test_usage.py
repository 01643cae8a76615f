"""simulator/customs/usage.py: hits and finds beside the lot, what is changing, and nothing else on the page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.customs.feedback import Count, Counters
from simulator.customs.usage import ENOUGH_HITS, page, rows, table, usage


def counters(up_to: int, **counts: tuple[int, int]) -> Counters:
    known = {("rule", name): Count(*one) for name, one in counts.items() if name not in ("all", "random")}
    known |= {("", name): Count(*one) for name, one in counts.items() if name in ("all", "random")}
    return Counters(known, known.get(("", "all"), Count()), up_to)


NOW = counters(2_000, all=(2_000, 400), random=(100, 20), GOOD=(200, 120), BAD=(200, 8), NEW=(5, 0), TURNED=(400, 120))
EARLIER = counters(1_000, all=(1_000, 200), random=(50, 10), GOOD=(100, 60), BAD=(100, 4), TURNED=(200, 110))


def test_rules_stand_by_hits_beside_the_lot() -> None:
    found = usage(NOW, EARLIER)
    assert [one.id for one in found.rules] == ["TURNED", "GOOD", "BAD", "NEW"]
    assert (found.random.hits, found.random.rate, found.results) == (100, 0.2, 2_000)
    by_id = {one.id: one for one in found.rules}
    assert (by_id["GOOD"].recent_hits, by_id["GOOD"].recent_finds, by_id["GOOD"].recent_rate) == (100, 60, 0.6)
    assert [one.id for one in found.rules if one.below_random] == ["BAD"], "too few hits say nothing of NEW"
    assert [one.id for one in found.rules if one.drift] == ["TURNED"]


def test_without_enough_drawn_by_lot_no_rule_is_called_worse() -> None:
    few = counters(50, random=(ENOUGH_HITS - 1, 20), BAD=(400, 0))
    assert not any(one.below_random for one in usage(few, Counters({}, Count())).rules)


def test_table_and_page_say_the_same() -> None:
    found = usage(NOW, EARLIER)
    text, html = table(found), page(found, "td{}")
    for row in rows(found):
        for cell in row:
            assert cell in text and cell in html
    assert "<script" not in html


def test_an_id_cannot_write_into_the_page() -> None:
    hostile = counters(1, **{"<script>alert(1)</script>": (1, 1)})
    assert "<script>alert" not in page(usage(hostile, Counters({}, Count())), "")


COUNTS = st.dictionaries(
    st.sampled_from(["all", "random", "A", "B"]),
    st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)).map(lambda one: (one[0] + one[1], one[1])),
)


@given(COUNTS)
def test_any_counts_have_a_table(counts: dict[str, tuple[int, int]]) -> None:
    found = usage(counters(9, **counts), Counters({}, Count()))
    assert all(one.rate is None or 0.0 <= one.rate <= 1.0 for one in (found.all, found.random, *found.rules))
    assert table(found).count("\n") == 2 + len(found.rules)
