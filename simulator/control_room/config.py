"""Configuration of the control room: which agents it shows, where it serves."""

import msgspec

from agent.config import ClockTable, HttpTable, LogTable, Table, TlsTable


class AgentLink(Table, frozen=True):
    """One agent to listen to."""

    id: str
    url: str


class RoomConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    http: HttpTable = HttpTable(port=8_090)
    tls: TlsTable = TlsTable()
    """Who the room is, to agents and to those who look at its pages."""
    agents: tuple[AgentLink, ...] = ()
    clock: ClockTable = ClockTable()
    log: LogTable = LogTable()
