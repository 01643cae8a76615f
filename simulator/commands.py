"""`borderlane demo` and `borderlane bench`: the command lines of the whole system."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

NOT_GOOD, WRONG_USAGE, OUT_OF_REACH, INTERRUPTED = 1, 2, 3, 130
OWN_BROKERS = ("nats", "mosquitto")
"""Words of `--broker` for which we start one; anything else has to be the address of one."""


def demo(
    lorries: Annotated[int, typer.Option(min=1, max=20_000, help="Lorries on the road.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 1,
    speedup: Annotated[
        float, typer.Option(min=0.1, max=100.0, help="One clock for all parts, so many times as fast.")
    ] = 1.0,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="Wall seconds; else until Ctrl-C, with --check 60.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_532, help="Control room; agent, customs, broker follow.")
    ] = None,
    tracks: Annotated[
        Path | None,
        typer.Option(help="Folder of recorded tracks that drive the lorries.", exists=True, file_okay=False),
    ] = None,
    broker: Annotated[str, typer.Option(help="nats, mosquitto, or mqtt://HOST:PORT of a running one.")] = "nats",
    check: Annotated[bool, typer.Option("--check", help="No live view; end by itself and report.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON document.")] = False,
    chaos: Annotated[
        str | None,
        typer.Option(help="Play faults: kill-agent, kill-broker, cut-customs, slow-risk, unplug-serial or all."),
    ] = None,
    book: Annotated[
        Path | None,
        typer.Option(help="Rule book of customs, sources or compiled.", exists=True, file_okay=False),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Every part has a certificate and asks for one.")] = False,
) -> None:
    """Run the whole system on this machine: broker, customs, agent, lorries on real crossings, control room."""
    from agent.errors import AgentError, ConfigError
    from simulator.broker import NoBroker
    from simulator.demo import DemoOptions
    from simulator.parts import PartFailed
    from zones.errors import ZoneError

    options = DemoOptions(lorries, seed, speedup, seconds, port, tracks, broker, check, chaos, book, tls)
    try:
        status = asyncio.run(_demo(options, as_json))
    except (ConfigError, ZoneError) as error:
        raise _refuse(error, WRONG_USAGE) from error
    except NoBroker as error:
        raise _refuse(error, OUT_OF_REACH if broker in OWN_BROKERS else WRONG_USAGE) from error
    except (PartFailed, AgentError) as error:
        raise _refuse(error, OUT_OF_REACH) from error
    raise typer.Exit(status)


def _refuse(error: Exception, status: int) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(status)


async def _demo(options: object, as_json: bool) -> int:
    from rich.console import Console

    from agent.logs import configure
    from simulator.demo import Demo, DemoOptions
    from simulator.demo_view import LineView, LiveView
    from simulator.report_view import report_view
    from simulator.scenario_files import read_tracks

    assert isinstance(options, DemoOptions)
    if options.tracks is not None:
        read_tracks(options.tracks)  # before anything is started
    configure(level="warning")  # to standard error: standard output is the report's
    console = Console(stderr=as_json or options.check)
    live = sys.stdout.isatty() and not options.check and not as_json
    view = LiveView(console, options.seconds) if live else LineView(console, quiet=options.check)
    run = Demo(options, view.tell)
    keep = True
    try:
        with view:
            outcome = await run.run()
        keep = not run.clean or (outcome is not None and not outcome.report["ok"])
    finally:
        if keep:
            console.print(f"files of this run: {run.folder}")
        else:
            run.remove_folder()
    if outcome is None:
        return INTERRUPTED if run.stopped_early and options.check else 0
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(outcome.report), indent=1))
    else:
        Console().print(report_view(outcome.report, outcome.findings))
    for finding in outcome.findings[:50] if as_json else ():
        console.print(f"{finding.what}: {finding.key}: {finding.detail}", highlight=False)
    return 0 if outcome.report["ok"] else NOT_GOOD


def bench(
    groups: Annotated[
        list[str] | None, typer.Argument(help="detection, risk, bridge, journal, start. Default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of figures.")] = False,
    scale: Annotated[float, typer.Option(min=0.001, max=1.0, help="Share of the full load, to try it out.")] = 1.0,
) -> None:
    """Measure how fast this machine does it, beside what others do in the same run."""
    from rich.console import Console

    from simulator.bench import GROUPS
    from simulator.bench_figure import Figure

    for unknown in [group for group in groups or () if group not in GROUPS]:
        typer.echo(f"error: {unknown!r}: expected {', '.join(GROUPS)}", err=True)
        raise typer.Exit(WRONG_USAGE)
    console, figures = Console(stderr=True), list[Figure]()
    for group in groups or GROUPS:
        for figure in GROUPS[group](lambda words: console.print(words, style="dim"), scale=scale):
            figures.append(figure)
            if not as_json:
                peers = "".join(f"  {name} {_rounded(value)}" for name, value in figure.peers.items())
                typer.echo(f"{figure.id:<24}{_rounded(figure.value):>14} {figure.unit}{peers}")
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(figures), indent=1))


def _rounded(value: float) -> str:
    return f"{value:,.{0 if value >= 1_000 else 1 if value >= 10 else 3}f}"
