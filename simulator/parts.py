"""The demo's parts as operating-system processes: started, watched, stopped in order."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog

from simulator.tether import end_with_parent

STOP_GRACE_S = 8.0
"""A part that has not ended so long after SIGTERM is killed, and the demo says so."""
TAIL_BYTES = 4_000
_LOG = structlog.get_logger()


class PartFailed(Exception):  # noqa: N818 - reads as the fact it states
    """A part ended when it should not have; carries the end of its log."""


@dataclass
class Part:
    """One `borderlane` command as a process of its own."""

    name: str
    arguments: Sequence[str]
    log_file: Path
    process: asyncio.subprocess.Process | None = None
    peak_rss_mb: float = 0.0
    stopping: bool = False
    starts: int = field(default=0)

    async def start(self) -> None:
        """Start the process; its log goes to a file of the run folder."""
        self.stopping = False
        self.starts += 1
        with self.log_file.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "simulator.cli", *self.arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which stops the parts in order
                preexec_fn=end_with_parent,
            )  # fmt: skip

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.returncode is None

    @property
    def exit_status(self) -> int | None:
        """Status with which the process ended; None while it lives."""
        return None if self.process is None else self.process.returncode

    def measure(self) -> None:
        """Remember the largest resident set seen."""
        if self.process is None or not self.running:
            return
        try:
            self.peak_rss_mb = max(self.peak_rss_mb, psutil.Process(self.process.pid).memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            return

    async def stop(self) -> bool:
        """SIGTERM, then wait; True if that ended it, in order or before it had begun to listen to signals."""
        self.stopping = True
        if self.process is None:
            return True
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                return await self.process.wait() in (0, -signal.SIGTERM)
        except TimeoutError:
            _LOG.warning("part_killed", part=self.name)
            self.process.kill()
            await self.process.wait()
            return False

    def kill(self) -> None:
        """`kill -9`, for fault tests."""
        assert self.process is not None
        self.process.kill()

    def reload(self) -> None:
        """SIGHUP: read the configuration anew."""
        if self.process is not None and self.running:
            self.process.send_signal(signal.SIGHUP)

    def tail(self) -> str:
        """The end of its log."""
        data = self.log_file.read_bytes() if self.log_file.exists() else b""
        return data[-TAIL_BYTES:].decode("utf-8", "replace")


def free_ports(count: int, first: int | None = None) -> list[int]:
    """`count` ports of loopback: from `first` on, or free ones."""
    if first is not None:
        return [first + n for n in range(count)]
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
