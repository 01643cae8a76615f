"""simulator/customs/rule_cases.py and `rules build | lint | test | explain`: books tried before they go live."""

from __future__ import annotations

import json
import shutil
from importlib.resources import as_file
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from simulator.customs.rule_commands import app
from simulator.customs.rule_source import shipped_rules

GOODS = {
    "procedure": "EXPORT", "direction": "OUT", "mrn": "M",
    "goodsItems": [{"goodsItemNumber": 1, "commodityCode": "93020000", "netMass": 10.0}],
}  # fmt: skip
CASE = """[[case]]
name = "arms"
direction = "OUT"
at = 2026-11-22T10:00:00Z
channel = "{channel}"
fires = ["{fires}"]
silent = ["{silent}"]
[case.declaration]
procedure = "EXPORT"
direction = "OUT"
[[case.declaration.goodsItems]]
goodsItemNumber = 1
commodityCode = "93020000"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with as_file(shipped_rules()) as shipped:
        shutil.copytree(shipped, tmp_path / "book")
    (tmp_path / "book" / "tests").mkdir()
    write_case(tmp_path / "book")
    return tmp_path / "book"


def write_case(folder: Path, channel: str = "red", fires: str = "DEMO-0005", silent: str = "DEMO-0001") -> None:
    text = CASE.format(channel=channel, fires=fires, silent=silent)
    (folder / "tests" / "arms.toml").write_text(text, "utf-8")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def test_cases_that_hold(folder: Path) -> None:
    done = run("test", folder)
    assert (done.exit_code, done.output) == (0, "1 cases, 0 failures\n")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"channel": "green"}, "arms: red with 38 points (DEMO-0005 +38): expected green"),
        ({"fires": "DEMO-0002"}, "arms: DEMO-0002 did not fire"),
        ({"silent": "DEMO-0005"}, "arms: DEMO-0005 fired"),
    ],
)
def test_a_case_that_fails_says_how(folder: Path, change: dict[str, str], text: str) -> None:
    write_case(folder, **change)
    done = run("test", folder)
    assert done.exit_code == 1
    assert text in done.output


def test_a_case_that_cannot_be_read_names_its_file(folder: Path) -> None:
    write_case(folder, channel="purple")
    done = run("test", folder)
    assert done.exit_code == 1
    assert "arms.toml" in done.output and "purple" in done.output


def replayed(tmp_path: Path) -> Path:
    path = tmp_path / "declarations.jsonl"
    lines = [{"declaration": GOODS, "found": number == 0} for number in range(2)]
    harmless = GOODS | {"goodsItems": [{"goodsItemNumber": 1, "commodityCode": "84137000"}]}
    path.write_bytes(b"\n".join(msgspec.json.encode(one) for one in [*lines, harmless, harmless]))
    return path


def test_two_books_over_the_same_declarations(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    rules = tmp_path / "other" / "rules" / "profiles.toml"
    rules.write_text(rules.read_text("utf-8").replace('hs2 = "93"', 'hs2 = "94"'), "utf-8")
    assert run("build", tmp_path / "other", "-o", tmp_path / "compiled").exit_code == 0
    done = run("test", folder, "--against", tmp_path / "compiled", "--replay", replayed(tmp_path), "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.output)["replay"]
    assert (facts["book"]["selected"], facts["book"]["controlRate"], facts["book"]["hitRate"]) == (2, 0.5, 0.5)
    assert (facts["against"]["selected"], facts["against"]["hitRate"]) == (0, None)
    text = run("test", folder, "--replay", replayed(tmp_path)).output
    assert "selects 2 of 4 declarations (50.00%); finds in 50.0% of those" in text


def test_a_replay_that_cannot_be_read_names_the_line(folder: Path, tmp_path: Path) -> None:
    path = replayed(tmp_path)
    path.write_bytes(path.read_bytes() + b'\n{"declaration": 5}\n')
    done = run("test", folder, "--replay", path)
    assert done.exit_code == 1
    assert "declarations.jsonl:5:" in done.output


@pytest.mark.parametrize("form", ["sources", "compiled"])
def test_explain_says_which_rules_fit_a_declaration(folder: Path, tmp_path: Path, form: str) -> None:
    book = folder
    if form == "compiled":
        book = tmp_path / "compiled"
        assert run("build", folder, "-o", book).exit_code == 0
    path = tmp_path / "declaration.json"
    path.write_bytes(msgspec.json.encode(GOODS))
    done = run("explain", book, path)
    assert done.exit_code == 0, done.output
    assert "red, 38 points" in done.output
    assert "RULE DEMO-0005: Arms or ammunition on export" in done.output
    wrapped = {"declaration": GOODS, "vehicle": {"identificationNumber": "ZH 999001", "nationality": "CH"}}
    path.write_bytes(msgspec.json.encode(wrapped))
    card = json.loads(run("explain", book, path, "--json").output)
    assert card["selectionKind"] == "WATCHLIST" and card["score"] == 78


def test_wrong_use_is_named(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "declaration.json"
    path.write_bytes(msgspec.json.encode({"declaration": GOODS, "vehikel": {}}))
    done = run("explain", folder, path)
    assert done.exit_code == 2 and 'vehikel: unknown key, did you mean "vehicle"?' in done.output
    assert run("explain", folder).exit_code == 2
    assert "not empty" in run("generate", "-o", folder).output


def test_build_tells_what_it_made_and_refuses_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    facts = json.loads(run("build", folder, "-o", tmp_path / "out", "--json").output)
    assert facts["kind"] == "full" and facts["counts"]["rules"] == 10
    assert (tmp_path / "out.pub.pem").exists() and oct((tmp_path / "out.key.pem").stat().st_mode)[-3:] == "600"
    local = json.loads(run("build", folder, "-o", tmp_path / "device", "--local", "--json").output)
    assert local["kind"] == "local"
    rules = folder / "rules" / "profiles.toml"
    rules.write_text(rules.read_text("utf-8").replace("points = 34", "point = 34", 1), "utf-8")
    done = run("build", folder, "-o", tmp_path / "out")
    assert done.exit_code == 1 and 'did you mean "points"?' in done.output


def test_lint_by_command(folder: Path, tmp_path: Path) -> None:
    assert run("lint", folder).output == "nothing found\n"
    done = run("lint", folder, "--sample", replayed(tmp_path), "--json")
    assert done.exit_code == 1
    (one,) = json.loads(done.output)["findings"]
    assert (one["kind"], one["rule"]) == ("broad", "DEMO-0005")
    assert run("lint", folder, "--usage", tmp_path).exit_code == 2
