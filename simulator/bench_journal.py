"""`borderlane bench journal` and `start`: what durability costs, and how soon an agent serves again.

Wall time, on the disk of the folder for temporary files: what is waited for is the disk as much as the processor.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.activation.journey import Journey, JourneyStage
from agent.clock import Clock
from agent.config import ClockTable
from agent.domain.declaration import (
    DeclarationReference,
    GoodsDeclaration,
    GoodsItem,
    Party,
    PlannedCrossing,
    TransportDeclaration,
    TransportMeans,
)
from agent.domain.identifiers import activation_id
from agent.domain.times import rfc3339
from agent.journal.batch import REQUEST, ActivationRow, Commit, CursorRow, OutboxRow, PaperRow, RecordRow, StateRow
from agent.journal.entry import EntryDraft
from agent.journal.store import Store
from agent.keys import make_key, read_private_key
from simulator.bench_figure import Figure, Tell
from simulator.broker import Broker, choose
from simulator.demo_files import AGENT_ID, HOST, BrokerPlace, Layout, Ports, agent_toml
from simulator.parts import PartFailed, free_ports

SINGLE, GROUPED, GROUP = 3_000, 20_000, 32
"""Activations one by one; in groups of so many, as under load."""
OPEN_JOURNEYS = 100_000
CHUNK = 1_000
SERVING_WAIT_S = 60.0
STARTS = 3
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def journal(tell: Tell, *, scale: float = 1.0) -> Iterable[Figure]:
    """Figures `journal.*`: activations signed, chained, encrypted and synced to disk for each second.

    Args:
        tell: Is told what is being measured.
        scale: Share of the activations to measure with.
    """
    tell(f"{max(50, round(SINGLE * scale))} activations one by one")
    rate, waits = _committed(max(50, round(SINGLE * scale)), 1)
    yield Figure("journal.single", rate, "activations/s")
    yield Figure("journal.commitP99Ms", sorted(waits)[int(0.99 * len(waits))] * 1_000.0, "ms")
    tell(f"{max(GROUP, round(GROUPED * scale))} activations in groups of {GROUP}")
    yield Figure("journal.grouped", _committed(max(GROUP, round(GROUPED * scale)), GROUP)[0], "activations/s")


def _committed(activations: int, group: int) -> tuple[float, list[float]]:
    """Rate, and how long each commit took, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder), AGENT_ID, KEY, AGENT_ID, "bench", Clock())
        try:
            batches = [_activations(first, min(group, activations - first)) for first in range(0, activations, group)]
            waits = asyncio.run(_commit_all(store, batches))
        finally:
            store.close()
    return activations / sum(waits), waits


async def _commit_all(store: Store, batches: list[Commit]) -> list[float]:
    waits = []
    for batch in batches:
        started_s = time.perf_counter()
        await store.commit(batch)
        waits.append(time.perf_counter() - started_s)
    return waits


def _activations(first: int, count: int) -> Commit:
    """What one entry into an activation zone leaves on disk, so many times."""
    rows = [_activation(number) for number in range(first, first + count)]
    return Commit(
        cursors=tuple(CursorRow(row.unit, "boot", 7, (), row.at_ms) for row in rows),
        unit_states=tuple(StateRow(row.unit, b"s" * 300) for row in rows),
        records=tuple(RecordRow("journey", row.jrn, b"j" * 1_200) for row in rows),
        activations=tuple(rows),
        entries=tuple(
            EntryDraft("ACTIVATED", {"jrn": row.jrn, "mrn": row.mrn, "crossing": row.crossing}, row.activation_id)
            for row in rows
        ),
        effects=tuple(OutboxRow("activation", row.crossing, row.activation_id, row.body) for row in rows),
        papers=tuple(PaperRow(row.jrn, REQUEST, row.body, row.activation_id) for row in rows),
    )


def _activation(number: int) -> ActivationRow:
    jrn, mrn = f"JRN-{number}", f"26CH{number:012d}R0"
    key = activation_id(mrn, 1, jrn, "thayngen", "IN")
    at_ms = 1_800_000_000_000 + number
    return ActivationRow(key, mrn, 1, jrn, "thayngen", "IN", f"unit-{number}", at_ms, at_ms, b"b" * 400)


# --- start ------------------------------------------------------------------------------------------


def start(tell: Tell, *, scale: float = 1.0) -> Iterable[Figure]:
    """Figures `start.*`: from the start of the process until `/readyz` says yes, best of three, wall seconds.

    Args:
        tell: Is told what is being measured.
        scale: Share of the open journeys.
    """
    journeys = max(10, round(OPEN_JOURNEYS * scale))
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder), Ports(*free_ports(4)))
        with _broker(layout) as place:
            _write_box(layout, place)
            tell("an agent with an empty data folder")
            yield Figure("start.coldS", min(_seconds_to_ready(layout, fresh=True) for _ in range(STARTS)), "s")
            tell(f"an agent that was killed with {journeys} open journeys")
            fill(layout.agent_data, layout.folder / "keys" / "agent.key.pem", journeys)
            yield Figure("start.recoverS", min(_seconds_to_ready(layout, fresh=False) for _ in range(STARTS)), "s")


@contextmanager
def _broker(layout: Layout) -> Iterator[BrokerPlace]:
    """A broker that outlives the event loop which starts and stops it."""
    with asyncio.Runner() as runner:
        broker = Broker(choose("nats"), layout.folder / "broker", port=layout.ports.broker)
        runner.run(_up(broker))
        try:
            yield BrokerPlace(broker.host, broker.port, broker.protocol)
        finally:
            runner.run(broker.stop())


async def _up(broker: Broker) -> None:
    await broker.start()
    await broker.ready()


def _write_box(layout: Layout, place: BrokerPlace) -> None:
    keys = layout.folder / "keys"
    make_key(keys / "agent.key.pem", layout.agent_key)
    layout.customs_data.mkdir()
    make_key(keys / "authority.key.pem", layout.customs_data / "authority.pub.pem")
    layout.file("agent").write_text(agent_toml(layout, place, ClockTable(), (), layout.customs_url), "utf-8")


def fill(data: Path, key_file: Path, journeys: int) -> None:
    """Put open journeys into a data folder, as the feed of customs would have."""
    store = Store.open(data, AGENT_ID, read_private_key(key_file), AGENT_ID, "bench", Clock())
    try:
        for first in range(0, journeys, CHUNK):
            rows = tuple(_journey_row(number) for number in range(first, min(first + CHUNK, journeys)))
            entries = tuple(EntryDraft("JOURNEY_FED", {"jrn": row.key}) for row in rows)
            asyncio.run(store.commit(Commit(records=rows, entries=entries, feed_marker=first + len(rows))))
    finally:
        store.close()


def _journey_row(number: int) -> RecordRow:
    """A journey of one lorry with two declarations, due in an hour."""
    now_s = time.time()
    mrns = tuple(f"26CH{2 * number + more:012d}R0" for more in (0, 1))
    declaration = TransportDeclaration(
        jrn=f"BENCH-{number}",
        direction="IN",
        active_border_transport_means=TransportMeans(identification_number=f"ZH {number}", nationality="CH"),
        planned_crossing=PlannedCrossing(crossing="thayngen", estimated_date_time=rfc3339(now_s + 3_600.0)),
        units=(f"unit-{number}",),
        references=tuple(DeclarationReference(reference_number=mrn) for mrn in mrns),
    )
    journey = Journey(
        key=declaration.jrn,
        stage=JourneyStage.READY,
        declaration=declaration,
        goods=tuple(_goods(mrn) for mrn in mrns),
        marker=number + 1,
        first_seen_s=now_s,
        expires_s=now_s + 200_000.0,
    )
    return RecordRow("journey", journey.key, msgspec.msgpack.encode(journey))


def _goods(mrn: str) -> GoodsDeclaration:
    items = tuple(
        GoodsItem(
            goods_item_number=line,
            commodity_code="39269097",
            description_of_goods="articles of plastics",
            country_of_origin="DE",
            net_mass=900.0,
            gross_mass=1_000.0,
            statistical_value=20_000.0,
            currency="CHF",
        )
        for line in (1, 2)
    )
    return GoodsDeclaration(
        procedure="IMPORT",
        direction="IN",
        mrn=mrn,
        consignor=Party(name="Nordwerk GmbH"),
        consignee=Party(name="Muster AG"),
        goods_items=items,
    )


def _seconds_to_ready(layout: Layout, *, fresh: bool) -> float:
    """Start, wait until it is ready, kill it as a power cut would."""
    if fresh:
        shutil.rmtree(layout.agent_data, ignore_errors=True)
    command = [sys.executable, "-m", "simulator.cli", "agent", "--config", str(layout.file("agent"))]
    with (layout.folder / "agent.log").open("ab") as log:
        started_s = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait_until_ready(f"http://{HOST}:{layout.ports.agent}/readyz", process)
            return time.perf_counter() - started_s
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + SERVING_WAIT_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1.0) as answer:  # noqa: S310 - our own loopback address
                if json.load(answer)["ok"]:
                    return
        except OSError:
            pass
        time.sleep(0.01)
    raise PartFailed(f"agent: not ready within {SERVING_WAIT_S:g} s")
