"""One box without broker and network for tests: real zones, detector and store; a lorry that drives through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.activation.events import Event, FeedRowArrived
from agent.batch import Gathering, Surroundings
from agent.clock import Clock
from agent.config import PolicyConfig
from agent.ingest.intake import restored
from agent.ingest.limits import RateLimits
from agent.ingest.wire import Inbound, Item, Topics
from agent.journal.batch import Committed
from agent.journal.entry import Circumstances
from agent.journal.store import Store
from agent.keys import jwk_of
from agent.postings import sealer
from agent.register import Register
from agent.sheet import Site
from tests.agent.border import T0, journey, row
from zones.catalogue import shipped_zone_set
from zones.detector import Detector
from zones.fix import Fix
from zones.index import ZoneIndex, compile_index

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
AGENT = "box-1"
TOPICS = Topics()
LATITUDE = 47.7418
"""A road through the three zones of thayngen/in, from east to west."""
EAST, IN_TRACKING, IN_ACTIVATION, WEST = 8.7912345, 8.75, 8.7225, 8.6512345
"""Longitudes: outside, inside tracking only, inside the activation zone, past the confirmation zone."""
SPEED_MPS, METRES_PER_DEGREE = 22.0, 74_900.0


@cache
def shipped_index() -> ZoneIndex:
    return compile_index(shipped_zone_set())


@dataclass(frozen=True)
class HandClock(Clock):
    """Stands still until it is moved."""

    hand: list[float] = field(default_factory=lambda: [T0])

    def now_s(self) -> float:
        return self.hand[0]

    def monotonic_s(self) -> float:
        return self.hand[0] - T0

    def move_to(self, at_s: float) -> None:
        self.hand[0] = max(self.hand[0], at_s)


def drive(
    unit: str = "u1", start: float = EAST, end: float = IN_ACTIVATION, start_s: float = T0, step_s: float = 5.0
) -> list[Fix]:
    """Fixes of a lorry at 22 m/s, one each 5 s, the last at `end`."""
    way_m = (start - end) * METRES_PER_DEGREE
    steps = int(way_m / (SPEED_MPS * step_s)) + 1
    return [
        Fix(
            unit=unit,
            time_s=start_s + n * step_s,
            latitude=LATITUDE,
            longitude=start + (end - start) * n / steps,
            received_s=start_s + n * step_s,
            seq=n + 1,
            boot_id="boot-1",
            accuracy_m=5.0,
            speed_mps=SPEED_MPS,
            heading_deg=270.0,
        )
        for n in range(steps + 1)
    ]


def report(fix: Fix) -> bytes:
    """The fix as a unit sends it."""
    return msgspec.json.encode(
        {
            "seq": fix.seq,
            "bootId": fix.boot_id,
            "fixTime": round(fix.time_s * 1000),
            "latitude": fix.latitude,
            "longitude": fix.longitude,
            "accuracy": fix.accuracy_m,
            "speed": fix.speed_mps,
            "heading": fix.heading_deg,
        }
    )


def expected(jrn: str = "JRN-1", unit: str = "u1") -> FeedRowArrived:
    """A journey with one declaration that will cross at Thayngen."""
    return FeedRowArrived(row(journey(jrn, units=(unit,))))


class Roadside:
    """Store, register, detector and cursors of one agent, from what is on disk."""

    def __init__(self, folder: Path, clock: HandClock, max_units: int = 1_000, ballast_bytes: int = 0) -> None:
        self.folder, self.clock = folder, clock
        seal = sealer(jwk_of(KEY), AGENT)
        self.store = Store.open(folder, AGENT, KEY, AGENT, "0.1.0", clock, seal=seal, ballast_bytes=ballast_bytes)
        loaded = self.store.load_state()
        index = shipped_index()
        self.register = Register.loaded(index.zone_set, loaded.records)
        detector = Detector(index)
        for unit, body in loaded.unit_states.items():
            detector.restore(unit, body)
        self.loaded = loaded
        self.around = Surroundings(
            site=Site(AGENT, PolicyConfig()),
            topics=TOPICS,
            inbound=Inbound(TOPICS),
            detector=detector,
            limits=RateLimits(),
            cursors={
                one.unit: restored(one.unit, one.boot_id, one.highest, one.gaps, one.last_fix_ms, clock.now_s())
                for one in loaded.cursors
            },
            last={},
            circumstances=Circumstances(index.zone_set.version, "00" * 32),
            max_units=max_units,
        )

    def gathering(self) -> Gathering:
        return Gathering(self.register, self.around, self.clock.now_s())

    async def take(self, *items: Item, events: tuple[Event, ...] = (), source: str = "mqtt") -> Committed | None:
        """One batch, as the pipeline takes it; None if nothing of it went to disk."""
        gathering = self.gathering()
        gathering.items(items, source)
        for event in events:
            gathering.event(event)
        gathering.tick()
        batch = gathering.commit()
        committed = None if batch is None else await self.store.commit(batch)
        gathering.install()
        return committed

    async def drive(self, fixes: list[Fix]) -> list[Committed]:
        """Fix after fix, each when it was taken; what went to disk."""
        found = []
        for fix in fixes:
            self.clock.move_to(fix.received_s)
            committed = await self.take(fix)
            found += [] if committed is None else [committed]
        return found

    def on_disk(self) -> bytes:
        """Every byte of the data folder."""
        return b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())


def lanes(found: Iterator[Committed] | list[Committed]) -> list[tuple[str, str]]:
    """Lane and key of every stored effect."""
    return [(one.lane, one.key) for committed in found for one in committed.outbox]
