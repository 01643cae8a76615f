"""Which package may know of which: the contracts of pyproject.toml, and no cycle of imports anywhere."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import grimp
import pytest

PACKAGES = ("agent", "firmware_bridge", "simulator", "zones")
ROOT = Path(__file__).parents[2]


@cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)


def test_contracts_are_kept() -> None:
    """In a process of its own: the tool sets up logging for itself."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = re.search(r"Contracts: (\d+) kept, 0 broken", done.stdout)
    assert kept is not None
    assert int(kept[1]) >= 3


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """The first cycle found, as a path; empty if there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for following in sorted(edges.get(name, ())):
            found = walk(following, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := walk(name, []))), [])


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = _graph()
    assert cycle({name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}) == []


def test_a_circle_would_be_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


@pytest.mark.parametrize("outer", ["paho", "aiohttp", "serial", "pymodbus", "apsw", "sqlite3"])
def test_each_outside_thing_has_few_owners(outer: str) -> None:
    """A shell owns exactly one outside thing; who else imports its library has to be written down here."""
    owners = {
        "paho": {"agent.mqtt_link", "agent.ingest.mqtt_source", "agent.delivery.unit_channel", "simulator.fleet"},
        "aiohttp": {
            "agent.commands", "agent.delivery.driver_pages", "agent.web", "agent.status.access", "agent.status.api",
            "agent.ingest.feed", "agent.risk.client", "simulator.control_room.api", "simulator.control_room.merge",
            "simulator.control_room.commands", "simulator.control_room.trade", "simulator.lorry_commands",
            "simulator.chaos", "simulator.customs.api", "simulator.demo", "simulator.fleet", "simulator.gathering",
            "simulator.control_room.pages", "simulator.identities",
            "simulator.officers", "simulator.risk_faults", "simulator.trade",
        },
        "serial": {"firmware_bridge.port"},
        "pymodbus": {"firmware_bridge.modbus_output"},
        "apsw": {
            "agent.journal.commands", "agent.journal.database", "agent.journal.evidence", "agent.journal.examine",
            "agent.journal.page_check", "agent.journal.papers", "agent.journal.reader", "agent.journal.retention",
            "agent.journal.store", "agent.journal.tables", "simulator.customs.store",
        },
        "sqlite3": set(),
    }  # fmt: skip
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True)
    found = graph.find_modules_that_directly_import(outer) if outer in graph.modules else set()
    assert found <= owners[outer]
