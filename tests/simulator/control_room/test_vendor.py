"""simulator/control_room/vendor.py: what is not ours lies here unchanged, named, with its licence."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from simulator.control_room import vendor
from simulator.control_room.vendor import FOLDERS, MANIFEST, Library, digest, read_manifest

folders = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)


@folders
def test_every_file_is_in_the_manifest_with_its_hash(folder: Path) -> None:
    rows = {row.file: row for row in read_manifest(folder)}
    assert rows.keys() == {file.name for file in folder.iterdir()} - {MANIFEST}
    assert {name: digest((folder / name).read_bytes()) for name in rows} == {
        name: row.sha256 for name, row in rows.items()
    }


@folders
def test_manifest_is_that_of_the_libraries_named(folder: Path) -> None:
    named = {
        (library.name, library.version, library.licence, source, file)
        for library in FOLDERS[folder]
        for source, file in library.files.items()
    }
    assert {(row.package, row.version, row.licence, row.source, row.file) for row in read_manifest(folder)} == named


@folders
def test_every_library_brings_its_licence(folder: Path) -> None:
    for library in FOLDERS[folder]:
        assert f"{library.name}.LICENSE.txt" in library.files.values()


def test_a_package_is_unpacked_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as package:
        entry = tarfile.TarInfo("package/dist/one.mjs")
        entry.size = 3
        package.addfile(entry, io.BytesIO(b"1;\n"))
    place = tmp_path / "bin"
    place.mkdir()
    (place / "one-1.0.0.tgz").write_bytes(archive.getvalue())
    npm = place / "npm"
    npm.write_text(f"#!/bin/sh\ncp {place}/one-1.0.0.tgz . && echo one-1.0.0.tgz\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    (row,) = vendor.fetch(Library("one", "1.0.0", "MIT", {"dist/one.mjs": "one.mjs"}), tmp_path)
    assert (tmp_path / "one.mjs").read_bytes() == b"1;\n"
    assert (row.file, row.sha256) == ("one.mjs", digest(b"1;\n"))
    with pytest.raises(KeyError, match="absent"):
        vendor.fetch(Library("one", "1.0.0", "MIT", {"absent": "absent"}), tmp_path)
