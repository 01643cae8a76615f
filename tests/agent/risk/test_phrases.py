"""agent/risk/phrases.py: whole words, any case; the automaton and the arrays say the same as a naive search."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.risk.phrases import MAX_PHRASE_WORDS, PhraseIndex, compile_phrases, normal_text

LISTED = ["rote bete", "bete", "bete noire", "zigaretten", "e zigaretten"]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["Rote-Béte, frisch"], [0, 1]),
        (["rote", "bete"], [1]),
        (["BETE NOIRE"], [1, 2]),
        (["Betes noires", "abete", ""], []),
        (["E-Zigaretten 200 Stk."], [3, 4]),
        ([], []),
        (["x | y"], []),
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_phrases_stand_as_whole_words(texts: list[str], found: list[int], warm: bool) -> None:
    index = PhraseIndex(compile_phrases(LISTED))
    assert (index.warmed() if warm else index).found(texts) == found


WORDS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "c"]), min_size=1, max_size=6).map(" ".join)


@given(st.lists(WORDS, unique=True, max_size=12), st.lists(WORDS, max_size=4))
def test_both_searches_find_what_a_naive_one_finds(phrases: list[str], texts: list[str]) -> None:
    index = PhraseIndex(compile_phrases(phrases))
    naive = [at for at, one in enumerate(phrases) if any(f" {one} " in f" {text} " for text in texts)]
    assert index.found(texts) == naive == index.warmed().found(texts)


@given(st.text(max_size=60))
def test_normal_text_is_normal(text: str) -> None:
    assert normal_text(normal_text(text)) == normal_text(text)


@pytest.mark.parametrize("bad", ["", "Äpfel", "a  b", " ".join(["a"] * (MAX_PHRASE_WORDS + 1))])
def test_a_phrase_that_is_not_normal_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="words as normal_text writes them"):
        compile_phrases([bad])


def test_an_empty_list_finds_nothing() -> None:
    assert PhraseIndex(compile_phrases([])).warmed().found(["anything"]) == []
