"""Which topics a certificate's holder may publish and hear: the one table behind every broker's configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.broker_files import BrokerTls, BrokerUser
from agent.config import Config
from agent.domain.holder import Holder, Kind
from agent.ingest.topics import Topics
from agent.ingest.wire import Inbound


@dataclass(frozen=True)
class RightsTable:
    """Rights by holder, for the topics of one configuration."""

    inbound: Inbound = field(default_factory=Inbound)

    @property
    def topics(self) -> Topics:
        """Of this configuration."""
        return self.inbound.topics

    def user(self, holder: Holder) -> BrokerUser:
        """What one holder may do at the broker; nothing for those who have no business there."""
        name, topics = holder.name, self.topics
        match holder.kind:
            case Kind.UNIT:
                return self._unit(name, self._phone(name))
            case Kind.AGENT:
                own = (topics.status(name), topics.events(name), topics.heartbeat(name))
                return BrokerUser(holder.common_name, (topics.instruction("+"), topics.watermark("+"), *own))
            case Kind.RECEIVER:
                heard = (*(topic for topic, _ in self.inbound.filters()), topics.heartbeat(name))
                return BrokerUser(holder.common_name, (), heard)
            case Kind.PLATFORM:
                feeds = tuple(filter(None, (self.inbound.traccar_topic, self.inbound.flespi_topic)))
                return BrokerUser(holder.common_name, (topics.positions(name), *feeds), (topics.status("+"),))
            case Kind.WITNESS:
                return BrokerUser(holder.common_name, (topics.witness(name),))
            case Kind.CONTROL_ROOM:
                return BrokerUser(holder.common_name, (), (topics.status("+"), topics.events("+")))
            case Kind.BROKER:
                return BrokerUser(holder.common_name, admin=True)
            case _:
                return BrokerUser(holder.common_name)

    def every_unit(self) -> BrokerUser:
        """A unit's rights with Mosquitto's `%u` for its name."""
        return self._unit("%u", ())

    def users(self, holders: Iterable[Holder]) -> tuple[BrokerUser, ...]:
        """Those who may do anything at the broker, by name."""
        found = (self.user(holder) for holder in holders)
        return tuple(sorted((one for one in found if one.admin or one.publish or one.hear), key=lambda one: one.name))

    def _unit(self, name: str, phone: tuple[str, ...]) -> BrokerUser:
        topics = self.topics
        own = (topics.position(name), topics.receipt(name), topics.incident(name))
        heard = (topics.instruction(name), topics.watermark(name), topics.status("+"))
        return BrokerUser(name, (*own, *phone), heard)

    def _phone(self, name: str) -> tuple[str, ...]:
        """Topic of the OwnTracks phone of a unit `user.device`; other units have none."""
        user, _, device = name.partition(".")
        return (self.topics.owntracks(name),) if self.inbound.owntracks and user and device else ()


def inbound_of(config: Config) -> Inbound:
    """What a configuration lets in."""
    mqtt = config.mqtt
    operators = {name: frozenset(operator.units) for name, operator in config.operators.items()}
    phones = frozenset(name for name, operator in config.operators.items() if operator.phones)
    return Inbound(
        Topics(mqtt.prefix), mqtt.owntracks, mqtt.traccar_topic, mqtt.flespi_topic, operators, phone_operators=phones
    )


def broker_tls(
    rights: RightsTable, holders: Iterable[Holder], revoked: tuple[str, ...], *,
    ca: str, crl: str, certificate: str, key: str, acl_file: str,
) -> BrokerTls:  # fmt: skip
    """What a broker has to know of certificates.

    Args:
        rights: By holder.
        holders: Whose certificates are good.
        revoked: Common names that have none any more.
        ca, crl, certificate, key, acl_file: Paths as the broker reads them.
    """
    users = rights.users(holders)
    return BrokerTls(ca, crl, certificate, key, users, rights.every_unit(), acl_file, revoked)
