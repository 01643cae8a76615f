"""What the control room keeps of its agents while they are watched: rows, alarms, positions, figures.

Events say which journeys changed; their rows are read a moment later, for all browsers at once, and pushed to them.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from agent.clock import Clock
from agent.domain.times import rfc3339
from agent.status.positions import Changes, FrameError, encode_frame
from simulator.control_room.alarms import AlarmBoard
from simulator.control_room.config import RoomConfig
from simulator.control_room.figures import Figures
from simulator.control_room.frames import AgentFrame, FrameHistory, merged, read_agent_frame, silent_count
from simulator.control_room.merge import OUT_OF_REACH, Room
from simulator.control_room.rows import Changed, RowBook

LOOK_EVERY_S = 1.0
"""Status and positions of each agent are asked for so often, wall seconds."""
GATHER_S = 0.1
"""Rows that changed within so long are read together: well below what an eye takes for at once."""
AGAIN_S = 1.0
"""An agent that did not answer is asked for its rows again after so long."""
WHOLE_EVERY_S = 300.0
"""All rows are read anew so often: rows that end quietly, days after, tell nobody."""
PATIENCE_S = 3.0
"""An agent whose stream stands is not called lost before it has not answered for so long."""
KEYS_CHARACTERS = 3_000
"""Of the keys in one request: the address stays below what servers read."""
ROWS_IN_EVENT = 500
FACTS_MAX = 20_000
"""Events kept for replay."""
REPLAYED = frozenset({"instruction", "alarm", "mode", "incident", "turned_back", "unit_lost", "unit_found", "link"})
"""Kinds of event on the timeline."""
_LOG = structlog.get_logger()


@dataclass
class Wanted:
    """What of an agent's rows has to be read."""

    keys: set[str] = field(default_factory=set)
    whole: bool = True
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Watch:
    """Keeps watch over all agents of a room while `run` runs."""

    def __init__(self, room: Room, config: RoomConfig, clock: Clock) -> None:
        self.room, self.clock = room, clock
        self.book = RowBook()
        self.alarms = AlarmBoard((config.alarms.go_share_min, config.alarms.go_share_max))
        self.figures = Figures()
        self.history = FrameHistory(config.replay.minutes * 60_000)
        self.facts: deque[dict[str, Any]] = deque(maxlen=FACTS_MAX)
        self.changes = Changes()
        self.status: list[dict[str, Any]] = []
        """Of every agent, at most `LOOK_EVERY_S` old."""
        self._answered: dict[str, tuple[dict[str, Any], float]] = {}
        self._frames: dict[str, AgentFrame] = {}
        self._numbers = {link.id: number for number, link in enumerate(room.links, 1)}
        self._wanted: defaultdict[str, Wanted] = defaultdict(Wanted)
        room.heard = self._heard

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.room.run())
            group.create_task(self._look())
            for link in self.room.links:
                group.create_task(self._read_rows(link.id))

    def now_ms(self) -> int:
        """Epoch milliseconds by the clock of the parts."""
        return round(self.clock.now_s() * 1000)

    def silent(self) -> list[str]:
        """Agents that do not answer, or have not yet."""
        heard = {one.get("agent") for one in self.status if one.get("mode") != OUT_OF_REACH}
        return [link.id for link in self.room.links if link.id not in heard]

    # --- events -----------------------------------------------------------------------------------------------

    def _heard(self, agent: str, kind: str, fact: dict[str, Any]) -> None:
        wanted = self._wanted[agent]
        if kind == "link":
            wanted.whole = wanted.whole or bool(fact.get("connected"))
        for name in ("jrn", "unit"):
            if isinstance(fact.get(name), str):
                wanted.keys.add(str(fact[name]))
                break
        if wanted.whole or wanted.keys:
            wanted.news.set()
        if kind == "instruction":
            self.figures.see_instruction(str(fact.get("action")))
        if kind in REPLAYED:
            self.facts.append({"time": rfc3339(self.clock.now_s()), **fact, "kind": kind, "agent": agent})
        self.alarms.see_event(agent, kind, fact, self.clock.now_s())

    async def _read_rows(self, agent: str) -> None:
        wanted, loop = self._wanted[agent], asyncio.get_running_loop()
        wanted.news.set()
        read_s = loop.time()
        while True:
            try:
                async with asyncio.timeout(WHOLE_EVERY_S):
                    await wanted.news.wait()
            except TimeoutError:
                wanted.whole = True
            await asyncio.sleep(GATHER_S)
            wanted.whole = wanted.whole or loop.time() - read_s > WHOLE_EVERY_S
            if wanted.whole:
                read_s = loop.time()
            if not await self._read_wanted(agent, wanted):
                wanted.whole = True
                await asyncio.sleep(AGAIN_S)

    async def _read_wanted(self, agent: str, wanted: Wanted) -> bool:
        """Read what is wanted; False if the agent does not answer."""
        if wanted.whole:
            wanted.keys.clear()
        asked = frozenset() if wanted.whole else _some(wanted.keys)
        wanted.keys -= asked
        wanted.whole = False
        if not wanted.keys:
            wanted.news.clear()
        rows = await self.room.rows(agent, asked)
        if rows is None:
            wanted.news.set()
            return False
        self._tell_rows(self.book.take(agent, self._numbers[agent], rows, asked))
        return True

    def _tell_rows(self, changed: Changed) -> None:
        if not changed.put and not changed.gone:
            return
        self.alarms.see_rows(changed.put, changed.gone, self.clock.now_s())
        gone = list(changed.gone)
        for first in range(0, len(changed.put) or 1, ROWS_IN_EVENT):
            self.room.tell("rows", {"put": changed.put[first : first + ROWS_IN_EVENT], "gone": gone})
            gone = []
        self.tell_alarms()

    def tell_alarms(self) -> None:
        """Push alarms that changed to every browser."""
        put, gone = self.alarms.changes()
        if put or gone:
            self.room.tell("alarms", {"put": [msgspec.to_builtins(alarm) for alarm in put], "gone": gone})

    # --- every second -----------------------------------------------------------------------------------------

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            await asyncio.gather(
                self._look_at_status(), *(self._look_at_positions(link.id) for link in self.room.links)
            )
            self._take()
            await asyncio.sleep(max(0.0, LOOK_EVERY_S - (loop.time() - began_s)))

    async def _look_at_status(self) -> None:
        self.status = [self._patient(one) for one in await self.room.status()]
        self.alarms.see_status(self.status, self.clock.now_s())

    def _patient(self, status: dict[str, Any]) -> dict[str, Any]:
        """What an agent said before, while it only takes long to answer; its age goes on."""
        agent, now_s = str(status["agent"]), asyncio.get_running_loop().time()
        if status["mode"] != OUT_OF_REACH:
            self._answered[agent] = (status, now_s)
        known, answered_s = self._answered.get(agent, (status, -math.inf))
        if not status["connected"] or now_s - answered_s > PATIENCE_S:
            return status
        return known | {name: status[name] for name in ("connected", "heardAgoS")}

    async def _look_at_positions(self, agent: str) -> None:
        frame = await self.room.positions(agent)
        if frame is None:
            return
        try:
            self._frames[agent] = read_agent_frame(frame, self._numbers[agent], self.now_ms())
        except FrameError as error:
            _LOG.warning("agent_frame_refused", agent=agent, reason=str(error))
            return
        self.alarms.see_silent(agent, silent_count(self._frames[agent]), self.clock.now_s())

    def _take(self) -> None:
        now_ms = self.now_ms()
        rows = merged(self._frames, now_ms)
        self.changes.take(rows, now_ms)
        self.history.add(rows, now_ms)
        point = self.figures.take(self.status, len(rows), now_ms)
        if point is not None:
            self.room.tell("figures", msgspec.to_builtins(point))
        self.alarms.tick(self.clock.now_s())
        self.tell_alarms()

    def positions(self, since_ms: int) -> bytes:
        """The newest positions of all agents."""
        rows, now_ms = merged(self._frames, self.now_ms()), self.now_ms()
        return self.changes.frame(now_ms, since_ms) if since_ms else encode_frame(rows, now_ms)


def _some(keys: set[str]) -> frozenset[str]:
    """As many as one request takes."""
    found: list[str] = []
    length = 0
    for key in keys:
        length += 3 * len(key) + 3
        if length > KEYS_CHARACTERS and found:
            break
        found.append(key)
    return frozenset(found)
