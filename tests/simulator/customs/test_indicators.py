"""simulator/customs/indicators.py: a declaration is described as its labelled line; what is counted is asked."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.declaration import GoodsDeclaration, GoodsItem, Party
from simulator.customs.feedback import NO_COUNTERS, Count, Counters
from simulator.customs.indicators import INDICATORS, KEYS, LearnedRates, counted_keys, item_keys, party_key
from simulator.customs.labelled import CATEGORY_COLUMNS, read_lines
from simulator.customs.models import read_declarations, shipped, shipped_folder
from simulator.customs.training import Counted, Rates, describe
from simulator.papers import CHF_OF_PRICE, declared

EMPTY = GoodsDeclaration(procedure="IMPORT", direction="IN")
SHIPPED = shipped("default")


def test_a_lodged_declaration_is_described_as_its_labelled_line(tmp_path: Path) -> None:
    whole = gzip.decompress(shipped_folder().joinpath("declarations.csv.gz").read_bytes()).decode()
    text = "\n".join(whole.split("\n")[:200]) + "\n"
    path = tmp_path / "lines.csv"
    path.write_text(text, "utf-8")
    prior, keys = SHIPPED.prior, {}
    for name in KEYS:
        known = {value: one for (key, value), one in prior.counts.items() if key == name}
        keys[name] = Counted({v: one.seen for v, one in known.items()}, {v: one.found for v, one in known.items()})
    wanted = describe(read_lines(path), Rates(keys, prior.total.found / prior.total.seen))
    rates = LearnedRates(prior, NO_COUNTERS, SHIPPED.model.chf_of_price)
    got = np.concatenate([rates.rows(declared(line, EMPTY), {"CHF": 1.0}) for line in read_declarations(text)])
    assert SHIPPED.model.chf_of_price == CHF_OF_PRICE
    assert got.shape == wanted.shape == (199, len(INDICATORS))
    assert np.allclose(got, wanted, atol=0.05), "values in francs are rounded to cents"


def test_the_keys_are_those_of_the_labelled_lines() -> None:
    assert tuple(CATEGORY_COLUMNS) == KEYS


def test_a_party_goes_by_its_number_or_by_its_name_as_people_write_it() -> None:
    assert party_key(Party(name="Muster AG", identification_number="che 123")) == "CHE123"
    assert party_key(Party(name="Müster  AG")) == party_key(Party(name="MUSTER"))
    assert party_key(None) == ""


@pytest.mark.parametrize(("code", "keys"), [("3926", ("", "3926", "39")), ("39269097", ("392690", "3926", "39"))])
def test_codes_are_cut_to_what_they_have(code: str, keys: tuple[str, ...]) -> None:
    assert item_keys(GoodsItem(goods_item_number=1, commodity_code=code))[:3] == keys


ITEM = GoodsItem(goods_item_number=1, commodity_code="39269097", country_of_origin="DE", net_mass=5.0)
GOODS = GoodsDeclaration(procedure="IMPORT", direction="IN", consignee=Party(name="Muster AG"), goods_items=(ITEM,))
AT = INDICATORS.index("rate:importer")


@given(st.integers(0, 300), st.integers(0, 300))
def test_every_find_raises_the_rate_and_every_clean_control_lowers_it(clean: int, found: int) -> None:
    def rate(seen: int, finds: int) -> float:
        counts = Counters({("importer", "muster"): Count(seen, finds)}, Count(seen, finds), seen)
        return float(LearnedRates(SHIPPED.prior, counts, 1.0).rows(GOODS, {"CHF": 1.0})[0, AT])

    seen = clean + found
    assert rate(seen + 1, found) < rate(seen, found) < rate(seen + 1, found + 1)


def test_selected_controls_do_not_move_the_base_rate_but_the_lot_does() -> None:
    selected = Counters({("", "all"): Count(900, 900)}, Count(900, 900), 900)
    drawn = Counters({("", "random"): Count(90_000, 0)}, Count(90_000, 0), 90_000)
    base = SHIPPED.prior.total.found / SHIPPED.prior.total.seen
    assert LearnedRates(SHIPPED.prior, selected, 1.0).base == pytest.approx(base)
    assert LearnedRates(SHIPPED.prior, drawn, 1.0).base < base / 3


def test_what_is_not_declared_is_not_counted() -> None:
    assert counted_keys(EMPTY) == []
    assert ("importer", "muster") in counted_keys(GOODS)
    assert LearnedRates(SHIPPED.prior, NO_COUNTERS, 1.0).rows(EMPTY, {}).shape == (0, len(INDICATORS))
