"""A journal of 1,000 entries, damaged at each place in each way: all of it is found (threat S14)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.journal.entry import Circumstances, Entry, EntryDraft, Link, Writer, build, follow, seal
from agent.journal.merkle import CompactRange, sign_checkpoint
from agent.journal.verify import verify_entries

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
COUNT, CHUNK = 1_000, 100
FEW = (0, 1, 499, 511, 512, COUNT - 1)
"""Places for every run; `make nightly` takes them all."""
Pairs = list[tuple[bytes, bytes]]


def written(kinds: str, link: Link = Link(), first: int = 0, key: Ed25519PrivateKey = KEY) -> list[Entry]:  # noqa: B008
    writer, entries = Writer("box-1", "k1", "boot", "0.1.0"), []
    for number in range(first, COUNT):
        body = build(EntryDraft(kinds, {"number": number}), link, writer, Circumstances(), 1_000.0 + number, 1.0)
        entries.append(seal(body, link, key))
        link = follow(entries[-1])
    return entries


GOOD = written("ACTIVATED")
PAIRS: Pairs = [(entry.body, entry.signature) for entry in GOOD]
HEAD = sign_checkpoint("box-1", CompactRange().extend(entry.hash for entry in GOOD), KEY)


def edited(place: int) -> Pairs:
    body, signature = PAIRS[place]
    return [*PAIRS[:place], (body.replace(b"ACTIVATED", b"CONTROLED"), signature), *PAIRS[place + 1 :]]


def signed_again(place: int) -> Pairs:
    """By one who has the agent's key."""
    body = PAIRS[place][0].replace(b"ACTIVATED", b"CONTROLED")
    link = follow(GOOD[place - 1]) if place else Link()
    return [*PAIRS[:place], (body, seal(body, link, KEY).signature), *PAIRS[place + 1 :]]


def deleted(place: int) -> Pairs:
    return [*PAIRS[:place], *PAIRS[place + 1 :]]


def inserted(place: int) -> Pairs:
    return [*PAIRS[:place], PAIRS[(place + COUNT // 2) % COUNT], *PAIRS[place:]]


def reordered(place: int) -> Pairs:
    other = (place + 1) % COUNT
    swapped = list(PAIRS)
    swapped[place], swapped[other] = swapped[other], swapped[place]
    return swapped


def truncated(place: int) -> Pairs:
    return PAIRS[:place]


def rebuilt(place: int) -> Pairs:
    """From here on anew, chained and signed by the agent's own key."""
    link = follow(GOOD[place - 1]) if place else Link()
    return [*PAIRS[:place], *((entry.body, entry.signature) for entry in written("CONTROLED", link, place))]


DAMAGES = [edited, signed_again, deleted, inserted, reordered, truncated, rebuilt]


def is_found(damaged: Pairs) -> bool:
    return not verify_entries(damaged, [KEY.public_key()], [HEAD]).verified


def test_the_journal_is_sound_before_it_is_damaged() -> None:
    result = verify_entries(PAIRS, [KEY.public_key()], [HEAD])
    assert (result.verified, result.entries, result.covered) == (True, COUNT, COUNT)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(damage: Callable[[int], Pairs]) -> None:
    assert [place for place in FEW if not is_found(damage(place))] == []


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_at_every_place(damage: Callable[[int], Pairs], first: int) -> None:
    assert [place for place in range(first, first + CHUNK) if not is_found(damage(place))] == []


def test_a_journal_under_two_keys_verifies_with_both_and_with_neither_alone() -> None:
    half = GOOD[: COUNT // 2]
    both = half + written("ACTIVATED", follow(half[-1]), COUNT // 2, OTHER)
    pairs = [(entry.body, entry.signature) for entry in both]
    tree = CompactRange().extend(entry.hash for entry in both)
    heads = [sign_checkpoint("box-1", tree, OTHER), sign_checkpoint("box-1", CompactRange().extend(
        entry.hash for entry in half), KEY)]  # fmt: skip
    assert verify_entries(pairs, [KEY.public_key(), OTHER.public_key()], heads).covered == COUNT
    for alone in (KEY, OTHER):
        assert not verify_entries(pairs, [alone.public_key()]).verified


def test_numbers_are_where_they_should_be() -> None:
    assert [json.loads(body)["seq"] for body, _ in PAIRS] == list(range(1, COUNT + 1))
