"""simulator/control_room/commands.py and config.py: refused configuration, a port in use."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from simulator.control_room.commands import control_room

APP = typer.Typer()
APP.command()(control_room)
GOOD = '[http]\nport = {port}\n[[agents]]\nid = "box-1"\nurl = "http://127.0.0.1:8091"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[http]\nprot = 1\n", "prot"),
        ("[http]\nport = 70000\n", "port"),
        ('[[agents]]\nid = "box-1"\n', "url"),
        ("agents = 3\n", "agents"),
        ("[http\n", "room.toml"),
    ],
)
def test_configuration_with_a_fault_is_refused_by_key(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "room.toml"
    file.write_text(text)
    result = CliRunner().invoke(APP, ["--config", str(file)])
    assert result.exit_code == 2
    assert said in result.output


def test_configuration_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(APP, ["--config", str(tmp_path / "absent.toml")])
    assert result.exit_code == 2
    assert "absent.toml" in result.output


def test_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "room.toml"
        file.write_text(GOOD.format(port=port))
        result = CliRunner().invoke(APP, ["--config", str(file)])
    assert result.exit_code == 3
    assert str(port) in result.output
