"""`borderlane` as a command: help, JSON, exit status (contract section 2)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from agent.config import load_config
from agent.domain.times import epoch_s
from simulator.cli import COMMANDS
from tests.system.box import command

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

CORPUS = Path(__file__).parent.parent / "corpus"
TRACK = CORPUS / "tracks" / "transplanted" / "munich_thayngen.csv"


async def test_every_command_has_help_and_says_what_it_does() -> None:
    results = await asyncio.gather(*(command(name, "--help") for name in COMMANDS))
    for name, (status, out, err) in zip(COMMANDS, results, strict=True):
        assert (status, err) == (0, ""), name
        assert f"borderlane {name}" in out and len(out.splitlines()) > 5, name


async def test_help_lists_all_commands_and_no_command_shows_it() -> None:
    status, out, _ = await command("--help")
    assert status == 0
    for name in COMMANDS:
        assert f" {name} " in out
    status, out, err = await command()
    assert status == 2 and "Usage" in out + err
    assert (await command("--version"))[1] == f"borderlane {version('borderlane')}\n"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["no-such-command"], 2, "no-such-command"),
        (["demo", "--no-such-option"], 2, "--no-such-option"),
        (["demo", "--lorries", "many"], 2, "--lorries"),
        (["demo", "--broker", "rabbit"], 2, "--broker rabbit: expected nats, mosquitto, or mqtt://HOST:PORT"),
        (["demo", "--tracks", str(CORPUS)], 2, "expected files ending in .csv or .gpx"),
        (["agent", "--config", "nowhere.toml"], 2, "nowhere.toml: cannot be read"),
        (["lorries", "--config", "nowhere.toml"], 2, "nowhere.toml: cannot be read"),
        (["control-room", "--config", "nowhere.toml"], 2, "nowhere.toml: cannot be read"),
        (["customs", "--listen", "here", "--data", "d"], 2, "--listen here: expected HOST:PORT"),
        (["zones", "check", "nowhere.geojson"], 2, "nowhere.geojson"),
        (["detect", "--zones", "nowhere.geojson", str(TRACK)], 2, "nowhere.geojson"),
        (["journal", "verify", "--data", "nowhere"], 2, "nowhere"),
        (["decode", "--format", "morse", str(TRACK)], 2, "--format"),
        (["status", "--url", "http://127.0.0.1:1"], 3, "http://127.0.0.1:1: no agent answers"),
        (["status", "--url", "ftp://127.0.0.1"], 2, "expected http:// or https://"),
    ],
)
async def test_what_goes_wrong_has_a_status_and_a_message(
    words: list[str], status: int, said: str, tmp_path: Path
) -> None:
    found, out, err = await command(*words, cwd=tmp_path, env=_environment())
    assert found == status, err
    assert said in " ".join(err.replace("│", " ").split()) and "Traceback" not in err
    assert out == ""


def _environment() -> dict[str, str]:
    """Wide enough that no message is wrapped; the packages are found from any folder."""
    root = str(Path(__file__).parent.parent.parent)
    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": root}


async def test_init_makes_a_box_that_is_good_and_overwrites_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "box"
    status, out, _ = await command("init", str(folder))
    assert status == 0 and "borderlane.toml" in out
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert {"borderlane.toml", "keys/agent.key.pem", "keys/agent.pub.pem", "data", "borderlane-agent.service"} <= made
    assert {"broker/nats.conf", "broker/mosquitto.conf"} <= made
    assert stat.S_IMODE((folder / "keys" / "agent.key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
    service = (folder / "borderlane-agent.service").read_text()
    assert f'--config "{folder / "borderlane.toml"}"' in service and re.search(r"@[A-Z_]+@", service) is None
    assert (await command("config", "check", str(folder / "borderlane.toml")))[0] == 0
    load_config(folder / "borderlane.toml", {})

    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, _, err = await command("init", str(folder))
    assert status == 2 and "nothing is overwritten" in err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


async def test_config_show_marks_what_differs_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "borderlane.toml"
    file.write_text("[mqtt]\nport = 1999\n")
    env = {**_environment(), "BORDERLANE_HTTP__PORT": "9001"}
    _, out, _ = await command("config", "show", str(file), env=env)
    marked = [line.split(" =")[0] for line in out.splitlines() if "not the default" in line]
    assert marked == ["mqtt.port", "http.port"]
    _, out, _ = await command("config", "show", str(file), "--json", env=env)
    values = json.loads(out)
    assert (values["mqtt"]["port"], values["http"]["port"]) == (1999, 9001)
    status, out, _ = await command("config", "check", str(file), "--json", env={**env, "BORDERLANE_HTTP__PORT": "0.5"})
    assert status == 2 and json.loads(out)["ok"] is False and "http" in json.loads(out)["faults"][0]


async def test_an_agent_without_the_authoritys_key_says_which_file(tmp_path: Path) -> None:
    await command("init", str(tmp_path / "box"))
    status, _, err = await command("agent", "--config", str(tmp_path / "box" / "borderlane.toml"))
    assert status == 2 and "authority.pub.pem" in err


async def detected(*words: str) -> list[dict[str, Any]]:
    status, out, err = await command("detect", *words, "--json")
    assert status == 0, err
    return [json.loads(line) for line in out.splitlines()]


async def test_detect_prints_one_entry_and_exit_for_a_recorded_crossing() -> None:
    zones = Path(__file__).parent.parent.parent / "zones" / "data" / "border_zones.geojson"
    events = await detected("--zones", str(zones), str(TRACK))
    activation = [event for event in events if event["zoneId"] == "thayngen/in/activation"]
    assert [event["event"] for event in activation] == ["ENTERED", "EXITED"]
    assert {event["unit"].removesuffix(".csv") for event in events} == {"munich_thayngen"}
    wanted = {"event", "zoneId", "unit", "time", "detectedAt", "kind", "direction", "latitude", "longitude"}
    assert wanted | {"zoneSetVersion", "evidence"} <= set(activation[0])
    expected = json.loads((TRACK.parent / "munich_expected.json").read_text())
    crossed = next(row for row in expected if row["crossing_id"] == "thayngen")
    entered_s, exited_s = (epoch_s(event["time"]) for event in activation)
    assert entered_s < epoch_s(crossed["first_inside"]) < exited_s, "the customs line lies in the activation zone"
    _, plain, _ = await command("detect", "--zones", str(zones), str(TRACK))
    assert len(plain.splitlines()) == len(events)


async def test_zones_check_of_the_shipped_set() -> None:
    status, out, _ = await command("zones", "check", "--json")
    document = json.loads(out)
    assert status == 0 and document["valid"] is True and (document["crossings"], document["zones"]) == (64, 384)


async def test_output_to_a_reader_that_leaves_ends_quietly() -> None:
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m simulator.cli zones show --json | head -c 10",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert len(out) == 10 and err == b""
