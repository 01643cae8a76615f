"""`borderlane lorries`: simulated units on the approach roads of the real crossings."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import structlog
import typer

from agent.clock import Clock
from agent.domain.holder import Holder, Kind
from agent.errors import ConfigError
from agent.ingest.wire import Topics
from agent.keys import read_public_keys
from agent.logs import configure
from agent.mqtt_link import BrokerAddress
from simulator.fleet import Fleet, LorryLog, Surroundings
from simulator.identities import DEMO, Identities, client_of, http_session
from simulator.lorry_config import LorriesConfig, load_lorries_config
from simulator.scenario_files import scenario_of
from simulator.trade import CustomsUnreachable, hand_in
from zones.errors import ZoneError

LOG_FILE = "lorry-log.jsonl"
FEED_LEAD_S = 0.8
"""Wall seconds from the last declaration to the first lorry: the demo's agent reads the feed twice a second."""
SEED_GUESS_S = 2.0
"""Wall seconds that handing in takes about; only estimated times of arrival depend on it."""

_LOG = structlog.get_logger()


def lorries(
    config: Annotated[Path, typer.Option("--config", help="TOML file of the lorries.")],
) -> None:
    """Simulated lorries: declare, drive, report positions, obey instructions (or, a few, not)."""
    try:
        loaded = load_lorries_config(config)
        configure(loaded.log.format, loaded.log.level)
        keys = read_public_keys(loaded.services.agent_keys, config.parent)
        around = Surroundings(
            broker=BrokerAddress(loaded.broker.host, loaded.broker.port, loaded.broker.protocol),
            topics=Topics(loaded.broker.prefix),
            customs_url=loaded.services.customs_url,
            agent_url=loaded.services.agent_url,
            agent_keys=keys,
            serial_folder=config.parent / loaded.run.serial_folder,
            connections=loaded.broker.connections,
            avl=(loaded.avl.host, loaded.avl.port),
            identities=Identities(config.parent / folder) if (folder := loaded.identities.folder) else None,
        )
        asyncio.run(_run(loaded, config.parent, around))
    except (ConfigError, ZoneError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except CustomsUnreachable as error:
        typer.echo(f"customs: {error}", err=True)
        raise typer.Exit(3) from error


async def _run(config: LorriesConfig, folder: Path, around: Surroundings) -> None:
    clock = Clock(config.clock.speedup, config.clock.origin_s)
    run_folder = folder / config.run.folder
    run_folder.mkdir(parents=True, exist_ok=True)
    planned = scenario_of(config, folder, clock.now_s() + SEED_GUESS_S * clock.speedup)
    async with http_session(client_of(around.identities, Holder(DEMO, Kind.TRADE))) as session:
        declared = await hand_in(session, around.customs_url, planned.lorries)
    start_s = clock.now_s() + FEED_LEAD_S * clock.speedup
    scenario = scenario_of(config, folder, start_s)
    with (run_folder / LOG_FILE).open("a", encoding="utf-8") as file:
        log = LorryLog(file, clock.now_s)
        log.write(
            "started",
            runId=config.run.run_id,
            seed=config.run.seed,
            lorries=len(scenario.lorries),
            startS=start_s,
            seconds=config.run.seconds,
            lastTrackS=scenario.last_track_s,
        )
        _LOG.info("lorries_started", lorries=len(scenario.lorries), declarations=declared)
        fleet = Fleet(scenario, around, clock, log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, fleet.stop)
        loop.add_signal_handler(signal.SIGUSR1, fleet.unplug_serial)
        loop.add_signal_handler(signal.SIGUSR2, fleet.replug_serial)
        await fleet.run()
    _LOG.info("lorries_stopped", **fleet.counts.facts())
