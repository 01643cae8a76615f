"""HTTP to the customs service: activations, risk assessments, checkpoints. One POST, one `Reply`; no retry here."""

from __future__ import annotations

import enum
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

from agent.errors import LinkError

MAX_ANSWER_BYTES = 1 << 20
"""An answer for 100 declarations with score cards is under 200 kB; more is refused unread."""
CONNECT_TIMEOUT_S = 2.0
CONNECTIONS = 320
"""More than the outbox has requests under way: none of them waits for another's connection."""
MAX_RETRY_AFTER_S = 3_600.0
"""A longer `Retry-After` is shortened to this, so that no word of a peer can park an activation for days."""


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    body: bytes
    retry_after_s: float | None = None


class Verdict(enum.Enum):
    """What an answer means for the stored request (design/reliability.md section 2, outbox)."""

    DONE = "DONE"
    KEEP = "KEEP"
    """Try again later: 409, 429, 5xx, and what only a proxy on the way would say."""
    NOT_ALLOWED = "NOT_ALLOWED"
    """401, 403: keep, and tell the operator."""
    OUR_FAULT = "OUR_FAULT"
    """Any other 4xx, 422 above all: alarm, never tried again."""


def verdict(status: int) -> Verdict:
    """Sort an HTTP status."""
    if 200 <= status < 300:
        return Verdict.DONE
    if status in (401, 403):
        return Verdict.NOT_ALLOWED
    if 400 <= status < 500 and status not in (408, 409, 425, 429):
        return Verdict.OUR_FAULT
    return Verdict.KEEP


class CustomsClient:
    """One connection pool to one customs service."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self._url = url.rstrip("/")
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self._tls or True)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def post(self, path: str, body: bytes, timeout_s: float, idempotency_key: str | None = None) -> Reply:
        """Send the exact bytes; wall seconds.

        Raises:
            LinkError: refused, cut, or no whole answer in time: it is not known whether customs has it.
        """
        assert self._session is not None, "used before `async with`"
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, timeout_s))
        try:
            async with self._session.post(
                f"{self._url}{path}", data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                return Reply(answer.status, await _bounded(answer), _retry_after(answer))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LinkError(f"POST {path}: {type(error).__name__}: {error}") from error


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    body = await answer.content.read(MAX_ANSWER_BYTES + 1)
    while len(body) <= MAX_ANSWER_BYTES and not answer.content.at_eof():
        body += await answer.content.read(MAX_ANSWER_BYTES + 1 - len(body))
    if len(body) > MAX_ANSWER_BYTES:
        raise aiohttp.ClientPayloadError(f"answer over {MAX_ANSWER_BYTES} bytes")
    return body


def _retry_after(answer: aiohttp.ClientResponse) -> float | None:
    text = answer.headers.get("Retry-After", "")
    if not (text.isascii() and text.isdigit()):
        return None  # the form with a date is rare and needs a clock both sides agree on
    return min(float(text), MAX_RETRY_AFTER_S)
