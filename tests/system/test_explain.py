"""`borderlane explain` on what a real run left: a GO, a lorry nobody expects, one on a parallel road."""

from __future__ import annotations

import asyncio
import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.journal.reader import Reader
from simulator.broker import NoBroker, choose
from simulator.demo import Demo, DemoOptions
from simulator.lorry_config import load_lorries_config
from simulator.scenario import Behaviour, LorryPlan
from simulator.scenario_files import scenario_of
from tests.system.box import command
from zones.catalogue import shipped_zone_set
from zones.index import compile_index

pytestmark = [pytest.mark.system, pytest.mark.timeout(170)]

OPTIONS = DemoOptions(lorries=60, seconds=30.0, speedup=4.0, seed=3, check=True)
"""Two minutes of the run's clock: the lorry on the parallel road has time to leave the tracking zone."""


class Run:
    """A run that has ended, with its folder."""

    def __init__(self, demo: Demo) -> None:
        self.data = demo.layout.agent_data
        config = load_lorries_config(demo.layout.file("lorries"))
        self._plans = scenario_of(config, demo.folder, 0.0).lorries

    def plans(self, behaviour: Behaviour) -> list[LorryPlan]:
        return [plan for plan in self._plans if plan.behaviour is behaviour]

    async def explain(self, name: str, *more: str) -> tuple[int, str, str]:
        return await command("explain", name, "--data", str(self.data), *more)

    async def explained(self, name: str) -> dict[str, Any]:
        status, out, err = await self.explain(name, "--json")
        assert status == 0, err
        return dict(msgspec.json.decode(out))


@pytest.fixture(scope="module")
def run(absent: Callable[[str], str]) -> Iterator[Run]:
    """One run for all tests here; it takes half a minute."""
    try:
        choose("nats")
    except NoBroker as error:
        absent(str(error))
    demo = Demo(OPTIONS, lambda kind, fact: None)
    with contextlib.ExitStack() as stack:
        stack.callback(demo.remove_folder)
        outcome = asyncio.run(demo.run())
        assert outcome is not None
        assert outcome.report["activations"]["journal"] > 10
        yield Run(demo)


async def test_a_go_is_explained_from_fix_to_receipt(run: Run, tmp_path: Path) -> None:
    found = None
    for plan in run.plans(Behaviour.REGULAR):
        journey = plan.papers.journey
        assert journey is not None
        found = await run.explained(journey.jrn)
        told = [one for handling in found["handlings"] for one in handling["instructions"]]
        if found["activated"] and {one["action"] for one in told} == {"GO"}:  # at once, not released by an officer
            break
    assert found is not None
    (activated,) = [one for one in found["passages"] if one["activated"]]
    assert activated["crossing"] == plan.crossing
    assert activated["decidedAgain"] is True
    entry = next(one for one in activated["events"] if one["zone"] == "ACTIVATION")
    assert entry["rule"] in ("WHOLE_CIRCLE", "TWO_FIXES", "DWELL", "PASSED", "FIRST_FIX")
    assert any(fix["time"] == entry["settledAt"] for fix in activated["fixes"])
    (handling,) = found["handlings"]
    assert {one["routing"] for one in handling["declarations"]} == {"TO_ENTRY"}
    assert {one["customs"] for one in handling["declarations"]} == {"ACCEPTED"}
    assert handling["instructions"][0]["displayedAt"] is not None
    svg = tmp_path / "why.svg"
    status, out, err = await run.explain(found["name"], "--svg", str(svg))
    assert (status, err) == (0, "")
    assert "told GO" in out.splitlines()[1]
    assert plan.crossing in [
        one.text for one in ET.fromstring(svg.read_text()).iter("{http://www.w3.org/2000/svg}text")
    ]


async def test_a_lorry_that_nobody_expects(run: Run) -> None:
    (plan, *_) = run.plans(Behaviour.UNKNOWN)
    status, out, err = await run.explain(plan.unit)
    assert (status, err) == (0, "")
    assert "not activated" in out.splitlines()[1]
    assert "no journey names this unit; told " in out.splitlines()[1]
    assert "instruction version 1: HOLD (UNKNOWN_VEHICLE)" in out


async def test_a_bypass(run: Run) -> None:
    (plan,) = run.plans(Behaviour.PARALLEL)
    journey = plan.papers.journey
    assert journey is not None
    found = await run.explained(journey.jrn)
    assert not found["activated"]
    here = next(
        one for one in found["passages"] if (one["crossing"], one["direction"]) == (plan.crossing, plan.direction.value)
    )
    assert "passed on another road" in here["verdict"]


async def test_an_unknown_name_is_exit_1(run: Run) -> None:
    status, out, err = await run.explain("L-9999")
    assert (status, out) == (1, "")
    assert "L-9999: neither a journey nor a unit nor a plate" in err


def test_of_all_units_only_fixes_inside_zones_were_kept(run: Run) -> None:
    index = compile_index(shipped_zone_set())
    with Reader.open(run.data) as reader:
        kept = [seen for unit in reader.telemetry_units() for row in reader.telemetry(unit) for seen in row.fixes]
    assert len(kept) > 500
    assert all(index.containing(seen.latitude, seen.longitude) for seen in kept)
