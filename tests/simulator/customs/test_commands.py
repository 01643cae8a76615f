"""`borderlane customs` as a process: starts, answers, refuses what is wrong, survives a kill."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import as_file
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.errors import ConfigError
from agent.keys import jwk_of, make_key, read_private_key
from simulator.customs import commands
from simulator.customs.book_keys import KID, beside
from simulator.customs.commands import CustomsService, load_customs_config, split_listen
from simulator.customs.rule_build import build_book
from simulator.customs.rule_source import shipped_rules

Make = Callable[..., Any]
PROGRAM = "import sys; from simulator.cli import main; sys.argv[0] = 'borderlane'; main()"
LIMIT_S = 30
NOW_MS = 1_795_342_500_000


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
        ("203.0.113.1:1", "", 2, "--listen 203.0.113.1: without [tls]"),
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


@pytest.mark.system
def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            command("--listen", listen, "--data", tmp_path / "data"), capture_output=True, text=True, timeout=LIMIT_S
        )
    assert (done.returncode, f"{listen}: cannot listen" in done.stderr) == (3, True), done.stderr


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


def built(sources: Path, out: Path, issued_ms: int) -> Path:
    make_key(beside(out, "key.pem"), beside(out, "pub.pem"))
    secret = read_private_key(beside(out, "key.pem"))
    build_book(sources, out, secret, jwk_of(secret), KID, issued_ms)
    return out


async def test_a_new_compiled_book_scores_again_what_waits(
    tmp_path: Path, goods: Make, journey: Make, mrn: Make
) -> None:
    with as_file(shipped_rules()) as shipped:
        sources = Path(shutil.copytree(shipped, tmp_path / "sources"))
    book = built(sources, tmp_path / "book", NOW_MS)
    service = CustomsService(tmp_path / "data", load_customs_config(None), None, book)
    office, store = service._office, service._store
    try:
        await store.write(lambda: office.register.submit_goods([goods(1)], NOW_MS / 1000, amend=False))
        await store.write(lambda: office.register.submit_journeys([journey("J", mrn(1))], NOW_MS / 1000, amend=False))
        before = await store.read(lambda: store.ahead(mrn(1), "J", 1))
        assert before is not None and before.lodged.findings == ()

        first = (await store.read(lambda: store.goods(mrn(1)))).declaration.goods_items[0]  # type: ignore[union-attr]
        rules = sources / "rules" / "profiles.toml"
        text = rules.read_text("utf-8").replace('{ hs2 = "93" }', f'{{ hs4 = "{first.commodity_code[:4]}" }}')
        rules.write_text(text.replace('direction = "OUT"', 'direction = "IN"'), "utf-8")
        built(sources, book, NOW_MS + 1)
        await service.reload()
        await asyncio.gather(*service._tasks)
        after = await store.read(lambda: store.ahead(mrn(1), "J", 1))
        assert after is not None and after.referenced is not None
        assert [one.id for one in after.lodged.findings] == ["DEMO-0005"]
        assert after.lodged.book == after.referenced.book == office.book.version != before.lodged.book

        in_force = office.book
        rules.write_text(text.replace("points = 12", "points = 13"), "utf-8")
        built(sources, book, NOW_MS + 2)
        (book / "rules.rows.npy").write_bytes(b"x")
        await service.reload()
        assert office.book is in_force
    finally:
        await service.stop()
    again = CustomsService(
        tmp_path / "data", load_customs_config(None), None, book
    )  # refused: the last good one stands
    try:
        assert again._office.book.version == in_force.version
    finally:
        await again.stop()


async def test_a_large_book_is_warmed_behind_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "WARM_FROM", 1)
    service = CustomsService(tmp_path / "data", load_customs_config(None))
    try:
        cold = service._office.book.rules.index
        await service.start("127.0.0.1", 0)
        assert service._warmer is not None
        await asyncio.wait_for(service._warmer, LIMIT_S)
        assert service._office.book.rules.index is not cold
        assert service._office.book.rules.rules[0].id == service._compiled.rule(0).id
    finally:
        await service.stop()
