"""Configuration of the control room: which agents it shows, where it serves."""

from typing import Annotated

import msgspec
from msgspec import Meta

from agent.config import ClockTable, HttpTable, LogTable, Table, TlsTable

Share = Annotated[float, Meta(ge=0, le=1)]


class AgentLink(Table, frozen=True):
    """One agent to listen to."""

    id: str
    url: str


class AlarmTable(Table, frozen=True):
    """When figures are an alarm."""

    go_share_min: Share = 0.5
    go_share_max: Share = 1.0
    """The share of GO among the latest 60 instructions outside of this asks somebody to look (choice)."""


class ReplayTable(Table, frozen=True):
    """What is kept for replay, in memory only; positions inside tracking zones are all there is."""

    minutes: Annotated[int, Meta(ge=0, le=1_440)] = 60
    """0 = no replay; at most a day, as long as the agents keep telemetry (design/reliability.md section 8)."""


class ScenarioTable(Table, frozen=True):
    """Rehearsal: where the demo takes orders; empty = none are passed on."""

    url: str = ""


class CarrierTable(Table, frozen=True):
    """A carrier that may look."""

    name: str
    """As its declarations name the carrier."""
    token_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of its token, in hex; the token itself is nowhere here."""


class TradeTable(Table, frozen=True):
    """The trade view."""

    customs_url: str = ""
    """The customs service; empty = no trade view."""
    carriers: tuple[CarrierTable, ...] = ()


class RoomConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    http: HttpTable = HttpTable(port=8_090)
    tls: TlsTable = TlsTable()
    """Who the room is, to agents and to those who look at its pages."""
    agents: Annotated[tuple[AgentLink, ...], Meta(max_length=200)] = ()
    """At most as many as handles in frames can tell apart, with some to spare."""
    alarms: AlarmTable = AlarmTable()
    replay: ReplayTable = ReplayTable()
    scenario: ScenarioTable = ScenarioTable()
    trade: TradeTable = TradeTable()
    clock: ClockTable = ClockTable()
    log: LogTable = LogTable()
