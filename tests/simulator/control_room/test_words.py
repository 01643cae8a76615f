"""The control room's words: what an officer is shown before he decides is what the driver will read."""

import json
from importlib.resources import files

import pytest

LANGUAGES = ("de", "fr", "it", "en")
SHOWN = "driver."


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_preview_shows_the_drivers_own_word(language: str) -> None:
    room = json.loads((files("simulator.control_room") / f"static/text/{language}.json").read_bytes())["words"]
    driver = json.loads((files("agent.delivery") / f"texts/{language}.json").read_bytes())["words"]
    shown = {key.removeprefix(SHOWN): word for key, word in room.items() if key.startswith(SHOWN)}
    assert set(shown) == {"GO", "GO_WITH_OBLIGATION", "HOLD", "STOP"}
    assert shown == {action: driver[action] for action in shown}
