"""simulator/customs/card_again.py: a stored card comes out the same to the bit, or says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from typer.testing import CliRunner

from agent.domain.identifiers import activation_id
from agent.domain.instruction import Vehicle
from agent.errors import ConfigError
from agent.keys import jwk_of, make_key, read_private_key
from agent.risk.exchange import ActivatedDeclaration, RiskRequest
from simulator.customs.card_again import again
from simulator.customs.office import Office
from simulator.customs.reference import places_of, read_crossings
from simulator.customs.register import Register
from simulator.customs.rule_build import book_of
from simulator.customs.rule_commands import app
from simulator.customs.rule_source import shipped_rules
from simulator.customs.shelf import Shelf
from simulator.customs.store import Store
from zones.catalogue import shipped_bytes

NOW_S = 1_795_342_500.0
Make = Callable[..., Any]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    make_key(tmp_path / "authority.key.pem", tmp_path / "authority.pub.pem")
    secret = read_private_key(tmp_path / "authority.key.pem")
    store = Store(tmp_path)
    places = places_of(read_crossings(shipped_bytes("geo/crossings.geojson")))
    book = book_of(Shelf(tmp_path, secret).take(shipped_rules(), None, round(NOW_S * 1000)))
    yield Office(Register(store, places), book, jwk_of(secret), "authority-1")
    store.close()


def asked(office: Office, mrn: str, request_id: str, **indicators: Any) -> None:
    key = activation_id(mrn, 1, "J", "thayngen", "IN")
    request = RiskRequest(
        request_id=request_id, jrn="J", crossing="thayngen", customs_office=None, direction="IN",
        activation_date_time="2026-11-22T10:15:00Z",
        vehicle=Vehicle(identification_number="ZH999001", nationality="CH"),
        declarations=(ActivatedDeclaration(mrn=mrn, version=1, activation_id=key),), indicators=indicators,
    )  # fmt: skip
    office.assess(msgspec.json.encode(request), request, NOW_S)


@pytest.fixture
def data(office: Office, goods: Make, journey: Make, mrn: Make, tmp_path: Path) -> Path:
    """A register with a card for declaration 1, given twice."""
    office.register.submit_goods([goods(1)], NOW_S, amend=False)
    office.register.submit_journeys([journey("J", mrn(1))], NOW_S, amend=False)
    asked(office, mrn(1), "r1")
    asked(office, mrn(1), "r2", trailerChanged=True, stopBeforeBorderS=6_000)
    return tmp_path


def test_a_stored_card_comes_out_the_same_to_the_bit(data: Path, mrn: Make) -> None:
    found = again(data, mrn(1), None, None)
    assert found.same
    card = json.loads(found.stored)
    assert {"WATCH-P-0001", "DEMO-0102", "DEMO-0104"} <= {one["id"] for one in card["reasons"]}
    assert again(data, mrn(1), "J", None).stored == found.stored


def test_the_answer_rests_on_what_was_known_then(office: Office, data: Path, goods: Make, mrn: Make) -> None:
    before = again(data, mrn(1), None, None).stored
    office.store.put_goods(msgspec.structs.replace(goods(1), version=2, goods_items=()), "ACCEPTED", NOW_S + 60)
    assert again(data, mrn(1), None, None).stored == before


def test_a_card_that_was_tampered_with_is_found(data: Path, mrn: Make) -> None:
    db = apsw.Connection(str(data / "customs.sqlite"))
    db.execute("UPDATE assessment SET body = CAST(replace(body, '\"score\":', '\"score\":1') AS BLOB)")
    db.close()
    assert not again(data, mrn(1), None, None).same
    done = CliRunner().invoke(app, ["explain", "--data", str(data), mrn(1)])
    assert done.exit_code == 1
    assert "computed again: DIFFERENT" in done.output and "score: stored" in done.output


def test_the_command_says_why(data: Path, mrn: Make) -> None:
    done = CliRunner().invoke(app, ["explain", "--data", str(data), mrn(1)])
    assert done.exit_code == 0, done.output
    for text in ("WATCHLIST WATCH-P-0001: Vehicle on the watch list", "computed again: equal to the bit"):
        assert text in done.output
    facts = json.loads(CliRunner().invoke(app, ["explain", "--data", str(data), mrn(1), "--json"]).output)
    assert facts["same"] and facts["stored"] == facts["computed"]


def test_what_is_not_held_is_named(data: Path, mrn: Make) -> None:
    with pytest.raises(ConfigError, match="no card of M"):
        again(data, "M", None, None)
    for book in (data / "books").glob("2026*"):
        book.rename(book.with_name("gone"))
    with pytest.raises(ConfigError, match="is not held any more"):
        again(data, mrn(1), None, None)
