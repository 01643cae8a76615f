from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import DISPLAY_LANGUAGES
from agent.delivery.display import LANGUAGES, TEXT_LIMIT, display_text
from agent.domain.instruction import Action, Instruction

TOLD = Instruction(
    instruction_id="i-1",
    jrn="J-1",
    version=1,
    unit="u1",
    vehicle=None,
    action="GO",
    customs_office=None,
    lane=None,
    report_to_locations=(),
    deadline=None,
    reason_code="RELEASED",
    issued_at="2026-11-22T10:00:00Z",
    expires_at="2026-11-22T10:30:00Z",
    supersedes=None,
    activations=(),
    checkpoint=None,
)


def text(action: str, language: str = "en", template: str = "{text}", lane: str | None = None) -> str | None:
    return display_text(msgspec.structs.replace(TOLD, action=action, lane=lane), language, template)


def test_the_configuration_offers_the_languages_there_are_words_of() -> None:
    assert set(DISPLAY_LANGUAGES) == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_action_has_words_of_its_own_that_every_display_can_show(language: str) -> None:
    words = [text(action.name, language) for action in Action]
    assert len(set(words)) == len(Action)
    assert all(word and word.isascii() and word == word.upper() for word in words)
    go = {text(action.name, language) for action in (Action.GO, Action.GO_WITH_OBLIGATION)}
    assert not any(str(word).startswith(("STOP", "HALT", "HOLD", "ARRET", "ALT")) for word in go)


def test_lane_template_and_unknown_words() -> None:
    assert text("STOP", lane="3") == "STOP FOR CONTROL 3"
    assert text("GO", "it", "setdisplay:{text};") == "setdisplay:PROSEGUIRE;"
    assert text("GO", "xx") == text("GO", "en")
    assert text("DANCE") is None


@given(st.sampled_from([action.name for action in Action]), st.text(max_size=400), st.text(max_size=35))
def test_a_line_is_never_longer_than_its_bound(action: str, template: str, lane: str) -> None:
    shown = text(action, "de", "{text}" + template, lane)
    assert shown is not None and len(shown) <= TEXT_LIMIT
