"""`make bench-peers`: the same positions through the same broker to borderlane and to Node-RED, one after the other.

Needs node, and the packages of benchmarks/peers (the make target runs `npm ci` there). Prints messages a second
of each and borderlane's ratio; with `--json` one array of figures as `borderlane bench` prints them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage

from agent.ingest.wire import Topics, encode_report
from benchmarks.flows import COUNT_EVERY, COUNT_TOPIC, READY_TOPIC, geofence_flow, turf_flow, write_project
from benchmarks.report import write_section
from simulator.bench_figure import Figure
from simulator.bench_load import make_load
from simulator.broker import Broker, choose
from zones.catalogue import shipped_zone_set

ROOT = Path(__file__).resolve().parents[1]
MODULES = ROOT / "benchmarks/peers/node_modules"
TOPIC = Topics().position("+")
READY_WITHIN_S = 60.0
RUN_WITHIN_S = 45.0
MESSAGES = 20_000
SLOW_MESSAGES = 400
"""For the geofence nodes, which take tens of messages a second."""
WINDOW = 2_000
"""Messages sent ahead of the count that has come back: what a broker queues without dropping any."""


@dataclass
class Meter:
    """What the contestant has said so far."""

    ready: threading.Event = field(default_factory=threading.Event)
    counted: int = 0

    def take(self, _: Client, __: object, message: MQTTMessage) -> None:
        """A message of the contestant."""
        if message.topic == READY_TOPIC:
            self.ready.set()
        else:
            self.counted = int(message.payload)


def payloads(count: int) -> list[tuple[str, bytes]]:
    """Topic and JSON report of the border mix."""
    load = make_load("peers", shipped_zone_set(), vehicles=max(1, count // 20), each=20, border_share=1.0, seed=1)
    fixes = [fix for batch in load.batches() for fix in batch][:count]
    return [(Topics().position(fix.unit), encode_report(fix)) for fix in fixes]


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[None]:
    """A contestant's process."""
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def rate(host: str, port: int, command: list[str], folder: Path, messages: list[tuple[str, bytes]]) -> float:
    """Messages a second a contestant gets through, from the first sent to the last one counted."""
    meter = Meter()
    client = Client(CallbackAPIVersion.VERSION2, client_id="bench-sender")
    client.on_message = meter.take
    client.connect(host, port)
    client.subscribe([(READY_TOPIC, 1), (COUNT_TOPIC, 1)])
    client.loop_start()
    try:
        with running(command, folder):
            if not meter.ready.wait(READY_WITHIN_S):
                words = f"not ready in {READY_WITHIN_S:.0f} s: {' '.join(command)}"
                raise SystemExit(f"{words}\n{(folder / 'log').read_text()}")
            time.sleep(1.0)  # a flow says it is connected before it has subscribed
            return _drive(client, meter, messages)
    finally:
        client.loop_stop()
        client.disconnect()


def _drive(client: Client, meter: Meter, messages: list[tuple[str, bytes]]) -> float:
    wanted = len(messages) - len(messages) % COUNT_EVERY
    start, sent = time.perf_counter(), 0
    while meter.counted < wanted and time.perf_counter() - start < RUN_WITHIN_S:
        ahead = min(len(messages), meter.counted + WINDOW)
        for topic, payload in messages[sent:ahead]:
            client.publish(topic, payload)
        sent = max(sent, ahead)
        time.sleep(0.001)
    return meter.counted / (time.perf_counter() - start)


async def contest(tell: Callable[[str], None]) -> dict[str, float]:
    """Messages a second of each contestant, by name."""
    zone_set = shipped_zone_set()
    with tempfile.TemporaryDirectory(prefix="borderlane-peers-") as place:
        folder = Path(place)
        broker = Broker(choose("nats"), folder, name="bench")
        await broker.start()
        found: dict[str, float] = {}
        try:
            host, port = broker.host, broker.port
            flows = {
                "node-red+turf": (turf_flow(host, port, TOPIC), MESSAGES),
                "node-red+geofence-node": (geofence_flow(host, port, TOPIC, zone_set), SLOW_MESSAGES),
            }
            command = [sys.executable, "-m", "benchmarks.consumer", host, str(port), TOPIC]
            tell("borderlane")
            found["borderlane"] = await asyncio.to_thread(rate, host, port, command, folder, payloads(MESSAGES))
            for name, (flow, count) in flows.items():
                project = folder / name
                project.mkdir()
                write_project(project, MODULES, flow, zone_set)
                red = str(MODULES / "node-red/red.js")
                command = ["node", red, "-u", str(project), "-s", str(project / "settings.js")]
                tell(name)
                found[name] = await asyncio.to_thread(rate, host, port, command, project, payloads(count))
        finally:
            await broker.stop()
    return found


def main() -> None:
    """Run all, print the ratios, put them into docs/benchmarks.md."""
    if not MODULES.is_dir():
        raise SystemExit("benchmarks/peers/node_modules is missing: run `npm ci` in benchmarks/peers (needs node)")
    found = asyncio.run(contest(lambda name: print(f"measuring {name}", file=sys.stderr)))
    ours = found.pop("borderlane")
    figures = [Figure("peers.broker", ours, "messages/s", found)]
    if "--json" in sys.argv:
        print(json.dumps(msgspec.to_builtins(figures), indent=1))
        return
    print(f"borderlane through the broker: {ours:,.0f} messages/s")
    for name, value in found.items():
        print(f"{name}: {value:,.1f} messages/s, borderlane is {ours / value:,.1f} times as fast")
    write_section("peers", figures, "make bench-peers")


if __name__ == "__main__":
    main()
