"""simulator/customs/rule_lint.py: what is wrong with rules that can be read, and what would mend it."""

from __future__ import annotations

import shutil
from importlib.resources import as_file
from pathlib import Path

import numpy as np
import pytest

from agent.risk.rule_index import NUMBER_FIELDS, Question
from simulator.customs.rule_build import compiled
from simulator.customs.rule_lint import Finding, lint
from simulator.customs.rule_source import read_source, shipped_rules

TODAY = 20_779
"""2026-11-22."""
RULE = """[[rule]]
id = "{id}"
owner = "cell-demo"
valid_from = 2026-01-01
valid_to = {to}
match = {match}
{more}
points = {points}
text = "long-stop"
"""


def rule(id_: str, match: str = '{ hs4 = "6403" }', *, points: int = 5, to: str = "2027-06-30", more: str = "") -> str:
    return RULE.format(id=id_, match=match, points=points, to=to, more=more)


def findings(tmp_path: Path, *rules: str, sample: list[Question] | None = None) -> list[Finding]:
    with as_file(shipped_rules()) as shipped:
        shutil.copytree(shipped, tmp_path / "book")
    (tmp_path / "book" / "rules" / "more.toml").write_text("\n".join(rules), "utf-8")
    source = read_source(tmp_path / "book")
    return lint(source, compiled(source, 0), TODAY, sample or [])


def question(number: int) -> Question:
    item = {"hs4": "6403", "origin": ("CN", "IT")[number % 2], "hs6": f"6403{number % 10}0"}
    return Question({"consignee": "muster"}, [item], np.full((2, len(NUMBER_FIELDS)), np.nan), TODAY, "IN")


def test_the_shipped_book_is_clean(tmp_path: Path) -> None:
    assert findings(tmp_path, rule("R-1")) == []


@pytest.mark.parametrize(
    ("rules", "kind", "text"),
    [
        ([rule("R-1", to="2026-06-30")], "expired", "expired 145 days ago"),
        ([rule("R-1", to="2149-01-01")], "validity", "at most 40000"),
        ([rule("R-1", points=41)], "points", "41 points without a floor: at most 40"),
        ([rule("R-1", '{ hs4 = "6403", hs6 = "240220" }')], "dead", "no goods are of 6403 and of 240220"),
        ([rule("R-1"), rule("R-2")], "duplicate", "the same as R-1"),
        ([rule("R-1"), rule("R-2", points=-5)], "contradiction", "R-1, but says something else"),
        ([rule("R-1"), rule("R-2", more='floor = "red"')], "contradiction", "give them one answer or a bound"),
    ],
)
def test_each_kind_names_the_rule(tmp_path: Path, rules: list[str], kind: str, text: str) -> None:
    if kind == "dead":
        with as_file(shipped_rules()) as shipped:
            book = (shipped / "book.toml").read_text("utf-8")
        shutil.copytree(shipped, tmp_path / "book")
        (tmp_path / "book" / "book.toml").write_text(book + '\n[index]\ntemplates = [["hs4", "hs6"], ["hs4", "origin"],'
            ' ["hs6", "origin"], ["hs2"], ["hs4"], ["indicator"]]\n', "utf-8")  # fmt: skip
        (tmp_path / "book" / "rules" / "more.toml").write_text("\n".join(rules), "utf-8")
        source = read_source(tmp_path / "book")
        found = lint(source, compiled(source, 0), TODAY)
    else:
        found = findings(tmp_path, *rules)
    (one,) = found
    assert (one.kind, one.rule) == (kind, f"R-{len(rules)}")
    assert text in one.text


def test_rules_that_differ_in_anything_they_ask_for_stand_beside_each_other(tmp_path: Path) -> None:
    bounded = 'where = [{ field = "net_mass_kg", above = 5.0 }]'
    kept = [rule("R-1"), rule("R-2", more='direction = "IN"'), rule("R-3", more='when = "hour > 22"')]
    kept += [rule("R-4", more=bounded), rule("R-5", '{ hs4 = "6404" }')]
    assert findings(tmp_path, *kept) == []


def test_too_many_on_one_key_names_the_field_that_splits_them_best(tmp_path: Path) -> None:
    where = 'where = [{{ field = "net_mass_kg", above = {0}.0 }}]'
    many = [rule(f"R-{number:03d}", more=where.format(number)) for number in range(65)]
    (one,) = findings(tmp_path, *many, sample=[question(number) for number in range(40)])
    assert (one.kind, one.rule) == ("fan-out", "R-000")
    assert one.text == (
        "65 rules share one key of hs4: at most 64; hs6 splits it best: "
        "no value of it is met by more than 10% of the sample's declarations"
    )


def test_a_rule_that_would_hit_half_of_all_traffic_is_named(tmp_path: Path) -> None:
    broad = rule("R-1", '{ hs4 = "6403", origin = "IT" }')
    (one,) = findings(tmp_path, broad, sample=[question(number) for number in range(200)])
    assert (one.kind, one.rule) == ("broad", "R-1")
    assert one.text == "would hit 50.0% of the sample's 200 declarations: at most 1%"


def test_very_many_findings_are_counted(tmp_path: Path) -> None:
    many = [rule(f"R-{number:03d}", points=41, more=f'when = "hour > {number}"') for number in range(25)]
    found = findings(tmp_path, *many)
    assert len(found) == 21
    assert found[-1] == Finding("points", "", "5 more of this kind")
