"""Customs is away for 72 hours; everything is held, in order, and handed over when it comes back (F13).

`python -m tests.faults.outage LORRIES FOLDER HOURS SECONDS`: a real agent, broker and customs service as processes.
Their clock runs fast enough for the hours to pass in so many seconds; at the end of the outage the agent is killed
and started again under a clock of ordinary speed, with all that it holds. Then customs comes back.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from shapely import Polygon

from agent.clock import Clock
from agent.domain.times import rfc3339
from agent.journal.reader import Reader
from simulator.broker import Broker, choose
from simulator.dice import Dice
from simulator.papers import Papers, make_papers
from tests.system.box import TOPICS, Box, command, open_box, until
from zones.border_zone import BorderZone, ZoneKind
from zones.catalogue import shipped_zone_set
from zones.events import Direction

DECLARATIONS = 5
"""Of one lorry: 100,000 a day on 20,000 lorries (design/reliability.md, load to prove)."""
LISTED = 40
"""Lorries declared in one request."""
FIXES = 8
"""One a second, in the middle of the activation zone: the last two thirds of them settle the entry."""
WINDOW = 400
"""Messages sent ahead of the agent's acknowledgements."""
FED_IN_S, FED_EACH_S = 12.0, 0.01
"""For the agent to start and to read the feed before the outage begins; far more than it takes."""
FEED_EVERY_S = 0.2
LONG_S = 3_600.0
ORDINARY_REQUEST_S = 3.0
PAGE = 1_000


@dataclass(frozen=True)
class Lorry:
    """One lorry: who, where, and when after the beginning of the outage."""

    unit: str
    zone: BorderZone
    after_s: float
    papers: Papers


def crossings() -> list[BorderZone]:
    """Activation zones inwards that are open at any hour for import and transit."""
    return [
        zone
        for zone in shipped_zone_set().zones
        if zone.kind is ZoneKind.ACTIVATION
        and zone.direction is Direction.IN
        and not zone.opening_hours
        and {"IMPORT", "TRANSIT"} <= set(zone.competences)
    ]


def convoy(count: int, began_s: float, lasts_s: float) -> list[Lorry]:
    """Lorries spread evenly over the outage and the crossings."""
    zones = crossings()
    found = []
    for number in range(count):
        unit, zone, after_s = f"lorry-{number}", zones[number % len(zones)], (number + 0.5) * lasts_s / count
        dice = Dice("outage", number)
        papers = make_papers("out", number, unit, zone, began_s + after_s, dice, declarations=DECLARATIONS)
        found.append(Lorry(unit, zone, after_s, papers))
    return found


def reports(lorry: Lorry, now_s: float) -> bytes:
    """What its unit says at the end of `FIXES` seconds in the zone."""
    place = Polygon(lorry.zone.polygons[0][0]).representative_point()
    return msgspec.json.encode(
        [
            {"bootId": "b", "seq": seq, "fixTime": rfc3339(now_s - (FIXES - 1 - seq)), "latitude": place.y,
             "longitude": place.x, "accuracy": 3, "speed": 0}
            for seq in range(FIXES)
        ]
    )  # fmt: skip


def parts(lorries: Sequence[Lorry]) -> Iterator[Sequence[Lorry]]:
    for first in range(0, len(lorries), LISTED):
        yield lorries[first : first + LISTED]


class Outage:
    """One run.

    Args:
        box: Customs and broker serve.
        count: Lorries.
        hours: How long customs is away, by the agent's clock.
        seconds: The same by the wall.
    """

    def __init__(self, box: Box, count: int, hours: float, seconds: float) -> None:
        self.box, self.count, self.seconds, self.lasts_s = box, count, seconds, hours * 3_600.0
        self.clock = Clock()
        self.began_s = time.time() - self.lasts_s
        self.lorries = convoy(count, time.time(), self.lasts_s)
        self.largest = 0

    def configure(self) -> None:
        """The agent's fast clock; time-outs and pauses stay what they are on the wall.

        It agrees with the wall at the end of the outage, so that another process can go on from there.
        """
        ends_s = time.time() + FED_IN_S + self.count * FED_EACH_S + self.seconds
        self.clock = Clock(self.lasts_s / self.seconds, ends_s)
        self.began_s = ends_s - self.lasts_s
        pace = {
            "customs.request_timeout_s": ORDINARY_REQUEST_S * self.clock.speedup,
            "customs.feed_interval_s": FEED_EVERY_S * self.clock.speedup,
        }
        self.box.configure(pace, f"\n[clock]\nspeedup = {self.clock.speedup}\norigin_s = {self.clock.origin_s}\n")

    def ordinary(self) -> None:
        """The wall's pace from now on."""
        text = self.box.config_file.read_text().partition("\n[clock]")[0]
        self.box.config_file.write_text(f"{text}\n")
        self.box.configure({"customs.request_timeout_s": ORDINARY_REQUEST_S, "customs.feed_interval_s": FEED_EVERY_S})

    async def prepare(self) -> None:
        """Everything is declared, and the agent has it; then customs is away."""
        for part in parts(self.lorries):
            goods = tuple(one for lorry in part for one in lorry.papers.goods)
            await self.box.post_declarations("goods-declarations", goods)
            journeys = tuple(lorry.papers.journey for lorry in part)
            await self.box.post_declarations("transport-declarations", journeys)
        self.configure()
        await self.box.start_agent()
        await until(self._fed, "the agent has every journey", LONG_S, 0.5)
        await self.box.customs.stop()
        late_s = self.clock.now_s() - self.began_s
        assert late_s < 0.0, f"{late_s / self.clock.speedup:.0f} s too slow: the outage would be too short"
        await asyncio.sleep(-late_s / self.clock.speedup)

    async def _fed(self) -> bool:
        return int((await self._status())["journeys"]) >= self.count

    async def _status(self) -> dict[str, Any]:
        return dict(await self.box.get("/v1/status"))

    async def pass_by(self) -> None:
        """All the lorries of the outage."""
        client = Client(CallbackAPIVersion.VERSION2, client_id="convoy")
        client.connect(self.box.broker.host, self.box.broker.port)
        client.loop_start()
        try:
            for number, lorry in enumerate(self.lorries):
                ahead_s = self.began_s + lorry.after_s - self.clock.now_s()
                await asyncio.sleep(max(0.0, ahead_s / self.clock.speedup))
                sent = client.publish(TOPICS.position(lorry.unit), reports(lorry, self.clock.now_s()), qos=1)
                if number % WINDOW == WINDOW - 1:
                    await until(sent.is_published, "the broker takes messages", LONG_S)
                    await until(lambda done=number: self._taken(done - WINDOW), "the agent keeps up", LONG_S, 0.2)
            await until(lambda: self._taken(self.count), "every lorry was activated", LONG_S, 0.5)
        finally:
            client.disconnect()
            client.loop_stop()

    async def _taken(self, lorries: int) -> bool:
        self.note_size()
        with Reader.open(self.box.data) as reader:
            return reader.counts().activations >= lorries * DECLARATIONS

    def note_size(self) -> None:
        """How large the data folder is, with its log and what is put aside."""
        size = sum(file.stat().st_size for file in self.box.data.iterdir() if file.is_file())
        self.largest = max(self.largest, size)

    async def restart(self) -> float:
        """Killed with all that it holds; returns how long it took to serve again, seconds."""
        await asyncio.sleep(max(0.0, self.clock.origin_s - time.time()))
        await self.box.kill_agent()
        self.ordinary()
        return await self.box.start_agent()

    async def drain(self) -> float:
        """Customs is back; returns how long it took until it had everything, seconds."""
        began_s = time.monotonic()
        await self.box.start_customs()
        await until(self._drained, "customs has everything", LONG_S, 0.5)
        return time.monotonic() - began_s

    async def _drained(self) -> bool:
        self.note_size()
        with Reader.open(self.box.data) as reader:
            return not any(row.lane == "activation" for row in reader.outbox_pending())

    async def at_customs(self) -> list[dict[str, Any]]:
        """All activations in customs' register, in the order in which they came."""
        rows: list[dict[str, Any]] = []
        page: dict[str, Any] = {"marker": 0}
        while rows_more := (page := await self._page(page["marker"])).get("rows"):
            rows += rows_more
        return rows

    async def _page(self, marker: int) -> dict[str, Any]:
        return dict(await self.box.ask_customs(f"/v1/activations?marker={marker}&limit={PAGE}"))


def in_order(data: Path) -> dict[str, list[str]]:
    """Activation ids of each crossing, as they were decided."""
    with Reader.open(data) as reader:
        crossing_of = {row.activation_id: row.crossing for row in reader.activations()}
        decided: dict[str, dict[str, None]] = defaultdict(dict)
        for entry in reader.entries():
            if entry.activation_id in crossing_of:
                decided[crossing_of[entry.activation_id]][entry.activation_id] = None
    return {crossing: list(ids) for crossing, ids in decided.items()}


def compared(decided: dict[str, list[str]], rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """What is missing, double, refused or out of its turn at customs."""
    came: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        came[row["crossing"]].append(row["activationId"])
    ids = [row["activationId"] for row in rows]
    return {
        "lost": len({one for group in decided.values() for one in group} - set(ids)),
        "twice": len(ids) - len(set(ids)),
        "refused": sum(row["result"] != "ACCEPTED" for row in rows),
        "outOfOrder": sum(came[crossing] != group for crossing, group in decided.items()),
    }


async def outage(count: int, folder: Path, hours: float, seconds: float) -> dict[str, Any]:
    """One run from the first declaration to the last acceptance."""
    broker = Broker(choose("nats"), folder / "broker")
    await broker.start()
    try:
        async with open_box(folder, broker) as box:
            run = Outage(box, count, hours, seconds)
            await run.prepare()
            await run.pass_by()
            held = len(box.journal_activations())
            restarted_s = await run.restart()
            drained_s = await run.drain()
            rows = await run.at_customs()
            assert await box.agent.stop()
            status, out, err = await command(
                "journal", "verify", "--data", str(box.data), "--key", str(box.agent_key), "--json", patience_s=LONG_S
            )
            found = compared(in_order(box.data), rows)
    finally:
        await broker.stop()
    return {
        "held": held, "atCustoms": len(rows), **found, "bad": sum(found.values()), "crossings": len(crossings()),
        "largestBytes": run.largest, "restartS": round(restarted_s, 2), "drainS": round(drained_s, 1),
        "perS": round(held / drained_s), "verified": status == 0, "said": err or out[:200],
    }  # fmt: skip


if __name__ == "__main__":
    lorries, place, hours, seconds = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(outage(int(lorries), Path(place), float(hours), float(seconds)))))
