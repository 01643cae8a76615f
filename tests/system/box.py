"""One roadside box for system tests: agent and customs as real processes, a real broker, a unit that speaks MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from agent.domain.declaration import GoodsDeclaration, TransportDeclaration
from agent.domain.instruction import Instruction
from agent.domain.signed import public_key
from agent.domain.times import rfc3339
from agent.ingest.topics import Topics
from agent.instruction.signing import verify_instruction
from agent.journal.entry import Entry
from agent.journal.reader import Reader
from simulator.broker import Broker
from simulator.dice import Dice
from simulator.papers import Papers, make_papers
from simulator.parts import Part, free_ports
from zones.catalogue import shipped_zone_set

PATIENCE_S = 30.0
"""A fact that was not seen after so long will not come; far above every limit that is tested."""
START_PATIENCE_S = 120.0
"""For a process to serve: with the lowest priority on a full machine its disk may stand still for half a minute."""
POLL_S = 0.05
INSIDE = (47.7416, 8.7240)
"""In the activation zone of Thayngen inwards."""
APPROACH = ((47.74145, 8.7276), (47.74148, 8.7272), (47.7415, 8.7268), (47.74155, 8.7263), (47.7416, 8.7258))
"""One fix every 2 s at about 17 m/s, from before the zone to 70 m inside."""
APPROACH_EVERY_S = 2.0
KID = "box-1"
AUTHORITY = "authority.pub.pem"
TOPICS = Topics()


async def until(look: Callable[[], Any], what: str, patience_s: float = PATIENCE_S, every_s: float = POLL_S) -> Any:
    """What `look` (which may be a coroutine function) returns once it is true; fails with `what` if it never is."""
    end_s = time.monotonic() + patience_s
    while True:
        seen = look()
        if isinstance(seen, Awaitable):
            seen = await seen
        if seen:
            return seen
        assert time.monotonic() < end_s, f"not seen in {patience_s:g} s: {what}"
        await asyncio.sleep(every_s)


async def command(*arguments: str, patience_s: float = 60.0, **options: Any) -> tuple[int, str, str]:
    """Run a `borderlane` command to its end: exit status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator.cli", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, **options,
    )  # fmt: skip
    try:
        async with asyncio.timeout(patience_s):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def ports_in_a_row(count: int = 5) -> int:
    """First of `count` neighbouring ports of loopback that nobody listens on now."""
    while True:
        (first,) = free_ports(1)
        with contextlib.ExitStack() as taken, contextlib.suppress(OSError, OverflowError):
            for port in range(first, first + count):
                taken.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def with_values(text: str, values: dict[str, Any]) -> str:
    """A configuration file with `table.key` set to other values, as an operator edits it."""
    for name, value in values.items():
        table, _, key = name.partition(".")
        pattern = re.compile(rf"(^\[{table}\]\n(?:(?!\[).*\n)*?{key} = )[^#\n]*", re.MULTILINE)
        found = pattern.search(text)
        assert found is not None, f"{name} is not in the file"
        text = f"{text[: found.end(1)]}{_toml(value)} {text[found.end() :]}"
    return text


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Unit:
    """A unit on MQTT that checks what it is told; nothing of our own client code is in it."""

    def __init__(self, broker: Broker, name: str, agent_key: Path) -> None:
        self.name = name
        self.tokens: list[bytes] = []
        self.watermarks: list[dict[str, Any]] = []
        self._keys = {KID: public_key(agent_key.read_text())}
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"{name}-{time.time_ns()}")
        self._client.on_message = self._take
        self._client.on_connect = self._subscribe
        self._ready = False
        self._client.on_subscribe = self._subscribed
        self._client.connect(broker.host, broker.port, keepalive=30)
        self._client.loop_start()

    def _subscribe(self, client: Client, *_: object) -> None:
        client.subscribe([(TOPICS.instruction(self.name), 1), (TOPICS.watermark(self.name), 0)])

    def _subscribed(self, *_: object) -> None:
        self._ready = True

    def _take(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if message.topic == TOPICS.instruction(self.name):
            if message.payload:
                self.tokens.append(bytes(message.payload))
        else:
            self.watermarks.append(msgspec.json.decode(message.payload))

    async def ready(self) -> Unit:
        """Wait until the broker knows what we listen to."""
        await until(lambda: self._ready, f"{self.name} is subscribed")
        return self

    @property
    def instructions(self) -> list[Instruction]:
        """What it was told so far, each with a good signature of the agent."""
        return [verify_instruction(token, self._keys) for token in list(self.tokens)]

    def say(self, payload: bytes | str, leaf: str = "position") -> None:
        """Publish on one of the unit's own topics, with QoS 1."""
        self._client.publish(f"{TOPICS.prefix}/units/{self.name}/{leaf}", payload, qos=1).wait_for_publish(5.0)

    def stand(self, place: tuple[float, float] = INSIDE, **more: Any) -> float:
        """Publish one position report of now; returns its time, UTC seconds."""
        now_s = time.time()
        latitude, longitude = place
        report = {"fixTime": rfc3339(now_s), "latitude": latitude, "longitude": longitude, "accuracy": 5, **more}
        self.say(msgspec.json.encode(report))
        return now_s

    def drive_in(self, boot_id: str = "b1") -> float:
        """Publish the approach as one list of reports that ends now; returns the time of the last, UTC seconds."""
        now_s = time.time()
        reports = [
            {
                "bootId": boot_id,
                "seq": seq,
                "fixTime": rfc3339(now_s - (len(APPROACH) - 1 - seq) * APPROACH_EVERY_S),
                "latitude": latitude,
                "longitude": longitude,
                "accuracy": 5,
                "speed": 17,
                "heading": 278,
            }
            for seq, (latitude, longitude) in enumerate(APPROACH)
        ]
        self.say(msgspec.json.encode(reports))
        return now_s

    def acknowledge(self, instruction: Instruction) -> None:
        """Send the receipt: delivered, displayed and acknowledged now."""
        now = rfc3339(time.time())
        receipt = {
            "instructionId": instruction.instruction_id,
            "version": instruction.version,
            "delivered": now,
            "displayed": now,
            "acknowledged": now,
            "language": "pl",
        }
        self.say(msgspec.json.encode(receipt), "receipt")

    async def told(self, patience_s: float = PATIENCE_S) -> Instruction:
        """The first instruction it was given."""
        await until(lambda: self.tokens, f"an instruction for {self.name}", patience_s)
        return self.instructions[0]

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


class Watcher:
    """Collects the messages of one topic, retained ones too."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.payloads: list[dict[str, Any]] = []
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"watcher-{time.time_ns()}")
        self._client.on_message = lambda _client, _data, message: self.payloads.append(
            msgspec.json.decode(message.payload)
        )
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.connect(broker.host, broker.port, keepalive=30)
        self._client.loop_start()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


class Box:
    """A folder made by `borderlane init`, edited as an operator would, with its processes."""

    def __init__(self, folder: Path, broker: Broker, values: dict[str, Any], customs_toml: str) -> None:
        self.folder, self.broker = folder, broker
        agent_port, customs_port = free_ports(2)
        self.url = f"http://127.0.0.1:{agent_port}"
        self.customs_url = f"http://127.0.0.1:{customs_port}"
        self.config_file = folder / "borderlane.toml"
        self.data, self.agent_key = folder / "data", folder / "keys" / "agent.pub.pem"
        self.customs_config = folder / "customs.toml"
        self._values = {
            "mqtt.host": broker.host,
            "mqtt.port": broker.port,
            "customs.url": self.customs_url,
            "customs.feed_interval_s": 0.2,
            "http.port": agent_port,
            "log.format": "json",
            **values,
        }
        self._customs_toml = customs_toml
        self.agent = Part("agent", ["agent", "--config", str(self.config_file)], folder.parent / "agent.log")
        self.customs = Part(
            "customs",
            ["customs", "--listen", f"127.0.0.1:{customs_port}", "--data", str(folder.parent / "customs"),
             "--config", str(self.customs_config)],
            folder.parent / "customs.log",
        )  # fmt: skip
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))

    async def make(self) -> None:
        """`borderlane init`, configuration, the authority's key; customs then serves."""
        status, _, err = await command("init", str(self.folder))
        assert status == 0, err
        self.configure(self._values)
        self.customs_config.write_text(self._customs_toml)
        await self.start_customs()
        shutil.copy(self.folder.parent / "customs" / AUTHORITY, self.folder / "keys" / AUTHORITY)

    def configure(self, values: dict[str, Any], more: str = "") -> None:
        """Edit the agent's configuration file."""
        self.config_file.write_text(with_values(self.config_file.read_text(), values) + more)

    async def start_customs(self) -> None:
        """Start the customs service and wait until it serves."""
        await self.customs.start()
        await until(
            lambda: self._serves(self.customs, f"{self.customs_url}/readyz"), "customs serves", START_PATIENCE_S
        )

    async def start_agent(self, path: str = "/readyz") -> float:
        """Start the agent and wait until it answers; returns how long that took, seconds."""
        began_s = time.monotonic()
        await self.agent.start()
        await until(lambda: self._serves(self.agent, self.url + path), "the agent serves", START_PATIENCE_S, 0.02)
        return time.monotonic() - began_s

    async def _serves(self, part: Part, url: str) -> bool:
        assert part.running, f"{part.name} has ended: {part.tail()}"
        try:
            async with self._http.get(url) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def kill_agent(self) -> None:
        """`kill -9`, and wait until it is dead."""
        self.agent.kill()
        assert self.agent.process is not None
        await self.agent.process.wait()

    def signal_agent(self, number: signal.Signals) -> None:
        """Send a signal to the agent."""
        assert self.agent.process is not None
        self.agent.process.send_signal(number)

    @contextmanager
    def customs_frozen(self) -> Iterator[None]:
        """Customs accepts connections and says nothing (SIGSTOP), until the end of the block."""
        assert self.customs.process is not None
        self.customs.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.customs.process.send_signal(signal.SIGCONT)

    async def get(self, path: str) -> Any:
        """JSON that the agent answers with; None for 404."""
        return await self._get(self.url + path)

    async def ask_customs(self, path: str) -> Any:
        """JSON that customs answers with; None for 404."""
        return await self._get(self.customs_url + path)

    async def _get(self, url: str) -> Any:
        async with self._http.get(url) as answer:
            body = await answer.read()
            if answer.status == 404:
                return None
            assert answer.status in (200, 503), body
            return msgspec.json.decode(body)

    async def declare(self, goods: tuple[GoodsDeclaration, ...], journey: TransportDeclaration) -> list[dict[str, Any]]:
        """Hand in goods, then the journey; what customs answers to each."""
        answers = await self.post_declarations("goods-declarations", goods)
        return answers + await self.post_declarations("transport-declarations", (journey,))

    async def post_declarations(
        self, path: str, body: tuple[GoodsDeclaration | TransportDeclaration | None, ...]
    ) -> list[dict[str, Any]]:
        """Hand in declarations of one kind; what customs answers to each."""
        if not body:
            return []
        data = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        async with self._http.post(f"{self.customs_url}/v1/{path}", data=data, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return list(await answer.json())

    async def expected(self, unit: str, *, declarations: int = 2, number: int = 1, faulty_of: int = 0) -> Papers:
        """Declare a journey of this unit through Thayngen; returns its papers once the agent has them."""
        papers = papers_for(unit, declarations=declarations, number=number, faulty_of=faulty_of)
        assert papers.journey is not None
        await self.declare(papers.goods, papers.journey)
        await self.knows(papers.journey.jrn)
        return papers

    async def knows(self, jrn: str) -> None:
        """Wait until the agent has a journey from the feed."""
        await until(lambda: self.get(f"/v1/journeys/{jrn}"), f"the agent has {jrn}")

    async def customs_activations(self) -> list[dict[str, Any]]:
        """Activations in customs' register."""
        return list((await self.ask_customs("/v1/activations?marker=0")).get("rows", ()))

    def journal_activations(self) -> list[str]:
        """Activation ids in the agent's store."""
        with Reader.open(self.data) as reader:
            return [row.activation_id for row in reader.activations()]

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """Facts of the journal's entries of one kind."""
        with Reader.open(self.data) as reader:
            return [body.get("facts", {}) for body in map(_body, reader.entries()) if body["kind"] == kind]

    async def verify_journal(self) -> dict[str, Any]:
        """`borderlane journal verify` with the agent's public key; fails if it does not verify."""
        status, out, err = await command(
            "journal", "verify", "--data", str(self.data), "--key", str(self.agent_key), "--json"
        )
        assert status == 0, out + err
        return dict(msgspec.json.decode(out))

    def log(self, event: str) -> list[dict[str, Any]]:
        """Lines of the agent's log with this event."""
        lines = []
        for text in self.agent.log_file.read_text().splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                line = msgspec.json.decode(text)
                if line.get("event") == event:
                    lines.append(line)
        return lines

    @asynccontextmanager
    async def unit(self, name: str) -> AsyncIterator[Unit]:
        """A unit on the broker."""
        unit = Unit(self.broker, name, self.agent_key)
        try:
            yield await unit.ready()
        finally:
            unit.close()

    async def close(self) -> None:
        """Stop everything that still runs."""
        await self._http.close()
        for part in (self.agent, self.customs):
            await part.stop()


def _body(entry: Entry) -> dict[str, Any]:
    return dict(msgspec.json.decode(entry.body))


def papers_for(unit: str, *, declarations: int = 2, number: int = 1, faulty_of: int = 0) -> Papers:
    """Ordinary papers for one way in through Thayngen."""
    zone = next(zone for zone in shipped_zone_set().zones if zone.id == "thayngen/in/activation")
    dice = Dice("system", unit, number)
    return make_papers("box", number, unit, zone, time.time(), dice, declarations=declarations, faulty_of=faulty_of)


@asynccontextmanager
async def open_box(
    folder: Path, broker: Broker, values: dict[str, Any] | None = None, customs_toml: str = ""
) -> AsyncIterator[Box]:
    """A box with customs serving; the agent is not started yet.

    Args:
        folder: Where to make it.
        broker: Running.
        values: `table.key` of the agent's configuration that are to differ from those of `init`.
        customs_toml: Configuration of customs; without it nothing is drawn by lot and nothing is slow.
    """
    box = Box(folder / "box", broker, values or {}, customs_toml or "[risk]\nrandom_share = 0.0\n")
    try:
        await box.make()
        yield box
    finally:
        await box.close()
