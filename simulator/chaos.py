"""Faults played into a running demo, each with how long the agent took to serve again (`--chaos`, contract 2)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from agent.clock import Clock
from agent.errors import ConfigError
from agent.tls import Tls
from simulator.broker import Broker
from simulator.faults import FaultProxy, Line
from simulator.gathering import fix_counts
from simulator.identities import http_session
from simulator.parts import Part
from simulator.report import FaultFact
from simulator.risk_faults import RiskFault, RiskFaults
from simulator.serial_unit import SerialDevice

KINDS = ("kill-agent", "kill-broker", "cut-customs", "slow-risk", "unplug-serial")
FIRST_S, EVERY_S = 8.0, 9.0
"""The first fault, counted from when everything serves, and the pause from one to the next: more than the five
a minute that the contract asks for."""
QUIET_AT_END_S = 12.0
"""No fault begins so shortly before the lorries stop: it is to be over by then."""
RESTART_S = 0.2
"""RestartSec of the agent's unit file."""
CUT_S, SLOW_S, UNPLUGGED_S = 4.0, 4.0, 2.0
PATIENCE_S = 20.0
"""What has not recovered after so long is written down as never recovered."""
LOOK_EVERY_S = 0.02
RISK_FAULTS = (RiskFault.SLOW, RiskFault.ERROR_500, RiskFault.HANGING, RiskFault.ERROR_429, RiskFault.CUT)
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Stage:
    """What a demo lets be played with."""

    agent: Part
    lorries: Part
    broker: Broker
    agent_url: str
    clock: Clock
    sign: SerialDevice | None = None
    """The microcontroller with the demo's sign."""
    tls: ssl.SSLContext | None = None
    """To ask the agent with."""


def kinds_of(word: str, *, own_broker: bool, serial: bool) -> tuple[str, ...]:
    """The kinds of fault that `--chaos` asks for, in the order in which they are played.

    Raises:
        ConfigError: no such kind, or one that this run has nothing for.
    """
    if word not in (*KINDS, "all"):
        raise ConfigError(f"--chaos {word}: expected one of {', '.join(KINDS)}, all")
    if word == "kill-broker" and not own_broker:
        raise ConfigError("--chaos kill-broker: expected a broker of ours: --broker nats or mosquitto")
    if word == "unplug-serial" and not serial:
        raise ConfigError("--chaos unplug-serial: expected simulated lorries; recorded tracks have no receiver")
    absent = {"kill-broker"} if not own_broker else set()
    absent |= {"unplug-serial"} if not serial else set()
    return tuple(kind for kind in KINDS if kind not in absent) if word == "all" else (word,)


def schedule(kinds: tuple[str, ...], seconds: float | None) -> Iterator[tuple[float, str]]:
    """(seconds after everything serves, kind) of each fault; without an end for ever."""
    for number, kind in enumerate(itertools.cycle(kinds)):
        at_s = FIRST_S + number * EVERY_S
        if seconds is not None and at_s > max(FIRST_S, seconds - QUIET_AT_END_S):
            return
        yield at_s, kind


@dataclass(frozen=True)
class Lines:
    """The lines between agent and customs: the agent speaks to the proxy, that to the risk faults, they to customs."""

    customs: FaultProxy
    risk: RiskFaults

    @classmethod
    async def laid(cls, customs_url: str, as_customs: Tls | None = None, as_agent: Tls | None = None) -> Lines:
        """Both, listening on free ports; customs need not serve yet."""
        risk = RiskFaults(customs_url, as_customs=as_customs, as_agent=as_agent)
        await risk.start()
        proxy = FaultProxy((HOST, risk.port))
        await proxy.start()
        return cls(proxy, risk)

    @property
    def url(self) -> str:
        """What the agent takes for customs."""
        return f"{self.risk.url.partition(':')[0]}://{self.customs.host}:{self.customs.port}"

    async def close(self) -> None:
        """Take them down."""
        await self.customs.stop()
        await self.risk.stop()


class Chaos:
    """Plays faults one after the other.

    Args:
        stage: The running demo.
        lines: Between agent and customs.
        told: Hears of each fault when it is over.
    """

    def __init__(self, stage: Stage, lines: Lines, told: Callable[[FaultFact], None]) -> None:
        self.faults: list[FaultFact] = []
        self.fixes: Counter[str] = Counter()
        """What agents that were killed had counted."""
        self._stage, self._lines, self._told = stage, lines, told
        self._risk_faults = itertools.cycle(RISK_FAULTS)
        self._silent = itertools.cycle((False, True))
        self._plays: dict[str, Callable[[], Awaitable[float | None]]] = {
            "kill-agent": self._kill_agent,
            "kill-broker": self._kill_broker,
            "cut-customs": self._cut_customs,
            "slow-risk": self._slow_risk,
            "unplug-serial": self._unplug_serial,
        }

    async def play(self, kinds: tuple[str, ...], seconds: float | None) -> None:
        """Faults until shortly before the end of the run, or for ever."""
        began_s = time.monotonic()
        for at_s, kind in schedule(kinds, seconds):
            await asyncio.sleep(max(0.0, began_s + at_s - time.monotonic()))
            if seconds is not None and time.monotonic() - began_s > seconds - QUIET_AT_END_S / 2:
                return  # earlier ones took too long; the lorries are about to stop
            started_s = self._stage.clock.now_s()
            recovered_s = await self._plays[kind]()
            recovered_ms = None if recovered_s is None else float(round(recovered_s * 1000))
            fault = FaultFact(kind, started_s, self._stage.clock.now_s(), recovered_ms)
            self.faults.append(fault)
            self._told(fault)

    # Each returns seconds until the agent served again, or None if it did not.

    async def _kill_agent(self) -> float | None:
        """`kill -9`, and start again as systemd does; until /readyz, counted from the kill."""
        agent = self._stage.agent
        exposition = await self._get("/metrics")
        agent.stopping = True  # it ends on purpose
        began_s = time.monotonic()
        agent.kill()
        assert agent.process is not None
        await agent.process.wait()
        self.fixes += fix_counts((exposition or b"").decode())
        await asyncio.sleep(RESTART_S)
        await agent.start()
        return await self._until(self._ready, began_s)

    async def _kill_broker(self) -> float | None:
        """`kill -9`, its store lost, on the same port again; until the agent is connected, counted from the kill."""
        began_s = time.monotonic()
        await self._stage.broker.lose_store()
        return await self._until(self._connected, began_s)

    async def _cut_customs(self) -> float | None:
        """The line is reset and refuses, or swallows everything, in turn; until the first answer after it is back."""
        proxy = self._lines.customs
        if next(self._silent):
            proxy.set(Line(blackhole=True))
        else:
            proxy.cut()
        await asyncio.sleep(CUT_S)
        proxy.set()
        began_s = time.monotonic()
        return await self._until(lambda: _since(proxy.answered_s, began_s), began_s)

    async def _slow_risk(self) -> float | None:
        """The risk service fails in one way after the other; until the first good answer after it is well again."""
        risk = self._lines.risk
        risk.fault = next(self._risk_faults)
        await asyncio.sleep(SLOW_S)
        risk.fault = None
        began_s = time.monotonic()
        return await self._until(lambda: _since(risk.answered_s, began_s), began_s)

    async def _unplug_serial(self) -> float | None:
        """Everything on a serial port is pulled out and put back; until the agent hears all of it again."""
        lorries, sign = self._stage.lorries.process, self._stage.sign
        assert lorries is not None
        lorries.send_signal(signal.SIGUSR1)
        if sign is not None:
            sign.unplug()
        await asyncio.sleep(UNPLUGGED_S)
        lorries.send_signal(signal.SIGUSR2)
        if sign is not None:
            sign.replug()
        return await self._until(self._serial_open, time.monotonic())

    # What the agent says.

    async def _ready(self) -> bool:
        return await self._get("/readyz") is not None

    async def _connected(self) -> bool:
        return bool((await self._status()).get("brokerConnected"))

    async def _serial_open(self) -> bool:
        status = await self._status()
        states, outputs = status.get("serial", {}), status.get("outputs", {})
        heard = all(output["measured"] is not None for output in outputs.values())
        return bool(states) and set(states.values()) == {"open"} and heard

    async def _status(self) -> dict[str, Any]:
        answer = await self._get("/v1/status")
        return {} if answer is None else dict(msgspec.json.decode(answer))

    async def _get(self, path: str) -> bytes | None:
        """What the agent answers with 200; None without."""
        timeout = aiohttp.ClientTimeout(total=2)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with (
                http_session(self._stage.tls, timeout=timeout) as session,
                session.get(self._stage.agent_url + path) as answer,
            ):
                return await answer.read() if answer.status == 200 else None
        return None

    async def _until(self, look: Callable[[], bool | Awaitable[bool]], began_s: float) -> float | None:
        """Seconds from `began_s` until `look` is true; None if it is not in time."""
        while time.monotonic() < began_s + PATIENCE_S:
            seen = look()
            if seen if isinstance(seen, bool) else await seen:
                return time.monotonic() - began_s
            await asyncio.sleep(LOOK_EVERY_S)
        return None


def _since(moment_s: float | None, began_s: float) -> bool:
    return moment_s is not None and moment_s >= began_s
