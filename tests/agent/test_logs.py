"""agent/logs.py: lines for people and machines, and never a position."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from agent import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Other tests find structlog as it was."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_machines_get_one_json_object_a_line() -> None:
    out = io.StringIO()
    logs.configure("json", "info", out)
    structlog.get_logger().info("zone_entered", zone_id="z", fix_age_ms=3)
    line = json.loads(out.getvalue())
    assert (line["event"], line["zone_id"], line["fix_age_ms"], line["level"]) == ("zone_entered", "z", 3, "info")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(("format_", "out"), [("auto", Terminal()), ("console", io.StringIO())])
def test_people_get_words(format_: str, out: io.StringIO) -> None:
    logs.configure(format_, "info", out)
    structlog.get_logger().warning("mode_changed", mode="UPLINK_LOST")
    assert "mode_changed" in out.getvalue() and not out.getvalue().startswith("{")


def test_auto_without_a_terminal_is_for_machines() -> None:
    out = io.StringIO()
    logs.configure("auto", "info", out)
    structlog.get_logger().info("started")
    assert json.loads(out.getvalue())["event"] == "started"


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize("key", sorted(logs.FORBIDDEN_KEYS))
def test_a_position_is_withheld_at_every_level(format_: str, key: str) -> None:
    out = io.StringIO()
    logs.configure(format_, "debug", out)
    logger = structlog.get_logger()
    for say in (logger.debug, logger.info, logger.warning, logger.error):
        say("fix", **{key: 47.7418765})
    assert out.getvalue().count("<withheld>") == 4
    assert "47.74" not in out.getvalue()


@pytest.mark.parametrize("format_", ["json", "console"])
def test_an_exception_is_told_without_the_values_of_variables(format_: str) -> None:
    out = Terminal()
    logs.configure(format_, "info", out)
    latitude = 47.7418765
    try:
        raise ValueError("no such thing")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert latitude and "no such thing" in out.getvalue() and "Traceback" in out.getvalue()
    assert "47.7418765" not in out.getvalue().replace("latitude = 47.7418765", "")


def test_a_reload_changes_the_level_of_loggers_in_use() -> None:
    out = io.StringIO()
    logger = structlog.get_logger()
    logs.configure("json", "error", out)
    logger.info("not_said")
    logs.configure("json", "info", out)
    logger.info("said")
    assert "not_said" not in out.getvalue() and '"said"' in out.getvalue()
