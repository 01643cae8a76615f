"""Models of the score card as files: what is shipped, what is trained, and the labelled declarations they come from."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

from agent.errors import ConfigError
from agent.risk.model import Model, ModelError, load_model
from simulator.customs.feedback import Count, Counters, Key
from simulator.customs.indicators import INDICATORS, KEYS
from simulator.papers import MAX_LORRY_KG, DeclaredLine

SHIPPED = {"default": "pair-card.json.gz", "boosted": "boosted.json.gz"}
COUNTS, DECLARATIONS = "counts.json.gz", "declarations.csv.gz"
PARTY_COLUMNS = ("Declarant ID", "Importer ID", "Seller ID", "Courier ID")
MAX_FILE_BYTES = 64 << 20
MAX_COUNTS = 2_000_000


class CountsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Counts that a model starts from: key to value to [seen, found]."""

    training_hash: str
    seen: int
    found: int
    keys: Mapping[str, Mapping[str, tuple[int, int]]]


@dataclass(frozen=True)
class Learned:
    """A model with the counts that it was trained beside."""

    model: Model
    prior: Counters


def shipped_folder() -> Traversable:
    """Where the shipped models lie."""
    return resources.files("simulator.customs").joinpath("models")


@cache
def shipped(kind: str) -> Learned:
    """The shipped model of a kind: `default` or `boosted`."""
    return load_learned(shipped_folder(), SHIPPED[kind])


def load_learned(folder: Traversable, name: str) -> Learned:
    """A model and its counts.

    Raises:
        ConfigError: a file that is missing or wrong, or two that do not belong together.
    """
    data, counts = _unpacked(folder, name), _unpacked(folder, COUNTS)
    try:
        model = load_model(data, counts)
        known = msgspec.json.decode(counts, type=CountsFile)
    except (ModelError, msgspec.DecodeError) as error:
        raise ConfigError(f"{folder}/{name}: {error}") from error
    if set(model.indicators) - set(INDICATORS):
        raise ConfigError(f"{folder}/{name}: indicators {sorted(set(model.indicators) - set(INDICATORS))} unknown")
    if model.indicators != INDICATORS:
        raise ConfigError(f"{folder}/{name}: expected the indicators {', '.join(INDICATORS)}")
    if known.training_hash != model.training_hash or set(known.keys) - set(KEYS):
        raise ConfigError(f"{folder}/{COUNTS}: not the counts of {name}; train both together")
    counted: dict[Key, Count] = {
        (key, text): Count(seen, found) for key, texts in known.keys.items() for text, (seen, found) in texts.items()
    }
    return Learned(model, Counters(counted, Count(known.seen, known.found)))


def _unpacked(folder: Traversable, name: str) -> bytes:
    try:
        packed = folder.joinpath(name).read_bytes()
        with gzip.open(io.BytesIO(packed)) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError) as error:
        raise ConfigError(f"{folder}/{name}: cannot be read: {error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{folder}/{name}: over {MAX_FILE_BYTES} bytes")
    return data


def packed(data: bytes) -> bytes:
    """The same bytes give the same file."""
    return gzip.compress(data, 9, mtime=0)


@cache
def shipped_declarations() -> tuple[DeclaredLine, ...]:
    """Labelled declarations as lorries carry them; later than those that the models were trained on."""
    lines = read_declarations(_unpacked(shipped_folder(), DECLARATIONS).decode())
    return tuple(line for line in lines if line.mass_kg <= MAX_LORRY_KG)


def read_declarations(text: str) -> Iterable[DeclaredLine]:
    """Lines of a CSV file with the columns of the labelled declarations."""
    for row in csv.DictReader(io.StringIO(text)):
        yield DeclaredLine(
            office=row["Office ID"],
            process=row["Process Type"],
            import_type=row["Import Type"],
            import_use=row["Import Use"],
            payment=row["Payment Type"],
            transport_mode=row["Mode of Transport"],
            declarant=row["Declarant ID"],
            importer=row["Importer ID"],
            seller=row["Seller ID"],
            courier=row["Courier ID"],
            hs6=row["HS6 Code"].rjust(6, "0"),
            departure=row["Country of Departure"],
            origin=row["Country of Origin"],
            tax_rate=float(row["Tax Rate"] or 0.0),
            tax_type=row["Tax Type"],
            origin_mark=row["Country of Origin Indicator"],
            mass_kg=float(row["Net Mass"] or 0.0),
            price=float(row["Item Price"] or 0.0),
            found=row["Fraud"] == "1",
        )


def renamed(path: Path) -> bytes:
    """A labelled CSV file with other numbers for its parties and declarations; the same party gets the same number.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; expected CSV in UTF-8, plain or gzip") from error
    if not rows:
        raise ConfigError(f"{path}: no lines; expected labelled declarations after the header")
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for number, row in enumerate(rows, start=1):
        named = {name: _other_number(name, row[name]) for name in PARTY_COLUMNS if name in row}
        writer.writerow(row | named | ({"Declaration ID": str(number)} if "Declaration ID" in row else {}))
    return packed(out.getvalue().encode())


def _other_number(column: str, number: str) -> str:
    if not number:
        return ""
    return f"{column[0]}{hashlib.blake2b(f'{column}:{number}'.encode(), digest_size=5).hexdigest().upper()}"
