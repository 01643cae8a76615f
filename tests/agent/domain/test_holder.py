from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.domain.holder import MAX_COMMON_NAME, Holder, Kind, read_holder
from agent.domain.identifiers import UNIT_FORM

NAMES = st.from_regex(UNIT_FORM, fullmatch=True)


@given(NAMES, st.sampled_from(Kind))
def test_a_common_name_says_who_it_is(name: str, kind: Kind) -> None:
    assume(kind is Kind.UNIT or len(kind.value) + 1 + len(name) <= MAX_COMMON_NAME)
    holder = Holder(name, kind)
    assert read_holder(holder.common_name) == holder
    assert (":" in holder.common_name) is (kind is not Kind.UNIT)  # so no unit is ever taken for anything else


@given(st.text())
def test_foreign_names_are_nobody_or_themselves(text: str) -> None:
    holder = read_holder(text)
    assert holder is None or holder.common_name == text or text == f"unit:{holder.name}"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "+", "#", "a:b", "ü", "x" * 65])
def test_names_that_no_topic_carries_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected 1 to 64"):
        Holder(name)


def test_a_name_too_long_for_a_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        Holder("x" * 60, Kind.CONTROL_ROOM)
