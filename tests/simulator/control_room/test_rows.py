"""simulator/control_room/rows.py: rows of many agents, and what changed in them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from simulator.control_room import rows
from simulator.control_room.rows import RowBook, is_open, room_handle

ALL: frozenset[str] = frozenset()


def row(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "jrn": key, "unit": f"U-{key}", "handle": None, **more}


def test_what_is_new_other_and_gone_is_told_once() -> None:
    book = RowBook()
    assert [one["id"] for one in book.take("box-1", 1, [row("A"), row("B")], ALL).put] == ["box-1 A", "box-1 B"]
    again = book.take("box-1", 1, [row("A"), row("B", action="GO")], ALL)
    assert ([one["key"] for one in again.put], again.gone) == (["B"], ())
    assert book.take("box-1", 1, [], frozenset({"U-A"})).gone == ("box-1 A",)
    assert book.take("box-2", 2, [], ALL).gone == ()
    assert book.take("box-1", 1, [], ALL).gone == ("box-1 B",)
    assert book.rows == {} and not book._named


def test_agents_do_not_mix_and_the_newest_knows() -> None:
    book = RowBook()
    book.take("box-1", 1, [row("A", changed="2026-11-22T10:00:00.000Z", handle=5)], ALL)
    book.take("box-2", 2, [row("A", changed="2026-11-22T11:00:00.000Z", handle=5)], ALL)
    assert book.agent_of("A") == "box-2" and book.agent_of("U-A") == "box-2" and book.agent_of("nobody") is None
    handles = [one["handle"] for one in book.rows.values()]
    assert len(set(handles)) == 2 and max(handles) < 2**32


def test_rows_that_cannot_be_taken_are_counted(monkeypatch: Any) -> None:
    monkeypatch.setattr(rows, "ROWS_MAX", 2)
    book = RowBook()
    book.take("box-1", 1, [row("A"), {"jrn": "no key"}, row("B"), row("C")], ALL)
    assert sorted(book.rows) == ["box-1 A", "box-1 B", "box-1 C"][: len(book.rows)]
    assert book.refused >= 1


def test_what_is_open() -> None:
    assert is_open(row("A", action="STOP")) and is_open(row("A", action="HOLD", closed=False))
    assert is_open(row("A", breach=True, closed=True))
    assert not is_open(row("A", action="STOP", closed=True)) and not is_open(row("A", action="GO"))
    assert room_handle(3, None) is None


answers = st.lists(
    st.tuples(
        st.sampled_from(["box-1", "box-2"]),
        st.lists(st.sampled_from("ABCD"), unique=True),
        st.booleans(),
        st.sampled_from(["GO", "STOP", None]),
    ),
    max_size=12,
)


@given(answers)
def test_changes_added_up_are_the_book(told: list[tuple[str, list[str], bool, str | None]]) -> None:
    book, held = RowBook(), {}
    for agent, keys, whole, action in told:
        asked = ALL if whole else frozenset(keys) | {"A"}
        changed = book.take(agent, 1, [row(key, action=action) for key in keys], asked)
        held |= {one["id"]: one for one in changed.put}
        for gone in changed.gone:
            del held[gone]
    assert held == book.rows
    assert {name for names in book._named.values() for name in names} == set(book.rows)
