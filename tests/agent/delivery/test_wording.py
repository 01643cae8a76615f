"""agent/delivery/wording.py: no language lacks a word, and none claims a reader it never had."""

from __future__ import annotations

import json

import msgspec
import pytest

from agent.delivery.wording import LANGUAGES, NATIONAL, Wording, text_file, wording
from agent.domain.instruction import Action

GERMAN = wording("de")
PARTS = ("words", "lines", "notices", "labels", "buttons", "says")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_key_is_there_and_says_something(language: str) -> None:
    words = wording(language)
    assert words.language == language and words.name
    for part in PARTS:
        ours, german = getattr(words, part), getattr(GERMAN, part)
        assert ours.keys() == german.keys(), part
        assert all(text.strip() == text and text for text in ours.values()), part
    assert len(words.recorded) == len(GERMAN.recorded) and sum("{days}" in line for line in words.recorded) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_told_apart_and_short(language: str) -> None:
    words = wording(language).words
    assert set(Action.__members__) | {"WAIT", "NO_DATA", "OVER"} == words.keys()
    assert len({words[one] for one in ("GO", "GO_WITH_OBLIGATION", "STOP", "HOLD", "WAIT")}) == 5
    assert words["NO_DATA"] == words["HOLD"], "without a line it is a halt, in the same word"
    assert all(len(part) <= 12 for text in words.values() for part in text.split()), words


def test_no_file_lies_there_unused() -> None:
    from importlib.resources import files

    names = {entry.name for entry in (files("agent.delivery") / "texts").iterdir()}
    assert names == {f"{language}.json" for language in LANGUAGES}
    assert set(NATIONAL) <= set(LANGUAGES)


def test_a_missing_or_unknown_key_would_be_found() -> None:
    document = json.loads(text_file("de"))
    for change in ({"lines": None}, {"more": 1}):
        bad = {key: value for key, value in {**document, **change}.items() if value is not None or key == "reviewedBy"}
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(bad, Wording)


def test_unreviewed_files_say_so() -> None:
    assert [language for language in LANGUAGES if wording(language).reviewed_by is not None] == []


def test_an_unknown_language_is_a_bug() -> None:
    with pytest.raises(KeyError):
        wording("xx")
