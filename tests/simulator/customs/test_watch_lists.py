"""simulator/customs/watch_lists.py: lists in bulk, and entities in the form of followthemoney."""

from __future__ import annotations

import datetime
import json

import pytest

from simulator.customs.book import WatchedName, WatchedPhrase, WatchedPlate
from simulator.customs.rule_csv import Faults
from simulator.customs.watch_lists import Entities, read_entities, read_list_csv

ABOUT = Entities(
    file="x.json", prefix="OS-", owner="cell", valid_from=datetime.date(2026, 1, 1),
    valid_to=datetime.date(2026, 12, 31), points=30, text="watched-party", roles=("consignee",), floor="red",
)  # fmt: skip
PARTY = {"id": "a1", "schema": "Company", "properties": {"name": ["Dunkel AG"], "alias": ["Dark Ltd", "??"]}}
LORRY = {"id": "v1", "schema": "Vehicle", "properties": {"registrationNumber": ["ZH 1"], "country": ["ch"]}}
SHIP = {"id": "s1", "schema": "Vessel", "properties": {"name": ["Titan"]}}


@pytest.mark.parametrize("form", ["lines", "list"])
def test_parties_by_every_name_and_vehicles_by_their_plate(form: str) -> None:
    entities = [PARTY, LORRY, SHIP]
    text = json.dumps(entities) if form == "list" else "\n".join(map(json.dumps, entities))
    faults = Faults("x.json")
    first, alias, plate = read_entities(text.encode(), ABOUT, faults)
    assert faults.listed() == []
    assert isinstance(first, WatchedName) and isinstance(alias, WatchedName) and isinstance(plate, WatchedPlate)
    assert (first.id, first.name, first.floor, first.roles) == ("OS-a1", "Dunkel AG", "red", ("consignee",))
    assert (alias.id, alias.name) == ("OS-a1.1", "Dark Ltd")
    assert (plate.id, plate.identification_number, plate.nationality) == ("OS-v1", "ZH 1", "CH")


def test_what_is_no_entity_is_named_by_its_line() -> None:
    faults = Faults("x.json")
    stray = json.dumps(LORRY | {"properties": {"registrationNumber": ["ZH 1"], "country": []}})
    read_entities(f"{json.dumps(PARTY)}\n{{\n{stray}".encode(), ABOUT, faults)
    bad, two = faults.listed()
    assert bad.startswith("x.json:2: no entity")
    assert two == "x.json:3: v1: a plate of 0 countries: expected one"


def test_lists_as_csv() -> None:
    faults = Faults("names.csv")
    text = (
        "id,owner,valid_from,valid_to,points,text,name,roles,floor\n"
        "N-1,cell,2026-01-01,2026-12-31,30,watched,Dunkel AG,consignor consignee,red\n"
        "N-2,cell,2026-01-01,2026-12-31,x,watched,Dunkel AG,consignor,\n"
        "N-3,cell,2026-01-01,2026-12-31,3,watched,Dunkel AG,smuggler,\n"
        "N-4,cell\n"
    )
    (name,) = read_list_csv(text.encode(), WatchedName, faults)
    assert (name.roles, name.floor, name.valid_to) == (("consignor", "consignee"), "red", datetime.date(2026, 12, 31))
    points, role, cells = faults.listed()
    assert points.startswith("names.csv:3:") and "points" in points
    assert role.startswith("names.csv:4:") and "smuggler" in role
    assert cells == "names.csv:5: 2 cells: expected 9"


def test_an_unknown_column_is_refused_with_the_nearest() -> None:
    faults = Faults("phrases.csv")
    assert read_list_csv(b"id,phrases\nT-1,gold\n", WatchedPhrase, faults) == []
    assert faults.listed() == ["phrases.csv:1: 'phrases': unknown column, did you mean \"phrase\"?"]
