"""Runs the enumerators as processes of their own, in memory-backed storage where there is some."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MEMORY = Path("/dev/shm")
ROOT = Path(__file__).parents[2]


@contextmanager
def workshop() -> Iterator[Path]:
    """A folder for one run: in memory, since a kill of a process does not ask what lies below the file system."""
    with tempfile.TemporaryDirectory(prefix="borderlane-faults-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def enumerate_in(module: str, *arguments: object, timeout_s: float = 170.0) -> dict[str, Any]:
    """What `python -m tests.faults.MODULE` found; its folder comes after the first argument."""
    first, *rest = map(str, arguments)
    with workshop() as folder:
        done = subprocess.run(
            [sys.executable, "-m", f"tests.faults.{module}", first, str(folder), *rest],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-4_000:])
    return dict(json.loads(done.stdout))
