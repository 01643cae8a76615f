"""What an installed borderlane needs besides code lies inside its packages, and the wheel takes it along."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("agent", "firmware_bridge", "simulator", "zones")
DATA = {
    "agent": ("py.typed", "journal/schema.sql", "templates/borderlane.toml", "templates/borderlane.service"),
    "firmware_bridge": ("py.typed",),
    "simulator": (
        "py.typed",
        *(f"control_room/static/{name}" for name in ("index.html", "main.js", "room.css", "icon.svg")),
        *(f"control_room/static/text/{language}.json" for language in ("de", "en", "fr", "it")),
        *(f"control_room/static/vendor/{name}" for name in ("maplibre-gl.mjs", "preact.mjs", "VENDOR.json")),
        "control_room/static/basemap/countries.geojson",
        *(f"customs/rules/texts/{language}.json" for language in ("de", "en", "fr", "it")),
        "customs/rules/book.toml",
    ),
    "zones": (
        "py.typed",
        "data/border_zones.geojson",
        *(f"data/geo/{name}.geojson" for name in ("crossings", "border", "approach_roads")),
        "data/geo/SOURCES.md",
    ),
}


@pytest.mark.parametrize(("package", "name"), [(package, name) for package in DATA for name in DATA[package]])
def test_data_lies_in_its_package(package: str, name: str) -> None:
    found = files(package).joinpath(name)
    assert found.is_file(), f"{package}/{name}"
    assert name == "py.typed" or found.read_bytes()


def test_wheel_takes_all_of_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/{name}" for package in DATA for name in DATA[package]} <= inside
    assert {str(file.relative_to(ROOT)) for package in PACKAGES for file in (ROOT / package).rglob("*.py")} <= inside
    assert {name.partition("/")[0] for name in inside if ".dist-info" not in name} == set(PACKAGES)


def test_every_folder_with_code_is_a_package() -> None:
    folders = {file.parent for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_command_leads_to_a_function() -> None:
    (command,) = [one for one in entry_points(group="console_scripts") if one.name == "borderlane"]
    module, _, function = command.value.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
