"""What the learned model reads of a declaration: hit rates of 18 keys, how often each was seen, four numbers.

The same keys are counted when a control result comes in, so that every control teaches the next card
(design/risk.md sections 6 and 8).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agent.domain.declaration import GoodsDeclaration, GoodsItem, ImportData, Party
from agent.risk.model import LEARNED
from agent.risk.names import normal_name
from simulator.customs.feedback import SMOOTHING, Count, Counters, Key

HEADER_KEYS = (
    "office", "process", "import_type", "import_use", "payment", "transport_mode", "declarant", "importer", "seller",
    "courier",
)  # fmt: skip
"""Keys of the declaration."""
ITEM_KEYS = ("hs6", "hs4", "hs2", "origin_hs4", "departure", "origin", "tax_type", "origin_mark")
"""Keys of each goods item."""
KEYS = (*HEADER_KEYS, *ITEM_KEYS)
NUMBERS = ("tax_rate", "log_mass", "log_price", "log_value_per_mass")
INDICATORS = (*(f"{LEARNED}{name}" for name in KEYS), *(f"seen:{name}" for name in KEYS), *NUMBERS)
"""The 40 indicators in the order of a row of `LearnedRates.rows`."""
_NO_DATA = ImportData()


def party_key(party: Party | None) -> str:
    """A party by its number, or else by its name as people write it; empty if there is none."""
    if party is None:
        return ""
    if party.identification_number:
        return "".join(party.identification_number.split()).upper()
    return normal_name(party.name)


def header_keys(goods: GoodsDeclaration) -> tuple[str, ...]:
    """Values of `HEADER_KEYS`; empty text = not declared."""
    data = goods.import_data or _NO_DATA
    return (
        data.customs_office_of_import or "",
        data.additional_declaration_type or "",
        data.requested_procedure or "",
        data.nature_of_transaction or "",
        data.method_of_payment or "",
        data.inland_mode_of_transport or "",
        party_key(goods.declarant),
        party_key(goods.consignee),
        party_key(goods.consignor),
        party_key(data.courier),
    )


def item_keys(item: GoodsItem) -> tuple[str, ...]:
    """Values of `ITEM_KEYS`; empty text = not declared."""
    code, origin = item.commodity_code, (item.country_of_origin or "").upper()
    return (
        code[:6] if len(code) >= 6 else "",
        code[:4],
        code[:2],
        f"{origin} {code[:4]}" if origin else "",
        (item.country_of_dispatch or "").upper(),
        origin,
        item.duties_and_taxes[0].tax_type if item.duties_and_taxes else "",
        item.origin_indicator or "",
    )


def counted_keys(goods: GoodsDeclaration) -> list[Key]:
    """What a control of this declaration counts under, each once."""
    keys = {(name, text) for name, text in zip(HEADER_KEYS, header_keys(goods), strict=True) if text}
    for item in goods.goods_items:
        keys |= {(name, text) for name, text in zip(ITEM_KEYS, item_keys(item), strict=True) if text}
    return sorted(keys)


class LearnedRates:
    """One version of the counters, ready to describe declarations.

    Args:
        prior: Counts that the model starts from, with its base rate.
        counters: Counts of this service's own controls.
        chf_of_price: Francs in one unit of the model's prices.
    """

    def __init__(self, prior: Counters, counters: Counters, chf_of_price: float) -> None:
        self._prior, self._counts = prior.counts, counters.counts
        self._chf_of_price = chf_of_price
        by_lot = counters.counts.get(("", "random"), Count())  # selected controls find more than there is
        seen, found = prior.total.seen + by_lot.seen, prior.total.found + by_lot.found
        self.base = (found + 1.0) / (seen + 5.0) if seen < SMOOTHING or found in (0, seen) else found / seen
        self._unknown = (_log_odds(self.base), 0.0)
        self._known: dict[Key, tuple[float, float]] = {}  # of counted keys only: bounded by them

    def rows(self, goods: GoodsDeclaration, rates: Mapping[str, float]) -> NDArray[np.float64]:
        """Indicators of each goods item, shape (items, 40); of none at all without items.

        Args:
            rates: Currency to CHF; a value in another currency is as good as not declared.
        """
        header = [self._told(key) for key in zip(HEADER_KEYS, header_keys(goods), strict=True)]
        return np.array([self._row(header, item, rates) for item in goods.goods_items]).reshape(-1, len(INDICATORS))

    def _row(self, header: list[tuple[float, float]], item: GoodsItem, rates: Mapping[str, float]) -> list[float]:
        told = header + [self._told(key) for key in zip(ITEM_KEYS, item_keys(item), strict=True)]
        return [one[0] for one in told] + [one[1] for one in told] + self._numbers(item, rates)

    def _told(self, key: Key) -> tuple[float, float]:
        """Log-odds of the smoothed hit rate, and log of how often it was seen."""
        known = self._known.get(key)
        if known is None:
            known = self._looked_up(key) if key[1] else self._unknown
        return known

    def _looked_up(self, key: Key) -> tuple[float, float]:
        before, since = self._prior.get(key), self._counts.get(key)
        if before is None and since is None:
            return self._unknown
        seen = (before.seen if before else 0) + (since.seen if since else 0)
        found = (before.found if before else 0) + (since.found if since else 0)
        rate = (found + SMOOTHING * self.base) / (seen + SMOOTHING)
        known = self._known[key] = (_log_odds(rate), math.log1p(seen))
        return known

    def _numbers(self, item: GoodsItem, rates: Mapping[str, float]) -> list[float]:
        tax = item.duties_and_taxes[0].tax_rate if item.duties_and_taxes else None
        mass = item.net_mass or 0.0
        price = (item.statistical_value or 0.0) * rates.get(item.currency or "CHF", 0.0) / self._chf_of_price
        return [tax or 0.0, math.log1p(mass), math.log1p(price), math.log((price + 1.0) / (mass + 1.0))]


def _log_odds(rate: float) -> float:
    return math.log(rate / (1.0 - rate))
