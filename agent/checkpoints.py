"""Signed tree heads to customs, each with the proof that it continues the last; knows when customs refuses.

What customs holds cannot be forgotten here: a restored backup or a rebuilt journal cannot prove that it
continues that head (design/reliability.md section 4, threat S16).
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import structlog

from agent.errors import JournalFull, LinkError
from agent.journal.handover import CONFLICT, HeadPosted, held_size, proof_text, prove_from
from agent.journal.merkle import CompactRange, consistency_onward
from agent.journal.store import Store
from agent.journal.verify import parse_checkpoint
from agent.risk.client import CustomsClient, Verdict, verdict

PATH = "/v1/checkpoints"
TIMEOUT_S, LOOK_EVERY_S = 3.0, 1.0
"""Of one try to hand a head over, and how often it is seen whether one is due, wall seconds."""
PAUSE_S = 1.0
"""From one head that customs has taken to the next, wall seconds: under load a head is signed with each commit, and
the newest proves all that those before it would have."""
LOG = structlog.get_logger()


class Checkpoints:
    """Hands over the newest head; while customs is away only the newest is kept.

    Args:
        agent: Whose journal it is.
        store: Signs heads and knows the tree.
        client: The customs service.
    """

    def __init__(self, agent: str, store: Store, client: CustomsClient) -> None:
        self._agent, self._store, self._client = agent, store, client
        self._news = asyncio.Event()
        self._taken: str | None = None
        self.held: int | None = None
        """Size of the head that customs holds, as far as known."""
        self._tree: CompactRange | None = None
        self.refusal = ""
        """Why customs does not take our journal for the one it knows; empty = it does, or was not asked."""
        self.settled = asyncio.Event()
        """Set while no refusal stands: only then may anything be written."""
        self.settled.set()

    def news(self) -> None:
        """A head was signed."""
        self._news.set()

    async def run(self) -> None:
        """Hand over for ever; at the start at once, so that a restored backup is found before it grows.

        Raises:
            JournalError: a head cannot be signed.
        """
        await self._sign(at_once=True)
        while True:
            text = self._store.checkpoint
            if text is not None and (text != self._taken or self.refusal):
                await self._hand_over(text)
                if not self.refusal:
                    await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._news.wait()
            self._news.clear()
            if not self.refusal:
                await self._sign()

    async def _sign(self, *, at_once: bool = False) -> None:
        """A disk that is full has no room for a head either; the next round tries again."""
        with contextlib.suppress(JournalFull):
            await self._store.sign_head(at_once=at_once)

    async def _hand_over(self, text: str) -> None:
        """One head, and once more from where customs says that a proof must begin."""
        size = parse_checkpoint(text).size
        begin = self.held or 0
        try:
            for _ in range(2):
                tree, proof = await self._proof(begin, size)
                status, body = await self._post(text, begin, proof)
                if status != CONFLICT:
                    self._answered(status, text, size, tree)
                    return
                again = prove_from(begin, size, held_size(body))
                if again is None:
                    break
                begin = again
        except LinkError:
            return  # the next round tries again
        self._refused(held_size(body), size)

    async def _proof(self, begin: int, size: int) -> tuple[CompactRange | None, tuple[bytes, ...]]:
        """The tree at `size` if it had to be known, and the proof from `begin`."""
        if begin == 0:
            return None, ()
        if self._tree is None or self._tree.size != begin:
            self._tree = await self._store.tree_at(begin)
        leaves = await self._store.leaf_hashes(size, begin)
        return self._tree.extend(leaves), consistency_onward(self._tree, leaves)

    async def _post(self, text: str, begin: int, proof: tuple[bytes, ...]) -> tuple[int, bytes]:
        body = HeadPosted(agent=self._agent, checkpoint=text, old_size=begin, proof=proof_text(proof))
        reply = await self._client.post(PATH, msgspec.json.encode(body), TIMEOUT_S)
        return reply.status, reply.body

    def _answered(self, status: int, text: str, size: int, tree: CompactRange | None) -> None:
        if verdict(status) is Verdict.DONE:
            if self.refusal:
                LOG.warning("checkpoint_taken_again", size=size)
            self._taken, self.held, self._tree, self.refusal = text, size, tree, ""
            self.settled.set()
        elif verdict(status) is not Verdict.KEEP:
            LOG.error("checkpoint_not_understood", status=status, size=size)

    def _refused(self, held: int | None, size: int) -> None:
        refusal = f"customs holds a head of {held} entries that ours of {size} does not continue"
        if refusal != self.refusal:
            LOG.error("checkpoint_refused", held=held, size=size)
        self.refusal, self.held, self._tree = refusal, None, None
        self.settled.clear()
