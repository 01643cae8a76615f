"""Every MQTT topic of the contract (section 5), built and read; what is wrong with a filter."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from agent.domain.identifiers import UNIT_FORM

OWNTRACKS = "owntracks"
KNOWN_TOPICS = 16_384
"""Topics whose reading is remembered; about 4 MB."""


class Kind(enum.Enum):
    """What a topic carries."""

    POSITION = "position"
    POSITIONS = "positions"
    WATERMARK = "watermark"
    INSTRUCTION = "instruction"
    RECEIPT = "receipt"
    INCIDENT = "incident"
    WITNESS = "witness"
    STATUS = "status"
    EVENTS = "events"
    HEARTBEAT = "heartbeat"
    OWNTRACKS = "owntracks"
    TRACCAR = "traccar"
    FLESPI = "flespi"


@dataclass(frozen=True)
class Address:
    """What a topic carries and whose it is: unit, operator, device or agent."""

    kind: Kind
    name: str


_BRANCHES = {
    ("units", "position"): Kind.POSITION,
    ("units", "watermark"): Kind.WATERMARK,
    ("units", "instruction"): Kind.INSTRUCTION,
    ("units", "receipt"): Kind.RECEIPT,
    ("units", "incident"): Kind.INCIDENT,
    ("operators", "positions"): Kind.POSITIONS,
    ("witnesses", ""): Kind.WITNESS,
    ("agents", "status"): Kind.STATUS,
    ("agents", "events"): Kind.EVENTS,
    ("agents", "heartbeat"): Kind.HEARTBEAT,
}


@dataclass(frozen=True)
class Topics:
    """Builds and reads every topic of the contract."""

    prefix: str = "borderlane/v1"

    def position(self, unit: str) -> str:
        """Unit to agent: one position report or a list."""
        return f"{self.prefix}/units/{unit}/position"

    def positions(self, operator: str) -> str:
        """Telematics platform to agent: reports of many units."""
        return f"{self.prefix}/operators/{operator}/positions"

    def watermark(self, unit: str) -> str:
        """Agent to unit: what is processed."""
        return f"{self.prefix}/units/{unit}/watermark"

    def instruction(self, unit: str) -> str:
        """Agent to unit, retained: the signed instruction."""
        return f"{self.prefix}/units/{unit}/instruction"

    def receipt(self, unit: str) -> str:
        """Unit to agent: instruction delivered, displayed, acknowledged."""
        return f"{self.prefix}/units/{unit}/receipt"

    def incident(self, unit: str) -> str:
        """Unit to agent: tractor or trailer change, extra goods, breakdown."""
        return f"{self.prefix}/units/{unit}/incident"

    def witness(self, device: str) -> str:
        """Roadside reader to agent."""
        return f"{self.prefix}/witnesses/{device}"

    def status(self, agent: str) -> str:
        """Agent, retained, last will."""
        return f"{self.prefix}/agents/{agent}/status"

    def events(self, agent: str) -> str:
        """Agent: what happened."""
        return f"{self.prefix}/agents/{agent}/events"

    def heartbeat(self, agent: str) -> str:
        """Agent to itself, through the broker (design/broker.md section 6)."""
        return f"{self.prefix}/agents/{agent}/heartbeat"

    def owntracks(self, unit: str) -> str:
        """Where the OwnTracks phone of a unit `{user}.{device}` publishes; ValueError for another form."""
        user, dot, device = unit.partition(".")
        if not (user and dot and device):
            raise ValueError(f"unit {unit!r}: expected user.device, as OwnTracks topics name both")
        return f"{OWNTRACKS}/{user}/{device}"

    def parse(self, topic: str) -> Address | None:
        """Whose topic it is and what it carries, or None if it is not one of ours."""
        return _parsed(self, topic)

    def _read(self, topic: str) -> Address | None:
        if topic.startswith(OWNTRACKS + "/"):
            user, _, device = topic[len(OWNTRACKS) + 1 :].partition("/")
            return _address(Kind.OWNTRACKS, f"{user}.{device}") if user and device and "." not in user else None
        if not topic.startswith(self.prefix + "/"):
            return None
        branch, _, rest = topic[len(self.prefix) + 1 :].partition("/")
        name, _, leaf = rest.partition("/")
        kind = _BRANCHES.get((branch, leaf))
        return _address(kind, name) if kind else None


@lru_cache(maxsize=KNOWN_TOPICS)
def _parsed(topics: Topics, topic: str) -> Address | None:
    """Each unit publishes on one topic for ever, so most of them are known."""
    return topics._read(topic)


def _address(kind: Kind, name: str) -> Address | None:
    return Address(kind, name) if UNIT_FORM.fullmatch(name) else None


def filter_faults(filters: Sequence[str]) -> list[str]:
    """What is wrong with a set of topic filters: words for people, empty if nothing.

    `$share` delivers nothing on NATS, `#` takes two subscriptions there, and overlapping filters deliver
    a message twice on every broker (design/broker.md section 3, traps 5 to 7).
    """
    faults = [
        f"topic {name!r}: `$share` and `#` are not used; expected levels and `+`"
        for name in filters
        if name.startswith("$") or "#" in name
    ]
    for index, one in enumerate(filters):
        faults += [
            f"topics {one!r} and {other!r} overlap: a message would come twice"
            for other in filters[:index]
            if _overlap(one.split("/"), other.split("/"))
        ]
    return faults


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic matches a filter without `#`."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    return len(wanted) == len(levels) and all(w in ("+", level) for w, level in zip(wanted, levels, strict=True))


def _overlap(one: list[str], other: list[str]) -> bool:
    return len(one) == len(other) and all(a == b or "+" in (a, b) for a, b in zip(one, other, strict=True))
