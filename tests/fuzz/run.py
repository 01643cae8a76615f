"""One decoder under atheris: `python -m tests.fuzz.run NAME CORPUS_DIR [libFuzzer options]`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["firmware_bridge"]):
    from tests.fuzz.targets import TARGETS, check, seeds


def main() -> None:
    """Fuzz until libFuzzer's options say stop; a finding ends it with a status other than 0."""
    name, folder, *options = sys.argv[1:]
    TARGETS[name]().end()  # the decoder's own imports are instrumented as well
    for number, seed in enumerate(seeds(name)):
        (Path(folder) / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options, folder], lambda data: check(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
