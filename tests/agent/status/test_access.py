"""agent/status/access.py: the certificate of a connection is the caller's role, in real handshakes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from agent.certificates import TrialAuthority
from agent.domain.holder import Holder, Kind
from agent.status.access import certificate_access
from agent.web import Call, Route, Runner, application, run
from simulator.identities import Identities, http_session

ROUTES = ("open", "officers", "rooms")


@pytest.fixture
def authority(tmp_path: Path) -> TrialAuthority:
    made = TrialAuthority(tmp_path / "tls")
    for kind in Kind:
        made.issue(Holder("x", kind))
    return made


@pytest.fixture
async def service(authority: TrialAuthority) -> AsyncIterator[Runner]:
    async def who(call: Call) -> dict[str, str | None]:
        return {"name": call.identity.name if call.identity else None}

    routes = [
        Route("GET", "/open", who, "Anybody"),
        Route("GET", "/officers", who, "Officers", roles=("officer",)),
        Route("GET", "/rooms", who, "Rooms", roles=("control-room", "supervisor")),
    ]
    app = application(routes, title="t", version="1", access=certificate_access)
    own = Identities(authority.folder).tls(Holder("x", Kind.AGENT))
    runner = await run(app, "127.0.0.1", 0, own.server)
    try:
        yield runner
    finally:
        await runner.stop()


async def statuses(service: Runner, client: ssl.SSLContext) -> tuple[int, ...]:
    async with http_session(client) as session:
        found = []
        for path in ROUTES:
            async with session.get(f"{service.url}/{path}") as answer:
                found.append(answer.status)
        return tuple(found)


@pytest.mark.parametrize("kind", list(Kind))
async def test_the_kind_is_the_role(service: Runner, authority: TrialAuthority, kind: Kind) -> None:
    client = Identities(authority.folder).tls(Holder("x", kind)).client
    officers = 200 if kind is Kind.OFFICER else 403
    rooms = 200 if kind in (Kind.CONTROL_ROOM, Kind.SUPERVISOR) else 403
    assert await statuses(service, client) == (200, officers, rooms)


async def test_without_a_certificate_nothing_with_a_role_is_reached(service: Runner, authority: TrialAuthority) -> None:
    assert await statuses(service, ssl.create_default_context(cafile=str(authority.certificate))) == (200, 401, 401)


async def test_a_foreign_certificate_is_not_let_in(service: Runner, authority: TrialAuthority, tmp_path: Path) -> None:
    foreign = TrialAuthority(tmp_path / "foreign")
    pair = foreign.issue(Holder("x", Kind.OFFICER))
    client = ssl.create_default_context(cafile=str(authority.certificate))
    client.load_cert_chain(pair.certificate, pair.key)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await statuses(service, client)


async def test_plain_http_is_not_answered(service: Runner) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{service.port}/open")
