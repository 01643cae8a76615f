from __future__ import annotations

from pathlib import Path

import pytest

from simulator.broker import Choice, NoBroker, choose, free_port, memory_folder, new_store

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
/dev/vdb /run/disk ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("candidates", "wanted"),
    [
        (["/run", "/dev/shm"], "/run"),
        (["/tmp", "/dev/shm"], "/dev/shm"),
        (["/run/disk", "/run/user/0"], "/run/user/0"),
        (["/runner"], None),
        ([], None),
    ],
)
def test_memory_folder_goes_by_the_innermost_mount(candidates: list[str], wanted: str | None) -> None:
    assert memory_folder(MOUNTS, candidates) == wanted


def test_a_new_store_is_private_and_in_memory_or_encrypted() -> None:
    folder, key = new_store()
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert memory_folder(Path("/proc/mounts").read_text(), [str(folder)]) or len(key) == 64
    finally:
        folder.rmdir()


@pytest.mark.parametrize(
    ("word", "host", "port"),
    [("mqtt://broker.example:2883", "broker.example", 2883), ("mqtt://h", "h", 1883), ("h:99", "h", 99)],
)
def test_a_url_is_a_running_broker(word: str, host: str, port: int) -> None:
    assert choose(word) == Choice("url", host=host, port=port)


@pytest.mark.parametrize("word", ["", "rabbit", "http://h:1", "mqtt://", "mqtt://h:port", "mqtt://h:70000"])
def test_a_word_that_is_no_broker_says_what_was_expected(word: str) -> None:
    with pytest.raises(NoBroker, match=r"--broker"):
        choose(word)


def test_a_named_nats_server_is_taken_and_a_wrong_name_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_a, **_k: None)
    program = tmp_path / "nats"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(NoBroker, match="NATS_SERVER"):
        choose("nats", {"NATS_SERVER": str(program)})
    program.chmod(0o700)
    assert choose("nats", {"NATS_SERVER": str(program)}) == Choice("nats", str(program))


def test_without_nats_mosquitto_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda *_a, **_k: "/usr/sbin/mosquitto")
    assert choose("nats", {}) == Choice("mosquitto", "/usr/sbin/mosquitto")


def test_a_changed_executable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nats-server").write_bytes(b"not the one")
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda *_a, **_k: None)
    with pytest.raises(NoBroker, match=r"sha256 .* expected .*apt install mosquitto"):
        choose("nats", {})


def test_free_ports_are_ports() -> None:
    assert 1024 <= free_port() <= 65_535
