"""agent/commands.py: what people read, and the exit status that programs read."""

from __future__ import annotations

import importlib.resources
import json
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer
from typer.testing import CliRunner

from agent.clock import Clock
from agent.commands import agent, config_app, detect, identity_app, init, status
from agent.config import load_config
from agent.domain.times import rfc3339
from agent.journal.store import Store
from agent.keys import read_private_key
from agent.tls import open_tls
from tests.agent.roadside import WEST, drive
from zones.fix import Fix

ZONES = importlib.resources.files("zones") / "data" / "border_zones.geojson"
app = typer.Typer()
for command in (agent, init, detect, status):
    app.command()(command)
app.add_typer(config_app, name="config")
app.add_typer(identity_app, name="identity")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def run(*arguments: Any, env: dict[str, str] | None = None) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments], env=env)


def refused(result: Any, exit_status: int) -> str:
    """What was said on standard error; nothing else may come out, and no traceback."""
    assert result.exit_code == exit_status, result.output
    assert result.stdout == "" and "Traceback" not in result.stderr
    assert isinstance(result.exception, SystemExit)
    return str(result.stderr)


# --- init, config ---


@pytest.fixture
def box(tmp_path: Path) -> Path:
    folder = tmp_path / "my box"
    assert run("init", folder).exit_code == 0
    (folder / "keys" / "authority.pub.pem").write_bytes((folder / "keys" / "agent.pub.pem").read_bytes())
    return folder


def test_init_makes_a_box_that_is_good_as_it_is(box: Path) -> None:
    result = run("config", "check", box / "borderlane.toml")
    assert (result.exit_code, result.stdout) == (0, f"good: {box / 'borderlane.toml'}\n")
    assert json.loads(run("config", "check", box / "borderlane.toml", "--json").stdout) == {"ok": True}
    assert stat.S_IMODE((box / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((box / "keys" / "agent.key.pem").stat().st_mode) == 0o600
    assert {path.name for path in (box / "broker").iterdir()} == {"nats.conf", "mosquitto.conf"}
    unit = (box / "borderlane-agent.service").read_text("utf-8")
    assert f'agent --config "{box.resolve()}/borderlane.toml"' in unit
    assert not re.search("@[A-Z]+@", unit)
    assert {"Type=notify", "WatchdogSec=5", "Restart=always", "RestartSec=0.2"} <= set(unit.splitlines())
    assert "Restart=always" in unit and "StartLimitIntervalSec=0" in unit


def test_init_with_tls_makes_a_box_whose_names_have_rights(tmp_path: Path) -> None:
    box = tmp_path / "box"
    assert run("init", box, "--tls").exit_code == 0
    config = load_config(box / "borderlane.toml", {})
    assert config.mqtt.tls and config.mqtt.port == 8883 and config.customs.url.startswith("https:")
    assert open_tls(config.tls, box) is not None
    assert run("identity", "issue", "lorry-1", "lorry.2", "--folder", box).exit_code == 0
    assert "CN=lorry.2" in (box / "broker" / "nats.conf").read_text()
    assert run("identity", "revoke", "lorry.2", "--folder", box).exit_code == 0
    assert "CN=lorry.2" not in (box / "broker" / "nats.conf").read_text()
    assert "user lorry.2\ntopic deny #" in (box / "broker" / "mosquitto.acl").read_text()
    assert run("identity", "revoke", "lorry.2", "--folder", box).exit_code == 1
    listed = run("identity", "list", "--json", "--folder", box)
    assert "lorry-1" in listed.stdout and "lorry.2" not in listed.stdout
    for path in box.rglob("*"):
        secret = b"PRIVATE KEY" in path.read_bytes() if path.is_file() else False
        assert secret is path.name.endswith(".key.pem"), path
        assert not secret or path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("words", [("a b",), ("x", "--kind", "king"), ("x" * 65,)])
def test_who_cannot_have_a_certificate_is_said(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert run("init", tmp_path / "box", "--tls").exit_code == 0
    refused(run("identity", "issue", *words, "--folder", tmp_path / "box"), 2)


def test_identities_need_a_box_with_an_authority(box: Path) -> None:
    assert "no test CA" in refused(run("identity", "list", "--folder", box), 2)


def test_init_overwrites_nothing(box: Path) -> None:
    key = (box / "keys" / "agent.key.pem").read_bytes()
    assert "nothing is overwritten" in refused(run("init", box), 2)
    (box / "borderlane.toml").unlink()
    assert run("init", box).exit_code == 0
    assert (box / "keys" / "agent.key.pem").read_bytes() == key


def test_init_where_no_folder_can_be_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(run("init", tmp_path / "file"), 2)
    assert "file" in refused(run("init", tmp_path / "file" / "below"), 2)


def test_every_fault_of_a_configuration_is_said(box: Path) -> None:
    file = box / "borderlane.toml"
    file.write_text("[mqtt]\nhots = 'x'\nport = 0\n", "utf-8")
    said = [
        f'{file}: mqtt.hots: unknown key, did you mean "host"?',
        f"{file}: mqtt.port: Expected `int` >= 1",
    ]
    assert refused(run("config", "check", file), 2).splitlines() == said
    result = run("config", "check", file, "--json")
    assert result.exit_code == 2 and json.loads(result.stdout) == {"ok": False, "faults": said}
    assert refused(run("config", "show", file), 2).splitlines() == [f"error: {said[0]}", said[1]]
    assert refused(run("agent", "--config", file), 2).splitlines() == [f"error: {said[0]}", said[1]]


def test_show_marks_what_is_not_the_default_also_from_the_environment(box: Path) -> None:
    file = box / "borderlane.toml"
    file.write_text('[operators.acme]\nunits = ["a"]\n[[serial]]\nunit = "x"\npath = "/dev/x"\n', "utf-8")
    env = {"BORDERLANE_MQTT__PORT": "8883"}
    lines = run("config", "show", file, env=env).stdout.splitlines()
    marked = [line.split(" = ")[0] for line in lines if line.endswith("# not the default")]
    assert marked == ["mqtt.port", "operators.acme"]
    assert any(line.startswith("serial = ") and "/dev/x" in line for line in lines)
    assert json.loads(run("config", "show", file, "--json", env=env).stdout)["mqtt"]["port"] == 8883


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    for arguments in (("config", "check"), ("config", "show"), ("agent", "--config")):
        assert "none.toml: cannot be read" in refused(run(*arguments, tmp_path / "none.toml"), 2)


# --- agent: what keeps it from starting ---


def settings(box: Path, text: str) -> Path:
    file = box / "borderlane.toml"
    file.write_text(text, "utf-8")
    return file


def test_an_agent_whose_key_others_may_read_does_not_start(box: Path) -> None:
    (box / "keys" / "agent.key.pem").chmod(0o644)
    said = refused(run("agent", "--config", box / "borderlane.toml"), 2)
    assert "agent.key.pem: mode 644 lets others read the signing key: expected 600" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[mqtt]\ntraccar_topic = "a/#"', "`$share` and `#` are not used"),
        ('[mqtt]\ntraccar_topic = "borderlane/v1/units/+/position"', "overlap"),
        ('[mqtt]\npassword_file = "gone"', "gone: password cannot be read"),
        ('[zones]\nfile = "gone.geojson"', "gone.geojson"),
        ('[customs.authority_keys]\na = "gone.pem"', "gone.pem: no Ed25519 public key"),
    ],
)
def test_what_the_operator_must_mend_is_named_before_anything_is_opened(box: Path, text: str, said: str) -> None:
    assert said in refused(run("agent", "--config", settings(box, text)), 2)
    assert list((box / "data").iterdir()) == []


def test_an_agent_whose_port_is_taken_is_out_of_reach(box: Path) -> None:
    with server(lambda _path: (200, b"")) as (_url, port):
        file = settings(box, f'[http]\nport = {port}\n[log]\nlevel = "error"\n')
        assert f"127.0.0.1:{port}: cannot listen" in refused(run("agent", "--config", file), 3)


def test_a_second_agent_on_the_same_data_is_refused(box: Path) -> None:
    config = load_config(box / "borderlane.toml", {})
    key = read_private_key(box / "keys" / "agent.key.pem")
    store = Store.open(box / "data", config.agent.id, key, config.agent.id, "0.1.0", Clock())
    try:
        refused(run("agent", "--config", box / "borderlane.toml"), 2)
    finally:
        store.close()


def test_a_damaged_journal_is_not_good(box: Path) -> None:
    config = load_config(box / "borderlane.toml", {})
    key = read_private_key(box / "keys" / "agent.key.pem")
    Store.open(box / "data", config.agent.id, key, config.agent.id, "0.1.0", Clock()).close()
    for file in (box / "data").glob("*.db*"):
        file.write_bytes(b"\x00" * 8_192)
    refused(run("agent", "--config", box / "borderlane.toml"), 1)


# --- detect ---


def csv_of(fixes: list[Fix]) -> str:
    rows = [
        f"{rfc3339(fix.time_s)},{fix.latitude},{fix.longitude},{fix.accuracy_m},{fix.speed_mps},{fix.heading_deg}"
        for fix in fixes
    ]
    return "\n".join(["time,lat,lon,accuracy_m,speed_mps,course_deg", *rows, ""])


@pytest.fixture
def track(tmp_path: Path) -> Path:
    path = tmp_path / "lorry-7.csv"
    path.write_text(csv_of(drive(end=WEST)), "utf-8")
    return path


def test_detect_prints_each_event_of_the_contract_on_a_line(track: Path) -> None:
    result = run("detect", "--zones", ZONES, track, "--json")
    assert result.exit_code == 0
    events = [json.loads(line) for line in result.stdout.splitlines()]
    inwards = [(one["event"], one["zoneId"]) for one in events if "/in/" in one["zoneId"]]
    assert sorted(inwards) == sorted(
        (event, f"thayngen/in/{kind}")
        for kind in ("tracking", "activation", "confirmation")
        for event in ("ENTERED", "EXITED")
    )
    first = events[0]
    assert set(first) >= {
        "event", "zoneId", "unit", "time", "detectedAt", "kind", "direction", "latitude", "longitude",
        "zoneSetVersion", "evidence",
    }  # fmt: skip
    assert first["unit"] == "lorry-7.csv" and first["time"].endswith("Z")


def test_detect_for_people(track: Path) -> None:
    lines = run("detect", "--zones", ZONES, track).stdout.splitlines()
    assert any("lorry-7.csv  ENTERED thayngen/in/activation" in line for line in lines)


def test_each_track_is_a_unit_of_its_own(track: Path, tmp_path: Path) -> None:
    other = tmp_path / "lorry-8.csv"
    other.write_text(track.read_text("utf-8"), "utf-8")
    lines = run("detect", "--zones", ZONES, track, other, "--json").stdout.splitlines()
    by_unit: dict[str, list[Any]] = {"lorry-7.csv": [], "lorry-8.csv": []}
    for line in lines:
        event = json.loads(line)
        by_unit[event.pop("unit")].append(event)
    assert by_unit["lorry-7.csv"] == by_unit["lorry-8.csv"] != []


def nmea_of(fixes: list[Fix]) -> bytes:
    """The fixes as RMC and GGA sentences."""

    def sentence(words: str) -> bytes:
        total = 0
        for byte in words.encode():
            total ^= byte
        return f"${words}*{total:02X}\r\n".encode()

    def degrees(value: float, width: int) -> str:
        return f"{int(value):0{width}d}{(value - int(value)) * 60:08.5f}"

    out = b""
    for fix in fixes:
        at = datetime.fromtimestamp(fix.time_s, UTC)
        clock, date = at.strftime("%H%M%S.00"), at.strftime("%d%m%y")
        place = f"{degrees(fix.latitude, 2)},N,{degrees(fix.longitude, 3)},E"
        out += sentence(f"GPRMC,{clock},A,{place},{SPEED_KN:.1f},270.0,{date},,,A")
        out += sentence(f"GPGGA,{clock},{place},1,09,0.9,430.0,M,48.0,M,,")
    return out


SPEED_KN = 22.0 / 0.514444


def test_detect_reads_a_receiver_log_through_the_firmware_bridge(tmp_path: Path) -> None:
    path = tmp_path / "lorry-9.nmea"
    path.write_bytes(b"\x00noise\xff" + nmea_of(drive(end=WEST)))
    lines = run("detect", "--zones", ZONES, path, "--json").stdout.splitlines()
    found = [(one["event"], one["zoneId"]) for one in map(json.loads, lines)]
    assert found.count(("ENTERED", "thayngen/in/activation")) == 1
    assert found.count(("EXITED", "thayngen/in/confirmation")) == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda track, zones: track.write_text("hour,place\n1,2\n"), "lorry-7.csv"),
        (lambda track, zones: zones.write_text("{}"), "zones.geojson"),
        (lambda track, zones: zones.write_text("not json"), "zones.geojson"),
        (lambda track, zones: zones.unlink(), "zones.geojson"),
    ],
)
def test_what_detect_cannot_read_is_named(
    track: Path, tmp_path: Path, spoil: Callable[[Path, Path], Any], said: str
) -> None:
    zones = tmp_path / "zones.geojson"
    zones.write_bytes(ZONES.read_bytes())
    spoil(track, zones)
    assert said in refused(run("detect", "--zones", zones, track), 2)


def test_wrong_usage_of_detect(track: Path, tmp_path: Path) -> None:
    refused(run("detect", "--zones", ZONES, tmp_path / "gone.csv"), 2)
    refused(run("detect", track), 2)
    assert "kml" in refused(run("detect", "--zones", ZONES, "--format", "kml", track), 2)


# --- status ---


@contextmanager
def server(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[tuple[str, int]]:
    """An HTTP service on a thread of its own: the command blocks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answer(self.path)
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Tests are quiet."""

    service = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{service.server_port}", service.server_port
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


def page(mode: str) -> bytes:
    return json.dumps({"agent": "box-1", "mode": mode, "modeSince": "2026-11-22T10:00:00.000Z"}).encode()


@pytest.mark.parametrize(("mode", "exit_status"), [("NORMAL", 0), ("RISK_DEGRADED", 1), ("JOURNAL_READONLY", 1)])
def test_status_says_how_the_agent_is(mode: str, exit_status: int) -> None:
    with server(lambda path: (200, page(mode)) if path == "/v1/status" else (404, b"")) as (url, _port):
        result = run("status", "--url", url)
        assert result.exit_code == exit_status
        assert result.stdout.splitlines()[0] == f"box-1: {mode} since 2026-11-22T10:00:00.000Z"
        as_json = run("status", "--url", url, "--json")
        assert as_json.exit_code == exit_status and json.loads(as_json.stdout)["mode"] == mode


@pytest.mark.parametrize(
    ("code", "body"), [(404, b""), (500, b""), (200, b"<html>"), (200, b"[]"), (200, b"{}"), (200, b"null")]
)
def test_what_is_no_agent_is_out_of_reach(code: int, body: bytes) -> None:
    with server(lambda _path: (code, body)) as (url, _port):
        assert f"{url}: no agent answers" in refused(run("status", "--url", url), 3)


def test_nobody_there_is_out_of_reach() -> None:
    with server(lambda _path: (200, b"")) as (url, _port):
        pass
    assert "no agent answers" in refused(run("status", "--url", url), 3)
    assert "no agent answers" in refused(run("status", "--url", "http://:0:0"), 3)


@pytest.mark.parametrize("url", ["127.0.0.1:8081", "file:///etc/passwd", "ftp://x"])
def test_only_http_is_asked(url: str) -> None:
    assert "expected http:// or https://" in refused(run("status", "--url", url), 2)
