"""A compiled rule book on disk: a folder of NumPy arrays and JSON, named with their hashes in a signed manifest.

A book is written beside its place and put there whole. It is opened by mapping: what is not looked at is not read.
"""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from joserfc.jwk import OKPKey
from numpy.typing import NDArray

from agent.domain.signed import BadSignature, sign, verify
from agent.errors import ConfigError
from agent.risk.book import (
    ABOUT,
    ENTRY,
    FORMAT,
    BookColumns,
    BookWords,
    CompiledBook,
    FileEntry,
    ListColumns,
    Manifest,
    RuleColumns,
    TextColumn,
)
from agent.risk.names import NameColumns
from agent.risk.phrases import PhraseColumns
from agent.risk.rule_index import ROW

MANIFEST, SIGNATURE, WORDS = "manifest.json", "manifest.jws", "words.json"
BOOK_TYP = "borderlane-book"
"""`typ` of the signature over the manifest's hash."""
MAX_MANIFEST_BYTES = 1 << 20
MAX_WORDS_BYTES = 64 << 20

_DTYPES: dict[str, np.dtype[Any]] = {
    "rows": ROW, "about": ABOUT, "entries": ENTRY,
    "keys": np.dtype("<u8"), "whole": np.dtype("<u8"), "cut": np.dtype("<u8"), "key": np.dtype("<u8"),
    "text": np.dtype("u1"), "word": np.dtype("u1"), "widths": np.dtype("u1"),
}  # fmt: skip
"""Type of a column by its name; all others are numbers of things, `<u4`."""

T = TypeVar("T")


class BookRefused(ConfigError):  # noqa: N818 - reads as the fact it states
    """A compiled book that is not taken: file, what is wrong, what was expected."""


def write_book(
    folder: Path, manifest: Manifest, columns: BookColumns, words: BookWords, key: OKPKey, kid: str
) -> Manifest:
    """Write a book, signed; what stood in the folder is replaced whole. What was signed is returned.

    Args:
        manifest: Without `files`, which are filled in.

    Raises:
        OSError: it cannot be written; the old book, if any, stands.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        for name, array in _arrays(columns):
            with (beside / f"{name}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
        (beside / WORDS).write_bytes(msgspec.json.encode(words))
        files = {one.name: _entry(one) for one in sorted(beside.iterdir())}
        signed = msgspec.structs.replace(manifest, files=files)
        body = msgspec.json.format(msgspec.json.encode(signed), indent=1)
        (beside / MANIFEST).write_bytes(body)
        (beside / SIGNATURE).write_text(sign(_digest(body), key, kid, BOOK_TYP), "ascii")
        _put(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return signed


def _arrays(columns: Any, prefix: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of nested columns by dotted name."""
    for one in fields(columns):
        value = getattr(columns, one.name)
        if is_dataclass(value):
            yield from _arrays(value, f"{prefix}{one.name}.")
        else:
            yield prefix + one.name, value


def _put(beside: Path, folder: Path) -> None:
    """Move a folder to its place, with all of it on disk before."""
    for path in (*beside.iterdir(), beside):
        _sync(path)
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def is_book(folder: Path) -> bool:
    """Whether a folder holds a compiled book, good or not."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path, keys: Mapping[str, OKPKey]) -> Manifest:
    """What the book in a folder is.

    Args:
        keys: Public keys of those who may sign it, by key id.

    Raises:
        BookRefused: not signed by them, or not a manifest of this format.
    """
    body = _read(folder / MANIFEST, MAX_MANIFEST_BYTES)
    token = _read(folder / SIGNATURE, MAX_MANIFEST_BYTES)
    try:
        signed = verify(token, dict(keys), BOOK_TYP)
    except BadSignature as error:
        raise BookRefused(f"{folder / SIGNATURE}: signature refused: {error}") from error
    if signed != _digest(body):
        raise BookRefused(f"{folder / MANIFEST}: not the manifest that was signed")
    return _decoded(folder / MANIFEST, body, Manifest)


def _read(path: Path, most: int) -> bytes:
    try:
        if path.stat().st_size > most:
            raise BookRefused(f"{path}: over {most} bytes")
        return path.read_bytes()
    except OSError as error:
        raise BookRefused(f"{path}: cannot be read: {error.strerror}") from error


def _decoded(path: Path, body: bytes, kind: type[T]) -> T:
    try:
        found = msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BookRefused(f"{path}: {error}") from error
    if isinstance(found, Manifest) and found.format != FORMAT:
        raise BookRefused(f"{path}: format {found.format}: expected {FORMAT}")
    return found


def check_files(folder: Path, manifest: Manifest) -> None:
    """Hold each file against its hash in the manifest: about a second for a gigabyte.

    Raises:
        BookRefused: a file that is missing, of another size or of other contents.
    """
    for name, entry in manifest.files.items():
        path = folder / name
        _check_size(path, entry)
        if _entry(path) != entry:
            raise BookRefused(f"{path}: contents differ from the signed hash {entry.sha256[:12]}")


def _check_size(path: Path, entry: FileEntry) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BookRefused(f"{path}: cannot be read: {error.strerror}") from error
    if size != entry.size:
        raise BookRefused(f"{path}: {size} bytes: expected {entry.size}")


def open_book(folder: Path, keys: Mapping[str, OKPKey], *, check: bool = True, mapped: bool = True) -> CompiledBook:
    """The book in a folder.

    Args:
        keys: Public keys of those who may sign it, by key id.
        check: Hold every file against its hash; False only for a book that `check_files` has found good and that
            nobody else can write to.
        mapped: Map the arrays; False reads them whole.

    Raises:
        BookRefused: a wrong signature, hash or form.
    """
    manifest = read_manifest(folder, keys)
    expected = {WORDS, *(f"{name}.npy" for name in _COLUMNS)}
    if set(manifest.files) != expected:
        odd = ", ".join(sorted(expected ^ set(manifest.files)))
        raise BookRefused(f"{folder / MANIFEST}: files: expected those of format {FORMAT}; not on both sides: {odd}")
    if check:
        check_files(folder, manifest)
    for name, entry in manifest.files.items():
        _check_size(folder / name, entry)
    arrays = {name: _array(folder / f"{name}.npy", name, mapped) for name in _COLUMNS}
    columns = _columns(arrays, BookColumns, "")
    words = _decoded(folder / WORDS, _read(folder / WORDS, MAX_WORDS_BYTES), BookWords)
    _check_shapes(folder, manifest, columns)
    return CompiledBook(manifest, columns, words)


def settle(*_kept: object) -> None:
    """Take everything that lives now out of the garbage collector's rounds: a book does not die between them."""
    gc.collect()
    gc.freeze()


def _array(path: Path, name: str, mapped: bool) -> NDArray[Any]:
    """One column, checked for its type; an empty one cannot be mapped."""
    try:
        try:
            found = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        except ValueError:
            found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BookRefused(f"{path}: no NumPy array: {error}") from error
    expected = _DTYPES.get(name.rpartition(".")[2], np.dtype("<u4"))
    if found.dtype != expected or found.ndim != 1:
        raise BookRefused(f"{path}: {found.dtype} in {found.ndim} dimensions: expected a column of {expected}")
    return np.asarray(found)


_NESTED: dict[str, type[Any]] = {
    "rules": RuleColumns, "plates": ListColumns, "named": ListColumns, "phrased": ListColumns,
    "names": NameColumns, "phrases": PhraseColumns, "ids": TextColumn,
}  # fmt: skip


def _columns(arrays: Mapping[str, NDArray[Any]], kind: type[T], prefix: str) -> T:
    """Nested columns from arrays by dotted name."""
    made: dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]
        nested = _NESTED.get(one.name)
        name = prefix + one.name
        made[one.name] = arrays[name] if nested is None else _columns(arrays, nested, f"{name}.")
    return kind(**made)


def _names(kind: type[Any], prefix: str = "") -> Iterator[str]:
    for one in fields(kind):
        nested = _NESTED.get(one.name)
        if nested is None:
            yield prefix + one.name
        else:
            yield from _names(nested, f"{prefix}{one.name}.")


_COLUMNS = tuple(_names(BookColumns))


def _check_shapes(folder: Path, manifest: Manifest, columns: BookColumns) -> None:
    """Columns that belong together are equally long."""
    rules = columns.rules
    shapes = {"rules": {len(rules.keys), len(rules.rows), len(rules.about), len(rules.ids)}}
    for name in ("plates", "named", "phrased"):
        one: ListColumns = getattr(columns, name)
        shapes[name] = {len(one.entries), len(one.ids)} | ({len(one.keys)} if name == "plates" else set())
    for name, sizes in shapes.items():
        if len(sizes) != 1 or sizes != {manifest.counts.get(name)}:
            raise BookRefused(
                f"{folder}: columns of {name} of lengths {sorted(sizes)}: expected {manifest.counts.get(name)}"
            )
