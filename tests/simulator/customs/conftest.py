"""Declarations and a register to put them into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from agent.domain.declaration import (
    DeclarationReference,
    GoodsDeclaration,
    GoodsItem,
    Party,
    PlannedCrossing,
    TransportDeclaration,
    TransportMeans,
)
from agent.domain.identifiers import check_digit
from simulator.customs.office import Office
from simulator.customs.reference import places_of, read_crossings
from simulator.customs.register import Register
from simulator.customs.rule_build import load_book
from simulator.customs.rule_source import shipped_rules
from simulator.customs.store import Store
from zones.catalogue import shipped_bytes


def _mrn(number: int, letter: str = "R") -> str:
    first_17 = f"26CH{number:012d}{letter}"
    return f"{first_17}{check_digit(first_17)}"


def _goods(number: int | None = 1, **changes: Any) -> GoodsDeclaration:
    item = GoodsItem(
        goods_item_number=1,
        commodity_code="39269097",
        country_of_origin="DE",
        net_mass=900.0,
        gross_mass=1_000.0,
        statistical_value=20_000.0,
        currency="CHF",
    )
    given = {
        "procedure": "IMPORT",
        "direction": "IN",
        "mrn": None if number is None else _mrn(number),
        "consignor": Party(name="Nordwerk GmbH"),
        "consignee": Party(name="Muster AG"),
        "goods_items": (item,),
    }
    return GoodsDeclaration(**(given | changes))


def _journey(jrn: str = "JRN-1", *numbers: str, plate: str = "ZH 123", **changes: Any) -> TransportDeclaration:
    given = {
        "jrn": jrn,
        "direction": "IN",
        "active_border_transport_means": TransportMeans(identification_number=plate, nationality="CH"),
        "planned_crossing": PlannedCrossing(crossing="thayngen"),
        "references": tuple(DeclarationReference(reference_number=number) for number in numbers),
    }
    return TransportDeclaration(**(given | changes))


@pytest.fixture(name="mrn")
def mrn_fixture() -> Callable[..., str]:
    """An MRN with a right check digit."""
    return _mrn


@pytest.fixture(name="goods")
def goods_fixture() -> Callable[..., GoodsDeclaration]:
    """A goods declaration that is in order."""
    return _goods


@pytest.fixture(name="journey")
def journey_fixture() -> Callable[..., TransportDeclaration]:
    """A journey over Thayngen into the country."""
    return _journey


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A customs office with the built-in rules and an empty register."""
    store = Store(tmp_path)
    places = places_of(read_crossings(shipped_bytes("geo/crossings.geojson")))
    key = OKPKey.generate_key("Ed25519", private=True)
    yield Office(Register(store, places), load_book(shipped_rules()), key, "authority-1")
    store.close()
