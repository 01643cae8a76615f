"""`borderlane customs` as a process: starts, answers, refuses what is wrong, survives a kill."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.errors import ConfigError
from simulator.customs.commands import CustomsService, load_customs_config, split_listen

Make = Callable[..., Any]
PROGRAM = "import sys; from simulator.cli import main; sys.argv[0] = 'borderlane'; main()"
LIMIT_S = 30


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", PROGRAM, "customs", *map(str, arguments)]


@contextmanager
def running(data: Path, config: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        command("--listen", "127.0.0.1:0", "--data", data, "--config", config), stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r'"url": ?"([^"]+)"', line):
                yield process, found[1]
                break
        else:
            pytest.fail("the service ended before it listened")
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=LIMIT_S)


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, msgspec.json.encode(body), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        return json.loads(answer.read())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "customs.toml"
    path.write_text('[log]\nformat = "json"\n[clock]\nspeedup = 2.0\norigin_s = 1795342500.0\n', "utf-8")
    return path


@pytest.mark.system
def test_what_was_answered_is_there_after_a_kill(tmp_path: Path, config: Path, goods: Make, mrn: Make) -> None:
    data = tmp_path / "data"
    with running(data, config) as (process, url):
        assert post(f"{url}/v1/goods-declarations", goods(1))["state"] == "READY"
        process.kill()
    with running(data, config) as (process, url):
        with urllib.request.urlopen(f"{url}/v1/goods-declarations/{mrn(1)}", timeout=LIMIT_S) as answer:
            assert json.loads(answer.read())["state"] == "ACCEPTED"
        second = subprocess.run(
            command("--listen", "127.0.0.1:0", "--data", data), capture_output=True, text=True, timeout=LIMIT_S
        )
        assert second.returncode == 2
        assert "another customs service holds this data folder" in second.stderr
        os.kill(process.pid, signal.SIGHUP)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    assert oct((data / "authority.key.pem").stat().st_mode)[-3:] == "600"


@pytest.mark.system
@pytest.mark.parametrize(
    ("listen", "text", "status", "message"),
    [
        ("127.0.0.1", "", 2, "--listen 127.0.0.1: expected HOST:PORT"),
        ("127.0.0.1:0", "[fault]\n", 2, 'fault: unknown table, did you mean "faults"?'),
        ("127.0.0.1:0", "[risk]\nrules = 'none'\n", 2, "none/book.toml: cannot be read"),
        ("203.0.113.1:1", "", 3, "203.0.113.1:1: cannot listen"),
    ],
)
def test_wrong_use_is_named(tmp_path: Path, listen: str, text: str, status: int, message: str) -> None:
    path = tmp_path / "customs.toml"
    path.write_text(text, "utf-8")
    done = subprocess.run(
        command("--listen", listen, "--data", tmp_path / "data", "--config", path),
        capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535))],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert split_listen(text) == expected


@pytest.mark.parametrize("text", ["", ":80", "host", "host:", "host:x", "host:65536", "host:-1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError):
        split_listen(text)


async def test_a_bad_rule_book_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "customs.toml"
    path.write_text("[faults]\nrisk_delay_s = 0.5\n", "utf-8")
    service = CustomsService(tmp_path / "data", load_customs_config(path), path)
    try:
        before = service._office.book
        path.write_text("[risk]\nrules = 'none'\n", "utf-8")
        await service.reload()
        assert service._office.book is before
        assert service._api.faults.risk_delay_s == 0.5
        path.write_text("[risk]\nrandom_share = 0.25\n", "utf-8")
        await service.reload()
        assert (service._office.book.random_share, service._api.faults.risk_delay_s) == (0.25, 0.0)
    finally:
        await service.stop()
