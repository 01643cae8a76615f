"""What may have been meant by a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at what was meant."""
    listed = list(known)
    close = difflib.get_close_matches(word, listed, n=1)
    return f'did you mean "{close[0]}"?' if close else f"expected one of {', '.join(listed)}"
