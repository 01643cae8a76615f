"""A customs service in front of the customs service, whose risk call can be slow, silent, failing or cut short."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable

import aiohttp
from aiohttp import web

from agent.tls import Tls
from simulator.identities import http_session

RISK_PATH = "/v1/risk-assessments"
SLOW_S = 5.0
"""Longer than the agent waits for one answer."""
MAX_BODY_BYTES = 64 << 20
_HOP = frozenset({"connection", "content-encoding", "content-length", "date", "host", "keep-alive",
                  "server", "transfer-encoding"})  # fmt: skip
"""Headers of one hop, and those that a new body makes false."""


class RiskFault(enum.Enum):
    """What a risk service can do instead of answering."""

    SLOW = "slow"
    HANGING = "hanging"
    """Headers come, the body never does."""
    ERROR_500 = "500"
    ERROR_429 = "429"
    CUT = "cut"
    """Half of the body, then the end of the connection."""
    NOT_JSON = "not-json"


class RiskFaults:
    """Passes every request on to customs; `fault` is what becomes of risk questions.

    Args:
        customs_url: Base URL of the real service.
        host, port: Where to listen; 0 = a free port.
        as_customs, as_agent: Identities with which it passes for the service and for whoever asks; None = no TLS.
    """

    def __init__(
        self, customs_url: str, *, host: str = "127.0.0.1", port: int = 0, as_customs: Tls | None = None,
        as_agent: Tls | None = None,
    ) -> None:  # fmt: skip
        self.fault: RiskFault | None = None
        self.answered_s: float | None = None
        """When a risk question was last answered well, monotonic."""
        self.on_answer: Callable[[], None] = lambda: None
        self.host, self.port = host, port
        self._as_customs, self._as_agent = as_customs, as_agent
        self._customs_url = customs_url.rstrip("/")
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Base URL, once started."""
        return f"{'https' if self._as_customs else 'http'}://{self.host}:{self.port}"

    async def start(self) -> None:
        """Serve.

        Raises:
            OSError: the port is taken.
        """
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._pass_on)
        self._session = http_session(self._as_agent.client if self._as_agent else None, auto_decompress=False)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        server = self._as_customs.server if self._as_customs else None
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=server)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Serve no more."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        asked = request.method == "POST" and request.path == RISK_PATH
        fault = self.fault if asked else None
        if fault is RiskFault.ERROR_500:
            return web.Response(status=500)
        if fault is RiskFault.ERROR_429:
            return web.Response(status=429, headers={"Retry-After": "1"})
        if fault is RiskFault.SLOW:
            await asyncio.sleep(SLOW_S)
        try:
            status, headers, body = await self._ask(request)
        except aiohttp.ClientError:
            return web.Response(status=502)
        if fault in (RiskFault.HANGING, RiskFault.CUT):
            return await self._half(request, fault, status, headers, body)
        if fault is RiskFault.NOT_JSON:
            body = b"<html>maintenance</html>"
        elif asked and status == 200 and fault is None:
            self.answered_s = time.monotonic()
            self.on_answer()
        return web.Response(status=status, headers=headers, body=body)

    async def _ask(self, request: web.Request) -> tuple[int, dict[str, str], bytes]:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url, body = f"{self._customs_url}{request.rel_url}", await request.read()
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return answer.status, kept, await answer.read()

    async def _half(
        self, request: web.Request, fault: RiskFault, status: int, headers: dict[str, str], body: bytes
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        if fault is RiskFault.CUT:
            await response.write(body[: len(body) // 2])
        else:
            await asyncio.Event().wait()  # until the asker gives up, which cancels this
        if request.transport is not None:
            request.transport.abort()
        return response
