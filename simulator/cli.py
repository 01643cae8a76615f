"""`borderlane`: joins the commands of all packages, each loaded when it is called.

A command's package is imported only when it is named, so that `detect` or `journal verify` start without
aiohttp or paho: import time is most of a short command's run.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from importlib.metadata import version

import typer

EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Place:
    """Where a command lives."""

    module: str
    attribute: str


COMMANDS = {
    "demo": Place("simulator.commands", "demo"),
    "bench": Place("simulator.commands", "bench"),
    "init": Place("agent.commands", "init"),
    "agent": Place("agent.commands", "agent"),
    "customs": Place("simulator.customs.commands", "customs"),
    "lorries": Place("simulator.lorry_commands", "lorries"),
    "control-room": Place("simulator.control_room.commands", "control_room"),
    "detect": Place("agent.commands", "detect"),
    "decode": Place("firmware_bridge.commands", "decode"),
    "zones": Place("zones.commands", "app"),
    "rules": Place("simulator.customs.rule_commands", "app"),
    "journal": Place("agent.journal.commands", "app"),
    "explain": Place("agent.commands", "explain"),
    "config": Place("agent.commands", "config_app"),
    "instruction": Place("agent.commands", "instruction_app"),
    "identity": Place("agent.commands", "identity_app"),
    "status": Place("agent.commands", "status"),
}


def _add(app: typer.Typer, name: str) -> None:
    place = COMMANDS[name]
    target = getattr(importlib.import_module(place.module), place.attribute)
    if isinstance(target, typer.Typer):
        app.add_typer(target, name=name)
    else:
        app.command(name)(target)


def tree(names: list[str]) -> typer.Typer:
    """`borderlane` with these commands."""
    app = typer.Typer(
        name="borderlane",
        help="Opens the border for honest lorries without anyone stopping to show paper.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def root(
        show_version: bool = typer.Option(False, "--version", help="Show the version and exit.", is_eager=True),
    ) -> None:
        if show_version:
            typer.echo(f"borderlane {version('borderlane')}")
            raise typer.Exit

    for name in names:
        _add(app, name)
    return app


def main() -> None:
    """Entry point: exit status 0 good, 1 the thing checked is not good, 2 wrong usage or configuration,
    3 something outside is out of reach, 130 interrupted."""
    named = sys.argv[1] if len(sys.argv) > 1 else ""
    app = tree([named] if named in COMMANDS else list(COMMANDS))
    try:
        status = app(prog_name="borderlane", standalone_mode=True)
        sys.exit(status if isinstance(status, int) else 0)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone: end quietly
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
