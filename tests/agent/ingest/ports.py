"""A pseudo-terminal for sources on serial ports, and what such a source makes of bytes on it."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from agent.ingest.ais_source import AisVessels
from agent.ingest.serial_source import SerialItem, SerialUnit


@contextmanager
def pseudo_terminal() -> Iterator[tuple[int, str]]:
    """The far end, and the path of the port."""
    theirs, ours = pty.openpty()
    tty.setraw(ours)
    try:
        yield theirs, os.ttyname(ours)
    finally:
        os.close(ours)
        os.close(theirs)


async def heard(source: SerialUnit | AisVessels, count: int, theirs: int, data: bytes) -> list[SerialItem]:
    """The first so many items of a source once it is open and the data are sent; it is closed then."""
    got: list[SerialItem] = []

    async def read() -> None:
        async for item in source.items():
            got.append(item)
            if len(got) == count:
                return

    reading = asyncio.create_task(read())
    async with asyncio.timeout(20):
        while source.state.value != "open":  # noqa: ASYNC110 - the state has no event
            await asyncio.sleep(0)
        os.write(theirs, data)
        await reading
    source.close()
    return got
