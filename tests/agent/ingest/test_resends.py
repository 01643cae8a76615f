from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from agent.ingest.resends import MAX_RECORDS, MAX_UNITS, Resends, decode_keys, encode_keys

KEYS = st.tuples(st.integers(0, 40), st.integers(0, 3))
FRAMES = st.lists(st.tuples(st.sampled_from("abcdef"), st.lists(KEYS, max_size=8)), max_size=60)


@given(FRAMES)
def test_what_was_taken_is_known_within_the_bounds_and_nothing_else_is(
    frames: list[tuple[str, list[tuple[int, int]]]],
) -> None:
    resends = Resends(max_units=3, max_records=5)
    taken: dict[str, list[tuple[int, int]]] = defaultdict(list)
    heard: list[str] = []
    for unit, keys in frames:
        resends.took(unit, keys)
        taken[unit] = [key for key in taken[unit] if key not in keys] + list(dict.fromkeys(reversed(keys)))[::-1]
        heard = [*(one for one in heard if one != unit), unit][-3:]
        for one in set(taken) - set(heard):
            del taken[one]
    assert len(resends) == len(heard)
    for unit in "abcdef":
        for key in ((n, crc) for n in range(41) for crc in range(4)):
            assert resends.knows(unit, key) == (key in taken.get(unit, [])[-5:]), (unit, key)


def test_two_records_of_one_moment_that_differ_are_both_new() -> None:
    resends = Resends()
    resends.took("u", [(5, 1)])
    assert resends.knows("u", (5, 1)) and not resends.knows("u", (5, 2)) and not resends.knows("v", (5, 1))


def test_the_bounds_hold_a_full_listener() -> None:
    resends = Resends()
    for number in range(MAX_UNITS + 10):
        resends.took(f"u{number}", [(number, 0)])
    resends.took("u10", [(n, 0) for n in range(MAX_RECORDS + 5)])
    assert len(resends) == MAX_UNITS
    assert not resends.knows("u9", (9, 0)) and resends.knows(f"u{MAX_UNITS}", (MAX_UNITS, 0))
    assert not resends.knows("u10", (4, 0)) and resends.knows("u10", (5, 0))


@given(st.dictionaries(st.sampled_from("abc"), st.lists(KEYS, max_size=8)))
def test_stored_frames_are_known_again(frames: dict[str, list[tuple[int, int]]]) -> None:
    resends = Resends()
    resends.remember({unit: encode_keys(keys) for unit, keys in frames.items()})
    for unit in "abc":
        assert all(resends.knows(unit, key) for key in frames.get(unit, ()))
        assert not resends.knows(unit, (99, 99))


@given(st.binary(max_size=20))
def test_a_stored_frame_that_cannot_be_read_is_one_that_was_not_seen(body: bytes) -> None:
    resends = Resends()
    resends.remember({"a": body})
    try:
        keys = decode_keys(body)
    except ValueError:
        keys = ()
    assert len(resends) == bool(keys) or keys == ()
    assert all(resends.knows("a", key) for key in keys)
