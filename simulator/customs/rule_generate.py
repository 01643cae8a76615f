"""Rule books of any size, made up by seed: for `bench`, `demo --book` and whoever wants to try `rules build`.

Such a book holds the shipped one whole, with the plate and the party that the demo plants, and around it invented
rules, names and phrases that look like real ones. Generated rules ask for firms and codes as a real book would, weigh
little, and raise a colour by themselves only where they name an invented firm: ordinary goods stay unselected.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.customs.rule_source import shipped_rules

ROWS_OF_A_FILE = 250_000
FIRST_DAY, LAST_DAY = "2026-01-01", "2099-12-31"
"""A generated book holds in any year, like the shipped one."""
OWNERS = ("cell-north", "cell-south", "cell-west", "cell-east", "cell-inland")
TEXTS = ("value-low-for-goods", "watched-party", "watched-vehicle")
"""Of the shipped book."""
COUNTRIES = (
    "AE", "AL", "AR", "AT", "BA", "BD", "BE", "BG", "BR", "BY", "CA", "CI", "CL", "CN", "CO", "CZ", "DE", "DK", "EC",
    "EG", "ES", "FI", "FR", "GB", "GE", "GH", "GR", "HK", "HR", "HU", "ID", "IE", "IL", "IN", "IR", "IT", "JP", "KE",
    "KR", "KZ", "LB", "LK", "LT", "LV", "MA", "MD", "MK", "MX", "MY", "NG", "NL", "NO", "NZ", "PA", "PE", "PH", "PK",
    "PL", "PT", "RO", "RS", "RU", "SA", "SE", "SG", "SI", "SK", "SY", "TH", "TN", "TR", "TW", "UA", "US", "UY", "UZ",
    "VN", "ZA",
)  # fmt: skip
_BEGINNINGS = (
    "Al", "Bal", "Bern", "Cor", "Dan", "Del", "Eis", "Fel", "Gal", "Gran", "Hal", "Ilm", "Jur", "Kal", "Lan", "Lin",
    "Mar", "Mon", "Nor", "Ober", "Pol", "Quar", "Rhen", "Sal", "Sil", "Tar", "Tor", "Ulm", "Val", "Ver", "Wal", "Zen",
)  # fmt: skip
_MIDDLES = ("a", "ba", "co", "de", "e", "fi", "ga", "i", "ka", "la", "li", "mo", "na", "o", "re", "ri", "so", "ta",
            "ti", "vo")  # fmt: skip
_ENDINGS = ("bach", "berg", "dor", "feld", "gon", "heim", "len", "lin", "mar", "net", "nik", "ran", "ros", "stein",
            "tal", "tex", "tis", "vik", "wald", "zin")  # fmt: skip
_TRADES = (
    "Agrar", "Baustoffe", "Chemie", "Commerce", "Elektronik", "Export", "Fashion", "Food", "Freight", "Handel",
    "Holding", "Import", "Industrie", "Logistik", "Maschinen", "Metall", "Motors", "Pharma", "Shipping", "Spedition",
    "Textil", "Tobacco", "Trading", "Transport",
)  # fmt: skip
_FORMS = ("AG", "GmbH", "SA", "Sarl", "Srl", "SpA", "Ltd", "BV", "Kft", "Sp. z o.o.", "d.o.o.", "SRO")
_KINDS = ("gefälschte", "unverzollte", "getarnte", "gebrauchte", "lose", "gepresste", "rohe", "behandelte")
_GOODS = ("Zigaretten", "Ware", "Tabletten", "Felle", "Batterien", "Uhrwerke", "Münzen", "Hölzer", "Samen", "Essenz",
          "Pulver", "Paste", "Barren", "Häute", "Chips")  # fmt: skip
_CANTONS = ("AG", "BE", "BL", "BS", "GE", "GR", "LU", "SG", "SH", "SO", "TG", "TI", "VD", "VS", "ZG", "ZH")
_SHAPES: tuple[tuple[tuple[str, ...], float], ...] = (
    (("consignor", "hs4"), 0.22),
    (("consignee", "hs4"), 0.20),
    (("consignor", "hs6", "origin"), 0.13),
    (("consignee", "hs6", "origin"), 0.10),
    (("hs6", "origin", "dispatch"), 0.09),
    (("hs8", "origin", "office"), 0.08),
    (("hs8", "origin"), 0.06),
    (("hs4", "origin", "consignee"), 0.05),
    (("carrier", "hs4"), 0.03),
    (("plate", "consignee"), 0.02),
    (("plate",), 0.02),
)
"""What rules ask for, and how many of all do (choice, near what design/risk.md section 3 was measured with)."""
_NAMING = frozenset({"consignor", "consignee", "carrier", "plate"})
"""Fields of which a rule that raises a colour names one."""
_FLOOR_SHARE, _VALUE_PER_MASS_CHF_KG = 0.02, 20.0
"""Every rule bounds the value by mass, each at a place of its own: none asks for just what another does."""


@dataclass(frozen=True)
class Sizes:
    """How many of each."""

    rules: int
    names: int
    phrases: int
    plates: int = 1_000


def generate_book(folder: Path, sizes: Sizes, seed: int, offices: Sequence[str]) -> None:
    """Write a rule book folder; the same sizes, seed and offices give the same bytes.

    Args:
        folder: Does not exist yet, or is empty.
        offices: Customs offices that rules may name.

    Raises:
        OSError: it cannot be written.
    """
    with as_file(shipped_rules()) as shipped:
        shutil.copytree(shipped, folder, dirs_exist_ok=True)
    dice = np.random.default_rng(seed)
    firms = _firms(dice, max(2_000, sizes.rules // 12))
    _write_rules(folder / "rules", sizes.rules, firms, offices, dice)
    _write_lists(folder / "lists", sizes, dice)
    (folder / "PLANTED.md").write_text(_planted(sizes, seed), "utf-8")


def _planted(sizes: Sizes, seed: int) -> str:
    return f"""# What this book watches for the demo

{sizes.rules} rules, {sizes.names} names, {sizes.phrases} phrases and {sizes.plates} plates, invented with seed {seed};
no entry was taken from a real list. Planted among them, in `lists/watch.toml` (the shipped watch list):

- plate `ZH999001` of CH: entry `WATCH-P-0001`. The demo lets a lorry with this plate cross.
- party `Helvetia Schattenhandel AG`: entry `WATCH-N-0001`. The demo declares goods for `Helvetia Schatenhandel AG`.
"""


def _pick(dice: np.random.Generator, words: Sequence[str], count: int) -> NDArray[np.object_]:
    return np.array(words, object)[dice.integers(0, len(words), count)]


def _words(dice: np.random.Generator, count: int) -> NDArray[np.object_]:
    """Made-up names of firms and families."""
    words: NDArray[np.object_] = (
        _pick(dice, _BEGINNINGS, count) + _pick(dice, _MIDDLES, count) + _pick(dice, _ENDINGS, count)
    )
    return words


def _firms(dice: np.random.Generator, count: int) -> NDArray[np.object_]:
    trade = " " + _pick(dice, _TRADES, count) + " "
    firms: NDArray[np.object_] = _words(dice, count) + " " + _words(dice, count) + trade + _pick(dice, _FORMS, count)
    return firms


def _codes(dice: np.random.Generator, count: int) -> NDArray[np.object_]:
    """Commodity codes of eight digits: some 5,000 of six digits, as the Harmonised System has."""
    chapters = np.delete(np.arange(1, 98), 76)  # 77 is not in use
    headings = dice.integers(1, 14, count)
    code = chapters[dice.integers(0, len(chapters), count)] * 1_000_000 + headings * 10_000
    code += (1 + dice.integers(0, 5, count)) * 1_000 + dice.integers(0, 10, count) * 10 * (dice.random(count) < 0.5)
    return np.array([f"{one:08d}" for one in code.tolist()], object)


def _write_rules(
    folder: Path, count: int, firms: NDArray[np.object_], offices: Sequence[str], dice: np.random.Generator
) -> None:
    counts = [int(share * count) for _, share in _SHAPES]
    counts[0] += count - sum(counts)
    number = 0
    rows: list[tuple[str, ...]] = []
    part = 0
    for (fields, _), many in zip(_SHAPES, counts, strict=True):
        for row in _rules(fields, many, firms, offices, dice):
            number += 1
            rows.append((f"GEN-{number:08d}", *row))
            if len(rows) == ROWS_OF_A_FILE:
                part += 1
                _write(folder / f"bulk-{part:03d}.csv", rows)
                rows = []
    if rows:
        _write(folder / f"bulk-{part + 1:03d}.csv", rows)


_ASKED = ("consignor", "consignee", "carrier", "plate", "office", "hs4", "hs6", "hs8", "origin", "dispatch")
_HEADER = (
    "id", "owner", "valid_from", "valid_to", "direction", "points", "floor", "text",
    *(f"match.{name}" for name in _ASKED), "where.value_per_mass_chf_kg.below",
)  # fmt: skip


def _write(path: Path, rows: Sequence[tuple[str, ...]], header: Sequence[str] = _HEADER) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _rules(
    fields: tuple[str, ...],
    count: int,
    firms: NDArray[np.object_],
    offices: Sequence[str],
    dice: np.random.Generator,
) -> Iterator[tuple[str, ...]]:
    """Cells of rules that ask for these fields, without their ids."""
    firm: Callable[[], NDArray[np.object_]] = lambda: firms[dice.integers(0, len(firms), count)]  # noqa: E731
    codes = _codes(dice, count)
    values: dict[str, NDArray[np.object_]] = {
        "consignor": firm(), "consignee": firm(), "carrier": firm(), "plate": plates(dice, count),
        "office": _pick(dice, offices, count), "origin": _pick(dice, COUNTRIES, count),
        "dispatch": _pick(dice, COUNTRIES, count), "hs8": codes,
        "hs6": np.array([one[:6] for one in codes.tolist()], object),
        "hs4": np.array([one[:4] for one in codes.tolist()], object),
    }  # fmt: skip
    naming = not _NAMING.isdisjoint(fields)
    floor = np.where((dice.random(count) < _FLOOR_SHARE) & naming, _pick(dice, ("yellow", "red"), count), "")
    points = dice.integers(1, 5, count)
    below = np.round(dice.random(count) * _VALUE_PER_MASS_CHF_KG + 0.0001, 4)
    columns = [
        _pick(dice, OWNERS, count).tolist(), [FIRST_DAY] * count, [LAST_DAY] * count,
        _pick(dice, ("IN", "IN", "IN", ""), count).tolist(),
        [str(one) for one in points.tolist()], floor.tolist(), _pick(dice, TEXTS[:1], count).tolist(),
        *(values[name].tolist() if name in fields else [""] * count for name in _ASKED),
        [str(one) for one in below.tolist()],
    ]  # fmt: skip
    return zip(*columns, strict=True)


def plates(dice: np.random.Generator, count: int) -> NDArray[np.object_]:
    """Vehicle keys `ZH123456/CH` that no vehicle has: Swiss numbers of six digits begin with 9 here."""
    numbers = dice.integers(900_000, 999_000, count).tolist()
    cantons = _pick(dice, _CANTONS, count).tolist()
    return np.array([f"{canton}{number}/CH" for canton, number in zip(cantons, numbers, strict=True)], object)


def _write_lists(folder: Path, sizes: Sizes, dice: np.random.Generator) -> None:
    names = dict.fromkeys(_firms(dice, sizes.names + sizes.names // 50 + 10).tolist())
    _list(folder / "names.csv", "GEN-N", list(names)[: sizes.names], dice,
          ("name", "roles"), lambda name: (name, "consignor consignee carrier"))  # fmt: skip
    _list(folder / "phrases.csv", "GEN-T", _phrases(sizes.phrases, dice), dice, ("phrase",), lambda phrase: (phrase,))
    listed = list(dict.fromkeys(plates(dice, 2 * sizes.plates).tolist()))[: sizes.plates]
    _list(folder / "plates.csv", "GEN-P", listed, dice, ("identification_number", "nationality"),
          lambda plate: tuple(plate.split("/")))  # fmt: skip


def _phrases(count: int, dice: np.random.Generator) -> list[str]:
    """Distinct phrases of three words, each with a made-up mark in it."""
    found: dict[str, None] = {}
    while len(found) < count:
        many = count - len(found) + 10
        some = _pick(dice, _KINDS, many) + " " + _words(dice, many) + " " + _pick(dice, _GOODS, many)
        found |= dict.fromkeys(some.tolist())
    return list(found)[:count]


def _list(
    path: Path,
    prefix: str,
    entries: Sequence[str],
    dice: np.random.Generator,
    columns: tuple[str, ...],
    cells: Callable[[str], tuple[str, ...]],
) -> None:
    """One list; every entry gets an owner and some points."""
    header = ("id", "owner", "valid_from", "valid_to", "points", "text", *columns)
    text = {"GEN-P": "watched-vehicle"}.get(prefix, "watched-party")
    owners = _pick(dice, OWNERS, len(entries)).tolist()
    points = dice.integers(10, 31, len(entries)).tolist()
    rows = [
        (f"{prefix}-{number:07d}", owner, FIRST_DAY, LAST_DAY, str(one), text, *cells(entry))
        for number, (entry, owner, one) in enumerate(zip(entries, owners, points, strict=True), 1)
    ]
    _write(path, rows, header)
