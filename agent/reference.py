"""The authority's signed reference data: asked for, checked, kept for the time when the line is cut."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from agent.clock import Clock
from agent.domain.signed import BadSignature, OKPKey
from agent.errors import LinkError, PeerError
from agent.ingest.feed import Feed
from agent.risk.conditional import WhenCut, read_reference, when_cut

ASK_EVERY_S = 20.0
"""A revocation must be known here soon, seconds (choice; an answer states how old the list may be)."""
ASK_AGAIN_S = 2.0
FILE_NAME = "reference.json"
LOG = structlog.get_logger()


class ReferenceData:
    """Keeps the newest reference data; a file in the data folder lets it start without the line.

    Args:
        folder: Data folder.
        feed: Asks customs.
        keys: Whose signatures are believed.
        clock: Pace of asking.
        taken: Told of rules that come into force.
    """

    def __init__(
        self,
        folder: Path,
        feed: Feed,
        keys: dict[str, OKPKey],
        clock: Clock,
        taken: Callable[[WhenCut], Awaitable[None]],
    ) -> None:
        self._path, self._feed, self._keys, self._clock = folder / FILE_NAME, feed, keys, clock
        self._taken = taken
        self.cut = self._kept()

    def _kept(self) -> WhenCut:
        """What was kept, if its signature still holds."""
        try:
            return self._read(self._path.read_bytes())
        except FileNotFoundError:
            return WhenCut()
        except (OSError, ValueError) as error:
            LOG.warning("reference_refused", file=self._path.name, reason=str(error))
            return WhenCut()

    def _read(self, body: bytes) -> WhenCut:
        return when_cut(read_reference(body, self._keys))

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            try:
                body = await self._feed.reference_data()
                cut = self._read(body)
                if cut.list_number < self.cut.list_number:
                    raise BadSignature(f"revocation list {cut.list_number}: {self.cut.list_number} is held")
            except LinkError:
                await self._clock.sleep(ASK_AGAIN_S)
                continue
            except (PeerError, ValueError) as error:
                LOG.warning("reference_refused", reason=str(error))
                await self._clock.sleep(ASK_EVERY_S)
                continue
            self.cut = cut
            await asyncio.to_thread(self._keep, body)
            await self._taken(cut)
            await self._clock.sleep(ASK_EVERY_S)

    def _keep(self, body: bytes) -> None:
        new = self._path.with_suffix(".new")
        try:
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(body)
            new.rename(self._path)
        except OSError as error:
            LOG.warning("reference_not_kept", reason=str(error))
