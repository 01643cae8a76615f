"""simulator/customs/labelled.py: labelled lines are read whole, or refused with every fault by its line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from agent.errors import ConfigError
from simulator.customs.labelled import CATEGORY_COLUMNS, read_lines
from tests.simulator.customs.labelled_lines import HEADER, made_lines, written


@pytest.mark.parametrize("packed", [False, True])
def test_columns_come_out_as_they_stand(tmp_path: Path, packed: bool) -> None:
    rows = made_lines(3, 1)
    rows[0] |= {"HS6 Code": "80300", "Country of Origin": "CN", "Net Mass": "", "Date": "2020-03-01", "Fraud": "1"}
    rows[1] |= {"HS6 Code": "", "Importer ID": ""}
    lines = read_lines(written(tmp_path / "lines.csv", rows, packed))
    assert len(lines) == 3 and len(CATEGORY_COLUMNS) == 18
    assert lines.categories["hs6"][0] == "080300", "a leading zero lost in a spreadsheet is put back"
    assert (lines.categories["hs4"][0], lines.categories["hs2"][0]) == ("0803", "08")
    assert lines.categories["origin_hs4"][0] == "CN 0803"
    assert lines.categories["origin_hs4"][1] == lines.categories["importer"][1] == ""
    assert math.isnan(lines.numbers["mass"][0]) and lines.numbers["tax_rate"].tolist() == [8.0] * 3
    assert lines.found[0] and lines.days[0] == 18_322


def test_every_fault_is_named_by_its_line(tmp_path: Path) -> None:
    rows = made_lines(4, 1)
    rows[0]["Date"] = "yesterday"
    rows[1]["Net Mass"] = "-4"
    rows[2]["Fraud"] = "maybe"
    rows[3]["Item Price"] = "nan"
    with pytest.raises(ConfigError) as refused:
        read_lines(written(tmp_path / "lines.csv", rows))
    said = str(refused.value)
    for line, what in ((2, "Date"), (3, "Net Mass"), (4, "Fraud"), (5, "Item Price")):
        assert f"line {line}: {what}: expected" in said


def test_faults_beyond_the_bound_are_counted(tmp_path: Path) -> None:
    rows = [row | {"Fraud": "x"} for row in made_lines(50, 1)]
    with pytest.raises(ConfigError, match="and 30 more"):
        read_lines(written(tmp_path / "lines.csv", rows))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not CSV"),
        (b"Date,Fraud\n2020-01-01,1\n", "line 1: columns missing: Country of Departure"),
        (",".join(HEADER).encode() + b"\n", "no lines"),
        (",".join(HEADER).encode() + b"\n1,2\n", "line 2: 2 fields; expected 22"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"\x1f\x8bnot gzip", "cannot be read"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "lines.csv"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        read_lines(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.csv: cannot be read"):
        read_lines(tmp_path / "absent.csv")
