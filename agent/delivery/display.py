"""What a telematics unit's display shows of an instruction: one short line in capital letters.

Plain ASCII: what the displays behind such units have of other letters differs from model to model. The line
is no proof of anything; the signed instruction is what counts.
"""

from __future__ import annotations

from agent.domain.instruction import Action, Instruction

TEXT_LIMIT = 160
"""Characters of one line."""
ENGLISH = "en"

_WORDS = {
    "de": ("WEITERFAHREN", "WEITERFAHREN UND MELDEN", "HALT: ZUM ZOLL", "STOPP: ZUR KONTROLLE"),
    "en": ("GO", "GO AND REPORT", "HOLD: SEE CUSTOMS", "STOP FOR CONTROL"),
    "fr": ("PASSEZ", "PASSEZ ET ANNONCEZ-VOUS", "ARRET: A LA DOUANE", "STOP: CONTROLE"),
    "it": ("PROSEGUIRE", "PROSEGUIRE E ANNUNCIARSI", "ALT: IN DOGANA", "STOP: CONTROLLO"),
    "pl": ("JEDZ", "JEDZ I ZGLOS SIE", "STOJ: DO ODPRAWY", "STOP: KONTROLA"),
}
"""In the order of `Action`: GO, GO_WITH_OBLIGATION, HOLD, STOP."""
LANGUAGES = tuple(sorted(_WORDS))


def display_text(instruction: Instruction, language: str, template: str) -> str | None:
    """The line for an instruction; None for an action that is none of ours.

    Args:
        instruction: As it is published.
        language: One of `LANGUAGES`; English where we have no words of it.
        template: What the unit expects around the text, `{text}` being the text.
    """
    if instruction.action not in Action.__members__:
        return None
    words = _WORDS.get(language, _WORDS[ENGLISH])[Action[instruction.action]]
    lane = f" {instruction.lane}" if instruction.lane else ""
    return template.replace("{text}", words + lane)[:TEXT_LIMIT]
