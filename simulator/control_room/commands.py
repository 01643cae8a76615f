"""`borderlane control-room`: serve the pages for a set of agents."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated

import structlog
import typer

from agent import logs
from agent.clock import Clock
from agent.config import CHOICES, TlsTable, http_faults, parse_tables, read_text
from agent.errors import ConfigError, LinkError
from agent.tls import Tls, open_tls
from agent.web import run
from simulator.control_room.api import room_application
from simulator.control_room.config import RoomConfig
from simulator.control_room.merge import Room
from simulator.control_room.trade import Trade
from simulator.control_room.watch import Watch
from simulator.identities import http_session


def control_room(
    config: Annotated[Path, typer.Option("--config", help="Configuration file (TOML).", dir_okay=False)],
) -> None:
    """Serve the control room: live tables of crossings, vehicles and instructions of all agents."""
    try:
        room_config = parse_tables(read_text(config), str(config), RoomConfig, CHOICES, os.environ)
        logs.configure(room_config.log.format, room_config.log.level)
        faults = list(http_faults(room_config.http, TlsTable()))  # nobody is asked who he is
        if faults:
            raise ConfigError("\n".join(f"{config}: {fault}" for fault in faults))
        asyncio.run(_serve(room_config, open_tls(room_config.tls, config.parent)))
    except ConfigError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except LinkError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(3) from error


async def _serve(config: RoomConfig, tls: Tls | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with http_session(tls.client if tls else None) as session:
        room = Room(config.agents, session)
        watch = Watch(room, config, Clock(config.clock.speedup, config.clock.origin_s))
        trade = Trade(config.trade, room)
        tasks = [asyncio.create_task(work) for work in (watch.run(), trade.run())]
        server = tls.server if tls else None
        app = room_application(watch, config.scenario.url, trade.routes())
        runner = await run(app, config.http.host, config.http.port, server)
        structlog.get_logger().info("control_room_serving", url=runner.url, agents=len(config.agents))
        await stop.wait()
        room.stream.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await runner.stop()
