"""Certificates of the simulated world: one folder, one pair of files for each unit, platform, trader and officer."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp

from agent.certificates import TrialAuthority
from agent.config import TlsTable
from agent.domain.holder import Holder, Kind
from agent.tls import Tls

DEMO = "demo"
"""Name of those of whom a demo has one: trade, officer, auditor, customs, control room."""
PEOPLE = (Kind.TRADE, Kind.OFFICER, Kind.AUDITOR)


class Identities:
    """Whoever the simulator plays, by the files of a `TrialAuthority`.

    Args:
        folder: The authority's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, holder: Holder) -> TlsTable:
        """As a configuration file names them, absolute."""
        folder = self.folder.resolve() / holder.kind.value
        return TlsTable(
            ca=str(self.folder.resolve() / "ca.cert.pem"),
            crl=str(self.folder.resolve() / "ca.crl.pem"),
            certificate=str(folder / f"{holder.name}.cert.pem"),
            key=str(folder / f"{holder.name}.key.pem"),
        )

    def tls(self, holder: Holder) -> Tls:
        """Contexts of one holder.

        Raises:
            ConfigError: it has no certificate.
        """
        return Tls(self.table(holder), self.folder)


def client_of(identities: Identities | None, holder: Holder) -> ssl.SSLContext | None:
    """With which a holder calls others; None where nobody has a certificate."""
    return None if identities is None else identities.tls(holder).client


def http_session(tls: ssl.SSLContext | None, **options: Any) -> aiohttp.ClientSession:
    """An HTTP session with one identity, or none."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls or True), **options)


def demo_identities(folder: Path, agent: str, units: Iterable[str], platforms: Iterable[str]) -> TrialAuthority:
    """An authority and everybody who speaks in one demo."""
    authority = TrialAuthority(folder)
    for kind in (Kind.AGENT, Kind.RECEIVER, Kind.BROKER):
        authority.issue(Holder(agent, kind))
    for kind in (Kind.CUSTOMS, Kind.CONTROL_ROOM, *PEOPLE):
        authority.issue(Holder(DEMO, kind))
    for platform in platforms:
        authority.issue(Holder(platform, Kind.PLATFORM))
    for unit in units:
        authority.issue(Holder(unit))
    return authority
