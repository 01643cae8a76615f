"""Modules that are called pure: no clock, file, randomness, output or `async` - also where no import shows it."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READS = {"now", "utcnow", "today", "time_ns", "monotonic", "perf_counter", "urandom", "uuid1", "uuid4", "getenv"}
WRITES = {"open", "print", "input", "read_text", "write_text", "read_bytes", "write_bytes", "mkdir", "unlink"}
MODULES = {"os", "sys", "secrets", "uuid", "logging", "tempfile", "shutil", "pathlib"}
"""Besides those that the import contract forbids."""
ALLOWED = {
    ("agent.config", "pathlib"): "read_text and load_config are the door through which the file comes in",
    ("agent.config", "read_text"): "the same",
    ("agent.journal.verify", "sys"): "its `main` makes the one file a program that needs nothing else of ours",
    ("agent.journal.verify", "pathlib"): "the same",
    ("agent.journal.verify", "read_text"): "the same",
    ("agent.journal.verify", "open"): "the same",
    ("agent.journal.verify", "read_bytes"): "the same",
}


def pure_modules() -> list[str]:
    """Every module under the entries of the contract."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (entries,) = [one["source_modules"] for one in contracts if one["type"] == "forbidden"]
    found = []
    for entry in entries:
        place = ROOT / entry.replace(".", "/")
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        found += [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name for name in found if not name.endswith("__init__")]


def impurities(source: str) -> set[str]:
    """Names in a source that a pure module has no business with."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                found.add("async")
            case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(id=name)):
                found |= {name} & (READS | WRITES)
            case ast.Import(names=names):
                found |= {one.name.partition(".")[0] for one in names} & MODULES
            case ast.ImportFrom(module=str(module), level=0):
                found |= {module.partition(".")[0]} & MODULES
            case ast.Global():
                found.add("global")
    return found


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from datetime import datetime\nx = datetime.now()", "now"),
        ("async def f(): ...", "async"),
        ("print(1)", "print"),
        ("import os.path", "os"),
        ("from pathlib import Path\nPath('x').read_text()", "read_text"),
        ("def f():\n    global x\n    x = 1", "global"),
    ],
)
def test_each_impurity_would_be_found(source: str, said: str) -> None:
    assert said in impurities(source)


@pytest.mark.parametrize("module", pure_modules())
def test_module_is_pure(module: str) -> None:
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text("utf-8")
    allowed = {word for name, word in ALLOWED if name == module}
    assert impurities(source) <= allowed


def test_nothing_is_allowed_that_nobody_uses() -> None:
    used = {(name, word) for name in pure_modules() for word in impurities(_source(name))}
    assert ALLOWED.keys() <= used


def _source(module: str) -> str:
    return (ROOT / module.replace(".", "/")).with_suffix(".py").read_text("utf-8")


def test_most_of_the_code_is_pure() -> None:
    lines = {name: _source(name).count("\n") for name in _all_modules() if not name.startswith("simulator")}
    pure = sum(lines[name] for name in pure_modules() if name in lines)
    assert pure / sum(lines.values()) >= 0.6


def _all_modules() -> list[str]:
    files = [file for package in ("agent", "firmware_bridge", "zones") for file in (ROOT / package).rglob("*.py")]
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
