"""simulator/customs/rule_source.py: a rule book is taken whole or refused whole, with every fault listed."""

import shutil
from importlib.resources import as_file
from pathlib import Path

import pytest

from agent.domain.identifiers import VehicleKey
from agent.errors import ConfigError
from simulator.customs.book import names_like
from simulator.customs.rule_build import load_book
from simulator.customs.rule_source import shipped_rules


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with as_file(shipped_rules()) as shipped:
        return Path(shutil.copytree(shipped, tmp_path / "book"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_the_shipped_book_is_good_and_watches_what_the_demo_plants() -> None:
    book = load_book(shipped_rules())
    assert book.plates.get(VehicleKey("ZH999001", "CH"))
    assert names_like("Helvetia Schattenhandel AG", book)
    assert book.random_share == 0.002


def test_the_version_follows_the_content(folder: Path) -> None:
    before = load_book(folder)
    assert load_book(folder).version == before.version
    edit(folder / "rules" / "profiles.toml", "points = 34", "points = 33")
    after = load_book(folder)
    assert after.version != before.version
    assert after.lists_version == before.lists_version
    edit(folder / "lists" / "watch.toml", "ZH999001", "ZH999002")
    assert load_book(folder).lists_version != before.lists_version


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("rules/profiles.toml", "points = 34", "point = 34", 'DEMO-0001: point: unknown key, did you mean "points"?'),
        ("rules/profiles.toml", "[[rule]]", "[[rules]]", "rules"),
        ("rules/profiles.toml", 'origin = "UA"', 'orgin = "UA"', 'match.orgin: unknown field, did you mean "origin"'),
        ("rules/profiles.toml", "value_per_mass_chf_kg", "value_per_mass", "did you mean"),
        ("rules/profiles.toml", "below = 12.0", "under = 12.0", "under"),
        ("rules/profiles.toml", ", below = 12.0", "", "expected above or below"),
        ("rules/profiles.toml", "below = 12.0", "below = 12.0, above = 12.0", "nothing lies above"),
        ("rules/profiles.toml", "valid_from = 2026-01-01", "valid_from = 2100-01-01", "lies before valid_from"),
        ("rules/profiles.toml", 'floor = "red"', 'floor = "purple"', "DEMO-0001"),
        ("rules/profiles.toml", 'id = "DEMO-0002"', 'id = "DEMO-0001"', "DEMO-0001: id used twice"),
        ("rules/profiles.toml", 'owner = "cell-demo"', 'owner = " "', "DEMO-0001: owner"),
        ("rules/profiles.toml", '"cigarettes-low-value"', '"cigarette-low-value"', "did you mean"),
        ("rules/profiles.toml", 'match = { hs2 = "93" }', "match = {}", "DEMO-0005: match: expected 1 to 3"),
        ("rules/profiles.toml", "[[rule]]", "[[rule", "not TOML"),
        ("lists/watch.toml", 'nationality = "CH"', 'nationality = "CHX"', "no plate and nationality"),
        ("lists/watch.toml", "[[plate]]", "[[plates]]", 'plates: unknown table, did you mean "plate"?'),
        ("book.toml", "[shares]", "[share]", "book.toml: share: unknown key"),
        ("texts/fr.json", '"no-approach"', '"no-aproach"', "texts/fr.json: no-approach: missing"),
        ("texts/it.json", "{", "", "texts/it.json"),
    ],
)
def test_each_fault_is_named_with_file_and_entry(folder: Path, file: str, old: str, new: str, fault: str) -> None:
    edit(folder / file, old, new)
    with pytest.raises(ConfigError) as refused:
        load_book(folder)
    assert fault in str(refused.value)
    assert str(folder) in str(refused.value)


def test_all_faults_are_listed_once(folder: Path) -> None:
    edit(folder / "rules" / "profiles.toml", "points = 34", "point = 34")
    edit(folder / "lists" / "watch.toml", "[[plate]]", "[[plates]]")
    (folder / "texts" / "de.json").unlink()
    with pytest.raises(ConfigError) as refused:
        load_book(folder)
    lines = str(refused.value).splitlines()
    assert len(lines) == len(set(lines))
    assert all(any(part in line for line in lines) for part in ("point:", "plates:", "texts/de.json: cannot be read"))


def test_too_many_rules_on_one_key_are_refused(folder: Path) -> None:
    text = (folder / "rules" / "profiles.toml").read_text("utf-8")
    one = text.split("[[rule]]")[1]
    many = "".join("[[rule]]" + one.replace("DEMO-0001", f"MANY-{number:04d}") for number in range(65))
    (folder / "rules" / "many.toml").write_text(many, "utf-8")
    with pytest.raises(ConfigError, match=r"66 rules share one key of hs4.origin: at most 64; ask for"):
        load_book(folder)
