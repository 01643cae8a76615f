"""agent/explain/case.py: by which settings the fixes were decided on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.clock import Clock
from agent.explain import detection_of
from agent.journal.reader import Reader
from agent.journal.store import Store
from zones.plausibility import DetectionConfig

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def started(folder: Path, detection: str = "") -> None:
    Store.open(folder, "box-1", KEY, "box-1.1", "0.1.0", Clock(), detection=detection).close()


def settings_in(folder: Path) -> DetectionConfig:
    with Reader.open(folder) as reader:
        return detection_of(reader)


def test_the_settings_of_the_newest_start_are_kept(tmp_path: Path) -> None:
    started(tmp_path)
    assert settings_in(tmp_path) == DetectionConfig()
    for dwell_s in (7.0, 9.0):
        settings = DetectionConfig(dwell_s=dwell_s, confirm_fixes=3)
        started(tmp_path, msgspec.json.encode(settings).decode())
        assert settings_in(tmp_path) == settings
    started(tmp_path)
    assert settings_in(tmp_path).dwell_s == 9.0


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    started(tmp_path, '{"dwell_s": "long"}')
    with pytest.raises(ValueError, match="dwell_s"):
        settings_in(tmp_path)
