"""Where the keys of compiled books lie: beside the book, unless somebody says otherwise."""

from __future__ import annotations

from pathlib import Path

KID = "book-1"
"""Key id in the signature of a book built by `rules build`."""


def beside(book: Path, suffix: str) -> Path:
    """The file of a key that lies beside a book."""
    return book.with_name(f"{book.name}.{suffix}")
