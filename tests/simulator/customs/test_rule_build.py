"""simulator/customs/rule_build.py: a folder, its compiled book in memory and on disk answer alike."""

from __future__ import annotations

import shutil
from importlib.resources import as_file
from pathlib import Path

import numpy as np
import pytest

from agent.domain.identifiers import VehicleKey
from agent.errors import ConfigError
from agent.keys import jwk_of, make_key, read_private_key
from agent.risk.book import CompiledBook
from agent.risk.book_file import open_book
from agent.risk.names import normal_name
from agent.risk.rule_index import NUMBER_FIELDS, Question
from simulator.customs.book import names_like, phrases_in
from simulator.customs.rule_build import book_of, build_book, load_book
from simulator.customs.rule_generate import Sizes, generate_book
from simulator.customs.rule_source import shipped_rules

SIZES = Sizes(rules=2_000, names=300, phrases=200, plates=20)
OFFICES = ("CH002471", "CH001751")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("book") / "generated"
    generate_book(folder, SIZES, 1, OFFICES)
    return folder


def built(folder: Path, out: Path, *, local: bool = False) -> Path:
    make_key(out / "key.pem", out / "pub.pem")
    secret = read_private_key(out / "key.pem")
    build_book(folder, out / "book", secret, jwk_of(secret), "k", 1_795_000_000_000, local=local)
    return out / "book"


def opened(path: Path) -> CompiledBook:
    return open_book(path, {"k": jwk_of(read_private_key(path.parent / "key.pem"))})


def test_a_generated_book_is_the_same_for_the_same_seed(sources: Path, tmp_path: Path) -> None:
    generate_book(tmp_path / "again", SIZES, 1, OFFICES)
    names = sorted(one.relative_to(sources) for one in sources.rglob("*") if one.is_file())
    assert all((sources / one).read_bytes() == (tmp_path / "again" / one).read_bytes() for one in names)
    assert "ZH999001" in (sources / "PLANTED.md").read_text("utf-8")


def test_memory_and_disk_answer_alike(sources: Path, tmp_path: Path) -> None:
    memory, disk = load_book(sources), book_of(opened(built(sources, tmp_path)))
    assert (memory.version, memory.lists_version) == (disk.version, disk.lists_version)
    assert len(memory.rules.rules) == len(disk.rules.rules) == SIZES.rules + 10
    assert {one.id for one in memory.rules.rules} == {one.id for one in disk.rules.rules}
    numbers = np.full((2, len(NUMBER_FIELDS)), 0.00005)
    hits = 0
    for row in (sources / "rules" / "bulk-001.csv").read_text("utf-8").splitlines()[1:40]:
        cells = row.split(",")
        header = {name: normal_name(cells[at]) for at, name in ((8, "consignor"), (9, "consignee")) if cells[at]}
        question = Question(header, [{"hs4": cells[13]}], numbers, 20_800, "IN")
        answers = [{book.rules.rules[one].id for one in book.rules.index.fitting(question)} for book in (memory, disk)]
        assert answers[0] == answers[1]
        hits += cells[0] in answers[0]
    assert hits > 20


@pytest.mark.parametrize("book_kind", ["memory", "disk"])
def test_planted_entries_are_found_among_all_others(sources: Path, tmp_path: Path, book_kind: str) -> None:
    book = load_book(sources) if book_kind == "memory" else book_of(opened(built(sources, tmp_path)))
    assert [one.id for one in names_like("Helvetia Schatenhandel AG", book)] == ["WATCH-N-0001"]
    assert [one.id for one in book.plates.get(VehicleKey("ZH999001", "CH"))] == ["WATCH-P-0001"]
    assert [one.id for one in book.alike_plates.get(VehicleKey("ZH9990O1", "CH"))] == ["WATCH-P-0001"]
    phrase = (sources / "lists" / "phrases.csv").read_text("utf-8").splitlines()[1].split(",")
    assert phrase[0] in [one.id for one in phrases_in([f"lot of {phrase[-1].upper()}, boxed"], book)]


def test_a_local_book_cannot_be_read(sources: Path, tmp_path: Path) -> None:
    path = built(sources, tmp_path, local=True)
    book = open_book(path, {"k": jwk_of(read_private_key(tmp_path / "key.pem"))})
    assert book.manifest.kind == "local"
    assert book.words.words == {} and book.words.owners == () and book.manifest.settings == {}
    assert 0 < len(book.rules) < SIZES.rules
    everything = b"".join(one.read_bytes() for one in path.iterdir())
    for text in (b"Helvetia", b"helvetia", b"schattenhandel", b"ZH999001", b"cell-demo"):
        assert text not in everything
    assert [one.id for one in book.plate_entries("ZH999001/CH")] == ["WATCH-P-0001"]
    with pytest.raises(ConfigError, match="settings"):
        book_of(book)


def test_a_local_book_keeps_what_has_a_floor_or_is_late(sources: Path, tmp_path: Path) -> None:
    full = opened(built(sources, tmp_path))
    local = open_book(built(sources, tmp_path / "local", local=True),
                      {"k": jwk_of(read_private_key(tmp_path / "local" / "key.pem"))})  # fmt: skip
    wanted = {one.id for one in map(full.rule, range(len(full.rules))) if one.floor or one.deny or one.late}
    names = {f"WATCH-N-0001.{role}" for role in ("consignor", "consignee", "carrier")}
    assert {local.rule(one).id for one in range(len(local.rules))} == wanted | names


def test_what_lint_finds_is_not_built(tmp_path: Path) -> None:
    with as_file(shipped_rules()) as shipped:
        shutil.copytree(shipped, tmp_path / "book")
    path = tmp_path / "book" / "rules" / "profiles.toml"
    path.write_text(path.read_text("utf-8").replace("2099-12-31", "2026-06-30", 1), "utf-8")
    with pytest.raises(ConfigError, match="DEMO-0001: expired: expired 141 days ago"):
        built(tmp_path / "book", tmp_path)
    assert not (tmp_path / "book.key.pem").exists()
