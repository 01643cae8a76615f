"""Real processes killed over real files: every promise is kept, once (design/reliability.md, F1 and F9)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def crash(folder: Path, mode: str) -> dict:
    root = str(HERE.parents[2])
    done = subprocess.run(
        [sys.executable, HERE / "crash_driver.py", folder, mode],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_at_every_file_call_nothing_promised_is_lost_or_twice(tmp_path):
    result = crash(tmp_path, "points")
    assert result["bad"] == []
    assert result["points"] >= 100


def test_the_same_kills_show_a_writer_that_promises_too_early(tmp_path):
    assert crash(tmp_path, "ack-first")["bad"] != []


def test_killed_under_load_nothing_promised_is_lost_or_twice(tmp_path):
    result = crash(tmp_path, "load")
    assert result["bad"] == []
    assert result["acked"] >= 200
