"""Tells systemd that the agent lives - only while event loop, journal writer and broker connection really do.

A process that hangs is worse than one that died: nobody starts it again. So the word is given by going through
each part in turn: what hangs keeps the next word from being given, and `WatchdogSec` ends the process.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from systemd_watchdog.systemd_watchdog import WatchDog

FEED_EVERY_S = 1.0
"""Well below `WatchdogSec=5` of the unit file, wall seconds."""
SILENT_S = 6.0
"""Connected, and no own heartbeat for so long: twice what makes the connection be given up, so that has failed."""
LOG = structlog.get_logger()


class Heard(Protocol):
    """The broker connection, as far as it is looked at."""

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""

    def heartbeat_age_s(self) -> float:
        """Seconds since the own heartbeat was last heard."""


def is_deaf(link: Heard, silent_s: float = SILENT_S) -> bool:
    """Whether the broker connection stands and yet nothing comes through, its thread being dead.

    A broker that is away makes nobody deaf: a new start would not bring it back, and serial receivers go on.
    """
    return link.connected and link.heartbeat_age_s() > silent_s


@dataclass(frozen=True)
class Watched:
    """The parts that must be fresh."""

    link: Heard
    writer: Callable[[], Awaitable[None]]
    """Returns once the journal's writing thread has come round."""


class Watchdog:
    """Feeds systemd's watchdog; does nothing where nobody listens (`NOTIFY_SOCKET` unset).

    Args:
        watched: What must be fresh.
        address: Notify socket; None = that of the environment.
        every_s: Pause between words, wall seconds.
        silent_s: See `is_deaf`.
    """

    def __init__(
        self, watched: Watched, address: str | None = None, every_s: float = FEED_EVERY_S, silent_s: float = SILENT_S
    ) -> None:
        self._watched, self._every_s, self._silent_s = watched, every_s, silent_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._systemd = WatchDog(self._socket, address)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    async def run(self) -> None:
        """Say READY once the writer has come round, then feed while all is fresh, for ever."""
        if not self._systemd.is_enabled:
            return
        await self._watched.writer()
        self._tell(self._systemd.ready)
        while True:
            await self._watched.writer()
            if is_deaf(self._watched.link, self._silent_s):
                LOG.error("watchdog_not_fed", reason="the broker connection stands and nothing comes through")
            else:
                self._tell(self._systemd.notify)  # not `ping`, which paces itself by the wall clock
            await asyncio.sleep(self._every_s)

    def _tell(self, word: Callable[[], None]) -> None:
        try:
            word()
        except OSError as error:
            LOG.warning("watchdog_unheard", reason=str(error))
