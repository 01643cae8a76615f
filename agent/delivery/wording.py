"""Words for drivers, one file for each language in `texts/`; pages, notifications and messages use the same."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec

NATIONAL = ("de", "fr", "it", "en")
"""Shown in turn where nobody knows the driver's language."""
LANGUAGES = (
    "de", "fr", "it", "en", "pl", "ro", "tr", "hu", "cs", "sk", "sl", "hr", "sr", "bg", "lt", "nl", "es", "pt", "uk",
    "ru",
)  # fmt: skip
"""In the order in which a driver is offered them (design/experience.md section 5)."""


class Wording(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One language. A key that a file lacks, or has too many, is a fault of ours and fails a test."""

    language: str
    name: str
    """Its own name."""
    reviewed_by: str | None
    """Who signed it as a native reader; None = nobody yet, and the page says so."""
    words: dict[str, str]
    """The one word for each of GO, GO_WITH_OBLIGATION, STOP, HOLD, WAIT, NO_DATA, OVER."""
    lines: dict[str, str]
    """The sentence below it, spoken too."""
    notices: dict[str, str]
    labels: dict[str, str]
    buttons: dict[str, str]
    says: dict[str, str]
    """Whole sentences of the page."""
    recorded: tuple[str, ...]
    """What is recorded about the driver, one fact a line; {days} = how long papers are kept."""


@cache
def wording(language: str) -> Wording:
    """The words of a language.

    Raises:
        KeyError: none of `LANGUAGES` (a caller bug).
        msgspec.ValidationError: the file is not of the form (a fault of ours).
    """
    if language not in LANGUAGES:
        raise KeyError(language)
    return msgspec.json.decode(text_file(language), type=Wording)


def text_file(language: str) -> bytes:
    """The file of a language as it is."""
    return (files("agent.delivery") / "texts" / f"{language}.json").read_bytes()
