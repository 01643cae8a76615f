"""The rule books that a customs service holds: taken only if signed, whole and not older, kept by version.

What answers is always a compiled book in the data folder, so that a card can be computed again years of versions
later; a folder of sources is compiled into it. A book that is refused changes nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from agent.errors import ConfigError
from agent.keys import jwk_of, read_public_key
from agent.risk.book import CompiledBook, Manifest
from agent.risk.book_file import (
    MANIFEST,
    BookRefused,
    check_files,
    is_book,
    open_book,
    read_manifest,
    write_book,
)
from simulator.customs.book_keys import KID, beside
from simulator.customs.rule_build import DAY_MS, book_salt, checked, compiled
from simulator.customs.rule_source import read_head, read_source

MAX_BOOKS = 16
"""Versions that are kept; cards of older ones can no longer be computed again."""
STATE = "newest.json"
OWN_KID = "authority-1"
"""Key id of books compiled here."""


class _Newest(msgspec.Struct, frozen=True):
    """The book in force."""

    folder: str
    name: str
    issued_ms: int
    key: str = ""
    """Public key (JSON Web Key thumbprint) that signed it; a book of another key is refused from then on."""


class Shelf:
    """Books in the data folder of one service.

    Args:
        data: Data folder of the service.
        secret: The service's own key, for books compiled from sources.
    """

    def __init__(self, data: Path, secret: Ed25519PrivateKey) -> None:
        self._folder = data / "books"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._secret = secret
        self._own = {OWN_KID: jwk_of(secret)}

    def take(self, path: Traversable, public: Path | None, now_ms: int) -> CompiledBook:
        """The book at a place, from now on the one in force.

        Args:
            path: A compiled book, or a folder of sources.
            public: Public key of who signs compiled books; None = the one beside the book, held to from then on.
            now_ms: Milliseconds since 1970.

        Raises:
            ConfigError: refused; the one in force before stays so.
        """
        if isinstance(path, Path) and is_book(path):
            return self._taken(path, public)
        head = read_head(path)
        source = read_source(path, book_salt(self._secret.private_bytes_raw(), head.book.name, "full"))
        book = checked(source, compiled(source, now_ms), now_ms // DAY_MS)
        folder = self._place(book.manifest)
        if not is_book(folder):
            write_book(folder, book.manifest, book.columns, book.words, self._own[OWN_KID], OWN_KID)
        self._note(folder, book.manifest, "")
        return open_book(folder, self._own, check=False)

    def _taken(self, path: Path, public: Path | None) -> CompiledBook:
        key = read_public_key(public or beside(path, "pub.pem"))
        newest = self._newest()
        if public is None and newest is not None and newest.key not in ("", key.thumbprint()):
            raise BookRefused(f"{beside(path, 'pub.pem')}: not the key that signed the book in force")
        keys = {KID: key}
        manifest = read_manifest(path, keys)
        if manifest.kind != "full":
            raise BookRefused(f"{path}: a {manifest.kind} book: expected a full one")
        if newest is not None and newest.name == manifest.name and manifest.issued_ms < newest.issued_ms:
            raise BookRefused(f"{path}: {manifest.version} was issued before the book in force: rollback refused")
        folder = self._place(manifest)
        if not self._holds(folder, keys):
            self._bring(path, folder, keys)
        shutil.copyfile(public or beside(path, "pub.pem"), beside(folder, "pub.pem"))
        self._note(folder, manifest, key.thumbprint())
        return open_book(folder, keys, check=False)

    def _holds(self, folder: Path, keys: Mapping[str, OKPKey]) -> bool:
        """Whether the book is there already, whole and signed by the same; what is left of another is removed."""
        try:
            check_files(folder, read_manifest(folder, keys))
        except BookRefused:
            shutil.rmtree(folder, ignore_errors=True)
            return False
        return True

    def _bring(self, path: Path, folder: Path, keys: Mapping[str, OKPKey]) -> None:
        """Copy a book into the data folder, where nobody else can write, and check it there."""
        coming = folder.with_name(f".{folder.name}.coming")
        shutil.rmtree(coming, ignore_errors=True)
        try:
            shutil.copytree(path, coming)
            check_files(coming, read_manifest(coming, keys))
            coming.rename(folder)
        except OSError as error:
            raise BookRefused(f"{path}: cannot be copied: {error}") from error
        finally:
            shutil.rmtree(coming, ignore_errors=True)

    def last(self) -> CompiledBook | None:
        """The book that was in force last, if it is still good."""
        newest = self._newest()
        return None if newest is None else self._opened(self._folder / newest.folder, check=True)

    def version(self, version: str, lists_version: str) -> CompiledBook | None:
        """The book of a card."""
        folder = self._folder / _name(version, lists_version)
        return self._opened(folder, check=True) if is_book(folder) else None

    def _opened(self, folder: Path, *, check: bool) -> CompiledBook:
        public = beside(folder, "pub.pem")
        keys = {KID: read_public_key(public)} if public.exists() else self._own
        return open_book(folder, keys, check=check)

    def _place(self, manifest: Manifest) -> Path:
        return self._folder / _name(manifest.version, manifest.lists_version)

    def _newest(self) -> _Newest | None:
        try:
            return msgspec.json.decode((self._folder / STATE).read_bytes(), type=_Newest)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"{self._folder / STATE}: {error}") from error

    def _note(self, folder: Path, manifest: Manifest, key: str) -> None:
        newest = _Newest(folder.name, manifest.name, manifest.issued_ms, key)
        new = self._folder / f".{STATE}.new"
        with new.open("wb") as file:
            file.write(msgspec.json.encode(newest))
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._folder / STATE)
        os.utime(folder)
        held = [one for one in self._folder.iterdir() if is_book(one) and one != folder]
        for old in sorted(held, key=lambda one: one.stat().st_mtime)[: -(MAX_BOOKS - 1)]:
            shutil.rmtree(old, ignore_errors=True)
            beside(old, "pub.pem").unlink(missing_ok=True)


def _name(version: str, lists_version: str) -> str:
    return f"{version}.{lists_version}".replace("/", "_")


def take_or_last(shelf: Shelf, path: Traversable, public: Path | None, now_ms: int) -> CompiledBook:
    """The book at a place, or the one that was in force last where that is refused, and says so.

    Raises:
        ConfigError: refused, and there is none from before.
    """
    try:
        return shelf.take(path, public, now_ms)
    except ConfigError as error:
        book = shelf.last()
        if book is None:
            raise
        log = structlog.get_logger()
        log.error("rule_book_refused", reason=str(error), rule_book=book.manifest.version)
        return book


def stamp(path: Traversable) -> tuple[int, int] | None:
    """Changes when another compiled book is put in its place; None for sources."""
    if not isinstance(path, Path):
        return None
    try:
        found = (path / MANIFEST).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
