from __future__ import annotations

import msgspec

from agent.domain.routing import ROUTING_ORDER, Assessment, Routing


def test_order_of_strictness_names_every_routing_once():
    assert set(ROUTING_ORDER) == set(Routing)
    assert [routing.value for routing in ROUTING_ORDER] == [
        "TO_ENTRY",
        "ENTRY_PENDING",
        "TO_CONTROL",
        "ENTRY_DENIED",
    ]


def test_an_unknown_word_is_read_as_it_is():
    text = (
        b'{"activationId":"a","mrn":null,"version":1,"jrn":"j","crossing":"c","direction":"IN",'
        b'"routing":"WAVE_THROUGH","issuedAt":"x","validUntil":"y"}'
    )
    assert msgspec.json.decode(text, type=Assessment).routing == "WAVE_THROUGH"
