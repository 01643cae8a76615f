"""`borderlane rules eval`: learned from one file, scored on a later one, beside choice at random."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.customs.rule_commands import app
from tests.simulator.customs.labelled_lines import made_lines, written


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("lines")
    past = written(folder / "past.csv.gz", made_lines(2_000, 1), packed=True)
    later = written(folder / "later.csv", made_lines(500, 2, first_day=60))
    return str(past), str(later)


@pytest.mark.parametrize("model", ["default", "boosted"])
def test_the_figures_as_one_document(files: tuple[str, str], model: str) -> None:
    result = CliRunner().invoke(app, ["eval", "--train", files[0], "--test", files[1], "--model", model, "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert set(figures["precision"]) == set(figures["random"]["precision"]) == {"2", "5", "10"}
    assert figures["auc"] > figures["random"]["auc"] + 0.1
    assert figures["lines"] == {"train": 2_000, "test": 500}


def test_the_figures_for_people(files: tuple[str, str]) -> None:
    result = CliRunner().invoke(app, ["eval", "--train", files[0], "--test", files[1]])
    assert result.exit_code == 0 and "precision, top 2 %" in result.stdout and "finds, learning" in result.stdout


def test_wrong_usage_says_what_was_expected(files: tuple[str, str], tmp_path: Path) -> None:
    wrong = CliRunner().invoke(app, ["eval", "--train", files[0], "--test", files[1], "--model", "deep"])
    assert wrong.exit_code == 2 and "expected default or boosted" in wrong.stderr
    absent = CliRunner().invoke(app, ["eval", "--train", str(tmp_path / "absent.csv"), "--test", files[1]])
    assert absent.exit_code == 2 and "absent.csv: cannot be read" in absent.stderr
