"""What `borderlane bench` measures; one function for each group of figures of contract section 10.

Rates are fixes for each second of processor time of this process, so for one core; the best of REPEATS runs,
since a shared machine only ever makes a run slower. Peers answer the same question about the same fixes in the
same run: which zones is this position in? They keep no state, so what they leave out is most of the work.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import shapely

from agent import interpreter
from agent.ingest.wire import decode_positions, encode_list, encode_rows
from simulator.bench_bridge import bridge
from simulator.bench_figure import REPEATS, Figure, Tell
from simulator.bench_journal import journal, start
from simulator.bench_load import Load, make_load, small_zones
from simulator.bench_risk import risk
from zones.catalogue import shipped_zone_set
from zones.detector import Detector
from zones.fix import Fix
from zones.index import ZoneIndex, compile_index

VEHICLES, EACH = 20_000, 30
SEED = 1
BORDER, INLAND = 1.0, 0.1
"""Share of the vehicles that drive about a crossing."""
ZONE_COUNTS = (1_000, 10_000, 100_000)
PEER_FIXES = 3_000
"""Peers are slow: they answer for this many."""
ROWS_A_BATCH = 100
"""Reports of one message from a telematics platform."""
LATENCY_FIXES = 200_000
MEMORY_VEHICLES = 4_000
SWAP_VEHICLES = 20_000


def detection(tell: Tell, *, scale: float = 1.0, repeats: int = REPEATS) -> Iterable[Figure]:
    """Figures `engine.*`, each as soon as it is known.

    Args:
        tell: Is told what is being measured.
        scale: Share of the vehicles and fixes to measure with; the targets are meant for 1.
        repeats: Runs of which the best counts.
    """
    zone_set = shipped_zone_set()
    index = compile_index(zone_set)
    vehicles = max(10, round(VEHICLES * scale))
    loads: dict[str, Load] = {}
    for name, share in (("border", BORDER), ("inland", INLAND)):
        tell(f"{name} mix: {vehicles} vehicles, {EACH} fixes each, {len(zone_set.zones)} zones")
        loads[name] = make_load(name, zone_set, vehicles=vehicles, each=EACH, border_share=share, seed=SEED)
        interpreter.settle_memory()  # as in the agent, and the collector shall not look at what the measuring holds
        rate = max(_engine_rate(index, loads[name]) for _ in range(repeats))
        yield Figure(f"engine.{name}", rate, "fixes/s", _peer_rates(index, loads[name], scale))
    tell("decoding MessagePack rows and maps, then the engine")
    rows = max(_decode_rate(index, loads["inland"], encode_rows) for _ in range(repeats))
    maps = max(_decode_rate(index, loads["inland"], _encode_maps) for _ in range(repeats))
    yield Figure("engine.decode", rows, "fixes/s", {"borderlane-maps": maps})
    yield from _by_zone_count(tell, vehicles, scale)
    tell("latency of one fix, swap of the zone set, memory")
    yield Figure("engine.feedP99Us", _feed_p99_us(index, loads["border"], scale), "us")
    yield Figure("engine.swapMs", _swap_ms(loads["inland"], repeats), "ms")
    yield Figure("engine.bytesPerVehicle", _bytes_per_vehicle(index, scale), "bytes")


GROUPS = {"detection": detection, "risk": risk, "bridge": bridge, "journal": journal, "start": start}
"""Words of `borderlane bench` to what they measure."""


# --- rates ----------------------------------------------------------------------------------------


@dataclass
class _Stopwatch:
    """Processor seconds between enter and exit, added up."""

    spent_s: float = 0.0
    _since_s: float = field(default=0.0, repr=False)

    def __enter__(self) -> None:
        self._since_s = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.spent_s += time.process_time() - self._since_s


def _engine_rate(index: ZoneIndex, load: Load) -> float:
    detector, watch = Detector(index), _Stopwatch()
    feed = detector.feed
    gc.collect()
    for batch in load.batches():
        with watch:
            for fix in batch:
                feed(fix)
    return len(load) / watch.spent_s


def _encode_maps(fixes: list[Fix]) -> bytes:
    return encode_list(fixes, packed=True, with_unit=True)


def _decode_rate(index: ZoneIndex, load: Load, encode: Callable[[list[Fix]], bytes]) -> float:
    """Batches of a telematics platform: bytes to fixes to events."""
    detector, watch = Detector(index), _Stopwatch()
    for batch in load.batches(ROWS_A_BATCH):
        payload, received_s = encode(batch), batch[-1].received_s
        with watch:
            for fix in decode_positions(payload, unit_from_topic=None, received_s=received_s, source="bench"):
                if isinstance(fix, Fix):
                    detector.feed(fix)
    return len(load) / watch.spent_s


def _by_zone_count(tell: Tell, vehicles: int, scale: float) -> Iterable[Figure]:
    """The border mix over so many small zones all over the country; above 2,000 the index is a tree."""
    for count in ZONE_COUNTS:
        zones = small_zones(max(10, round(count * scale)), SEED)
        index = compile_index(zones)
        tell(f"{len(zones.zones)} zones: {index.kind}")
        load = make_load("country", zones, vehicles=vehicles // 4, each=EACH, border_share=0.0, seed=SEED)
        peers = {"strtree": _strtree_rate(index, load, scale)}
        yield Figure(f"engine.zones{count // 1_000}k", _engine_rate(index, load), "fixes/s", peers)


# --- peers ----------------------------------------------------------------------------------------


def _peer_rates(index: ZoneIndex, load: Load, scale: float) -> dict[str, float]:
    """Which zones is the position in, by shapely: prepared polygons in a loop, one array, an STR tree."""
    shapes = _shapes(index)
    points = [(lon, lat) for lat, lon in load.positions(round(PEER_FIXES * scale))]
    loop, array = _Stopwatch(), _Stopwatch()
    for shape in shapes:
        shapely.prepare(shape)
    with loop:
        for x, y in points:
            for shape in shapes:
                shapely.contains_xy(shape, x, y)
    together = shapely.from_wkb(shapely.to_wkb(shapes))
    shapely.prepare(together)
    with array:
        for x, y in points:
            shapely.contains_xy(together, x, y)
    return {
        "shapely-prepared": len(points) / loop.spent_s,
        "shapely-array": len(points) / array.spent_s,
        "strtree": _strtree_rate(index, load, scale),
    }


def _strtree_rate(index: ZoneIndex, load: Load, scale: float) -> float:
    tree, watch = shapely.STRtree(_shapes(index)), _Stopwatch()
    points = [(lon, lat) for lat, lon in load.positions(round(PEER_FIXES * scale))]
    tree.query(shapely.Point(points[0]), predicate="intersects")  # builds the tree
    with watch:
        for point in points:
            tree.query(shapely.Point(point), predicate="intersects")
    return len(points) / watch.spent_s


def _shapes(index: ZoneIndex) -> list[shapely.MultiPolygon]:
    return [
        shapely.MultiPolygon([shapely.Polygon(rings[0], rings[1:]) for rings in zone.polygons])
        for zone in index.zone_set.zones
    ]


# --- latency, swap, memory ------------------------------------------------------------------------


def _feed_p99_us(index: ZoneIndex, load: Load, scale: float) -> float:
    """99th percentile of one `feed`, wall time, first fixes of a vehicle included."""
    detector, clock = Detector(index), time.perf_counter_ns
    taken: list[int] = []
    for batch in load.batches():
        for fix in batch:
            start = clock()
            detector.feed(fix)
            taken.append(clock() - start)
        if len(taken) >= LATENCY_FIXES * scale:
            break
    taken.sort()
    return taken[int(0.99 * len(taken))] / 1_000.0


def _swap_ms(load: Load, repeats: int) -> float:
    """Pause of a swap of the shipped set with SWAP_VEHICLES known; the new index is ready before."""
    best_ms = float("inf")
    for _ in range(repeats):
        detector, index = Detector(compile_index(shipped_zone_set())), compile_index(shipped_zone_set())
        for fix in load.fixes(0, SWAP_VEHICLES):
            detector.feed(fix)
        gc.collect()
        start = time.perf_counter()
        detector.swap(index)
        best_ms = min(best_ms, (time.perf_counter() - start) * 1_000.0)
    return best_ms


def _bytes_per_vehicle(index: ZoneIndex, scale: float) -> float:
    """Memory the detector holds for a vehicle of the border mix, by Python's own count."""
    vehicles = max(10, round(MEMORY_VEHICLES * scale))
    load = make_load("memory", index.zone_set, vehicles=vehicles, each=10, border_share=BORDER, seed=SEED)
    detector = Detector(index)
    tracemalloc.start()
    try:
        for batch in load.batches():
            for fix in batch:
                detector.feed(fix)
        del batch, fix
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return held / vehicles
