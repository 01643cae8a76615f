"""simulator/customs/models.py: what is shipped fits together, other files are refused, parties get other numbers."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from agent.errors import ConfigError
from simulator.customs.feedback import NO_COUNTERS
from simulator.customs.indicators import LearnedRates
from simulator.customs.models import (
    COUNTS,
    SHIPPED,
    load_learned,
    packed,
    renamed,
    shipped,
    shipped_declarations,
    shipped_folder,
)
from simulator.customs.training import quality
from simulator.papers import MAX_LORRY_KG, GoodsDeclaration, declared
from tests.simulator.customs.labelled_lines import made_lines, written


@pytest.mark.parametrize(("kind", "precision"), [("default", 0.9), ("boosted", 0.9)])
def test_shipped_models_find_what_lorries_hide(kind: str, precision: float) -> None:
    """Every other shipped declaration: about 80 lines in the top 2 %, so the bound is wide."""
    learned = shipped(kind)
    rates = LearnedRates(learned.prior, NO_COUNTERS, learned.model.chf_of_price)
    lines = shipped_declarations()[::2]
    empty = GoodsDeclaration(procedure="IMPORT", direction="IN")
    rows = np.concatenate([rates.rows(declared(line, empty), {"CHF": 1.0}) for line in lines])
    scores = learned.model.milli_points_of(rows).astype(np.float64)
    assert quality(scores, np.array([line.found for line in lines])).precision["2"] >= precision
    assert all(line.mass_kg <= MAX_LORRY_KG for line in lines)


def test_the_version_names_model_and_counts(tmp_path: Path) -> None:
    for name in (SHIPPED["default"], COUNTS):
        (tmp_path / name).write_bytes(shipped_folder().joinpath(name).read_bytes())
    same = load_learned(tmp_path, SHIPPED["default"])
    assert same.model.version == shipped("default").model.version
    counts = gzip.decompress((tmp_path / COUNTS).read_bytes())
    (tmp_path / COUNTS).write_bytes(packed(counts + b" "))
    assert load_learned(tmp_path, SHIPPED["default"]).model.version != same.model.version


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (COUNTS, b"", "truncated"),
        (COUNTS, packed(b"{}"), "missing required field"),
        (COUNTS, packed(b'{"trainingHash":"x","seen":1,"found":0,"keys":{}}'), "train both together"),
        (SHIPPED["default"], packed(b"[]"), "not a model file"),
        (SHIPPED["default"], b"no gzip", "cannot be read"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    for one in (SHIPPED["default"], COUNTS):
        (tmp_path / one).write_bytes(shipped_folder().joinpath(one).read_bytes())
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        load_learned(tmp_path, SHIPPED["default"])


def test_parties_get_other_numbers_and_stay_the_same_parties(tmp_path: Path) -> None:
    before = made_lines(40, 1)
    after = list(csv.DictReader(io.StringIO(gzip.decompress(renamed(written(tmp_path / "a.csv", before))).decode())))
    names = {row["Importer ID"]: other["Importer ID"] for row, other in zip(before, after, strict=True)}
    assert len(set(names.values())) == len(names)
    assert not set(names) & set(names.values())
    assert [row["Item Price"] for row in before] == [row["Item Price"] for row in after]
    with pytest.raises(ConfigError, match="cannot be read"):
        renamed(tmp_path / "missing.csv")
