"""The channel over a board of the test's own making: what it says when, and what it records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.activation.events import Event, OutputFaulted, OutputShown, WitnessSeen
from agent.delivery.sign_channel import LOST_AFTER_S, RENEW_AFTER_S, SignChannel
from agent.delivery.sign_plan import Place, Showing, Waiting
from firmware_bridge.device_session import DeviceEvent
from firmware_bridge.link import LeaseRefused, LinkDown, LinkUp
from firmware_bridge.link_messages import Capability, Fault, FaultCode, Output, Sighting
from firmware_bridge.outputs import OutputKind, OutputState
from firmware_bridge.reopening import LinkState

GO, STOP, HOLD, DEFAULT = OutputState.GO, OutputState.STOP, OutputState.HOLD, OutputState.DEFAULT
PLACES = (Place("sign-1", OutputKind.SIGN, "thayngen", "IN"), Place("dog", OutputKind.WATCHDOG, "", "IN"))
LORRY = Waiting("lorry-1", -5.0, "JRN-1", "I-1", 3)
UP = LinkUp("d", "1", 1, 1, Capability(0), 8, configured=True)


class Hand:
    """A board moved by hand, and the clock."""

    def __init__(self) -> None:
        self.path, self.state, self.reason = "/dev/null", LinkState.OPEN, ""
        self.is_up = True
        self.now_s = 100.0
        self.leases: list[tuple[int, OutputState, int, int]] = []
        self.watched: list[bool] = []
        self.acknowledged: list[int] = []
        self.closed = False
        self.said: asyncio.Queue[DeviceEvent] = asyncio.Queue()

    def lease(self, output: int, state: OutputState, lease_ms: int, *, decision_ref: int = 0, text: str = "") -> bool:
        self.leases.append((output, state, lease_ms, decision_ref))
        return self.is_up

    def watchdog(self, lease_ms: int, *, armed: bool = True) -> bool:
        self.watched.append(armed)
        return self.is_up

    def acknowledge(self, seq: int) -> None:
        self.acknowledged.append(seq)

    def close(self) -> None:
        self.closed = True

    async def events(self) -> AsyncIterator[DeviceEvent]:
        while True:
            yield await self.said.get()


class Site:
    """A channel over one board, and a journal of the test's."""

    def __init__(self) -> None:
        self.board = Hand()
        self.recorded: list[tuple[Event, ...]] = []
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.channel = SignChannel(
            {"booth": self.board}, {"booth": PLACES}, self._record, now_s=lambda: self.board.now_s, wall_s=lambda: 7.0
        )

    async def _record(self, *events: Event) -> None:
        await self.may_commit.wait()
        self.recorded.append(events)

    def renew(self, state: OutputState, permissive_ms: int = 2_800) -> None:
        self.channel.renew({"sign-1": Showing(state, LORRY)}, permissive_ms)

    async def says(self, *events: DeviceEvent) -> None:
        """The device says this, and everything that follows from it is done."""
        for event in events:
            self.board.said.put_nowait(event)
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def view(self) -> Any:
        return self.channel.views()[0]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    tasks = [asyncio.create_task(made.channel.listen("booth")), asyncio.create_task(made.channel.keep_record())]
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_it_says_what_is_decided_at_once_and_then_each_time_it_is_due(site: Site) -> None:
    site.renew(GO)
    site.renew(GO)
    assert [(state, ms) for _, state, ms, _ in site.board.leases] == [(GO, 2_800)]
    site.board.now_s += RENEW_AFTER_S + 0.1
    site.renew(GO, 1_500)
    site.renew(STOP)
    assert [(state, ms) for _, state, ms, _ in site.board.leases[1:]] == [(GO, 1_500), (STOP, 55_000)]


async def test_an_unfit_agent_says_the_default_at_once(site: Site) -> None:
    site.renew(GO)
    site.renew(GO, 0)
    assert site.board.leases[-1][1] is DEFAULT and site.board.leases[-1][3] == 0
    site.channel.renew({}, 2_800)
    assert site.board.leases[-1][1] is DEFAULT, "an output that nobody decides about"


async def test_nothing_is_said_but_by_renew(site: Site) -> None:
    site.renew(GO)
    before = list(site.board.leases)
    await site.says(LinkDown("no_heartbeat", closed=True), UP)
    site.board.now_s += 100.0
    await site.says(Output(0, 0, GO, GO, 5, 100, 0))
    assert site.board.leases == before, "a link that is back shows nothing until the deciding task has turned"
    assert () in site.recorded, "which it is asked to"
    site.renew(GO)
    assert len(site.board.leases) == len(before) + 1


async def test_what_was_shown_is_recorded_once_and_acknowledged_when_it_is_on_disk(site: Site) -> None:
    site.renew(GO)
    ref = site.board.leases[-1][3]
    site.may_commit.clear()
    await site.says(Output(4, 0, GO, GO, ref, 2_000, 350))
    assert site.board.acknowledged == [] and site.view.measured is GO
    site.may_commit.set()
    await site.says(Output(5, 0, GO, GO, ref, 1_000, 350))
    assert site.board.acknowledged in ([4, 5], [5, 4])
    assert site.recorded == [(OutputShown("sign-1", "thayngen", "IN", "GO", "GO", ref, "JRN-1", "lorry-1", "I-1", 3),)]


async def test_commanded_and_measured_may_differ_for_half_a_second(site: Site) -> None:
    await site.says(Output(1, 0, STOP, DEFAULT, 0, 0, 0))
    site.board.now_s += 0.4
    await site.says(Output(2, 0, STOP, DEFAULT, 0, 0, 0))
    assert site.view.fault == "NONE"
    site.board.now_s += 0.2
    await site.says(Output(3, 0, STOP, DEFAULT, 0, 0, 0))
    assert site.view.fault == "LAMP" and (OutputFaulted("sign-1", "thayngen", "LAMP"),) in site.recorded


async def test_faults_of_the_device_are_recorded_and_end(site: Site) -> None:
    await site.says(Fault(1, 0, FaultCode.LAMP), Fault(2, 0, FaultCode.NONE), Fault(3, 255, FaultCode.POWER))
    faults = [(one.output, one.fault) for events in site.recorded for one in events if isinstance(one, OutputFaulted)]
    assert faults == [("sign-1", "LAMP"), ("sign-1", "NONE"), ("sign-1", "POWER"), ("dog", "POWER")]
    assert site.board.acknowledged == [1, 2, 3]


async def test_a_link_that_stays_away_is_a_fault(site: Site) -> None:
    await site.says(Output(1, 0, STOP, STOP, 0, 0, 0))
    site.board.is_up = False
    await site.says(LinkDown("no_heartbeat", closed=True))
    assert site.view.commanded is None and site.view.measured is None
    site.renew(STOP)
    site.board.now_s += LOST_AFTER_S
    site.renew(STOP)
    await site.says()
    assert site.view.fault == "LOST"
    site.board.is_up = True
    await site.says(UP)
    assert site.view.fault == "NONE"


async def test_a_sighting_is_recorded_without_what_was_read(site: Site) -> None:
    await site.says(Sighting(9, 1, 0, "TG 123456"), Sighting(10, 99, 5_000, "x"))
    assert site.recorded == [(WitnessSeen("booth", "ANPR", 7.0),), (WitnessSeen("booth", "OTHER", 5.0),)]
    assert site.board.acknowledged == [9, 10]


async def test_nonsense_is_counted(site: Site) -> None:
    await site.says(Output(1, 7, 0, 0, 0, 0, 0), Output(2, 0, 99, 0, 0, 0, 0), LeaseRefused(0, "FAULT"))
    assert site.channel.refusals == {"unknown_output": 2, "FAULT": 1}
    assert site.board.acknowledged == [1, 2] and site.recorded == []


async def test_an_orderly_end_darkens_the_sign_and_disarms_the_watchdog(site: Site) -> None:
    site.renew(GO)
    assert site.board.watched == [True]
    site.channel.close()
    assert site.board.leases[-1][:2] == (0, DEFAULT) and site.board.watched == [True, False] and site.board.closed
