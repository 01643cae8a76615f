"""agent/app.py in this process: starts without broker and customs, reloads, ends for the right reason."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import pytest
import structlog

from agent.activation.events import ModeChanged
from agent.app import App
from agent.config import load_config
from agent.errors import JournalError
from agent.ingest.feed import FEED_PATH
from agent.keys import make_key
from agent.pipeline import Happened
from agent.status.modes import Mode
from simulator.parts import free_ports
from simulator.serial_unit import SerialReceiver
from tests.agent.far_side import customs_service, says
from zones.catalogue import shipped_bytes

WAIT_S = 15.0


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_key(tmp_path / "keys" / "agent.key.pem", tmp_path / "keys" / "agent.pub.pem")
    return tmp_path


def configure(folder: Path, customs_url: str = "http://127.0.0.1:1", more: str = "") -> Path:
    """Nobody listens where the broker should be."""
    (broker,) = free_ports(1)
    file = folder / "borderlane.toml"
    file.write_text(
        f'[mqtt]\nport = {broker}\nprotocol = "3.1.1"\n[http]\nport = 0\n[log]\nlevel = "error"\n'
        f'[customs]\nurl = "{customs_url}"\nfeed_interval_s = 0.05\n'
        f'authority_keys = {{ a = "keys/agent.pub.pem" }}\n{more}',
        "utf-8",
    )
    return file


@asynccontextmanager
async def running(file: Path) -> AsyncIterator[tuple[App, asyncio.Task[None]]]:
    app = App(load_config(file, {}), file)
    task = asyncio.create_task(app.run())
    try:
        yield app, task
    finally:
        app._stop.set()
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait([task])
            await app.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.01)


def feed_of(*pages: bytes) -> Callable[[Any], Awaitable[Any]]:
    left = list(pages)

    async def answer(request: Any) -> Any:
        if request.path != FEED_PATH:
            return await says(200)(request)
        marker = request.query["marker"].encode()
        return await says(200, left.pop(0) if left else b'{"marker":%s,"rows":[]}' % marker)(request)

    return answer


async def test_it_stops_when_told_and_leaves_its_folder_to_the_next(folder: Path) -> None:
    file = configure(folder)
    for _ in range(2):
        async with running(file) as (app, task):
            await until(lambda: app.url != "")
        assert task.done() and task.exception() is None


async def test_without_customs_and_broker_it_says_so(folder: Path) -> None:
    async with running(configure(folder)) as (app, _task):
        await until(lambda: {"UPLINK_LOST", "BROKER_LOST"} <= {mode.name for mode in app.condition.degraded})
        status = app.condition.status(app.parts)
        assert status.mode == "BROKER_LOST" and not status.customs_reachable and not status.broker_connected
        assert app.condition.ready(app.parts) == {"journal": True, "broker": False, "zones": True}
        await until(lambda: app.condition.entries > 0)
    kinds = modes_in_journal(folder)
    assert "MODE_CHANGED" in kinds


def modes_in_journal(folder: Path) -> list[str]:
    connection = apsw.Connection(str(database_of(folder)), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [json.loads(body)["kind"] for (body,) in connection.execute("SELECT body FROM journal ORDER BY seq")]
    finally:
        connection.close()


def database_of(folder: Path) -> Path:
    (found,) = [path for path in (folder / "data").iterdir() if path.suffix in (".db", ".sqlite", ".sqlite3")]
    return found


def drop_table(folder: Path, name: str) -> None:
    """From now on no commit that writes there can succeed."""
    other = apsw.Connection(str(database_of(folder)))
    other.set_busy_timeout(5_000)
    other.execute(f"DROP TABLE {name}")
    other.close()


async def test_a_journal_that_fails_ends_it_with_that_error_and_not_a_group(folder: Path) -> None:
    """`borderlane agent` turns this into a message and exit status 1."""
    async with running(configure(folder)) as (app, task):
        drop_table(folder, "journal")
        await app.parts.pipeline.submit(Happened((ModeChanged("NORMAL"),)))
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait([task])
        assert isinstance(task.exception(), JournalError)


async def test_a_feed_page_is_on_disk_before_the_next_is_asked_for(folder: Path) -> None:
    async with customs_service() as customs:
        customs.always = feed_of(b'{"marker":7,"rows":[{"marker":7,"what":"no journey"}]}')
        async with running(configure(folder, customs.url)) as (app, _task):
            await until(lambda: app.condition.marker == 7)
            assert app.parts.store.load_state().feed_marker == 7
            assert app.condition.status(app.parts).customs_reachable
            assert (await app.parts.store.counts()).refusals == 1
        async with running(configure(folder, customs.url)) as (again, _task):
            assert again.condition.marker == 7


async def test_a_feed_page_that_is_not_on_disk_is_asked_for_again(folder: Path) -> None:
    async with customs_service() as customs:
        customs.always = feed_of()
        async with running(configure(folder, customs.url)) as (app, task):
            await customs.until(1)
            drop_table(folder, "feed")
            customs.always = feed_of(b'{"marker":7,"rows":[]}')
            async with asyncio.timeout(WAIT_S):
                await asyncio.wait([task])
            assert isinstance(task.exception(), JournalError) and app.condition.marker == 0
        assert {one.query for one in customs.asked if one.path == FEED_PATH} == {"marker=0&limit=1000"}


def refusing_heads(pages: Callable[[Any], Awaitable[Any]], refused: list[bool]) -> Callable[[Any], Awaitable[Any]]:
    """A customs service that holds a longer journal of this agent while `refused` says so."""

    async def answer(request: Any) -> Any:
        if request.path == "/v1/checkpoints":
            conflict = b'{"title":"Conflict","status":409,"detail":"held","heldSize":1000000}'
            return await says(*((409, conflict) if refused[0] else (200,)))(request)
        return await pages(request)

    return answer


async def test_a_journal_that_customs_does_not_know_takes_nothing_until_it_is_reconciled(folder: Path) -> None:
    async with customs_service() as customs:
        refused = [True]
        customs.always = refusing_heads(feed_of(), refused)
        async with running(configure(folder, customs.url)) as (app, _task):
            await until(lambda: app.condition.mode is Mode.JOURNAL_READONLY)
            assert not app.condition.ready(app.parts)["journal"]
            entries = app.condition.entries
            await app.parts.pipeline.submit(Happened((ModeChanged("NORMAL"),)))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await app.parts.pipeline.record(ModeChanged("NORMAL"))
            assert app.condition.entries == entries
            refused[0] = False
            await until(lambda: app.condition.mode is not Mode.JOURNAL_READONLY)
            await until(lambda: app.condition.entries >= entries + 2)


async def test_a_reload_swaps_the_zones_and_a_bad_file_changes_nothing(folder: Path) -> None:
    async with running(configure(folder)) as (app, _task):
        shipped = app.register.zone_set.version
        collection = json.loads(shipped_bytes("border_zones.geojson"))
        collection["borderlane"]["version"] = "2027-01-01.1"
        (folder / "zones.geojson").write_text(json.dumps(collection), "utf-8")
        good = app.config_file.read_text("utf-8")
        app.config_file.write_text(good + '[zones]\nfile = "gone.geojson"\n', "utf-8")
        await app._reload()
        assert app.register.zone_set.version == shipped
        app.config_file.write_text(good + '[zones]\nfile = "zones.geojson"\n', "utf-8")
        await app._reload()
        await until(lambda: app.register.zone_set.version == "2027-01-01.1")
        assert json.loads(app.condition.message())["zoneSet"] == "2027-01-01.1"


async def test_the_http_interface_serves_the_agent_itself(folder: Path) -> None:
    async with running(configure(folder)) as (app, _task):
        await until(lambda: app.url != "")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{app.url}/v1/status") as answer:
                page = await answer.json()
            assert (page["agent"], page["zones"]) == ("box-1", 384)
            override = {"action": "GO", "officer": "Muster", "reason": "x"}
            async with session.post(f"{app.url}/v1/journeys/nobody/override", json=override) as answer:
                assert answer.status == 404


async def test_an_ais_port_is_recorded_where_the_configuration_allows_it(folder: Path) -> None:
    with SerialReceiver(folder / "serial", "mast") as receiver:
        more = f'[[serial]]\nunit = "mast"\npath = "{receiver.path}"\nrole = "ais"\nbaud = 38400\n'
        more += '[capture]\nports = ["mast"]\nallow_vehicle_positions = true\n'
        async with running(configure(folder, more=more)) as (app, _):
            [mast] = app.parts.serial
            await until(lambda: mast.state.value == "open")
            line = b"!AIVDM,1,1,,B,13U4vF0P001d<UnEeSmQ>gv`04hd,0*4C\r\n"
            receiver.write(line)
            await until(lambda: mast.left_out["no_journey"] == 1)
            assert app.condition.status(app.parts).capture == {"mast": "recording"}
            [capture] = (folder / "captures").iterdir()
            assert b64encode(line) in capture.read_bytes()
        assert app.condition.status(app.parts).capture == {"mast": "closed"}


async def test_a_recording_that_cannot_begin_does_not_keep_the_agent_down(folder: Path) -> None:
    (folder / "captures").write_text("a file where the folder should be")
    more = '[[serial]]\nunit = "sign"\npath = "/dev/none"\nrole = "ais"\n'
    more += '[capture]\nports = ["sign"]\nallow_vehicle_positions = true\n'
    async with running(configure(folder, more=more)) as (app, _):
        await until(lambda: bool(app.url))
        assert app.condition.status(app.parts).capture == {}
