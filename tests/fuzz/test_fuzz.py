"""Every decoder for a minute under atheris (libFuzzer with coverage): no exception, no hang, no growing buffer."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

SECONDS = int(os.environ.get("BORDERLANE_FUZZ_SECONDS", "60"))
"""For each decoder."""
HANG_S = 10
"""One input that takes longer is a finding."""
RSS_MB = 1_024
ROOT = Path(__file__).parents[2]


@pytest.mark.nightly
@pytest.mark.timeout(SECONDS * 5 + 120)
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_atheris_finds_nothing(name, tmp_path, absent):
    if importlib.util.find_spec("atheris") is None:
        absent("atheris has no wheel for this machine")
    options = [
        f"-max_total_time={SECONDS}",
        f"-timeout={HANG_S}",
        f"-rss_limit_mb={RSS_MB}",
        "-max_len=4096",
        f"-artifact_prefix={tmp_path}/",
    ]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", name, str(corpus), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS * 4 + 60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:] + done.stdout[-2_000:]
