from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.broker_files import BrokerSettings, BrokerTls, Listener, mosquitto_acl, mosquitto_conf, nats_conf
from agent.config import parse_config
from agent.domain.holder import Holder, Kind
from agent.domain.identifiers import UNIT_FORM
from agent.ingest.rights import RightsTable, broker_tls, inbound_of
from agent.ingest.topics import Topics, matches

UNITS = st.from_regex(UNIT_FORM, fullmatch=True)
RIGHTS, TOPICS = RightsTable(), Topics()


def tls(*holders: Holder, revoked: tuple[str, ...] = ()) -> BrokerTls:
    return broker_tls(RIGHTS, holders, revoked, ca="/ca", crl="/crl", certificate="/cert", key="/key", acl_file="/acl")


@given(UNITS, UNITS)
def test_a_unit_speaks_and_hears_for_itself_alone(unit: str, other: str) -> None:
    user = RIGHTS.user(Holder(unit))
    theirs = [TOPICS.position(other), TOPICS.receipt(other), TOPICS.incident(other)]
    heard = [TOPICS.instruction(other), TOPICS.watermark(other)]
    assert all(any(matches(may, topic) for may in user.publish) is (unit == other) for topic in theirs)
    assert all(any(matches(may, topic) for may in user.hear) is (unit == other) for topic in heard)
    assert not any(matches(may, topic) for may in user.publish for topic in heard)


@given(UNITS)
def test_mosquittos_pattern_says_the_same_as_natss_list(unit: str) -> None:
    one, every = RIGHTS.user(Holder(unit)), RIGHTS.every_unit()
    named = [topic.replace("%u", unit) for topic in every.publish]
    phones = [topic for topic in one.publish if topic.startswith("owntracks/")]
    assert sorted([*named, *phones]) == sorted(one.publish)
    assert tuple(topic.replace("%u", unit) for topic in every.hear) == one.hear


def test_only_the_agent_gives_instructions() -> None:
    for kind in Kind:
        may = [topic for topic in RIGHTS.user(Holder("x", kind)).publish if matches(topic, TOPICS.instruction("l"))]
        assert bool(may) is (kind is Kind.AGENT), kind


def test_the_receiver_hears_every_filter_of_the_configuration() -> None:
    config = parse_config('[mqtt]\ntraccar_topic = "traccar/+/json"\nprefix = "p"\n', "x")
    inbound = inbound_of(config)
    user = RightsTable(inbound).user(Holder("box-1", Kind.RECEIVER))
    assert set(dict(inbound.filters())) < set(user.hear) and "p/agents/box-1/heartbeat" in user.hear
    assert "traccar/+/json" in RightsTable(inbound).user(Holder("t", Kind.PLATFORM)).publish


@pytest.mark.parametrize("kind", [Kind.TRADE, Kind.CARRIER, Kind.OFFICER, Kind.CUSTOMS, Kind.AUDITOR])
def test_people_have_no_business_at_the_broker(kind: Kind) -> None:
    assert RIGHTS.users([Holder("x", kind)]) == ()


def test_nats_lists_who_may_and_everybody_else_is_out() -> None:
    settings = BrokerSettings(
        "b", Listener("127.0.0.1", 1), "/s", 2, tls=tls(Holder("a.b"), Holder("box", Kind.BROKER))
    )
    conf = nats_conf(settings)
    assert '{user: "CN=a.b"' in conf and '"borderlane.v1.units.a//b.position"' in conf
    assert conf.count("verify_and_map: true") == 2 and conf.count('min_version: "1.3"') == 2
    assert "password" not in conf and conf.count("STANDARD") == 1


def test_nats_says_nothing_allowed_in_so_many_words() -> None:
    settings = BrokerSettings("b", Listener("127.0.0.1", 1), "/s", 2, tls=tls(Holder("box", Kind.RECEIVER)))
    assert 'publish: {deny: [">"]}' in nats_conf(settings)  # an empty allow list would allow everything


def test_mosquitto_takes_the_name_for_user_and_client_id() -> None:
    conf = mosquitto_conf(BrokerSettings("b", Listener("127.0.0.1", 1), "/s", tls=tls()))
    for line in (
        "allow_anonymous false", "require_certificate true", "use_identity_as_username true",
        "use_username_as_clientid true", "tls_version tlsv1.3", "crlfile /crl", "acl_file /acl",
    ):  # fmt: skip
        assert line in conf.splitlines()


def test_the_acl_names_those_whom_no_pattern_covers() -> None:
    acl = mosquitto_acl(tls(Holder("plain"), Holder("phone.7"), Holder("box", Kind.AGENT), revoked=("thief",)))
    assert "user plain" not in acl and "user phone.7\ntopic write owntracks/phone/7" in acl
    assert "user thief\ntopic deny #" in acl and acl.index("thief") < acl.index("user agent:box")
    assert not [line for line in acl.splitlines() if line.startswith("topic write") and line.endswith("#")]
