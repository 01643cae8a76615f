from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from simulator.cli import COMMANDS, EXIT_INTERRUPTED, main, tree

CONTRACT = ("demo", "init", "agent", "customs", "lorries", "control-room", "detect", "decode", "zones", "journal",
            "config", "status")  # fmt: skip
"""Commands of contract section 2 that there are so far."""


@pytest.mark.parametrize("name", CONTRACT)
def test_a_command_is_there_and_can_be_called(name: str) -> None:
    place = COMMANDS[name]
    target = getattr(importlib.import_module(place.module), place.attribute)
    assert isinstance(target, typer.Typer) or callable(target)
    result = CliRunner().invoke(tree([name]), [name, "--help"])
    assert result.exit_code == 0 and name in result.output


def test_the_whole_tree_has_every_command_once() -> None:
    output = CliRunner().invoke(tree(list(COMMANDS)), ["-h"]).output
    for name in COMMANDS:
        assert len(re.findall(rf"^│ {name} ", output, re.MULTILINE)) == 1, name


@pytest.mark.parametrize(
    ("name", "heavy"),
    [
        ("detect", ("aiohttp", "paho", "apsw", "nats", "agent.app")),
        ("decode", ("aiohttp", "paho", "apsw", "shapely", "agent.app")),
        ("journal", ("aiohttp", "paho", "serial", "agent.app")),
        ("zones", ("aiohttp", "paho", "apsw", "agent.app")),
    ],
)
def test_a_short_command_loads_no_more_than_it_needs(name: str, heavy: tuple[str, ...]) -> None:
    code = (
        "import sys; from simulator.cli import tree; "
        f"tree([{name!r}]); print(*[one for one in {heavy!r} if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["borderlane", "status"])

    def interrupted(*_words: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(typer.Typer, "__call__", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_INTERRUPTED == 130
