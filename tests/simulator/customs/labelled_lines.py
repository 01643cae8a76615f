"""Made-up labelled declarations, in which one importer of one origin hides what it brings."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np

HEADER = [
    "Declaration ID", "Date", "Office ID", "Process Type", "Import Type", "Import Use", "Payment Type",
    "Mode of Transport", "Declarant ID", "Importer ID", "Seller ID", "Courier ID", "HS6 Code",
    "Country of Departure", "Country of Origin", "Tax Rate", "Tax Type", "Country of Origin Indicator",
    "Net Mass", "Item Price", "Fraud", "Critical Fraud",
]  # fmt: skip


def made_lines(count: int, seed: int, first_day: int = 0, days: int = 60) -> list[dict[str, str]]:
    """Rows by column; finds are likely only where importer and low value for the mass meet."""
    dice = np.random.default_rng(seed)
    start = np.datetime64("2020-01-01")
    rows = []
    for number in range(count):
        importer, mass = int(dice.integers(0, 12)), float(dice.integers(10, 5_000))
        price = mass * float(dice.choice([2.0, 80.0]))
        bad = 0.8 if importer < 3 and price < mass * 10 else 0.08
        row = dict.fromkeys(HEADER, "1") | {
            "Declaration ID": str(number),
            "Date": str(start + first_day + number * days // count),
            "Importer ID": f"I{importer}",
            "Country of Origin": str(dice.choice(["CN", "DE", "AE"])),
            "HS6 Code": str(dice.choice(["870323", "080300", "620822"])),
            "Tax Rate": "8.0",
            "Net Mass": f"{mass}",
            "Item Price": f"{price}",
            "Fraud": str(int(dice.random() < bad)),
        }
        rows.append(row)
    return rows


def written(path: Path, rows: list[dict[str, str]], packed: bool = False) -> Path:
    """The rows as a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else HEADER)
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path
