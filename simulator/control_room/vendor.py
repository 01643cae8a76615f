"""Libraries of the pages that are not ours: taken from npm by a maintainer, kept with licence and hash.

`python -m simulator.control_room.vendor` fetches what is named here and writes the manifest; nobody else needs
npm, and no page fetches anything from elsewhere. A test holds every file to its hash.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

MANIFEST = "VENDOR.json"
STATIC = Path(__file__).parent / "static" / "vendor"
CHECKOUT = Path(__file__).parents[2]
FETCH_LIMIT_S = 120.0


@dataclass(frozen=True)
class Library:
    """One npm package and which of its files are taken, under which name."""

    name: str
    version: str
    licence: str
    """SPDX."""
    files: Mapping[str, str]


class Vendored(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the manifest: a file that lies here byte for byte as its package has it."""

    file: str
    package: str
    version: str
    licence: str
    source: str
    """Its path in the package."""
    sha256: str


PAGES = (
    Library(
        "maplibre-gl",
        "6.17.0",
        "BSD-3-Clause",
        {
            "dist/maplibre-gl.mjs": "maplibre-gl.mjs",
            "dist/maplibre-gl-worker.mjs": "maplibre-gl-worker.mjs",
            "dist/maplibre-gl.css": "maplibre-gl.css",
            "LICENSE.txt": "maplibre-gl.LICENSE.txt",
        },
    ),
    Library("preact", "11.2.0", "MIT", {"dist/preact.mjs": "preact.mjs", "LICENSE": "preact.LICENSE.txt"}),
    Library("htm", "3.1.1", "Apache-2.0", {"dist/htm.mjs": "htm.mjs", "LICENSE": "htm.LICENSE.txt"}),
)
TESTS = (Library("axe-core", "4.14.1", "MPL-2.0", {"axe.min.js": "axe.min.js", "LICENSE": "axe-core.LICENSE.txt"}),)
FOLDERS = {STATIC: PAGES, CHECKOUT / "tests" / "browser" / "vendor": TESTS}
"""Where the libraries of the pages and those of their tests lie."""


def read_manifest(folder: Path) -> tuple[Vendored, ...]:
    """What a folder's manifest says.

    Raises:
        msgspec.ValidationError: it is of another form.
    """
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=tuple[Vendored, ...])


def digest(data: bytes) -> str:
    """SHA-256 as the manifest writes it."""
    return hashlib.sha256(data).hexdigest()


def fetch(library: Library, folder: Path) -> list[Vendored]:
    """Take a library's files from its npm package into a folder.

    Raises:
        subprocess.CalledProcessError: npm does not give the package.
        KeyError: the package does not have such a file.
    """
    with tempfile.TemporaryDirectory() as place:
        packed = subprocess.run(
            ["npm", "pack", "--silent", f"{library.name}@{library.version}"],
            cwd=place,
            capture_output=True,
            check=True,
            timeout=FETCH_LIMIT_S,
            text=True,
        )
        archive = (Path(place) / packed.stdout.strip().splitlines()[-1]).read_bytes()
    return _unpack(library, archive, folder)


def _unpack(library: Library, archive: bytes, folder: Path) -> list[Vendored]:
    rows = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        for source, file in library.files.items():
            member = package.extractfile(f"package/{source}")
            assert member is not None, f"{library.name}: {source} is no file"
            data = member.read()
            (folder / file).write_bytes(data)
            rows.append(
                Vendored(
                    file=file,
                    package=library.name,
                    version=library.version,
                    licence=library.licence,
                    source=source,
                    sha256=digest(data),
                )
            )
    return rows


def main() -> None:
    """Fetch everything and write the manifests."""
    for folder, libraries in FOLDERS.items():
        folder.mkdir(exist_ok=True)
        rows = [row for library in libraries for row in fetch(library, folder)]
        text = msgspec.json.format(msgspec.json.encode(rows), indent=2)
        (folder / MANIFEST).write_bytes(text + b"\n")
        sys.stdout.write(f"{folder.relative_to(CHECKOUT)}: {len(rows)} files\n")


if __name__ == "__main__":
    main()
