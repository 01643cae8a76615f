from __future__ import annotations

import msgspec
import pytest

from agent.domain.declaration import FeedPage, GoodsDeclaration, GoodsItem, TransportDeclaration

JOURNEY = {
    "jrn": "JRN-1",
    "direction": "IN",
    "activeBorderTransportMeans": {"identificationNumber": "ZH 1", "nationality": "CH"},
    "plannedCrossing": {"crossing": "thayngen", "estimatedDateTime": "2026-11-22T10:00:00.000Z"},
    "references": [{"referenceNumber": "26CH000000000001J4"}],
    "units": ["u1"],
    "aFieldOfTomorrow": 1,
}


def test_wire_form_is_camel_case_and_newer_fields_are_ignored():
    journey = msgspec.convert(JOURNEY, TransportDeclaration)
    assert journey.active_border_transport_means.identification_number == "ZH 1"
    again = msgspec.json.decode(msgspec.json.encode(journey))
    assert again["plannedCrossing"] == JOURNEY["plannedCrossing"]
    assert "aFieldOfTomorrow" not in again


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("units", ["u"] * 10, "$.units"),
        ("version", 0, "$.version"),
        ("references", [{"referenceNumber": "x", "version": 0}], "$.references[0].version"),
        ("jrn", 5, "$.jrn"),
    ],
)
def test_fault_names_the_field(field, value, path):
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert({**JOURNEY, field: value}, TransportDeclaration)
    assert path in str(error.value)


@pytest.mark.parametrize(
    "item",
    [
        {"goodsItemNumber": 0, "commodityCode": "2402"},
        {"goodsItemNumber": 1, "commodityCode": "24"},
        {"goodsItemNumber": 1, "commodityCode": "2402", "netMass": -1},
    ],
)
def test_goods_item_ranges(item):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(item, GoodsItem)


def test_feed_page_round_trip():
    page = msgspec.convert(
        {
            "marker": 7,
            "rows": [
                {
                    "marker": 7,
                    "jrn": "JRN-1",
                    "version": 1,
                    "state": "READY",
                    "declaration": JOURNEY,
                    "goods": [{"procedure": "IMPORT", "direction": "IN", "mrn": "26CH000000000001J4"}],
                }
            ],
        },
        FeedPage,
    )
    assert msgspec.json.decode(msgspec.json.encode(page), type=FeedPage) == page
    assert isinstance(page.rows[0].goods[0], GoodsDeclaration)
