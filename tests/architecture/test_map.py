"""ARCHITECTURE.md names every module, and marks as pure (◦) exactly those that the import contract holds to it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("agent", "firmware_bridge", "simulator", "zones")
NAMED = re.compile(r"`([a-z_0-9]+/?)`( ◦)?")


def mapped(text: str) -> dict[str, bool]:
    """Modules in the tables under `### package`, and whether each is marked.

    A row's first cell holds modules, or one folder whose modules are in the second; a mark on the folder marks all.
    """
    found: dict[str, bool] = {}
    package = ""
    for line in text.splitlines():
        if line.startswith("#"):
            package = line.split()[1] if line.startswith("### ") else ""
        if package not in PACKAGES or not line.startswith("| `"):
            continue
        first, second = line.strip("| ").split(" | ", 1)
        folder = NAMED.match(first)
        assert folder is not None, line
        if folder[1].endswith("/"):
            prefix, cell, whole = f"{package}.{folder[1][:-1]}.", second, bool(folder[2])
        else:
            prefix, cell, whole = f"{package}.", first, False
        found |= {prefix + name: whole or bool(mark) for name, mark in NAMED.findall(cell) if not name.endswith("/")}
    return found


def real() -> set[str]:
    """Every module that there is."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py") if file.name != "__init__.py"]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}


def _pure(modules: set[str]) -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (entries,) = [one["source_modules"] for one in contracts if one["type"] == "forbidden"]
    return {name for name in modules if any(name == entry or name.startswith(entry + ".") for entry in entries)}


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text("utf-8")


def test_every_module_is_on_the_map(text: str) -> None:
    assert mapped(text).keys() == real()


def test_what_is_marked_pure_is_held_to_it(text: str) -> None:
    assert {name for name, mark in mapped(text).items() if mark} == _pure(real())


def test_files_that_the_text_names_are_there(text: str) -> None:
    paths = set(re.findall(r"`([a-z_]+/[a-z_/]+\.(?:py|sql|yaml))`", text))
    assert paths
    roots = [ROOT, *(ROOT / package for package in PACKAGES)]
    assert [path for path in sorted(paths) if not any((root / path).exists() for root in roots)] == []


def test_tables_of_the_store_are_named(text: str) -> None:
    schema = (ROOT / "agent" / "journal" / "schema.sql").read_text("utf-8")
    tables = re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", schema)
    assert len(tables) > 8
    section = text.partition("## What is on disk")[2].partition("\n## ")[0]
    assert [table for table in tables if f"`{table}`" not in section] == []
