"""Watch lists in bulk: names, plates and phrases as CSV, and entities in the form of followthemoney.

A CSV file `names*.csv`, `plates*.csv` or `phrases*.csv` has a column for each field of its entry. Files of entities
(JSON, one a line or as one list) hold names and plates, but not who answers for them or what they weigh; an
`[[entities]]` table beside them says that once for the whole file.
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from agent.risk.names import normal_name
from simulator.customs.book import Floor, Role, WatchedName, WatchedPhrase, WatchedPlate
from simulator.customs.rule_csv import Faults
from simulator.customs.suggest import nearest

Watched = WatchedName | WatchedPlate | WatchedPhrase
T = TypeVar("T", bound=Watched)

KINDS: dict[str, type[Watched]] = {
    "names": WatchedName, "plates": WatchedPlate, "phrases": WatchedPhrase,
}  # fmt: skip
"""Entry by how the name of its file begins."""
PARTIES = ("Person", "Organization", "Company", "LegalEntity", "PublicBody")
VEHICLES = ("Vehicle", "RoadVehicle")
"""Schemata of followthemoney that are taken; others are left out and counted."""
NAME_PROPERTIES = ("name", "alias", "previousName")
"""`weakAlias` is left out: names like "John" would meet everybody."""
MAX_NAMES = 16
"""Names of one entity."""


class Entities(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[entities]]`: what holds for all entries of a file."""

    file: str
    prefix: str
    """Ids of the entries begin with it."""
    owner: str
    valid_from: datetime.date
    valid_to: datetime.date
    points: int
    text: str
    roles: tuple[Role, ...] = ("consignor", "consignee", "declarant", "carrier")
    floor: Floor | None = None


class _Entity(msgspec.Struct, frozen=True):
    """What is read of an entity."""

    id: str
    schema: str
    properties: dict[str, list[str]] = {}


def read_list_csv(data: bytes, kind: type[T], faults: Faults) -> list[T]:
    """Entries of a CSV file; what is wrong is noted by its line.

    Args:
        data: UTF-8; `roles` are divided by spaces, an empty cell says nothing.
    """
    try:
        rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        header = next(rows, [])
        known = [one.name for one in msgspec.structs.fields(kind)]
        for name in header:
            if name not in known:
                faults.add(1, f"{name!r}: unknown column, {nearest(name, known)}")
        if any(name not in known for name in header):
            return []
        return list(_entries(rows, header, kind, faults))
    except UnicodeDecodeError as error:
        faults.add(1 + data[: error.start].count(b"\n"), f"not UTF-8: {error.reason}")
    except csv.Error as error:
        faults.add(1, f"not CSV: {error}")
    return []


def _entries(rows: Iterable[list[str]], header: list[str], kind: type[T], faults: Faults) -> Iterator[T]:
    for line, cells in enumerate(rows, 2):
        if len(cells) != len(header):
            faults.add(line, f"{len(cells)} cells: expected {len(header)}")
            continue
        said: dict[str, Any] = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        if "roles" in said:
            said["roles"] = said["roles"].split()
        try:
            yield msgspec.convert(said, kind, strict=False)
        except msgspec.ValidationError as error:
            faults.add(line, str(error))


def read_entities(data: bytes, about: Entities, faults: Faults) -> list[Watched]:
    """Entries of a file of entities: a party under each of its names, a vehicle by its plate."""
    found: list[Watched] = []
    for line, entity in _decoded(data, faults):
        if entity.schema in PARTIES:
            found += _named(entity, about)
        elif entity.schema in VEHICLES:
            found += _plates(entity, about, line, faults)
    return found


def _decoded(data: bytes, faults: Faults) -> Iterator[tuple[int, _Entity]]:
    lines = [(1, data)] if data.lstrip()[:1] == b"[" else enumerate(data.splitlines(), 1)
    for line, text in lines:
        try:
            if text.lstrip()[:1] == b"[":
                yield from ((line, one) for one in msgspec.json.decode(text, type=list[_Entity]))
            elif text.strip():
                yield line, msgspec.json.decode(text, type=_Entity)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            faults.add(line, f"no entity: {error}")


def _named(entity: _Entity, about: Entities) -> Iterator[WatchedName]:
    names = dict.fromkeys(
        name for key in NAME_PROPERTIES for name in entity.properties.get(key, ()) if normal_name(name)
    )
    for number, name in enumerate(list(names)[:MAX_NAMES]):
        yield WatchedName(
            id=f"{about.prefix}{entity.id}" + (f".{number}" if number else ""),
            name=name,
            roles=about.roles,
            floor=about.floor,
            **_common(about),
        )


def _plates(entity: _Entity, about: Entities, line: int, faults: Faults) -> Iterator[WatchedPlate]:
    countries = [one.upper() for one in entity.properties.get("country", ())]
    numbers = entity.properties.get("registrationNumber", ())
    if numbers and len(countries) != 1:
        faults.add(line, f"{entity.id}: a plate of {len(countries)} countries: expected one")
        return
    for number, plate in enumerate(numbers):
        yield WatchedPlate(
            id=f"{about.prefix}{entity.id}" + (f".{number}" if number else ""),
            identification_number=plate,
            nationality=countries[0],
            **_common(about),
        )


def _common(about: Entities) -> Mapping[str, Any]:
    return {name: getattr(about, name) for name in ("owner", "valid_from", "valid_to", "points", "text")}
