"""Reference data from a real customs service, kept for the time when the line is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from joserfc.jwk import OKPKey

from agent.clock import Clock
from agent.ingest.feed import Feed
from agent.keys import read_public_key
from agent.reference import FILE_NAME, ReferenceData
from agent.risk.conditional import WhenCut
from simulator.customs.commands import PUBLIC_FILE, CustomsConfig, CustomsService, RiskTable
from tests.agent.far_side import customs_service, says

WAIT_S = 20.0


@asynccontextmanager
async def customs(folder: Path) -> AsyncIterator[str]:
    config = CustomsConfig(risk=RiskTable(conditional_crossings=("thayngen", "bargen")))
    service = CustomsService(folder, config)
    runner = await service.start("127.0.0.1", 0)
    try:
        yield runner.url
    finally:
        await service.stop()


async def first_taken(folder: Path, url: str, keys: dict[str, OKPKey], wait_s: float = WAIT_S) -> WhenCut | None:
    """What comes into force first; None if nothing does in time."""
    came: asyncio.Queue[WhenCut] = asyncio.Queue()
    async with Feed(url, Clock()) as feed:
        task = asyncio.create_task(ReferenceData(folder, feed, keys, Clock(), came.put).run())
        try:
            async with asyncio.timeout(wait_s):
                return await came.get()
        except TimeoutError:
            return None
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def kept(folder: Path, keys: dict[str, OKPKey]) -> WhenCut:
    return ReferenceData(folder, Feed("http://127.0.0.1:1", Clock()), keys, Clock(), asyncio.Queue[WhenCut]().put).cut


async def test_it_is_taken_and_outlives_the_line(tmp_path: Path) -> None:
    async with customs(tmp_path / "customs") as url:
        keys = {"authority-1": read_public_key(tmp_path / "customs" / PUBLIC_FILE)}
        cut = await first_taken(tmp_path, url, keys)
    assert cut is not None and cut.crossings == {"thayngen", "bargen"} and cut.list_number == 0
    assert kept(tmp_path, keys) == cut


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff"])
async def test_a_changed_file_is_not_believed(tmp_path: Path, damage: bytes) -> None:
    keys = {"authority-1": OKPKey.generate_key("Ed25519", private=True)}
    (tmp_path / FILE_NAME).write_bytes(damage)
    assert kept(tmp_path, keys) == WhenCut()


async def test_another_signer_or_no_reference_data_change_nothing(tmp_path: Path) -> None:
    stranger = {"authority-1": OKPKey.generate_key("Ed25519", private=True)}
    async with customs(tmp_path / "customs") as url:
        assert await first_taken(tmp_path, url, stranger, 1.0) is None
    async with customs_service() as service:
        service.always = says(200, b"[]")
        assert await first_taken(tmp_path, service.url, stranger, 1.0) is None
    assert not (tmp_path / FILE_NAME).exists()
