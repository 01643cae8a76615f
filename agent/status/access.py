"""Who asks over HTTP: what a connection's certificate proves."""

from __future__ import annotations

from aiohttp import web

from agent.tls import peer_holder
from agent.web import Identity

VOUCHING = "control-room"
"""Role of a service that passes on what people who have signed in there decide."""


def certificate_access(request: web.Request) -> Identity | None:
    """The holder of the client's certificate, its kind for a role; None without one that we believe."""
    transport = request.transport
    holder = peer_holder(transport.get_extra_info("ssl_object")) if transport is not None else None
    return None if holder is None else Identity(holder.name, holder.kind.value)
