"""simulator/customs/shelf.py: what is refused changes nothing, and an older book never comes back."""

from __future__ import annotations

import shutil
from importlib.resources import as_file
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.errors import ConfigError
from agent.keys import jwk_of, make_key, read_private_key
from simulator.customs.book_keys import KID, beside
from simulator.customs.rule_build import build_book
from simulator.customs.rule_source import shipped_rules
from simulator.customs.shelf import MAX_BOOKS, Shelf, stamp, take_or_last

DAY_MS = 86_400_000
NOW_MS = 1_795_000_000_000


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "data", Ed25519PrivateKey.generate())


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    with as_file(shipped_rules()) as shipped:
        return Path(shutil.copytree(shipped, tmp_path / "sources"))


def build(sources: Path, out: Path, issued_ms: int = NOW_MS, points: int = 6, *, local: bool = False) -> Path:
    path = sources / "rules" / "profiles.toml"
    lines = path.read_text("utf-8").splitlines()
    place = lines.index('match = { indicator = "NO_APPROACH" }') + 1
    lines[place] = f"points = {points}"
    path.write_text("\n".join(lines), "utf-8")
    make_key(beside(out, "key.pem"), beside(out, "pub.pem"))
    secret = read_private_key(beside(out, "key.pem"))
    build_book(sources, out, secret, jwk_of(secret), KID, issued_ms, local=local)
    return out


def test_sources_and_compiled_books_are_taken_and_kept_by_version(shelf: Shelf, sources: Path, tmp_path: Path) -> None:
    first = shelf.take(shipped_rules(), None, NOW_MS)
    second = shelf.take(build(sources, tmp_path / "book", points=7), None, NOW_MS)
    for book in (first, second):
        found = shelf.version(book.manifest.version, book.manifest.lists_version)
        assert found is not None and found.manifest.version == book.manifest.version
    last = shelf.last()
    assert last is not None and last.manifest.version == second.manifest.version
    assert shelf.version("nothing", "such") is None


def test_an_older_book_is_refused_and_the_newer_one_stays(shelf: Shelf, sources: Path, tmp_path: Path) -> None:
    old = build(sources, tmp_path / "book", NOW_MS, points=7)
    shutil.copytree(old, tmp_path / "kept")
    shutil.copy(beside(old, "pub.pem"), beside(tmp_path / "kept", "pub.pem"))
    new = shelf.take(build(sources, tmp_path / "book", NOW_MS + DAY_MS, points=8), None, NOW_MS)
    with pytest.raises(ConfigError, match="issued before the book in force: rollback refused"):
        shelf.take(tmp_path / "kept", None, NOW_MS)
    assert take_or_last(shelf, tmp_path / "kept", None, NOW_MS).manifest.version == new.manifest.version


def test_another_key_beside_the_book_is_refused(shelf: Shelf, sources: Path, tmp_path: Path) -> None:
    shelf.take(build(sources, tmp_path / "book"), None, NOW_MS)
    other = build(sources, tmp_path / "other", NOW_MS + 1, points=9)
    with pytest.raises(ConfigError, match="not the key that signed the book in force"):
        shelf.take(other, None, NOW_MS)
    assert shelf.take(other, beside(other, "pub.pem"), NOW_MS).manifest.issued_ms == NOW_MS + 1  # named by the operator


def test_a_damaged_book_is_refused_and_leaves_nothing_behind(shelf: Shelf, sources: Path, tmp_path: Path) -> None:
    book = build(sources, tmp_path / "book")
    path = book / "rules.rows.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-9] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(ConfigError, match=r"rules\.rows\.npy: contents differ from the signed hash"):
        shelf.take(book, None, NOW_MS)
    assert list((tmp_path / "data" / "books").iterdir()) == []
    with pytest.raises(ConfigError, match="contents differ"):  # nothing from before to go on with
        take_or_last(shelf, book, None, NOW_MS)


def test_a_device_book_is_not_for_the_service(shelf: Shelf, sources: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a local book: expected a full one"):
        shelf.take(build(sources, tmp_path / "book", local=True), None, NOW_MS)


def test_the_oldest_versions_go(shelf: Shelf, sources: Path, tmp_path: Path) -> None:
    first = shelf.take(shipped_rules(), None, NOW_MS).manifest
    for number in range(MAX_BOOKS):
        shelf.take(build(sources, tmp_path / "book", NOW_MS + number, points=10 + number), None, NOW_MS)
    assert shelf.version(first.version, first.lists_version) is None
    assert shelf.last() is not None


def test_the_stamp_changes_with_the_book(sources: Path, tmp_path: Path) -> None:
    book = build(sources, tmp_path / "book")
    before = stamp(book)
    assert before is not None and stamp(book) == before
    build(sources, tmp_path / "book", NOW_MS + 1, points=7)
    assert stamp(book) not in (None, before)
    assert stamp(sources) is None
