"""The agent on a disk that fills up: a clear mode, no activation, and back by itself (design/reliability.md, F3)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulator.broker import Broker
from tests.system.box import TOPICS, Box, Watcher, open_box, until

pytestmark = [pytest.mark.system, pytest.mark.nightly, pytest.mark.timeout(180)]

DISK = "24m"
BALLAST_MB = 4
ALARM_S, BACK_S = 1.0, 5.0
LOAD_S = 3.0
"""What a machine that does other work besides may add."""


@pytest.fixture
def small_disk(tmp_path: Path, absent: Callable[[str], str]) -> Iterator[Path]:
    """A memory-backed file system of a few megabytes, as root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", folder], capture_output=True, check=False
    )
    if done.returncode != 0:
        absent(f"no tmpfs can be mounted: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> Path:
    """Take up every last byte."""
    path = folder / "somebody-elses.log"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4_096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


async def mode_of(box: Box) -> str:
    return str((await box.get("/v1/status"))["mode"])


async def test_a_full_disk_stops_activations_and_ends_by_itself(
    any_broker: Broker, tmp_path: Path, small_disk: Path
) -> None:
    values = {"agent.data_dir": str(small_disk / "data"), "agent.ballast_mb": BALLAST_MB}
    async with open_box(tmp_path, any_broker, values) as box, box.unit("lorry-1") as one, box.unit("lorry-2") as two:
        box.data = small_disk / "data"
        watcher = Watcher(any_broker, TOPICS.status("box-1"))
        try:
            await box.start_agent()
            for number, name in enumerate(("lorry-1", "lorry-2"), start=1):
                await box.expected(name, number=number)
            one.drive_in()
            assert (await one.told()).action == "GO"

            filler = fill(small_disk)
            one.acknowledge(one.instructions[0])  # something to write

            async def readonly() -> bool:
                return await mode_of(box) == "JOURNAL_READONLY"

            began_s = time.monotonic()
            two.drive_in()
            await until(readonly, "the mode says it")
            assert time.monotonic() - began_s < ALARM_S + LOAD_S
            await until(lambda: watcher.payloads[-1]["mode"] == "JOURNAL_READONLY", "everybody is told")
            assert (await box.get("/readyz"))["ok"] is False
            assert box.log("journal_readonly")[0]["level"] == "error"
            assert (small_disk / "data" / "ballast").exists() is False, "given up to close what is open"
            fill(small_disk)  # and that is gone, too
            two.drive_in("b2")

            filler.unlink()
            back_s = time.monotonic()

            async def normal() -> bool:
                return await mode_of(box) == "NORMAL"

            await until(normal, "back by itself")
            assert time.monotonic() - back_s < BACK_S + LOAD_S
            assert (await two.told()).action == "GO"
            await until(lambda: (small_disk / "data" / "ballast").exists(), "put aside again")
        finally:
            watcher.close()
        assert await box.agent.stop()
        assert len(set(box.journal_activations())) == len(box.journal_activations()) == 4
        assert (await box.verify_journal())["verified"] is True
