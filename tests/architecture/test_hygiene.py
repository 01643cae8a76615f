"""What no file of the repository may hold, and what every public name has to have."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("agent", "firmware_bridge", "simulator", "zones")
LEFT_OUT = {".git", ".venv", "__pycache__", ".hypothesis", ".mypy_cache", ".ruff_cache", ".pytest_cache", "dist"}
FORBIDDEN = {
    # Written in pieces, so that this file is not its own finding.
    "machine path": r"(?<![\w.~-])/(?:wo" + r"rk|ro" + r"ot|home/\w+|Users/\w+)/",
    "registry address": r"py" + r"pi\.org|python" + r"hosted|registry\.npm" + r"js|pkg\.deb" + r"ian|/opt/py" + r"pi",
    "private key": r"-----BEGIN (?:EC |OPENSSH )?PRIVATE " + r"KEY-----",
    "leftover": r"\bTO" + r"DO\b|\bFIX" + r"ME\b|breakpoint" + r"\(\)",
    "merge mark": r"(?m)^(?:<{7}|>{7}) ",
}


def _tracked() -> list[str] | None:
    """What git would take; None outside a checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return None
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )
    return [name for name in listed.stdout.decode().split("\0") if name]


def text_files() -> Iterator[tuple[str, str]]:
    """Path and text of every file that belongs to the repository and can be read."""
    names = _tracked()
    if names is None:
        found = (file for file in ROOT.rglob("*") if not LEFT_OUT & set(file.relative_to(ROOT).parts))
        names = [str(file.relative_to(ROOT)) for file in found if file.is_file()]
    for name in names:
        file = ROOT / name
        if not file.is_file():  # deleted and not yet told to git
            continue
        data = file.read_bytes()
        if b"\0" in data[:8192]:
            continue
        yield name, data.decode("utf-8", "replace")


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for name, text in text_files():
        found += [f"{name}: {hit[0]!r}" for hit in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("machine path", "see /wo" + "rk/main/x"),
        ("machine path", "= '/home/" + "me/x'"),
        ("registry address", "https://py" + "pi.org/simple"),
        ("leftover", "# TO" + "DO later"),
        ("merge mark", "<<<<<<" + "< ours"),
    ],
)
def test_each_would_be_found(what: str, text: str) -> None:
    assert re.search(FORBIDDEN[what], text)


def test_names_and_addresses_that_look_alike_are_left_alone() -> None:
    for text in ("build.py/", "frame" + "work/x", "a/wo" + "rk/b", "http://127.0.0.1:8090/"):
        assert not re.search(FORBIDDEN["machine path"], text), text


def undocumented(source: str) -> list[str]:
    """Public module, classes and functions of a source that say nothing of themselves."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) or not tree.body else ["module"]
    found += _undocumented(tree, "")
    return found


def _undocumented(parent: ast.Module | ast.ClassDef, prefix: str) -> list[str]:
    found = []
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not _inherited(node):
            found.append(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found += _undocumented(node, f"{prefix}{node.name}.")
    return found


def _inherited(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Overloads, setters and overrides are documented where they belong."""
    names = {part.attr if isinstance(part, ast.Attribute) else getattr(part, "id", "") for part in node.decorator_list}
    return bool(names & {"overload", "override", "setter"})


def _sources() -> list[str]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return sorted(str(file.relative_to(ROOT)) for file in files)


@pytest.mark.parametrize("name", _sources())
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert undocumented((ROOT / name).read_text("utf-8")) == []


def test_a_missing_docstring_would_be_found() -> None:
    assert undocumented("def f(): ...\nclass A:\n    '''Yes.'''\n    def g(self): ...\ndef _h(): ...") == [
        "module",
        "f",
        "A.g",
    ]
