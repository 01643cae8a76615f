"""simulator/customs/rule_csv.py: rules in bulk are what the same rules by hand are, and each fault names its line."""

from __future__ import annotations

import csv
import datetime
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.risk.rule_index import NUMBER_FIELDS, ordered
from simulator.customs.book import Range, Rule
from simulator.customs.rule_build import hand_rules
from simulator.customs.rule_csv import Faults, read_rules_csv
from simulator.customs.rule_rows import LooseRules, Words
from simulator.customs.rule_source import DEFAULT_TEMPLATES, OPEN_SALT

TEXTS = {"low": 0, "watched": 1}
MATCH = ("hs4", "origin", "consignee", "office", "indicator")
FIELDS = ("id", "owner", "valid_from", "valid_to", "direction", "points", "floor", "deny", "text", "when")
HEADER = [*FIELDS, *(f"match.{one}" for one in MATCH),
          *(f"where.{one}.{end}" for one in NUMBER_FIELDS for end in ("above", "below"))]  # fmt: skip
DAYS = st.dates(datetime.date(1990, 1, 1), datetime.date(2100, 1, 1))
BOUNDS = st.lists(
    st.tuples(st.sampled_from(NUMBER_FIELDS), st.none() | st.floats(-9, 0), st.none() | st.floats(1, 9)),
    max_size=3, unique_by=lambda one: one[0],
)  # fmt: skip
TEMPLATES = st.sampled_from([("hs4",), ("hs4", "origin"), ("consignee", "hs4"), ("indicator",), ("hs4", "consignee")])
VALUES = {"hs4": "2402", "origin": "ua", "consignee": "Müller & Söhne AG", "office": "CH002471", "indicator": "DETOUR"}


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    first, last = sorted((draw(DAYS), draw(DAYS)))
    where = [Range(*one) for one in draw(BOUNDS) if one[1] is not None or one[2] is not None]
    return Rule(
        id=draw(st.from_regex(r"[A-Z]{1,4}-[0-9]{1,4}", fullmatch=True)), owner=draw(st.sampled_from(["a", "b"])),
        valid_from=first, valid_to=last, direction=draw(st.sampled_from([None, "IN", "OUT"])),
        match={name: VALUES[name] for name in draw(TEMPLATES)}, where=tuple(where),
        points=draw(st.integers(-50, 50)), floor=draw(st.sampled_from([None, "yellow", "red"])),
        deny=draw(st.booleans()), text=draw(st.sampled_from(sorted(TEXTS))),
        when=draw(st.sampled_from([None, "declaration.parts > 1", "hour > 22"])),
    )  # fmt: skip


def as_csv(listed: list[Rule]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(HEADER)
    for rule in listed:
        bounds = {one.field: {"above": one.above, "below": one.below} for one in rule.where}
        writer.writerow(
            [rule.id, rule.owner, rule.valid_from, rule.valid_to, rule.direction or "", rule.points, rule.floor or "",
             "true" if rule.deny else "", rule.text, rule.when or "", *(rule.match.get(one, "") for one in MATCH),
             *(bounds.get(one, {}).get(end) for one in NUMBER_FIELDS for end in ("above", "below"))]
        )  # fmt: skip
    return out.getvalue().encode()


def templates() -> tuple[tuple[str, ...], ...]:
    return tuple(ordered(one) for one in DEFAULT_TEMPLATES)


def seen(found: LooseRules) -> list[tuple[object, ...]]:
    """Rows with bounds in any order, for files name fields in theirs."""
    return [
        (id_, key, one["points"], one["flags"], one["from_day"], one["to_day"], about.tolist(),
         sorted(zip(one["field"].tolist(), one["low"].tolist(), one["high"].tolist(), strict=True)))
        for id_, key, one, about in zip(found.ids, found.keys.tolist(), found.rows, found.about, strict=True)
    ]  # fmt: skip


@given(st.lists(rules(), max_size=6))
def test_bulk_says_what_the_same_rules_say_by_hand(listed: list[Rule]) -> None:
    words, faults = Words(TEXTS), Faults("bulk.csv")
    bulk = read_rules_csv(as_csv(listed), faults, words, templates(), OPEN_SALT)
    assert faults.listed() == []
    by_hand = hand_rules(listed, words, templates(), OPEN_SALT)
    for one in (bulk, by_hand):  # a bound that is not there has no ends
        free = one.rows["field"] == 255
        one.rows["low"][free] = one.rows["high"][free] = 0.0
    assert seen(bulk) == seen(by_hand)


GOOD = "id,owner,valid_from,valid_to,points,text,match.hs4,where.net_mass_kg.above,when\n"
ROW = "R-1,cell,2026-01-01,2026-12-31,5,low,2402,,\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD.replace("owner", "ownr") + ROW, "bulk.csv:1: 'ownr': unknown column, did you mean \"owner\"?"),
        (GOOD.replace("match.hs4", "match.hs5") + ROW, "did you mean"),
        (GOOD.replace("points,", "") + ROW, "bulk.csv:1: points: column missing"),
        (GOOD.replace("text,", "text,text,") + ROW, "text: column there twice"),
        (GOOD + ROW + ROW[:-2] + "\n", "bulk.csv:3: 8 cells: expected 9"),
        (GOOD + ROW + ROW.replace("cell", " "), "bulk.csv:3: owner: expected who answers for it"),
        (GOOD + ROW.replace("2026-12-31", "2025-12-31"), "bulk.csv:2: valid_to lies before valid_from"),
        (GOOD + ROW.replace("2026-12-31", "31.12.2026"), "bulk.csv:2: valid_to:"),
        (GOOD + ROW.replace(",5,", ",five,"), "bulk.csv:2: points: invalid literal"),
        (GOOD + ROW.replace(",5,", ",1001,"), "expected -1000 to 1000"),
        (GOOD + ROW.replace("low", "lo"), "text: 'lo': did you mean \"low\"?"),
        (GOOD + ROW.replace("2402", "24AB"), "match.hs4: '24AB': expected 4 digits"),
        (GOOD + ROW.replace("2402", ""), "bulk.csv:2: match: expected 1 to 3 fields"),
        (GOOD + ROW.replace("2402,,", "2402,inf,"), "where.net_mass_kg.above: 'inf': expected a number"),
        (GOOD + ROW.replace("2402,,", "2402,,1 +"), "bulk.csv:2: when: '1 +': not CEL"),
        (GOOD + ROW.replace("R-1", ""), "bulk.csv:2: id: expected 1 to 64 characters"),
        (GOOD + 'R-1,"cell', "not CSV"),
    ],
)  # fmt: skip
def test_each_fault_names_its_line(text: str, fault: str) -> None:
    faults = Faults("bulk.csv")
    read_rules_csv(text.encode(), faults, Words(TEXTS), templates(), OPEN_SALT)
    assert any(fault in one for one in faults.listed()), faults.listed()


def test_a_template_that_the_book_lacks_names_the_nearest() -> None:
    faults = Faults("bulk.csv")
    text = GOOD.replace("match.hs4", "match.hs8") + ROW.replace("2402", "24022090")
    read_rules_csv(text.encode(), faults, Words(TEXTS), (("hs8", "origin"), ("plate",)), OPEN_SALT)
    assert faults.listed() == ["bulk.csv:2: match: hs8 is no template of book.toml; nearest: hs8+origin"]


def test_very_many_faults_are_counted_and_not_listed() -> None:
    faults = Faults("bulk.csv")
    read_rules_csv((GOOD + ROW.replace("low", "lo") * 50).encode(), faults, Words(TEXTS), templates(), OPEN_SALT)
    assert faults.listed()[-1] == "bulk.csv: 30 more faults"


def test_not_utf8_names_the_line() -> None:
    faults = Faults("bulk.csv")
    found = read_rules_csv(GOOD.encode() + b"\xff", faults, Words(TEXTS), templates(), OPEN_SALT)
    assert faults.listed()[0].startswith("bulk.csv:2: not UTF-8")
    assert (len(found), found.keys.dtype) == (0, np.dtype("u8"))
