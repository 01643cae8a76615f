"""agent/risk/names.py: the same name however it is written, and the index against comparing with every name."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz

from agent.risk.names import SHORT_WORD, NameIndex, compile_names, normal_name, shortened

MATCH_AT = 88.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Helvetia Schattenhandel AG", "HELVETIA  SCHATTENHANDEL"),
        ("Müller & Söhne GmbH", "Sohne Muller"),
        ("Société Générale S.A.", "societe generale"),
        ("AG", "ag"),
    ],
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    assert normal_name(one) == normal_name(other) != ""


@given(st.text(max_size=40))
def test_a_normal_name_is_its_own_normal_name(name: str) -> None:
    normal = normal_name(name)
    assert normal_name(normal) in (normal, normal_name(normal_name(normal)))
    assert normal == " ".join(sorted(normal.split()))


def listed() -> list[str]:
    """Names of two or three made-up words and some that very many firms have."""
    dice = random.Random(7)
    words = ["".join(dice.choice("abcdefghiklmnoprstuvz") for _ in range(dice.randint(4, 9))) for _ in range(900)]
    common = ["transport", "logistik", "handel", "international"]
    names = {
        " ".join([*dice.sample(words, dice.randint(1, 3)), *dice.sample(common, dice.randint(0, 2))])
        for _ in range(2_500)
    }
    return sorted({normal_name(name) for name in names})


LISTED = listed()
INDEX = NameIndex(compile_names(LISTED), MATCH_AT)


def by_brute_force(name: str) -> float:
    """How like the most similar listed name is, percent; 0 below the limit."""
    normal = normal_name(name)
    return max(fuzz.ratio(normal, one, score_cutoff=MATCH_AT) for one in LISTED)


def found(name: str) -> float:
    """The same of the name that the index finds."""
    one = INDEX.most_like(name)
    return 0.0 if one is None else fuzz.ratio(normal_name(name), LISTED[one])


@given(st.integers(0, len(LISTED) - 1), st.data())
def test_one_slip_of_the_pen_in_each_word_is_found_as_by_brute_force(which: int, data: st.DataObject) -> None:
    words = LISTED[which].split()
    for place, word in enumerate(words):
        if len(word) > SHORT_WORD + 1 and data.draw(st.booleans()):
            words[place] = slipped(word, data)
    written = " ".join(words)
    assert found(written) == by_brute_force(written)


def slipped(word: str, data: st.DataObject) -> str:
    """One letter other, missing or too many."""
    at = data.draw(st.integers(0, len(word) - 1))
    letter = data.draw(st.sampled_from("aeinrst"))
    kind = data.draw(st.sampled_from(["other", "missing", "more"]))
    return word[:at] + {"other": letter, "missing": "", "more": letter + word[at]}[kind] + word[at + 1 :]


@given(st.lists(st.sampled_from([*"abcdefg", "transport", "kaminski", "fundamental"]), max_size=4).map(" ".join))
def test_what_is_not_listed_is_not_guessed(name: str) -> None:
    one = INDEX.most_like(name)
    assert one is None or fuzz.ratio(normal_name(name), LISTED[one]) >= MATCH_AT


def test_every_listed_name_finds_itself() -> None:
    assert [INDEX.most_like(name.upper()) for name in LISTED] == list(range(len(LISTED)))


def test_names_of_common_words_alone_are_found() -> None:
    names = sorted(
        {normal_name(f"transport logistik {'handel ' * (n % 2)}{chr(97 + n % 26)}{n}") for n in range(9_000)}
    )
    index = NameIndex(compile_names([*names, "logistik transport"]), MATCH_AT)
    assert index.most_like("Transport Logistic AG") == len(names)


@pytest.mark.parametrize("name", ["", "  ", "...", "\u0301"])
def test_nothing_to_compare_is_like_nothing(name: str) -> None:
    assert INDEX.most_like(name) is None


def test_an_empty_list_finds_nothing() -> None:
    assert NameIndex(compile_names([]), MATCH_AT).most_like("Muster AG") is None


def test_short_words_are_met_only_by_themselves() -> None:
    assert list(shortened("abc")) == ["abc"]
    assert set(shortened("abcd")) == {"abcd", "bcd", "acd", "abd", "abc"}


def test_a_name_of_endless_length_is_bounded() -> None:
    assert INDEX.most_like("x" * 1_000_000) is None
    assert INDEX.most_like(" ".join("word" + str(n) for n in range(10_000))) is None
