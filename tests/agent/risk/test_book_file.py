"""agent/risk/book_file.py: a book comes back as it was written, or is refused with file and reason."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.risk.book import Decoded
from agent.risk.book_file import MANIFEST, SIGNATURE, BookRefused, check_files, open_book, write_book
from agent.risk.names import compile_names
from agent.risk.phrases import compile_phrases
from agent.risk.rule_index import NUMBER_FIELDS, Question
from tests.agent.risk import books


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    columns = books.small_columns()
    write_book(tmp_path / "book", books.manifest_of(columns), columns, books.WORDS, books.KEY, books.KID)
    return tmp_path / "book"


@pytest.mark.parametrize("mapped", [True, False])
def test_what_was_written_answers(folder: Path, mapped: bool) -> None:
    book = open_book(folder, books.KEYS, mapped=mapped)
    numbers = np.full((2, len(NUMBER_FIELDS)), np.nan)
    (row,) = book.rules.fitting(Question({}, [{"hs4": "2402", "origin": "UA"}], numbers, 20_500, "IN"))
    rule = book.rule(row)
    assert (rule.id, rule.points, rule.text, rule.owner, rule.match) == (
        "R-1", 34, "low", "cell-south", ("hs4", "origin"),
    )  # fmt: skip
    assert [one.id for one in Decoded(1, book.rule)] == ["R-1"]
    assert Decoded(1, book.rule)[-1:] == [rule]
    name = book.names.most_like("Dunkel Handl AG")
    assert name is not None
    assert [one.id for one in book.name_entries(name)] == ["N-1", "N-2"]
    (plate,) = book.plate_entries("ZH1/CH")
    assert (plate.id, plate.floor, plate.roles) == ("P-1", "red", ("consignor", "declarant"))
    assert plate.valid_from == datetime.date(1970, 1, 1) + datetime.timedelta(days=20_000)
    assert book.plate_entries("ZH2/CH") == ()
    assert [one.id for one in book.phrase_entries(book.phrases.found(["raw IVORY"])[0])] == ["T-2"]
    assert book.texts["low"]["de"] == "tief"


def test_an_empty_book_is_a_book(tmp_path: Path) -> None:
    columns = books.small_columns(
        rules=books.rule_columns([]), plates=books.list_columns([]), named=books.list_columns([]),
        names=compile_names([]), phrased=books.list_columns([]), phrases=compile_phrases([]),
    )  # fmt: skip
    write_book(tmp_path / "book", books.manifest_of(columns), columns, books.WORDS, books.KEY, books.KID)
    book = open_book(tmp_path / "book", books.KEYS)
    assert len(book.rules) == len(book.names) == len(book.phrases) == 0
    assert book.names.most_like("anybody") is None


def test_a_new_book_replaces_the_old_one_whole(folder: Path) -> None:
    old = open_book(folder, books.KEYS)
    columns = books.small_columns(rules=books.rule_columns([("R-2", 0, ("muster",), 5)]))
    write_book(folder, books.manifest_of(columns, version="2+abc"), columns, books.WORDS, books.KEY, books.KID)
    assert open_book(folder, books.KEYS).rule(0).id == "R-2"
    assert old.rule(0).id == "R-1"  # who has mapped the old one goes on reading it
    assert [one.name for one in folder.parent.iterdir()] == ["book"]


def _refusal(folder: Path, **options: bool) -> str:
    with pytest.raises(BookRefused) as refused:
        open_book(folder, books.KEYS, **options)
    return str(refused.value)


def test_a_foreign_signature_is_refused(folder: Path) -> None:
    columns = books.small_columns()
    write_book(folder, books.manifest_of(columns), columns, books.WORDS, books.OTHER_KEY, books.KID)
    assert f"{folder / SIGNATURE}: signature refused" in _refusal(folder)
    write_book(folder, books.manifest_of(columns), columns, books.WORDS, books.KEY, "someone")
    assert "'someone', which is not a key we trust" in _refusal(folder)


def test_a_changed_manifest_is_refused(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"1+abc"', '"9+abc"'))
    assert _refusal(folder) == f"{path}: not the manifest that was signed"


def test_each_changed_file_is_refused_by_name(folder: Path) -> None:
    manifest = open_book(folder, books.KEYS).manifest
    for name in manifest.files:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert _refusal(folder).startswith(f"{folder / name}: contents differ from the signed hash")
        (folder / name).write_bytes(whole[:-1])
        assert _refusal(folder, check=False).startswith(f"{folder / name}: {len(whole) - 1} bytes: expected")
        (folder / name).unlink()
        assert "cannot be read" in _refusal(folder)
        (folder / name).write_bytes(whole)
    check_files(folder, manifest)


def test_signed_nonsense_is_refused(folder: Path) -> None:
    columns = books.small_columns()

    def refused(changed: object, **manifest: object) -> str:
        made = books.manifest_of(columns, **manifest)
        write_book(folder, made, changed, books.WORDS, books.KEY, books.KID)  # type: ignore[arg-type]
        return _refusal(folder)

    rules = columns.rules
    assert "expected a column of uint64" in refused(
        replace(columns, rules=replace(rules, keys=rules.keys.astype("i8")))
    )
    assert "in 2 dimensions" in refused(replace(columns, rules=replace(rules, keys=rules.keys.reshape(1, 1))))
    assert "columns of rules of lengths [0, 1]" in refused(replace(columns, rules=replace(rules, keys=rules.keys[:0])))
    assert "columns of rules of lengths [1]: expected 7" in refused(columns, counts={"rules": 7})
    assert "format 99: expected 1" in refused(columns, format=99)
