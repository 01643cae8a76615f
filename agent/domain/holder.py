"""Who a certificate speaks for: kind and name, as its common name says them.

A unit's common name is its id alone (contract section 5). All others carry their kind before a colon, which no
unit id may contain, so no certificate of a unit can be taken for an agent's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from agent.domain.identifiers import UNIT_FORM

MAX_COMMON_NAME = 64
"""Characters of a common name (RFC 5280, ub-common-name)."""


class Kind(enum.Enum):
    """What a holder is; for people it is their role."""

    UNIT = "unit"
    AGENT = "agent"
    RECEIVER = "agent-in"
    """The agent's receiving connection: a broker that takes the name for the client id allows a name one only."""
    BROKER = "broker"
    CUSTOMS = "customs"
    CONTROL_ROOM = "control-room"
    PLATFORM = "platform"
    """A telematics platform; its name is the operator of its topic."""
    WITNESS = "witness"
    """A roadside reader."""
    TRADE = "trade"
    CARRIER = "carrier"
    OPERATOR = "operator"
    OFFICER = "officer"
    SUPERVISOR = "supervisor"
    AUDITOR = "auditor"


SERVING = frozenset({Kind.AGENT, Kind.BROKER, Kind.CUSTOMS, Kind.CONTROL_ROOM})
"""Kinds that others connect to: only their certificates are good for a server."""


@dataclass(frozen=True)
class Holder:
    """Whoever a certificate names."""

    name: str
    kind: Kind = Kind.UNIT

    def __post_init__(self) -> None:
        """Raises ValueError for a name that no topic and no certificate can carry."""
        if not UNIT_FORM.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: expected 1 to 64 of A-Z a-z 0-9 . _ -")
        if len(self.common_name) > MAX_COMMON_NAME:
            raise ValueError(f"{self.common_name}: expected at most {MAX_COMMON_NAME} characters")

    @property
    def common_name(self) -> str:
        """As the certificate says it."""
        return self.name if self.kind is Kind.UNIT else f"{self.kind.value}:{self.name}"


def read_holder(common_name: str) -> Holder | None:
    """Whom a common name means; None if it is none of ours."""
    kind, colon, name = common_name.rpartition(":")
    try:
        return Holder(name, Kind(kind) if colon else Kind.UNIT)
    except ValueError:
        return None
