"""Journeys that nobody has asked for yet: kept as their stored bytes, decoded when they are asked for.

An agent holds 100,000 open journeys and meets a few hundred of them an hour. Decoded all at once they would take two
of the three seconds in which it has to serve again, and three times the memory. What matching and deadlines need of a
journey at rest is read out of its bytes without making the rest of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from agent.activation.journey import Journey, JourneyStage, due_s, vehicle_text


class _Means(msgspec.Struct, frozen=True, rename="camel", gc=False):
    identification_number: str
    nationality: str


class _Declaration(msgspec.Struct, frozen=True, rename="camel", gc=False):
    active_border_transport_means: _Means
    units: tuple[str, ...] = ()


class Outline(msgspec.Struct, frozen=True, gc=False):
    """What the indexes need of a journey; its fields are those of `Journey`."""

    stage: JourneyStage
    declaration: _Declaration
    lost_s: float | None = None
    expires_s: float | None = None
    forget_s: float | None = None

    @property
    def units(self) -> tuple[str, ...]:
        """As `TransportDeclaration.units`."""
        return self.declaration.units

    @property
    def vehicle(self) -> str | None:
        """As `Journey.vehicle`."""
        means = self.declaration.active_border_transport_means
        return vehicle_text(means.identification_number, means.nationality)

    @property
    def next_due_s(self) -> float | None:
        """As `Journey.next_due_s`."""
        return due_s(self.stage, self.lost_s, self.expires_s, self.forget_s)


_OUTLINE = msgspec.msgpack.Decoder(Outline)
_JOURNEY = msgspec.msgpack.Decoder(Journey)


class Journeys(Mapping[str, Journey]):
    """Journeys by jrn; one that was asked for stays decoded.

    Reading one at rest raises `msgspec.DecodeError` if its bytes are no journey.
    """

    def __init__(self) -> None:
        self._found: dict[str, Journey | bytes] = {}

    def __getitem__(self, jrn: str) -> Journey:
        found = self._found[jrn]
        if isinstance(found, bytes):
            found = self._found[jrn] = _JOURNEY.decode(found)
        return found

    def __contains__(self, jrn: object) -> bool:
        return jrn in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def lay(self, jrn: str, body: bytes) -> Outline:
        """Take a journey as it is stored.

        Raises:
            msgspec.DecodeError: the bytes are no journey.
        """
        outline = _OUTLINE.decode(body)
        self._found[jrn] = body
        return outline

    def rests(self, jrn: str) -> bool:
        """Whether nobody has asked for it yet."""
        return isinstance(self._found.get(jrn), bytes)

    def awake(self) -> list[Journey]:
        """Those that were asked for, or have changed."""
        return [found for found in self._found.values() if not isinstance(found, bytes)]

    def put(self, journey: Journey) -> None:
        """Install a journey."""
        self._found[journey.key] = journey

    def pop(self, jrn: str) -> Journey | None:
        """Let one go; None if there is none."""
        journey = self.get(jrn)
        self._found.pop(jrn, None)
        return journey
